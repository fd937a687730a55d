//! STUN messages: parsing them without copying, writing them into a given buffer.
//!
//! * **Owns:** nothing; a borrowed view, and a writer into borrowed memory.
//! * **In:** bytes of strangers. **Out:** [`Message`]; answers by [`Writer`].
//! * **Invariant:** a message whose lengths contradict each other is none. What stands behind its integrity is not seen
//!   by [`Message::attribute`].
//! * **Spec:** RFC 8489 §5, §14.

use std::net::{IpAddr, SocketAddr};

use crate::integrity::{INTEGRITY_LEN, Key};

/// Bytes before the attributes.
pub(crate) const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Methods that are understood.
pub mod method {
    #![expect(missing_docs, reason = "names of RFC 8489 and RFC 8656")]
    pub const BINDING: u16 = 0x001;
    pub const ALLOCATE: u16 = 0x003;
    pub const REFRESH: u16 = 0x004;
    pub const SEND: u16 = 0x006;
    pub const DATA: u16 = 0x007;
    pub const CREATE_PERMISSION: u16 = 0x008;
    pub const CHANNEL_BIND: u16 = 0x009;
}

/// Attributes that are understood.
pub mod attribute {
    #![expect(missing_docs, reason = "names of RFC 8489 §18.3 and RFC 8656 §18")]
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    pub const LIFETIME: u16 = 0x000d;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const FINGERPRINT: u16 = 0x8028;
}

/// What a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A good answer.
    Success,
    /// A bad answer.
    Error,
}

/// What ties an answer to its request.
pub type TransactionId = [u8; 12];

/// A STUN message in the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Request, indication or answer.
    pub class: Class,
    /// See [`method`].
    pub method: u16,
    /// See [`TransactionId`].
    pub transaction: TransactionId,
    bytes: &'a [u8],
    attributes: &'a [u8],
    /// Bytes of the attributes before MESSAGE-INTEGRITY, if there is one.
    signed: Option<usize>,
}

impl<'a> Message<'a> {
    /// The message that is `bytes`, no more and no less; `None` if it is none.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, attributes) = bytes.split_first_chunk::<HEADER>()?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, transaction @ ..] = *header;
        let kind = u16::from_be_bytes([t0, t1]);
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if kind >> 14 != 0
            || [c0, c1, c2, c3] != COOKIE
            || len != attributes.len()
            || len.checked_rem(4) != Some(0)
        {
            return None;
        }
        let (class, method) = split_type(kind);
        let mut message = Self { class, method, transaction, bytes, attributes, signed: None };
        let mut rest = attributes;
        while !rest.is_empty() {
            let (kind, value, next) = split_attribute(rest)?;
            if kind == attribute::MESSAGE_INTEGRITY && message.signed.is_none() {
                if value.len() != INTEGRITY_LEN {
                    return None;
                }
                message.signed = Some(attributes.len().saturating_sub(rest.len()));
            }
            rest = next;
        }
        Some(message)
    }

    /// The attributes before the integrity, in order, with their values.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let end = self.signed.unwrap_or(self.attributes.len());
        let mut rest = self.attributes.get(..end).unwrap_or_default();
        std::iter::from_fn(move || {
            let (kind, value, next) = split_attribute(rest)?;
            rest = next;
            Some((kind, value))
        })
    }

    /// The first attribute of this kind.
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The first attribute of this kind, as text.
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.attribute(kind).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// A value of 32 bits.
    pub fn word(&self, kind: u16) -> Option<u32> {
        self.attribute(kind).and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?)))
    }

    /// The first address of this kind.
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        self.addresses(kind).next().flatten()
    }

    /// All addresses of this kind; `None` in place of one that is not well-formed.
    pub fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> {
        let transaction = self.transaction;
        let of_kind = self.attributes().filter(move |(found, _)| *found == kind);
        of_kind.map(move |(_, value)| read_address(value, &transaction))
    }

    /// It has a MESSAGE-INTEGRITY, right or wrong.
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// Its MESSAGE-INTEGRITY is of this key. One HMAC.
    pub fn is_signed_by(&self, key: &Key) -> bool {
        let Some(signed) = self.signed else { return false };
        let end = HEADER.saturating_add(signed);
        let (Some(head), Some(before)) = (self.bytes.first_chunk::<4>(), self.bytes.get(4..end))
        else {
            return false;
        };
        let tag = self.bytes.get(end.saturating_add(4)..).and_then(|tag| tag.get(..INTEGRITY_LEN));
        tag.is_some_and(|tag| key.verifies(with_length(*head, signed), before, tag))
    }
}

/// Type and length of a message as integrity sees them: as if the message ended with it.
fn with_length([t0, t1, ..]: [u8; 4], before: usize) -> [u8; 4] {
    let len = before.saturating_add(4).saturating_add(INTEGRITY_LEN);
    let [l0, l1] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    [t0, t1, l0, l1]
}

/// Kind and value of the first attribute, and what is behind its padding.
fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([k0, k1, l0, l1], rest) = bytes.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (value, _) = rest.split_at_checked(len)?;
    let (_, next) = rest.split_at_checked(len.next_multiple_of(4))?;
    Some((u16::from_be_bytes([*k0, *k1]), value, next))
}

const fn split_type(kind: u16) -> (Class, u16) {
    let class = match (kind & 0x100 != 0, kind & 0x10 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    (class, kind & 0x0f | (kind & 0xe0) >> 1 | (kind & 0x3e00) >> 2)
}

const fn join_type(class: Class, method: u16) -> u16 {
    let class = match class {
        Class::Request => 0,
        Class::Indication => 0x010,
        Class::Success => 0x100,
        Class::Error => 0x110,
    };
    method & 0x0f | (method & 0x70) << 1 | (method & 0xf80) << 2 | class
}

/// Takes the cookie and the transaction out of an address, or puts them in.
fn xor(bytes: &mut [u8], transaction: &TransactionId) {
    for (byte, mask) in bytes.iter_mut().zip(COOKIE.iter().chain(transaction)) {
        *byte ^= mask;
    }
}

fn read_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let ([_, family, p0, p1], ip) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([*p0 ^ 0x21, *p1 ^ 0x12]);
    let ip: IpAddr = match family {
        1 => {
            let mut ip: [u8; 4] = ip.try_into().ok()?;
            xor(&mut ip, transaction);
            ip.into()
        }
        2 => {
            let mut ip: [u8; 16] = ip.try_into().ok()?;
            xor(&mut ip, transaction);
            ip.into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes a message; what does not fit makes [`finish`](Self::finish) return `None`.
#[derive(Debug)]
pub struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
    transaction: TransactionId,
    fits: bool,
}

impl<'b> Writer<'b> {
    /// Begins a message in `buf`.
    pub fn new(buf: &'b mut [u8], class: Class, method: u16, transaction: TransactionId) -> Self {
        let mut writer = Self { buf, len: 0, transaction, fits: true };
        writer.put(&join_type(class, method).to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(&COOKIE);
        writer.put(&transaction);
        writer
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(len) = u16::try_from(value.len()) else {
            self.fits = false;
            return self;
        };
        self.put(&kind.to_be_bytes());
        self.put(&len.to_be_bytes());
        self.put(value);
        let padding = value.len().next_multiple_of(4).saturating_sub(value.len());
        self.put([0_u8; 3].get(..padding).unwrap_or_default());
        self
    }

    /// Adds an attribute of 32 bits.
    #[must_use]
    pub fn word(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds an address, hidden from NATs that rewrite what looks like theirs.
    #[must_use]
    pub fn address(self, kind: u16, addr: SocketAddr) -> Self {
        let [p0, p1] = addr.port().to_be_bytes();
        let head = |family| [0, family, p0 ^ 0x21, p1 ^ 0x12];
        let mut value = [0; 20];
        let (start, ip) = value.split_at_mut(4);
        let len = match addr.ip() {
            IpAddr::V4(v4) => {
                start.copy_from_slice(&head(1));
                ip.get_mut(..4).unwrap_or_default().copy_from_slice(&v4.octets());
                8
            }
            IpAddr::V6(v6) => {
                start.copy_from_slice(&head(2));
                ip.copy_from_slice(&v6.octets());
                20
            }
        };
        xor(ip, &self.transaction);
        self.attribute(kind, value.get(..len).unwrap_or_default())
    }

    /// Adds an error. Without a phrase: an answer to a stranger is to be short.
    #[must_use]
    pub fn error(self, code: u16) -> Self {
        let digit = |value: u16| u8::try_from(value).unwrap_or_default();
        self.attribute(attribute::ERROR_CODE, &[0, 0, digit(code / 100), digit(code % 100)])
    }

    /// Signs what is there; nothing may follow.
    #[must_use]
    pub fn integrity(mut self, key: &Key) -> Self {
        let before = self.len.saturating_sub(HEADER);
        let (Some(head), Some(rest)) = (self.buf.first_chunk::<4>(), self.buf.get(4..self.len))
        else {
            return self;
        };
        let tag = key.sign(with_length(*head, before), rest);
        self = self.attribute(attribute::MESSAGE_INTEGRITY, &tag);
        self
    }

    /// The length of the message; `None` if the buffer is too short.
    pub fn finish(self) -> Option<usize> {
        let len = u16::try_from(self.len.checked_sub(HEADER)?).ok()?;
        self.buf.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
        self.fits.then_some(self.len)
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.buf.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.fits = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    #[test]
    fn addresses_read_as_they_were_written_and_as_rfc_5769_has_them() {
        let mut buf = [0; 100];
        for addr in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let len = Writer::new(&mut buf, Class::Success, method::BINDING, ID)
                .address(attribute::XOR_MAPPED_ADDRESS, addr)
                .finish()
                .unwrap();
            let message = Message::parse(&buf[..len]).unwrap();
            assert_eq!(message.address(attribute::XOR_MAPPED_ADDRESS), Some(addr));
            assert_eq!((message.class, message.method), (Class::Success, method::BINDING));
            if addr.is_ipv4() {
                // RFC 5769 §2.2.
                assert_eq!(buf[24..32], *b"\x00\x01\xa1\x47\xe1\x12\xa6\x43");
            }
        }
    }

    #[test]
    fn the_signed_request_of_rfc_5769_is_signed_by_its_password() {
        // §2.4: long-term credentials.
        let request = [
            &b"\x00\x01\x00\x60\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e"[..],
            b"\x00\x06\x00\x12\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00",
            b"\x00\x15\x00\x1cf//499k954d6OL34oL9FSTvy64sA",
            b"\x00\x14\x00\x0bexample.org\x00",
            b"\x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66",
        ]
        .concat();
        let message = Message::parse(&request).unwrap();
        let user = message.text(attribute::USERNAME).unwrap();
        let key = |password| Key::long_term(user, "example.org", password);
        assert!(message.is_signed_by(&key("TheMatrIX")));
        assert!(!message.is_signed_by(&key("TheMatrix")));
    }

    #[test]
    fn what_is_signed_is_verified_and_every_changed_byte_is_noticed() {
        let key = Key::long_term("user", "livekit", "password");
        let mut buf = [0; 100];
        let len = Writer::new(&mut buf, Class::Request, method::REFRESH, ID)
            .word(attribute::LIFETIME, 600)
            .integrity(&key)
            .finish()
            .unwrap();
        assert!(Message::parse(&buf[..len]).unwrap().is_signed_by(&key));
        for at in 0..len {
            buf[at] ^= 1;
            assert!(!Message::parse(&buf[..len]).is_some_and(|m| m.is_signed_by(&key)), "{at}");
            buf[at] ^= 1;
        }
        for cut in 0..len {
            assert!(Message::parse(&buf[..cut]).is_none(), "{cut}");
            assert!(
                Writer::new(&mut [0; 100][..cut], Class::Request, method::REFRESH, ID)
                    .word(attribute::LIFETIME, 600)
                    .integrity(&key)
                    .finish()
                    .is_none()
            );
        }
    }

    #[test]
    fn attributes_behind_the_integrity_are_not_seen() {
        let key = Key::long_term("user", "livekit", "password");
        let mut buf = [0; 100];
        let len = Writer::new(&mut buf, Class::Request, method::REFRESH, ID)
            .integrity(&key)
            .word(attribute::LIFETIME, 0)
            .finish()
            .unwrap();
        let message = Message::parse(&buf[..len]).unwrap();
        assert!(message.is_signed_by(&key));
        assert_eq!(message.word(attribute::LIFETIME), None);
    }
}
