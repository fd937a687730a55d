//! The participants of a room, the ways to find one, and what is sent to them.
//!
//! * **Owns:** all participants, who has which identity, sid, session and transport, how many count; their deadlines,
//!   and whose announcements wait ([`UpdateThrottle`]).
//! * **In:** participants, sessions, transports; messages to one.
//! * **Out:** participants; messages on their sessions.
//! * **Invariant:** an identity, a sid, a session or a transport finds at most one participant, and
//!   only one that is here.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_metrics::bug;
use hearth_plane::{Command, PeerId};
use hearth_signal::proto::{
    self, ParticipantPermission, request_response, signal_response::Message,
};

use crate::SessionId;
use crate::compatibility::Compatibility;
use crate::deadline_queue::DeadlineQueue;
use crate::outbox::Outbox;
use crate::participant::{Participant, ParticipantKey};
use crate::session::REFRESH;
use crate::update_throttle::UpdateThrottle;

/// See the module.
pub(crate) struct Roster {
    /// In boxes, as keys that only grow leave the nodes half empty.
    all: BTreeMap<ParticipantKey, Box<Participant>>,
    identities: BTreeMap<String, ParticipantKey>,
    sids: BTreeMap<String, ParticipantKey>,
    sessions: BTreeMap<SessionId, ParticipantKey>,
    peers: BTreeMap<PeerId, ParticipantKey>,
    /// Neither agents nor recorders.
    independent: usize,
    recorders: usize,
    next: u32,
    /// When something is due for a participant.
    pub(crate) deadlines: DeadlineQueue<ParticipantKey>,
    pub(crate) update_throttle: UpdateThrottle,
}

impl Roster {
    /// A roster without participants.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            all: BTreeMap::new(),
            identities: BTreeMap::new(),
            sids: BTreeMap::new(),
            sessions: BTreeMap::new(),
            peers: BTreeMap::new(),
            independent: 0,
            recorders: 0,
            next: 0,
            deadlines: DeadlineQueue::default(),
            update_throttle: UpdateThrottle::new(now),
        }
    }

    /// A name for the next participant.
    pub(crate) fn next_key(&mut self) -> ParticipantKey {
        self.next = self.next.wrapping_add(1);
        ParticipantKey(self.next)
    }

    pub(crate) fn insert(&mut self, participant: Participant) {
        let key = participant.key;
        self.count(&participant);
        self.identities.insert(participant.record.identity.clone(), key);
        self.sids.insert(participant.record.sid.clone(), key);
        if let Some(session) = participant.local.session {
            self.sessions.insert(session, key);
        }
        for peer in participant.local.transports.peers() {
            self.peers.insert(peer, key);
        }
        self.all.insert(key, Box::new(participant));
    }

    pub(crate) fn remove(&mut self, key: ParticipantKey) -> Option<Box<Participant>> {
        let gone = self.all.remove(&key)?;
        let one = |counts| usize::from(counts);
        self.independent = self.independent.saturating_sub(one(!gone.is_service()));
        self.recorders = self.recorders.saturating_sub(one(gone.is_recorder()));
        self.identities.remove(&gone.record.identity);
        self.sids.remove(&gone.record.sid);
        if let Some(session) = gone.local.session {
            self.sessions.remove(&session);
        }
        for peer in gone.local.transports.peers() {
            self.peers.remove(&peer);
        }
        Some(gone)
    }

    fn count(&mut self, participant: &Participant) {
        self.independent += usize::from(!participant.is_service());
        self.recorders += usize::from(participant.is_recorder());
    }

    /// Replaces what a participant may do; true if that is another permission.
    pub(crate) fn set_permission(
        &mut self,
        key: ParticipantKey,
        permission: ParticipantPermission,
    ) -> bool {
        let is_new = |participant: &Participant| participant.record.permission != permission;
        if !self.get(key).is_some_and(is_new) {
            return false;
        }
        if let Some(mut participant) = self.remove(key) {
            participant.is_publisher &= permission.can_publish;
            participant.record.permission = permission;
            self.insert(*participant);
        }
        true
    }

    /// A participant with two connections may subscribe, and could not when it joined.
    pub(crate) fn add_missing_subscriber(&mut self, key: ParticipantKey, out: &mut Outbox) {
        let peer = out.next_peer();
        let Some(participant) = self.get_mut(key) else { return };
        let shard = participant.local.shard;
        let transports = &mut participant.local.transports;
        if participant.record.permission.can_subscribe && transports.downstream().is_none() {
            transports.add_subscriber(peer, shard, &mut out.random);
            // It was made later than its participant.
            self.peers.insert(peer, key);
        }
    }

    /// How many there are, without agents and recorders.
    pub(crate) fn independent(&self) -> usize {
        self.independent
    }

    /// Somebody records the room.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorders > 0
    }

    /// Gives the participant another session, or none; returns the former one.
    pub(crate) fn set_session(
        &mut self,
        key: ParticipantKey,
        session: Option<SessionId>,
    ) -> Option<SessionId> {
        let participant = self.all.get_mut(&key)?;
        let former = std::mem::replace(&mut participant.local.session, session);
        if let Some(former) = former {
            self.sessions.remove(&former);
        }
        if let Some(session) = session {
            self.sessions.insert(session, key);
        }
        former
    }

    pub(crate) fn get(&self, key: ParticipantKey) -> Option<&Participant> {
        self.all.get(&key).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, key: ParticipantKey) -> Option<&mut Participant> {
        self.all.get_mut(&key).map(Box::as_mut)
    }

    /// Whom one of the indices names.
    fn present(&self, key: Option<&ParticipantKey>) -> Option<ParticipantKey> {
        let key = *key?;
        if !self.all.contains_key(&key) {
            bug!("an index of the roster names {key:?}, who is not here");
            return None;
        }
        Some(key)
    }

    pub(crate) fn by_identity(&self, identity: &str) -> Option<ParticipantKey> {
        self.present(self.identities.get(identity))
    }

    pub(crate) fn by_sid(&self, sid: &str) -> Option<ParticipantKey> {
        self.present(self.sids.get(sid))
    }

    pub(crate) fn by_session(&self, session: SessionId) -> Option<ParticipantKey> {
        self.present(self.sessions.get(&session))
    }

    pub(crate) fn by_peer(&self, peer: PeerId) -> Option<ParticipantKey> {
        self.present(self.peers.get(&peer))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn keys(&self) -> Vec<ParticipantKey> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.all.values().map(Box::as_ref)
    }

    /// Sends to a participant, if it has a session.
    pub(crate) fn send(&self, out: &mut Outbox, key: ParticipantKey, message: Message) {
        let Some(participant) = self.get(key) else { return };
        let Some(session) = participant.local.session else { return };
        if let Some(message) = Compatibility(&participant.local.client).adapt(message) {
            out.send(session, message);
        }
    }

    /// Has the shard of a participant do something.
    pub(crate) fn command(&self, out: &mut Outbox, key: ParticipantKey, command: Command) {
        if let Some(participant) = self.get(key) {
            out.command(participant.local.shard, command);
        }
    }

    /// Sends the client its last message; the participant stays.
    pub(crate) fn send_final(&mut self, out: &mut Outbox, key: ParticipantKey, message: Message) {
        if let Some(session) = self.set_session(key, None) {
            out.send(session, message);
            out.close_session(session);
        }
    }

    /// Tells a client that its request is refused.
    pub(crate) fn refuse(
        &self,
        out: &mut Outbox,
        key: ParticipantKey,
        reason: request_response::Reason,
        message: &str,
        request: request_response::Request,
    ) {
        let response = proto::RequestResponse {
            request_id: 0,
            reason: reason.into(),
            message: message.to_owned(),
            request: Some(request),
        };
        self.respond(out, key, response);
    }

    /// Says whether and why not a client's request was met.
    pub(crate) fn respond(
        &self,
        out: &mut Outbox,
        key: ParticipantKey,
        response: proto::RequestResponse,
    ) {
        self.send(out, key, Message::RequestResponse(response));
    }

    /// A participant's deadlines changed.
    pub(crate) fn watch_deadlines(&mut self, key: ParticipantKey) {
        if let Some(at) = self.get(key).and_then(|participant| participant.deadlines().min()) {
            self.deadlines.watch(key, at);
        }
    }

    /// Sends a token with what the participant may do by now.
    pub(crate) fn refresh_token(&mut self, now: Instant, key: ParticipantKey, out: &mut Outbox) {
        let Some(participant) = self.get_mut(key) else { return };
        participant.local.deadlines.refresh = now + REFRESH;
        let claims = participant.current_claims();
        self.deadlines.watch(key, now + REFRESH);
        if let Ok(token) = out.config.keys.refresh(&claims, out.unix(now)) {
            self.send(out, key, Message::RefreshToken(token));
        }
    }

    /// A track is gone for good: nobody has settings for it any more.
    pub(crate) fn forget_settings(&mut self, sid: &str) {
        for participant in self.all.values_mut() {
            participant.local.subscription_settings.forget(sid);
        }
    }

    /// Whether the publisher allows the subscription; the subscriber is told when that is new.
    pub(crate) fn check_allowed(
        &mut self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
        sid: &str,
        out: &mut Outbox,
    ) -> bool {
        let Some(publisher) = self.get(publisher) else { return false };
        let Some(participant) = self.get(subscriber) else { return false };
        let allowed = participant.is_recorder()
            || publisher.local.publishing.rules.allow(&participant.record.identity, sid);
        let publisher_sid = publisher.record.sid.clone();
        let Some(participant) = self.get_mut(subscriber) else { return false };
        if participant.local.subscription_settings.note_allowed(sid, allowed) {
            let message = proto::SubscriptionPermissionUpdate {
                participant_sid: publisher_sid,
                track_sid: sid.to_owned(),
                allowed,
            };
            self.send(out, subscriber, Message::SubscriptionPermissionUpdate(message));
        }
        allowed
    }
}
