//! Who publishes and who is sent what, on one shard.
//!
//! * **Owns:** transports, tracks and subscriptions by key; the ids that control gave them; the links between them.
//! * **In:** what comes ([`MediaGraph::insert_peer`], [`MediaGraph::set_track`], [`MediaGraph::subscribe`]) and goes.
//! * **Out:** keys for ids, entries for keys.
//! * **Invariant:** an id has a key exactly while its entry lives; a subscription is listed by its track and by its
//!   peer exactly while it lives, and does not outlive either; a track published here does not outlive its peer.
//!   Entries are changed by all of the shard; they come and go by these methods alone.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_media::{DownTrack, SmoothedLoss, UpTrack};
use hearth_metrics::{Counts, Metric, bug};
use hearth_plane::{
    DownId, DownTrackSpec, LayerLimit, PeerId, RoomId, Source, TrackId, UpTrackSpec,
};
use tracing::error;

use crate::entry::{
    DownEntry, DownKey, PeerEntry, PeerKey, QualityWindow, Subscriber, TrackEntry, TrackKey,
};
use crate::outbox::Outbox;
use crate::random::Random;
use crate::send_scheduler::QueuedDown;
use crate::slab::Slab;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct MediaGraph {
    pub(crate) peers: Slab<PeerEntry>,
    pub(crate) tracks: Slab<TrackEntry>,
    pub(crate) downs: Slab<DownEntry>,
    peer_keys: BTreeMap<PeerId, PeerKey>,
    track_keys: BTreeMap<TrackId, TrackKey>,
    down_keys: BTreeMap<DownId, DownKey>,
}

impl MediaGraph {
    /// The transport that control calls `peer`.
    pub(crate) fn peer_key(&self, peer: PeerId) -> Option<PeerKey> {
        self.peer_keys.get(&peer).copied()
    }

    /// The track that control calls `track`.
    pub(crate) fn track_key(&self, track: TrackId) -> Option<TrackKey> {
        self.track_keys.get(&track).copied()
    }

    /// The subscription that control calls `down`.
    pub(crate) fn down_key(&self, down: DownId) -> Option<DownKey> {
        self.down_keys.get(&down).copied()
    }

    /// The subscription of `peer` that is sent as `ssrc`.
    pub(crate) fn subscription(&self, peer: PeerKey, ssrc: u32) -> Option<DownKey> {
        self.peers.get(peer)?.down_ssrcs.find(ssrc)
    }

    /// The transports of a room.
    pub(crate) fn peers_of(&self, room: RoomId) -> Vec<PeerId> {
        self.peer_keys.range(PeerId::all_of(room)).map(|(peer, _)| *peer).collect()
    }

    /// The tracks of a room, published here or on another shard.
    pub(crate) fn tracks_of(&self, room: RoomId) -> Vec<TrackId> {
        self.track_keys.range(TrackId::all_of(room)).map(|(track, _)| *track).collect()
    }

    /// A transport begins; its id must be new.
    pub(crate) fn insert_peer(&mut self, entry: PeerEntry) -> PeerKey {
        let id = entry.id;
        let key = self.peers.insert(entry);
        self.peer_keys.insert(id, key);
        key
    }

    /// A transport ends, and with it its subscriptions and the tracks that it publishes, which its entry still lists.
    pub(crate) fn remove_peer(&mut self, peer: PeerId) -> Option<(PeerKey, PeerEntry)> {
        let key = self.peer_keys.remove(&peer)?;
        let Some(entry) = self.peers.remove(key) else {
            bug!("{peer:?} had a key and no entry");
            return None;
        };
        for down in &entry.downs {
            self.remove_subscription(*down);
        }
        for track in &entry.tracks {
            match self.tracks.get(*track).map(|entry| entry.id) {
                Some(track) => drop(self.remove_track(track)),
                None => bug!("{peer:?} listed a track that had no entry"),
            }
        }
        Some((key, entry))
    }

    /// A track begins, or its description changes. Returns its publisher, if that is here.
    pub(crate) fn set_track(&mut self, id: TrackId, spec: UpTrackSpec) -> Option<PeerKey> {
        let publisher = match spec.source {
            Source::Local(peer) => Some(self.peer_key(peer)?),
            Source::Shard(_) => None,
        };
        if let Some(peer) = publisher.and_then(|key| self.peers.get_mut(key)) {
            peer.rtp.add_extensions(spec.extensions);
        }
        if let Some(key) = self.track_key(id) {
            match self.tracks.get_mut(key) {
                Some(entry) => entry.update(spec),
                None => bug!("{id:?} has a key and no entry"),
            }
            return publisher;
        }
        let key = self.tracks.insert(TrackEntry::new(id, UpTrack::new(&spec), spec));
        self.track_keys.insert(id, key);
        if let Some(peer) = publisher.and_then(|key| self.peers.get_mut(key)) {
            peer.tracks.push(key);
        }
        publisher
    }

    /// A track ends, and with it its subscriptions.
    pub(crate) fn remove_track(&mut self, id: TrackId) -> Option<TrackKey> {
        let key = self.track_keys.remove(&id)?;
        let Some(entry) = self.tracks.remove(key) else {
            bug!("{id:?} had a key and no entry");
            return None;
        };
        for subscriber in &entry.subscribers {
            self.remove_subscription(subscriber.down);
        }
        let publisher = entry.publisher().and_then(|peer| self.peer_key(peer));
        if let Some(peer) = publisher.and_then(|key| self.peers.get_mut(key)) {
            peer.tracks.retain(|track| *track != key);
            peer.rtp.remove_track(key);
        }
        Some(key)
    }

    /// A subscription begins; `None` if its peer or its track is gone, or one of its SSRCs is taken.
    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        spec: DownTrackSpec,
        limit: LayerLimit,
        random: &mut Random,
        out: &mut Outbox,
    ) -> Option<DownKey> {
        let (peer, track) = (self.peer_key(spec.peer)?, self.track_key(spec.track)?);
        if !self.claim_ssrcs(peer, [Some(spec.ssrc), spec.rtx_ssrc], &mut out.counts) {
            return None;
        }
        let (Some(peer_entry), Some(entry)) =
            (self.peers.get_mut(peer), self.tracks.get_mut(track))
        else {
            bug!("{:?} or {:?} has a key and no entry", spec.peer, spec.track);
            return None;
        };
        let (id, ssrc) = (spec.down, spec.ssrc);
        let down = DownTrack::new(now, spec, entry.track.kind(), random.first_numbers());
        let key = self.downs.insert(DownEntry {
            id,
            peer,
            track,
            down,
            limit,
            cursor: entry.flushed + entry.pending.len() as u64,
            catch_up: None,
            next_sender_report: now,
            watched: 0,
            loss: SmoothedLoss::default(),
            lost: 0,
            window_start: QualityWindow::default(),
        });
        entry.subscribers.push(Subscriber { down: key, peer });
        peer_entry.downs.push(key);
        peer_entry.down_ssrcs.insert(ssrc, key);
        self.down_keys.insert(id, key);
        if let Some(pending) = entry.pending.first()
            && let Some(place) = out.scheduler.place(id.room)
        {
            // What comes before the flush that is to follow is for it, too.
            let (size, kind) = (pending.size, entry.track.kind());
            out.scheduler.queue(place, peer, QueuedDown { down: key, size, kind });
        }
        Some(key)
    }

    /// The description of a subscription changes.
    pub(crate) fn update_subscription(
        &mut self,
        key: DownKey,
        spec: DownTrackSpec,
        counts: &mut Counts,
    ) {
        let Some(entry) = self.downs.get(key) else {
            return bug!("{:?} has a key and no entry", spec.down);
        };
        let (peer, before) = (entry.peer, entry.down.spec());
        let ssrc = Some(spec.ssrc).filter(|ssrc| *ssrc != before.ssrc);
        let rtx_ssrc = spec.rtx_ssrc.filter(|ssrc| Some(*ssrc) != before.rtx_ssrc);
        if self.claim_ssrcs(peer, [ssrc, rtx_ssrc], counts)
            && let Some(entry) = self.downs.get_mut(key)
        {
            let ssrc = spec.ssrc;
            entry.down.update(spec);
            match self.peers.get_mut(peer) {
                Some(peer) => peer.down_ssrcs.insert(ssrc, key),
                None => bug!("a subscription outlived its peer"),
            }
        }
    }

    /// Control ends a subscription.
    pub(crate) fn unsubscribe(&mut self, down: DownId) {
        if let Some(key) = self.down_key(down) {
            self.remove_subscription(key);
        }
    }

    /// A subscription ends.
    pub(crate) fn remove_subscription(&mut self, key: DownKey) {
        let Some(entry) = self.downs.remove(key) else {
            return bug!("a subscription was listed and had no entry");
        };
        self.down_keys.remove(&entry.id);
        if let Some(track) = self.tracks.get_mut(entry.track) {
            track.subscribers.retain(|subscriber| subscriber.down != key);
            track.watchers.replace(entry.watched, 0);
            track.needs_target_update = true;
        }
        if let Some(peer) = self.peers.get_mut(entry.peer) {
            peer.downs.retain(|down| *down != key);
            peer.down_ssrcs.remove(key);
        }
    }

    /// Takes SSRCs of a transport for a subscription; false if one of them is taken, which is a bug of control.
    fn claim_ssrcs(&mut self, peer: PeerKey, ssrcs: [Option<u32>; 2], counts: &mut Counts) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else {
            bug!("SSRCs are claimed for a peer that has no entry");
            return false;
        };
        for ssrc in ssrcs.into_iter().flatten() {
            if ssrc == entry.rtp.ssrc() || !entry.peer.claim_ssrc(ssrc) {
                counts.add(Metric::RefusedSsrcs, 1);
                error!(peer = ?entry.id, ssrc, "The SSRC of a subscription was used before");
                debug_assert!(false, "SSRC {ssrc:#x} is used twice on {:?}", entry.id);
                return false;
            }
        }
        true
    }
}
