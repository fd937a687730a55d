//! The audio level of a track, as clients are told it: the basis of active speaker detection.
//!
//! * **Owns:** the current 400 ms window of one microphone track.
//! * **In:** [`AudioLevelMeter::handle_packet`] (RFC 6464 level), [`AudioLevelMeter::poll_level`] on the 400 ms tick.
//! * **Invariant:** no packets for two windows mean silence.
//! * **livekit-server:** `pkg/sfu/audio/audiolevel.go`, with its default `audio` configuration.

use std::time::{Duration, Instant};

/// Packets at least this loud count as speech (−35 dBov).
const ACTIVE_LEVEL: u8 = 35;
/// Length of a window, and of the room's tick.
pub(crate) const WINDOW: Duration = Duration::from_millis(400);
/// 40 % of the window must be active.
const MIN_ACTIVE: Duration = Duration::from_millis(160);
/// Weight of a new window: 2 / (smooth_intervals 2 + 1).
const SMOOTHING: f32 = 2.0 / 3.0;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct AudioLevelMeter {
    observed: Duration,
    active: Duration,
    loudest: u8,
    smoothed: f32,
    last_time: Option<u32>,
    last_packet: Option<Instant>,
    told: f32,
}

impl Default for AudioLevelMeter {
    fn default() -> Self {
        Self {
            observed: Duration::ZERO,
            active: Duration::ZERO,
            loudest: 127,
            smoothed: 0.0,
            last_time: None,
            last_packet: None,
            told: 0.0,
        }
    }
}

impl AudioLevelMeter {
    /// A packet with `level` (0 loudest … 127 silent) and RTP time `timestamp`.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        level: u8,
        timestamp: u32,
        clock_rate: u32,
    ) {
        let step = self.last_time.map_or(0, |last| timestamp.wrapping_sub(last));
        if step.cast_signed() < 0 {
            return;
        }
        self.last_time = Some(timestamp);
        self.last_packet = Some(now);
        let nanos = u64::from(step) * 1_000_000_000 / u64::from(clock_rate.max(1));
        let duration = Duration::from_nanos(nanos).min(WINDOW);
        self.observed += duration;
        if level <= ACTIVE_LEVEL {
            self.active += duration;
            self.loudest = self.loudest.min(level);
        }
        if self.observed >= WINDOW {
            self.end_window();
        }
    }

    /// The level to tell if it changed since the last call: 0.0, or 0.125 … 1.0 in eighths.
    pub(crate) fn poll_level(&mut self, now: Instant) -> Option<f32> {
        let stale =
            self.last_packet.is_none_or(|at| now.saturating_duration_since(at) >= 2 * WINDOW);
        if stale {
            self.smoothed = 0.0;
        }
        let threshold = 10_f32.powf(-f32::from(ACTIVE_LEVEL) / 20.0);
        let level = if self.smoothed >= threshold {
            (self.smoothed * 8.0).ceil().min(8.0) / 8.0
        } else {
            0.0
        };
        let changed = (level - self.told).abs() > f32::EPSILON;
        self.told = level;
        changed.then_some(level)
    }

    fn end_window(&mut self) {
        if self.active >= MIN_ACTIVE {
            let share = self.active.as_secs_f32() / WINDOW.as_secs_f32();
            let adjusted = f32::from(self.loudest) - 20.0 * share.log10();
            let linear = 10_f32.powf(-adjusted / 20.0);
            self.smoothed += (linear - self.smoothed) * SMOOTHING;
        } else {
            self.smoothed = 0.0;
        }
        self.observed = Duration::ZERO;
        self.active = Duration::ZERO;
        self.loudest = 127;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_told_once_and_silence_ends_it() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut level_meter = AudioLevelMeter::default();
        let mut told = Vec::new();
        for i in 0..100_u32 {
            let now = t0 + i * Duration::from_millis(20);
            level_meter.handle_packet(now, if i < 50 { 10 } else { 127 }, i * 960, 48_000);
            if i % 20 == 19 {
                told.extend(level_meter.poll_level(now));
            }
        }
        assert_eq!(told.first().copied(), Some(0.25));
        assert_eq!(told.last().copied(), Some(0.0));
    }
}
