//! Packets that wait for a peer out of turn, beside those that come with the batch of its room.
//!
//! * **Owns:** a queue for each peer, all in one pool; which peers have something in theirs.
//! * **In:** [`SendQueues::push`]; peers that come ([`SendQueues::handle_peer`]) and go ([`SendQueues::clear`]).
//! * **Out:** [`SendQueues::first_peer`], [`SendQueues::pop`].
//! * **Invariant:** at most [`MAX_QUEUED`] packets wait; each peer's leave in their order, without allocating,
//!   O(1) each for the first of the peers.
//! * **Why:** what is queued is a reference to a stored packet, written and sealed only when it leaves: so whatever
//!   decides when a peer may get more (its pacer) decides over all of it.

use std::collections::VecDeque;

use hearth_media::Resend;

use crate::entry::{DownKey, PeerKey};

/// Packets that wait: a burst of loss of several subscribers. More are not sent; who asks again gets them later.
const MAX_QUEUED: usize = 512;
/// Of these, for one peer: what a NACK after a short outage asks for. Who asks for more crowds out nobody else.
const MAX_OF_A_PEER: u16 = 128;

/// Why a packet leaves out of turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SendClass {
    /// The subscriber asked for it.
    Retransmission,
    /// The same once more, in case the retransmission is lost.
    SecondCopy,
}

/// A reference to a stored packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedPacket {
    /// Whose: may be gone by the time it leaves.
    pub(crate) down: DownKey,
    /// Encoding and number.
    pub(crate) resend: Resend,
    pub(crate) class: SendClass,
}

/// No node.
const NONE: u16 = u16::MAX;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct SendQueues<P> {
    nodes: Vec<Node<P>>,
    /// The first of the nodes that are not used.
    free: u16,
    /// By slot of a peer.
    ends: Vec<Queue>,
    /// Those who have some, in the order in which they began to.
    peers: VecDeque<PeerKey>,
}

/// One peer's queue.
#[derive(Clone, Copy, Debug)]
struct Queue {
    /// Its first and last node; [`NONE`] if it has none.
    first: u16,
    last: u16,
    len: u16,
}

const EMPTY: Queue = Queue { first: NONE, last: NONE, len: 0 };

#[derive(Debug)]
struct Node<P> {
    packet: P,
    next: u16,
}

impl<P: Copy> SendQueues<P> {
    pub(crate) fn new() -> Self {
        let (nodes, peers) = (Vec::with_capacity(MAX_QUEUED), VecDeque::with_capacity(MAX_QUEUED));
        Self { nodes, free: NONE, ends: Vec::new(), peers }
    }

    /// There is a new peer; only then can something be queued for it.
    pub(crate) fn handle_peer(&mut self, peer: PeerKey) {
        if self.ends.len() <= peer.index() {
            self.ends.resize(peer.index() + 1, EMPTY);
        }
    }

    /// Whether nothing more can be queued for `peer`.
    pub(crate) fn is_full(&self, peer: PeerKey) -> bool {
        let queue = self.ends.get(peer.index());
        (self.free == NONE && self.nodes.len() >= MAX_QUEUED)
            || queue.is_none_or(|queue| queue.len >= MAX_OF_A_PEER)
    }

    /// Queues a packet for `peer`; false if too many wait.
    pub(crate) fn push(&mut self, peer: PeerKey, packet: P) -> bool {
        if self.is_full(peer) {
            return false;
        }
        let Some(Queue { first, last, len }) = self.ends.get_mut(peer.index()) else {
            return false;
        };
        *len += 1;
        let node = Node { packet, next: NONE };
        let at = match self.nodes.get_mut(usize::from(self.free)) {
            Some(unused) => {
                let at = std::mem::replace(&mut self.free, unused.next);
                *unused = node;
                at
            }
            None => {
                self.nodes.push(node);
                u16::try_from(self.nodes.len() - 1).unwrap_or(NONE)
            }
        };
        match self.nodes.get_mut(usize::from(*last)) {
            Some(before) => before.next = at,
            None => {
                *first = at;
                self.peers.push_back(peer);
            }
        }
        *last = at;
        true
    }

    /// A peer with packets that wait.
    pub(crate) fn first_peer(&self) -> Option<PeerKey> {
        self.peers.front().copied()
    }

    /// Takes the next packet for `peer`, which [`first_peer`](Self::first_peer) named.
    pub(crate) fn pop(&mut self, peer: PeerKey) -> Option<P> {
        let Queue { first, last, len } = self.ends.get_mut(peer.index())?;
        let node = self.nodes.get_mut(usize::from(*first))?;
        let next = std::mem::replace(&mut node.next, self.free);
        self.free = std::mem::replace(first, next);
        let packet = node.packet;
        *len = len.saturating_sub(1);
        if next == NONE {
            *last = NONE;
            self.forget(peer);
        }
        Some(packet)
    }

    /// Nothing leaves for `peer` any more.
    pub(crate) fn clear(&mut self, peer: PeerKey) {
        while self.pop(peer).is_some() {}
    }

    /// It has nothing that waits. Who is served is the first.
    fn forget(&mut self, peer: PeerKey) {
        if self.peers.front() == Some(&peer) {
            self.peers.pop_front();
        } else {
            self.peers.retain(|other| *other != peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    fn peer(index: u32) -> PeerKey {
        Key::of(index, 0)
    }

    /// Everything that waits, as it leaves.
    fn drain(queues: &mut SendQueues<u32>) -> Vec<(usize, u32)> {
        let mut left = Vec::new();
        while let Some(peer) = queues.first_peer() {
            left.extend(queues.pop(peer).map(|packet| (peer.index(), packet)));
        }
        left
    }

    #[test]
    fn each_peer_gets_its_own_in_order_however_they_were_queued() {
        let mut queues = SendQueues::new();
        for index in 0..3 {
            queues.handle_peer(peer(index));
        }
        for round in 0..3 {
            for (index, packet) in [(2, 1), (0, 2), (2, 3), (1, 4), (0, 5)] {
                assert!(queues.push(peer(index), packet), "round {round}");
            }
            assert_eq!(queues.pop(peer(2)), Some(1));
            queues.clear(peer(1));
            assert_eq!(drain(&mut queues), [(2, 3), (0, 2), (0, 5)], "round {round}");
            assert_eq!(queues.pop(peer(0)), None);
        }
        assert!(queues.nodes.len() <= 5, "nodes are used again");
    }

    #[test]
    fn so_many_wait_and_no_more_and_none_takes_the_room_of_another() {
        let mut queues = SendQueues::new();
        (0..5).for_each(|index| queues.handle_peer(peer(index)));
        assert!(!queues.push(peer(9), 0), "nobody knows that one");
        let room = |queues: &mut SendQueues<u32>, index| {
            (0..).take_while(|n| queues.push(peer(index), *n)).count()
        };
        let of_a_peer = usize::from(MAX_OF_A_PEER);
        assert_eq!((room(&mut queues, 0), queues.is_full(peer(0))), (of_a_peer, true));
        assert!(!queues.is_full(peer(1)));
        assert_eq!((queues.pop(peer(0)), queues.pop(peer(0))), (Some(0), Some(1)));
        assert_eq!((room(&mut queues, 0), queues.is_full(peer(0))), (2, true));
        assert_eq!([1, 2, 3, 4].map(|index| room(&mut queues, index)), [128, 128, 128, 0]);
        queues.clear(peer(0));
        assert_eq!((queues.is_full(peer(0)), queues.is_full(peer(4))), (false, false));
    }
}
