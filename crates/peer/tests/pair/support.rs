//! A client made of the same libraries on the other side, and a network between the two.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dcsctp::api::{DcSctpSocket, Message, Options, PpId, SendOptions, SocketEvent, SocketTime};
use dimpl::{Dtls, Output};
use hearth_datagram::Endpoint;
use hearth_peer::{Certificate, Context, Incoming, Peer, PeerEvent};
use hearth_plane::{DtlsRole, Fingerprint, IceCredentials, LocalCandidate, PeerSpec, RemoteParams};
use hearth_random::Seed;
use hearth_srtp::{Opener, Profile, Sealer, Session};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceCreds, Protocol};

/// The node's certificate and configuration, made once for all tests.
pub(crate) fn context() -> (Context, Fingerprint) {
    static CONTEXT: OnceLock<(Context, Fingerprint)> = OnceLock::new();
    CONTEXT
        .get_or_init(|| {
            let certificate = Arc::new(Certificate::generate().unwrap());
            (Context::new(Arc::clone(&certificate)).unwrap(), certificate.fingerprint())
        })
        .clone()
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn server_addr() -> SocketAddr {
    "10.0.0.1:7882".parse().unwrap()
}

pub(crate) fn client_addr() -> SocketAddr {
    "10.0.0.2:40000".parse().unwrap()
}

pub(crate) fn server_credentials(n: u32) -> IceCredentials {
    IceCredentials { ufrag: format!("00server{n}"), pwd: "a-password-of-the-server".into() }
}

/// The spec of the usual peer.
pub(crate) fn spec(lite: bool, open_channels: bool, remote: Option<RemoteParams>) -> PeerSpec {
    PeerSpec {
        local: server_credentials(0),
        ice_lite: lite,
        ice_controlling: false,
        local_candidates: vec![LocalCandidate::udp(server_addr())],
        remote,
        open_channels,
    }
}

/// The other side.
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) ice: IceAgent,
    pub(crate) dtls: Dtls,
    pub(crate) sctp: Box<dyn DcSctpSocket>,
    pub(crate) keys: Option<(Sealer, Opener)>,
    pub(crate) dtls_done: bool,
    pub(crate) messages: Vec<Message>,
    pub(crate) media: Vec<Vec<u8>>,
    pub(crate) fingerprint: Fingerprint,
    started: bool,
    start: Instant,
    path: bool,
    dtls_at: Option<Instant>,
    out: VecDeque<Vec<u8>>,
}

impl Client {
    pub(crate) fn new(now: Instant) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.certificate);
        let fingerprint = Fingerprint(digest.as_ref().try_into().unwrap());
        let config = dimpl::Config::builder().build().unwrap();
        let mut dtls = Dtls::new_12(Arc::new(config), certificate, now);
        dtls.set_active(true);
        let mut ice = IceAgent::new(IceCreds::new());
        ice.set_controlling(true);
        ice.add_local_candidate(Candidate::host(client_addr(), "udp").unwrap());
        Self {
            addr: client_addr(),
            ice,
            dtls,
            sctp: dcsctp::new_socket("", &Options::default()),
            keys: None,
            dtls_done: false,
            messages: Vec::new(),
            media: Vec::new(),
            fingerprint,
            started: false,
            start: now,
            path: false,
            dtls_at: None,
            out: VecDeque::new(),
        }
    }

    /// Credentials and fingerprint of its description.
    pub(crate) fn params(&self) -> RemoteParams {
        let creds = self.ice.local_credentials();
        let ice = IceCredentials { ufrag: creds.ufrag.clone(), pwd: creds.pass.clone() };
        RemoteParams { ice, fingerprints: self.fingerprint.into(), role: DtlsRole::Server }
    }

    /// Takes the server's description.
    pub(crate) fn set_remote(&mut self, local: &IceCredentials) {
        let creds = IceCreds { ufrag: local.ufrag.clone(), pass: local.pwd.clone() };
        self.ice.set_remote_credentials(creds);
        self.ice.add_remote_candidate(Candidate::host(server_addr(), "udp").unwrap());
    }

    pub(crate) fn handle(&mut self, now: Instant, buf: &mut [u8]) {
        match hearth_rtp::classify(buf) {
            hearth_rtp::PacketKind::Stun => {
                let message = StunMessage::parse(buf).unwrap();
                let (source, destination) = (server_addr(), client_addr());
                let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
                self.ice.handle_packet(now, packet);
            }
            hearth_rtp::PacketKind::Dtls => {
                self.dtls.handle_timeout(now).unwrap();
                self.dtls.handle_packet(buf).unwrap();
            }
            hearth_rtp::PacketKind::Rtp => {
                let opened = self.keys.as_mut().unwrap().1.open_rtp(buf).unwrap();
                self.media.push(buf[..opened.len].to_vec());
            }
            hearth_rtp::PacketKind::Rtcp | hearth_rtp::PacketKind::Unknown => {}
        }
        self.run(now);
    }

    pub(crate) fn run(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        while let Some(event) = self.ice.poll_event() {
            self.path |= matches!(event, is::IceAgentEvent::NominatedSend { .. });
        }
        while let Some(transmit) = self.ice.poll_transmit() {
            self.out.push_back(transmit.contents.into());
        }
        if !self.path {
            return;
        }
        self.dtls.handle_timeout(now).unwrap();
        self.pump(now);
        self.sctp.advance_time(SocketTime::zero() + (now - self.start));
        loop {
            while let Some(message) = self.sctp.get_next_message() {
                if message.ppid == PpId(50) && message.payload.first() == Some(&3) {
                    let ack = Message::new(message.stream_id, PpId(50), vec![2]);
                    self.sctp.send(ack, &SendOptions::default()).unwrap();
                } else {
                    self.messages.push(message);
                }
            }
            let Some(event) = self.sctp.poll_event() else { break };
            if let SocketEvent::SendPacket(packet) = event {
                // Fails after a goodbye.
                let _ = self.dtls.send_application_data(&packet);
                self.pump(now);
            }
        }
    }

    fn pump(&mut self, now: Instant) {
        let mut buf = [0; 4_096];
        loop {
            match self.dtls.poll_output(&mut buf) {
                Output::Packet(packet) => self.out.push_back(packet.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        dimpl::SrtpProfile::AES128_CM_SHA1_80 | _ => panic!("not the best profile"),
                    };
                    self.keys = Some(Session::from_dtls(profile, &material, false).unwrap());
                }
                Output::Connected => {
                    self.dtls_done = true;
                    if !std::mem::replace(&mut self.started, true) {
                        self.sctp.advance_time(SocketTime::zero() + (now - self.start));
                        self.sctp.connect();
                    }
                }
                Output::ApplicationData(data) => self.sctp.handle_input(data),
                Output::Timeout(at) => {
                    self.dtls_at = Some(at);
                    return;
                }
                Output::PeerCert(_) | Output::CloseNotify => {}
                Output::BufferTooSmall { .. } | _ => panic!("an output of another kind"),
            }
        }
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let ice = self.ice.poll_timeout();
        let sctp = self.sctp.poll_timeout();
        let sctp = (sctp != SocketTime::infinite_future())
            .then(|| self.start + (sctp - SocketTime::zero()));
        [ice, self.dtls_at.filter(|_| self.path), sctp.filter(|_| self.started)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Both sides and 10 ms of network each way.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) t0: Instant,
    pub(crate) server: Peer,
    pub(crate) client: Client,
    pub(crate) events: Vec<(Duration, PeerEvent)>,
    /// Plaintext RTP at the server.
    pub(crate) media: Vec<(u64, Vec<u8>)>,
    pub(crate) rtcp: Vec<Vec<u8>>,
    /// Packet loss in percent, in both directions.
    pub(crate) loss: u64,
    /// From the client's side only: it vanished.
    pub(crate) cut: bool,
    /// Nothing of the server reaches the client.
    pub(crate) deaf: bool,
    /// How many datagrams the server sent.
    pub(crate) sent: usize,
    /// When, and where.
    pub(crate) sent_to: Vec<(Duration, SocketAddr)>,
    pub(crate) lost: usize,
    rng: u64,
    /// When, to the server, what.
    wire: VecDeque<(Instant, bool, SocketAddr, Vec<u8>)>,
}

const DELAY: Duration = Duration::from_millis(10);

impl Pair {
    pub(crate) fn new(server: Peer, mut client: Client, t0: Instant, seed: u64) -> Self {
        client.run(t0);
        Self {
            now: t0,
            t0,
            server,
            client,
            events: Vec::new(),
            media: Vec::new(),
            rtcp: Vec::new(),
            loss: 0,
            cut: false,
            deaf: false,
            sent: 0,
            sent_to: Vec::new(),
            lost: 0,
            rng: seed,
            wire: VecDeque::new(),
        }
    }

    /// The usual pair: the client offered, the server answers.
    pub(crate) fn offered(lite: bool, open_channels: bool, seed: u64) -> Self {
        let t0 = epoch();
        let mut client = Client::new(t0);
        let spec = spec(lite, open_channels, Some(client.params()));
        client.set_remote(&spec.local);
        let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(seed)).unwrap();
        Self::new(server, client, t0, seed)
    }

    /// Sends a datagram to the server, like the client's.
    pub(crate) fn inject(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        self.wire.push_back((self.now + DELAY, true, from, datagram));
    }

    /// Sends a datagram of the server.
    pub(crate) fn inject_to_client(&mut self, datagram: Vec<u8>) {
        self.wire.push_back((self.now + DELAY, false, server_addr(), datagram));
    }

    /// Runs until `until` after the beginning, or until `done`.
    pub(crate) fn run(&mut self, until: Duration, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let wire = self.wire.iter().map(|(at, ..)| *at).min();
            let client = if self.cut { None } else { self.client.poll_timeout() };
            let next = [wire, self.server.poll_timeout(), client];
            let Some(next) = next.into_iter().flatten().min() else { return false };
            // Ice asks for a wake-up at or before now if something is queued.
            self.now = next.max(self.now + Duration::from_micros(100));
            if self.now > self.t0 + until {
                self.now = self.t0 + until;
                return false;
            }
            self.step();
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now - self.t0 + time;
        self.run(until, |_| false);
    }

    fn step(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.wire.iter().filter(|(at, ..)| *at <= now).cloned().collect();
        self.wire.retain(|(at, ..)| *at > now);
        for (_, to_server, from, mut datagram) in due {
            if !to_server {
                if !self.cut {
                    self.client.handle(now, &mut datagram);
                }
                continue;
            }
            match self.server.handle_datagram(
                now,
                Endpoint::udp(server_addr(), from),
                &mut datagram,
            ) {
                Incoming::Rtp { packet, index } => self.media.push((index, packet.to_vec())),
                Incoming::Rtcp(packet) => self.rtcp.push(packet.to_vec()),
                Incoming::Consumed | Incoming::Dropped(_) => {}
            }
        }
        if self.server.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
            assert!(self.server.poll_timeout().is_none_or(|at| at > now - Duration::from_secs(1)));
        }
        if !self.cut {
            self.client.run(now);
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.server.poll_transmit() {
            self.sent += 1;
            self.sent_to.push((self.now - self.t0, transmit.path.remote));
            let reaches = transmit.path.remote == self.client.addr && !self.deaf;
            if reaches && !self.loses() {
                self.inject_to_client(transmit.payload);
            }
        }
        while let Some(event) = self.server.poll_event() {
            self.events.push((self.now - self.t0, event));
        }
        while let Some(datagram) = self.client.out.pop_front() {
            if !self.cut && !self.loses() {
                self.inject(self.client.addr, datagram);
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let lost = (self.rng >> 33) % 100 < self.loss;
        self.lost += usize::from(lost);
        lost
    }

    pub(crate) fn has(&self, event: &PeerEvent) -> bool {
        self.events.iter().any(|(_, e)| e == event)
    }
}
