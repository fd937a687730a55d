//! The first bytes of a TCP connection: a verdict comes within a few bytes, and no more bytes change it.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The module alone: the crate around it would bring a whole server.
#[path = "../../crates/listener/src/first_bytes.rs"]
#[allow(dead_code, unreachable_pub, reason = "the rest of the crate uses it")]
mod first_bytes;

use first_bytes::{DECISIVE, Verdict, tell};

fuzz_target!(|bytes: &[u8]| {
    let mut before = Verdict::More;
    for length in 0..=bytes.len().min(2 * DECISIVE) {
        let verdict = tell(&bytes[..length]);
        assert!(before == Verdict::More || verdict == before);
        assert!(length < DECISIVE || verdict != Verdict::More);
        before = verdict;
    }
    assert_eq!(tell(bytes) == Verdict::More, before == Verdict::More);
});
