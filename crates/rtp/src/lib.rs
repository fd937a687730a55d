//! RTP and RTCP on the wire: borrowed views for reading, in-place writers for sending.
//!
//! * **Owns:** the byte layout of RFC 3550, RFC 8285 and RFC 4585, and nothing that changes over
//!   time. A sequence number here is 16 bits; extending it is the `units` crate's job.
//! * **Input:** any bytes. No function panics, allocates, or reads past `buf`.
//! * **Not here:** what a packet means (`media`), who sent it (`peer`), payload formats (`codec`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod demux;
mod extension_ids;
mod extensions;
mod header;
mod reader;
pub mod rtcp;
mod rtx;
mod view;

pub use demux::{PacketKind, classify};
pub use extension_ids::ExtensionIds;
pub use extensions::{AudioLevel, Extensions, ReadExtensions};
pub use header::{RtpHeader, pad, write_header};
pub use rtx::original_seq;
pub use view::{ParseError, RtpView};
