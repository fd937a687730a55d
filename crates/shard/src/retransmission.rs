//! Packets that a subscriber asks for again, and second copies of them where many are lost.
//!
//! * **Owns:** the retransmissions whose second copy is due soon.
//! * **In:** a NACK, time.
//! * **Out:** datagrams among the answers; a key frame request where nothing else helps.
//! * **Invariant:** one datagram is answered with [`MAX_ANSWERED`] packets at most, for one look-up of each of its
//!   NACK packets; a copy is sent once, and only of the first retransmission of a packet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hearth_media::{Answer, Resend};
use hearth_metrics::Metric;
use hearth_rtp::rtcp::NackSeqs;

use crate::Shard;
use crate::entry::{DownKey, PeerKey};

/// Numbers of one datagram that are answered. As many as a subscription remembers: who asks for more has lost a
/// connection rather than packets, and needs a key frame.
pub(crate) const MAX_ANSWERED: usize = 512;
/// Datagrams that wait to be sent at which nothing is sent again: the rest of the room is for what others need
/// (connectivity checks, reports).
const ROOM_LEFT: usize = crate::outbox::MAX_CONTROL / 2;
/// Copies that wait; more are not sent.
const MAX_COPIES: usize = 512;
/// A copy leaves so much later: short beside a round trip, long beside most bursts of loss.
const COPY_DELAY: Duration = Duration::from_millis(5);
/// Loss as its subscriber reports it, in 1/256, at which a retransmission is as likely to be lost as to be worth a
/// copy: 2 to 15 %. Below, few are; above, the way is too narrow, and more would be lost of more.
const COPIED_LOSS: std::ops::RangeInclusive<u8> = 5..=38;

/// Second copies that wait, the earliest first: all wait as long.
#[derive(Debug)]
pub(crate) struct Copies(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    at: Instant,
    /// Of a subscription that may be gone by then.
    down: DownKey,
    resend: Resend,
}

impl Copies {
    pub(crate) fn new() -> Self {
        Self(VecDeque::with_capacity(MAX_COPIES))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.0.front().map(|copy| copy.at)
    }

    fn push(&mut self, copy: Waiting) {
        if self.0.len() < MAX_COPIES {
            self.0.push_back(copy);
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<Waiting> {
        self.0.pop_front_if(|copy| copy.at <= now)
    }
}

impl Shard {
    /// Answers a NACK from the track's ring; `left` of the datagram's numbers may be.
    pub(crate) fn receive_nack(
        &mut self,
        now: Instant,
        key: PeerKey,
        media: u32,
        seqs: NackSeqs<'_>,
        left: &mut usize,
    ) {
        let Some(down) = self.graph.subscription(key, media) else {
            return;
        };
        for wire in seqs.take(*left) {
            *left -= 1;
            if self.out.control.entries().len() >= ROOM_LEFT {
                self.out.counts.add(Metric::DropAnswersFull, 1);
                return;
            }
            self.retransmit(now, key, down, wire);
        }
    }

    /// Sends the second copies that are due.
    pub(crate) fn send_copies(&mut self, now: Instant) {
        while let Some(copy) = self.copies.take_due(now) {
            let Some(peer) = self.graph.downs.get(copy.down).map(|entry| entry.peer) else {
                continue;
            };
            self.for_peer(peer, |shard| shard.send_copy(now, &copy));
        }
    }

    fn retransmit(&mut self, now: Instant, key: PeerKey, down: DownKey, wire: u16) {
        let (Some(entry), Some(peer)) =
            (self.graph.downs.get_mut(down), self.graph.peers.get_mut(key))
        else {
            return;
        };
        let (Some(track), Some(to)) = (self.graph.tracks.get(entry.track), peer.peer.path()) else {
            return;
        };
        let rtt = peer.rtt.smoothed();
        let mut answer = entry.down.lookup(now, wire, rtt, |encoding| track.track.newest(encoding));
        if let Answer::Resend(resend) = answer {
            let Some(pkt) = track.track.packet(resend.encoding, resend.seq) else {
                answer = entry.down.not_stored(&resend);
                self.answer_lost(now, down, answer);
                return;
            };
            let Some(room) = self.out.control.reserve() else {
                self.out.counts.add(Metric::DropAnswersFull, 1);
                return;
            };
            if let Some(written) = entry.down.retransmit(&resend, &pkt, room)
                && let Some(len) =
                    peer.peer.seal_rtp(room, written.len, written.header_len, written.index)
            {
                self.out.control.commit(to, len);
                self.out.counts.add(Metric::Retransmissions, 1);
            }
            if resend.first && COPIED_LOSS.contains(&entry.loss) {
                self.copies.push(Waiting { at: now + COPY_DELAY, down, resend });
            }
        }
        self.answer_lost(now, down, answer);
    }

    /// What was asked for cannot come: a key frame ends the waiting.
    fn answer_lost(&mut self, now: Instant, down: DownKey, answer: Answer) {
        let track = self.graph.downs.get(down).map(|entry| entry.track);
        if let (Answer::Lost { encoding }, Some(track)) = (answer, track) {
            self.graph.request_keyframe(now, track, encoding, &mut self.out);
        }
    }

    fn send_copy(&mut self, now: Instant, copy: &Waiting) {
        let Some(entry) = self.graph.downs.get_mut(copy.down) else {
            return;
        };
        let (Some(track), Some(peer)) =
            (self.graph.tracks.get(entry.track), self.graph.peers.get_mut(entry.peer))
        else {
            return;
        };
        let resend = &copy.resend;
        if let Some(pkt) = track.track.packet(resend.encoding, resend.seq)
            && self.out.control.entries().len() < ROOM_LEFT
            && let (Some(to), Some(room)) = (peer.peer.path(), self.out.control.reserve())
            && let Some(written) = entry.down.retransmit_copy(now, resend, &pkt, room)
            && let Some(len) =
                peer.peer.seal_rtp(room, written.len, written.header_len, written.index)
        {
            self.out.control.commit(to, len);
            self.out.counts.add(Metric::Retransmissions, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use hearth_peer::Certificate;
    use hearth_plane::{
        Command, DownId, DownTrackSpec, EncodingSpec, IceCredentials, LayerLimit, PeerId, PeerSpec,
        RoomId, ShardId, Source, TrackId, UpTrackSpec,
    };
    use hearth_random::Seed;
    use hearth_rtp::ExtensionIds;
    use hearth_rtp::rtcp::{ReportBlock, Writer};
    use hearth_units::MediaKind;

    use super::*;
    use crate::ShardConfig;

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
            shard.receive_rtcp(now, key, &buf[..len]);
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
            shard.receive_nack(now, key, media, seqs, &mut left);
        }
        assert_eq!(left, 0);
    }

    type Write<'a> = &'a dyn Fn(&mut Writer<'_>, u32) -> Option<usize>;

    fn subscriber_of_a_thousand(now: Instant) -> Shard {
        let certificate = Arc::new(Certificate::generate().unwrap());
        let config = ShardConfig { id: ShardId(0), shards: 1, certificate, seed: Seed::fixed(1) };
        let mut shard = Shard::new(now, config).unwrap();
        let spec = PeerSpec {
            local: IceCredentials {
                ufrag: "00peer".into(),
                pwd: "a-password-of-the-server".into(),
            },
            ice_lite: true,
            ice_controlling: false,
            local_addrs: vec![SocketAddr::from(([10, 0, 0, 1], 7882))],
            remote: None,
            open_channels: false,
        };
        shard.handle_command(now, Command::AddPeer { peer: PEER, spec: Box::new(spec) });
        let track = TrackId { room: ROOM, n: 9 };
        let spec = UpTrackSpec {
            source: Source::Shard(ShardId(0)),
            kind: MediaKind::Video,
            mid: "0".to_owned(),
            codecs: Vec::new(),
            extensions: ExtensionIds::default(),
            encodings: vec![EncodingSpec::default()],
            nack: false,
            measure_level: false,
        };
        shard.handle_command(now, Command::SetUpTrack { track, spec: Box::new(spec) });
        for n in 1..=SUBSCRIPTIONS {
            let spec = DownTrackSpec {
                down: DownId { room: ROOM, n },
                peer: PEER,
                track,
                ssrc: n,
                rtx_ssrc: None,
                codecs: Vec::new(),
                extensions: ExtensionIds::default(),
                cname: "publisher".to_owned(),
            };
            let spec = Box::new(spec);
            shard.handle_command(now, Command::SetDownTrack { spec, limit: LayerLimit::ALL });
        }
        shard
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
