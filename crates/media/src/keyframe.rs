//! Asking a publisher for a keyframe, once, however many subscribers want it.
//!
//! * **Owns:** one encoding's request state: idle, or wanted since some time.
//! * **In:** [`handle_request`](KeyframeRequests::handle_request) (a subscriber cannot decode),
//!   [`handle_keyframe`](KeyframeRequests::handle_keyframe) (one arrived), time.
//! * **Out:** [`poll_output`](KeyframeRequests::poll_output) – "send one PLI now".
//! * **Invariant:** two requests for two key frames are at least `min_interval` apart on the wire, two for the
//!   same one as far as their answer may take.
//! * **Spec:** PLI is RFC 4585 §6.3.1; the distance is livekit-server's `rtc.pli_throttle`.

use std::time::{Duration, Instant};

/// The least time a key frame may take: an encoder of 30 frames a second has sent its start after two.
const MIN_RETRY: Duration = Duration::from_millis(200);
const FRAMES: Duration = Duration::from_millis(66);

/// After how long without a key frame its request, or the key frame, is taken for lost. Longer freezes viewers for
/// longer, shorter makes an encoder answer twice.
///
/// * `rtt` – the round trip to the publisher.
pub fn retry_after(rtt: Duration) -> Duration {
    (rtt + rtt / 2 + FRAMES).max(MIN_RETRY)
}

/// Send one Picture Loss Indication upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SendPli;

/// Coalesces, throttles and repeats keyframe requests for one encoding.
#[derive(Debug)]
pub(crate) struct KeyframeRequests {
    min_interval: Duration,
    last_sent: Option<Instant>,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    /// A subscriber waits. The request is repeated until a keyframe arrives, because a PLI or the
    /// keyframe itself may be lost.
    Wanted {
        send_at: Instant,
    },
}

impl KeyframeRequests {
    /// Starts idle; `min_interval` is the shortest time from a PLI on the wire to that for another key frame.
    pub(crate) fn new(min_interval: Duration) -> Self {
        Self { min_interval, last_sent: None, state: State::Idle }
    }

    /// A subscriber cannot continue without a keyframe.
    pub(crate) fn handle_request(&mut self, now: Instant) {
        if matches!(self.state, State::Idle) {
            let earliest = self.last_sent.map_or(now, |sent| sent + self.min_interval);
            self.state = State::Wanted { send_at: earliest.max(now) };
        }
    }

    /// A subscriber does not continue without a keyframe, and says so until it does: unlike a
    /// request, this is forgotten if it is too early for one.
    pub(crate) fn handle_need(&mut self, now: Instant) {
        if self.last_sent.is_none_or(|sent| sent + self.min_interval <= now) {
            self.handle_request(now);
        }
    }

    /// A complete keyframe of this encoding was received.
    pub(crate) fn handle_keyframe(&mut self) {
        self.state = State::Idle;
    }

    /// When [`poll_output`](Self::poll_output) next has something to say; `None` means never.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Wanted { send_at } => Some(send_at),
        }
    }

    /// Returns the request that is due at `now`, if any. Call until `None`. It is repeated after `retry`
    /// ([`retry_after`]).
    pub(crate) fn poll_output(&mut self, now: Instant, retry: Duration) -> Option<SendPli> {
        let State::Wanted { send_at } = &mut self.state else {
            return None;
        };
        if now < *send_at {
            return None;
        }
        *send_at = now + retry;
        self.last_sent = Some(now);
        Some(SendPli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const RETRY: Duration = Duration::from_millis(216);

    /// Runs to `until` the way a shard does: sleep to the deadline, then drain.
    fn sent_by(requests: &mut KeyframeRequests, until: Instant) -> Vec<Instant> {
        let mut sent = Vec::new();
        while let Some(at) = requests.poll_timeout().filter(|&at| at <= until) {
            while requests.poll_output(at, RETRY).is_some() {
                sent.push(at);
            }
        }
        sent
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_hundred_subscribers_cause_one_pli() {
        let t0 = epoch();
        let mut requests = KeyframeRequests::new(MIN);
        for _ in 0..100 {
            requests.handle_request(t0);
        }
        assert_eq!(sent_by(&mut requests, t0 + ms(215)), [t0]);
    }

    #[test]
    fn a_key_frame_is_waited_for_a_round_trip_and_a_half_and_two_frames() {
        for (rtt, retry) in [(0, 200), (60, 200), (100, 216), (300, 516)] {
            assert_eq!(retry_after(ms(rtt)), ms(retry), "{rtt}");
        }
    }

    #[test]
    fn a_lost_pli_is_repeated_until_the_keyframe_arrives() {
        let t0 = epoch();
        let mut requests = KeyframeRequests::new(MIN);
        requests.handle_request(t0);
        let sent = sent_by(&mut requests, t0 + ms(600));
        assert_eq!(sent, [t0, t0 + ms(216), t0 + ms(432)]);

        requests.handle_keyframe();
        assert_eq!(sent_by(&mut requests, t0 + ms(60_000)), []);
    }

    #[test]
    fn a_request_right_after_a_keyframe_still_keeps_the_distance() {
        let t0 = epoch();
        let mut requests = KeyframeRequests::new(MIN);
        requests.handle_request(t0);
        sent_by(&mut requests, t0);
        requests.handle_keyframe();

        requests.handle_request(t0 + ms(10));
        assert_eq!(requests.poll_timeout(), Some(t0 + MIN));
    }

    #[test]
    fn a_need_that_ends_before_the_distance_is_over_causes_nothing() {
        let t0 = epoch();
        let mut requests = KeyframeRequests::new(MIN);
        requests.handle_need(t0);
        assert_eq!(sent_by(&mut requests, t0 + ms(200)), [t0]);
        requests.handle_keyframe();
        // It has arrived, and not been sent to the subscriber yet.
        requests.handle_need(t0 + ms(400));
        assert_eq!(sent_by(&mut requests, t0 + ms(60_000)), []);
        requests.handle_need(t0 + ms(60_000));
        assert_eq!(sent_by(&mut requests, t0 + ms(60_000)), [t0 + ms(60_000)]);
    }

    /// An arbitrary start: only differences matter below L3.
    fn epoch() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        Instant::now()
    }
}
