//! The TCP connections that carry datagrams of this shard's clients (ICE-TCP).
//!
//! * **Owns:** the [`FramedStream`]s of one media thread, by the endpoint that they are to the shard.
//! * **In:** connections whose first frame was read ([`NewStream`]), the poller's keys, entries to send, time.
//! * **Out:** datagrams for the [`Shard`], and word of each connection that is closed.
//! * **Invariant:** only connections are kept whose first frame authenticated itself, at most [`MAX_STREAMS`]; one whose
//!   client is gone is closed within [`SWEEP`], one that is silent after [`IDLE`].

use std::collections::HashMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, Entry};
use hearth_metrics::{Counts, Metric};
use hearth_net::{FrameBuffer, FramedStream, Poller, StreamEnd};
use hearth_shard::Shard;

use crate::counters::count_sent;

/// Connections of one shard: more than it can serve with media. Each is a file descriptor.
const MAX_STREAMS: usize = 8_192;
/// After this without a frame a connection is closed. Browsers check a path that they hold in reserve every 25 s.
const IDLE: Duration = Duration::from_secs(60);
/// How often that is looked for, and connections of clients that are gone.
const SWEEP: Duration = Duration::from_secs(1);
/// The poller's keys below are those of sockets.
const FIRST_KEY: usize = 1;

/// A connection, and the first frame, which was read from it already.
#[derive(Debug)]
pub(crate) struct NewStream {
    pub(crate) socket: TcpStream,
    pub(crate) first: Vec<u8>,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_path: HashMap<Endpoint, usize>,
    buffer: FrameBuffer,
    next_sweep: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    stream: FramedStream,
    last_received: Instant,
    /// The poller reports when there is room to write.
    waits_for_room: bool,
}

/// The parts of the thread that streams work with.
pub(crate) struct Around<'a> {
    pub(crate) shard: &'a mut Shard,
    pub(crate) poller: &'a mut Poller,
    pub(crate) counts: &'a mut Counts,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_path: HashMap::new(),
            buffer: FrameBuffer::new(),
            next_sweep: None,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Closes all: the shard has failed, and knows none.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.by_path.clear();
    }

    /// Takes a connection over if its first frame is an authentic check.
    pub(crate) fn add(&mut self, now: Instant, new: NewStream, around: &mut Around<'_>) {
        let NewStream { socket, mut first } = new;
        let Ok(stream) = FramedStream::new(socket) else { return };
        let path = stream.path();
        // The former connection of these two ends is over, and we have not read its end.
        self.close(now, path, around);
        around.counts.add(Metric::DatagramsReceived, 1);
        around.counts.add(Metric::BytesReceived, first.len() as u64);
        around.shard.handle_datagram(now, path, &mut first);
        if !around.shard.serves(&path) || self.len() >= MAX_STREAMS {
            around.counts.add(Metric::DropTcpUnknown, 1);
            return around.shard.handle_path_closed(now, path);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if around.poller.add_stream(&stream, FIRST_KEY + index).is_err() {
            self.free.push(index);
            return around.shard.handle_path_closed(now, path);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(Slot { stream, last_received: now, waits_for_room: false });
            self.by_path.insert(path, index);
        }
        self.next_sweep.get_or_insert(now + SWEEP);
    }

    /// Reads and writes where the poller found something to read or room to write. What is left is found by its next wait.
    pub(crate) fn handle_ready(&mut self, now: Instant, around: &mut Around<'_>) {
        for at in 0..around.poller.ready().len() {
            let key = around.poller.ready().get(at).copied().unwrap_or_default();
            if let Some(index) = key.checked_sub(FIRST_KEY) {
                self.handle_ready_one(now, index, around);
            }
        }
    }

    /// Sends `entries`, which count in `bytes` and all go by `path`.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        path: Endpoint,
        (bytes, entries): (&[u8], &[Entry]),
        around: &mut Around<'_>,
    ) {
        let index = self.by_path.get(&path).copied();
        let slot = index.and_then(|index| Some((index, self.slots.get_mut(index)?.as_mut()?)));
        let Some((index, slot)) = slot else {
            return around.counts.add(Metric::DropSendUnreachable, entries.len() as u64);
        };
        count_sent(around.counts, slot.stream.send(now, bytes, entries));
        slot.watch(index, around.poller);
        if slot.stream.is_broken() {
            self.close(now, path, around);
        }
    }

    /// Closes those whose client is gone or silent, if it is time to look.
    pub(crate) fn handle_timeout(&mut self, now: Instant, around: &mut Around<'_>) {
        if self.next_sweep.is_none_or(|at| now < at) {
            return;
        }
        self.next_sweep = (self.len() > 0).then_some(now + SWEEP);
        for index in 0..self.slots.len() {
            let Some(Some(slot)) = self.slots.get(index) else { continue };
            let path = slot.stream.path();
            let is_silent = now.saturating_duration_since(slot.last_received) >= IDLE;
            if is_silent || !around.shard.serves(&path) {
                self.close(now, path, around);
            }
        }
    }

    fn handle_ready_one(&mut self, now: Instant, index: usize, around: &mut Around<'_>) {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return };
        let path = slot.stream.path();
        if slot.stream.has_unsent() {
            count_sent(around.counts, slot.stream.flush(now));
            slot.watch(index, around.poller);
        }
        let read = slot.stream.read(&mut self.buffer);
        while let Some(frame) = self.buffer.next_frame() {
            slot.last_received = now;
            around.counts.add(Metric::DatagramsReceived, 1);
            around.counts.add(Metric::BytesReceived, frame.len() as u64);
            around.shard.handle_datagram(now, path, frame);
        }
        if read == Err(StreamEnd::TooLong) {
            around.counts.add(Metric::DropTcpFrame, 1);
        }
        if read.is_err() || slot.stream.is_broken() {
            self.close(now, path, around);
        }
    }

    fn close(&mut self, now: Instant, path: Endpoint, around: &mut Around<'_>) {
        let Some(index) = self.by_path.remove(&path) else { return };
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = None;
            self.free.push(index);
        }
        around.shard.handle_path_closed(now, path);
    }
}

impl Slot {
    /// Has the poller report room to write for as long as something waits.
    fn watch(&mut self, index: usize, poller: &mut Poller) {
        let waits = self.stream.has_unsent();
        if waits != self.waits_for_room
            && poller.wait_for_room(&self.stream, FIRST_KEY + index, waits).is_ok()
        {
            self.waits_for_room = waits;
        }
    }
}
