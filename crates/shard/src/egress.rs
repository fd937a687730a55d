//! Packets to subscribers, subscriber by subscriber, sealed straight into the send slab.

use std::time::Instant;

use hearth_media::Verdict;
use hearth_units::ExtSeq;

use crate::entry::{CatchUp, DownEntry, PeerEntry, Pending, TrackEntry};
use crate::run::Run;
use crate::{SendSlab, Shard};

impl Shard {
    /// Fills `slab`; false when nothing was left to add. The caller sends, clears and calls again.
    ///
    /// **Cost:** per (packet, subscriber) one header, one copy and one seal; no allocation.
    pub fn poll_transmit(&mut self, now: Instant, slab: &mut SendSlab) -> bool {
        let before = slab.entries().len();
        for (to, datagram) in self.answers.iter() {
            if !slab.push(to, datagram) {
                break;
            }
        }
        let taken = slab.entries().len() - before;
        self.answers.remove_first(taken);
        if self.dirty_tracks.is_empty() {
            // Also if what waited went with its track.
            self.batching.handle_sent(now, self.counters.packets_out);
            return slab.entries().len() > before;
        }
        if !self.batching.is_due(now) {
            return slab.entries().len() > before;
        }
        while let Some(&key) = self.dirty_peers.last() {
            if slab.is_full() {
                return true;
            }
            if self.flush_peer(now, key, slab) {
                self.dirty_peers.pop();
            }
        }
        for key in self.dirty_tracks.drain(..) {
            if let Some(track) = self.tracks.get_mut(key) {
                track.flushed += track.pending.len() as u64;
                track.pending.clear();
            }
        }
        self.batching.handle_sent(now, self.counters.packets_out);
        slab.entries().len() > before
    }

    /// Sends a subscriber everything that waits for it; false if the slab is full before that.
    fn flush_peer(&mut self, now: Instant, key: usize, slab: &mut SendSlab) -> bool {
        let Some(peer) = self.peers.get_mut(key) else {
            return true;
        };
        for down in peer.dirty.iter().filter_map(|dirty| self.downs.get(dirty.down)) {
            down.down.warm();
        }
        // The longest leaves first, as a run may end with a shorter one.
        peer.dirty.sort_unstable_by_key(|dirty| dirty.size);
        let mut run = self.batching.is_collecting().then(Run::default);
        while let Some(dirty) = peer.dirty.last() {
            if let Some(down) = self.downs.get_mut(dirty.down) {
                if let Some(track) = self.tracks.get(down.track) {
                    let is_last = peer.dirty.len() == 1;
                    let run = run.as_mut();
                    let sent = flush_down(now, peer, down, track, slab, run, is_last);
                    self.counters.packets_out += sent;
                    if down.is_behind(track) {
                        return false;
                    }
                }
                down.queued = false;
            }
            peer.dirty.pop();
        }
        peer.queued = false;
        true
    }
}

/// Sends one subscription's packets until it has all, or the slab is full. Returns how many. They join
/// `run`; `is_last` if no other subscription of the peer follows.
fn flush_down(
    now: Instant,
    peer: &mut PeerEntry,
    down: &mut DownEntry,
    track: &TrackEntry,
    slab: &mut SendSlab,
    mut run: Option<&mut Run>,
    is_last: bool,
) -> u64 {
    let clocks = track.track.clocks();
    down.cursor = down.cursor.max(track.flushed);
    let current = down.down.current();
    let of_current = waiting(down, track).iter().filter(|p| Some(p.encoding) == current);
    let longest = usize::from(of_current.map(|pending| pending.size).max().unwrap_or(0));
    let Some(to) = peer.peer.remote_addr().filter(|_| peer.connected) else {
        down.cursor = track.flushed + track.pending.len() as u64;
        down.catch_up = None;
        return 0;
    };
    let mut sent = 0;
    while down.is_behind(track) {
        let Some(room) = slab.reserve() else {
            return sent;
        };
        let Some((encoding, seq)) = next_packet(down, track) else {
            continue;
        };
        let Some(pkt) = track.track.packet(encoding, seq) else {
            continue;
        };
        let before = down.down.current();
        let is_followed = !is_last || down.is_behind(track);
        let padding = |len| match &mut run {
            Some(run) if is_followed => run.padding(len, longest.saturating_sub(pkt.size())),
            _ => 0,
        };
        let Verdict::Forward(written) = down.down.forward(now, &pkt, &clocks, room, padding) else {
            continue;
        };
        if before != down.down.current() {
            let last = track.track.newest(encoding).filter(|last| *last > seq);
            down.catch_up = last.map(|last| CatchUp { encoding, next: seq.plus(1), last });
        }
        if let Some(len) = peer.peer.seal_rtp(room, written.len, written.header_len, written.index)
        {
            slab.commit(to, len);
            sent += 1;
        }
    }
    sent
}

/// The packet to look at next: those that overtook a key frame, then the others as they came.
///
/// The start of a key frame may have been lost and repeated. What follows it was refused when it
/// came, for want of that start, and gets its turn after it.
fn next_packet(down: &mut DownEntry, track: &TrackEntry) -> Option<(u8, ExtSeq)> {
    let waiting = waiting(down, track);
    if let Some(CatchUp { encoding, next, last }) = down.catch_up {
        down.catch_up = (next < last).then(|| CatchUp { encoding, next: next.plus(1), last });
        let will_come = waiting.iter().any(|p| (p.encoding, p.seq) == (encoding, next));
        return (!will_come).then_some((encoding, next));
    }
    down.cursor += 1;
    waiting.first().map(|pending| (pending.encoding, pending.seq))
}

/// The packets of the track that it has not looked at.
fn waiting<'a>(down: &DownEntry, track: &'a TrackEntry) -> &'a [Pending] {
    let at = down.cursor.saturating_sub(track.flushed) as usize;
    track.pending.get(at..).unwrap_or_default()
}
