//! Sender reports of what a subscriber is sent (RFC 3550 §6.4.1).
//!
//! * **Owns:** nothing; a subscription keeps when its next one is due.
//! * **In:** time, a peer with its subscriptions. **Out:** RTCP to it.

use std::time::{Duration, Instant};

use hearth_metrics::bug;
use hearth_rtp::rtcp::SenderInfo;

use crate::entry::PeerKey;
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;

/// livekit-server: sender reports to subscribers every 3 s.
const INTERVAL: Duration = Duration::from_secs(3);
/// How soon a subscription that has nothing to report is looked at again.
const RETRY: Duration = Duration::from_millis(40);

/// A report for each subscription of peer `key` that has sent something, the first one at once.
pub(crate) fn send(now: Instant, key: PeerKey, graph: &mut MediaGraph, out: &mut Outbox) {
    let Some(entry) = graph.peers.get_mut(key) else {
        return bug!("a peer has its turn and no entry");
    };
    for key in &entry.downs {
        let Some(down) = graph.downs.get_mut(*key) else {
            bug!("{:?} lists a subscription that has no entry", entry.id);
            continue;
        };
        if now < down.next_sender_report {
            continue;
        }
        let Some(track) = graph.tracks.get(down.track) else {
            bug!("{:?} outlived its track", down.id);
            continue;
        };
        let clocks = track.track.clocks();
        let Some((ntp, rtp_time, packets, octets)) =
            down.down.sender_report(now, track.clock_rate(), clocks)
        else {
            down.next_sender_report = now + RETRY;
            continue;
        };
        down.next_sender_report = now + INTERVAL;
        let spec = down.down.spec();
        out.rtcp(&mut entry.peer, |writer| {
            let info = SenderInfo { ssrc: spec.ssrc, ntp, rtp_time, packets, octets };
            writer.sender_report(&info, &[])?;
            writer.sdes_cname(spec.ssrc, &spec.cname)
        });
    }
}
