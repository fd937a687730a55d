//! What is published: frames of a real encoder, cut into RTP payloads.
//!
//! * **Owns:** nothing that changes over time.
//! * **In:** clips that the repository holds (`cargo xtask clips` makes them).
//! * **Out:** [`VideoClip`], [`AudioClip`]; payloads of packets; a [`stamp`] that survives the way
//!   through any server, because it is part of the media.
//! * **Invariant:** what a packet carries decodes in any player, stamped or not.

mod clip;
mod packetize;
pub(crate) mod stamp;

pub(crate) use clip::{AudioClip, VideoClip};
pub(crate) use packetize::{Picture, opus, video};
