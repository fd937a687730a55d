//! Sessions and transports that are lost, what becomes due, and who may come back.
//!
//! * **Owns:** nothing beyond [`Roster`].
//! * **In:** signal connections that broke; transports that failed or were closed; deadlines.
//! * **Out:** `LeaveRequest`; participants that wait for their client; a [`Departure`] for each that is to be removed.
//! * **Invariant:** whoever has neither a session nor a transport that can be revived is removed at
//!   once or within [`GRACE`]. While the client can still say `leave`, it is not cut off: only that says
//!   why it goes.
//! * **livekit-server:** `pkg/rtc/participant.go` (`onAnyTransportFailed`, `HandleSignalSourceClose`).

use std::time::{Duration, Instant};

use hearth_plane::{CloseReason, PeerId, ShardId};
use hearth_signal::proto::leave_request::Action;
use hearth_signal::proto::{self, DisconnectReason, signal_response::Message};

use crate::ice_preference::{IcePreferences, Possible};
use crate::outbox::Outbox;
use crate::participant::{Deadlines, Participant, ParticipantKey, Removal};
use crate::roster::Roster;

/// Between the loss of a transport and the removal, in which the client may come back.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may stay that has closed a transport: as long as silence would take to be
/// noticed.
const CLOSED_TIMEOUT: Duration = Duration::from_secs(15);
/// Up to this protocol, clients do not know of a `leave` that means a resume; they resume when their
/// connection closes.
const LAST_WITHOUT_ACTION: i32 = 12;

/// A participant that is to be removed: without a client to come back, or sent away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) struct Departure {
    pub(crate) key: ParticipantKey,
    pub(crate) reason: DisconnectReason,
}

impl Roster {
    /// Sends the client away: for good, or to start over with a new session.
    pub(crate) fn dismiss(
        &mut self,
        key: ParticipantKey,
        action: Action,
        reason: DisconnectReason,
        out: &mut Outbox,
    ) -> Departure {
        self.send_final(out, key, leave(action, reason));
        Departure { key, reason }
    }

    /// The client's state and ours do not fit together: it starts over.
    pub(crate) fn start_over(&mut self, key: ParticipantKey, out: &mut Outbox) -> Departure {
        self.dismiss(key, Action::Reconnect, DisconnectReason::StateMismatch, out)
    }

    /// The signal connection broke without a goodbye. If there is a transport to come back to, the
    /// client may resume until that fails, too.
    pub(crate) fn session_lost(&mut self, key: ParticipantKey) -> Option<Departure> {
        self.set_session(key, None);
        let transports = self.get(key).map(|p| &p.local.transports);
        let is_gone = !transports.is_some_and(|t| t.was_connected() && !t.any_closed());
        is_gone.then_some(Departure { key, reason: DisconnectReason::SignalClose })
    }

    /// A transport is silent; it is kept, so that a resume with an ICE restart revives it.
    pub(crate) fn ice_failed(
        &mut self,
        now: Instant,
        peer: PeerId,
        ice: &mut IcePreferences,
        out: &mut Outbox,
    ) {
        let Some(key) = self.by_peer(peer) else { return };
        let Some(participant) = self.get_mut(key) else { return };
        if participant.local.deadlines.remove.is_some() {
            return;
        }
        tracing::debug!(?peer, "ICE failed");
        ice.transport_failed(now, participant, &out.config);
        let knows_action = participant.local.client.protocol > LAST_WITHOUT_ACTION;
        self.wait_for(now, key, true);
        if knows_action {
            let reason = DisconnectReason::ConnectionTimeout;
            self.send_final(out, key, leave(Action::Resume, reason));
        } else if let Some(session) = self.set_session(key, None) {
            out.close_session(session);
        }
    }

    /// A transport is gone for good: the shard has forgotten it.
    pub(crate) fn peer_closed(
        &mut self,
        now: Instant,
        peer: PeerId,
        reason: CloseReason,
        ice: &mut IcePreferences,
        out: &mut Outbox,
    ) -> Option<Departure> {
        let key = self.by_peer(peer)?;
        let participant = self.get_mut(key)?;
        tracing::debug!(?peer, ?reason, "Transport closed");
        if let Some(link) = participant.local.transports.by_peer_mut(peer) {
            link.closed = true;
        }
        let active = participant.is_active();
        match reason {
            // Clients that leave close their transports before, after or while they say so.
            CloseReason::PeerClosed if participant.local.session.is_some() => {
                let deadline = &mut participant.local.deadlines.request_reconnect;
                let at = *deadline.get_or_insert(now + CLOSED_TIMEOUT);
                self.deadlines.watch(key, at);
                None
            }
            CloseReason::PeerClosed => {
                Some(Departure { key, reason: DisconnectReason::SignalClose })
            }
            // The time for becoming active decides.
            CloseReason::IceTimeout | CloseReason::DtlsTimeout if !active => {
                ice.transport_failed(now, participant, &out.config);
                None
            }
            CloseReason::IceTimeout
            | CloseReason::DtlsTimeout
            | CloseReason::DtlsFailed
            | CloseReason::Silence
            | CloseReason::KeysUsedUp
            | CloseReason::Panicked => self.request_reconnect(now, key, out),
        }
    }

    /// Those who have their transports on a shard.
    pub(crate) fn on_shard(&self, shard: ShardId) -> Vec<ParticipantKey> {
        self.iter().filter(|p| p.local.shard == shard).map(|p| p.key).collect()
    }

    /// Has the client come back with a new session, for which its participant waits a while.
    pub(crate) fn request_reconnect(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        out: &mut Outbox,
    ) -> Option<Departure> {
        let participant = self.get_mut(key)?;
        participant.local.deadlines.request_reconnect = None;
        if let Some(removal) = &mut participant.local.deadlines.remove {
            removal.resumable = false;
        } else if participant.local.session.is_some() {
            self.wait_for(now, key, false);
            let reason = DisconnectReason::StateMismatch;
            self.send_final(out, key, leave(Action::Reconnect, reason));
        } else {
            return Some(Departure { key, reason: DisconnectReason::ConnectionTimeout });
        }
        None
    }

    /// The participant waits for its client to come back.
    fn wait_for(&mut self, now: Instant, key: ParticipantKey, resumable: bool) {
        let Some(participant) = self.get_mut(key) else { return };
        participant.local.deadlines.remove = Some(Removal { at: now + GRACE, resumable });
        self.deadlines.watch(key, now + GRACE);
    }

    /// Something may be due for a participant.
    pub(crate) fn handle_due(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        out: &mut Outbox,
    ) -> Option<Departure> {
        let participant = self.get(key)?;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Deadlines { active, refresh, request_reconnect, remove, .. } =
            participant.local.deadlines;
        if due(remove.map(|removal| removal.at)) {
            return Some(Departure { key, reason: DisconnectReason::ConnectionTimeout });
        }
        if due(active) {
            return Some(self.dismiss(key, Action::Disconnect, DisconnectReason::JoinFailure, out));
        }
        if due(request_reconnect) {
            return self.request_reconnect(now, key, out);
        }
        if due(participant.answer_deadline()) {
            return Some(self.start_over(key, out));
        }
        if refresh <= now {
            self.refresh_token(now, key, out);
        }
        None
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

/// A client's UDP seems dead, while it could use TCP: has it restart ICE, which finds what works. It comes back in less
/// time than its own ICE takes to give up, and is not waited for: if all of its network is gone, its transport fails in
/// its own time.
pub(crate) fn path_silent(
    now: Instant,
    peer: PeerId,
    ice: &mut IcePreferences,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let Some(key) = roster.by_peer(peer) else { return };
    let Some(participant) = roster.get(key) else { return };
    let local = &participant.local;
    let knows_action = local.client.protocol > LAST_WITHOUT_ACTION;
    let waits = local.deadlines.remove.is_some() || local.deadlines.request_reconnect.is_some();
    let may = knows_action && !waits && participant.is_active();
    if may && Possible::of(participant, &out.config).tcp && ice.ask(now, key) {
        tracing::debug!(?peer, "UDP is silent");
        roster.send_final(out, key, leave(Action::Resume, DisconnectReason::ConnectionTimeout));
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
