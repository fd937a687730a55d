//! The replay window: which indices were received before (RFC 3711 §3.3.2).
//!
//! * **Owns:** the highest index seen and a bitmap of those just below it.
//! * **In:** indices of authenticated packets.
//! * **Out:** whether an index is new.
//! * **Invariant:** no index is new twice.

/// Width in packets: at 3,000 packets/s a third of a second of reordering.
const WINDOW: u64 = 1_024;
const WORDS: usize = 16;

/// The window of one SSRC.
#[derive(Debug)]
pub(crate) struct ReplayWindow {
    newest: u64,
    /// Bit `i % 1024`: index `i` was seen, for the 1,024 indices up to `newest`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Begins with one packet seen.
    pub(crate) fn new(index: u64) -> Self {
        let mut window = Self { newest: index, seen: [0; WORDS] };
        window.set(index);
        window
    }

    /// The highest index seen.
    pub(crate) const fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether a packet with this index may be new.
    pub(crate) fn is_new(&self, index: u64) -> bool {
        match self.newest.checked_sub(index) {
            None => true,
            Some(age) if age >= WINDOW => false,
            Some(_) => !self.get(index),
        }
    }

    /// Remembers the index of an authenticated packet.
    pub(crate) fn accept(&mut self, index: u64) {
        if let Some(ahead) = index.checked_sub(self.newest).filter(|ahead| *ahead > 0) {
            if ahead >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for i in 1..ahead {
                    self.clear(self.newest.saturating_add(i));
                }
            }
            self.newest = index;
        }
        self.set(index);
    }

    fn get(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.seen.get(word).is_some_and(|seen| seen & bit != 0)
    }

    fn set(&mut self, index: u64) {
        let (word, bit) = place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    fn clear(&mut self, index: u64) {
        let (word, bit) = place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen &= !bit;
        }
    }
}

/// Word and bit of an index.
fn place(index: u64) -> (usize, u64) {
    let [.., hi, lo] = index.to_be_bytes();
    let at = usize::from(u16::from_be_bytes([hi, lo]) & 0x3ff);
    (at >> 6, 1_u64 << (at & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_index_is_new_twice_in_any_order() {
        // A walk through 5,000 indices with jumps in both directions, against a set.
        let mut window = ReplayWindow::new(3_000);
        let mut seen = std::collections::BTreeSet::from([3_000_u64]);
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let jump = (state >> 33) % 1_500;
            let index = (window.newest() + jump).saturating_sub(1_400);
            let expect = !seen.contains(&index) && index + WINDOW > window.newest();
            assert_eq!(window.is_new(index), expect, "{index} at {}", window.newest());
            if expect {
                window.accept(index);
                seen.insert(index);
            }
        }
        assert!(seen.len() > 1_000);
    }

    #[test]
    fn a_jump_by_more_than_the_window_forgets_what_was_before() {
        let mut window = ReplayWindow::new(5);
        window.accept(5 + 1_024);
        assert!(window.is_new(6));
        assert!(!window.is_new(5));
        assert!(!window.is_new(5 + 1_024));
    }
}
