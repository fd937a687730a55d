//! RTP and RTCP on the wire: borrowed views for reading, in-place writers for sending.
//!
//! * **Owns:** the byte layout of RFC 3550, RFC 8285 and RFC 4585, and nothing that changes over
//!   time. A sequence number here is 16 bits; extending it is the `units` crate's job.
//! * **Input:** any bytes. No function panics, allocates, or reads past `buf`.
//! * **Not here:** what a packet means (`media`), who sent it (`peer`), payload formats (`codec`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod extension_ids;

pub use extension_ids::ExtensionIds;

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
    /// Payload without padding.
    pub payload: &'a [u8],
}

impl<'a> RtpView<'a> {
    /// Reads the fixed header and finds the payload (RFC 3550 §5.1).
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

        if b0 & 0x10 != 0 {
            let ([_, _, l0, l1], after) =
                rest.split_first_chunk::<4>().ok_or(Truncated { field: "extension header" })?;
            let ext_len = usize::from(u16::from_be_bytes([*l0, *l1])).saturating_mul(4);
            rest = after.get(ext_len..).ok_or(Truncated { field: "extensions" })?;
        }

        let payload = if b0 & 0x20 == 0 {
            rest
        } else {
            let pad = *rest.last().ok_or(Truncated { field: "padding" })?;
            let keep = rest.len().checked_sub(usize::from(pad)).filter(|_| pad != 0);
            keep.and_then(|n| rest.get(..n)).ok_or(Padding { pad, payload: rest.len() })?
        };

        Ok(Self {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0xaa, 0xbb];

    #[test]
    fn a_plain_packet_keeps_its_payload() {
        let rtp = RtpView::parse(&PLAIN).unwrap();
        assert!(rtp.marker);
        assert_eq!((rtp.payload_type, rtp.seq, rtp.timestamp, rtp.ssrc), (96, 7, 9, 1));
        assert_eq!(rtp.payload, [0xaa, 0xbb]);
    }

    #[test]
    fn every_truncation_is_an_error_not_a_panic() {
        for n in 0..12 {
            assert!(RtpView::parse(&PLAIN[..n]).is_err(), "{n} bytes");
        }
    }

    #[test]
    fn padding_longer_than_the_payload_is_refused() {
        let mut buf = PLAIN;
        buf[0] |= 0x20;
        assert_eq!(RtpView::parse(&buf), Err(ParseError::Padding { pad: 0xbb, payload: 2 }));
    }
}
