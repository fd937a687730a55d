//! The time at which a frame was sent, inside the frame, where no server touches it.
//!
//! * **Owns:** nothing.
//! * **In:** microseconds since the tester began.
//! * **Out:** 20 bytes at the very end of a payload; read back with [`find`].
//! * **Invariant:** no byte is 0, so that H.264 needs no emulation prevention.
//! * **Decoders:** VP8 ignores bytes after the last partition; H.264 gets an unregistered SEI
//!   message (ITU-T H.264 §D.1.7), Opus padding (RFC 6716 §3.2.5).

/// Before the time.
const MAGIC: [u8; 4] = *b"Hst1";
/// Bytes of a stamp: the magic, then 16 half-bytes.
pub(crate) const LEN: usize = 20;
/// RBSP trailing bits, which stand behind the stamp in H.264 (§7.3.2.11).
const TRAILING_BITS: u8 = 0x80;

/// Writes a stamp.
pub(crate) fn write(micros: u64) -> [u8; LEN] {
    let mut stamp = [0; LEN];
    let (magic, digits) = stamp.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    for (shift, digit) in (0..16).rev().zip(digits) {
        *digit = 0x40 | ((micros >> (4 * shift)) & 0x0f) as u8;
    }
    stamp
}

/// Reads the stamp at the end of a payload, if there is one.
pub(crate) fn find(payload: &[u8]) -> Option<u64> {
    let payload = payload.strip_suffix(&[TRAILING_BITS]).unwrap_or(payload);
    let (_, stamp) = payload.split_at_checked(payload.len().checked_sub(LEN)?)?;
    let digits = stamp.strip_prefix(&MAGIC)?;
    digits.iter().try_fold(0, |micros, digit| {
        (digit & 0xf0 == 0x40).then_some((micros << 4) | u64::from(digit & 0x0f))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_at_the_end_and_nowhere_else() {
        for micros in [0, 1, 1_234_567_890, u64::MAX] {
            let stamp = write(micros);
            assert!(stamp.iter().all(|byte| *byte != 0));
            let mut payload = vec![7; 30];
            payload.extend_from_slice(&stamp);
            assert_eq!(find(&payload), Some(micros));
            payload.push(TRAILING_BITS);
            assert_eq!(find(&payload), Some(micros));
            payload.push(1);
            assert_eq!(find(&payload), None);
        }
        assert_eq!(find(&[]), None);
        assert_eq!(find(&write(5)[1..]), None);
    }
}
