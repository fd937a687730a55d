//! When publishers whose packets are missing are to be looked at, between two ticks.
//!
//! * **Owns:** a deadline for each peer that has one.
//! * **In:** [`Deadlines::note`]; keys of peers that are gone may stay, their turn finds nothing to do.
//! * **Out:** [`Deadlines::poll_timeout`], then [`Deadlines::take_due`] until `None`.
//! * **Invariant:** no deadline that was noted is passed over; one may be told early. O(log n) each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Peers with missing packets at one time, for which there is room from the start.
const CAPACITY: usize = 256;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By key of a peer, its earliest entry in `heap`. Others of it are out of date.
    earliest: Vec<Option<Instant>>,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::with_capacity(CAPACITY), earliest: Vec::new() }
    }

    /// Peer `key` has something to do at `at`.
    pub(crate) fn note(&mut self, key: usize, at: Instant) {
        if self.earliest.len() <= key {
            self.earliest.resize(key + 1, None);
        }
        if let Some(earliest) = self.earliest.get_mut(key)
            && earliest.is_none_or(|earliest| at < earliest)
        {
            *earliest = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    /// When somebody has something to do; may be early.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Who has something to do by `now`; forgets it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, key))) = self.heap.peek().copied().filter(|due| due.0.0 <= now)
        {
            self.heap.pop();
            if let Some(earliest) = self.earliest.get_mut(key).filter(|e| **e == Some(at)) {
                *earliest = None;
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_peer_is_told_once_when_its_earliest_deadline_has_come() {
        let t0 = epoch();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut deadlines = Deadlines::new();
        for (key, ms) in [(3, 9), (1, 7), (3, 4), (3, 6)] {
            deadlines.note(key, at(ms));
        }
        assert_eq!(deadlines.poll_timeout(), Some(at(4)));
        assert_eq!(deadlines.take_due(at(3)), None);
        let mut due = |now| std::iter::from_fn(|| deadlines.take_due(at(now))).collect::<Vec<_>>();
        assert_eq!((due(6), due(7), due(100)), (vec![3], vec![1], vec![]));
        assert_eq!(deadlines.poll_timeout(), None);
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
