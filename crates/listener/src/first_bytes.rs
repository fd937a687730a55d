//! Which protocol a TCP connection speaks, by the first bytes that its client sends.
//!
//! * **Owns:** nothing; a pure function of a prefix.
//! * **In:** what has come so far; nothing of it is consumed.
//! * **Out:** the protocol, [`Verdict::More`] while the bytes still fit more than one, or
//!   [`Verdict::Unknown`] as soon as they fit none.
//! * **Invariant:** [`DECISIVE`] bytes always decide, and no verdict but [`Verdict::More`] changes when more bytes
//!   come.
//! * **Spec:** TLS records are RFC 8446 §5.1, STUN headers RFC 8489 §5, the framing of ICE-TCP RFC 4571 §2.

/// A protocol that begins with bytes of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1 in plain text.
    Http,
    /// A TLS handshake; what is inside is not known yet.
    Tls,
    /// A connectivity check in RFC 4571 framing.
    IceTcp,
    /// STUN without framing: TURN over TCP.
    Turn,
}

/// See the module documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is this one.
    Is(Protocol),
    /// It cannot be said yet.
    More,
    /// It is none of them.
    Unknown,
}

/// As many bytes decide.
pub const DECISIVE: usize = 10;

/// The magic cookie of STUN.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// The bytes of a STUN header.
const STUN_HEADER: u16 = 20;
/// The longest first frame on ICE-TCP: a binding request is far below, and it must differ from a TLS record.
const LONGEST_FRAME: u16 = 1_500;

/// Tells the protocol of a connection that begins with `bytes`.
pub fn tell(bytes: &[u8]) -> Verdict {
    match bytes {
        [] => Verdict::More,
        [0x16, ..] => Verdict::Is(Protocol::Tls),
        // Some clients send an empty line before a request.
        [first, ..] if first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n') => {
            Verdict::Is(Protocol::Http)
        }
        [..] if may_be_turn(bytes) => decided(bytes, 8, Protocol::Turn),
        [..] if may_be_ice(bytes) => decided(bytes, DECISIVE, Protocol::IceTcp),
        [..] => Verdict::Unknown,
    }
}

/// Tells what is inside TLS by its first plaintext byte, if ALPN did not: HTTP or TURN. ICE-TCP never comes in TLS.
pub fn tell_plaintext(first: u8) -> Verdict {
    match first {
        0x00 => Verdict::Is(Protocol::Turn),
        first if first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n') => {
            Verdict::Is(Protocol::Http)
        }
        _ => Verdict::Unknown,
    }
}

fn decided(bytes: &[u8], length: usize, protocol: Protocol) -> Verdict {
    if bytes.len() < length { Verdict::More } else { Verdict::Is(protocol) }
}

/// A request of STUN or TURN: all methods that there are fit the low four bits, while the same byte of a frame's
/// length is at least that of a STUN header.
fn may_be_turn(bytes: &[u8]) -> bool {
    let at = |place: usize, fits: fn(u8) -> bool| bytes.get(place).is_none_or(|&byte| fits(byte));
    at(0, |byte| byte == 0)
        && at(1, |byte| matches!(byte, 1..=0x0F))
        && at(3, |byte| byte % 4 == 0)
        && cookie_at(bytes, 4)
}

/// A frame that holds exactly one binding request.
fn may_be_ice(bytes: &[u8]) -> bool {
    let length = match bytes {
        [high] => return u16::from(*high) <= LONGEST_FRAME >> 8,
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        [] => return true,
    };
    let fits = (STUN_HEADER..=LONGEST_FRAME).contains(&length) && length.is_multiple_of(4);
    let [high, low] = length.saturating_sub(STUN_HEADER).to_be_bytes();
    let expected = [0x00, 0x01, high, low];
    fits && bytes.iter().skip(2).zip(expected).all(|(byte, expected)| *byte == expected)
        && cookie_at(bytes, 6)
}

fn cookie_at(bytes: &[u8], place: usize) -> bool {
    bytes.iter().skip(place).zip(COOKIE).all(|(byte, expected)| *byte == expected)
}

#[cfg(test)]
mod tests {
    use hearth_netem::each_seed;

    use super::*;

    /// A binding request without attributes; frames are its bytes with their length before them.
    const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";

    #[test]
    fn the_first_bytes_of_each_protocol_tell_it() {
        use Protocol::{Http, IceTcp, Tls, Turn};
        let long = |len: u16| [&(len + 20).to_be_bytes()[..], &[0, 1], &len.to_be_bytes()].concat();
        let with_cookie = |start: &[u8]| [start, &COOKIE].concat();
        for (bytes, expected) in [
            (&b""[..], Verdict::More),
            (b"GET / HTTP/1.1\r\n", Verdict::Is(Http)),
            (b"P", Verdict::Is(Http)),
            (b"\r\nGET / HTTP/1.1", Verdict::Is(Http)),
            (b"\x16\x03\x01\x02\x00\x01", Verdict::Is(Tls)),
            (b"\x16", Verdict::Is(Tls)),
            (BINDING, Verdict::Is(Turn)),
            (&BINDING[..7], Verdict::More),
            (&with_cookie(b"\x00\x03\x00\x08"), Verdict::Is(Turn)),
            (&with_cookie(b"\x00\x03\x00\x09"), Verdict::Unknown),
            (&[&[0, 20], BINDING].concat(), Verdict::Is(IceTcp)),
            (&[&[0, 20], &BINDING[..7]].concat(), Verdict::More),
            (&with_cookie(&long(100)), Verdict::Is(IceTcp)),
            (&with_cookie(&long(1_480)), Verdict::Is(IceTcp)),
            (&with_cookie(&long(1_484)), Verdict::Unknown),
            (&with_cookie(&long(102)), Verdict::Unknown),
            // A frame that holds something else, an answer, or more than one request.
            (b"\x00\x40\x16\xfe\xfd", Verdict::Unknown),
            (b"\x00\x14\x01\x01", Verdict::Unknown),
            (b"\x00\x18\x00\x01\x00\x00", Verdict::Unknown),
            // An answer, an indication, channel data.
            (b"\x01\x01\x00\x00\x21\x12\xa4\x42", Verdict::Unknown),
            (b"\x00\x16", Verdict::Unknown),
            (b"\x40\x00\x00\x10", Verdict::Unknown),
            (b"\x80\x80", Verdict::Unknown),
            (b"SSH-2.0-x\r\n", Verdict::Is(Http)),
            (b"\x05\x01\x00", Verdict::Unknown),
        ] {
            assert_eq!(tell(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_verdict_stays_whatever_comes_behind() {
        let mut seen = [0; 3];
        each_seed(|noise| {
            let mut bytes = [0; 16];
            bytes.fill_with(|| noise.bits() as u8);
            let kind = noise.bits() % 4;
            // Half of them come close to something known.
            match kind {
                0 => bytes.copy_from_slice(&BINDING[..16]),
                1 => bytes.copy_from_slice(&[&[0, 20], &BINDING[..14]].concat()),
                _ => {}
            }
            if noise.bits().is_multiple_of(2) {
                bytes[(noise.bits() % 12) as usize] ^= 1 << (noise.bits() % 8);
            }
            let mut before = Verdict::More;
            for length in 0..=bytes.len() {
                let verdict = tell(&bytes[..length]);
                assert!(before == Verdict::More || verdict == before, "{bytes:?} at {length}");
                assert!(length < DECISIVE || verdict != Verdict::More, "{bytes:?}");
                before = verdict;
            }
            let kind = match before {
                Verdict::Is(Protocol::Turn) => 0,
                Verdict::Is(Protocol::IceTcp) => 1,
                Verdict::Is(_) | Verdict::Unknown | Verdict::More => 2,
            };
            seen[kind] += 1;
        });
        assert!(seen.iter().all(|&times| times > 10), "{seen:?}");
    }

    #[test]
    fn inside_tls_one_byte_decides() {
        for (first, expected) in [
            (b'G', Verdict::Is(Protocol::Http)),
            (0x00, Verdict::Is(Protocol::Turn)),
            (0x40, Verdict::Unknown),
            (0x16, Verdict::Unknown),
        ] {
            assert_eq!(tell_plaintext(first), expected, "{first:#x}");
        }
    }
}
