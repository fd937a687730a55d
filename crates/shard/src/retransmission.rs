//! Packets that a subscriber asks for again, and second copies of them where many are lost.
//!
//! * **Owns:** the retransmissions whose second copy is due soon.
//! * **In:** a NACK, time.
//! * **Out:** packets for the send queue of the subscriber; a key frame request where nothing else helps.
//! * **Invariant:** one datagram is answered with [`MAX_ANSWERED`] packets at most, for one look-up of each of its
//!   NACK packets; a copy is sent once for each retransmission, and for a packet that was repaired late on its way here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, SendSlab};
use hearth_media::{Answer, Resend};
use hearth_metrics::{Metric, bug};

use crate::egress::traffic_class;
use crate::entry::{DownEntry, DownKey, PeerEntry, TrackEntry, TrackKey};
use crate::media_graph::MediaGraph;
use crate::outbox::Outbox;
use crate::send_queue::{QueuedPacket, SendClass};

/// Numbers of one datagram that are answered. As many as a subscription remembers: who asks for more has lost a
/// connection rather than packets, and needs a key frame.
pub(crate) const MAX_ANSWERED: usize = 512;
/// Copies that wait; more are not sent.
const MAX_COPIES: usize = 512;
/// A copy leaves so much later: short beside a round trip, long beside most bursts of loss.
const COPY_DELAY: Duration = Duration::from_millis(5);
/// Loss as its subscriber reports it, in 1/256, at which a retransmission is as likely to be lost as to be worth a
/// copy: 2 to 15 %. Below, few are; above, the way is too narrow, and more would be lost of more.
const COPIED_LOSS: std::ops::RangeInclusive<u8> = 5..=38;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Retransmitter {
    /// Second copies that wait, the earliest first: all wait as long.
    copies: VecDeque<SecondCopy>,
}

/// A second copy of a retransmission.
#[derive(Debug)]
struct SecondCopy {
    at: Instant,
    /// Of a subscription that may be gone by then.
    down: DownKey,
    resend: Resend,
}

impl Retransmitter {
    pub(crate) fn new() -> Self {
        Self { copies: VecDeque::with_capacity(MAX_COPIES) }
    }

    /// When the next copy is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.copies.front().map(|copy| copy.at)
    }

    /// A packet of `entry` was sent, for which its subscriber has waited: once more soon, where a copy is worth it.
    pub(crate) fn copy_soon(
        &mut self,
        now: Instant,
        down: DownKey,
        entry: &DownEntry,
        resend: Resend,
    ) {
        if COPIED_LOSS.contains(&entry.loss.get()) && self.copies.len() < MAX_COPIES {
            self.copies.push_back(SecondCopy { at: now + COPY_DELAY, down, resend });
        }
    }

    /// Queues the copies that are due.
    pub(crate) fn queue_copies(&mut self, now: Instant, graph: &MediaGraph, out: &mut Outbox) {
        while let Some(copy) = self.copies.pop_front_if(|copy| copy.at <= now) {
            let SecondCopy { down, resend, .. } = copy;
            let packet = QueuedPacket { down, resend, class: SendClass::SecondCopy };
            if let Some(entry) = graph.downs.get(down)
                && !out.scheduler.queues.push(entry.peer, packet)
            {
                out.counts.add(Metric::DropControlFull, 1);
            }
        }
    }

    /// What answers one number of a NACK, of subscription `key`: a packet to be queued, or a key frame request.
    pub(crate) fn answer(
        now: Instant,
        key: DownKey,
        wire: u16,
        graph: &mut MediaGraph,
        out: &mut Outbox,
    ) -> Option<QueuedPacket> {
        let Sent { entry, peer, track, .. } = parts(key, graph)?;
        let rtt = peer.rtp.rtt().smoothed();
        let newest = |encoding| track.track.newest(encoding);
        let answer = match entry.down.lookup(now, wire, rtt, newest) {
            Answer::Resend(resend) if track.track.packet(resend.encoding, resend.seq).is_some() => {
                return Some(QueuedPacket { down: key, resend, class: SendClass::Retransmission });
            }
            Answer::Resend(resend) => entry.down.not_stored(&resend),
            answer @ (Answer::Lost { .. } | Answer::Nothing) => answer,
        };
        request_keyframe_if_lost(now, entry.track, answer, graph, out);
        None
    }

    /// Writes a queued packet into `slab`, which must have room.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        queued: &QueuedPacket,
        graph: &mut MediaGraph,
        out: &mut Outbox,
        slab: &mut SendSlab,
    ) {
        let QueuedPacket { down, resend, class } = queued;
        let Some(Sent { entry, peer, track, to }) = parts(*down, graph) else { return };
        let Some(packet) = track.track.packet(resend.encoding, resend.seq) else {
            let answer = entry.down.not_stored(resend);
            return request_keyframe_if_lost(now, entry.track, answer, graph, out);
        };
        let Some(room) = slab.reserve() else {
            return bug!("a packet is sent into a full slab");
        };
        let written = match class {
            SendClass::Retransmission => entry.down.retransmit(resend, &packet, room),
            SendClass::SecondCopy => entry.down.retransmit_copy(now, resend, &packet, room),
        };
        if let Some(written) = written
            && let Some(len) =
                peer.peer.seal_rtp(room, written.len, written.header_len, written.index)
        {
            slab.commit_as(traffic_class(track), to, len);
            out.counts.add(Metric::Retransmissions, 1);
        }
        if *class == SendClass::Retransmission {
            self.copy_soon(now, *down, entry, *resend);
        }
    }
}

/// A subscription with its peer and its track, and where its packets go.
struct Sent<'a> {
    entry: &'a mut DownEntry,
    peer: &'a mut PeerEntry,
    track: &'a TrackEntry,
    to: Endpoint,
}

/// `None` if the subscription is gone, or its peer cannot be reached yet.
fn parts(key: DownKey, graph: &mut MediaGraph) -> Option<Sent<'_>> {
    let entry = graph.downs.get_mut(key)?;
    let (Some(peer), Some(track)) =
        (graph.peers.get_mut(entry.peer), graph.tracks.get(entry.track))
    else {
        bug!("{:?} outlived its peer or its track", entry.id);
        return None;
    };
    let to = peer.peer.path()?;
    Some(Sent { entry, peer, track, to })
}

/// What was asked for cannot come: a key frame ends the waiting.
fn request_keyframe_if_lost(
    now: Instant,
    track: TrackKey,
    answer: Answer,
    graph: &mut MediaGraph,
    out: &mut Outbox,
) {
    if let Answer::Lost { encoding } = answer {
        graph.request_keyframe(now, track, encoding, out);
    }
}

#[cfg(test)]
mod tests {

    use hearth_plane::{PeerId, RoomId, ShardId, Source, TrackId};

    use hearth_rtp::rtcp::{ReportBlock, Writer};
    use hearth_units::MediaKind;

    use super::*;
    use crate::fixtures::{self, epoch};
    use crate::{Shard, feedback};

    const ROOM: RoomId = RoomId(1);
    const PEER: PeerId = PeerId { room: ROOM, n: 1 };
    const SUBSCRIPTIONS: u32 = 1_000;

    #[test]
    fn what_a_datagram_of_feedback_costs_does_not_depend_on_the_subscriptions() {
        let now = epoch();
        let mut shard = subscriber_of_a_thousand(now);
        let key = shard.graph.peer_key(PEER).unwrap();
        let every: Vec<u16> = (0..17 * 340).collect();
        for (packets, lookups, write) in [
            (1, 1, &(|w: &mut Writer<'_>, _| w.nack(1, 500, &every)) as Write<'_>),
            (80, 80, &|w, ssrc| w.nack(1, ssrc, &[7])),
            (110, 110, &|w, ssrc| w.pli(1, ssrc)),
            (60, 60, &|w, ssrc| w.fir(1, ssrc, 0)),
            (1, 31, &|w, _| {
                let block = |ssrc| ReportBlock { ssrc, ..ReportBlock::default() };
                w.receiver_report(1, &[5; 31].map(block))
            }),
        ] {
            let mut buf = [0; 1_400];
            let mut writer = Writer::new(&mut buf);
            for ssrc in 1..=packets {
                write(&mut writer, ssrc).unwrap();
            }
            let len = writer.len();
            let table =
                |shard: &Shard| shard.graph.peers.get(key).unwrap().down_ssrcs.lookups.get();
            let before = table(&shard);
            feedback::receive(now, key, &buf[..len], &mut shard.graph, &mut shard.out);
            assert_eq!(table(&shard) - before, lookups, "{packets} packets of {len} bytes");
        }
    }

    #[test]
    fn of_one_datagram_so_many_numbers_are_answered_and_no_more() {
        let now = epoch();
        let mut shard = subscriber_of_a_thousand(now);
        let key = shard.graph.peer_key(PEER).unwrap();
        let every: Vec<u16> = (0..17 * 300).collect();
        let mut buf = [0; 1_400];
        let mut writer = Writer::new(&mut buf);
        writer.nack(1, 500, &every).unwrap();
        let len = writer.len();
        let mut left = MAX_ANSWERED;
        for packet in hearth_rtp::rtcp::Packets::new(&buf[..len]) {
            let hearth_rtp::rtcp::Packet::Nack { media, seqs, .. } = packet else { panic!() };
            let (graph, out) = (&mut shard.graph, &mut shard.out);
            feedback::receive_nack(now, (key, media), seqs, &mut left, graph, out);
        }
        assert_eq!(left, 0);
    }

    type Write<'a> = &'a dyn Fn(&mut Writer<'_>, u32) -> Option<usize>;

    fn subscriber_of_a_thousand(now: Instant) -> Shard {
        let mut shard = fixtures::shard(now, 1);
        fixtures::add_peer(&mut shard, now, PEER);
        let track = TrackId { room: ROOM, n: 9 };
        fixtures::add_track(&mut shard, now, track, Source::Shard(ShardId(0)), MediaKind::Video);
        for n in 1..=SUBSCRIPTIONS {
            fixtures::subscribe(&mut shard, now, PEER, track, n);
        }
        shard
    }
}
