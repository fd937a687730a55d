//! Which shard a new participant goes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearth_plane::ShardId;

use crate::shard_thread::ShardLink;

/// Spreads participants over shards: the one with the fewest peers, in turn among equals (peers
/// appear only some time after the join that places them).
#[derive(Debug)]
pub(crate) struct Placement {
    shards: Arc<[ShardLink]>,
    turn: AtomicUsize,
}

impl Placement {
    pub(crate) fn new(shards: Arc<[ShardLink]>) -> Self {
        Self { shards, turn: AtomicUsize::new(0) }
    }

    pub(crate) fn choose(&self) -> ShardId {
        let loads = self.shards.iter().map(ShardLink::peers);
        choose(loads, self.turn.fetch_add(1, Ordering::Relaxed))
    }
}

fn choose(loads: impl Iterator<Item = u64> + Clone, turn: usize) -> ShardId {
    let least = loads.clone().min().unwrap_or_default();
    let equals = loads.clone().filter(|load| *load == least).count().max(1);
    let index = loads.enumerate().filter(|(_, load)| *load == least).nth(turn % equals);
    ShardId(index.and_then(|(index, _)| u16::try_from(index).ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_shard_is_chosen_and_equals_take_turns() {
        let table: [(&[u64], usize, u16); 6] = [
            (&[0], 7, 0),
            (&[0, 0], 0, 0),
            (&[0, 0], 1, 1),
            (&[4, 2, 3], 5, 1),
            (&[1, 2, 1], 1, 2),
            (&[], 3, 0),
        ];
        for (loads, turn, shard) in table {
            assert_eq!(choose(loads.iter().copied(), turn), ShardId(shard), "{loads:?} {turn}");
        }
    }
}
