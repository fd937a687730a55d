//! The media thread: all participants of a load test, each with a socket of its own.
//!
//! * **Owns:** the [`Client`]s, their sockets, the poller, the counts of this second.
//! * **In:** [`Input`]s (participants, messages of the server), datagrams, time.
//! * **Out:** requests to each participant's signalling task, a [`Second`] each second,
//!   [`Summary`]s.
//! * **Invariant:** it waits nowhere but in a poller. The kernel timestamps arrivals, whenever they
//!   are read.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hearth_datagram::SendSlab;
use hearth_net::WallClock;
use hearth_net::{Poller, RecvBatch, UdpSocket, Waker};
use hearth_signal::proto::{SignalRequest, SignalResponse};
use tokio::sync::mpsc;
use tracing::warn;

use crate::client::{Client, Newcomer, Summary};
use crate::inbound::{latencies, record};

/// Messages of servers that wait for the thread; beyond that their senders wait.
const MAX_INPUTS: usize = 16_384;
/// Timers are looked at on this beat: the resolution of pacing.
const TICK: Duration = Duration::from_millis(1);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// Above so many packets a second, sockets are read at fixed intervals and not on arrival: waking up for
/// each packet costs more than reading it.
const BUSY: u64 = 2_000;
/// That beat. Longer finds more at each socket, shorter answers sooner.
const READ: Duration = Duration::from_millis(4);
/// Datagrams of one participant in one system call.
const SLAB: usize = 64;
/// Batches from one socket before the others have their turn.
const BATCHES: usize = 4;
/// For channels to open before data flows, and for data to arrive after it ends.
const SETTLE: Duration = Duration::from_millis(500);
/// Distance of two simulated speakers.
const SPEAKER_TURN: Duration = Duration::from_secs(3);

/// A participant to be added to the thread.
pub(crate) struct Arriving {
    pub(crate) key: usize,
    pub(crate) newcomer: Newcomer,
    /// The server's first message, and when it was here.
    pub(crate) first: (Instant, SignalResponse),
    pub(crate) socket: UdpSocket,
    pub(crate) outbox: mpsc::UnboundedSender<SignalRequest>,
}

/// A request to the thread.
pub(crate) enum Input {
    Add(Box<Arriving>),
    Signal {
        key: usize,
        response: Box<SignalResponse>,
    },
    Closed {
        key: usize,
        why: String,
    },
    /// Everybody is there: data begins to flow, and publishers may take turns in being announced
    /// as speakers.
    Begin {
        speakers: bool,
    },
    /// Everybody says goodbye; then the summaries, and the end.
    Finish(tokio::sync::oneshot::Sender<Outcome>),
}

/// The results of the test.
pub(crate) struct Outcome {
    /// By key.
    pub(crate) summaries: Vec<(usize, Summary)>,
    /// Of data messages, in microseconds.
    pub(crate) data_latency: Histogram<u32>,
}

/// Packets received by all participants, in the current second.
pub(crate) struct Arrivals {
    /// What stamps count from.
    pub(crate) epoch: Instant,
    /// When the datagram at hand arrived.
    pub(crate) at: Instant,
    pub(crate) packets: u64,
    bytes: u64,
    latency: Histogram<u32>,
    /// Of data messages, since the beginning.
    data_latency: Histogram<u32>,
}

/// One second of the test.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Second {
    /// Seconds since the beginning.
    pub at: f64,
    /// Participants whose media connection stands.
    pub connected: usize,
    /// Packets of media that arrived, everywhere.
    pub packets: u64,
    /// Bits of media that arrived, everywhere.
    pub bits: u64,
    /// Packets that are missing so far, everywhere.
    pub lost: u64,
    /// Latency in milliseconds: median, 95th percentile, largest.
    pub latency_ms: [f64; 3],
}

impl Arrivals {
    fn new(epoch: Instant) -> Self {
        let (latency, data_latency) = (latencies(), latencies());
        Self { epoch, at: epoch, packets: 0, bytes: 0, latency, data_latency }
    }

    /// A packet of media.
    pub(crate) fn count(&mut self, bytes: usize, latency: Option<u64>) {
        self.packets += 1;
        self.bytes += bytes as u64;
        if let Some(latency) = latency {
            record(&mut self.latency, latency);
        }
    }

    /// A data message that was stamped with `sent`.
    pub(crate) fn count_data(&mut self, sent: u64) {
        let latency = self.micros(self.at).saturating_sub(sent);
        record(&mut self.data_latency, latency);
    }

    /// The value of a stamp made at `now`.
    pub(crate) fn micros(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    fn take(&mut self) -> (u64, u64, [f64; 3]) {
        let latency = [0.5, 0.95, 1.0].map(|q| self.latency.value_at_quantile(q) as f64 / 1_000.0);
        self.latency.reset();
        (std::mem::take(&mut self.packets), std::mem::take(&mut self.bytes), latency)
    }
}

/// How the rest of the program reaches the thread.
#[derive(Clone)]
pub(crate) struct Handle {
    inputs: SyncSender<Input>,
    waker: Waker,
    /// What stamps count from.
    pub(crate) epoch: Instant,
}

impl Handle {
    /// False if the thread has ended. Waits while the thread is far behind: so do the servers.
    pub(crate) fn send(&self, input: Input) -> bool {
        let sent = self.inputs.send(input).is_ok();
        self.waker.wake();
        sent
    }
}

struct Slot {
    key: usize,
    client: Client,
    socket: UdpSocket,
    outbox: mpsc::UnboundedSender<SignalRequest>,
}

struct MediaThread {
    poller: Poller,
    /// Of no socket, to let a beat pass.
    pause: Poller,
    /// More than [`BUSY`].
    is_busy: bool,
    inputs: Receiver<Input>,
    seconds: mpsc::UnboundedSender<Second>,
    /// By the participant's key; keys are given in order.
    slots: Vec<Option<Slot>>,
    /// When each has something to do.
    deadlines: Vec<Option<Instant>>,
    arrivals: Arrivals,
    slab: SendSlab,
    next_tick: Instant,
    next_read: Instant,
    next_second: Instant,
    next_speaker: Option<Instant>,
    speakers: usize,
    /// When to end, and the receiver of the result.
    finishing: Option<(Instant, tokio::sync::oneshot::Sender<Outcome>)>,
}

/// Starts the thread. It sends a [`Second`] each second, and ends with [`Input::Finish`].
pub(crate) fn start(seconds: mpsc::UnboundedSender<Second>) -> io::Result<Handle> {
    let (sender, inputs) = sync_channel(MAX_INPUTS);
    let (poller, pause) = (Poller::new()?, Poller::new()?);
    let epoch = WallClock::now();
    let handle = Handle { inputs: sender, waker: poller.waker(), epoch };
    std::thread::Builder::new().name("media".to_owned()).spawn(move || {
        let thread = MediaThread {
            poller,
            pause,
            is_busy: false,
            inputs,
            seconds,
            slots: Vec::new(),
            deadlines: Vec::new(),
            arrivals: Arrivals::new(epoch),
            slab: SendSlab::new(SLAB),
            next_tick: epoch,
            next_read: epoch,
            next_second: epoch + Duration::from_secs(1),
            next_speaker: None,
            speakers: 0,
            finishing: None,
        };
        thread.run();
    })?;
    Ok(handle)
}

impl MediaThread {
    fn run(mut self) {
        let mut batch = RecvBatch::new();
        let mut ready = Vec::new();
        loop {
            let has_looked = match self.wait() {
                Ok(has_looked) => has_looked,
                Err(error) => {
                    warn!(%error, "Waiting for datagrams failed; the test ends");
                    return;
                }
            };
            let (now, unix) = (WallClock::now(), WallClock::unix());
            while let Ok(input) = self.inputs.try_recv() {
                self.take_input(now, input);
            }
            if let Some((_, done)) = self.finishing.take_if(|(at, _)| *at <= now) {
                return self.finish(now, done);
            }
            ready.clear();
            if has_looked {
                ready.extend_from_slice(self.poller.ready());
            }
            for key in &ready {
                if let Some(slot) = self.slots.get_mut(*key).and_then(Option::as_mut) {
                    slot.receive((now, unix), &mut batch, &mut self.arrivals);
                    self.flush(now, *key);
                }
            }
            if now >= self.next_tick {
                self.tick(now);
            }
        }
    }

    /// Waits for datagrams or the next timer; at high packet rates, for the next interval. Returns
    /// whether it has looked for datagrams.
    fn wait(&mut self) -> io::Result<bool> {
        let mut timeout = self.next_tick.saturating_duration_since(WallClock::now());
        if self.is_busy && !self.poller.is_full() {
            let until_read = self.next_read.saturating_duration_since(WallClock::now());
            self.pause.wait(timeout.min(until_read))?;
            let now = WallClock::now();
            if now < self.next_read {
                return Ok(false);
            }
            self.next_read = now + READ;
            timeout = Duration::ZERO;
        }
        self.poller.wait(timeout)?;
        Ok(true)
    }

    fn take_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Add(arriving) => {
                let Arriving { key, newcomer, first: (at, first), socket, outbox } = *arriving;
                let mut client = Client::new(newcomer);
                client.handle_response(at, first);
                if let Err(error) = self.poller.add(&socket, key) {
                    warn!(%error, "A participant has no socket");
                    return;
                }
                if self.slots.len() <= key {
                    self.slots.resize_with(key + 1, || None);
                    self.deadlines.resize(key + 1, None);
                }
                if let Some(slot) = self.slots.get_mut(key) {
                    *slot = Some(Slot { key, client, socket, outbox });
                }
                self.flush(now, key);
            }
            Input::Signal { key, response } => {
                if let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut) {
                    slot.client.handle_response(now, *response);
                    self.flush(now, key);
                }
            }
            Input::Closed { key, why } => {
                if let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut) {
                    slot.client.handle_closed(why);
                }
            }
            Input::Begin { speakers } => {
                self.next_speaker = speakers.then_some(now);
                for key in 0..self.slots.len() {
                    if let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut) {
                        slot.client.begin_data(now + SETTLE);
                        self.flush(now, key);
                    }
                }
            }
            Input::Finish(done) => {
                for slot in self.slots.iter_mut().flatten() {
                    slot.client.end_data();
                }
                self.finishing = Some((now + SETTLE, done));
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let unix_ms = WallClock::unix_ms();
        let clocks = (unix_ms, ntp(unix_ms));
        self.next_tick = (now + MAX_WAIT).min(self.next_second);
        self.arrivals.at = now;
        for key in 0..self.deadlines.len() {
            let Some(due) = self.deadlines.get(key).copied().flatten() else { continue };
            if due > now {
                self.next_tick = self.next_tick.min(due);
            } else if let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut) {
                slot.client.handle_timeout(now, clocks, &mut self.arrivals);
                self.flush(now, key);
            }
        }
        if self.next_speaker.is_some_and(|at| at <= now) {
            self.next_speaker = Some(now + SPEAKER_TURN);
            self.speakers += 1;
            let turn = self.speakers;
            let publishers = self.slots.iter_mut().flatten().filter(|slot| slot.client.publishes());
            let mut slots: Vec<&mut Slot> = publishers.collect();
            let count = slots.len().max(1);
            if let Some(slot) = slots.get_mut(turn % count) {
                slot.client.simulate_speaker(SPEAKER_TURN.as_secs() as i32);
                let key = slot.key;
                self.flush(now, key);
            }
        }
        if self.next_second <= now {
            self.next_second += Duration::from_secs(1);
            let (packets, bytes, latency_ms) = self.arrivals.take();
            self.is_busy = packets > BUSY;
            let clients = || self.slots.iter().flatten().map(|slot| &slot.client);
            // There is no receiver once the test is over.
            let _ = self.seconds.send(Second {
                at: now.saturating_duration_since(self.arrivals.epoch).as_secs_f64(),
                connected: clients().filter(|client| client.is_connected()).count(),
                packets,
                bits: bytes * 8,
                lost: clients().map(Client::lost).sum(),
                latency_ms,
            });
        }
    }

    /// Sends what a participant has to send, and notes when it is due next.
    fn flush(&mut self, now: Instant, key: usize) {
        let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut) else { return };
        slot.flush(now, &mut self.slab);
        let due = slot.client.poll_timeout();
        if let Some(at) = self.deadlines.get_mut(key) {
            *at = due;
        }
        if let Some(due) = due {
            self.next_tick = self.next_tick.min(due.max(now + TICK));
        }
    }

    fn finish(mut self, now: Instant, done: tokio::sync::oneshot::Sender<Outcome>) {
        let slots = self.slots.iter().flatten();
        let summaries = slots.map(|slot| (slot.key, slot.client.summary())).collect();
        for slot in self.slots.iter_mut().flatten() {
            slot.client.leave();
            slot.flush(now, &mut self.slab);
        }
        // The requester may be gone.
        let data_latency = self.arrivals.data_latency;
        let _ = done.send(Outcome { summaries, data_latency });
    }
}

impl Slot {
    /// Takes what there is. `unix` is the time of the kernel's clock at `now`.
    fn receive(
        &mut self,
        (now, unix): (Instant, Duration),
        batch: &mut RecvBatch,
        arrivals: &mut Arrivals,
    ) {
        for _ in 0..BATCHES {
            // Linux reports here what went wrong with some earlier datagram.
            if self.socket.recv_batch(batch).is_err() {
                break;
            }
            for datagram in batch.datagrams_mut() {
                arrivals.at = datagram.at.map_or(now, |at| on_our_clock(now, unix, at));
                self.client.handle_datagram(now, datagram.path.remote, datagram.bytes, arrivals);
            }
            if !batch.is_full() {
                break;
            }
        }
    }

    /// Sends datagrams and requests.
    fn flush(&mut self, now: Instant, slab: &mut SendSlab) {
        loop {
            slab.clear();
            let all = self.client.transmit(now, slab);
            self.socket.send_slab(slab);
            if all || slab.is_empty() {
                break;
            }
        }
        while let Some(request) = self.client.poll_request() {
            // Without a signalling task the participant is about to end.
            let _ = self.outbox.send(request);
        }
    }
}

/// A time `at` of the kernel's clock, which shows `unix` at `now`.
fn on_our_clock(now: Instant, unix: Duration, at: Duration) -> Instant {
    match at.checked_sub(unix) {
        Some(later) => now + later,
        None => now.checked_sub(unix.saturating_sub(at)).unwrap_or(now),
    }
}

/// NTP time, 32.32 fixed point, from Unix time.
fn ntp(unix_ms: u64) -> u64 {
    const SECONDS_1900_TO_1970: u64 = 2_208_988_800;
    let seconds = unix_ms / 1_000 + SECONDS_1900_TO_1970;
    (seconds << 32) | (((unix_ms % 1_000) << 32) / 1_000)
}
