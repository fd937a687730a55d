//! When a thread that fails is given up.
//!
//! * **Owns:** how many failures followed each other.
//! * **In:** when a run began and failed. **Out:** how long to pause before the next, or that there is none.
//! * **Invariant:** a thread that works for [`STABLE`] in between may fail for ever.

use std::time::{Duration, Instant};

/// Failures, each soon after the one before, after which a thread is given up. More tries longer what
/// will not work, fewer lets one client's packets end a thread.
pub(crate) const MAX_FAILURES: u32 = 10;
/// It works if it did so for as long as this.
const STABLE: Duration = Duration::from_secs(1);
/// Between failures that follow each other: once, twice, … as long, to leave the processor to others.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: u32,
}

impl Failures {
    /// A run that began at `began` has failed. The pause before the next; `None`: the thread is given up.
    pub(crate) fn handle_failure(&mut self, now: Instant, began: Instant) -> Option<Duration> {
        let soon = now.saturating_duration_since(began) < STABLE;
        self.in_a_row = if soon { self.in_a_row + 1 } else { 1 };
        (self.in_a_row <= MAX_FAILURES).then(|| FAILURE_PAUSE * (self.in_a_row - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WallClock;

    #[test]
    fn only_failures_soon_after_each_other_are_counted() {
        let (mut failures, mut now) = (Failures::default(), WallClock::now());
        let mut fail = |after| {
            let began = now;
            now += after;
            failures.handle_failure(now, began)
        };
        for _ in 0..100 {
            assert_eq!(fail(STABLE), Some(Duration::ZERO), "it worked in between");
        }
        let soon = STABLE - Duration::from_nanos(1);
        for n in 1..MAX_FAILURES {
            assert_eq!(fail(soon), Some(FAILURE_PAUSE * n));
        }
        assert_eq!(fail(soon), None);
    }
}
