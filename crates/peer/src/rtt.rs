//! The round-trip time (RTT) of one transport, from sender and receiver reports and from XR (RRTR, DLRR).
//!
//! * **Owns:** the last measurement, the smoothed RTT, and the clock of our receiver reference times.
//! * **In:** [`handle_dlrr`](RttEstimator::handle_dlrr) for media that we receive, and
//!   [`handle_report`](RttEstimator::handle_report) for media that we send;
//!   [`handle_reference_time`](RttEstimator::handle_reference_time) for the other side's measurement.
//! * **Out:** [`get`](RttEstimator::get), [`estimate`](RttEstimator::estimate);
//!   [`reference_time`](RttEstimator::reference_time), to be sent in an extended report.
//! * **Invariant:** a measurement is below 10 s, and nonsense does not replace it; the other side gets at
//!   most four answers a second.
//! * **Spec:** RFC 3550 §6.4.1 (sender and receiver reports), RFC 3611 §4.4 and §4.5 (RRTR, DLRR), for
//!   publishers that get no sender reports.

use std::time::{Duration, Instant};

use hearth_rtp::rtcp::{DlrrReport, ReportBlock};
use hearth_units::{ntp_mid32, ntp_ticks, rtt_from_report};

/// Longer ones are nonsense, or of no use.
const LONGEST: Duration = Duration::from_secs(10);
/// More measures more often than a browser asks, for each stream of a second; a lower distance would let a client
/// make us send (amplification).
const ANSWER_INTERVAL: Duration = Duration::from_millis(250);
/// For so long reports do not replace an answer to our clock: some of a browser's reports, of which one may be
/// lost.
const CONFIRMED_FOR: Duration = Duration::from_secs(5);
/// The first reading of our clock: not 0, which stands for "no report yet".
const START: u64 = 1 << 32;

/// See the module documentation.
#[derive(Debug)]
pub struct RttEstimator {
    origin: Instant,
    measured: Option<Duration>,
    /// Mean of the last measurements.
    smoothed: Option<Duration>,
    /// The last answer to a reference time of ours.
    confirmed: Option<Instant>,
    answered: Option<Instant>,
}

impl RttEstimator {
    /// Assumed before the first measurement, as livekit-server does.
    pub const ASSUMED: Duration = Duration::from_millis(70);

    /// Nothing is known yet.
    pub const fn new(now: Instant) -> Self {
        Self { origin: now, measured: None, smoothed: None, confirmed: None, answered: None }
    }

    /// The last measurement, if there is one.
    pub const fn get(&self) -> Option<Duration> {
        self.measured
    }

    /// The mean of the last measurements, each new one an eighth of it (RFC 6298 §2); `None` before the first.
    pub const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smoothed RTT, or the assumed one before the first measurement.
    pub fn estimate(&self) -> Duration {
        self.smoothed.unwrap_or(Self::ASSUMED)
    }

    /// Our time for an XR receiver reference time block, in NTP format. Only differences count.
    pub fn reference_time(&self, now: Instant) -> u64 {
        START.wrapping_add(ntp_ticks(now.saturating_duration_since(self.origin)))
    }

    /// The answer to a [`reference_time`](Self::reference_time) of ours.
    pub fn handle_dlrr(&mut self, now: Instant, report: &DlrrReport) {
        let ours = ntp_mid32(self.reference_time(now));
        if self.take(rtt_from_report(ours, report.last_rr, report.delay)) {
            self.confirmed = Some(now);
        }
    }

    /// A reception report about a stream that we send; `ntp` is now on the clock of its sender reports, which is the
    /// publisher's, as far as we know it: answers to our own clock are better.
    pub fn handle_report(&mut self, now: Instant, ntp: u64, block: &ReportBlock) {
        if self.confirmed.is_none_or(|at| now.saturating_duration_since(at) >= CONFIRMED_FOR) {
            self.take(rtt_from_report(ntp_mid32(ntp), block.last_sr, block.delay_since_last_sr));
        }
    }

    /// The other side's reference time (RRTR). Returns the DLRR answer, if it is time for another. A browser asks
    /// with each stream it receives, and takes one answer for all of them.
    pub fn handle_reference_time(
        &mut self,
        now: Instant,
        sender: u32,
        ntp: u64,
    ) -> Option<DlrrReport> {
        if self.answered.is_some_and(|at| now.saturating_duration_since(at) < ANSWER_INTERVAL) {
            return None;
        }
        self.answered = Some(now);
        Some(DlrrReport { ssrc: sender, last_rr: ntp_mid32(ntp), delay: 0 })
    }

    fn take(&mut self, rtt: Option<Duration>) -> bool {
        let rtt = rtt.filter(|rtt| *rtt < LONGEST);
        self.measured = rtt.or(self.measured);
        if let Some(rtt) = rtt {
            self.smoothed = Some(self.smoothed.map_or(rtt, |mean| (mean * 7 + rtt) / 8));
        }
        rtt.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_epoch;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_returned_reference_time_measures_the_round_trip_time() {
        let (mut trip, t0) = (RttEstimator::new(test_epoch()), test_epoch());
        for (at, held, rtt) in [(0, 100, 30), (5_000, 0, 250), (70_000_000, 10, 0)] {
            let sent = ntp_mid32(trip.reference_time(t0 + at * MS));
            let report = DlrrReport { ssrc: 1, last_rr: sent, delay: held * 65_536 / 1_000 };
            trip.handle_dlrr(t0 + (at + held + rtt) * MS, &report);
            let measured = trip.get().unwrap();
            assert!(measured.abs_diff(rtt * MS) < MS / 10, "{measured:?}, not {rtt} ms");
        }
    }

    #[test]
    fn one_measurement_that_is_far_off_moves_the_estimate_by_an_eighth_of_it() {
        let (mut trip, t0) = (RttEstimator::new(test_epoch()), test_epoch());
        assert_eq!((trip.smoothed(), trip.estimate()), (None, RttEstimator::ASSUMED));
        for (at, rtt, expect) in [(0, 40, 40), (1_000, 40, 40), (2_000, 200, 60), (3_000, 60, 60)] {
            let sent = ntp_mid32(trip.reference_time(t0 + at * MS));
            let report = DlrrReport { ssrc: 1, last_rr: sent, delay: 0 };
            trip.handle_dlrr(t0 + (at + rtt) * MS, &report);
            let estimate = trip.estimate();
            assert!(estimate.abs_diff(expect * MS) < MS / 10, "{estimate:?}, not {expect} ms");
            assert_eq!(trip.smoothed(), Some(estimate));
        }
    }

    #[test]
    fn nonsense_does_not_replace_a_measurement() {
        let t0 = test_epoch();
        let mut trip = RttEstimator::new(t0);
        let at = t0 + 20_000 * MS;
        let sent = ntp_mid32(trip.reference_time(t0));
        for (last_rr, delay) in
            [(0, 0), (sent, 0), (sent, 21 << 16), (sent.wrapping_add(1 << 30), 0)]
        {
            trip.handle_dlrr(at, &DlrrReport { ssrc: 1, last_rr, delay });
            assert_eq!(trip.get(), None, "{last_rr} {delay}");
        }
        trip.handle_dlrr(at, &DlrrReport { ssrc: 1, last_rr: sent, delay: 20 << 16 });
        assert_eq!(trip.get(), Some(Duration::ZERO));
    }

    #[test]
    fn frequent_reference_times_are_answered_four_times_a_second() {
        let t0 = test_epoch();
        let mut trip = RttEstimator::new(t0);
        let answers: Vec<_> = (0..1_000_u32)
            .filter_map(|ms| Some((ms, trip.handle_reference_time(t0 + ms * MS, 7, 5 << 16)?)))
            .collect();
        let answer = DlrrReport { ssrc: 7, last_rr: 5, delay: 0 };
        assert_eq!(answers, [0, 250, 500, 750].map(|ms| (ms, answer)));
    }

    #[test]
    fn a_receiver_report_measures_on_the_clock_of_the_sender_reports() {
        let t0 = test_epoch();
        let mut trip = RttEstimator::new(t0);
        let ntp = 0xe000_0001_0000_0000;
        let block = ReportBlock {
            last_sr: ntp_mid32(ntp),
            delay_since_last_sr: 1 << 16,
            ..ReportBlock::default()
        };
        trip.handle_report(t0, ntp + ntp_ticks(1_125 * MS), &block);
        assert_eq!(trip.get(), Some(125 * MS));

        let last_rr = ntp_mid32(trip.reference_time(t0));
        trip.handle_dlrr(t0, &DlrrReport { ssrc: 1, last_rr, delay: 0 });
        for (at, rtt) in [(0, 0), (4_999, 0), (5_000, 125)] {
            trip.handle_report(t0 + at * MS, ntp + ntp_ticks(1_125 * MS), &block);
            assert_eq!(trip.get(), Some(rtt * MS), "after {at} ms");
        }
    }
}
