//! A compound RTCP packet: lists end with the packet, and what can be written reads back the same.
#![no_main]

use std::collections::BTreeSet;

use hearth_rtp::rtcp::{Packet, Packets, SenderInfo, TccHeader, Writer, XrBlock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|compound: &[u8]| {
    let packets: Vec<_> = Packets::new(compound).collect();
    assert!(packets.len() <= compound.len() / 4);
    // Status chunks of feedback can need more room than before, but not twice as much.
    let mut buf = vec![0; 2 * compound.len() + 64];
    for packet in packets {
        let mut writer = Writer::new(&mut buf);
        match packet {
            Packet::SenderReport { ssrc, ntp, rtp_time, packets, octets, reports } => {
                let info = SenderInfo { ssrc, ntp, rtp_time, packets, octets };
                let reports: Vec<_> = reports.collect();
                writer.sender_report(&info, &reports).expect("it fitted before");
                assert_eq!(only(&writer), packet);
            }
            Packet::ReceiverReport { ssrc, reports } => {
                let reports: Vec<_> = reports.collect();
                writer.receiver_report(ssrc, &reports).expect("it fitted before");
                assert_eq!(only(&writer), packet);
            }
            Packet::Bye { ssrcs } => {
                let ssrcs: Vec<_> = ssrcs.collect();
                assert_eq!(writer.bye(&ssrcs).is_some(), !ssrcs.is_empty());
                assert!(ssrcs.is_empty() || only(&writer) == packet);
            }
            Packet::Nack { sender, media, seqs } => {
                let seqs: Vec<_> = seqs.collect();
                assert!(seqs.len() <= compound.len() / 4 * 17);
                if writer.nack(sender, media, &seqs).is_none() {
                    assert!(seqs.is_empty());
                    continue;
                }
                let Packet::Nack { seqs: read, .. } = only(&writer) else { panic!("no NACK") };
                assert_eq!(read.collect::<BTreeSet<_>>(), BTreeSet::from_iter(seqs));
            }
            Packet::Pli { sender, media } => {
                writer.pli(sender, media).expect("it fitted before");
                assert_eq!(only(&writer), packet);
            }
            Packet::Fir { sender, entries } => {
                for entry in entries {
                    let mut writer = Writer::new(&mut buf);
                    writer.fir(sender, entry.ssrc, entry.command).expect("it fitted before");
                    let Packet::Fir { entries, .. } = only(&writer) else { panic!("no FIR") };
                    assert!(entries.eq([entry]));
                }
            }
            Packet::TransportCc(view) => {
                let statuses: Vec<_> = view.statuses().collect();
                assert!(statuses.len() <= view.status_count.into());
                let header = TccHeader {
                    sender: view.sender,
                    media: view.media,
                    base_seq: view.base_seq,
                    reference_time: view.reference_time,
                    fb_count: view.fb_count,
                };
                let delta = |delta: i32| i16::try_from(delta).expect("deltas have 16 bits");
                let deltas: Vec<_> = statuses.iter().map(|(_, d)| d.map(delta)).collect();
                if writer.transport_cc(&header, &deltas).is_none() {
                    assert!(deltas.is_empty());
                    continue;
                }
                let Packet::TransportCc(read) = only(&writer) else { panic!("no feedback") };
                assert_eq!(usize::from(read.status_count), statuses.len());
                assert!(read.statuses().eq(statuses));
            }
            Packet::Remb { ssrcs, .. } => assert!(ssrcs.count() <= 255),
            Packet::Xr { sender, blocks } => {
                for block in blocks {
                    let mut writer = Writer::new(&mut buf);
                    match block {
                        XrBlock::ReceiverReferenceTime { ntp } => {
                            writer.xr_reference_time(sender, ntp).expect("it fitted before");
                            let Packet::Xr { mut blocks, .. } = only(&writer) else {
                                panic!("no XR")
                            };
                            assert_eq!(blocks.next(), Some(block));
                        }
                        XrBlock::Dlrr(reports) => assert!(reports.count() <= compound.len() / 12),
                        XrBlock::Unknown { .. } => {}
                    }
                }
            }
            Packet::Sdes | Packet::Unknown { .. } => {}
        }
    }
});

/// What was written, which must be one packet.
fn only<'a>(writer: &'a Writer<'_>) -> Packet<'a> {
    let mut packets = Packets::new(writer.as_bytes());
    let packet = packets.next().expect("what is written can be read");
    assert_eq!(packets.next(), None);
    packet
}
