//! Shard threads and clients, over the kernel's sockets on loopback.

use std::fmt;
use std::net::{SocketAddr, UdpSocket as Socket};

use hearth_metrics::SharedCounts;
use hearth_peer::Certificate;
use hearth_plane::{
    EncodingSpec, IceCredentials, PeerId, PeerSpec, RoomId, Source, TrackId, UpTrackSpec,
};
use hearth_random::Seed;
use hearth_rtp::{PacketKind, classify};
use hearth_testkit::{Client, Publisher, audio_codecs, extensions, forged_check, video_codecs};
use hearth_units::MediaKind;

use super::*;
use crate::start;

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
        let socket = Socket::bind(bind).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let client = Client::new(WallClock::now(), socket.local_addr().unwrap(), server);
        let publisher = shards.add_publisher(n, client, server);
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

/// Shard threads that share a port.
struct Shards {
    links: Vec<ShardLink>,
    port: u16,
}

impl Shards {
    fn start(bind: SocketAddr, count: usize) -> Self {
        let sockets = UdpSocket::bind_group(bind, count).unwrap();
        let port = sockets[0].local_addr().port();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let shards = start::Shards { certificate, seed: Seed::fixed(1), relay: None };
        let sockets = sockets.into_iter().map(|socket| vec![socket]).collect();
        let (links, _) = shards.start(sockets, &Arc::new(SharedCounts::default())).unwrap();
        Self { links, port }
    }

    fn command(&self, shard: usize, command: Command) {
        self.links[shard].blocking_send(ShardInput::Command { command, permit: None });
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.links.iter().for_each(|link| sum.add_all(&link.gauges().counts.snapshot()));
        sum
    }

    /// Peer `n` of the first shard, which `client` is to connect to at `server`, the one advertised
    /// address, and its tracks.
    fn add_publisher(&self, n: u32, mut client: Client, server: SocketAddr) -> Publisher {
        let peer = PeerId { room: ROOM, n };
        let local = IceCredentials {
            ufrag: format!("00publisher{n}"),
            pwd: "a-password-of-the-server".to_owned(),
        };
        client.set_remote(WallClock::now(), &local);
        let spec = PeerSpec {
            local,
            ice_lite: true,
            ice_controlling: false,
            local_addrs: vec![server],
            remote: Some(client.params()),
            open_channels: false,
        };
        self.command(0, Command::AddPeer { peer, spec: Box::new(spec) });
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
            self.command(0, Command::SetUpTrack { track, spec: Box::new(spec) });
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
