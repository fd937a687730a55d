//! Which datagrams may leave together as one (generic segmentation offload).
//!
//! * **Owns:** nothing; a pure rule.
//! * **In:** entries of a slab, in order. **Out:** how many of the first ones make one run.
//! * **Invariant:** a run goes to one address, its bytes lie back to back, all but its last
//!   datagram are of one size and the last is not longer.
//! * **Spec:** Linux `UDP_SEGMENT` (udp(7)): at most 64 segments, at most one IP packet's bytes.

use hearth_datagram::Entry;

/// `UDP_MAX_SEGMENTS` of older kernels.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Bytes of one run; an IP packet of 65,535 less headers, with a margin for options.
pub(crate) const MAX_BYTES: usize = 65_000;

/// How many entries from the first on make one run: at least 1, if there is any.
pub(crate) fn run_length(entries: &[Entry]) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let (mut count, mut bytes) = (1, first.len);
    if first.len == 0 {
        return count;
    }
    let mut last = first;
    for next in entries.iter().skip(1).take(MAX_SEGMENTS - 1) {
        let follows = next.to == first.to && next.start == last.start + last.len;
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
    use super::*;

    /// `port:len` each; back to back.
    fn check(entries: &str, expected: usize) {
        let mut start = 0;
        let entries: Vec<Entry> = entries
            .split_whitespace()
            .map(|entry| {
                let (port, len) = entry.split_once(':').unwrap();
                let len = len.parse().unwrap();
                start += len;
                let to = format!("127.0.0.1:{port}").parse().unwrap();
                Entry { to, start: start - len, len }
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
        let to = "127.0.0.1:1".parse().unwrap();
        let entries = [Entry { to, start: 0, len: 5 }, Entry { to, start: 6, len: 5 }];
        assert_eq!(run_length(&entries), 1);
    }
}
