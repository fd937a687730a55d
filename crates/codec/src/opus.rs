//! Opus: discontinuous transmission and silence.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** an Opus packet; from RED, its primary.
//! * **Out:** whether there is anything to hear.
//! * **Invariant:** an empty packet is silence.
//! * **Spec:** RFC 6716 §3.1 (TOC byte), §2.1.9 (DTX).

/// Discontinuous transmission: the encoder says by packets of at most two bytes that they need not be sent (RFC 6716,
/// `opus_encode`).
pub const fn is_dtx(payload: &[u8]) -> bool {
    payload.len() <= 2
}

/// [`is_dtx`], or the frame of digital silence that is sent for a muted track.
pub const fn is_silence(payload: &[u8]) -> bool {
    // 20 ms of CELT, fullband, mono or stereo.
    is_dtx(payload) || matches!(payload, [0xf8 | 0xfc, 0xff, 0xfe])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_packets_and_the_silent_frame_are_silence() {
        let table: [(&[u8], bool, bool); 7] = [
            (&[], true, true),
            (&[0x78], true, true),
            (&[0x78, 0x01], true, true),
            (&[0xf8, 0xff, 0xfe], false, true),
            (&[0xfc, 0xff, 0xfe], false, true),
            (&[0xf8, 0xff, 0xfd], false, false),
            (&[0xf8, 0xff, 0xfe, 0x00], false, false),
        ];
        for (payload, dtx, silence) in table {
            assert_eq!((is_dtx(payload), is_silence(payload)), (dtx, silence), "{payload:02x?}");
        }
    }
}
