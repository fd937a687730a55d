//! Header extensions of a received packet.
//!
//! * **Owns:** nothing; borrows the packet.
//! * **In:** the extension block that [`RtpView`] found.
//! * **Out:** [`Extensions`], one (id, data) after the other; [`ReadExtensions`], by meaning.
//! * **Invariant:** an element that does not fit ends the iteration; those before it count.
//! * **Spec:** RFC 8285 §4.2 (one-byte form) and §4.3 (two-byte form).

use crate::reader::Reader;
use crate::{ExtensionIds, RtpView};

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Form {
    #[default]
    None,
    OneByte,
    TwoByte,
}

/// The extension elements of one packet: an iterator of (id, data), and cheap to copy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extensions<'a> {
    form: Form,
    rest: Reader<'a>,
}

impl<'a> Extensions<'a> {
    /// `profile` is the "defined by profile" field; an unknown one has no elements.
    pub(crate) fn new(profile: u16, block: &'a [u8]) -> Self {
        let form = match profile {
            0xbede => Form::OneByte,
            0x1000..=0x100f => Form::TwoByte,
            _ => Form::None,
        };
        Self { form, rest: Reader(block) }
    }

    /// Data of the first remaining element with this id.
    pub fn find(mut self, id: u8) -> Option<&'a [u8]> {
        self.find_map(|(found, data)| (found == id).then_some(data))
    }

    fn next_one_byte(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            match self.rest.u8()? {
                0 => {}
                // An id of 0 with a length, and the id 15, end the block.
                0x01..=0x0f | 0xf0..=0xff => return None,
                head => {
                    let len = usize::from(head & 0x0f).saturating_add(1);
                    return Some((head >> 4, self.rest.take(len)?));
                }
            }
        }
    }

    fn next_two_byte(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let id = self.rest.u8()?;
            if id != 0 {
                let len = usize::from(self.rest.u8()?);
                return Some((id, self.rest.take(len)?));
            }
        }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.form {
            Form::None => None,
            Form::OneByte => self.next_one_byte(),
            Form::TwoByte => self.next_two_byte(),
        };
        if next.is_none() {
            *self = Self::default();
        }
        next
    }
}

/// Audio level of one packet (RFC 6464 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AudioLevel {
    /// The sender thinks it is speech.
    pub voice: bool,
    /// −dBov: 0 is the loudest, 127 silence.
    pub level: u8,
}

impl AudioLevel {
    /// Splits the byte on the wire.
    pub const fn from_byte(byte: u8) -> Self {
        Self { voice: byte & 0x80 != 0, level: byte & 0x7f }
    }

    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        (if self.voice { 0x80 } else { 0 }) | (self.level & 0x7f)
    }
}

/// The extensions of one packet that Hearth reads, by meaning.
///
/// What is absent, not negotiated, or too short for its meaning is `None`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReadExtensions<'a> {
    /// Media section (RFC 8843 §15).
    pub mid: Option<&'a str>,
    /// Simulcast stream (RFC 8852 §3.1).
    pub rid: Option<&'a str>,
    /// Simulcast stream that an RTX packet repairs (RFC 8852 §3.2).
    pub repaired_rid: Option<&'a str>,
    /// Audio level.
    pub audio_level: Option<AudioLevel>,
    /// Transport-wide sequence number, wraps.
    pub transport_seq: Option<u16>,
    /// abs-capture-time, 8 or 16 bytes, as received.
    pub abs_capture_time: Option<&'a [u8]>,
    /// Dependency descriptor, as received.
    pub dependency_descriptor: Option<&'a [u8]>,
    /// Rotation, flip and camera (3GPP TS 26.114 §7.4.5), as received.
    pub video_orientation: Option<u8>,
}

impl<'a> ReadExtensions<'a> {
    /// Reads all of them in one pass over the packet's extensions.
    pub fn read(view: &RtpView<'a>, ids: &ExtensionIds) -> Self {
        let mut out = Self::default();
        for (id, data) in view.extensions() {
            let id = Some(id);
            if id == ids.mid {
                out.mid = text(data);
            } else if id == ids.rid {
                out.rid = text(data);
            } else if id == ids.repaired_rid {
                out.repaired_rid = text(data);
            } else if id == ids.audio_level {
                out.audio_level = data.first().map(|byte| AudioLevel::from_byte(*byte));
            } else if id == ids.transport_cc {
                out.transport_seq = data.first_chunk().map(|seq| u16::from_be_bytes(*seq));
            } else if id == ids.abs_capture_time {
                out.abs_capture_time = Some(data).filter(|data| data.len() >= 8);
            } else if id == ids.dependency_descriptor {
                out.dependency_descriptor = Some(data).filter(|data| data.len() >= 3);
            } else if id == ids.video_orientation {
                out.video_orientation = data.first().copied();
            }
        }
        out
    }
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    const ONE: u16 = 0xbede;
    const TWO: u16 = 0x1000;

    type Elements<'a> = &'a [(u8, &'a [u8])];

    #[track_caller]
    fn check(profile: u16, block: &[u8], expect: Elements<'_>) {
        let found: Vec<_> = Extensions::new(profile, block).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn elements_of_both_forms() {
        check(ONE, &[], &[]);
        check(ONE, &[0, 0, 0, 0], &[]);
        check(ONE, &[0x10, 7, 0x21, 8, 9, 0, 0, 0], &[(1, &[7]), (2, &[8, 9])]);
        check(ONE, &[0, 0x10, 7, 0], &[(1, &[7])]);
        check(ONE, &[0x10, 7, 0xf0, 1, 0x10, 7], &[(1, &[7])]);
        check(ONE, &[0x10, 7, 0x01, 1, 0x10, 7], &[(1, &[7])]);
        check(ONE, &[0x10, 7, 0x23, 1, 2], &[(1, &[7])]);
        check(TWO, &[1, 0, 0, 15, 2, 8, 9, 0], &[(1, &[]), (15, &[8, 9])]);
        check(TWO, &[200, 1, 5, 1], &[(200, &[5])]);
        check(TWO, &[200, 1, 5, 1, 9, 9], &[(200, &[5])]);
        check(0x100f, &[3, 1, 5, 0], &[(3, &[5])]);
        check(0x1010, &[3, 1, 5, 0], &[]);
        check(0, &[3, 1, 5, 0], &[]);
    }

    #[test]
    fn find_takes_the_first_of_an_id() {
        let extensions = Extensions::new(ONE, &[0x10, 7, 0x20, 8, 0x10, 9]);
        assert_eq!(extensions.find(1), Some([7].as_slice()));
        assert_eq!(extensions.find(2), Some([8].as_slice()));
        assert_eq!(extensions.find(3), None);
    }

    #[test]
    fn an_audio_level_survives_the_round_trip() {
        for byte in 0..=u8::MAX {
            assert_eq!(AudioLevel::from_byte(byte).to_byte(), byte);
        }
        assert_eq!(AudioLevel::from_byte(0x85), AudioLevel { voice: true, level: 5 });
    }

    /// mid "0", rid "hi", repaired rid "q", level 5 with voice, transport 0x1234, rotation 3.
    const PACKET: [u8; 32] = [
        0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 4, 0x10, b'0', 0x21, b'h', b'i',
        0x30, b'q', 0x40, 0x85, 0x51, 0x12, 0x34, 0x60, 3, 0, 0,
    ];

    fn ids() -> ExtensionIds {
        ExtensionIds {
            mid: Some(1),
            rid: Some(2),
            repaired_rid: Some(3),
            audio_level: Some(4),
            transport_cc: Some(5),
            video_orientation: Some(6),
            dependency_descriptor: Some(7),
            abs_capture_time: Some(8),
            ..ExtensionIds::default()
        }
    }

    #[test]
    fn extensions_are_read_by_their_negotiated_id() {
        let view = RtpView::parse(&PACKET).unwrap();
        let expect = ReadExtensions {
            mid: Some("0"),
            rid: Some("hi"),
            repaired_rid: Some("q"),
            audio_level: Some(AudioLevel { voice: true, level: 5 }),
            transport_seq: Some(0x1234),
            video_orientation: Some(3),
            ..ReadExtensions::default()
        };
        assert_eq!(ReadExtensions::read(&view, &ids()), expect);
        let none = ReadExtensions::read(&view, &ExtensionIds::default());
        assert_eq!(none, ReadExtensions::default());
    }

    #[test]
    fn an_extension_too_short_for_its_meaning_is_absent() {
        let mut packet = PACKET;
        packet[16..].fill(0);
        packet[16..24].copy_from_slice(&[0x50, 1, 0x71, 1, 2, 0x10, 0xff, 0x80]);
        packet[24..28].copy_from_slice(&[9, 0, 0, 0]);
        let view = RtpView::parse(&packet).unwrap();
        assert_eq!(view.extensions().count(), 4);
        assert_eq!(ReadExtensions::read(&view, &ids()), ReadExtensions::default());
    }

    #[test]
    fn random_blocks_do_not_panic() {
        each_seed(|noise| {
            let block = noise.bytes(64);
            for profile in [ONE, TWO] {
                let total: usize = Extensions::new(profile, &block).map(|(_, d)| d.len()).sum();
                assert!(total <= block.len());
            }
        });
    }
}
