//! What a room draws at random, from a generator for each use: what clients are told of one says nothing of
//! another.

use hearth_random::{Purpose, Rng, Seed};

/// The generators of one room.
#[derive(Debug)]
pub(crate) struct Random {
    /// Names that everybody in the room sees.
    pub(crate) sids: Rng,
    /// User fragments and passwords, which only their client may know.
    pub(crate) ice: Rng,
    /// Where each participant's SSRCs begin.
    pub(crate) ssrcs: Rng,
}

impl Random {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            sids: seed.rng(Purpose::Sid),
            ice: seed.rng(Purpose::IceCredentials),
            ssrcs: seed.rng(Purpose::MediaSsrc),
        }
    }
}
