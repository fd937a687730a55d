//! One question to one STUN server: which address do you see me at?
//!
//! * **Owns:** a [`Query`]: its transaction and when it is sent again.
//! * **In:** time, the server's datagrams.
//! * **Out:** [`Query::poll_transmit`], [`Query::handle`]; [`consensus`] of several servers.
//! * **Invariant:** only a well-formed answer with the transaction's 96 random bits counts; a question is sent at most
//!   [`SENDS`] times, so that a server that hears it once need not know more.
//! * **Spec:** RFC 8489 §5 (header), §6.2.1 (retransmission), §14.2 (XOR-MAPPED-ADDRESS).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The first retransmission timeout (RFC 8489 §6.2.1); it doubles.
const RTO: Duration = Duration::from_millis(500);
/// At 0, 0.5, 1.5 and 3.5 s. RFC 8489 sends 7 times and waits 39.5 s, longer than anybody waits for a server to start.
pub const SENDS: u32 = 4;
/// Class request, method binding.
const BINDING_REQUEST: u16 = 0x0001;
/// Class success response.
const BINDING_SUCCESS: u16 = 0x0101;
/// Class error response.
const BINDING_ERROR: u16 = 0x0111;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// 96 random bits.
pub type Transaction = [u8; 12];

/// What a server has said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It sees us there.
    Mapped(SocketAddr),
    /// It refuses, with this code.
    Refused(u16),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Query {
    transaction: Transaction,
    sent: u32,
    next: Instant,
    answer: Option<Answer>,
}

impl Query {
    /// Begins now.
    pub const fn new(now: Instant, transaction: Transaction) -> Self {
        Self { transaction, sent: 0, next: now, answer: None }
    }

    /// The datagram to send, if it is time.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<[u8; 20]> {
        if now < self.poll_timeout()? {
            return None;
        }
        self.next = now + RTO * 2_u32.pow(self.sent);
        self.sent += 1;
        Some(request(&self.transaction))
    }

    /// When to call [`poll_transmit`](Self::poll_transmit) next; `None`: it has an answer, or was sent often enough.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.answer.is_none() && self.sent < SENDS).then_some(self.next)
    }

    /// Takes a datagram of the server; true if it is the answer.
    pub fn handle(&mut self, datagram: &[u8]) -> bool {
        match parse(datagram, &self.transaction) {
            Some(answer) => {
                self.answer = Some(answer);
                true
            }
            None => false,
        }
    }

    /// The answer, once there is one.
    pub const fn answer(&self) -> Option<Answer> {
        self.answer
    }
}

/// A binding request without attributes.
pub fn request(transaction: &Transaction) -> [u8; 20] {
    let mut message = [0; 20];
    let (head, id) = message.split_at_mut(8);
    let [kind, len, cookie @ ..] =
        [BINDING_REQUEST.to_be_bytes(), [0, 0], [0x21, 0x12], [0xA4, 0x42]];
    let bytes = [kind, len].into_iter().chain(cookie).flatten();
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    id.copy_from_slice(transaction);
    message
}

/// The answer in a binding response to `transaction`; `None` if it is none.
pub fn parse(datagram: &[u8], transaction: &Transaction) -> Option<Answer> {
    let (kind, rest) = u16_of(datagram)?;
    let (len, rest) = u16_of(rest)?;
    let (cookie, rest) = rest.split_first_chunk::<4>()?;
    let (id, attributes) = rest.split_first_chunk::<12>()?;
    let ours = u32::from_be_bytes(*cookie) == MAGIC_COOKIE && id == transaction;
    if !ours || usize::from(len) != attributes.len() {
        return None;
    }
    match kind {
        BINDING_SUCCESS => {
            let xor = attribute(attributes, XOR_MAPPED_ADDRESS).and_then(|a| address(a, Some(id)));
            let plain = || attribute(attributes, MAPPED_ADDRESS).and_then(|a| address(a, None));
            xor.or_else(plain).map(Answer::Mapped)
        }
        BINDING_ERROR => {
            let [_, _, class, number, ..] = attribute(attributes, ERROR_CODE)? else { return None };
            Some(Answer::Refused(u16::from(class & 7) * 100 + u16::from(*number)))
        }
        _ => None,
    }
}

/// The value of the first attribute of this kind.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (kind, after) = u16_of(rest)?;
        let (len, after) = u16_of(after)?;
        let len = usize::from(len);
        let value = after.get(..len)?;
        if kind == wanted {
            return Some(value);
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
}

/// MAPPED-ADDRESS, or with the transaction XOR-MAPPED-ADDRESS.
fn address(value: &[u8], xor: Option<&Transaction>) -> Option<SocketAddr> {
    let (family, rest) = u16_of(value)?;
    let (port, rest) = u16_of(rest)?;
    let cookie = if xor.is_some() { MAGIC_COOKIE } else { 0 };
    let [high, low, ..] = cookie.to_be_bytes();
    let ip: IpAddr = match (family & 0xFF, rest.len()) {
        (1, 4) => {
            let ip = u32::from_be_bytes(*rest.first_chunk()?);
            Ipv4Addr::from_bits(ip ^ cookie).into()
        }
        (2, 16) => {
            let ip = u128::from_be_bytes(*rest.first_chunk()?);
            let id =
                xor.map_or(0, |id| id.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)));
            Ipv6Addr::from_bits(ip ^ (u128::from(cookie) << 96 | id)).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port ^ u16::from_be_bytes([high, low])))
}

fn u16_of(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*value), rest))
}

/// What several servers have said together, by index of the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Consensus {
    /// Nobody has said anything.
    None,
    /// One has.
    One(IpAddr),
    /// At least two have said the same, and more than have said anything else.
    Agreed(IpAddr),
    /// As many say one thing as another.
    Disagree,
}

/// Of the addresses that servers have told.
pub fn consensus(told: &[IpAddr]) -> Consensus {
    let votes = |ip: &IpAddr| told.iter().filter(|other| *other == ip).count();
    let Some(first) = told.iter().copied().max_by_key(votes) else { return Consensus::None };
    let most = votes(&first);
    if told.iter().any(|ip| *ip != first && votes(ip) == most) {
        Consensus::Disagree
    } else if most == 1 {
        Consensus::One(first)
    } else {
        Consensus::Agreed(first)
    }
}

#[cfg(test)]
mod tests {
    use hearth_netem::each_seed;

    use super::*;

    const ID: Transaction =
        [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// RFC 5769 §2.2 and §2.3, without their integrity and fingerprint.
    fn response(attribute: &str) -> Vec<u8> {
        let body = hex(attribute);
        let mut message = vec![1, 1, 0, u8::try_from(body.len()).unwrap()];
        message.extend(hex("2112a442b7e7a701bc34d686fa87dfae"));
        message.extend(body);
        message
    }

    const V4: &str = "8022000b7465737420766563746f7220002000080001a147e112a643";
    const V6: &str = "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9";

    #[test]
    fn answers_of_the_test_vectors_are_read() {
        for (attribute, mapped) in [
            (V4, "192.0.2.1:32853"),
            (V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
            // Servers of RFC 3489.
            ("0001000800018055c0000201", "192.0.2.1:32853"),
        ] {
            let answer = parse(&response(attribute), &ID);
            assert_eq!(answer, Some(Answer::Mapped(mapped.parse().unwrap())));
        }
        let mut refusal = response("000900040000041e");
        refusal[1] = 0x11;
        assert_eq!(parse(&refusal, &ID), Some(Answer::Refused(430)));
    }

    #[test]
    fn what_is_cut_or_of_another_transaction_is_no_answer() {
        for whole in [response(V4), response(V6)] {
            for len in 0..whole.len() {
                assert_eq!(parse(&whole[..len], &ID), None, "{len}");
            }
            for at in [0, 4, 7, 8, 19] {
                let mut other = whole.clone();
                other[at] ^= 1;
                assert_eq!(parse(&other, &ID), None, "{at}");
            }
        }
        assert_eq!(parse(&request(&ID), &ID), None);
    }

    #[test]
    fn random_bytes_do_not_panic() {
        let mut read = 0_u32;
        each_seed(|noise| {
            let mut bytes = response(V4);
            for _ in 0..noise.bits() % 3 {
                let at = usize::from(noise.bits() as u8) % bytes.len();
                bytes[at] = noise.bits() as u8;
            }
            if noise.bits() % 4 == 0 {
                bytes.truncate(usize::from(noise.bits() as u8));
            }
            read += u32::from(parse(&bytes, &ID).is_some());
            let _ = parse(&noise.bytes(60), &ID);
        });
        assert!(read > 1_000, "only {read} were read");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin; all else is added to it")]
    fn a_question_is_repeated_until_it_is_answered_and_given_up_in_the_end() {
        let t0 = Instant::now();
        let ms = |ms| t0 + Duration::from_millis(ms);
        let mut query = Query::new(t0, ID);
        let mut sent = Vec::new();
        for now in 0..10_000 {
            if query.poll_transmit(ms(now)).is_some() {
                sent.push(now);
            }
        }
        assert_eq!(sent, [0, 500, 1_500, 3_500]);
        assert_eq!(query.poll_timeout(), None);

        let mut query = Query::new(t0, ID);
        assert_eq!(query.poll_transmit(t0), Some(request(&ID)));
        assert!(!query.handle(b"something else") && query.handle(&response(V4)));
        assert_eq!(query.poll_timeout(), None);
        assert_eq!(query.answer(), Some(Answer::Mapped("192.0.2.1:32853".parse().unwrap())));
    }

    #[test]
    fn the_most_votes_decide_and_a_tie_does_not() {
        let ip = |n: u8| IpAddr::from([203, 0, 113, n]);
        for (told, outcome) in [
            (&[][..], Consensus::None),
            (&[1], Consensus::One(ip(1))),
            (&[1, 1], Consensus::Agreed(ip(1))),
            (&[1, 2], Consensus::Disagree),
            (&[2, 1, 2], Consensus::Agreed(ip(2))),
            (&[1, 2, 2, 1], Consensus::Disagree),
        ] {
            let told: Vec<_> = told.iter().copied().map(ip).collect();
            assert_eq!(consensus(&told), outcome, "{told:?}");
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap())
            .collect()
    }
}
