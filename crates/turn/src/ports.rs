//! Relayed ports: one for each allocation, each as late as possible after it was used before.
//!
//! * **Owns:** the place in the range. **In:** which ports are taken. **Out:** the next free one.

use std::ops::RangeInclusive;

use hearth_random::{Purpose, Seed};

/// Ports to relay from.
pub type PortRange = RangeInclusive<u16>;

/// Ports looked at for one allocation.
const ATTEMPTS: usize = 50;

#[derive(Debug)]
pub(crate) struct Ports {
    range: PortRange,
    next: u16,
}

impl Ports {
    pub(crate) fn new(range: PortRange, seed: &Seed) -> Self {
        let many = u32::from(range.end().saturating_sub(*range.start())).saturating_add(1);
        let offset = seed.rng(Purpose::TurnPort).below(many);
        let next = range.start().saturating_add(u16::try_from(offset).unwrap_or_default());
        Self { range, next }
    }

    /// The next port that is free.
    pub(crate) fn take(&mut self, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in 0..ATTEMPTS {
            let port = self.next;
            self.next = match port.checked_add(1) {
                Some(next) if next <= *self.range.end() => next,
                Some(_) | None => *self.range.start(),
            };
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}
