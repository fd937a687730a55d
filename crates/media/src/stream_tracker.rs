//! Which encodings of a track its publisher sends.
//!
//! * **Owns:** for each encoding, when its last packet came, its frame interval, and whether it
//!   has to prove itself.
//! * **In:** [`StreamTracker::handle_packet`], in order of arrival.
//! * **Out:** [`StreamTracker::available`], [`StreamTracker::is_receiving`].
//! * **Invariant:** an encoding is unavailable as soon as a lower one goes on without it, so that its subscribers do
//!   not wait for it: a browser short of bandwidth stops sending the highest. While nothing at all comes,
//!   none is, for a while: then the network has an outage. One that pauses again and again becomes available
//!   later each time.
//! * **livekit-server:** `StreamTracker`: off after 500 ms, on again after 2 s to 10 s.

use std::time::{Duration, Instant};

/// Simulcast has three encodings at most.
pub(crate) const MAX_ENCODINGS: usize = 3;
/// Without a packet for this long, an encoding is unavailable whatever the others do. Shorter takes an outage of the
/// network for a decision of the publisher's, longer asks for key frames that nobody will send.
const SILENT_AFTER: Duration = Duration::from_millis(1_500);
/// An encoding is left out after three frames of a lower one, and the time of three of its own. Fewer takes
/// a burst after an outage for it, more freezes its viewers for longer.
const FRAMES_SKIPPED: u32 = 3;
/// Nor is it before this time: an encoder that has spent too much on a key frame leaves out some frames.
const SKIPPED_FOR: Duration = Duration::from_millis(300);
/// How long one has to be steady after a pause: the first time, and at most. Shorter changes encodings, and
/// costs key frames, more often; longer shows less than there is.
const HOLD_OFF: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));
/// A pause after less time than this makes the next probation twice as long. Shorter forgets too soon,
/// longer takes two pauses for one habit.
const RELAPSE: Duration = Duration::from_secs(5);
/// A pause this long was a decision (bandwidth, or nobody watched), and its end is one too.
const DECIDED: Duration = Duration::from_secs(5);

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct StreamTracker {
    encodings: [Encoding; MAX_ENCODINGS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Encoding {
    heard: Option<Reception>,
    /// Frames of each lower encoding since its last packet.
    skipped_frames: [u32; MAX_ENCODINGS],
    /// How long the last probation was.
    hold_off: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Reception {
    last: Instant,
    timestamp: u32,
    frame_began: Instant,
    /// Mean frame interval; 0 before the second frame.
    pace: Duration,
    /// The end of its probation.
    available_from: Instant,
}

impl StreamTracker {
    /// A packet arrived that is newer than all before it in its encoding.
    pub(crate) fn handle_packet(&mut self, now: Instant, encoding: u8, timestamp: u32) {
        let at = usize::from(encoding);
        let Some(enc) = self.encodings.get_mut(at) else {
            return;
        };
        let begins_frame = enc.handle_packet(now, timestamp);
        if begins_frame {
            for higher in self.encodings.iter_mut().skip(at + 1) {
                if let Some(frames) = higher.skipped_frames.get_mut(at) {
                    *frames = frames.saturating_add(1);
                }
            }
        }
    }

    /// Whether packets of an encoding came lately, be it left out or on probation.
    pub(crate) fn is_receiving(&self, now: Instant, encoding: u8) -> bool {
        let enc = self.encodings.get(usize::from(encoding));
        enc.and_then(|enc| enc.heard.as_ref()).is_some_and(|heard| !is_silent(now, heard))
    }

    /// Bit i is set while encoding i comes, is not left out, and not on probation.
    pub(crate) fn available(&self, now: Instant) -> u8 {
        (0..)
            .zip(&self.encodings)
            .fold(0, |bits, (i, enc)| bits | (u8::from(enc.is_available(now)) << i))
    }
}

impl Encoding {
    /// Whether the packet is the first of its frame.
    fn handle_packet(&mut self, now: Instant, timestamp: u32) -> bool {
        let Some(heard) = self.heard else {
            let pace = Duration::ZERO;
            self.heard = Some(Reception {
                last: now,
                timestamp,
                frame_began: now,
                pace,
                available_from: now,
            });
            return true;
        };
        let (skipped_frames, silent) = (self.is_skipped(now, &heard), is_silent(now, &heard));
        let available_from = match (skipped_frames, silent) {
            (true, _) => now + self.next_hold_off(now, &heard),
            (false, true) => now,
            (false, false) => heard.available_from,
        };
        let begins_frame = timestamp != heard.timestamp;
        let frame_began = if begins_frame { now } else { heard.frame_began };
        let took = frame_began.saturating_duration_since(heard.frame_began);
        let pace = match heard.pace {
            pace if skipped_frames || silent || !begins_frame => pace,
            Duration::ZERO => took,
            pace => (pace * 7 + took) / 8,
        };
        self.skipped_frames = [0; MAX_ENCODINGS];
        self.heard = Some(Reception { last: now, timestamp, frame_began, pace, available_from });
        begins_frame
    }

    /// How long it has to be steady now that it was left out and comes again.
    fn next_hold_off(&mut self, now: Instant, heard: &Reception) -> Duration {
        let relapsed = heard.last.saturating_duration_since(heard.available_from) < RELAPSE;
        let decided = now.saturating_duration_since(heard.last) >= DECIDED;
        self.hold_off = match (relapsed, decided) {
            (true, _) => (self.hold_off * 2).clamp(HOLD_OFF.0, HOLD_OFF.1),
            (false, true) => Duration::ZERO,
            (false, false) => HOLD_OFF.0,
        };
        self.hold_off
    }

    fn is_available(&self, now: Instant) -> bool {
        self.heard.as_ref().is_some_and(|heard| {
            now >= heard.available_from && !is_silent(now, heard) && !self.is_skipped(now, heard)
        })
    }

    /// A lower encoding goes on without it.
    fn is_skipped(&self, now: Instant, heard: &Reception) -> bool {
        let patience = || (heard.pace * FRAMES_SKIPPED).max(SKIPPED_FOR);
        self.skipped_frames.iter().any(|frames| *frames >= FRAMES_SKIPPED)
            && !heard.pace.is_zero()
            && now.saturating_duration_since(heard.last) >= patience()
    }
}

fn is_silent(now: Instant, heard: &Reception) -> bool {
    now.saturating_duration_since(heard.last) >= SILENT_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const FRAME: Duration = Duration::from_millis(33);

    #[test]
    fn the_highest_is_off_soon_after_it_is_left_out_and_on_again_when_it_is_steady() {
        let mut scene = Scene::new();
        scene.send_for(10_000 * MS, 0b111);
        assert_eq!(scene.until_available(0b011, 0b011), Some(9 * FRAME));
        scene.send_for(400 * MS, 0b011);
        assert_eq!(
            scene.until_available(0b111, 0b111),
            Some(10 * FRAME),
            "and not at its first packet"
        );
    }

    #[test]
    fn a_way_that_is_disturbed_for_a_second_changes_nothing() {
        let mut scene = Scene::new();
        scene.send_for(1_000 * MS, 0b111);
        scene.now += 1_400 * MS;
        assert_eq!(scene.available(), 0b111);
        scene.send(0b011);
        scene.send(0b111);
        assert_eq!(scene.available(), 0b111, "what was held up comes in a burst");
        scene.now += 1_500 * MS;
        assert_eq!(scene.available(), 0);
        scene.send(0b111);
        assert_eq!(scene.available(), 0b111, "whoever comes back together is counted on at once");
    }

    #[test]
    fn the_lowest_is_not_off_because_higher_ones_go_on() {
        let mut scene = Scene::new();
        scene.send_for(1_000 * MS, 0b111);
        scene.send_for(1_400 * MS, 0b110);
        assert_eq!(scene.available(), 0b111);
    }

    #[test]
    fn one_that_pauses_again_and_again_has_to_be_steady_for_longer_each_time() {
        let mut scene = Scene::new();
        scene.send_for(1_000 * MS, 0b111);
        let mut waits = Vec::new();
        for _ in 0..6 {
            scene.send_for(600 * MS, 0b011);
            waits.push(scene.until_available(0b111, 0b111).unwrap().as_millis());
            scene.send_for(1_000 * MS, 0b111);
        }
        assert_eq!(waits, [330, 627, 1_221, 2_409, 4_818, 5_016]);

        scene.send_for(RELAPSE, 0b111);
        scene.send_for(600 * MS, 0b011);
        assert_eq!(scene.until_available(0b111, 0b111), Some(10 * FRAME), "it was good for long");
    }

    #[test]
    fn the_end_of_a_long_pause_counts_at_once() {
        let mut scene = Scene::new();
        scene.send_for(2 * RELAPSE, 0b111);
        scene.send_for(DECIDED, 0b001);
        assert_eq!(scene.available(), 0b001);
        scene.send(0b111);
        assert_eq!(scene.available(), 0b111);
    }

    #[test]
    fn one_that_never_lasts_has_to_be_steady_for_longer_however_long_it_pauses() {
        let mut scene = Scene::new();
        let mut lived = Vec::new();
        for _ in 0..6 {
            let mut frames = 0;
            for _ in 0..60 {
                scene.send_for(FRAME, 0b111);
                frames += u32::from(scene.available() == 0b111);
            }
            lived.push(frames);
            scene.send_for(10 * RELAPSE, 0b011);
        }
        assert_eq!(lived, [60, 51, 42, 24, 0, 0]);
    }

    #[test]
    fn what_is_on_probation_is_heard() {
        let mut scene = Scene::new();
        scene.send_for(1_000 * MS, 0b111);
        scene.send_for(600 * MS, 0b011);
        scene.send(0b111);
        assert_eq!(
            (scene.available(), scene.stream_tracker.is_receiving(scene.now, 2)),
            (0b011, true)
        );
        scene.send_for(2_000 * MS, 0b011);
        assert!(!scene.stream_tracker.is_receiving(scene.now, 2));
    }

    #[test]
    fn a_slow_screen_is_not_off_between_two_of_its_frames() {
        let mut scene = Scene::new();
        for _ in 0..10 {
            scene.send(0b111);
            for _ in 0..8 {
                scene.now += 100 * MS;
                assert_eq!(scene.available(), 0b111);
                scene.send(0b001);
            }
        }
    }

    struct Scene {
        stream_tracker: StreamTracker,
        now: Instant,
        timestamp: u32,
    }

    impl Scene {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "std offers no other way to make one")]
            let now = Instant::now();
            Self { stream_tracker: StreamTracker::default(), now, timestamp: 0 }
        }

        fn available(&self) -> u8 {
            self.stream_tracker.available(self.now)
        }

        /// A frame of two packets in each encoding of `sent`.
        fn send(&mut self, sent: u8) {
            self.timestamp += 3_000;
            for encoding in (0..3).filter(|i| sent & (1 << i) != 0) {
                for _ in 0..2 {
                    self.stream_tracker.handle_packet(self.now, encoding, self.timestamp);
                }
            }
        }

        fn send_for(&mut self, time: Duration, sent: u8) {
            let end = self.now + time;
            while self.now < end {
                self.send(sent);
                self.now += FRAME;
            }
        }

        /// Sends until those of `wanted` are live; how long that took.
        fn until_available(&mut self, sent: u8, wanted: u8) -> Option<Duration> {
            let start = self.now;
            (0..1_000).find_map(|_| {
                self.send(sent);
                let done = self.available() == wanted;
                let took = self.now - start;
                self.now += FRAME;
                done.then_some(took)
            })
        }
    }
}
