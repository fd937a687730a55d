//! When packets that wait for subscribers leave: the more a shard sends, the longer it collects.
//!
//! * **Owns:** how much was sent lately, since when packets wait.
//! * **In:** [`Batching::handle_packet`] (one waits), [`Batching::handle_sent`], time.
//! * **Out:** [`Batching::is_due`], [`Batching::poll_timeout`].
//! * **Invariant:** nothing waits longer than [`MAX_WINDOW`], and the millisecond that a timer is
//!   late; the marked end of a frame ends the wait at once.
//! * **Why:** several packets of one length to one subscriber cost the kernel little more than one,
//!   and its key and history are read into the cache once. See
//!   `docs/decisions/0001-batching-by-load.md`.

use std::time::{Duration, Instant};

/// The longest wait. Higher saves CPU in rooms with many listeners, lower delays their sound less;
/// a receiver's jitter buffer holds at least 20 ms.
const MAX_WINDOW: Duration = Duration::from_millis(5);
/// Packets a second at which waiting begins: 30 viewers of one video.
const FROM_RATE: u64 = 5_000;
/// Packets a second at which [`MAX_WINDOW`] is reached.
const FULL_RATE: u64 = 30_000;
/// The rate is taken over this time.
const SLOT: Duration = Duration::from_millis(100);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Batching {
    window: Duration,
    /// Packets sent since the beginning, when the slot began.
    sent_before: u64,
    slot_began: Instant,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// A frame is complete.
    complete: bool,
}

impl Batching {
    pub(crate) fn new(now: Instant) -> Self {
        Self { window: Duration::ZERO, sent_before: 0, slot_began: now, waiting: None }
    }

    /// A packet waits for its subscribers; `completes` a frame.
    pub(crate) fn handle_packet(&mut self, now: Instant, completes: bool) {
        let waiting = self.waiting.get_or_insert(Waiting { since: now, complete: false });
        waiting.complete |= completes;
    }

    /// All that waited has left; `sent` counts all packets since the beginning.
    pub(crate) fn handle_sent(&mut self, now: Instant, sent: u64) {
        self.waiting = None;
        let elapsed = now.saturating_duration_since(self.slot_began);
        if elapsed >= SLOT {
            let packets = u128::from(sent.saturating_sub(self.sent_before));
            let rate = packets * 1_000_000 / elapsed.as_micros().max(1);
            self.window = window(u64::try_from(rate).unwrap_or(u64::MAX));
            (self.sent_before, self.slot_began) = (sent, now);
        }
    }

    /// Packets wait for others that may leave with them.
    pub(crate) fn is_collecting(&self) -> bool {
        !self.window.is_zero()
    }

    /// What waits should leave now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.waiting.as_ref().is_some_and(|w| w.complete || w.since + self.window <= now)
    }

    /// When that is so at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.since + self.window)
    }
}

/// How long to collect at a rate of so many packets a second.
fn window(rate: u64) -> Duration {
    let above = rate.clamp(FROM_RATE, FULL_RATE) - FROM_RATE;
    let micros = u64::try_from(MAX_WINDOW.as_micros()).unwrap_or(0);
    Duration::from_micros(micros * above / (FULL_RATE - FROM_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_window_grows_with_the_rate_up_to_its_limit() {
        for (rate, micros) in
            [(0, 0), (5_000, 0), (17_500, 2_500), (30_000, 5_000), (u64::MAX, 5_000)]
        {
            assert_eq!(window(rate), Duration::from_micros(micros), "{rate}");
        }
    }

    #[test]
    fn an_idle_shard_sends_at_once_and_a_busy_one_collects() {
        let t0 = epoch();
        let mut batching = Batching::new(t0);
        assert!(!batching.is_due(t0), "nothing waits");
        batching.handle_packet(t0, false);
        assert!(batching.is_due(t0));
        batching.handle_sent(t0 + ms(100), 3_000);

        let t1 = t0 + ms(101);
        batching.handle_packet(t1, false);
        batching.handle_packet(t1 + ms(2), false);
        assert!(!batching.is_due(t1 + ms(4)));
        assert_eq!(batching.poll_timeout(), Some(t1 + ms(5)));
        assert!(batching.is_due(t1 + ms(5)));
        batching.handle_sent(t1 + ms(5), 3_010);
        assert_eq!(batching.poll_timeout(), None);

        let t2 = t1 + ms(6);
        batching.handle_packet(t2, true);
        assert!(batching.is_due(t2), "a complete frame is not delayed");
        batching.handle_sent(t2 + ms(200), 3_020);
        batching.handle_packet(t2 + ms(201), false);
        assert!(batching.is_due(t2 + ms(201)), "idle again");
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
