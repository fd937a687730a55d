//! How far a transport has come, and how long it may be silent.
//!
//! * **Owns:** the deadline of each stage.
//! * **In, Out:** [`Peer`](crate::Peer) enters a stage when its condition holds.
//! * **Invariant:** every stage but the last has a deadline.

use std::time::{Duration, Instant};

/// Between two authenticated datagrams; a browser checks its path at least every 5 s. livekit-server:
/// disconnected after 10 s, failed 5 s later.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// The same over UDP where there is TCP: a browser checks a quiet path every 2.5 s, and 0.9 s after a check that was
/// not answered. Longer bears the loss of more of these, shorter brings media back sooner.
pub(crate) const PATH_SILENCE: Duration = Duration::from_millis(3_900);
/// See the module documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// No path yet.
    Checking {
        deadline: Instant,
    },
    /// A path, but no keys.
    Handshaking {
        deadline: Instant,
    },
    Connected {
        last_received: Instant,
        /// [`PathSilent`](crate::PeerEvent::PathSilent) was said of this silence.
        told: bool,
    },
    /// Connected once, and silent for too long.
    Failed {
        deadline: Instant,
    },
    Closed,
}

impl Stage {
    /// Something authenticated has just come.
    pub(crate) const fn connected(now: Instant) -> Self {
        Self::Connected { last_received: now, told: false }
    }
}
