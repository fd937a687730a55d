//! What a shard says on its own account: NACK, PLI, TWCC, reports; levels and quality to control.

use std::time::{Duration, Instant};

use hearth_plane::{Event, Level, PeerReport, TrackReport};
use hearth_rtp::rtcp::{ReportBlock, SenderInfo};
use hearth_units::Bitrate;

use crate::Shard;
use crate::entry::{PeerKey, QualityWindow, Stream, StreamRole};
use crate::panic_scope::Scope;

/// livekit-server: one receiver report per second, with a reference time that tells the round trip.
pub(crate) const RECEIVER_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// livekit-server: connection quality every 5 s.
pub(crate) const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// livekit-server: sender reports to subscribers every 3 s.
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(3);
/// How soon a subscription that has nothing to report is looked at again.
const SENDER_REPORT_RETRY: Duration = Duration::from_millis(40);
/// livekit-server: speakers every 400 ms.
const LEVEL_INTERVAL: Duration = Duration::from_millis(400);
/// Sequence numbers in one NACK packet: all that a tracker has, and one it suspects, in 4 bytes each at worst.
const MAX_NACKS: usize = 257;
/// Report blocks in one receiver report (RFC 3550 §6.4.2: 5-bit count).
const MAX_BLOCKS: usize = 31;

impl Shard {
    /// Whatever RTCP is due for peer `key`.
    pub(crate) fn report(&mut self, now: Instant, key: PeerKey) {
        if self.graph.peers.get(key).is_none_or(|entry| !entry.connected) {
            return;
        }
        self.send_nacks(now, key);
        self.send_transport_feedback(now, key);
        self.send_receiver_report(now, key);
        self.send_sender_reports(now, key);
        self.tell_quality(now, key);
    }

    /// Tells the rooms how loud their microphones are.
    pub(crate) fn tell_levels(&mut self, now: Instant) {
        if now < self.next_levels {
            return;
        }
        self.next_levels = now + LEVEL_INTERVAL;
        let mut changed: Vec<Level> = Vec::new();
        for index in 0..self.graph.tracks.end() {
            let Some(key) = self.graph.tracks.key_at(index) else { continue };
            let local = self.graph.tracks.get(key).filter(|entry| entry.publisher().is_some());
            let Some(track) = local.map(|entry| entry.id) else { continue };
            let poll = |shard: &mut Self| shard.graph.tracks.get_mut(key)?.track.poll_level(now);
            if let Some(level) = self.guarded(Scope::Track(track), poll).flatten() {
                changed.push(Level { track, level });
            }
        }
        changed.sort_by_key(|level| level.track);
        for levels in changed.chunk_by(|a, b| a.track.room == b.track.room) {
            self.out.event(Event::Levels { levels: levels.to_vec() });
        }
    }

    /// Asks for what is missing of what somebody watches.
    pub(crate) fn send_nacks(&mut self, now: Instant, key: PeerKey) {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return;
        };
        let rtt = entry.rtt.estimate();
        let sender = entry.rtcp_ssrc;
        let mut lost_for_good = [None; 8];
        let mut count = 0;
        for i in 0..entry.streams.len() {
            let Some(stream) = entry.streams.get_mut(i) else {
                break;
            };
            let (media, track, encoding) = (stream.ssrc, stream.track, stream.encoding);
            let StreamRole::Media { nack: Some(nack) } = &mut stream.role else {
                continue;
            };
            let is_wanted = self.graph.tracks.get(track).is_some_and(|entry| {
                entry.wants(encoding) && entry.track.ssrc(encoding) == Some(media)
            });
            if !is_wanted {
                nack.clear();
                continue;
            }
            let mut seqs = [0; MAX_NACKS];
            let missing = nack.poll(now, rtt, &mut seqs);
            if let Some(next) = nack.poll_timeout() {
                self.deadlines.note_nack(key, next);
            }
            if let Some(slot) = lost_for_good.get_mut(count)
                && nack.take_unrecoverable()
            {
                *slot = Some((track, encoding));
                count += 1;
            }
            if missing > 0 {
                let seqs = seqs.get(..missing).unwrap_or_default();
                self.out.rtcp(&mut entry.peer, |writer| writer.nack(sender, media, seqs));
            }
        }
        for (track, encoding) in lost_for_good.into_iter().flatten() {
            self.graph.request_keyframe(now, track, encoding, &mut self.out);
        }
    }

    fn send_transport_feedback(&mut self, now: Instant, key: PeerKey) {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return;
        };
        let Some(media) = entry.streams.first().map(|stream| stream.ssrc) else {
            return;
        };
        let (sender, twcc) = (entry.rtcp_ssrc, &mut entry.twcc);
        let write = |buf: &mut [u8]| twcc.poll_feedback(now, buf, sender, media);
        self.out.rtcp_buffer(&mut entry.peer, write);
    }

    fn send_receiver_report(&mut self, now: Instant, key: PeerKey) {
        let Some(entry) = self.graph.peers.get_mut(key).filter(|e| now >= e.next_receiver_report)
        else {
            return;
        };
        entry.next_receiver_report = now + RECEIVER_REPORT_INTERVAL;
        let sender = entry.rtcp_ssrc;
        if entry.streams.is_empty() {
            return;
        }
        let time = entry.rtt.reference_time(now);
        let (mut next, mut is_first) = (0, true);
        loop {
            let mut blocks = [ReportBlock::default(); MAX_BLOCKS];
            let count = take_blocks(now, &mut entry.streams, &mut next, &mut blocks);
            if count == 0 && !is_first {
                return;
            }
            let blocks = blocks.get(..count).unwrap_or_default();
            self.out.rtcp(&mut entry.peer, |writer| {
                let len = writer.receiver_report(sender, blocks)?;
                if is_first { writer.xr_reference_time(sender, time) } else { Some(len) }
            });
            is_first = false;
        }
    }

    /// A sender report for each subscription that has sent something, the first one at once.
    fn send_sender_reports(&mut self, now: Instant, key: PeerKey) {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return;
        };
        for i in 0..entry.downs.len() {
            let Some(down) = entry.downs.get(i).and_then(|down| self.graph.downs.get_mut(*down))
            else {
                continue;
            };
            let Some(track) = self.graph.tracks.get(down.track) else {
                continue;
            };
            if now < down.next_sender_report {
                continue;
            }
            let rate = track.spec.codecs.first().map_or(90_000, |codec| codec.codec.clock_rate());
            let Some((ntp, rtp_time, packets, octets)) =
                down.down.sender_report(now, rate, &track.track.clocks())
            else {
                down.next_sender_report = now + SENDER_REPORT_RETRY;
                continue;
            };
            down.next_sender_report = now + SENDER_REPORT_INTERVAL;
            let spec = down.down.spec();
            self.out.rtcp(&mut entry.peer, |writer| {
                let info = SenderInfo { ssrc: spec.ssrc, ntp, rtp_time, packets, octets };
                writer.sender_report(&info, &[])?;
                writer.sdes_cname(spec.ssrc, &spec.cname)
            });
        }
    }

    fn tell_quality(&mut self, now: Instant, key: PeerKey) {
        let Some(entry) = self.graph.peers.get_mut(key).filter(|entry| now >= entry.next_quality)
        else {
            return;
        };
        entry.next_quality = now + QUALITY_INTERVAL;
        let mut report =
            PeerReport { peer: entry.id, rtt: entry.rtt.get(), up: Vec::new(), down: Vec::new() };
        for track in &entry.tracks {
            let Some(track_entry) = self.graph.tracks.get_mut(*track) else {
                continue;
            };
            let lost: u64 = entry
                .streams
                .iter()
                .filter(|stream| stream.track == *track)
                .filter(|stream| matches!(stream.role, StreamRole::Media { .. }))
                .map(|stream| &stream.reception)
                .map(|reception| reception.expected().saturating_sub(reception.received()))
                .sum();
            let before = track_entry.quality;
            let (packets, octets) = (before.packets, track_entry.track.octets());
            let start = track_entry.window_start;
            track_entry.window_start = QualityWindow { packets, lost, octets };
            let received = packets.saturating_sub(start.packets);
            let lost = lost.saturating_sub(start.lost);
            report.up.push(TrackReport {
                id: track_entry.id,
                expected: clamp(received.saturating_add(lost)),
                lost: clamp(lost),
                bitrate: rate(octets.saturating_sub(start.octets)),
                idle: track_entry.track.is_muted(),
            });
        }
        for down in &entry.downs {
            let Some(down_entry) = self.graph.downs.get_mut(*down) else {
                continue;
            };
            let (packets, octets) = down_entry.down.sent();
            let start = down_entry.window_start;
            let lost = u64::try_from(down_entry.lost).unwrap_or(0);
            let (packets, octets) = (u64::from(packets), u64::from(octets));
            down_entry.window_start = QualityWindow { packets, lost, octets };
            report.down.push(TrackReport {
                id: down_entry.id,
                expected: clamp(packets.saturating_sub(start.packets)),
                lost: clamp(lost.saturating_sub(start.lost)),
                bitrate: rate(octets.saturating_sub(start.octets)),
                idle: down_entry.down.is_idle(),
            });
        }
        self.out.event(Event::Report(Box::new(report)));
    }
}

/// Fills `blocks` with reports of the streams from the `next` on that were heard since their last one; returns how
/// many. RFC 3550 §6.1: what does not fit one packet goes into others.
fn take_blocks(
    now: Instant,
    streams: &mut [Stream],
    next: &mut usize,
    blocks: &mut [ReportBlock; MAX_BLOCKS],
) -> usize {
    let mut count = 0;
    while let (Some(slot), Some(stream)) = (blocks.get_mut(count), streams.get_mut(*next)) {
        *next += 1;
        if stream.reception.is_heard() {
            *slot = stream.reception.report_block(now, stream.ssrc);
            count += 1;
        }
    }
    count
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn rate(octets: u64) -> Bitrate {
    Bitrate::from_bps(octets * 8 / QUALITY_INTERVAL.as_secs())
}

#[cfg(test)]
mod tests {
    use hearth_peer::ReceiverStats;
    use hearth_units::SeqUnwrapper;

    use super::*;

    #[test]
    fn every_stream_that_was_heard_is_reported_in_as_many_packets_as_it_takes() {
        let now = epoch();
        let mut streams: Vec<Stream> = (0..70).map(stream).collect();
        for heard in streams.iter_mut().filter(|stream| stream.ssrc != 5) {
            let seq = heard.unwrapper.unwrap(1);
            heard.reception.handle_packet(now, seq, 0, 90_000);
        }
        let mut packets = Vec::new();
        let (mut next, mut blocks) = (0, [ReportBlock::default(); MAX_BLOCKS]);
        loop {
            let count = take_blocks(now, &mut streams, &mut next, &mut blocks);
            if count == 0 {
                break;
            }
            packets.push(blocks[..count].iter().map(|block| block.ssrc).collect::<Vec<_>>());
        }
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [31, 31, 7]);
        let expect: Vec<u32> = (0..70).filter(|ssrc| *ssrc != 5).collect();
        assert_eq!(packets.concat(), expect);
    }

    fn stream(ssrc: u32) -> Stream {
        let (reception, unwrapper) = (ReceiverStats::default(), SeqUnwrapper::default());
        let role = StreamRole::Rtx { media_ssrc: None };
        Stream { ssrc, track: crate::slab::Key::of(0, 0), encoding: 0, role, reception, unwrapper }
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
