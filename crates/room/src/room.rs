//! One room: composes its parts and routes between them.
//!
//! * **Owns:** everything of one room. The parts that need several of its fields are further
//!   `impl Room` blocks: [`session`](crate::session), [`negotiation`](crate::negotiation),
//!   [`publish`](crate::publish), [`subscribe`](crate::subscribe), [`requests`](crate::requests).
//! * **In:** joins, signal messages, closed sessions, events, calls, time.
//! * **Out:** [`Output`].
//! * **Invariant:** after every input, whoever's description changed is negotiated with; after
//!   [`Output::Closed`] nothing happens any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_plane::{Event, RoomId, ShardId, TrackId};
use hearth_random::Seed;
use hearth_signal::proto::{self, signal_response::Message};
use hearth_signal::{room_sid, short_id};
use prost::Message as _;
use proto::participant_info::State;

use crate::compatibility::Compatibility;
use crate::data_track::DataTracks;
use crate::deadline_queue::DeadlineQueue;
use crate::dynacast::{Demand, Dynacast};
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::participants::Participants;
use crate::publication::Publication;
use crate::quality::Quality;
use crate::relays::Relays;
use crate::session::leave;
use crate::speakers::Speakers;
use crate::subscription::Subscriptions;
use crate::update_throttle::UpdateThrottle;
use crate::{Call, CallError, Join, JoinError, Output, Reply, RoomConfig, SessionId};

/// Of `Room.turn_password`, in characters, as long as livekit-server's. No client of today reads it.
const TURN_PASSWORD_LEN: usize = 43;
/// Longest list of participants in one message, in bytes; livekit-server:
/// `room.update_batch_target_size`.
const MAX_UPDATE: usize = 128 * 1024;
/// How often connection qualities are told, and changed counts of participants.
const TICK: Duration = Duration::from_secs(5);

/// One room.
pub struct Room {
    pub(crate) out: Outbox,
    pub(crate) record: RoomInfo,
    pub(crate) participants: Participants,
    pub(crate) tracks: BTreeMap<TrackId, Publication>,
    pub(crate) track_sids: BTreeMap<String, TrackId>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) relays: Relays,
    pub(crate) data_tracks: DataTracks,
    pub(crate) speakers: Speakers,
    pub(crate) quality: Quality,
    pub(crate) dynacast: Dynacast,
    /// Participants whose description changed during this input.
    pub(crate) dirty: BTreeSet<ParticipantKey>,
    pub(crate) timers: Timers,
    /// Deadlines of participants.
    pub(crate) deadlines: DeadlineQueue<ParticipantKey>,
    pub(crate) update_throttle: UpdateThrottle,
}

/// What is told about the room.
pub(crate) struct RoomInfo {
    pub(crate) sid: String,
    pub(crate) name: String,
    pub(crate) metadata: String,
    pub(crate) sif_trailer: String,
    turn_password: String,
    /// Of the track that changed last.
    track_version: proto::TimedVersion,
    /// The counts that were last told.
    last_sent_counts: (u32, u32),
    /// Whether the room was last said to be recorded.
    told_recording: bool,
}

pub(crate) struct Timers {
    /// The room ends unless somebody joins.
    pub(crate) end: Option<Instant>,
    tick: Option<Instant>,
    over: bool,
}

impl Room {
    /// A room nobody has joined yet. No other room may have the same `seed`.
    pub fn new(
        now: Instant,
        unix_ms: u64,
        id: RoomId,
        name: String,
        config: Arc<RoomConfig>,
        seed: &Seed,
    ) -> Self {
        let mut out = Outbox::new(now, unix_ms, id, config, seed);
        let record = RoomInfo {
            sid: room_sid(&mut out.random.sids),
            name,
            metadata: out.config.metadata.clone(),
            sif_trailer: (0..4).map(|_| short_id(&mut out.random.sids, "")).collect(),
            turn_password: out.random.ice.ice_chars(TURN_PASSWORD_LEN),
            track_version: proto::TimedVersion::default(),
            last_sent_counts: (0, 0),
            told_recording: false,
        };
        let end = Some(now + out.config.empty_timeout);
        let dynacast = Dynacast::new(out.config.dynacast_pause_delay);
        Self {
            out,
            record,
            participants: Participants::default(),
            tracks: BTreeMap::new(),
            track_sids: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            relays: Relays::default(),
            data_tracks: DataTracks::default(),
            speakers: Speakers::default(),
            quality: Quality::default(),
            dynacast,
            dirty: BTreeSet::new(),
            timers: Timers { end, tick: None, over: false },
            deadlines: DeadlineQueue::default(),
            update_throttle: UpdateThrottle::new(now),
        }
    }

    /// A client wants in, or resumes. The first message to it is the first
    /// [`Output::Signal`] for its session.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if it is not let in; then nothing changed.
    pub fn handle_join(&mut self, now: Instant, join: Join) -> Result<(), JoinError> {
        if self.timers.over {
            return Err(JoinError::Unavailable);
        }
        self.join(now, join)?;
        self.timers.tick.get_or_insert(now + TICK);
        self.settle(now);
        Ok(())
    }

    /// A client sent a message.
    pub fn handle_signal(
        &mut self,
        now: Instant,
        session: SessionId,
        request: proto::SignalRequest,
    ) {
        let key = self.participants.by_session(session);
        if let (Some(key), Some(message)) = (key, request.message) {
            self.request(now, key, message);
            self.settle(now);
        }
    }

    /// A client's connection is gone.
    pub fn handle_session_closed(&mut self, now: Instant, session: SessionId) {
        if let Some(key) = self.participants.by_session(session) {
            self.session_lost(now, key);
            self.settle(now);
        }
    }

    /// A shard reports.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::PeerConnected { peer } => self.peer_connected(now, peer),
            Event::IceFailed { peer } => self.ice_failed(now, peer),
            Event::PeerClosed { peer, reason } => self.peer_closed(now, peer, reason),
            Event::ChannelOpen { peer, channel } => self.channel_open(peer, channel),
            Event::Data { peer, channel, payload } => self.data(peer, channel, payload),
            Event::EncodingStarted { track, encoding, ssrc, .. } => {
                self.encoding_started(track, encoding, ssrc);
            }
            Event::TrackFailed { track } => self.track_failed(now, track),
            Event::ShardFailed { shard } => self.shard_failed(now, shard),
            Event::Levels { levels } => self.levels(&levels),
            Event::Report(mut report) => {
                for track in &mut report.up {
                    // Who sends nothing because nobody watches is well connected.
                    track.idle |=
                        track.expected == 0 && self.dynacast.told(track.id) == Some(Demand::Off);
                }
                let (tracks, subscriptions) = (&self.tracks, &self.subscriptions);
                let knows_up = |id| tracks.contains_key(&id);
                let knows_down = |id| subscriptions.get(id).is_some();
                self.quality.handle_report(&report, knows_up, knows_down);
            }
        }
        self.settle(now);
    }

    /// RoomService asks.
    ///
    /// # Errors
    ///
    /// [`CallError`] if it cannot be met; then nothing changed.
    pub fn handle_call(&mut self, now: Instant, call: Call) -> Result<Reply, CallError> {
        if self.timers.over {
            return Err(CallError::RoomNotFound);
        }
        let reply = self.call(now, call);
        self.settle(now);
        reply
    }

    /// The server stops: everybody is told so.
    pub fn handle_shutdown(&mut self, now: Instant) {
        if !self.timers.over {
            self.close(now, proto::DisconnectReason::ServerShutdown);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.over {
            return;
        }
        for key in self.deadlines.take_due(now) {
            self.participant_timeout(now, key);
            let deadlines = self.participants.get(key).and_then(|p| p.deadlines().min());
            if let Some(at) = deadlines {
                self.deadlines.watch(key, at);
            }
        }
        self.dynacast.handle_timeout(now);
        let waiting = self.update_throttle.take_due(now);
        self.announce_together(waiting);
        if self.timers.tick.is_some_and(|at| at <= now) {
            self.timers.tick = Some(now + TICK);
            self.send_quality();
            self.send_counts(now);
        }
        if self.timers.end.is_some_and(|at| at <= now) {
            self.close(now, proto::DisconnectReason::RoomClosed);
        }
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.timers.over {
            return None;
        }
        let parts = [
            self.deadlines.poll_timeout(),
            self.update_throttle.poll_timeout(),
            self.dynacast.poll_timeout(),
        ];
        let own = [self.timers.end, self.timers.tick].into_iter().chain(parts);
        own.flatten().min()
    }

    /// The shard of each transport that exists, for whoever places newcomers.
    pub fn transports(&self) -> impl Iterator<Item = ShardId> {
        self.participants.iter().flat_map(|participant| {
            let added = participant.transports.links().filter(|link| link.is_added());
            added.map(|_| participant.shard)
        })
    }

    /// The next thing to be done; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.poll()
    }

    /// A version for a track that changes now: higher than any before.
    pub(crate) fn next_track_version(&mut self, now: Instant) -> proto::TimedVersion {
        let unix_micro = self.out.unix_ms(now).saturating_mul(1_000);
        let last = &mut self.record.track_version;
        *last = if unix_micro > last.unix_micro {
            proto::TimedVersion { unix_micro, ticks: 0 }
        } else {
            proto::TimedVersion { ticks: last.ticks.saturating_add(1), ..*last }
        };
        *last
    }

    /// Sends to a participant, if it has a session.
    pub(crate) fn send(&mut self, key: ParticipantKey, message: Message) {
        let Some(participant) = self.participants.get(key) else { return };
        let Some(session) = participant.session else { return };
        if let Some(message) = Compatibility(&participant.client).adapt(message) {
            self.out.send(session, message);
        }
    }

    pub(crate) fn info(&self, key: ParticipantKey) -> Option<proto::ParticipantInfo> {
        self.participants.get(key).map(|p| p.info(&self.tracks, &self.data_tracks))
    }

    /// The participant changed in a way that others see: tells everybody who may know, itself
    /// included.
    pub(crate) fn changed(&mut self, key: ParticipantKey) {
        if let Some(participant) = self.participants.get_mut(key) {
            participant.version += 1;
        }
        self.announce(key);
    }

    /// Tells everybody about a participant what they do not know yet: it at once, the others a
    /// little later if much is being told.
    pub(crate) fn announce(&mut self, key: ParticipantKey) {
        let Some(info) = self.info(key) else { return };
        self.tell(key, key, &info);
        // What is said about tracks must not come before who publishes them.
        let publishes = !info.tracks.is_empty() || !info.data_tracks.is_empty();
        if publishes || !self.update_throttle.defer(key) {
            self.announce_together([key]);
        }
    }

    /// Tells everybody about those of them who are not hidden, in one message each.
    pub(crate) fn announce_together(&mut self, about: impl IntoIterator<Item = ParticipantKey>) {
        let shown =
            |key: &ParticipantKey| self.participants.get(*key).is_some_and(|p| !p.is_hidden());
        let about = about.into_iter().filter(shown);
        let sized = |info: proto::ParticipantInfo| (info.encoded_len(), info);
        let infos: Vec<_> = about.filter_map(|key| Some((key, sized(self.info(key)?)))).collect();
        if infos.is_empty() {
            return;
        }
        let recipients = self.participants.keys();
        self.update_throttle.note_sent(recipients.len());
        for recipient in recipients {
            let Some(participant) = self.participants.get_mut(recipient) else { continue };
            if participant.session.is_none() {
                continue;
            }
            let told = &mut participant.sent_versions;
            let news = infos.iter().filter(|(about, (_, info))| told.note(*about, info));
            let news: Vec<_> = news.map(|(_, sized)| sized.clone()).collect();
            self.send_updates(recipient, news);
        }
    }

    /// Sends infos, whose encoded lengths stand beside them, in as many messages as they need.
    fn send_updates(&mut self, to: ParticipantKey, infos: Vec<(usize, proto::ParticipantInfo)>) {
        let (mut participants, mut size) = (Vec::new(), 0);
        for (len, info) in infos {
            if size + len > MAX_UPDATE && !participants.is_empty() {
                self.send(to, update(std::mem::take(&mut participants)));
                size = 0;
            }
            size += len;
            participants.push(info);
        }
        if !participants.is_empty() {
            self.send(to, update(participants));
        }
    }

    /// Sends infos, in as many messages as they need.
    pub(crate) fn send_infos(&mut self, to: ParticipantKey, infos: Vec<proto::ParticipantInfo>) {
        let sized = infos.into_iter().map(|info| (info.encoded_len(), info)).collect();
        self.send_updates(to, sized);
    }

    /// Tells one participant about another, unless it knows or may not know.
    pub(crate) fn tell(
        &mut self,
        recipient: ParticipantKey,
        about: ParticipantKey,
        info: &proto::ParticipantInfo,
    ) {
        let hidden = info.permission.as_ref().is_some_and(|permission| permission.hidden);
        if hidden && recipient != about && info.state() != State::Disconnected {
            return;
        }
        let Some(participant) = self.participants.get_mut(recipient) else { return };
        if participant.session.is_some() && participant.sent_versions.note(about, info) {
            self.send(recipient, update(vec![info.clone()]));
        }
    }

    pub(crate) fn room_info(&self) -> proto::Room {
        let (num_participants, num_publishers) = self.counts();
        let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
        proto::Room {
            sid: self.record.sid.clone(),
            name: self.record.name.clone(),
            empty_timeout: seconds(self.out.config.empty_timeout),
            departure_timeout: seconds(self.out.config.departure_timeout),
            max_participants: self.out.config.max_participants,
            creation_time: self.out.created_ms() / 1_000,
            creation_time_ms: self.out.created_ms(),
            enabled_codecs: self.out.config.room_codecs(),
            metadata: self.record.metadata.clone(),
            num_participants,
            num_publishers,
            active_recording: self.participants.is_recorded(),
            turn_password: self.record.turn_password.clone(),
            ..proto::Room::default()
        }
    }

    pub(crate) fn send_room(&mut self) {
        self.record.last_sent_counts = self.counts();
        self.record.told_recording = self.participants.is_recorded();
        let room = self.room_info();
        for key in self.participants.keys() {
            let room = Some(room.clone());
            self.send(key, Message::RoomUpdate(proto::RoomUpdate { room }));
        }
    }

    fn send_counts(&mut self, now: Instant) {
        if self.participants.keys().is_empty() {
            self.timers.tick = None;
        } else if self.record.last_sent_counts != self.counts() {
            tracing::debug!(?now, "Counts changed");
            self.send_room();
        }
    }

    /// Participants without agents and recorders, and publishers of all kinds, as clients are told.
    fn counts(&self) -> (u32, u32) {
        let publishers = self.participants.iter().filter(|p| p.is_publisher).count();
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        (number(self.participants.independent()), number(publishers))
    }

    /// Sends everybody away and ends the room.
    pub(crate) fn close(&mut self, now: Instant, reason: proto::DisconnectReason) {
        // First everybody's leave: without sessions nobody is told about the others' leaving.
        for key in self.participants.keys() {
            self.send_final(key, leave(proto::leave_request::Action::Disconnect, reason));
        }
        for key in self.participants.keys() {
            self.remove(now, key, reason);
        }
        self.timers.over = true;
        self.out.close();
    }

    /// Negotiates with everybody whose description changed, tells publishers what is watched, and
    /// sees whether the room is empty.
    fn settle(&mut self, now: Instant) {
        if self.timers.over {
            return;
        }
        while let Some(key) = self.dirty.pop_first() {
            self.negotiate(now, key);
        }
        self.send_demands(now);
        self.update_throttle.handle_time(now);
        if self.participants.is_recorded() != self.record.told_recording {
            self.send_room();
        }
        if self.participants.independent() > 0 {
            self.timers.end = None;
        } else if self.timers.end.is_none() {
            self.timers.end = Some(now + self.out.config.departure_timeout);
        }
    }
}

/// A `ParticipantUpdate`.
pub(crate) fn update(participants: Vec<proto::ParticipantInfo>) -> Message {
    Message::Update(proto::ParticipantUpdate { participants })
}
