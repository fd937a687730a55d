//! What a media thread saw of a client's way to it, for whoever explains why it is not connected.
//!
//! * **Owns:** nothing; a value.
//! * **In:** one transport's checks, handshake and silence, as `peer` counts them.
//! * **Out:** [`Event::Connectivity`](crate::Event::Connectivity).
//! * **Invariant:** it holds no more than [`MAX_WAYS`] ways, whatever the client sends.

use std::net::SocketAddr;
use std::time::Duration;

use hearth_datagram::{Endpoint, Protocol};

/// Ways in, by protocol and address of ours, that are counted apart: a machine has a handful.
pub const MAX_WAYS: usize = 8;

/// How far a transport has come, and what was seen of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connectivity {
    /// How far it has come.
    pub stage: ConnectivityStage,
    /// The client's description is known: its checks can be expected.
    pub described: bool,
    /// Connectivity checks by the way they came in, at most [`MAX_WAYS`].
    pub ways: Vec<Way>,
    /// The pair that ICE nominated, and by which the last authenticated datagram came.
    pub nominated: Option<Endpoint>,
    /// The DTLS handshake.
    pub handshake: HandshakeProgress,
    /// A data channel came up (SCTP).
    pub channels: bool,
    /// An answer of ours that this machine did not send.
    pub unsent: Option<Unsent>,
}

/// How far a transport has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectivityStage {
    /// It is not connected yet, so long after it was made.
    Connecting(Duration),
    /// It never connected, and has ended so long after it was made.
    NeverConnected(Duration),
    /// It was connected, and nothing authenticated has arrived for so long.
    Silent(Duration),
    /// It was silent, and something authenticated has arrived again.
    Restored,
}

impl ConnectivityStage {
    /// Nothing more is to be expected without a restart.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::NeverConnected(_) | Self::Silent(_))
    }
}

/// Connectivity checks that came in one way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address of ours that they came to, as this machine sees it.
    pub local: SocketAddr,
    /// Checks with the right password (MESSAGE-INTEGRITY).
    pub valid: u32,
    /// Checks that name this transport and have another password.
    pub invalid: u32,
    /// Where the last of them came from.
    pub last_from: SocketAddr,
}

/// How far the DTLS handshake has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HandshakeProgress {
    /// No DTLS datagram came from the client.
    #[default]
    NotBegun,
    /// One did.
    Begun,
    /// Both ends have finished.
    Done,
    /// It cannot succeed.
    Failed(HandshakeFailure),
}

/// Why a DTLS handshake cannot succeed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandshakeFailure {
    /// The certificate is not the one of the client's description.
    Fingerprint,
    /// The other end refused with this alert (RFC 5246 §7.2).
    Alert(u8),
    /// No common version of DTLS.
    Version,
    /// The next message did not come.
    Timeout,
    /// Anything else.
    Other,
}

/// Why this machine did not send a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsent {
    /// No route to the destination, or no such address of ours.
    Unreachable,
    /// A firewall of this machine.
    Denied,
    /// Anything else that is not for want of room.
    Refused,
}
