//! Reading transport-wide congestion control feedback.
//!
//! * **Owns:** nothing; borrows the packet.
//! * **In:** the body of a feedback packet.
//! * **Out:** [`TccView`], and by [`TccView::statuses`] one entry per packet it reports on.
//! * **Invariant:** at most `status_count` entries, consecutive from `base_seq`; feedback whose
//!   chunks do not cover its count is refused, one whose deltas run out ends early.
//! * **Spec:** draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.

use crate::reader::Reader;

/// One feedback packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TccView<'a> {
    /// Who reports.
    pub sender: u32,
    /// Any stream of the transport.
    pub media: u32,
    /// Transport-wide number of the first packet reported on, wraps.
    pub base_seq: u16,
    /// Number of packets reported on.
    pub status_count: u16,
    /// Receiver's clock, in units of 64 ms, 24 bits, wraps; the first delta starts there.
    pub reference_time: u32,
    /// Counts feedback packets, wraps.
    pub fb_count: u8,
    chunks: Reader<'a>,
    deltas: Reader<'a>,
}

impl<'a> TccView<'a> {
    pub(super) fn read(mut body: Reader<'a>) -> Option<Self> {
        let mut view = Self {
            sender: body.u32()?,
            media: body.u32()?,
            base_seq: body.u16()?,
            status_count: body.u16()?,
            reference_time: body.u24()?,
            fb_count: body.u8()?,
            chunks: body,
            deltas: body,
        };
        let mut covered = 0_u16;
        while covered < view.status_count {
            covered = covered.saturating_add(Chunk::from_wire(view.deltas.u16()?).left);
        }
        Some(view)
    }

    /// Each packet's number, and if it arrived, how much later than the arrival before it: in
    /// units of 250 µs, negative if it overtook. The first counts from `reference_time`.
    pub fn statuses(&self) -> TccStatuses<'a> {
        TccStatuses {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk::default(),
            seq: self.base_seq,
            left: self.status_count,
        }
    }
}

/// Entries of one feedback packet, at most 65 535.
#[derive(Clone, Copy, Debug)]
pub struct TccStatuses<'a> {
    chunks: Reader<'a>,
    deltas: Reader<'a>,
    chunk: Chunk,
    seq: u16,
    left: u16,
}

impl Iterator for TccStatuses<'_> {
    type Item = (u16, Option<i32>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.chunk.left == 0 {
            self.chunk = Chunk::from_wire(self.chunks.u16()?);
        }
        let delta = match self.chunk.next_symbol() {
            SMALL => self.deltas.u8().map(|delta| Some(i32::from(delta))),
            LARGE => self.deltas.u16().map(|delta| Some(i32::from(delta.cast_signed()))),
            // Not received, or the reserved symbol, which has no delta.
            _ => Some(None),
        };
        let Some(delta) = delta else {
            self.left = 0;
            return None;
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        Some((seq, delta))
    }
}

/// One status chunk, consumed from the front.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    /// Symbols left.
    left: u16,
    /// Vectors: the next symbol stands in the top `width` bits. Runs: the symbol itself.
    bits: u16,
    /// Bits per symbol; 0 for a run.
    width: u8,
}

impl Chunk {
    fn from_wire(chunk: u16) -> Self {
        match chunk >> 14 {
            0 | 1 => Self { left: chunk & 0x1fff, bits: (chunk >> 13) & 3, width: 0 },
            2 => Self { left: 14, bits: chunk << 2, width: 1 },
            _ => Self { left: 7, bits: chunk << 2, width: 2 },
        }
    }

    fn next_symbol(&mut self) -> u16 {
        self.left = self.left.saturating_sub(1);
        let bits = self.bits;
        match self.width {
            0 => bits,
            1 => {
                self.bits = bits << 1;
                bits >> 15
            }
            _ => {
                self.bits = bits << 2;
                bits >> 14
            }
        }
    }
}

/// Received, delta of one byte, unsigned.
pub(super) const SMALL: u16 = 1;
/// Received, delta of two bytes, signed.
pub(super) const LARGE: u16 = 2;

#[cfg(test)]
mod tests {
    use crate::rtcp::{Packet, Packets};

    type Statuses<'a> = &'a [(u16, Option<i32>)];

    fn packet(base: u16, count: u16, tail: &[u8]) -> Vec<u8> {
        let mut out = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        out.extend(base.to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend([0x01, 0x02, 0x03, 9]);
        out.extend(tail);
        out.resize(out.len().next_multiple_of(4), 0);
        out[3] = (out[4..].len() / 4) as u8;
        out
    }

    #[track_caller]
    fn check(base: u16, count: u16, tail: &[u8], expect: Statuses<'_>) {
        let packet = packet(base, count, tail);
        let Some(Packet::TransportCc(view)) = Packets::new(&packet).next() else {
            panic!("not feedback");
        };
        assert_eq!((view.sender, view.media), (1, 2));
        assert_eq!((view.reference_time, view.fb_count), (0x01_0203, 9));
        let statuses: Vec<_> = view.statuses().collect();
        assert_eq!(statuses, expect);
    }

    #[test]
    fn every_kind_of_chunk() {
        // A run of three small deltas.
        check(5, 3, &[0x20, 3, 1, 2, 255], &[(5, Some(1)), (6, Some(2)), (7, Some(255))]);
        // A run of lost ones across the wrap.
        check(0xffff, 2, &[0, 2], &[(0xffff, None), (0, None)]);
        // A run of large deltas.
        check(1, 2, &[0x40, 2, 0x01, 0, 0xff, 0xff], &[(1, Some(256)), (2, Some(-1))]);
        // One bit per packet: 1 0 1 1.
        let one_bit = [0x80 | 0b10_1100, 0, 7, 8, 9];
        check(1, 4, &one_bit, &[(1, Some(7)), (2, None), (3, Some(8)), (4, Some(9))]);
        // Two bits per packet: large, lost, small, reserved.
        let two_bits = [0xc0 | 0b10_0001, 0b1100_0000, 0x80, 0, 5];
        check(1, 4, &two_bits, &[(1, Some(-32_768)), (2, None), (3, Some(5)), (4, None)]);
        // A vector, then a run.
        let mixed = [0x80, 1, 0x20, 1, 3, 4];
        let mut expect: Vec<_> = (1..=13).map(|seq| (seq, None)).collect();
        expect.extend([(14, Some(3)), (15, Some(4))]);
        check(1, 15, &mixed, &expect);
    }

    #[test]
    fn a_run_longer_than_the_count_is_cut() {
        check(5, 2, &[0x20, 9, 1, 2], &[(5, Some(1)), (6, Some(2))]);
    }

    #[test]
    fn deltas_that_run_out_end_the_feedback() {
        check(5, 9, &[0x20, 9, 1, 2], &[(5, Some(1)), (6, Some(2))]);
    }

    #[test]
    fn chunks_that_do_not_cover_the_count_are_refused() {
        for tail in [[0x20, 9, 0x20, 0].as_slice(), &[], &[0x20, 1]] {
            let packet = packet(5, 99, tail);
            let first = Packets::new(&packet).next();
            assert!(matches!(first, Some(Packet::Unknown { .. })), "{tail:?}");
        }
    }
}
