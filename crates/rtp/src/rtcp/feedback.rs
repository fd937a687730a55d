//! Bodies of NACK, FIR, REMB and BYE.
//!
//! * **Owns:** nothing; borrows the packet.
//! * **In:** the body behind the two SSRCs of a feedback packet.
//! * **Out:** [`NackSeqs`], [`FirEntries`], [`Ssrcs`].
//! * **Invariant:** an iterator ends with the packet; a rest too short for an entry is ignored.
//! * **Spec:** RFC 4585 §6.2.1, RFC 5104 §4.3.1.1, draft-alvestrand-rmcat-remb-03 §2.2.

use hearth_units::Bitrate;

use super::Packet;
use crate::reader::Reader;

/// Sequence numbers of a generic NACK, in the order of the packet; at most 17 per four bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NackSeqs<'a> {
    pairs: Reader<'a>,
    next: u16,
    /// Bit 0 stands for `next`.
    pending: u32,
}

impl<'a> NackSeqs<'a> {
    pub(super) fn new(pairs: Reader<'a>) -> Self {
        Self { pairs, next: 0, pending: 0 }
    }
}

impl Iterator for NackSeqs<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.pending == 0 {
            let [p0, p1, b0, b1] = *self.pairs.chunk()?;
            self.next = u16::from_be_bytes([p0, p1]);
            self.pending = (u32::from(u16::from_be_bytes([b0, b1])) << 1) | 1;
        }
        let skip = self.pending.trailing_zeros();
        let seq = self.next.wrapping_add(skip as u16);
        self.next = seq.wrapping_add(1);
        self.pending = self.pending.unbounded_shr(skip.saturating_add(1));
        Some(seq)
    }
}

/// One stream of a full intra request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FirEntry {
    /// The stream that needs a key frame.
    pub ssrc: u32,
    /// Counts requests up; the same number again is a retransmission of the request. Wraps.
    pub command: u8,
}

/// The entries of a full intra request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirEntries<'a>(Reader<'a>);

impl<'a> FirEntries<'a> {
    pub(super) fn new(body: Reader<'a>) -> Self {
        Self(body)
    }
}

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let [s0, s1, s2, s3, command, _, _, _] = *self.0.chunk()?;
        Some(FirEntry { ssrc: u32::from_be_bytes([s0, s1, s2, s3]), command })
    }
}

/// A list of SSRCs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ssrcs<'a>(Reader<'a>);

impl<'a> Ssrcs<'a> {
    /// `None` if `body` is shorter than `count` SSRCs; what stands behind them is ignored.
    pub(super) fn new(count: u8, mut body: Reader<'a>) -> Option<Self> {
        body.take(usize::from(count).saturating_mul(4)).map(|ssrcs| Self(Reader(ssrcs)))
    }
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.u32()
    }
}

/// Reads application layer feedback; `None` if it is not REMB.
pub(super) fn read_remb(mut body: Reader<'_>) -> Option<Packet<'_>> {
    let (sender, _media) = (body.u32()?, body.u32()?);
    if body.chunk()? != b"REMB" {
        return None;
    }
    let count = body.u8()?;
    let word = body.u24()?;
    let (exponent, mantissa) = (word >> 18, u64::from(word & 0x3_ffff));
    let bps = if exponent > mantissa.leading_zeros() {
        u64::MAX
    } else {
        mantissa.unbounded_shl(exponent)
    };
    let ssrcs = Ssrcs::new(count, body)?;
    Some(Packet::Remb { sender, bitrate: Bitrate::from_bps(bps), ssrcs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::Packets;

    #[track_caller]
    fn check_nack(pairs: &[u8], expect: &[u16]) {
        let seqs: Vec<_> = NackSeqs::new(Reader(pairs)).collect();
        assert_eq!(seqs, expect);
    }

    #[test]
    fn a_nack_names_a_number_and_up_to_sixteen_after_it() {
        check_nack(&[], &[]);
        check_nack(&[0, 7], &[]);
        check_nack(&[0, 7, 0, 0], &[7]);
        check_nack(&[0, 7, 0, 1], &[7, 8]);
        check_nack(&[0, 7, 0x80, 0], &[7, 23]);
        check_nack(&[0xff, 0xff, 0, 5], &[0xffff, 0, 2]);
        check_nack(&[0, 7, 0, 1, 0, 100, 0, 2], &[7, 8, 100, 102]);
        let all: Vec<_> = (7..=23).collect();
        check_nack(&[0, 7, 0xff, 0xff], &all);
    }

    #[test]
    fn a_fir_names_every_stream() {
        let packet = [
            0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9, 0, 0, 0, 0, 0, 0, 3, 10, 0, 0,
            0,
        ];
        let Some(Packet::Fir { sender: 1, entries }) = Packets::new(&packet).next() else {
            panic!("not a FIR");
        };
        let expect = [FirEntry { ssrc: 2, command: 9 }, FirEntry { ssrc: 3, command: 10 }];
        assert!(entries.eq(expect));
    }

    #[track_caller]
    fn check_remb(exp_mantissa: [u8; 3], expect_bps: u64) {
        let [a, b, c] = exp_mantissa;
        let packet = [
            0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, a, b, c, 0, 0, 0, 7,
        ];
        let Some(Packet::Remb { sender: 1, bitrate, mut ssrcs }) = Packets::new(&packet).next()
        else {
            panic!("not a REMB");
        };
        assert_eq!(bitrate.bps(), expect_bps);
        assert_eq!((ssrcs.next(), ssrcs.next()), (Some(7), None));
    }

    #[test]
    fn remb_is_a_mantissa_and_an_exponent() {
        check_remb([0, 0, 0], 0);
        check_remb([0, 0, 5], 5);
        check_remb([0x04, 0, 5], 10);
        check_remb([0x1b, 0xff, 0xff], 0x3_ffff << 6);
        check_remb([0xfc, 0, 1], 1 << 63);
        check_remb([0xfc, 0, 2], u64::MAX);
        check_remb([0xfc, 0, 0], 0);
        check_remb([0xff, 0xff, 0xff], u64::MAX);
    }
}
