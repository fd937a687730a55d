//! The steps when subscriptions begin, change and end.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** tracks and participants that come and go, settings, permissions, completed negotiations.
//! * **Out:** subscriptions that begin and end; senders for the negotiation; relays; news of permission.
//! * **Invariant:** a subscription exists exactly while it is wanted and allowed, both ends are
//!   here, and the subscriber has its `JoinResponse`. The subscriber knows the publisher before its description
//!   names the track.
//! * **Not here:** one subscription ([`Subscriptions`](crate::subscription::Subscriptions)).
//! * **livekit-server:** `pkg/rtc/subscriptionmanager.go`.

use hearth_metrics::bug;
use hearth_negotiate::{Bound, Sender};
use hearth_plane::{DownId, TrackId};
use hearth_signal::proto::{self, signal_response::Message};
use hearth_units::MediaKind;

use crate::Room;
use crate::announcements::Announcer;
use crate::participant::ParticipantKey;
use crate::subscription::Subscription;
use crate::subscription_settings::MAX_WANTS;

impl Room {
    /// A track is there: everybody who wants it gets it.
    pub(crate) fn offer_to_all(&mut self, track: TrackId) {
        for subscriber in self.roster.keys() {
            self.reconcile(subscriber, track);
        }
    }

    /// A participant can receive, or what it may receive changed.
    pub(crate) fn subscribe_to_all(&mut self, subscriber: ParticipantKey) {
        let tracks: Vec<TrackId> = self.publications.tracks.keys().copied().collect();
        for track in tracks {
            self.reconcile(subscriber, track);
        }
        self.publications.data_tracks.reconcile(
            subscriber,
            |_, _| true,
            &mut self.roster,
            &mut self.out,
        );
    }

    /// What may be received of a publisher changed.
    pub(crate) fn reconcile_publisher(&mut self, publisher: ParticipantKey) {
        let tracks = self.roster.get(publisher).map(|p| p.local.publishing.tracks.clone());
        for track in tracks.unwrap_or_default() {
            self.offer_to_all(track);
        }
        self.publications.data_tracks.reconcile_publisher(
            publisher,
            &mut self.roster,
            &mut self.out,
        );
    }

    /// Begins or ends a subscription if it is not as it should be.
    pub(crate) fn reconcile(&mut self, subscriber: ParticipantKey, track: TrackId) {
        let Self { publications, roster, out, .. } = self;
        let Some(publication) = publications.get(track) else { return };
        let wanted = roster.get(subscriber).is_some_and(|p| p.wants(publication));
        let (publisher, sid) = (publication.publisher, &publication.info.sid);
        let allowed = wanted && roster.check_allowed(subscriber, publisher, sid, out);
        match (self.subscriptions.find(subscriber, track), allowed) {
            (None, true) => self.subscribe(subscriber, track),
            (Some(down), false) => self.unsubscribe(down),
            (None, false) | (Some(_), true) => {}
        }
    }

    /// A participant with two connections may subscribe, and could not when it joined.
    pub(crate) fn add_missing_subscriber(&mut self, key: ParticipantKey) {
        let peer = self.out.next_peer();
        let Some(participant) = self.roster.get_mut(key) else { return };
        let shard = participant.local.shard;
        let transports = &mut participant.local.transports;
        if participant.record.permission.can_subscribe && transports.downstream().is_none() {
            transports.add_subscriber(peer, shard, &mut self.out.random);
            self.roster.add_peer(key, peer);
        }
    }

    fn subscribe(&mut self, subscriber: ParticipantKey, id: TrackId) {
        let down = self.out.next_down();
        let Some(track) = self.publications.get(id) else { return };
        let publisher = track.publisher;
        let Some(participant) = self.roster.get_mut(subscriber) else { return };
        let Some(ssrc) = self.publications.free_ssrc(participant) else { return };
        let video = track.spec.kind == MediaKind::Video;
        let rtx_ssrc = if video { self.publications.free_ssrc(participant) } else { None };
        let (publications, out) = (&self.publications, &mut self.out);
        let mut announcer = Announcer { roster: &mut self.roster, publications, out };
        let Some(publisher_sid) = announcer.introduce(publisher, subscriber) else {
            bug!("{id:?} is published by nobody who is here");
            return;
        };
        let Some(participant) = self.roster.get_mut(subscriber) else { return };
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
        self.publications.relay_to(participant.local.shard, id, &mut self.out);
        self.speakers.tell_speaker(subscriber, publisher, &self.roster, &mut self.out);
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, down: DownId) {
        let Some(gone) = self.subscriptions.remove(down) else { return };
        self.publications.note_limit(gone.track, gone.limit, None);
        let Some(participant) = self.roster.get_mut(gone.subscriber) else {
            bug!("{down:?} outlived its subscriber");
            return;
        };
        self.negotiator.remove_sender(participant, down);
        gone.remove_down_track(participant.local.shard, &mut self.out);
        self.publications.stop_relay(participant.local.shard, gone.track, &mut self.out);
        if !self.subscriptions.is_subscribed_to(gone.subscriber, gone.publisher) {
            let (subscriber, publisher) = (gone.subscriber, gone.publisher);
            self.speakers.tell_silence(subscriber, publisher, &self.roster, &mut self.out);
        }
    }

    /// The track ends.
    pub(crate) fn unsubscribe_from(&mut self, track: TrackId) {
        let downs: Vec<DownId> = self.subscriptions.of_track(track).map(|s| s.down).collect();
        for down in downs {
            self.unsubscribe(down);
        }
    }

    /// The subscriber leaves.
    pub(crate) fn unsubscribe_all(&mut self, subscriber: ParticipantKey) {
        let downs: Vec<DownId> =
            self.subscriptions.of_subscriber(subscriber).map(|s| s.down).collect();
        for down in downs {
            self.unsubscribe(down);
        }
    }

    /// A negotiation is complete: these senders have a section, those cannot have one.
    pub(crate) fn bound(&mut self, key: ParticipantKey, bound: &[Bound], unbound: &[DownId]) {
        let Self { subscriptions, publications, roster, out, .. } = self;
        for bound in bound {
            subscriptions.bind(key, bound, publications, roster, out);
        }
        for down in unbound {
            let Some(subscription) = self.subscriptions.get(*down) else { continue };
            let Some(track) = self.publications.get(subscription.track) else { continue };
            let (id, track_sid) = (track.id, track.info.sid.clone());
            if let Some(participant) = self.roster.get_mut(key) {
                participant.local.subscription_settings.set_subscribe(&track_sid, false);
            }
            let err = proto::SubscriptionError::SeCodecUnsupported.into();
            let message = proto::SubscriptionResponse { track_sid, err };
            self.roster.send(&mut self.out, key, Message::SubscriptionResponse(message));
            self.reconcile(key, id);
        }
    }

    /// `UpdateSubscription`: what is said about each track is remembered, also of later ones.
    pub(crate) fn update_subscription(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateSubscription,
    ) {
        let named = request.participant_tracks.iter().flat_map(|p| &p.track_sids);
        for sid in request.track_sids.iter().chain(named).take(MAX_WANTS) {
            let Some(participant) = self.roster.get_mut(key) else { return };
            participant.local.subscription_settings.set_subscribe(sid, request.subscribe);
            if let Some(track) = self.publications.by_sid(sid) {
                self.reconcile(key, track);
            }
        }
    }

    /// `UpdateTrackSettings`.
    pub(crate) fn update_settings(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateTrackSettings,
    ) {
        let Self { subscriptions, publications, roster, out, .. } = self;
        subscriptions.update_settings(key, request, publications, roster, out);
    }
}
