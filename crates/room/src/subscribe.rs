//! The steps when subscriptions begin, change and end.
//!
//! * **Owns:** nothing beyond [`Tracks`].
//! * **In:** tracks and participants that come and go, settings, permissions, completed negotiations.
//! * **Out:** subscriptions that begin and end; senders for the negotiation; relays; news of permission.
//! * **Invariant:** a subscription exists exactly while it is wanted and allowed, both ends are
//!   here, and the subscriber has its `JoinResponse`. The subscriber knows the publisher before its description
//!   names the track.
//! * **Not here:** one subscription ([`Subscriptions`](crate::subscription::Subscriptions)).
//! * **livekit-server:** `pkg/rtc/subscriptionmanager.go`.

use hearth_metrics::bug;
use hearth_negotiate::Sender;
use hearth_plane::{DownId, TrackId};
use hearth_signal::proto::{self, signal_response::Message};
use hearth_units::MediaKind;

use crate::announcements::Announcer;
use crate::negotiation::Negotiated;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::roster::Roster;
use crate::subscription::Subscription;
use crate::subscription_settings::{MAX_WANTS, SubscriptionPermissions};
use crate::tracks::Tracks;

impl Tracks {
    /// A track is there: everybody who wants it gets it.
    pub(crate) fn offer_to_all(&mut self, track: TrackId, roster: &mut Roster, out: &mut Outbox) {
        for subscriber in roster.keys() {
            self.reconcile(subscriber, track, roster, out);
        }
    }

    /// A participant can receive, or what it may receive changed.
    pub(crate) fn subscribe_to_all(
        &mut self,
        subscriber: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let tracks: Vec<TrackId> = self.publications.tracks.keys().copied().collect();
        for track in tracks {
            self.reconcile(subscriber, track, roster, out);
        }
        self.publications.data_tracks.reconcile(subscriber, |_, _| true, roster, out);
    }

    /// `SubscriptionPermission`: who may subscribe to the participant's tracks of both kinds. One that is not
    /// understood changes nothing.
    pub(crate) fn restrict_subscribers(
        &mut self,
        publisher: ParticipantKey,
        request: proto::SubscriptionPermission,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let identity_of = |sid: &str| {
            let participant = roster.by_sid(sid).and_then(|key| roster.get(key))?;
            Some(participant.record.identity.clone())
        };
        let Some(rules) = SubscriptionPermissions::of(request, identity_of) else {
            tracing::debug!(?publisher, "A subscription permission names nobody");
            return;
        };
        let Some(participant) = roster.get_mut(publisher) else { return };
        participant.local.publishing.rules = rules;
        for track in participant.local.publishing.tracks.clone() {
            self.offer_to_all(track, roster, out);
        }
        self.publications.data_tracks.reconcile_publisher(publisher, roster, out);
    }

    /// Begins or ends a subscription if it is not as it should be.
    fn reconcile(
        &mut self,
        subscriber: ParticipantKey,
        track: TrackId,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Some(publication) = self.publications.get(track) else { return };
        let wanted = roster.get(subscriber).is_some_and(|p| p.wants(publication));
        let (publisher, sid) = (publication.publisher, &publication.info.sid);
        let allowed = wanted && roster.check_allowed(subscriber, publisher, sid, out);
        match (self.subscriptions.find(subscriber, track), allowed) {
            (None, true) => self.subscribe(subscriber, track, roster, out),
            (Some(down), false) => self.unsubscribe(down, roster, out),
            (None, false) | (Some(_), true) => {}
        }
    }

    fn subscribe(
        &mut self,
        subscriber: ParticipantKey,
        id: TrackId,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let down = out.next_down();
        let publications = &self.publications;
        let Some(track) = publications.get(id) else { return };
        let publisher = track.publisher;
        let Some(participant) = roster.get_mut(subscriber) else { return };
        let Some(ssrc) = publications.free_ssrc(participant) else { return };
        let video = track.spec.kind == MediaKind::Video;
        let rtx_ssrc = if video { publications.free_ssrc(participant) } else { None };
        let mut announcer = Announcer { roster, publications, out };
        let Some(publisher_sid) = announcer.introduce(publisher, subscriber) else {
            bug!("{id:?} is published by nobody who is here");
            return;
        };
        let Some(participant) = roster.get_mut(subscriber) else { return };
        let stream_id = participant.stream_id(&publisher_sid, &track.info.sid);
        let sender = Sender {
            id: down,
            kind: track.spec.kind,
            codec: track.codec(),
            ssrc,
            rtx_ssrc,
            stream_id: stream_id.clone(),
            track_id: track.info.sid.clone(),
            stereo: track.stereo,
        };
        self.negotiator.add_sender(participant, sender);
        let ssrcs = (ssrc, rtx_ssrc);
        let ends = (subscriber, publisher);
        self.subscriptions.insert(Subscription::new(down, ends, id, ssrcs, stream_id));
        self.publications.relay_to(participant.local.shard, id, out);
        self.speakers.tell_speaker(subscriber, publisher, roster, out);
    }

    fn unsubscribe(&mut self, down: DownId, roster: &mut Roster, out: &mut Outbox) {
        let Some(gone) = self.subscriptions.remove(down) else { return };
        self.publications.note_limit(gone.track, gone.limit, None);
        let Some(participant) = roster.get_mut(gone.subscriber) else {
            bug!("{down:?} outlived its subscriber");
            return;
        };
        self.negotiator.remove_sender(participant, down);
        gone.remove_down_track(participant.local.shard, out);
        self.publications.stop_relay(participant.local.shard, gone.track, out);
        if !self.subscriptions.is_subscribed_to(gone.subscriber, gone.publisher) {
            self.speakers.tell_silence(gone.subscriber, gone.publisher, roster, out);
        }
    }

    /// The track ends.
    pub(crate) fn unsubscribe_from(
        &mut self,
        track: TrackId,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let downs: Vec<DownId> = self.subscriptions.of_track(track).map(|s| s.down).collect();
        for down in downs {
            self.unsubscribe(down, roster, out);
        }
    }

    /// The subscriber leaves.
    pub(crate) fn unsubscribe_all(
        &mut self,
        subscriber: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let subscriptions = self.subscriptions.of_subscriber(subscriber);
        let downs: Vec<DownId> = subscriptions.map(|s| s.down).collect();
        for down in downs {
            self.unsubscribe(down, roster, out);
        }
    }

    /// A negotiation is complete: some senders have a section, others cannot have one.
    pub(crate) fn bound(
        &mut self,
        key: ParticipantKey,
        negotiated: &Negotiated,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        for bound in &negotiated.bound {
            self.subscriptions.bind(key, bound, &mut self.publications, roster, out);
        }
        for down in &negotiated.unbound {
            let Some(subscription) = self.subscriptions.get(*down) else { continue };
            let Some(track) = self.publications.get(subscription.track) else { continue };
            let (id, track_sid) = (track.id, track.info.sid.clone());
            if let Some(participant) = roster.get_mut(key) {
                participant.local.subscription_settings.set_subscribe(&track_sid, false);
            }
            let err = proto::SubscriptionError::SeCodecUnsupported.into();
            let message = proto::SubscriptionResponse { track_sid, err };
            roster.send(out, key, Message::SubscriptionResponse(message));
            self.reconcile(key, id, roster, out);
        }
    }

    /// `UpdateSubscription`: what is said about each track is remembered, also of later ones.
    pub(crate) fn update_subscription(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateSubscription,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let named = request.participant_tracks.iter().flat_map(|p| &p.track_sids);
        for sid in request.track_sids.iter().chain(named).take(MAX_WANTS) {
            let Some(participant) = roster.get_mut(key) else { return };
            participant.local.subscription_settings.set_subscribe(sid, request.subscribe);
            if let Some(track) = self.publications.by_sid(sid) {
                self.reconcile(key, track, roster, out);
            }
        }
    }

    /// `UpdateTrackSettings`.
    pub(crate) fn update_settings(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateTrackSettings,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        self.subscriptions.update_settings(key, request, &mut self.publications, roster, out);
    }
}
