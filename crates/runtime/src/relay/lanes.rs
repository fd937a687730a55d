//! Between the relay thread and the shards: which shard a relayed packet is for.
//!
//! * **Owns:** for each pair of relayed and media address the shard that has confirmed it; the sending ends of the lanes.
//! * **In:** [`Lanes::send`] (a client's packet), [`Lanes::confirm`] (a shard has verified a check's password).
//! * **Out:** shard messages; the numbers of what found no room.
//! * **Invariant:** what nobody has vouched for goes into the narrow lane, and only if it is a connectivity check. One client
//!   has its share of a turn, no more. As many pairs are remembered as the clients have allocations, times our addresses.

use std::collections::HashMap;
use std::net::SocketAddr;

use hearth_datagram::Endpoint;
use hearth_metrics::{Counts, Metric};
use hearth_plane::ShardId;
use hearth_shard::{Lane, ShardMessage, ShardMessageKind};

use crate::shard_thread::LaneEnds;

/// Packets of one client in one turn: a quarter of what may wait for a shard.
const MAX_OF_A_CLIENT: u16 = 256;

/// A way that a shard has confirmed.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    shard: ShardId,
    turn: u32,
    sent: u16,
}

/// See the module documentation.
pub(super) struct Lanes {
    /// To the shards, by number.
    shards: Vec<LaneEnds>,
    confirmed: HashMap<Endpoint, Confirmed>,
    /// Bit n: shard n has something new.
    woken: u128,
    turn: u32,
}

impl Lanes {
    pub(super) fn new(shards: Vec<LaneEnds>) -> Self {
        Self { shards, confirmed: HashMap::new(), woken: 0, turn: 0 }
    }

    /// The number that shards know the relay thread by.
    fn id(&self) -> ShardId {
        ShardId(u16::try_from(self.shards.len()).unwrap_or(u16::MAX))
    }

    /// A packet of a client, to the shard that it is for.
    pub(super) fn send(&mut self, from: Endpoint, packet: &[u8], counts: &mut Counts) {
        let known = self.confirmed.get_mut(&from);
        let named = hearth_peer::stun_local_ufrag(packet).map(shard_of);
        let (shard, kind) = match (known, named) {
            (Some(known), named) if named.is_none_or(|named| named == Some(known.shard)) => {
                if known.turn != self.turn {
                    (known.turn, known.sent) = (self.turn, 0);
                }
                known.sent = known.sent.saturating_add(1);
                if known.sent > MAX_OF_A_CLIENT {
                    return counts.add(Metric::DropForeignShare, 1);
                }
                (known.shard, ShardMessageKind::Datagram { from })
            }
            (_, Some(Some(named))) => (named, ShardMessageKind::Check { from }),
            (_, Some(None) | None) => return counts.add(Metric::DropReceiveUnknown, 1),
        };
        let Some(message) = ShardMessage::new(kind, packet) else {
            return counts.add(Metric::DropReceiveTooLong, 1);
        };
        let own = self.id();
        let Some(ends) = self.shards.get(usize::from(shard.0)) else {
            return counts.add(Metric::DropReceiveUnknown, 1);
        };
        let (lane, dropped) = match message.lane() {
            Lane::Media => (&ends.media, Metric::DropTurnLane),
            Lane::Checks => (&ends.checks, Metric::DropChecksFull),
        };
        if lane.try_send((own, message)).is_err() {
            return counts.add(dropped, 1);
        }
        self.woken |= 1_u128.checked_shl(u32::from(shard.0)).unwrap_or(1);
    }

    /// `shard` has the peer that came by this way.
    pub(super) fn confirm(&mut self, from: Endpoint, shard: ShardId) {
        self.confirmed.insert(from, Confirmed { shard, turn: self.turn, sent: 0 });
    }

    /// A relayed address has ended; `media` is where it could send to.
    pub(super) fn forget(&mut self, relayed: SocketAddr, media: &[SocketAddr]) {
        for local in media {
            self.confirmed.remove(&Endpoint::relay(*local, relayed));
        }
    }

    /// Wakes the shards that have something new.
    pub(super) fn wake(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        let woken = std::mem::take(&mut self.woken);
        for (n, ends) in (0_u32..).zip(&self.shards) {
            if 1_u128.checked_shl(n).is_some_and(|bit| woken & bit != 0) {
                ends.waker.wake();
            }
        }
    }

    /// Ways that are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.confirmed.len()
    }
}

/// The shard that a user fragment of ours names.
fn shard_of(ufrag: &str) -> Option<ShardId> {
    u16::from_str_radix(ufrag.get(..2)?, 16).ok().map(ShardId)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use hearth_net::Poller;
    use hearth_testkit::forged_check;

    use super::*;
    use crate::shard_thread::Shipment;

    type Ends = (Receiver<Shipment>, Receiver<Shipment>);

    fn lanes(shards: usize) -> (Lanes, Vec<Ends>) {
        let made = (0..shards).map(|_| {
            let ((media, from_media), (checks, from_checks)) =
                (sync_channel(1_024), sync_channel(2));
            let waker = Poller::new().unwrap().waker();
            (LaneEnds { media, checks, waker }, (from_media, from_checks))
        });
        let (ends, receivers) = made.unzip();
        (Lanes::new(ends), receivers)
    }

    fn way(port: u16) -> Endpoint {
        Endpoint::relay(([192, 0, 2, 7], 7_882).into(), ([192, 0, 2, 7], port).into())
    }

    #[test]
    fn a_stranger_gets_a_check_through_and_nothing_else_until_a_shard_vouches_for_it() {
        let (mut lanes, shards) = lanes(2);
        let mut counts = Counts::default();
        let check = forged_check("01somebody:x", [7; 20]);
        lanes.send(way(1), b"\x80media", &mut counts);
        lanes.send(way(1), &forged_check("zz:x", [7; 20]), &mut counts);
        lanes.send(way(1), &forged_check("07none:x", [7; 20]), &mut counts);
        assert_eq!(counts[Metric::DropReceiveUnknown], 3);
        for _ in 0..3 {
            lanes.send(way(1), &check, &mut counts);
        }
        assert_eq!(counts[Metric::DropChecksFull], 1, "the lane is narrow");
        let (from, message) = shards[1].1.try_recv().unwrap();
        assert_eq!((from, message.kind), (ShardId(2), ShardMessageKind::Check { from: way(1) }));

        lanes.confirm(way(1), ShardId(1));
        lanes.send(way(1), b"\x80media", &mut counts);
        lanes.send(way(1), &check, &mut counts);
        for _ in 0..2 {
            let (_, message) = shards[1].0.try_recv().unwrap();
            assert_eq!(message.kind, ShardMessageKind::Datagram { from: way(1) });
        }
        lanes.send(way(2), b"\x80media", &mut counts);
        assert!(shards[1].0.try_recv().is_err() && shards[0].0.try_recv().is_err());

        lanes.forget(way(1).remote, &[way(1).local]);
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn a_client_has_its_share_of_a_turn() {
        let (mut lanes, shards) = lanes(1);
        let mut counts = Counts::default();
        lanes.confirm(way(1), ShardId(0));
        lanes.confirm(way(2), ShardId(0));
        for _ in 0..2 {
            for _ in 0..1_000 {
                lanes.send(way(1), b"\x80media", &mut counts);
            }
            lanes.send(way(2), b"\x80media", &mut counts);
            assert_eq!(std::iter::from_fn(|| shards[0].0.try_recv().ok()).count(), 257);
            lanes.wake();
        }
        assert_eq!(counts[Metric::DropForeignShare], 2 * 744);
    }
}
