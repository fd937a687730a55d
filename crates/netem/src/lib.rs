//! An impaired network link for tests: packet loss, latency, duplication and reordering, by seed.
//!
//! * **Owns:** the datagrams under way in one direction, and a random number generator.
//! * **In:** [`Link::send`].
//! * **Out:** [`Link::poll`], when [`Link::poll_timeout`] says so.
//! * **Invariant:** the same seed and the same calls give the same link; without `reorder`,
//!   datagrams arrive in the order sent; at most [`MAX_UNDER_WAY`] are under way.

mod noise;

pub use noise::{Noise, each_seed};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// More are lost, as in a router with a full queue: a second of 100 Mbps.
pub const MAX_UNDER_WAY: usize = 10_000;
/// The extra delay of a reordered datagram, in units of `delay`, at least 5 ms.
const REORDER_DELAYS: u32 = 1;

/// Impairments of a link. Probabilities are 0.0 to 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkConfig {
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// One-way latency.
    pub delay: Duration,
    /// Up to this much is added to `delay`, evenly distributed.
    pub jitter: Duration,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that a datagram is overtaken by those sent after it.
    pub reorder: f64,
}

/// Counters of a link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkCounters {
    /// Handed to [`Link::send`].
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because too many were under way.
    pub overflowed: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Link<T> {
    config: LinkConfig,
    seed: u64,
    /// By arrival, then by order of sending.
    under_way: BTreeMap<(Instant, u64), T>,
    next: u64,
    /// No datagram that is not reordered arrives before this.
    in_order: Option<Instant>,
    counters: LinkCounters,
}

impl<T: Clone> Link<T> {
    /// Starts empty.
    pub fn new(seed: u64, config: LinkConfig) -> Self {
        Self {
            config,
            seed,
            under_way: BTreeMap::new(),
            next: 0,
            in_order: None,
            counters: LinkCounters::default(),
        }
    }

    /// Changes what happens to datagrams sent from here on.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// A datagram enters at `now`.
    pub fn send(&mut self, now: Instant, datagram: T) {
        self.counters.sent += 1;
        if self.chance(self.config.loss) {
            self.counters.lost += 1;
            return;
        }
        if self.chance(self.config.duplicate) {
            self.counters.duplicated += 1;
            self.put(now, datagram.clone());
        }
        self.put(now, datagram);
    }

    /// The next datagram that has arrived by `now`. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<T> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next datagram arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The counters so far.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    fn put(&mut self, now: Instant, datagram: T) {
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.counters.overflowed += 1;
            return;
        }
        let mut at = now + self.config.delay + self.config.jitter.mul_f64(self.random());
        if self.chance(self.config.reorder) {
            self.counters.reordered += 1;
            at += (self.config.delay * REORDER_DELAYS).max(Duration::from_millis(5));
        } else {
            at = self.in_order.map_or(at, |earliest| at.max(earliest));
            self.in_order = Some(at);
        }
        self.under_way.insert((at, self.next), datagram);
        self.next += 1;
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random() < probability
    }

    /// 0.0 up to but not including 1.0. SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_clean_link_delays_and_nothing_else() {
        let t0 = epoch();
        let mut link = Link::new(1, LinkConfig { delay: 20 * MS, ..LinkConfig::default() });
        link.send(t0, 'a');
        link.send(t0 + MS, 'b');
        assert_eq!(link.poll_timeout(), Some(t0 + 20 * MS));
        assert_eq!(link.poll(t0 + 19 * MS), None);
        assert_eq!((link.poll(t0 + 20 * MS), link.poll(t0 + 20 * MS)), (Some('a'), None));
        assert_eq!((link.poll(t0 + 21 * MS), link.poll_timeout()), (Some('b'), None));
    }

    #[test]
    fn jitter_alone_never_changes_the_order() {
        let config = LinkConfig { jitter: 30 * MS, ..LinkConfig::default() };
        let (got, _) = run(7, config);
        assert_eq!(got, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn faults_come_about_as_often_as_asked() {
        for seed in 0..10 {
            let config = LinkConfig {
                loss: 0.1,
                delay: 10 * MS,
                jitter: 2 * MS,
                duplicate: 0.1,
                reorder: 0.1,
            };
            let (got, counters) = run(seed, config);
            let near = |n| (50..150).contains(&n);
            assert!(
                near(counters.lost) && near(counters.duplicated) && near(counters.reordered),
                "seed {seed}: {counters:?}"
            );
            let expect = counters.sent - counters.lost + counters.duplicated;
            assert_eq!(got.len() as u64, expect, "seed {seed}");
            assert!(got.windows(2).any(|pair| pair[0] > pair[1]), "seed {seed}: in order");
        }
    }

    #[test]
    fn a_seed_decides_everything() {
        let config =
            LinkConfig { loss: 0.3, jitter: 9 * MS, reorder: 0.2, ..LinkConfig::default() };
        assert_eq!(run(3, config), run(3, config));
        assert_ne!(run(3, config), run(4, config));
    }

    #[test]
    fn a_full_link_loses_later_datagrams() {
        let t0 = epoch();
        let mut link = Link::new(1, LinkConfig::default());
        for n in 0..MAX_UNDER_WAY + 5 {
            link.send(t0, n);
        }
        assert_eq!(link.counters().overflowed, 5);
        let mut got = 0;
        while link.poll(t0).is_some() {
            got += 1;
        }
        assert_eq!(got, MAX_UNDER_WAY);
    }

    /// Sends 0..1,000, one each millisecond, and returns what arrives.
    fn run(seed: u64, config: LinkConfig) -> (Vec<u32>, LinkCounters) {
        let t0 = epoch();
        let mut link = Link::new(seed, config);
        let mut got = Vec::new();
        for n in 0..1_200 {
            if n < 1_000 {
                link.send(t0 + n * MS, n);
            }
            while let Some(datagram) = link.poll(t0 + n * MS) {
                got.push(datagram);
            }
        }
        (got, link.counters())
    }

    fn epoch() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        Instant::now()
    }
}
