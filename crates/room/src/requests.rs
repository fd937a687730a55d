//! Signal requests, and where each goes.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** every [`SignalRequest`](proto::SignalRequest) of a session that is in the room.
//! * **Out:** calls of the other modules; pongs; answers to what is small.
//! * **Invariant:** a hostile request costs its sender something, and nobody else.
//! * **livekit-server:** `pkg/rtc/signalhandler.go`.

use std::time::{Duration, Instant};

use hearth_access::{Limits, TooLarge};
use hearth_signal::proto::{
    self, DisconnectReason, request_response, request_response::Request, signal_request,
    signal_response::Message,
};

use crate::Room;
use crate::outbox::Outbox;
use crate::participant::{ParticipantKey, Profile};
use crate::roster::Roster;
use crate::subscription_settings::SubscriptionPermissions;

/// Data blobs are not kept.
const NO_BLOBS: &str = "data blob not enabled";
/// Up to this protocol, clients are not told that a request succeeded.
const LAST_WITHOUT_OK: i32 = 14;

impl Room {
    pub(crate) fn request(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        message: signal_request::Message,
    ) {
        use signal_request::Message as M;
        match message {
            M::Offer(offer) => self.offer(now, key, &offer),
            M::Answer(answer) => self.answer(key, &answer),
            M::Trickle(request) => {
                let Self { negotiator, roster, out, .. } = self;
                negotiator.handle_candidate(key, request, roster, out);
            }
            M::AddTrack(request) => self.add_track(now, key, request),
            M::Mute(request) => self.mute(now, key, request),
            M::Subscription(request) => self.update_subscription(key, &request),
            M::TrackSetting(request) => self.update_settings(key, &request),
            M::Leave(request) => self.client_leaves(key, request.reason()),
            #[expect(deprecated, reason = "to be ignored, it must be named")]
            M::UpdateLayers(_) => {}
            M::SubscriptionPermission(request) => {
                if self.roster.restrict_subscribers(key, request) {
                    self.reconcile_publisher(key);
                }
            }
            M::SyncState(state) => self.sync_state(key, &state),
            M::Simulate(request) => self.simulate(now, key, &request),
            M::Ping(_) => {
                let pong = self.out.unix_ms(now);
                self.roster.send(&mut self.out, key, Message::Pong(pong));
            }
            M::PingReq(ping) => {
                let rtt = Duration::from_millis(u64::try_from(ping.rtt).unwrap_or(0));
                self.ice.handle_signal_rtt(key, rtt);
                let pong = proto::Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: self.out.unix_ms(now),
                };
                self.roster.send(&mut self.out, key, Message::PongResp(pong));
            }
            M::UpdateMetadata(request) => self.update_metadata(now, key, request),
            M::UpdateAudioTrack(request) => {
                let features: Vec<i32> = request.features.iter().copied().take(16).collect();
                let sid = request.track_sid.clone();
                let change =
                    |info: &mut proto::TrackInfo| info.audio_features.clone_from(&features);
                self.update_track(now, key, &sid, Request::UpdateAudioTrack(request), change);
            }
            M::UpdateVideoTrack(request) => {
                let (sid, width, height) =
                    (request.track_sid.clone(), request.width, request.height);
                let change = |info: &mut proto::TrackInfo| {
                    info.width = width;
                    info.height = height;
                };
                self.update_track(now, key, &sid, Request::UpdateVideoTrack(request), change);
            }
            M::PublishDataTrackRequest(request) => self.publish_data_track(key, request),
            M::UnpublishDataTrackRequest(request) => self.unpublish_data_track(key, request),
            M::UpdateDataSubscription(request) => {
                self.data.tracks.update_subscription(key, &request, &mut self.roster, &mut self.out)
            }
            M::StoreDataBlobRequest(request) => {
                self.roster.refuse_blob(&mut self.out, key, request.request_id);
            }
            M::GetDataBlobRequest(request) => {
                self.roster.refuse_blob(&mut self.out, key, request.request_id);
            }
        }
    }

    fn publish_data_track(&mut self, key: ParticipantKey, request: proto::PublishDataTrackRequest) {
        if self.data.tracks.publish(key, request, &mut self.roster, &mut self.out) {
            self.changed(key);
            self.data.tracks.reconcile_publisher(key, &mut self.roster, &mut self.out);
        }
    }

    fn unpublish_data_track(
        &mut self,
        key: ParticipantKey,
        request: proto::UnpublishDataTrackRequest,
    ) {
        let had = self.data.tracks.unpublish(key, request, &mut self.roster, &mut self.out);
        let Some(subscribers) = had else { return };
        self.changed(key);
        for subscriber in subscribers {
            self.data.tracks.send_handles(subscriber, &self.roster, &mut self.out);
        }
    }

    /// The client says goodbye; it gets its reason back.
    fn client_leaves(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        let passed = matches!(
            reason,
            DisconnectReason::UserUnavailable
                | DisconnectReason::UserRejected
                | DisconnectReason::AgentError
        );
        let reason = if passed { reason } else { DisconnectReason::ClientInitiated };
        self.disconnect(key, reason);
    }

    /// What a client has after a resume: if it has a track that we do not know, it starts over.
    fn sync_state(&mut self, key: ParticipantKey, state: &proto::SyncState) {
        let Some(participant) = self.roster.get(key) else { return };
        let pending = &participant.local.publishing.pending;
        let is_known = |sid: &str| {
            self.publications.own_track(key, sid).is_some()
                || pending.iter().any(|p| p.info.sid == sid)
        };
        let sid_of = |published: &proto::TrackPublishedResponse| {
            published.track.as_ref().map(|track| track.sid.clone())
        };
        let all_known = state.publish_tracks.iter().filter_map(sid_of).all(|sid| is_known(&sid));
        let data_tracks = state.publish_data_tracks.iter().filter_map(|p| p.info.as_ref());
        let data_known = data_tracks.map(|i| &i.sid).all(|sid| self.data.tracks.is_of(key, sid));
        if !all_known || !data_known {
            self.full_reconnect(key);
            return;
        }
        let disabled = proto::UpdateTrackSettings {
            track_sids: state.track_sids_disabled.clone(),
            disabled: true,
            ..proto::UpdateTrackSettings::default()
        };
        self.update_settings(key, &disabled);
        if let Some(subscription) = &state.subscription {
            self.update_subscription(key, subscription);
        }
        if let Some(subscription) = &state.data_subscription {
            self.data.tracks.update_subscription(
                key,
                subscription,
                &mut self.roster,
                &mut self.out,
            );
        }
    }

    fn update_metadata(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: proto::UpdateParticipantMetadata,
    ) {
        use request_response::Reason;

        let Some(participant) = self.roster.get_mut(key) else { return };
        let protocol = participant.local.client.protocol;
        let id = request.request_id;
        let (reason, message) = if participant.record.permission.can_update_metadata {
            let attributes = request.attributes.clone().into_iter().collect();
            let merged =
                participant.record.profile.merged(&request.metadata, &request.name, attributes);
            match merged.check(&self.out.config.limits, &request.name, &request.metadata) {
                Err(excess) => (Reason::LimitExceeded, excess.message),
                Ok(()) => {
                    self.set_profile(now, key, merged);
                    (Reason::Ok, "")
                }
            }
        } else {
            (Reason::NotAllowed, "does not have permission to update own metadata")
        };
        if reason != Reason::Ok || protocol > LAST_WITHOUT_OK {
            let response = proto::RequestResponse {
                request_id: id,
                reason: reason.into(),
                message: message.to_owned(),
                request: Some(Request::UpdateMetadata(request)),
            };
            self.roster.respond(&mut self.out, key, response);
        }
    }

    /// Changes name, metadata and attributes, and tells everybody.
    pub(crate) fn set_profile(&mut self, now: Instant, key: ParticipantKey, profile: Profile) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        if participant.record.profile != profile {
            participant.record.profile = profile;
            self.changed(key);
            self.roster.refresh_token(now, key, &mut self.out);
        }
    }
}

impl Roster {
    fn refuse_blob(&self, out: &mut Outbox, key: ParticipantKey, request_id: u32) {
        let response = proto::RequestResponse {
            request_id,
            reason: request_response::Reason::NotAllowed.into(),
            message: NO_BLOBS.to_owned(),
            request: None,
        };
        self.respond(out, key, response);
    }

    /// Replaces who may subscribe to the participant's tracks of both kinds. False if it is not
    /// understood, and leaves it as it was.
    fn restrict_subscribers(
        &mut self,
        key: ParticipantKey,
        request: proto::SubscriptionPermission,
    ) -> bool {
        let identity_of = |sid: &str| {
            let participant = self.by_sid(sid).and_then(|key| self.get(key))?;
            Some(participant.record.identity.clone())
        };
        let Some(rules) = SubscriptionPermissions::of(request, identity_of) else {
            tracing::debug!(?key, "A subscription permission names nobody");
            return false;
        };
        let Some(participant) = self.get_mut(key) else { return false };
        participant.local.publishing.rules = rules;
        true
    }
}

impl Profile {
    /// With these changes: empty texts change nothing, an empty attribute is deleted.
    pub(crate) fn merged(
        &self,
        metadata: &str,
        name: &str,
        attributes: std::collections::BTreeMap<String, String>,
    ) -> Self {
        let mut merged = self.clone();
        if !metadata.is_empty() {
            metadata.clone_into(&mut merged.metadata);
        }
        if !name.is_empty() {
            name.clone_into(&mut merged.name);
        }
        for (attribute, value) in attributes {
            if value.is_empty() {
                merged.attributes.remove(&attribute);
            } else {
                merged.attributes.insert(attribute, value);
            }
        }
        merged
    }

    /// Measures what a request brings, and the attributes that came of it. (A token's name is not
    /// measured, and must not stand in the way of other changes.)
    pub(crate) fn check(&self, limits: &Limits, name: &str, metadata: &str) -> Result<(), Excess> {
        let excess = |what, message| {
            move |too_large: TooLarge| Excess { what, message, limit: too_large.limit }
        };
        limits.check_name(name).map_err(excess("name length", "exceeds name length limit"))?;
        limits
            .check_metadata(metadata)
            .map_err(excess("metadata size", "exceeds metadata size limit"))?;
        limits
            .check_attributes(&self.attributes)
            .map_err(excess("attribute size", "exceeds attributes size limit"))
    }
}

/// What is too large of a participant's profile.
#[derive(Debug)]
pub(crate) struct Excess {
    /// As the server API names it.
    pub(crate) what: &'static str,
    /// As a signalling client is told it.
    pub(crate) message: &'static str,
    /// In bytes.
    pub(crate) limit: usize,
}
