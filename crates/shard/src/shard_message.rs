//! What one shard of a node hands to another, by value.

use hearth_datagram::{Endpoint, MAX_DATAGRAM};
use hearth_media::LinkQuality;
use hearth_plane::TrackId;

/// What a message between shards is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShardMessageKind {
    /// A datagram that the kernel gave to the wrong shard, by an endpoint that has passed a check.
    Datagram {
        /// The way it came.
        from: Endpoint,
    },
    /// A connectivity check that the kernel gave to the wrong shard, and that anybody may have sent.
    Check {
        /// The way it came.
        from: Endpoint,
    },
    /// The sender of such a check has the password of a peer of this shard: what comes by the same way
    /// is for this shard.
    Confirmed {
        /// The way it came.
        from: Endpoint,
    },
    /// A plaintext RTP packet of a track that the other shard has subscribers of.
    Packet {
        /// Which track.
        track: TrackId,
        /// Which encoding, 0 = lowest.
        encoding: u8,
    },
    /// A publisher's sender report.
    SenderReport {
        /// Which track.
        track: TrackId,
        /// Which encoding.
        encoding: u8,
        /// NTP time, 32.32 bits.
        ntp: u64,
        /// RTP time of the same moment.
        rtp_time: u32,
    },
    /// What subscribers over there watch of a track that is published here. Said again now and then, as it may be
    /// lost.
    Watched {
        /// Which track.
        track: TrackId,
        /// The encodings that they may get: bit i for encoding i.
        watched: u8,
        /// Those that are known over there to exist.
        known: u8,
    },
    /// Which encodings of a track are received at its publisher's shard; the answer to `Watched`, and whenever it
    /// changes.
    Available {
        /// Which track.
        track: TrackId,
        /// Bit i for encoding i.
        encodings: u8,
        /// How well they get there.
        uplink: LinkQuality,
    },
    /// A subscriber over there cannot decode.
    KeyframeRequest {
        /// Which track.
        track: TrackId,
        /// Which encoding.
        encoding: u8,
    },
}

/// What a message must not be held up by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// What a peer has authenticated, or a shard says of its own accord: media, reports, requests.
    Media,
    /// What anybody may send. Narrow, so that a flood costs other strangers and not a call.
    Checks,
}

/// A message between shards: lossy, bounded, moved by value so that nothing is allocated.
#[derive(Clone, Debug)]
pub struct ShardMessage {
    /// What it is about.
    pub kind: ShardMessageKind,
    len: usize,
    bytes: [u8; MAX_DATAGRAM],
}

impl ShardMessage {
    /// Copies `bytes` in; `None` if they are longer than a datagram may be.
    pub fn new(kind: ShardMessageKind, bytes: &[u8]) -> Option<Self> {
        let mut message = Self { kind, len: bytes.len(), bytes: [0; MAX_DATAGRAM] };
        message.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(message)
    }

    /// Which way it has to take.
    pub const fn lane(&self) -> Lane {
        match self.kind {
            ShardMessageKind::Check { .. } => Lane::Checks,
            ShardMessageKind::Datagram { .. }
            | ShardMessageKind::Confirmed { .. }
            | ShardMessageKind::Packet { .. }
            | ShardMessageKind::SenderReport { .. }
            | ShardMessageKind::Watched { .. }
            | ShardMessageKind::Available { .. }
            | ShardMessageKind::KeyframeRequest { .. } => Lane::Media,
        }
    }

    /// The packet or datagram in it; empty for reports and requests.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}
