//! What control tells a shard: peers, tracks and subscriptions come and go.

use std::time::Instant;

use bytes::Bytes;
use hearth_metrics::bug;
use hearth_peer::Peer;
use hearth_plane::{
    Channel, CloseReason, Command, DownTrackSpec, Event, LayerLimit, PeerId, PeerSpec, RoomId,
    Source, TrackId, UpTrackSpec,
};

use crate::entry::{DownKey, PeerEntry, TrackEntry};
use crate::media_graph::MediaGraph;
use crate::panic_scope::Scope;
use crate::random::rtcp_ssrc;
use crate::rtp_session::RtpSession;
use crate::ssrc_table::SsrcTable;
use crate::{Shard, drops, quality};

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
        } else if let Some(turn) = scope_of(&command, &self.graph) {
            self.guarded(turn, |shard| shard.execute(now, command));
        }
    }

    fn execute(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddPeer { peer, spec } => self.add_peer(now, peer, &spec),
            Command::SetRemote { peer, remote } => {
                self.with_peer(peer, |entry| entry.peer.set_remote(now, &remote));
            }
            Command::RestartIce { peer, local } => {
                let mut outdated = Vec::new();
                self.with_peer(peer, |entry| outdated = entry.restart_ice(now, &local));
                for ufrag in outdated {
                    self.steering.remove_ufrag(&ufrag);
                }
                if let Some(key) = self.graph.peer_key(peer) {
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
            Command::AddRelay { track, to } => {
                self.graph.add_destination(track, to, &mut self.out);
            }
            Command::RemoveRelay { track, to } => {
                self.with_track(track, |entry| entry.destinations.remove_shard(to));
            }
            Command::SetDownTrack { spec, limit } => self.set_down_track(now, *spec, limit),
            Command::SetLayerLimit { down, limit } => {
                if let Some(key) = self.graph.down_key(down) {
                    self.set_layer_limit(now, key, limit);
                }
            }
            Command::RemoveDownTrack { down } => self.graph.unsubscribe(down),
            Command::DataTaken { peer, bytes } => {
                self.with_peer(peer, |entry| entry.peer.handle_data_taken(now, bytes));
            }
            // They have no turn of their own.
            Command::SendData { .. } | Command::CloseRoom { .. } => {}
        }
    }

    /// Forgets a peer and everything that hangs on it. Says no goodbye.
    pub(crate) fn remove_peer(&mut self, peer: PeerId) {
        let Some((key, entry)) = self.graph.remove_peer(peer) else {
            return;
        };
        self.steering.remove(key, &entry.ufrags, &entry.paths);
        self.deadlines.forget(key);
        self.out.scheduler.forget_peer(peer.room, key);
        for track in entry.tracks {
            self.out.scheduler.forget_track(peer.room, track);
        }
    }

    pub(crate) fn remove_up_track(&mut self, track: TrackId) {
        if let Some(key) = self.graph.remove_track(track) {
            self.out.scheduler.forget_track(track.room, key);
        }
    }

    /// Forgets a room: its transports, what hangs on them, and its tracks of other shards.
    fn close_room(&mut self, room: RoomId) {
        let peers = self.graph.peers_of(room);
        for peer in peers {
            self.guarded(Scope::Peer(peer), |shard| shard.remove_peer(peer));
        }
        let tracks = self.graph.tracks_of(room);
        for track in tracks {
            self.guarded(Scope::Track(track), |shard| shard.remove_up_track(track));
        }
    }

    fn add_peer(&mut self, now: Instant, peer: PeerId, spec: &PeerSpec) {
        if self.graph.peer_key(peer).is_some() {
            return;
        }
        let seed = self.random.next_peer();
        let Ok(transport) = Peer::new(now, spec, &self.context, &seed) else {
            self.out.event(Event::PeerClosed { peer, reason: CloseReason::DtlsFailed });
            return;
        };
        let key = self.graph.insert_peer(PeerEntry {
            id: peer,
            peer: transport,
            connected: false,
            ufrags: vec![spec.local.ufrag.clone()],
            paths: Vec::new(),
            tracks: Vec::new(),
            downs: Vec::new(),
            down_ssrcs: SsrcTable::default(),
            rtp: RtpSession::new(now, rtcp_ssrc(&seed)),
            next_quality: now + quality::INTERVAL,
        });
        self.out.scheduler.handle_peer(key);
        self.steering.add_ufrag(&spec.local.ufrag, key);
        self.drain_peer(key);
    }

    fn set_up_track(&mut self, id: TrackId, spec: UpTrackSpec) {
        if let Some(publisher) = self.graph.set_track(id, spec) {
            self.schedule_soon(publisher);
        }
    }

    fn set_down_track(&mut self, now: Instant, spec: DownTrackSpec, limit: LayerLimit) {
        if let Some(key) = self.graph.down_key(spec.down) {
            self.graph.update_subscription(key, spec, &mut self.out.counts);
            return self.set_layer_limit(now, key, limit);
        }
        let peer = self.graph.peer_key(spec.peer);
        let (random, out) = (&mut self.random, &mut self.out);
        let subscribed = self.graph.subscribe(now, spec, limit, random, out);
        let (Some(key), Some(peer)) = (subscribed, peer) else {
            return;
        };
        self.schedule_soon(peer);
        self.graph.update_target_of(now, key, &mut self.out);
    }

    fn set_layer_limit(&mut self, now: Instant, key: DownKey, limit: LayerLimit) {
        match self.graph.downs.get_mut(key) {
            Some(entry) if entry.limit != limit => {
                entry.limit = limit;
                self.graph.update_target_of(now, key, &mut self.out);
            }
            Some(_) => {}
            None => bug!("a subscription has a key and no entry"),
        }
    }

    fn send_data(&mut self, now: Instant, peer: PeerId, channel: Channel, payload: &Bytes) {
        let Some(key) = self.graph.peer_key(peer) else {
            return;
        };
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return bug!("{peer:?} has a key and no entry");
        };
        if let Err(error) = entry.peer.send_data(now, channel, payload) {
            self.out.counts.add(drops::send_data(channel, error), 1);
        }
        self.drain_peer(key);
    }

    fn with_peer(&mut self, peer: PeerId, act: impl FnOnce(&mut PeerEntry)) {
        if let Some(key) = self.graph.peer_key(peer) {
            match self.graph.peers.get_mut(key) {
                Some(entry) => act(entry),
                None => bug!("{peer:?} has a key and no entry"),
            }
            self.drain_peer(key);
        }
    }

    fn with_track(&mut self, track: TrackId, act: impl FnOnce(&mut TrackEntry)) {
        let Some(key) = self.graph.track_key(track) else { return };
        match self.graph.tracks.get_mut(key) {
            Some(entry) => act(entry),
            None => bug!("{track:?} has a key and no entry"),
        }
    }
}

/// Whose turn a command is; `None` if it is about something that is gone.
fn scope_of(command: &Command, graph: &MediaGraph) -> Option<Scope> {
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
            let entry = graph.tracks.get(graph.track_key(*track)?)?;
            entry.publisher().map_or(Scope::Track(*track), Scope::Peer)
        }
        Command::SetDownTrack { spec, .. } => Scope::Peer(spec.peer),
        Command::SetLayerLimit { down, .. } | Command::RemoveDownTrack { down } => {
            let down = graph.downs.get(graph.down_key(*down)?)?;
            Scope::Peer(graph.peers.get(down.peer)?.id)
        }
        // Have a turn for each transport and track.
        Command::SendData { .. } | Command::CloseRoom { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use hearth_plane::{DownId, ShardId, Source};
    use hearth_units::MediaKind;

    use super::*;
    use crate::fixtures::{self, epoch};

    #[test]
    fn a_subscription_that_is_described_again_has_the_limit_that_comes_with_it() {
        let now = epoch();
        let mut shard = fixtures::shard(now, 1);
        let room = RoomId(1);
        let (peer, track) = (PeerId { room, n: 1 }, TrackId { room, n: 2 });
        fixtures::add_peer(&mut shard, now, peer);
        fixtures::add_track(&mut shard, now, track, Source::Shard(ShardId(0)), MediaKind::Video);
        fixtures::subscribe(&mut shard, now, peer, track, 3);
        let key = shard.graph.down_key(DownId { room, n: 3 }).unwrap();
        let limit = |shard: &Shard| shard.graph.downs.get(key).unwrap().limit;
        assert_eq!(limit(&shard), LayerLimit::ALL);

        let spec = Box::new(shard.graph.downs.get(key).unwrap().down.spec().clone());
        let low = LayerLimit { spatial: 0, ..LayerLimit::ALL };
        shard.handle_command(now, Command::SetDownTrack { spec, limit: low });
        assert_eq!(limit(&shard), low);
    }
}
