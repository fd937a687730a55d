//! The last second or so of one encoding's packets: what is forwarded and retransmitted from.
//!
//! * **Owns:** the plaintext payloads, once, however many subscribers there are.
//! * **In:** [`PacketRing::insert`], in any order.
//! * **Out:** [`PacketRing::packet`] by sequence number.
//! * **Invariant:** a slot is returned only while its bytes have not been written over. A second is
//!   kept as far as the buffer allows, and of the buffer no more is touched than that takes
//!   (see [`Pages`]).
//!
//! The buffer is written in laps. A lap ends when it holds a second, so that the next begins at the
//! first byte again. If that comes to a block of the lap before that is younger (there is more to write
//! than a lap ago), it goes on behind the end of that lap.

use hearth_codec::{Codec, PayloadInfo};
use hearth_units::{ExtSeq, MediaKind};

use crate::pages::Pages;

/// Longest dependency descriptor that is kept, in bytes.
const MAX_DESCRIPTOR: usize = 120;

/// More answers the last NACKs of a subscriber with a long round trip, which come after seconds, and costs memory
/// for every track.
const KEPT_SECONDS: u32 = 1;
/// The age of what is written over is looked up by blocks of so many bytes. Smaller keeps less beyond
/// [`KEPT_SECONDS`], larger looks less often.
const BLOCK: usize = 4 * 1024;
/// A lap has at least so many blocks, so that one of them is a small part of a second.
const LAP_BLOCKS: usize = 8;

/// Slots of a ring that is new. More is memory that a slow stream does not need, fewer grow more often.
const FIRST_SLOTS: usize = 64;

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
    /// How often the encoding began anew before it, wraps: under another SSRC, with other numbers, or in another
    /// codec. What came before a beginning is of no use to what comes after.
    pub beginning: u8,
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

impl UpPacket<'_> {
    /// Whether it has header extensions.
    pub(crate) fn has_extensions(&self) -> bool {
        let meta = self.meta;
        meta.audio_level.is_some()
            || meta.orientation.is_some()
            || meta.capture_time.is_some()
            || !self.descriptor.is_empty()
    }

    /// Payload and header extensions in bytes. Two packets of a stream differ by about so much as a
    /// subscriber gets them: it may take fewer extensions, or of RED only the Opus inside.
    pub fn size(&self) -> usize {
        let meta = self.meta;
        let one = |present: bool, len: usize| if present { 1 + len } else { 0 };
        let extensions = one(meta.audio_level.is_some(), 1)
            + one(meta.orientation.is_some(), 1)
            + one(meta.capture_time.is_some(), 8)
            + one(!self.descriptor.is_empty(), self.descriptor.len());
        let head = if extensions > 0 { 4 } else { 0 };
        head + extensions.next_multiple_of(4) + self.payload.len()
    }
}

#[derive(Debug)]
struct Slot {
    lap: u32,
    start: u32,
    descriptor_len: u8,
    payload_len: u16,
    meta: PacketMeta,
}

/// The newest packet that begins in a block.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    lap: u32,
    timestamp: u32,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PacketRing {
    /// By sequence number, modulo their count: as many as a second takes. Grows by doubling, within its
    /// capacity; a power of two, so that an index needs no division.
    slots: Vec<Option<Slot>>,
    /// The newest that was written over.
    forgotten: Option<ExtSeq>,
    bytes: Pages,
    /// By block of `bytes`.
    marks: Box<[Mark]>,
    /// How often writing began again at the first byte, and the RTP time of the first packet since.
    lap: u32,
    lap_began: Option<u32>,
    /// Where the next packet goes.
    offset: usize,
    /// Where the lap before ended, and how much of it is written over.
    before_end: usize,
    before_gone: usize,
}

impl PacketRing {
    /// Room for 512 packets, 384 KiB of video (a second at 3 Mbps); 128 packets, 16 KiB of audio.
    pub(crate) fn new(kind: MediaKind) -> Self {
        let (packets, bytes) = match kind {
            MediaKind::Video => (512, 384 * 1024),
            MediaKind::Audio => (128, 16 * 1024),
        };
        let mut slots = Vec::with_capacity(packets);
        slots.resize_with(FIRST_SLOTS, || None);
        Self {
            slots,
            forgotten: None,
            bytes: Pages::new(bytes),
            marks: vec![Mark::default(); bytes.div_ceil(BLOCK)].into_boxed_slice(),
            lap: 1,
            lap_began: None,
            offset: 0,
            before_end: 0,
            before_gone: 0,
        }
    }

    /// Stores a packet; false if it is a duplicate, or so old that it may be one.
    pub(crate) fn insert(&mut self, meta: PacketMeta, descriptor: &[u8], payload: &[u8]) -> bool {
        let descriptor = if descriptor.len() > MAX_DESCRIPTOR { &[] } else { descriptor };
        let len = descriptor.len() + payload.len();
        let taken = self.slot(meta.seq);
        if taken.is_some_and(|old| old.meta.seq >= meta.seq)
            || self.forgotten.is_some_and(|forgotten| meta.seq <= forgotten)
            || len > self.bytes.len()
            || payload.len() > usize::from(u16::MAX)
        {
            return false;
        }
        let is_needed = |slot: &Slot| !is_old(&meta, slot.meta.timestamp);
        while self.slot(meta.seq).is_some_and(is_needed) && self.grow() {}
        let index = self.index(meta.seq);
        let start = self.place(&meta, len);
        let room = self.bytes.get_mut(start..start + len).zip(self.slots.get_mut(index));
        let Some((bytes, slot)) = room else { return false };
        let (for_descriptor, for_payload) = bytes.split_at_mut(descriptor.len());
        for_descriptor.copy_from_slice(descriptor);
        for_payload.copy_from_slice(payload);
        self.offset = start + len;
        if start < self.before_end {
            self.before_gone = self.offset;
        }
        self.lap_began.get_or_insert(meta.timestamp);
        if let Some(mark) = self.marks.get_mut(start / BLOCK) {
            *mark = Mark { lap: self.lap, timestamp: meta.timestamp };
        }
        self.forgotten = self.forgotten.max(slot.as_ref().map(|old| old.meta.seq));
        *slot = Some(Slot {
            lap: self.lap,
            start: start as u32,
            descriptor_len: descriptor.len() as u8,
            payload_len: payload.len() as u16,
            meta,
        });
        true
    }

    /// Where the next packet goes; begins a lap if it is time.
    fn place(&mut self, meta: &PacketMeta, len: usize) -> usize {
        let capacity = self.bytes.len();
        // A quarter more: the newest packet of the first block must be old when it is written over.
        let ended = |began: u32| age(meta, began) >= kept(meta) / 4 * 5;
        let lap_is_full = self.offset >= LAP_BLOCKS * BLOCK && self.lap_began.is_some_and(ended);
        if self.offset + len > capacity || lap_is_full {
            (self.before_end, self.before_gone) = (self.offset, 0);
            (self.lap, self.offset, self.lap_began) = (self.lap.wrapping_add(1), 0, None);
        }
        let last = (self.offset + len).saturating_sub(1) / BLOCK;
        let touched = self.marks.get(self.offset / BLOCK..=last).unwrap_or_default();
        let is_needed =
            |mark: &Mark| mark.lap.wrapping_add(1) == self.lap && !is_old(meta, mark.timestamp);
        // Only if the room behind is worth what a lap that soon ends there would cost.
        let saved = self.before_end.saturating_sub(self.offset);
        let behind = saved > 0 && capacity - self.before_end >= saved.max(len);
        if behind && touched.iter().any(is_needed) { self.before_end } else { self.offset }
    }

    /// The packet with this number, if it is still there.
    #[inline]
    pub(crate) fn packet(&self, seq: ExtSeq) -> Option<UpPacket<'_>> {
        let slot = self.slot(seq)?;
        let start = slot.start as usize;
        let of_lap_before = slot.lap.wrapping_add(1) == self.lap && start >= self.before_gone;
        if slot.meta.seq != seq || !(slot.lap == self.lap || of_lap_before) {
            return None;
        }
        let d_end = start + usize::from(slot.descriptor_len);
        let p_end = d_end + usize::from(slot.payload_len);
        Some(UpPacket {
            meta: &slot.meta,
            descriptor: self.bytes.get(start..d_end)?,
            payload: self.bytes.get(d_end..p_end)?,
        })
    }

    /// Twice the slots; false if there is no room for that.
    fn grow(&mut self) -> bool {
        let count = self.slots.len();
        if 2 * count > self.slots.capacity() {
            return false;
        }
        self.slots.resize_with(2 * count, || None);
        for at in 0..count {
            let moves = |slot: &mut Slot| slot.meta.seq.get() % (2 * count as u64) != at as u64;
            let slot = self.slots.get_mut(at).and_then(|slot| slot.take_if(moves));
            if let (Some(slot), Some(to)) = (slot, self.slots.get_mut(at + count)) {
                *to = Some(slot);
            }
        }
        true
    }

    fn slot(&self, seq: ExtSeq) -> Option<&Slot> {
        self.slots.get(self.index(seq))?.as_ref()
    }

    fn index(&self, seq: ExtSeq) -> usize {
        seq.get() as usize & (self.slots.len() - 1)
    }
}

/// How long a packet is kept, in units of its clock.
fn kept(meta: &PacketMeta) -> u32 {
    meta.codec.clock_rate().saturating_mul(KEPT_SECONDS)
}

/// How old what has the RTP time `then` is beside a packet that has just come. A packet may be late by
/// a second; a clock that jumps further makes things old.
fn age(meta: &PacketMeta, then: u32) -> u32 {
    match meta.timestamp.wrapping_sub(then) {
        late if late > u32::MAX - kept(meta) => 0,
        age => age,
    }
}

fn is_old(meta: &PacketMeta, then: u32) -> bool {
    age(meta, then) >= kept(meta)
}

#[cfg(test)]
mod tests {
    use hearth_units::SeqUnwrapper;

    use super::*;

    /// Sends `rate` packets a second of `len` bytes for some seconds; returns the ring.
    fn filled(codec: Codec, kind: MediaKind, rate: u32, len: usize, seconds: u32) -> PacketRing {
        let mut ring = PacketRing::new(kind);
        for n in 0..rate * seconds {
            send(&mut ring, codec, n, n * (codec.clock_rate() / rate), len);
        }
        ring
    }

    fn send(ring: &mut PacketRing, codec: Codec, n: u32, timestamp: u32, len: usize) {
        let payload: Vec<u8> = (0..len).map(|at| (n as usize + at) as u8).collect();
        assert!(ring.insert(meta(codec, n, timestamp), &[1, 2], &payload));
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
            beginning: 0,
            info: hearth_codec::inspect(Codec::Opus, &[0]),
            audio_level: None,
            orientation: None,
            capture_time: None,
        }
    }

    /// How many of the newest are there, whole.
    fn kept(ring: &PacketRing, until: u32) -> u32 {
        let is_whole = |n: u32, packet: UpPacket<'_>| {
            let right = |(at, byte): (usize, &u8)| *byte == (n as usize + at) as u8;
            packet.descriptor == [1, 2] && packet.payload.iter().enumerate().all(right)
        };
        let there = |n: &u32| match ring.packet(number(*n)) {
            Some(packet) => {
                assert!(is_whole(*n, packet), "{n} is not what was sent");
                true
            }
            None => false,
        };
        (0..until).rev().take_while(there).count() as u32
    }

    #[test]
    fn a_second_is_kept_and_no_more_memory_is_touched_than_that_takes() {
        for (codec, kind, rate, len, most) in [
            (Codec::Vp8, MediaKind::Video, 25, 600, 33 << 10),
            (Codec::Vp8, MediaKind::Video, 60, 1_000, 78 << 10),
            (Codec::Vp8, MediaKind::Video, 200, 1_100, 280 << 10),
            (Codec::Opus, MediaKind::Audio, 50, 80, 16 << 10),
        ] {
            let ring = filled(codec, kind, rate, len, 30);
            let kept = kept(&ring, rate * 30);
            assert!(kept >= rate * KEPT_SECONDS, "{kept} at {rate} a second of {len}");
            let touched = ring.bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            assert!(touched <= most, "{touched} at {rate} a second of {len}");
        }
    }

    #[test]
    fn a_fast_stream_has_the_whole_buffer() {
        let ring = filled(Codec::Vp8, MediaKind::Video, 900, 1_100, 5);
        assert!(kept(&ring, 4_500) >= 350);
        // The slots are the limit of small packets.
        let ring = filled(Codec::Vp8, MediaKind::Video, 900, 100, 5);
        assert_eq!(kept(&ring, 4_500), 512);
    }

    #[test]
    fn there_are_as_many_slots_as_a_second_takes() {
        for (rate, slots) in [(30, 64), (60, 64), (100, 128), (200, 256), (900, 512)] {
            let ring = filled(Codec::Vp8, MediaKind::Video, rate, 100, 5);
            assert_eq!(ring.slots.len(), slots, "at {rate} a second");
            assert!(kept(&ring, rate * 5) >= rate.min(512), "at {rate} a second");
        }
    }

    #[test]
    fn nothing_is_stored_twice_while_the_slots_grow() {
        for lost_every in [2, 3, 7, 71] {
            let mut ring = PacketRing::new(MediaKind::Video);
            let was_sent = |n: u32| n % lost_every != 1;
            for n in 0..900 {
                // The second of each three comes after the third.
                let n = [n, n + 1, n - n.min(1)][n as usize % 3];
                // First 30 a second, so that slots are used again, then a burst.
                let time = |n: u32| n.min(300) * 3_000;
                if was_sent(n) {
                    send(&mut ring, Codec::Vp8, n, time(n), 50);
                }
                for again in (0..n.saturating_sub(3)).filter(|n| was_sent(*n)) {
                    let meta = meta(Codec::Vp8, again, time(again));
                    assert!(!ring.insert(meta, &[], &[1]), "{again} after {n}");
                }
            }
        }
    }

    #[test]
    fn a_lost_head_of_a_burst_is_taken_when_it_is_repeated() {
        for (rate, lost, repeated_after) in
            [(30, 1, 64), (30, 3, 70), (30, 3, 190), (100, 3, 140), (5, 3, 100)]
        {
            let mut ring = filled(Codec::Vp8, MediaKind::Video, rate, 500, 5);
            let first = rate * 5;
            let time = first * (90_000 / rate) + 3 * 90_000;
            for n in first + lost..first + repeated_after {
                send(&mut ring, Codec::Vp8, n, time, 1_100);
            }
            for n in first..first + lost {
                send(&mut ring, Codec::Vp8, n, time, 1_100);
            }
        }
    }

    #[test]
    fn a_burst_after_a_quiet_time_takes_nothing_young() {
        for quiet in 590..620 {
            let mut ring = filled(Codec::Vp8, MediaKind::Video, 30, 500, 1);
            for n in 30..quiet {
                send(&mut ring, Codec::Vp8, n, n * 3_000, 500);
            }
            // A slide changes: 200 KiB within a tenth of a second.
            for n in quiet..quiet + 190 {
                send(&mut ring, Codec::Vp8, n, quiet * 3_000 + (n - quiet) / 64 * 3_000, 1_100);
            }
            let kept = kept(&ring, quiet + 190);
            assert!(kept >= 190 + 25, "{kept} after {quiet}");
        }
    }

    #[test]
    fn a_fast_stream_of_packets_of_any_size_keeps_half_the_buffer() {
        for rate in [300, 700, 900] {
            let mut ring = PacketRing::new(MediaKind::Video);
            for n in 0..rate * 6 {
                let len = 200 + (n * 7_919) % 1_000;
                send(&mut ring, Codec::Vp8, n, n * (90_000 / rate), len as usize);
                if n > rate * 2 && n % 37 == 0 {
                    let bytes: u32 =
                        (n - kept(&ring, n + 1)..n).map(|n| 200 + (n * 7_919) % 1_000).sum();
                    assert!(bytes >= 150 << 10, "{bytes} at packet {n} of {rate} a second");
                }
            }
        }
    }

    #[test]
    fn a_late_packet_costs_nothing() {
        for late_by in [10, 40, 90] {
            let mut ring = PacketRing::new(MediaKind::Video);
            for n in 0..1_500 {
                if n % 200 != 7 {
                    send(&mut ring, Codec::Vp8, n, n * 500, 1_100);
                }
                if n > 400 && n % 200 == 7 + late_by {
                    send(&mut ring, Codec::Vp8, n - late_by, (n - late_by) * 500, 1_100);
                    assert!(kept(&ring, n + 1) >= 180, "{} after {n}", kept(&ring, n + 1));
                }
            }
        }
    }

    #[test]
    fn a_jump_of_the_clock_costs_nothing_but_a_lap() {
        let mut ring = filled(Codec::Vp8, MediaKind::Video, 30, 1_000, 20);
        for (n, timestamp) in (600..).zip([7, 8, u32::MAX, 0, 1 << 31, 9]) {
            send(&mut ring, Codec::Vp8, n, timestamp, 1_000);
            assert!(kept(&ring, n + 1) >= 8);
        }
    }

    #[test]
    fn whatever_is_sent_a_packet_is_returned_whole_or_not_at_all() {
        for seed in 0..40_u64 {
            let mut rng = numbers(seed);
            let mut ring = PacketRing::new(MediaKind::Video);
            let (mut n, mut timestamp) = (0_u32, 0_u32);
            for _ in 0..3_000 {
                n += 1 + u32::from(rng().is_multiple_of(50)) * (rng() % 5);
                timestamp = timestamp.wrapping_add(match rng() % 100 {
                    0 => rng(),
                    1..=3 => rng() % 200_000,
                    4..=30 => 3_000,
                    _ => 0,
                });
                let len = if rng().is_multiple_of(4) { rng() % 200 } else { 1_000 + rng() % 200 };
                send(&mut ring, Codec::Vp8, n, timestamp, len as usize);
                assert!(ring.packet(number(n)).is_some(), "seed {seed}: the newest is not there");
            }
            for n in 0..=n {
                if let Some(packet) = ring.packet(number(n)) {
                    let right = |(at, byte): (usize, &u8)| *byte == (n as usize + at) as u8;
                    assert!(packet.payload.iter().enumerate().all(right), "seed {seed}, {n}");
                }
            }
        }
    }

    /// Numbers from a seed (xorshift).
    fn numbers(seed: u64) -> impl FnMut() -> u32 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        }
    }

    #[test]
    fn a_duplicate_and_what_is_older_than_its_slot_are_refused() {
        let mut ring = filled(Codec::Vp8, MediaKind::Video, 30, 100, 20);
        assert!(!ring.insert(meta(Codec::Vp8, 599, 0), &[], &[0]), "a duplicate");
        assert!(!ring.insert(meta(Codec::Vp8, 0, 0), &[], &[0]), "twenty seconds old");
        assert!(!ring.insert(meta(Codec::Vp8, 600, 0), &[], &[0; 70_000]), "too long");
    }
}
