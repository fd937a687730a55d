//! Who gets a track's packets as they come, beside its subscribers on this shard.
//!
//! * **Owns:** the destinations of one track, each with the encodings that are watched there.
//! * **In:** destinations that come and go; what is watched there. **Out:** packets and news of the track for them.
//! * **Invariant:** an encoding that nobody watches at a destination does not go there, unless it is not known there
//!   yet: its first packet may begin the only key frame for long. Until a destination has said what it watches,
//!   everything goes there.

use hearth_plane::{ShardId, TrackId};

use crate::outbox::Outbox;
use crate::shard_message::ShardMessageKind;

/// Where packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Destination {
    /// Another shard of this node, in plaintext.
    Shard { id: ShardId, watched: WatchedEncodings },
}

/// Which encodings of a track are of use somewhere; bit i is for encoding i.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WatchedEncodings {
    /// Those that subscriptions there may get.
    pub(crate) watched: u8,
    /// Those that have ever been there to choose from.
    pub(crate) known: u8,
}

impl WatchedEncodings {
    const ALL: Self = Self { watched: u8::MAX, known: u8::MAX };

    /// Whether packets of an encoding are of use.
    pub(crate) fn wants(self, encoding: u8) -> bool {
        let bit = 1_u8.checked_shl(encoding.into()).unwrap_or_default();
        self.watched & bit != 0 || (self.watched != 0 && self.known & bit == 0)
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Destinations(Vec<Destination>);

impl Destinations {
    /// Shard `id` has subscriptions; false if that was known.
    pub(crate) fn add_shard(&mut self, id: ShardId) -> bool {
        let is_new = self.watched_on(id).is_none();
        if is_new {
            self.0.push(Destination::Shard { id, watched: WatchedEncodings::ALL });
        }
        is_new
    }

    /// Shard `id` has none any more.
    pub(crate) fn remove_shard(&mut self, id: ShardId) {
        self.0.retain(|Destination::Shard { id: other, .. }| *other != id);
    }

    /// What is watched on shard `id`, if it is a destination.
    pub(crate) fn watched_on(&mut self, id: ShardId) -> Option<&mut WatchedEncodings> {
        self.0.iter_mut().find_map(|destination| match destination {
            Destination::Shard { id: other, watched } => (*other == id).then_some(watched),
        })
    }

    /// Whether packets of an encoding are of use at any of them.
    pub(crate) fn want(&self, encoding: u8) -> bool {
        self.0.iter().any(|Destination::Shard { watched, .. }| watched.wants(encoding))
    }

    /// A packet goes where its encoding is of use.
    pub(crate) fn send_packet(
        &self,
        track: TrackId,
        encoding: u8,
        packet: &[u8],
        out: &mut Outbox,
    ) {
        for Destination::Shard { id, watched } in &self.0 {
            if watched.wants(encoding) {
                out.message(*id, ShardMessageKind::Packet { track, encoding }, packet);
            }
        }
    }

    /// News of the track goes to all.
    pub(crate) fn send_news(&self, news: ShardMessageKind, out: &mut Outbox) {
        for Destination::Shard { id, .. } in &self.0 {
            out.message(*id, news, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_goes_and_what_is_not_known_yet_as_long_as_anything_is_watched() {
        for (watched, known, wants) in [
            (0b001, 0b111, [true, false, false]),
            (0b110, 0b111, [false, true, true]),
            (0b001, 0b001, [true, true, true]),
            (0b000, 0b001, [false, false, false]),
        ] {
            let encodings = WatchedEncodings { watched, known };
            assert_eq!([0, 1, 2].map(|i| encodings.wants(i)), wants, "{encodings:?}");
        }
    }

    #[test]
    fn everything_goes_to_a_shard_until_it_has_said_what_it_watches() {
        let mut destinations = Destinations::default();
        assert!(!destinations.want(0));
        assert!(destinations.add_shard(ShardId(1)));
        assert!(destinations.want(2));
        *destinations.watched_on(ShardId(1)).unwrap() =
            WatchedEncodings { watched: 0b1, known: 0b111 };
        assert!(!destinations.add_shard(ShardId(1)), "it is there, and what it said stays");
        assert_eq!([0, 1].map(|i| destinations.want(i)), [true, false]);
        destinations.remove_shard(ShardId(1));
        assert!(!destinations.want(0));
    }
}
