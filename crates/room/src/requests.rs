//! Signal requests, and where each goes.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** every [`SignalRequest`](proto::SignalRequest) of a session that is in the room.
//! * **Out:** calls of those whose state a request changes; pongs.
//! * **Invariant:** a hostile request costs its sender something, and nobody else.
//! * **livekit-server:** `pkg/rtc/signalhandler.go`.

use std::time::{Duration, Instant};

use hearth_negotiate::NegotiateError;
use hearth_signal::proto::{
    self, DisconnectReason, SessionDescription, request_response, signal_request,
    signal_response::Message,
};

use crate::Room;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publish::TrackUpdate;
use crate::roster::Roster;

/// Data blobs are not kept.
const NO_BLOBS: &str = "data blob not enabled";

impl Room {
    pub(crate) fn request(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        message: signal_request::Message,
    ) {
        use signal_request::Message as M;
        let Self { roster, tracks, out, .. } = self;
        match message {
            M::Offer(offer) => self.offer(now, key, &offer),
            M::Answer(answer) => self.answer(key, &answer),
            M::Trickle(request) => tracks.negotiator.handle_candidate(key, request, roster, out),
            M::AddTrack(request) => tracks.add_track(now, key, request, roster, out),
            M::Mute(request) => tracks.mute(now, key, request, roster, out),
            M::Subscription(request) => tracks.update_subscription(key, &request, roster, out),
            M::TrackSetting(request) => tracks.update_settings(key, &request, roster, out),
            M::Leave(request) => self.disconnect(key, reason_to_leave(request.reason())),
            #[expect(deprecated, reason = "to be ignored, it must be named")]
            M::UpdateLayers(_) => {}
            M::SubscriptionPermission(request) => {
                tracks.restrict_subscribers(key, request, roster, out);
            }
            M::SyncState(state) => {
                if !tracks.sync(key, &state, roster, out) {
                    self.start_over(key);
                }
            }
            M::Simulate(request) => self.simulate(now, key, &request),
            M::Ping(_) => {
                let pong = out.unix_ms(now);
                roster.send(out, key, Message::Pong(pong));
            }
            M::PingReq(ping) => {
                let rtt = Duration::from_millis(u64::try_from(ping.rtt).unwrap_or(0));
                self.ice.handle_signal_rtt(key, rtt);
                let timestamp = out.unix_ms(now);
                let pong = proto::Pong { last_ping_timestamp: ping.timestamp, timestamp };
                roster.send(out, key, Message::PongResp(pong));
            }
            M::UpdateMetadata(request) => {
                self.announcer().update_metadata(now, key, request);
            }
            M::UpdateAudioTrack(request) => {
                tracks.update_track(now, key, TrackUpdate::Audio(request), roster, out);
            }
            M::UpdateVideoTrack(request) => {
                tracks.update_track(now, key, TrackUpdate::Video(request), roster, out);
            }
            M::PublishDataTrackRequest(request) => {
                tracks.publications.publish_data_track(key, request, roster, out);
            }
            M::UnpublishDataTrackRequest(request) => {
                tracks.publications.unpublish_data_track(key, request, roster, out);
            }
            M::UpdateDataSubscription(request) => {
                let data_tracks = &mut tracks.publications.data_tracks;
                data_tracks.update_subscription(key, &request, roster, out);
            }
            M::StoreDataBlobRequest(request) => roster.refuse_blob(out, key, request.request_id),
            M::GetDataBlobRequest(request) => roster.refuse_blob(out, key, request.request_id),
        }
    }

    /// The client offers: its publishing connection, or its only one. An offer that cannot be read changes
    /// nothing, as at livekit-server; one that leaves no transport has the client start over.
    pub(crate) fn offer(&mut self, now: Instant, key: ParticipantKey, offer: &SessionDescription) {
        let Self { roster, tracks, out, .. } = self;
        let Err(error) = tracks.handle_offer(now, key, offer, roster, out) else { return };
        tracing::debug!(%error, "Offer refused");
        let response = proto::RequestResponse {
            reason: request_response::Reason::UnclassifiedError.into(),
            message: format!("offer refused: {error}"),
            ..proto::RequestResponse::default()
        };
        roster.respond(out, key, response);
        if !matches!(error, NegotiateError::Sdp(_)) {
            self.start_over(key);
        }
    }

    /// The client answers our offer.
    fn answer(&mut self, key: ParticipantKey, answer: &SessionDescription) {
        let Self { roster, tracks, out, .. } = self;
        if let Err(error) = tracks.handle_answer(key, answer, roster, out) {
            tracing::debug!(%error, "Answer refused");
            self.start_over(key);
        }
    }
}

/// What a client that says goodbye is told, and what others are: its own reason, if it may have one.
fn reason_to_leave(said: DisconnectReason) -> DisconnectReason {
    let passed = matches!(
        said,
        DisconnectReason::UserUnavailable
            | DisconnectReason::UserRejected
            | DisconnectReason::AgentError
    );
    if passed { said } else { DisconnectReason::ClientInitiated }
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
}
