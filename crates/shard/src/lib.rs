//! The media core of one thread: datagrams in, datagrams out.
//!
//! * **Owns:** the peers, up tracks and down tracks of one media thread.
//! * **In:** [`Shard::handle_command`] (control), [`Shard::handle_datagram`] (the network),
//!   [`Shard::handle_message`] (other shards), [`Shard::handle_timeout`] (time).
//! * **Out:** [`Shard::poll_transmit`], [`Shard::poll_message`], [`Shard::poll_event`].
//! * **Invariant:** packets of one batch leave subscriber by subscriber, each to a subscriber once;
//!   each room collects a batch of its own, for how long depends on the load (`send_scheduler`).
//! * **Not here:** sockets (`net`), what a room allows (`room`), SDP (`negotiate`).

mod commands;
mod control_out;
mod deadlines;
mod demux;
mod destination;
mod drops;
mod egress;
mod entry;
mod feedback;
#[cfg(test)]
mod fixtures;
mod gso_padding;
mod ingest;
mod layer_targets;
mod levels;
mod media_graph;
mod outbox;
mod panic_scope;
mod quality;
mod random;
mod reports;
mod retransmission;
mod rtp_session;
mod send_queue;
mod send_scheduler;
mod sender_reports;
mod shard_message;
mod slab;
mod ssrc_table;
mod steering;
mod streams;
mod uplink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, Protocol};
use hearth_metrics::{Counts, Metric, bug};
use hearth_peer::{Context, PeerError, PeerEvent};
use hearth_plane::{Event, ShardId, TrackId, Unsent};
use hearth_random::Seed;
use hearth_rtp::{PacketKind, classify};

use crate::deadlines::Deadlines;
use crate::destination::WatchedEncodings;
use crate::entry::{PeerKey, TrackKey};
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;
use crate::panic_scope::{PanicScope, Scope};
use crate::random::Random;
use crate::retransmission::Retransmitter;
pub use crate::shard_message::{Lane, ShardMessage, ShardMessageKind};
pub use crate::steering::shard_of_check;
use crate::steering::{Route, Steering};

/// Everything that is not a packet or a retransmission happens on this beat: deadlines, reports, levels.
const TICK: Duration = Duration::from_millis(20);
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
    graph: MediaGraph,
    deadlines: Deadlines,
    retransmitter: Retransmitter,
    out: Outbox,
    next_tick: Instant,
    next_levels: Instant,
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
            graph: MediaGraph::default(),
            deadlines: Deadlines::new(),
            retransmitter: Retransmitter::new(),
            out: Outbox::new(now),
            next_tick: now + TICK,
            next_levels: now,
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
            Route::Shard(to) => self.pass_on(to, ShardMessageKind::Datagram { from }, buf),
            Route::Stranger(to) => self.pass_on(to, ShardMessageKind::Check { from }, buf),
            Route::BeyondShare => self.out.counts.add(Metric::DropForeignShare, 1),
            Route::Nobody => self.out.for_nobody(from, buf),
        }
    }

    /// A datagram to a client did not leave this machine.
    pub fn handle_unsent(&mut self, path: Endpoint, why: Unsent) {
        let Some(key) = self.steering.peer_at(path) else { return };
        if let Some(entry) = self.graph.peers.get_mut(key) {
            entry.peer.handle_unsent(why);
        }
    }

    /// Whether a client of ours has passed a connectivity check by this endpoint, and uses or may use it.
    pub fn serves(&self, endpoint: &Endpoint) -> bool {
        self.steering.serves(endpoint)
    }

    /// The TCP connection of an endpoint is closed.
    pub fn handle_path_closed(&mut self, now: Instant, path: Endpoint) {
        let Some(key) = self.steering.forget(&path) else { return };
        self.for_peer(key, |shard| {
            if let Some(entry) = shard.graph.peers.get_mut(key) {
                entry.paths.retain(|known| *known != path);
                entry.peer.handle_path_closed(now, path);
                shard.drain_peer(key);
            }
        });
    }

    /// Something from another shard of this node.
    pub fn handle_message(&mut self, now: Instant, sender: ShardId, message: &mut ShardMessage) {
        match message.kind {
            ShardMessageKind::Datagram { from } => {
                self.receive_passed_on(now, from, message.bytes_mut());
            }
            ShardMessageKind::Check { from } => {
                if self.receive_passed_on(now, from, message.bytes_mut()) {
                    self.out.message(sender, ShardMessageKind::Confirmed { from }, &[]);
                }
            }
            ShardMessageKind::Confirmed { from } => self.steering.learn_foreign(from, sender),
            ShardMessageKind::Packet { track, encoding } => self.for_track(track, |shard, key| {
                let (graph, out) = (&mut shard.graph, &mut shard.out);
                let _ = ingest::ingest(now, (key, encoding), message.bytes_mut(), graph, out);
            }),
            ShardMessageKind::SenderReport { track, encoding, ntp, rtp_time } => {
                self.for_track(track, |shard, key| {
                    let (of, report) = ((key, encoding), (ntp, rtp_time));
                    let (graph, out) = (&mut shard.graph, &mut shard.out);
                    ingest::take_sender_report(now, of, report, graph, out);
                });
            }
            ShardMessageKind::Watched { track, watched, known } => {
                self.for_track(track, |shard, key| {
                    let watched = WatchedEncodings { watched, known };
                    shard.graph.handle_watched(key, sender, watched, &mut shard.out);
                });
            }
            ShardMessageKind::Available { track, encodings, uplink } => {
                self.for_track(track, |shard, key| {
                    let news = (encodings, uplink);
                    shard.graph.handle_available(now, key, sender, news, &mut shard.out);
                });
            }
            ShardMessageKind::KeyframeRequest { track, encoding } => {
                self.for_track(track, |shard, key| {
                    shard.graph.request_keyframe(now, key, encoding, &mut shard.out)
                });
            }
        }
    }

    /// Deadlines, NACKs, reports, levels: whatever is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        // What finds no room for its RTCP in this turn has its own in the next one, at once.
        while self.out.has_room_for_reports()
            && let Some(key) = self.deadlines.take_nack(now)
        {
            let turn =
                |shard: &mut Self| reports::send_nacks(now, key, &mut shard.graph, &mut shard.out);
            if let Some(next) = self.for_peer(key, turn).flatten() {
                self.deadlines.note_nack(key, next);
            }
        }
        self.retransmitter.queue_copies(now, &self.graph, &mut self.out);
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        for index in 0..self.deadlines.end() {
            if !self.out.has_room_for_reports() {
                self.next_tick = now;
                return;
            }
            if let Some(key) = self.deadlines.tick_due(index, now) {
                self.for_peer(key, |shard| shard.poll_peer(now, key));
            }
        }
        for index in 0..self.graph.tracks.end() {
            let Some(key) = self.graph.tracks.key_at(index) else { continue };
            let Some(track) = self.graph.tracks.get(key).map(|entry| entry.id) else { continue };
            self.guarded(Scope::Track(track), |shard| {
                if shard.graph.tracks.get(key).is_some_and(|entry| entry.needs_target_update(now)) {
                    shard.graph.update_targets(now, key, &mut shard.out);
                }
                if let Some(entry) = shard.graph.tracks.get_mut(key) {
                    entry.send_watched(now, &mut shard.out);
                    entry.track.release_unwatched(now);
                    entry.track.update_rates(now);
                }
            });
        }
        self.send_levels(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout), then [`poll_transmit`](Self::poll_transmit),
    /// is due; `None` while there is nobody.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tick = (self.graph.peers.len() + self.graph.tracks.len() > 0).then_some(self.next_tick);
        let retransmissions = [self.deadlines.poll_timeout(), self.retransmitter.poll_timeout()];
        let retransmissions = retransmissions.into_iter().flatten();
        tick.into_iter().chain(self.out.scheduler.poll_timeout()).chain(retransmissions).min()
    }

    /// News for control. Call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.poll_event()
    }

    /// Something for another shard. Call until `None`.
    pub fn poll_message(&mut self) -> Option<(ShardId, ShardMessage)> {
        self.out.poll_message()
    }

    /// A copy of the shard's numbers.
    pub fn counts(&self) -> Counts {
        let mut counts = self.out.counts.clone();
        counts[Metric::Transports] = self.graph.peers.len() as u64;
        counts[Metric::Tracks] = self.graph.tracks.len() as u64;
        counts[Metric::Subscriptions] = self.graph.downs.len() as u64;
        counts[Metric::Routes] = self.steering.len() as u64;
        counts
    }

    /// Does what is due for one peer, and notes when it is to be visited next.
    fn poll_peer(&mut self, now: Instant, key: PeerKey) {
        if let Some(entry) = self.graph.peers.get_mut(key) {
            if entry.peer.poll_timeout().is_some_and(|at| at <= now) {
                entry.peer.handle_timeout(now);
            }
            self.drain_peer(key);
            if let Some(next) = reports::send(now, key, &mut self.graph, &mut self.out) {
                self.deadlines.note_nack(key, next);
            }
        }
        if self.graph.peers.get(key).is_some() {
            self.deadlines.set_tick(key, self.graph.next_deadline(now, key));
        }
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
        if let Some(key) = self.graph.track_key(track) {
            self.guarded(Scope::Track(track), |shard| act(shard, key));
        }
    }

    /// Runs `act` for a peer, if that is here.
    fn for_peer<R>(&mut self, key: PeerKey, act: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let peer = self.graph.peers.get(key)?.id;
        self.guarded(Scope::Peer(peer), act)
    }

    /// Gives a datagram to the shard it is for.
    fn pass_on(&mut self, to: ShardId, kind: ShardMessageKind, buf: &[u8]) {
        self.out.counts.add(Metric::DatagramsPassedOn, 1);
        self.out.message(to, kind, buf);
    }

    /// Takes a datagram that another shard got; true if it was an authentic message of ICE.
    fn receive_passed_on(&mut self, now: Instant, from: Endpoint, buf: &mut [u8]) -> bool {
        let Route::Peer(key) = self.route(from, buf) else {
            self.out.counts.add(Metric::DropReceiveUnknown, 1);
            return false;
        };
        self.for_peer(key, |shard| shard.deliver(now, key, from, buf)).unwrap_or(false)
    }

    /// Gives a datagram to the peer it is for, and forwards what comes out. True if it was an authentic
    /// message of ICE.
    fn deliver(&mut self, now: Instant, key: PeerKey, from: Endpoint, buf: &mut [u8]) -> bool {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            bug!("a datagram is for a peer that has no entry");
            return false;
        };
        let kind = classify(buf);
        match entry.peer.handle_datagram(now, from, buf) {
            hearth_peer::Incoming::Rtp { packet, .. } => {
                let next = ingest::receive(now, key, packet, &mut self.graph, &mut self.out);
                if let Some(next) = next {
                    self.deadlines.note_nack(key, next);
                }
            }
            hearth_peer::Incoming::Rtcp(packet) => {
                feedback::receive(now, key, packet, &mut self.graph, &mut self.out)
            }
            hearth_peer::Incoming::Dropped(reason) => {
                self.out.counts.add(drops::receive(reason), 1)
            }
            hearth_peer::Incoming::Consumed => {
                let nominated = entry.peer.nominated_path() == Some(from);
                if kind == PacketKind::Stun {
                    let forgotten = self.steering.learn(from, key, &mut entry.paths, nominated);
                    // Its connection is closed, as nobody is there any more.
                    if let Some(path) = forgotten.filter(|path| path.protocol == Protocol::Tcp) {
                        entry.peer.handle_path_closed(now, path);
                    }
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
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return bug!("a peer is drained that has no entry");
        };
        while let Some(transmit) = entry.peer.poll_transmit() {
            self.steering.expect(transmit.path, key, &mut entry.paths);
            self.out.datagram(key, transmit.path, &transmit.payload);
        }
        let peer = entry.id;
        let mut closed = None;
        while let Some(event) = entry.peer.poll_event() {
            self.out.event(match event {
                PeerEvent::Connected => {
                    entry.handle_connected(&self.graph.downs, &mut self.graph.tracks);
                    Event::PeerConnected { peer }
                }
                PeerEvent::PathSilent => Event::PathSilent { peer },
                PeerEvent::IceFailed => Event::IceFailed { peer },
                PeerEvent::Connectivity(seen) => Event::Connectivity { peer, seen },
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
            self.out.event(Event::PeerClosed { peer, reason });
        }
    }
}
