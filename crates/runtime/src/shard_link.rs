//! Control's sending end of a shard's command queue, with a share for each room (back-pressure).
//!
//! * **Owns:** the sending end of a shard's queue of commands ([`ShardLink`]); for one room, its share of
//!   each of these queues ([`RoomShards`]).
//! * **In:** a room's commands. **Out:** [`ShardInput`]s.
//! * **Invariant:** a shard learns of a room before any command of it. No room has more than
//!   [`ROOM_SHARE`] in a shard's queue, so that none waits long behind another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_net::Waker;
use hearth_plane::{Command, RoomId, ShardId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::counters::ShardGauges;
use crate::room_events::EventSender;
use crate::streams::NewStream;

/// Commands that control may be ahead of a shard; beyond that control waits.
pub(crate) const MAX_COMMANDS: usize = 4_096;
/// One room's share of a shard's queue, in units of [`cost`]. Higher spares a room that sends much
/// some waiting, lower lets the others wait less behind it.
const ROOM_SHARE: u32 = 512;

/// An input of a shard thread from control.
#[derive(Debug)]
pub(crate) enum ShardInput {
    /// Events of the room go there from now on.
    OpenRoom { room: RoomId, events: EventSender },
    /// For its shard. The permit is the room's share of the queue.
    Command { command: Command, permit: Option<OwnedSemaphorePermit> },
    /// A TCP connection of a client of the shard, if its first frame is authentic.
    Stream(NewStream),
    /// A test has something go wrong.
    #[cfg(test)]
    Fault(crate::shard_thread::Fault),
}

/// What a data message costs for each transport beside what a small one does: one more for so many bytes, three packets
/// of SCTP.
const BYTES_A_COST: usize = 4_096;

/// How much a command is to do, in commands about one transport.
pub(crate) fn cost(command: &Command) -> u32 {
    let Command::SendData { peers, payload, .. } = command else { return 1 };
    let each = 1 + payload.len() / BYTES_A_COST;
    u32::try_from(peers.len().max(1).saturating_mul(each)).unwrap_or(u32::MAX)
}

/// How control reaches one shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardLink {
    inputs: mpsc::Sender<ShardInput>,
    waker: Waker,
    stop: Arc<AtomicBool>,
    gauges: Arc<ShardGauges>,
}

/// The shard thread's end of a [`ShardLink`].
pub(crate) struct ShardInputs {
    pub(crate) inputs: mpsc::Receiver<ShardInput>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) gauges: Arc<ShardGauges>,
}

impl ShardLink {
    /// `waker` ends a wait of the thread that gets the other half.
    pub(crate) fn new(waker: Waker) -> (Self, ShardInputs) {
        let (sender, inputs) = mpsc::channel(MAX_COMMANDS);
        let (stop, gauges): (Arc<AtomicBool>, Arc<ShardGauges>) = Default::default();
        let ends = ShardInputs { inputs, stop: Arc::clone(&stop), gauges: Arc::clone(&gauges) };
        (Self { inputs: sender, waker, stop, gauges }, ends)
    }

    /// Waits for room in the shard's queue; false if its thread is gone.
    pub(crate) async fn send(&self, input: ShardInput) -> bool {
        let sent = self.inputs.send(input).await.is_ok();
        self.waker.wake();
        sent
    }

    /// False if the shard's queue is full, or its thread gone.
    pub(crate) fn try_send(&self, input: ShardInput) -> bool {
        let sent = self.inputs.try_send(input).is_ok();
        self.waker.wake();
        sent
    }

    /// For a test that is no task.
    #[cfg(test)]
    pub(crate) fn blocking_send(&self, input: ShardInput) {
        assert!(self.inputs.blocking_send(input).is_ok(), "the thread is gone");
        self.waker.wake();
    }

    /// With no thread at its end, and what one would read.
    #[cfg(test)]
    pub(crate) fn disconnected() -> (Self, ShardInputs) {
        let poller = hearth_net::Poller::new().unwrap_or_else(|error| panic!("no poller: {error}"));
        Self::new(poller.waker())
    }

    /// Its thread runs.
    pub(crate) fn is_alive(&self) -> bool {
        !self.inputs.is_closed()
    }

    /// Its numbers.
    pub(crate) fn gauges(&self) -> &ShardGauges {
        &self.gauges
    }

    /// Ends its thread soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// How one room reaches the shards.
#[derive(Debug)]
pub(crate) struct RoomShards {
    room: RoomId,
    links: Arc<[ShardLink]>,
    events: EventSender,
    /// The shards that know the room, and the rest of its share of their queues.
    open: BTreeMap<ShardId, Arc<Semaphore>>,
}

impl RoomShards {
    pub(crate) fn new(room: RoomId, links: Arc<[ShardLink]>, events: EventSender) -> Self {
        Self { room, links, events, open: BTreeMap::new() }
    }

    /// How many shards there are.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Waits until the shard has room for it; false if its thread is gone.
    pub(crate) async fn send(&mut self, shard: ShardId, command: Command) -> bool {
        let Some(link) = self.links.get(usize::from(shard.0)) else { return false };
        let share = if let Some(share) = self.open.get(&shard) {
            Arc::clone(share)
        } else {
            let input = ShardInput::OpenRoom { room: self.room, events: self.events.clone() };
            if !link.send(input).await {
                return false;
            }
            let share = Arc::new(Semaphore::new(ROOM_SHARE as usize));
            self.open.insert(shard, Arc::clone(&share));
            share
        };
        // It is never closed; and a command without its permit is better than none.
        let permit = share.acquire_many_owned(cost(&command).min(ROOM_SHARE)).await.ok();
        link.send(ShardInput::Command { command, permit }).await
    }

    /// Has every shard forget the room.
    pub(crate) async fn close(&mut self) {
        let command = Command::CloseRoom { room: self.room };
        for shard in std::mem::take(&mut self.open).into_keys() {
            if let Some(link) = self.links.get(usize::from(shard.0)) {
                let input = ShardInput::Command { command: command.clone(), permit: None };
                // A thread that is gone has forgotten it.
                let _ = link.send(input).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hearth_plane::{Channel, PeerId};
    use tokio::task::unconstrained;
    use tokio::time::{error::Elapsed, timeout};

    use super::*;
    use crate::room_events::channel;

    fn remove(room: RoomId) -> Command {
        Command::RemovePeer { peer: PeerId { room, n: 0 } }
    }

    /// An error if it has to wait.
    async fn at_once(send: impl Future<Output = bool>) -> Result<bool, Elapsed> {
        timeout(Duration::ZERO, unconstrained(send)).await
    }

    /// An entry of a shard's queue.
    fn queued(shard: &mut ShardInputs) -> Vec<(RoomId, bool)> {
        let mut queued = Vec::new();
        while let Ok(input) = shard.inputs.try_recv() {
            queued.push(match input {
                ShardInput::OpenRoom { room, .. } => (room, true),
                ShardInput::Command { command: Command::RemovePeer { peer }, .. } => {
                    (peer.room, false)
                }
                other @ (ShardInput::Command { .. }
                | ShardInput::Stream(_)
                | ShardInput::Fault(_)) => {
                    panic!("{other:?}")
                }
            });
        }
        queued
    }

    #[test]
    fn a_data_message_costs_what_it_is_to_do() {
        let send = |peers: u32, bytes: usize| Command::SendData {
            peers: (0..peers).map(|n| PeerId { room: RoomId(1), n }).collect(),
            channel: Channel::Reliable,
            payload: vec![0; bytes].into(),
        };
        for (command, expected) in [
            (remove(RoomId(1)), 1),
            (send(1, 10), 1),
            (send(64, 10), 64),
            (send(64, 15_000), 64 * 4),
            (send(0, 64_000), 16),
        ] {
            assert_eq!(cost(&command), expected, "{command:?}");
        }
    }

    #[tokio::test]
    async fn a_room_that_floods_a_shard_leaves_the_others_their_place() {
        let (link, mut shard) = ShardLink::disconnected();
        let links: Arc<[ShardLink]> = [link].into();
        let new = |room| RoomShards::new(RoomId(room), Arc::clone(&links), channel().0);
        let (mut flood, mut other) = (new(1), new(2));
        let mut sent = 0;
        while let Ok(true) = at_once(flood.send(ShardId(0), remove(RoomId(1)))).await {
            sent += 1;
        }
        assert_eq!(sent, ROOM_SHARE, "then it waits");
        assert!(other.send(ShardId(0), remove(RoomId(2))).await);

        let before = queued(&mut shard);
        assert_eq!(before.len(), 1 + ROOM_SHARE as usize + 2);
        assert_eq!(before[0], (RoomId(1), true), "the shard hears of the room first");
        assert_eq!(before[before.len() - 2..], [(RoomId(2), true), (RoomId(2), false)]);
        assert!(flood.send(ShardId(0), remove(RoomId(1))).await, "it goes on when there is room");
    }

    #[tokio::test]
    async fn a_room_that_is_over_is_forgotten_by_the_shards_that_knew_it() {
        let (mut ends, links): (Vec<_>, Vec<_>) =
            (0..3).map(|_| ShardLink::disconnected()).map(|(link, end)| (end, link)).unzip();
        let mut room = RoomShards::new(RoomId(7), links.into(), channel().0);
        for shard in [0, 2] {
            assert!(room.send(ShardId(shard), remove(RoomId(7))).await);
        }
        room.close().await;
        let closes = ends.iter_mut().map(|end| {
            let inputs = std::iter::from_fn(|| end.inputs.try_recv().ok());
            let close = Command::CloseRoom { room: RoomId(7) };
            inputs.last().is_some_and(
                |last| matches!(last, ShardInput::Command { command, .. } if command == close),
            )
        });
        assert_eq!(closes.collect::<Vec<_>>(), [true, false, true]);
        assert!(!room.send(ShardId(3), remove(RoomId(7))).await, "there is no such shard");
    }
}
