//! Which number counts what is not used or not sent.

use hearth_metrics::Metric;
use hearth_plane::Channel;

/// A packet that a subscriber does not get.
pub(crate) const fn forward(reason: hearth_media::DropReason) -> Metric {
    use hearth_media::DropReason;
    match reason {
        DropReason::Paused => Metric::DropForwardPaused,
        DropReason::OtherEncoding => Metric::DropForwardEncoding,
        DropReason::TemporalLayer => Metric::DropForwardTemporal,
        DropReason::AwaitKeyframe => Metric::DropForwardKeyframe,
        DropReason::TooOld => Metric::DropForwardOld,
        DropReason::TooBig => Metric::DropForwardBig,
        DropReason::Duplicate => Metric::DropForwardDuplicate,
        DropReason::Empty => Metric::DropForwardEmpty,
        DropReason::OtherCodec => Metric::DropForwardCodec,
    }
}

/// A datagram of a client.
pub(crate) const fn receive(reason: hearth_peer::DropReason) -> Metric {
    use hearth_peer::DropReason;
    match reason {
        DropReason::Unknown => Metric::DropReceiveProtocol,
        DropReason::Stun => Metric::DropReceiveStun,
        DropReason::UnprovenAddress => Metric::DropReceiveUnproven,
        DropReason::NoKeys => Metric::DropReceiveNoKeys,
        DropReason::Forged => Metric::DropReceiveForged,
        DropReason::Replayed => Metric::DropReceiveReplayed,
        DropReason::Malformed => Metric::DropReceiveMalformed,
        DropReason::Closed => Metric::DropReceiveClosed,
    }
}

/// A message to a client.
pub(crate) const fn send_data(channel: Channel, error: hearth_peer::SendDataError) -> Metric {
    use hearth_peer::SendDataError;
    match error {
        SendDataError::NotOpen => Metric::DropDataNotOpen,
        SendDataError::Full | SendDataError::TooLong if channel.is_lossy() => Metric::DropDataLossy,
        SendDataError::Full | SendDataError::TooLong => Metric::DropDataReliable,
    }
}
