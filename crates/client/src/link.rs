//! The one peer connection of a client: media in both directions, and its RTCP.
//!
//! * **Owns:** the transport, published tracks, received streams.
//! * **In:** the server's answers and candidates, datagrams, time.
//! * **Out:** datagrams in a slab ([`Link::transmit`]), [`PeerEvent`]s, [`Tally`]s.
//! * **Invariant:** media begins when the transport is connected; nothing is sent after it closed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_datagram::{Endpoint, MAX_DATAGRAM, SendSlab};
use hearth_peer::{Context, Incoming, Peer, PeerError, PeerEvent};
use hearth_plane::{Channel, IceCredentials, LocalCandidate, PeerSpec, data_cost};
use hearth_random::{Purpose, Seed};
use hearth_rtp::rtcp::{DlrrReport, Packet, Packets, ReportBlock, Writer, XrBlock};
use hearth_rtp::{RtpView, original_seq};
use hearth_units::ntp_mid32;

use crate::attacker::Attacker;
use crate::description::{AgreedTrack, Answer};
use crate::inbound::{Inbound, Tally};
use crate::outbound::Wire;
use crate::publisher::Track;
use crate::thread::Arrivals;

/// libwebrtc reports about once a second.
const REPORT: Duration = Duration::from_secs(1);
/// NACKs are looked for on this beat while something is missing.
const NACK_BEAT: Duration = Duration::from_millis(20);
/// The time between two NACKs for a packet that is still missing.
const NACK_FOR: Duration = Duration::from_secs(1);
/// Report blocks of one packet (RFC 3550 §6.4.2).
const MAX_BLOCKS: usize = 31;
/// Bytes that sealing RTCP adds: tag 16, index 4.
const SEAL_ROOM: usize = 20;
/// RTCP that waits for room in the slab.
const MAX_RTCP: usize = 256;

/// See the module documentation.
pub(crate) struct Link {
    peer: Peer,
    local: SocketAddr,
    tracks: Vec<Track>,
    sends: Vec<AgreedTrack>,
    inbound: Vec<Inbound>,
    /// SSRCs of retransmissions, with those of the media.
    rtx: Vec<(u32, u32)>,
    /// (SSRC, number) that the server NACKed: to be retransmitted.
    wanted: Vec<(u32, u16)>,
    rtcp: Vec<Vec<u8>>,
    transport_seq: u16,
    /// Odd: those of media are even.
    rtcp_ssrc: u32,
    connected: Option<Instant>,
    next_report: Option<Instant>,
    next_nack: Option<Instant>,
    nack_until: Option<Instant>,
    attacker: Option<Attacker>,
}

impl Link {
    /// Begins when the first answer is there.
    pub(crate) fn new(
        now: Instant,
        (local, ice): (SocketAddr, &IceCredentials),
        context: &Context,
        answer: &Answer,
        tracks: Vec<Track>,
        seed: &Seed,
    ) -> Result<Self, PeerError> {
        let spec = PeerSpec {
            local: ice.clone(),
            ice_lite: false,
            ice_controlling: true,
            local_candidates: vec![LocalCandidate::udp(local)],
            remote: Some(answer.remote.clone()),
            open_channels: true,
        };
        let mut link = Self {
            peer: Peer::new(now, &spec, context, &seed.derive(Purpose::Peer, 0))?,
            local,
            tracks,
            sends: Vec::new(),
            inbound: Vec::new(),
            rtx: Vec::new(),
            wanted: Vec::new(),
            rtcp: Vec::new(),
            transport_seq: 0,
            rtcp_ssrc: seed.rng(Purpose::RtcpSsrc).next_u32() | 1,
            connected: None,
            next_report: None,
            next_nack: None,
            nack_until: None,
            attacker: None,
        };
        link.apply(now, answer);
        Ok(link)
    }

    /// The server's answer, the first or a later one.
    pub(crate) fn apply(&mut self, now: Instant, answer: &Answer) {
        self.sends.clone_from(&answer.sends);
        for receive in &answer.receives {
            if self.inbound.iter().all(|inbound| inbound.ssrc() != receive.ssrc) {
                self.inbound.push(Inbound::new(receive));
                self.inbound.sort_by_key(Inbound::ssrc);
            }
            if let Some(rtx) = receive.rtx_ssrc.filter(|rtx| !self.rtx.iter().any(|r| r.0 == *rtx))
            {
                self.rtx.push((rtx, receive.ssrc));
                self.rtx.sort_unstable();
            }
        }
        for candidate in &answer.candidates {
            self.peer.add_remote_candidate(now, candidate);
        }
    }

    /// Attacks the server as soon as it is connected.
    pub(crate) fn attack(&mut self, attacker: Option<Attacker>) {
        self.attacker = attacker;
    }

    /// A trickled candidate.
    pub(crate) fn add_candidate(&mut self, now: Instant, candidate: &str) {
        self.peer.add_remote_candidate(now, candidate);
    }

    /// The published track of that name.
    pub(crate) fn track_mut(&mut self, cid: &str) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.cid() == cid)
    }

    /// A datagram of the server, decrypted in place.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        buf: &mut [u8],
        arrivals: &mut Arrivals,
    ) {
        if self.attacker.as_ref().is_some_and(|attacker| attacker.ignores(now, buf)) {
            return;
        }
        match self.peer.handle_datagram(now, Endpoint::udp(self.local, from), buf) {
            Incoming::Rtp { packet, .. } => {
                if let Ok(view) = RtpView::parse(packet) {
                    self.receive_rtp(now, &view, arrivals);
                }
            }
            Incoming::Rtcp(compound) => {
                for packet in Packets::new(compound) {
                    self.receive_rtcp(now, &packet);
                }
            }
            Incoming::Consumed | Incoming::Dropped(_) => {}
        }
    }

    /// Handles deadlines that have passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, ntp: u64) {
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + REPORT);
            self.report(now, ntp);
        }
        if self.next_nack.is_some_and(|at| at <= now) {
            self.ask_again(now);
            let more = self.nack_until.is_some_and(|until| until > now);
            self.next_nack = more.then(|| now + NACK_BEAT);
        }
    }

    /// When something is due next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let media = self.tracks.iter().filter_map(Track::poll_timeout);
        let attack = self.attacker.as_ref().and_then(Attacker::poll_timeout);
        let parts = [self.peer.poll_timeout(), self.next_report, self.next_nack, attack];
        parts.into_iter().flatten().chain(media).min()
    }

    /// Puts what is to be sent into `slab`; false if there is more than it takes.
    pub(crate) fn transmit(&mut self, now: Instant, slab: &mut SendSlab) -> bool {
        while !slab.is_full() {
            let Some(transmit) = self.peer.poll_transmit() else { break };
            slab.push(transmit.path, &transmit.payload);
            if let Some(attacker) = &mut self.attacker {
                attacker.note(&transmit.payload);
            }
        }
        let Some(path) = self.peer.path().filter(|_| self.connected.is_some()) else {
            return !slab.is_full();
        };
        while let Some(compound) = self.rtcp.pop() {
            let Some(room) = slab.reserve() else {
                self.rtcp.push(compound);
                return false;
            };
            if let Some(to) = room.get_mut(..compound.len()) {
                to.copy_from_slice(&compound);
            }
            if let Some(len) = self.peer.seal_rtcp(room, compound.len()) {
                slab.commit(path, len);
            }
        }
        if let Some(attacker) = &mut self.attacker {
            let newest = |inbound: &Inbound| (inbound.ssrc(), inbound.newest());
            let streams: Vec<_> = self.inbound.iter().map(newest).collect();
            if !attacker.transmit(now, (&mut self.peer, path), slab, &streams) {
                return false;
            }
        }
        for send in &self.sends {
            let track = self.tracks.iter_mut().find(|track| track.cid() == send.cid);
            let Some(track) = track else { continue };
            let (peer, transport_seq) = (&mut self.peer, &mut self.transport_seq);
            let mut wire = Wire { peer, slab, transport_seq, agreed: send };
            self.wanted
                .retain(|(ssrc, seq)| wire.slab.is_full() || !track.resend(&mut wire, *ssrc, *seq));
            if !track.transmit(now, &mut wire) {
                return false;
            }
        }
        if slab.is_full() {
            return false;
        }
        self.wanted.clear();
        true
    }

    /// The next event of the transport.
    pub(crate) fn poll_event(&mut self, now: Instant) -> Option<PeerEvent> {
        let event = self.peer.poll_event()?;
        if let PeerEvent::Data { channel, payload } = &event
            && !channel.is_lossy()
        {
            // A caller that polls an event has processed those before: the sender's flow control may go on.
            self.peer.handle_data_taken(now, data_cost(payload.len()));
        }
        if event == PeerEvent::Connected {
            self.connected = Some(now);
            self.next_report = Some(now + REPORT / 4);
            for track in &mut self.tracks {
                track.begin(now);
            }
            if let Some(attacker) = &mut self.attacker {
                attacker.begin(now);
            }
        }
        Some(event)
    }

    /// Sends a message; false if the channel does not take it.
    pub(crate) fn send_data(&mut self, now: Instant, channel: Channel, payload: &Bytes) -> bool {
        self.peer.send_data(now, channel, payload).is_ok()
    }

    /// Packets that are missing so far.
    pub(crate) fn lost(&self) -> u64 {
        self.inbound.iter().map(Inbound::lost).sum()
    }

    /// Reception statistics by track.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = Tally> {
        self.inbound.iter().map(Inbound::tally)
    }

    fn receive_rtp(&mut self, now: Instant, view: &RtpView<'_>, arrivals: &mut Arrivals) {
        if let Ok(at) = self.inbound.binary_search_by_key(&view.ssrc, Inbound::ssrc) {
            let Some(inbound) = self.inbound.get_mut(at) else { return };
            let Some(arrival) = inbound.handle_packet(arrivals.at, view, arrivals.epoch) else {
                return;
            };
            arrivals.count(view.payload.len(), arrival.latency);
            if arrival.gap {
                self.nack_until = Some(now + NACK_FOR);
                self.next_nack.get_or_insert(now + NACK_BEAT / 4);
            }
            return;
        }
        let Ok(at) = self.rtx.binary_search_by_key(&view.ssrc, |(rtx, _)| *rtx) else { return };
        let media = self.rtx.get(at).map(|(_, media)| *media);
        let inbound = self.inbound.iter_mut().find(|inbound| Some(inbound.ssrc()) == media);
        if let (Some(inbound), Some((seq, payload))) = (inbound, original_seq(view.payload))
            && let Some(arrival) =
                inbound.handle_recovered(arrivals.at, seq, view, payload, arrivals.epoch)
        {
            arrivals.count(payload.len(), arrival.latency);
        }
    }

    fn receive_rtcp(&mut self, now: Instant, packet: &Packet<'_>) {
        match packet {
            Packet::SenderReport { ssrc, ntp, .. } => {
                if let Some(inbound) = self.inbound.iter_mut().find(|i| i.ssrc() == *ssrc) {
                    inbound.handle_sender_report(now, *ntp);
                }
            }
            Packet::Nack { media, seqs, .. } => {
                let room = MAX_RTCP.saturating_sub(self.wanted.len());
                self.wanted.extend(seqs.take(room).map(|seq| (*media, seq)));
            }
            Packet::Pli { media, .. } => self.request_keyframe(*media),
            Packet::Fir { entries, .. } => {
                for entry in *entries {
                    self.request_keyframe(entry.ssrc);
                }
            }
            Packet::Xr { sender, blocks } => {
                for block in *blocks {
                    if let XrBlock::ReceiverReferenceTime { ntp } = block {
                        self.answer_reference_time(*sender, ntp);
                    }
                }
            }
            // Of no use without an estimator.
            Packet::ReceiverReport { .. }
            | Packet::TransportCc(_)
            | Packet::Remb { .. }
            | Packet::Sdes
            | Packet::Bye { .. }
            | Packet::Unknown { .. } => {}
        }
    }

    fn answer_reference_time(&mut self, ssrc: u32, ntp: u64) {
        let (ours, last_rr) = (self.rtcp_ssrc, ntp_mid32(ntp));
        self.push(|writer| writer.xr_dlrr(ours, DlrrReport { ssrc, last_rr, delay: 0 }));
    }

    fn request_keyframe(&mut self, ssrc: u32) {
        for track in &mut self.tracks {
            track.request_keyframe(ssrc);
        }
    }

    /// Sender reports of what we send, receiver reports of what we get.
    fn report(&mut self, now: Instant, ntp: u64) {
        let infos: Vec<_> = self.tracks.iter().flat_map(|track| track.reports(now, ntp)).collect();
        for info in infos {
            self.push(|writer| {
                writer.sender_report(&info, &[])?;
                writer.sdes_cname(info.ssrc, "hearth")
            });
        }
        let blocks: Vec<ReportBlock> =
            self.inbound.iter_mut().filter_map(|inbound| inbound.report_block(now)).collect();
        let sender = self.rtcp_ssrc;
        for blocks in blocks.chunks(MAX_BLOCKS) {
            self.push(|writer| writer.receiver_report(sender, blocks));
        }
    }

    fn ask_again(&mut self, now: Instant) {
        let sender = self.rtcp_ssrc;
        let mut seqs = [0; 64];
        for at in 0..self.inbound.len() {
            let Some(inbound) = self.inbound.get_mut(at) else { break };
            let (media, count) = (inbound.ssrc(), inbound.poll_nack(now, &mut seqs));
            let seqs = seqs.get(..count).unwrap_or_default();
            if count > 0 {
                self.push(|writer| writer.nack(sender, media, seqs));
            }
        }
    }

    fn push(&mut self, write: impl FnOnce(&mut Writer<'_>) -> Option<usize>) {
        let mut buf = vec![0; 1_200];
        let mut writer = Writer::new(&mut buf);
        let len = write(&mut writer).map(|_| writer.len());
        if let Some(len) = len.filter(|_| self.rtcp.len() < MAX_RTCP) {
            buf.truncate(len);
            self.rtcp.push(buf);
        }
    }
}

const _: () = assert!(1_200 + SEAL_ROOM <= MAX_DATAGRAM);
