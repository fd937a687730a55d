//! One media thread (shard thread): it waits, receives datagrams, runs `shard::Shard`, and sends.
//!
//! * **Owns:** a [`Shard`] outright, its sockets, its poller, its queues.
//! * **In:** [`ShardInput`]s of control, datagrams (of sockets, and of clients' TCP streams), shard messages from other shards, time.
//! * **Out:** datagrams, shard messages, events for the rooms, [`ShardGauges`].
//! * **Invariant:** it waits nowhere but in the poller, and reads the clock twice a turn: before
//!   the wait and after it. When it fails, its rooms get an event, and it goes on with a new [`Shard`]: the sockets,
//!   the queues and their contents stay, so that other threads lose no packet.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hearth_datagram::{Entry, Protocol, SendSlab};
use hearth_metrics::{Counts, Metric};
use hearth_net::{Poller, RecvBatch, Refused, Sent, UdpSocket, Waker};
use hearth_plane::{Command, ShardId, Unsent};
use hearth_random::Purpose;
use hearth_shard::{Lane, Shard, ShardConfig, ShardMessage, ShardMessageKind};
use tokio::sync::mpsc;
use tracing::{debug, error, info};

use crate::WallClock;
use crate::config::StartError;
use crate::counters::{GaugeGuard, ShardGauges, count_sent};
use crate::failures::Failures;
use crate::room_events::RoomQueues;
use crate::shard_link::{ShardInput, ShardInputs, ShardLink, cost};
use crate::socket_routes::SocketRoutes;
use crate::streams::{Around, Streams};

/// Shard messages waiting for one shard, 1.6 KB each. At 100,000 packets a second, 10 ms.
pub(crate) const MAX_MESSAGES: usize = 1_024;
/// Checks waiting for one shard, and taken in one turn: bounds what unknown endpoints may cost it.
pub(crate) const MAX_CHECKS: usize = 64;
/// Commands in one turn, in units of [`cost`]: more delays the packets that wait, fewer delays joins under
/// load.
const COMMANDS_A_TURN: u32 = 128;
/// Datagrams from one socket in one turn, for the same reason; the batch that reaches it is finished.
const DATAGRAMS_A_TURN: usize = 512;
/// Datagrams in the send slab: 64 runs of four. More cuts fewer runs in two, fewer stay in the L2
/// cache.
const SLAB_DATAGRAMS: usize = 256;
/// Datagrams that wait while the kernel's buffer is full, for each socket: one slab of them.
const MAX_UNSENT: usize = SLAB_DATAGRAMS;
/// Retry interval of a full send buffer. At 1 Gbit/s its buffer of 4 MiB drains in 34 ms, and a smaller one
/// that the system gives by default in less than 2.
const RETRY: Duration = Duration::from_millis(1);
/// The longest wait, so that a lost wake-up is a delay and not the end.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A fault to inject in a test.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// A panic outside of the shard's panic scopes.
    Panic,
    /// A panic after the first datagram of the next read.
    InBatch,
    /// The poller reports an error.
    Poller,
}

/// A message from one shard to another, with its sender.
pub(crate) type Shipment = (ShardId, ShardMessage);

/// The lanes between shards, as one shard sees them.
pub(crate) struct ShardChannels {
    /// From the others.
    pub(crate) incoming: Receiver<Shipment>,
    /// The same, of [`Lane::Checks`].
    pub(crate) checks: Receiver<Shipment>,
    /// To each shard, by number; behind them to the relay thread, if there is one.
    pub(crate) outgoing: Vec<LaneEnds>,
}

/// How one shard reaches another.
#[derive(Clone)]
pub(crate) struct LaneEnds {
    pub(crate) media: SyncSender<Shipment>,
    pub(crate) checks: SyncSender<Shipment>,
    /// The handle that wakes it.
    pub(crate) waker: Waker,
}

/// The parts a shard thread is given; it makes the rest itself, as a [`Shard`] never leaves its
/// thread.
pub(crate) struct Parts {
    pub(crate) config: ShardConfig,
    pub(crate) sockets: Vec<UdpSocket>,
    pub(crate) poller: Poller,
    pub(crate) paths: SocketRoutes,
    pub(crate) channels: ShardChannels,
    pub(crate) held: GaugeGuard,
}

/// Starts a shard thread and waits until its shard is made. It ends by [`ShardLink::stop`];
/// no caller needs to wait for it.
pub(crate) fn spawn(parts: Parts) -> Result<ShardLink, StartError> {
    let (link, inputs) = ShardLink::new(parts.poller.waker());
    let (report, made) = sync_channel(1);
    std::thread::Builder::new()
        .name(format!("shard-{}", parts.config.id.0))
        .spawn(move || {
            let shard = match Shard::new(WallClock::now(), parts.config.clone()) {
                Ok(shard) => shard,
                Err(error) => return drop(report.send(Err(StartError::Certificate(error)))),
            };
            // The receiver is gone only if the start has already failed.
            let _ = report.send(Ok(()));
            let ShardInputs { inputs, stop, gauges } = inputs;
            let Parts { config, sockets, poller, paths, channels, held } = parts;
            let id = config.id;
            let thread = ShardThread {
                config,
                shard,
                received: Received { batch: RecvBatch::new(), handled: usize::MAX },
                sockets,
                poller,
                streams: Streams::new(),
                paths,
                inputs,
                channels,
                rooms: RoomQueues::new(id),
                counts: Counts::default(),
                gauges,
                stop,
                #[cfg(test)]
                fault: None,
                _held: held,
            };
            thread.supervise();
        })
        .map_err(StartError::Thread)?;
    let gone = || Err(StartError::Thread(io::Error::from(io::ErrorKind::BrokenPipe)));
    made.recv().unwrap_or_else(|_| gone())?;
    Ok(link)
}

struct ShardThread {
    /// Of the shard, and of the one that replaces it when it fails.
    config: ShardConfig,
    shard: Shard,
    received: Received,
    sockets: Vec<UdpSocket>,
    poller: Poller,
    streams: Streams,
    paths: SocketRoutes,
    inputs: mpsc::Receiver<ShardInput>,
    channels: ShardChannels,
    rooms: RoomQueues,
    /// This thread's own numbers, and those of shards that failed.
    counts: Counts,
    gauges: Arc<ShardGauges>,
    stop: Arc<AtomicBool>,
    #[cfg(test)]
    fault: Option<Fault>,
    /// Dropped last: when no shard is counted, no port is bound.
    _held: GaugeGuard,
}

/// The last read of a socket.
struct Received {
    batch: RecvBatch,
    /// How many of its datagrams the shard got.
    handled: usize,
}

impl ShardThread {
    /// Runs until it is stopped, or fails too often.
    fn supervise(mut self) {
        for socket in &mut self.sockets {
            socket.keep_unsent(MAX_UNSENT);
        }
        let mut failures = Failures::default();
        loop {
            let began = WallClock::now();
            match catch_unwind(AssertUnwindSafe(|| self.run())) {
                Ok(Ok(())) => break,
                Ok(Err(error)) => {
                    error!(shard = self.config.id.0, %error, "The poller of a media thread failed");
                }
                Err(_) => error!(shard = self.config.id.0, "A bug: a media thread panicked"),
            }
            let pause = failures.handle_failure(WallClock::now(), began);
            let Some(pause) = pause.filter(|_| self.begin_anew()) else {
                error!(
                    shard = self.config.id.0,
                    "A media thread fails again and again; it is given up"
                );
                return;
            };
            std::thread::park_timeout(pause);
        }
        self.rooms.clear();
        info!(shard = self.config.id.0, "Shard stopped");
    }

    /// Replaces a shard that failed by a new one; false if none can be made. Its participants reconnect
    /// when their rooms ask them to.
    fn begin_anew(&mut self) -> bool {
        self.counts.add(Metric::ShardFailures, 1);
        // Messages for other shards were complete. Its output to its own peers may be broken.
        let _ = catch_unwind(AssertUnwindSafe(|| self.flush_outputs()));
        // Another sequence of everything random than before.
        self.config.seed = self.config.seed.derive(Purpose::Shard, self.config.id.0.into());
        let Ok(shard) = Shard::new(WallClock::now(), self.config.clone()) else { return false };
        let mut failed = std::mem::replace(&mut self.shard, shard);
        self.counts.add_all(&failed.counts());
        self.counts.clear_gauges();
        self.shard.inherit(&mut failed);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(failed)));
        self.streams.clear();
        self.report();
        self.rooms.fail();
        true
    }

    fn run(&mut self) -> io::Result<()> {
        let mut slab = SendSlab::new(SLAB_DATAGRAMS);
        // After a failure its queues may hold something that nobody wakes it for again.
        let mut more = true;
        // The rest of a read in which it failed.
        self.handle_batch(WallClock::now());
        while !self.stop.load(Ordering::Acquire) {
            self.poller.wait(self.poll_wait(more))?;
            let now = WallClock::now();
            more = self.drain_commands(now);
            #[cfg(test)]
            self.inject()?;
            // Before the datagrams: a `Confirmed` of another shard may say where they belong.
            more |= self.drain_messages(now);
            more |= self.receive(now);
            self.with_streams(|streams, around| {
                streams.handle_ready(now, around);
                streams.handle_timeout(now, around);
            });
            if self.shard.poll_timeout().is_some_and(|due| due <= now) {
                self.shard.handle_timeout(now);
            }
            // Before sending: the answer may reach another shard, which is to know the endpoint by then.
            self.flush_outputs();
            self.transmit(now, &mut slab);
            self.report();
        }
        Ok(())
    }

    #[cfg(test)]
    fn inject(&mut self) -> io::Result<()> {
        match self.fault {
            Some(Fault::Panic) => {
                self.fault = None;
                panic!("a test wants a media thread to fail");
            }
            Some(Fault::Poller) => {
                self.fault = None;
                Err(io::Error::other("a test wants a poller to fail"))
            }
            Some(Fault::InBatch) | None => Ok(()),
        }
    }

    /// How long the poller may wait.
    fn poll_wait(&self, more: bool) -> Duration {
        if more {
            return Duration::ZERO;
        }
        let max = if self.sockets.iter().any(UdpSocket::has_unsent) { RETRY } else { MAX_WAIT };
        let due = self.shard.poll_timeout();
        due.map_or(max, |due| due.saturating_duration_since(WallClock::now()).min(max))
    }

    /// True if there may be more.
    fn drain_commands(&mut self, now: Instant) -> bool {
        let mut done = 0;
        while done < COMMANDS_A_TURN {
            match self.inputs.try_recv() {
                Ok(ShardInput::OpenRoom { room, events }) => self.rooms.open(room, events),
                Ok(ShardInput::Command { command, permit }) => {
                    done += cost(&command);
                    if let Command::CloseRoom { room } = command {
                        self.rooms.close(room);
                    }
                    self.shard.handle_command(now, command);
                    drop(permit);
                }
                Ok(ShardInput::Stream(stream)) => {
                    done += 1;
                    self.with_streams(|streams, around| streams.add(now, stream, around));
                }
                #[cfg(test)]
                Ok(ShardInput::Fault(fault)) => self.fault = Some(fault),
                Err(_) => return false,
            }
        }
        true
    }

    /// True if there may be more.
    fn receive(&mut self, now: Instant) -> bool {
        let mut more = false;
        for index in 0..self.sockets.len() {
            let mut taken = 0;
            while let Some(socket) = self.sockets.get_mut(index) {
                if let Err(error) = socket.recv_batch(&mut self.received.batch) {
                    // Linux reports here what went wrong with some earlier datagram.
                    debug!(shard = self.config.id.0, %error, "Reading UDP failed");
                    break;
                }
                self.received.handled = 0;
                let batch = &self.received.batch;
                self.counts.add(Metric::DatagramsReceived, batch.len() as u64);
                self.counts.add(Metric::DropReceiveTooLong, batch.truncated());
                self.handle_batch(now);
                taken += self.received.batch.len();
                if !self.received.batch.is_full() {
                    break;
                }
                if taken >= DATAGRAMS_A_TURN {
                    more = true;
                    break;
                }
            }
        }
        more
    }

    /// Gives the shard the datagrams of the last read that it has not handled (all, but after a panic).
    fn handle_batch(&mut self, now: Instant) {
        let Received { batch, handled } = &mut self.received;
        for datagram in batch.datagrams_mut().skip(*handled) {
            *handled += 1;
            self.counts.add(Metric::BytesReceived, datagram.bytes.len() as u64);
            self.shard.handle_datagram(now, datagram.path, datagram.bytes);
            #[cfg(test)]
            if self.fault == Some(Fault::InBatch) {
                self.fault = None;
                panic!("a test wants a media thread to fail between two datagrams");
            }
        }
    }

    /// True if there may be more.
    fn drain_messages(&mut self, now: Instant) -> bool {
        let mut more = false;
        for (lane, max) in
            [(&self.channels.incoming, MAX_MESSAGES), (&self.channels.checks, MAX_CHECKS)]
        {
            let mut taken = 0;
            while taken < max
                && let Ok((from, mut message)) = lane.try_recv()
            {
                self.shard.handle_message(now, from, &mut message);
                taken += 1;
            }
            more |= taken == max;
        }
        more
    }

    fn transmit(&mut self, now: Instant, slab: &mut SendSlab) {
        for socket in self.sockets.iter_mut().filter(|socket| socket.has_unsent()) {
            note_sent(&mut self.counts, &mut self.shard, socket.flush());
        }
        loop {
            let more = self.shard.poll_transmit(now, slab);
            if slab.is_empty() {
                return;
            }
            self.send(now, slab);
            slab.clear();
            if !more {
                return;
            }
        }
    }

    /// Sends stretches of entries that leave by the same socket or stream.
    fn send(&mut self, now: Instant, slab: &SendSlab) {
        let mut rest: &[Entry] = slab.entries();
        while let Some(first) = rest.first() {
            if first.path.protocol == Protocol::Relay {
                let relayed = |entry: &&Entry| entry.path.protocol == Protocol::Relay;
                let (run, later) = rest.split_at(rest.iter().take_while(relayed).count());
                rest = later;
                self.relay(slab.bytes(), run);
                continue;
            }
            if first.path.protocol == Protocol::Tcp {
                let same = rest.iter().take_while(|entry| entry.path == first.path).count();
                let (run, later) = rest.split_at(same);
                rest = later;
                let run = (slab.bytes(), run);
                self.with_streams(|streams, around| streams.send(now, first.path, run, around));
                continue;
            }
            let socket = self.paths.socket(first.path.local);
            let mut looked_up = first.path.local;
            let same = |entry: &&Entry| {
                if entry.path.protocol != Protocol::Udp {
                    return false;
                }
                if entry.path.local != looked_up {
                    looked_up = entry.path.local;
                    return self.paths.socket(looked_up) == socket;
                }
                true
            };
            let (run, later) = rest.split_at(rest.iter().take_while(same).count().max(1));
            rest = later;
            let Some(socket) = socket.and_then(|socket| self.sockets.get_mut(socket)) else {
                self.counts.add(Metric::DropSendRefused, run.len() as u64);
                continue;
            };
            note_sent(&mut self.counts, &mut self.shard, socket.send(slab.bytes(), run));
        }
    }

    /// Hands datagrams for clients of TURN to the relay thread.
    fn relay(&mut self, bytes: &[u8], run: &[Entry]) {
        let Some(ends) = self.channels.outgoing.last() else { return };
        for Entry { path, start, len, .. } in run {
            let datagram = bytes.get(*start..start.saturating_add(*len)).unwrap_or_default();
            let kind = ShardMessageKind::Datagram { from: *path };
            let sent = ShardMessage::new(kind, datagram)
                .is_some_and(|message| ends.media.try_send((self.config.id, message)).is_ok());
            self.counts.add(if sent { Metric::DatagramsSent } else { Metric::DropTurnLane }, 1);
        }
        ends.waker.wake();
    }

    /// Sends shard messages to other shards, and events to their rooms.
    fn flush_outputs(&mut self) {
        let mut woken: u128 = 0;
        while let Some((to, message)) = self.shard.poll_message() {
            let Some(ends) = self.channels.outgoing.get(usize::from(to.0)) else { continue };
            let (lane, dropped) = match message.lane() {
                Lane::Media => (&ends.media, Metric::DropMessagesFull),
                Lane::Checks => (&ends.checks, Metric::DropChecksFull),
            };
            if lane.try_send((self.config.id, message)).is_err() {
                self.counts.add(dropped, 1);
                continue;
            }
            let bit = 1_u128.checked_shl(u32::from(to.0)).unwrap_or_default();
            if bit == 0 || woken & bit == 0 {
                ends.waker.wake();
                woken |= bit;
            }
        }
        while let Some(event) = self.shard.poll_event() {
            if let Err(lost) = self.rooms.deliver(event) {
                self.counts.add(lost, 1);
            }
        }
    }

    fn with_streams(&mut self, act: impl FnOnce(&mut Streams, &mut Around<'_>)) {
        let Self { streams, shard, poller, counts, .. } = self;
        act(streams, &mut Around { shard, poller, counts });
    }

    /// Shows the others this thread's numbers.
    fn report(&self) {
        let mut counts = self.shard.counts();
        counts.add_all(&self.counts);
        counts[Metric::TcpStreams] = self.streams.len() as u64;
        self.gauges.counts.publish(&counts);
    }
}

/// Counts what was sent, and tells the shard whom nothing can be sent to.
fn note_sent(counts: &mut Counts, shard: &mut Shard, sent: Sent) {
    count_sent(counts, sent);
    if let Some(path) = sent.refused_path {
        let Refused { denied, unreachable, .. } = sent.refused;
        let why = if denied > 0 {
            Unsent::Denied
        } else if unreachable > 0 {
            Unsent::Unreachable
        } else {
            Unsent::Refused
        };
        shard.handle_unsent(path, why);
    }
}

#[cfg(test)]
mod tests;
