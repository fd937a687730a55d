//! RTCP from clients: publishers' sender reports, subscribers' reports and requests.

use std::time::Instant;

use hearth_rtp::rtcp::{Packet, Packets, ReportBlock, XrBlock, XrBlocks};

use crate::Shard;
use crate::entry::PeerKey;
use crate::retransmission::MAX_ANSWERED;

impl Shard {
    /// A plaintext compound RTCP packet of peer `key`.
    ///
    /// **Cost:** O(length of `buf`), whatever the peer subscribes to.
    pub(crate) fn receive_rtcp(&mut self, now: Instant, key: PeerKey, buf: &[u8]) {
        let mut left = MAX_ANSWERED;
        for packet in Packets::new(buf) {
            match packet {
                Packet::SenderReport { ssrc, ntp, rtp_time, reports, .. } => {
                    self.receive_sender_report(now, key, ssrc, (ntp, rtp_time));
                    for block in reports {
                        self.receive_report_block(now, key, &block);
                    }
                }
                Packet::ReceiverReport { reports, .. } => {
                    for block in reports {
                        self.receive_report_block(now, key, &block);
                    }
                }
                Packet::Nack { media, seqs, .. } => {
                    self.receive_nack(now, key, media, seqs, &mut left);
                }
                Packet::Pli { media, .. } => self.receive_keyframe_request(now, key, media),
                Packet::Fir { entries, .. } => {
                    for entry in entries {
                        self.receive_keyframe_request(now, key, entry.ssrc);
                    }
                }
                Packet::Xr { sender, blocks } => {
                    self.receive_extended_report(now, key, sender, blocks);
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

    fn receive_sender_report(&mut self, now: Instant, key: PeerKey, ssrc: u32, report: (u64, u32)) {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return;
        };
        let Ok(at) = entry.streams.binary_search_by_key(&ssrc, |stream| stream.ssrc) else {
            return;
        };
        let Some(stream) = entry.streams.get_mut(at) else {
            return;
        };
        if !stream.reception.handle_sender_report(now, report.0) {
            return;
        }
        let (track, encoding) = (stream.track, stream.encoding);
        // The clock of an SSRC that the encoding does not come under, or of retransmissions, is another.
        if self
            .graph
            .tracks
            .get(track)
            .is_some_and(|entry| entry.track.ssrc(encoding) == Some(ssrc))
        {
            self.take_sender_report(now, track, encoding, report);
        }
    }

    /// How a subscription arrives at the subscriber (RFC 3550 §6.4.1).
    fn receive_report_block(&mut self, now: Instant, key: PeerKey, block: &ReportBlock) {
        let Some(down) = self.graph.subscription(key, block.ssrc) else {
            return;
        };
        let Some(entry) = self.graph.downs.get_mut(down) else {
            return;
        };
        entry.lost = block.cumulative_lost;
        // The mean of some reports: in one of a second there are few packets.
        let loss = 3 * u16::from(entry.loss) + u16::from(block.fraction_lost);
        entry.loss = u8::try_from(loss.div_ceil(4)).unwrap_or(u8::MAX);
        let Some(track) = self.graph.tracks.get(entry.track) else {
            return;
        };
        let clock_rate = track.spec.codecs.first().map_or(90_000, |c| c.codec.clock_rate());
        let clocks = track.track.clocks();
        if let Some((ntp, ..)) = entry.down.sender_report(now, clock_rate, &clocks)
            && let Some(peer) = self.graph.peers.get_mut(key)
        {
            peer.rtt.handle_report(now, ntp, block);
        }
    }

    /// Round trips (RFC 3611 §4.4, §4.5): a publisher's answer to a reference time of ours, or a subscriber's
    /// reference time.
    fn receive_extended_report(
        &mut self,
        now: Instant,
        key: PeerKey,
        sender: u32,
        blocks: XrBlocks<'_>,
    ) {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return;
        };
        let ours = entry.rtcp_ssrc;
        for block in blocks {
            match block {
                XrBlock::Dlrr(mut reports) => {
                    if let Some(report) = reports.find(|report| report.ssrc == ours) {
                        entry.rtt.handle_dlrr(now, &report);
                    }
                }
                XrBlock::ReceiverReferenceTime { ntp } => {
                    if let Some(report) = entry.rtt.handle_reference_time(now, sender, ntp) {
                        self.out.rtcp(&mut entry.peer, |writer| writer.xr_dlrr(ours, report));
                    }
                }
                XrBlock::Unknown { .. } => {}
            }
        }
    }

    fn receive_keyframe_request(&mut self, now: Instant, key: PeerKey, ssrc: u32) {
        let Some(entry) =
            self.graph.subscription(key, ssrc).and_then(|down| self.graph.downs.get(down))
        else {
            return;
        };
        let track = entry.track;
        if let Some(encoding) = entry.down.current().or_else(|| entry.down.awaited_keyframe()) {
            self.graph.request_keyframe(now, track, encoding, &mut self.out);
        }
    }
}
