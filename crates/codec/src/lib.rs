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
    /// Whether it carries sound or pictures.
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

    /// Finds the codec by an `a=rtpmap` name or a MIME type, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Codec; 9] = [
            Codec::Vp8,
            Codec::Vp9,
            Codec::Av1,
            Codec::H264,
            Codec::H265,
            Codec::Opus,
            Codec::Red,
            Codec::Pcmu,
            Codec::Pcma,
        ];
        let bare = name.rsplit('/').next().unwrap_or(name);
        ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(bare))
    }
}
