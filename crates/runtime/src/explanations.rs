//! Why clients were not connected, kept for a while: a client that gives up asks, and so may the operator.
//!
//! * **Owns:** the last [`Explanation`] of each participant by room and identity.
//! * **In:** [`Explanations::note`].
//! * **Out:** [`ConnectionTrouble`], the newest first.
//! * **Invariant:** at most [`MAX_KEPT`], each for [`KEPT_FOR`]; they outlive rooms.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hearth_room::Explanation;

/// Participants in trouble that are remembered. Each takes below a kilobyte.
const MAX_KEPT: usize = 256;
/// Long enough for a person to notice and for an operator to look.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// A participant whose client was not connected, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionTrouble {
    /// Name of the room.
    pub room: String,
    /// Identity of the participant.
    pub identity: String,
    /// How long ago that was said.
    pub age: Duration,
    /// Why.
    pub explanation: Explanation,
}

struct Kept {
    room: String,
    identity: String,
    at: Instant,
    explanation: Explanation,
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Explanations {
    /// The newest last.
    kept: VecDeque<Kept>,
}

impl Explanations {
    /// What is said of a participant by now; `None` if it connected after all.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        room: &str,
        identity: String,
        explanation: Option<Explanation>,
    ) {
        self.kept.retain(|kept| {
            let same = kept.room == room && kept.identity == identity;
            !same && now.saturating_duration_since(kept.at) < KEPT_FOR
        });
        let Some(explanation) = explanation else { return };
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { room: room.to_owned(), identity, at: now, explanation });
    }

    /// Of one participant, or of all.
    pub(crate) fn find(&self, now: Instant, of: Option<(&str, &str)>) -> Vec<ConnectionTrouble> {
        let age = |kept: &Kept| now.saturating_duration_since(kept.at);
        let wanted =
            |kept: &&Kept| of.is_none_or(|of| of == (kept.room.as_str(), kept.identity.as_str()));
        let fresh = self.kept.iter().rev().filter(|kept| age(kept) < KEPT_FOR).filter(wanted);
        fresh
            .map(|kept| ConnectionTrouble {
                room: kept.room.clone(),
                identity: kept.identity.clone(),
                age: age(kept),
                explanation: kept.explanation.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WallClock;

    #[test]
    fn the_last_word_on_a_participant_is_kept_for_a_while_and_its_connection_ends_it() {
        let t0 = WallClock::now();
        let mut kept = Explanations::default();
        let texts = |kept: &Explanations, now, of| -> Vec<String> {
            kept.find(now, of).into_iter().map(|trouble| trouble.explanation.text).collect()
        };
        kept.note(t0, "r", "a".into(), Some(said("one")));
        kept.note(t0, "r", "a".into(), Some(said("two")));
        kept.note(t0, "s", "a".into(), Some(said("three")));
        assert_eq!(texts(&kept, t0, Some(("r", "a"))), ["two"]);
        assert_eq!(texts(&kept, t0, None), ["three", "two"]);
        kept.note(t0, "r", "a".into(), None);
        assert_eq!(texts(&kept, t0, None), ["three"]);
        assert_eq!(texts(&kept, t0 + KEPT_FOR, None), [""; 0]);
    }

    #[test]
    fn those_of_a_flood_of_participants_are_bounded() {
        let t0 = WallClock::now();
        let mut kept = Explanations::default();
        for n in 0..2 * MAX_KEPT {
            kept.note(t0, "r", n.to_string(), Some(said("")));
        }
        let all = kept.find(t0, None);
        assert_eq!((all.len(), all[0].identity.as_str()), (MAX_KEPT, "511"));
    }

    fn said(text: &str) -> Explanation {
        Explanation { text: text.to_owned(), detail: None, settled: true }
    }
}
