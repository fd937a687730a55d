//! Report blocks of sender and receiver reports.
//!
//! * **Owns:** nothing; borrows the packet.
//! * **In:** the body of a report behind its sender's fields.
//! * **Out:** [`Reports`], an iterator of [`ReportBlock`].
//! * **Invariant:** a report with fewer blocks than its count is refused as a whole.
//! * **Spec:** RFC 3550 §6.4.1.

use crate::reader::Reader;

/// How one receiver gets one stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Lost since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning: 24 bits signed, negative if duplicates outnumber losses.
    pub cumulative_lost: i32,
    /// Highest sequence number received: low 16 bits, and the count of wraps above them.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// NTP time of the last sender report, middle 32 bits: units of 2^-16 s; 0 if there was none.
    pub last_sr: u32,
    /// Time since that report arrived, in units of 2^-16 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Length on the wire in bytes.
    pub(super) const LEN: usize = 24;

    fn read(body: &mut Reader<'_>) -> Option<Self> {
        let ssrc = body.u32()?;
        let fraction_lost = body.u8()?;
        let lost = body.u24()?;
        Some(Self {
            ssrc,
            fraction_lost,
            // Sign-extends from 24 bits.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_seq: body.u32()?,
            jitter: body.u32()?,
            last_sr: body.u32()?,
            delay_since_last_sr: body.u32()?,
        })
    }

    /// The block on the wire; a loss count beyond 24 bits is clamped (RFC 3550 §A.3).
    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        let loss = (u32::from(self.fraction_lost) << 24) | lost;
        let words = [
            self.ssrc,
            loss,
            self.highest_seq,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        let mut out = [0; Self::LEN];
        for (slot, word) in out.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}

/// The report blocks of one packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reports<'a>(Reader<'a>);

impl<'a> Reports<'a> {
    /// `None` if `body` is shorter than `count` blocks; profile-specific bytes behind are ignored.
    pub(super) fn new(count: u8, mut body: Reader<'a>) -> Option<Self> {
        let len = usize::from(count).saturating_mul(ReportBlock::LEN);
        body.take(len).map(|blocks| Self(Reader(blocks)))
    }
}

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        ReportBlock::read(&mut self.0)
    }
}
