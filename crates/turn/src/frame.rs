//! Finding messages in a stream.
//!
//! * **In:** the bytes that have come so far. **Out:** [`Frame`].
//! * **Invariant:** a stream whose next message is longer than any that we take is refused at its header.
//! * **Spec:** RFC 8656 §12.5: over TCP, channel data is padded to four bytes; RFC 8489 §6.2.2.

/// The longest message over a stream: a datagram, in an indication with an IPv6 address.
pub const MAX_FRAME: usize = 1_600;

/// The beginning of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A message of `len` bytes, which is followed by the next one at `next`.
    Whole {
        /// Without padding.
        len: usize,
        /// With padding.
        next: usize,
    },
    /// More bytes are needed.
    Part,
    /// Not TURN, or too long.
    Refused,
}

/// What `bytes` begins with.
pub fn next_frame(bytes: &[u8]) -> Frame {
    let Some([b0, _, l0, l1]) = bytes.first_chunk() else { return Frame::Part };
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (len, next) = match b0 >> 6 {
        0 if len.checked_rem(4) == Some(0) => {
            let len = len.saturating_add(crate::message::HEADER);
            (len, len)
        }
        1 => {
            let len = len.saturating_add(4);
            (len, len.next_multiple_of(4))
        }
        _ => return Frame::Refused,
    };
    if len > MAX_FRAME {
        return Frame::Refused;
    }
    if bytes.len() < next { Frame::Part } else { Frame::Whole { len, next } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_with_their_padding() {
        for (bytes, expected) in [
            (&b""[..], Frame::Part),
            (b"\x00\x01\x00", Frame::Part),
            (b"\x40\x00\x00\x01x", Frame::Part),
            (b"\x40\x00\x00\x01x\0\0\0rest", Frame::Whole { len: 5, next: 8 }),
            (b"\x7f\xff\x00\x00", Frame::Whole { len: 4, next: 4 }),
            (b"\x40\x00\xff\xff", Frame::Refused),
            (b"\x00\x01\xff\xfc", Frame::Refused),
            (b"\x00\x01\x00\x02", Frame::Refused),
            (b"\x16\x03\x01\x02\x00", Frame::Refused),
            (b"GET / HTTP/1.1", Frame::Refused),
            (b"\x80\x00\x00\x00", Frame::Refused),
        ] {
            assert_eq!(next_frame(bytes), expected, "{bytes:?}");
        }
        let binding = [&b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..], &[7; 12]].concat();
        assert_eq!(next_frame(&binding), Frame::Whole { len: 20, next: 20 });
    }
}
