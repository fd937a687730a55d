//! How often everybody is told about everybody else.
//!
//! * **Owns:** how many updates were sent lately, and about whom they wait.
//! * **In:** updates that were sent, participants to be told about, time.
//! * **Out:** whether to wait; when the wait ends and about whom to tell then.
//! * **Invariant:** nothing waits longer than [`WAIT`]; who waits is in the room.
//! * **Not here:** departures, which are told at once.
//! * **Why:** a thousand people who join one by one make a million updates, each with a system call
//!   of its own; told of twenty at a time they make fifty thousand.
//! * **livekit-server:** always waits, up to 3 s, with participants who publish nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::participant::Key;

/// The rate is taken over this time.
const SLOT: Duration = Duration::from_millis(250);
/// Updates in one slot before those that follow wait: one join into a room of 500.
const CALM: usize = 500;
/// How long an update waits at most. Longer saves CPU while many join, shorter shows them sooner.
const WAIT: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    slot_began: Instant,
    sent: usize,
    waiting: BTreeSet<Key>,
    due: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { slot_began: now, sent: 0, waiting: BTreeSet::new(), due: None }
    }

    /// Updates were sent.
    pub(crate) fn note_sent(&mut self, updates: usize) {
        self.sent = self.sent.saturating_add(updates);
    }

    /// Whether others are told about this participant later, because much is being told.
    pub(crate) fn defer(&mut self, about: Key) -> bool {
        let busy = self.sent >= CALM;
        if busy {
            self.waiting.insert(about);
        }
        busy
    }

    /// The participant leaves; whether others were still to be told about it.
    pub(crate) fn forget(&mut self, about: Key) -> bool {
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

    /// When [`take_due`](Self::take_due) has something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Those to tell about now.
    pub(crate) fn take_due(&mut self, now: Instant) -> BTreeSet<Key> {
        if self.due.is_none_or(|due| due > now) {
            return BTreeSet::new();
        }
        self.due = None;
        std::mem::take(&mut self.waiting)
    }
}
