//! The SSRCs that a transport has sent media under.
//!
//! * **Owns:** all of them since the keys were made, those of streams that ended too.
//! * **In:** [`claim`](Ssrcs::claim), before the first packet.
//! * **Out:** whether the SSRC is new.
//! * **Invariant:** no SSRC is new twice: each stream numbers its packets by itself, and two of them under one SSRC
//!   would use up the same SRTP indices (RFC 3711 §9.1).
//!
//! `room` counts the SSRCs of a transport in steps of two, so that all of them are one stretch here.

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Ssrcs {
    /// Stretches (first, last), ascending, of SSRCs whose lowest bit was made the highest.
    claimed: Vec<(u32, u32)>,
}

impl Ssrcs {
    /// Whether nothing was sent under `ssrc`; from now on something is.
    ///
    /// **Cost:** O(log n) in stretches, one more if it is next to none.
    pub(crate) fn claim(&mut self, ssrc: u32) -> bool {
        let ssrc = ssrc.rotate_right(1);
        let at = self.claimed.partition_point(|(first, _)| *first <= ssrc);
        let before = at.checked_sub(1);
        if before.is_some_and(|at| self.claimed.get(at).is_some_and(|(_, last)| *last >= ssrc)) {
            return false;
        }
        let joins_before = before.filter(|at| {
            self.claimed.get(*at).is_some_and(|(_, last)| last.checked_add(1) == Some(ssrc))
        });
        let joins_after =
            self.claimed.get(at).is_some_and(|(first, _)| ssrc.checked_add(1) == Some(*first));
        match (joins_before, joins_after) {
            (Some(before), true) => {
                let (_, last) = self.claimed.remove(at);
                self.set(before, |stretch| stretch.1 = last);
            }
            (Some(before), false) => self.set(before, |stretch| stretch.1 = ssrc),
            (None, true) => self.set(at, |stretch| stretch.0 = ssrc),
            (None, false) => self.claimed.insert(at, (ssrc, ssrc)),
        }
        true
    }

    fn set(&mut self, at: usize, change: impl FnOnce(&mut (u32, u32))) {
        if let Some(stretch) = self.claimed.get_mut(at) {
            change(stretch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_ssrc_is_new_once_in_every_order_of_claims() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for _ in 0..300 {
            let (mut ssrcs, mut model) = (Ssrcs::default(), BTreeSet::new());
            for _ in 0..60 {
                let ssrc = (random() % 24).wrapping_sub(8);
                assert_eq!(ssrcs.claim(ssrc), model.insert(ssrc), "{ssrc:#x}: {ssrcs:?}");
            }
            let apart = ssrcs.claimed.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
            assert!(apart, "stretches touch: {ssrcs:?}");
        }
    }

    #[test]
    fn ssrcs_in_sequence_take_no_memory() {
        let mut ssrcs = Ssrcs::default();
        let mut next = u32::MAX - 20_001;
        for _ in 0..100_000 {
            assert!(ssrcs.claim(next));
            next = next.wrapping_add(2);
        }
        assert!(ssrcs.claimed.len() <= 2, "{}", ssrcs.claimed.len());
    }
}
