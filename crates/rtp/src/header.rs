//! Writing the header of an RTP packet.
//!
//! * **Owns:** nothing; writes into the caller's buffer.
//! * **In:** the header's fields and the extensions to carry.
//! * **Out:** the offset at which the payload goes.
//! * **Invariant:** what is written parses back to the same fields and extensions.
//! * **Spec:** RFC 3550 §5.1, RFC 8285 §4.

/// Fixed header of an outgoing packet: no CSRCs; padding is added by [`pad`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RtpHeader {
    /// End-of-frame marker, as the payload format defines it.
    pub marker: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number, 16 bits, wraps.
    pub seq: u16,
    /// Media timestamp in units of the codec's clock rate, wraps.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Writes header and extensions to the front of `buf` and returns their length.
///
/// * `extensions` – (id, data). The one-byte form is used if every id is 1–14 and every length
///   1–16, else the two-byte form for all; padded with zeros to a multiple of four bytes.
///
/// Returns `None`, with `buf` partly written, if it does not fit, an id is 0, or a length is over
/// 255.
#[inline]
pub fn write_header(
    buf: &mut [u8],
    header: &RtpHeader,
    extensions: &[(u8, &[u8])],
) -> Option<usize> {
    let (fixed, rest) = buf.split_first_chunk_mut::<12>()?;
    let [s0, s1] = header.seq.to_be_bytes();
    let [t0, t1, t2, t3] = header.timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = header.ssrc.to_be_bytes();
    let b0 = if extensions.is_empty() { 0x80 } else { 0x90 };
    let b1 = (header.payload_type & 0x7f) | if header.marker { 0x80 } else { 0 };
    *fixed = [b0, b1, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
    if extensions.is_empty() {
        return Some(12);
    }
    write_extensions(rest, extensions)?.checked_add(12)
}

/// Makes a packet of `len` bytes at the front of `buf` longer by `padding` bytes, and returns its new
/// length (RFC 3550 §5.1). Receivers take the padding off; 0 bytes change nothing.
///
/// Returns `None`, with the packet as it was, if it does not fit.
pub fn pad(buf: &mut [u8], len: usize, padding: u8) -> Option<usize> {
    let padded = len.checked_add(usize::from(padding)).filter(|padded| *padded <= buf.len())?;
    if padding == 0 {
        return Some(len);
    }
    let (last, zeros) = buf.get_mut(len..padded)?.split_last_mut()?;
    zeros.fill(0);
    *last = padding;
    *buf.first_mut()? |= 0x20;
    Some(padded)
}

fn write_extensions(buf: &mut [u8], extensions: &[(u8, &[u8])]) -> Option<usize> {
    let one_byte =
        extensions.iter().all(|(id, data)| matches!(id, 1..=14) && matches!(data.len(), 1..=16));
    let (head, block) = buf.split_first_chunk_mut::<4>()?;
    let mut used = 0_usize;
    let mut put = |bytes: &[u8]| {
        let end = used.checked_add(bytes.len())?;
        block.get_mut(used..end)?.copy_from_slice(bytes);
        used = end;
        Some(end)
    };
    for (id, data) in extensions {
        let len = u8::try_from(data.len()).ok().filter(|_| *id != 0)?;
        if one_byte {
            put(&[(id << 4) | (len.wrapping_sub(1) & 0x0f)])?;
        } else {
            put(&[*id, len])?;
        }
        put(data)?;
    }
    while !put(&[])?.is_multiple_of(4) {
        put(&[0])?;
    }
    let [p0, p1] = if one_byte { [0xbe, 0xde] } else { [0x10, 0x00] };
    let [l0, l1] = u16::try_from(used / 4).ok()?.to_be_bytes();
    *head = [p0, p1, l0, l1];
    used.checked_add(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RtpView;

    const HEADER: RtpHeader = RtpHeader {
        marker: true,
        payload_type: 96,
        seq: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 0xdead_beef,
    };

    /// Writes, reads back and compares; returns the length and the profile bytes.
    #[track_caller]
    fn check(extensions: &[(u8, &[u8])], expect_len: usize, expect_profile: u16) {
        let mut buf = [0xee; 600];
        let len = write_header(&mut buf, &HEADER, extensions).unwrap();
        assert_eq!(len, expect_len);
        let view = RtpView::parse(&buf[..len]).unwrap();
        assert!(view.marker);
        assert_eq!((view.payload_type, view.seq), (96, 0xfffe));
        assert_eq!((view.timestamp, view.ssrc), (0x0102_0304, 0xdead_beef));
        assert_eq!(view.header_len, len);
        assert!(view.extensions().eq(extensions.iter().copied()));
        if !extensions.is_empty() {
            assert_eq!(u16::from_be_bytes([buf[12], buf[13]]), expect_profile);
        }
        for short in 0..len {
            let fitted = write_header(&mut buf[..short], &HEADER, extensions);
            assert_eq!(fitted, None, "{short} of {len} bytes");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        check(&[], 12, 0);
        check(&[(1, &[7])], 20, 0xbede);
        check(&[(1, b"abc"), (14, &[1; 16])], 40, 0xbede);
        check(&[(1, b"abc"), (15, &[1])], 24, 0x1000);
        check(&[(1, b"abc"), (2, &[1; 17])], 40, 0x1000);
        check(&[(1, b"")], 20, 0x1000);
        check(&[(255, &[9; 255])], 276, 0x1000);
    }

    #[test]
    fn impossible_extensions_are_refused() {
        let mut buf = [0; 600];
        assert_eq!(write_header(&mut buf, &HEADER, &[(0, &[1])]), None);
        assert_eq!(write_header(&mut buf, &HEADER, &[(1, &[1; 256])]), None);
    }

    #[test]
    fn a_payload_type_of_eight_bits_does_not_set_the_marker() {
        let mut buf = [0; 12];
        let header = RtpHeader { payload_type: 0xff, marker: false, ..HEADER };
        write_header(&mut buf, &header, &[]).unwrap();
        assert_eq!(buf[1], 0x7f);
    }

    #[test]
    fn padding_is_taken_off_again() {
        let mut buf = [0xee; 40];
        let header_len = write_header(&mut buf, &HEADER, &[]).unwrap();
        let len = header_len + 5;
        for (padding, expected) in [(0, Some(len)), (1, Some(len + 1)), (23, Some(40)), (24, None)]
        {
            let mut padded = buf;
            assert_eq!(pad(&mut padded, len, padding), expected, "{padding}");
            let view = RtpView::parse(&padded[..expected.unwrap_or(len)]).unwrap();
            let taken_off = if expected.is_some() { padding } else { 0 };
            assert_eq!((view.payload, view.padding), (&[0xee; 5][..], taken_off), "{padding}");
        }
    }
}
