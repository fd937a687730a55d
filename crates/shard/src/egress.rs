//! Packets to subscribers, subscriber by subscriber, sealed straight into the send slab.
//!
//! * **Owns:** nothing: it has the scheduler say who is next, and the graph who gets what.
//! * **In:** time, a slab. **Out:** datagrams in it: those that answer input, then what waits out of turn, then batches.
//! * **Invariant:** all RTP leaves here, written and sealed in the turn of its subscriber; what does not fit the slab
//!   stays queued.

use std::hint::black_box;
use std::time::Instant;

use hearth_datagram::{SendSlab, TrafficClass};
use hearth_media::Verdict;
use hearth_metrics::{Counts, Metric, bug};
use hearth_units::{ExtSeq, MediaKind};

use crate::entry::{CatchUp, DownEntry, DownKey, PeerEntry, PeerKey, Pending, TrackEntry};
use crate::gso_padding::GsoPadder;
use crate::media_graph::MediaGraph;
use crate::panic_scope::PanicScope;
use crate::retransmission::Retransmitter;
use crate::send_scheduler::{Batch, QueuedDown, SendScheduler};
use crate::{Shard, drops};

/// Packets looked through for one that is longer: as many as leave as one.
const LOOK_AHEAD: usize = 64;

/// Subscribers between the one that is served and the one whose memory is asked for. Fewer leave the
/// memory less time, more fill the cache.
const AHEAD: usize = 2;

impl Shard {
    /// Fills `slab`; false when nothing was left to add. The caller sends, clears and calls again.
    ///
    /// **Cost:** per (packet, subscriber) one header, one copy and one seal; no allocation.
    pub fn poll_transmit(&mut self, now: Instant, slab: &mut SendSlab) -> bool {
        let before = slab.entries().len();
        self.steering.next_turn();
        self.out.move_control(slab);
        while let Some(key) = self.out.scheduler.queues.first_peer() {
            if slab.is_full() {
                return true;
            }
            if self.for_peer(key, |shard| shard.send_queued(now, key, slab)) != Some(false) {
                self.out.scheduler.queues.clear(key);
            }
        }
        while let Some(mut batch) = self.out.scheduler.take_due(now) {
            for key in batch.peers.iter().rev().take(AHEAD) {
                prefetch(&self.graph, &self.out.scheduler, &batch, *key);
            }
            while let Some(&key) = batch.peers.last() {
                if slab.is_full() {
                    self.out.scheduler.resume(batch);
                    return true;
                }
                if let Some(key) = batch.peers.iter().nth_back(AHEAD) {
                    prefetch(&self.graph, &self.out.scheduler, &batch, *key);
                }
                let turn = |shard: &mut Self| shard.flush_peer(now, &batch, key, slab);
                if self.for_peer(key, turn) != Some(false) {
                    batch.peers.pop();
                    self.out.scheduler.handle_served(key);
                }
            }
            for key in &batch.tracks {
                if let Some(track) = self.graph.tracks.get_mut(*key) {
                    track.flushed += track.pending.len() as u64;
                    track.pending.clear();
                }
            }
            self.out.scheduler.recycle(batch);
        }
        self.out.scheduler.handle_sent(now, self.out.counts[Metric::PacketsSent]);
        slab.entries().len() > before
    }

    /// Sends a subscriber what waits for it out of turn; false if the slab is full before that.
    fn send_queued(&mut self, now: Instant, key: PeerKey, slab: &mut SendSlab) -> bool {
        while !slab.is_full() {
            let Some(packet) = self.out.scheduler.queues.pop(key) else {
                return true;
            };
            self.retransmitter.send(now, &packet, &mut self.graph, &mut self.out, slab);
        }
        false
    }

    /// Sends a subscriber everything that waits for it; false if the slab is full before that.
    fn flush_peer(
        &mut self,
        now: Instant,
        batch: &Batch,
        key: PeerKey,
        slab: &mut SendSlab,
    ) -> bool {
        let (graph, serving) = (&mut self.graph, &mut self.panic_scope);
        let order = self.out.scheduler.take_order(batch, key);
        let run = self.out.scheduler.is_collecting().then(GsoPadder::default);
        let (counts, retransmitter) = (&mut self.out.counts, &mut self.retransmitter);
        let mut outlet =
            Outlet { slab, counts, retransmitter, run, is_last: false, switched: false };
        let complete = flush_in_order(now, key, &order, (graph, serving), &mut outlet);
        let switched = outlet.switched;
        self.out.scheduler.recycle_order(order);
        if switched {
            self.schedule_soon(key);
        }
        complete
    }
}

/// Reads what serving a subscriber will need: the memory brings it while others are served.
fn prefetch(graph: &MediaGraph, scheduler: &SendScheduler, batch: &Batch, key: PeerKey) {
    black_box(graph.peers.get(key).map(|entry| entry.peer.prefetch()));
    for queued in scheduler.queued(batch, key) {
        black_box(graph.downs.get(queued.down).map(|down| down.down.prefetch()));
    }
}

/// Sends a subscriber what waits of its subscriptions; false if the slab is full before that.
fn flush_in_order(
    now: Instant,
    key: PeerKey,
    order: &[QueuedDown],
    (graph, serving): (&mut MediaGraph, &mut PanicScope),
    out: &mut Outlet<'_>,
) -> bool {
    let Some(peer) = graph.peers.get_mut(key) else {
        bug!("a subscriber has its turn and no entry");
        return true;
    };
    for (i, queued) in order.iter().enumerate() {
        // It may be gone since it was queued.
        if let Some(down) = graph.downs.get_mut(queued.down)
            && let Some(track) = graph.tracks.get(down.track)
        {
            out.is_last = i + 1 == order.len();
            serving.serve(track.id);
            if !flush_down(now, peer, (queued.down, down), track, out) {
                return false;
            }
        }
    }
    true
}

/// Where the packets of one subscriber go.
struct Outlet<'a> {
    slab: &'a mut SendSlab,
    counts: &'a mut Counts,
    /// Sends once more what comes late.
    retransmitter: &'a mut Retransmitter,
    /// What they join, in a shard that collects.
    run: Option<GsoPadder>,
    /// No other subscription follows.
    is_last: bool,
    /// Some subscription gets another source than before.
    switched: bool,
}

/// Sends one subscription's packets; false if the slab is full before it has all.
fn flush_down(
    now: Instant,
    peer: &mut PeerEntry,
    (key, down): (DownKey, &mut DownEntry),
    track: &TrackEntry,
    out: &mut Outlet<'_>,
) -> bool {
    let clocks = track.track.clocks();
    let class = traffic_class(track);
    down.cursor = down.cursor.max(track.flushed);
    let path = if peer.connected { peer.peer.path() } else { None };
    let Some(path) = path else {
        down.cursor = track.flushed + track.pending.len() as u64;
        down.catch_up = None;
        return true;
    };
    let Outlet { slab, counts, retransmitter, run, is_last, switched } = out;
    while down.is_behind(track) {
        let Some(room) = slab.reserve() else {
            return false;
        };
        let Some((encoding, seq)) = next_packet(down, track) else {
            continue;
        };
        let Some(pkt) = track.track.packet(encoding, seq) else {
            continue;
        };
        let before = down.down.source();
        let to_come = waiting(down.cursor, track).iter().take(LOOK_AHEAD);
        let padding = |len| {
            let Some(run) = run else { return 0 };
            let to_come = to_come.filter(|pending| pending.encoding == encoding);
            let longest = to_come.map(|pending| pending.size).max();
            if *is_last && longest.is_none() {
                return 0;
            }
            run.padding(len, usize::from(longest.unwrap_or(0)).saturating_sub(pkt.size()))
        };
        let written = match down.down.forward(now, &pkt, clocks, room, padding) {
            Verdict::Forward(written) => written,
            Verdict::Drop(reason) => {
                counts.add(drops::forward(reason), 1);
                continue;
            }
        };
        if before != down.down.source() {
            // Its clock is another: until the next report sound and picture may be apart.
            down.next_sender_report = now;
            *switched = true;
            let newest = track.track.newest(encoding);
            down.catch_up = newest.and_then(|newest| CatchUp::after(encoding, seq, newest));
        }
        if written.late
            && let Some(resend) = down.down.resend(&pkt, &written)
        {
            retransmitter.copy_soon(now, key, down, resend);
        }
        if let Some(len) = peer.peer.seal_rtp(room, written.len, written.header_len, written.index)
        {
            slab.commit_as(class, path, len);
            counts.add(Metric::PacketsSent, 1);
        }
    }
    true
}

/// What a slow path makes of the track's packets.
pub(crate) const fn traffic_class(track: &TrackEntry) -> TrafficClass {
    match track.spec.kind {
        MediaKind::Video => TrafficClass::Video,
        MediaKind::Audio => TrafficClass::Vital,
    }
}

/// The packet to look at next: those that overtook a key frame, then the others as they came.
///
/// The start of a key frame may have been lost and repeated. What follows it was refused when it
/// came, for want of that start, and gets its turn after it.
fn next_packet(down: &mut DownEntry, track: &TrackEntry) -> Option<(u8, ExtSeq)> {
    let waiting = waiting(down.cursor, track);
    if let Some(CatchUp { encoding, next, last }) = down.catch_up {
        down.catch_up = (next < last).then(|| CatchUp { encoding, next: next.plus(1), last });
        let will_come = waiting.iter().any(|p| (p.encoding, p.seq) == (encoding, next));
        return (!will_come).then_some((encoding, next));
    }
    down.cursor += 1;
    waiting.first().map(|pending| (pending.encoding, pending.seq))
}

/// The packets of the track that a subscription has not looked at.
fn waiting(cursor: u64, track: &TrackEntry) -> &[Pending] {
    let at = cursor.saturating_sub(track.flushed) as usize;
    track.pending.get(at..).unwrap_or_default()
}
