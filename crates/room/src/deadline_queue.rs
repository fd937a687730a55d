//! Which of many (participants, tracks) has to be looked at when, so that a message of one does not
//! look at all.
//!
//! * **Owns:** one time for each, not later than its first deadline.
//! * **In:** deadlines that are set; keys of what is gone.
//! * **Out:** [`DeadlineQueue::poll_timeout`], [`DeadlineQueue::take_due`].
//! * **Invariant:** each is looked at when a deadline of it comes. It may be looked at for nothing: a
//!   deadline that was met is not taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct DeadlineQueue<K> {
    times: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K> Default for DeadlineQueue<K> {
    fn default() -> Self {
        Self { times: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> DeadlineQueue<K> {
    /// A deadline was set.
    pub(crate) fn watch(&mut self, key: K, at: Instant) {
        match self.by_key.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => drop(self.times.remove(&(*later, key))),
            None => {}
        }
        self.by_key.insert(key, at);
        self.times.insert((at, key));
    }

    /// Nothing is left to look at.
    pub(crate) fn forget(&mut self, key: K) {
        if let Some(at) = self.by_key.remove(&key) {
            self.times.remove(&(at, key));
        }
    }

    /// What has to be looked at now. What is due of it later must be said again.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<K> {
        let due: Vec<K> =
            self.times.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        for key in &due {
            self.forget(*key);
        }
        due
    }

    /// When something has to be looked at.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::participant::ParticipantKey;

    #[test]
    fn each_is_due_once_at_its_first_deadline() {
        let t0 = epoch();
        let at = |secs| t0 + Duration::from_secs(secs);
        let mut deadlines = DeadlineQueue::default();
        for (key, secs) in [(1, 9), (2, 4), (1, 5), (1, 7), (3, 6), (2, 8)] {
            deadlines.watch(ParticipantKey(key), at(secs));
        }
        assert_eq!((deadlines.poll_timeout(), deadlines.take_due(at(3))), (Some(at(4)), vec![]));
        assert_eq!(deadlines.take_due(at(5)), [ParticipantKey(2), ParticipantKey(1)]);
        assert_eq!(deadlines.poll_timeout(), Some(at(6)));
        deadlines.watch(ParticipantKey(2), at(8));
        deadlines.forget(ParticipantKey(3));
        assert_eq!(
            (deadlines.poll_timeout(), deadlines.take_due(at(60))),
            (Some(at(8)), vec![ParticipantKey(2)])
        );
        assert_eq!((deadlines.poll_timeout(), deadlines.by_key.len()), (None, 0));
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
