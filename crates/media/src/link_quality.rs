//! How well packets get over one link, between us and a publisher or a subscriber.
//!
//! * **Owns:** a mean of what reports say of loss.
//! * **In:** the fraction lost of each report (RFC 3550 §6.4.1). **Out:** [`LinkQuality`].

use std::time::Duration;

/// The state of one link, of late.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkQuality {
    /// Packets lost, in 1/256.
    pub loss: u8,
    /// Its round trip.
    pub rtt: Duration,
}

/// The mean of the last reports: in one of a second there are few packets. Each new one is a quarter of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmoothedLoss {
    /// In 1/4096, so that a quarter of little is not nothing.
    value: u16,
}

impl SmoothedLoss {
    /// A report says that so many packets were lost, in 1/256.
    pub fn handle_report(&mut self, fraction_lost: u8) {
        self.value = self.value - self.value / 4 + u16::from(fraction_lost) * 4;
    }

    /// In 1/256.
    pub fn get(self) -> u8 {
        u8::try_from(self.value / 16).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_is_reported_and_falls_to_nothing() {
        let mut loss = SmoothedLoss::default();
        loss.handle_report(100);
        assert_eq!(loss.get(), 25);
        (0..40).for_each(|_| loss.handle_report(255));
        assert!(loss.get() >= 254, "{loss:?}");
        (0..40).for_each(|_| loss.handle_report(0));
        assert_eq!(loss.get(), 0);
    }
}
