//! Which packets of one SSRC are missing, and when to ask for them again.
//!
//! * **Owns:** the missing sequence numbers, each with its tries and its next deadline.
//! * **In:** [`handle_packet`](NackTracker::handle_packet) and
//!   [`handle_recovered`](NackTracker::handle_recovered) (one arrived), time, the round trip.
//! * **Out:** [`poll`](NackTracker::poll) – numbers to ask for now;
//!   [`took_surrender`](NackTracker::took_surrender) – some will never come, ask for a key frame.
//! * **Invariant:** at most 256 numbers are tracked, each is asked for during 800 ms to a second, and two
//!   requests for one are at least 20 ms apart.
//! * **Spec:** generic NACK is RFC 4585 §6.2.1.

use std::time::{Duration, Instant};

use hearth_units::ExtSeq;

/// Most of a second of a 3 Mbps stream; what is lost beyond that costs less as a key frame.
const MAX_TRACKED: usize = 256;
/// A jump that no burst loss explains: the sender restarted.
const MAX_GAP: u64 = 1_000;
/// When it is given up, counted from the first request: after two round trips, but not before and not after
/// this. Shorter asks for more key frames, longer is of no use: a second of packets is kept, and what comes
/// later has no place among them.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(1_000));
/// Waiting longer spares requests for reordered packets, shorter repairs sooner.
const FIRST_DELAY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(20));
/// The smallest and largest distance of two requests; it grows by a quarter each time, as livekit-server's
/// does. Larger leaves too few on a long way, where libwebrtc ignores those that come too soon.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));

/// The missing packets of one SSRC.
#[derive(Debug)]
pub struct NackTracker {
    rtt: Duration,
    newest: Option<ExtSeq>,
    /// Ascending.
    missing: Vec<Missing>,
    /// No deadline in `missing` is earlier; may be early itself.
    next: Option<Instant>,
    surrendered: bool,
}

#[derive(Debug)]
struct Missing {
    seq: ExtSeq,
    ask_at: Instant,
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    first: Instant,
    /// From the last request to the next.
    retry: Duration,
}

impl NackTracker {
    /// Begins with nothing missing; `rtt` is assumed until [`poll`](Self::poll) is told a better one.
    pub const fn new(rtt: Duration) -> Self {
        Self { rtt, newest: None, missing: Vec::new(), next: None, surrendered: false }
    }

    /// A packet arrived in its own stream, first sent or repeated.
    pub fn handle_packet(&mut self, now: Instant, seq: ExtSeq) {
        let Some(newest) = self.newest else {
            self.newest = Some(seq);
            return;
        };
        let Some(ahead) = seq.since(newest) else {
            self.forget(seq);
            return;
        };
        if ahead == 0 {
            return;
        }
        self.newest = Some(seq);
        if ahead > MAX_GAP {
            self.surrendered |= !self.missing.is_empty();
            self.missing.clear();
            self.next = None;
            self.surrendered = true;
            return;
        }
        let ask_at = now + (self.rtt / 4).clamp(FIRST_DELAY.0, FIRST_DELAY.1);
        let lost = ahead - 1;
        let tracked = lost.min(MAX_TRACKED as u64);
        let too_many = (self.missing.len() + tracked as usize).saturating_sub(MAX_TRACKED);
        self.surrendered |= too_many > 0 || tracked < lost;
        self.missing.drain(..too_many);
        self.missing.extend((ahead - tracked..ahead).map(|i| Missing {
            seq: newest.plus(i),
            ask_at,
            asked: None,
        }));
        if ahead > 1 {
            self.next = Some(self.next.map_or(ask_at, |next| next.min(ask_at)));
        }
    }

    /// A packet was repeated in the stream for retransmissions (RFC 4588); `seq` is its original
    /// number, 16 bits.
    pub fn handle_recovered(&mut self, seq: u16) {
        if let Some(at) = self.missing.iter().position(|missing| missing.seq.wire() == seq) {
            self.missing.remove(at);
        }
    }

    /// Writes the numbers to ask for now, oldest first, at most `out.len()`; returns how many.
    ///
    /// `rtt` is the round trip to the sender, which has had a chance to answer only after that.
    pub fn poll(&mut self, now: Instant, rtt: Duration, out: &mut [u16]) -> usize {
        self.rtt = rtt;
        if self.next.is_none_or(|next| next > now) {
            return 0;
        }
        let first_retry = (rtt + rtt / 10).clamp(RETRY.0, RETRY.1);
        let patience = (2 * rtt).clamp(PATIENCE.0, PATIENCE.1);
        let (mut slots, mut next, mut surrendered) = (out.iter_mut(), None::<Instant>, false);
        let mut written = 0_usize;
        self.missing.retain_mut(|missing| {
            if missing.ask_at <= now {
                let asked = match missing.asked {
                    None => Asked { first: now, retry: first_retry },
                    Some(asked) if now >= asked.first + patience => {
                        surrendered = true;
                        return false;
                    }
                    Some(asked) => {
                        Asked { retry: (asked.retry + asked.retry / 4).min(RETRY.1), ..asked }
                    }
                };
                if let Some(slot) = slots.next() {
                    *slot = missing.seq.wire();
                    written += 1;
                    missing.ask_at = (now + asked.retry).min(asked.first + patience);
                    missing.asked = Some(asked);
                }
            }
            next = Some(next.map_or(missing.ask_at, |next| next.min(missing.ask_at)));
            true
        });
        self.next = next;
        self.surrendered |= surrendered;
        written
    }

    /// When to [`poll`](Self::poll) next; may be early.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// True once after packets were given up: only a key frame helps then.
    pub const fn took_surrender(&mut self) -> bool {
        std::mem::replace(&mut self.surrendered, false)
    }

    fn forget(&mut self, seq: ExtSeq) {
        if let Ok(at) = self.missing.binary_search_by_key(&seq, |missing| missing.seq) {
            self.missing.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_units::SeqUnwrapper;

    const RTT: Duration = Duration::from_millis(60);

    #[test]
    fn a_reordered_packet_is_not_asked_for() {
        let (mut tracker, mut seqs, t0) = start();
        for seq in [10, 12, 11] {
            tracker.handle_packet(t0, seqs.unwrap(seq));
        }
        assert_eq!(asked(&mut tracker, t0 + ms(1_000)), []);
        assert!(!tracker.took_surrender());
    }

    #[test]
    fn a_lost_packet_is_asked_for_for_a_while_and_then_given_up() {
        for (rtt, last, expect) in [
            (0, 805, vec![5, 25, 50, 81, 120, 169, 230, 306, 401, 501, 601, 701, 801]),
            (60, 815, vec![15, 81, 163, 263, 363, 463, 563, 663, 763]),
            (450, 920, vec![20, 120, 220, 320, 420, 520, 620, 720, 820]),
            (5_000, 1_020, vec![20, 120, 220, 320, 420, 520, 620, 720, 820, 920]),
        ] {
            let (rtt, t0) = (ms(rtt), crate::test_epoch());
            let (mut tracker, mut seqs) = (NackTracker::new(rtt), SeqUnwrapper::default());
            for seq in [65_535, 1] {
                tracker.handle_packet(t0, seqs.unwrap(seq));
            }
            let (mut asks, mut now) = (Vec::new(), t0);
            while let Some(next) = tracker.poll_timeout() {
                assert!(!tracker.took_surrender());
                now = next;
                let mut out = [0; 10];
                if tracker.poll(now, rtt, &mut out) > 0 {
                    asks.push((now - t0).as_millis());
                }
            }
            assert_eq!(asks, expect, "{rtt:?}");
            assert_eq!((now - t0).as_millis(), last, "{rtt:?}");
            assert!(tracker.took_surrender());
            assert!(!tracker.took_surrender());
        }
    }

    #[test]
    fn a_retransmission_ends_the_asking() {
        let (mut tracker, mut seqs, t0) = start();
        for seq in [10, 14] {
            tracker.handle_packet(t0, seqs.unwrap(seq));
        }
        tracker.handle_recovered(12);
        tracker.handle_packet(t0, seqs.unwrap(11));
        assert_eq!(asked(&mut tracker, t0 + ms(15)), [13]);
    }

    #[test]
    fn a_restart_of_the_sender_is_not_a_thousand_losses() {
        let (mut tracker, mut seqs, t0) = start();
        for seq in [10, 12, 2_000] {
            tracker.handle_packet(t0, seqs.unwrap(seq));
        }
        assert_eq!(asked(&mut tracker, t0 + ms(20)), []);
        assert!(tracker.took_surrender());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_newest() {
        let (mut tracker, mut seqs, t0) = start();
        for seq in [0, 900] {
            tracker.handle_packet(t0, seqs.unwrap(seq));
        }
        let asks = asked(&mut tracker, t0 + ms(20));
        assert_eq!((asks.len(), asks.first(), asks.last()), (256, Some(&644), Some(&899)));
        assert!(tracker.took_surrender());
    }

    fn start() -> (NackTracker, SeqUnwrapper, Instant) {
        (NackTracker::new(RTT), SeqUnwrapper::default(), crate::test_epoch())
    }

    fn asked(tracker: &mut NackTracker, now: Instant) -> Vec<u16> {
        let mut out = [0; 300];
        let n = tracker.poll(now, RTT, &mut out);
        out[..n].to_vec()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
