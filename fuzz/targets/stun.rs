//! What a STUN server answers, to the transaction that its own header names.
#![no_main]

use hearth_addresses::stun::{Answer, parse, request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let transaction = bytes.get(8..20).and_then(|id| id.try_into().ok()).unwrap_or_default();
    if let Some(Answer::Refused(code)) = parse(bytes, &transaction) {
        assert!(code < 1_000);
    }
    assert_eq!(parse(&request(&transaction), &transaction), None);
});
