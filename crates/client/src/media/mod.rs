//! The published media: frames of a real encoder, packetized into RTP payloads.
//!
//! * **Owns:** nothing that changes over time.
//! * **In:** clips that the repository holds (`cargo xtask clips` makes them).
//! * **Out:** [`VideoClip`], [`AudioClip`]; payloads of packets; a [`stamp`] that survives the path
//!   through any server, because it is part of the media.
//! * **Invariant:** payloads decode in any player, stamped or not.

mod clip;
mod packetize;
pub(crate) mod stamp;

pub(crate) use clip::{AudioClip, VideoClip};
pub(crate) use packetize::{Picture, opus, video};
