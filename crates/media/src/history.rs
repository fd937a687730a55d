//! The retransmission history of one subscription: what was sent lately, in 16 bytes a packet, to answer NACKs.
//!
//! * **Owns:** for each of the last packets: which packet of the source it was, and how it was
//!   renumbered. The payload stays in the track's ring.
//! * **In:** [`History::record`] each packet sent; [`History::retransmit`] each number asked for.
//! * **Invariant:** a packet is retransmitted at most [`MAX_TRIES`] times, most of a round trip apart, not before a
//!   subscriber can have missed it, and under no other number than its own: one SRTP index must not seal two
//!   different packets. A number that was used, or is too old to tell, is not [free](History::is_free).

use std::time::{Duration, Instant};

use hearth_units::{ExtSeq, MediaKind};

/// Retransmissions of one packet: as many NACKs as libwebrtc sends, which is one every 20 ms where the round trip is
/// short, before it asks for a key frame after 3 s. Fewer are used up in an outage that ends before; what bounds them
/// in bandwidth is [`RetransmissionBudget`](crate::retransmission_budget::RetransmissionBudget).
const MAX_TRIES: u8 = 100;
/// Between two retransmissions of a packet: three quarters of the round trip, but not less and not more than this. Less
/// duplicates what is still in flight, more refuses a subscriber whose retransmission was lost.
const SPACING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Set in [`Record::tries_left`] once a packet has left under a number, however often it may be retransmitted.
const SENT: u8 = 0x80;
/// Before the round trip is measured.
const ASSUMED_RTT: Duration = Duration::from_millis(70);

/// What there is to say to a NACK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Recall {
    /// How the packet was numbered; `first` if it was not retransmitted before.
    Found { index: u64, record: Record, first: bool },
    /// It was sent so long ago that nothing is known of it.
    Forgotten { index: u64 },
    /// It was never sent, is in flight, or was retransmitted often enough.
    Nothing,
}

/// How a sent packet was numbered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Record {
    /// Low 32 bits of the source's sequence number.
    pub(crate) source: u32,
    /// RTP time as sent.
    pub(crate) timestamp: u32,
    /// VP8 picture id as sent.
    pub(crate) picture_id: u16,
    /// VP8 TL0PICIDX as sent.
    pub(crate) tl0: u8,
    /// VP8 KEYIDX (5 bits) as sent; [`EMPTY`](Record::EMPTY); encoding in the upper 2 bits.
    pub(crate) keyidx_encoding: u8,
    /// Bytes of padding as sent.
    pub(crate) padding: u8,
    /// Kept by [`History`]: how often it may be retransmitted, [`MAX_TRIES`] for what never was, and [`SENT`];
    /// 0 if there is no such packet.
    pub(crate) tries_left: u8,
    /// Kept by [`History`]: ms since its origin, wraps.
    pub(crate) sent_ms: u16,
}

impl Record {
    /// In `keyidx_encoding`: it was sent without the payload of its source.
    pub(crate) const EMPTY: u8 = 0x20;

    pub(crate) const fn is_empty(&self) -> bool {
        self.keyidx_encoding & Self::EMPTY != 0
    }

    pub(crate) const fn encoding(&self) -> u8 {
        self.keyidx_encoding >> 6
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct History {
    /// A power of two, so that a place needs no division.
    records: Box<[Record]>,
    newest: u64,
    origin: Instant,
}

impl History {
    /// Remembers 512 packets of video or 128 of audio.
    pub(crate) fn new(now: Instant, kind: MediaKind) -> Self {
        let packets = match kind {
            MediaKind::Video => 512,
            MediaKind::Audio => 128,
        };
        Self {
            records: vec![Record::default(); packets].into_boxed_slice(),
            newest: 0,
            origin: now,
        }
    }

    /// Whether no packet has left under `index` yet.
    pub(crate) fn is_free(&self, index: u64) -> bool {
        if index > self.newest {
            return true;
        }
        let record = self.records.get(self.place(index));
        !self.is_behind(index) && record.is_some_and(|record| record.tries_left & SENT == 0)
    }

    /// Packet `index` left at `now`.
    pub(crate) fn record(&mut self, now: Instant, index: u64, record: Record) {
        let sent_ms = self.millis(now);
        if index > self.newest && self.newest != 0 {
            // Numbers passed over were never sent: they must not answer with an old packet.
            let len = self.records.len() as u64;
            for skipped in (self.newest + 1).max(index.saturating_sub(len))..index {
                if let Some(slot) = self.slot(skipped) {
                    slot.tries_left = 0;
                }
            }
        }
        self.newest = self.newest.max(index);
        if self.is_behind(index) {
            // Its place belongs to a newer one.
            return;
        }
        if let Some(slot) = self.slot(index) {
            *slot = Record { sent_ms, tries_left: SENT | MAX_TRIES, ..record };
        }
    }

    /// How packet `index`, one of the last, was numbered.
    pub(crate) fn get(&self, index: u64) -> Option<Record> {
        self.records.get(self.place(index)).copied()
    }

    /// How packet `wire` was numbered, if it may be retransmitted at `now`; that counts as a try. `rtt` is the round
    /// trip to the subscriber, if it is known.
    pub(crate) fn retransmit(&mut self, now: Instant, wire: u16, rtt: Option<Duration>) -> Recall {
        let behind = (self.newest as u16).wrapping_sub(wire);
        let Some(index) = self.newest.checked_sub(u64::from(behind)) else {
            return Recall::Nothing;
        };
        if usize::from(behind) >= self.records.len() {
            // In the other half of the numbers are those that are yet to come.
            return if behind < 0x8000 { Recall::Forgotten { index } } else { Recall::Nothing };
        }
        let now_ms = self.millis(now);
        let Some(slot) = self.slot(index) else {
            return Recall::Nothing;
        };
        let waited = Duration::from_millis(u64::from(now_ms.wrapping_sub(slot.sent_ms)));
        let tries_left = slot.tries_left & !SENT;
        let first = tries_left == MAX_TRIES;
        let least = if first {
            // Who asks sooner has not lost it: the network reordered it.
            rtt.unwrap_or_default() / 2
        } else {
            (rtt.unwrap_or(ASSUMED_RTT) / 4 * 3).clamp(SPACING.0, SPACING.1)
        };
        let Some(tries_left) = tries_left.checked_sub(1).filter(|_| waited >= least) else {
            return Recall::Nothing;
        };
        (slot.tries_left, slot.sent_ms) = (SENT | tries_left, now_ms);
        Recall::Found { index, record: *slot, first }
    }

    /// Answers for nothing that was sent so far.
    pub(crate) fn clear(&mut self) {
        for record in &mut self.records {
            record.tries_left &= SENT;
        }
    }

    /// The full number of a source packet near `newest` whose low 32 bits were recorded.
    pub(crate) fn source_seq(newest: ExtSeq, record: &Record) -> Option<ExtSeq> {
        let behind = (newest.get() as u32).wrapping_sub(record.source);
        newest.minus(u64::from(behind))
    }

    /// Reads where the next record most likely goes.
    pub(crate) fn prefetch(&self) -> bool {
        self.records.get(self.place(self.newest + 1)).is_some_and(|record| record.tries_left > 0)
    }

    /// Its place belongs to a newer one.
    fn is_behind(&self, index: u64) -> bool {
        index + self.records.len() as u64 <= self.newest
    }

    fn slot(&mut self, index: u64) -> Option<&mut Record> {
        let at = self.place(index);
        self.records.get_mut(at)
    }

    fn place(&self, index: u64) -> usize {
        index as usize & (self.records.len() - 1)
    }

    fn millis(&self, now: Instant) -> u16 {
        now.saturating_duration_since(self.origin).as_millis() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::ZERO);

    impl Recall {
        fn found(self) -> Option<(u64, Record)> {
            if let Self::Found { index, record, .. } = self { Some((index, record)) } else { None }
        }
    }

    #[test]
    fn a_record_is_sixteen_bytes() {
        assert_eq!(size_of::<Record>(), 16);
    }

    #[test]
    fn a_packet_is_sent_again_a_hundred_times_and_no_more() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut history = History::new(t0, MediaKind::Audio);
        history.record(t0, 70_000, Record { source: 5, ..Record::default() });
        let answers = (1..=200_u32)
            .filter(|i| {
                let now = t0 + *i * SPACING.0;
                history.retransmit(now, 70_000_u64 as u16, RTT).found().is_some()
            })
            .count();
        assert_eq!(answers, 100);
    }

    #[test]
    fn what_is_under_way_is_not_sent_again() {
        for (rtt, expect) in [
            (Some(0), vec![0, 10, 20, 30]),
            (Some(40), vec![20, 50]),
            (Some(900), vec![450, 550]),
            (None, vec![0, 53, 106]),
        ] {
            #[expect(clippy::disallowed_methods, reason = "std offers no other way to make one")]
            let t0 = Instant::now();
            let mut history = History::new(t0, MediaKind::Audio);
            history.record(t0, 7, Record::default());
            let rtt = rtt.map(Duration::from_millis);
            let at = |ms| t0 + Duration::from_millis(ms);
            let answered: Vec<u64> = (0..)
                .filter(|ms| history.retransmit(at(*ms), 7, rtt).found().is_some())
                .take(expect.len())
                .collect();
            assert_eq!(answered, expect, "{rtt:?}");
        }
    }

    #[test]
    fn numbers_that_were_passed_over_or_are_not_yet_sent_have_no_answer() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut history = History::new(t0, MediaKind::Audio);
        for index in [100, 101, 103] {
            history.record(t0, index, Record::default());
        }
        let answered: Vec<u16> = (99..=104)
            .filter(|&wire| history.retransmit(t0, wire, RTT).found().is_some())
            .collect();
        assert_eq!(answered, [100, 101, 103]);
    }

    #[test]
    fn a_number_is_free_until_a_packet_left_under_it() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut history = History::new(t0, MediaKind::Audio);
        let free = |history: &History| (1..=6).filter(|i| history.is_free(*i)).collect::<Vec<_>>();
        assert_eq!(free(&history), [1, 2, 3, 4, 5, 6]);
        for index in [2, 5, 3] {
            history.record(t0, index, Record::default());
        }
        assert_eq!(free(&history), [1, 4, 6]);
        for i in 1..=200_u32 {
            history.retransmit(t0 + i * SPACING.0, 5, RTT);
        }
        history.clear();
        assert_eq!(free(&history), [1, 4, 6], "used up, and not to be answered for");
        history.record(t0, 130, Record::default());
        assert_eq!(free(&history), [4, 6], "what is too old to tell is not");
    }

    #[test]
    fn what_was_sent_long_ago_is_told_from_what_is_yet_to_come() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut history = History::new(t0, MediaKind::Audio);
        for index in 70_000..70_200 {
            history.record(t0, index, Record::default());
        }
        for (index, forgotten) in [(70_001_u64, true), (70_071, true), (70_200, false)] {
            let recall = history.retransmit(t0, index as u16, RTT);
            let expect = if forgotten { Recall::Forgotten { index } } else { Recall::Nothing };
            assert_eq!(recall, expect, "{index}");
        }
        assert!(history.retransmit(t0, 70_072_u64 as u16, RTT).found().is_some());
    }

    #[test]
    fn a_packet_that_comes_very_late_does_not_answer_for_a_newer_one() {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let t0 = Instant::now();
        let mut history = History::new(t0, MediaKind::Video);
        for index in [5_u64, 518, 6] {
            history.record(t0, index, Record { source: index as u32, ..Record::default() });
        }
        let answer = history.retransmit(t0, 518, RTT).found();
        let answer = answer.map(|(index, record)| (index, record.source));
        assert_eq!(answer, Some((518, 518)));
        assert_eq!(history.retransmit(t0, 6, RTT).found(), None);
        history.record(t0, 7, Record { source: 7, ..Record::default() });
        assert_eq!(
            history.retransmit(t0, 7, RTT).found().map(|(_, record)| record.source),
            Some(7)
        );
    }
}
