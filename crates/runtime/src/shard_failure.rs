//! A media thread that fails beside a call of eight on another one: real threads, a real port on loopback.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_metrics::Metric;
use hearth_plane::{
    Command, DownId, DownTrackSpec, EncodingSpec, Event, IceCredentials, LocalCandidate, PeerId,
    PeerSpec, RoomId, SendCodec, ShardId, Source, TrackId, UpTrackSpec,
};
use hearth_random::Seed;
use hearth_room::RoomConfig;
use hearth_rtp::ExtensionIds;
use hearth_testkit::{Client, Received, audio_codecs};
use hearth_units::MediaKind;

use crate::failures::MAX_FAILURES;
use crate::room_events::{EventReceiver, channel};
use crate::shard_link::{RoomShards, ShardInput, ShardLink};
use crate::shard_thread::Fault;
use crate::{NodeConfig, WallClock, start};

const PATIENCE: Duration = Duration::from_secs(20);
const HIT: ShardId = ShardId(0);
const BESIDE: ShardId = ShardId(1);
const SSRC: u32 = 0x1234;

/// Two shards, and a room with its transports.
struct Site {
    shards: Arc<[ShardLink]>,
    server: SocketAddr,
    _started: start::Started,
}

/// A room of the test's own.
struct Den {
    room: RoomId,
    shards: RoomShards,
    events: EventReceiver,
    phones: Vec<Phone>,
}

/// A client with a socket.
struct Phone {
    socket: UdpSocket,
    client: Client,
    /// Sequence numbers of the audio that came.
    heard: Vec<u16>,
}

impl Site {
    fn start() -> Self {
        let config = NodeConfig {
            shards: 2,
            room_share: 1,
            udp_bind: vec!["127.0.0.1:0".parse().unwrap()],
            udp_ports: 1,
            tcp_port: None,
            tcp_shared: false,
            force_tcp: false,
            advertised: Vec::new(),
            advertise_loopback: true,
            turn: None,
            auto_create: true,
            room: RoomConfig::default(),
            seed: Seed::fixed(1),
        };
        let started = start::start(config).unwrap();
        let server = SocketAddr::from(([127, 0, 0, 1], started.udp_ports[0]));
        Self { shards: Arc::clone(&started.shards), server, _started: started }
    }

    fn den(&self, room: u32) -> Den {
        let (sender, events) = channel();
        let room = RoomId(room);
        let shards = RoomShards::new(room, Arc::clone(&self.shards), sender);
        Den { room, shards, events, phones: Vec::new() }
    }

    async fn inject(&self, fault: Fault) {
        assert!(self.link().send(ShardInput::Fault(fault)).await);
    }

    /// A socket whose datagrams the kernel gives to `shard`. No other datagram may be sent meanwhile.
    fn socket_to(&self, shard: ShardId) -> UdpSocket {
        let received =
            || self.shards.iter().map(|link| link.gauges().counts.get(Metric::DatagramsReceived));
        loop {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let before: Vec<u64> = received().collect();
            socket.send_to(&[0; 20], self.server).unwrap();
            while received().eq(before.iter().copied()) {
                std::thread::yield_now();
            }
            if received().nth(usize::from(shard.0)) != Some(before[usize::from(shard.0)]) {
                return socket;
            }
        }
    }

    fn link(&self) -> &ShardLink {
        &self.shards[usize::from(HIT.0)]
    }

    fn failures(&self) -> u64 {
        self.link().gauges().counts.get(Metric::ShardFailures)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shards.iter().for_each(ShardLink::stop);
    }
}

impl Den {
    /// Another transport on `shard`, connecting.
    async fn add(&mut self, shard: ShardId, server: SocketAddr) -> PeerId {
        self.add_with(UdpSocket::bind("127.0.0.1:0").unwrap(), shard, server).await
    }

    async fn add_with(&mut self, socket: UdpSocket, shard: ShardId, server: SocketAddr) -> PeerId {
        let n = self.phones.len() as u32;
        let peer = PeerId { room: self.room, n };
        socket.connect(server).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut client = Client::new(WallClock::now(), socket.local_addr().unwrap(), server);
        let ufrag = format!("{:02x}room{}phone{n}", shard.0, self.room.0);
        let local = IceCredentials { ufrag, pwd: "a-password-of-the-server".to_owned() };
        let spec = PeerSpec {
            local: local.clone(),
            ice_lite: true,
            ice_controlling: false,
            local_candidates: vec![LocalCandidate::udp(server)],
            remote: Some(client.params()),
            open_channels: false,
        };
        let command = Command::AddPeer { peer, spec: Box::new(spec) };
        assert!(self.shards.send(shard, command).await);
        client.set_remote(WallClock::now(), &local);
        self.phones.push(Phone { socket, client, heard: Vec::new() });
        peer
    }

    /// The first phone publishes audio, all others get it.
    async fn call(&mut self, shard: ShardId) {
        let track = TrackId { room: self.room, n: 0 };
        let peer = |n| PeerId { room: self.room, n };
        let spec = UpTrackSpec {
            source: Source::Local(peer(0)),
            kind: MediaKind::Audio,
            mid: "0".to_owned(),
            codecs: audio_codecs(),
            extensions: ExtensionIds::default(),
            encodings: vec![EncodingSpec { ssrc: Some(SSRC), ..EncodingSpec::default() }],
            nack: false,
            measure_level: false,
        };
        let mut commands = vec![Command::SetUpTrack { track, spec: Box::new(spec) }];
        commands.extend((1..self.phones.len() as u32).map(|n| {
            let spec = DownTrackSpec {
                down: DownId { room: self.room, n },
                peer: peer(n),
                track,
                ssrc: 0x100 + n,
                rtx_ssrc: None,
                codecs: vec![SendCodec { codec: Codec::Opus, pt: 111, rtx_pt: None }],
                extensions: ExtensionIds::default(),
                cname: "publisher".to_owned(),
            };
            Command::SetDownTrack { spec: Box::new(spec), limit: hearth_plane::LayerLimit::ALL }
        }));
        for command in commands {
            assert!(self.shards.send(shard, command).await);
        }
    }

    /// Lets the clients work until `done`.
    fn run_until(&mut self, done: impl Fn(&[Phone]) -> bool) -> bool {
        let end = WallClock::now() + PATIENCE;
        while !done(&self.phones) {
            let now = WallClock::now();
            if now > end {
                return false;
            }
            self.phones.iter_mut().for_each(|phone| phone.run(now));
            std::thread::yield_now();
        }
        true
    }

    fn connect(&mut self) {
        assert!(self.run_until(|phones| phones.iter().all(|p| p.client.is_connected())));
    }

    /// The next event that is not a report.
    async fn event(&mut self) -> Event {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap();
            if !event.may_be_lost() {
                return event;
            }
        }
    }
}

impl Phone {
    fn run(&mut self, now: Instant) {
        self.client.run(now);
        while let Some(datagram) = self.client.poll_transmit() {
            self.socket.send(&datagram).unwrap();
        }
        let mut buf = [0; 2_048];
        loop {
            match self.socket.recv(&mut buf) {
                Ok(len) => {
                    if let Received::Rtp(packet) = self.client.handle(now, &mut buf[..len]) {
                        self.heard.push(u16::from_be_bytes([packet[2], packet[3]]));
                    }
                }
                Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    /// Audio packet number `n`.
    fn speak(&mut self, n: u16) {
        let mut packet = vec![0x80, 111];
        packet.extend_from_slice(&n.to_be_bytes());
        packet.extend_from_slice(&(u32::from(n) * 960).to_be_bytes());
        packet.extend_from_slice(&SSRC.to_be_bytes());
        packet.extend_from_slice(&[0xfc; 20]);
        self.client.send_rtp(12, &packet, u64::from(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_media_thread_that_fails_costs_its_own_and_a_call_of_eight_beside_it_loses_no_packet() {
    let site = Site::start();
    // The publisher's packets pass through the thread that fails.
    let publisher = site.socket_to(HIT);
    let mut hit = site.den(1);
    hit.add(HIT, site.server).await;
    hit.connect();
    let mut call = site.den(2);
    call.add_with(publisher, BESIDE, site.server).await;
    for _ in 1..8 {
        call.add(BESIDE, site.server).await;
    }
    call.connect();
    call.call(BESIDE).await;
    assert_eq!(hit.event().await, Event::PeerConnected { peer: PeerId { room: hit.room, n: 0 } });

    let faults = [Fault::Panic, Fault::InBatch, Fault::Poller, Fault::InBatch, Fault::Panic];
    let mut faults = faults.into_iter();
    let mut injected = 0;
    for n in 0..100_u16 {
        if n % 20 == 10 {
            site.inject(faults.next().unwrap()).await;
            injected += 1;
        }
        (n * 8..n * 8 + 8).for_each(|n| call.phones[0].speak(n));
        let last = usize::from(n + 1) * 8;
        let all = |phones: &[Phone]| phones[1..].iter().all(|phone| phone.heard.len() >= last);
        assert!(call.run_until(all), "after {n} runs and {injected} failures");
        if n % 20 == 10 {
            // A thread that waits for a datagram gets connectivity checks of an unknown endpoint.
            let end = WallClock::now() + PATIENCE;
            while site.failures() < injected {
                let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
                stranger.send_to(&[0; 20], site.server).unwrap();
                call.run_until(|_| true);
                assert!(WallClock::now() < end, "the fault was not injected");
                tokio::task::yield_now().await;
            }
            assert_eq!(hit.event().await, Event::ShardFailed { shard: HIT });
        }
    }
    assert_eq!((injected, site.failures()), (5, 5));
    for phone in &call.phones[1..] {
        let first = phone.heard[0];
        assert!(phone.heard.iter().copied().eq((0..800).map(|n| first.wrapping_add(n))));
    }
    let counts = site.link().gauges().counts.snapshot();
    assert_eq!((counts[Metric::Transports], counts[Metric::ShardFailures]), (0, 5));

    // A participant that reconnects is served.
    let mut back = site.den(3);
    let peer = back.add(HIT, site.server).await;
    back.connect();
    assert_eq!(back.event().await, Event::PeerConnected { peer });
    let connected = std::iter::from_fn(|| call.events.try_recv());
    assert_eq!(connected.filter(|e| matches!(e, Event::PeerConnected { .. })).count(), 8);
}

#[tokio::test]
async fn a_media_thread_that_fails_again_and_again_is_given_up_and_its_rooms_know() {
    let site = Site::start();
    let mut hit = site.den(1);
    hit.add(HIT, site.server).await;
    let failed = Event::ShardFailed { shard: HIT };
    for n in 1..=u64::from(MAX_FAILURES) {
        site.inject(Fault::Panic).await;
        assert_eq!(hit.event().await, failed);
        assert_eq!((site.failures(), site.link().is_alive()), (n, true));
    }
    site.inject(Fault::Panic).await;
    assert_eq!(hit.event().await, failed);
    while site.link().is_alive() {
        tokio::task::yield_now().await;
    }
    let peer = PeerId { room: hit.room, n: 0 };
    assert!(!hit.shards.send(HIT, Command::RemovePeer { peer }).await);
}
