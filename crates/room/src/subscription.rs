//! The subscriptions of a room: which participant gets which track, and how much of it.
//!
//! * **Owns:** every subscription of the room, by both ends, and the layer limit of each.
//! * **In:** subscriptions that begin and end; sections for them; settings.
//! * **Out:** commands for down tracks.
//! * **Invariant:** at most one subscription of a track by a participant.

use std::collections::{BTreeMap, BTreeSet};

use hearth_metrics::bug;
use hearth_negotiate::Bound;
use hearth_plane::{Command, DownId, DownTrackSpec, LayerLimit, ShardId, TrackId};
use hearth_signal::proto;

use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publications::Publications;
use crate::roster::Roster;
use crate::subscription_settings::{MAX_WANTS, Settings};

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

    /// The subscription that one of the indices names.
    fn indexed(&self, down: DownId) -> Option<&Subscription> {
        let found = self.all.get(&down);
        if found.is_none() {
            bug!("an index names {down:?}, which does not exist");
        }
        found
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
            .filter_map(|(_, down)| self.indexed(*down))
    }

    /// All that get a track.
    pub(crate) fn of_track(&self, track: TrackId) -> impl Iterator<Item = &Subscription> {
        let range =
            self.by_track.range((track, ParticipantKey(0))..=(track, ParticipantKey(u32::MAX)));
        range.filter_map(|(_, down)| self.indexed(*down))
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

impl Subscription {
    /// One that the shard does not know of yet. `ends`: who gets the track, and whose it is; `ssrcs`: of the
    /// stream, and of its retransmissions.
    pub(crate) fn new(
        down: DownId,
        (subscriber, publisher): (ParticipantKey, ParticipantKey),
        track: TrackId,
        (ssrc, rtx_ssrc): (u32, Option<u32>),
        stream_id: String,
    ) -> Self {
        Self {
            down,
            subscriber,
            publisher,
            track,
            ssrc,
            rtx_ssrc,
            stream_id,
            spec: None,
            limit: None,
        }
    }

    /// It ended: has its shard forget it, if that knows of it.
    pub(crate) fn remove_down_track(&self, shard: ShardId, out: &mut Outbox) {
        if self.spec.is_some() {
            out.command(shard, Command::RemoveDownTrack { down: self.down });
        }
    }
}

impl Subscriptions {
    /// A sender has a section: its shard sends the track.
    pub(crate) fn bind(
        &mut self,
        key: ParticipantKey,
        bound: &Bound,
        publications: &mut Publications,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        let Some(participant) = roster.get(key) else { return };
        let Some(peer) = participant.local.transports.downstream().map(|link| link.peer) else {
            return;
        };
        let Some(subscription) = self.get_mut(bound.sender) else { return };
        let spec = DownTrackSpec {
            down: bound.sender,
            peer,
            track: subscription.track,
            ssrc: subscription.ssrc,
            rtx_ssrc: subscription.rtx_ssrc,
            codecs: bound.codecs.clone(),
            extensions: bound.extensions,
            cname: subscription.stream_id.clone(),
        };
        if subscription.spec.as_ref() == Some(&spec) {
            return;
        }
        let first = subscription.spec.replace(spec.clone()).is_none();
        let track = subscription.track;
        // The limit goes along: a subscription that began with another would ask for a key frame of that.
        if first {
            self.update_limit(key, track, publications, roster);
        }
        let limit = self.get(bound.sender).and_then(|s| s.limit).unwrap_or(LayerLimit::ALL);
        out.command(participant.local.shard, Command::SetDownTrack { spec: Box::new(spec), limit });
        if first {
            publications.tell_subscribed(track, key, roster, out);
        }
    }

    /// Has the shard send what the subscriber wants of the track, if that is new.
    fn apply_settings(
        &mut self,
        subscriber: ParticipantKey,
        id: TrackId,
        publications: &mut Publications,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        if let Some((down, limit)) = self.update_limit(subscriber, id, publications, roster) {
            roster.command(out, subscriber, Command::SetLayerLimit { down, limit });
        }
    }

    /// What the subscriber wants of the track, if that is new and its shard has the subscription or is about to.
    fn update_limit(
        &mut self,
        subscriber: ParticipantKey,
        id: TrackId,
        publications: &mut Publications,
        roster: &Roster,
    ) -> Option<(DownId, LayerLimit)> {
        let participant = roster.get(subscriber)?;
        let track = publications.get(id)?;
        let initial = Settings::initial(participant.local.preferences.adaptive_stream);
        let settings =
            participant.local.subscription_settings.settings(&track.info.sid).unwrap_or(initial);
        let limit = settings.limit(&track.info, track.spec.encodings.len());
        let subscription = self.get_mut(self.find(subscriber, id)?)?;
        if subscription.spec.is_none() || subscription.limit == Some(limit) {
            return None;
        }
        let before = subscription.limit.replace(limit);
        publications.note_limit(id, before, Some(limit));
        Some((subscription.down, limit))
    }

    /// What is wanted of a track in qualities is another encoding now.
    pub(crate) fn renew_limits(
        &mut self,
        id: TrackId,
        publications: &mut Publications,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        let subscribers: Vec<ParticipantKey> =
            self.of_track(id).map(|subscription| subscription.subscriber).collect();
        for subscriber in subscribers {
            self.apply_settings(subscriber, id, publications, roster, out);
        }
    }

    /// `UpdateTrackSettings`: what is said about each track is remembered, also of later ones.
    pub(crate) fn update_settings(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateTrackSettings,
        publications: &mut Publications,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        for sid in request.track_sids.iter().take(MAX_WANTS) {
            let Some(participant) = roster.get_mut(key) else { return };
            participant.local.subscription_settings.set_settings(sid, Settings::of(request));
            if let Some(track) = publications.by_sid(sid) {
                self.apply_settings(key, track, publications, roster, out);
            }
        }
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
        let down = DownId { room: RoomId(1), n };
        let ends = (subscriber, ParticipantKey(9));
        Subscription::new(down, ends, track, (n, None), String::new())
    }
}
