//! What clients are told about participants, and when.
//!
//! * **Owns:** nothing: an [`Announcer`] borrows what it needs for a while. What each client was told stands with its
//!   participant, who waits in the [`Roster`].
//! * **In:** participants that changed; who comes back after an absence; who leaves.
//! * **Out:** `ParticipantUpdate`s; the event that one left.
//! * **Invariant:** nobody is told of a hidden participant but itself; nobody is told the same version
//!   twice on one session.
//! * **livekit-server:** `pkg/rtc/participant_signal.go`.

use std::time::Instant;

use hearth_signal::proto::{self, DisconnectReason, ParticipantInfo, signal_response::Message};
use prost::Message as _;
use proto::participant_info::State;

use crate::RoomEvent;
use crate::diagnosis;
use crate::outbox::Outbox;
use crate::participant::{Participant, ParticipantKey};
use crate::publications::Publications;
use crate::roster::Roster;
use crate::updates::as_left;

/// Longest list of participants in one message, in bytes; livekit-server:
/// `room.update_batch_target_size`.
const MAX_UPDATE: usize = 128 * 1024;
/// Up to this protocol, clients do not recognise a new session by its identity.
const LAST_WITHOUT_REPLACEMENT: i32 = 11;

/// Whoever tells clients about participants.
pub(crate) struct Announcer<'a> {
    pub(crate) roster: &'a mut Roster,
    /// Part of what is told.
    pub(crate) publications: &'a Publications,
    pub(crate) out: &'a mut Outbox,
}

impl Announcer<'_> {
    /// The participant changed in a way that others see: tells everybody who may know, itself
    /// included.
    pub(crate) fn changed(&mut self, key: ParticipantKey) {
        if let Some(participant) = self.roster.get_mut(key) {
            participant.record.version += 1;
        }
        self.announce(key);
    }

    /// The participant has its `JoinResponse`: tells the others.
    pub(crate) fn joined(&mut self, key: ParticipantKey) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        participant.state = State::Joined;
        participant.record.version += 1;
        let info = participant.info(self.publications);
        participant.local.sent_versions.note(key, &info);
        self.announce(key);
    }

    /// The participant is active by now: tells everybody, also outside.
    pub(crate) fn active(&mut self, key: ParticipantKey) {
        self.changed(key);
        if let Some(info) = self.info(key) {
            self.out.event(RoomEvent::ParticipantJoined { participant: Box::new(info) });
        }
    }

    /// Tells everybody about a participant what they do not know yet: it at once, the others a
    /// little later if much is being told.
    fn announce(&mut self, key: ParticipantKey) {
        let Some(info) = self.info(key) else { return };
        self.tell(key, key, &info);
        // What is said about tracks must not come before who publishes them.
        let publishes = !info.tracks.is_empty() || !info.data_tracks.is_empty();
        if publishes || !self.roster.update_throttle.defer(key) {
            self.announce_together([key]);
        }
    }

    /// Tells everybody about those who have waited long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let waited = self.roster.update_throttle.take_due(now);
        self.announce_together(waited);
    }

    /// Tells everybody about those of them who are not hidden, in one message each.
    fn announce_together(&mut self, about: impl IntoIterator<Item = ParticipantKey>) {
        let shown = |key| self.roster.get(key).filter(|participant| !participant.is_hidden());
        let sized = |participant: &Participant| {
            let info = participant.info(self.publications);
            (participant.key, info.encoded_len(), info)
        };
        let infos: Vec<_> = about.into_iter().filter_map(shown).map(sized).collect();
        if infos.is_empty() {
            return;
        }
        let recipients = self.roster.keys();
        self.roster.update_throttle.note_sent(recipients.len());
        for recipient in recipients {
            let Some(participant) = self.roster.get_mut(recipient) else { continue };
            if participant.local.session.is_none() {
                continue;
            }
            let sent = &mut participant.local.sent_versions;
            let news = infos.iter().filter(|(about, _, info)| sent.note(*about, info));
            let news: Vec<_> = news.map(|(_, len, info)| (*len, info.clone())).collect();
            self.send_updates(recipient, news);
        }
    }

    /// Sends infos, whose encoded lengths stand beside them, in as many messages as they need.
    fn send_updates(&mut self, to: ParticipantKey, infos: Vec<(usize, ParticipantInfo)>) {
        let (mut participants, mut size) = (Vec::new(), 0);
        for (len, info) in infos {
            if size + len > MAX_UPDATE && !participants.is_empty() {
                self.roster.send(self.out, to, update(std::mem::take(&mut participants)));
                size = 0;
            }
            size += len;
            participants.push(info);
        }
        if !participants.is_empty() {
            self.roster.send(self.out, to, update(participants));
        }
    }

    /// Tells one participant about another, unless it knows or may not know.
    fn tell(&mut self, recipient: ParticipantKey, about: ParticipantKey, info: &ParticipantInfo) {
        let hidden = info.permission.as_ref().is_some_and(|permission| permission.hidden);
        if hidden && recipient != about && info.state() != State::Disconnected {
            return;
        }
        let Some(participant) = self.roster.get_mut(recipient) else { return };
        if participant.local.session.is_some() && participant.local.sent_versions.note(about, info)
        {
            self.roster.send(self.out, recipient, update(vec![info.clone()]));
        }
    }

    /// Tells a subscriber whose track it is about to get, unless it knows or may not know. Returns the
    /// publisher's sid.
    pub(crate) fn introduce(
        &mut self,
        publisher: ParticipantKey,
        subscriber: ParticipantKey,
    ) -> Option<String> {
        let info = self.info(publisher)?;
        self.tell(subscriber, publisher, &info);
        Some(info.sid)
    }

    fn info(&self, key: ParticipantKey) -> Option<ParticipantInfo> {
        self.roster.get(key).map(|participant| participant.info(self.publications))
    }

    /// Those of them whom `viewer` may know, itself included, in the order of their keys.
    fn seen_by(
        &self,
        viewer: ParticipantKey,
        of: impl Fn(ParticipantKey) -> bool,
    ) -> Vec<(ParticipantKey, ParticipantInfo)> {
        let shown = self.roster.iter().filter(|p| p.key == viewer || !p.is_hidden());
        let shown = shown.filter(|p| of(p.key));
        shown.map(|p| (p.key, p.info(self.publications))).collect()
    }

    /// A newcomer itself, and everybody else whom it may know, for its `JoinResponse`, after which it knows them.
    pub(crate) fn first_infos(
        &mut self,
        key: ParticipantKey,
    ) -> Option<(ParticipantInfo, Vec<ParticipantInfo>)> {
        let others = self.seen_by(key, |other| other != key);
        let participant = self.roster.get_mut(key)?;
        let info = participant.info(self.publications);
        for (other, info) in &others {
            participant.local.sent_versions.note(*other, info);
        }
        participant.local.sent_versions.note(key, &info);
        Some((info, others.into_iter().map(|(_, info)| info).collect()))
    }

    /// Who left while there was no connection, and everybody who is here, whatever the client knew.
    /// What a connection that was already dead was told is not known to be missed.
    pub(crate) fn send_everything(&mut self, key: ParticipantKey) {
        let seen = self.seen_by(key, |_| true);
        let Some(participant) = self.roster.get_mut(key) else { return };
        let mut left = participant.local.sent_versions.take_missed();
        let is_seen =
            |key: ParticipantKey| seen.binary_search_by_key(&key, |(key, _)| *key).is_ok();
        let unseen = participant.local.sent_versions.take_unseen(is_seen);
        for (about, info) in &seen {
            participant.local.sent_versions.note(*about, info);
        }
        left.extend(unseen.into_iter().filter_map(|key| Some(as_left(&self.info(key)?))));
        let sized = |info: ParticipantInfo| (info.encoded_len(), info);
        self.send_updates(key, left.into_iter().map(sized).collect());
        self.send_updates(key, seen.into_iter().map(|(_, info)| sized(info)).collect());
    }

    /// The participant leaves: takes it out, and tells everybody else who knew of it.
    pub(crate) fn depart(
        &mut self,
        key: ParticipantKey,
        reason: DisconnectReason,
    ) -> Option<Box<Participant>> {
        if self.roster.update_throttle.forget(key) {
            // Who waits for news of a successor has forgotten its predecessor.
            self.announce_together([key]);
        }
        let mut info = self.info(key)?;
        let gone = self.roster.remove(key)?;
        diagnosis::settle(&gone, self.out);
        self.roster.deadlines.forget(key);
        info.set_state(State::Disconnected);
        info.set_disconnect_reason(reason);
        info.version = info.version.saturating_add(1);
        let replaced = reason == DisconnectReason::DuplicateIdentity;
        for recipient in self.roster.keys() {
            let Some(participant) = self.roster.get_mut(recipient) else { continue };
            if participant.local.session.is_none() {
                participant.local.sent_versions.miss(key, &info);
            } else if replaced && participant.local.client.protocol > LAST_WITHOUT_REPLACEMENT {
                participant.local.sent_versions.forget(key);
            } else {
                self.tell(recipient, key, &info);
            }
        }
        let participant = Box::new(info);
        self.out.event(if gone.is_active() {
            RoomEvent::ParticipantLeft { participant, reason }
        } else {
            RoomEvent::ConnectionAborted { participant, reason }
        });
        Some(gone)
    }
}

/// A `ParticipantUpdate`.
fn update(participants: Vec<ParticipantInfo>) -> Message {
    Message::Update(proto::ParticipantUpdate { participants })
}
