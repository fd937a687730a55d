//! Throttling of participant updates: when many join, updates wait and are sent together.
//!
//! * **Owns:** how many updates were sent lately, and about whom they wait.
//! * **In:** updates that were sent ([`UpdateThrottle::note_sent`]), participants to be told about
//!   ([`UpdateThrottle::defer`]) or who leave ([`UpdateThrottle::forget`]), time.
//! * **Out:** whether to wait; about whom to tell when the wait ends ([`UpdateThrottle::take_due`]).
//! * **Invariant:** nothing waits in a calm room, and nothing longer than [`WAIT`]; who waits is in
//!   the room.
//! * **Not here:** departures, which are told at once.
//! * **Why:** a thousand people who join one by one make a million updates, each with a system call
//!   of its own; told of twenty at a time they make fifty thousand.
//! * **livekit-server:** always waits, up to 3 s, with participants who publish nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::participant::ParticipantKey;

/// The rate is taken over this time.
const SLOT: Duration = Duration::from_millis(250);
/// Updates in one slot before those that follow wait: one join into a room of 500.
const CALM: usize = 500;
/// How long an update waits at most. Longer saves CPU while many join, shorter shows them sooner.
const WAIT: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(crate) struct UpdateThrottle {
    slot_began: Instant,
    sent: usize,
    waiting: BTreeSet<ParticipantKey>,
    due: Option<Instant>,
}

impl UpdateThrottle {
    pub(crate) fn new(now: Instant) -> Self {
        Self { slot_began: now, sent: 0, waiting: BTreeSet::new(), due: None }
    }

    /// Updates were sent.
    pub(crate) fn note_sent(&mut self, updates: usize) {
        self.sent = self.sent.saturating_add(updates);
    }

    /// Whether others are told about this participant later, because much is being told.
    pub(crate) fn defer(&mut self, about: ParticipantKey) -> bool {
        let busy = self.sent >= CALM;
        if busy {
            self.waiting.insert(about);
        }
        busy
    }

    /// The participant leaves; whether others were still to be told about it.
    pub(crate) fn forget(&mut self, about: ParticipantKey) -> bool {
        self.waiting.remove(&about)
    }

    /// An input was worked off.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        if now.saturating_duration_since(self.slot_began) >= SLOT {
            (self.slot_began, self.sent) = (now, 0);
        }
        if !self.waiting.is_empty() {
            self.due.get_or_insert(now + WAIT);
        }
    }

    /// When [`take_due`](Self::take_due) has something, or the room is calm again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due.or_else(|| (self.sent >= CALM).then(|| self.slot_began + SLOT))
    }

    /// Those to tell about now.
    pub(crate) fn take_due(&mut self, now: Instant) -> BTreeSet<ParticipantKey> {
        if self.due.is_none_or(|due| due > now) {
            return BTreeSet::new();
        }
        self.due = None;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: ParticipantKey = ParticipantKey(2);

    #[test]
    fn what_waits_is_due_after_the_wait_and_only_once() {
        let t0 = epoch();
        let mut update_throttle = UpdateThrottle::new(t0);
        assert!(!update_throttle.defer(BOB), "calm");
        update_throttle.note_sent(CALM);
        assert!(update_throttle.defer(BOB));
        update_throttle.handle_time(t0);
        assert_eq!(
            (update_throttle.poll_timeout(), update_throttle.take_due(t0)),
            (Some(t0 + WAIT), BTreeSet::new())
        );
        assert_eq!(update_throttle.take_due(t0 + WAIT), [BOB].into());
        assert_eq!(update_throttle.take_due(t0 + WAIT), BTreeSet::new());
    }

    #[test]
    fn a_room_is_calm_again_without_an_input() {
        let t0 = epoch();
        let mut update_throttle = UpdateThrottle::new(t0);
        update_throttle.note_sent(CALM);
        let end = update_throttle.poll_timeout().unwrap();
        update_throttle.handle_time(end);
        assert_eq!((end, update_throttle.poll_timeout()), (t0 + SLOT, None));
        assert!(!update_throttle.defer(BOB));
    }

    #[test]
    fn who_leaves_does_not_wait() {
        let t0 = epoch();
        let mut update_throttle = UpdateThrottle::new(t0);
        update_throttle.note_sent(CALM);
        assert!(
            update_throttle.defer(BOB)
                && update_throttle.forget(BOB)
                && !update_throttle.forget(BOB)
        );
        assert_eq!(update_throttle.take_due(t0 + WAIT), BTreeSet::new());
    }

    #[expect(clippy::disallowed_methods, reason = "an origin; all else is added to it")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
