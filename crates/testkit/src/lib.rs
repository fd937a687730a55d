//! Clients for tests: a transport, a publisher and a viewer, in virtual time.
//!
//! * **Owns:** nothing that outlives a test.
//! * **In:** datagrams and time.
//! * **Out:** datagrams, and the viewer's experience: frames, freezes.
//! * **Invariant:** everything random about media comes from a seed. (DTLS and ICE make random
//!   values of their own; nothing that is asserted depends on them.)
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: what cannot happen ends the test"
)]

mod client;
mod errors;
mod publisher;
mod viewer;

pub use client::{Client, Received, authentic_check, forged_check};
pub use errors::ErrorWatch;
pub use publisher::{Publisher, audio_codecs, extensions, video_codecs};
pub use viewer::{AudioReport, FeedbackReport, Viewer, ViewerReport};
