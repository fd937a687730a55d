//! Loss detection for one SSRC that we receive: the missing packets, and when to request their retransmission by
//! NACK.
//!
//! * **Owns:** the missing sequence numbers, each with its next deadline;  the packet loss rate, and by how much
//!   packets overtake each other; where the newest frame ends.
//! * **In:** [`handle_packet`](NackTracker::handle_packet) and
//!   [`handle_recovered`](NackTracker::handle_recovered) (one arrived),
//!   [`handle_keyframe`](NackTracker::handle_keyframe) (nothing before it is needed), time, the round-trip time.
//! * **Out:** [`poll`](NackTracker::poll) – numbers for a NACK now;
//!   [`take_unrecoverable`](NackTracker::take_unrecoverable) – some were given up: request a keyframe (PLI).
//! * **Invariant:** at most [`MAX_TRACKED`] numbers are missing, each for a second at most. Two requests for one
//!   are further apart than a sender that obeys libwebrtc's rule ignores, but for the second copy of one.
//! * **Spec:** generic NACK is RFC 4585 §6.2.1. libwebrtc's `RtpPacketHistory` ignores a request within the
//!   round trip and 5 ms of the last retransmission of that packet.

use std::time::{Duration, Instant};

use hearth_units::ExtSeq;

/// Most of a second of a 3 Mbps stream; what is lost beyond that costs less as a keyframe.
const MAX_TRACKED: usize = 256;
/// A jump that no burst loss explains: the sender restarted.
const MAX_GAP: u64 = 1_000;
/// After an outage this long with so many lost packets a keyframe arrives sooner, and costs less bandwidth, than
/// retransmission of them all: half a second of frames is worth two or three keyframes.
const OUTAGE: (Duration, u64) = (Duration::from_millis(500), 16);
/// When a missing packet is given up, counted from its first NACK: after 2.5 round trips, but not before and not
/// after these bounds. Shorter requests more keyframes, longer is of no use: a second of packets is kept, and a
/// retransmission that arrives later has no place among them.
const GIVE_UP_AFTER: (Duration, Duration) =
    (Duration::from_millis(800), Duration::from_millis(1_000));
/// The first NACK waits as long as reordering was seen to delay packets, within these bounds. Longer spares
/// requests for reordered packets, shorter repairs sooner.
const FIRST_DELAY: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(40));
/// The least time between two requests for one packet, at the shortest round-trip time.
const MIN_SPACING: Duration = Duration::from_millis(20);
/// A sender ignores requests within the round trip as it knows it and 5 ms; 1 ms for the timers.
const SPACING_MARGIN: Duration = Duration::from_millis(6);
/// The second copy of a request follows so much later: short beside a round trip, long beside most bursts of loss.
const COPY_DELAY: Duration = Duration::from_millis(7);
/// Above one lost packet in so many, each request is sent twice: a lost one costs a round trip, a copy 60 bytes.
const COPY_ABOVE: u32 = 100;
/// Loss is measured over as many packets as half of this to all of it.
const LOSS_WINDOW: u32 = 1_024;
/// Tail-loss probe: so many mean frame intervals after a frame's last packet without marker, the next is requested.
const PROBE_AFTER: u32 = 2;
/// Under loss it is requested after a third of a mean frame time, but not before this: senders spread a frame over
/// some milliseconds. The next frame would show the loss after a whole one; a request for what was not sent yet costs
/// 60 bytes.
const EARLY_PROBE: Duration = Duration::from_millis(8);
/// A retransmission may be so many numbers ahead of the newest original packet: the tail of a frame.
const MAX_TAIL: u16 = 64;

/// The missing packets of one SSRC.
#[derive(Debug)]
pub struct NackTracker {
    rtt: Duration,
    rtx_in_stream: bool,
    newest: Option<Newest>,
    /// Ascending.
    missing: Vec<Missing>,
    /// No deadline in `missing` is earlier; may be early itself.
    next: Option<Instant>,
    unrecoverable: bool,
    /// The delay of reordered packets.
    reordering: Duration,
    loss: Loss,
}

/// The newest packet, and its frame.
#[derive(Clone, Copy, Debug)]
struct Newest {
    seq: ExtSeq,
    at: Instant,
    timestamp: u32,
    marker: bool,
    /// A marker has been seen: the stream uses them, and a frame without one is incomplete.
    has_markers: bool,
    frame_began: Instant,
    /// Mean time from frame to frame; 0 before the second.
    frame_interval: Duration,
    /// Newest packet of the frames before.
    before_frame: Option<ExtSeq>,
    /// When the one after it was requested (tail-loss probe).
    probed: Option<Instant>,
}

#[derive(Debug)]
struct Missing {
    seq: ExtSeq,
    noticed: Instant,
    next: Instant,
    requested: Option<Requested>,
    /// At `next` the second copy of the last request is due.
    copy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Requested {
    first: Instant,
    last: Instant,
}

/// Loss rate: recent packets, and how many of them were lost.
#[derive(Debug, Default)]
struct Loss {
    expected: u32,
    lost: u32,
}

impl NackTracker {
    /// Begins with nothing missing.
    ///
    /// * `rtt` – the round-trip time assumed until [`poll`](Self::poll) is given a measured one.
    /// * `rtx_in_stream` – no RTX stream was negotiated (RFC 4588): what arrives late in this one may be a
    ///   retransmission.
    pub fn new(rtt: Duration, rtx_in_stream: bool) -> Self {
        Self {
            rtt,
            rtx_in_stream,
            newest: None,
            missing: Vec::new(),
            next: None,
            unrecoverable: false,
            reordering: Duration::ZERO,
            loss: Loss::default(),
        }
    }

    /// A packet arrived in its own stream, original or retransmission.
    ///
    /// * `timestamp` – RTP time, wraps; packets of one frame have the same.
    /// * `marker` – it ends its frame.
    pub fn handle_packet(&mut self, now: Instant, seq: ExtSeq, timestamp: u32, marker: bool) {
        let Some(newest) = &mut self.newest else {
            self.newest = Some(Newest::first(now, seq, timestamp, marker));
            return;
        };
        let Some(ahead) = seq.since(newest.seq) else {
            self.handle_late(now, seq);
            return;
        };
        if ahead == 0 {
            return;
        }
        let (before, silent) = (newest.seq, now.saturating_duration_since(newest.at));
        let probed = newest.probed;
        newest.advance(now, seq, timestamp, marker);
        let lost = ahead - 1;
        self.loss.expect(ahead);
        let outage = silent >= OUTAGE.0 && lost > OUTAGE.1;
        if ahead > MAX_GAP || outage || self.missing.len() as u64 + lost > MAX_TRACKED as u64 {
            self.clear();
            self.unrecoverable = true;
            return;
        }
        if lost > 0 {
            let next = now + self.reordering.clamp(FIRST_DELAY.0, FIRST_DELAY.1);
            self.missing.extend((1..ahead).map(|i| Missing {
                seq: before.plus(i),
                noticed: now,
                next,
                requested: None,
                copy: false,
            }));
            self.next = Some(self.next.map_or(next, |earliest| earliest.min(next)));
            if let Some(at) = probed {
                self.handle_probed(before.plus(1), at);
            }
        }
    }

    /// A retransmission arrived in the RTX stream (RFC 4588).
    ///
    /// * `seq` – its original number, 16 bits.
    /// * `timestamp`, `marker` – its own, as in [`handle_packet`](Self::handle_packet).
    pub fn handle_recovered(&mut self, now: Instant, seq: u16, timestamp: u32, marker: bool) {
        if let Some(at) = self.missing.iter().position(|missing| missing.seq.wire() == seq) {
            self.missing.remove(at);
        } else if let Some(newest) = self.newest {
            // The end of a frame that was lost as a whole, or was requested as a tail-loss probe.
            let ahead = seq.wrapping_sub(newest.seq.wire());
            if (1..=MAX_TAIL).contains(&ahead) {
                let seq = newest.seq.plus(u64::from(ahead));
                self.handle_packet(now, seq, timestamp, marker);
            }
        }
    }

    /// The packet `seq`, which was just handled, begins a keyframe: packets before it need no retransmission.
    ///
    /// `is_first` is false where others of the same frame may come before it, as parameter sets do (H.264,
    /// H.265): then packets that may belong to it are still requested.
    pub fn handle_keyframe(&mut self, seq: ExtSeq, is_first: bool) {
        let bound = match self.newest.and_then(|newest| newest.before_frame) {
            _ if is_first => seq,
            Some(before) if before < seq => before,
            _ => return,
        };
        let useless = self.missing.partition_point(|missing| missing.seq < bound);
        self.missing.drain(..useless);
        if self.missing.is_empty() {
            self.next = None;
        }
        self.unrecoverable = false;
    }

    /// Forgets what is missing: no subscriber needs it.
    pub fn clear(&mut self) {
        self.missing.clear();
        self.next = None;
        self.unrecoverable = false;
    }

    /// Writes the numbers to ask for now, oldest first, at most `out.len()`; returns how many.
    ///
    /// `rtt` is the round-trip time to the sender: only after it can a request have been answered.
    pub fn poll(&mut self, now: Instant, rtt: Duration, out: &mut [u16]) -> usize {
        self.rtt = rtt;
        let mut written = self.poll_missing(now, out);
        if let Some(slot) = out.get_mut(written)
            && let (Some(newest), early) = (self.newest.as_mut(), self.loss.is_high())
            && let Some(seq) = newest.probe(now, early)
        {
            *slot = seq.wire();
            written += 1;
        }
        written
    }

    /// When to [`poll`](Self::poll) next for what is missing; may be early. While little is lost, the tail of a
    /// frame can wait for another occasion.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let newest = self.newest.as_ref().filter(|_| self.loss.is_high());
        self.next.into_iter().chain(newest.and_then(|newest| newest.probe_at(true))).min()
    }

    /// True once after packets were given up: only a keyframe helps then.
    pub const fn take_unrecoverable(&mut self) -> bool {
        std::mem::replace(&mut self.unrecoverable, false)
    }

    fn poll_missing(&mut self, now: Instant, out: &mut [u16]) -> usize {
        if self.next.is_none_or(|next| next > now) {
            return 0;
        }
        let is_lost = |missing: &&Missing| missing.next <= now && missing.requested.is_none();
        let lost = self.missing.iter().filter(is_lost).count();
        if lost > 0 {
            self.loss.lost = self.loss.lost.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));
            // Reordering of long ago says little of the present.
            self.reordering = self.reordering * 15 / 16;
        }
        let (copies, rtt) = (self.loss.is_high(), self.rtt);
        let spacing = spacing(rtt, copies);
        let give_up_after = (rtt * 5 / 2).clamp(GIVE_UP_AFTER.0, GIVE_UP_AFTER.1);
        let (mut slots, mut next) = (out.iter_mut(), None::<Instant>);
        let (mut written, mut unrecoverable) = (0_usize, false);
        self.missing.retain_mut(|missing| {
            if missing.next <= now {
                let end = missing.requested.map(|requested| requested.first + give_up_after);
                if end.is_some_and(|end| now >= end) {
                    unrecoverable = true;
                    return false;
                }
                if let Some(slot) = slots.next() {
                    *slot = missing.seq.wire();
                    written += 1;
                    missing.count_request(now, spacing, copies);
                    // No answer to one more request would come in time.
                    let end =
                        missing.requested.map_or(now, |requested| requested.first) + give_up_after;
                    if missing.next + rtt > end && !missing.copy {
                        missing.next = end;
                    }
                }
            }
            next = Some(next.map_or(missing.next, |next| next.min(missing.next)));
            true
        });
        self.next = next;
        self.unrecoverable |= unrecoverable;
        written
    }

    /// `seq`, which is missing, was requested at `at` by a tail-loss probe: the next request keeps its distance.
    fn handle_probed(&mut self, seq: ExtSeq, at: Instant) {
        let spacing = spacing(self.rtt, self.loss.is_high());
        if let Ok(index) = self.missing.binary_search_by_key(&seq, |missing| missing.seq)
            && let Some(missing) = self.missing.get_mut(index)
        {
            missing.requested = Some(Requested { first: at, last: at });
            missing.next = missing.next.max(at + spacing);
            self.loss.lost = self.loss.lost.saturating_add(1);
        }
    }

    /// A reordered packet: it arrived after newer ones.
    fn handle_late(&mut self, now: Instant, seq: ExtSeq) {
        let Ok(at) = self.missing.binary_search_by_key(&seq, |missing| missing.seq) else {
            return;
        };
        let missing = self.missing.remove(at);
        let too_soon = |requested: Requested| {
            now.saturating_duration_since(requested.first) < self.rtt.saturating_sub(self.rtt / 4)
        };
        if missing.requested.is_none_or(|requested| !self.rtx_in_stream || too_soon(requested)) {
            let late = now.saturating_duration_since(missing.noticed);
            // A little more, so that the next packet as late as this is not requested.
            self.reordering = self.reordering.max(late + late / 4).min(FIRST_DELAY.1);
            self.loss.lost = self.loss.lost.saturating_sub(u32::from(missing.requested.is_some()));
        }
    }
}

/// From one request to the next: constant, as an answer takes as long every time. The sender may know a round-trip
/// time that is longer by a tenth: what it ignores for that costs a whole one more.
fn spacing(rtt: Duration, copies: bool) -> Duration {
    let single = (rtt + rtt / 10 + SPACING_MARGIN).max(MIN_SPACING);
    if copies { single.max(rtt + COPY_DELAY + SPACING_MARGIN) } else { single }
}

impl Missing {
    /// Counts a request that leaves now.
    fn count_request(&mut self, now: Instant, spacing: Duration, copies: bool) {
        let copied = std::mem::replace(&mut self.copy, false);
        let requested = self.requested.get_or_insert(Requested { first: now, last: now });
        if copied {
            self.next = (requested.last + spacing).max(now + COPY_DELAY);
            return;
        }
        requested.last = now;
        self.copy = copies;
        self.next = now + if copies { COPY_DELAY } else { spacing };
    }
}

impl Newest {
    fn first(now: Instant, seq: ExtSeq, timestamp: u32, marker: bool) -> Self {
        Self {
            seq,
            at: now,
            timestamp,
            marker,
            has_markers: marker,
            frame_began: now,
            frame_interval: Duration::ZERO,
            before_frame: None,
            probed: None,
        }
    }

    fn advance(&mut self, now: Instant, seq: ExtSeq, timestamp: u32, marker: bool) {
        if timestamp != self.timestamp {
            let took = now.saturating_duration_since(self.frame_began);
            self.frame_interval = if self.frame_interval.is_zero() {
                took
            } else {
                (self.frame_interval * 7 + took) / 8
            };
            self.frame_began = now;
            self.before_frame = Some(self.seq);
        }
        self.has_markers |= marker;
        (self.seq, self.at, self.timestamp, self.marker) = (seq, now, timestamp, marker);
        self.probed = None;
    }

    /// Tail-loss probe: the number after the newest, once, if its frame should have ended by now.
    fn probe(&mut self, now: Instant, early: bool) -> Option<ExtSeq> {
        self.probe_at(early).filter(|at| *at <= now)?;
        self.probed = Some(now);
        Some(self.seq.plus(1))
    }

    /// When the frame of the newest packet should have ended.
    fn probe_at(&self, early: bool) -> Option<Instant> {
        let interval = self.frame_interval;
        let is_open =
            self.has_markers && !self.marker && self.probed.is_none() && !interval.is_zero();
        let after = if early { (interval / 3).max(EARLY_PROBE) } else { interval * PROBE_AFTER };
        is_open.then(|| self.at + after)
    }
}

impl Loss {
    fn expect(&mut self, packets: u64) {
        self.expected = self.expected.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
        if self.expected >= LOSS_WINDOW {
            (self.expected, self.lost) = (self.expected / 2, self.lost / 2);
        }
    }

    fn is_high(&self) -> bool {
        self.lost.saturating_mul(COPY_ABOVE) > self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_units::SeqUnwrapper;

    const RTT: Duration = Duration::from_millis(60);

    #[test]
    fn a_reordered_packet_is_not_requested() {
        let mut scene = Scene::new(RTT);
        scene.receive(0, &[10, 12, 11]);
        assert_eq!(scene.requested_until(1_000), []);
        assert!(!scene.tracker.take_unrecoverable());
    }

    #[test]
    fn requests_keep_the_distance_within_which_a_sender_ignores_them() {
        for (rtt, last, expect) in [
            (0, 803, vec![3, 23, 43, 63, 83]),
            (10, 803, vec![3, 23, 43, 63, 83]),
            (60, 803, vec![3, 75, 147, 219, 291]),
            (100, 803, vec![3, 119, 235, 351, 467]),
            (200, 803, vec![3, 229, 455]),
            (450, 1_003, vec![3, 504]),
            (5_000, 1_003, vec![3]),
        ] {
            let mut scene = Scene::new(ms(rtt));
            scene.loses_little();
            scene.receive(0, &[65_535, 1]);
            let asks: Vec<u64> =
                scene.requested_until(2_000).into_iter().map(|(at, _)| at).collect();
            let firsts = asks.get(..expect.len()).unwrap_or(&asks);
            assert_eq!(firsts, expect, "{rtt}");
            for pair in asks.windows(2) {
                let apart = pair[1] - pair[0];
                assert!(apart >= rtt + 5, "{rtt}: {pair:?}");
            }
            let end = asks.last().unwrap() + rtt;
            assert!(end <= last || asks.len() == 1, "{rtt}: its answer comes too late: {asks:?}");
            assert_eq!(scene.unrecoverable, Some(last), "{rtt}");
        }
    }

    #[test]
    fn under_loss_each_request_is_sent_twice_and_the_next_still_keeps_its_distance() {
        for (rtt, expect) in [
            (10, vec![3, 10, 26, 33]),
            (30, vec![3, 10, 46, 53]),
            (100, vec![3, 10, 119, 126, 235, 242]),
        ] {
            let mut scene = Scene::new(ms(rtt));
            scene.receive(0, &[10, 12]);
            let asks: Vec<u64> =
                scene.requested_until(2_000).into_iter().map(|(at, _)| at).collect();
            assert_eq!(asks.get(..expect.len()), Some(&*expect), "{rtt}");
            // If only the copy arrived, the sender is silent for a round trip and 5 ms from then.
            assert!(asks[2] - asks[1] >= rtt + 5, "{rtt}: {asks:?}");
        }
    }

    #[test]
    fn below_one_lost_packet_in_a_hundred_requests_are_sent_once() {
        let mut scene = Scene::new(RTT);
        scene.loses_little();
        scene.receive(0, &[10, 12]);
        assert_eq!(scene.requested_until(10), [(3, 11)]);
    }

    #[test]
    fn packets_that_are_overtaken_again_and_again_are_waited_for() {
        for (rtx_in_stream, rtt) in [(false, 10), (true, 100)] {
            let mut scene = Scene::new(ms(rtt));
            scene.tracker = NackTracker::new(ms(rtt), rtx_in_stream);
            let mut requested = Vec::new();
            for i in 0..20_u16 {
                let at = u64::from(i) * 100;
                scene.receive(at, &[10 + 2 * i, 12 + 2 * i]);
                requested.extend(scene.requested_until(at + 29));
                scene.receive(at + 30, &[11 + 2 * i]);
                requested.extend(scene.requested_until(at + 99));
            }
            assert!(requested.iter().all(|(_, seq)| *seq == 11), "{requested:?}");
            assert!(!scene.tracker.loss.is_high());
        }
    }

    #[test]
    fn a_retransmission_ends_the_requests() {
        let mut scene = Scene::new(RTT);
        scene.receive(0, &[10, 14]);
        scene.tracker.handle_recovered(scene.t0, 12, 0, false);
        scene.receive(0, &[11]);
        assert_eq!(scene.requested_until(3), [(3, 13)]);
    }

    #[test]
    fn a_restart_of_the_sender_is_not_a_thousand_losses() {
        let mut scene = Scene::new(RTT);
        scene.receive(0, &[10, 12, 2_000]);
        assert_eq!(scene.requested_until(20), []);
        assert_eq!(scene.unrecoverable, Some(0));
    }

    #[test]
    fn losses_beyond_the_list_are_a_keyframe_request_and_nothing_else() {
        let mut scene = Scene::new(RTT);
        scene.receive(0, &[0, 250]);
        scene.receive(1, &[251, 260]);
        assert_eq!(scene.requested_until(900), []);
        assert_eq!(scene.unrecoverable, Some(1));
    }

    #[test]
    fn after_an_outage_none_of_its_losses_are_requested() {
        for (silent, lost, surrenders) in [(499, 90, false), (500, 16, false), (500, 17, true)] {
            let mut scene = Scene::new(RTT);
            scene.receive(0, &[10]);
            scene.receive(silent, &[11 + lost]);
            let requested = scene.requested_until(silent + 3).len();
            assert_eq!(requested, if surrenders { 0 } else { usize::from(lost) });
            assert_eq!(scene.unrecoverable.is_some(), surrenders);
        }
    }

    #[test]
    fn nothing_older_than_a_keyframe_is_requested() {
        let mut scene = Scene::new(RTT);
        scene.receive(0, &[469, 491, 498, 501]);
        let keyframe = scene.seqs.unwrap(500);
        scene.tracker.handle_packet(scene.t0, keyframe, 0, false);
        scene.tracker.handle_keyframe(keyframe, true);
        assert_eq!(scene.requested_until(900), [], "499 was before it");
        assert!(!scene.tracker.take_unrecoverable());
    }

    #[test]
    fn possible_parameter_sets_of_a_keyframe_are_requested() {
        for (is_first, expect) in [(true, vec![]), (false, vec![(3, 499)])] {
            let mut scene = Scene::new(RTT);
            scene.loses_little();
            scene.receive(0, &[469]);
            for (seq, timestamp) in [(498, 9_000), (500, 12_000)] {
                let seq = scene.seqs.unwrap(seq);
                scene.tracker.handle_packet(scene.t0, seq, timestamp, false);
            }
            let keyframe = scene.seqs.unwrap(500);
            scene.tracker.handle_keyframe(keyframe, is_first);
            assert_eq!(scene.requested_until(9), expect);
        }
    }

    #[test]
    fn the_tail_of_a_frame_without_an_end_is_probed_once() {
        let mut scene = Scene::new(RTT);
        for frame in 0..10_u16 {
            let at = scene.t0 + 33 * MS * u32::from(frame);
            for part in 0..3 {
                // The last one lacks its end.
                if (frame, part) != (9, 2) {
                    let seq = scene.seqs.unwrap(100 + 3 * frame + part);
                    let timestamp = u32::from(frame) * 3_000;
                    scene.tracker.handle_packet(at, seq, timestamp, part == 2);
                }
            }
        }
        let last = 9 * 33;
        assert_eq!(scene.requested_until(last + 65), []);
        assert_eq!(scene.requested_until(last + 900), [(last + 66, 129)]);
        // It arrives, and is not requested again when the stream goes on.
        let now = scene.t0 + ms(last + 900);
        scene.tracker.handle_recovered(now, 129, 27_000, true);
        let next = scene.seqs.unwrap(130);
        scene.tracker.handle_packet(now, next, 30_000, true);
        assert_eq!(scene.requested_until(last + 1_900), []);
    }

    #[test]
    fn under_loss_the_tail_of_a_frame_is_asked_for_before_the_next_frame_and_then_in_step() {
        let mut scene = Scene::new(RTT);
        let tail = |scene: &mut Scene, frame: u16, parts: u16| {
            let at = scene.t0 + 33 * MS * u32::from(frame);
            for part in 0..parts {
                let seq = scene.seqs.unwrap(100 + 3 * frame + part);
                let timestamp = u32::from(frame) * 3_000;
                scene.tracker.handle_packet(at, seq, timestamp, part == 2);
            }
        };
        (0..9).for_each(|frame| tail(&mut scene, frame, 3));
        scene.tracker.loss = Loss { expected: 500, lost: 50 };
        tail(&mut scene, 9, 2);
        scene.now = 9 * 33;
        assert_eq!(scene.tracker.poll_timeout(), Some(scene.t0 + ms(9 * 33 + 11)));
        assert_eq!(scene.requested_until(10 * 33 - 1), [(9 * 33 + 11, 129)]);
        // What answers is lost. The next frame shows the gap, and the publisher would ignore a request yet.
        tail(&mut scene, 10, 3);
        assert_eq!(scene.requested_until(9 * 33 + 11 + 72), []);
        let again = 9 * 33 + 11 + 73;
        assert_eq!(scene.requested_until(again + 20), [(again, 129), (again + 7, 129)]);
    }

    #[test]
    fn frames_that_are_complete_and_streams_without_markers_are_not_probed() {
        for marker in [true, false] {
            let mut scene = Scene::new(RTT);
            for frame in 0..10_u16 {
                let (at, seq) = (scene.t0 + 33 * MS * u32::from(frame), scene.seqs.unwrap(frame));
                scene.tracker.handle_packet(at, seq, u32::from(frame) * 3_000, marker);
            }
            assert_eq!(scene.requested_until(2_000), []);
        }
    }

    #[test]
    fn losses_of_an_unwatched_stream_are_forgotten() {
        let mut scene = Scene::new(RTT);
        scene.receive(0, &[10, 14, 3_000]);
        scene.tracker.clear();
        assert!(!scene.tracker.take_unrecoverable());
        scene.receive(0, &[3_002]);
        assert_eq!(scene.requested_until(3), [(3, 3_001)]);
    }

    const MS: Duration = Duration::from_millis(1);

    struct Scene {
        t0: Instant,
        rtt: Duration,
        now: u64,
        tracker: NackTracker,
        seqs: SeqUnwrapper,
        unrecoverable: Option<u64>,
    }

    impl Scene {
        fn new(rtt: Duration) -> Self {
            Self {
                t0: crate::test_epoch(),
                rtt,
                now: 0,
                tracker: NackTracker::new(rtt, false),
                seqs: SeqUnwrapper::default(),
                unrecoverable: None,
            }
        }

        fn loses_little(&mut self) {
            self.tracker.loss.expected = 500;
        }

        /// Packets of one frame.
        fn receive(&mut self, at: u64, seqs: &[u16]) {
            self.now = at;
            for seq in seqs {
                let seq = self.seqs.unwrap(*seq);
                self.tracker.handle_packet(self.t0 + ms(at), seq, 0, false);
            }
        }

        /// The numbers requested in each millisecond from now on.
        fn requested_until(&mut self, end: u64) -> Vec<(u64, u16)> {
            let mut requested = Vec::new();
            for at in self.now..=end {
                let now = self.t0 + ms(at);
                let mut out = [0; 300];
                let count = self.tracker.poll(now, self.rtt, &mut out);
                requested.extend(out.iter().take(count).map(|seq| (at, *seq)));
                if self.tracker.take_unrecoverable() {
                    self.unrecoverable = self.unrecoverable.or(Some(at));
                }
            }
            self.now = end + 1;
            requested
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
