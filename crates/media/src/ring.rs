//! The last second or so of one encoding's packets, for subscribers that ask again.
//!
//! * **Owns:** the plaintext payloads, once, however many subscribers there are.
//! * **In:** [`PacketRing::insert`], in any order.
//! * **Out:** [`PacketRing::packet`] by sequence number.
//! * **Invariant:** a slot is returned only while its bytes have not been written over. What is
//!   kept is a second, as far as the largest size allows: rates differ a hundredfold between a small
//!   picture and a shared screen.

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

/// How much a ring holds.
#[derive(Clone, Copy, Debug)]
struct Size {
    packets: usize,
    bytes: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PacketRing {
    slots: Box<[Option<Slot>]>,
    bytes: Box<[u8]>,
    /// Bytes written since the beginning, with those left out at the end of a lap.
    written: u64,
    /// RTP time of the first packet of this lap through `bytes`.
    lap_began: Option<u32>,
    most: Size,
}

impl PacketRing {
    /// Small at first; it grows to hold a second, up to 2,048 packets and 1 MiB of video (8 Mbps) or
    /// 128 packets and 64 KiB of audio.
    pub(crate) fn new(kind: MediaKind) -> Self {
        let (first, most) = match kind {
            MediaKind::Video => {
                (Size { packets: 64, bytes: 32 << 10 }, Size { packets: 2_048, bytes: 1 << 20 })
            }
            MediaKind::Audio => {
                (Size { packets: 32, bytes: 4 << 10 }, Size { packets: 128, bytes: 64 << 10 })
            }
        };
        Self::of(first, most)
    }

    fn of(size: Size, most: Size) -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(size.packets).collect(),
            bytes: vec![0; size.bytes].into_boxed_slice(),
            written: 0,
            lap_began: None,
            most,
        }
    }

    /// Stores a packet; false if it is a duplicate, older than the one in its slot, or too long.
    ///
    /// **Cost:** one copy. While a stream is new, and when its rate has doubled, it also allocates a
    /// ring of twice the size and copies what it has: at most ten times in its life.
    pub(crate) fn insert(&mut self, meta: PacketMeta, descriptor: &[u8], payload: &[u8]) -> bool {
        let descriptor = if descriptor.len() > MAX_DESCRIPTOR { &[] } else { descriptor };
        let len = descriptor.len() + payload.len();
        if payload.len() > usize::from(u16::MAX) || len > self.most.bytes {
            return false;
        }
        self.make_room(&meta, len);
        self.place(meta, descriptor, payload)
    }

    /// Grows as long as this packet would take the place of one that is less than a second old.
    fn make_room(&mut self, meta: &PacketMeta, len: usize) {
        let young = |then: u32| meta.timestamp.wrapping_sub(then) < meta.codec.clock_rate();
        loop {
            let size = Size { packets: self.slots.len(), bytes: self.bytes.len() };
            let offset = (self.written % size.bytes as u64) as usize;
            let ends_lap = offset + len > size.bytes;
            let lap_is_short = ends_lap && self.lap_began.is_some_and(young);
            let taken = self.slots.get(self.index(meta.seq)).and_then(Option::as_ref);
            let taken = taken.is_some_and(|old| {
                old.meta.seq < meta.seq && young(old.meta.timestamp) && self.is_fresh(old)
            });
            if (lap_is_short || len > size.bytes) && size.bytes < self.most.bytes {
                self.grow(Size { bytes: size.bytes * 2, ..size });
            } else if taken && size.packets < self.most.packets {
                self.grow(Size { packets: size.packets * 2, ..size });
            } else {
                if ends_lap {
                    self.written += (size.bytes - offset) as u64;
                }
                if ends_lap || self.lap_began.is_none() {
                    self.lap_began = Some(meta.timestamp);
                }
                return;
            }
        }
    }

    fn grow(&mut self, size: Size) {
        let mut larger = Self::of(size, self.most);
        let mut kept: Vec<&Slot> = self.slots.iter().flatten().collect();
        kept.sort_unstable_by_key(|slot| slot.start);
        for packet in kept.into_iter().filter_map(|slot| self.packet(slot.meta.seq)) {
            larger.place(*packet.meta, packet.descriptor, packet.payload);
        }
        larger.lap_began = self.lap_began;
        *self = larger;
    }

    /// Stores a packet behind the last one, if it fits there.
    fn place(&mut self, meta: PacketMeta, descriptor: &[u8], payload: &[u8]) -> bool {
        let index = self.index(meta.seq);
        let Some(slot) = self.slots.get_mut(index) else { return false };
        if slot.as_ref().is_some_and(|old| old.meta.seq >= meta.seq) {
            return false;
        }
        let start = (self.written % self.bytes.len() as u64) as usize;
        let len = descriptor.len() + payload.len();
        let Some(room) = self.bytes.get_mut(start..start + len) else { return false };
        let (for_descriptor, for_payload) = room.split_at_mut(descriptor.len());
        for_descriptor.copy_from_slice(descriptor);
        for_payload.copy_from_slice(payload);
        *slot = Some(Slot {
            start: self.written,
            descriptor_len: descriptor.len() as u8,
            payload_len: payload.len() as u16,
            meta,
        });
        self.written += len as u64;
        true
    }

    /// Its bytes were not written over.
    fn is_fresh(&self, slot: &Slot) -> bool {
        self.written - slot.start <= self.bytes.len() as u64
    }

    /// The packet with this number, if it is still there.
    pub(crate) fn packet(&self, seq: ExtSeq) -> Option<UpPacket<'_>> {
        let slot = self.slots.get(self.index(seq))?.as_ref()?;
        if slot.meta.seq != seq || !self.is_fresh(slot) {
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

#[cfg(test)]
mod tests {
    use hearth_units::SeqUnwrapper;

    use super::*;

    /// Sends `rate` packets a second of `len` bytes for some seconds; returns the ring.
    fn filled(kind: MediaKind, codec: Codec, rate: u32, len: usize, seconds: u32) -> PacketRing {
        let mut ring = PacketRing::new(kind);
        for n in 0..rate * seconds {
            let payload: Vec<u8> = (0..len).map(|at| (n as usize + at) as u8).collect();
            assert!(ring.insert(
                meta(codec, n, n * (codec.clock_rate() / rate)),
                &[1, 2],
                &payload
            ));
        }
        ring
    }

    fn number(n: u32) -> ExtSeq {
        SeqUnwrapper::default().unwrap(9).plus(u64::from(n))
    }

    fn meta(codec: Codec, seq: u32, timestamp: u32) -> PacketMeta {
        PacketMeta {
            seq: number(seq),
            timestamp,
            marker: false,
            codec,
            encoding: 0,
            info: hearth_codec::inspect(Codec::Opus, &[0]),
            audio_level: None,
            orientation: None,
            capture_time: None,
        }
    }

    fn kept(ring: &PacketRing, until: u32) -> u32 {
        let there = |n: &u32| {
            let seq = number(*n);
            ring.packet(seq).is_some_and(|p| p.payload[0] == *n as u8 && p.descriptor == [1, 2])
        };
        (0..until).rev().take_while(there).count() as u32
    }

    #[test]
    fn a_ring_holds_a_second_whatever_the_rate_and_no_more_than_it_needs() {
        for (kind, codec, rate, len, most_bytes) in [
            (MediaKind::Video, Codec::Vp8, 25, 600, 32 << 10),
            (MediaKind::Video, Codec::Vp8, 60, 1_000, 128 << 10),
            (MediaKind::Video, Codec::Vp8, 220, 1_100, 512 << 10),
            (MediaKind::Video, Codec::Vp8, 900, 1_100, 1 << 20),
            (MediaKind::Audio, Codec::Opus, 50, 80, 8 << 10),
            (MediaKind::Audio, Codec::Opus, 100, 600, 64 << 10),
        ] {
            let ring = filled(kind, codec, rate, len, 5);
            let kept = kept(&ring, rate * 5);
            assert!(kept >= rate * 95 / 100, "{kept} of {rate} packets a second of {len} bytes");
            assert!(ring.bytes.len() <= most_bytes, "{} for {rate} × {len}", ring.bytes.len());
        }
    }

    #[test]
    fn a_burst_in_one_instant_is_bounded_and_keeps_the_newest() {
        let mut ring = PacketRing::new(MediaKind::Video);
        for n in 0..5_000 {
            assert!(ring.insert(meta(Codec::Vp8, n, 7), &[1, 2], &[n as u8; 1_200]));
        }
        assert_eq!((ring.bytes.len(), ring.slots.len()), (1 << 20, 1_024));
        assert!(kept(&ring, 5_000) > 800);
    }

    #[test]
    fn a_duplicate_and_what_is_older_than_its_slot_are_refused() {
        let mut ring = filled(MediaKind::Video, Codec::Vp8, 30, 100, 20);
        assert!(!ring.insert(meta(Codec::Vp8, 599, 0), &[], &[0]), "a duplicate");
        assert!(!ring.insert(meta(Codec::Vp8, 0, 0), &[], &[0]), "twenty seconds old");
        assert!(!ring.insert(meta(Codec::Vp8, 600, 0), &[], &[0; 70_000]), "too long");
    }
}
