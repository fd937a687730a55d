//! What a shard has to say, until its thread asks for it.
//!
//! * **Owns:** events for rooms, messages for other shards, finished datagrams that answer input, the scheduler of RTP,
//!   the shard's numbers.
//! * **In:** [`Outbox::event`], [`Outbox::message`], [`Outbox::rtcp`], [`Outbox::datagram`].
//! * **Out:** [`Outbox::poll_event`], [`Outbox::poll_message`], [`Outbox::move_control`].
//! * **Invariant:** all but events is bounded: what is too much is dropped and counted.

use std::collections::VecDeque;
use std::time::Instant;

use hearth_datagram::{Endpoint, MAX_DATAGRAM, SendSlab};
use hearth_metrics::{Counts, Metric};
use hearth_peer::Peer;
use hearth_plane::{Event, ShardId};
use hearth_rtp::rtcp::Writer;

use crate::control_out::ControlOut;
use crate::entry::PeerKey;
use crate::send_scheduler::SendScheduler;
use crate::shard_message::{Lane, ShardMessage, ShardMessageKind};

/// Messages waiting for their shard; more are dropped and counted.
const MAX_MESSAGES: usize = 1_024;
/// The same for the lane of checks. A browser sends a handful as it begins and repeats them; a flood may
/// fill this and costs little.
const MAX_CHECKS: usize = 32;
/// Bytes that sealing RTCP adds: tag 16, index 4.
const SEAL_ROOM: usize = 20;

/// See the module documentation.
pub(crate) struct Outbox {
    /// Finished datagrams that answer input.
    control: ControlOut,
    pub(crate) counts: Counts,
    /// RTP that waits for its receivers.
    pub(crate) scheduler: SendScheduler,
    events: VecDeque<Event>,
    messages: VecDeque<(ShardId, ShardMessage)>,
    /// Those of [`Lane::Checks`].
    checks: VecDeque<(ShardId, ShardMessage)>,
}

impl Outbox {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            control: ControlOut::new(),
            counts: Counts::default(),
            scheduler: SendScheduler::new(now),
            events: VecDeque::new(),
            messages: VecDeque::with_capacity(MAX_MESSAGES),
            checks: VecDeque::with_capacity(MAX_CHECKS),
        }
    }

    /// News for a room.
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Hands a packet or datagram, or word of one, to another shard.
    pub(crate) fn message(&mut self, to: ShardId, kind: ShardMessageKind, bytes: &[u8]) {
        let Some(message) = ShardMessage::new(kind, bytes) else { return };
        let (max, queue, dropped) = match message.lane() {
            Lane::Media => (MAX_MESSAGES, &mut self.messages, Metric::DropMessagesOwn),
            Lane::Checks => (MAX_CHECKS, &mut self.checks, Metric::DropChecksOwn),
        };
        if queue.len() < max {
            queue.push_back((to, message));
        } else {
            self.counts.add(dropped, 1);
        }
    }

    /// A finished datagram of a transport.
    pub(crate) fn datagram(&mut self, peer: PeerKey, path: Endpoint, datagram: &[u8]) {
        if !self.control.push(peer, path, datagram) {
            self.counts.add(Metric::DropControlFull, 1);
        }
    }

    /// Another peer's reports find room.
    pub(crate) fn has_room_for_reports(&self) -> bool {
        self.control.has_room_for_reports()
    }

    /// A datagram that is for no transport: one that asks whether this port is reached is answered.
    pub(crate) fn for_nobody(&mut self, from: Endpoint, datagram: &[u8]) {
        let answered =
            hearth_peer::probe::answer(datagram, from.remote).is_some_and(|(answer, len)| {
                self.control.push_for_stranger(from, answer.get(..len).unwrap_or_default())
            });
        if !answered {
            self.counts.add(Metric::DropReceiveUnknown, 1);
        }
    }

    /// Builds an RTCP packet and seals it; dropped if there is no room, or no path to the client yet.
    pub(crate) fn rtcp(
        &mut self,
        peer: &mut Peer,
        build: impl FnOnce(&mut Writer<'_>) -> Option<usize>,
    ) {
        self.rtcp_buffer(peer, |buf| {
            let mut writer = Writer::new(buf);
            let complete = build(&mut writer).is_some();
            complete.then(|| writer.len())
        });
    }

    /// The same, written straight into the buffer; `build` returns the length.
    pub(crate) fn rtcp_buffer(
        &mut self,
        peer: &mut Peer,
        build: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let Some(path) = peer.path() else { return };
        let Some(room) = self.control.reserve() else {
            return self.counts.add(Metric::DropControlFull, 1);
        };
        let plain = room.get_mut(..MAX_DATAGRAM - SEAL_ROOM);
        if let Some(len) = plain.and_then(build).and_then(|len| peer.seal_rtcp(room, len)) {
            self.control.commit(path, len);
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn poll_message(&mut self) -> Option<(ShardId, ShardMessage)> {
        self.messages.pop_front().or_else(|| self.checks.pop_front())
    }

    /// Moves finished datagrams into `slab`, as many as it takes.
    pub(crate) fn move_control(&mut self, slab: &mut SendSlab) {
        let before = slab.entries().len();
        for (path, datagram) in self.control.iter() {
            if !slab.push(path, datagram) {
                break;
            }
        }
        self.control.remove_first(slab.entries().len() - before);
    }
}
