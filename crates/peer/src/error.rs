//! Why a transport cannot be made, a datagram was not used, or a message was not sent.

use hearth_srtp::SrtpError;

/// A transport cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The DTLS library refuses its configuration or could not make a certificate.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// None of our addresses can be a candidate.
    #[error("local candidate: {0}")]
    Candidate(String),
}

/// A certificate cannot be made.
pub type CertificateError = PeerError;

/// Why a datagram was not used. Always the sender's fault; counted, never logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// Neither STUN, DTLS, RTP nor RTCP.
    Unknown,
    /// Not a STUN message, or one of another session.
    Stun,
    /// From an address that has not passed a connectivity check.
    UnprovenAddress,
    /// Media before there are keys.
    NoKeys,
    /// The authentication tag does not match.
    Forged,
    /// A duplicate of a packet (replay), or older than the replay window.
    Replayed,
    /// Too short, or its lengths contradict each other.
    Malformed,
    /// The transport is closed.
    Closed,
}

/// Why a message was not sent; it is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendDataError {
    /// The channel is not open.
    #[error("data channel is not open")]
    NotOpen,
    /// The reader is too slow: the send buffer is full.
    #[error("data channel send buffer is full")]
    Full,
    /// Longer than a message may be.
    #[error("data channel message is too long")]
    TooLong,
}

impl From<SrtpError> for DropReason {
    fn from(error: SrtpError) -> Self {
        match error {
            SrtpError::Replayed => Self::Replayed,
            SrtpError::Forged => Self::Forged,
            SrtpError::TooShort => Self::Malformed,
            SrtpError::Keys
            | SrtpError::NoRoom
            | SrtpError::Index
            | SrtpError::UsedUp
            | SrtpError::Failed => Self::NoKeys,
        }
    }
}
