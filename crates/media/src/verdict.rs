//! The outcome of one packet for one subscriber.

/// What became of a packet. There is no third outcome and no silent one.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Written to the output.
    Forward(Written),
    /// Not sent, for a counted reason.
    Drop(DropReason),
}

/// Where a written packet's parts lie, as sealing needs to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// Bytes of RTP header with extensions.
    pub header_len: usize,
    /// Bytes of header and payload.
    pub len: usize,
    /// Sequence number without wraps; its upper part is the SRTP rollover counter.
    pub index: u64,
}

/// Why a packet was not forwarded; each is counted by a number of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DropReason {
    /// The subscription has no [`Target`](crate::Target): its subscriber disabled it, or has no bandwidth for it.
    Paused,
    /// The packet belongs to an encoding this subscriber is not on.
    OtherEncoding,
    /// A temporal layer above the target.
    TemporalLayer,
    /// Waiting for a key frame to switch on.
    AwaitKeyframe,
    /// Older than the last switch, or than the window of withheld packets.
    TooOld,
    /// It was forwarded before: one SRTP index must not seal two different packets.
    Duplicate,
    /// Does not fit a datagram.
    TooBig,
    /// The subscriber cannot decode it.
    OtherCodec,
    /// It has no payload of the track: padding, or a payload type that was not negotiated.
    Empty,
}
