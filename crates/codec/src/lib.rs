//! Payload formats: what a packet says about key frames, layers and silence.
//!
//! * **Owns:** the byte layout of each payload descriptor, and nothing that changes over time.
//! * **Input:** any bytes. No function panics, allocates, or reads past its slice.
//! * **Not here:** RTP headers (`rtp`), what is done with a layer (`media`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod av1;
mod bits;
pub mod dd;
mod h264;
mod h264_sps;
mod h265;
pub mod opus;
mod payload;
mod reader;
pub mod red;
mod vp8;
mod vp9;

pub use payload::{PayloadInfo, inspect};
pub use vp8::Vp8Descriptor;

use hearth_units::MediaKind;

/// A codec that Hearth forwards.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// AV1 RTP payload format of the Alliance for Open Media.
    Av1,
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7587.
    Opus,
    /// RFC 2198, with Opus inside.
    Red,
    /// G.711 µ-law, RFC 3551.
    Pcmu,
    /// G.711 A-law, RFC 3551.
    Pcma,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Vp8,
        Self::Vp9,
        Self::Av1,
        Self::H264,
        Self::H265,
        Self::Opus,
        Self::Red,
        Self::Pcmu,
        Self::Pcma,
    ];

    /// Whether it is an audio or a video codec.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::H264 | Self::H265 => MediaKind::Video,
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => MediaKind::Audio,
        }
    }

    /// RTP clock rate in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::H264 | Self::H265 => 90_000,
            Self::Opus | Self::Red => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The MIME type as LiveKit writes it (`video/VP8`, `audio/opus`).
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Vp8 => "video/VP8",
            Self::Vp9 => "video/VP9",
            Self::Av1 => "video/AV1",
            Self::H264 => "video/H264",
            Self::H265 => "video/H265",
            Self::Opus => "audio/opus",
            Self::Red => "audio/red",
            Self::Pcmu => "audio/PCMU",
            Self::Pcma => "audio/PCMA",
        }
    }

    /// Finds the codec by an `a=rtpmap` name or a MIME type, in any case. `video/opus` is none.
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |codec: &Self| {
            codec.name().eq_ignore_ascii_case(name) || codec.mime().eq_ignore_ascii_case(name)
        };
        Self::ALL.into_iter().find(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_found_by_name_and_by_mime_type() {
        for codec in Codec::ALL {
            for name in [codec.name(), codec.mime()] {
                assert_eq!(Codec::from_name(&name.to_ascii_uppercase()), Some(codec));
                assert_eq!(Codec::from_name(&name.to_ascii_lowercase()), Some(codec));
            }
        }
        for name in ["", "video/", "video/opus", "audio/VP8", "x/y/VP8", "H263", "video/rtx"] {
            assert_eq!(Codec::from_name(name), None, "{name}");
        }
    }
}
