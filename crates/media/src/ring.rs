//! The last second or so of one encoding's packets, for subscribers that ask again.
//!
//! * **Owns:** the plaintext payloads, once, however many subscribers there are.
//! * **In:** [`PacketRing::insert`], in any order.
//! * **Out:** [`PacketRing::packet`] by sequence number.
//! * **Invariant:** a slot is returned only while its bytes have not been written over.

use hearth_codec::{Codec, PayloadInfo};
use hearth_units::{ExtSeq, MediaKind};

/// Longest dependency descriptor that is kept, in bytes.
const MAX_DESCRIPTOR: usize = 120;

/// What is decided once per packet, whoever gets it.
#[derive(Clone, Copy, Debug)]
pub struct PacketMeta {
    /// Position in the publisher's stream.
    pub seq: ExtSeq,
    /// RTP time of the publisher.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Codec by its payload type.
    pub codec: Codec,
    /// Index of the simulcast encoding, 0 = lowest.
    pub encoding: u8,
    /// What the payload says of itself.
    pub info: PayloadInfo,
    /// RFC 6464 byte, as received.
    pub audio_level: Option<u8>,
    /// Video orientation byte, as received.
    pub orientation: Option<u8>,
    /// abs-capture-time, the 8-byte form.
    pub capture_time: Option<[u8; 8]>,
}

/// A packet with its bytes, borrowed from the ring.
#[derive(Clone, Copy, Debug)]
pub struct UpPacket<'a> {
    /// What was decided once.
    pub meta: &'a PacketMeta,
    /// Dependency descriptor as received; empty if none.
    pub descriptor: &'a [u8],
    /// Payload without padding.
    pub payload: &'a [u8],
}

#[derive(Debug)]
struct Slot {
    start: u64,
    descriptor_len: u8,
    payload_len: u16,
    meta: PacketMeta,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PacketRing {
    slots: Box<[Option<Slot>]>,
    bytes: Box<[u8]>,
    written: u64,
}

impl PacketRing {
    /// Room for about one second: 512 packets, 384 KiB of video; 128 packets, 16 KiB of audio.
    pub(crate) fn new(kind: MediaKind) -> Self {
        let (packets, bytes) = match kind {
            MediaKind::Video => (512, 384 * 1024),
            MediaKind::Audio => (128, 16 * 1024),
        };
        let slots = std::iter::repeat_with(|| None).take(packets).collect();
        Self { slots, bytes: vec![0; bytes].into_boxed_slice(), written: 0 }
    }

    /// Stores a packet; false if it is a duplicate, or older than the one in its slot.
    pub(crate) fn insert(&mut self, meta: PacketMeta, descriptor: &[u8], payload: &[u8]) -> bool {
        let index = self.index(meta.seq);
        let capacity = self.bytes.len() as u64;
        let descriptor = if descriptor.len() > MAX_DESCRIPTOR { &[] } else { descriptor };
        let len = (descriptor.len() + payload.len()) as u64;
        let (Some(slot), true) = (self.slots.get_mut(index), len <= capacity) else {
            return false;
        };
        if slot.as_ref().is_some_and(|old| old.meta.seq >= meta.seq) {
            return false;
        }
        let offset = self.written % capacity;
        if offset + len > capacity {
            self.written += capacity - offset;
        }
        let start = (self.written % capacity) as usize;
        let (d_end, p_end) = (start + descriptor.len(), start + len as usize);
        let (Some(_), true) =
            (self.bytes.get(start..p_end), payload.len() <= usize::from(u16::MAX))
        else {
            return false;
        };
        if let Some(room) = self.bytes.get_mut(start..d_end) {
            room.copy_from_slice(descriptor);
        }
        if let Some(room) = self.bytes.get_mut(d_end..p_end) {
            room.copy_from_slice(payload);
        }
        *slot = Some(Slot {
            start: self.written,
            descriptor_len: descriptor.len() as u8,
            payload_len: payload.len() as u16,
            meta,
        });
        self.written += len;
        true
    }

    /// The packet with this number, if it is still there.
    pub(crate) fn packet(&self, seq: ExtSeq) -> Option<UpPacket<'_>> {
        let slot = self.slots.get(self.index(seq))?.as_ref()?;
        let fresh = self.written - slot.start <= self.bytes.len() as u64;
        if slot.meta.seq != seq || !fresh {
            return None;
        }
        let start = (slot.start % self.bytes.len() as u64) as usize;
        let d_end = start + usize::from(slot.descriptor_len);
        let p_end = d_end + usize::from(slot.payload_len);
        Some(UpPacket {
            meta: &slot.meta,
            descriptor: self.bytes.get(start..d_end)?,
            payload: self.bytes.get(d_end..p_end)?,
        })
    }

    fn index(&self, seq: ExtSeq) -> usize {
        (seq.get() % self.slots.len() as u64) as usize
    }
}
