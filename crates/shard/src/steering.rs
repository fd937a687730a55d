//! Finding the peer, or the shard, that a datagram is for.
//!
//! * **Owns:** which endpoint belongs to which peer of ours, or to which other shard; which ICE
//!   user fragments are ours.
//! * **In:** [`Steering::add_ufrag`], [`Steering::learn`] (an endpoint that passed a check),
//!   [`Steering::expect`] (a check of ours that is to be answered).
//! * **Out:** [`Steering::route`].
//! * **Invariant:** an endpoint that serves a peer is not taken over by another one before ICE has
//!   nominated it for that one.
//! * **Why:** all shards receive on one port; the kernel spreads by address, so the first check of
//!   a client may reach the wrong shard. Its ufrag says which is right: two hex digits of shard.

use std::collections::{BTreeMap, HashMap};

use hearth_datagram::Endpoint;
use hearth_plane::ShardId;
use hearth_rtp::PacketKind;

use crate::entry::PeerKey;

/// Endpoints of clients of other shards that are remembered, of which the half that was used last is for
/// sure: more than a shard can serve. Each costs about 100 bytes.
const MAX_FOREIGN: usize = 32_768;
/// Datagrams of one client of another shard that are passed on in one turn: a quarter of what may wait for that
/// shard, media of whole rooms among it. A client that sends more crowds out only itself.
const MAX_OF_A_CLIENT: u16 = 256;
/// Endpoints that one peer may occupy.
const MAX_PATHS: usize = 32;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// A peer of ours.
    Peer(PeerKey),
    /// Another shard, which has confirmed that its client is at this endpoint.
    Shard(ShardId),
    /// Another shard, if what the sender says is true: a check.
    Stranger(ShardId),
    /// The same as [`Shard`](Self::Shard), but too many of this turn.
    BeyondShare,
    /// Nobody we know.
    Nobody,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Steering {
    id: ShardId,
    shards: u16,
    paths: HashMap<Endpoint, PeerKey>,
    foreign: Foreign,
    ufrags: BTreeMap<String, PeerKey>,
}

impl Steering {
    pub(crate) fn new(id: ShardId, shards: u16) -> Self {
        let (paths, foreign, ufrags) = (HashMap::new(), Foreign::default(), BTreeMap::new());
        Self { id, shards, paths, foreign, ufrags }
    }

    /// Takes over what `before` knew of other shards' clients.
    pub(crate) fn inherit(&mut self, before: &mut Self) {
        self.foreign = std::mem::take(&mut before.foreign);
    }

    /// What was passed on has left: every client of another shard has its share anew.
    pub(crate) const fn next_turn(&mut self) {
        self.foreign.turn = self.foreign.turn.wrapping_add(1);
    }

    /// `ufrag` is a local user fragment of `peer`.
    pub(crate) fn add_ufrag(&mut self, ufrag: &str, peer: PeerKey) {
        self.ufrags.insert(ufrag.to_owned(), peer);
    }

    /// `ufrag` is no longer anybody's.
    pub(crate) fn remove_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// `peer` has authenticated a check that came by `from`. `nominated`: ICE has chosen it. Returns the endpoint that
    /// was forgotten for it.
    pub(crate) fn learn(
        &mut self,
        from: Endpoint,
        peer: PeerKey,
        known: &mut Vec<Endpoint>,
        nominated: bool,
    ) -> Option<Endpoint> {
        if self.paths.get(&from) == Some(&peer) {
            return None;
        }
        if !nominated && (known.len() >= MAX_PATHS || self.paths.contains_key(&from)) {
            return None;
        }
        let mut forgotten = None;
        if known.len() >= MAX_PATHS {
            let oldest = known.remove(0);
            if self.paths.get(&oldest) == Some(&peer) {
                self.paths.remove(&oldest);
                forgotten = Some(oldest);
            }
        }
        self.paths.insert(from, peer);
        known.push(from);
        forgotten
    }

    /// `peer` sends by `path`. A check that goes where nothing has come from is answered to whichever
    /// address of ours it left from, and the answer names no ufrag.
    pub(crate) fn expect(&mut self, path: Endpoint, peer: PeerKey, known: &mut Vec<Endpoint>) {
        if self.paths.get(&path) != Some(&peer) {
            self.learn(path.from_anywhere(), peer, known, false);
        }
    }

    /// `shard` has authenticated a check that came here by `from`.
    pub(crate) fn learn_foreign(&mut self, from: Endpoint, shard: ShardId) {
        if shard != self.id && !self.paths.contains_key(&from) {
            self.foreign.insert(from, shard);
        }
    }

    /// The peer that is sent to by `path`.
    pub(crate) fn peer_at(&self, path: Endpoint) -> Option<PeerKey> {
        self.paths.get(&path).or_else(|| self.paths.get(&path.from_anywhere())).copied()
    }

    /// Whether a peer of ours is at this endpoint.
    pub(crate) fn serves(&self, endpoint: &Endpoint) -> bool {
        self.paths.contains_key(endpoint)
    }

    /// Nobody is at this endpoint any more. Returns who was.
    pub(crate) fn forget(&mut self, endpoint: &Endpoint) -> Option<PeerKey> {
        self.paths.remove(endpoint)
    }

    /// Names and endpoints of peers that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.paths.len() + self.ufrags.len()
    }

    /// Forgets a peer's names and endpoints.
    pub(crate) fn remove(&mut self, peer: PeerKey, ufrags: &[String], known: &[Endpoint]) {
        for ufrag in ufrags {
            self.remove_ufrag(ufrag);
        }
        for path in known {
            if self.paths.get(path) == Some(&peer) {
                self.paths.remove(path);
            }
        }
    }

    /// Decides by the ufrag of a connectivity check, else by the way a datagram came. Remembers nothing:
    /// anybody may send anything.
    pub(crate) fn route(&mut self, kind: PacketKind, from: Endpoint, buf: &[u8]) -> Route {
        if kind == PacketKind::Stun
            && let Some(ufrag) = hearth_peer::stun_local_ufrag(buf)
        {
            if let Some(peer) = self.ufrags.get(ufrag) {
                return Route::Peer(*peer);
            }
            let Some(shard) = shard_of(ufrag).filter(|s| *s != self.id && s.0 < self.shards) else {
                return Route::Nobody;
            };
            return match self.foreign.pass_on(&from) {
                Some((confirmed, has_share)) if confirmed == shard => to_shard(shard, has_share),
                Some(_) | None => Route::Stranger(shard),
            };
        }
        if let Some(peer) = self.paths.get(&from) {
            return Route::Peer(*peer);
        }
        if let Some((shard, has_share)) = self.foreign.pass_on(&from) {
            return to_shard(shard, has_share);
        }
        // The answer to a check of ours; it proves itself.
        let expected = self.paths.get(&from.from_anywhere()).filter(|_| kind == PacketKind::Stun);
        expected.map_or(Route::Nobody, |peer| Route::Peer(*peer))
    }
}

const fn to_shard(shard: ShardId, has_share: bool) -> Route {
    if has_share { Route::Shard(shard) } else { Route::BeyondShare }
}

/// A client of another shard.
#[derive(Clone, Copy, Debug)]
struct Client {
    shard: ShardId,
    /// The last turn in which something of it was passed on, and how much in that.
    turn: u32,
    passed_on: u16,
}

/// Endpoints of clients of other shards, in two generations: when the young one is full the old one is
/// forgotten, which is what was not used since.
#[derive(Debug, Default)]
struct Foreign {
    young: HashMap<Endpoint, Client>,
    old: HashMap<Endpoint, Client>,
    turn: u32,
}

impl Foreign {
    fn insert(&mut self, from: Endpoint, shard: ShardId) {
        self.insert_client(from, Client { shard, turn: self.turn, passed_on: 0 });
    }

    fn insert_client(&mut self, from: Endpoint, client: Client) {
        if self.young.len() >= MAX_FOREIGN / 2 && !self.young.contains_key(&from) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(from, client);
    }

    /// The shard of the client at `from`, and whether this turn has room for one more datagram of it.
    fn pass_on(&mut self, from: &Endpoint) -> Option<(ShardId, bool)> {
        if !self.young.contains_key(from) {
            let client = self.old.remove(from)?;
            self.insert_client(*from, client);
        }
        let client = self.young.get_mut(from)?;
        if client.turn != self.turn {
            (client.turn, client.passed_on) = (self.turn, 0);
        }
        client.passed_on = client.passed_on.saturating_add(1);
        Some((client.shard, client.passed_on <= MAX_OF_A_CLIENT))
    }
}

/// The shard that a connectivity check is for, by the ufrag that it names; `None` if it is none.
pub fn shard_of_check(buf: &[u8]) -> Option<ShardId> {
    shard_of(hearth_peer::stun_local_ufrag(buf)?)
}

/// The shard that a local user fragment names.
fn shard_of(ufrag: &str) -> Option<ShardId> {
    u16::from_str_radix(ufrag.get(..2)?, 16).ok().map(ShardId)
}

#[cfg(test)]
mod tests {
    use hearth_testkit::forged_check;

    use super::*;
    use crate::slab::Key;

    fn peer(index: u32) -> PeerKey {
        Key::of(index, 0)
    }

    #[test]
    fn a_client_that_has_moved_often_is_still_found() {
        let mut steering = Steering::new(ShardId(0), 1);
        let mut known = Vec::new();
        for n in 1..=100 {
            steering.learn(path(1, n), peer(7), &mut known, true);
        }
        let route = |steering: &mut Steering, n| steering.route(PacketKind::Rtp, path(1, n), &[]);
        assert_eq!(route(&mut steering, 100), Route::Peer(peer(7)));
        assert_eq!(route(&mut steering, 1), Route::Nobody);
        assert_eq!((known.len(), steering.len()), (MAX_PATHS, MAX_PATHS));

        steering.remove(peer(7), &[], &known);
        assert_eq!(steering.len(), 0);
    }

    #[test]
    fn an_endpoint_is_taken_over_only_by_a_peer_that_it_is_nominated_for() {
        let mut steering = Steering::new(ShardId(0), 1);
        let from = path(1, 9);
        steering.learn(from, peer(1), &mut Vec::new(), false);
        steering.learn(from, peer(2), &mut Vec::new(), false);
        assert_eq!(steering.route(PacketKind::Rtp, from, &[]), Route::Peer(peer(1)));
        steering.learn(from, peer(2), &mut Vec::new(), true);
        assert_eq!(steering.route(PacketKind::Rtp, from, &[]), Route::Peer(peer(2)));
    }
    #[test]
    fn one_client_address_may_be_two_clients_at_two_addresses_of_ours() {
        let mut steering = Steering::new(ShardId(0), 1);
        steering.learn(path(1, 9), peer(1), &mut Vec::new(), true);
        steering.learn(path(2, 9), peer(2), &mut Vec::new(), true);
        assert_eq!(steering.route(PacketKind::Rtp, path(1, 9), &[]), Route::Peer(peer(1)));
        assert_eq!(steering.route(PacketKind::Rtp, path(2, 9), &[]), Route::Peer(peer(2)));
    }

    #[test]
    fn an_answer_to_a_check_of_ours_is_found_at_any_address_of_ours_and_nothing_else_is() {
        let mut steering = Steering::new(ShardId(0), 1);
        let mut known = Vec::new();
        steering.expect(path(1, 9), peer(7), &mut known);
        assert_eq!(steering.route(PacketKind::Stun, path(2, 9), &[]), Route::Peer(peer(7)));
        assert_eq!(steering.route(PacketKind::Stun, path(2, 8), &[]), Route::Nobody);
        assert_eq!(steering.route(PacketKind::Dtls, path(1, 9), &[]), Route::Nobody);
        // Who sends to somebody's address does not get what that one sends.
        steering.learn(path(1, 9), peer(8), &mut Vec::new(), false);
        assert_eq!(steering.route(PacketKind::Dtls, path(1, 9), &[]), Route::Peer(peer(8)));
        steering.remove(peer(7), &[], &known);
        assert_eq!(steering.len(), 1);
    }

    #[test]
    fn an_endpoint_of_another_shard_is_known_when_that_has_confirmed_it() {
        let mut steering = Steering::new(ShardId(0), 2);
        let check = forged_check("01somebody:x", [7; 20]);
        let other = ShardId(1);
        for _ in 0..2 {
            assert_eq!(
                steering.route(PacketKind::Stun, path(1, 9), &check),
                Route::Stranger(other)
            );
            assert_eq!(steering.route(PacketKind::Rtp, path(1, 9), &[]), Route::Nobody);
        }
        steering.learn_foreign(path(1, 9), other);
        assert_eq!(steering.route(PacketKind::Stun, path(1, 9), &check), Route::Shard(other));
        assert_eq!(steering.route(PacketKind::Rtp, path(1, 9), &[]), Route::Shard(other));
        assert_eq!(steering.route(PacketKind::Rtp, path(2, 9), &[]), Route::Nobody);
    }

    #[test]
    fn a_client_of_another_shard_has_its_share_of_each_turn_and_takes_nobody_elses() {
        let mut steering = Steering::new(ShardId(0), 2);
        let (flood, quiet, there) = (path(1, 9), path(1, 8), Route::Shard(ShardId(1)));
        steering.learn_foreign(flood, ShardId(1));
        steering.learn_foreign(quiet, ShardId(1));
        for _ in 0..2 {
            let mut route = |from| steering.route(PacketKind::Rtp, from, &[]);
            let passed_on = (0..1_000).filter(|_| route(flood) == there).count();
            assert_eq!(passed_on, usize::from(MAX_OF_A_CLIENT));
            assert_eq!((route(flood), route(quiet)), (Route::BeyondShare, there));
            steering.next_turn();
        }
    }

    #[test]
    fn of_the_endpoints_of_other_shards_those_in_use_are_never_forgotten() {
        let mut steering = Steering::new(ShardId(0), 2);
        let used = path(1, 9);
        steering.learn_foreign(used, ShardId(1));
        for n in 0..200_000_u32 {
            let [_, high, ours, low] = n.to_be_bytes();
            steering.learn_foreign(path(ours, u16::from_be_bytes([high, low])), ShardId(1));
            if n % 10_000 == 0 {
                let route = steering.route(PacketKind::Rtp, used, &[]);
                assert_eq!(route, Route::Shard(ShardId(1)), "{n}");
            }
        }
        let Foreign { young, old, .. } = &steering.foreign;
        assert!(young.len() + old.len() <= MAX_FOREIGN);
    }

    /// Between address `ours` of this machine and port `n` of a client.
    fn path(ours: u8, n: u16) -> Endpoint {
        Endpoint::udp(([10, 0, 1, ours], 7_882).into(), ([10, 0, 0, 1], n).into())
    }
}
