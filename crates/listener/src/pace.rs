//! How much time the cryptography of TLS handshakes may take.
//!
//! * **Owns:** when the next handshake may be worked on.
//! * **In:** a wish for a [`Turn`], and how long it took.
//! * **Out:** the turn, when it has come; they come in the order of the wishes.
//! * **Invariant:** over time handshakes take a part of one core ([`Pace::new`]), whatever their number: media and rooms
//!   have the rest. A burst may use what was left over of the last second.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

/// What is left over for a burst.
const BURST: Duration = Duration::from_secs(1);
/// On so many cores handshakes may take the time of one.
const CORES_FOR_ONE: u32 = 8;
/// They may always take the time of a quarter of one: more than a thousand handshakes a second with ECDSA keys.
const LEAST_PART: u32 = 4;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The time until which all work is paid for.
    paid: Mutex<Instant>,
    /// A handshake that takes a second is paid for in so many.
    price: u32,
}

impl Pace {
    pub(crate) fn new(cores: usize) -> Self {
        let cores = u32::try_from(cores).unwrap_or(u32::MAX).max(1);
        let price = (CORES_FOR_ONE / cores.min(CORES_FOR_ONE)).min(LEAST_PART);
        Self { paid: Mutex::new(Instant::now()), price }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let paid = self.paid.lock().await;
        sleep_until(*paid).await;
        Turn { paid, price: self.price }
    }
}

/// Work on one handshake.
pub(crate) struct Turn<'a> {
    paid: MutexGuard<'a, Instant>,
    price: u32,
}

impl Turn<'_> {
    pub(crate) fn took(&mut self, time: Duration) {
        let now = Instant::now();
        let from = now.checked_sub(BURST).map_or(*self.paid, |earliest| earliest.max(*self.paid));
        *self.paid = from + time.saturating_mul(self.price);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn handshakes_get_their_part_of_a_core_and_no_more() {
        for (cores, part) in [(1, 4), (2, 4), (4, 2), (8, 1), (64, 1)] {
            let pace = Pace::new(cores);
            let begun = Instant::now();
            for _ in 0..1_000 {
                pace.turn().await.took(Duration::from_millis(4));
            }
            let took = begun.elapsed();
            let work = Duration::from_secs(4) * part;
            // The clock stands still during work; only the waiting is seen.
            assert!(
                took + BURST >= work - Duration::from_millis(100) && took <= work,
                "{cores}: {took:?}"
            );
        }
    }
}
