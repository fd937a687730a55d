//! One room: composes its parts and routes between them.
//!
//! * **Owns:** the owners of one room's state: participants ([`Roster`]), published tracks ([`Publications`]),
//!   [`Subscriptions`], data messages ([`DataRouter`]), offers and answers ([`Negotiator`]), speakers, connection
//!   quality, and what they speak through ([`Outbox`]). Where several act together, a function of the room reads as
//!   the list of their steps: [`session`](crate::session), [`publish`](crate::publish),
//!   [`subscribe`](crate::subscribe), [`descriptions`](crate::descriptions), [`requests`](crate::requests).
//! * **In:** joins, signal messages, closed sessions, events, calls, time.
//! * **Out:** [`Output`].
//! * **Invariant:** after every input, whoever's description changed is negotiated with; after
//!   [`Output::Closed`] nothing happens any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_plane::{Event, Level, RoomId, ShardId};
use hearth_random::Seed;
use hearth_signal::proto;

use crate::announcements::Published;
use crate::data::DataRouter;
use crate::disconnection::path_silent;
use crate::dynacast::Demand;
use crate::ice_preference::IcePreferences;
use crate::negotiation::Negotiator;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publications::Publications;
use crate::quality::Quality;
use crate::room_info::RoomInfo;
use crate::roster::Roster;
use crate::session::leave;
use crate::speakers::Speakers;
use crate::subscription::Subscriptions;
use crate::{Call, CallError, Join, JoinError, Output, Reply, RoomConfig, RoomEvent, SessionId};

/// Interval at which connection qualities and changed counts of participants are sent.
const TICK: Duration = Duration::from_secs(5);

/// One room.
pub struct Room {
    pub(crate) out: Outbox,
    pub(crate) record: RoomInfo,
    pub(crate) roster: Roster,
    pub(crate) publications: Publications,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) data: DataRouter,
    pub(crate) speakers: Speakers,
    pub(crate) quality: Quality,
    pub(crate) negotiator: Negotiator,
    pub(crate) ice: IcePreferences,
    pub(crate) timers: Timers,
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
        let record = RoomInfo::new(name, &mut out);
        let end = Some(now + out.config.empty_timeout);
        let publications = Publications::new(out.config.dynacast_pause_delay);
        let roster = Roster::new(now);
        let room = Box::new(record.message(&roster, &out));
        out.event(RoomEvent::RoomStarted { room });
        Self {
            out,
            record,
            roster,
            publications,
            subscriptions: Subscriptions::default(),
            data: DataRouter::default(),
            speakers: Speakers::default(),
            quality: Quality::default(),
            negotiator: Negotiator::default(),
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
            self.session_lost(key);
            self.settle(now);
        }
    }

    /// A shard reports.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::PeerConnected { peer } => self.peer_connected(now, peer),
            Event::PathSilent { peer } => path_silent(now, peer, self),
            Event::IceFailed { peer } => self.ice_failed(now, peer),
            Event::PeerClosed { peer, reason } => self.peer_closed(now, peer, reason),
            Event::ChannelOpen { peer, channel } => {
                self.data.channel_open(peer, channel, &mut self.roster, &mut self.out)
            }
            Event::Data { peer, channel, payload } => {
                let Self { data, roster, out, .. } = self;
                data.handle_message((peer, channel), &payload, roster, out);
            }
            Event::EncodingStarted { track, encoding, ssrc, .. } => {
                self.publications.encoding_started(track, encoding, ssrc);
            }
            Event::TrackFailed { track } => self.track_failed(now, track),
            Event::ShardFailed { shard } => self.shard_failed(now, shard),
            Event::Levels { levels } => self.levels(&levels),
            Event::Report(mut report) => {
                for track in &mut report.up {
                    // Who sends nothing because nobody watches is well connected.
                    track.idle |= track.expected == 0
                        && self.publications.dynacast.told(track.id) == Some(Demand::Off);
                }
                let (tracks, subscriptions) = (&self.publications.tracks, &self.subscriptions);
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
    pub fn handle_shutdown(&mut self) {
        if !self.timers.over {
            self.close(proto::DisconnectReason::ServerShutdown);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.over {
            return;
        }
        for key in self.roster.deadlines.take_due(now) {
            self.participant_timeout(now, key);
            let deadlines = self.roster.get(key).and_then(|p| p.deadlines().min());
            if let Some(at) = deadlines {
                self.roster.deadlines.watch(key, at);
            }
        }
        self.publications.dynacast.handle_timeout(now);
        let waiting = self.roster.update_throttle.take_due(now);
        let published = Published { tracks: &self.publications, data_tracks: &self.data.tracks };
        self.roster.announce_together(waiting, published, &mut self.out);
        if self.timers.tick.is_some_and(|at| at <= now) {
            self.timers.tick = Some(now + TICK);
            self.quality.announce(&self.subscriptions, &self.roster, &mut self.out);
            self.send_counts(now);
        }
        if self.timers.end.is_some_and(|at| at <= now) {
            self.close(proto::DisconnectReason::RoomClosed);
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
            self.publications.dynacast.poll_timeout(),
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

    /// What is published, as far as it is part of what is told about participants.
    pub(crate) fn published(&self) -> Published<'_> {
        Published { tracks: &self.publications, data_tracks: &self.data.tracks }
    }

    /// The participant changed in a way that others see: tells everybody who may know.
    pub(crate) fn changed(&mut self, key: ParticipantKey) {
        let published = Published { tracks: &self.publications, data_tracks: &self.data.tracks };
        self.roster.changed(key, published, &mut self.out);
    }

    /// A shard measured microphones.
    fn levels(&mut self, levels: &[Level]) {
        for Level { track, level } in levels {
            let Some(publication) = self.publications.tracks.get(track) else { continue };
            if publication.is_microphone() && !publication.info.muted {
                self.speakers.set(*track, publication.publisher, *level);
            }
        }
        self.speakers.announce(&self.subscriptions, &self.roster, &mut self.out);
    }

    fn send_counts(&mut self, now: Instant) {
        if self.roster.is_empty() {
            self.timers.tick = None;
        } else if self.record.counts_changed(&self.roster) {
            tracing::debug!(?now, "Counts changed");
            self.record.send_to_all(&self.roster, &mut self.out);
        }
    }

    /// Sends everybody away and ends the room.
    pub(crate) fn close(&mut self, reason: proto::DisconnectReason) {
        // First everybody's leave: without sessions nobody is told about the others' leaving.
        for key in self.roster.keys() {
            self.roster.send_final(
                &mut self.out,
                key,
                leave(proto::leave_request::Action::Disconnect, reason),
            );
        }
        for key in self.roster.keys() {
            self.remove(key, reason);
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
        self.negotiator.negotiate_changed(now, &mut self.roster, &mut self.out);
        self.publications.send_demands(now, &self.subscriptions, &self.roster, &mut self.out);
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
