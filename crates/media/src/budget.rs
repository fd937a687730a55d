//! How much one subscription may be sent again.
//!
//! * **Owns:** what is left for this second.
//! * **In:** time, and how many packets were sent in all.
//! * **Out:** [`Budget::allows`]; [`Budget::spend`] takes one packet out of it.
//! * **Invariant:** a second has no more repetitions than packets were sent in the one before, but
//!   [`LEAST`] at least and [`MOST`] at most: a way that is too narrow is not flooded by what it lost,
//!   and few bytes of NACK do not make many of media.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// A stream of few packets may lose them all; more is of use to nobody but an attacker.
const LEAST: u32 = 64;
/// As many as are remembered of video.
const MOST: u32 = 512;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    began: Instant,
    sent: u32,
}

impl Budget {
    /// Begins with the most there is: the first second is when a key frame is lost.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { left: MOST, began: now, sent: 0 }
    }

    /// Whether a packet may be sent again; `sent` is how many were sent up to now, wrapping.
    pub(crate) fn allows(&mut self, now: Instant, sent: u32) -> bool {
        if now.saturating_duration_since(self.began) >= WINDOW {
            let left = sent.wrapping_sub(self.sent).clamp(LEAST, MOST);
            *self = Self { left, began: now, sent };
        }
        self.left > 0
    }

    /// One packet was sent again.
    pub(crate) const fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_repetitions_as_the_one_before_had_packets() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut budget = Budget { sent: u32::MAX - 350, ..Budget::new(t0) };
        let mut sent = u32::MAX - 350;
        for (second, more, granted) in [(0, 300, 512), (1, 100, 400), (2, 0, 64), (5, 2_000, 512)] {
            sent = sent.wrapping_add(more);
            let count = (0..900)
                .filter(|ms| {
                    let allowed =
                        budget.allows(t0 + Duration::from_millis(second * 1_000 + ms), sent);
                    if allowed {
                        budget.spend();
                    }
                    allowed
                })
                .count();
            assert_eq!(count, granted, "second {second}");
        }
    }
}
