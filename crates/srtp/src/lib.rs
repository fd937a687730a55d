//! SRTP and SRTCP: keys, replay window, seal and open.
//!
//! * **Owns:** the session keys of one direction each ([`Sealer`], [`Opener`]) and, for the
//!   receiving one, each SSRC's rollover counter and replay window.
//! * **In:** keying material of a DTLS handshake; packets, encrypted and decrypted in place.
//! * **Out:** lengths and extended indices.
//! * **Invariant:** a packet that is forged or replayed changes nothing. No index is sealed beyond the
//!   last one of the keys: 2^48 - 1 of an SSRC for RTP, 2^31 - 1 for RTCP (RFC 3711 §9.2).
//! * **Spec:** RFC 3711 (AES-CM, HMAC-SHA1-80), RFC 7714 (AES-GCM), RFC 5764 §4.2 (key layout).
//! * **Not here:** choosing the index of a sent packet (`media`); re-keying, which WebRTC never does.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod kdf;
mod opener;
mod replay;
mod sealer;
mod session;
mod transform;

pub use opener::{OpenedRtcp, OpenedRtp, Opener};
pub use sealer::Sealer;
pub use session::{Profile, Session};

/// The most that sealing an RTP packet adds to it, in bytes.
pub const RTP_OVERHEAD: usize = 16;
/// The most that sealing an RTCP packet adds to it, in bytes: the tag and the index word.
pub const RTCP_OVERHEAD: usize = 20;

/// Why a packet was not sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SrtpError {
    /// Keying material of the wrong length for the profile.
    #[error("keying material does not fit the profile")]
    Keys,
    /// Shorter than a header and a tag.
    #[error("packet is too short")]
    TooShort,
    /// No room for the tag.
    #[error("no room for the tag")]
    NoRoom,
    /// The tag does not match.
    #[error("authentication failed")]
    Forged,
    /// A replay: seen before, or older than the replay window.
    #[error("replayed")]
    Replayed,
    /// The index is not that of the packet's sequence number.
    #[error("index and sequence number differ")]
    Index,
    /// All indices of the keys are used up.
    #[error("the keys are used up")]
    UsedUp,
    /// The crypto library failed.
    #[error("sealing failed")]
    Failed,
}
