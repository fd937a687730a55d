//! How many answers strangers get: enough for clients that are about to show a password, too few to be worth
//! forging an address for.
//!
//! * **Owns:** a fixed number of counters, each of the addresses that fall on it, for one second.
//! * **In:** an address and the time. **Out:** whether it gets an answer.
//! * **Invariant:** the memory does not depend on how many ask. A counter that others have used up costs a client one
//!   second, after which it asks again.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Instant;

/// Counters, a power of two. More have fewer addresses share one.
const COUNTERS: usize = 4_096;
/// Answers to one address a second. A call needs two for each of its servers; behind one address there may be many
/// callers. Fewer make the server a smaller reflector.
const A_SECOND: u8 = 50;

#[derive(Debug)]
pub(crate) struct Answers {
    given: Box<[u8]>,
    since: Instant,
    hasher: RandomState,
}

impl Answers {
    pub(crate) fn new(now: Instant) -> Self {
        let given = vec![0; COUNTERS].into_boxed_slice();
        Self { given, since: now, hasher: RandomState::new() }
    }

    /// Counts one.
    pub(crate) fn allow(&mut self, now: Instant, ip: IpAddr) -> bool {
        if now.saturating_duration_since(self.since).as_secs() >= 1 {
            self.since = now;
            self.given.fill(0);
        }
        // Of IPv6, everybody has a /64.
        let network = match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => u64::try_from(ip.to_bits() >> 64).unwrap_or_default(),
        };
        let slot = self.hasher.hash_one(network) & (COUNTERS as u64).saturating_sub(1);
        let Some(given) = usize::try_from(slot).ok().and_then(|slot| self.given.get_mut(slot))
        else {
            return false;
        };
        *given = given.saturating_add(1);
        *given <= A_SECOND
    }
}
