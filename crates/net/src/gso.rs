//! Which datagrams may leave together as one (generic segmentation offload).
//!
//! * **Owns:** which paths do not take runs ([`PlainPaths`]).
//! * **In:** entries of a slab, in order. **Out:** how many of the first ones make one run.
//! * **Invariant:** a run has one path (one local, one remote address), its bytes are contiguous, all but its last
//!   datagram are of one size and the last is not longer.
//! * **Spec:** Linux `UDP_SEGMENT` (udp(7)): at most 64 segments, at most one IP packet's bytes.

use std::collections::BTreeSet;

use hearth_datagram::{Endpoint, Entry};

/// `UDP_MAX_SEGMENTS` of older kernels.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Bytes of one run; an IP packet of 65,535 less headers, with a margin for options.
pub(crate) const MAX_BYTES: usize = 65_000;

/// Paths without GSO that are remembered.
const MAX_PLAIN: usize = 256;

/// Paths on which a run failed, as the MTU of the network behind them is smaller. If all fail, the
/// interface has no GSO, and no runs are sent any more.
#[derive(Debug, Default)]
pub(crate) struct PlainPaths {
    paths: BTreeSet<Endpoint>,
    /// A run has left since `paths` was empty.
    has_worked: bool,
    is_off: bool,
}

impl PlainPaths {
    /// Whether a run may go by `path`.
    pub(crate) fn may_join(&self, path: Endpoint) -> bool {
        !self.is_off && !self.paths.contains(&path)
    }

    /// A run left.
    pub(crate) fn handle_sent(&mut self, run: &[Entry]) {
        self.has_worked |= run.len() > 1;
    }

    /// A run failed.
    pub(crate) fn handle_failed(&mut self, path: Endpoint) {
        if self.paths.len() >= MAX_PLAIN {
            // Paths that are forgotten fail once more and are remembered again.
            self.paths.clear();
            self.is_off = !std::mem::take(&mut self.has_worked);
        }
        self.paths.insert(path);
    }
}

/// How many entries from the first on make one run: at least 1, if there is any.
pub(crate) fn run_length(entries: &[Entry]) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let (mut count, mut bytes) = (1, first.len);
    if first.len == 0 {
        return count;
    }
    let mut last = first;
    for next in entries.iter().skip(1).take(MAX_SEGMENTS - 1) {
        let follows = next.path == first.path && next.start == last.start + last.len;
        // A shorter one ends the run, as its last.
        let fits = last.len == first.len && next.len <= first.len && next.len > 0;
        bytes += next.len;
        if !follows || !fits || bytes > MAX_BYTES {
            break;
        }
        count += 1;
        last = next;
    }
    count
}

#[cfg(test)]
mod tests {
    use hearth_datagram::TrafficClass;

    use super::*;

    /// `port:len` each; back to back. With `@` it leaves from another address of ours.
    fn check(entries: &str, expected: usize) {
        let mut start = 0;
        let entries: Vec<Entry> = entries
            .split_whitespace()
            .map(|entry| {
                let (port, len) = entry.split_once(':').unwrap();
                let len = len.parse().unwrap();
                start += len;
                let (ours, port) = port.split_once('@').map_or((1, port), |(port, _)| (2, port));
                Entry {
                    path: path(ours, port.parse().unwrap()),
                    start: start - len,
                    len,
                    class: TrafficClass::Vital,
                }
            })
            .collect();
        assert_eq!(run_length(&entries), expected, "{entries:?}");
    }

    #[test]
    fn a_run_is_of_one_address_and_one_size_but_for_a_shorter_last() {
        check("", 0);
        check("1:100", 1);
        check("1:100 1:100 1:100", 3);
        check("1:100 1:100 2:100", 2);
        check("1:100 1:60 1:60", 2);
        check("1:100 1:60 1:100", 2);
        check("1:100 1:101", 1);
        check("1:0 1:0", 1);
        check("1:9 1:0", 1);
    }

    #[test]
    fn a_run_has_at_most_64_datagrams_and_65000_bytes() {
        check(&"1:10 ".repeat(200), 64);
        check(&"1:1400 ".repeat(60), 46);
    }

    #[test]
    fn a_gap_in_the_buffer_ends_a_run() {
        let path = path(1, 1);
        let entries = [
            Entry { path, start: 0, len: 5, class: TrafficClass::Vital },
            Entry { path, start: 6, len: 5, class: TrafficClass::Vital },
        ];
        assert_eq!(run_length(&entries), 1);
    }

    #[test]
    fn paths_that_take_no_runs_cost_the_others_theirs_only_if_none_does() {
        for works in [true, false] {
            let mut plain = PlainPaths::default();
            for n in 0..1_000 {
                assert_eq!(plain.may_join(path(1, n)), works || n < 257, "{n}");
                plain.handle_failed(path(1, n));
                assert!(!plain.may_join(path(1, n)));
                let entry =
                    Entry { path: path(2, n), start: 0, len: 1, class: TrafficClass::Vital };
                let run = [entry; 2];
                plain.handle_sent(if works { &run } else { &[] });
            }
            assert!(plain.paths.len() <= MAX_PLAIN);
        }
    }

    #[test]
    fn another_source_ends_a_run() {
        check("1:100 1:100 1@:100", 2);
        check("1@:100 1@:100 1@:100", 3);
    }

    /// From address `ours` of this machine to port `remote` of a client.
    fn path(ours: u8, remote: u16) -> Endpoint {
        Endpoint::udp(([127, 0, 0, ours], 7_882).into(), ([127, 0, 0, 1], remote).into())
    }
}
