//! Finished datagrams that leave at once: answers of ICE, DTLS and SCTP, and RTCP.
//!
//! * **Owns:** the datagrams, and how many answers each peer has caused since the last were sent.
//! * **In:** finished datagrams, or RTCP written into [`ControlOut::reserve`].
//! * **Out:** all of them in order, once a turn.
//! * **Invariant:** no peer has more than [`MAX_OF_A_PEER`] answers among them, and answers and RTCP leave each other
//!   room: who makes us answer faster than we send crowds out only itself.

use hearth_datagram::{Endpoint, SendSlab};

use crate::entry::PeerKey;

/// Answers of ICE, DTLS and SCTP in one turn. Data that a room sends to hundreds goes out in these too.
const MAX_ANSWERS: usize = 640;
/// RTCP that is due by the clock or by a loss, in one turn.
const MAX_REPORTS: usize = 512;
/// No peer begins with its reports when so many wait: what is left is for one that has begun. In a room of hundreds it
/// has one for each subscription.
const MANY_REPORTS: usize = 128;
/// Answers for one peer. A client that keeps to the standards needs less: one connectivity check in 50 ms
/// (RFC 8445 §14), an SCTP window.
pub(crate) const MAX_OF_A_PEER: u16 = 128;

/// Answers to strangers (`hearth doctor --from`) in one turn. A person who asks sends three datagrams.
const MAX_FOR_STRANGERS: usize = 4;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct ControlOut {
    slab: SendSlab,
    /// Answers, all peers together.
    total: usize,
    /// Answers by slot of a peer.
    of_peer: Vec<u16>,
    /// Answers to who is nobody's client.
    strangers: usize,
    /// Slots of the peers that have any.
    counted: Vec<usize>,
}

impl ControlOut {
    pub(crate) fn new() -> Self {
        Self {
            slab: SendSlab::new(MAX_ANSWERS + MAX_REPORTS),
            total: 0,
            of_peer: Vec::new(),
            strangers: 0,
            counted: Vec::with_capacity(MAX_ANSWERS),
        }
    }

    /// Adds a finished answer; false if there is no room for it.
    pub(crate) fn push(&mut self, peer: PeerKey, path: Endpoint, datagram: &[u8]) -> bool {
        let slot = peer.index();
        if self.of_peer.len() <= slot {
            self.of_peer.resize(slot + 1, 0);
        }
        let Some(count) = self.of_peer.get_mut(slot) else { return false };
        if self.total >= MAX_ANSWERS || *count >= MAX_OF_A_PEER || !self.slab.push(path, datagram) {
            return false;
        }
        if *count == 0 {
            self.counted.push(slot);
        }
        (*count, self.total) = (*count + 1, self.total + 1);
        true
    }

    /// The reports of another peer can wait here, too.
    pub(crate) fn has_room_for_reports(&self) -> bool {
        self.reports() < MANY_REPORTS
    }

    /// Adds an answer to somebody unknown; false if there are enough of these.
    pub(crate) fn push_for_stranger(&mut self, path: Endpoint, datagram: &[u8]) -> bool {
        let fits = self.strangers < MAX_FOR_STRANGERS && self.slab.push(path, datagram);
        self.strangers += usize::from(fits);
        fits
    }

    /// Room for a datagram of RTCP.
    pub(crate) fn reserve(&mut self) -> Option<&mut [u8]> {
        if self.reports() < MAX_REPORTS { self.slab.reserve() } else { None }
    }

    /// Adds the first `len` bytes of the last reserved room.
    pub(crate) fn commit(&mut self, path: Endpoint, len: usize) {
        self.slab.commit(path, len);
    }

    fn reports(&self) -> usize {
        self.slab.entries().len().saturating_sub(self.total)
    }

    /// What is to be sent, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Endpoint, &[u8])> {
        self.slab.iter()
    }

    /// Forgets the first `n`. With the last of them everybody's count begins anew.
    pub(crate) fn remove_first(&mut self, n: usize) {
        self.slab.remove_first(n);
        if self.slab.is_empty() {
            (self.total, self.strangers) = (0, 0);
            for slot in self.counted.drain(..) {
                if let Some(count) = self.of_peer.get_mut(slot) {
                    *count = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    #[test]
    fn no_peer_takes_the_room_of_another_and_none_that_of_rtcp() {
        let mut out = ControlOut::new();
        for index in 0..5 {
            assert_eq!(answers(&mut out, index), usize::from(MAX_OF_A_PEER));
        }
        assert_eq!(answers(&mut out, 9), 0, "all peers together have so many");
        let reports = (0..1_000).take_while(|_| {
            let room = out.reserve().is_some();
            out.commit(path(), 100);
            room
        });
        assert_eq!(reports.count(), MAX_REPORTS);
    }

    #[test]
    fn reports_leave_room_for_answers_and_peers_wait_before_theirs_find_none() {
        let mut out = ControlOut::new();
        let mut began = 0;
        // Each of a hundred peers has ten.
        while out.has_room_for_reports() {
            began += 1;
            for _ in 0..10 {
                assert!(out.reserve().is_some());
                out.commit(path(), 100);
            }
        }
        assert_eq!(began, 13);
        while out.reserve().is_some() {
            out.commit(path(), 100);
        }
        let answered = (0..9).map(|index| answers(&mut out, index)).sum::<usize>();
        assert_eq!(answered, MAX_ANSWERS);
    }

    #[test]
    fn strangers_get_few_answers_and_take_no_room() {
        let mut out = ControlOut::new();
        let pushed = |out: &mut ControlOut| {
            (0..1_000).filter(|_| out.push_for_stranger(path(), b"answer")).count()
        };
        assert_eq!(pushed(&mut out), MAX_FOR_STRANGERS);
        assert_eq!(answers(&mut out, 1), usize::from(MAX_OF_A_PEER));
        out.remove_first(out.iter().count());
        assert_eq!(pushed(&mut out), MAX_FOR_STRANGERS);
    }

    #[test]
    fn counts_begin_anew_when_all_was_sent() {
        let mut out = ControlOut::new();
        assert_eq!(answers(&mut out, 7), 128);
        out.remove_first(100);
        assert_eq!(answers(&mut out, 7), 0, "the turn is not over");
        out.remove_first(28);
        assert_eq!(answers(&mut out, 7), 128);
    }

    /// How many of a thousand answers for a peer find room.
    fn answers(out: &mut ControlOut, index: u32) -> usize {
        (0..1_000).filter(|_| out.push(Key::of(index, 0), path(), b"answer")).count()
    }

    fn path() -> Endpoint {
        Endpoint::udp("127.0.0.1:7882".parse().unwrap(), "127.0.0.1:9".parse().unwrap())
    }
}
