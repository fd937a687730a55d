//! The receiving direction: rollover counters, replay windows, decryption.
//!
//! * **Owns:** for each SSRC received lately, the index of its newest packet and a replay window.
//! * **In:** sealed packets.
//! * **Out:** plain packets and their indices.
//! * **Invariant:** only an authenticated packet changes anything, and at most 128 SSRCs are
//!   remembered for each of RTP and RTCP; the one longest silent is forgotten first.
//! * **Spec:** RFC 3711 §3.3.1 (index estimate) and §3.3.2 (replay).

use crate::SrtpError;
use crate::replay::ReplayWindow;
use crate::transform::Transform;

/// A publisher has a handful; a client may renegotiate new ones for hours.
const MAX_SOURCES: usize = 128;

/// An RTP packet in plaintext.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenedRtp {
    /// Bytes of header and payload at the start of the buffer.
    pub len: usize,
    /// Rollover counter and sequence number, 48 bits.
    pub index: u64,
}

/// A compound RTCP packet in plaintext.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenedRtcp {
    /// Bytes at the start of the buffer.
    pub len: usize,
    /// SRTCP index, 31 bits.
    pub index: u32,
}

/// Decrypts what one transport receives.
#[derive(Debug)]
pub struct Opener {
    rtp: Transform,
    rtcp: Transform,
    rtp_sources: Sources,
    rtcp_sources: Sources,
}

impl Opener {
    pub(crate) fn new(rtp: Transform, rtcp: Transform) -> Self {
        Self { rtp, rtcp, rtp_sources: Sources::default(), rtcp_sources: Sources::default() }
    }

    /// Checks and decrypts an RTP packet in place.
    ///
    /// # Errors
    ///
    /// The packet is not the peer's, or was there before; `buf` holds nothing useful then.
    pub fn open_rtp(&mut self, buf: &mut [u8]) -> Result<OpenedRtp, SrtpError> {
        let header_len = header_len(buf).ok_or(SrtpError::TooShort)?;
        let fixed = buf.first_chunk::<12>().ok_or(SrtpError::TooShort)?;
        let [_, _, q0, q1, _, _, _, _, s0, s1, s2, s3] = *fixed;
        let (seq, ssrc) = (u16::from_be_bytes([q0, q1]), u32::from_be_bytes([s0, s1, s2, s3]));
        let at = self.rtp_sources.find(ssrc);
        let window = self.rtp_sources.window(at);
        let index = match window {
            None => u64::from(seq),
            Some(window) => estimate(window.newest(), seq).ok_or(SrtpError::Replayed)?,
        };
        if window.is_some_and(|window| !window.is_new(index)) {
            return Err(SrtpError::Replayed);
        }
        let len = self.rtp.open_rtp(buf, header_len, index)?;
        self.rtp_sources.accept(at, ssrc, index);
        Ok(OpenedRtp { len, index })
    }

    /// Checks and decrypts a compound RTCP packet in place.
    ///
    /// # Errors
    ///
    /// The packet is not the peer's, or was there before; `buf` holds nothing useful then.
    pub fn open_rtcp(&mut self, buf: &mut [u8]) -> Result<OpenedRtcp, SrtpError> {
        let fixed = buf.first_chunk::<8>().ok_or(SrtpError::TooShort)?;
        let [_, _, _, _, s0, s1, s2, s3] = *fixed;
        let ssrc = u32::from_be_bytes([s0, s1, s2, s3]);
        let word = self.rtcp.rtcp_index(buf)?;
        let index = word & 0x7fff_ffff;
        let at = self.rtcp_sources.find(ssrc);
        if self.rtcp_sources.window(at).is_some_and(|window| !window.is_new(u64::from(index))) {
            return Err(SrtpError::Replayed);
        }
        let len = self.rtcp.open_rtcp(buf, word)?;
        self.rtcp_sources.accept(at, ssrc, u64::from(index));
        Ok(OpenedRtcp { len, index })
    }

    #[cfg(test)]
    pub(crate) fn sources(&self) -> usize {
        self.rtp_sources.list.len()
    }
}

/// Windows by SSRC. A list, because a peer sends a handful of SSRCs and they come in runs.
#[derive(Debug, Default)]
struct Sources {
    list: Vec<Source>,
    /// Counts accepted packets, to find the SSRC that was silent longest.
    clock: u64,
    last: usize,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    last_received: u64,
    window: ReplayWindow,
}

impl Sources {
    fn find(&self, ssrc: u32) -> Option<usize> {
        if self.list.get(self.last).is_some_and(|source| source.ssrc == ssrc) {
            return Some(self.last);
        }
        self.list.iter().position(|source| source.ssrc == ssrc)
    }

    fn window(&self, at: Option<usize>) -> Option<&ReplayWindow> {
        Some(&self.list.get(at?)?.window)
    }

    fn accept(&mut self, at: Option<usize>, ssrc: u32, index: u64) {
        self.clock = self.clock.saturating_add(1);
        let last_received = self.clock;
        if let Some(source) = at.and_then(|at| self.list.get_mut(at)) {
            source.window.accept(index);
            source.last_received = last_received;
            self.last = at.unwrap_or_default();
            return;
        }
        let source = Source { ssrc, last_received, window: ReplayWindow::new(index) };
        if self.list.len() < MAX_SOURCES {
            self.last = self.list.len();
            self.list.push(source);
            return;
        }
        let oldest = (0..).zip(&mut self.list).min_by_key(|(_, source)| source.last_received);
        if let Some((at, oldest)) = oldest {
            *oldest = source;
            self.last = at;
        }
    }
}

/// The index nearest to the newest one (RFC 3711 appendix A); `None` if it lies before the first.
fn estimate(newest: u64, seq: u16) -> Option<u64> {
    let [.., hi, lo] = newest.to_be_bytes();
    let ahead = seq.wrapping_sub(u16::from_be_bytes([hi, lo]));
    if ahead < 0x8000 {
        newest.checked_add(u64::from(ahead))
    } else {
        newest.checked_sub(u64::from(ahead.wrapping_neg()))
    }
}

/// Length of fixed header, CSRCs and extensions.
fn header_len(buf: &[u8]) -> Option<usize> {
    let b0 = *buf.first()?;
    if b0 >> 6 != 2 {
        return None;
    }
    let mut len = usize::from(b0 & 0x0f).checked_mul(4)?.checked_add(12)?;
    if b0 & 0x10 != 0 {
        let [_, _, l0, l1] = *buf.get(len..)?.first_chunk::<4>()?;
        let words = usize::from(u16::from_be_bytes([l0, l1]));
        len = len.checked_add(4)?.checked_add(words.checked_mul(4)?)?;
    }
    (len <= buf.len()).then_some(len)
}
