//! The bandwidth of retransmissions: how many one subscription may get.
//!
//! * **Owns:** how many it got in this window.
//! * **In:** time, and how many packets were sent in all.
//! * **Out:** [`RetransmissionBudget::allows`]; [`RetransmissionBudget::spend`] takes one packet out of it.
//! * **Invariant:** in a window of a second at most as many packets are retransmitted as were sent in it and
//!   the one before, but [`LEAST`] at least and [`MOST`] at most: a congested link is not flooded
//!   by what it lost, and few bytes of NACK do not make many of media.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// A stream of few packets may lose them all; more is of use to nobody but an attacker.
const LEAST: u32 = 64;
/// As many as are remembered of video.
const MOST: u32 = 512;

/// See the module documentation. Counts of packets wrap.
#[derive(Debug)]
pub(crate) struct RetransmissionBudget {
    began: Instant,
    spent: u32,
    /// Packets sent before this window, and before the one before it.
    sent: u32,
    sent_before: u32,
}

impl RetransmissionBudget {
    /// Nothing was sent yet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { began: now, spent: 0, sent: 0, sent_before: 0 }
    }

    /// Whether a packet may be retransmitted; `sent` is how many were sent up to now.
    pub(crate) fn allows(&mut self, now: Instant, sent: u32) -> bool {
        if now.saturating_duration_since(self.began) >= WINDOW {
            *self = Self { began: now, spent: 0, sent, sent_before: self.sent };
        }
        self.spent < sent.wrapping_sub(self.sent_before).clamp(LEAST, MOST)
    }

    /// One packet was retransmitted.
    pub(crate) const fn spend(&mut self) {
        self.spent = self.spent.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_sent_again_as_was_sent_lately() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut sent = u32::MAX - 350;
        let mut budget =
            RetransmissionBudget { sent, sent_before: sent, ..RetransmissionBudget::new(t0) };
        // What is sent counts at once, and for one more second.
        for (at, more, granted) in
            [(0, 300, 300), (500, 100, 100), (1_000, 0, 400), (2_000, 0, 64), (3_000, 2_000, 512)]
        {
            let now = t0 + Duration::from_millis(at);
            sent = sent.wrapping_add(more);
            let count = (0..600)
                .filter(|_| {
                    let allowed = budget.allows(now, sent);
                    if allowed {
                        budget.spend();
                    }
                    allowed
                })
                .count();
            assert_eq!(count, granted, "after {at} ms");
        }
    }
}
