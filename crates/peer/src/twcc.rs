//! Transport-wide congestion control (TWCC) feedback: arrival times of one transport, from which the sender
//! estimates its bandwidth.
//!
//! * **Owns:** the arrival times of the last 512 transport-wide numbers.
//! * **In:** [`handle_packet`](TwccRecorder::handle_packet), time.
//! * **Out:** [`poll_feedback`](TwccRecorder::poll_feedback) – one RTCP packet when due.
//! * **Invariant:** constant size; every number between the first and the newest is in some
//!   feedback, unless the sender jumps by more than 512.
//! * **Spec:** draft-holmer-rmcat-transport-wide-cc-extensions-01.

use std::time::{Duration, Instant};

use hearth_rtp::rtcp::{TccHeader, Writer};
use hearth_units::SeqUnwrapper;

/// At 3,000 packets/s a third of it waits for one feedback.
const WINDOW: usize = 512;
const WINDOW_U64: u64 = 512;
/// Packets in one feedback: 610 bytes at worst.
const MAX_STATUSES: usize = 256;
/// Longer costs the sender's estimator time, shorter costs packets: livekit-server's 100 ms,
/// libwebrtc's 50 ms at low rates.
const INTERVAL: Duration = Duration::from_millis(50);
/// How far back a late packet still counts.
const MAX_REORDER: u64 = 128;

/// Records when packets arrive and reports it.
#[derive(Debug, Default)]
pub struct TwccRecorder {
    seqs: SeqUnwrapper,
    epoch: Option<Instant>,
    /// Arrival of number `n` at `n % WINDOW`, in units of 250 µs since `epoch`, which wraps after
    /// 12 days together with the reference time.
    arrivals: Vec<Option<u32>>,
    /// First number of the next feedback, and one after the newest.
    from: u64,
    to: u64,
    due: Option<Instant>,
    fb_count: u8,
}

impl TwccRecorder {
    /// Begins with nothing to report; allocates at the first packet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The packet with transport-wide number `seq` arrived.
    pub fn handle_packet(&mut self, now: Instant, seq: u16) {
        let seq = self.seqs.unwrap(seq).get();
        let epoch = *self.epoch.get_or_insert(now);
        if self.arrivals.is_empty() {
            self.arrivals.resize(WINDOW, None);
            (self.from, self.to) = (seq, seq);
        }
        if seq >= self.to {
            if seq - self.to >= WINDOW_U64 {
                self.arrivals.fill(None);
                self.from = seq;
            } else {
                for skipped in self.to..seq {
                    self.set(skipped, None);
                }
                self.from = self.from.max((seq + 1).saturating_sub(WINDOW_U64));
            }
            self.to = seq + 1;
        } else if seq < self.from {
            if self.from - seq > MAX_REORDER || self.to - seq > WINDOW_U64 {
                return;
            }
            self.from = seq;
        }
        let ticks = now.saturating_duration_since(epoch).as_micros() / 250;
        let [.., a, b, c, d] = ticks.to_be_bytes();
        self.set(seq, Some(u32::from_be_bytes([a, b, c, d])));
        self.due.get_or_insert(now + INTERVAL);
    }

    /// When feedback is due.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Writes one feedback packet if it is due, and returns its length; call until `None`.
    ///
    /// `out` should have 640 bytes; feedback that does not fit is lost.
    pub fn poll_feedback(
        &mut self,
        now: Instant,
        out: &mut [u8],
        sender_ssrc: u32,
        media_ssrc: u32,
    ) -> Option<usize> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        let mut deltas = [None; MAX_STATUSES];
        let (header, count) = self.collect(sender_ssrc, media_ssrc, &mut deltas);
        self.from += count;
        if self.from >= self.to {
            self.due = None;
        }
        self.fb_count = self.fb_count.wrapping_add(1);
        Writer::new(out).transport_cc(&header, deltas.get(..usize::try_from(count).ok()?)?)
    }

    /// Fills `deltas` with as many statuses as one packet can hold; returns how many.
    fn collect(
        &self,
        sender: u32,
        media: u32,
        deltas: &mut [Option<i16>; MAX_STATUSES],
    ) -> (TccHeader, u64) {
        let mut header = TccHeader {
            sender,
            media,
            base_seq: u16::try_from(self.from & 0xffff).unwrap_or_default(),
            reference_time: 0,
            fb_count: self.fb_count,
        };
        let mut previous = None::<u32>;
        let mut count = 0;
        for (seq, slot) in (self.from..self.to).zip(deltas) {
            if let Some(arrival) = self.arrival(seq) {
                let before = *previous.get_or_insert_with(|| {
                    header.reference_time = arrival >> 8;
                    arrival & !0xff
                });
                let delta = arrival.wrapping_sub(before).cast_signed();
                let Ok(delta) = i16::try_from(delta) else {
                    break;
                };
                *slot = Some(delta);
                previous = Some(arrival);
            }
            count += 1;
        }
        (header, count)
    }

    fn arrival(&self, seq: u64) -> Option<u32> {
        *self.arrivals.get(usize::try_from(seq % WINDOW_U64).ok()?)?
    }

    fn set(&mut self, seq: u64, arrival: Option<u32>) {
        let at = usize::try_from(seq % WINDOW_U64).unwrap_or_default();
        if let Some(slot) = self.arrivals.get_mut(at) {
            *slot = arrival;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_rtp::rtcp::{Packet, Packets};

    #[test]
    fn arrivals_and_losses_are_reported_once_after_50_ms() {
        let (mut recorder, t0) = (TwccRecorder::new(), crate::test_epoch());
        for (seq, at) in [(65_534, 0), (65_535, 10), (1, 12), (2, 30)] {
            recorder.handle_packet(t0 + ms(at), seq);
        }
        assert_eq!(feedback(&mut recorder, t0 + ms(49)), None);
        let expect = vec![Some(0), Some(40), None, Some(8), Some(72)];
        assert_eq!(feedback(&mut recorder, t0 + ms(50)), Some((65_534, 0, expect)));
        assert_eq!(feedback(&mut recorder, t0 + ms(500)), None);

        recorder.handle_packet(t0 + ms(1_000), 3);
        let expect = vec![Some((1_000 - 15 * 64) * 4)];
        assert_eq!(feedback(&mut recorder, t0 + ms(1_050)), Some((3, 15, expect)));
    }

    #[test]
    fn a_late_packet_is_reported_after_all() {
        let (mut recorder, t0) = (TwccRecorder::new(), crate::test_epoch());
        recorder.handle_packet(t0, 10);
        recorder.handle_packet(t0, 12);
        assert!(feedback(&mut recorder, t0 + ms(50)).is_some());
        recorder.handle_packet(t0 + ms(60), 11);
        let expect = vec![Some(240), Some(-240)];
        assert_eq!(feedback(&mut recorder, t0 + ms(110)), Some((11, 0, expect)));
    }

    #[test]
    fn a_pause_too_long_for_a_delta_begins_a_new_feedback() {
        let (mut recorder, t0) = (TwccRecorder::new(), crate::test_epoch());
        recorder.handle_packet(t0, 10);
        recorder.handle_packet(t0 + ms(20_000), 11);
        let now = t0 + ms(20_050);
        assert_eq!(feedback(&mut recorder, now), Some((10, 0, vec![Some(0)])));
        assert_eq!(feedback(&mut recorder, now), Some((11, 312, vec![Some(128)])));
        assert_eq!(feedback(&mut recorder, now), None);
    }

    #[test]
    fn any_sequence_of_numbers_is_reported_within_bounds() {
        let (mut recorder, t0) = (TwccRecorder::new(), crate::test_epoch());
        let mut state = 3_u64;
        for i in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let jump = u16::try_from(state >> 48).unwrap();
            recorder.handle_packet(t0 + ms(i), jump % 3_000);
            let mut buf = [0; 640];
            while recorder.due.is_some_and(|due| due <= t0 + ms(i)) {
                assert!(recorder.poll_feedback(t0 + ms(i), &mut buf, 1, 2).is_some());
            }
        }
        assert_eq!(recorder.arrivals.len(), WINDOW);
    }

    /// Base number, reference time, deltas.
    fn feedback(recorder: &mut TwccRecorder, now: Instant) -> Option<(u16, u32, Vec<Option<i32>>)> {
        let mut buf = [0; 640];
        let len = recorder.poll_feedback(now, &mut buf, 1, 2)?;
        let packet = Packets::new(&buf[..len]).next().unwrap();
        let Packet::TransportCc(view) = packet else { panic!("{packet:?}") };
        let deltas = view.statuses().map(|status| status.1).collect();
        Some((view.base_seq, view.reference_time, deltas))
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
