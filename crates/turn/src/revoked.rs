//! Participants that have left, as long as they still hold credentials that are good.
//!
//! * **Owns:** their names, each with its end.
//! * **In:** who leaves, time. **Out:** whether somebody has left.
//! * **Invariant:** at most [`MAX_REVOKED`] names; of more the oldest is forgotten.
//! * **Why:** credentials say themselves how long they are good for, and nobody can take them back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Each some hundred bytes. With credentials for 300 s, 218 that leave in each second; more would keep the names of
/// busier nodes, fewer let one participant push out others by leaving again and again.
const MAX_REVOKED: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Revoked {
    ttl: Duration,
    ends: HashMap<Arc<str>, Instant>,
    /// In the order of their ends. One that left twice is in it twice.
    order: VecDeque<(Instant, Arc<str>)>,
}

impl Revoked {
    /// `ttl`: the longest that credentials are good for.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, ends: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, now: Instant, participant: &str) {
        self.handle_timeout(now);
        if self.order.len() >= MAX_REVOKED {
            self.forget_first();
        }
        let name: Arc<str> = participant.into();
        let end = now.checked_add(self.ttl).unwrap_or(now);
        self.ends.insert(Arc::clone(&name), end);
        self.order.push_back((end, name));
    }

    pub(crate) fn contains(&self, now: Instant, participant: &str) -> bool {
        self.ends.get(participant).is_some_and(|end| *end > now)
    }

    /// Forgets those whose credentials have ended.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|end| end <= now) {
            self.forget_first();
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(end, _)| *end)
    }

    fn forget_first(&mut self) {
        let Some((end, name)) = self.order.pop_front() else { return };
        if self.ends.get(&name).is_some_and(|last| *last <= end) {
            self.ends.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn epoch() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        Instant::now()
    }

    #[test]
    fn who_left_is_known_until_its_last_credentials_end() {
        let (mut revoked, epoch) = (Revoked::new(TTL), epoch());
        let at = |secs| epoch.checked_add(Duration::from_secs(secs)).unwrap();
        revoked.insert(at(0), "PA_1");
        revoked.insert(at(100), "PA_1");
        revoked.insert(at(100), "PA_2");
        revoked.handle_timeout(at(300));
        assert!(revoked.contains(at(399), "PA_1") && revoked.contains(at(399), "PA_2"));
        assert!(!revoked.contains(at(400), "PA_1") && !revoked.contains(at(1), "PA_3"));
        assert_eq!(revoked.poll_timeout(), Some(at(400)));
        revoked.handle_timeout(at(400));
        assert!(revoked.ends.is_empty() && revoked.order.is_empty());
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten() {
        let (mut revoked, now) = (Revoked::new(TTL), epoch());
        for n in 0..=MAX_REVOKED {
            revoked.insert(now, &format!("PA_{n}"));
        }
        assert_eq!((revoked.order.len(), revoked.ends.len()), (MAX_REVOKED, MAX_REVOKED));
        assert!(!revoked.contains(now, "PA_0") && revoked.contains(now, "PA_1"));
        assert!(revoked.contains(now, &format!("PA_{MAX_REVOKED}")));
    }
}
