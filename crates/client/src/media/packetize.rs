//! Packetization: frames into RTP payloads.
//!
//! * **Owns:** nothing.
//! * **In:** one frame, its picture numbers, the stamp it carries.
//! * **Out:** payloads in order, each at most [`MAX_PAYLOAD`] bytes, with whether it ends the frame.
//! * **Invariant:** the pieces of one frame are of one length but for the last, so that they leave
//!   as one run.
//! * **Spec:** RFC 7741 (VP8), RFC 6184 §5.7, §5.8 (H.264, STAP-A and FU-A), RFC 7587 (Opus).

use hearth_codec::{Codec, Vp8Descriptor};

use super::clip::nals;
use super::stamp;

/// Leaves room for headers, extensions and SRTP in 1,200 bytes, as libwebrtc does.
const MAX_PAYLOAD: usize = 1_120;
/// Our messages among the SEI of others.
const SEI_UUID: [u8; 16] = *b"Hearth-load-test";
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// The numbers that a VP8 descriptor carries; each wraps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Picture {
    /// 15 bits.
    pub(crate) id: u16,
    /// TL0PICIDX.
    pub(crate) tl0: u8,
    /// KEYIDX, 5 bits.
    pub(crate) key: u8,
}

/// Cuts a frame; `stamp` is included if it is given. `put` gets a payload and its marker bit.
pub(crate) fn video(
    codec: Codec,
    frame: &[u8],
    picture: Picture,
    stamp: Option<[u8; stamp::LEN]>,
    mut put: impl FnMut(&[u8], bool),
) {
    if codec == Codec::H264 {
        h264(frame, stamp, &mut put);
    } else {
        vp8(frame, picture, stamp, &mut put);
    }
}

/// An Opus packet of one frame; a stamp is put into padding, for which it becomes a code 3 packet.
pub(crate) fn opus(packet: &[u8], stamp: Option<[u8; stamp::LEN]>) -> Vec<u8> {
    let (Some(stamp), Some((toc, frame))) = (stamp, packet.split_first()) else {
        return packet.to_vec();
    };
    if toc & 3 != 0 {
        return packet.to_vec();
    }
    // Frame count byte: padding, one frame; then how many bytes of padding (RFC 6716 §3.2.5).
    let mut out = vec![toc | 3, 0x40 | 1, stamp::LEN as u8];
    out.extend_from_slice(frame);
    out.extend_from_slice(&stamp);
    out
}

fn vp8(
    frame: &[u8],
    picture: Picture,
    stamp: Option<[u8; stamp::LEN]>,
    put: &mut impl FnMut(&[u8], bool),
) {
    let mut stamped = frame.to_vec();
    stamped.extend(stamp.iter().flatten());
    let parts = equal_parts(&stamped, MAX_PAYLOAD - Vp8Descriptor::MAX_LEN);
    // The last part is as long as any, and so holds the whole stamp.
    let count = parts.len();
    for (n, part) in (1..).zip(parts) {
        let descriptor = Vp8Descriptor {
            starts_partition: n == 1,
            picture_id: Some((picture.id, true)),
            tl0: Some(picture.tl0),
            temporal: Some((0, false)),
            keyidx: Some(picture.key),
            ..Vp8Descriptor::default()
        };
        let mut bytes = [0; MAX_PAYLOAD];
        let at = descriptor.write(&mut bytes);
        let end = at + part.len();
        if let Some(room) = bytes.get_mut(at..end) {
            room.copy_from_slice(part);
        }
        put(bytes.get(..end).unwrap_or_default(), n == count);
    }
}

fn h264(unit: &[u8], stamp: Option<[u8; stamp::LEN]>, put: &mut impl FnMut(&[u8], bool)) {
    let kind = |nal: &[u8]| nal.first().map_or(0, |byte| byte & 0x1f);
    let is_set = |nal: &[u8]| matches!(kind(nal), NAL_SPS | NAL_PPS);
    let sets: Vec<&[u8]> = nals(unit).map(|(_, nal)| nal).filter(|nal| is_set(nal)).collect();
    if !sets.is_empty() {
        let mut stap = vec![0x60 | NAL_STAP_A];
        for nal in &sets {
            stap.extend_from_slice(&(nal.len() as u16).to_be_bytes());
            stap.extend_from_slice(nal);
        }
        put(&stap, false);
    }
    if let Some(stamp) = stamp {
        let mut sei = vec![NAL_SEI, 5, (SEI_UUID.len() + stamp::LEN) as u8];
        sei.extend_from_slice(&SEI_UUID);
        sei.extend_from_slice(&stamp);
        sei.push(0x80);
        put(&sei, false);
    }
    let rest = nals(unit).map(|(_, nal)| nal).filter(|nal| !is_set(nal) && kind(nal) != NAL_SEI);
    let rest: Vec<&[u8]> = rest.collect();
    let count = rest.len();
    for (n, nal) in (1..).zip(rest) {
        fragment(nal, n == count, put);
    }
}

/// One NAL unit, in fragments if it is too long.
fn fragment(nal: &[u8], last: bool, put: &mut impl FnMut(&[u8], bool)) {
    let Some((header, body)) = nal.split_first() else { return };
    if nal.len() <= MAX_PAYLOAD {
        put(nal, last);
        return;
    }
    let parts = equal_parts(body, MAX_PAYLOAD - 2);
    let count = parts.len();
    for (n, part) in (1..).zip(parts) {
        let ends = (u8::from(n == 1) << 7) | (u8::from(n == count) << 6);
        let mut bytes = vec![(header & 0xe0) | NAL_FU_A, ends | (header & 0x1f)];
        bytes.extend_from_slice(part);
        put(&bytes, last && n == count);
    }
}

/// As few parts of at most `max` bytes as possible; the last ones are a byte longer than the first if
/// they cannot all be equal. Browsers cut frames so.
fn equal_parts(bytes: &[u8], max: usize) -> Vec<&[u8]> {
    let count = bytes.len().div_ceil(max).max(1);
    let (len, longer) = (bytes.len() / count, bytes.len() % count);
    let (first, last) = bytes.split_at(len * (count - longer));
    first.chunks(len.max(1)).chain(last.chunks(len + 1)).collect()
}

#[cfg(test)]
mod tests {
    use hearth_codec::inspect;

    use super::*;
    use crate::media::VideoClip;

    #[test]
    fn a_frame_becomes_packets_that_fit_and_the_last_is_marked() {
        for codec in [Codec::Vp8, Codec::H264] {
            for clip in VideoClip::all(codec) {
                for (at, frame) in clip.frames.iter().enumerate() {
                    let (mut markers, mut keys, mut stamps) = (Vec::new(), 0, Vec::new());
                    let stamp = Some(stamp::write(99));
                    video(codec, frame, Picture::default(), stamp, |payload, marker| {
                        assert!(payload.len() <= MAX_PAYLOAD);
                        markers.push(marker);
                        keys += usize::from(inspect(codec, payload).keyframe);
                        stamps.extend(stamp::find(payload));
                    });
                    let last = markers.pop();
                    assert_eq!((last, markers.contains(&true)), (Some(true), false));
                    assert_eq!((keys > 0, stamps), (at == 0, vec![99]), "{codec:?} frame {at}");
                }
            }
        }
    }

    #[test]
    fn the_pieces_of_a_vp8_frame_are_the_frame() {
        let clip = VideoClip::all(Codec::Vp8).remove(2);
        let (mut whole, mut lengths) = (Vec::new(), Vec::new());
        let picture = Picture { id: 0x1234, tl0: 5, key: 3 };
        video(Codec::Vp8, clip.frames[0], picture, None, |payload, _| {
            let descriptor = Vp8Descriptor::parse(payload).unwrap();
            assert_eq!(descriptor.picture_id, Some((0x1234, true)));
            assert_eq!(descriptor.starts_partition, whole.is_empty());
            whole.extend_from_slice(&payload[usize::from(descriptor.header_len)..]);
            lengths.push(payload.len());
        });
        assert_eq!(whole, clip.frames[0]);
        let (shortest, longest) = (lengths[0], lengths[lengths.len() - 1]);
        assert!(lengths.is_sorted() && longest - shortest <= 1, "{lengths:?}");
    }

    #[test]
    fn an_opus_packet_keeps_its_frame_when_it_is_stamped() {
        let packet = [0x78, 1, 2, 3];
        assert_eq!(opus(&packet, None), packet);
        let stamped = opus(&packet, Some(stamp::write(7)));
        assert_eq!(stamped[..6], [0x7b, 0x41, 20, 1, 2, 3]);
        assert_eq!(stamp::find(&stamped), Some(7));
        let two_frames = [0x79, 1, 2];
        assert_eq!(opus(&two_frames, Some(stamp::write(7))), two_frames);
    }
}
