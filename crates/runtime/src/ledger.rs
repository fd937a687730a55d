//! What one room has on the shards, so that nothing stays there when it ends in a panic.
//!
//! * **Owns:** the room's peers and relayed tracks, by shard.
//! * **In:** [`Ledger::note`] every command, [`Ledger::forget_peer`] when a shard closed one.
//! * **Out:** [`Ledger::take_leftovers`], [`Ledger::peers_by_shard`].
//! * **Invariant:** local tracks and subscriptions are not listed: a peer takes them with it.

use std::collections::{BTreeMap, BTreeSet};

use hearth_plane::{Command, PeerId, ShardId, Source, TrackId};

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    peers: BTreeMap<PeerId, ShardId>,
    relayed: BTreeSet<(ShardId, TrackId)>,
}

impl Ledger {
    pub(crate) fn note(&mut self, shard: ShardId, command: &Command) {
        match command {
            Command::AddPeer { peer, .. } => {
                self.peers.insert(*peer, shard);
            }
            Command::RemovePeer { peer } => {
                self.peers.remove(peer);
            }
            Command::SetUpTrack { track, spec } => {
                if matches!(spec.source, Source::Shard(_)) {
                    self.relayed.insert((shard, *track));
                }
            }
            Command::RemoveUpTrack { track } => {
                self.relayed.remove(&(shard, *track));
            }
            Command::SetRemote { .. }
            | Command::RestartIce { .. }
            | Command::AddRemoteCandidate { .. }
            | Command::SetUpTrackMuted { .. }
            | Command::AddRelay { .. }
            | Command::RemoveRelay { .. }
            | Command::SetDownTrack { .. }
            | Command::SetWish { .. }
            | Command::RemoveDownTrack { .. }
            | Command::SendData { .. } => {}
        }
    }

    /// How many peers the room has on each shard, up to the last that has some.
    pub(crate) fn peers_by_shard(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for shard in self.peers.values().map(|shard| usize::from(shard.0)) {
            counts.resize(counts.len().max(shard + 1), 0);
            if let Some(count) = counts.get_mut(shard) {
                *count += 1;
            }
        }
        counts
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// Commands that remove all that is left.
    pub(crate) fn take_leftovers(&mut self) -> Vec<(ShardId, Command)> {
        let relayed = std::mem::take(&mut self.relayed);
        let peers = std::mem::take(&mut self.peers);
        let tracks =
            relayed.into_iter().map(|(shard, track)| (shard, Command::RemoveUpTrack { track }));
        let peers = peers.into_iter().map(|(peer, shard)| (shard, Command::RemovePeer { peer }));
        tracks.chain(peers).collect()
    }
}

#[cfg(test)]
mod tests {
    use hearth_plane::{IceCredentials, PeerSpec, RoomId};

    use super::*;

    #[test]
    fn only_peers_that_nobody_removed_are_left() {
        let mut ledger = Ledger::default();
        for n in 0..4 {
            let local = IceCredentials { ufrag: String::new(), pwd: String::new() };
            let spec = PeerSpec {
                local,
                ice_lite: true,
                ice_controlling: false,
                local_addrs: Vec::new(),
                remote: None,
                open_channels: false,
            };
            let command = Command::AddPeer { peer: peer(n), spec: Box::new(spec) };
            ledger.note(ShardId(1), &command);
        }
        ledger.note(ShardId(1), &Command::RemovePeer { peer: peer(0) });
        ledger.forget_peer(peer(2));
        assert_eq!(ledger.peers_by_shard(), [0, 2]);
        let left = [1, 3].map(|n| (ShardId(1), Command::RemovePeer { peer: peer(n) }));
        assert_eq!(ledger.take_leftovers(), left);
        assert_eq!(ledger.take_leftovers(), []);
    }

    fn peer(n: u32) -> PeerId {
        PeerId { room: RoomId(0), n }
    }
}
