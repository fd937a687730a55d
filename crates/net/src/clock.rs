//! The only reader of the machine's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl WallClock {
    /// Monotonic time, for deadlines.
    #[expect(clippy::disallowed_methods, reason = "time enters the sans-IO crates here")]
    pub fn now() -> Instant {
        Instant::now()
    }

    /// Time since 1970-01-01 UTC; 0 if the clock stands before that.
    #[expect(clippy::disallowed_methods, reason = "wall time enters here and nowhere else")]
    pub fn unix() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Milliseconds since 1970-01-01 UTC; 0 if the clock stands before that.
    pub fn unix_ms() -> u64 {
        u64::try_from(Self::unix().as_millis()).unwrap_or(u64::MAX)
    }

    /// Seconds since 1970-01-01 UTC; 0 if the clock stands before that.
    pub fn unix_secs() -> u64 {
        Self::unix().as_secs()
    }
}
