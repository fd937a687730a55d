//! One subscriber's RTP clock, continuous over switches between encodings.
//!
//! * **Owns:** for each encoding the offset from the publisher's RTP time to ours.
//! * **In:** [`TimestampRewriter::switch_to`] at a key frame, [`TimestampRewriter::sent`] after each packet.
//! * **Out:** [`TimestampRewriter::map`].
//! * **Invariant:** time does not go backwards at a switch.
//! * **livekit-server:** `Forwarder.processSourceSwitch`; where sender reports are missing we go by
//!   arrival instead of refusing the switch.

use std::time::{Duration, Instant};

/// A publisher's sender report: the same moment on its NTP and RTP clocks (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SourceClock {
    /// NTP time, 32.32 bits.
    pub ntp: u64,
    /// RTP time.
    pub rtp_time: u32,
    /// When the report arrived.
    pub at: Instant,
}

/// Farther than this from where arrival puts it, a computed time is not believed.
const MAX_DEVIATION: Duration = Duration::from_secs(2);

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct TimestampRewriter {
    offsets: [Option<u32>; 3],
    last: Option<(u32, Instant)>,
}

impl TimestampRewriter {
    /// Fixes the offset of encoding `to`, whose packet with time `timestamp` is sent next.
    pub(crate) fn switch_to(
        &mut self,
        now: Instant,
        to: u8,
        timestamp: u32,
        clock_rate: u32,
        clocks: &[Option<SourceClock>; 3],
    ) {
        let offset = match self.last {
            None => 0,
            Some((last, at)) => {
                let expected =
                    last.wrapping_add(ticks(now.saturating_duration_since(at), clock_rate));
                let wanted = self
                    .offset_by_reports(to, clock_rate, clocks)
                    .or_else(|| self.offset(to))
                    .map_or(expected, |offset| timestamp.wrapping_add(offset));
                let deviation = wanted.wrapping_sub(expected).cast_signed().unsigned_abs();
                let believed =
                    if deviation > ticks(MAX_DEVIATION, clock_rate) { expected } else { wanted };
                let ahead = believed.wrapping_sub(last).cast_signed();
                let out = if ahead <= 0 { last.wrapping_add(1) } else { believed };
                out.wrapping_sub(timestamp)
            }
        };
        if let Some(slot) = self.offsets.get_mut(usize::from(to)) {
            *slot = Some(offset);
        }
    }

    /// The publisher's `timestamp` of encoding `encoding` on our clock.
    pub(crate) fn map(&self, encoding: u8, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.offset(encoding).unwrap_or(0))
    }

    /// A packet left with our time `timestamp`.
    pub(crate) fn sent(&mut self, now: Instant, timestamp: u32) {
        let newer =
            self.last.is_none_or(|(last, _)| timestamp.wrapping_sub(last).cast_signed() > 0);
        if newer {
            self.last = Some((timestamp, now));
        }
    }

    fn offset(&self, encoding: u8) -> Option<u32> {
        self.offsets.get(usize::from(encoding)).copied().flatten()
    }

    /// Through the sender reports of `to` and of any encoding whose offset is known.
    fn offset_by_reports(
        &self,
        to: u8,
        clock_rate: u32,
        clocks: &[Option<SourceClock>; 3],
    ) -> Option<u32> {
        let target = (*clocks.get(usize::from(to))?)?;
        self.offsets.iter().zip(clocks).enumerate().find_map(|(i, (offset, clock))| {
            let (offset, clock) = ((*offset)?, (*clock)?);
            if i == usize::from(to) {
                return None;
            }
            let between = target.ntp.wrapping_sub(clock.ntp).cast_signed();
            let ticks = (i128::from(between) * i128::from(clock_rate)) >> 32;
            let moment = clock.rtp_time.wrapping_add(ticks as u32).wrapping_add(offset);
            Some(moment.wrapping_sub(target.rtp_time))
        })
    }
}

/// `duration` in units of the RTP clock, modulo 2^32.
pub(crate) fn ticks(duration: Duration, clock_rate: u32) -> u32 {
    ((duration.as_nanos() * u128::from(clock_rate)) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 90_000;

    #[test]
    fn a_switch_follows_the_sender_reports() {
        let t0 = epoch();
        let mut timestamps = TimestampRewriter::default();
        timestamps.switch_to(t0, 0, 1_000, HZ, &[None; 3]);
        timestamps.sent(t0, timestamps.map(0, 1_000));

        // Both reports name the same NTP moment: 1,000 on clock 0 is 50,000 on clock 1.
        let report = |rtp_time| Some(SourceClock { ntp: 7 << 32, rtp_time, at: t0 });
        let later = t0 + Duration::from_millis(100);
        timestamps.switch_to(later, 1, 59_000, HZ, &[report(1_000), report(50_000), None]);
        assert_eq!(timestamps.map(1, 59_000), 10_000);
    }

    #[test]
    fn without_reports_arrival_decides() {
        let t0 = epoch();
        let mut timestamps = TimestampRewriter::default();
        timestamps.switch_to(t0, 0, 1_000, HZ, &[None; 3]);
        timestamps.sent(t0, 1_000);
        timestamps.switch_to(t0 + Duration::from_secs(1), 2, 4_000_000_000, HZ, &[None; 3]);
        assert_eq!(timestamps.map(2, 4_000_000_000), 91_000);
    }

    #[test]
    fn time_does_not_go_backwards() {
        let t0 = epoch();
        let mut timestamps = TimestampRewriter::default();
        timestamps.switch_to(t0, 0, 90_000, HZ, &[None; 3]);
        timestamps.sent(t0, 90_000);
        timestamps.switch_to(t0, 0, 80_000, HZ, &[None; 3]);
        assert_eq!(timestamps.map(0, 80_000), 90_001);
    }

    fn epoch() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        Instant::now()
    }
}
