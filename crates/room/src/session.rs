//! Joining, resuming and leaving.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** [`Join`]s, connected transports, deadlines.
//! * **Out:** `JoinResponse`, `ReconnectResponse`, `LeaveRequest`; participants that come and go.
//! * **Invariant:** the first message of a session is join, reconnect or leave; an identity is in
//!   the room at most once; whoever goes takes everything along that it had.
//! * **Not here:** sessions and transports that are lost ([`disconnection`](crate::disconnection)).
//! * **livekit-server:** `pkg/service/roommanager.go` (`StartSession`), `pkg/rtc/room.go`.

use std::time::{Duration, Instant};

use hearth_plane::PeerId;
use hearth_signal::JoinParams;
use hearth_signal::proto::{self, DisconnectReason, signal_response::Message};
use proto::leave_request::Action;
use proto::participant_info::State;

use crate::admission::send_reconnect;
use crate::announcements::Published;
use crate::participant::{
    Deadlines, Participant, ParticipantKey, is_service, kind_of, permission_of,
};
use crate::{Join, JoinError, Room, RoomEvent};

/// Between two refreshed tokens.
pub(crate) const REFRESH: Duration = Duration::from_secs(300);

impl Room {
    pub(crate) fn join(&mut self, now: Instant, join: Join) -> Result<(), JoinError> {
        let identity = join.admitted.identity().to_owned();
        if join.request.reconnect {
            self.resume(now, &join, &identity);
            return Ok(());
        }
        let former = self.roster.by_identity(&identity);
        let claims = join.admitted.claims();
        let kind = kind_of(&claims.kind);
        let dependent = is_service(kind, &permission_of(&claims.video));
        if !dependent && self.roster.is_full(self.out.config.max_participants, former) {
            return Err(JoinError::RoomFull);
        }
        if let Some(former) = former {
            self.disconnect(former, DisconnectReason::DuplicateIdentity);
        }
        let key = self.roster.admit(now, &join, identity, &mut self.out);
        let published = Published { tracks: &self.publications, data_tracks: &self.data.tracks };
        self.roster.send_join((now, join.session), key, &self.record, published, &mut self.out);
        self.roster.joined(key, published, &mut self.out);
        self.roster.refresh_token(now, key, &mut self.out);
        self.start(now, key, join.request);
        Ok(())
    }

    /// What follows the `JoinResponse`: tracks and offers.
    fn start(&mut self, now: Instant, key: ParticipantKey, request: JoinParams) {
        for add in request.add_tracks.into_iter().take(crate::publication::MAX_PENDING) {
            self.add_track(now, key, add);
        }
        // Before the first description, so that it can already carry the tracks that are here.
        self.subscribe_to_all(key);
        if let Some(offer) = request.publisher_offer {
            self.offer(now, key, &offer);
        }
        self.negotiator.offer_subscriber(now, key, &mut self.roster, &mut self.out);
    }

    /// A client comes back to the session it believes to have.
    fn resume(&mut self, now: Instant, join: &Join, identity: &str) {
        let session = join.session;
        let sid = &join.request.participant_sid;
        let key = self.roster.by_identity(identity).filter(|key| {
            self.roster.get(*key).is_some_and(|p| {
                (sid.is_empty() || *sid == p.record.sid)
                    && p.local.transports.single == join.request.single_pc
                    && p.local.deadlines.remove.is_none_or(|removal| removal.resumable)
                    && !p.local.transports.any_closed()
            })
        });
        let Some(key) = key else {
            self.out.send(session, leave(Action::Reconnect, DisconnectReason::StateMismatch));
            self.out.close_session(session);
            return;
        };
        let dropped = self.roster.take_dropped_resume(now, key);
        let unanswered = dropped.is_some_and(|dropped| dropped.unanswered);
        let current = Some(session).filter(|_| !unanswered);
        if let Some(former) = self.roster.set_session(key, current) {
            self.out.close_session(former);
        }
        if unanswered {
            self.out.close_session(session);
            return;
        }
        if let Some(participant) = self.roster.get_mut(key) {
            participant.local.deadlines.remove = None;
            send_reconnect(now, session, participant, &mut self.out);
        }
        let published = Published { tracks: &self.publications, data_tracks: &self.data.tracks };
        self.roster.send_everything(key, published, &mut self.out);
        let room = Some(self.record.message(&self.roster, &self.out));
        self.roster.send(&mut self.out, key, Message::RoomUpdate(proto::RoomUpdate { room }));
        self.roster.refresh_token(now, key, &mut self.out);
        self.publications.repeat_demands(key, &self.roster, &mut self.out);
        self.negotiator.restart_subscriber(now, key, &mut self.roster, &mut self.out);
        if dropped.is_some() {
            self.roster.set_session(key, None);
            self.out.close_session(session);
        }
    }

    pub(crate) fn peer_connected(&mut self, peer: PeerId) {
        let Some(key) = self.roster.by_peer(peer) else { return };
        let Some(participant) = self.roster.get_mut(key) else { return };
        if let Some(link) = participant.local.transports.by_peer_mut(peer) {
            link.connected = true;
        }
        if !participant.local.transports.is_primary(peer) || participant.is_active() {
            return;
        }
        participant.state = State::Active;
        participant.local.deadlines.active = None;
        self.roster.watch_deadlines(key);
        self.changed(key);
        if let Some(info) = self.roster.info(key, self.published()) {
            self.out.event(RoomEvent::ParticipantJoined { participant: Box::new(info) });
        }
        self.subscribe_to_all(key);
        self.data.flush(key, &mut self.roster, &mut self.out);
    }

    pub(crate) fn participant_timeout(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get(key) else { return };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Deadlines { active, refresh, request_reconnect, remove, simulated_speaker } =
            participant.local.deadlines;
        let unanswered = due(participant.answer_deadline());
        if due(simulated_speaker) {
            self.end_simulated_speaker(key);
        }
        if due(remove.map(|removal| removal.at)) {
            self.remove(key, DisconnectReason::ConnectionTimeout);
        } else if due(active) {
            self.disconnect(key, DisconnectReason::JoinFailure);
        } else if due(request_reconnect) {
            self.request_reconnect(now, key);
        } else if unanswered {
            self.full_reconnect(key);
        } else if refresh <= now {
            self.roster.refresh_token(now, key, &mut self.out);
        }
    }

    /// Sends the participant away for good.
    pub(crate) fn disconnect(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        self.disconnect_with(key, leave(Action::Disconnect, reason), reason);
    }

    /// Has the client start over.
    pub(crate) fn full_reconnect(&mut self, key: ParticipantKey) {
        let reason = DisconnectReason::StateMismatch;
        self.disconnect_with(key, leave(Action::Reconnect, reason), reason);
    }

    pub(crate) fn disconnect_with(
        &mut self,
        key: ParticipantKey,
        message: Message,
        reason: DisconnectReason,
    ) {
        self.roster.send_final(&mut self.out, key, message);
        self.remove(key, reason);
    }

    /// The participant is gone: ends all it had and tells everybody.
    pub(crate) fn remove(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        self.unpublish_all(key);
        self.unsubscribe_all(key);
        self.data.tracks.forget(key, &mut self.roster, &mut self.out);
        self.speakers.forget(key);
        self.quality.forget(key);
        self.negotiator.forget(key);
        let published = Published { tracks: &self.publications, data_tracks: &self.data.tracks };
        let Some(gone) = self.roster.depart(key, reason, published, &mut self.out) else { return };
        for link in gone.local.transports.links() {
            if let Some(command) = link.remove() {
                self.out.command(gone.local.shard, command);
            }
        }
    }
}

impl Participant {
    /// Everything that becomes due by itself. Who sets one of them tells [`Roster::watch_deadlines`](crate::roster::Roster::watch_deadlines).
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let Deadlines { active, refresh, request_reconnect, remove, simulated_speaker } =
            self.local.deadlines;
        let remove = remove.map(|removal| removal.at);
        let answer = self.answer_deadline();
        let all = [active, Some(refresh), request_reconnect, remove, simulated_speaker, answer];
        all.into_iter().flatten()
    }

    /// When the outstanding offer is answered too late. Before the transport is connected, the time for
    /// becoming active decides.
    fn answer_deadline(&self) -> Option<Instant> {
        let subscriber = self.local.transports.subscriber.as_ref().filter(|s| s.link.connected)?;
        let offer = subscriber.pending.filter(|_| self.local.session.is_some())?;
        Some(offer.since + crate::negotiation::ANSWER_TIMEOUT)
    }
}

/// A `LeaveRequest`.
pub(crate) fn leave(action: Action, reason: DisconnectReason) -> Message {
    Message::Leave(proto::LeaveRequest {
        can_reconnect: action != Action::Disconnect,
        reason: reason.into(),
        action: action.into(),
        regions: None,
    })
}
