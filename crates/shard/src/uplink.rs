//! How well a track arrives from its publisher, as what its subscribers can expect depends on it.
//!
//! * **Owns:** a mean of the loss, the totals at the last look, the round trip to the publisher.
//! * **In:** totals of the publisher's streams, or what the shard that has the publisher says.
//! * **Out:** [`LinkQuality`].

use std::time::Duration;

use hearth_media::{LinkQuality, SmoothedLoss};

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    expected: u64,
    lost: u64,
    loss: SmoothedLoss,
    quality: LinkQuality,
}

impl Uplink {
    /// So many packets were `expected` of the publisher and `lost` up to now; it is `rtt` away.
    pub(crate) fn update(&mut self, expected: u64, lost: u64, rtt: Duration) {
        let new = expected.saturating_sub(std::mem::replace(&mut self.expected, expected));
        let new_lost = lost.saturating_sub(std::mem::replace(&mut self.lost, lost));
        if let Some(fraction) = new_lost.saturating_mul(256).checked_div(new) {
            self.loss.handle_report(u8::try_from(fraction).unwrap_or(u8::MAX));
        }
        self.quality = LinkQuality { loss: self.loss.get(), rtt };
    }

    /// The publisher's shard says so.
    pub(crate) fn set(&mut self, quality: LinkQuality) {
        self.quality = quality;
    }

    pub(crate) const fn quality(&self) -> LinkQuality {
        self.quality
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_loss_of_late_and_not_of_all_time() {
        let (mut uplink, rtt) = (Uplink::default(), Duration::from_millis(80));
        let mut totals = (1_000, 1_000);
        for (packets, lost, expect) in [(100, 10, 25), (100, 0, 0)] {
            for _ in 0..30 {
                totals = (totals.0 + packets, totals.1 + lost);
                uplink.update(totals.0, totals.1, rtt);
            }
            // Nothing came, so nothing is known.
            uplink.update(totals.0, totals.1, rtt);
            let LinkQuality { loss, rtt: told } = uplink.quality();
            assert!(loss.abs_diff(expect) <= 1 && told == rtt, "{loss}, not {expect}");
        }
    }
}
