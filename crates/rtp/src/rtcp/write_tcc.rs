//! Writing transport-wide congestion control feedback.
//!
//! * **Owns:** nothing; appends to a [`Writer`].
//! * **In:** one delta per consecutive transport-wide number, `None` for those that did not arrive.
//! * **Out:** status chunks, deltas and padding.
//! * **Invariant:** what is written parses back to the same deltas, and each chunk covers as
//!   many packets as any one chunk could.
//! * **Spec:** draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.

use super::tcc::{LARGE, SMALL};
use super::write::Writer;
use super::{TRANSPORT_CC, TRANSPORT_FEEDBACK};

/// The fixed part of one feedback packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TccHeader {
    /// Who reports.
    pub sender: u32,
    /// Any stream of the transport.
    pub media: u32,
    /// Transport-wide number of the first status, wraps.
    pub base_seq: u16,
    /// Receiver's clock in units of 64 ms, of which 24 bits are sent; the first delta starts there.
    pub reference_time: u32,
    /// Counts feedback packets, wraps.
    pub fb_count: u8,
}

impl Writer<'_> {
    /// Feedback about consecutive packets.
    ///
    /// * `deltas` – in units of 250 µs since the arrival before it (the first since
    ///   `reference_time`), negative if it overtook; `None` if the packet has not arrived.
    ///
    /// Returns `None` if it does not fit, or if there are no deltas, or more than 65 535.
    pub fn transport_cc(&mut self, header: &TccHeader, deltas: &[Option<i16>]) -> Option<usize> {
        let count = u16::try_from(deltas.len()).ok().filter(|count| *count != 0)?;
        let mut packet = self.begin();
        packet.u32(header.sender)?;
        packet.u32(header.media)?;
        packet.u16(header.base_seq)?;
        packet.u16(count)?;
        packet.u32((header.reference_time << 8) | u32::from(header.fb_count))?;
        let mut rest = deltas;
        while !rest.is_empty() {
            let (chunk, used) = next_chunk(rest);
            packet.u16(chunk)?;
            rest = rest.get(used..).unwrap_or_default();
        }
        for delta in deltas.iter().flatten() {
            match u8::try_from(*delta) {
                Ok(small) => packet.put(&[small])?,
                Err(_) => packet.put(&delta.to_be_bytes())?,
            }
        }
        packet.finish_padded(TRANSPORT_CC, TRANSPORT_FEEDBACK)
    }
}

/// The chunk that covers most of the front of `deltas`, and how many it covers: at least one.
fn next_chunk(deltas: &[Option<i16>]) -> (u16, usize) {
    let first = deltas.first().map_or(0, symbol);
    let run = deltas.iter().take(MAX_RUN).take_while(|delta| symbol(delta) == first).count();
    let small = deltas.iter().take(14).take_while(|delta| symbol(delta) != LARGE).count();
    // One bit per packet needs 14 of them without a large delta, or the end of the list.
    let vector = if small == deltas.len().min(14) { small } else { deltas.len().min(7) };
    if run >= vector {
        ((first << 13) | run as u16, run)
    } else if vector == small && (small > 7 || small == deltas.len()) {
        (0x8000 | packed(deltas, 14, 1), vector)
    } else {
        (0xc000 | packed(deltas, 7, 2), vector)
    }
}

/// The first `slots` symbols of `width` bits each, the first one on top, zeros behind the last.
fn packed(deltas: &[Option<i16>], slots: usize, width: u32) -> u16 {
    let symbols = deltas.iter().map(symbol).chain(std::iter::repeat(0)).take(slots);
    symbols.fold(0, |bits, symbol| bits.unbounded_shl(width) | symbol)
}

fn symbol(delta: &Option<i16>) -> u16 {
    match delta {
        None => 0,
        Some(0..=255) => SMALL,
        Some(_) => LARGE,
    }
}

/// 13 bits.
const MAX_RUN: usize = 0x1fff;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Packet, Packets};
    use hearth_netem::each_seed;

    const HEADER: TccHeader = TccHeader {
        sender: 1,
        media: 2,
        base_seq: 0xfffe,
        reference_time: 0x0102_0304,
        fb_count: 200,
    };

    fn write(deltas: &[Option<i16>]) -> Vec<u8> {
        let mut buf = [0xee; 3_000];
        let len = Writer::new(&mut buf).transport_cc(&HEADER, deltas).unwrap();
        buf[..len].to_vec()
    }

    #[track_caller]
    fn check_round_trip(deltas: &[Option<i16>]) {
        let bytes = write(deltas);
        let mut packets = Packets::new(&bytes);
        let Some(Packet::TransportCc(view)) = packets.next() else { panic!("not feedback") };
        assert_eq!(packets.next(), None);
        let header = TccHeader {
            sender: view.sender,
            media: view.media,
            base_seq: view.base_seq,
            reference_time: view.reference_time | 0x0100_0000,
            fb_count: view.fb_count,
        };
        assert_eq!(header, HEADER);
        let read: Vec<_> = view.statuses().collect();
        let seqs = (0_u16..).map(|i| HEADER.base_seq.wrapping_add(i));
        let expect: Vec<_> = seqs.zip(deltas.iter().map(|d| d.map(i32::from))).collect();
        assert_eq!(read, expect);
    }

    /// The chunks as written, for deltas given as one letter each: `.` lost, `s` small, `L` large.
    fn chunks(deltas: &str, count: usize) -> Vec<u16> {
        let deltas: Vec<_> = deltas.chars().map(delta).collect();
        check_round_trip(&deltas);
        let bytes = write(&deltas);
        bytes[20..].chunks(2).take(count).map(|c| u16::from_be_bytes([c[0], c[1]])).collect()
    }

    fn delta(letter: char) -> Option<i16> {
        match letter {
            's' => Some(4),
            'L' => Some(-4),
            _ => None,
        }
    }

    #[test]
    fn the_shortest_chunk_is_chosen() {
        assert_eq!(chunks("s", 1), [0x2001]);
        assert_eq!(chunks(".", 1), [0x0001]);
        assert_eq!(chunks("LL", 1), [0x4002]);
        assert_eq!(chunks(&"s".repeat(100), 1), [0x2064]);
        assert_eq!(chunks("s.", 1), [0xa000]);
        assert_eq!(chunks("s.s.s.s.s.s.s.", 1), [0xaaaa]);
        assert_eq!(chunks("s.L", 1), [0xd200]);
        assert_eq!(chunks("s.L....ssssssss", 2), [0xd200, 0x2008]);
        assert_eq!(chunks("ssssssssssssssL", 2), [0x200e, 0x4001]);
        assert_eq!(chunks(".ssssssssssssssss", 2), [0x9fff, 0x2003]);
    }

    #[test]
    fn a_run_longer_than_13_bits_is_split() {
        let deltas = vec![None; 0x2005];
        check_round_trip(&deltas);
        assert_eq!(write(&deltas)[20..24], [0x1f, 0xff, 0, 6]);
    }

    #[test]
    fn padding_is_declared_and_counts_itself() {
        for (n, expect) in [(1, [0xaf, 1]), (2, [0x8f, 4]), (3, [0xaf, 3]), (4, [0xaf, 2])] {
            let bytes = write(&vec![Some(4); n]);
            assert_eq!([bytes[0], *bytes.last().unwrap()], expect, "{n} deltas");
        }
    }

    #[test]
    fn nothing_to_report_and_too_little_room_are_refused() {
        let mut buf = [0; 26];
        assert_eq!(Writer::new(&mut buf).transport_cc(&HEADER, &[]), None);
        assert_eq!(Writer::new(&mut buf).transport_cc(&HEADER, &[Some(1); 3]), None);
        assert_eq!(Writer::new(&mut buf).transport_cc(&HEADER, &[Some(1); 2]), Some(24));
        assert_eq!(Writer::new(&mut buf).transport_cc(&HEADER, &vec![None; 0x1_0000]), None);
    }

    #[test]
    fn any_deltas_survive_the_round_trip() {
        each_seed(|noise| {
            let mix = noise.bits();
            let deltas: Vec<_> = noise
                .bytes(60)
                .into_iter()
                .map(|byte| match (byte & 7, mix & 3) {
                    (0, 0..=2) | (1..=3, 1) => None,
                    (4, 0 | 2) => Some(-i16::from(byte) * 128),
                    _ => Some(i16::from(byte)),
                })
                .collect();
            if !deltas.is_empty() {
                check_round_trip(&deltas);
            }
        });
    }
}
