//! Seeded random bytes, to show that a parser does not panic.

/// Bytes from a 64-bit xorshift.
#[derive(Debug)]
pub struct Noise(u64);

impl Noise {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Up to `max_len` bytes, often fewer.
    pub fn bytes(&mut self, max_len: usize) -> Vec<u8> {
        let len = (0..=max_len).cycle().nth(usize::from(self.bits() as u8)).unwrap_or(0);
        (0..len).map(|_| self.bits() as u8).collect()
    }
}

/// Calls `body` with many generators; the seed of the one that fails is printed.
pub fn each_seed(mut body: impl FnMut(&mut Noise)) {
    for seed in 1..=20_000_u64 {
        let guard = PrintOnPanic(seed);
        body(&mut Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        drop(guard);
    }
}

struct PrintOnPanic(u64);

impl Drop for PrintOnPanic {
    #[expect(clippy::print_stdout, reason = "the seed of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}", self.0);
        }
    }
}
