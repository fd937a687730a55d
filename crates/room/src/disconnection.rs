//! Sessions and transports that are lost, and who may come back.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** signal connections that broke; transports that failed or were closed.
//! * **Out:** `LeaveRequest` RESUME or RECONNECT; participants that wait for their client, or are
//!   removed.
//! * **Invariant:** whoever has neither a session nor a transport that can be revived is removed at
//!   once or within [`GRACE`]. While the client can still say `leave`, it is not cut off: only that says
//!   why it goes.
//! * **livekit-server:** `pkg/rtc/participant.go` (`onAnyTransportFailed`, `HandleSignalSourceClose`).

use std::time::{Duration, Instant};

use hearth_plane::{CloseReason, PeerId, ShardId, TrackId};
use hearth_signal::proto::{DisconnectReason, leave_request::Action};

use crate::Room;
use crate::ice_preference::Possible;
use crate::participant::{ParticipantKey, Removal};
use crate::roster::Roster;
use crate::session::leave;

/// Between the loss of a transport and the removal, in which the client may come back.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may stay that has closed a transport: as long as silence would take to be
/// noticed.
const CLOSED_TIMEOUT: Duration = Duration::from_secs(15);
/// Up to this protocol, clients do not know of a `leave` that means a resume; they resume when their
/// connection closes.
const LAST_WITHOUT_ACTION: i32 = 12;

impl Room {
    /// The signal connection broke without a goodbye. If there is a transport to come back to, the
    /// client may resume until that fails, too.
    pub(crate) fn session_lost(&mut self, key: ParticipantKey) {
        self.roster.set_session(key, None);
        let transports = self.roster.get(key).map(|p| &p.local.transports);
        if !transports.is_some_and(|t| t.was_connected() && !t.any_closed()) {
            self.remove(key, DisconnectReason::SignalClose);
        }
    }

    /// A transport is silent; it is kept, so that a resume with an ICE restart revives it.
    pub(crate) fn ice_failed(&mut self, now: Instant, peer: PeerId) {
        let Some(key) = self.roster.by_peer(peer) else { return };
        let Some(participant) = self.roster.get_mut(key) else { return };
        if participant.local.deadlines.remove.is_some() {
            return;
        }
        tracing::debug!(?peer, "ICE failed");
        self.ice.transport_failed(now, participant, &self.out.config);
        let knows_action = participant.local.client.protocol > LAST_WITHOUT_ACTION;
        self.roster.wait_for(now, key, true);
        if knows_action {
            self.roster.send_final(
                &mut self.out,
                key,
                leave(Action::Resume, DisconnectReason::ConnectionTimeout),
            );
        } else if let Some(session) = self.roster.set_session(key, None) {
            self.out.close_session(session);
        }
    }

    /// A transport is gone for good: the shard has forgotten it.
    pub(crate) fn peer_closed(&mut self, now: Instant, peer: PeerId, reason: CloseReason) {
        let Some(key) = self.roster.by_peer(peer) else { return };
        let Some(participant) = self.roster.get_mut(key) else { return };
        tracing::debug!(?peer, ?reason, "Transport closed");
        if let Some(link) = participant.local.transports.by_peer_mut(peer) {
            link.closed = true;
        }
        let active = participant.is_active();
        match reason {
            // Clients that leave close their transports before, after or while they say so.
            CloseReason::PeerClosed if participant.local.session.is_some() => {
                let at = *participant
                    .local
                    .deadlines
                    .request_reconnect
                    .get_or_insert(now + CLOSED_TIMEOUT);
                self.roster.deadlines.watch(key, at);
            }
            CloseReason::PeerClosed => self.remove(key, DisconnectReason::SignalClose),
            // The time for becoming active decides.
            CloseReason::IceTimeout | CloseReason::DtlsTimeout if !active => {
                self.ice.transport_failed(now, participant, &self.out.config);
            }
            CloseReason::IceTimeout
            | CloseReason::DtlsTimeout
            | CloseReason::DtlsFailed
            | CloseReason::Silence
            | CloseReason::KeysUsedUp
            | CloseReason::Panicked => self.request_reconnect(now, key),
        }
    }

    /// A shard has lost a track: it comes back when its publisher does.
    pub(crate) fn track_failed(&mut self, now: Instant, track: TrackId) {
        if let Some(publisher) = self.publications.tracks.get(&track).map(|track| track.publisher) {
            self.request_reconnect(now, publisher);
        }
    }

    /// A shard has lost all it had. What was relayed to it is forgotten at once: others may already be
    /// there again, and need it anew.
    pub(crate) fn shard_failed(&mut self, now: Instant, shard: ShardId) {
        for key in self.roster.keys() {
            if self.roster.get(key).is_some_and(|participant| participant.local.shard == shard) {
                self.unsubscribe_all(key);
                self.request_reconnect(now, key);
            }
        }
    }

    /// Has the client come back with a new session, for which its participant waits a while.
    pub(crate) fn request_reconnect(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        participant.local.deadlines.request_reconnect = None;
        if let Some(removal) = &mut participant.local.deadlines.remove {
            removal.resumable = false;
        } else if participant.local.session.is_some() {
            self.roster.wait_for(now, key, false);
            self.roster.send_final(
                &mut self.out,
                key,
                leave(Action::Reconnect, DisconnectReason::StateMismatch),
            );
        } else {
            self.remove(key, DisconnectReason::ConnectionTimeout);
        }
    }
}

/// A client's UDP seems dead, while it could use TCP: has it restart ICE, which finds what works. It comes back in less
/// time than its own ICE takes to give up, and is not waited for: if all of its network is gone, its transport fails in
/// its own time.
pub(crate) fn path_silent(now: Instant, peer: PeerId, room: &mut Room) {
    let Room { roster, ice, out, .. } = room;
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

impl Roster {
    /// The participant waits for its client to come back.
    fn wait_for(&mut self, now: Instant, key: ParticipantKey, resumable: bool) {
        let Some(participant) = self.get_mut(key) else { return };
        participant.local.deadlines.remove = Some(Removal { at: now + GRACE, resumable });
        self.deadlines.watch(key, now + GRACE);
    }
}
