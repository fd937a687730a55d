//! What clients are told about participants, and when.
//!
//! * **Owns:** nothing beyond [`Roster`].
//! * **In:** participants that changed; who comes back after an absence; who leaves.
//! * **Out:** `ParticipantUpdate`s; the event that one left.
//! * **Invariant:** nobody is told of a hidden participant but itself; nobody is told the same version
//!   twice on one session.
//! * **livekit-server:** `pkg/rtc/participant_signal.go`.

use hearth_signal::proto::{self, DisconnectReason, signal_response::Message};
use prost::Message as _;
use proto::participant_info::State;

use crate::RoomEvent;
use crate::data_track::DataTracks;
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

/// What participants have published, which is part of what others are told about them.
#[derive(Clone, Copy)]
pub(crate) struct Published<'a> {
    pub(crate) tracks: &'a Publications,
    pub(crate) data_tracks: &'a DataTracks,
}

impl Roster {
    pub(crate) fn info(
        &self,
        key: ParticipantKey,
        published: Published<'_>,
    ) -> Option<proto::ParticipantInfo> {
        self.get(key).map(|participant| participant.info(published))
    }

    /// The participant changed in a way that others see: tells everybody who may know, itself
    /// included.
    pub(crate) fn changed(
        &mut self,
        key: ParticipantKey,
        published: Published<'_>,
        out: &mut Outbox,
    ) {
        if let Some(participant) = self.get_mut(key) {
            participant.record.version += 1;
        }
        self.announce(key, published, out);
    }

    /// The participant has its `JoinResponse`: tells the others.
    pub(crate) fn joined(
        &mut self,
        key: ParticipantKey,
        published: Published<'_>,
        out: &mut Outbox,
    ) {
        let Some(participant) = self.get_mut(key) else { return };
        participant.state = State::Joined;
        participant.record.version += 1;
        let info = participant.info(published);
        participant.local.sent_versions.note(key, &info);
        self.announce(key, published, out);
    }

    /// Tells everybody about a participant what they do not know yet: it at once, the others a
    /// little later if much is being told.
    fn announce(&mut self, key: ParticipantKey, published: Published<'_>, out: &mut Outbox) {
        let Some(info) = self.info(key, published) else { return };
        self.tell(key, key, &info, out);
        // What is said about tracks must not come before who publishes them.
        let publishes = !info.tracks.is_empty() || !info.data_tracks.is_empty();
        if publishes || !self.update_throttle.defer(key) {
            self.announce_together([key], published, out);
        }
    }

    /// Tells everybody about those of them who are not hidden, in one message each.
    pub(crate) fn announce_together(
        &mut self,
        about: impl IntoIterator<Item = ParticipantKey>,
        published: Published<'_>,
        out: &mut Outbox,
    ) {
        let shown = |key| self.get(key).filter(|participant| !participant.is_hidden());
        let sized = |participant: &Participant| {
            let info = participant.info(published);
            (participant.key, info.encoded_len(), info)
        };
        let infos: Vec<_> = about.into_iter().filter_map(shown).map(sized).collect();
        if infos.is_empty() {
            return;
        }
        let recipients = self.keys();
        self.update_throttle.note_sent(recipients.len());
        for recipient in recipients {
            let Some(participant) = self.get_mut(recipient) else { continue };
            if participant.local.session.is_none() {
                continue;
            }
            let sent = &mut participant.local.sent_versions;
            let news = infos.iter().filter(|(about, _, info)| sent.note(*about, info));
            let news: Vec<_> = news.map(|(_, len, info)| (*len, info.clone())).collect();
            self.send_updates(recipient, news, out);
        }
    }

    /// Sends infos, whose encoded lengths stand beside them, in as many messages as they need.
    fn send_updates(
        &self,
        to: ParticipantKey,
        infos: Vec<(usize, proto::ParticipantInfo)>,
        out: &mut Outbox,
    ) {
        let (mut participants, mut size) = (Vec::new(), 0);
        for (len, info) in infos {
            if size + len > MAX_UPDATE && !participants.is_empty() {
                self.send(out, to, update(std::mem::take(&mut participants)));
                size = 0;
            }
            size += len;
            participants.push(info);
        }
        if !participants.is_empty() {
            self.send(out, to, update(participants));
        }
    }

    /// Tells one participant about another, unless it knows or may not know.
    pub(crate) fn tell(
        &mut self,
        recipient: ParticipantKey,
        about: ParticipantKey,
        info: &proto::ParticipantInfo,
        out: &mut Outbox,
    ) {
        let hidden = info.permission.as_ref().is_some_and(|permission| permission.hidden);
        if hidden && recipient != about && info.state() != State::Disconnected {
            return;
        }
        let Some(participant) = self.get_mut(recipient) else { return };
        if participant.local.session.is_some() && participant.local.sent_versions.note(about, info)
        {
            self.send(out, recipient, update(vec![info.clone()]));
        }
    }

    /// Those of them whom `viewer` may know, itself included, in the order of their keys.
    fn seen_by(
        &self,
        viewer: ParticipantKey,
        of: impl Fn(ParticipantKey) -> bool,
        published: Published<'_>,
    ) -> Vec<(ParticipantKey, proto::ParticipantInfo)> {
        let shown = self.iter().filter(|p| p.key == viewer || !p.is_hidden());
        let shown = shown.filter(|p| of(p.key));
        shown.map(|p| (p.key, p.info(published))).collect()
    }

    /// Everybody else whom a newcomer may know, and itself, for its `JoinResponse`, after which it knows them.
    pub(crate) fn first_infos(
        &mut self,
        key: ParticipantKey,
        published: Published<'_>,
    ) -> Option<(proto::ParticipantInfo, Vec<proto::ParticipantInfo>)> {
        let others = self.seen_by(key, |other| other != key, published);
        let participant = self.get_mut(key)?;
        let info = participant.info(published);
        for (other, info) in &others {
            participant.local.sent_versions.note(*other, info);
        }
        participant.local.sent_versions.note(key, &info);
        Some((info, others.into_iter().map(|(_, info)| info).collect()))
    }

    /// Who left while there was no connection, and everybody who is here, whatever the client knew.
    /// What a connection that was already dead was told is not known to be missed.
    pub(crate) fn send_everything(
        &mut self,
        key: ParticipantKey,
        published: Published<'_>,
        out: &mut Outbox,
    ) {
        let seen = self.seen_by(key, |_| true, published);
        let Some(participant) = self.get_mut(key) else { return };
        let mut left = participant.local.sent_versions.take_missed();
        let is_seen =
            |key: ParticipantKey| seen.binary_search_by_key(&key, |(key, _)| *key).is_ok();
        let unseen = participant.local.sent_versions.take_unseen(is_seen);
        for (about, info) in &seen {
            participant.local.sent_versions.note(*about, info);
        }
        left.extend(
            unseen.into_iter().filter_map(|key| Some(as_left(&self.info(key, published)?))),
        );
        let sized = |info: proto::ParticipantInfo| (info.encoded_len(), info);
        self.send_updates(key, left.into_iter().map(sized).collect(), out);
        self.send_updates(key, seen.into_iter().map(|(_, info)| sized(info)).collect(), out);
    }

    /// The participant leaves: takes it out, and tells everybody else who knew of it.
    pub(crate) fn depart(
        &mut self,
        key: ParticipantKey,
        reason: DisconnectReason,
        published: Published<'_>,
        out: &mut Outbox,
    ) -> Option<Box<Participant>> {
        if self.update_throttle.forget(key) {
            // Who waits for news of a successor has forgotten its predecessor.
            self.announce_together([key], published, out);
        }
        let mut info = self.info(key, published)?;
        let gone = self.remove(key)?;
        self.deadlines.forget(key);
        info.set_state(State::Disconnected);
        info.set_disconnect_reason(reason);
        info.version = info.version.saturating_add(1);
        let replaced = reason == DisconnectReason::DuplicateIdentity;
        for recipient in self.keys() {
            let Some(participant) = self.get_mut(recipient) else { continue };
            if participant.local.session.is_none() {
                participant.local.sent_versions.miss(key, &info);
            } else if replaced && participant.local.client.protocol > LAST_WITHOUT_REPLACEMENT {
                participant.local.sent_versions.forget(key);
            } else {
                self.tell(recipient, key, &info, out);
            }
        }
        let participant = Box::new(info);
        out.event(if gone.is_active() {
            RoomEvent::ParticipantLeft { participant, reason }
        } else {
            RoomEvent::ConnectionAborted { participant, reason }
        });
        Some(gone)
    }
}

/// A `ParticipantUpdate`.
fn update(participants: Vec<proto::ParticipantInfo>) -> Message {
    Message::Update(proto::ParticipantUpdate { participants })
}
