//! One room: composes its parts and routes between them.
//!
//! * **Owns:** the owners of one room's state: participants ([`Roster`]), what they publish and get ([`Tracks`]),
//!   connection quality, what is said of the room itself ([`RoomInfo`]), and what all of them speak through
//!   ([`Outbox`]); when the room ends.
//! * **In:** joins, signal messages, closed sessions, events, calls, time.
//! * **Out:** [`Output`].
//! * **Invariant:** after every input, whoever's description changed is negotiated with; after
//!   [`Output::Closed`] nothing happens any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_plane::{Event, RoomId, ShardId, TrackId};
use hearth_random::Seed;
use hearth_signal::proto::{self, DisconnectReason, leave_request::Action};

use crate::announcements::Announcer;
use crate::data;
use crate::diagnosis;
use crate::disconnection::{Departure, path_silent};
use crate::ice_preference::IcePreferences;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::quality::Quality;
use crate::room_info::RoomInfo;
use crate::roster::Roster;
use crate::simulate::send_simulated_level;
use crate::tracks::Tracks;
use crate::{Call, CallError, Join, JoinError, Output, Reply, RoomConfig, RoomEvent, SessionId};

/// Interval at which connection qualities and changed counts of participants are sent.
const TICK: Duration = Duration::from_secs(5);

/// One room.
pub struct Room {
    pub(crate) out: Outbox,
    pub(crate) record: RoomInfo,
    pub(crate) roster: Roster,
    pub(crate) tracks: Tracks,
    pub(crate) ice: IcePreferences,
    quality: Quality,
    timers: Timers,
}

struct Timers {
    /// The room ends unless somebody joins.
    end: Option<Instant>,
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
        let record = RoomInfo::new(name, &mut out);
        let end = Some(now + out.config.empty_timeout);
        let tracks = Tracks::new(out.config.dynacast_pause_delay);
        let roster = Roster::new(now);
        let room = Box::new(record.message(&roster, &out));
        out.event(RoomEvent::RoomStarted { room });
        Self {
            out,
            record,
            roster,
            tracks,
            quality: Quality::default(),
            ice: IcePreferences::default(),
            timers: Timers { end, tick: None, over: false },
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
        let key = self.roster.by_session(session);
        if let (Some(key), Some(message)) = (key, request.message) {
            self.request(now, key, message);
            self.settle(now);
        }
    }

    /// A client's connection is gone.
    pub fn handle_session_closed(&mut self, now: Instant, session: SessionId) {
        if let Some(key) = self.roster.by_session(session) {
            let gone = self.roster.session_lost(key);
            self.remove(gone);
            self.settle(now);
        }
    }

    /// A shard reports.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        let Self { roster, tracks, ice, out, .. } = self;
        match event {
            Event::PeerConnected { peer } => self.peer_connected(now, peer),
            Event::Connectivity { peer, seen } => diagnosis::report(peer, &seen, roster, out),
            Event::PathSilent { peer } => path_silent(now, peer, ice, roster, out),
            Event::IceFailed { peer } => roster.ice_failed(now, peer, ice, out),
            Event::PeerClosed { peer, reason } => {
                let gone = roster.peer_closed(now, peer, reason, ice, out);
                self.remove(gone);
            }
            Event::ChannelOpen { peer, channel } => data::channel_open(peer, channel, roster, out),
            Event::Data { peer, channel, payload } => {
                let data_tracks = &tracks.publications.data_tracks;
                data::receive((peer, channel), &payload, data_tracks, roster, out);
            }
            Event::EncodingStarted { track, encoding, ssrc, .. } => {
                tracks.publications.encoding_started(track, encoding, ssrc);
            }
            Event::TrackFailed { track } => self.track_failed(now, track),
            Event::ShardFailed { shard } => self.shard_failed(now, shard),
            Event::Levels { levels } => tracks.handle_levels(&levels, roster, out),
            Event::Report(report) => {
                let Tracks { publications, subscriptions, .. } = tracks;
                self.quality.handle_report(*report, publications, subscriptions);
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
    pub fn handle_shutdown(&mut self) {
        if !self.timers.over {
            self.close(DisconnectReason::ServerShutdown);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.over {
            return;
        }
        for key in self.roster.deadlines.take_due(now) {
            self.participant_timeout(now, key);
        }
        self.tracks.publications.dynacast.handle_timeout(now);
        self.announcer().handle_timeout(now);
        if self.timers.tick.is_some_and(|at| at <= now) {
            self.timers.tick = Some(now + TICK);
            let Self { quality, tracks, roster, out, .. } = self;
            let Tracks { publications, subscriptions, .. } = tracks;
            quality.announce(publications, subscriptions, roster, out);
            self.send_counts(now);
        }
        if self.timers.end.is_some_and(|at| at <= now) {
            self.close(DisconnectReason::RoomClosed);
        }
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.timers.over {
            return None;
        }
        let parts = [
            self.roster.deadlines.poll_timeout(),
            self.roster.update_throttle.poll_timeout(),
            self.tracks.publications.dynacast.poll_timeout(),
        ];
        let own = [self.timers.end, self.timers.tick].into_iter().chain(parts);
        own.flatten().min()
    }

    /// The shard of each transport that exists, for whoever places newcomers.
    pub fn transports(&self) -> impl Iterator<Item = ShardId> {
        self.roster.iter().flat_map(|participant| {
            let added = participant.local.transports.links().filter(|link| link.is_added());
            added.map(|_| participant.local.shard)
        })
    }

    /// The next thing to be done; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.poll()
    }

    /// What tells clients about participants.
    pub(crate) fn announcer(&mut self) -> Announcer<'_> {
        let Self { roster, tracks, out, .. } = self;
        Announcer { roster, publications: &tracks.publications, out }
    }

    /// A shard has lost a track: it comes back when its publisher does.
    fn track_failed(&mut self, now: Instant, track: TrackId) {
        if let Some(publisher) = self.tracks.publications.get(track).map(|track| track.publisher) {
            let gone = self.roster.request_reconnect(now, publisher, &mut self.out);
            self.remove(gone);
        }
    }

    /// A shard has lost all it had. What was relayed to it is forgotten at once: others may already be
    /// there again, and need it anew.
    fn shard_failed(&mut self, now: Instant, shard: ShardId) {
        for key in self.roster.on_shard(shard) {
            let Self { roster, tracks, out, .. } = self;
            tracks.unsubscribe_all(key, roster, out);
            let gone = roster.request_reconnect(now, key, out);
            self.remove(gone);
        }
    }

    /// Something may be due for a participant.
    fn participant_timeout(&mut self, now: Instant, key: ParticipantKey) {
        let Self { roster, tracks, out, .. } = self;
        if roster.take_simulated_speaker(now, key) {
            send_simulated_level(key, 0.0, &tracks.subscriptions, roster, out);
        }
        let gone = roster.handle_due(now, key, out);
        self.remove(gone);
        self.roster.watch_deadlines(key);
    }

    fn send_counts(&mut self, now: Instant) {
        if self.roster.is_empty() {
            self.timers.tick = None;
        } else if self.record.counts_changed(&self.roster) {
            tracing::debug!(?now, "Counts changed");
            self.record.send_to_all(&self.roster, &mut self.out);
        }
    }

    /// Sends the participant away for good.
    pub(crate) fn disconnect(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        let gone = self.roster.dismiss(key, Action::Disconnect, reason, &mut self.out);
        self.remove(Some(gone));
    }

    /// The client's state and ours do not fit together: it starts over.
    pub(crate) fn start_over(&mut self, key: ParticipantKey) {
        let gone = self.roster.start_over(key, &mut self.out);
        self.remove(Some(gone));
    }

    /// A participant is gone: ends all it had and tells everybody.
    pub(crate) fn remove(&mut self, gone: Option<Departure>) {
        let Some(Departure { key, reason }) = gone else { return };
        let Self { roster, tracks, quality, out, .. } = self;
        tracks.forget(key, roster, out);
        quality.forget(key);
        self.ice.forget(key);
        let publications = &tracks.publications;
        let gone = Announcer { roster, publications, out }.depart(key, reason);
        if let Some(gone) = gone {
            gone.remove_transports(out);
        }
    }

    /// Sends everybody away and ends the room.
    pub(crate) fn close(&mut self, reason: DisconnectReason) {
        // First everybody's leave: without sessions nobody is told about the others' leaving.
        let Self { roster, out, .. } = self;
        let keys = roster.keys().into_iter();
        let dismiss = |key| roster.dismiss(key, Action::Disconnect, reason, out);
        let gone: Vec<Departure> = keys.map(dismiss).collect();
        for gone in gone {
            self.remove(Some(gone));
        }
        self.timers.over = true;
        let room = Box::new(self.record.message(&self.roster, &self.out));
        self.out.event(RoomEvent::RoomFinished { room });
        self.out.close();
    }

    /// Negotiates with everybody whose description changed, tells publishers what is watched, and
    /// sees whether the room is empty.
    fn settle(&mut self, now: Instant) {
        if self.timers.over {
            return;
        }
        self.tracks.settle(now, &mut self.roster, &mut self.out);
        self.roster.update_throttle.handle_time(now);
        if self.record.recording_changed(&self.roster) {
            self.record.send_to_all(&self.roster, &mut self.out);
        }
        if self.roster.independent() > 0 {
            self.timers.end = None;
        } else if self.timers.end.is_none() {
            self.timers.end = Some(now + self.out.config.departure_timeout);
        }
    }
}
