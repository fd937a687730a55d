//! How much padding makes packets for one subscriber leave as one.
//!
//! * **Owns:** the length of the run of packets that the next one may join.
//! * **In:** each packet's length, in the order they leave. **Out:** its padding.
//! * **Invariant:** at most [`MAX_PADDING`] bytes a packet.
//! * **Why:** the kernel sends a run of equal datagrams, the last of which may be shorter, at nearly the
//!   price of one. Voices differ from each other, and the pieces of a video frame by a byte. See
//!   `docs/decisions/0001-batching-by-load.md`.

/// More joins more packets, less costs less of the subscriber's bandwidth. Two packets of the voice that
/// `hearth load-test` publishes (32 kbps) differ by 11 bytes on average, nine of ten pairs by at most 24.
pub(crate) const MAX_PADDING: usize = 24;

/// See the module documentation. Of one subscriber, for one flush.
#[derive(Debug, Default)]
pub(crate) struct GsoPadder {
    /// Bytes of each packet of it so far; 0 if there is none to join.
    len: usize,
}

impl GsoPadder {
    /// The padding for a packet of `len` bytes that others follow. The longest of its own stream among
    /// them has `longer` bytes more.
    pub(crate) fn padding(&mut self, len: usize, longer: usize) -> u8 {
        let padding = match self.len.checked_sub(len) {
            Some(shorter) if shorter <= MAX_PADDING => shorter,
            Some(_) => {
                // The shorter one is the last of the run.
                self.len = 0;
                return 0;
            }
            None => {
                let padding = if longer <= MAX_PADDING { longer } else { 0 };
                self.len = len + padding;
                padding
            }
        };
        u8::try_from(padding).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths, each with how much longer the longest to come of its stream is, and the paddings.
    #[track_caller]
    fn check(packets: &[(usize, usize)], expected: &[u8]) {
        let mut run = GsoPadder::default();
        let paddings: Vec<u8> =
            packets.iter().map(|(len, longer)| run.padding(*len, *longer)).collect();
        assert_eq!(paddings, expected, "{packets:?}");
    }

    #[test]
    fn what_is_a_little_shorter_is_made_as_long_and_what_is_much_shorter_ends_the_run() {
        check(&[(100, 0), (100, 0), (90, 0), (76, 0)], &[0, 0, 10, 24]);
        check(&[(100, 0), (75, 0), (74, 0), (70, 0)], &[0, 0, 0, 4]);
        check(&[(100, 0), (101, 0), (100, 0)], &[0, 0, 1]);
    }

    #[test]
    fn the_first_pieces_of_a_frame_are_made_as_long_as_the_last() {
        check(&[(1_000, 1), (1_000, 1), (1_001, 0), (1_001, 0)], &[1, 1, 0, 0]);
        check(&[(300, 700), (1_000, 1), (1_001, 0)], &[0, 1, 0]);
    }
}
