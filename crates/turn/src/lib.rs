//! A TURN server that relays to its own node: for clients whose network lets nothing else through.
//!
//! * **Owns:** allocations with their permissions and channels ([`Server`]); which peers may be reached ([`PeerPolicy`]).
//! * **In:** messages of clients, packets of peers, time.
//! * **Out:** answers, packets with whom they are for.
//! * **Invariant:** nothing is stored for a client that has not shown a password, and little is said to it.
//! * **Spec:** RFC 8656 over UDP, TCP and TLS, RFC 8489; long-term credentials with SHA-1. Without TCP allocations (RFC
//!   6062), reserved ports and ICMP.
//! * **livekit-server:** `pkg/service/turn.go`.
//! * **Not here:** sockets, streams, threads (`runtime`), whose media it is (`shard`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod allocation;
mod answers;
mod credentials;
mod frame;
mod integrity;
mod message;
mod nonce;
mod peers;
mod ports;
mod revoked;
mod server;

pub use credentials::{Identity, shared_secret_credentials};
pub use frame::{Frame, MAX_FRAME, next_frame};
pub use integrity::Key;
pub use message::{Class, Message, TransactionId, Writer, attribute, method};
pub use peers::{Cidr, CidrError, Peer, PeerPolicy, translated};
pub use ports::PortRange;
pub use server::{Client, Config, Moment, Outcome, Server};

/// The realm of all credentials.
pub const REALM: &str = "livekit";
