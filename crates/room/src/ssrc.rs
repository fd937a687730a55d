//! The SSRCs under which one transport sends media.
//!
//! * **Owns:** the next one, and how many are left.
//! * **In:** [`allocate`](SsrcAllocator::allocate), for each stream and its retransmissions.
//! * **Out:** SSRCs.
//! * **Invariant:** none is given twice, so that no two streams share the key stream of SRTP (RFC 3711 §9.1,
//!   RFC 7714 §8.4). All are even; the odd ones are for RTCP of the transport, which its shard chooses.
//! * **Spec:** RFC 3550 §8: the first is random.

use hearth_random::Rng;

/// Even numbers of 32 bits.
const ALL: u32 = 1 << 31;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct SsrcAllocator {
    next: u32,
    left: u32,
}

impl SsrcAllocator {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { next: rng.next_u32() & !1, left: ALL }
    }

    /// One that was not given before and that `is_taken`, which says what the client sends under, is not true of;
    /// `None` if there is none left. Never 0, which some receivers take for "none".
    pub(crate) fn allocate(&mut self, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
        loop {
            self.left = self.left.checked_sub(1)?;
            let ssrc = self.next;
            self.next = ssrc.wrapping_add(2);
            if ssrc != 0 && !is_taken(ssrc) {
                return Some(ssrc);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hearth_random::{Purpose, Seed};

    use super::*;

    #[test]
    fn a_hundred_thousand_ssrcs_differ_and_leave_out_what_the_client_uses() {
        let mut allocator = SsrcAllocator::new(&mut Seed::fixed(1).rng(Purpose::MediaSsrc));
        let theirs = [allocator.next, allocator.next.wrapping_add(10)];
        let is_taken = |ssrc| theirs.contains(&ssrc);
        let mut given = BTreeSet::new();
        for n in 0..100_000 {
            let ssrc = allocator.allocate(is_taken).unwrap();
            assert!(ssrc.is_multiple_of(2) && ssrc != 0 && !is_taken(ssrc), "{ssrc}");
            assert!(given.insert(ssrc), "{ssrc} is given again as number {n}");
        }
    }

    #[test]
    fn the_numbers_wrap_around_0_and_end_before_the_first_comes_again() {
        let mut allocator = SsrcAllocator { next: u32::MAX - 1, left: 3 };
        let given: Vec<u32> = std::iter::from_fn(|| allocator.allocate(|_| false)).collect();
        assert_eq!(given, [u32::MAX - 1, 2]);
    }

    #[test]
    fn two_transports_begin_elsewhere() {
        let mut rng = Seed::fixed(1).rng(Purpose::MediaSsrc);
        let [first, second] = [(); 2].map(|()| SsrcAllocator::new(&mut rng).next);
        assert_ne!(first, second);
    }
}
