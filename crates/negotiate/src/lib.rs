//! SDP to typed specs and back; pure.
//!
//! * **Owns:** for one peer connection, which section of its description carries which track.
//! * **In:** the client's descriptions, the tracks it announced, the [`Sender`]s (subscriptions) it is to receive.
//! * **Out:** our descriptions, and their meaning as specs of `plane`.
//! * **Invariant:** a description of ours and the specs returned with it agree.
//! * **Not here:** time, when to negotiate (`room`), candidates of ours (trickled by `room`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod answerer;
mod codecs;
mod downlinks;
mod extensions;
mod offerer;
mod publish;
mod remote;
mod section;
mod types;

pub use answerer::{Answer, Answerer, ClientOffer};
pub use offerer::{Accepted, Offer, Offerer};
pub use types::{
    AnswererKind, Bound, ClientQuirks, ClientTraits, LocalTransport, NegotiateError, PendingTrack,
    Published, Sender, SimulcastCid, TaggedSection,
};
