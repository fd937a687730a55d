//! Which participant gets which track.
//!
//! * **Owns:** every subscription of the room, and the ways to find one.
//! * **In:** subscriptions that begin and end.
//! * **Out:** subscriptions.
//! * **Invariant:** at most one subscription of a track by a participant.

use std::collections::{BTreeMap, BTreeSet};

use hearth_plane::{DownId, DownTrackSpec, LayerLimit, TrackId};

use crate::participant::ParticipantKey;

/// One participant gets one track.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) down: DownId,
    pub(crate) subscriber: ParticipantKey,
    pub(crate) publisher: ParticipantKey,
    pub(crate) track: TrackId,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) stream_id: String,
    /// What the shard was told; `None` until the client has agreed to a section.
    pub(crate) spec: Option<DownTrackSpec>,
    /// What the shard was told to send.
    pub(crate) limit: Option<LayerLimit>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    all: BTreeMap<DownId, Subscription>,
    by_subscriber: BTreeMap<(ParticipantKey, TrackId), DownId>,
    by_track: BTreeMap<(TrackId, ParticipantKey), DownId>,
}

impl Subscriptions {
    pub(crate) fn insert(&mut self, subscription: Subscription) {
        let Subscription { down, subscriber, track, .. } = subscription;
        self.by_subscriber.insert((subscriber, track), down);
        self.by_track.insert((track, subscriber), down);
        self.all.insert(down, subscription);
    }

    pub(crate) fn remove(&mut self, down: DownId) -> Option<Subscription> {
        let gone = self.all.remove(&down)?;
        self.by_subscriber.remove(&(gone.subscriber, gone.track));
        self.by_track.remove(&(gone.track, gone.subscriber));
        Some(gone)
    }

    pub(crate) fn get(&self, down: DownId) -> Option<&Subscription> {
        self.all.get(&down)
    }

    pub(crate) fn get_mut(&mut self, down: DownId) -> Option<&mut Subscription> {
        self.all.get_mut(&down)
    }

    pub(crate) fn find(&self, subscriber: ParticipantKey, track: TrackId) -> Option<DownId> {
        self.by_subscriber.get(&(subscriber, track)).copied()
    }

    /// All that a participant gets.
    pub(crate) fn of_subscriber(
        &self,
        subscriber: ParticipantKey,
    ) -> impl Iterator<Item = &Subscription> {
        let first = TrackId { room: hearth_plane::RoomId(0), n: 0 };
        let range = self.by_subscriber.range((subscriber, first)..);
        range
            .take_while(move |((key, _), _)| *key == subscriber)
            .filter_map(|(_, down)| self.all.get(down))
    }

    /// All that get a track.
    pub(crate) fn of_track(&self, track: TrackId) -> impl Iterator<Item = &Subscription> {
        let range =
            self.by_track.range((track, ParticipantKey(0))..=(track, ParticipantKey(u32::MAX)));
        range.filter_map(|(_, down)| self.all.get(down))
    }

    /// The participant itself and the publishers it gets tracks of, each once, ascending.
    pub(crate) fn concerning(&self, subscriber: ParticipantKey) -> BTreeSet<ParticipantKey> {
        let publishers = self.of_subscriber(subscriber).map(|subscription| subscription.publisher);
        publishers.chain([subscriber]).collect()
    }

    /// Whether the participant gets any track of the other.
    pub(crate) fn is_subscribed_to(
        &self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
    ) -> bool {
        self.of_subscriber(subscriber).any(|s| s.publisher == publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_plane::RoomId;

    #[test]
    fn subscriptions_are_found_from_both_ends() {
        let mut subscriptions = Subscriptions::default();
        for (n, subscriber, track) in [(1, 1, 10), (2, 1, 11), (3, 2, 10)] {
            subscriptions.insert(subscription(n, ParticipantKey(subscriber), id(track)));
        }
        let of = |key| subscriptions.of_subscriber(key).map(|s| s.down.n).collect::<Vec<_>>();
        assert_eq!(
            (of(ParticipantKey(1)), of(ParticipantKey(2)), of(ParticipantKey(3))),
            (vec![1, 2], vec![3], vec![])
        );
        let got: Vec<u32> = subscriptions.of_track(id(10)).map(|s| s.down.n).collect();
        assert_eq!(got, [1, 3]);
        assert_eq!(
            Vec::from_iter(subscriptions.concerning(ParticipantKey(1))),
            [ParticipantKey(1), ParticipantKey(9)]
        );
        assert!(
            subscriptions.is_subscribed_to(ParticipantKey(1), ParticipantKey(9))
                && !subscriptions.is_subscribed_to(ParticipantKey(3), ParticipantKey(9))
        );
    }

    fn id(n: u32) -> TrackId {
        TrackId { room: RoomId(1), n }
    }

    fn subscription(n: u32, subscriber: ParticipantKey, track: TrackId) -> Subscription {
        Subscription {
            down: DownId { room: RoomId(1), n },
            subscriber,
            publisher: ParticipantKey(9),
            track,
            ssrc: n,
            rtx_ssrc: None,
            stream_id: String::new(),
            spec: None,
            limit: None,
        }
    }
}
