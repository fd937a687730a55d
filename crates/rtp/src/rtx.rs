//! Retransmissions in a stream of their own.
//!
//! * **Owns:** nothing; one pure function.
//! * **In:** the payload of a packet with an RTX payload type.
//! * **Out:** the original sequence number and payload.
//! * **Invariant:** a padding-only RTX packet (a probe) is `None`.
//! * **Spec:** RFC 4588 §4.

/// Splits an RTX payload into the original sequence number and the original payload.
pub fn original_seq(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (osn, original) = payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*osn), original))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_bytes_are_the_original_number() {
        assert_eq!(original_seq(&[0x12, 0x34, 9]), Some((0x1234, [9].as_slice())));
        assert_eq!(original_seq(&[0x12, 0x34]), Some((0x1234, [].as_slice())));
        assert_eq!(original_seq(&[0x12]), None);
        assert_eq!(original_seq(&[]), None);
    }
}
