//! Writing a compound packet.
//!
//! * **Owns:** how much of the caller's buffer is written.
//! * **In:** one call per packet, in the order they are to stand.
//! * **Out:** [`Writer::len`] bytes at the front of the buffer.
//! * **Invariant:** a packet that does not fit returns `None` and leaves those before it as they
//!   are; every packet is a multiple of four bytes and parses back.
//! * **Spec:** RFC 3550 §6, RFC 4585 §6, RFC 5104 §4.3.1, RFC 3611 §4. A compound packet starts
//!   with a report unless reduced size (RFC 5506) was negotiated: that is up to the caller.

use super::xr::{DLRR, RECEIVER_REFERENCE_TIME};
use super::{
    BYE, DlrrReport, EXTENDED_REPORT, FIR, NACK, PAYLOAD_FEEDBACK, PLI, RECEIVER_REPORT,
    ReportBlock, SDES, SENDER_REPORT, TRANSPORT_FEEDBACK,
};

/// What a sender report says of its sender.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SenderInfo {
    /// Who sends.
    pub ssrc: u32,
    /// NTP time of the report: seconds since 1900, 32.32 fixed point.
    pub ntp: u64,
    /// The same moment as an RTP timestamp of `ssrc`.
    pub rtp_time: u32,
    /// Packets sent, wraps.
    pub packets: u32,
    /// Payload bytes sent, wraps.
    pub octets: u32,
}

/// Appends RTCP packets to a buffer. Each method returns the length of the packet it wrote.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the front of `buf`; the caller keeps room for SRTCP's trailer out of it.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What has been written.
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// SR; at most 31 reports.
    pub fn sender_report(&mut self, info: &SenderInfo, reports: &[ReportBlock]) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(info.ssrc)?;
        packet.put(&info.ntp.to_be_bytes())?;
        packet.u32(info.rtp_time)?;
        packet.u32(info.packets)?;
        packet.u32(info.octets)?;
        let count = packet.reports(reports)?;
        packet.finish(count, SENDER_REPORT)
    }

    /// RR; at most 31 reports, and none at all is fine.
    pub fn receiver_report(&mut self, ssrc: u32, reports: &[ReportBlock]) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(ssrc)?;
        let count = packet.reports(reports)?;
        packet.finish(count, RECEIVER_REPORT)
    }

    /// SDES with one CNAME of at most 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(ssrc)?;
        packet.put(&[1, u8::try_from(cname.len()).ok()?])?;
        packet.put(cname.as_bytes())?;
        // The list of items ends with at least one zero; finish() pads with more.
        packet.put(&[0])?;
        packet.finish(1, SDES)
    }

    /// BYE of 1 to 31 sources, without a reason.
    pub fn bye(&mut self, ssrcs: &[u32]) -> Option<usize> {
        let count = u8::try_from(ssrcs.len()).ok().filter(|count| matches!(count, 1..=31))?;
        let mut packet = self.begin();
        for ssrc in ssrcs {
            packet.u32(*ssrc)?;
        }
        packet.finish(count, BYE)
    }

    /// Generic NACK for `seqs`, ascending (across the wrap too). `None` also if there are none.
    pub fn nack(&mut self, sender: u32, media: u32, seqs: &[u16]) -> Option<usize> {
        let (first, rest) = seqs.split_first()?;
        let mut packet = self.begin();
        packet.u32(sender)?;
        packet.u32(media)?;
        let (mut pid, mut following) = (*first, 0_u16);
        for seq in rest {
            match seq.wrapping_sub(pid) {
                0 => {}
                ahead @ 1..=16 => {
                    following |= 0x8000_u16.unbounded_shr(16_u32.wrapping_sub(ahead.into()))
                }
                _ => {
                    packet.u32(pair(pid, following))?;
                    (pid, following) = (*seq, 0);
                }
            }
        }
        packet.u32(pair(pid, following))?;
        packet.finish(NACK, TRANSPORT_FEEDBACK)
    }

    /// Picture loss indication.
    pub fn pli(&mut self, sender: u32, media: u32) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(sender)?;
        packet.u32(media)?;
        packet.finish(PLI, PAYLOAD_FEEDBACK)
    }

    /// Full intra request for one stream.
    ///
    /// * `command` – counts requests up; a retransmission of a request keeps the number.
    pub fn fir(&mut self, sender: u32, media: u32, command: u8) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(sender)?;
        // The media SSRC of the feedback header is unused (RFC 5104 §4.3.1.2).
        packet.u32(0)?;
        packet.u32(media)?;
        packet.put(&[command, 0, 0, 0])?;
        packet.finish(FIR, PAYLOAD_FEEDBACK)
    }

    /// XR: our time, to which a sender answers with a DLRR block.
    ///
    /// * `ntp` – seconds since 1900, 32.32 fixed point.
    pub fn xr_reference_time(&mut self, sender: u32, ntp: u64) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(sender)?;
        packet.put(&[RECEIVER_REFERENCE_TIME, 0, 0, 2])?;
        packet.put(&ntp.to_be_bytes())?;
        packet.finish(0, EXTENDED_REPORT)
    }

    /// XR: the answer to one receiver's reference time.
    pub fn xr_dlrr(&mut self, sender: u32, report: DlrrReport) -> Option<usize> {
        let mut packet = self.begin();
        packet.u32(sender)?;
        packet.put(&[DLRR, 0, 0, 3])?;
        packet.u32(report.ssrc)?;
        packet.u32(report.last_rr)?;
        packet.u32(report.delay)?;
        packet.finish(0, EXTENDED_REPORT)
    }

    /// Starts a packet behind those already written; it counts once finished.
    pub(super) fn begin(&mut self) -> PacketWriter<'_> {
        let rest = self.buf.get_mut(self.len..).unwrap_or_default();
        PacketWriter { buf: rest, at: HEADER, total: &mut self.len }
    }
}

/// One packet being written; dropped unfinished, it leaves no trace.
pub(super) struct PacketWriter<'a> {
    buf: &'a mut [u8],
    at: usize,
    total: &'a mut usize,
}

impl PacketWriter<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        self.buf.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    pub(super) fn u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    fn reports(&mut self, reports: &[ReportBlock]) -> Option<u8> {
        let count = u8::try_from(reports.len()).ok().filter(|count| *count <= 31)?;
        for report in reports {
            self.put(&report.to_bytes())?;
        }
        Some(count)
    }

    /// Ends with zeros that belong to the body.
    fn finish(mut self, count: u8, packet_type: u8) -> Option<usize> {
        while !self.at.is_multiple_of(4) {
            self.put(&[0])?;
        }
        self.write_header(0x80 | count, packet_type)
    }

    /// Ends with padding that says so (RFC 3550 §6.4.1, P bit).
    pub(super) fn finish_padded(mut self, count: u8, packet_type: u8) -> Option<usize> {
        let (pad, padding): (u8, &[u8]) = match self.at % 4 {
            1 => (0x20, &[0, 0, 3]),
            2 => (0x20, &[0, 2]),
            3 => (0x20, &[1]),
            _ => (0, &[]),
        };
        self.put(padding)?;
        self.write_header(0x80 | pad | count, packet_type)
    }

    fn write_header(self, b0: u8, packet_type: u8) -> Option<usize> {
        let words = self.at.checked_div(4)?.checked_sub(1)?;
        let [l0, l1] = u16::try_from(words).ok()?.to_be_bytes();
        *self.buf.first_chunk_mut()? = [b0, packet_type, l0, l1];
        *self.total = self.total.checked_add(self.at)?;
        Some(self.at)
    }
}

fn pair(pid: u16, following: u16) -> u32 {
    (u32::from(pid) << 16) | u32::from(following)
}

const HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{FirEntry, Packet, Packets, XrBlock};

    const REPORT: ReportBlock = ReportBlock {
        ssrc: 1,
        fraction_lost: 2,
        cumulative_lost: -3,
        highest_seq: 0x0004_0005,
        jitter: 6,
        last_sr: 7,
        delay_since_last_sr: 8,
    };

    const INFO: SenderInfo =
        SenderInfo { ssrc: 1, ntp: 0x0203_0405_0607_0809, rtp_time: 10, packets: 11, octets: 12 };

    /// Writes one packet, after checking that no shorter buffer takes it and leaves a trace.
    fn written(write: impl Fn(&mut Writer<'_>) -> Option<usize>) -> Vec<u8> {
        let mut buf = [0xee; 1_500];
        let len = write(&mut Writer::new(&mut buf)).unwrap();
        assert_eq!(len % 4, 0);
        for short in 0..len {
            let mut buf = [0xee; 1_500];
            let mut writer = Writer::new(&mut buf[..short]);
            assert_eq!((write(&mut writer), writer.len()), (None, 0), "{short} of {len} bytes");
        }
        buf[..len].to_vec()
    }

    #[test]
    fn reports_are_read_back() {
        let bytes = written(|w| w.sender_report(&INFO, &[REPORT; 31]));
        let Some(Packet::SenderReport { ssrc, ntp, rtp_time, packets, octets, reports }) =
            Packets::new(&bytes).next()
        else {
            panic!("not a sender report");
        };
        assert_eq!(SenderInfo { ssrc, ntp, rtp_time, packets, octets }, INFO);
        assert!(reports.eq([REPORT; 31]));

        let bytes = written(|w| w.receiver_report(9, &[REPORT]));
        let Some(Packet::ReceiverReport { ssrc: 9, reports }) = Packets::new(&bytes).next() else {
            panic!("not a receiver report");
        };
        assert!(reports.eq([REPORT]));
    }

    #[test]
    fn more_than_31_reports_do_not_fit_the_count() {
        let mut buf = [0; 1_500];
        assert_eq!(Writer::new(&mut buf).receiver_report(9, &[REPORT; 32]), None);
        assert_eq!(Writer::new(&mut buf).bye(&[1; 32]), None);
        assert_eq!(Writer::new(&mut buf).bye(&[]), None);
    }

    #[test]
    fn a_loss_count_is_clamped_to_24_bits() {
        for (lost, expect) in [(0x7fff_ffff, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
            let report = ReportBlock { cumulative_lost: lost, ..REPORT };
            let bytes = written(|w| w.receiver_report(9, &[report]));
            let Some(Packet::ReceiverReport { mut reports, .. }) = Packets::new(&bytes).next()
            else {
                panic!("not a receiver report");
            };
            assert_eq!(reports.next().unwrap().cumulative_lost, expect);
        }
    }

    #[test]
    fn a_cname_ends_with_one_to_four_zeros() {
        let table: [(&str, &[u8]); 3] = [
            ("", &[0x81, 202, 0, 2, 0, 0, 0, 5, 1, 0, 0, 0]),
            ("a", &[0x81, 202, 0, 2, 0, 0, 0, 5, 1, 1, b'a', 0]),
            ("ab", &[0x81, 202, 0, 3, 0, 0, 0, 5, 1, 2, b'a', b'b', 0, 0, 0, 0]),
        ];
        for (cname, expect) in table {
            assert_eq!(written(|w| w.sdes_cname(5, cname)), expect);
        }
        let mut buf = [0; 1_500];
        assert_eq!(Writer::new(&mut buf).sdes_cname(5, &"x".repeat(256)), None);
    }

    #[track_caller]
    fn check_nack(seqs: &[u16], expect_pairs: usize) {
        let bytes = written(|w| w.nack(1, 2, seqs));
        assert_eq!(bytes[12..].len() / 4, expect_pairs);
        let Some(Packet::Nack { sender: 1, media: 2, seqs: read }) = Packets::new(&bytes).next()
        else {
            panic!("not a NACK");
        };
        let mut expect = seqs.to_vec();
        expect.dedup();
        assert_eq!(read.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn a_nack_packs_seventeen_numbers_into_a_pair() {
        check_nack(&[7], 1);
        check_nack(&[7, 7, 8], 1);
        check_nack(&[7, 23], 1);
        check_nack(&[7, 24], 2);
        check_nack(&(7..24).collect::<Vec<_>>(), 1);
        check_nack(&(7..25).collect::<Vec<_>>(), 2);
        check_nack(&[0xfff0, 0xffff, 0], 1);
        check_nack(&[0xffff, 0, 15, 16], 2);
        let mut buf = [0; 100];
        assert_eq!(Writer::new(&mut buf).nack(1, 2, &[]), None);
    }

    #[test]
    fn the_short_packets_are_read_back() {
        let bytes = written(|w| w.pli(1, 2));
        assert_eq!(Packets::new(&bytes).next(), Some(Packet::Pli { sender: 1, media: 2 }));

        let bytes = written(|w| w.fir(1, 2, 3));
        let Some(Packet::Fir { sender: 1, entries }) = Packets::new(&bytes).next() else {
            panic!("not a FIR");
        };
        assert!(entries.eq([FirEntry { ssrc: 2, command: 3 }]));

        let bytes = written(|w| w.bye(&[5, 6]));
        let Some(Packet::Bye { ssrcs }) = Packets::new(&bytes).next() else {
            panic!("not a BYE");
        };
        assert!(ssrcs.eq([5, 6]));

        let bytes = written(|w| w.xr_reference_time(1, 77));
        let Some(Packet::Xr { sender: 1, blocks }) = Packets::new(&bytes).next() else {
            panic!("not an XR");
        };
        assert!(blocks.eq([XrBlock::ReceiverReferenceTime { ntp: 77 }]));

        let answer = DlrrReport { ssrc: 3, last_rr: 4, delay: 5 };
        let bytes = written(|w| w.xr_dlrr(1, answer));
        let Some(Packet::Xr { sender: 1, mut blocks }) = Packets::new(&bytes).next() else {
            panic!("not an XR");
        };
        let Some(XrBlock::Dlrr(reports)) = blocks.next() else { panic!("no DLRR") };
        assert!(reports.eq([answer]));
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_those_before_it() {
        let mut buf = [0; 36];
        let mut writer = Writer::new(&mut buf);
        assert!(writer.is_empty());
        assert_eq!(writer.receiver_report(1, &[]), Some(8));
        assert_eq!(writer.pli(1, 2), Some(12));
        assert_eq!(writer.sender_report(&INFO, &[]), None);
        assert_eq!(writer.pli(1, 3), Some(12));
        assert_eq!(writer.len(), 32);
        let kinds: Vec<_> = Packets::new(writer.as_bytes()).skip(1).collect();
        assert_eq!(
            kinds,
            [Packet::Pli { sender: 1, media: 2 }, Packet::Pli { sender: 1, media: 3 }]
        );
    }
}
