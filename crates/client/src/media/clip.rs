//! Clips: IVF (VP8), Annex B (H.264) and Ogg (Opus) files, embedded in the program.
//!
//! * **Owns:** nothing; a clip borrows the program's own bytes.
//! * **In:** files that `cargo xtask clips` made.
//! * **Out:** their frames in order.
//! * **Invariant:** the first frame of a video is its only keyframe, so that a keyframe can be
//!   had at any time by starting again.

use hearth_codec::Codec;

/// One encoding of a video, 30 frames a second.
#[derive(Clone, Debug)]
pub(crate) struct VideoClip {
    pub(crate) codec: Codec,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames: Vec<&'static [u8]>,
}

/// Speech in packets of 20 ms, whose lengths vary as those of a voice do.
#[derive(Clone, Debug)]
pub(crate) struct AudioClip {
    pub(crate) packets: Vec<&'static [u8]>,
}

impl VideoClip {
    /// Frames a second of every clip.
    pub(crate) const RATE: u32 = 30;

    /// The clips of a codec, lowest first; empty for a codec without clips.
    pub(crate) fn all(codec: Codec) -> Vec<Self> {
        const SIZES: [(u32, u32); 3] = [(320, 180), (640, 360), (1280, 720)];
        const VP8: [&[u8]; 3] = [
            include_bytes!("../../clips/vp8-180.ivf"),
            include_bytes!("../../clips/vp8-360.ivf"),
            include_bytes!("../../clips/vp8-720.ivf"),
        ];
        const H264: [&[u8]; 3] = [
            include_bytes!("../../clips/h264-180.h264"),
            include_bytes!("../../clips/h264-360.h264"),
            include_bytes!("../../clips/h264-720.h264"),
        ];
        let read = |files: [&'static [u8]; 3], frames: fn(&'static [u8]) -> Vec<&'static [u8]>| {
            SIZES
                .into_iter()
                .zip(files)
                .map(|((width, height), file)| Self { codec, width, height, frames: frames(file) })
                .collect()
        };
        match codec {
            Codec::Vp8 => read(VP8, read_ivf),
            Codec::H264 => read(H264, read_annex_b),
            Codec::Vp9
            | Codec::Av1
            | Codec::H265
            | Codec::Opus
            | Codec::Red
            | Codec::Pcmu
            | Codec::Pcma => Vec::new(),
        }
    }

    /// Bits a second.
    pub(crate) fn bitrate(&self) -> u32 {
        let bytes: usize = self.frames.iter().map(|frame| frame.len()).sum();
        let bits = bytes as u64 * 8 * u64::from(Self::RATE) / self.frames.len().max(1) as u64;
        u32::try_from(bits).unwrap_or(u32::MAX)
    }
}

impl AudioClip {
    /// The clip.
    pub(crate) fn speech() -> Self {
        Self { packets: read_ogg(include_bytes!("../../clips/opus-speech.ogg")) }
    }
}

/// Frames of an IVF file: a header of 32 bytes, then length (4), time (8) and bytes of each.
fn read_ivf(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut rest = file.get(32..).unwrap_or_default();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len) as usize;
        let Some((frame, next)) = after.get(8..).and_then(|rest| rest.split_at_checked(len)) else {
            break;
        };
        frames.push(frame);
        rest = next;
    }
    frames
}

/// Access units of an H.264 byte stream with one slice a picture (ITU-T H.264 §B.1): each ends with
/// its slice.
fn read_annex_b(file: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    let mut begin = 0;
    for (start, nal) in nals(file) {
        let is_slice = matches!(nal.first().map(|byte| byte & 0x1f), Some(1 | 5));
        let end = start + nal.len();
        if is_slice {
            units.extend(file.get(begin..end));
            begin = end;
        }
    }
    units
}

/// The NAL units of a byte stream, with their offsets; start codes are left out.
pub(super) fn nals(stream: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = start_code(stream, 0);
    std::iter::from_fn(move || {
        let begin = at? + 3;
        let next = start_code(stream, begin);
        at = next;
        let nal = stream.get(begin..next.unwrap_or(stream.len()))?;
        // The zeros before a start code belong to that.
        let len = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some((begin, nal.get(..len)?))
    })
}

/// Offset of the next `00 00 01`.
fn start_code(stream: &[u8], from: usize) -> Option<usize> {
    let rest = stream.get(from..)?;
    rest.windows(3).position(|window| window == [0, 0, 1]).map(|at| from + at)
}

/// Packets of an Ogg stream (RFC 3533 §6) in which none spans pages, without the two headers of
/// Opus (RFC 7845 §3).
fn read_ogg(file: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    let mut rest = file;
    while let Some(segments) = rest.get(26).map(|count| usize::from(*count)) {
        let Some((table, mut body)) = rest.get(27..).and_then(|r| r.split_at_checked(segments))
        else {
            break;
        };
        let mut len = 0;
        for lace in table {
            len += usize::from(*lace);
            if *lace < 255 {
                let Some((packet, next)) = body.split_at_checked(len) else { break };
                packets.push(packet);
                (body, len) = (next, 0);
            }
        }
        rest = body;
    }
    packets.drain(..packets.len().min(2));
    packets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hearth_codec::inspect;

    use super::*;
    use crate::media::{Picture, video};

    #[test]
    fn each_clip_is_four_seconds_that_begin_with_the_only_key_frame() {
        for codec in [Codec::Vp8, Codec::H264] {
            let clips = VideoClip::all(codec);
            assert_eq!(clips.len(), 3);
            for clip in &clips {
                assert_eq!(clip.frames.len(), 120, "{codec:?} {}", clip.height);
                let mut keys = Vec::new();
                for (at, frame) in clip.frames.iter().enumerate() {
                    let mut key = false;
                    video(clip.codec, frame, Picture::default(), None, |payload, _| {
                        key |= inspect(codec, payload).keyframe;
                    });
                    if key {
                        keys.push(at);
                    }
                }
                assert_eq!(keys, [0], "{codec:?} {}", clip.height);
            }
            assert!(clips.is_sorted_by_key(VideoClip::bitrate), "{codec:?}");
        }
        assert!(VideoClip::all(Codec::Av1).is_empty());
    }

    #[test]
    fn speech_is_packets_of_20_ms_of_many_lengths() {
        let clip = AudioClip::speech();
        assert!((200..=202).contains(&clip.packets.len()), "{}", clip.packets.len());
        assert!(clip.packets.iter().all(|packet| (20..200).contains(&packet.len())));
        let lengths: BTreeSet<usize> = clip.packets.iter().map(|packet| packet.len()).collect();
        assert!(lengths.len() > 20, "{lengths:?}");
    }

    #[test]
    fn cut_off_files_give_fewer_frames() {
        assert!(read_ivf(b"DKIF").is_empty());
        assert!(read_ogg(b"OggS").is_empty());
        assert!(read_annex_b(&[0, 0, 1]).is_empty());
        let stream = [0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x65, 0x88, 0, 0, 0, 1, 0x41, 0x9a];
        let found: Vec<_> = nals(&stream).map(|(_, nal)| nal).collect();
        assert_eq!(found, [&[0x67, 9][..], &[0x65, 0x88], &[0x41, 0x9a]]);
    }
}
