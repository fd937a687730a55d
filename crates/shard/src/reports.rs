//! Whatever RTCP is due for a client, and the report on it to its room.
//!
//! * **Owns:** nothing: it asks a peer's RTP session, its subscriptions and its tracks.
//! * **In:** time. **Out:** NACKs, transport-wide feedback, receiver and sender reports; key frame requests for what is
//!   lost for good; [`hearth_plane::Event::Report`].

use std::time::Instant;

use hearth_metrics::bug;

use crate::entry::PeerKey;
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;
use crate::{quality, sender_reports};

/// All that is due for peer `key`. Returns when packets are to be asked for again.
pub(crate) fn send(
    now: Instant,
    key: PeerKey,
    graph: &mut MediaGraph,
    out: &mut Outbox,
) -> Option<Instant> {
    if graph.peers.get(key).is_none_or(|entry| !entry.connected) {
        return None;
    }
    let next = send_nacks(now, key, graph, out);
    if let Some(entry) = graph.peers.get_mut(key)
        && entry.rtp.send_reports(now, &mut entry.peer, out)
    {
        let rtt = entry.rtp.rtt().estimate();
        for key in &entry.tracks {
            let (expected, lost) = entry.rtp.expected_and_lost(*key);
            if let Some(track) = graph.tracks.get_mut(*key) {
                track.uplink.update(expected, lost, rtt);
            }
        }
    }
    sender_reports::send(now, key, graph, out);
    quality::send(now, key, graph, out);
    next
}

/// Asks peer `key` for what is missing of what somebody watches. Returns when to do so again.
pub(crate) fn send_nacks(
    now: Instant,
    key: PeerKey,
    graph: &mut MediaGraph,
    out: &mut Outbox,
) -> Option<Instant> {
    let Some(entry) = graph.peers.get_mut(key) else {
        bug!("a peer has its turn and no entry");
        return None;
    };
    let nacked = entry.rtp.send_nacks(now, &graph.tracks, &mut entry.peer, out);
    for (track, encoding) in nacked.unrecoverable.into_iter().flatten() {
        graph.request_keyframe(now, track, encoding, out);
    }
    nacked.next
}

impl MediaGraph {
    /// When peer `key` has something to do; `None` also if it is gone. Who publishes is visited on every tick:
    /// losses and feedback cannot wait.
    pub(crate) fn next_deadline(&self, now: Instant, key: PeerKey) -> Option<Instant> {
        let entry = self.peers.get(key)?;
        if !entry.tracks.is_empty() {
            return Some(now);
        }
        let downs = entry.downs.iter().filter_map(|down| self.downs.get(*down));
        let reports = downs.map(|down| down.next_sender_report).chain([entry.next_quality]);
        let reports = reports.min().filter(|_| entry.connected);
        entry.peer.poll_timeout().into_iter().chain(reports).min()
    }
}
