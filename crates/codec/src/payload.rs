//! What is decided once per packet, whoever gets it.
//!
//! * **Owns:** nothing; pure functions of one payload.
//! * **In:** the codec by the payload type, and the payload without padding.
//! * **Out:** [`PayloadInfo`].
//! * **Invariant:** [`inspect`] never fails: what cannot be read is no key frame, on layer 0.
//! * **Not here:** what a dependency descriptor says ([`dd`](crate::dd)).

use crate::{Codec, Vp8Descriptor, av1, h264, h265, vp8, vp9};

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PayloadInfo {
    /// It may be the first packet of a frame (VP9: of a layer frame). For H.264 and H.265 the
    /// parameter sets before a frame and its first slice both say so. Audio: always.
    pub starts_frame: bool,
    /// It begins a key frame: a decoder can start here. Audio: always.
    pub keyframe: bool,
    /// Temporal layer, 0 if there are none.
    pub temporal: u8,
    /// From here on one may switch up to this temporal layer: VP8 Y, VP9 U, H.265 TSA and STSA.
    pub temporal_sync: bool,
    /// Spatial layer inside the encoding, 0 if there are none.
    pub spatial: u8,
    /// VP9 E: the last packet of a layer frame. False for every other codec.
    pub ends_frame_layer: bool,
    /// VP8 only.
    pub vp8: Option<Vp8Descriptor>,
    /// Width and height in pixels: of VP8 key frames, H.264 parameter sets, and the top layer of a
    /// VP9 scalability structure.
    pub dimensions: Option<(u16, u16)>,
}

impl PayloadInfo {
    /// What is true of any audio packet.
    const AUDIO: Self = Self {
        starts_frame: true,
        keyframe: true,
        temporal: 0,
        temporal_sync: false,
        spatial: 0,
        ends_frame_layer: false,
        vp8: None,
        dimensions: None,
    };
}

/// Reads the payload descriptor of one packet.
///
/// **Cost:** O(1) for VP8, VP9 and audio; at most one pass over the payload's units otherwise.
pub fn inspect(codec: Codec, payload: &[u8]) -> PayloadInfo {
    let info = match codec {
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::Av1 => av1::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::H265 => h265::inspect(payload),
        Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => Some(PayloadInfo::AUDIO),
    };
    info.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    const VIDEO: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265];

    #[test]
    fn an_empty_picture_says_nothing_and_any_sound_is_a_start() {
        for codec in VIDEO {
            assert_eq!(inspect(codec, &[]), PayloadInfo::default(), "{codec:?}");
        }
        for codec in [Codec::Opus, Codec::Red, Codec::Pcmu, Codec::Pcma] {
            let info = inspect(codec, &[]);
            assert!(info.keyframe && info.starts_frame, "{codec:?}");
        }
    }

    #[test]
    fn random_bytes_do_not_panic() {
        let mut keyframes = [0_u32; 5];
        each_seed(|noise| {
            let payload = noise.bytes(80);
            for (codec, count) in VIDEO.into_iter().zip(&mut keyframes) {
                let info = inspect(codec, &payload);
                *count += u32::from(info.keyframe);
                assert!(info.temporal < 8 && info.spatial < 8);
                assert!(info.starts_frame || !info.keyframe, "{codec:?} {payload:?}");
            }
        });
        assert!(keyframes.into_iter().all(|count| count > 20), "{keyframes:?}");
    }
}
