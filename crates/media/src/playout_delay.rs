//! How long a subscriber is asked to hold video back before it is shown (playout delay), so that a packet whose first
//! retransmission is lost, too, still comes in time.
//!
//! * **Owns:** the delay that was asked for last, and whether it is yet to be said again.
//! * **In:** how both links lose packets, publisher to server and server to subscriber, with each report of the
//!   subscriber. **Out:** [`extension`](PlayoutDelay::extension), the header extension to send.
//! * **Invariant:** nothing is asked for before a link loses packets. The delay grows at once, shrinks slowly after
//!   [`CALM`], and is [`MAX_DELAY`] at most: it is latency that the viewer pays for a picture that does not stop.
//! * **Spec:** <http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>: two times 12 bits in units of 10 ms.

use std::time::{Duration, Instant};

use crate::link_quality::LinkQuality;

/// From this loss on, in 1/256, packets are lost twice often enough to be seen: at 2 % of 450 packets that are lost in a
/// minute of 720p, 10 are.
const LOSSY: u8 = 5;
/// Until a receiver notices a loss: the distance of two frames.
const NOTICED: Duration = Duration::from_millis(30);
/// And until the second and the third answer have come, in tenths of a round trip: repeated requests keep a tenth in hand.
const SECOND_ANSWER: u32 = 21;
const THIRD_ANSWER: u32 = 32;
/// A frame may be shown so much later than the others without a freeze that viewers notice: libwebrtc counts from 150 ms
/// on, and its jitter varies by some.
const TOLERATED: Duration = Duration::from_millis(110);
/// More is felt in a conversation. Round trips of more than 155 ms would need it.
const MAX_DELAY: Duration = Duration::from_millis(250);
/// For the third answer, which one packet in thousands needs, no more than this.
const MAX_FOR_THIRD: Duration = Duration::from_millis(150);
/// The largest maximum that the field holds: no limit of ours.
const NO_MAXIMUM: u16 = 0xfff;
/// How long less must be enough before the delay shrinks. Shorter follows each burst of losses.
const CALM: Duration = Duration::from_secs(10);
/// What it shrinks by with each report, units of 10 ms: the picture goes 2 % faster meanwhile.
const STEP: u16 = 2;
/// Reports of the subscriber, one a second, until which a delay is said with each packet. One packet would do; it may be
/// lost, and only the first one of a frame counts.
const REPEATS: u8 = 3;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct PlayoutDelay {
    /// What was asked for last, in units of 10 ms.
    asked: u16,
    /// Since when less would be enough.
    calm_since: Option<Instant>,
    /// Reports that are waited for before it is no longer said.
    repeats: u8,
}

impl PlayoutDelay {
    /// The subscriber has reported, and the links are in this state.
    pub(crate) fn update(&mut self, now: Instant, links: [LinkQuality; 2]) {
        self.repeats = self.repeats.saturating_sub(1);
        let wanted = links.into_iter().map(wanted).max().unwrap_or_default();
        if wanted >= self.asked {
            self.calm_since = None;
            return self.ask(wanted);
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.ask(self.asked.saturating_sub(STEP).max(wanted));
        }
    }

    /// The data of the header extension, as long as it is to be sent.
    pub(crate) fn extension(&self) -> Option<[u8; 3]> {
        let [.., a, b, c] = (u32::from(self.asked) << 12 | u32::from(NO_MAXIMUM)).to_be_bytes();
        (self.repeats > 0).then_some([a, b, c])
    }

    fn ask(&mut self, delay: u16) {
        if delay != self.asked {
            self.asked = delay;
            self.repeats = REPEATS;
        }
    }
}

/// The delay that a link needs, in units of 10 ms.
fn wanted(link: LinkQuality) -> u16 {
    if link.loss < LOSSY {
        return 0;
    }
    let until = |tenths, max| {
        let comes = link.rtt.saturating_mul(tenths) / 10 + NOTICED;
        comes.saturating_sub(TOLERATED).min(max)
    };
    let delay = until(SECOND_ANSWER, MAX_DELAY).max(until(THIRD_ANSWER, MAX_FOR_THIRD));
    u16::try_from(delay.as_millis().div_ceil(10)).unwrap_or(NO_MAXIMUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: LinkQuality = LinkQuality { loss: 0, rtt: Duration::from_millis(100) };
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_asked_for_is_what_the_worse_link_needs() {
        for (loss, rtt, units) in [
            (0, 150, 0),
            (4, 150, 0),
            (13, 10, 0),
            (13, 30, 2),
            (13, 60, 12),
            (13, 100, 15),
            (13, 150, 24),
            (13, 400, 25),
            (255, 100, 15),
        ] {
            let lossy = LinkQuality { loss, rtt: Duration::from_millis(rtt) };
            for links in [[lossy, GOOD], [GOOD, lossy]] {
                let mut delay = PlayoutDelay::default();
                delay.update(epoch(), links);
                assert_eq!(asked(&delay), (units > 0).then_some(units), "{loss} {rtt}");
            }
        }
    }

    #[test]
    fn a_delay_is_said_for_three_reports_and_again_when_it_changes() {
        let lossy = |rtt| LinkQuality { loss: 13, rtt: Duration::from_millis(rtt) };
        let (mut delay, now) = (PlayoutDelay::default(), epoch());
        let mut update = |rtt| {
            delay.update(now, [lossy(rtt), GOOD]);
            asked(&delay)
        };
        let said: Vec<_> = [100, 100, 100, 100, 100, 120, 120].map(&mut update).into();
        let none = None;
        assert_eq!(said, [Some(15), Some(15), Some(15), none, none, Some(18), Some(18)]);
    }

    #[test]
    fn it_shrinks_slowly_and_only_after_a_calm() {
        let lossy = LinkQuality { loss: 13, rtt: Duration::from_millis(100) };
        let (mut delay, mut now) = (PlayoutDelay::default(), epoch());
        delay.update(now, [lossy, GOOD]);
        for _ in 0..9 {
            now += SECOND;
            delay.update(now, [GOOD; 2]);
        }
        // One bad second begins the calm anew.
        delay.update(now, [lossy, GOOD]);
        let mut history = Vec::new();
        for _ in 0..18 {
            now += SECOND;
            delay.update(now, [GOOD; 2]);
            history.push(delay.asked);
        }
        assert_eq!(history[..10], [15; 10]);
        assert_eq!(history[10..], [13, 11, 9, 7, 5, 3, 1, 0]);
        assert_eq!(delay.extension(), Some([0, 0x0f, 0xff]), "said, too: the subscriber remembers");
    }

    #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
    fn epoch() -> Instant {
        Instant::now()
    }

    /// The minimum that is said, in units of 10 ms.
    fn asked(delay: &PlayoutDelay) -> Option<u16> {
        let [a, b, c] = delay.extension()?;
        assert_eq!((b & 0x0f, c), (0x0f, 0xff), "no maximum");
        Some(u16::from(a) << 4 | u16::from(b >> 4))
    }
}
