//! The event queues from the shards to one room, lossless and lossy, and the table where a shard finds them.
//!
//! * **Owns:** [`channel`]: a queue of lossless events and one of events that may be lost.
//! * **In:** events of a shard ([`RoomQueues::deliver`]), which never waits.
//! * **Out:** [`EventReceiver::recv`].
//! * **Invariant:** a full room takes no queue space from another room. Lossless events are bounded by
//!   their causes: a few events for each transport and track, and of reliable data what
//!   [`hearth_peer`] lets a transport be ahead of its room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearth_metrics::Metric;
use hearth_plane::{Event, RoomId, ShardId};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Events of a room that may be lost. Higher forgives a room that is busy for longer, lower keeps
/// what it gets fresh.
const MAX_LOSSY: usize = 4_096;
/// Bytes of messages among them, for the same reason.
const MAX_LOSSY_BYTES: usize = 4 * 1024 * 1024;

/// The shards' end.
#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    lossless: mpsc::UnboundedSender<Event>,
    lossy: mpsc::Sender<Event>,
    lossy_bytes: Arc<AtomicUsize>,
}

/// The room's end.
#[derive(Debug)]
pub(crate) struct EventReceiver {
    lossless: mpsc::UnboundedReceiver<Event>,
    lossy: mpsc::Receiver<Event>,
    lossy_bytes: Arc<AtomicUsize>,
}

/// The queues of one room.
pub(crate) fn channel() -> (EventSender, EventReceiver) {
    let (lossless, lossless_receiver) = mpsc::unbounded_channel();
    let (lossy, lossy_receiver) = mpsc::channel(MAX_LOSSY);
    let lossy_bytes = Arc::new(AtomicUsize::new(0));
    let receiver = EventReceiver {
        lossless: lossless_receiver,
        lossy: lossy_receiver,
        lossy_bytes: Arc::clone(&lossy_bytes),
    };
    (EventSender { lossless, lossy, lossy_bytes }, receiver)
}

impl EventSender {
    /// Queues an event. The error is the counter for one that was dropped, as the lossy queue is full.
    pub(crate) fn send(&self, event: Event) -> Result<(), Metric> {
        if !event.may_be_lost() {
            // A room that has ended has no receiver: its events are obsolete.
            let _ = self.lossless.send(event);
            return Ok(());
        }
        let is_data = matches!(event, Event::Data { .. });
        let lost = if is_data { Metric::DropEventData } else { Metric::DropEventReport };
        let bytes = payload_len(&event);
        if self.lossy_bytes.load(Ordering::Relaxed).saturating_add(bytes) > MAX_LOSSY_BYTES {
            return Err(lost);
        }
        self.lossy_bytes.fetch_add(bytes, Ordering::Relaxed);
        let Err(error) = self.lossy.try_send(event) else { return Ok(()) };
        self.lossy_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match error {
            TrySendError::Closed(_) => Ok(()),
            TrySendError::Full(_) => Err(lost),
        }
    }
}

impl EventReceiver {
    /// The next event. `select!` picks the queue at random, so that neither starves. Dropping the
    /// future loses no event.
    pub(crate) async fn recv(&mut self) -> Event {
        tokio::select! {
            Some(event) = self.lossless.recv() => event,
            Some(event) = self.lossy.recv() => {
                self.lossy_bytes.fetch_sub(payload_len(&event), Ordering::Relaxed);
                event
            }
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
impl EventReceiver {
    /// The next event that must arrive, if it has arrived.
    pub(crate) fn try_recv(&mut self) -> Option<Event> {
        self.lossless.try_recv().ok()
    }
}

/// Bytes that an event has beside itself.
fn payload_len(event: &Event) -> usize {
    if let Event::Data { payload, .. } = event { payload.len() } else { 0 }
}

/// The queues of the rooms that have something on one shard. If it is dropped while there are rooms,
/// their shard is lost, however that came.
#[derive(Debug)]
pub(crate) struct RoomQueues {
    shard: ShardId,
    rooms: BTreeMap<RoomId, EventSender>,
}

impl RoomQueues {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self { shard, rooms: BTreeMap::new() }
    }

    /// The shard has lost its state: every room gets [`Event::ShardFailed`].
    pub(crate) fn fail(&self) {
        for events in self.rooms.values() {
            // It must arrive, so it is not lost.
            let _ = events.send(Event::ShardFailed { shard: self.shard });
        }
    }

    /// The shard ends because the node does.
    pub(crate) fn clear(&mut self) {
        self.rooms.clear();
    }

    /// Events of `room` go to `events` from now on.
    pub(crate) fn open(&mut self, room: RoomId, events: EventSender) {
        self.rooms.insert(room, events);
    }

    /// The room is over.
    pub(crate) fn close(&mut self, room: RoomId) {
        self.rooms.remove(&room);
    }

    /// Puts an event where its room finds it; an error, which counts it, if it was lost. Events of rooms that
    /// are over concern nobody.
    pub(crate) fn deliver(&self, event: Event) -> Result<(), Metric> {
        let events = event.room().and_then(|room| self.rooms.get(&room));
        events.map_or(Ok(()), |events| events.send(event))
    }
}

impl Drop for RoomQueues {
    fn drop(&mut self) {
        self.fail();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hearth_plane::{Channel, CloseReason, PeerId};

    use super::*;

    const FULL: RoomId = RoomId(1);
    const OTHER: RoomId = RoomId(2);

    fn data(room: RoomId, channel: Channel, n: u32) -> Event {
        let payload = Bytes::copy_from_slice(&n.to_be_bytes());
        Event::Data { peer: PeerId { room, n: 1 }, channel, payload }
    }

    /// Everything that a room finds now.
    fn take(events: &mut EventReceiver) -> (Vec<Event>, Vec<Event>) {
        let mut taken = (Vec::new(), Vec::new());
        while let Ok(event) = events.lossless.try_recv() {
            taken.0.push(event);
        }
        while let Ok(event) = events.lossy.try_recv() {
            taken.1.push(event);
        }
        taken
    }

    #[test]
    fn a_room_that_takes_nothing_loses_only_what_may_be_lost_and_delays_nobody() {
        let mut queues = RoomQueues::new(ShardId(0));
        let (full, mut full_events) = channel();
        let (other, mut other_events) = channel();
        queues.open(FULL, full);
        queues.open(OTHER, other);
        let mut lost = 0;
        for n in 0..10_000 {
            lost += u32::from(queues.deliver(data(FULL, Channel::Lossy, n)).is_err());
            assert_eq!(queues.deliver(data(FULL, Channel::Reliable, n)), Ok(()), "{n}");
            if n % 100 == 0 {
                for channel in [Channel::Lossy, Channel::Reliable] {
                    assert_eq!(queues.deliver(data(OTHER, channel, n)), Ok(()), "{n}");
                }
                let (lossless, lossy) = take(&mut other_events);
                assert_eq!(lossless, [data(OTHER, Channel::Reliable, n)]);
                assert_eq!(lossy, [data(OTHER, Channel::Lossy, n)]);
            }
        }
        let peer = PeerId { room: FULL, n: 1 };
        let closed = Event::PeerClosed { peer, reason: CloseReason::Silence };
        assert_eq!(queues.deliver(closed.clone()), Ok(()));
        assert_eq!(lost as usize, 10_000 - MAX_LOSSY, "the flood was more than the room takes");

        let (lossless, lossy) = take(&mut full_events);
        assert_eq!(lossy.len(), MAX_LOSSY);
        let expected = (0..10_000).map(|n| data(FULL, Channel::Reliable, n)).chain([closed]);
        assert!(lossless.into_iter().eq(expected), "in order, and none is missing");
    }

    #[tokio::test]
    async fn the_bytes_that_wait_are_bounded_and_counted_again_when_taken() {
        let (sender, mut events) = channel();
        let peer = PeerId { room: FULL, n: 1 };
        let payload = Bytes::from(vec![0; 65_535]);
        let big = Event::Data { peer, channel: Channel::DataTrack, payload };
        let fit = (0..1_000).filter(|_| sender.send(big.clone()).is_ok()).count();
        assert_eq!(fit, MAX_LOSSY_BYTES / 65_535);
        for _ in 0..fit {
            assert_eq!(events.recv().await, big);
        }
        assert_eq!((0..1_000).filter(|_| sender.send(big.clone()).is_ok()).count(), fit);
    }

    #[test]
    fn a_shard_that_is_lost_sends_its_rooms_an_event_and_one_that_ends_does_not() {
        let mut queues = RoomQueues::new(ShardId(3));
        let (sender, mut events) = channel();
        queues.open(FULL, sender.clone());
        drop(queues);
        assert_eq!(take(&mut events).0, [Event::ShardFailed { shard: ShardId(3) }]);

        let mut queues = RoomQueues::new(ShardId(3));
        queues.open(FULL, sender);
        queues.clear();
        drop(queues);
        assert_eq!(take(&mut events).0, []);
    }

    #[test]
    fn events_of_rooms_that_have_ended_are_dropped() {
        let mut queues = RoomQueues::new(ShardId(0));
        let (sender, events) = channel();
        queues.open(FULL, sender);
        drop(events);
        for channel in [Channel::Lossy, Channel::Reliable] {
            let lost = queues.deliver(data(FULL, channel, 1));
            assert_eq!(lost, Ok(()), "nothing is lost to a room that is over");
            assert_eq!(queues.deliver(data(OTHER, channel, 1)), Ok(()));
        }
        queues.close(FULL);
        assert!(queues.rooms.is_empty());
    }
}
