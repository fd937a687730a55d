//! What one shard of a node hands to another, by value.

use hearth_datagram::{Endpoint, MAX_DATAGRAM};
use hearth_plane::TrackId;

/// What a parcel is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ParcelKind {
    /// A datagram that the kernel gave to the wrong shard.
    Datagram {
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
    /// A subscriber over there cannot decode.
    KeyframeRequest {
        /// Which track.
        track: TrackId,
        /// Which encoding.
        encoding: u8,
    },
}

/// A message between shards: lossy, bounded, moved by value so that nothing is allocated.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What it is about.
    pub kind: ParcelKind,
    len: usize,
    bytes: [u8; MAX_DATAGRAM],
}

impl Parcel {
    /// Copies `bytes` in; `None` if they are longer than a datagram may be.
    pub fn new(kind: ParcelKind, bytes: &[u8]) -> Option<Self> {
        let mut parcel = Self { kind, len: bytes.len(), bytes: [0; MAX_DATAGRAM] };
        parcel.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(parcel)
    }

    /// The packet or datagram in it; empty for reports and requests.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}
