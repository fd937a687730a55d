//! Extended reports: round-trip time for those who only receive.
//!
//! * **Owns:** nothing; borrows the packet.
//! * **In:** the body of an XR packet behind its sender.
//! * **Out:** [`XrBlocks`], an iterator of [`XrBlock`].
//! * **Invariant:** a block whose length does not fit ends the iteration.
//! * **Spec:** RFC 3611 §3, §4.4 (receiver reference time), §4.5 (DLRR).

use crate::reader::Reader;

/// One block of an extended report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum XrBlock<'a> {
    /// A receiver says what time it is, and wants a DLRR block in return.
    ReceiverReferenceTime {
        /// NTP time, 32.32 fixed point.
        ntp: u64,
    },
    /// The answer to such blocks.
    Dlrr(DlrrReports<'a>),
    /// A block that we do not read, or too short for its type.
    Unknown {
        /// The block type byte.
        block_type: u8,
    },
}

/// The answer to one receiver.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DlrrReport {
    /// The receiver.
    pub ssrc: u32,
    /// Middle 32 bits of its reference time: units of 2^-16 s.
    pub last_rr: u32,
    /// Time since that arrived, in units of 2^-16 s.
    pub delay: u32,
}

/// The answers of one DLRR block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DlrrReports<'a>(Reader<'a>);

impl Iterator for DlrrReports<'_> {
    type Item = DlrrReport;

    fn next(&mut self) -> Option<DlrrReport> {
        let mut report = Reader(self.0.chunk::<12>()?);
        Some(DlrrReport { ssrc: report.u32()?, last_rr: report.u32()?, delay: report.u32()? })
    }
}

/// The blocks of one extended report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct XrBlocks<'a>(Reader<'a>);

impl<'a> XrBlocks<'a> {
    pub(super) fn new(body: Reader<'a>) -> Self {
        Self(body)
    }

    fn read(&mut self) -> Option<XrBlock<'a>> {
        let [block_type, _, l0, l1] = *self.0.chunk()?;
        let len = usize::from(u16::from_be_bytes([l0, l1])).saturating_mul(4);
        let mut block = Reader(self.0.take(len)?);
        Some(match (block_type, len) {
            (RECEIVER_REFERENCE_TIME, 8) => XrBlock::ReceiverReferenceTime { ntp: block.u64()? },
            (DLRR, _) => XrBlock::Dlrr(DlrrReports(block)),
            _ => XrBlock::Unknown { block_type },
        })
    }
}

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.read();
        if block.is_none() {
            self.0 = Reader::default();
        }
        block
    }
}

pub(super) const RECEIVER_REFERENCE_TIME: u8 = 4;
pub(super) const DLRR: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: [u8; 44] = [
        4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, // reference time
        9, 0, 0, 0, // unknown and empty
        5, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6,
    ];

    #[test]
    fn blocks_are_read_in_order() {
        let blocks: Vec<_> = XrBlocks::new(Reader(&BODY)).collect();
        let [time, unknown, XrBlock::Dlrr(reports)] = *blocks.as_slice() else {
            panic!("{blocks:?}");
        };
        assert_eq!(time, XrBlock::ReceiverReferenceTime { ntp: 0x0102_0304_0506_0708 });
        assert_eq!(unknown, XrBlock::Unknown { block_type: 9 });
        let expect = [
            DlrrReport { ssrc: 1, last_rr: 2, delay: 3 },
            DlrrReport { ssrc: 4, last_rr: 5, delay: 6 },
        ];
        assert!(reports.eq(expect));
    }

    #[test]
    fn a_truncated_block_ends_the_report() {
        for (n, expect) in (0..44).map(|n| (n, if n < 12 { 0 } else { 1 + usize::from(n >= 16) })) {
            assert_eq!(XrBlocks::new(Reader(&BODY[..n])).count(), expect, "{n} bytes");
        }
    }
}
