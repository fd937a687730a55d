//! AV1: aggregation header and the OBUs behind it.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** an RTP payload.
//! * **Out:** layers and key frames.
//! * **Invariant:** a packet that announces OBUs it does not have is refused as a whole.
//! * **Spec:** "RTP Payload Format For AV1" v1.0.0 §4.4; AV1 bitstream §5.3 (OBU header), §5.9.2
//!   (frame header).

use crate::PayloadInfo;
use crate::reader::Reader;

pub(crate) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let mut reader = Reader(payload);
    let aggregation = reader.u8()?;
    let continues = aggregation & 0x80 != 0;
    let new_sequence = aggregation & 0x08 != 0;
    let mut elements = Elements::new(aggregation, reader);
    if continues {
        // The front is the rest of an OBU whose header went before.
        elements.next();
    }
    let mut seen = Seen::default();
    for element in &mut elements {
        seen.handle_obu(element);
    }
    if elements.broken {
        return None;
    }
    let begins = seen.any && !continues;
    Some(PayloadInfo {
        starts_frame: begins && (seen.starts_frame || new_sequence),
        keyframe: begins && (new_sequence || seen.starts_keyframe()),
        temporal: seen.temporal,
        spatial: seen.spatial,
        ..PayloadInfo::default()
    })
}

/// The OBU elements of one packet.
struct Elements<'a> {
    rest: Reader<'a>,
    /// W: how many there are, and then the last one has no length; `None` if every one has.
    left: Option<u8>,
    /// One of those announced is not there.
    broken: bool,
}

impl<'a> Elements<'a> {
    fn new(aggregation: u8, rest: Reader<'a>) -> Self {
        let left = Some((aggregation >> 4) & 3).filter(|count| *count != 0);
        Self { rest, left, broken: false }
    }

    fn read(&mut self) -> Option<&'a [u8]> {
        if self.left == Some(0) {
            return Some(std::mem::take(&mut self.rest).0).filter(|last| !last.is_empty());
        }
        let len = usize::try_from(self.rest.leb128()?).ok()?;
        self.rest.take(len)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.left {
            None if self.rest.0.is_empty() => return None,
            None => {}
            Some(left) => *left = left.checked_sub(1)?,
        }
        let element = self.read();
        if element.is_none() {
            self.broken = true;
            (self.rest, self.left) = (Reader::default(), None);
        }
        element
    }
}

/// What the OBUs of one packet say.
#[derive(Default)]
struct Seen {
    any: bool,
    starts_frame: bool,
    sequence_header: bool,
    /// Whether the first frame header is that of a key frame.
    key: Option<bool>,
    layered: bool,
    temporal: u8,
    spatial: u8,
}

impl Seen {
    fn handle_obu(&mut self, obu: &[u8]) {
        let mut reader = Reader(obu);
        let Some(header) = reader.u8() else { return };
        let obu_type = (header >> 3) & 0x0f;
        if header & 0x04 != 0 {
            let Some(extension) = reader.u8() else { return };
            if !self.layered {
                self.layered = true;
                self.temporal = extension >> 5;
                self.spatial = (extension >> 3) & 3;
            }
        }
        if header & 0x02 != 0 && reader.leb128().is_none() {
            return;
        }
        let frame = matches!(obu_type, FRAME_HEADER | FRAME);
        let before_frame = matches!(obu_type, SEQUENCE_HEADER | TEMPORAL_DELIMITER | METADATA);
        if !self.any {
            self.any = true;
            self.starts_frame = frame || before_frame;
        }
        self.sequence_header |= obu_type == SEQUENCE_HEADER;
        if frame && self.key.is_none() {
            // show_existing_frame is 0, and frame_type is KEY_FRAME.
            self.key = Some(reader.u8().is_some_and(|bits| bits & 0xe0 == 0));
        }
    }

    /// A sequence header, and nothing that says the frame behind it is of another kind: encoders
    /// may repeat sequence headers.
    fn starts_keyframe(&self) -> bool {
        self.starts_frame && self.sequence_header && self.key != Some(false)
    }
}

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect`: starts a frame, key frame, temporal, spatial.
    #[track_caller]
    fn check(bytes: &[u8], expect: (bool, bool, u8, u8)) {
        let info = inspect(bytes).unwrap();
        let got = (info.starts_frame, info.keyframe, info.temporal, info.spatial);
        assert_eq!(got, expect, "{bytes:02x?}");
        for n in 0..bytes.len() {
            let info = inspect(&bytes[..n]).unwrap_or_default();
            assert!(!info.keyframe || expect.1, "{n} of {bytes:02x?}");
        }
    }

    #[test]
    fn key_frames_and_layers() {
        // N, one OBU: a sequence header.
        check(&[0x18, 0x08, 0xaa], (true, true, 0, 0));
        // No N, W = 2: sequence header, key frame (shown, frame type 0).
        check(&[0x20, 2, 0x08, 0xaa, 0x30, 0x10], (true, true, 0, 0));
        // The same, all lengths given (W = 0).
        check(&[0x00, 2, 0x08, 0xaa, 2, 0x30, 0x10], (true, true, 0, 0));
        // A repeated sequence header before an inter frame.
        check(&[0x20, 2, 0x08, 0xaa, 0x30, 0x30], (true, false, 0, 0));
        // A frame with an extension: T2, S1.
        check(&[0x10, 0x34, 0b0100_1000, 0x30], (true, false, 2, 1));
        // An OBU that has its own size.
        check(&[0x20, 3, 0x0a, 1, 0xaa, 0x32, 1, 0x10], (true, true, 0, 0));
        // A tile group does not start a frame.
        check(&[0x10, 0x20, 0x30], (false, false, 0, 0));
    }

    #[test]
    fn the_rest_of_an_obu_is_not_taken_for_a_header() {
        check(&[0x90, 0x08, 0xaa], (false, false, 0, 0));
        check(&[0xa0, 2, 0x08, 0xaa, 0x34, 0b0010_0000, 0x10], (false, false, 1, 0));
    }

    #[test]
    fn lengths_beyond_the_packet_are_refused() {
        assert_eq!(inspect(&[0x28, 0x7f, 0x08, 0xaa]), None);
        assert_eq!(inspect(&[0x08, 0x7f, 0x08, 0xaa]), None);
        assert_eq!(inspect(&[0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]), None);
        assert_eq!(inspect(&[0x28, 2, 0x08, 0xaa]), None);
        assert_eq!(inspect(&[0x18]), None);
    }

    #[test]
    fn a_packet_without_obus_starts_nothing() {
        check(&[0x08], (false, false, 0, 0));
        check(&[0x98, 0xaa], (false, false, 0, 0));
    }
}
