//! The metrics of one thread, and the copy of them that other threads read.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Kind, Metric};

/// One number for each [`Metric`], of one thread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counts([u64; Metric::COUNT]);

impl Counts {
    /// One more thing happened, or `more` of them.
    pub const fn add(&mut self, metric: Metric, more: u64) {
        // The index is below the length by construction, and the compiler sees it.
        self.0[metric as usize] = self.0[metric as usize].wrapping_add(more);
    }

    /// Adds all numbers of another.
    pub fn add_all(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(more);
        }
    }

    /// Resets gauges, and keeps counters.
    pub fn clear_gauges(&mut self) {
        for metric in Metric::ALL.iter().filter(|metric| metric.kind() == Kind::Gauge) {
            self[*metric] = 0;
        }
    }

    /// The sum of some of the numbers.
    pub fn sum(&self, metrics: &[Metric]) -> u64 {
        metrics.iter().map(|metric| self[*metric]).sum()
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self([0; Metric::COUNT])
    }
}

impl Index<Metric> for Counts {
    type Output = u64;

    fn index(&self, metric: Metric) -> &u64 {
        &self.0[metric as usize]
    }
}

impl IndexMut<Metric> for Counts {
    fn index_mut(&mut self, metric: Metric) -> &mut u64 {
        &mut self.0[metric as usize]
    }
}

/// The numbers that several threads see.
#[derive(Debug)]
pub struct SharedCounts([AtomicU64; Metric::COUNT]);

impl SharedCounts {
    /// Adds to one number.
    pub fn add(&self, metric: Metric, more: u64) {
        self.0[metric as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// Takes from a gauge what was added before.
    pub fn subtract(&self, metric: Metric, less: u64) {
        self.0[metric as usize].fetch_sub(less, Ordering::Relaxed);
    }

    /// Replaces one number, of which the caller is the only writer.
    pub fn set(&self, metric: Metric, value: u64) {
        self.0[metric as usize].store(value, Ordering::Relaxed);
    }

    /// Replaces all numbers; the caller is the only writer.
    pub fn publish(&self, counts: &Counts) {
        for (shared, value) in self.0.iter().zip(counts.0) {
            shared.store(value, Ordering::Relaxed);
        }
    }

    /// One number.
    pub fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize].load(Ordering::Relaxed)
    }

    /// A copy of all numbers, each of about the same time.
    pub fn snapshot(&self) -> Counts {
        Counts(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

impl Default for SharedCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_thread_are_seen_by_others_after_they_are_published() {
        let (mut counts, shared) = (Counts::default(), SharedCounts::default());
        counts.add(Metric::PacketsReceived, 2);
        counts.add(Metric::PacketsReceived, 1);
        counts[Metric::Transports] = 7;
        shared.publish(&counts);
        assert_eq!(shared.snapshot(), counts);
        assert_eq!(shared.get(Metric::PacketsReceived), 3);

        let mut sum = shared.snapshot();
        sum.add_all(&counts);
        assert_eq!((sum[Metric::PacketsReceived], sum[Metric::Transports]), (6, 14));
        sum.clear_gauges();
        assert_eq!((sum[Metric::PacketsReceived], sum[Metric::Transports]), (6, 0));
        assert_eq!(sum.sum(&[Metric::PacketsReceived, Metric::PacketsSent]), 6);
    }
}
