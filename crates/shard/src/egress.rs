//! Packets to subscribers, subscriber by subscriber, sealed straight into the send slab.

use std::time::Instant;

use hearth_media::Verdict;
use hearth_units::ExtSeq;

use crate::entry::{CatchUp, DownEntry, PeerEntry, TrackEntry};
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
        for down in peer.dirty.iter().filter_map(|key| self.downs.get(*key)) {
            down.down.warm();
        }
        while let Some(&down_key) = peer.dirty.last() {
            if let Some(down) = self.downs.get_mut(down_key) {
                if let Some(track) = self.tracks.get(down.track) {
                    let sent = flush_down(now, peer, down, track, slab);
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

/// Sends one subscription's packets until it has all, or the slab is full. Returns how many.
fn flush_down(
    now: Instant,
    peer: &mut PeerEntry,
    down: &mut DownEntry,
    track: &TrackEntry,
    slab: &mut SendSlab,
) -> u64 {
    let clocks = track.track.clocks();
    down.cursor = down.cursor.max(track.flushed);
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
        let Verdict::Forward(written) = down.down.forward(now, &pkt, &clocks, room) else {
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
    let at = (down.cursor - track.flushed) as usize;
    if let Some(CatchUp { encoding, next, last }) = down.catch_up {
        down.catch_up = (next < last).then(|| CatchUp { encoding, next: next.plus(1), last });
        let waiting = track.pending.get(at..).unwrap_or_default();
        return (!waiting.contains(&(encoding, next))).then_some((encoding, next));
    }
    down.cursor += 1;
    track.pending.get(at).copied()
}
