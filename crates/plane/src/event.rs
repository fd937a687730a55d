//! What a shard tells control.

use std::time::Duration;

use bytes::Bytes;
use hearth_codec::Codec;
use hearth_units::Bitrate;

use crate::{Channel, Connectivity, DownId, PeerId, ShardId, TrackId};

/// Why a transport ended. The shard has already forgotten it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// No valid connectivity check within 60 s.
    IceTimeout,
    /// A path, but no DTLS association 60 s after the transport was made.
    DtlsTimeout,
    /// The DTLS handshake failed, or the certificate is not the one of the fingerprint.
    DtlsFailed,
    /// Nothing valid arrived in the 30 s after [`Event::IceFailed`].
    Silence,
    /// The peer said goodbye (DTLS close_notify).
    PeerClosed,
    /// The SRTP keys have sealed as many packets as they may.
    KeysUsedUp,
    /// A bug here; the peer was discarded.
    Panicked,
}

/// Audio level of a track over the last 400 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// A track with `measure_level`.
    pub track: TrackId,
    /// 0.0 silent … 1.0, smoothed as livekit-server does; 0.0 means not active.
    pub level: f32,
}

/// How a transport did over the last 5 s.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerReport {
    /// Which transport.
    pub peer: PeerId,
    /// Round trip, if known.
    pub rtt: Option<Duration>,
    /// What it published.
    pub up: Vec<TrackReport<TrackId>>,
    /// What was sent to it.
    pub down: Vec<TrackReport<DownId>>,
}

/// How a track did over the last 5 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackReport<Id> {
    /// Which track or subscription.
    pub id: Id,
    /// Packets that should have arrived.
    pub expected: u32,
    /// Packets that did not.
    pub lost: u32,
    /// Over the interval.
    pub bitrate: Bitrate,
    /// Muted, paused or disabled: says nothing about quality.
    pub idle: bool,
}

/// What a message costs beside its bytes, while it waits: about what the memory of an event is.
const DATA_OVERHEAD: u32 = 128;

/// What a reliable message of `len` bytes takes of the amount that a transport may be ahead of its
/// room, in bytes.
pub fn data_cost(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).saturating_add(DATA_OVERHEAD)
}

/// Something that happened on a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// ICE and DTLS are done for the first time.
    PeerConnected {
        /// Which transport.
        peer: PeerId,
    },
    /// Nothing valid arrived for 3.9 s over UDP, and the client was offered TCP too. Said once for each silence.
    PathSilent {
        /// Which transport.
        peer: PeerId,
    },
    /// Nothing valid arrived for 15 s. The transport is kept for 30 s more: an ICE restart, or a network
    /// that comes back, revives it (the state "failed" of W3C `RTCIceTransportState`).
    IceFailed {
        /// Which transport.
        peer: PeerId,
    },
    /// What was seen of a transport that is not connected: now and then until it is, and before
    /// [`IceFailed`](Self::IceFailed) and [`PeerClosed`](Self::PeerClosed).
    Connectivity {
        /// Which transport.
        peer: PeerId,
        /// What was seen.
        seen: Box<Connectivity>,
    },
    /// The transport is gone.
    PeerClosed {
        /// Which transport.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
    },
    /// A data channel can be written to.
    ChannelOpen {
        /// Which transport.
        peer: PeerId,
        /// Which channel.
        channel: Channel,
    },
    /// A message arrived on a data channel. One that must arrive is answered with
    /// [`Command::DataTaken`](crate::Command::DataTaken), sooner or later.
    Data {
        /// Which transport.
        peer: PeerId,
        /// Which channel.
        channel: Channel,
        /// The message.
        payload: Bytes,
    },
    /// The first packet of an encoding arrived.
    EncodingStarted {
        /// Which track.
        track: TrackId,
        /// Index, 0 = lowest.
        encoding: u8,
        /// Its SSRC.
        ssrc: u32,
        /// The codec of that packet.
        codec: Codec,
    },
    /// A bug here; the track was discarded on one shard, and its subscribers there get nothing more.
    TrackFailed {
        /// Which track.
        track: TrackId,
    },
    /// The shard has lost all it had, because of a bug here, and begins anew with nothing. Every room that
    /// has something there is told.
    ShardFailed {
        /// Which shard.
        shard: ShardId,
    },
    /// Every 400 ms while any track of the room on this shard is audible, and once when none is.
    Levels {
        /// Changed levels only.
        levels: Vec<Level>,
    },
    /// Every 5 s for each connected transport.
    Report(Box<PeerReport>),
}

impl Event {
    /// Control does without it if it has no time: what a client sent without asking for reliability,
    /// and news that the next of its kind replaces. All else must arrive.
    pub const fn may_be_lost(&self) -> bool {
        match self {
            Self::Data { channel, .. } => channel.is_lossy(),
            Self::Levels { .. } | Self::Report(_) => true,
            Self::PeerConnected { .. }
            | Self::PathSilent { .. }
            | Self::IceFailed { .. }
            | Self::Connectivity { .. }
            | Self::PeerClosed { .. }
            | Self::ChannelOpen { .. }
            | Self::EncodingStarted { .. }
            | Self::TrackFailed { .. }
            | Self::ShardFailed { .. } => false,
        }
    }

    /// The room it concerns; `None` if it concerns none (an empty list of levels), or all of a shard.
    pub fn room(&self) -> Option<crate::RoomId> {
        match self {
            Self::PeerConnected { peer }
            | Self::PathSilent { peer }
            | Self::IceFailed { peer }
            | Self::Connectivity { peer, .. }
            | Self::PeerClosed { peer, .. }
            | Self::ChannelOpen { peer, .. }
            | Self::Data { peer, .. } => Some(peer.room),
            Self::EncodingStarted { track, .. } | Self::TrackFailed { track } => Some(track.room),
            Self::Levels { levels } => levels.first().map(|level| level.track.room),
            Self::Report(report) => Some(report.peer.room),
            Self::ShardFailed { .. } => None,
        }
    }
}
