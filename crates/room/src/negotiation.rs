//! Descriptions and candidates: what clients send, and when we send ours.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** `offer`, `answer`, `trickle`; participants whose wishes changed.
//! * **Out:** `answer`, `offer`, `trickle`, `media_sections_requirement`; commands to shards.
//! * **Invariant:** one offer of ours is outstanding per client; an answer carries its offer's id.
//! * **livekit-server:** `pkg/rtc/transport.go`, `pkg/rtc/transportmanager.go`.

use std::time::{Duration, Instant};

use hearth_negotiate::{NegotiateError, TaggedSection};
use hearth_plane::Command;
use hearth_signal::parse_candidate;
use hearth_signal::proto::{
    self, SessionDescription, SignalTarget, request_response, signal_response::Message,
};

use crate::Room;
use crate::participant::ParticipantKey;
use crate::transport::{PendingOffer, credentials};

/// An offer without an answer for this long has the client start over.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

impl Room {
    /// The client offers: its publishing connection, or its only one.
    pub(crate) fn offer(&mut self, now: Instant, key: ParticipantKey, offer: SessionDescription) {
        let local_addrs = self.out.config.local_addrs.clone();
        let Some(participant) = self.roster.get_mut(key) else { return };
        let shard = participant.shard;
        let transports = &mut participant.transports;
        let link = &mut transports.publisher;
        let read = match transports.answerer.read_offer(&offer.sdp) {
            Ok(read) => read,
            Err(error) => return self.offer_refused(now, key, &error),
        };
        let mut commands = Vec::new();
        if read.remote().is_some_and(|remote| link.is_restart(&remote.ice)) {
            commands.extend(link.restart(credentials(shard, &mut self.out.random.ice)));
        }
        let pending = participant.publishing.pending_tracks();
        let answer = transports.answerer.answer(read, &pending, &link.local);
        if let Some(remote) = answer.remote {
            commands.extend(link.add(&local_addrs));
            commands.extend(link.set_remote(remote, answer.remote_candidates));
        }
        let mid_to_track_id = if transports.single {
            answer.mid_to_track_id.into_iter().collect()
        } else {
            std::collections::HashMap::new()
        };
        for command in commands {
            self.out.command(shard, command);
        }
        for mid in &answer.ended_mids {
            self.unpublish_mid(now, key, mid);
        }
        let answer_message = SessionDescription {
            r#type: "answer".to_owned(),
            sdp: answer.sdp,
            id: offer.id,
            mid_to_track_id,
        };
        self.roster.send(&mut self.out, key, Message::Answer(answer_message));
        if let Some(tagged) = answer.tagged {
            self.trickle_out(key, SignalTarget::Publisher, &tagged);
        }
        // The answer pauses what the offer says is paused, whatever the client was told since.
        self.repeat_demands(key);
        self.sections_published(now, key, answer.published);
        self.bound(now, key, &answer.bound, &answer.unbound);
        self.dirty.insert(key);
    }

    /// Says why an offer is not answered. One that cannot be read changes nothing, as at
    /// livekit-server; one that leaves no transport has the client start over.
    fn offer_refused(&mut self, now: Instant, key: ParticipantKey, error: &NegotiateError) {
        tracing::debug!(%error, "Offer refused");
        let response = proto::RequestResponse {
            reason: request_response::Reason::UnclassifiedError.into(),
            message: format!("offer refused: {error}"),
            ..proto::RequestResponse::default()
        };
        self.roster.send(&mut self.out, key, Message::RequestResponse(response));
        if !matches!(error, NegotiateError::Sdp(_)) {
            self.full_reconnect(now, key);
        }
    }

    /// The client answers our offer.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        answer: &SessionDescription,
    ) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        let shard = participant.shard;
        let Some(subscriber) = &mut participant.transports.subscriber else { return };
        let Some(pending) = subscriber.pending else { return };
        if answer.id != 0 && answer.id != pending.id {
            tracing::debug!(answer.id, pending.id, "Answer to another offer");
            return;
        }
        subscriber.pending = None;
        let accepted = match subscriber.offerer.handle_answer(&answer.sdp) {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "Answer refused");
                self.full_reconnect(now, key);
                return;
            }
        };
        if let Some(remote) = accepted.remote {
            for command in subscriber.link.set_remote(remote, accepted.remote_candidates) {
                self.out.command(shard, command);
            }
        }
        self.bound(now, key, &accepted.bound, &accepted.unbound);
        self.dirty.insert(key);
    }

    /// A candidate of the client.
    pub(crate) fn trickle(&mut self, key: ParticipantKey, request: proto::TrickleRequest) {
        let candidate = match parse_candidate(&request.candidate_init) {
            Ok(candidate) => candidate,
            Err(error) => {
                let request = request_response::Request::Trickle(request);
                let reason = request_response::Reason::UnclassifiedError;
                self.roster.refuse(&mut self.out, key, reason, &error.to_string(), request);
                return;
            }
        };
        // Names of multicast DNS cannot be resolved here; the client's checks will do.
        if candidate.line.is_empty() || candidate.line.contains(".local ") {
            return;
        }
        let Some(participant) = self.roster.get_mut(key) else { return };
        let shard = participant.shard;
        let link = participant.transports.link_mut(request.target());
        if let Some(command) = link.and_then(|link| link.add_candidate(candidate.line)) {
            self.out.command(shard, command);
        }
    }

    /// Sends whatever the client has to know about changed senders.
    pub(crate) fn negotiate(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        if participant.session.is_none() {
            return;
        }
        let transports = &mut participant.transports;
        if transports.single {
            if let Some((num_audios, num_videos)) = transports.answerer.sections_needed() {
                let message = proto::MediaSectionsRequirement { num_audios, num_videos };
                self.roster.send(&mut self.out, key, Message::MediaSectionsRequirement(message));
            }
        } else if transports
            .subscriber
            .as_ref()
            .is_some_and(|s| s.pending.is_none() && s.offerer.needs_offer())
        {
            self.offer_subscriber(now, key);
        }
    }

    /// Dual: describes the subscriber connection to the client, if there is anything to describe.
    pub(crate) fn offer_subscriber(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        let shard = participant.shard;
        let Some(subscriber) = &mut participant.transports.subscriber else { return };
        if !subscriber.offerer.begun() && !subscriber.offerer.needs_offer() {
            return;
        }
        let added = subscriber.link.add(&self.out.config.local_addrs);
        let offer = subscriber.offerer.create_offer(&subscriber.link.local);
        let id = subscriber.next_id;
        subscriber.next_id = id.wrapping_add(1).max(1);
        subscriber.pending = Some(PendingOffer { id, since: now });
        self.roster.deadlines.watch(key, now + ANSWER_TIMEOUT);
        if let Some(command) = added {
            self.out.command(shard, command);
        }
        let message = SessionDescription {
            r#type: "offer".to_owned(),
            sdp: offer.sdp,
            id,
            mid_to_track_id: offer.mid_to_track_id.into_iter().collect(),
        };
        self.roster.send(&mut self.out, key, Message::Offer(message));
        if let Some(tagged) = offer.tagged {
            self.trickle_out(key, SignalTarget::Subscriber, &tagged);
        }
    }

    /// Sends our candidates, once per credentials.
    fn trickle_out(&mut self, key: ParticipantKey, target: SignalTarget, tagged: &TaggedSection) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        let Some(link) = participant.transports.link_mut(target) else { return };
        if std::mem::replace(&mut link.trickled, true) {
            return;
        }
        let candidates = link.candidates(&self.out.config.local_addrs, tagged);
        let last = candidates.len().saturating_sub(1);
        for (n, candidate_init) in candidates.into_iter().enumerate() {
            let message =
                proto::TrickleRequest { candidate_init, target: target.into(), r#final: n == last };
            self.roster.send(&mut self.out, key, Message::Trickle(message));
        }
    }

    /// Every command for the shard of a participant.
    pub(crate) fn command_for(&mut self, key: ParticipantKey, command: Command) {
        if let Some(shard) = self.roster.get(key).map(|p| p.shard) {
            self.out.command(shard, command);
        }
    }
}
