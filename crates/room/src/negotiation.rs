//! Offers and answers: descriptions that come and go.
//!
//! * **Owns:** whose description changed during an input. (The state of each connection is its participant's
//!   [`Transports`](crate::transport::Transports).)
//! * **In:** `offer`, `answer`, `trickle`; participants whose senders changed.
//! * **Out:** `answer`, `offer`, `trickle`, `media_sections_requirement`; commands to shards.
//! * **Invariant:** one offer of ours is outstanding per client; an answer carries its offer's id.
//! * **livekit-server:** `pkg/rtc/transport.go`, `pkg/rtc/transportmanager.go`.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use hearth_negotiate::{Bound, NegotiateError, Published, Sender, TaggedSection};
use hearth_plane::DownId;
use hearth_signal::parse_candidate;
use hearth_signal::proto::{
    self, SessionDescription, SignalTarget, request_response, signal_response::Message,
};

use crate::outbox::Outbox;
use crate::participant::{Participant, ParticipantKey};
use crate::roster::Roster;
use crate::transport::{PendingOffer, credentials};

/// An offer without an answer for this long has the client start over.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Negotiator {
    changed: BTreeSet<ParticipantKey>,
}

/// What became of a description of the client's.
#[derive(Default)]
pub(crate) struct Negotiated {
    /// Our answer, and where its candidates belong.
    answer: Option<(SessionDescription, Option<TaggedSection>)>,
    /// Sections that carried a track and do not any more.
    pub(crate) ended_mids: Vec<String>,
    /// Sections that carry tracks of the client, new and old.
    pub(crate) published: Vec<Published>,
    /// Subscriptions that have a section.
    pub(crate) bound: Vec<Bound>,
    /// Subscriptions that cannot have one.
    pub(crate) unbound: Vec<DownId>,
}

impl Negotiator {
    /// The participant leaves.
    pub(crate) fn forget(&mut self, key: ParticipantKey) {
        self.changed.remove(&key);
    }

    /// A subscription begins.
    pub(crate) fn add_sender(&mut self, participant: &mut Participant, sender: Sender) {
        participant.local.transports.add_sender(sender);
        self.changed.insert(participant.key);
    }

    /// A subscription ends.
    pub(crate) fn remove_sender(&mut self, participant: &mut Participant, down: DownId) {
        participant.local.transports.remove_sender(down);
        self.changed.insert(participant.key);
    }

    /// The client offers: its publishing connection, or its only one. The answer is to be sent with
    /// [`send_answer`](Self::send_answer).
    pub(crate) fn handle_offer(
        &mut self,
        key: ParticipantKey,
        offer: &SessionDescription,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Result<Negotiated, NegotiateError> {
        let Some(participant) = roster.get_mut(key) else { return Ok(Negotiated::default()) };
        participant.local.diagnosis.handle_description(&offer.sdp);
        let shard = participant.local.shard;
        let transports = &mut participant.local.transports;
        let candidates = transports.preference.candidates(shard, &out.config);
        let link = &mut transports.publisher;
        let read = transports.answerer.read_offer(&offer.sdp)?;
        let mut commands = Vec::new();
        if read.remote().is_some_and(|remote| link.is_restart(&remote.ice)) {
            commands.extend(link.restart(credentials(shard, &mut out.random.ice)));
        }
        let pending = participant.local.publishing.pending_tracks();
        let answer = transports.answerer.answer(read, &pending, &link.local);
        if let Some(remote) = answer.remote {
            commands.extend(link.add(&candidates));
            commands.extend(link.set_remote(remote, answer.remote_candidates));
        }
        let mid_to_track_id = if transports.single {
            answer.mid_to_track_id.into_iter().collect()
        } else {
            HashMap::new()
        };
        for command in commands {
            out.command(shard, command);
        }
        let description = SessionDescription {
            r#type: "answer".to_owned(),
            sdp: answer.sdp,
            id: offer.id,
            mid_to_track_id,
        };
        self.changed.insert(key);
        Ok(Negotiated {
            answer: Some((description, answer.tagged)),
            ended_mids: answer.ended_mids,
            published: answer.published,
            bound: answer.bound,
            unbound: answer.unbound,
        })
    }

    /// Sends the answer to an offer, and our candidates.
    pub(crate) fn send_answer(
        &self,
        key: ParticipantKey,
        negotiated: &mut Negotiated,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Some((description, tagged)) = negotiated.answer.take() else { return };
        roster.send(out, key, Message::Answer(description));
        if let Some(tagged) = tagged {
            send_candidates(key, SignalTarget::Publisher, &tagged, roster, out);
        }
    }

    /// The client answers our offer.
    pub(crate) fn handle_answer(
        &mut self,
        key: ParticipantKey,
        answer: &SessionDescription,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Result<Negotiated, NegotiateError> {
        let nothing = Ok(Negotiated::default());
        let Some(participant) = roster.get_mut(key) else { return nothing };
        participant.local.diagnosis.handle_description(&answer.sdp);
        let Some(subscriber) = &mut participant.local.transports.subscriber else { return nothing };
        let Some(pending) = subscriber.pending else { return nothing };
        if answer.id != 0 && answer.id != pending.id {
            tracing::debug!(answer.id, pending.id, "Answer to another offer");
            return nothing;
        }
        subscriber.pending = None;
        let accepted = subscriber.offerer.handle_answer(&answer.sdp)?;
        if let Some(remote) = accepted.remote {
            for command in subscriber.link.set_remote(remote, accepted.remote_candidates) {
                out.command(participant.local.shard, command);
            }
        }
        self.changed.insert(key);
        let (bound, unbound) = (accepted.bound, accepted.unbound);
        Ok(Negotiated { bound, unbound, ..Negotiated::default() })
    }

    /// A candidate of the client.
    pub(crate) fn handle_candidate(
        &self,
        key: ParticipantKey,
        request: proto::TrickleRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let candidate = match parse_candidate(&request.candidate_init) {
            Ok(candidate) => candidate,
            Err(error) => {
                let request = request_response::Request::Trickle(request);
                let reason = request_response::Reason::UnclassifiedError;
                roster.refuse(out, key, reason, &error.to_string(), request);
                return;
            }
        };
        let Some(participant) = roster.get_mut(key) else { return };
        participant.local.diagnosis.handle_candidate(&candidate.line);
        // Names of multicast DNS cannot be resolved here; the client's checks will do.
        if candidate.line.is_empty() || candidate.line.contains(".local ") {
            return;
        }
        let Some(participant) = roster.get_mut(key) else { return };
        if !participant.local.transports.preference.takes(&candidate.line) {
            return;
        }
        let link = participant.local.transports.link_mut(request.target());
        if let Some(command) = link.and_then(|link| link.add_candidate(candidate.line)) {
            out.command(participant.local.shard, command);
        }
    }

    /// Sends to everybody whose description changed what the client has to know of it.
    pub(crate) fn negotiate_changed(
        &mut self,
        now: Instant,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        while let Some(key) = self.changed.pop_first() {
            self.negotiate(now, key, roster, out);
        }
    }

    fn negotiate(&self, now: Instant, key: ParticipantKey, roster: &mut Roster, out: &mut Outbox) {
        let Some(participant) = roster.get_mut(key).filter(|p| p.local.session.is_some()) else {
            return;
        };
        let transports = &mut participant.local.transports;
        if transports.single {
            if let Some((num_audios, num_videos)) = transports.answerer.sections_needed() {
                let message = proto::MediaSectionsRequirement { num_audios, num_videos };
                roster.send(out, key, Message::MediaSectionsRequirement(message));
            }
        } else if transports
            .subscriber
            .as_ref()
            .is_some_and(|s| s.pending.is_none() && s.offerer.needs_offer())
        {
            self.offer_subscriber(now, key, roster, out);
        }
    }

    /// Dual: describes the subscriber connection to the client, if there is anything to describe.
    pub(crate) fn offer_subscriber(
        &self,
        now: Instant,
        key: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Some(participant) = roster.get_mut(key) else { return };
        let shard = participant.local.shard;
        let candidates = participant.local.transports.preference.candidates(shard, &out.config);
        let Some(subscriber) = &mut participant.local.transports.subscriber else { return };
        if !subscriber.offerer.begun() && !subscriber.offerer.needs_offer() {
            return;
        }
        let added = subscriber.link.add(&candidates);
        let offer = subscriber.offerer.create_offer(&subscriber.link.local);
        let id = subscriber.next_id;
        subscriber.next_id = id.wrapping_add(1).max(1);
        subscriber.pending = Some(PendingOffer { id, since: now });
        roster.deadlines.watch(key, now + ANSWER_TIMEOUT);
        if let Some(command) = added {
            out.command(shard, command);
        }
        let message = SessionDescription {
            r#type: "offer".to_owned(),
            sdp: offer.sdp,
            id,
            mid_to_track_id: offer.mid_to_track_id.into_iter().collect(),
        };
        roster.send(out, key, Message::Offer(message));
        if let Some(tagged) = offer.tagged {
            send_candidates(key, SignalTarget::Subscriber, &tagged, roster, out);
        }
    }

    /// Dual: offers anew with new credentials, since the client may have missed anything.
    pub(crate) fn restart_subscriber(
        &self,
        now: Instant,
        key: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Some(participant) = roster.get_mut(key) else { return };
        let shard = participant.local.shard;
        let Some(subscriber) = &mut participant.local.transports.subscriber else { return };
        subscriber.pending = None;
        let restart = subscriber.link.restart(credentials(shard, &mut out.random.ice));
        if let Some(command) = restart {
            out.command(shard, command);
        }
        self.offer_subscriber(now, key, roster, out);
    }
}

/// Sends our candidates, once per credentials.
fn send_candidates(
    key: ParticipantKey,
    target: SignalTarget,
    tagged: &TaggedSection,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let Some(participant) = roster.get_mut(key) else { return };
    let shard = participant.local.shard;
    let ours = participant.local.transports.preference.candidates(shard, &out.config);
    let Some(link) = participant.local.transports.link_mut(target) else { return };
    if std::mem::replace(&mut link.trickled, true) {
        return;
    }
    let candidates = link.candidates(&ours, tagged);
    let last = candidates.len().saturating_sub(1);
    for (n, candidate_init) in candidates.into_iter().enumerate() {
        let message =
            proto::TrickleRequest { candidate_init, target: target.into(), r#final: n == last };
        roster.send(out, key, Message::Trickle(message));
    }
}
