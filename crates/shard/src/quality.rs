//! What a room is told of how a client's packets arrive, for its connection quality.
//!
//! * **Owns:** nothing; tracks and subscriptions keep the counters of the window's start.
//! * **In:** time, a peer with its tracks and subscriptions. **Out:** [`Event::Report`].

use std::time::{Duration, Instant};

use hearth_metrics::bug;
use hearth_plane::{DownId, Event, PeerReport, TrackId, TrackReport};
use hearth_units::Bitrate;

use crate::entry::{DownEntry, PeerKey, QualityWindow, TrackEntry};
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;

/// livekit-server: connection quality every 5 s.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Reports on peer `key`, if that is due.
pub(crate) fn send(now: Instant, key: PeerKey, graph: &mut MediaGraph, out: &mut Outbox) {
    let Some(entry) = graph.peers.get_mut(key).filter(|entry| now >= entry.next_quality) else {
        return;
    };
    entry.next_quality = now + INTERVAL;
    let rtt = entry.rtp.rtt().get();
    let mut report = PeerReport { peer: entry.id, rtt, up: Vec::new(), down: Vec::new() };
    for key in &entry.tracks {
        match graph.tracks.get_mut(*key) {
            Some(track) => report.up.push(received(track, entry.rtp.expected_and_lost(*key).1)),
            None => bug!("{:?} lists a track that has no entry", entry.id),
        }
    }
    for key in &entry.downs {
        match graph.downs.get_mut(*key) {
            Some(down) => report.down.push(sent(down)),
            None => bug!("{:?} lists a subscription that has no entry", entry.id),
        }
    }
    out.event(Event::Report(Box::new(report)));
}

/// How a track arrived here since the report before; `lost` packets never did.
fn received(entry: &mut TrackEntry, lost: u64) -> TrackReport<TrackId> {
    let (packets, octets) = (entry.quality.packets, entry.track.octets());
    let start = std::mem::replace(&mut entry.window_start, QualityWindow { packets, lost, octets });
    let received = packets.saturating_sub(start.packets);
    let lost = lost.saturating_sub(start.lost);
    TrackReport {
        id: entry.id,
        expected: clamp(received.saturating_add(lost)),
        lost: clamp(lost),
        bitrate: rate(octets.saturating_sub(start.octets)),
        idle: entry.track.is_muted(),
    }
}

/// How a subscription arrived at its subscriber since the report before, by what that reports.
fn sent(entry: &mut DownEntry) -> TrackReport<DownId> {
    let (packets, octets) = entry.down.sent();
    let lost = u64::try_from(entry.lost).unwrap_or(0);
    let (packets, octets) = (u64::from(packets), u64::from(octets));
    let start = std::mem::replace(&mut entry.window_start, QualityWindow { packets, lost, octets });
    TrackReport {
        id: entry.id,
        expected: clamp(packets.saturating_sub(start.packets)),
        lost: clamp(lost.saturating_sub(start.lost)),
        bitrate: rate(octets.saturating_sub(start.octets)),
        idle: entry.down.is_idle(),
    }
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn rate(octets: u64) -> Bitrate {
    Bitrate::from_bps(octets * 8 / INTERVAL.as_secs())
}
