//! LiveKit's messages: their types, framing and JSON form, and the parameters of a join.
//!
//! * **Owns:** nothing that changes over time, except a [`Rng`] of its holder.
//! * **In:** frames, query parameters and candidate JSON from clients, each with a size limit.
//! * **Out:** typed messages ([`proto`]), [`JoinParams`], sids.
//! * **Invariant:** no input panics or allocates more than its documented limit.
//! * **Not here:** what a message does (`room`), HTTP (`http`).

mod bounds;
pub mod frame;
pub mod join;
pub mod json;
mod names;
mod query;
mod trickle;
mod user_agent;

pub use hearth_random::Rng;
pub use join::{JoinParams, JoinParamsError, JoinPath};
pub use livekit_protocol as proto;
pub use names::{participant_sid, room_sid, short_id, track_sid};
pub use trickle::{Candidate, CandidateError, parse_candidate, write_candidate};
