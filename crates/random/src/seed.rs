//! Seeds derived from one secret, independent of each other (key derivation).

use std::fmt;

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

use crate::Rng;

/// The purpose of random numbers. Each has generator streams of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Purpose {
    /// The seed of a room; its number is the room's.
    Room = 1,
    /// The seed of a media thread; its number is the shard's.
    Shard = 2,
    /// The seed of a transport; its number counts them.
    Peer = 3,
    /// The seed of a headless client; its number counts them.
    Client = 4,
    /// Sids, which all participants of a room see.
    Sid = 5,
    /// ICE user fragments and passwords (RFC 8445 §5.3).
    IceCredentials = 6,
    /// The ICE tie-breaker (RFC 8445 §16.1), which the other side sees.
    IceTieBreaker = 7,
    /// STUN transaction ids (RFC 8489 §5).
    StunTransaction = 8,
    /// Verification tags and initial TSNs (RFC 9260 §5.3.1).
    Sctp = 9,
    /// SSRCs of media (RFC 3550 §8).
    MediaSsrc = 10,
    /// SSRCs of RTCP that belongs to no stream that is sent.
    RtcpSsrc = 11,
    /// First sequence numbers and timestamps (RFC 3550 §5.1).
    FirstNumbers = 12,
    /// Session ids of descriptions (RFC 8829 §5.2.1).
    SessionId = 13,
    /// The key of TURN nonces (RFC 8489 §9.2).
    TurnNonce = 14,
    /// Relayed ports.
    TurnPort = 15,
}

/// Streams that a seed has for each purpose.
const NUMBERS: u64 = 1 << 56;

/// 256 bits that everything random is derived from.
///
/// A derived value reveals neither the seed nor any other value derived from it.
#[derive(Clone, Eq, PartialEq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed of these bytes, which must be unpredictable.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The publicly known seed of this number: for tests and simulations, which replay by it.
    pub fn fixed(number: u64) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    /// The seed number `n` for a purpose: the first 32 bytes of its stream. `n` is below 2^56.
    pub fn derive(&self, purpose: Purpose, n: u64) -> Self {
        debug_assert!(n < NUMBERS, "no stream has the number {n}");
        let mut stream = ChaCha12Rng::from_seed(self.0);
        stream.set_stream((u64::from(purpose as u8) << 56) | (n % NUMBERS));
        let mut bytes = [0; 32];
        stream.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The numbers for a purpose.
    pub fn rng(&self, purpose: Purpose) -> Rng {
        Rng::new(&self.derive(purpose, 0))
    }

    pub(crate) const fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// Shows nothing: it would be a key in a log.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PURPOSES: [Purpose; 13] = [
        Purpose::Room,
        Purpose::Shard,
        Purpose::Peer,
        Purpose::Client,
        Purpose::Sid,
        Purpose::IceCredentials,
        Purpose::IceTieBreaker,
        Purpose::StunTransaction,
        Purpose::Sctp,
        Purpose::MediaSsrc,
        Purpose::RtcpSsrc,
        Purpose::FirstNumbers,
        Purpose::SessionId,
    ];

    #[test]
    fn no_two_purposes_or_numbers_share_a_stream() {
        let root = Seed::fixed(1);
        let mut seen = BTreeSet::from([root.bytes()]);
        for purpose in PURPOSES {
            for n in [0, 1, 255, 256, u64::from(u32::MAX), NUMBERS - 1] {
                let child = root.derive(purpose, n);
                assert!(seen.insert(child.bytes()), "{purpose:?} {n}");
                let mut first = [0; 32];
                for chunk in first.chunks_mut(4) {
                    chunk.copy_from_slice(&Rng::new(&child).next_u32().to_le_bytes());
                }
                assert!(seen.insert(first), "{purpose:?} {n} draws what is derived");
            }
        }
    }

    #[test]
    fn each_of_the_256_bits_changes_everything_that_is_derived() {
        let derived = |seed: &Seed| seed.derive(Purpose::Room, 7).bytes();
        let before = derived(&Seed::new([0; 32]));
        for bit in 0..256 {
            let mut bytes = [0; 32];
            bytes[bit / 8] = 1 << (bit % 8);
            let after = derived(&Seed::new(bytes));
            let differing: u32 = before.iter().zip(after).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!((80..176).contains(&differing), "bit {bit}: {differing} of 256 differ");
        }
    }

    #[test]
    fn a_seed_is_not_printed() {
        assert_eq!(format!("{:?}", Seed::new([0xab; 32])), "Seed { .. }");
    }
}
