//! When packets that wait for subscribers leave: the more a shard sends, the longer it collects.
//!
//! * **Owns:** how much was sent lately; for each room with packets that wait, since when, and who
//!   waits.
//! * **In:** [`Batching::handle_packet`] (one waits), [`Batching::handle_sent`], time.
//! * **Out:** [`Batching::take_due`], [`Batching::poll_timeout`].
//! * **Invariant:** nothing waits longer than [`MAX_WINDOW`], and the millisecond that a timer is
//!   late; the marked end of a frame ends the wait of its room at once, and of no other.
//! * **Why:** several packets of one length to one subscriber cost the kernel little more than one,
//!   and its key and history are read into the cache once. See
//!   `docs/decisions/0001-batching-by-load.md`.

use std::time::{Duration, Instant};

use hearth_plane::RoomId;

/// The longest wait. Higher saves CPU in rooms with many listeners, lower delays their sound less;
/// a receiver's jitter buffer holds at least 20 ms.
const MAX_WINDOW: Duration = Duration::from_millis(5);
/// Packets a second at which waiting begins: 30 viewers of one video.
const FROM_RATE: u64 = 5_000;
/// Packets a second at which [`MAX_WINDOW`] is reached.
const FULL_RATE: u64 = 30_000;
/// The rate is taken over this time.
const SLOT: Duration = Duration::from_millis(100);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Batching {
    window: Duration,
    /// Packets sent since the beginning, when the slot began.
    sent_before: u64,
    slot_began: Instant,
    /// One for each room with packets that wait, the oldest first: as many as one window brings.
    waiting: Vec<Batch>,
    /// Empty ones, for their memory.
    spare: Vec<Batch>,
}

/// What waits in one room.
#[derive(Debug)]
pub(crate) struct Batch {
    room: RoomId,
    since: Instant,
    /// A frame is complete.
    complete: bool,
    /// Keys of tracks with pending packets.
    pub(crate) tracks: Vec<usize>,
    /// Keys of subscribers who get some of them.
    pub(crate) peers: Vec<usize>,
}

impl Batching {
    pub(crate) fn new(now: Instant) -> Self {
        let (waiting, spare) = (Vec::new(), Vec::new());
        Self { window: Duration::ZERO, sent_before: 0, slot_began: now, waiting, spare }
    }

    /// A packet waits for its subscribers in `room`; `completes` a frame.
    pub(crate) fn handle_packet(&mut self, now: Instant, room: RoomId, completes: bool) {
        if self.batch(room).is_none() {
            let batch = self.spare.pop().unwrap_or_else(|| Batch::new(now, room));
            self.waiting.push(Batch { room, since: now, complete: false, ..batch });
        }
        if let Some(batch) = self.batch(room) {
            batch.complete |= completes;
        }
    }

    /// What waits in a room, if anything does.
    pub(crate) fn batch(&mut self, room: RoomId) -> Option<&mut Batch> {
        self.waiting.iter_mut().find(|batch| batch.room == room)
    }

    /// `sent` counts all packets since the beginning.
    pub(crate) fn handle_sent(&mut self, now: Instant, sent: u64) {
        let elapsed = now.saturating_duration_since(self.slot_began);
        if elapsed >= SLOT {
            let packets = u128::from(sent.saturating_sub(self.sent_before));
            let rate = packets * 1_000_000 / elapsed.as_micros().max(1);
            self.window = window(u64::try_from(rate).unwrap_or(u64::MAX));
            (self.sent_before, self.slot_began) = (sent, now);
        }
    }

    /// Packets wait for others that may leave with them.
    pub(crate) fn is_collecting(&self) -> bool {
        !self.window.is_zero()
    }

    /// Something that should leave now. Goes to [`give_back`](Self::give_back) when it has, and to
    /// [`go_on`](Self::go_on) if some of it has not.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Batch> {
        let is_due = |batch: &Batch| batch.complete || batch.since + self.window <= now;
        let at = self.waiting.iter().position(is_due)?;
        Some(self.waiting.remove(at))
    }

    /// The rest of a batch leaves next.
    pub(crate) fn go_on(&mut self, batch: Batch) {
        self.waiting.insert(0, Batch { complete: true, ..batch });
    }

    /// All of a batch has left.
    pub(crate) fn give_back(&mut self, mut batch: Batch) {
        batch.tracks.clear();
        batch.peers.clear();
        self.spare.push(batch);
    }

    /// When something is due at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|batch| batch.since + self.window).min()
    }
}

impl Batch {
    fn new(now: Instant, room: RoomId) -> Self {
        Self { room, since: now, complete: false, tracks: Vec::new(), peers: Vec::new() }
    }
}

/// How long to collect at a rate of so many packets a second.
fn window(rate: u64) -> Duration {
    let above = rate.clamp(FROM_RATE, FULL_RATE) - FROM_RATE;
    let micros = u64::try_from(MAX_WINDOW.as_micros()).unwrap_or(0);
    Duration::from_micros(micros * above / (FULL_RATE - FROM_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_window_grows_with_the_rate_up_to_its_limit() {
        for (rate, micros) in
            [(0, 0), (5_000, 0), (17_500, 2_500), (30_000, 5_000), (u64::MAX, 5_000)]
        {
            assert_eq!(window(rate), Duration::from_micros(micros), "{rate}");
        }
    }

    const ROOM: RoomId = RoomId(1);
    const OTHER: RoomId = RoomId(2);

    /// The rooms whose packets leave at `at`.
    fn due(batching: &mut Batching, at: Instant) -> Vec<RoomId> {
        let mut rooms = Vec::new();
        while let Some(batch) = batching.take_due(at) {
            rooms.push(batch.room);
            batching.give_back(batch);
        }
        rooms
    }

    #[test]
    fn an_idle_shard_sends_at_once_and_a_busy_one_collects() {
        let t0 = epoch();
        let mut batching = Batching::new(t0);
        assert_eq!(due(&mut batching, t0), [], "nothing waits");
        batching.handle_packet(t0, ROOM, false);
        assert_eq!(due(&mut batching, t0), [ROOM]);
        batching.handle_sent(t0 + ms(100), 3_000);

        let t1 = t0 + ms(101);
        batching.handle_packet(t1, ROOM, false);
        batching.handle_packet(t1 + ms(2), ROOM, false);
        assert_eq!(due(&mut batching, t1 + ms(4)), []);
        assert_eq!(batching.poll_timeout(), Some(t1 + ms(5)));
        assert_eq!(due(&mut batching, t1 + ms(5)), [ROOM]);
        assert_eq!(batching.poll_timeout(), None);
        batching.handle_sent(t1 + ms(200), 3_020);
        batching.handle_packet(t1 + ms(201), ROOM, false);
        assert_eq!(due(&mut batching, t1 + ms(201)), [ROOM], "idle again");
    }

    #[test]
    fn a_complete_frame_takes_along_what_waits_in_its_room_and_nowhere_else() {
        let t0 = epoch();
        let mut batching = Batching::new(t0);
        batching.handle_sent(t0 + ms(100), 3_000);
        let t1 = t0 + ms(101);
        batching.handle_packet(t1, OTHER, false);
        batching.handle_packet(t1 + ms(1), ROOM, false);
        batching.handle_packet(t1 + ms(1), ROOM, true);
        assert_eq!(due(&mut batching, t1 + ms(1)), [ROOM]);
        assert_eq!(batching.poll_timeout(), Some(t1 + ms(5)));
        assert_eq!(due(&mut batching, t1 + ms(5)), [OTHER]);
    }

    #[test]
    fn the_rest_of_a_batch_is_the_next_to_leave() {
        let t0 = epoch();
        let mut batching = Batching::new(t0);
        for (room, peers) in [(ROOM, [1, 2]), (OTHER, [3, 4])] {
            batching.handle_packet(t0, room, false);
            batching.batch(room).unwrap().peers.extend(peers);
        }
        let mut batch = batching.take_due(t0).unwrap();
        assert_eq!((batch.room, batch.peers.pop()), (ROOM, Some(2)));
        batching.go_on(batch);
        assert_eq!(batching.take_due(t0).unwrap().peers, [1]);
        assert_eq!(batching.take_due(t0).unwrap().peers, [3, 4]);
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
