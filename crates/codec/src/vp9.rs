//! VP9: payload descriptor.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** an RTP payload, flexible mode or not.
//! * **Out:** layers and key frames.
//! * **Invariant:** a descriptor that does not fit its payload is refused as a whole.
//! * **Spec:** RFC 9628 §4.2.

use crate::PayloadInfo;
use crate::reader::Reader;

pub(crate) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let mut reader = Reader(payload);
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    if has(PICTURE_ID) && reader.u8()? & 0x80 != 0 {
        reader.u8()?;
    }
    let (mut temporal, mut spatial, mut switching_up) = (0, 0, false);
    if has(LAYERS) {
        let layers = reader.u8()?;
        temporal = layers >> 5;
        switching_up = layers & 0x10 != 0;
        spatial = (layers >> 1) & 0x07;
        if !has(FLEXIBLE) {
            let _tl0 = reader.u8()?;
        }
    }
    if has(FLEXIBLE) && has(INTER_PREDICTED) {
        // At most three references, each with a bit that says whether another one follows.
        let mut references = 1_u8;
        while reader.u8()? & 1 != 0 {
            references = references.saturating_add(1);
            if references > 3 {
                return None;
            }
        }
    }
    let dimensions = if has(STRUCTURE) { read_structure(&mut reader)? } else { None };
    let starts_frame = has(BEGIN);
    Some(PayloadInfo {
        starts_frame,
        keyframe: starts_frame && !has(INTER_PREDICTED) && spatial == 0,
        temporal,
        temporal_sync: switching_up,
        spatial,
        ends_frame_layer: has(END),
        vp8: None,
        dimensions,
    })
}

/// Passes the scalability structure; returns the size of its highest spatial layer if it has any.
fn read_structure(reader: &mut Reader<'_>) -> Option<Option<(u16, u16)>> {
    let head = reader.u8()?;
    let mut dimensions = None;
    if head & 0x10 != 0 {
        for _ in 0..=(head >> 5) {
            dimensions = Some((reader.u16()?, reader.u16()?));
        }
    }
    if head & 0x08 != 0 {
        for _ in 0..reader.u8()? {
            let picture = reader.u8()?;
            reader.take(usize::from((picture >> 2) & 3))?;
        }
    }
    Some(dimensions)
}

const PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const END: u8 = 0x04;
const STRUCTURE: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect`: keyframe, temporal, spatial, switching up, begin, end. No truncation is accepted.
    #[track_caller]
    fn check(bytes: &[u8], expect: (bool, u8, u8, bool, bool, bool)) {
        let info = inspect(bytes).unwrap();
        let got = (
            info.keyframe,
            info.temporal,
            info.spatial,
            info.temporal_sync,
            info.starts_frame,
            info.ends_frame_layer,
        );
        assert_eq!(got, expect);
        for n in 0..bytes.len() {
            assert_eq!(inspect(&bytes[..n]), None, "{n} bytes");
        }
    }

    #[test]
    fn descriptors_of_every_shape() {
        check(&[0x08], (true, 0, 0, false, true, false));
        check(&[0x48], (false, 0, 0, false, true, false));
        check(&[0x04], (false, 0, 0, false, false, true));
        check(&[0x8c, 0x7f], (true, 0, 0, false, true, true));
        check(&[0x8c, 0x80, 1], (true, 0, 0, false, true, true));
        // Layers: T2, U, S1, D; TL0PICIDX.
        check(&[0xa8, 1, 0b0101_0011, 9], (false, 2, 1, true, true, false));
        // Key frame on spatial layer 0, then flexible mode without TL0PICIDX.
        check(&[0xa8, 1, 0b0000_0000, 9], (true, 0, 0, false, true, false));
        check(&[0xb8, 1, 0b0010_0000], (true, 1, 0, false, true, false));
        // Flexible mode with three references.
        check(&[0xd8, 1, 3, 5, 6], (false, 0, 0, false, true, false));
    }

    #[test]
    fn a_fourth_reference_is_refused() {
        assert_eq!(inspect(&[0xd8, 1, 3, 5, 7, 0]), None);
    }

    #[test]
    fn a_scalability_structure_tells_the_size_of_the_top_layer() {
        let structure = [
            0x8a, 1, 0x38, // picture id, two spatial layers with sizes, and pictures
            0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, // 320x180, 640x360
            2, 0x04, 7, 0x00, // two pictures, the first with one reference
        ];
        assert_eq!(inspect(&structure).unwrap().dimensions, Some((640, 360)));
        for n in 0..structure.len() {
            assert_eq!(inspect(&structure[..n]), None, "{n} bytes");
        }
    }
}
