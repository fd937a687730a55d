//! One participant: its signalling and its peer connection.
//!
//! * **Owns:** a [`Session`], and a [`Link`] once the server has answered.
//! * **In:** the server's messages and datagrams, time.
//! * **Out:** requests, datagrams, a [`Summary`].
//! * **Invariant:** events of one of the two reach the other in the same call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_datagram::SendSlab;
use hearth_peer::{Context, PeerEvent};
use hearth_plane::Channel;
use hearth_random::Seed;
use hearth_signal::proto::{DataPacket, SignalRequest, SignalResponse, UserPacket, data_packet};
use prost::Message as _;

use crate::attacker::Attacker;
use crate::inbound::Tally;
use crate::link::Link;
use crate::media::stamp;
use crate::publisher::Track;
use crate::session::{Session, SessionEvent};
use crate::thread::Arrivals;

/// Candidates kept until the answer is there; a server has a handful.
const MAX_EARLY: usize = 64;

/// Messages that a data publisher sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataStream {
    pub(crate) interval: Duration,
    /// Bytes of payload, at least a stamp.
    pub(crate) size: usize,
    pub(crate) reliable: bool,
}

/// When a participant got how far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Milestones {
    /// Before the first byte was sent.
    pub(crate) began: Option<Instant>,
    /// The server's first message arrived.
    pub(crate) joined: Option<Instant>,
    /// ICE and DTLS are done.
    pub(crate) connected: Option<Instant>,
    /// First packet of media.
    pub(crate) first_media: Option<Instant>,
}

/// The result of a participant.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) milestones: Milestones,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) data_sent: u64,
    pub(crate) data_received: u64,
    /// Why it ended before it should.
    pub(crate) ended: Option<String>,
}

/// A participant before the server has answered; unlike a [`Client`] it can move between threads.
pub(crate) struct Newcomer {
    pub(crate) session: Session,
    pub(crate) tracks: Vec<Track>,
    pub(crate) data: Option<DataStream>,
    pub(crate) attacker: Option<Attacker>,
    /// Of its socket.
    pub(crate) local: SocketAddr,
    pub(crate) context: Context,
    pub(crate) seed: Seed,
    /// Before the first byte was sent.
    pub(crate) began: Instant,
}

/// See the module documentation.
pub(crate) struct Client {
    session: Session,
    link: Option<Link>,
    context: Context,
    local: SocketAddr,
    seed: Seed,
    publishes: bool,
    /// Until there is a link.
    tracks: Vec<Track>,
    /// Candidates that came before the answer.
    early: Vec<String>,
    data: Option<DataStream>,
    /// Until there is a link.
    attacker: Option<Attacker>,
    next_data: Option<Instant>,
    data_sent: u64,
    data_received: u64,
    milestones: Milestones,
    ended: Option<String>,
}

impl Client {
    pub(crate) fn new(newcomer: Newcomer) -> Self {
        let Newcomer { session, tracks, data, attacker, local, context, seed, began } = newcomer;
        Self {
            session,
            link: None,
            context,
            local,
            seed,
            publishes: !tracks.is_empty(),
            tracks,
            early: Vec::new(),
            data,
            attacker,
            next_data: None,
            data_sent: 0,
            data_received: 0,
            milestones: Milestones { began: Some(began), ..Milestones::default() },
            ended: None,
        }
    }

    /// A message of the server.
    pub(crate) fn handle_response(&mut self, now: Instant, response: SignalResponse) {
        self.session.handle_response(now, response);
        self.drain_session(now);
    }

    /// The signalling connection is gone.
    pub(crate) fn handle_closed(&mut self, why: String) {
        self.ended.get_or_insert(why);
    }

    /// A datagram of the server.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        buf: &mut [u8],
        arrivals: &mut Arrivals,
    ) {
        let Some(link) = &mut self.link else { return };
        let before = arrivals.packets;
        link.handle_datagram(now, from, buf, arrivals);
        if arrivals.packets > before {
            self.milestones.first_media.get_or_insert(now);
        }
        self.drain_link(now, arrivals);
    }

    /// Handles deadlines that have passed.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        (unix_ms, ntp): (u64, u64),
        arrivals: &mut Arrivals,
    ) {
        self.session.handle_timeout(now, unix_ms);
        if let Some(link) = &mut self.link {
            link.handle_timeout(now, ntp);
        }
        self.send_data(now, arrivals);
        self.drain_link(now, arrivals);
    }

    /// When something is due next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let link = self.link.as_ref().and_then(Link::poll_timeout);
        let parts = [self.session.poll_timeout(), link, self.next_data];
        parts.into_iter().flatten().min().filter(|_| self.ended.is_none())
    }

    /// Puts datagrams into `slab`; false if there is more than it takes.
    pub(crate) fn transmit(&mut self, now: Instant, slab: &mut SendSlab) -> bool {
        self.link.as_mut().is_none_or(|link| link.transmit(now, slab))
    }

    /// A request for the server. Call until `None`.
    pub(crate) fn poll_request(&mut self) -> Option<SignalRequest> {
        self.session.poll_request()
    }

    /// Sends a leave.
    pub(crate) fn leave(&mut self) {
        self.session.leave();
    }

    /// Makes the server announce it as a speaker.
    pub(crate) fn simulate_speaker(&mut self, seconds: i32) {
        self.session.simulate_speaker(seconds);
    }

    /// Data messages flow from `at` on, if it is to send some.
    pub(crate) fn begin_data(&mut self, at: Instant) {
        self.next_data = self.data.map(|_| at);
    }

    /// No more data messages.
    pub(crate) fn end_data(&mut self) {
        self.next_data = None;
    }

    /// It sends media.
    pub(crate) fn publishes(&self) -> bool {
        self.publishes
    }

    /// It is in the call.
    pub(crate) fn is_connected(&self) -> bool {
        self.milestones.connected.is_some() && self.ended.is_none()
    }

    /// Packets that are missing so far.
    pub(crate) fn lost(&self) -> u64 {
        self.link.as_ref().map_or(0, Link::lost)
    }

    /// The result so far.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            milestones: self.milestones,
            tallies: self.link.iter().flat_map(Link::tallies).collect(),
            data_sent: self.data_sent,
            data_received: self.data_received,
            ended: self.ended.clone(),
        }
    }

    fn drain_session(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match (event, &mut self.link) {
                (SessionEvent::Joined, _) => self.milestones.joined = Some(now),
                (SessionEvent::Answer(answer), Some(link)) => link.apply(now, &answer),
                (SessionEvent::Answer(answer), None) => {
                    let tracks = std::mem::take(&mut self.tracks);
                    let local = (self.local, self.session.ice());
                    match Link::new(now, local, &self.context, &answer, tracks, &self.seed) {
                        Ok(mut link) => {
                            link.attack(self.attacker.take());
                            for candidate in self.early.drain(..) {
                                link.add_candidate(now, &candidate);
                            }
                            self.link = Some(link);
                        }
                        Err(error) => self.ended = Some(error.to_string()),
                    }
                }
                (SessionEvent::Candidate(candidate), Some(link)) => {
                    link.add_candidate(now, &candidate);
                }
                (SessionEvent::Candidate(candidate), None) => {
                    if self.early.len() < MAX_EARLY {
                        self.early.push(candidate);
                    }
                }
                (SessionEvent::Encodings { cid, wanted }, Some(link)) => {
                    if let Some(track) = link.track_mut(&cid) {
                        track.set_encodings(wanted);
                    }
                }
                (SessionEvent::Encodings { cid, wanted }, None) => {
                    if let Some(track) = self.tracks.iter_mut().find(|t| t.cid() == cid) {
                        track.set_encodings(wanted);
                    }
                }
                (SessionEvent::Ended(why), _) => {
                    self.ended.get_or_insert(why);
                }
            }
        }
    }

    fn drain_link(&mut self, now: Instant, arrivals: &mut Arrivals) {
        while let Some(event) = self.link.as_mut().and_then(|link| link.poll_event(now)) {
            match event {
                PeerEvent::Connected => self.milestones.connected = Some(now),
                PeerEvent::IceFailed => {
                    self.ended.get_or_insert_with(|| "the media connection is silent".to_owned());
                }
                PeerEvent::Closed(reason) => {
                    self.ended
                        .get_or_insert_with(|| format!("the media connection closed: {reason:?}"));
                }
                PeerEvent::ChannelOpen(_) | PeerEvent::PathSilent | PeerEvent::Connectivity(_) => {}
                PeerEvent::Data { payload, .. } => {
                    if let Some(sent) = user_payload(&payload).as_deref().and_then(stamp::find) {
                        self.data_received += 1;
                        arrivals.count_data(sent);
                    }
                }
            }
        }
    }

    fn send_data(&mut self, now: Instant, arrivals: &Arrivals) {
        let (Some(data), Some(link)) = (self.data, &mut self.link) else { return };
        while let Some(due) = self.next_data.filter(|due| *due <= now) {
            self.next_data = Some(due + data.interval);
            let mut payload = vec![0x55; data.size.saturating_sub(stamp::LEN)];
            payload.extend_from_slice(&stamp::write(arrivals.micros(now)));
            let user = UserPacket { payload, ..UserPacket::default() };
            let value = Some(data_packet::Value::User(user));
            let message = DataPacket { value, ..DataPacket::default() }.encode_to_vec();
            let channel = if data.reliable { Channel::Reliable } else { Channel::Lossy };
            self.data_sent += u64::from(link.send_data(now, channel, &Bytes::from(message)));
        }
    }
}

fn user_payload(message: &[u8]) -> Option<Vec<u8>> {
    let value = DataPacket::decode(message).ok()?.value?;
    if let data_packet::Value::User(user) = value { Some(user.payload) } else { None }
}
