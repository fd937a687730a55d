//! What every part of a room needs to speak: the queue of outputs, ids, generators, configuration, the wall clock.
//!
//! * **Owns:** outputs that wait to be polled; the next id; the room's generators of random values.
//! * **In:** [`send`](Outbox::send), [`command`](Outbox::command), [`close_session`](Outbox::close_session),
//!   [`event`](Outbox::event), [`close`](Outbox::close).
//! * **Out:** [`Output`]s in the order in which they came.
//! * **Invariant:** no id is given twice in the life of a room.
//! * **Not here:** who has which session (the participants).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use hearth_plane::{Command, DownId, PeerId, RoomId, ShardId, TrackId};
use hearth_random::Seed;
use hearth_signal::proto::{self, signal_response::Message};

use crate::ice_preference::IcePreference;
use crate::random::Random;
use crate::{Output, RoomConfig, RoomEvent, SessionId};

/// See the module documentation.
pub(crate) struct Outbox {
    room: RoomId,
    pub(crate) config: Arc<RoomConfig>,
    pub(crate) random: Random,
    created: Instant,
    /// Milliseconds since 1970.
    created_ms: i64,
    last_id: u32,
    queue: VecDeque<Output>,
}

impl Outbox {
    /// `unix_ms`: milliseconds since 1970 at `now`.
    pub(crate) fn new(
        now: Instant,
        unix_ms: u64,
        room: RoomId,
        config: Arc<RoomConfig>,
        seed: &Seed,
    ) -> Self {
        Self {
            room,
            config,
            random: Random::new(seed),
            created: now,
            created_ms: i64::try_from(unix_ms).unwrap_or(i64::MAX),
            last_id: 0,
            queue: VecDeque::new(),
        }
    }

    /// When the room was made, in milliseconds since 1970.
    pub(crate) fn created_ms(&self) -> i64 {
        self.created_ms
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.created).as_millis();
        self.created_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Seconds since 1970.
    pub(crate) fn unix(&self, now: Instant) -> u64 {
        u64::try_from(self.unix_ms(now) / 1_000).unwrap_or(0)
    }

    /// The STUN and TURN servers for a participant.
    pub(crate) fn ice_servers(
        &self,
        now: Instant,
        participant: &str,
        preference: IcePreference,
    ) -> Vec<proto::IceServer> {
        let only_tls = preference == IcePreference::Tls;
        self.config.ice_servers.for_participant(self.unix(now), participant, only_tls)
    }

    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// An id for a transport.
    pub(crate) fn next_peer(&mut self) -> PeerId {
        PeerId { room: self.room, n: self.next_id() }
    }

    /// An id for a published track.
    pub(crate) fn next_track(&mut self) -> TrackId {
        TrackId { room: self.room, n: self.next_id() }
    }

    /// An id for a subscription.
    pub(crate) fn next_down(&mut self) -> DownId {
        DownId { room: self.room, n: self.next_id() }
    }

    /// Has a shard do something.
    pub(crate) fn command(&mut self, shard: ShardId, command: Command) {
        self.queue.push_back(Output::Command { shard, command });
    }

    /// Sends a message on a session.
    pub(crate) fn send(&mut self, session: SessionId, message: Message) {
        let response = Box::new(proto::SignalResponse { message: Some(message) });
        self.queue.push_back(Output::Signal { session, response });
    }

    /// A reliable message could not wait for its channel to open.
    pub(crate) fn data_dropped(&mut self) {
        self.queue.push_back(Output::DataDropped);
    }

    /// Ends a session, after what was sent on it.
    pub(crate) fn close_session(&mut self, session: SessionId) {
        self.queue.push_back(Output::CloseSession { session });
    }

    /// Says what happened.
    pub(crate) fn event(&mut self, event: RoomEvent) {
        self.queue.push_back(Output::Event(event));
    }

    /// The room is over.
    pub(crate) fn close(&mut self) {
        self.queue.push_back(Output::Closed);
    }

    /// The next output; call until `None`.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}
