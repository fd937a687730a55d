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
    /// It comes after newer ones: it was lost on its path here, and its subscriber waits for it.
    pub late: bool,
    /// Where the two bytes of the transport-wide sequence number lie.
    pub(crate) transport_seq: Option<u8>,
}

impl Written {
    /// Stamps the number that a packet has on its transport (draft-holmer-rmcat-transport-wide-cc-extensions-01),
    /// wrapping, between writing and sealing it; false if it has no place for one.
    ///
    /// There is none if the subscriber did not negotiate it, nor in a packet that may be written again under the same
    /// SSRC and index, which is one that is retransmitted without RTX (RFC 4588): the number would be another, and one
    /// nonce would authenticate two headers, which gives away the key that authenticates (RFC 7714 §8.4).
    pub fn stamp_transport_seq(&self, packet: &mut [u8], seq: u16) -> bool {
        let at = self.transport_seq.map(usize::from);
        let place = at.and_then(|at| packet.get_mut(at..)?.first_chunk_mut());
        place.map(|place| *place = seq.to_be_bytes()).is_some()
    }
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
