//! What control tells a shard: peers, tracks and subscriptions come and go.

use std::time::Instant;

use bytes::Bytes;
use hearth_media::{DownTrack, UpTrack};
use hearth_metrics::{Metric, bug};
use hearth_peer::{Peer, RttEstimator, TwccRecorder};
use hearth_plane::{
    Channel, CloseReason, Command, DownId, DownTrackSpec, Event, LayerLimit, PeerId, PeerSpec,
    RoomId, Source, TrackId, UpTrackSpec,
};
use hearth_rtp::ExtensionIds;
use tracing::error;

use crate::entry::{
    DownEntry, DownKey, PeerEntry, PeerKey, QualityWindow, Subscriber, TrackEntry, Watchers,
};
use crate::panic_scope::Scope;
use crate::random::rtcp_ssrc;
use crate::reports::{QUALITY_INTERVAL, RECEIVER_REPORT_INTERVAL};
use crate::send_scheduler::QueuedDown;
use crate::ssrc_table::SsrcTable;
use crate::{Shard, drops};

impl Shard {
    /// Executes one command. Commands about things that are gone do nothing.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        if let Command::CloseRoom { room } = command {
            self.close_room(room);
        } else if let Command::SendData { peers, channel, payload } = command {
            for &peer in &*peers {
                self.guarded(Scope::Peer(peer), |shard| {
                    shard.send_data(now, peer, channel, &payload);
                });
            }
        } else if let Some(turn) = self.scope_of(&command) {
            self.guarded(turn, |shard| shard.execute(now, command));
        }
    }

    /// Whose turn a command is; `None` if it is about something that is gone.
    fn scope_of(&self, command: &Command) -> Option<Scope> {
        Some(match command {
            Command::AddPeer { peer, .. }
            | Command::SetRemote { peer, .. }
            | Command::RestartIce { peer, .. }
            | Command::AddRemoteCandidate { peer, .. }
            | Command::RemovePeer { peer }
            | Command::DataTaken { peer, .. } => Scope::Peer(*peer),
            Command::SetUpTrack { track, spec } => match spec.source {
                Source::Local(peer) => Scope::Peer(peer),
                Source::Shard(_) => Scope::Track(*track),
            },
            Command::SetUpTrackMuted { track, .. }
            | Command::RemoveUpTrack { track }
            | Command::AddRelay { track, .. }
            | Command::RemoveRelay { track, .. } => {
                let entry = self.tracks.get(*self.track_keys.get(track)?)?;
                entry.publisher().map_or(Scope::Track(*track), Scope::Peer)
            }
            Command::SetDownTrack { spec, .. } => Scope::Peer(spec.peer),
            Command::SetLayerLimit { down, .. } | Command::RemoveDownTrack { down } => {
                let down = self.downs.get(*self.down_keys.get(down)?)?;
                Scope::Peer(self.peers.get(down.peer)?.id)
            }
            // Have a turn for each transport and track.
            Command::SendData { .. } | Command::CloseRoom { .. } => return None,
        })
    }

    fn execute(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddPeer { peer, spec } => self.add_peer(now, peer, &spec),
            Command::SetRemote { peer, remote } => {
                self.with_peer(peer, |entry| entry.peer.set_remote(now, &remote));
            }
            Command::RestartIce { peer, local } => {
                let mut outdated = Vec::new();
                self.with_peer(peer, |entry| {
                    entry.ufrags.push(local.ufrag.clone());
                    entry.peer.restart_ice(now, &local);
                    // The one before stays valid until the new one works.
                    let surplus = entry.ufrags.len().saturating_sub(2);
                    outdated.extend(entry.ufrags.drain(..surplus));
                });
                for ufrag in outdated {
                    self.steering.remove_ufrag(&ufrag);
                }
                if let Some(&key) = self.peer_keys.get(&peer) {
                    self.steering.add_ufrag(&local.ufrag, key);
                }
            }
            Command::AddRemoteCandidate { peer, candidate } => {
                self.with_peer(peer, |entry| entry.peer.add_remote_candidate(now, &candidate));
            }
            Command::RemovePeer { peer } => self.remove_peer(peer),
            Command::SetUpTrack { track, spec } => self.set_up_track(track, *spec),
            Command::SetUpTrackMuted { track, muted } => {
                self.with_track(track, |entry| entry.track.set_muted(muted));
            }
            Command::RemoveUpTrack { track } => self.remove_up_track(track),
            Command::AddRelay { track, to } => self.with_track(track, |entry| {
                if !entry.relays.contains(&to) {
                    entry.relays.push(to);
                }
            }),
            Command::RemoveRelay { track, to } => {
                self.with_track(track, |entry| entry.relays.retain(|shard| *shard != to));
            }
            Command::SetDownTrack { spec, limit } => self.set_down_track(now, *spec, limit),
            Command::SetLayerLimit { down, limit } => {
                if let Some(&key) = self.down_keys.get(&down)
                    && let Some(entry) = self.downs.get_mut(key)
                {
                    entry.down.set_limit(limit);
                    self.retarget_one(now, key);
                }
            }
            Command::RemoveDownTrack { down } => self.remove_down_track(down),
            Command::DataTaken { peer, bytes } => {
                self.with_peer(peer, |entry| entry.peer.handle_data_taken(now, bytes));
            }
            // They have no turn of their own.
            Command::SendData { .. } | Command::CloseRoom { .. } => {}
        }
    }

    /// Forgets a peer and everything that hangs on it. Says no goodbye.
    pub(crate) fn remove_peer(&mut self, peer: PeerId) {
        let Some(key) = self.peer_keys.remove(&peer) else {
            return;
        };
        let Some(entry) = self.peers.remove(key) else {
            return bug!("{peer:?} had a key and no entry");
        };
        self.steering.remove(key, &entry.ufrags, &entry.paths);
        self.deadlines.forget(key);
        self.scheduler.forget_peer(peer.room, key);
        for down in entry.downs {
            self.remove_down(down);
        }
        for track in entry.tracks {
            if let Some(track) = self.tracks.get(track).map(|entry| entry.id) {
                self.remove_up_track(track);
            }
        }
    }

    /// Forgets a room: its transports, what hangs on them, and its tracks of other shards.
    fn close_room(&mut self, room: RoomId) {
        let mut peers = Vec::new();
        peers.extend(self.peer_keys.range(PeerId::all_of(room)).map(|(peer, _)| *peer));
        for peer in peers {
            self.guarded(Scope::Peer(peer), |shard| shard.remove_peer(peer));
        }
        let mut tracks = Vec::new();
        tracks.extend(self.track_keys.range(TrackId::all_of(room)).map(|(track, _)| *track));
        for track in tracks {
            self.guarded(Scope::Track(track), |shard| shard.remove_up_track(track));
        }
    }

    fn add_peer(&mut self, now: Instant, peer: PeerId, spec: &PeerSpec) {
        if self.peer_keys.contains_key(&peer) {
            return;
        }
        let seed = self.random.next_peer();
        let Ok(transport) = Peer::new(now, spec, &self.context, &seed) else {
            self.events.push_back(Event::PeerClosed { peer, reason: CloseReason::DtlsFailed });
            return;
        };
        let key = self.peers.insert(PeerEntry {
            id: peer,
            peer: transport,
            connected: false,
            ufrags: vec![spec.local.ufrag.clone()],
            paths: Vec::new(),
            tracks: Vec::new(),
            extensions: ExtensionIds::default(),
            downs: Vec::new(),
            down_ssrcs: SsrcTable::default(),
            streams: Vec::new(),
            twcc: TwccRecorder::new(),
            rtcp_ssrc: rtcp_ssrc(&seed),
            rtt: RttEstimator::new(now),
            next_receiver_report: now + RECEIVER_REPORT_INTERVAL,
            next_quality: now + QUALITY_INTERVAL,
        });
        self.peer_keys.insert(peer, key);
        self.scheduler.handle_peer(key);
        self.steering.add_ufrag(&spec.local.ufrag, key);
        self.drain_peer(key);
    }

    fn set_up_track(&mut self, id: TrackId, spec: UpTrackSpec) {
        if let Source::Local(peer) = spec.source {
            if !self.peer_keys.contains_key(&peer) {
                return;
            }
            self.with_peer(peer, |entry| {
                entry.extensions = entry.extensions.union(spec.extensions);
            });
        }
        if let Some(entry) = self.track_keys.get(&id).and_then(|key| self.tracks.get_mut(*key)) {
            entry.track.update(&spec);
            entry.needs_target_update = true;
            entry.spec = spec;
            return;
        }
        let track = UpTrack::new(&spec);
        let entry = TrackEntry {
            id,
            spec,
            track,
            subscribers: Vec::new(),
            watchers: Watchers::default(),
            relays: Vec::new(),
            pending: Vec::with_capacity(64),
            flushed: 0,
            available: 0,
            needs_target_update: true,
            suspected_at: None,
            quality: QualityWindow::default(),
            window_start: QualityWindow::default(),
        };
        let publisher = entry.publisher();
        let key = self.tracks.insert(entry);
        self.track_keys.insert(id, key);
        if let Some(peer) = publisher {
            self.with_peer(peer, |entry| entry.tracks.push(key));
        }
    }

    pub(crate) fn remove_up_track(&mut self, id: TrackId) {
        let Some(key) = self.track_keys.remove(&id) else {
            return;
        };
        let Some(entry) = self.tracks.remove(key) else {
            return bug!("{id:?} had a key and no entry");
        };
        self.scheduler.forget_track(id.room, key);
        for listener in &entry.subscribers {
            self.remove_down(listener.down);
        }
        if let Some(peer) = entry.publisher() {
            self.with_peer(peer, |entry| {
                entry.tracks.retain(|track| *track != key);
                entry.streams.retain(|stream| stream.track != key);
            });
        }
    }

    fn set_down_track(&mut self, now: Instant, spec: DownTrackSpec, limit: LayerLimit) {
        let ssrc = spec.ssrc;
        if let Some(&key) = self.down_keys.get(&spec.down) {
            self.update_down_track(key, spec);
            return;
        }
        let (Some(&peer), Some(&track)) =
            (self.peer_keys.get(&spec.peer), self.track_keys.get(&spec.track))
        else {
            return;
        };
        if !self.claim_ssrcs(peer, [Some(spec.ssrc), spec.rtx_ssrc]) {
            return;
        }
        let seed = self.random.first_numbers();
        let Some(track_entry) = self.tracks.get_mut(track) else {
            return;
        };
        let id = spec.down;
        let key = self.downs.insert(DownEntry {
            id,
            peer,
            track,
            down: DownTrack::new(now, spec, track_entry.track.kind(), limit, seed),
            cursor: track_entry.flushed + track_entry.pending.len() as u64,
            catch_up: None,
            next_sender_report: now,
            watched: 0,
            loss: 0,
            lost: 0,
            window_start: QualityWindow::default(),
        });
        track_entry.subscribers.push(Subscriber { down: key, peer });
        let (pending, kind) = (track_entry.pending.first().copied(), track_entry.track.kind());
        self.down_keys.insert(id, key);
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.downs.push(key);
            entry.down_ssrcs.insert(ssrc, key);
        }
        if let Some(pending) = pending
            && let Some(place) = self.scheduler.place(id.room)
        {
            // What comes before the flush that is to follow is for it, too.
            self.scheduler.queue(place, peer, QueuedDown { down: key, size: pending.size, kind });
        }
        self.schedule_soon(peer);
        self.retarget_one(now, key);
    }

    fn update_down_track(&mut self, key: DownKey, spec: DownTrackSpec) {
        let Some(entry) = self.downs.get(key) else {
            return;
        };
        let (peer, before) = (entry.peer, entry.down.spec());
        let ssrc = Some(spec.ssrc).filter(|ssrc| *ssrc != before.ssrc);
        let rtx_ssrc = spec.rtx_ssrc.filter(|ssrc| Some(*ssrc) != before.rtx_ssrc);
        if self.claim_ssrcs(peer, [ssrc, rtx_ssrc])
            && let Some(entry) = self.downs.get_mut(key)
        {
            let ssrc = spec.ssrc;
            entry.down.update(spec);
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.down_ssrcs.insert(ssrc, key);
            }
        }
    }

    /// Takes SSRCs of a transport for a subscription; false if one of them is taken, which is a bug of control.
    fn claim_ssrcs(&mut self, peer: PeerKey, ssrcs: [Option<u32>; 2]) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else {
            return false;
        };
        for ssrc in ssrcs.into_iter().flatten() {
            if ssrc == entry.rtcp_ssrc || !entry.peer.claim_ssrc(ssrc) {
                self.counts.add(Metric::RefusedSsrcs, 1);
                error!(peer = ?entry.id, ssrc, "The SSRC of a subscription was used before");
                debug_assert!(false, "SSRC {ssrc:#x} is used twice on {:?}", entry.id);
                return false;
            }
        }
        true
    }

    fn remove_down_track(&mut self, id: DownId) {
        if let Some(&key) = self.down_keys.get(&id) {
            self.remove_down(key);
        }
    }

    fn remove_down(&mut self, key: DownKey) {
        let Some(entry) = self.downs.remove(key) else {
            return bug!("a subscription was listed and had no entry");
        };
        self.down_keys.remove(&entry.id);
        if let Some(track) = self.tracks.get_mut(entry.track) {
            track.subscribers.retain(|listener| listener.down != key);
            track.watchers.replace(entry.watched, 0);
            track.needs_target_update = true;
        }
        if let Some(peer) = self.peers.get_mut(entry.peer) {
            peer.downs.retain(|down| *down != key);
            peer.down_ssrcs.remove(key);
        }
    }

    fn send_data(&mut self, now: Instant, peer: PeerId, channel: Channel, payload: &Bytes) {
        let Some(&key) = self.peer_keys.get(&peer) else {
            return;
        };
        let Some(entry) = self.peers.get_mut(key) else {
            return bug!("{peer:?} has a key and no entry");
        };
        if let Err(error) = entry.peer.send_data(now, channel, payload) {
            self.counts.add(drops::send_data(channel, error), 1);
        }
        self.drain_peer(key);
    }

    fn with_peer(&mut self, peer: PeerId, act: impl FnOnce(&mut PeerEntry)) {
        if let Some(&key) = self.peer_keys.get(&peer) {
            match self.peers.get_mut(key) {
                Some(entry) => act(entry),
                None => bug!("{peer:?} has a key and no entry"),
            }
            self.drain_peer(key);
        }
    }

    fn with_track(&mut self, track: TrackId, act: impl FnOnce(&mut TrackEntry)) {
        let Some(&key) = self.track_keys.get(&track) else { return };
        match self.tracks.get_mut(key) {
            Some(entry) => act(entry),
            None => bug!("{track:?} has a key and no entry"),
        }
    }
}
