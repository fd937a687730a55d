//! Relays: which shards have a track that is received on another one.
//!
//! * **Owns:** how many subscriptions each shard has of each track from elsewhere.
//! * **In:** subscriptions that begin and end.
//! * **Out:** true for the first and the last of a shard.
//! * **Invariant:** a shard is told once to have a track, and once to forget it.

use std::collections::BTreeMap;

use hearth_plane::{ShardId, TrackId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    counts: BTreeMap<(TrackId, ShardId), u32>,
}

impl Relays {
    /// A subscription on `shard` begins; true if it is the first there.
    pub(crate) fn acquire(&mut self, track: TrackId, shard: ShardId) -> bool {
        let count = self.counts.entry((track, shard)).or_default();
        *count += 1;
        *count == 1
    }

    /// One ends; true if it was the last there.
    pub(crate) fn release(&mut self, track: TrackId, shard: ShardId) -> bool {
        let Some(count) = self.counts.get_mut(&(track, shard)) else { return false };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return false;
        }
        self.counts.remove(&(track, shard));
        true
    }

    /// The shards that have it from elsewhere.
    pub(crate) fn shards(&self, track: TrackId) -> Vec<ShardId> {
        let range = (track, ShardId(0))..=(track, ShardId(u16::MAX));
        self.counts.range(range).map(|((_, shard), _)| *shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_plane::RoomId;

    #[test]
    fn a_shard_gets_a_track_with_its_first_subscription_and_loses_it_with_the_last() {
        let track = TrackId { room: RoomId(1), n: 1 };
        let mut relays = Relays::default();
        assert!(relays.acquire(track, ShardId(1)));
        assert!(!relays.acquire(track, ShardId(1)));
        assert!(relays.acquire(track, ShardId(2)));
        assert_eq!(relays.shards(track), [ShardId(1), ShardId(2)]);
        assert!(!relays.release(track, ShardId(1)));
        assert!(relays.release(track, ShardId(1)));
        assert!(!relays.release(track, ShardId(1)));
        assert_eq!(relays.shards(track), [ShardId(2)]);
    }
}
