//! Subscriptions that begin, change and end.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** tracks and participants that come and go, wishes, permissions, completed negotiations.
//! * **Out:** senders for the negotiation; commands for down tracks and relays; news of permission.
//! * **Invariant:** a subscription exists exactly while it is wanted and allowed, both ends are
//!   here, and the subscriber has its `JoinResponse`. The subscriber knows the publisher before its description
//!   names the track.
//! * **livekit-server:** `pkg/rtc/subscriptionmanager.go`.

use std::time::Instant;

use hearth_negotiate::{Bound, Sender};
use hearth_plane::{Command, DownId, DownTrackSpec, LayerLimit, Source, TrackId};
use hearth_signal::proto::{self, signal_response::Message};
use hearth_units::MediaKind;

use crate::Room;
use crate::announcements::Published;
use crate::compatibility::Compatibility;
use crate::dynacast::Demand;
use crate::participant::ParticipantKey;
use crate::subscription::Subscription;
use crate::subscription_settings::Settings;

impl Room {
    /// A track is there: everybody who wants it gets it.
    pub(crate) fn offer_to_all(&mut self, now: Instant, track: TrackId) {
        for subscriber in self.roster.keys() {
            self.reconcile(now, subscriber, track);
        }
    }

    /// A participant can receive, or what it may receive changed.
    pub(crate) fn subscribe_to_all(&mut self, now: Instant, subscriber: ParticipantKey) {
        let tracks: Vec<TrackId> = self.publications.tracks.keys().copied().collect();
        for track in tracks {
            self.reconcile(now, subscriber, track);
        }
        self.reconcile_data_tracks(subscriber, |_, _| true);
    }

    /// What may be received of a publisher changed.
    pub(crate) fn reconcile_publisher(&mut self, now: Instant, publisher: ParticipantKey) {
        let tracks = self.roster.get(publisher).map(|p| p.publishing.tracks.clone());
        for track in tracks.unwrap_or_default() {
            self.offer_to_all(now, track);
        }
        if self.data_tracks.has_any(publisher) {
            for subscriber in self.roster.keys() {
                self.reconcile_data_tracks(subscriber, |of, _| of == publisher);
            }
        }
    }

    /// Begins or ends a subscription if it is not as it should be.
    pub(crate) fn reconcile(&mut self, _now: Instant, subscriber: ParticipantKey, track: TrackId) {
        let Some(publication) = self.publications.tracks.get(&track) else { return };
        let (publisher, sid) = (publication.publisher, publication.info.sid.clone());
        let wanted = self.is_wanted(subscriber, track);
        let allowed = wanted && self.is_allowed(subscriber, publisher, &sid);
        match (self.subscriptions.find(subscriber, track), allowed) {
            (None, true) => self.subscribe(subscriber, track),
            (Some(down), false) => self.unsubscribe(down),
            (None, false) | (Some(_), true) => {}
        }
    }

    fn is_wanted(&self, subscriber: ParticipantKey, track: TrackId) -> bool {
        let (Some(participant), Some(track)) =
            (self.roster.get(subscriber), self.publications.tracks.get(&track))
        else {
            return false;
        };
        let limit = participant.subscription_settings.subscribe(&track.info.sid);
        track.publisher != subscriber
            && (participant.is_active() || participant.has_joined() && participant.starts_fast())
            && participant.permission.can_subscribe
            && participant.transports.downstream().is_some()
            && limit.unwrap_or(participant.preferences.auto_subscribe)
    }

    /// Whether the publisher allows it; the subscriber is told when that is new.
    pub(crate) fn is_allowed(
        &mut self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
        sid: &str,
    ) -> bool {
        let Some(publisher) = self.roster.get(publisher) else { return false };
        let Some(participant) = self.roster.get(subscriber) else { return false };
        let allowed = participant.is_recorder()
            || publisher.publishing.rules.allow(&participant.identity, sid);
        let publisher_sid = publisher.sid.clone();
        let Some(participant) = self.roster.get_mut(subscriber) else { return false };
        if participant.subscription_settings.note_allowed(sid, allowed) {
            let message = proto::SubscriptionPermissionUpdate {
                participant_sid: publisher_sid,
                track_sid: sid.to_owned(),
                allowed,
            };
            self.roster.send(
                &mut self.out,
                subscriber,
                Message::SubscriptionPermissionUpdate(message),
            );
        }
        allowed
    }

    /// A participant with two connections may subscribe, and could not when it joined.
    pub(crate) fn add_missing_subscriber(&mut self, key: ParticipantKey) {
        let peer = self.out.next_peer();
        let Some(participant) = self.roster.get_mut(key) else { return };
        let shard = participant.shard;
        let transports = &mut participant.transports;
        if participant.permission.can_subscribe && transports.downstream().is_none() {
            transports.add_subscriber(peer, shard, &mut self.out.random);
            self.roster.add_peer(key, peer);
        }
    }

    fn subscribe(&mut self, subscriber: ParticipantKey, id: TrackId) {
        let down = self.out.next_down();
        let Some(kind) = self.publications.tracks.get(&id).map(|track| track.spec.kind) else {
            return;
        };
        let Some(ssrc) = self.next_ssrc(subscriber) else { return };
        let rtx_ssrc = if kind == MediaKind::Video { self.next_ssrc(subscriber) } else { None };
        let Some(track) = self.publications.tracks.get(&id) else { return };
        let (publisher, home) = (track.publisher, track.home);
        let sid = track.info.sid.clone();
        let (codec, stereo) = (track.codec(), track.stereo);
        let mut spec = track.spec.clone();
        let muted = track.info.muted;
        let published = Published { tracks: &self.publications, data_tracks: &self.data_tracks };
        let Some(info) = self.roster.info(publisher, published) else { return };
        self.roster.tell(subscriber, publisher, &info, &mut self.out);
        let Some(participant) = self.roster.get_mut(subscriber) else { return };
        let packed = Compatibility(&participant.client).packs_stream_id();
        let stream_id = if packed { format!("{}|{sid}", info.sid) } else { info.sid };
        let shard = participant.shard;
        let sender = Sender {
            id: down,
            kind,
            codec,
            ssrc,
            rtx_ssrc,
            stream_id: stream_id.clone(),
            track_id: sid,
            stereo,
        };
        self.negotiator.add_sender(participant, sender);
        self.subscriptions.insert(Subscription {
            down,
            subscriber,
            publisher,
            track: id,
            ssrc,
            rtx_ssrc,
            stream_id,
            spec: None,
            limit: None,
        });
        if shard != home && self.publications.relays.acquire(id, shard) {
            spec.source = Source::Shard(home);
            self.out.command(shard, Command::SetUpTrack { track: id, spec: Box::new(spec) });
            if muted {
                self.out.command(shard, Command::SetUpTrackMuted { track: id, muted });
            }
            self.out.command(home, Command::AddRelay { track: id, to: shard });
        }
        self.speakers.tell_speaker(subscriber, publisher, &self.roster, &mut self.out);
    }

    /// One that the subscriber's transport has not carried yet.
    fn next_ssrc(&mut self, subscriber: ParticipantKey) -> Option<u32> {
        let participant = self.roster.get_mut(subscriber)?;
        let published =
            participant.publishing.tracks.iter().filter_map(|id| self.publications.tracks.get(id));
        let encodings = published.flat_map(|track| &track.spec.encodings);
        let theirs =
            |ssrc| encodings.clone().any(|e| e.ssrc == Some(ssrc) || e.rtx_ssrc == Some(ssrc));
        participant.transports.ssrcs.allocate(theirs)
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, down: DownId) {
        let Some(gone) = self.subscriptions.remove(down) else { return };
        self.quality.forget_down(down);
        if let Some(track) = self.publications.tracks.get(&gone.track) {
            let before = Demand::of(gone.limit, track.spec.encodings.len());
            self.publications.dynacast.note_limit(gone.track, before, Demand::Off);
        }
        let Some(participant) = self.roster.get_mut(gone.subscriber) else { return };
        let shard = participant.shard;
        self.negotiator.remove_sender(participant, down);
        if gone.spec.is_some() {
            self.out.command(shard, Command::RemoveDownTrack { down });
        }
        let home = self.publications.tracks.get(&gone.track).map(|track| track.home);
        if let Some(home) = home.filter(|home| *home != shard)
            && self.publications.relays.release(gone.track, shard)
        {
            self.out.command(home, Command::RemoveRelay { track: gone.track, to: shard });
            self.out.command(shard, Command::RemoveUpTrack { track: gone.track });
        }
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
    pub(crate) fn bound(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        bound: &[Bound],
        unbound: &[DownId],
    ) {
        for bound in bound {
            self.bind(key, bound);
        }
        for down in unbound {
            let Some(subscription) = self.subscriptions.get(*down) else { continue };
            let track = subscription.track;
            let sid = self.publications.tracks.get(&track).map(|track| track.info.sid.clone());
            let Some(track_sid) = sid else { continue };
            if let Some(participant) = self.roster.get_mut(key) {
                participant.subscription_settings.set_subscribe(&track_sid, false);
            }
            let err = proto::SubscriptionError::SeCodecUnsupported.into();
            let message = proto::SubscriptionResponse { track_sid, err };
            self.roster.send(&mut self.out, key, Message::SubscriptionResponse(message));
            self.reconcile(now, key, track);
        }
    }

    fn bind(&mut self, key: ParticipantKey, bound: &Bound) {
        let Some(participant) = self.roster.get(key) else { return };
        let Some(peer) = participant.transports.downstream().map(|link| link.peer) else { return };
        let Some(subscription) = self.subscriptions.get_mut(bound.sender) else { return };
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
        // The wish goes along: a subscription that began with another would ask for a key frame of that.
        let limit = if first { self.note_limit(key, track).map(|(_, limit)| limit) } else { None };
        let subscription = self.subscriptions.get(bound.sender);
        let limit = limit.or_else(|| subscription.and_then(|s| s.limit)).unwrap_or(LayerLimit::ALL);
        self.roster.command(
            &mut self.out,
            key,
            Command::SetDownTrack { spec: Box::new(spec), limit },
        );
        if first {
            self.tell_subscribed(key, track);
        }
    }

    /// The publisher learns of its first subscriber; a client with two connections, that its video
    /// flows.
    fn tell_subscribed(&mut self, subscriber: ParticipantKey, id: TrackId) {
        let hidden = self.roster.get(subscriber).is_some_and(|p| p.permission.hidden);
        let single = self.roster.get(subscriber).is_some_and(|p| p.transports.single);
        let Some(track) = self.publications.tracks.get_mut(&id) else { return };
        let (publisher, kind) = (track.publisher, track.spec.kind);
        let track_sid = track.info.sid.clone();
        let first = !hidden && !std::mem::replace(&mut track.told_subscribed, true);
        if first {
            let message = proto::TrackSubscribed { track_sid: track_sid.clone() };
            self.roster.send(&mut self.out, publisher, Message::TrackSubscribed(message));
        }
        if kind == MediaKind::Video && !single {
            let participant_sid = self.roster.get(publisher).map(|p| p.sid.clone());
            let state = proto::StreamStateInfo {
                participant_sid: participant_sid.unwrap_or_default(),
                track_sid,
                state: proto::StreamState::Active.into(),
            };
            let message = proto::StreamStateUpdate { stream_states: vec![state] };
            self.roster.send(&mut self.out, subscriber, Message::StreamStateUpdate(message));
        }
    }

    /// Tells the shard what the subscriber wants of the track, if that is new.
    pub(crate) fn apply_settings(&mut self, subscriber: ParticipantKey, id: TrackId) {
        if let Some((down, limit)) = self.note_limit(subscriber, id) {
            self.roster.command(&mut self.out, subscriber, Command::SetLayerLimit { down, limit });
        }
    }

    /// What the subscriber wants of the track, if that is new and its shard has the subscription or is about to.
    fn note_limit(
        &mut self,
        subscriber: ParticipantKey,
        id: TrackId,
    ) -> Option<(DownId, LayerLimit)> {
        let participant = self.roster.get(subscriber)?;
        let track = self.publications.tracks.get(&id)?;
        let initial = Settings::initial(participant.preferences.adaptive_stream);
        let settings =
            participant.subscription_settings.settings(&track.info.sid).unwrap_or(initial);
        let encodings = track.spec.encodings.len();
        let limit = settings.limit(&track.info, encodings);
        let subscription = self.subscriptions.get_mut(self.subscriptions.find(subscriber, id)?)?;
        if subscription.spec.is_none() || subscription.limit == Some(limit) {
            return None;
        }
        let before = Demand::of(subscription.limit.replace(limit), encodings);
        let down = subscription.down;
        self.publications.dynacast.note_limit(id, before, Demand::of(Some(limit), encodings));
        Some((down, limit))
    }

    /// What is wanted of a track in qualities is another encoding now.
    pub(crate) fn renew_wishes(&mut self, id: TrackId) {
        let subscribers: Vec<ParticipantKey> =
            self.subscriptions.of_track(id).map(|subscription| subscription.subscriber).collect();
        for subscriber in subscribers {
            self.apply_settings(subscriber, id);
        }
    }

    /// `UpdateSubscription`: what is said about each track is remembered, also of later ones.
    pub(crate) fn update_subscription(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: &proto::UpdateSubscription,
    ) {
        let named = request.participant_tracks.iter().flat_map(|p| &p.track_sids);
        for sid in
            request.track_sids.iter().chain(named).take(crate::subscription_settings::MAX_WANTS)
        {
            let Some(participant) = self.roster.get_mut(key) else { return };
            participant.subscription_settings.set_subscribe(sid, request.subscribe);
            if let Some(track) = self.publications.track_sids.get(sid) {
                self.reconcile(now, key, *track);
            }
        }
    }

    /// `UpdateTrackSettings`.
    pub(crate) fn update_settings(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateTrackSettings,
    ) {
        for sid in request.track_sids.iter().take(crate::subscription_settings::MAX_WANTS) {
            let Some(participant) = self.roster.get_mut(key) else { return };
            participant.subscription_settings.set_settings(sid, Settings::of(request));
            if let Some(track) = self.publications.track_sids.get(sid) {
                self.apply_settings(key, *track);
            }
        }
    }
}
