//! H.265: NAL units, aggregated and fragmented.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** an RTP payload without decoding order numbers (`sprop-max-don-diff` 0).
//! * **Out:** key frames and temporal layers.
//! * **Invariant:** a unit that does not fit ends the walk; what was seen before it counts.
//! * **Spec:** RFC 7798 §1.1.4 (NAL header), §4.4 (payload structures); H.265 table 7-1.

use crate::PayloadInfo;
use crate::reader::Reader;

pub(crate) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let mut reader = Reader(payload);
    let header = reader.u16()?;
    let unit_type = unit_type(header);
    let mut info = PayloadInfo {
        // 0 is forbidden: the field is the layer plus one.
        temporal: ((header & 7) as u8).checked_sub(1)?,
        ..PayloadInfo::default()
    };
    match unit_type {
        0..=47 => handle_unit(&mut info, unit_type, reader.0),
        AGGREGATION => {
            while let Some(mut unit) = next_unit(&mut reader) {
                let header = unit.u16()?;
                handle_unit(&mut info, self::unit_type(header), unit.0);
            }
        }
        FRAGMENTATION => {
            let head = reader.u8()?;
            if head & 0x80 != 0 {
                handle_unit(&mut info, head & 0x3f, reader.0);
            }
        }
        _ => {}
    }
    Some(info)
}

fn unit_type(header: u16) -> u8 {
    ((header >> 9) & 0x3f) as u8
}

/// One unit behind its 16-bit length; `None` at the end, or if it has no header or does not fit.
fn next_unit<'a>(reader: &mut Reader<'a>) -> Option<Reader<'a>> {
    let len = usize::from(reader.u16()?);
    reader.take(len).filter(|unit| unit.len() >= 2).map(Reader)
}

/// `body` stands behind the unit's header, and may be only its first part.
fn handle_unit(info: &mut PayloadInfo, unit_type: u8, body: &[u8]) {
    // A slice header starts with first_slice_segment_in_pic_flag.
    let first_slice = body.first().is_some_and(|byte| byte & 0x80 != 0);
    match unit_type {
        VPS | SPS => {
            info.starts_frame = true;
            info.keyframe = true;
        }
        PPS | DELIMITER | PREFIX_SEI => info.starts_frame = true,
        0..=31 if first_slice => {
            info.starts_frame = true;
            info.keyframe |= matches!(unit_type, FIRST_IRAP..=LAST_IRAP);
            info.temporal_sync |= matches!(unit_type, FIRST_SWITCH..=LAST_SWITCH);
        }
        _ => {}
    }
}

/// TSA_N, TSA_R, STSA_N and STSA_R: temporal switching points.
const FIRST_SWITCH: u8 = 2;
const LAST_SWITCH: u8 = 5;
/// BLA, IDR and CRA pictures.
const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const DELIMITER: u8 = 35;
const PREFIX_SEI: u8 = 39;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect`: starts a frame, key frame, temporal layer, switching point.
    #[track_caller]
    fn check(bytes: &[u8], expect: (bool, bool, u8, bool)) {
        let info = inspect(bytes).unwrap();
        let got = (info.starts_frame, info.keyframe, info.temporal, info.temporal_sync);
        assert_eq!(got, expect, "{bytes:02x?}");
        for n in 0..bytes.len() {
            let info = inspect(&bytes[..n]).unwrap_or_default();
            assert!(!info.keyframe || expect.1, "{n} of {bytes:02x?}");
        }
    }

    #[test]
    fn single_units() {
        check(&[0x40, 1, 0x0c], (true, true, 0, false)); // VPS
        check(&[0x42, 1, 0x01], (true, true, 0, false)); // SPS
        check(&[0x44, 1, 0xc1], (true, false, 0, false)); // PPS
        check(&[0x26, 1, 0xaf], (true, true, 0, false)); // IDR_W_RADL
        check(&[0x2a, 1, 0xaf], (true, true, 0, false)); // CRA
        check(&[0x26, 1, 0x2f], (false, false, 0, false)); // its second slice
        check(&[0x02, 1, 0xd0], (true, false, 0, false)); // TRAIL_R
        check(&[0x00, 3, 0xd0], (true, false, 2, false)); // TRAIL_N, TID 2
        check(&[0x04, 2, 0xd0], (true, false, 1, true)); // TSA_N, TID 1
        check(&[0x04, 2, 0x50], (false, false, 1, false));
    }

    #[test]
    fn aggregated_units() {
        check(&[0x60, 1, 0, 3, 0x44, 1, 9, 0, 3, 0x26, 1, 0xaf], (true, true, 0, false));
        check(&[0x60, 1, 0, 3, 0x4e, 1, 9, 0, 3, 0x02, 1, 0xaf], (true, false, 0, false));
        check(&[0x60, 1, 0, 9, 0x26, 1, 0xaf], (false, false, 0, false));
        check(&[0x60, 1, 0, 1, 0x26, 1, 0xaf], (false, false, 0, false));
    }

    #[test]
    fn only_the_first_fragment_can_start_a_key_frame() {
        check(&[0x62, 1, 0x93, 0xaf], (true, true, 0, false));
        check(&[0x62, 1, 0x13, 0xaf], (false, false, 0, false));
        check(&[0x62, 1, 0x53, 0xaf], (false, false, 0, false));
        check(&[0x62, 2, 0x81, 0xaf], (true, false, 1, false));
    }

    #[test]
    fn a_temporal_id_of_zero_is_broken() {
        assert_eq!(inspect(&[0x26, 0, 0xaf]), None);
    }
}
