//! VP8: payload descriptor and key frame header.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** an RTP payload.
//! * **Out:** [`Vp8Descriptor`], which can be written back with other numbers.
//! * **Invariant:** a descriptor that is written reads back as the same, its picture id widened.
//! * **Spec:** RFC 7741 §4.2 (descriptor), RFC 6386 §9.1 (frame header).

use crate::PayloadInfo;
use crate::reader::Reader;

/// The bytes in front of the VP8 data of each packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Vp8Descriptor {
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: the packet begins a partition.
    pub starts_partition: bool,
    /// PID: index of the partition, 3 bits.
    pub partition: u8,
    /// PictureID, and whether it is the 15-bit form rather than the 7-bit one; wraps.
    pub picture_id: Option<(u16, bool)>,
    /// TL0PICIDX: counts frames of temporal layer 0, wraps.
    pub tl0: Option<u8>,
    /// TID, 2 bits, and Y: the frame refers to temporal layer 0 only.
    pub temporal: Option<(u8, bool)>,
    /// KEYIDX: counts key frames, 5 bits, wraps.
    pub keyidx: Option<u8>,
    /// Bytes it takes in the packet it was read from, 1 to 6.
    pub header_len: u8,
}

impl Vp8Descriptor {
    /// Longest descriptor in bytes.
    pub const MAX_LEN: usize = 6;

    /// Reads the front of a payload.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let first = reader.u8()?;
        let mut out = Self {
            non_reference: first & 0x20 != 0,
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            ..Self::default()
        };
        let extended = if first & 0x80 == 0 { 0 } else { reader.u8()? };
        if extended & 0x80 != 0 {
            let high = reader.u8()?;
            out.picture_id = Some(if high & 0x80 == 0 {
                (u16::from(high), false)
            } else {
                (u16::from_be_bytes([high & 0x7f, reader.u8()?]), true)
            });
        }
        if extended & 0x40 != 0 {
            out.tl0 = Some(reader.u8()?);
        }
        if extended & 0x30 != 0 {
            let layers = reader.u8()?;
            out.temporal = (extended & 0x20 != 0).then_some((layers >> 6, layers & 0x20 != 0));
            out.keyidx = (extended & 0x10 != 0).then_some(layers & 0x1f);
        }
        let header_len = payload.len().checked_sub(reader.0.len())?;
        out.header_len = u8::try_from(header_len).ok()?;
        Some(out)
    }

    /// Writes it to the front of `out`; a picture id always in the 15-bit form. `header_len` is
    /// ignored: the length can be another one, at most [`Self::MAX_LEN`].
    ///
    /// Returns the length, or 0 if `out` is too short, which is then untouched.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let extended = flag(self.picture_id.is_some(), 0x80)
            | flag(self.tl0.is_some(), 0x40)
            | flag(self.temporal.is_some(), 0x20)
            | flag(self.keyidx.is_some(), 0x10);
        let first = flag(extended != 0, 0x80)
            | flag(self.non_reference, 0x20)
            | flag(self.starts_partition, 0x10)
            | (self.partition & 0x07);
        let has_layers = extended & 0x30 != 0;
        let has_id = self.picture_id.is_some();
        let present = [extended != 0, has_id, has_id, self.tl0.is_some(), has_layers];
        let len = present.iter().fold(1_usize, |len, has| len.wrapping_add(usize::from(*has)));
        let Some(out) = out.get_mut(..len) else { return 0 };
        let mut places = out.iter_mut();
        let mut put = |byte| {
            if let Some(place) = places.next() {
                *place = byte;
            }
        };
        put(first);
        if extended != 0 {
            put(extended);
        }
        if let Some((id, _)) = self.picture_id {
            let [high, low] = (id | 0x8000).to_be_bytes();
            put(high);
            put(low);
        }
        if let Some(tl0) = self.tl0 {
            put(tl0);
        }
        if has_layers {
            let (tid, sync) = self.temporal.unwrap_or_default();
            put(((tid & 3) << 6) | flag(sync, 0x20) | (self.keyidx.unwrap_or_default() & 0x1f));
        }
        len
    }
}

pub(crate) fn inspect(payload: &[u8]) -> Option<PayloadInfo> {
    let descriptor = Vp8Descriptor::parse(payload)?;
    let frame = payload.get(usize::from(descriptor.header_len)..)?;
    let (temporal, temporal_sync) = descriptor.temporal.unwrap_or_default();
    let starts_frame = descriptor.starts_partition && descriptor.partition == 0;
    // The lowest bit of a frame header is 0 for key frames.
    let keyframe = starts_frame && frame.first().is_some_and(|tag| tag & 1 == 0);
    Some(PayloadInfo {
        starts_frame,
        keyframe,
        temporal,
        temporal_sync,
        vp8: Some(descriptor),
        dimensions: if keyframe { dimensions(frame) } else { None },
        ..PayloadInfo::default()
    })
}

/// Width and height, 14 bits each, behind the frame tag and the start code of a key frame.
fn dimensions(frame: &[u8]) -> Option<(u16, u16)> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *frame.first_chunk()? else {
        return None;
    };
    Some((u16::from_le_bytes([w0, w1]) & 0x3fff, u16::from_le_bytes([h0, h1]) & 0x3fff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    const PLAIN: Vp8Descriptor = Vp8Descriptor {
        non_reference: false,
        starts_partition: true,
        partition: 0,
        picture_id: None,
        tl0: None,
        temporal: None,
        keyidx: None,
        header_len: 1,
    };

    #[test]
    fn descriptors_of_every_shape() {
        let table: [(&[u8], Vp8Descriptor); 7] = [
            (&[0x10], PLAIN),
            (
                &[0x27],
                Vp8Descriptor {
                    non_reference: true,
                    starts_partition: false,
                    partition: 7,
                    ..PLAIN
                },
            ),
            (&[0x90, 0x00], Vp8Descriptor { header_len: 2, ..PLAIN }),
            (
                &[0x90, 0x80, 0x7f],
                Vp8Descriptor { picture_id: Some((127, false)), header_len: 3, ..PLAIN },
            ),
            (
                &[0x90, 0x80, 0xff, 0xfe],
                Vp8Descriptor { picture_id: Some((0x7ffe, true)), header_len: 4, ..PLAIN },
            ),
            (&[0x90, 0x10, 0xff], Vp8Descriptor { keyidx: Some(31), header_len: 3, ..PLAIN }),
            (
                &[0x90, 0xf0, 0x81, 0x02, 0x55, 0xa3],
                Vp8Descriptor {
                    picture_id: Some((0x102, true)),
                    tl0: Some(0x55),
                    temporal: Some((2, true)),
                    keyidx: Some(3),
                    header_len: 6,
                    ..PLAIN
                },
            ),
        ];
        for (bytes, expect) in table {
            assert_eq!(Vp8Descriptor::parse(bytes), Some(expect), "{bytes:?}");
            for n in 0..bytes.len() {
                assert_eq!(Vp8Descriptor::parse(&bytes[..n]), None, "{n} of {bytes:?}");
            }
        }
    }

    #[test]
    fn a_written_picture_id_has_15_bits_and_a_short_buffer_is_untouched() {
        let descriptor = Vp8Descriptor::parse(&[0x90, 0x80, 0x7f]).unwrap();
        let mut out = [0xee; 4];
        assert_eq!(descriptor.write(&mut out[..3]), 0);
        assert_eq!(out, [0xee; 4]);
        assert_eq!(descriptor.write(&mut out), 4);
        assert_eq!(out, [0x90, 0x80, 0x80, 0x7f]);
    }

    #[test]
    fn what_is_written_reads_back() {
        each_seed(|noise| {
            let Some(mut descriptor) = Vp8Descriptor::parse(&noise.bytes(6)) else { return };
            let mut out = [0; Vp8Descriptor::MAX_LEN];
            let len = descriptor.write(&mut out);
            descriptor.picture_id = descriptor.picture_id.map(|(id, _)| (id, true));
            descriptor.header_len = len as u8;
            assert_eq!(Vp8Descriptor::parse(&out[..len]), Some(descriptor));
            for n in 0..len {
                assert_eq!(Vp8Descriptor::parse(&out[..n]), None);
            }
        });
    }

    const KEY: [u8; 16] = [
        0x90, 0xe0, 0x81, 0x02, 0x55, 0x20, // descriptor
        0x50, 0x01, 0x02, 0x9d, 0x01, 0x2a, // tag, start code
        0x80, 0x42, 0xe0, 0x81, // 640 and 480 below two bits of scaling
    ];

    #[test]
    fn a_key_frame_tells_its_size() {
        let info = inspect(&KEY).unwrap();
        assert!(info.starts_frame && info.keyframe && info.temporal_sync);
        assert_eq!(info.temporal, 0);
        assert_eq!(info.dimensions, Some((640, 480)));
        assert_eq!(info.vp8.unwrap().header_len, 6);
    }

    #[test]
    fn a_truncated_key_frame_has_no_size_and_then_is_none() {
        for n in 0..KEY.len() {
            let info = inspect(&KEY[..n]).unwrap_or_default();
            assert_eq!((info.keyframe, info.dimensions), (n > 6, None), "{n} bytes");
        }
    }

    #[test]
    fn only_the_start_of_the_first_partition_can_be_a_key_frame() {
        for (at, byte) in [(0, 0x80), (0, 0x91), (6, 0x51)] {
            let mut payload = KEY;
            payload[at] = byte;
            assert!(!inspect(&payload).unwrap().keyframe, "byte {at} = {byte:#x}");
        }
    }
}
