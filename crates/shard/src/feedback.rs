//! RTCP from clients: publishers' sender reports, subscribers' reports and requests.
//!
//! * **Owns:** nothing: it gives each part of a packet to the peer's RTP session, a subscription, or
//!   the retransmitter.
//! * **In:** plaintext compound packets. **Out:** what those make of them.
//! * **Invariant:** O(length of the packet), whatever its sender subscribes to.

use std::time::Instant;

use hearth_media::LinkQuality;
use hearth_metrics::{Metric, bug};
use hearth_rtp::rtcp::{NackSeqs, Packet, Packets, ReportBlock};
use hearth_units::MediaKind;

use crate::entry::PeerKey;
use crate::ingest::take_sender_report;
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;
use crate::retransmission::{MAX_ANSWERED, Retransmitter};

/// A plaintext compound RTCP packet of peer `key`.
pub(crate) fn receive(
    now: Instant,
    key: PeerKey,
    buf: &[u8],
    graph: &mut MediaGraph,
    out: &mut Outbox,
) {
    let mut left = MAX_ANSWERED;
    for packet in Packets::new(buf) {
        match packet {
            Packet::SenderReport { ssrc, ntp, rtp_time, reports, .. } => {
                receive_sender_report(now, (key, ssrc), (ntp, rtp_time), graph, out);
                for block in reports {
                    graph.handle_report_block(now, key, &block);
                }
            }
            Packet::ReceiverReport { reports, .. } => {
                for block in reports {
                    graph.handle_report_block(now, key, &block);
                }
            }
            Packet::Nack { media, seqs, .. } => {
                receive_nack(now, (key, media), seqs, &mut left, graph, out);
            }
            Packet::Pli { media, .. } => {
                graph.handle_keyframe_request(now, key, media, out);
            }
            Packet::Fir { entries, .. } => {
                for entry in entries {
                    graph.handle_keyframe_request(now, key, entry.ssrc, out);
                }
            }
            Packet::Xr { sender, blocks } => {
                if let Some(entry) = graph.peers.get_mut(key) {
                    let peer = &mut entry.peer;
                    entry.rtp.handle_extended_report(now, sender, blocks, peer, out);
                }
            }
            // Not asked for, or for the estimator that does not exist yet.
            Packet::TransportCc(_)
            | Packet::Remb { .. }
            | Packet::Sdes
            | Packet::Bye { .. }
            | Packet::Unknown { .. } => {}
        }
    }
}

/// Answers a NACK from the track's ring; `left` of the datagram's numbers may be.
pub(crate) fn receive_nack(
    now: Instant,
    (key, media): (PeerKey, u32),
    seqs: NackSeqs<'_>,
    left: &mut usize,
    graph: &mut MediaGraph,
    out: &mut Outbox,
) {
    let Some(down) = graph.subscription(key, media) else {
        return;
    };
    for seq in seqs.take(*left) {
        *left -= 1;
        if out.scheduler.queues.is_full(key) {
            return out.counts.add(Metric::DropControlFull, 1);
        }
        if let Some(packet) = Retransmitter::answer(now, down, seq, graph, out) {
            out.scheduler.queues.push(key, packet);
        }
    }
}

fn receive_sender_report(
    now: Instant,
    (key, ssrc): (PeerKey, u32),
    report: (u64, u32),
    graph: &mut MediaGraph,
    out: &mut Outbox,
) {
    let entry = graph.peers.get_mut(key);
    let Some((track, encoding)) =
        entry.and_then(|entry| entry.rtp.handle_sender_report(now, ssrc, report.0))
    else {
        return;
    };
    // The clock of an SSRC that the encoding does not come under, or of retransmissions, is another.
    let track_entry = graph.tracks.get(track);
    if track_entry.is_some_and(|entry| entry.track.ssrc(encoding) == Some(ssrc)) {
        take_sender_report(now, (track, encoding), report, graph, out);
    }
}

impl MediaGraph {
    /// How a subscription arrives at the subscriber (RFC 3550 §6.4.1).
    fn handle_report_block(&mut self, now: Instant, key: PeerKey, block: &ReportBlock) {
        let Some(down) = self.subscription(key, block.ssrc) else {
            return;
        };
        let Some(entry) = self.downs.get_mut(down) else {
            return bug!("an SSRC is of a subscription that has no entry");
        };
        entry.lost = block.cumulative_lost;
        entry.loss.handle_report(block.fraction_lost);
        let Some(track) = self.tracks.get(entry.track) else {
            return bug!("{:?} outlived its track", entry.id);
        };
        let clocks = track.track.clocks();
        if let Some((ntp, ..)) = entry.down.sender_report(now, track.clock_rate(), clocks)
            && let Some(peer) = self.peers.get_mut(key)
        {
            peer.rtp.handle_report_block(now, ntp, block);
            if track.spec.kind == MediaKind::Video {
                let downlink =
                    LinkQuality { loss: entry.loss.get(), rtt: peer.rtp.rtt().estimate() };
                entry.down.update_playout_delay(now, track.uplink.quality(), downlink);
            }
        }
    }

    /// A subscriber cannot decode what it is sent as `ssrc`.
    fn handle_keyframe_request(&mut self, now: Instant, key: PeerKey, ssrc: u32, out: &mut Outbox) {
        let Some(down) = self.subscription(key, ssrc) else {
            return;
        };
        let Some(entry) = self.downs.get(down) else {
            return bug!("an SSRC is of a subscription that has no entry");
        };
        let track = entry.track;
        if let Some(encoding) = entry.down.current().or_else(|| entry.down.awaited_keyframe()) {
            self.request_keyframe(now, track, encoding, out);
        }
    }
}
