//! Which shard a new participant of a room goes to.
//!
//! * **Owns:** the shard that takes a room's newcomers now.
//! * **In:** [`Placement::choose`], with how many connections the room has on each shard.
//! * **Out:** a shard.
//! * **Invariant:** a room is on one shard until that has its share; a packet that crosses to another
//!   shard is work twice, and wakes two threads.

use std::sync::Arc;

use hearth_plane::{RoomId, ShardId};

use crate::counters::{Held, read};
use crate::shard_thread::ShardLink;

/// Connections that a room is expected to bring; they appear only some time after the join that
/// places them.
const EXPECTED: u64 = 8;

/// See the module documentation.
pub(crate) struct Placement {
    shards: Arc<[ShardLink]>,
    share: u64,
    room: RoomId,
    home: Option<Home>,
}

/// The shard that takes newcomers.
struct Home {
    index: usize,
    /// It is counted there, for as long as the room is.
    _held: Held,
}

/// What a shard carries, in connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Load {
    /// Of the room in question.
    here: u64,
    /// Of all rooms.
    all: u64,
}

impl Placement {
    /// `share`: connections of the room that a shard gets before the next one gets some.
    pub(crate) fn new(shards: Arc<[ShardLink]>, share: u32, room: RoomId) -> Self {
        Self { shards, share: share.into(), room, home: None }
    }

    /// `here`: connections the room has on each shard.
    pub(crate) fn choose(&mut self, here: &[u64]) -> ShardId {
        let here = |index: usize| here.get(index).copied().unwrap_or_default();
        let id = |index: usize| ShardId(u16::try_from(index).unwrap_or_default());
        if let Some(home) = self.home.as_ref().filter(|home| here(home.index) < self.share) {
            return id(home.index);
        }
        // Left first, so that the room does not count against it.
        self.home = None;
        let loads = self.shards.iter().enumerate().map(|(index, shard)| Load {
            here: here(index),
            all: shard.peers() + EXPECTED * read(&shard.gauges().homes),
        });
        let index = least(&loads.collect::<Vec<_>>(), self.room.0 as usize);
        let shard = self.shards.get(index);
        self.home = shard.map(|shard| Home { index, _held: Held::new(&shard.gauges().homes) });
        id(index)
    }
}

/// The shard with the fewest connections of the room, of these the one with the fewest of all; rooms
/// take turns among equals.
fn least(loads: &[Load], turn: usize) -> usize {
    let key = |load: &Load| (load.here, load.all);
    let Some(least) = loads.iter().map(key).min() else { return 0 };
    let equals = || loads.iter().enumerate().filter(|(_, load)| key(load) == least);
    equals().nth(turn % equals().count().max(1)).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_one_shard_until_its_share_is_full_and_small_rooms_take_turns() {
        let shards: Arc<[ShardLink]> = [ShardLink::to_nobody(), ShardLink::to_nobody()].into();
        let mut placement = Placement::new(Arc::clone(&shards), 4, RoomId(1));
        for (here, shard) in [
            ([0, 0], 1),
            ([0, 3], 1),
            ([0, 4], 0),
            ([3, 4], 0),
            ([4, 4], 1),
            ([4, 5], 0),
            ([0, 5], 0),
        ] {
            assert_eq!(placement.choose(&here), ShardId(shard), "{here:?}");
        }
        let mut other = Placement::new(Arc::clone(&shards), 4, RoomId(2));
        assert_eq!(other.choose(&[0, 0]), ShardId(1), "the first room is expected to grow at 0");
        drop((placement, other));
        let mut third = Placement::new(Arc::clone(&shards), 4, RoomId(2));
        assert_eq!(third.choose(&[0, 0]), ShardId(0), "rooms that are over do not count");
    }

    #[test]
    fn the_least_loaded_shard_is_chosen_and_equals_take_turns() {
        type Row = (&'static [(u64, u64)], usize, usize);
        let table: [Row; 7] = [
            (&[(0, 0)], 7, 0),
            (&[(0, 0), (0, 0)], 0, 0),
            (&[(0, 0), (0, 0)], 1, 1),
            (&[(0, 4), (0, 2), (0, 3)], 5, 1),
            (&[(0, 1), (0, 2), (0, 1)], 1, 2),
            (&[(64, 64), (0, 900)], 0, 1),
            (&[], 3, 0),
        ];
        for (loads, turn, index) in table {
            let loads: Vec<_> = loads.iter().map(|&(here, all)| Load { here, all }).collect();
            assert_eq!(least(&loads, turn), index, "{loads:?} {turn}");
        }
    }
}
