//! What a shard draws at random, from a generator for each use.

use hearth_random::{Purpose, Rng, Seed};

/// The seeds and generators of one shard.
#[derive(Debug)]
pub(crate) struct Random {
    seed: Seed,
    /// Transports that were given a seed.
    peers: u64,
    first_numbers: Rng,
}

impl Random {
    pub(crate) fn new(seed: Seed) -> Self {
        let first_numbers = seed.rng(Purpose::FirstNumbers);
        Self { seed, peers: 0, first_numbers }
    }

    /// A seed for the next transport.
    pub(crate) fn next_peer(&mut self) -> Seed {
        self.peers += 1;
        self.seed.derive(Purpose::Peer, self.peers)
    }

    /// Where the sequence numbers of the next subscription begin.
    pub(crate) fn first_numbers(&mut self) -> u64 {
        self.first_numbers.next_u64()
    }
}

/// Our SSRC in RTCP of a transport that concerns no stream of ours. It is odd: those of streams are even.
pub(crate) fn rtcp_ssrc(peer: &Seed) -> u32 {
    peer.rng(Purpose::RtcpSsrc).next_u32() | 1
}
