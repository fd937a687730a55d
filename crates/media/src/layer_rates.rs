//! How many bits per second each layer of a track takes.
//!
//! * **Owns:** for each encoding and temporal layer, what arrived since the last fold and the bitrate before.
//! * **In:** [`LayerRates::handle_packet`], [`LayerRates::handle_timeout`].
//! * **Out:** [`LayerRates::bitrate`].
//! * **Invariant:** a packet costs one addition. A layer that grows is followed within a second, one that shrinks
//!   within some: who allocates bandwidth by these numbers has rather too much than too little for the next key frame.
//! * **livekit-server:** `StreamTrackerManager.GetLayeredBitrate`.

use std::time::{Duration, Instant};

use hearth_units::Bitrate;

use crate::stream_tracker::MAX_ENCODINGS;

/// Temporal layers that are told apart; those above count as the last. No browser sends more than three.
const MAX_TEMPORAL: usize = 4;
/// The time from one fold to the next. Shorter follows each frame, longer tells of a change later.
const INTERVAL: Duration = Duration::from_millis(200);
/// Of a rise, this part is taken over in one interval. More takes a key frame for a rate, less learns late what a layer
/// has come to.
const RISE: u64 = 2;
/// Of a fall, this part. More takes a still picture for one that stays, less keeps bandwidth for nothing.
const FALL: u64 = 20;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct LayerRates {
    /// The end of the last interval; `None` before the first packet.
    folded: Option<Instant>,
    /// Bytes since, by encoding and temporal layer.
    octets: [[u32; MAX_TEMPORAL]; MAX_ENCODINGS],
    /// Bits per second until then.
    bps: [[u32; MAX_TEMPORAL]; MAX_ENCODINGS],
}

impl LayerRates {
    /// Nothing arrived yet.
    pub(crate) const fn new() -> Self {
        let none = [[0; MAX_TEMPORAL]; MAX_ENCODINGS];
        Self { folded: None, octets: none, bps: none }
    }

    /// `octets` bytes of payload arrived for the first time.
    pub(crate) fn handle_packet(&mut self, encoding: u8, temporal: u8, octets: usize) {
        let temporal = usize::from(temporal).min(MAX_TEMPORAL - 1);
        let encoding = self.octets.get_mut(usize::from(encoding));
        if let Some(layer) = encoding.and_then(|layers| layers.get_mut(temporal)) {
            *layer = layer.saturating_add(octets as u32);
        }
    }

    /// Folds what arrived into the bitrates, if an interval is over. To be called some times in each.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(folded) = self.folded else {
            self.folded = self.octets.iter().flatten().any(|octets| *octets > 0).then_some(now);
            return;
        };
        let elapsed = now.saturating_duration_since(folded);
        if elapsed < INTERVAL {
            return;
        }
        self.folded = Some(now);
        let layers = self.octets.iter_mut().flatten().zip(self.bps.iter_mut().flatten());
        for (octets, bps) in layers {
            let arrived = u64::from(std::mem::take(octets)) * 8_000_000;
            let sample = arrived / (elapsed.as_micros() as u64).max(1);
            let before = u64::from(*bps);
            let after = if sample > before {
                before + (sample - before).div_ceil(RISE)
            } else {
                before - (before - sample).div_ceil(FALL)
            };
            *bps = u32::try_from(after).unwrap_or(u32::MAX);
        }
    }

    /// Bitrate of one temporal layer of an encoding, without those below it.
    pub(crate) fn bitrate(&self, encoding: u8, temporal: u8) -> Bitrate {
        let layers = self.bps.get(usize::from(encoding));
        let bps = layers.and_then(|layers| layers.get(usize::from(temporal)));
        Bitrate::from_bps(bps.copied().unwrap_or(0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    #[test]
    fn each_layer_has_its_own_bitrate() {
        let mut scene = Scene::new();
        // Every 20 ms: 400 kbps and 200 kbps in the lowest encoding, 2 Mbps in the highest.
        let layers = [(0, 0, 1_000), (0, 1, 500), (2, 0, 5_000)];
        scene.run(5_000, &layers);
        assert_eq!(scene.kbps(0), [400, 200, 0, 0]);
        assert_eq!(scene.kbps(1), [0; 4]);
        assert_eq!(scene.kbps(2), [2_000, 0, 0, 0]);
    }

    #[test]
    fn layers_above_the_last_count_with_it() {
        let mut scene = Scene::new();
        scene.run(5_000, &[(1, 3, 1_000), (1, 7, 1_000)]);
        assert_eq!(scene.kbps(1), [0, 0, 0, 800]);
    }

    #[test]
    fn a_rise_is_followed_within_a_second_and_a_fall_within_some() {
        let mut scene = Scene::new();
        scene.run(5_000, &[(0, 0, 1_000)]);
        scene.run(1_000, &[(0, 0, 2_000)]);
        let [risen, ..] = scene.kbps(0);
        assert!((750..=800).contains(&risen), "{risen} kbps");
        scene.run(1_000, &[(0, 0, 500)]);
        let [falling, ..] = scene.kbps(0);
        assert!((600..=700).contains(&falling), "{falling} kbps");
        scene.run(40_000, &[(0, 0, 500)]);
        assert_eq!(scene.kbps(0), [200, 0, 0, 0]);
    }

    #[test]
    fn a_layer_that_ends_comes_down_to_nothing() {
        let mut scene = Scene::new();
        scene.run(5_000, &[(0, 0, 1_000)]);
        scene.run(60_000, &[]);
        assert_eq!(scene.rates.bitrate(0, 0), Bitrate::ZERO);
    }

    #[test]
    fn what_arrives_in_a_burst_counts_by_the_time_it_took() {
        let mut scene = Scene::new();
        scene.run(4_000, &[(0, 0, 1_000)]);
        // The way, and the thread with it, stands for a second; then all comes at once.
        for _ in 0..50 {
            scene.rates.handle_packet(0, 0, 1_000);
        }
        scene.now += Duration::from_secs(1);
        scene.rates.handle_timeout(scene.now);
        assert_eq!(scene.kbps(0), [400, 0, 0, 0]);
    }

    #[test]
    fn there_is_no_layer_beyond_the_last_encoding() {
        let mut scene = Scene::new();
        scene.run(1_000, &[(3, 0, 1_000)]);
        assert_eq!(scene.rates.bitrate(3, 0), Bitrate::ZERO);
    }

    struct Scene {
        rates: LayerRates,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "std offers no other way to make one")]
            let now = Instant::now();
            Self { rates: LayerRates::new(), now }
        }

        /// For so many milliseconds, a packet of each layer (encoding, temporal layer, bytes) in every tick.
        fn run(&mut self, ms: u64, layers: &[(u8, u8, usize)]) {
            for _ in 0..ms / 20 {
                for (encoding, temporal, octets) in layers {
                    self.rates.handle_packet(*encoding, *temporal, *octets);
                }
                self.now += TICK;
                self.rates.handle_timeout(self.now);
            }
        }

        /// Of an encoding's temporal layers, rounded.
        fn kbps(&self, encoding: u8) -> [u64; MAX_TEMPORAL] {
            [0, 1, 2, 3]
                .map(|temporal| (self.rates.bitrate(encoding, temporal).bps() + 500) / 1_000)
        }
    }
}
