//! The sending direction.

use crate::SrtpError;
use crate::transform::Transform;

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
    pub fn warm(&self) -> bool {
        self.rtp.warm()
    }

    /// Encrypts an RTP packet in place and appends the tag; returns the length to send.
    ///
    /// * `packet` – header and plaintext in the first `plain_len` bytes, then at least
    ///   [`RTP_OVERHEAD`](crate::RTP_OVERHEAD) bytes of room.
    /// * `header_len` – fixed header, CSRCs and extensions.
    /// * `index` – 48 bits: rollover counter and sequence number. The receiver assumes a counter of
    ///   zero for the first packet of an SSRC. **No index may be used for two different packets of
    ///   one SSRC**, or GCM gives its key away; keeping to that is the caller's part.
    ///
    /// # Errors
    ///
    /// [`SrtpError::NoRoom`], or [`SrtpError::TooShort`] for less than a header.
    pub fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        plain_len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
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
    /// [`SrtpError::Failed`] after 2^31 packets, when the keys are used up.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], plain_len: usize) -> Result<usize, SrtpError> {
        let index = self.next_rtcp;
        if index > 0x7fff_ffff {
            return Err(SrtpError::Failed);
        }
        let len = self.rtcp.seal_rtcp(packet, plain_len, index)?;
        self.next_rtcp = index.saturating_add(1);
        Ok(len)
    }
}
