//! RTCP: an iterator over a compound packet, and a writer of one.
//!
//! * **Owns:** nothing; borrows the receive buffer.
//! * **In:** a decrypted compound packet.
//! * **Out:** [`Packets`], an iterator of [`Packet`]; [`Writer`] for the other direction.
//! * **Invariant:** a packet whose length field does not fit ends the iteration; one whose body
//!   does not make sense is [`Packet::Unknown`], and the next one is still read.
//! * **Spec:** RFC 3550 §6, RFC 4585 §6, RFC 5104 §4.3.1 (FIR), RFC 3611 (XR),
//!   draft-holmer-rmcat-transport-wide-cc-extensions-01, draft-alvestrand-rmcat-remb-03.

mod feedback;
mod report;
mod tcc;
mod write;
mod write_tcc;
mod xr;

pub use feedback::{FirEntries, FirEntry, NackSeqs, Ssrcs};
pub use report::{ReportBlock, Reports};
pub use tcc::{TccStatuses, TccView};
pub use write::{SenderInfo, Writer};
pub use write_tcc::TccHeader;
pub use xr::{DlrrReport, DlrrReports, XrBlock, XrBlocks};

use hearth_units::Bitrate;

use crate::reader::Reader;

/// One packet of a compound packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packet<'a> {
    /// SR (RFC 3550 §6.4.1).
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// NTP time of the report: seconds since 1900, 32.32 fixed point.
        ntp: u64,
        /// The same moment as an RTP timestamp of `ssrc`.
        rtp_time: u32,
        /// Packets sent, wraps.
        packets: u32,
        /// Payload bytes sent, wraps.
        octets: u32,
        /// What the sender receives of others.
        reports: Reports<'a>,
    },
    /// RR (RFC 3550 §6.4.2).
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it receives.
        reports: Reports<'a>,
    },
    /// SDES; its contents are of no use to us.
    Sdes,
    /// BYE (RFC 3550 §6.6).
    Bye {
        /// Who leaves.
        ssrcs: Ssrcs<'a>,
    },
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack {
        /// Who asks.
        sender: u32,
        /// The stream with the losses.
        media: u32,
        /// The numbers that are missing.
        seqs: NackSeqs<'a>,
    },
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli {
        /// Who asks.
        sender: u32,
        /// The stream that needs a key frame.
        media: u32,
    },
    /// Full intra request (RFC 5104 §4.3.1).
    Fir {
        /// Who asks.
        sender: u32,
        /// The streams that need a key frame.
        entries: FirEntries<'a>,
    },
    /// Transport-wide congestion control feedback.
    TransportCc(TccView<'a>),
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Who estimates.
        sender: u32,
        /// For all of `ssrcs` together; saturated if the packet says more.
        bitrate: Bitrate,
        /// The streams it is about.
        ssrcs: Ssrcs<'a>,
    },
    /// Extended report (RFC 3611 §2).
    Xr {
        /// Who reports.
        sender: u32,
        /// Its blocks.
        blocks: XrBlocks<'a>,
    },
    /// A type that we do not read, or a body that is too short for its type.
    Unknown {
        /// The packet type byte.
        packet_type: u8,
        /// Count or feedback message type, 5 bits.
        count: u8,
    },
}

/// The packets of a compound packet, in order.
#[derive(Clone, Copy, Debug)]
pub struct Packets<'a>(Reader<'a>);

impl<'a> Packets<'a> {
    /// Starts at the first byte of a decrypted compound packet.
    pub fn new(compound: &'a [u8]) -> Self {
        Self(Reader(compound))
    }

    fn read(&mut self) -> Option<Packet<'a>> {
        let [b0, packet_type, l0, l1] = *self.0.chunk()?;
        if b0 >> 6 != 2 {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([l0, l1])).saturating_mul(4);
        let body = self.0.take(len)?;
        let count = b0 & 0x1f;
        let body = if b0 & 0x20 == 0 { Some(body) } else { without_padding(body) };
        let known = body.and_then(|body| read_body(packet_type, count, Reader(body)));
        Some(known.unwrap_or(Packet::Unknown { packet_type, count }))
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let packet = self.read();
        if packet.is_none() {
            self.0 = Reader::default();
        }
        packet
    }
}

fn without_padding(body: &[u8]) -> Option<&[u8]> {
    let pad = usize::from(*body.last()?);
    body.get(..body.len().checked_sub(pad)?).filter(|_| pad != 0)
}

fn read_body(packet_type: u8, count: u8, mut body: Reader<'_>) -> Option<Packet<'_>> {
    Some(match (packet_type, count) {
        (SENDER_REPORT, _) => Packet::SenderReport {
            ssrc: body.u32()?,
            ntp: body.u64()?,
            rtp_time: body.u32()?,
            packets: body.u32()?,
            octets: body.u32()?,
            reports: Reports::new(count, body)?,
        },
        (RECEIVER_REPORT, _) => {
            Packet::ReceiverReport { ssrc: body.u32()?, reports: Reports::new(count, body)? }
        }
        (SDES, _) => Packet::Sdes,
        (BYE, _) => Packet::Bye { ssrcs: Ssrcs::new(count, body)? },
        (TRANSPORT_FEEDBACK, NACK) => {
            Packet::Nack { sender: body.u32()?, media: body.u32()?, seqs: NackSeqs::new(body) }
        }
        (TRANSPORT_FEEDBACK, TRANSPORT_CC) => Packet::TransportCc(TccView::read(body)?),
        (PAYLOAD_FEEDBACK, PLI) => Packet::Pli { sender: body.u32()?, media: body.u32()? },
        (PAYLOAD_FEEDBACK, FIR) => {
            let (sender, _media) = (body.u32()?, body.u32()?);
            Packet::Fir { sender, entries: FirEntries::new(body) }
        }
        (PAYLOAD_FEEDBACK, APPLICATION) => feedback::read_remb(body)?,
        (EXTENDED_REPORT, _) => Packet::Xr { sender: body.u32()?, blocks: XrBlocks::new(body) },
        _ => return None,
    })
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

const NACK: u8 = 1;
const TRANSPORT_CC: u8 = 15;
const PLI: u8 = 1;
const FIR: u8 = 4;
const APPLICATION: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    /// Follows every iterator inside a packet to its end.
    fn exhaust(packet: Packet<'_>) -> usize {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                reports.count()
            }
            Packet::Bye { ssrcs } | Packet::Remb { ssrcs, .. } => ssrcs.count(),
            Packet::Nack { seqs, .. } => seqs.count(),
            Packet::Fir { entries, .. } => entries.count(),
            Packet::TransportCc(view) => view.statuses().count(),
            Packet::Xr { blocks, .. } => blocks
                .map(|block| match block {
                    XrBlock::Dlrr(reports) => reports.count(),
                    XrBlock::ReceiverReferenceTime { .. } | XrBlock::Unknown { .. } => 1,
                })
                .sum(),
            Packet::Sdes | Packet::Pli { .. } | Packet::Unknown { .. } => 1,
        }
    }

    #[test]
    fn a_compound_packet_is_read_in_order() {
        let compound = [
            [0x80, 201, 0, 1, 0, 0, 0, 5].as_slice(),
            &[0x81, 202, 0, 2, 0, 0, 0, 5, 1, 1, b'x', 0],
            &[0x80, 204, 0, 0],
            &[0x81, 206, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6],
        ]
        .concat();
        let packets: Vec<_> = Packets::new(&compound).collect();
        let [rr, sdes, app, pli] = packets.as_slice() else { panic!("{packets:?}") };
        assert!(matches!(rr, Packet::ReceiverReport { ssrc: 5, .. }));
        assert_eq!(*sdes, Packet::Sdes);
        assert_eq!(*app, Packet::Unknown { packet_type: 204, count: 0 });
        assert_eq!(*pli, Packet::Pli { sender: 5, media: 6 });
    }

    #[test]
    fn a_body_that_makes_no_sense_does_not_hide_the_next_packet() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6];
        let table: [&[u8]; 6] = [
            &[0x80, 201, 0, 0],
            &[0x81, 201, 0, 1, 0, 0, 0, 5],
            &[0x81, 206, 0, 1, 0, 0, 0, 5],
            &[0x8f, 206, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0],
            &[0xa1, 206, 0, 2, 0, 0, 0, 5, 0, 0, 0, 99],
            &[0x82, 203, 0, 1, 0, 0, 0, 5],
        ];
        for broken in table {
            let compound = [broken, &pli].concat();
            let packets: Vec<_> = Packets::new(&compound).collect();
            assert!(matches!(packets[0], Packet::Unknown { .. }), "{broken:?}");
            assert_eq!(packets[1], Packet::Pli { sender: 5, media: 6 }, "{broken:?}");
        }
    }

    #[test]
    fn padding_is_taken_off_before_the_body_is_read() {
        let padded = [0xa1, 203, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4];
        let Some(Packet::Bye { mut ssrcs }) = Packets::new(&padded).next() else { panic!() };
        assert_eq!((ssrcs.next(), ssrcs.next()), (Some(5), None));
    }

    #[test]
    fn a_wrong_version_or_length_ends_the_iteration() {
        assert_eq!(Packets::new(&[0x41, 206, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]).count(), 0);
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6];
        for n in 0..pli.len() {
            assert_eq!(Packets::new(&pli[..n]).count(), 0, "{n} bytes");
        }
    }

    #[test]
    fn random_bytes_do_not_panic() {
        let mut known = 0_u32;
        each_seed(|noise| {
            let mut compound = Vec::new();
            for _ in 0..3 {
                let mut body = noise.bytes(60);
                body.resize(body.len().next_multiple_of(4), 0);
                let types = [200, 201, 202, 203, 204, 205, 206, 207];
                let counts = [0, 1, 2, 4, 15, 31];
                let b0 = 0x80 | (noise.bits() as u8 & 0x20) | counts[noise.bits() as usize % 6];
                compound.extend([b0, types[noise.bits() as usize % 8], 0, (body.len() / 4) as u8]);
                compound.extend(body);
            }
            compound.extend(noise.bytes(9));
            for packet in Packets::new(&compound) {
                known += u32::from(!matches!(packet, Packet::Unknown { .. }));
                exhaust(packet);
            }
        });
        assert!(known > 1_000, "only {known} were understood");
    }
}
