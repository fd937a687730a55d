//! Which subscription of a peer is sent under which SSRC.
//!
//! * **Owns:** a sorted list of one peer's outgoing media SSRCs.
//! * **In:** subscriptions that begin, change and end.
//! * **Out:** [`SsrcTable::find`].
//! * **Invariant:** a look-up is O(log n): what a subscriber reports and asks for costs by the length of its
//!   datagram, not by its subscriptions.

use crate::entry::DownKey;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct SsrcTable {
    /// SSRC and key of the subscription, ascending.
    entries: Vec<(u32, DownKey)>,
    #[cfg(test)]
    pub(crate) lookups: std::cell::Cell<u64>,
}

impl SsrcTable {
    /// Subscription `down` is sent as `ssrc`, and no longer as another.
    pub(crate) fn insert(&mut self, ssrc: u32, down: DownKey) {
        self.remove(down);
        let at = self.entries.partition_point(|entry| *entry < (ssrc, down));
        self.entries.insert(at, (ssrc, down));
    }

    /// Subscription `down` ended.
    pub(crate) fn remove(&mut self, down: DownKey) {
        self.entries.retain(|(_, other)| *other != down);
    }

    /// The key of the subscription that is sent as `ssrc`.
    pub(crate) fn find(&self, ssrc: u32) -> Option<DownKey> {
        #[cfg(test)]
        self.lookups.set(self.lookups.get() + 1);
        let at = self.entries.partition_point(|entry| entry.0 < ssrc);
        self.entries.get(at).filter(|entry| entry.0 == ssrc).map(|entry| entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    #[test]
    fn a_subscription_is_found_by_the_ssrc_it_has() {
        let mut table = SsrcTable::default();
        let [a, b, c] = [0, 1, 2].map(|index| Key::of(index, 0));
        for (ssrc, down) in [(50, a), (10, b), (30, c), (20, a)] {
            table.insert(ssrc, down);
        }
        let found = [10, 20, 30, 50, 7, u32::MAX].map(|ssrc| table.find(ssrc));
        assert_eq!(found, [Some(b), Some(a), Some(c), None, None, None]);
        table.remove(b);
        assert_eq!(table.find(10), None);
    }
}
