//! Finding the peer, or the shard, that a datagram is for.
//!
//! * **Owns:** which address belongs to which peer of ours, or to which other shard; which ICE
//!   user fragments are ours.
//! * **In:** [`Steering::add_ufrag`], [`Steering::learn`] (an address a peer uses).
//! * **Out:** [`Steering::route`].
//! * **Invariant:** an address that serves a peer is not taken over by another one before that
//!   one's connectivity check has passed.
//! * **Why:** all shards receive on one port; the kernel spreads by address, so the first check of
//!   a client may reach the wrong shard. Its ufrag says which is right: two hex digits of shard.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use hearth_plane::ShardId;
use hearth_rtp::PacketKind;

/// Addresses of clients of other shards that are remembered; more would be a flood.
const MAX_FOREIGN: usize = 65_536;
/// Addresses that one peer may occupy.
const MAX_ADDRS: usize = 32;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// A peer of ours.
    Peer(usize),
    /// Another shard.
    Shard(ShardId),
    /// Nobody we know.
    Nobody,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Steering {
    id: ShardId,
    shards: u16,
    addrs: HashMap<SocketAddr, usize>,
    foreign: HashMap<SocketAddr, ShardId>,
    ufrags: BTreeMap<String, usize>,
}

impl Steering {
    pub(crate) fn new(id: ShardId, shards: u16) -> Self {
        let (addrs, foreign, ufrags) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        Self { id, shards, addrs, foreign, ufrags }
    }

    /// `ufrag` is a local user fragment of `peer`.
    pub(crate) fn add_ufrag(&mut self, ufrag: &str, peer: usize) {
        self.ufrags.insert(ufrag.to_owned(), peer);
    }

    /// `ufrag` is no longer anybody's.
    pub(crate) fn remove_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// `from` talks to `peer`. `proven`: its connectivity check has passed.
    pub(crate) fn learn(
        &mut self,
        from: SocketAddr,
        peer: usize,
        known: &mut Vec<SocketAddr>,
        proven: bool,
    ) {
        if self.addrs.get(&from) == Some(&peer) {
            return;
        }
        if !proven && (known.len() >= MAX_ADDRS || self.addrs.contains_key(&from)) {
            return;
        }
        if known.len() >= MAX_ADDRS {
            let oldest = known.remove(0);
            if self.addrs.get(&oldest) == Some(&peer) {
                self.addrs.remove(&oldest);
            }
        }
        self.addrs.insert(from, peer);
        known.push(from);
    }

    /// Names and addresses of peers that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.addrs.len() + self.ufrags.len()
    }

    /// Forgets a peer's names and addresses.
    pub(crate) fn remove(&mut self, peer: usize, ufrags: &[String], known: &[SocketAddr]) {
        for ufrag in ufrags {
            self.remove_ufrag(ufrag);
        }
        for addr in known {
            if self.addrs.get(addr) == Some(&peer) {
                self.addrs.remove(addr);
            }
        }
    }

    /// Decides by the ufrag of a connectivity check, else by the sender's address.
    pub(crate) fn route(&mut self, kind: PacketKind, from: SocketAddr, buf: &[u8]) -> Route {
        if kind == PacketKind::Stun
            && let Some(ufrag) = hearth_peer::stun_local_ufrag(buf)
        {
            if let Some(peer) = self.ufrags.get(ufrag) {
                return Route::Peer(*peer);
            }
            let Some(shard) = shard_of(ufrag).filter(|s| *s != self.id && s.0 < self.shards) else {
                return Route::Nobody;
            };
            if self.foreign.len() >= MAX_FOREIGN {
                self.foreign.clear();
            }
            if !self.addrs.contains_key(&from) {
                self.foreign.insert(from, shard);
            }
            return Route::Shard(shard);
        }
        if let Some(peer) = self.addrs.get(&from) {
            return Route::Peer(*peer);
        }
        self.foreign.get(&from).map_or(Route::Nobody, |shard| Route::Shard(*shard))
    }
}

/// The shard that a local user fragment names.
fn shard_of(ufrag: &str) -> Option<ShardId> {
    u16::from_str_radix(ufrag.get(..2)?, 16).ok().map(ShardId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_moved_often_is_still_found() {
        let mut steering = Steering::new(ShardId(0), 1);
        let mut known = Vec::new();
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        for n in 1..=100 {
            steering.learn(addr(n), 7, &mut known, true);
        }
        let route = |steering: &mut Steering, n| steering.route(PacketKind::Rtp, addr(n), &[]);
        assert_eq!(route(&mut steering, 100), Route::Peer(7));
        assert_eq!(route(&mut steering, 1), Route::Nobody);
        assert_eq!((known.len(), steering.len()), (MAX_ADDRS, MAX_ADDRS));

        steering.remove(7, &[], &known);
        assert_eq!(steering.len(), 0);
    }

    #[test]
    fn an_address_is_taken_over_only_by_whoever_has_proven_it() {
        let mut steering = Steering::new(ShardId(0), 1);
        let from = SocketAddr::from(([10, 0, 0, 1], 9));
        steering.learn(from, 1, &mut Vec::new(), false);
        steering.learn(from, 2, &mut Vec::new(), false);
        assert_eq!(steering.route(PacketKind::Rtp, from, &[]), Route::Peer(1));
        steering.learn(from, 2, &mut Vec::new(), true);
        assert_eq!(steering.route(PacketKind::Rtp, from, &[]), Route::Peer(2));
    }
}
