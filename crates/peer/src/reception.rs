//! Reception statistics of one SSRC for RTCP receiver reports: packet loss, interarrival jitter.
//!
//! * **Owns:** packet counts, interarrival jitter and the last sender report of one SSRC.
//! * **In:** [`handle_packet`](ReceiverStats::handle_packet),
//!   [`handle_sender_report`](ReceiverStats::handle_sender_report).
//! * **Out:** [`report_block`](ReceiverStats::report_block); each covers the time since the one before.
//! * **Invariant:** constant size; nothing a sender puts into its packets overflows. Numbers that a restart
//!   skips do not count as packet loss.
//! * **Spec:** RFC 3550 §6.4.1, §A.1, §A.3, §A.8.

use std::time::Instant;

use hearth_rtp::rtcp::ReportBlock;
use hearth_units::{ExtSeq, ntp_mid32};

/// A jump by more than this is a restart of the numbers (RFC 3550 §A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u64 = 3_000;
/// A sender report that is older than the last one by less than this was reordered; one that is older still
/// is a clock that was set back. Units of NTP time, 2^-32 s.
const MAX_REPORT_DELAY: u64 = 10 << 32;

/// Reception statistics of one SSRC.
#[derive(Debug, Default)]
pub struct ReceiverStats {
    first: Option<First>,
    /// When the last packet arrived, and whether one did since the last report.
    last: Option<Instant>,
    is_heard: bool,
    /// Numbers that restarts skipped.
    skipped: u64,
    highest: u64,
    received: u64,
    reported: Counts,
    /// Difference of arrival and RTP timestamp of the previous packet, in RTP units, wraps.
    transit: Option<u32>,
    clock_rate: u32,
    /// Jitter times 16, as in RFC 3550 §A.8.
    jitter16: u32,
    sender_report: Option<SenderReport>,
}

#[derive(Debug)]
struct First {
    seq: u64,
    at: Instant,
}

/// Totals at the previous report.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    expected: u64,
    received: u64,
}

#[derive(Debug)]
struct SenderReport {
    ntp: u64,
    at: Instant,
}

impl ReceiverStats {
    /// A packet arrived.
    ///
    /// * `timestamp` – RTP timestamp, wraps.
    /// * `clock_rate` – of that timestamp, in Hz.
    pub fn handle_packet(&mut self, now: Instant, seq: ExtSeq, timestamp: u32, clock_rate: u32) {
        let seq = seq.get();
        let first = self.first.get_or_insert(First { seq, at: now });
        first.seq = first.seq.min(seq);
        self.received = self.received.saturating_add(1);
        let elapsed = now.saturating_duration_since(first.at);
        (self.last, self.is_heard) = (Some(now), true);
        if seq <= self.highest && self.highest != 0 {
            return;
        }
        let jump = seq.saturating_sub(self.highest);
        if jump > MAX_DROPOUT && self.highest != 0 {
            self.skipped = self.skipped.saturating_add(jump - 1);
        }
        self.highest = seq;
        if clock_rate != self.clock_rate {
            (self.clock_rate, self.transit) = (clock_rate, None);
        }
        let arrival = elapsed.as_micros().wrapping_mul(u128::from(clock_rate)) / 1_000_000;
        let transit = truncate(arrival).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let change = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            // A new timestamp base is not jitter.
            if change < clock_rate.saturating_mul(10) {
                let decay = self.jitter16.saturating_add(8) >> 4;
                self.jitter16 = self.jitter16.saturating_add(change).saturating_sub(decay);
            }
        }
    }

    /// A sender report arrived; false if a later one overtook it.
    ///
    /// * `ntp` – NTP timestamp, 32.32 fixed point.
    pub fn handle_sender_report(&mut self, now: Instant, ntp: u64) -> bool {
        let overtaken = self.sender_report.as_ref().is_some_and(|last| {
            let behind = last.ntp.wrapping_sub(ntp);
            behind > 0 && behind < MAX_REPORT_DELAY
        });
        if !overtaken {
            self.sender_report = Some(SenderReport { ntp, at: now });
        }
        !overtaken
    }

    /// When the last packet arrived.
    pub const fn last_packet(&self) -> Option<Instant> {
        self.last
    }

    /// Whether a packet arrived since the last report: only then is there to be one (RFC 3550 §6.4.2).
    pub const fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// The report block (RFC 3550 §6.4.1), covering the time since the last call.
    pub fn report_block(&mut self, now: Instant, ssrc: u32) -> ReportBlock {
        let totals = Counts { expected: self.expected(), received: self.received };
        let expected = totals.expected.saturating_sub(self.reported.expected);
        let received = totals.received.saturating_sub(self.reported.received);
        (self.reported, self.is_heard) = (totals, false);
        let lost = expected.saturating_sub(received);
        let fraction = lost.saturating_mul(256).checked_div(expected).unwrap_or_default();
        let cumulative = i128::from(totals.expected) - i128::from(totals.received);
        let (last_sr, delay_since_last_sr) = self.sender_report.as_ref().map_or((0, 0), |report| {
            let delay = now.saturating_duration_since(report.at);
            (ntp_mid32(report.ntp), truncate((delay.as_micros() << 16) / 1_000_000))
        });
        ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(cumulative.clamp(-0x80_0000, 0x7f_ffff))
                .unwrap_or_default(),
            // The unwrapper's first number stands one wrap up.
            highest_seq: truncate(u128::from(self.highest.saturating_sub(0x1_0000))),
            jitter: self.jitter16 >> 4,
            last_sr,
            delay_since_last_sr,
        }
    }

    /// Packets from the lowest to the highest number seen, without numbers that restarts skipped.
    pub fn expected(&self) -> u64 {
        let all = self
            .first
            .as_ref()
            .map_or(0, |first| self.highest.saturating_sub(first.seq).saturating_add(1));
        all.saturating_sub(self.skipped)
    }

    /// Packets that arrived, duplicates included.
    pub const fn received(&self) -> u64 {
        self.received
    }
}

/// The low 32 bits.
fn truncate(wide: u128) -> u32 {
    let [.., a, b, c, d] = wide.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_units::SeqUnwrapper;
    use std::time::Duration;

    #[test]
    fn each_report_covers_the_loss_since_the_one_before() {
        let (mut reception, mut seqs, t0) = start();
        for seq in [65_534, 65_535, 1, 2] {
            reception.handle_packet(t0, seqs.unwrap(seq), 0, 90_000);
        }
        let block = reception.report_block(t0, 7);
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 51, 1));
        assert_eq!(block.highest_seq, 0x1_0002);
        for seq in [3, 4, 5, 6] {
            reception.handle_packet(t0, seqs.unwrap(seq), 0, 90_000);
        }
        let block = reception.report_block(t0, 7);
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 1));
        assert_eq!((reception.expected(), reception.received()), (9, 8));
    }

    #[test]
    fn a_steady_stream_has_no_jitter_and_an_uneven_one_has() {
        for (wobble, expect) in [(0, 0), (10, 900)] {
            let (mut reception, mut seqs, t0) = start();
            for i in 0..400_u16 {
                let late = if i % 2 == 0 { 0 } else { wobble };
                let at = t0 + Duration::from_millis(u64::from(i) * 20 + late);
                reception.handle_packet(at, seqs.unwrap(i), u32::from(i) * 1_800, 90_000);
            }
            let jitter = reception.report_block(t0, 7).jitter;
            assert!(jitter.abs_diff(expect) <= 15, "{jitter} instead of {expect}");
        }
    }

    #[test]
    fn a_restart_of_the_sequence_numbers_is_not_packet_loss() {
        for (jump, lost) in [(3_000, 2_999), (3_001, 0), (30_000, 0)] {
            let (mut reception, mut seqs, t0) = start();
            for seq in [10, 10 + jump, 11 + jump] {
                reception.handle_packet(t0, seqs.unwrap(seq), 0, 90_000);
            }
            assert_eq!(reception.report_block(t0, 7).cumulative_lost, lost, "{jump}");
            assert_eq!(reception.report_block(t0, 7).fraction_lost, 0);
        }
    }

    #[test]
    fn a_sender_report_that_was_overtaken_is_refused_and_a_clock_set_back_is_not() {
        let (mut reception, _, t0) = start();
        let now = 0xe000_0000_u64 << 32;
        for (ntp, taken) in [
            (now, true),
            (now, true),
            (now - 1, false),
            (now - (9 << 32), false),
            (now + (1 << 32), true),
            (now - (3_600 << 32), true),
        ] {
            assert_eq!(reception.handle_sender_report(t0, ntp), taken);
            let last_sr = reception.report_block(t0, 7).last_sr;
            assert_eq!(last_sr == ntp_mid32(ntp), taken, "{ntp:x}");
        }
    }

    #[test]
    fn a_stream_is_reported_while_it_is_heard() {
        let (mut reception, mut seqs, t0) = start();
        assert!(!reception.is_heard());
        reception.handle_packet(t0, seqs.unwrap(5), 0, 90_000);
        assert_eq!((reception.is_heard(), reception.last_packet()), (true, Some(t0)));
        reception.report_block(t0, 7);
        assert!(!reception.is_heard());
    }

    #[test]
    fn the_sender_learns_how_long_its_report_has_lain_here() {
        let (mut reception, _, t0) = start();
        assert_eq!(reception.report_block(t0, 7).last_sr, 0);
        assert!(reception.handle_sender_report(t0, 0x1111_2222_3333_4444));
        let block = reception.report_block(t0 + Duration::from_millis(1_500), 7);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x2222_3333, 0x1_8000));
    }

    fn start() -> (ReceiverStats, SeqUnwrapper, Instant) {
        (ReceiverStats::default(), SeqUnwrapper::default(), crate::test_epoch())
    }
}
