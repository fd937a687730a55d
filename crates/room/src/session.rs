//! Joining and resuming.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** [`Join`]s, connected transports.
//! * **Out:** `JoinResponse`, `ReconnectResponse`; participants that come and come back.
//! * **Invariant:** the first message of a session is join, reconnect or leave; an identity is in
//!   the room at most once.
//! * **Not here:** sessions and transports that are lost, and leaving ([`disconnection`](crate::disconnection)).
//! * **livekit-server:** `pkg/service/roommanager.go` (`StartSession`), `pkg/rtc/room.go`.

use std::time::{Duration, Instant};

use hearth_plane::PeerId;
use hearth_signal::JoinParams;
use hearth_signal::proto::participant_info::State;
use hearth_signal::proto::{DisconnectReason, leave_request::Action};

use crate::admission::send_reconnect;
use crate::announcements::Announcer;
use crate::data;
use crate::diagnosis;
use crate::disconnection::leave;
use crate::ice_preference::{IcePreferences, says_failed};
use crate::outbox::Outbox;
use crate::participant::{Participant, ParticipantKey, is_service, kind_of, permission_of};
use crate::roster::Roster;
use crate::{Join, JoinError, Room};

/// Between two refreshed tokens.
pub(crate) const REFRESH: Duration = Duration::from_secs(300);

impl Room {
    pub(crate) fn join(&mut self, now: Instant, join: Join) -> Result<(), JoinError> {
        if join.request.reconnect {
            self.resume(now, &join);
            return Ok(());
        }
        let max = self.out.config.max_participants;
        if let Some(former) = self.roster.former(&join, max)? {
            self.disconnect(former, DisconnectReason::DuplicateIdentity);
        }
        let Self { roster, tracks, ice, out, record, .. } = self;
        let key = roster.admit(now, &join, ice.preferred(now, join.admitted.identity()), out);
        let publications = &tracks.publications;
        let mut announcer = Announcer { roster, publications, out };
        announcer.send_join((now, join.session), key, record);
        announcer.joined(key);
        self.roster.refresh_token(now, key, &mut self.out);
        self.start(now, key, join.request);
        Ok(())
    }

    /// What follows the `JoinResponse`: tracks and offers.
    fn start(&mut self, now: Instant, key: ParticipantKey, request: JoinParams) {
        let Self { roster, tracks, out, .. } = self;
        for add in request.add_tracks.into_iter().take(crate::publication::MAX_PENDING) {
            tracks.add_track(now, key, add, roster, out);
        }
        // Before the first description, so that it can already carry the tracks that are here.
        tracks.subscribe_to_all(key, roster, out);
        if let Some(offer) = request.publisher_offer {
            self.offer(now, key, &offer);
        }
        let Self { roster, tracks, out, .. } = self;
        tracks.negotiator.offer_subscriber(now, key, roster, out);
    }

    /// A client comes back to the session it believes to have.
    fn resume(&mut self, now: Instant, join: &Join) {
        let Self { roster, tracks, ice, out, record, .. } = self;
        let Some(Resumed { key, is_dropped }) = roster.resume(now, join, ice, out) else { return };
        let publications = &tracks.publications;
        Announcer { roster, publications, out }.send_everything(key);
        record.send(key, roster, out);
        roster.refresh_token(now, key, out);
        tracks.handle_resume(now, key, roster, out);
        if is_dropped {
            roster.set_session(key, None);
            out.close_session(join.session);
        }
    }

    pub(crate) fn peer_connected(&mut self, now: Instant, peer: PeerId) {
        let Self { roster, tracks, ice, out, .. } = self;
        if let Some(key) = roster.by_peer(peer) {
            ice.handle_connected(now, key);
            diagnosis::take_back(key, roster, out);
        }
        let Some(key) = roster.peer_connected(peer) else { return };
        Announcer { roster, publications: &tracks.publications, out }.active(key);
        tracks.subscribe_to_all(key, roster, out);
        data::flush(key, roster, out);
    }
}

/// A client that came back.
struct Resumed {
    key: ParticipantKey,
    /// Its connection is to be closed when it was told everything, for a test.
    is_dropped: bool,
}

impl Roster {
    /// Whom a newcomer replaces.
    ///
    /// # Errors
    ///
    /// [`JoinError::RoomFull`] if it may not come in. `max` 0: no limit.
    fn former(&self, join: &Join, max: u32) -> Result<Option<ParticipantKey>, JoinError> {
        let former = self.by_identity(join.admitted.identity());
        let claims = join.admitted.claims();
        let is_service = is_service(kind_of(&claims.kind), &permission_of(&claims.video));
        if !is_service && self.is_full(max, former) {
            return Err(JoinError::RoomFull);
        }
        Ok(former)
    }

    /// Gives the client its participant back; `None` if there is none to come back to, of which it is told.
    fn resume(
        &mut self,
        now: Instant,
        join: &Join,
        ice: &mut IcePreferences,
        out: &mut Outbox,
    ) -> Option<Resumed> {
        let session = join.session;
        let Some(key) = self.resumable(join) else {
            out.send(session, leave(Action::Reconnect, DisconnectReason::StateMismatch));
            out.close_session(session);
            return None;
        };
        let dropped = self.take_dropped_resume(now, key);
        let unanswered = dropped.is_some_and(|dropped| dropped.unanswered);
        let current = Some(session).filter(|_| !unanswered);
        if let Some(former) = self.set_session(key, current) {
            out.close_session(former);
        }
        if unanswered {
            out.close_session(session);
            return None;
        }
        if let Some(participant) = self.get_mut(key) {
            participant.local.deadlines.remove = None;
            if says_failed(join.request.reconnect_reason) {
                ice.transport_failed(now, participant, &out.config);
            }
            let preference = ice.preferred(now, &participant.record.identity);
            participant.local.transports.preference = preference;
            send_reconnect(now, session, participant, out);
        }
        Some(Resumed { key, is_dropped: dropped.is_some() })
    }

    /// The participant that a client believes to be, if it can go on.
    fn resumable(&self, join: &Join) -> Option<ParticipantKey> {
        let participant = self.get(self.by_identity(join.admitted.identity())?)?;
        participant.can_resume(&join.request).then_some(participant.key)
    }

    /// A transport connected; returns its participant if that is active by this.
    fn peer_connected(&mut self, peer: PeerId) -> Option<ParticipantKey> {
        let key = self.by_peer(peer)?;
        let participant = self.get_mut(key)?;
        if !participant.handle_connected(peer) {
            return None;
        }
        self.watch_deadlines(key);
        Some(key)
    }
}

impl Participant {
    /// Whether it is what a client believes to be, and can go on as that.
    fn can_resume(&self, request: &JoinParams) -> bool {
        let (sid, transports) = (&request.participant_sid, &self.local.transports);
        (sid.is_empty() || *sid == self.record.sid)
            && transports.single == request.single_pc
            && self.local.deadlines.remove.is_none_or(|removal| removal.resumable)
            && !transports.any_closed()
    }

    /// A transport of it connected; true if it is active by this.
    fn handle_connected(&mut self, peer: PeerId) -> bool {
        if let Some(link) = self.local.transports.by_peer_mut(peer) {
            link.connected = true;
        }
        if !self.local.transports.is_primary(peer) || self.is_active() {
            return false;
        }
        self.state = State::Active;
        self.local.deadlines.active = None;
        true
    }
}
