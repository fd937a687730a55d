//! Shards, clients and the links between them, in one thread and virtual time.

pub(crate) mod random;
pub(crate) mod voices;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_datagram::{Endpoint, SendSlab};
use hearth_netem::{Link, LinkConfig};
use hearth_peer::Certificate;
use hearth_plane::{
    Command, DownId, DownTrackSpec, EncodingSpec, Event, IceCredentials, LayerLimit,
    LocalCandidate, PeerId, PeerSpec, RoomId, SendCodec, ShardId, Source, TrackId, UpTrackSpec,
};
use hearth_random::{Purpose, Seed};
use hearth_shard::{Shard, ShardConfig, ShardMessageKind};
use hearth_testkit::{
    Client, ErrorWatch, Publisher, Viewer, ViewerReport, audio_codecs, extensions, video_codecs,
};
use hearth_units::MediaKind;

pub(crate) const ROOM: RoomId = RoomId(1);
pub(crate) const VIDEO: TrackId = TrackId { room: ROOM, n: 1 };
pub(crate) const AUDIO: TrackId = TrackId { room: ROOM, n: 2 };
pub(crate) const PUBLISHER: PeerId = PeerId { room: ROOM, n: 0 };
/// Twenty milliseconds each way.
pub(crate) const CLEAN: LinkConfig = LinkConfig {
    loss: 0.0,
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    duplicate: 0.0,
    reorder: 0.0,
};

/// A client with its two links.
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) peer: PeerId,
    /// The shard that owns its peer, and the one the kernel gives its datagrams to.
    pub(crate) home: usize,
    pub(crate) arrives: usize,
    pub(crate) up: Link<Vec<u8>>,
    pub(crate) down: Link<Vec<u8>>,
}

pub(crate) enum Kind {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
}

/// See the module documentation.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) t0: Instant,
    pub(crate) shards: Vec<Shard>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) events: Vec<(Duration, usize, Event)>,
    /// How many parcels went from one shard to another.
    pub(crate) messages: u64,
    /// Media packets that went from one shard to another, by track and encoding.
    pub(crate) crossed: BTreeMap<(TrackId, u8), u64>,
    /// What shards say of what is watched and what is available is lost between them.
    pub(crate) loses_layer_state: bool,
    slab: SendSlab,
    by_addr: BTreeMap<SocketAddr, usize>,
    seed: u64,
    link: LinkConfig,
    pub(crate) errors: ErrorWatch,
}

impl World {
    pub(crate) fn new(seed: u64, shards: u16, link: LinkConfig) -> Self {
        let t0 = epoch();
        let shard = |n: u16| {
            let seed = Seed::fixed(seed).derive(Purpose::Shard, n.into());
            let config = ShardConfig { id: ShardId(n), shards, certificate: certificate(), seed };
            Shard::new(t0, config).unwrap()
        };
        Self {
            now: t0,
            t0,
            shards: (0..shards).map(shard).collect(),
            nodes: Vec::new(),
            events: Vec::new(),
            messages: 0,
            crossed: BTreeMap::new(),
            loses_layer_state: false,
            slab: SendSlab::new(64),
            by_addr: BTreeMap::new(),
            seed,
            link,
            errors: ErrorWatch::on_this_thread(),
        }
    }

    /// A publisher on shard 0 and viewers on the given shards, connecting.
    pub(crate) fn call(seed: u64, viewers: &[usize], link: LinkConfig) -> Self {
        let shards = viewers.iter().max().map_or(1, |max| max + 1) as u16;
        let mut world = Self::new(seed, shards, link);
        world.add_publisher(0);
        for home in viewers {
            world.add_viewer(*home, *home);
        }
        world
    }

    pub(crate) fn command(&mut self, shard: usize, command: Command) {
        self.shards[shard].handle_command(self.now, command);
    }

    pub(crate) fn add_publisher(&mut self, arrives: usize) {
        let client = self.new_client(PUBLISHER.n);
        self.add_node(
            Kind::Publisher(Box::new(Publisher::new(client, self.seed as u32))),
            0,
            arrives,
        );
        for (track, spec) in [
            (VIDEO, video_spec(Source::Local(PUBLISHER))),
            (AUDIO, audio_spec(Source::Local(PUBLISHER))),
        ] {
            self.command(0, Command::SetUpTrack { track, spec: Box::new(spec) });
        }
    }

    /// A viewer of shard `home` whose datagrams the kernel gives to shard `arrives`.
    pub(crate) fn add_viewer(&mut self, home: usize, arrives: usize) -> usize {
        let n = self.nodes.len() as u32;
        let client = self.new_client(n);
        let base = n * 100;
        let viewer = Viewer::new(client, base + 1, base + 2, base + 3);
        let at = self.add_node(Kind::Viewer(Box::new(viewer)), home, arrives);
        if home != 0 {
            let source = Source::Shard(ShardId(0));
            for (track, spec) in [(VIDEO, video_spec(source)), (AUDIO, audio_spec(source))] {
                self.command(home, Command::SetUpTrack { track, spec: Box::new(spec) });
                self.command(0, Command::AddRelay { track, to: ShardId(home as u16) });
            }
        }
        for spec in [down_spec(n, VIDEO), down_spec(n, AUDIO)] {
            self.command(
                home,
                Command::SetDownTrack { spec: Box::new(spec), limit: LayerLimit::ALL },
            );
        }
        at
    }

    /// A client of shard 0 without subscriptions.
    pub(crate) fn add_connection(&mut self) -> usize {
        let n = self.nodes.len() as u32;
        let client = self.new_client(n);
        let viewer = Viewer::new(client, n * 100 + 1, n * 100 + 2, n * 100 + 3);
        self.add_node(Kind::Viewer(Box::new(viewer)), 0, 0)
    }

    pub(crate) fn publisher(&mut self) -> &mut Publisher {
        match &mut self.nodes[0].kind {
            Kind::Publisher(publisher) => publisher,
            Kind::Viewer(_) => panic!("the first node is the publisher"),
        }
    }

    pub(crate) fn viewer(&mut self, at: usize) -> &mut Viewer {
        match &mut self.nodes[at].kind {
            Kind::Viewer(viewer) => viewer,
            Kind::Publisher(_) => panic!("node {at} is the publisher"),
        }
    }

    pub(crate) fn report(&mut self, at: usize) -> ViewerReport {
        let now = self.now;
        self.viewer(at).report(now)
    }

    pub(crate) fn client(&mut self, at: usize) -> &mut Client {
        match &mut self.nodes[at].kind {
            Kind::Viewer(viewer) => &mut viewer.client,
            Kind::Publisher(publisher) => &mut publisher.client,
        }
    }

    /// What viewer `at` wants of the video.
    pub(crate) fn limit(&mut self, at: usize, enabled: bool, max_encoding: u8) {
        let down = down_spec(at as u32, VIDEO).down;
        let limit = LayerLimit { enabled, spatial: max_encoding, temporal: 7 };
        self.command(self.nodes[at].home, Command::SetLayerLimit { down, limit });
    }

    pub(crate) fn set_links(&mut self, link: LinkConfig) {
        for node in &mut self.nodes {
            node.up.set_config(link);
            node.down.set_config(link);
        }
    }

    pub(crate) fn connected(&self) -> usize {
        self.events.iter().filter(|(.., e)| matches!(e, Event::PeerConnected { .. })).count()
    }

    /// Runs until `done`, at most `limit`; whether it is.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let next = self.next().unwrap_or(end).max(self.now + Duration::from_millis(1));
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next;
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// A datagram from nobody, to shard `shard`.
    pub(crate) fn inject(&mut self, shard: usize, from: SocketAddr, datagram: &mut [u8]) {
        self.shards[shard].handle_datagram(self.now, path(from), datagram);
    }

    /// Does all that is due, until nothing more comes of it.
    fn settle(&mut self) {
        let now = self.now;
        for node in &mut self.nodes {
            let addr = node.client().addr();
            while let Some(mut datagram) = node.up.poll(now) {
                self.shards[node.arrives].handle_datagram(now, path(addr), &mut datagram);
            }
        }
        for shard in &mut self.shards {
            shard.handle_timeout(now);
        }
        self.exchange();
        for at in 0..self.shards.len() {
            self.transmit(at);
            while let Some(event) = self.shards[at].poll_event() {
                self.events.push((now - self.t0, at, event));
            }
        }
        for node in &mut self.nodes {
            while let Some(mut datagram) = node.down.poll(now) {
                match &mut node.kind {
                    Kind::Publisher(publisher) => publisher.handle(now, &mut datagram),
                    Kind::Viewer(viewer) => viewer.handle(now, &mut datagram),
                }
            }
            match &mut node.kind {
                Kind::Publisher(publisher) => publisher.run(now),
                Kind::Viewer(viewer) => viewer.run(now),
            }
            while let Some(datagram) = node.client().poll_transmit() {
                node.up.send(now, datagram);
            }
        }
    }

    pub(crate) fn transmit(&mut self, at: usize) {
        while self.shards[at].poll_transmit(self.now, &mut self.slab) {
            for (path, datagram) in self.slab.iter() {
                assert_eq!(
                    path.local,
                    server_addr(),
                    "an answer leaves from where it was asked for"
                );
                if let Some(node) = self.by_addr.get(&path.remote) {
                    self.nodes[*node].down.send(self.now, datagram.to_vec());
                }
            }
            self.slab.clear();
        }
    }

    pub(crate) fn exchange(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..self.shards.len() {
                while let Some((to, mut message)) = self.shards[from].poll_message() {
                    moved = true;
                    self.messages += 1;
                    if let ShardMessageKind::Packet { track, encoding } = message.kind {
                        *self.crossed.entry((track, encoding)).or_default() += 1;
                    }
                    let is_layer_state = matches!(
                        message.kind,
                        ShardMessageKind::Watched { .. } | ShardMessageKind::Available { .. }
                    );
                    if is_layer_state && self.loses_layer_state {
                        continue;
                    }
                    let to = &mut self.shards[usize::from(to.0)];
                    to.handle_message(self.now, ShardId(from as u16), &mut message);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn next(&mut self) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(Shard::poll_timeout).min();
        let nodes = self.nodes.iter_mut().filter_map(|node| {
            let client = match &mut node.kind {
                Kind::Publisher(publisher) => publisher.poll_timeout(),
                Kind::Viewer(viewer) => viewer.poll_timeout(),
            };
            [client, node.up.poll_timeout(), node.down.poll_timeout()].into_iter().flatten().min()
        });
        nodes.chain(shards).min()
    }

    fn new_client(&self, n: u32) -> Client {
        Client::new(self.now, client_addr(n), server_addr())
    }

    fn add_node(&mut self, kind: Kind, home: usize, arrives: usize) -> usize {
        let at = self.nodes.len();
        let peer = PeerId { room: ROOM, n: at as u32 };
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(at as u64 * 2);
        let (up, down) = (Link::new(seed, self.link), Link::new(seed + 1, self.link));
        self.nodes.push(Node { kind, peer, home, arrives, up, down });
        self.by_addr.insert(client_addr(at as u32), at);
        let local = credentials(home, at);
        let now = self.now;
        let client = self.client(at);
        client.set_remote(now, &local);
        let remote = Some(client.params());
        let spec = PeerSpec {
            local,
            ice_lite: true,
            ice_controlling: false,
            local_candidates: vec![LocalCandidate::udp(server_addr())],
            remote,
            open_channels: false,
        };
        self.command(home, Command::AddPeer { peer, spec: Box::new(spec) });
        at
    }
}

impl Node {
    pub(crate) fn client(&mut self) -> &mut Client {
        match &mut self.kind {
            Kind::Viewer(viewer) => &mut viewer.client,
            Kind::Publisher(publisher) => &mut publisher.client,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn server_addr() -> SocketAddr {
    "10.0.0.1:7882".parse().unwrap()
}

/// The way of a client at `from`.
pub(crate) fn path(from: SocketAddr) -> Endpoint {
    Endpoint::udp(server_addr(), from)
}

pub(crate) fn client_addr(n: u32) -> SocketAddr {
    SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 40_000))
}

/// Local credentials of the peer of node `at` on shard `home`.
pub(crate) fn credentials(home: usize, at: usize) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{home:02x}node{at:08}"),
        pwd: "a-password-of-the-server".into(),
    }
}

pub(crate) fn video_spec(source: Source) -> UpTrackSpec {
    let encoding =
        |rid: &str| EncodingSpec { rid: Some(rid.to_owned()), ssrc: None, rtx_ssrc: None };
    UpTrackSpec {
        source,
        kind: MediaKind::Video,
        mid: "1".to_owned(),
        codecs: video_codecs(),
        extensions: extensions(),
        encodings: Publisher::rids().into_iter().map(encoding).collect(),
        nack: true,
        measure_level: false,
    }
}

pub(crate) fn audio_spec(source: Source) -> UpTrackSpec {
    UpTrackSpec {
        source,
        kind: MediaKind::Audio,
        mid: "0".to_owned(),
        codecs: audio_codecs(),
        extensions: extensions(),
        encodings: vec![EncodingSpec::default()],
        nack: false,
        measure_level: true,
    }
}

/// What node `n` gets of a track.
pub(crate) fn down_spec(n: u32, track: TrackId) -> DownTrackSpec {
    let video = track == VIDEO;
    let (codec, pt, rtx_pt) =
        if video { (Codec::Vp8, 100, Some(101)) } else { (Codec::Opus, 111, None) };
    DownTrackSpec {
        down: DownId { room: ROOM, n: n * 10 + track.n },
        peer: PeerId { room: ROOM, n },
        track,
        ssrc: n * 100 + if video { 1 } else { 3 },
        rtx_ssrc: video.then_some(n * 100 + 2),
        codecs: vec![SendCodec { codec, pt, rtx_pt }],
        extensions: Viewer::extensions(),
        cname: "publisher".to_owned(),
    }
}

fn certificate() -> Arc<Certificate> {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    Arc::clone(CERTIFICATE.get_or_init(|| Arc::new(Certificate::generate().unwrap())))
}
