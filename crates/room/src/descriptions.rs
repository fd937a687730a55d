//! The steps that follow a description of a client.
//!
//! * **Owns:** nothing beyond [`Tracks`].
//! * **In:** `offer`, `answer`.
//! * **Out:** tracks and subscriptions that begin and end with a description.
//! * **Invariant:** what an answer refuses is not subscribed to.
//! * **Not here:** how a description is made ([`Negotiator`](crate::negotiation::Negotiator)).

use std::time::Instant;

use hearth_negotiate::NegotiateError;
use hearth_signal::proto::SessionDescription;

use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::roster::Roster;
use crate::tracks::Tracks;

impl Tracks {
    /// The client offers: its publishing connection, or its only one.
    ///
    /// # Errors
    ///
    /// [`NegotiateError`] if the offer is not answered.
    pub(crate) fn handle_offer(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        offer: &SessionDescription,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Result<(), NegotiateError> {
        let mut negotiated = self.negotiator.handle_offer(key, offer, roster, out)?;
        for mid in std::mem::take(&mut negotiated.ended_mids) {
            self.unpublish_mid(now, key, &mid, roster, out);
        }
        self.negotiator.send_answer(key, &mut negotiated, roster, out);
        // The answer pauses what the offer says is paused, whatever the client was told since.
        self.publications.repeat_demands(key, roster, out);
        self.sections_published(now, key, &negotiated.published, roster, out);
        self.bound(key, &negotiated, roster, out);
        Ok(())
    }

    /// The client answers our offer.
    ///
    /// # Errors
    ///
    /// [`NegotiateError`] if the answer is of no use.
    pub(crate) fn handle_answer(
        &mut self,
        key: ParticipantKey,
        answer: &SessionDescription,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Result<(), NegotiateError> {
        let negotiated = self.negotiator.handle_answer(key, answer, roster, out)?;
        self.bound(key, &negotiated, roster, out);
        Ok(())
    }
}
