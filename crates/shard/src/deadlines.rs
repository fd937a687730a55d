//! When peers are to be looked at: on the next tick after a deadline, or as soon as what is missing is due.
//!
//! * **Owns:** two deadlines for each peer: of its tick, and of its NACKs.
//! * **In:** [`Deadlines::set_tick`], [`Deadlines::note_nack`]; [`Deadlines::forget`] when a peer is gone.
//! * **Out:** [`Deadlines::tick_due`] for each slot; [`Deadlines::poll_timeout`], then [`Deadlines::take_nack`] until
//!   `None`.
//! * **Invariant:** no deadline of NACKs that was noted is passed over; one may be told early. O(log n) each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::entry::PeerKey;

/// Peers with missing packets at one time, for which there is room from the start.
const CAPACITY: usize = 256;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// By slot of a peer; most of a thousand subscribers have nothing to do.
    ticks: Vec<Option<(PeerKey, Instant)>>,
    nacks: BinaryHeap<Reverse<(Instant, PeerKey)>>,
    /// By slot of a peer, its earliest entry in `nacks`. Others of it are out of date.
    earliest: Vec<Option<(PeerKey, Instant)>>,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        let nacks = BinaryHeap::with_capacity(CAPACITY);
        Self { ticks: Vec::new(), nacks, earliest: Vec::new() }
    }

    /// Peer `key` has something to do on the first tick from `at` on, and nothing before.
    pub(crate) fn set_tick(&mut self, key: PeerKey, at: Option<Instant>) {
        if self.ticks.len() <= key.index() {
            self.ticks.resize(key.index() + 1, None);
        }
        if let Some(tick) = self.ticks.get_mut(key.index()) {
            *tick = at.map(|at| (key, at));
        }
    }

    /// Slots that [`tick_due`](Self::tick_due) knows.
    pub(crate) fn end(&self) -> usize {
        self.ticks.len()
    }

    /// The peer in a slot, if it has something to do on a tick at `now`.
    pub(crate) fn tick_due(&self, index: usize, now: Instant) -> Option<PeerKey> {
        let (key, at) = (*self.ticks.get(index)?)?;
        (at <= now).then_some(key)
    }

    /// Packets that peer `key` has not sent are to be asked for at `at`.
    pub(crate) fn note_nack(&mut self, key: PeerKey, at: Instant) {
        if self.earliest.len() <= key.index() {
            self.earliest.resize(key.index() + 1, None);
        }
        if let Some(earliest) = self.earliest.get_mut(key.index())
            && earliest.is_none_or(|(of, earliest)| of != key || at < earliest)
        {
            *earliest = Some((key, at));
            self.nacks.push(Reverse((at, key)));
        }
    }

    /// When packets are to be asked for; may be early.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.nacks.peek().map(|Reverse((at, _))| *at)
    }

    /// Of whom packets are to be asked for by `now`; forgets it.
    pub(crate) fn take_nack(&mut self, now: Instant) -> Option<PeerKey> {
        while let Some(Reverse((at, key))) = self.nacks.peek().copied().filter(|due| due.0.0 <= now)
        {
            self.nacks.pop();
            let earliest = self.earliest.get_mut(key.index());
            if let Some(earliest) = earliest.filter(|earliest| **earliest == Some((key, at))) {
                *earliest = None;
                return Some(key);
            }
        }
        None
    }

    /// Peer `key` is gone.
    pub(crate) fn forget(&mut self, key: PeerKey) {
        for of_slot in [&mut self.ticks, &mut self.earliest] {
            if let Some(deadline) = of_slot.get_mut(key.index())
                && deadline.is_some_and(|(of, _)| of == key)
            {
                *deadline = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::epoch;
    use crate::slab::Key;
    use std::time::Duration;

    #[test]
    fn each_peer_is_told_once_when_its_earliest_deadline_has_come() {
        let t0 = epoch();
        let at = |ms| t0 + Duration::from_millis(ms);
        let [one, three] = [1, 3].map(|index| Key::of(index, 0));
        let mut deadlines = Deadlines::new();
        for (key, ms) in [(three, 9), (one, 7), (three, 4), (three, 6)] {
            deadlines.note_nack(key, at(ms));
        }
        assert_eq!(deadlines.poll_timeout(), Some(at(4)));
        assert_eq!(deadlines.take_nack(at(3)), None);
        let mut due = |now| std::iter::from_fn(|| deadlines.take_nack(at(now))).collect::<Vec<_>>();
        assert_eq!((due(6), due(7), due(100)), (vec![three], vec![one], vec![]));
        assert_eq!(deadlines.poll_timeout(), None);
    }

    #[test]
    fn the_deadlines_of_one_that_is_gone_are_not_those_of_the_next_in_its_slot() {
        let t0 = epoch();
        let at = |ms| t0 + Duration::from_millis(ms);
        let [before, after] = [0, 1].map(|generation| Key::of(3, generation));
        let mut deadlines = Deadlines::new();
        deadlines.note_nack(before, at(4));
        deadlines.set_tick(before, Some(at(4)));
        deadlines.forget(before);
        assert_eq!(deadlines.tick_due(3, at(9)), None);
        deadlines.note_nack(after, at(7));
        deadlines.set_tick(after, Some(at(7)));
        deadlines.forget(before);
        assert_eq!((deadlines.take_nack(at(6)), deadlines.take_nack(at(7))), (None, Some(after)));
        assert_eq!(
            (deadlines.tick_due(3, at(6)), deadlines.tick_due(3, at(7))),
            (None, Some(after))
        );
    }
}
