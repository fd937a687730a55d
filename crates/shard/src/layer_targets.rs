//! Which encoding each subscription is to get of what its track receives, and the key frames that this takes.
//!
//! * **Owns:** nothing beyond the [`MediaGraph`]: what is watched is kept by its tracks.
//! * **In:** changes of subscriptions and of what is received; requests for key frames.
//! * **Out:** key frame requests to the publisher, or to the shard that it is on.
//! * **Invariant:** a track stores what somebody watches; a publisher is asked for a key frame once in a while,
//!   however many need it.

use std::time::Instant;

use hearth_media::{LinkQuality, choose_target, retry_after};
use hearth_metrics::bug;
use hearth_peer::RttEstimator;
use hearth_plane::{PeerId, ShardId, Source, TrackId};

use crate::destination::WatchedEncodings;
use crate::entry::{DownEntry, DownKey, PeerEntry, TrackEntry, TrackKey};
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;
use crate::shard_message::ShardMessageKind;
use crate::slab::Slab;

impl MediaGraph {
    /// Sets the target of every subscription of a track by what is received, asks for the key frames they need, and
    /// stores what they watch.
    pub(crate) fn update_targets(&mut self, now: Instant, track: TrackKey, out: &mut Outbox) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return bug!("targets are set of a track that has no entry");
        };
        entry.update_available(now, out);
        entry.needs_target_update = false;
        for i in 0..entry.subscribers.len() {
            let Some(subscriber) = entry.subscribers.get(i).copied() else { break };
            match self.downs.get_mut(subscriber.down) {
                Some(down) => update_target(now, entry, &self.peers, down),
                None => bug!("a track lists a subscription that has no entry"),
            }
        }
        self.apply_watched(now, track, out);
    }

    /// The same for one subscription, the others of whose track stay as they are.
    pub(crate) fn update_target_of(&mut self, now: Instant, down: DownKey, out: &mut Outbox) {
        let Some(down) = self.downs.get_mut(down) else {
            return bug!("the target is set of a subscription that has no entry");
        };
        let track = down.track;
        let Some(entry) = self.tracks.get_mut(track) else {
            return bug!("a subscription outlived its track");
        };
        if entry.subscribers.len() == 1 {
            entry.update_available(now, out);
        }
        update_target(now, entry, &self.peers, down);
        self.apply_watched(now, track, out);
    }

    /// A subscriber, here or on another shard, cannot decode.
    pub(crate) fn request_keyframe(
        &mut self,
        now: Instant,
        track: TrackKey,
        encoding: u8,
        out: &mut Outbox,
    ) {
        if let Some(entry) = self.tracks.get_mut(track) {
            entry.track.request_keyframe(now, encoding);
        }
        self.send_keyframe_requests(now, track, out);
    }

    /// Packets of a track go to shard `to`, too.
    pub(crate) fn add_destination(&mut self, track: TrackId, to: ShardId, out: &mut Outbox) {
        let key = self.track_key(track);
        if let Some(entry) = key.and_then(|key| self.tracks.get_mut(key))
            && entry.destinations.add_shard(to)
        {
            out.message(to, entry.available_message(), &[]);
        }
    }

    /// Shard `sender` says which encodings of a track that is published here are watched there.
    pub(crate) fn handle_watched(
        &mut self,
        track: TrackKey,
        sender: ShardId,
        watched: WatchedEncodings,
        out: &mut Outbox,
    ) {
        if let Some(entry) = self.tracks.get_mut(track)
            && let Some(before) = entry.destinations.watched_on(sender)
        {
            *before = watched;
            out.message(sender, entry.available_message(), &[]);
        }
    }

    /// Shard `sender` says which encodings of a track that is published there are received.
    pub(crate) fn handle_available(
        &mut self,
        now: Instant,
        track: TrackKey,
        sender: ShardId,
        (encodings, uplink): (u8, LinkQuality),
        out: &mut Outbox,
    ) {
        let entry = self.tracks.get_mut(track);
        if let Some(entry) = entry.filter(|entry| entry.spec.source == Source::Shard(sender)) {
            entry.upstream.available = Some(encodings);
            entry.upstream.known |= encodings;
            entry.uplink.set(uplink);
            if entry.available != encodings {
                self.update_targets(now, track, out);
            }
        }
    }

    /// Stores what is watched, and asks for the key frames that it takes.
    fn apply_watched(&mut self, now: Instant, track: TrackKey, out: &mut Outbox) {
        if let Some(entry) = self.tracks.get_mut(track) {
            entry.track.set_subscribed_encodings(now, entry.watchers.watched());
            // Before the request for a key frame: it would not come here.
            entry.send_watched(now, out);
        }
        self.send_keyframe_requests(now, track, out);
    }

    fn send_keyframe_requests(&mut self, now: Instant, track: TrackKey, out: &mut Outbox) {
        let Some(entry) = self.tracks.get(track) else {
            return bug!("a key frame is asked for of a track that has no entry");
        };
        let publisher = entry.publisher().and_then(|peer| self.peer_key(peer));
        let publisher = publisher.and_then(|key| self.peers.get(key));
        let rtt = publisher.map_or(RttEstimator::ASSUMED, |peer| peer.rtp.rtt().estimate());
        let Some(entry) = self.tracks.get_mut(track) else {
            return bug!("a track that was just there has no entry");
        };
        let (id, source) = (entry.id, entry.spec.source);
        let mut wanted = [None; 3];
        for slot in &mut wanted {
            *slot = entry.track.poll_keyframe_request(now, retry_after(rtt));
        }
        for encoding in wanted.into_iter().flatten() {
            match source {
                Source::Local(peer) => self.send_pli(peer, track, encoding, out),
                Source::Shard(shard) => {
                    let kind = ShardMessageKind::KeyframeRequest { track: id, encoding };
                    out.message(shard, kind, &[]);
                }
            }
        }
    }

    /// Asks the publisher of `track` for a key frame (RFC 4585 §6.3.1).
    fn send_pli(&mut self, peer: PeerId, track: TrackKey, encoding: u8, out: &mut Outbox) {
        let Some(entry) = self.peer_key(peer).and_then(|key| self.peers.get_mut(key)) else {
            return bug!("{peer:?} is gone and its track is not");
        };
        let Some(media) = self.tracks.get(track).and_then(|entry| entry.track.ssrc(encoding))
        else {
            return;
        };
        entry.rtp.send_pli(media, &mut entry.peer, out);
    }
}

/// Sets the target of one subscription of a track.
fn update_target(
    now: Instant,
    entry: &mut TrackEntry,
    peers: &Slab<PeerEntry>,
    down: &mut DownEntry,
) {
    let target = choose_target(down.limit, entry.available, down.down.current());
    // A key frame that comes before the subscriber can have it would be wasted, as would one in a codec that it
    // cannot decode; and an encoding that was never received has none.
    if let Some(encoding) = down.down.set_target(target)
        && peers.get(down.peer).is_some_and(|peer| peer.connected)
        && entry.was_received(encoding)
        && entry.track.codec(encoding).is_none_or(|codec| down.down.decodes(codec))
    {
        entry.needs_target_update = true;
        entry.track.need_keyframe(now, encoding);
    }
    let watched = down.down.watched();
    entry.watchers.replace(down.watched, watched);
    down.watched = watched;
}
