//! A shard thread and a client, over the kernel's sockets on loopback.

use std::net::{SocketAddr, UdpSocket as Socket};

use hearth_peer::Certificate;
use hearth_plane::{
    EncodingSpec, IceCredentials, PeerId, PeerSpec, RoomId, Source, TrackId, UpTrackSpec,
};
use hearth_random::Seed;
use hearth_rtp::{PacketKind, classify};
use hearth_testkit::{Client, Publisher, audio_codecs, extensions, video_codecs};
use hearth_units::MediaKind;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const ROOM: RoomId = RoomId(1);

#[test]
fn every_answer_leaves_from_the_address_that_the_client_asked_also_if_one_is_advertised() {
    // All of 127.0.0.0/8 is this machine's on Linux; a machine without IPv6 has less to show.
    let mut cases = vec![("0.0.0.0:0", "127.0.0.2", "127.0.0.1:0")];
    if cfg!(target_os = "linux") && UdpSocket::bind_group(addr("[::]:0"), 1).is_ok() {
        cases.push(("[::]:0", "::1", "[::1]:0"));
    }
    for (bind, ip, client) in cases {
        let node = OneShard::start(addr(bind));
        let server = SocketAddr::new(ip.parse().unwrap(), node.port);
        let socket = Socket::bind(addr(client)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let client = Client::new(WallClock::now(), socket.local_addr().unwrap(), server);
        let mut publisher = node.add_publisher(client, server);

        let [mut stun, mut dtls, mut srtcp] = [0; 3];
        let end = WallClock::now() + PATIENCE;
        while stun == 0 || dtls == 0 || srtcp == 0 {
            let now = WallClock::now();
            assert!(now < end, "{server}: {stun} STUN, {dtls} DTLS, {srtcp} SRTCP");
            publisher.run(now);
            while let Some(datagram) = publisher.client.poll_transmit() {
                socket.send_to(&datagram, server).unwrap();
            }
            let mut buf = [0; 2_048];
            let Ok((len, from)) = socket.recv_from(&mut buf) else { continue };
            assert_eq!(from, server);
            match classify(&buf[..len]) {
                PacketKind::Stun => stun += 1,
                PacketKind::Dtls => dtls += 1,
                PacketKind::Rtcp => srtcp += 1,
                PacketKind::Rtp | PacketKind::Unknown => {}
            }
            publisher.handle(WallClock::now(), &mut buf[..len]);
        }
    }
}

/// A shard thread with one socket.
struct OneShard {
    link: ShardLink,
    port: u16,
}

impl OneShard {
    fn start(bind: SocketAddr) -> Self {
        let sockets = UdpSocket::bind_group(bind, 1).unwrap();
        let bound: Vec<_> = sockets.iter().map(UdpSocket::local_addr).collect();
        let port = bound[0].port();
        let mut poller = Poller::new().unwrap();
        poller.add(&sockets[0], 0).unwrap();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let config = ShardConfig { id: ShardId(0), shards: 1, certificate, seed: Seed::fixed(1) };
        let (_, incoming) = sync_channel(1);
        let (_, checks) = sync_channel(1);
        let lanes = Lanes { incoming, checks, outgoing: Vec::new() };
        let held = Held::new(&Arc::default(), Metric::Shards);
        let paths = Paths::new(bound);
        let link = spawn(Parts { config, sockets, poller, paths, lanes, held }).unwrap();
        Self { link, port }
    }

    fn command(&self, command: Command) {
        self.link.blocking_send(ShardInput::Command { command, permit: None });
    }

    /// A peer that `client` is to connect to at `server`, the one advertised address, and its tracks.
    fn add_publisher(&self, mut client: Client, server: SocketAddr) -> Publisher {
        let peer = PeerId { room: ROOM, n: 1 };
        let local = IceCredentials {
            ufrag: "00publisher".to_owned(),
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
        self.command(Command::AddPeer { peer, spec: Box::new(spec) });
        let encoding =
            |rid: &str| EncodingSpec { rid: Some(rid.to_owned()), ..EncodingSpec::default() };
        let rids = Publisher::rids().into_iter().map(encoding).collect();
        for (n, kind, codecs, encodings) in [
            (1, MediaKind::Video, video_codecs(), rids),
            (0, MediaKind::Audio, audio_codecs(), vec![EncodingSpec::default()]),
        ] {
            let spec = UpTrackSpec {
                source: Source::Local(peer),
                kind,
                mid: n.to_string(),
                codecs,
                extensions: extensions(),
                encodings,
                nack: kind == MediaKind::Video,
                measure_level: false,
            };
            let track = TrackId { room: ROOM, n };
            self.command(Command::SetUpTrack { track, spec: Box::new(spec) });
        }
        Publisher::new(client, 7)
    }
}

impl Drop for OneShard {
    fn drop(&mut self) {
        self.link.stop();
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
