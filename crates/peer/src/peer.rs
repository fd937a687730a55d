//! One transport from the first connectivity check to its close: composes ICE, the DTLS handshake, SRTP and SCTP.
//!
//! * **Owns:** [`Ice`], [`DtlsLink`], the SRTP keys, [`Channels`], and the deadlines.
//! * **In:** datagrams, the other side's description, messages to send, time.
//! * **Out:** [`Incoming`] for media, [`PeerEvent`]s, [`Transmit`]s.
//! * **Invariant:** whatever the other side does or stops doing, within 60 s the peer is connected or
//!   closed; after that, 15 s of silence are reported as failed, and 30 s more close it. No close_notify is sent.
//!   Nothing is sent to a client that was silent for 15 s, or to an endpoint without a check for 30 s.
//! * **Spec:** RFC 7675 (consent), RFC 7983 (one port for all), RFC 5764 §5.1.2.

mod connectivity;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_datagram::Endpoint;
use hearth_plane::{
    Channel, CloseReason, Connectivity, HandshakeFailure, IceCredentials, PeerSpec,
    RemoteFingerprints, RemoteParams,
};
use hearth_random::Seed;
use hearth_rtp::{PacketKind, classify};
use hearth_srtp::{Opener, Sealer, SrtpError};

use crate::certificate::{Context, has_fingerprint};
use crate::channels::{ChannelEvent, Channels};
use crate::dtls::{DtlsLink, DtlsOutput};
use crate::error::{DropReason, PeerError, SendDataError};
use crate::ice::Ice;
use crate::sealed::Sealed;
use crate::ssrcs::Ssrcs;
use crate::stage::{PATH_SILENCE, SILENCE_TIMEOUT, Stage};
use connectivity::Witness;

/// From creation until ICE and DTLS are done, as long as a participant has to become active.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a failed transport can be revived. Control gives up earlier, if its client does not come
/// back; this ends transports that no client will resume.
const REVIVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// A flight, a burst of SCTP and some STUN; the owner empties it after every input.
const MAX_TRANSMITS: usize = 256;

/// The result of a received datagram.
#[derive(Debug)]
pub enum Incoming<'b> {
    /// It was for the transport itself: drain [`Peer::poll_transmit`] and [`Peer::poll_event`].
    Consumed,
    /// An RTP packet.
    Rtp {
        /// Plaintext, header included.
        packet: &'b mut [u8],
        /// SRTP's index: rollover counter and sequence number, 48 bits.
        index: u64,
    },
    /// A compound RTCP packet, plaintext.
    Rtcp(&'b [u8]),
    /// It is not used.
    Dropped(DropReason),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// ICE and DTLS are done for the first time.
    Connected,
    /// No authenticated datagram for 3.9 s over UDP, and the client may have a way over TCP.
    PathSilent,
    /// No authenticated datagram for 15 s. An ICE restart, or the network, may revive the transport.
    IceFailed,
    /// What was seen of the client's way here: now and then while the transport connects, and before it fails.
    Connectivity(Box<Connectivity>),
    /// The transport is of no more use. Nothing follows.
    Closed(CloseReason),
    /// A data channel can be written to.
    ChannelOpen(Channel),
    /// A message arrived.
    Data {
        /// On which channel.
        channel: Channel,
        /// The message, at most 65,535 bytes.
        payload: Bytes,
    },
}

impl From<ChannelEvent> for PeerEvent {
    fn from(event: ChannelEvent) -> Self {
        match event {
            ChannelEvent::Open(channel) => Self::ChannelOpen(channel),
            ChannelEvent::Data { channel, payload } => Self::Data { channel, payload },
        }
    }
}

/// A datagram to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// Where from and where to.
    pub path: Endpoint,
    /// STUN or DTLS.
    pub payload: Vec<u8>,
}

/// One ICE, DTLS and SRTP association: one `RTCPeerConnection`.
///
/// Order of calls (sans-IO): after every input (`set_…`, `restart_ice`, `handle_…`, `send_data`) drain
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) until `None`, then read
/// [`poll_timeout`](Self::poll_timeout) for the next deadline.
pub struct Peer {
    ice: Ice,
    dtls: DtlsLink,
    /// ICE credentials and fingerprint of the remote description.
    fingerprints: Option<RemoteFingerprints>,
    handshake: Handshake,
    witness: Witness,
    keys: Option<Box<(Sealer, Opener)>>,
    ssrcs: Ssrcs,
    sealed: Sealed,
    channels: Option<Channels>,
    opens_channels: bool,
    stage: Stage,
    transmits: VecDeque<Transmit>,
    events: VecDeque<PeerEvent>,
    next: Option<Instant>,
    seed: Seed,
}

/// The progress of the DTLS handshake.
#[derive(Clone, Copy, Debug, Default)]
struct Handshake {
    /// The certificate is the one of the description.
    verified: bool,
    done: bool,
    /// Where it came from, for the answer if no path is nominated yet.
    from: Option<Endpoint>,
}

impl Peer {
    /// Starts a transport, which has 60 s to find a path and finish the handshake.
    ///
    /// * `seed` – for everything random but the keys of DTLS; no other transport may have the same.
    ///
    /// # Errors
    ///
    /// [`PeerError::Candidate`] if none of our addresses can be a candidate.
    pub fn new(
        now: Instant,
        spec: &PeerSpec,
        context: &Context,
        seed: &Seed,
    ) -> Result<Self, PeerError> {
        let mut peer = Self {
            ice: Ice::new(now, spec, seed)?,
            dtls: DtlsLink::new(now, context),
            fingerprints: None,
            handshake: Handshake::default(),
            witness: Witness::new(now),
            keys: None,
            ssrcs: Ssrcs::default(),
            sealed: Sealed::default(),
            channels: None,
            opens_channels: spec.open_channels,
            stage: Stage::Checking { deadline: now + CONNECT_TIMEOUT },
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            next: None,
            seed: seed.clone(),
        };
        if let Some(remote) = &spec.remote {
            peer.set_remote(now, remote);
        }
        peer.settle(now);
        Ok(peer)
    }

    /// Applies the remote description; ICE credentials other than before are an ICE restart.
    /// Another fingerprint than before would be a new peer, and is ignored.
    pub fn set_remote(&mut self, now: Instant, remote: &RemoteParams) {
        if self.fingerprints.is_none() {
            self.fingerprints = Some(remote.fingerprints.clone());
            self.dtls.set_role(remote.role);
        }
        if self.ice.set_remote(now, &remote.ice) {
            self.revive(now);
        }
        self.settle(now);
    }

    /// New credentials of ours; DTLS and SRTP go on over the old path until there is a new one.
    pub fn restart_ice(&mut self, now: Instant, local: &IceCredentials) {
        self.ice.restart(now, local);
        self.revive(now);
        self.settle(now);
    }

    /// A trickled candidate (RFC 8839 §5.1), with or without `a=`. Useless ones are ignored.
    pub fn add_remote_candidate(&mut self, now: Instant, candidate: &str) {
        self.ice.add_remote_candidate(now, candidate);
        self.settle(now);
    }

    /// Takes a datagram. STUN and DTLS are consumed; RTP and RTCP are opened in place.
    ///
    /// * `from` – the endpoint it came by; its local end is the address it was sent to as this machine sees it,
    ///   which need not be an advertised one.
    pub fn handle_datagram<'b>(
        &mut self,
        now: Instant,
        from: Endpoint,
        buf: &'b mut [u8],
    ) -> Incoming<'b> {
        if matches!(self.stage, Stage::Closed) {
            return Incoming::Dropped(DropReason::Closed);
        }
        match classify(buf) {
            PacketKind::Rtp => self.open_rtp(now, from, buf),
            PacketKind::Rtcp => self.open_rtcp(now, from, buf),
            PacketKind::Stun => {
                if !self.ice.handle_packet(now, from, buf) {
                    return Incoming::Dropped(DropReason::Stun);
                }
                self.handle_received(now);
                self.settle(now);
                Incoming::Consumed
            }
            PacketKind::Dtls => {
                if self.fingerprints.is_none() || !self.ice.is_proven(from) {
                    return Incoming::Dropped(DropReason::UnprovenAddress);
                }
                if !self.handshake.done {
                    self.handshake.from = Some(from);
                    self.witness.handle_dtls();
                }
                self.dtls.handle_packet(now, buf);
                self.settle(now);
                Incoming::Consumed
            }
            PacketKind::Unknown => Incoming::Dropped(DropReason::Unknown),
        }
    }

    /// The TCP connection of `path` is closed: nothing leaves by it any more.
    pub fn handle_path_closed(&mut self, now: Instant, path: Endpoint) {
        self.ice.forget(path);
        self.handshake.from.take_if(|from| *from == path);
        self.settle(now);
    }

    /// Handles deadlines that have passed. Early, late and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.report_progress(now);
        let expired = match self.stage {
            Stage::Checking { deadline } if now >= deadline => Some(CloseReason::IceTimeout),
            Stage::Handshaking { deadline } if now >= deadline => Some(CloseReason::DtlsTimeout),
            Stage::Failed { deadline } if now >= deadline => Some(CloseReason::Silence),
            Stage::Connected { last_received, .. } if now >= last_received + SILENCE_TIMEOUT => {
                self.report_silence(now, last_received);
                self.stage = Stage::Failed { deadline: now + REVIVAL_TIMEOUT };
                self.events.push_back(PeerEvent::IceFailed);
                None
            }
            Stage::Connected { last_received, told: false }
                if now >= last_received + PATH_SILENCE && self.ice.has_tcp_left() =>
            {
                self.stage = Stage::Connected { last_received, told: true };
                self.events.push_back(PeerEvent::PathSilent);
                None
            }
            Stage::Closed => return,
            Stage::Checking { .. }
            | Stage::Handshaking { .. }
            | Stage::Connected { .. }
            | Stage::Failed { .. } => None,
        };
        if let Some(reason) = expired {
            self.fail(now, reason);
            return;
        }
        self.ice.handle_timeout(now);
        self.handshake.from = self
            .handshake
            .from
            .filter(|from| self.ice.consent_until(*from).is_some_and(|end| now < end));
        self.dtls.handle_timeout(now);
        if let Some(channels) = &mut self.channels {
            channels.handle_timeout(now);
        }
        self.settle(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` once closed.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The next event. Call until `None`.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// The next STUN or DTLS datagram to send; call until `None`. Media is the caller's to send, sealed by
    /// [`seal_rtp`](Self::seal_rtp).
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Sends a message on a channel; drain [`poll_transmit`](Self::poll_transmit) afterwards.
    ///
    /// # Errors
    ///
    /// See [`SendDataError`]; the message is lost.
    pub fn send_data(
        &mut self,
        now: Instant,
        channel: Channel,
        payload: &Bytes,
    ) -> Result<(), SendDataError> {
        let channels = self.channels.as_mut().ok_or(SendDataError::NotOpen)?;
        let sent = channels.send(now, channel, payload);
        self.settle(now);
        sent
    }

    /// The room has processed reliable messages: as many more bytes, as [`data_cost`](hearth_plane::data_cost)
    /// counts them, are read from the client (SCTP flow control).
    pub fn handle_data_taken(&mut self, now: Instant, bytes: u32) {
        if let Some(channels) = &mut self.channels {
            channels.handle_taken(now, bytes);
            self.settle(now);
        }
    }

    /// ICE and DTLS are done, and the peer is not silent.
    pub const fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected { .. })
    }

    /// Where to send media: the nominated path, or, where we are a lite agent, until there is one the
    /// proven endpoint that the handshake came by. A browser may nominate a second after it has
    /// begun. A full agent has checks of its own, and waits for them. None while the peer is silent.
    pub fn path(&self) -> Option<Endpoint> {
        self.path_in_use().copied()
    }

    /// The path that ICE has nominated.
    pub fn nominated_path(&self) -> Option<Endpoint> {
        self.ice.path().copied()
    }

    /// The ufrags that connectivity checks for this peer may name: one, and during an ICE restart
    /// also the one before.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    /// Encrypts an RTP packet in place; returns the length to send, `None` before there are keys.
    ///
    /// * `packet` – `len` bytes of plaintext, then at least 16 bytes of room.
    /// * `index` – sequence number with a rollover counter that is zero for the first packet of the
    ///   SSRC; never the same for two different packets.
    pub fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header_len: usize,
        index: u64,
    ) -> Option<usize> {
        let (sealer, _) = &mut **self.keys.as_mut()?;
        self.sealed.note(packet.get(..len)?, index);
        let sealed = sealer.seal_rtp(packet, header_len, len, index);
        self.check_sealed(sealed)
    }

    /// Begins to send media under `ssrc`; false if that was begun before, for a stream that may have ended: two
    /// streams of one SSRC would use the same SRTP indices.
    #[must_use]
    pub fn claim_ssrc(&mut self, ssrc: u32) -> bool {
        self.ssrcs.claim(ssrc)
    }

    /// Reads what [`seal_rtp`](Self::seal_rtp) and [`path`](Self::path) will need, so that
    /// the memory brings it.
    pub fn prefetch(&self) -> (Option<u16>, bool) {
        let port = self.path_in_use().map(|path| path.remote.port());
        (port, self.keys.as_ref().is_some_and(|keys| keys.0.prefetch()))
    }

    /// Encrypts a compound RTCP packet in place; returns the length to send, `None` before there are
    /// keys.
    ///
    /// * `packet` – `len` bytes of plaintext, then at least 20 bytes of room.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        let (sealer, _) = &mut **self.keys.as_mut()?;
        let sealed = sealer.seal_rtcp(packet, len);
        self.check_sealed(sealed)
    }

    /// Every packet to a subscriber asks, and copies it once.
    fn path_in_use(&self) -> Option<&Endpoint> {
        if matches!(self.stage, Stage::Failed { .. }) {
            return None;
        }
        let proven = self.handshake.from.as_ref();
        let unchosen = || proven.filter(|_| self.ice.is_lite() && !self.ice.has_chosen());
        self.ice.path().or_else(unchosen)
    }

    fn open_rtp<'b>(&mut self, now: Instant, from: Endpoint, buf: &'b mut [u8]) -> Incoming<'b> {
        let Some(keys) = &mut self.keys else {
            return Incoming::Dropped(DropReason::NoKeys);
        };
        match keys.1.open_rtp(buf) {
            Ok(opened) => {
                self.handle_received(now);
                self.ice.handle_media(from);
                let packet = buf.get_mut(..opened.len).unwrap_or_default();
                Incoming::Rtp { packet, index: opened.index }
            }
            Err(error) => Incoming::Dropped(error.into()),
        }
    }

    fn open_rtcp<'b>(&mut self, now: Instant, from: Endpoint, buf: &'b mut [u8]) -> Incoming<'b> {
        let Some(keys) = &mut self.keys else {
            return Incoming::Dropped(DropReason::NoKeys);
        };
        match keys.1.open_rtcp(buf) {
            Ok(opened) => {
                self.handle_received(now);
                self.ice.handle_media(from);
                Incoming::Rtcp(buf.get(..opened.len).unwrap_or_default())
            }
            Err(error) => Incoming::Dropped(error.into()),
        }
    }

    /// Keys that are used up end the transport: the client reconnects and gets others (RFC 3711 §9.2).
    fn check_sealed(&mut self, sealed: Result<usize, SrtpError>) -> Option<usize> {
        if sealed == Err(SrtpError::UsedUp) {
            self.close(CloseReason::KeysUsedUp);
        }
        sealed.ok()
    }

    /// Something authenticated arrived.
    fn handle_received(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Connected { last_received, told } => (*last_received, *told) = (now, false),
            Stage::Failed { .. } => self.stage = Stage::connected(now),
            Stage::Checking { .. } | Stage::Handshaking { .. } | Stage::Closed => {}
        }
        self.report_sound();
    }

    /// An ICE restart begins: a failed transport gets the silence limit anew to be reached.
    fn revive(&mut self, now: Instant) {
        if let Stage::Failed { .. } = self.stage {
            self.stage = Stage::connected(now);
        }
    }

    /// Moves what one part produced to where it belongs, until nothing is left.
    fn settle(&mut self, now: Instant) {
        loop {
            if matches!(self.stage, Stage::Closed) {
                return;
            }
            if let Some((path, payload)) = self.ice.poll_transmit() {
                self.transmit(path, payload);
            } else if let Some(output) = self.dtls.poll_output() {
                self.handle_dtls(now, output);
            } else if let Some(packet) = self.channels.as_mut().and_then(Channels::poll_packet) {
                self.dtls.send(&packet);
            } else if let Some(event) = self.channels.as_mut().and_then(Channels::poll_event) {
                self.events.push_back(event.into());
            } else {
                break;
            }
        }
        self.advance(now);
        let deadline = match self.stage {
            Stage::Checking { deadline } | Stage::Handshaking { deadline } => {
                Some(deadline.min(self.witness.next()))
            }
            Stage::Failed { deadline } => Some(deadline),
            Stage::Connected { last_received, told: false } if self.ice.has_tcp_left() => {
                Some(last_received + PATH_SILENCE)
            }
            Stage::Connected { last_received, .. } => Some(last_received + SILENCE_TIMEOUT),
            // The handshake failed as it began.
            Stage::Closed => return,
        };
        let channels = self.channels.as_ref().and_then(Channels::poll_timeout);
        let consent = self.handshake.from.and_then(|from| self.ice.consent_until(from));
        let consent = consent.filter(|_| !self.ice.has_chosen());
        let parts =
            [deadline, self.ice.poll_timeout(), self.dtls.poll_timeout(), channels, consent];
        self.next = parts.into_iter().flatten().min();
    }

    /// Enters the next stage if its condition holds.
    fn advance(&mut self, now: Instant) {
        if let Stage::Checking { deadline } = self.stage
            && self.path().is_some()
        {
            self.stage = Stage::Handshaking { deadline };
        }
        if let Stage::Handshaking { .. } = self.stage
            && self.fingerprints.is_some()
            && self.dtls.begin(now)
        {
            return self.settle(now);
        }
        if let Stage::Handshaking { .. } = self.stage
            && self.handshake.done
            && self.keys.is_some()
        {
            self.stage = Stage::connected(now);
            self.events.push_front(PeerEvent::Connected);
        }
    }

    fn handle_dtls(&mut self, now: Instant, output: DtlsOutput) {
        match output {
            DtlsOutput::Packet(payload) => {
                let unchosen = self.handshake.from.filter(|_| !self.ice.has_chosen());
                if let Some(path) = self.ice.path().copied().or(unchosen)
                    && !matches!(self.stage, Stage::Failed { .. })
                {
                    self.transmit(path, payload);
                }
            }
            DtlsOutput::Certificate(der) => {
                let expected = self.fingerprints.as_ref();
                self.handshake.verified = expected.is_some_and(|f| has_fingerprint(&der, f));
                if !self.handshake.verified {
                    self.fail_handshake(now, HandshakeFailure::Fingerprint);
                }
            }
            DtlsOutput::Keys(keys) => {
                // The same keys once more would begin to count the SRTCP indices anew.
                self.keys.get_or_insert(keys);
            }
            DtlsOutput::Connected if self.handshake.verified => {
                self.handshake.done = true;
                if self.opens_channels {
                    self.channels = Some(Channels::new(now, Some(self.dtls.role()), &self.seed));
                }
            }
            DtlsOutput::Connected => self.fail_handshake(now, HandshakeFailure::Fingerprint),
            DtlsOutput::Data(packet) => {
                self.handle_received(now);
                self.channels
                    .get_or_insert_with(|| Channels::new(now, None, &self.seed))
                    .handle_packet(now, &packet);
            }
            DtlsOutput::Closed => self.close(CloseReason::PeerClosed),
            DtlsOutput::Failed(failure) => self.fail_handshake(now, failure),
        }
    }

    fn transmit(&mut self, path: Endpoint, payload: Vec<u8>) {
        if self.transmits.len() < MAX_TRANSMITS {
            self.transmits.push_back(Transmit { path, payload });
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if let Some(channels) = &mut self.channels {
            channels.read_rest();
            let rest = std::iter::from_fn(|| channels.poll_event());
            self.events.extend(rest.map(PeerEvent::from));
        }
        self.stage = Stage::Closed;
        self.next = None;
        self.keys = None;
        self.channels = None;
        self.transmits.clear();
        self.events.push_back(PeerEvent::Closed(reason));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("stage", &self.stage)
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
}
