//! When packets that wait for subscribers leave: the more a shard sends, the longer it collects.
//!
//! * **Owns:** how much was sent lately; for each room with packets that wait, since when, and which
//!   subscriptions of which peers get some.
//! * **In:** [`SendScheduler::handle_packet`] (one waits), [`SendScheduler::queue_track`] and
//!   [`SendScheduler::queue`] (whose), [`SendScheduler::handle_sent`], who comes and goes, time.
//! * **Out:** [`SendScheduler::take_due`] with [`SendScheduler::queued`], then [`SendScheduler::handle_served`] for each
//!   peer and [`SendScheduler::recycle`], or [`SendScheduler::resume`]; [`SendScheduler::poll_timeout`].
//! * **Invariant:** nothing waits longer than [`MAX_WINDOW`], and the millisecond that a timer is
//!   late; the marked end of a frame ends the wait of its room at once, and of no other. A peer has a
//!   list exactly while it is among the peers of its room's batch.
//! * **Why:** several packets of one length to one subscriber cost the kernel little more than one,
//!   and its key and history are read into the cache once. See
//!   `docs/decisions/0001-batching-by-load.md`.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use hearth_metrics::bug;
use hearth_plane::RoomId;
use hearth_units::MediaKind;

use crate::entry::{DownKey, PeerKey, TrackKey};
use crate::send_queue::{QueuedPacket, SendQueues};

/// The longest wait. Higher saves CPU in rooms with many subscribers, lower delays their audio less;
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
pub(crate) struct SendScheduler {
    window: Duration,
    /// Packets sent since the beginning, when the slot began.
    sent_before: u64,
    slot_began: Instant,
    /// One for each room with packets that wait, the oldest first: as many as one window brings.
    waiting: Vec<Batch>,
    /// Empty ones, for their memory.
    spare: Vec<Batch>,
    /// By slot of a peer, the first of its subscriptions in the batch of its room, [`NONE`] if none is.
    /// What is queued touches neither the peer nor the subscription: of thousands most are in no cache.
    heads: Vec<u32>,
    /// What leaves out of turn.
    pub(crate) queues: SendQueues<QueuedPacket>,
    /// The subscriptions of the peer that is being served; kept for its memory.
    scratch: Vec<QueuedDown>,
}

/// What waits in one room.
#[derive(Debug)]
pub(crate) struct Batch {
    room: RoomId,
    since: Instant,
    /// A frame is complete.
    complete: bool,
    /// Tracks with pending packets.
    pub(crate) tracks: Vec<TrackKey>,
    /// Subscribers who get some of them.
    pub(crate) peers: Vec<PeerKey>,
    queue: Vec<QueueNode>,
}

/// Which of the batches, until the next one leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BatchIndex(usize);

/// A subscription with packets to send, of those a peer has.
#[derive(Debug)]
struct QueueNode {
    subscription: QueuedDown,
    /// The peer's next.
    next: u32,
}

/// A subscription with packets to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct QueuedDown {
    pub(crate) down: DownKey,
    /// [`Pending::size`](crate::entry::Pending::size) of the first packet.
    pub(crate) size: u16,
    pub(crate) kind: MediaKind,
}

impl QueuedDown {
    /// In which order the subscriptions of a peer leave: audio first, as it is late behind a video frame where bandwidth
    /// is scarce; then the longest, as a run may end with a shorter one.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (self.kind == MediaKind::Video, Reverse(self.size))
    }
}

/// No link.
const NONE: u32 = u32::MAX;

impl SendScheduler {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            window: Duration::ZERO,
            sent_before: 0,
            slot_began: now,
            waiting: Vec::new(),
            spare: Vec::new(),
            heads: Vec::new(),
            queues: SendQueues::new(),
            scratch: Vec::new(),
        }
    }

    /// A packet waits for its subscribers in `room`; `completes` a frame. Gives the place of what it
    /// waits with.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        room: RoomId,
        completes: bool,
    ) -> BatchIndex {
        let place = self.place(room).unwrap_or_else(|| {
            let batch = self.spare.pop().unwrap_or_else(|| Batch::new(now, room));
            self.waiting.push(Batch { room, since: now, complete: false, ..batch });
            BatchIndex(self.waiting.len() - 1)
        });
        if let Some(batch) = self.waiting.get_mut(place.0) {
            batch.complete |= completes;
        }
        place
    }

    /// Where the packets of a room wait, if any do. The latest first: the pieces of a frame follow
    /// each other.
    pub(crate) fn place(&self, room: RoomId) -> Option<BatchIndex> {
        self.waiting.iter().rposition(|batch| batch.room == room).map(BatchIndex)
    }

    /// A track has packets that wait.
    pub(crate) fn queue_track(&mut self, place: BatchIndex, track: TrackKey) {
        if let Some(batch) = self.waiting.get_mut(place.0) {
            batch.tracks.push(track);
        }
    }

    /// There is a new peer; only then can its subscriptions be queued.
    pub(crate) fn handle_peer(&mut self, peer: PeerKey) {
        if self.heads.len() <= peer.index() {
            self.heads.resize(peer.index() + 1, NONE);
        }
        self.queues.handle_peer(peer);
    }

    /// A subscription of `peer` has packets to send.
    pub(crate) fn queue(&mut self, place: BatchIndex, peer: PeerKey, subscription: QueuedDown) {
        let (Some(batch), Some(head)) =
            (self.waiting.get_mut(place.0), self.heads.get_mut(peer.index()))
        else {
            return bug!("a packet is queued for a peer that was never told of");
        };
        if *head == NONE {
            batch.peers.push(peer);
        }
        let next = std::mem::replace(head, u32::try_from(batch.queue.len()).unwrap_or(NONE));
        batch.queue.push(QueueNode { subscription, next });
    }

    /// The subscriptions of `peer` that are queued in a batch, of which some may be gone.
    pub(crate) fn queued(&self, batch: &Batch, peer: PeerKey) -> impl Iterator<Item = QueuedDown> {
        let mut at = self.heads.get(peer.index()).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let link = batch.queue.get(at as usize)?;
            at = link.next;
            Some(link.subscription)
        })
    }

    /// The same, in the order in which they leave. Goes back to [`recycle_order`](Self::recycle_order).
    pub(crate) fn take_order(&mut self, batch: &Batch, peer: PeerKey) -> Vec<QueuedDown> {
        let mut order = std::mem::take(&mut self.scratch);
        order.clear();
        order.extend(self.queued(batch, peer));
        order.sort_unstable_by_key(QueuedDown::order);
        order
    }

    /// Keeps the memory of an order.
    pub(crate) fn recycle_order(&mut self, order: Vec<QueuedDown>) {
        self.scratch = order;
    }

    /// All that was queued for a peer has left.
    pub(crate) fn handle_served(&mut self, peer: PeerKey) {
        if let Some(head) = self.heads.get_mut(peer.index()) {
            *head = NONE;
        }
    }

    /// A peer is gone.
    pub(crate) fn forget_peer(&mut self, room: RoomId, peer: PeerKey) {
        self.handle_served(peer);
        self.queues.clear(peer);
        if let Some(batch) = self.place(room).and_then(|place| self.waiting.get_mut(place.0)) {
            batch.peers.retain(|other| *other != peer);
        }
    }

    /// A track is gone.
    pub(crate) fn forget_track(&mut self, room: RoomId, track: TrackKey) {
        if let Some(batch) = self.place(room).and_then(|place| self.waiting.get_mut(place.0)) {
            batch.tracks.retain(|other| *other != track);
        }
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

    /// Something that should leave now. Goes to [`recycle`](Self::recycle) when it has, and to
    /// [`resume`](Self::resume) if some of it has not.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Batch> {
        let is_due = |batch: &Batch| batch.complete || batch.since + self.window <= now;
        let at = self.waiting.iter().position(is_due)?;
        Some(self.waiting.remove(at))
    }

    /// The rest of a batch leaves next.
    pub(crate) fn resume(&mut self, batch: Batch) {
        self.waiting.insert(0, Batch { complete: true, ..batch });
    }

    /// All of a batch has left.
    pub(crate) fn recycle(&mut self, mut batch: Batch) {
        batch.tracks.clear();
        batch.peers.clear();
        batch.queue.clear();
        self.spare.push(batch);
    }

    /// When something is due at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|batch| batch.since + self.window).min()
    }
}

impl Batch {
    fn new(now: Instant, room: RoomId) -> Self {
        let (tracks, peers, queue) = (Vec::new(), Vec::new(), Vec::new());
        Self { room, since: now, complete: false, tracks, peers, queue }
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
    use crate::fixtures::epoch;
    use crate::slab::Key;

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
    fn due(scheduler: &mut SendScheduler, at: Instant) -> Vec<RoomId> {
        let mut rooms = Vec::new();
        while let Some(batch) = scheduler.take_due(at) {
            rooms.push(batch.room);
            scheduler.recycle(batch);
        }
        rooms
    }

    #[test]
    fn an_idle_shard_sends_at_once_and_a_busy_one_collects() {
        let t0 = epoch();
        let mut scheduler = SendScheduler::new(t0);
        assert_eq!(due(&mut scheduler, t0), [], "nothing waits");
        scheduler.handle_packet(t0, ROOM, false);
        assert_eq!(due(&mut scheduler, t0), [ROOM]);
        scheduler.handle_sent(t0 + ms(100), 3_000);

        let t1 = t0 + ms(101);
        scheduler.handle_packet(t1, ROOM, false);
        scheduler.handle_packet(t1 + ms(2), ROOM, false);
        assert_eq!(due(&mut scheduler, t1 + ms(4)), []);
        assert_eq!(scheduler.poll_timeout(), Some(t1 + ms(5)));
        assert_eq!(due(&mut scheduler, t1 + ms(5)), [ROOM]);
        assert_eq!(scheduler.poll_timeout(), None);
        scheduler.handle_sent(t1 + ms(200), 3_020);
        scheduler.handle_packet(t1 + ms(201), ROOM, false);
        assert_eq!(due(&mut scheduler, t1 + ms(201)), [ROOM], "idle again");
    }

    #[test]
    fn a_complete_frame_takes_along_what_waits_in_its_room_and_nowhere_else() {
        let t0 = epoch();
        let mut scheduler = SendScheduler::new(t0);
        scheduler.handle_sent(t0 + ms(100), 3_000);
        let t1 = t0 + ms(101);
        scheduler.handle_packet(t1, OTHER, false);
        scheduler.handle_packet(t1 + ms(1), ROOM, false);
        scheduler.handle_packet(t1 + ms(1), ROOM, true);
        assert_eq!(due(&mut scheduler, t1 + ms(1)), [ROOM]);
        assert_eq!(scheduler.poll_timeout(), Some(t1 + ms(5)));
        assert_eq!(due(&mut scheduler, t1 + ms(5)), [OTHER]);
    }

    /// The peers of a batch, each with the subscriptions it has there.
    fn queued(scheduler: &SendScheduler, batch: &Batch) -> Vec<(usize, Vec<usize>)> {
        let downs =
            |peer| scheduler.queued(batch, peer).map(|queued| queued.down.index()).collect();
        batch.peers.iter().map(|peer| (peer.index(), downs(*peer))).collect()
    }

    fn queue(
        scheduler: &mut SendScheduler,
        at: Instant,
        room: RoomId,
        subscriptions: &[(u32, u32)],
    ) {
        let place = scheduler.handle_packet(at, room, false);
        for &(peer, down) in subscriptions {
            let (peer, down) = (Key::of(peer, 0), Key::of(down, 0));
            scheduler.handle_peer(peer);
            scheduler.queue(place, peer, QueuedDown { down, size: 1, kind: MediaKind::Video });
        }
    }

    #[test]
    fn each_peer_has_its_own_subscriptions_whatever_room_queued_between() {
        let t0 = epoch();
        let mut scheduler = SendScheduler::new(t0);
        queue(&mut scheduler, t0, ROOM, &[(1, 10), (2, 20)]);
        queue(&mut scheduler, t0, OTHER, &[(3, 30)]);
        queue(&mut scheduler, t0, ROOM, &[(1, 11), (2, 21)]);
        queue(&mut scheduler, t0, OTHER, &[(4, 40), (3, 31)]);
        scheduler.forget_peer(ROOM, Key::of(2, 0));
        let batch = scheduler.take_due(t0).unwrap();
        assert_eq!(queued(&scheduler, &batch), [(1, vec![11, 10])]);
        scheduler.handle_served(Key::of(1, 0));
        scheduler.recycle(batch);
        // The key of the one that is gone is another's now.
        queue(&mut scheduler, t0, OTHER, &[(2, 50)]);
        let batch = scheduler.take_due(t0).unwrap();
        let expect = [(3, vec![31, 30]), (4, vec![40]), (2, vec![50])];
        assert_eq!(queued(&scheduler, &batch), expect);
        for peer in [2, 3, 4] {
            scheduler.handle_served(Key::of(peer, 0));
        }
        scheduler.recycle(batch);
        queue(&mut scheduler, t0, ROOM, &[(1, 12)]);
        let batch = scheduler.take_due(t0).unwrap();
        assert_eq!(queued(&scheduler, &batch), [(1, vec![12])]);
    }

    #[test]
    fn sound_leaves_before_pictures_and_the_longest_first() {
        let queued = |down, size, kind| QueuedDown { down: Key::of(down, 0), size, kind };
        let mut scratch = [
            queued(0, 1_000, MediaKind::Video),
            queued(1, 80, MediaKind::Audio),
            queued(2, 1_200, MediaKind::Video),
            queued(3, 90, MediaKind::Audio),
        ];
        scratch.sort_unstable_by_key(QueuedDown::order);
        assert_eq!(scratch.map(|queued| queued.down.index()), [3, 1, 2, 0]);
    }

    #[test]
    fn the_rest_of_a_batch_is_the_next_to_leave() {
        let t0 = epoch();
        let mut scheduler = SendScheduler::new(t0);
        queue(&mut scheduler, t0, ROOM, &[(1, 0), (2, 0)]);
        queue(&mut scheduler, t0, OTHER, &[(3, 0), (4, 0)]);
        let mut batch = scheduler.take_due(t0).unwrap();
        assert_eq!(batch.peers.pop(), Some(Key::of(2, 0)));
        scheduler.resume(batch);
        assert_eq!(scheduler.take_due(t0).unwrap().peers, [Key::of(1, 0)]);
        assert_eq!(scheduler.take_due(t0).unwrap().peers, [3, 4].map(|peer| Key::of(peer, 0)));
    }
}
