//! Numbers, letters and digits from a seed.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

use crate::Seed;

/// A cryptographic generator (ChaCha12): values already drawn do not predict later ones.
#[derive(Debug)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// The numbers of a seed, which nothing else may be drawn from.
    pub fn new(seed: &Seed) -> Self {
        Self(ChaCha12Rng::from_seed(seed.bytes()))
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let scaled = u64::from(self.next_u32()) * u64::from(bound);
        (scaled >> 32) as u32
    }

    /// One byte of `alphabet`; 0 if it is empty.
    pub fn pick(&mut self, alphabet: &[u8]) -> u8 {
        let len = u32::try_from(alphabet.len()).unwrap_or(u32::MAX);
        let index = self.below(len) as usize;
        alphabet.get(index).copied().unwrap_or_default()
    }

    /// `len` characters that ICE allows in user fragments and passwords (RFC 8839 §5.4), of 5.95 bits each.
    pub fn ice_chars(&mut self, len: usize) -> String {
        const ICE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..len).map(|_| char::from(self.pick(ICE))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let draw = |seed| {
            let mut rng = Rng::new(&Seed::fixed(seed));
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    /// The key stream of ChaCha12 for a key of zeros: draft-strombergson-chacha-test-vectors-01, TC1.
    #[test]
    fn the_numbers_are_those_of_chacha_with_twelve_rounds() {
        let mut rng = Rng::new(&Seed::new([0; 32]));
        let drawn = [(); 8].map(|()| rng.next_u32().to_le_bytes()).concat();
        let hex: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "9bf49a6a0755f953811fce125f2683d50429c3bb49e074147e0089a52eae155f");
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_it() {
        let mut rng = Rng::new(&Seed::fixed(1));
        let drawn: Vec<u32> = (0..200).map(|_| rng.below(3)).collect();
        assert!(drawn.iter().all(|&n| n < 3));
        assert!((0..3).all(|n| drawn.contains(&n)));
    }
}
