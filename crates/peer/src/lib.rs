//! One transport: ICE, DTLS, SCTP, SRTP, and the RTCP that belongs to it.
//!
//! * **Owns:** one `RTCPeerConnection`'s connectivity and keys ([`Peer`]), and the receive engines
//!   of one SSRC: [`NackTracker`], [`ReceiverStats`], [`TwccRecorder`]; also its [`RttEstimator`].
//! * **In:** datagrams, time, the other side's description.
//! * **Out:** plaintext RTP and RTCP, data-channel messages, datagrams to send.
//! * **Invariant:** whatever an unauthenticated sender does, memory is bounded and every wait has a deadline.
//! * **Not here:** which track a packet belongs to (`shard`), what it means (`media`).

mod certificate;
mod channels;
mod dcep;
mod dtls;
mod error;
mod ice;
mod library_random;
mod nack;
mod path;
mod peer;
pub mod probe;
mod reception;
mod rtt;
mod sealed;
mod ssrcs;
mod stage;
mod stun;
mod twcc;

pub use certificate::{Certificate, Context};
pub use error::{CertificateError, DropReason, PeerError, SendDataError};
pub use nack::NackTracker;
pub use peer::{Incoming, Peer, PeerEvent, Transmit};
pub use reception::ReceiverStats;
pub use rtt::RttEstimator;
pub use stun::stun_local_ufrag;
pub use twcc::TwccRecorder;

/// An arbitrary beginning of virtual time.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
pub(crate) fn test_epoch() -> std::time::Instant {
    std::time::Instant::now()
}
