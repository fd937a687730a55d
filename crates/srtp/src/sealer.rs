//! The sending direction: encryption and authentication tags.

use crate::SrtpError;
use crate::transform::Transform;

/// The last RTP index of an SSRC, 48 bits (RFC 3711 §9.2).
const LAST_RTP: u64 = (1 << 48) - 1;
/// The last RTCP index of all SSRCs, 31 bits (RFC 3711 §9.2).
const LAST_RTCP: u32 = (1 << 31) - 1;

/// Encrypts what one transport sends.
#[derive(Debug)]
pub struct Sealer {
    rtp: Transform,
    rtcp: Transform,
    next_rtcp: u32,
}

impl Sealer {
    pub(crate) const fn new(rtp: Transform, rtcp: Transform) -> Self {
        Self { rtp, rtcp, next_rtcp: 1 }
    }

    /// Reads some of the key for RTP, so that the memory brings it.
    pub fn prefetch(&self) -> bool {
        self.rtp.prefetch()
    }

    /// Encrypts an RTP packet in place and appends the tag; returns the length to send.
    ///
    /// * `packet` – header and plaintext in the first `plain_len` bytes, then at least
    ///   [`RTP_OVERHEAD`](crate::RTP_OVERHEAD) bytes of room.
    /// * `header_len` – fixed header, CSRCs and extensions.
    /// * `index` – 48 bits: rollover counter and sequence number. The receiver assumes a counter of
    ///   zero for the first packet of an SSRC. **No index may be used for two different packets of
    ///   one SSRC**, or GCM gives its key away; the caller ensures it.
    ///
    /// # Errors
    ///
    /// [`SrtpError::NoRoom`], [`SrtpError::TooShort`] for less than a header, [`SrtpError::Index`] if the
    /// sequence number is not the end of `index`, or [`SrtpError::UsedUp`] for an `index` of more than 48 bits.
    pub fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        plain_len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        if index > LAST_RTP {
            return Err(SrtpError::UsedUp);
        }
        let [_, _, s0, s1, ..] = *packet else { return Err(SrtpError::TooShort) };
        let [.., i0, i1] = index.to_be_bytes();
        if [s0, s1] != [i0, i1] {
            return Err(SrtpError::Index);
        }
        self.rtp.seal_rtp(packet, header_len, plain_len, index)
    }

    /// Encrypts a compound RTCP packet in place; returns the length to send.
    ///
    /// * `packet` – plaintext in the first `plain_len` bytes, then at least
    ///   [`RTCP_OVERHEAD`](crate::RTCP_OVERHEAD) bytes of room.
    ///
    /// # Errors
    ///
    /// [`SrtpError::NoRoom`], [`SrtpError::TooShort`] for less than 8 bytes, or
    /// [`SrtpError::UsedUp`] after 2^31 packets.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], plain_len: usize) -> Result<usize, SrtpError> {
        let index = self.next_rtcp;
        if index > LAST_RTCP {
            return Err(SrtpError::UsedUp);
        }
        // First: an index that failed may have been used.
        self.next_rtcp = index.saturating_add(1);
        self.rtcp.seal_rtcp(packet, plain_len, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Profile, Session};

    #[test]
    fn no_rtp_index_is_used_beyond_48_bits_or_for_another_sequence_number() {
        let mut sealer = sealer();
        let mut packet = [0; 80];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(sealer.seal_rtp(&mut packet.clone(), 12, 40, LAST_RTP), Ok(56));
        packet[2..4].copy_from_slice(&[0, 0]);
        let wrapped = sealer.seal_rtp(&mut packet.clone(), 12, 40, LAST_RTP + 1);
        assert_eq!(wrapped, Err(SrtpError::UsedUp));
        assert_eq!(sealer.seal_rtp(&mut packet, 12, 40, 0x1_0001), Err(SrtpError::Index));
    }

    #[test]
    fn rtcp_ends_when_its_indices_are_used_up() {
        let mut sealer = sealer();
        sealer.next_rtcp = LAST_RTCP;
        assert_eq!(sealer.seal_rtcp(&mut [0x80; 60], 28), Ok(48));
        assert_eq!(sealer.seal_rtcp(&mut [0x80; 60], 28), Err(SrtpError::UsedUp));
        assert_eq!(sealer.seal_rtcp(&mut [0x80; 60], 28), Err(SrtpError::UsedUp));
    }

    fn sealer() -> Sealer {
        let material: Vec<u8> = (0..56).collect();
        Session::from_dtls(Profile::AeadAes128Gcm, &material, true).unwrap().0
    }
}
