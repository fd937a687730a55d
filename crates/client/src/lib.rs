//! A headless LiveKit client: load tests, demo publishers.
//!
//! * **Owns:** the client's side of a call: signalling, one peer connection, media to send, the
//!   statistics of media received.
//! * **In:** a server's address and keys, a plan of publishers and subscribers.
//! * **Out:** [`load::Report`].
//! * **Invariant:** it works against any LiveKit server; nothing in it knows which one it is.
//! * **Not here:** decoding; a browser shows what a person sees.

mod attacker;
mod client;
mod description;
mod inbound;
mod link;
pub mod load;
mod media;
mod outbound;
mod publisher;
mod session;
mod socket;
mod thread;

pub use load::{Layout, LoadError, Plan, Report};
