//! H.264: NAL units, aggregated and fragmented.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** an RTP payload of packetization mode 0 or 1.
//! * **Out:** key frames and their size.
//! * **Invariant:** a unit that does not fit ends the walk; what was seen before it counts.
//! * **Spec:** RFC 6184 §5.4 (single units), §5.7.1 (STAP-A), §5.8 (FU-A); H.264 table 7-1.

use crate::PayloadInfo;
use crate::h264_sps::dimensions;
use crate::reader::Reader;

pub(crate) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let mut reader = Reader(payload);
    let unit_type = reader.u8()? & 0x1f;
    let mut info = PayloadInfo::default();
    match unit_type {
        1..=23 => handle_unit(&mut info, unit_type, reader.0),
        STAP_A => {
            while let Some(mut unit) = next_unit(&mut reader) {
                let head = unit.u8()?;
                handle_unit(&mut info, head & 0x1f, unit.0);
            }
        }
        FU_A => {
            let head = reader.u8()?;
            if head & 0x80 != 0 {
                handle_unit(&mut info, head & 0x1f, reader.0);
            }
        }
        _ => {}
    }
    Some(info)
}

/// One unit behind its 16-bit length; `None` at the end, or if it is empty or does not fit.
fn next_unit<'a>(reader: &mut Reader<'a>) -> Option<Reader<'a>> {
    let len = usize::from(reader.u16()?);
    reader.take(len).filter(|unit| !unit.is_empty()).map(Reader)
}

/// `body` stands behind the unit's header byte, and may be only its first part.
fn handle_unit(info: &mut PayloadInfo, unit_type: u8, body: &[u8]) {
    // A slice header starts with first_mb_in_slice, whose first bit is set if it is 0.
    let first_slice = body.first().is_some_and(|byte| byte & 0x80 != 0);
    match unit_type {
        SPS => {
            info.starts_frame = true;
            info.keyframe = true;
            info.dimensions = dimensions(body);
        }
        IDR_SLICE if first_slice => {
            info.starts_frame = true;
            info.keyframe = true;
        }
        SLICE | PARTITION_A if first_slice => info.starts_frame = true,
        SEI | PPS | DELIMITER => info.starts_frame = true,
        _ => {}
    }
}

const SLICE: u8 = 1;
const PARTITION_A: u8 = 2;
const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect`: starts a frame, key frame.
    #[track_caller]
    fn check(bytes: &[u8], expect: (bool, bool)) {
        let info = inspect(bytes).unwrap();
        assert_eq!((info.starts_frame, info.keyframe), expect, "{bytes:02x?}");
        for n in 0..bytes.len() {
            let info = inspect(&bytes[..n]).unwrap_or_default();
            assert!(!info.keyframe || expect.1, "{n} of {bytes:02x?}");
        }
    }

    #[test]
    fn single_units() {
        check(&[0x67, 0x42, 0xc0, 0x1f], (true, true));
        check(&[0x68, 0xce], (true, false));
        check(&[0x65, 0x88], (true, true));
        check(&[0x65, 0x42], (false, false)); // a later slice of the picture
        check(&[0x65], (false, false));
        check(&[0x41, 0x9a], (true, false));
        check(&[0x41, 0x42], (false, false));
        check(&[0x09, 0xf0], (true, false));
    }

    #[test]
    fn aggregated_units() {
        check(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x65, 0x88], (true, true));
        check(&[0x78, 0, 1, 0x68, 0, 2, 0x65, 0x88], (true, true));
        check(&[0x78, 0, 1, 0x06, 0, 2, 0x41, 0x9a], (true, false));
        check(&[0x78, 0, 0, 0, 2, 0x65, 0x88], (false, false));
        check(&[0x78, 0, 9, 0x65, 0x88], (false, false));
    }

    #[test]
    fn only_the_first_fragment_can_start_a_key_frame() {
        check(&[0x7c, 0x85, 0x88], (true, true));
        check(&[0x7c, 0x87, 0x42], (true, true));
        check(&[0x7c, 0x05, 0x88], (false, false));
        check(&[0x7c, 0x45, 0x88], (false, false));
        check(&[0x7c, 0x85, 0x42], (false, false));
        check(&[0x5c, 0x81, 0x9a], (true, false));
    }

    #[test]
    fn what_browsers_do_not_send_is_not_read() {
        for unit_type in [0, 25, 26, 27, 29, 30, 31] {
            check(&[unit_type, 0x85, 0x88, 0x67], (false, false));
        }
    }
}
