//! Shard threads and clients, over the kernel's sockets on loopback.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket as Socket};

use hearth_metrics::SharedCounts;
use hearth_peer::Certificate;
use hearth_plane::{
    EncodingSpec, IceCredentials, LocalCandidate, PeerId, PeerSpec, RoomId, Source, TrackId,
    UpTrackSpec,
};
use hearth_random::Seed;
use hearth_rtp::{PacketKind, classify};
use hearth_testkit::{Client, Publisher, audio_codecs, extensions, forged_check, video_codecs};
use hearth_units::MediaKind;

use super::*;
use crate::media_ports::MediaPorts;
use crate::start;
use crate::streams::NewStream;

const PATIENCE: Duration = Duration::from_secs(60);
const ROOM: RoomId = RoomId(1);

// Elsewhere the system chooses the source.
#[cfg(target_os = "linux")]
#[test]
fn every_answer_leaves_from_the_address_that_the_client_asked_also_if_one_is_advertised() {
    // All of 127.0.0.0/8 is this machine's; a machine without IPv6 has less to show.
    let mut cases = vec![("0.0.0.0:0", "127.0.0.2", "127.0.0.1:0")];
    if UdpSocket::bind_group(addr("[::]:0"), 1).is_ok() {
        cases.push(("[::]:0", "::1", "[::1]:0"));
    }
    for (bind, ip, client) in cases {
        let shards = Shards::start(addr(bind), 1);
        let server = SocketAddr::new(ip.parse().unwrap(), shards.port);
        let mut visitor = Visitor::new(&shards, 1, addr(client), server);
        let end = WallClock::now() + PATIENCE;
        while !visitor.is_served() {
            assert!(WallClock::now() < end, "{server}: {visitor:?}");
            visitor.run();
        }
    }
}

#[test]
fn clients_that_the_kernel_gives_to_another_shard_are_served_while_strangers_flood_that_lane() {
    let shards = Shards::start(addr("127.0.0.1:0"), 2);
    let server = SocketAddr::new(addr("127.0.0.1:0").ip(), shards.port);
    // One in 65,536 times all of them get to their own shard at once.
    let visitor = |n| Visitor::new(&shards, n, addr("127.0.0.1:0"), server);
    let mut visitors: Vec<_> = (0..16).map(visitor).collect();
    let strangers: Vec<_> = (0..16).map(|_| Socket::bind("127.0.0.1:0").unwrap()).collect();
    let checks = ["00nobody:x", "01nobody:x"].map(|username| forged_check(username, [7; 20]));
    let end = WallClock::now() + PATIENCE;
    while !visitors.iter().all(Visitor::is_served) {
        let unserved = || visitors.iter().filter(|visitor| !visitor.is_served());
        assert!(WallClock::now() < end, "{} of 16", unserved().count());
        for stranger in &strangers {
            for check in checks.iter().cycle().take(20) {
                // The kernel may have no room for a flood.
                let _ = stranger.send_to(check, server);
            }
        }
        visitors.iter_mut().for_each(Visitor::run);
    }
    let counts = shards.counts();
    let strangers = [Metric::DropChecksOwn, Metric::DropChecksFull, Metric::DropReceiveUnknown];
    assert!(counts.sum(&strangers) > 100, "{counts:?}");
    let harm = [Metric::DropMessagesOwn, Metric::DropMessagesFull, Metric::DropControlFull];
    assert_eq!(counts.sum(&harm), 0, "{counts:?}");
}

#[test]
fn with_a_port_for_each_thread_no_datagram_passes_between_threads() {
    for (ports, passes_on) in [(2, false), (1, true)] {
        let shards = Shards::with_ports(addr("127.0.0.1:0"), 2, ports);
        // Enough clients that one port leads some of them astray, but one time in 2^16.
        let visitor = |n: u32| {
            let shard = usize::from(n % 2 == 1);
            let server = SocketAddr::new(addr("127.0.0.1:0").ip(), shards.ports[shard]);
            Visitor::of_shard(&shards, shard, n, addr("127.0.0.1:0"), server)
        };
        let mut visitors: Vec<_> = (0..16).map(visitor).collect();
        let end = WallClock::now() + PATIENCE;
        while !visitors.iter().all(Visitor::is_served) {
            assert!(WallClock::now() < end, "{visitors:?}");
            visitors.iter_mut().for_each(Visitor::run);
        }
        let counts = shards.counts();
        assert_eq!(counts[Metric::DatagramsPassedOn] > 0, passes_on, "{counts:?}");
        assert!(counts[Metric::DatagramsReceived] > 100, "{counts:?}");
    }
}

#[test]
fn a_client_is_served_over_tcp_until_it_is_removed_and_then_its_connection_is_closed() {
    let shards = Shards::start(addr("127.0.0.1:0"), 1);
    let server = addr("127.0.0.1:7881");
    let client = Client::new(WallClock::now(), addr("127.0.0.1:9"), server);
    let mut caller = Caller::new(shards.add_publisher(0, 1, client, server));
    let end = WallClock::now() + PATIENCE;
    while caller.kinds.len() < 3 {
        assert!(WallClock::now() < end, "{:?}", caller.kinds);
        caller.run(&shards);
    }
    assert_eq!(shards.counts()[Metric::TcpStreams], 1);
    shards.command(0, Command::RemovePeer { peer: PeerId { room: ROOM, n: 1 } });
    while !caller.closed {
        assert!(WallClock::now() < end, "the connection is still open");
        caller.receive();
    }
    while shards.counts()[Metric::TcpStreams] > 0 {
        assert!(WallClock::now() < end);
    }
}

#[test]
fn a_connection_whose_first_check_is_not_authentic_is_closed_at_once() {
    let shards = Shards::start(addr("127.0.0.1:0"), 1);
    let server = addr("127.0.0.1:7881");
    let client = Client::new(WallClock::now(), addr("127.0.0.1:9"), server);
    let publisher = shards.add_publisher(0, 1, client, server);
    for username in ["00nobody:x", "00publisher1:x"] {
        let mut stranger = connect(&shards, forged_check(username, [7; 20]));
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stranger.read(&mut [0; 9]).unwrap_or(0), 0, "{username}");
    }
    // The thread shows its numbers at the end of its turn.
    let end = WallClock::now() + PATIENCE;
    while shards.counts()[Metric::DropTcpUnknown] < 2 {
        assert!(WallClock::now() < end, "{:?}", shards.counts());
    }
    assert_eq!(shards.counts()[Metric::TcpStreams], 0);
    drop(publisher);
}

/// A publisher behind a TCP connection, which it opens with its first datagram, and the kinds of what has reached it.
struct Caller {
    publisher: Publisher,
    stream: Option<TcpStream>,
    unread: Vec<u8>,
    kinds: Vec<PacketKind>,
    closed: bool,
}

impl Caller {
    fn new(publisher: Publisher) -> Self {
        Self { publisher, stream: None, unread: Vec::new(), kinds: Vec::new(), closed: false }
    }

    fn run(&mut self, shards: &Shards) {
        self.publisher.run(WallClock::now());
        while let Some(datagram) = self.publisher.client.poll_transmit() {
            match &mut self.stream {
                None => {
                    let stream = connect(shards, datagram);
                    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                    self.stream = Some(stream);
                }
                Some(stream) => stream.write_all(&framed(&datagram)).unwrap(),
            }
        }
        self.receive();
    }

    fn receive(&mut self) {
        let mut buf = [0; 2_048];
        match self.stream.as_mut().unwrap().read(&mut buf) {
            Ok(0) => self.closed = true,
            Ok(len) => self.unread.extend_from_slice(&buf[..len]),
            // Nothing is there, or it was closed before it had read all.
            Err(error) => self.closed |= error.kind() == io::ErrorKind::ConnectionReset,
        }
        while let Some((header, rest)) = self.unread.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*header));
            if rest.len() < len {
                return;
            }
            let mut datagram = rest[..len].to_vec();
            self.unread.drain(..2 + len);
            let kind = classify(&datagram);
            if !self.kinds.contains(&kind) {
                self.kinds.push(kind);
            }
            self.publisher.handle(WallClock::now(), &mut datagram);
        }
    }
}

/// A connection to the first shard, which is given it with its first frame.
fn connect(shards: &Shards, first: Vec<u8>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    shards.links[0].blocking_send(ShardInput::Stream(NewStream { socket, first }));
    stream
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    let header = u16::try_from(datagram.len()).unwrap().to_be_bytes();
    [&header, datagram].concat()
}

/// A publisher behind a socket, and what has reached it.
struct Visitor {
    socket: Socket,
    server: SocketAddr,
    publisher: Publisher,
    stun: usize,
    dtls: usize,
    srtcp: usize,
}

impl Visitor {
    fn new(shards: &Shards, n: u32, bind: SocketAddr, server: SocketAddr) -> Self {
        Self::of_shard(shards, 0, n, bind, server)
    }

    fn of_shard(
        shards: &Shards,
        shard: usize,
        n: u32,
        bind: SocketAddr,
        server: SocketAddr,
    ) -> Self {
        let socket = Socket::bind(bind).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let client = Client::new(WallClock::now(), socket.local_addr().unwrap(), server);
        let publisher = shards.add_publisher(shard, n, client, server);
        Self { socket, server, publisher, stun: 0, dtls: 0, srtcp: 0 }
    }

    /// Something of each kind has come.
    fn is_served(&self) -> bool {
        self.stun > 0 && self.dtls > 0 && self.srtcp > 0
    }

    /// Sends its outputs, and receives for a millisecond.
    fn run(&mut self) {
        self.publisher.run(WallClock::now());
        while let Some(datagram) = self.publisher.client.poll_transmit() {
            self.socket.send_to(&datagram, self.server).unwrap();
        }
        let mut buf = [0; 2_048];
        while let Ok((len, from)) = self.socket.recv_from(&mut buf) {
            assert_eq!(from, self.server);
            match classify(&buf[..len]) {
                PacketKind::Stun => self.stun += 1,
                PacketKind::Dtls => self.dtls += 1,
                PacketKind::Rtcp => self.srtcp += 1,
                PacketKind::Rtp | PacketKind::Unknown => {}
            }
            self.publisher.handle(WallClock::now(), &mut buf[..len]);
        }
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} STUN, {} DTLS, {} SRTCP", self.stun, self.dtls, self.srtcp)
    }
}

/// Shard threads.
struct Shards {
    links: Vec<ShardLink>,
    /// Of the first.
    port: u16,
    /// Of each.
    ports: Vec<u16>,
}

impl Shards {
    fn start(bind: SocketAddr, count: usize) -> Self {
        Self::with_ports(bind, count, 1)
    }

    fn with_ports(bind: SocketAddr, count: usize, ports: u16) -> Self {
        let MediaPorts { sockets, ports } = MediaPorts::bind(&[bind], ports, count).unwrap();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let shards = start::Shards { certificate, seed: Seed::fixed(1), relay: None };
        let (links, _) = shards.start(sockets, &Arc::new(SharedCounts::default())).unwrap();
        Self { links, port: ports[0], ports }
    }

    fn command(&self, shard: usize, command: Command) {
        self.links[shard].blocking_send(ShardInput::Command { command, permit: None });
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.links.iter().for_each(|link| sum.add_all(&link.gauges().counts.snapshot()));
        sum
    }

    /// Peer `n` of a shard, which `client` is to connect to at `server`, the one advertised
    /// address, and its tracks.
    fn add_publisher(
        &self,
        shard: usize,
        n: u32,
        mut client: Client,
        server: SocketAddr,
    ) -> Publisher {
        let peer = PeerId { room: ROOM, n };
        let local = IceCredentials {
            ufrag: format!("{shard:02x}publisher{n}"),
            pwd: "a-password-of-the-server".to_owned(),
        };
        client.set_remote(WallClock::now(), &local);
        let spec = PeerSpec {
            local,
            ice_lite: true,
            ice_controlling: false,
            local_candidates: vec![LocalCandidate::udp(server), LocalCandidate::tcp(server)],
            remote: Some(client.params()),
            open_channels: false,
        };
        self.command(shard, Command::AddPeer { peer, spec: Box::new(spec) });
        let encoding =
            |rid: &str| EncodingSpec { rid: Some(rid.to_owned()), ..EncodingSpec::default() };
        let rids = Publisher::rids().into_iter().map(encoding).collect();
        for (mid, kind, codecs, encodings) in [
            (1, MediaKind::Video, video_codecs(), rids),
            (0, MediaKind::Audio, audio_codecs(), vec![EncodingSpec::default()]),
        ] {
            let spec = UpTrackSpec {
                source: Source::Local(peer),
                kind,
                mid: mid.to_string(),
                codecs,
                extensions: extensions(),
                encodings,
                nack: kind == MediaKind::Video,
                measure_level: false,
            };
            let track = TrackId { room: ROOM, n: n * 2 + mid };
            self.command(shard, Command::SetUpTrack { track, spec: Box::new(spec) });
        }
        Publisher::new(client, 7)
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.links.iter().for_each(ShardLink::stop);
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
