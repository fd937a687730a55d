//! The relay thread: it waits, reads, asks `turn::Server` what becomes of each message, sends.
//!
//! * **Owns:** the server, TURN's sockets and streams, the lanes' ends.
//! * **In:** datagrams, streams, shard messages, [`Inputs`], time. **Out:** datagrams, streams, shard messages, numbers.
//! * **Invariant:** it waits nowhere but in the poller, and takes a bounded share from each source in a turn. When it
//!   fails it goes on with what it has.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, SendSlab};
use hearth_metrics::{Counts, Metric, SharedCounts};
use hearth_net::{Poller, RecvBatch, UdpSocket};
use hearth_shard::ShardMessageKind;
use hearth_turn::{Client, MAX_FRAME, Moment, Outcome, Peer, Server};
use tracing::{debug, error};

use super::lanes::Lanes;
use super::outside::{FIRST_KEY as OUTSIDE, Outside};
use super::streams::{FIRST_KEY as STREAMS, Streams};
use super::{Inputs, MAX_ACCEPTED, MAX_LEAVING};
use crate::WallClock;
use crate::counters::{GaugeGuard, count_sent};
use crate::failures::Failures;
use crate::shard_thread::{LaneEnds, MAX_MESSAGES, Shipment};
use crate::socket_routes::SocketRoutes;

/// Datagrams from one socket in one turn.
const DATAGRAMS_A_TURN: usize = 512;
/// Datagrams that are sent together.
const SLAB_DATAGRAMS: usize = 256;
/// Datagrams that wait while the kernel's buffer is full, for each socket.
const MAX_UNSENT: usize = 256;
/// Retry interval of a full send buffer.
const RETRY: Duration = Duration::from_millis(1);
/// The longest wait: streams are looked after so often.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// What the thread is given.
pub(super) struct Parts {
    pub(super) server: Server,
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) poller: Poller,
    pub(super) inputs: Inputs,
    pub(super) from_shards: Receiver<Shipment>,
    pub(super) shards: Vec<LaneEnds>,
    pub(super) counts: Arc<SharedCounts>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) held: GaugeGuard,
}

/// See the module documentation.
pub(super) struct RelayThread {
    poller: Poller,
    inputs: Inputs,
    from_shards: Receiver<Shipment>,
    sockets: Vec<UdpSocket>,
    routes: SocketRoutes,
    relay: Relay,
    published: Arc<SharedCounts>,
    stop: Arc<AtomicBool>,
    _held: GaugeGuard,
}

/// What messages are handled with, apart from where they are read.
struct Relay {
    server: Server,
    streams: Streams,
    outside: Outside,
    lanes: Lanes,
    /// Datagrams to clients.
    slab: SendSlab,
    counts: Counts,
    answer: Box<[u8]>,
}

impl RelayThread {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { server, mut sockets, poller, inputs, from_shards, shards, .. } = parts;
        for socket in &mut sockets {
            socket.keep_unsent(MAX_UNSENT);
        }
        let bound = sockets.iter().map(UdpSocket::local_addr).collect();
        let relay = Relay {
            server,
            streams: Streams::new(WallClock::now()),
            outside: Outside::new(),
            lanes: Lanes::new(shards),
            slab: SendSlab::new(SLAB_DATAGRAMS),
            counts: Counts::default(),
            answer: vec![0; MAX_FRAME].into_boxed_slice(),
        };
        Self {
            poller,
            inputs,
            from_shards,
            sockets,
            routes: SocketRoutes::new(bound),
            relay,
            published: parts.counts,
            stop: parts.stop,
            _held: parts.held,
        }
    }

    /// Runs until it is stopped, or fails too often.
    pub(super) fn supervise(mut self) {
        let mut failures = Failures::default();
        loop {
            let began = WallClock::now();
            match catch_unwind(AssertUnwindSafe(|| self.run())) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error!(%error, "The poller of the relay thread failed"),
                Err(_) => error!("A bug: the relay thread panicked"),
            }
            self.relay.counts.add(Metric::ShardFailures, 1);
            self.relay.slab.clear();
            self.report();
            let Some(pause) = failures.handle_failure(WallClock::now(), began) else { break };
            std::thread::park_timeout(pause);
        }
        error!("The relay thread fails again and again; TURN is given up");
    }

    fn run(&mut self) -> std::io::Result<()> {
        let mut batch = RecvBatch::new();
        let mut more = true;
        while !self.stop.load(Ordering::Acquire) {
            self.poller.wait(self.poll_wait(more))?;
            let at = Moment { now: WallClock::now(), unix: WallClock::unix_secs() };
            // Before all that could need who has left.
            more = self.take_leaving(at.now);
            more |= self.take_accepted(at.now);
            more |= self.take_messages(at.now);
            more |= self.receive(at, &mut batch);
            self.read_streams(at);
            more |= self.relay.streams.has_more();
            self.relay.handle_timeout(at.now, &mut self.poller);
            self.send();
            self.relay.streams.flush(at.now);
            self.relay.lanes.wake();
            self.report();
        }
        Ok(())
    }

    fn poll_wait(&self, more: bool) -> Duration {
        if more {
            Duration::ZERO
        } else if self.sockets.iter().any(UdpSocket::has_unsent) {
            RETRY
        } else {
            MAX_WAIT
        }
    }

    /// True if there may be more.
    fn take_leaving(&mut self, now: Instant) -> bool {
        for _ in 0..MAX_LEAVING {
            let Ok(participant) = self.inputs.leaving.try_recv() else { return false };
            self.relay.server.revoke(now, &participant);
        }
        true
    }

    /// True if there may be more.
    fn take_accepted(&mut self, now: Instant) -> bool {
        for _ in 0..MAX_ACCEPTED {
            let Ok(stream) = self.inputs.accepted.try_recv() else { return false };
            if !self.relay.streams.add(now, *stream, &mut self.poller) {
                self.relay.counts.add(Metric::TurnStreamsClosed, 1);
            }
        }
        true
    }

    /// What shards have for clients. True if there may be more.
    fn take_messages(&mut self, now: Instant) -> bool {
        for _ in 0..MAX_MESSAGES {
            let Ok((shard, mut message)) = self.from_shards.try_recv() else { return false };
            match message.kind {
                ShardMessageKind::Datagram { from } => {
                    if self.relay.slab.is_full() {
                        self.send();
                    }
                    let way = (from.remote, from.local);
                    self.relay.send_to_client(now, way, message.bytes_mut());
                }
                ShardMessageKind::Confirmed { from } => {
                    if self.relay.server.is_relayed(from.remote) {
                        self.relay.lanes.confirm(from, shard);
                    }
                }
                ShardMessageKind::Check { .. }
                | ShardMessageKind::Packet { .. }
                | ShardMessageKind::SenderReport { .. }
                | ShardMessageKind::Watched { .. }
                | ShardMessageKind::Available { .. }
                | ShardMessageKind::KeyframeRequest { .. } => {
                    debug!("A shard takes the relay thread for a shard");
                }
            }
        }
        true
    }

    /// True if there may be more.
    fn receive(&mut self, at: Moment, batch: &mut RecvBatch) -> bool {
        let mut more = false;
        for index in 0..self.sockets.len() {
            let mut taken = 0;
            while let Some(socket) = self.sockets.get_mut(index) {
                if let Err(error) = socket.recv_batch(batch) {
                    debug!(%error, "Reading TURN's UDP failed");
                    break;
                }
                for datagram in batch.datagrams_mut() {
                    let Endpoint { local, remote, .. } = datagram.path;
                    let client = Client { is_stream: false, local, remote };
                    if self.relay.slab.is_full() {
                        send(&mut self.relay, &mut self.sockets, &self.routes);
                    }
                    self.relay.handle_client(at, client, datagram.bytes, &mut self.poller);
                }
                taken += batch.len();
                if !batch.is_full() {
                    break;
                }
                if taken >= DATAGRAMS_A_TURN {
                    more = true;
                    break;
                }
            }
        }
        for key in 0..self.poller.ready().len() {
            let key = self.poller.ready().get(key).copied().unwrap_or_default();
            if !(OUTSIDE..STREAMS).contains(&key) {
                continue;
            }
            let Some((relayed, socket)) = self.relay.outside.get_mut(key) else { continue };
            if socket.recv_batch(batch).is_err() {
                continue;
            }
            for datagram in batch.datagrams_mut() {
                if self.relay.slab.is_full() {
                    send(&mut self.relay, &mut self.sockets, &self.routes);
                }
                self.relay.send_to_client(at.now, (relayed, datagram.path.remote), datagram.bytes);
            }
        }
        more
    }

    fn read_streams(&mut self, at: Moment) {
        let relay = &mut self.relay;
        for key in relay.streams.take_readable(self.poller.ready()) {
            let (server, lanes) = (&mut relay.server, &mut relay.lanes);
            let (outside, counts) = (&mut relay.outside, &mut relay.counts);
            let (answer, poller) = (&mut relay.answer, &mut self.poller);
            let mut answers = Vec::new();
            relay.streams.read(key, |client, message| {
                match server.handle_client(at, client, message, answer) {
                    Outcome::Answer(len) => {
                        answers.push((client, answer.get(..len).unwrap_or_default().to_vec()));
                    }
                    Outcome::Relay { relayed, peer: Peer::Media(local), payload } => {
                        lanes.send(Endpoint::relay(local, relayed), payload, counts);
                    }
                    Outcome::Relay { relayed, peer: Peer::Outside(peer), payload } => {
                        outside.send((relayed, peer), payload, poller, counts);
                    }
                    Outcome::Nothing => {}
                }
            });
            for (client, answer) in answers {
                relay
                    .counts
                    .add(Metric::DropTurnSlow, relay.streams.send(at.now, client, &answer, &[]));
            }
        }
    }

    fn send(&mut self) {
        send(&mut self.relay, &mut self.sockets, &self.routes);
    }

    /// Shows the others this thread's numbers.
    fn report(&self) {
        let mut counts = self.relay.counts.clone();
        counts.add_all(&self.relay.server.counts);
        counts[Metric::TurnAllocations] = self.relay.server.len() as u64;
        counts[Metric::TurnStreams] = self.relay.streams.len() as u64;
        self.published.publish(&counts);
    }
}

impl Relay {
    fn handle_client(&mut self, at: Moment, client: Client, bytes: &[u8], poller: &mut Poller) {
        match self.server.handle_client(at, client, bytes, &mut self.answer) {
            Outcome::Answer(len) => {
                let path = Endpoint::udp(client.local, client.remote);
                if !self.slab.push(path, self.answer.get(..len).unwrap_or_default()) {
                    self.counts.add(Metric::DropSendFull, 1);
                }
            }
            Outcome::Relay { relayed, peer: Peer::Media(local), payload } => {
                self.lanes.send(Endpoint::relay(local, relayed), payload, &mut self.counts);
            }
            Outcome::Relay { relayed, peer: Peer::Outside(peer), payload } => {
                self.outside.send((relayed, peer), payload, poller, &mut self.counts);
            }
            Outcome::Nothing => {}
        }
    }

    /// A packet of a peer, to the client that it was sent to: (relayed address, peer).
    fn send_to_client(&mut self, now: Instant, way: (SocketAddr, SocketAddr), packet: &[u8]) {
        let Some(room) = self.slab.reserve() else {
            return self.counts.add(Metric::DropSendFull, 1);
        };
        let Some((client, len)) = self.server.handle_peer(now, way, packet, room) else { return };
        if client.is_stream {
            let message = room.get(..len).unwrap_or_default();
            let dropped = self.streams.send(now, client, message, packet);
            self.counts.add(Metric::DropTurnSlow, dropped);
        } else {
            self.slab.commit(Endpoint::udp(client.local, client.remote), len);
        }
    }

    fn handle_timeout(&mut self, now: Instant, poller: &mut Poller) {
        let Self { server, streams, outside, lanes, counts, .. } = self;
        let closed = streams.handle_timeout(now, |client| server.has_allocation(client));
        counts.add(Metric::TurnStreamsClosed, closed);
        while let Some(client) = streams.poll_gone() {
            server.handle_client_gone(client);
        }
        server.handle_timeout(now);
        while let Some(relayed) = server.poll_wanted() {
            if server.is_relayed(relayed) {
                outside.open(relayed, poller);
            }
        }
        while let Some(relayed) = server.poll_freed() {
            outside.remove(relayed);
            lanes.forget(relayed, server.media());
        }
    }
}

/// Sends what waits for clients, each stretch by its socket.
fn send(relay: &mut Relay, sockets: &mut [UdpSocket], routes: &SocketRoutes) {
    for socket in sockets.iter_mut().filter(|socket| socket.has_unsent()) {
        count_sent(&mut relay.counts, socket.flush());
    }
    let mut rest = relay.slab.entries();
    while let Some(first) = rest.first() {
        let socket = routes.socket(first.path.local);
        let same = rest.iter().take_while(|entry| routes.socket(entry.path.local) == socket);
        let (run, later) = rest.split_at(same.count().max(1));
        rest = later;
        match socket.and_then(|socket| sockets.get_mut(socket)) {
            Some(socket) => count_sent(&mut relay.counts, socket.send(relay.slab.bytes(), run)),
            None => relay.counts.add(Metric::DropSendRefused, run.len() as u64),
        }
    }
    relay.slab.clear();
}
