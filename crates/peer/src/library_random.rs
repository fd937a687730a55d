//! The random numbers that the ICE and SCTP libraries draw by themselves.
//!
//! * **Owns:** the generator that theirs is seeded from.
//! * **In:** [`refresh`](LibraryRandom::refresh), before each call of a library that may draw.
//! * **Out:** a new state of `fastrand`'s generator for this thread, which both libraries draw from.
//! * **Invariant:** nothing that one transport sends predicts another's values. Theirs is wyrand, with
//!   64 bits of state that one STUN transaction id gives away: no transport may draw from a state that went on the
//!   wire elsewhere.

use hearth_random::Rng;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct LibraryRandom(Rng);

impl LibraryRandom {
    pub(crate) fn new(rng: Rng) -> Self {
        Self(rng)
    }

    /// The libraries' next numbers have nothing to do with those before.
    pub(crate) fn refresh(&mut self) {
        fastrand::seed(self.0.next_u64());
    }
}
