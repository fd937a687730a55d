//! One RTP packet as it was received.
//!
//! * **Owns:** nothing; borrows the receive buffer.
//! * **In:** [`RtpView::parse`], after decryption or before (then without meaning beyond the header).
//! * **Out:** the header's fields, [`RtpView::extensions`], the payload without padding.
//! * **Invariant:** `header_len + payload.len() + padding` is the length of the buffer.
//! * **Spec:** RFC 3550 §5.1.

use crate::Extensions;

/// Why a buffer is not the RTP packet it was taken for.
///
/// Every variant is the sender's fault and costs one packet: callers count it and go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// The buffer ends inside `field`.
    #[error("truncated in {field}")]
    Truncated {
        /// The first field that does not fit.
        field: &'static str,
    },
    /// The version bits are not 2 (RFC 3550 §5.1).
    #[error("RTP version {0}, expected 2")]
    Version(u8),
    /// The pad count is zero or longer than the payload (RFC 3550 §5.1).
    #[error("padding of {pad} bytes in a payload of {payload}")]
    Padding {
        /// The count in the last octet.
        pad: u8,
        /// Payload length in bytes, padding included.
        payload: usize,
    },
}

/// One RTP packet, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpView<'a> {
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
    /// Offset of the payload in bytes: fixed header, CSRC list and extensions.
    pub header_len: usize,
    /// Bytes of padding after the payload, their count included; 0 if there are none.
    pub padding: u8,
    /// Payload without padding.
    pub payload: &'a [u8],
    extensions: Extensions<'a>,
}

impl<'a> RtpView<'a> {
    /// Reads the fixed header and finds extensions, payload and padding.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if `buf` is too short for what its own length fields say.
    pub fn parse(buf: &'a [u8]) -> Result<Self, ParseError> {
        use ParseError::{Padding, Truncated, Version};

        let (fixed, rest) =
            buf.split_first_chunk::<12>().ok_or(Truncated { field: "fixed header" })?;
        let [b0, b1, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(Version(b0 >> 6));
        }

        let csrc_len = usize::from(b0 & 0x0f).saturating_mul(4);
        let mut rest = rest.get(csrc_len..).ok_or(Truncated { field: "CSRC list" })?;

        let mut extensions = Extensions::default();
        if b0 & 0x10 != 0 {
            let ([p0, p1, l0, l1], after) =
                rest.split_first_chunk::<4>().ok_or(Truncated { field: "extension header" })?;
            let ext_len = usize::from(u16::from_be_bytes([*l0, *l1])).saturating_mul(4);
            let (block, after) =
                after.split_at_checked(ext_len).ok_or(Truncated { field: "extensions" })?;
            extensions = Extensions::new(u16::from_be_bytes([*p0, *p1]), block);
            rest = after;
        }

        let (payload, padding) = if b0 & 0x20 == 0 {
            (rest, 0)
        } else {
            let pad = *rest.last().ok_or(Truncated { field: "padding" })?;
            let keep = rest.len().checked_sub(usize::from(pad)).filter(|_| pad != 0);
            let kept = keep.and_then(|n| rest.get(..n));
            (kept.ok_or(Padding { pad, payload: rest.len() })?, pad)
        };

        Ok(Self {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            header_len: buf.len().saturating_sub(rest.len()),
            padding,
            payload,
            extensions,
        })
    }

    /// The header extensions, in the order of the packet; none if it has none of RFC 8285.
    pub fn extensions(&self) -> Extensions<'a> {
        self.extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    const PLAIN: [u8; 14] = [0x80, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0xaa, 0xbb];

    /// Two CSRCs, one extension word, payload 0xaa, three bytes of padding.
    const FULL: [u8; 32] = [
        0xb2, 0x60, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10,
        0x55, 0, 0, 0xaa, 0, 0, 3,
    ];

    #[test]
    fn a_plain_packet_keeps_its_payload() {
        let rtp = RtpView::parse(&PLAIN).unwrap();
        assert!(rtp.marker);
        assert_eq!((rtp.payload_type, rtp.seq, rtp.timestamp, rtp.ssrc), (96, 7, 9, 1));
        assert_eq!((rtp.header_len, rtp.padding), (12, 0));
        assert_eq!(rtp.payload, [0xaa, 0xbb]);
        assert_eq!(rtp.extensions().count(), 0);
    }

    #[test]
    fn every_optional_part_is_found() {
        let rtp = RtpView::parse(&FULL).unwrap();
        assert!(!rtp.marker);
        assert_eq!((rtp.header_len, rtp.padding), (28, 3));
        assert_eq!(rtp.payload, [0xaa]);
        assert!(rtp.extensions().eq([(1, [0x55].as_slice())]));
    }

    #[test]
    fn a_packet_may_consist_of_padding_only() {
        let mut buf = FULL;
        buf[31] = 4;
        let rtp = RtpView::parse(&buf).unwrap();
        assert_eq!((rtp.payload.len(), rtp.padding), (0, 4));
    }

    #[test]
    fn every_truncation_is_an_error_not_a_panic() {
        for n in 0..12 {
            assert!(RtpView::parse(&PLAIN[..n]).is_err(), "{n} bytes");
        }
        for n in 0..28 {
            assert!(RtpView::parse(&FULL[..n]).is_err(), "{n} bytes");
        }
    }

    #[test]
    fn padding_longer_than_the_payload_is_refused() {
        let mut buf = PLAIN;
        buf[0] |= 0x20;
        assert_eq!(RtpView::parse(&buf), Err(ParseError::Padding { pad: 0xbb, payload: 2 }));
        buf[13] = 0;
        assert_eq!(RtpView::parse(&buf), Err(ParseError::Padding { pad: 0, payload: 2 }));
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(RtpView::parse(&[0x40; 12]), Err(ParseError::Version(1)));
    }

    #[test]
    fn random_bytes_do_not_panic_and_add_up() {
        let mut accepted = 0_u32;
        each_seed(|noise| {
            let mut buf = noise.bytes(120);
            if let Some(first) = buf.first_mut() {
                *first = 0x80 | (*first & 0x3f);
            }
            if let Ok(rtp) = RtpView::parse(&buf) {
                accepted += 1;
                let sum = rtp.header_len + rtp.payload.len() + usize::from(rtp.padding);
                assert_eq!(sum, buf.len());
                assert!(rtp.extensions().count() <= buf.len());
            }
        });
        assert!(accepted > 1_000, "only {accepted} were packets");
    }
}
