//! The steps that follow a description of a client.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** `offer`, `answer`.
//! * **Out:** tracks and subscriptions that begin and end with a description.
//! * **Invariant:** what an answer refuses is not subscribed to.
//! * **Not here:** how a description is made ([`Negotiator`](crate::negotiation::Negotiator)).

use std::time::Instant;

use hearth_negotiate::NegotiateError;
use hearth_signal::proto::{self, SessionDescription, request_response};

use crate::Room;
use crate::participant::ParticipantKey;

impl Room {
    /// The client offers: its publishing connection, or its only one.
    pub(crate) fn offer(&mut self, now: Instant, key: ParticipantKey, offer: &SessionDescription) {
        let Self { negotiator, roster, out, .. } = self;
        let mut negotiated = match negotiator.handle_offer(key, offer, roster, out) {
            Ok(negotiated) => negotiated,
            Err(error) => return self.offer_refused(key, &error),
        };
        for mid in std::mem::take(&mut negotiated.ended_mids) {
            self.unpublish_mid(now, key, &mid);
        }
        self.negotiator.send_answer(key, &mut negotiated, &mut self.roster, &mut self.out);
        // The answer pauses what the offer says is paused, whatever the client was told since.
        self.publications.repeat_demands(key, &self.roster, &mut self.out);
        self.sections_published(now, key, &negotiated.published);
        self.bound(key, &negotiated.bound, &negotiated.unbound);
    }

    /// Says why an offer is not answered. One that cannot be read changes nothing, as at
    /// livekit-server; one that leaves no transport has the client start over.
    fn offer_refused(&mut self, key: ParticipantKey, error: &NegotiateError) {
        tracing::debug!(%error, "Offer refused");
        let response = proto::RequestResponse {
            reason: request_response::Reason::UnclassifiedError.into(),
            message: format!("offer refused: {error}"),
            ..proto::RequestResponse::default()
        };
        self.roster.respond(&mut self.out, key, response);
        if !matches!(error, NegotiateError::Sdp(_)) {
            self.full_reconnect(key);
        }
    }

    /// The client answers our offer.
    pub(crate) fn answer(&mut self, key: ParticipantKey, answer: &SessionDescription) {
        let Self { negotiator, roster, out, .. } = self;
        match negotiator.handle_answer(key, answer, roster, out) {
            Ok(negotiated) => self.bound(key, &negotiated.bound, &negotiated.unbound),
            Err(error) => {
                tracing::debug!(%error, "Answer refused");
                self.full_reconnect(key);
            }
        }
    }
}
