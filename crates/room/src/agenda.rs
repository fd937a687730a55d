//! Which of many (participants, tracks) has to be looked at when, so that a message of one does not
//! look at all.
//!
//! * **Owns:** one time for each, not later than its first deadline.
//! * **In:** deadlines that are set; keys of what is gone.
//! * **Out:** [`Agenda::poll_timeout`], [`Agenda::take_due`].
//! * **Invariant:** each is looked at when a deadline of it comes. It may be looked at for nothing: a
//!   deadline that was met is not taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Agenda<K> {
    times: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { times: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Agenda<K> {
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
    use crate::participant::Key;

    #[test]
    fn each_is_due_once_at_its_first_deadline() {
        let t0 = epoch();
        let at = |secs| t0 + Duration::from_secs(secs);
        let mut agenda = Agenda::default();
        for (key, secs) in [(1, 9), (2, 4), (1, 5), (1, 7), (3, 6), (2, 8)] {
            agenda.watch(Key(key), at(secs));
        }
        assert_eq!((agenda.poll_timeout(), agenda.take_due(at(3))), (Some(at(4)), vec![]));
        assert_eq!(agenda.take_due(at(5)), [Key(2), Key(1)]);
        assert_eq!(agenda.poll_timeout(), Some(at(6)));
        agenda.watch(Key(2), at(8));
        agenda.forget(Key(3));
        assert_eq!((agenda.poll_timeout(), agenda.take_due(at(60))), (Some(at(8)), vec![Key(2)]));
        assert_eq!((agenda.poll_timeout(), agenda.by_key.len()), (None, 0));
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
