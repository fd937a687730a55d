//! What a participant of an attack sends: as much as it can of what costs a server work.
//!
//! * **Owns:** the pace, and a check of ours to repeat.
//! * **In:** time, the SSRCs that are received, with their newest numbers.
//! * **Out:** datagrams in a slab, as authentic as those of any client.
//! * **Invariant:** never more than [`Attack::rate`] a second; nothing before the transport is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, SendSlab};
use hearth_peer::Peer;
use hearth_random::Rng;
use hearth_rtp::rtcp::Writer;

/// The beat on which datagrams leave.
const BEAT: Duration = Duration::from_millis(1);
/// For data channels to open before nothing is acknowledged any more.
const HEARING: Duration = Duration::from_secs(1);
/// Numbers of one stream in a NACK: as many as a server can have any interest to remember.
const ASKED: u16 = 512;
/// Plaintext bytes of a datagram.
const LEN: usize = 1_200;

/// What costs the server work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttackKind {
    /// NACKs of everything that was received lately, as many as a datagram takes.
    Nacks,
    /// Connectivity checks with the right password.
    Checks,
    /// Random bytes as RTP and RTCP under valid keys.
    Garbage,
    /// Nothing is sent; what is received reliably is never acknowledged.
    Deaf,
}

/// An attack by those who would otherwise only subscribe.
#[derive(Clone, Debug)]
pub struct Attack {
    /// What they do.
    pub kind: AttackKind,
    /// Datagrams a second of each.
    pub rate: u32,
    /// Datagrams that all together have sent.
    pub sent: Arc<AtomicU64>,
}

/// See the module documentation.
pub(crate) struct Attacker {
    attack: Attack,
    rng: Rng,
    due: Option<Instant>,
    deaf_from: Option<Instant>,
    /// Of this beat.
    left: u32,
    check: Vec<u8>,
    turn: usize,
}

impl Attacker {
    pub(crate) fn new(attack: Attack, rng: Rng) -> Self {
        Self { attack, rng, due: None, deaf_from: None, left: 0, check: Vec::new(), turn: 0 }
    }

    /// The transport is connected.
    pub(crate) fn begin(&mut self, now: Instant) {
        match self.attack.kind {
            AttackKind::Deaf => self.deaf_from = Some(now + HEARING),
            AttackKind::Nacks | AttackKind::Checks | AttackKind::Garbage => self.due = Some(now),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a datagram of the server is to be ignored.
    pub(crate) fn ignores(&self, now: Instant, datagram: &[u8]) -> bool {
        let is_dtls = datagram.first().is_some_and(|first| (20..64).contains(first));
        is_dtls && self.deaf_from.is_some_and(|from| now >= from)
    }

    /// Something that a client of ours sends anyway.
    pub(crate) fn note(&mut self, datagram: &[u8]) {
        if datagram.starts_with(&[0, 1]) {
            self.check = datagram.to_vec();
        }
    }

    /// Fills `slab`; false if there is more than it takes. `streams` are the SSRCs with their newest numbers.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        (peer, path): (&mut Peer, Endpoint),
        slab: &mut SendSlab,
        streams: &[(u32, u16)],
    ) -> bool {
        if let Some(due) = self.due.filter(|due| *due <= now) {
            // What was missed is not made up for.
            self.due = Some((due + BEAT).max(now));
            self.left = (self.attack.rate / 1_000).max(1);
        }
        while self.left > 0 {
            let Some(room) = slab.reserve() else { return false };
            self.left -= 1;
            let len = match self.attack.kind {
                AttackKind::Nacks => {
                    self.nacks(room, streams).and_then(|l| peer.seal_rtcp(room, l))
                }
                AttackKind::Checks => self.check_again(room),
                AttackKind::Garbage => self.garbage(peer, room),
                AttackKind::Deaf => None,
            };
            if let Some(len) = len {
                slab.commit(path, len);
                self.attack.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }

    fn nacks(&mut self, room: &mut [u8], streams: &[(u32, u16)]) -> Option<usize> {
        let mut writer = Writer::new(room.get_mut(..LEN)?);
        for _ in streams {
            let (ssrc, newest) = *streams.get(self.turn % streams.len())?;
            let asked: Vec<u16> = (0..ASKED).rev().map(|n| newest.wrapping_sub(n)).collect();
            if writer.nack(1, ssrc, &asked).is_none() {
                break;
            }
            self.turn += 1;
        }
        Some(writer.len()).filter(|len| *len > 0)
    }

    fn check_again(&self, room: &mut [u8]) -> Option<usize> {
        let check = Some(&self.check).filter(|check| !check.is_empty())?;
        room.get_mut(..check.len())?.copy_from_slice(check);
        Some(check.len())
    }

    fn garbage(&mut self, peer: &mut Peer, room: &mut [u8]) -> Option<usize> {
        let random = self.rng.next_u64();
        let [kind, length, low, high, ..] = random.to_le_bytes();
        let len = 12 + 4 * usize::from(length);
        let plain = room.get_mut(..len)?;
        for chunk in plain.chunks_mut(8) {
            let random = self.rng.next_u64().to_le_bytes();
            chunk.iter_mut().zip(random).for_each(|(to, byte)| *to = byte);
        }
        let is_rtcp = kind.is_multiple_of(2);
        if let Some([first, second, ..]) = plain.get_mut(..4) {
            // Version 2; without a header extension, whose length would have to be right to be sealed.
            *first = 0x80 | (*first & if is_rtcp { 0x3f } else { 0x20 });
            *second = if is_rtcp { 200 + kind / 2 % 8 } else { 96 + kind / 2 % 16 };
        }
        if is_rtcp {
            return peer.seal_rtcp(room, len);
        }
        let seq = u16::from_be_bytes([low, high]);
        plain.get_mut(2..4)?.copy_from_slice(&seq.to_be_bytes());
        peer.seal_rtp(room, len, 12, u64::from(seq))
    }
}

#[cfg(test)]
mod tests {
    use hearth_random::{Purpose, Seed};
    use hearth_rtp::rtcp::{Packet, Packets};

    use super::*;

    #[test]
    fn a_datagram_asks_for_all_of_as_many_streams_as_it_takes_and_the_next_for_others() {
        let mut attacker = attacker(AttackKind::Nacks);
        let streams: Vec<(u32, u16)> = (1..=16).map(|ssrc| (ssrc, 100)).collect();
        let asked = |attacker: &mut Attacker| {
            let mut room = [0; 1_400];
            let len = attacker.nacks(&mut room, &streams).unwrap();
            let packets = Packets::new(&room[..len]).map(|packet| {
                let Packet::Nack { media, seqs, .. } = packet else { panic!("{packet:?}") };
                (media, seqs.count())
            });
            packets.collect::<Vec<_>>()
        };
        let (first, second) = (asked(&mut attacker), asked(&mut attacker));
        assert!(first.len() >= 7 && first.iter().all(|(_, seqs)| *seqs == 512), "{first:?}");
        assert!(first.iter().all(|(ssrc, _)| second.iter().all(|(other, _)| other != ssrc)));
    }

    #[test]
    fn only_a_deaf_attacker_ignores_what_it_is_sent() {
        let dtls = [23, 0xfe, 0xfd];
        let t0 = hearth_net::WallClock::now();
        for (kind, at, datagram, ignored) in [
            (AttackKind::Deaf, t0 + HEARING, &dtls[..], true),
            (AttackKind::Deaf, t0, &dtls, false),
            (AttackKind::Deaf, t0 + HEARING, &[0x80, 96], false),
            (AttackKind::Checks, t0 + HEARING, &dtls, false),
        ] {
            let mut attacker = attacker(kind);
            attacker.begin(t0);
            assert_eq!(attacker.ignores(at, datagram), ignored, "{kind:?}");
        }
    }

    fn attacker(kind: AttackKind) -> Attacker {
        let attack = Attack { kind, rate: 1_000, sent: Arc::default() };
        Attacker::new(attack, Seed::fixed(1).rng(Purpose::Client))
    }
}
