//! Placement: which shard a new participant of a room is put on (load balancing).
//!
//! * **Owns:** the shard that the room's newcomers go to.
//! * **In:** [`Placement::choose`], with how many connections the room has on each shard.
//! * **Out:** a shard.
//! * **Invariant:** a room fills one shard up to its share before it gets the next: a packet that
//!   crosses to another shard is work twice, and wakes two threads. Only where that shard has far more
//!   to do than the least loaded one does the room spread earlier.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hearth_metrics::Metric;
use hearth_plane::{RoomId, ShardId};

use crate::counters::Expected;
use crate::shard_link::ShardLink;

/// Connections that a new room is expected to bring, until it has some: they appear only some time after
/// the join that places them.
const EXPECTED: u64 = 4;

/// Subscriptions that are about as much to do as a connection without any.
const SUBSCRIPTIONS: u64 = 8;

/// See the module documentation.
pub(crate) struct Placement {
    shards: Arc<[ShardLink]>,
    share: u64,
    room: RoomId,
    home: Option<Home>,
}

/// The shard that newcomers go to.
struct Home {
    index: usize,
    /// Counts the room there until its connections do.
    expected: Option<Expected>,
}

/// The load of a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Load {
    /// Connections of the room in question.
    here: u64,
    /// Work for all rooms together, in units of one connection.
    all: u64,
    /// Its thread runs.
    alive: bool,
}

impl Placement {
    /// `share`: connections of the room that a shard gets before the next one gets some.
    pub(crate) fn new(shards: Arc<[ShardLink]>, share: u32, room: RoomId) -> Self {
        Self { shards, share: share.into(), room, home: None }
    }

    /// `here`: connections the room has on each shard.
    pub(crate) fn choose(&mut self, here: &[u64]) -> ShardId {
        let here = |index: usize| here.get(index).copied().unwrap_or_default();
        if let Some(home) = &mut self.home
            && here(home.index) > 0
        {
            home.expected = None;
        }
        let home = self.home.as_ref().map(|home| (home.index, u64::from(home.expected.is_some())));
        let load = |(index, shard): (usize, &ShardLink)| {
            // The room does not count against its own home.
            let ours = home.map_or(0, |(at, expected)| if at == index { expected } else { 0 });
            let gauges = shard.gauges();
            let homes = gauges.homes.load(Ordering::Relaxed).saturating_sub(ours);
            let subscriptions = gauges.counts.get(Metric::Subscriptions) / SUBSCRIPTIONS;
            let all = gauges.counts.get(Metric::Transports) + subscriptions + EXPECTED * homes;
            Load { here: here(index), all, alive: shard.is_alive() }
        };
        let loads: Vec<Load> = self.shards.iter().enumerate().map(load).collect();
        let index = best(&loads, home.map(|(at, _)| at), self.share, self.room.0 as usize);
        if home.is_none_or(|(at, _)| at != index) {
            let expect = |shard: &ShardLink| Expected::new(&shard.gauges().homes);
            let expected = self.shards.get(index).filter(|_| here(index) == 0).map(expect);
            self.home = Some(Home { index, expected });
        }
        ShardId(u16::try_from(index).unwrap_or_default())
    }
}

/// The index of the shard for the next connection, in this order of preference:
///
/// 1. shards that have connections of the room (or are its `home`) but not yet `share`, and are not busy: the one
///    that has most of the room, so that few packets cross between shards;
/// 2. else, of those that are not busy, then of the busy: the one with the fewest connections of the room, then the
///    least load. `turn`, the room's number, breaks ties, so that new rooms spread over idle shards.
///
/// Busy is a load far above that of the least loaded shard; for `home` the limit is a third higher (hysteresis),
/// so that newcomers do not alternate between two shards.
fn best(loads: &[Load], home: Option<usize>, share: u64, turn: usize) -> usize {
    let alive = || loads.iter().enumerate().filter(|(_, load)| load.alive);
    // A dead thread's shard is never chosen while another one runs.
    let idlest = alive().map(|(_, load)| load.all).min().unwrap_or(0);
    // Spreading costs a copy of each packet to another shard, so that twice the least load plus a share is tolerated.
    let is_busy = |index: usize, load: &Load| {
        let limit = 2 * idlest + share;
        load.all > if home == Some(index) { limit } else { limit / 4 * 3 }
    };
    let started = |(index, load): &(usize, &Load)| {
        let has_some = load.here > 0 || home == Some(*index);
        has_some && load.here < share && !is_busy(*index, load)
    };
    let most =
        |(index, load): &(usize, &Load)| (load.here, home == Some(*index), Reverse(load.all));
    if let Some((index, _)) = alive().filter(started).max_by_key(most) {
        return index;
    }
    let key = |(index, load): (usize, &Load)| (is_busy(index, load), load.here, load.all);
    let Some(least) = alive().map(key).min() else { return 0 };
    let equals = || alive().filter(|(index, load)| key((*index, load)) == least);
    equals().nth(turn % equals().count().max(1)).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_fills_a_shard_up_to_its_share_and_small_rooms_take_turns() {
        let nobody = [ShardLink::disconnected(), ShardLink::disconnected()];
        let shards: Arc<[ShardLink]> = nobody.iter().map(|(link, _)| link.clone()).collect();
        let mut placement = Placement::new(Arc::clone(&shards), 12, RoomId(1));
        for (here, shard) in [
            ([0, 0], 1),
            ([0, 3], 1),
            ([0, 11], 1),
            ([0, 12], 0),
            ([3, 12], 0),
            ([3, 11], 1),
            ([12, 12], 1),
            ([12, 13], 0),
            ([0, 5], 1),
            ([0, 0], 1),
        ] {
            assert_eq!(placement.choose(&here), ShardId(shard), "{here:?}");
        }
    }

    #[test]
    fn a_new_room_counts_before_its_connections_do() {
        let nobody = [ShardLink::disconnected(), ShardLink::disconnected()];
        let shards: Arc<[ShardLink]> = nobody.iter().map(|(link, _)| link.clone()).collect();
        let place = |room, here: &[u64]| {
            let mut placement = Placement::new(Arc::clone(&shards), 12, RoomId(room));
            (placement.choose(here), placement)
        };
        let (first, mut room) = place(2, &[0, 0]);
        let (second, _) = place(2, &[0, 0]);
        assert_eq!((first, second), (ShardId(0), ShardId(1)));
        assert_eq!(room.choose(&[1, 0]), ShardId(0));
        let (third, _) = place(2, &[0, 0]);
        assert_eq!(third, ShardId(0), "its connections count themselves now");
        drop(room);
        assert!(shards.iter().all(|shard| shard.gauges().homes.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_shard_with_far_more_subscriptions_than_another_gets_no_more() {
        let nobody = [ShardLink::disconnected(), ShardLink::disconnected()];
        let shards: Arc<[ShardLink]> = nobody.iter().map(|(link, _)| link.clone()).collect();
        let mut placement = Placement::new(Arc::clone(&shards), 64, RoomId(0));
        for (connections, subscriptions, shard) in [(14, 98, 0), (18, 368, 0), (20, 760, 1)] {
            let counts = &shards[0].gauges().counts;
            counts.set(Metric::Transports, connections);
            counts.set(Metric::Subscriptions, subscriptions);
            assert_eq!(placement.choose(&[connections, 0]), ShardId(shard), "{connections}");
        }
    }

    #[test]
    fn a_dead_shard_gets_no_participants() {
        let (dead, commands) = ShardLink::disconnected();
        let (alive, _commands) = ShardLink::disconnected();
        drop(commands);
        let mut placement = Placement::new([dead, alive].into(), 12, RoomId(0));
        assert_eq!(placement.choose(&[5, 0]), ShardId(1));
    }

    #[test]
    fn the_best_shard_has_started_with_the_room_or_else_least_to_do() {
        type Row = (&'static [(u64, u64)], Option<usize>, usize, usize);
        let table: [Row; 16] = [
            (&[(0, 0)], None, 7, 0),
            (&[(0, 0), (0, 0)], None, 0, 0),
            (&[(0, 0), (0, 0)], None, 1, 1),
            (&[(0, 4), (0, 2), (0, 3)], None, 5, 1),
            (&[(0, 1), (0, 2), (0, 1)], None, 1, 2),
            (&[(64, 64), (0, 90)], Some(0), 0, 1),
            (&[(64, 64), (0, 900)], Some(0), 0, 0),
            (&[(64, 64), (64, 900), (70, 70)], Some(2), 0, 0),
            // Home has none of it yet, or none any more.
            (&[(0, 9), (0, 0)], Some(0), 1, 0),
            (&[(0, 0), (40, 40)], Some(0), 0, 1),
            // Far more to do than the other.
            (&[(3, 65), (0, 0)], Some(0), 0, 1),
            (&[(3, 164), (0, 50)], Some(0), 0, 0),
            // Back there only when the difference is smaller (hysteresis).
            (&[(3, 65), (1, 1)], Some(1), 0, 1),
            (&[(3, 65), (9, 9)], Some(1), 0, 1),
            (&[(30, 65), (20, 20)], Some(1), 0, 0),
            (&[], None, 3, 0),
        ];
        for (loads, home, turn, index) in table {
            let load = |&(here, all): &(u64, u64)| Load { here, all, alive: true };
            let loads: Vec<_> = loads.iter().map(load).collect();
            assert_eq!(best(&loads, home, 64, turn), index, "{loads:?} {home:?} {turn}");
        }
    }
}
