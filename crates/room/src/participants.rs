//! The participants of a room, and the ways to find one.
//!
//! * **Owns:** all participants, who has which identity, sid, session and transport, and how many count.
//! * **In:** participants, sessions, transports.
//! * **Out:** participants.
//! * **Invariant:** an identity, a sid, a session or a transport finds at most one participant, and
//!   only one that is here.

use std::collections::BTreeMap;

use hearth_plane::PeerId;
use hearth_signal::proto::ParticipantPermission;

use crate::SessionId;
use crate::participant::{Participant, ParticipantKey};

/// See the module.
#[derive(Default)]
pub(crate) struct Participants {
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
}

impl Participants {
    /// A name for the next participant.
    pub(crate) fn next_key(&mut self) -> ParticipantKey {
        self.next = self.next.wrapping_add(1);
        ParticipantKey(self.next)
    }

    pub(crate) fn insert(&mut self, participant: Participant) {
        let key = participant.key;
        self.count(&participant);
        self.identities.insert(participant.identity.clone(), key);
        self.sids.insert(participant.sid.clone(), key);
        if let Some(session) = participant.session {
            self.sessions.insert(session, key);
        }
        for peer in participant.transports.peers() {
            self.peers.insert(peer, key);
        }
        self.all.insert(key, Box::new(participant));
    }

    pub(crate) fn remove(&mut self, key: ParticipantKey) -> Option<Box<Participant>> {
        let gone = self.all.remove(&key)?;
        let one = |counts| usize::from(counts);
        self.independent = self.independent.saturating_sub(one(!gone.is_service()));
        self.recorders = self.recorders.saturating_sub(one(gone.is_recorder()));
        self.identities.remove(&gone.identity);
        self.sids.remove(&gone.sid);
        if let Some(session) = gone.session {
            self.sessions.remove(&session);
        }
        for peer in gone.transports.peers() {
            self.peers.remove(&peer);
        }
        Some(gone)
    }

    fn count(&mut self, participant: &Participant) {
        self.independent += usize::from(!participant.is_service());
        self.recorders += usize::from(participant.is_recorder());
    }

    /// Replaces what a participant may do.
    pub(crate) fn set_permission(
        &mut self,
        key: ParticipantKey,
        permission: ParticipantPermission,
    ) {
        if let Some(mut participant) = self.remove(key) {
            participant.permission = permission;
            self.insert(*participant);
        }
    }

    /// A transport was made later than its participant.
    pub(crate) fn add_peer(&mut self, key: ParticipantKey, peer: PeerId) {
        self.peers.insert(peer, key);
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
        let former = std::mem::replace(&mut participant.session, session);
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

    pub(crate) fn by_identity(&self, identity: &str) -> Option<ParticipantKey> {
        self.identities.get(identity).copied()
    }

    pub(crate) fn by_sid(&self, sid: &str) -> Option<ParticipantKey> {
        self.sids.get(sid).copied()
    }

    pub(crate) fn by_session(&self, session: SessionId) -> Option<ParticipantKey> {
        self.sessions.get(&session).copied()
    }

    pub(crate) fn by_peer(&self, peer: PeerId) -> Option<ParticipantKey> {
        self.peers.get(&peer).copied()
    }

    pub(crate) fn keys(&self) -> Vec<ParticipantKey> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Participant> {
        self.all.values().map(Box::as_ref)
    }
}
