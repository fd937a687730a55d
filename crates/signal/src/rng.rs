//! Seeded randomness for sids, ICE credentials and SSRCs.
//!
//! * **Owns:** a ChaCha12 key stream and how far it has been read.
//! * **In:** a seed.
//! * **Out:** bytes; the same seed gives the same bytes.
//! * **Invariant:** what was drawn tells nothing about what will be drawn, so that a sid, which
//!   everyone sees, does not give away an ICE password.
//! * **Spec:** the block function is RFC 8439 §2.3 with 12 rounds.

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 8],
    counter: u64,
    block: [u32; 16],
    used: usize,
}

impl Rng {
    /// A generator that differs for every seed.
    pub fn new(seed: u64) -> Self {
        let mut key = [0; 8];
        let mut state = seed;
        for word in &mut key {
            state = split_mix(state);
            *word = high_half(state);
        }
        let [low, high, ..] = &mut key;
        *low = low_half(seed);
        *high = high_half(seed);
        Self { key, counter: 0, block: [0; 16], used: 16 }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(word) = self.block.get(self.used) {
            self.used += 1;
            return *word;
        }
        self.block = chacha12(&self.key, self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.used = 1;
        let [first, ..] = self.block;
        first
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        high_half(u64::from(self.next_u32()) * u64::from(bound))
    }

    /// One byte of `alphabet`; 0 if it is empty.
    pub fn pick(&mut self, alphabet: &[u8]) -> u8 {
        let len = u32::try_from(alphabet.len()).unwrap_or(u32::MAX);
        let index = self.below(len) as usize;
        alphabet.get(index).copied().unwrap_or_default()
    }

    /// `len` characters that ICE allows in user fragments and passwords (RFC 8839 §5.4).
    pub fn ice_chars(&mut self, len: usize) -> String {
        const ICE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..len).map(|_| char::from(self.pick(ICE))).collect()
    }
}

/// One step of SplitMix64: spreads a seed over a key.
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn low_half(word: u64) -> u32 {
    let [.., a, b, c, d] = word.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn high_half(word: u64) -> u32 {
    low_half(word >> 32)
}

fn chacha12(key: &[u32; 8], counter: u64) -> [u32; 16] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let start = [
        0x6170_7865,
        0x3320_646e,
        0x7962_2d32,
        0x6b20_6574,
        k0,
        k1,
        k2,
        k3,
        k4,
        k5,
        k6,
        k7,
        low_half(counter),
        high_half(counter),
        0,
        0,
    ];
    let mut s = start;
    for _ in 0..6 {
        quarter(&mut s, [0, 4, 8, 12]);
        quarter(&mut s, [1, 5, 9, 13]);
        quarter(&mut s, [2, 6, 10, 14]);
        quarter(&mut s, [3, 7, 11, 15]);
        quarter(&mut s, [0, 5, 10, 15]);
        quarter(&mut s, [1, 6, 11, 12]);
        quarter(&mut s, [2, 7, 8, 13]);
        quarter(&mut s, [3, 4, 9, 14]);
    }
    for (word, initial) in s.iter_mut().zip(start) {
        *word = word.wrapping_add(initial);
    }
    s
}

fn quarter(s: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    s[a] = s[a].wrapping_add(s[b]);
    s[d] = (s[d] ^ s[a]).rotate_left(16);
    s[c] = s[c].wrapping_add(s[d]);
    s[b] = (s[b] ^ s[c]).rotate_left(12);
    s[a] = s[a].wrapping_add(s[b]);
    s[d] = (s[d] ^ s[a]).rotate_left(8);
    s[c] = s[c].wrapping_add(s[d]);
    s[b] = (s[b] ^ s[c]).rotate_left(7);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn the_quarter_round_is_that_of_rfc_8439() {
        let mut s = [0; 16];
        s[..4].copy_from_slice(&[0x1111_1111, 0x0102_0304, 0x9b8d_6f43, 0x0123_4567]);
        quarter(&mut s, [0, 1, 2, 3]);
        assert_eq!(s[..4], [0xea2a_92f4, 0xcb1c_f8ce, 0x4581_472e, 0x5881_c4bb]);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_it() {
        let mut rng = Rng::new(1);
        let drawn: Vec<u32> = (0..200).map(|_| rng.below(3)).collect();
        assert!(drawn.iter().all(|&n| n < 3));
        assert!((0..3).all(|n| drawn.contains(&n)));
    }
}
