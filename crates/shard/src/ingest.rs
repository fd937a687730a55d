//! A publisher's packets: whose they are, and into which track they go.
//!
//! * **Owns:** nothing: functions of the [`MediaGraph`] and the [`Outbox`].
//! * **In:** plaintext packets of clients and of other shards; sender reports.
//! * **Out:** packets that wait for their subscribers, and for other shards.
//! * **Invariant:** O(subscribers) for the first packet of a track in a batch, O(1) for the others; no allocation.

use std::time::Instant;

use hearth_codec::Codec;
use hearth_media::{Ingest, SourceClock};
use hearth_metrics::{Metric, bug};
use hearth_plane::Event;
use hearth_rtp::RtpView;
use hearth_units::{ExtSeq, MediaKind};

use crate::entry::{PeerKey, Pending, Subscriber, TrackKey};
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;
use crate::send_scheduler::QueuedDown;
use crate::shard_message::ShardMessageKind;

/// Packets of one track that may wait for one flush: all that one turn of the thread can bring.
const MAX_PENDING: usize = 2_048;

/// A packet that its track took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingested {
    pub(crate) keyframe: bool,
    /// Nothing of its frame comes before it.
    pub(crate) is_first_of_frame: bool,
}

/// A plaintext RTP packet of peer `key`. Returns when packets of its stream are to be asked for.
pub(crate) fn receive(
    now: Instant,
    key: PeerKey,
    packet: &mut [u8],
    graph: &mut MediaGraph,
    out: &mut Outbox,
) -> Option<Instant> {
    let Some(entry) = graph.peers.get_mut(key) else {
        bug!("a packet was opened by a peer that has no entry");
        return None;
    };
    let received = match entry.rtp.receive(now, packet, &entry.tracks, &graph.tracks) {
        Ok(received) => received?,
        Err(drop) => {
            out.counts.add(drop, 1);
            return None;
        }
    };
    let (track, encoding) = (received.track, received.encoding);
    let ingested = ingest(now, (track, encoding), received.packet, graph, out);
    if let Some(entry) = graph.peers.get_mut(key) {
        entry.rtp.handle_ingested(now, received.origin, ingested);
    }
    received.next_nack
}

/// Gives a media packet to its track, and queues it for those who get it; `None` if the track did not take it.
pub(crate) fn ingest(
    now: Instant,
    (track, encoding): (TrackKey, u8),
    packet: &[u8],
    graph: &mut MediaGraph,
    out: &mut Outbox,
) -> Option<Ingested> {
    let (Some(entry), Ok(view)) = (graph.tracks.get_mut(track), RtpView::parse(packet)) else {
        return None;
    };
    let Ingest::Accepted { wanted, first, keyframe, codec } =
        entry.track.ingest(now, encoding, &view)
    else {
        return None;
    };
    out.counts.add(Metric::PacketsReceived, 1);
    entry.quality.packets += 1;
    let id = entry.id;
    if first && entry.publisher().is_some() {
        let ssrc = view.ssrc;
        out.event(Event::EncodingStarted { track: id, encoding, ssrc, codec });
    }
    if let Some(seq) = wanted {
        let completes = entry.spec.kind == MediaKind::Video && view.marker;
        queue_packet(now, track, (encoding, seq), completes, graph, out);
    }
    if first {
        graph.update_targets(now, track, out);
    }
    // After the news of the encoding, without which it would not be stored there.
    if let Some(entry) = graph.tracks.get(track) {
        entry.destinations.send_packet(id, encoding, packet, out);
    }
    // Parameter sets may come before it.
    let is_first_of_frame = !matches!(codec, Codec::H264 | Codec::H265);
    Some(Ingested { keyframe, is_first_of_frame })
}

/// A packet of a track waits for those who get it; `completes` a frame.
pub(crate) fn queue_packet(
    now: Instant,
    track: TrackKey,
    packet: (u8, ExtSeq),
    completes: bool,
    graph: &mut MediaGraph,
    out: &mut Outbox,
) {
    let Some(entry) = graph.tracks.get_mut(track) else {
        return bug!("a packet was stored by a track that has no entry");
    };
    let place = out.scheduler.handle_packet(now, entry.id.room, completes);
    let begins = entry.pending.is_empty();
    let (encoding, seq) = packet;
    let size = entry.track.packet(encoding, seq).map_or(0, |packet| packet.size());
    let size = u16::try_from(size).unwrap_or(u16::MAX);
    if entry.pending.len() < MAX_PENDING {
        entry.pending.push(Pending { encoding, seq, size });
    } else {
        out.counts.add(Metric::DropBatchFull, 1);
    }
    if begins {
        out.scheduler.queue_track(place, track);
        let kind = entry.track.kind();
        for Subscriber { down, peer } in entry.subscribers.iter().copied() {
            out.scheduler.queue(place, peer, QueuedDown { down, size, kind });
        }
    }
}

/// A publisher's sender report: (NTP, RTP time).
pub(crate) fn take_sender_report(
    now: Instant,
    (track, encoding): (TrackKey, u8),
    (ntp, rtp_time): (u64, u32),
    graph: &mut MediaGraph,
    out: &mut Outbox,
) {
    let Some(entry) = graph.tracks.get_mut(track) else {
        return bug!("a sender report is of a track that has no entry");
    };
    entry.track.handle_sender_report(encoding, SourceClock { ntp, rtp_time, at: now });
    // Also of what is not watched: a subscriber that is given it later has its clock then.
    let news = ShardMessageKind::SenderReport { track: entry.id, encoding, ntp, rtp_time };
    entry.destinations.send_news(news, out);
}
