//! The media core of one thread: datagrams in, datagrams out.
//!
//! * **Owns:** the peers, up tracks and down tracks of one media thread.
//! * **In:** [`Shard::handle_command`] (control), [`Shard::handle_datagram`] (the network),
//!   [`Shard::handle_message`] (other shards), [`Shard::handle_timeout`] (time).
//! * **Out:** [`Shard::poll_transmit`], [`Shard::poll_message`], [`Shard::poll_event`].
//! * **Invariant:** packets of one batch leave subscriber by subscriber, each to a subscriber once;
//!   each room collects a batch of its own, for how long depends on the load (`scheduler`).
//! * **Not here:** sockets (`net`), what a room allows (`room`), SDP (`negotiate`).

mod commands;
mod deadlines;
mod demux;
mod drops;
mod egress;
mod entry;
mod feedback;
mod gso_padding;
mod ingest;
mod panic_scope;
mod random;
mod reports;
mod retransmission;
mod send_scheduler;
mod shard_message;
mod slab;
mod ssrc_table;
mod steering;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, SendSlab};
use hearth_metrics::{Counts, Metric};
use hearth_peer::{Context, PeerError, PeerEvent};
use hearth_plane::{DownId, Event, PeerId, ShardId, TrackId};
use hearth_random::Seed;
use hearth_rtp::{PacketKind, classify};

use crate::deadlines::Deadlines;
use crate::entry::{DownEntry, DownKey, PeerEntry, PeerKey, TrackEntry, TrackKey};
use crate::panic_scope::{PanicScope, Scope};
use crate::random::Random;
use crate::retransmission::Copies;
use crate::send_scheduler::{QueuedDown, SendScheduler};
pub use crate::shard_message::{Lane, ShardMessage, ShardMessageKind};
use crate::slab::Slab;
use crate::steering::{Route, Steering};

/// Everything that is not a packet or a retransmission happens on this beat: deadlines, reports, levels.
const TICK: Duration = Duration::from_millis(20);
/// Parcels waiting for their shard; more are dropped and counted.
const MAX_MESSAGES: usize = 1_024;
/// The same for the lane of checks. A browser sends a handful as it begins and repeats them; a flood may
/// fill this and costs little.
const MAX_CHECKS: usize = 32;
/// Datagrams that answer input at once (RTCP, retransmissions); more are dropped and counted.
const MAX_CONTROL_OUT: usize = 512;

/// What a shard is told at its start.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Its name.
    pub id: ShardId,
    /// How many shards the node has.
    pub shards: u16,
    /// The node's DTLS certificate.
    pub certificate: Arc<hearth_peer::Certificate>,
    /// For everything random; no other shard may have the same.
    pub seed: Seed,
}

/// See the module documentation.
pub struct Shard {
    context: Context,
    random: Random,
    steering: Steering,
    peers: Slab<PeerEntry>,
    deadlines: Deadlines,
    copies: Copies,
    tracks: Slab<TrackEntry>,
    downs: Slab<DownEntry>,
    peer_keys: BTreeMap<PeerId, PeerKey>,
    track_keys: BTreeMap<TrackId, TrackKey>,
    down_keys: BTreeMap<DownId, DownKey>,
    scheduler: SendScheduler,
    /// The subscriptions of the subscriber that is being served; kept for its memory.
    scratch: Vec<QueuedDown>,
    /// Finished datagrams that answer input.
    control_out: SendSlab,
    events: VecDeque<Event>,
    messages: VecDeque<(ShardId, ShardMessage)>,
    /// Those of [`Lane::Checks`].
    checks: VecDeque<(ShardId, ShardMessage)>,
    next_tick: Instant,
    next_levels: Instant,
    counts: Counts,
    panic_scope: PanicScope,
}

impl Shard {
    /// Starts with nothing.
    ///
    /// # Errors
    ///
    /// The DTLS library cannot use the certificate.
    pub fn new(now: Instant, config: ShardConfig) -> Result<Self, PeerError> {
        Ok(Self {
            context: Context::new(config.certificate)?,
            random: Random::new(config.seed),
            steering: Steering::new(config.id, config.shards),
            peers: Slab::default(),
            deadlines: Deadlines::new(),
            copies: Copies::new(),
            tracks: Slab::default(),
            downs: Slab::default(),
            peer_keys: BTreeMap::new(),
            track_keys: BTreeMap::new(),
            down_keys: BTreeMap::new(),
            scheduler: SendScheduler::new(now),
            scratch: Vec::new(),
            control_out: SendSlab::new(MAX_CONTROL_OUT),
            events: VecDeque::new(),
            messages: VecDeque::with_capacity(MAX_MESSAGES),
            checks: VecDeque::with_capacity(MAX_CHECKS),
            next_tick: now + TICK,
            next_levels: now,
            counts: Counts::default(),
            panic_scope: PanicScope::default(),
        })
    }

    /// Takes over what `before`, which failed, knew of the clients of other shards: their datagrams come
    /// here as before.
    pub fn inherit(&mut self, before: &mut Self) {
        self.steering.inherit(&mut before.steering);
    }

    /// One datagram, which came by `from`. Decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, from: Endpoint, buf: &mut [u8]) {
        match self.route(from, buf) {
            Route::Peer(key) => {
                self.for_peer(key, |shard| shard.deliver(now, key, from, buf));
            }
            Route::Shard(shard) => self.pass_on(shard, ShardMessageKind::Datagram { from }, buf),
            Route::Stranger(shard) => self.pass_on(shard, ShardMessageKind::Check { from }, buf),
            Route::Nobody => self.counts.add(Metric::DropReceiveNobody, 1),
        }
    }

    /// Something from another shard of this node.
    pub fn handle_message(&mut self, now: Instant, sender: ShardId, message: &mut ShardMessage) {
        match message.kind {
            ShardMessageKind::Datagram { from } => {
                self.receive_passed_on(now, from, message.bytes_mut());
            }
            ShardMessageKind::Check { from } => {
                if self.receive_passed_on(now, from, message.bytes_mut()) {
                    self.pass_on(sender, ShardMessageKind::Confirmed { from }, &[]);
                }
            }
            ShardMessageKind::Confirmed { from } => self.steering.learn_foreign(from, sender),
            ShardMessageKind::Packet { track, encoding } => self.for_track(track, |shard, key| {
                let _ = shard.ingest(now, key, encoding, message.bytes_mut());
            }),
            ShardMessageKind::SenderReport { track, encoding, ntp, rtp_time } => {
                self.for_track(track, |shard, key| {
                    shard.take_sender_report(now, key, encoding, (ntp, rtp_time));
                });
            }
            ShardMessageKind::KeyframeRequest { track, encoding } => {
                self.for_track(track, |shard, key| shard.request_keyframe(now, key, encoding));
            }
        }
    }

    /// Deadlines, NACKs, reports, levels: whatever is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.deadlines.take_nack(now) {
            self.for_peer(key, |shard| shard.send_nacks(now, key));
        }
        self.send_copies(now);
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        for index in 0..self.deadlines.end() {
            if let Some(key) = self.deadlines.tick_due(index, now) {
                self.for_peer(key, |shard| shard.poll_peer(now, key));
            }
        }
        for index in 0..self.tracks.end() {
            let Some(key) = self.tracks.key_at(index) else { continue };
            let Some(track) = self.tracks.get(key).map(|entry| entry.id) else { continue };
            self.guarded(Scope::Track(track), |shard| {
                if shard.tracks.get(key).is_some_and(|entry| entry.needs_target_update(now)) {
                    shard.update_target(now, key);
                }
                if let Some(entry) = shard.tracks.get_mut(key) {
                    entry.track.release_unwatched(now);
                }
            });
        }
        self.tell_levels(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout), then [`poll_transmit`](Self::poll_transmit),
    /// is due; `None` while there is nobody.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tick = (self.peers.len() + self.tracks.len() > 0).then_some(self.next_tick);
        let retransmissions = [self.deadlines.poll_timeout(), self.copies.poll_timeout()];
        let retransmissions = retransmissions.into_iter().flatten();
        tick.into_iter().chain(self.scheduler.poll_timeout()).chain(retransmissions).min()
    }

    /// News for control. Call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Something for another shard. Call until `None`.
    pub fn poll_message(&mut self) -> Option<(ShardId, ShardMessage)> {
        self.messages.pop_front().or_else(|| self.checks.pop_front())
    }

    /// A copy of the shard's numbers.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        counts[Metric::Transports] = self.peers.len() as u64;
        counts[Metric::Tracks] = self.tracks.len() as u64;
        counts[Metric::Subscriptions] = self.downs.len() as u64;
        counts[Metric::Routes] = self.steering.len() as u64;
        counts
    }

    /// Does what is due for one peer, and notes when it is to be visited next.
    fn poll_peer(&mut self, now: Instant, key: PeerKey) {
        if let Some(entry) = self.peers.get_mut(key) {
            if entry.peer.poll_timeout().is_some_and(|at| at <= now) {
                entry.peer.handle_timeout(now);
            }
            self.drain_peer(key);
            self.report(now, key);
        }
        let next = self.peers.get(key).and_then(|entry| self.next_deadline(now, entry));
        if self.peers.get(key).is_some() {
            self.deadlines.set_tick(key, next);
        }
    }

    /// Who publishes is visited on every tick: losses and feedback cannot wait.
    fn next_deadline(&self, now: Instant, entry: &PeerEntry) -> Option<Instant> {
        if !entry.tracks.is_empty() {
            return Some(now);
        }
        let downs = entry.downs.iter().filter_map(|down| self.downs.get(*down));
        let reports = downs.map(|down| down.next_sender_report).chain([entry.next_quality]);
        let reports = reports.min().filter(|_| entry.connected);
        entry.peer.poll_timeout().into_iter().chain(reports).min()
    }

    /// Something happened to a peer that its next visit must see.
    fn schedule_soon(&mut self, key: PeerKey) {
        self.deadlines.set_tick(key, Some(self.next_tick));
    }

    /// Whose a datagram is.
    fn route(&mut self, from: Endpoint, buf: &[u8]) -> Route {
        let route = |shard: &mut Self| shard.steering.route(classify(buf), from, buf);
        self.guarded(Scope::Nobody, route).unwrap_or(Route::Nobody)
    }

    /// Runs `act` with the key of a track, if that is here.
    fn for_track(&mut self, track: TrackId, act: impl FnOnce(&mut Self, TrackKey)) {
        if let Some(&key) = self.track_keys.get(&track) {
            self.guarded(Scope::Track(track), |shard| act(shard, key));
        }
    }

    /// Runs `act` for a peer, if that is here.
    fn for_peer<R>(&mut self, key: PeerKey, act: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let peer = self.peers.get(key)?.id;
        self.guarded(Scope::Peer(peer), act)
    }

    /// Takes a datagram that another shard got; true if it was an authentic message of ICE.
    fn receive_passed_on(&mut self, now: Instant, from: Endpoint, buf: &mut [u8]) -> bool {
        let Route::Peer(key) = self.route(from, buf) else {
            self.counts.add(Metric::DropReceiveNobody, 1);
            return false;
        };
        self.for_peer(key, |shard| shard.deliver(now, key, from, buf)).unwrap_or(false)
    }

    /// Gives a datagram to the peer it is for, and forwards what comes out. True if it was an authentic
    /// message of ICE.
    fn deliver(&mut self, now: Instant, key: PeerKey, from: Endpoint, buf: &mut [u8]) -> bool {
        let Some(entry) = self.peers.get_mut(key) else {
            return false;
        };
        let kind = classify(buf);
        match entry.peer.handle_datagram(now, from, buf) {
            hearth_peer::Incoming::Rtp { packet, .. } => self.receive_rtp(now, key, packet),
            hearth_peer::Incoming::Rtcp(packet) => self.receive_rtcp(now, key, packet),
            hearth_peer::Incoming::Dropped(reason) => self.counts.add(drops::receive(reason), 1),
            hearth_peer::Incoming::Consumed => {
                let nominated = entry.peer.nominated_path() == Some(from);
                if kind == PacketKind::Stun {
                    self.steering.learn(from, key, &mut entry.paths, nominated);
                }
                self.drain_peer(key);
                return kind == PacketKind::Stun;
            }
        }
        false
    }

    /// Takes a peer's datagrams and events.
    fn drain_peer(&mut self, key: PeerKey) {
        self.schedule_soon(key);
        let Some(entry) = self.peers.get_mut(key) else {
            return;
        };
        while let Some(transmit) = entry.peer.poll_transmit() {
            self.steering.expect(transmit.path, key, &mut entry.paths);
            if !self.control_out.push(transmit.path, &transmit.payload) {
                self.counts.add(Metric::DropAnswersFull, 1);
            }
        }
        let peer = entry.id;
        let mut closed = None;
        while let Some(event) = entry.peer.poll_event() {
            self.events.push_back(match event {
                PeerEvent::Connected => {
                    entry.connected = true;
                    for down in entry.downs.iter().filter_map(|down| self.downs.get(*down)) {
                        if let Some(track) = self.tracks.get_mut(down.track) {
                            track.needs_target_update = true;
                        }
                    }
                    Event::PeerConnected { peer }
                }
                PeerEvent::IceFailed => Event::IceFailed { peer },
                PeerEvent::Closed(reason) => {
                    closed = Some(reason);
                    continue;
                }
                PeerEvent::ChannelOpen(channel) => Event::ChannelOpen { peer, channel },
                PeerEvent::Data { channel, payload } => Event::Data { peer, channel, payload },
            });
        }
        if let Some(reason) = closed {
            self.remove_peer(peer);
            self.events.push_back(Event::PeerClosed { peer, reason });
        }
    }

    /// Hands a datagram, or word of one, to another shard.
    fn pass_on(&mut self, to: ShardId, kind: ShardMessageKind, bytes: &[u8]) {
        if let Some(message) = ShardMessage::new(kind, bytes) {
            self.send_message(to, message);
        }
    }

    fn send_message(&mut self, to: ShardId, message: ShardMessage) {
        let (max, queue, dropped) = match message.lane() {
            Lane::Media => (MAX_MESSAGES, &mut self.messages, Metric::DropParcelsOwn),
            Lane::Checks => (MAX_CHECKS, &mut self.checks, Metric::DropChecksOwn),
        };
        if queue.len() < max {
            queue.push_back((to, message));
        } else {
            self.counts.add(dropped, 1);
        }
    }
}
