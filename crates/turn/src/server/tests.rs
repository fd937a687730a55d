//! Clients and servers, message by message.
#![expect(clippy::arithmetic_side_effects, reason = "a panic is what a test is for")]

use std::time::Duration;

use hearth_netem::each_seed;

use super::*;
use crate::{Class, Identity, Key, REALM};

const T: u64 = 1_700_000_000;
const MEDIA: &str = "198.51.100.7:7882";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn epoch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

/// A server, a client of it, and what the client knows.
struct Pair {
    server: Server,
    at: Moment,
    client: Client,
    username: String,
    key: Key,
    nonce: Vec<u8>,
    transaction: u8,
    out: Vec<u8>,
}

fn config() -> Config {
    Config {
        keys: vec![
            ("k1".to_owned(), "secret1".to_owned()),
            ("k2".to_owned(), "secret2".to_owned()),
        ],
        ttl: Duration::from_secs(300),
        relay_ips: vec![addr(MEDIA).ip()],
        relay_ports: 30_000..=30_099,
        peers: PeerPolicy { media: vec![addr(MEDIA)], ..PeerPolicy::default() },
        max_per_participant: 12,
        max_allocations: 1_000,
    }
}

impl Pair {
    fn new(config: Config) -> Self {
        let at = Moment { now: epoch(), unix: T };
        let server = Server::new(at.now, config, &Seed::fixed(1));
        let client = client(1);
        let (username, key) = credentials("k1", "secret1", "PA_1", T + 300);
        let (nonce, transaction, out) = (Vec::new(), 0, vec![0; 1_600]);
        let mut pair = Self { server, at, client, username, key, nonce, transaction, out };
        pair.learn_nonce();
        pair
    }

    fn learn_nonce(&mut self) {
        let answer = self.send(&request(method::ALLOCATE, 0, |w| w));
        let message = Message::parse(&answer).unwrap();
        self.nonce = message.attribute(attribute::NONCE).unwrap().to_vec();
    }

    /// The answer, or nothing.
    fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self.server.handle_client(self.at, self.client, bytes, &mut self.out) {
            Outcome::Answer(len) => self.out[..len].to_vec(),
            Outcome::Relay { .. } => panic!("relayed"),
            Outcome::Nothing => Vec::new(),
        }
    }

    /// 0 for success.
    fn ask(&mut self, method: u16, more: impl FnOnce(Writer<'_>) -> Writer<'_>) -> u16 {
        self.transaction += 1;
        let answer = self.repeat(method, more);
        code_of(&answer)
    }

    fn repeat(&mut self, method: u16, more: impl FnOnce(Writer<'_>) -> Writer<'_>) -> Vec<u8> {
        let bytes = request(method, self.transaction, |writer| {
            more(writer)
                .attribute(attribute::USERNAME, self.username.as_bytes())
                .attribute(attribute::REALM, REALM.as_bytes())
                .attribute(attribute::NONCE, &self.nonce)
                .integrity(&self.key)
        });
        let answer = self.send(&bytes);
        let message = Message::parse(&answer).unwrap();
        if message.class == Class::Success || message.is_signed() {
            assert!(message.is_signed_by(&self.key));
        }
        answer
    }

    fn allocate(&mut self) -> u16 {
        self.ask(method::ALLOCATE, udp)
    }

    fn relayed(&self) -> SocketAddr {
        self.server.allocations[&self.client].relayed
    }

    fn pass(&mut self, secs: u64) {
        self.at.now += Duration::from_secs(secs);
        self.at.unix += secs;
        self.server.handle_timeout(self.at.now);
    }
}

fn client(n: u16) -> Client {
    let [high, low] = n.to_be_bytes();
    let remote = SocketAddr::from(([192, 0, high, low], 5_000));
    Client { is_stream: false, local: addr("198.51.100.7:3478"), remote }
}

fn credentials(api_key: &str, secret: &str, participant: &str, expiry: u64) -> (String, Key) {
    let (api_key, participant) = (api_key.to_owned(), participant.to_owned());
    let identity = Identity { api_key, participant, expiry };
    let username = identity.username();
    let key = Key::long_term(&username, REALM, &identity.password(secret));
    (username, key)
}

fn request(method: u16, n: u8, more: impl FnOnce(Writer<'_>) -> Writer<'_>) -> Vec<u8> {
    let mut buf = vec![0; 1_600];
    let len = more(Writer::new(&mut buf, Class::Request, method, [n; 12])).finish().unwrap();
    buf.truncate(len);
    buf
}

fn udp(writer: Writer<'_>) -> Writer<'_> {
    writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
}

fn to(peer: &str) -> impl FnOnce(Writer<'_>) -> Writer<'_> + use<> {
    let peer = addr(peer);
    move |writer| writer.address(attribute::XOR_PEER_ADDRESS, peer)
}

fn code_of(answer: &[u8]) -> u16 {
    let message = Message::parse(answer).unwrap();
    match message.attribute(attribute::ERROR_CODE) {
        Some([_, _, hundreds, rest]) => u16::from(*hundreds) * 100 + u16::from(*rest),
        _ => 0,
    }
}

#[test]
fn a_client_allocates_and_talks_to_our_media_both_ways() {
    for is_stream in [false, true] {
        let mut pair = Pair::new(config());
        pair.client.is_stream = is_stream;
        assert_eq!(pair.allocate(), 0);
        let relayed = pair.relayed();
        assert_eq!(relayed.ip(), addr(MEDIA).ip());
        assert_eq!(pair.ask(method::CREATE_PERMISSION, to(MEDIA)), 0);
        let send = |n| {
            let mut buf = vec![0; 100];
            let writer = Writer::new(&mut buf, Class::Indication, method::SEND, [n; 12]);
            let len = to(MEDIA)(writer).attribute(attribute::DATA, b"hello").finish().unwrap();
            buf.truncate(len);
            buf
        };
        let Pair { server, at, client, out, .. } = &mut pair;
        let expected =
            |payload| Outcome::Relay { relayed, peer: Peer::Media(addr(MEDIA)), payload };
        assert_eq!(server.handle_client(*at, *client, &send(1), out), expected(b"hello"));
        let (to_whom, len) =
            server.handle_peer(at.now, (relayed, addr(MEDIA)), b"world", out).unwrap();
        let data = Message::parse(&out[..len]).unwrap();
        assert_eq!((to_whom, data.attribute(attribute::DATA)), (*client, Some(&b"world"[..])));
        assert_eq!(data.address(attribute::XOR_PEER_ADDRESS), Some(addr(MEDIA)));

        let bound = pair.ask(method::CHANNEL_BIND, |writer| {
            to(MEDIA)(writer.word(attribute::CHANNEL_NUMBER, 0x4000_0000))
        });
        assert_eq!(bound, 0);
        let Pair { server, at, client, out, .. } = &mut pair;
        let data = b"\x40\x00\x00\x05hello\0\0\0";
        let sent = if is_stream { &data[..] } else { &data[..9] };
        assert_eq!(server.handle_client(*at, *client, sent, out), expected(b"hello"));
        let (_, len) = server.handle_peer(at.now, (relayed, addr(MEDIA)), b"hello", out).unwrap();
        assert_eq!(&out[..len], sent);
    }
}

#[test]
fn nobody_gets_far_without_a_password() {
    let mut pair = Pair::new(config());
    let all = [method::ALLOCATE, method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND];
    for method in all {
        assert_eq!(code_of(&pair.send(&request(method, 1, |w| w))), 401);
    }
    // A wrong password, an unknown key, a name that is none, no name at all, credentials that have ended.
    let wrong = |username: &str, key: &Key| (username.to_owned(), key.clone());
    let (name, key) = (pair.username.clone(), pair.key.clone());
    let (ended, ended_key) = credentials("k1", "secret1", "PA_1", T);
    for (username, key) in [
        wrong(&name, &Key::long_term(&name, REALM, "guess")),
        credentials("k3", "secret1", "PA_1", T + 300),
        credentials("k1", "secret2", "PA_1", T + 300),
        wrong("anybody", &Key::long_term("anybody", REALM, "")),
        wrong("", &key),
        wrong(&ended, &ended_key),
    ] {
        (pair.username, pair.key) = (username, key);
        assert_eq!(pair.allocate(), 401);
    }
    assert!(pair.server.is_empty());
    // Signed, but without a nonce.
    let bare = request(method::ALLOCATE, 9, |writer| writer.integrity(&key));
    assert_eq!(code_of(&pair.send(&bare)), 400);
    // Any key of ours will do.
    (pair.username, pair.key) = credentials("k2", "secret2", "PA_1", T + 300);
    assert_eq!(pair.allocate(), 0);
}

#[test]
fn a_nonce_is_refused_when_it_is_old_or_another_clients() {
    let mut pair = Pair::new(config());
    pair.client = client(2);
    assert_eq!(pair.allocate(), 438);
    pair.client = client(1);
    assert_eq!(pair.allocate(), 0);
    for _ in 0..12 {
        pair.pass(599);
        if pair.ask(method::REFRESH, |w| w) == 438 {
            pair.learn_nonce();
            assert_eq!(pair.ask(method::REFRESH, |w| w), 0);
        }
    }
    assert_eq!(
        pair.server.len(),
        1,
        "credentials ended long ago; what was allocated by them goes on"
    );
    pair.client = client(3);
    pair.learn_nonce();
    assert_eq!(pair.allocate(), 401, "but nothing new");
}

#[test]
fn an_answer_to_a_stranger_is_short_seldom_and_leaves_nothing_behind() {
    let mut pair = Pair::new(config());
    pair.pass(1);
    for method in [method::ALLOCATE, method::REFRESH, method::BINDING, 0x123] {
        let request = request(method, 1, |w| w);
        let answer = pair.send(&request);
        assert!(answer.len() <= 64 && answer.len() <= 4 * request.len(), "{}", answer.len());
    }
    let mut answers = 0;
    for n in 0..10_000 {
        answers +=
            usize::from(!pair.send(&request(method::ALLOCATE, (n % 256) as u8, |w| w)).is_empty());
    }
    assert!(answers <= 50, "{answers}");
    assert!(pair.server.counts[Metric::DropTurnUnanswered] >= 9_950);
    let before = pair.client;
    pair.client = client(7);
    assert!(!pair.send(&request(method::ALLOCATE, 1, |w| w)).is_empty(), "others are answered");
    pair.client = before;
    pair.pass(1);
    assert!(!pair.send(&request(method::ALLOCATE, 1, |w| w)).is_empty(), "later it is again");
    assert!(pair.server.is_empty() && pair.server.poll_timeout().is_none());
}

#[test]
fn garbage_is_not_answered() {
    let mut pair = Pair::new(config());
    let valid = request(method::ALLOCATE, 1, udp);
    each_seed(|noise| {
        let mut bytes = noise.bytes(120);
        if noise.bits() % 2 == 0 && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&valid[..8]);
        }
        let is_request = Message::parse(&bytes).is_some();
        let answer = match pair.server.handle_client(pair.at, pair.client, &bytes, &mut pair.out) {
            Outcome::Answer(len) => len,
            Outcome::Relay { .. } => panic!("relayed"),
            Outcome::Nothing => 0,
        };
        assert!(answer == 0 || is_request);
    });
    for cut in 0..valid.len() {
        assert_eq!(pair.send(&valid[..cut]), b"");
    }
}

#[test]
fn peers_other_than_our_media_are_forbidden_in_every_notation() {
    let mut config = config();
    config.relay_ips.push("2001:db8::7".parse().unwrap());
    config.peers.media.push(addr("[2001:db8::7]:7882"));
    for (family, peers) in [
        (
            1,
            &[
                "127.0.0.1:7882",
                "0.0.0.0:7882",
                "169.254.169.254:80",
                "10.0.0.1:22",
                "8.8.8.8:53",
                "224.0.0.1:1",
            ][..],
        ),
        (
            2,
            &[
                "[::1]:7882",
                "[::]:7882",
                "[::ffff:127.0.0.1]:80",
                "[64:ff9b::a9fe:a9fe]:80",
                "[64:ff9b:1::a9fe:a9fe]:80",
                "[2002:a9fe:a9fe::1]:80",
                "[2001:0:1:2:3:4:5601:5601]:80",
                "[fe80::1]:80",
                "[fd00:ec2::254]:80",
                "[ff02::1]:80",
                "[2600::1]:53",
            ][..],
        ),
    ] {
        let mut pair = Pair::new(config.clone());
        let allocated = pair.ask(method::ALLOCATE, |w| {
            udp(w).attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])
        });
        assert_eq!(allocated, 0);
        for peer in peers {
            assert_eq!(pair.ask(method::CREATE_PERMISSION, to(peer)), 403, "{peer}");
            let bound = pair.ask(method::CHANNEL_BIND, |writer| {
                to(peer)(writer.word(attribute::CHANNEL_NUMBER, 0x4001_0000))
            });
            assert_eq!(bound, 403, "{peer}");
            let mut buf = vec![0; 100];
            let writer = Writer::new(&mut buf, Class::Indication, method::SEND, [1; 12]);
            let len = to(peer)(writer).attribute(attribute::DATA, b"x").finish().unwrap();
            assert_eq!(pair.send(&buf[..len]), b"", "{peer}");
        }
    }
    // Our address, but not the port of our media: the permission is for the address alone.
    let mut pair = Pair::new(config);
    assert_eq!(pair.allocate(), 0);
    assert_eq!(pair.ask(method::CREATE_PERMISSION, to("198.51.100.7:22")), 0);
    let mut buf = vec![0; 100];
    let writer = Writer::new(&mut buf, Class::Indication, method::SEND, [1; 12]);
    let len = to("198.51.100.7:22")(writer).attribute(attribute::DATA, b"x").finish().unwrap();
    assert_eq!(pair.send(&buf[..len]), b"");
    assert_eq!(pair.ask(method::CREATE_PERMISSION, to("[2001:db8::7]:7882")), 443);
}

#[test]
fn a_participant_has_twelve_allocations_and_others_have_theirs() {
    let mut config = config();
    config.max_allocations = 20;
    let mut pair = Pair::new(config);
    let mut codes = Vec::new();
    for n in 1..=13 {
        pair.client = client(n);
        pair.learn_nonce();
        codes.push(pair.allocate());
    }
    assert_eq!(codes, [&[0; 12][..], &[486]].concat());
    (pair.username, pair.key) = credentials("k1", "secret1", "PA_2", T + 300);
    let codes: Vec<u16> = (20..=29)
        .map(|n| {
            pair.client = client(n);
            pair.learn_nonce();
            pair.allocate()
        })
        .collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 508, 508], "all are given");
    pair.server.revoke(pair.at.now, "PA_1");
    assert_eq!(pair.server.len(), 8, "what one had is free again");
    assert_eq!(std::iter::from_fn(|| pair.server.poll_freed()).count(), 12);
    pair.pass(600);
    assert!(pair.server.is_empty());
    assert!(pair.server.by_participant.is_empty() && pair.server.relayed.is_empty());
    assert_eq!(pair.server.poll_timeout(), None);
}

#[test]
fn who_has_left_allocates_no_more_and_others_do() {
    let mut pair = Pair::new(config());
    assert_eq!(pair.allocate(), 0);
    let mine = (pair.username.clone(), pair.key.clone());
    pair.server.revoke(pair.at.now, "PA_1");
    assert!(pair.server.is_empty() && pair.server.poll_freed().is_some());
    assert_eq!(code_of(&pair.repeat(method::ALLOCATE, udp)), 401, "what it asked before");
    assert_eq!(pair.allocate(), 401, "by the same client");
    pair.client = client(2);
    pair.learn_nonce();
    assert_eq!(pair.allocate(), 401, "by another one");
    (pair.username, pair.key) = credentials("k2", "secret2", "PA_1", T + 300);
    assert_eq!(pair.allocate(), 401, "with other credentials of the same participant");
    assert_eq!(pair.ask(method::REFRESH, |w| w), 437);
    (pair.username, pair.key) = credentials("k1", "secret1", "PA_2", T + 300);
    assert_eq!(pair.allocate(), 0);

    // To the last second of its credentials, and no trace of it behind that.
    pair.client = client(3);
    (pair.username, pair.key) = mine;
    pair.pass(299);
    pair.learn_nonce();
    assert_eq!(pair.allocate(), 401);
    let ends = pair.server.poll_timeout().unwrap();
    assert_eq!(ends, pair.at.now + Duration::from_secs(1));
    pair.pass(1);
    assert_eq!(pair.allocate(), 401, "they have ended");
    (pair.username, pair.key) = credentials("k1", "secret1", "PA_1", pair.at.unix + 300);
    assert_eq!(pair.allocate(), 0);
}

#[test]
fn an_allocation_is_kept_by_its_user_and_ends_by_its_lifetime() {
    let mut pair = Pair::new(config());
    assert_eq!(pair.ask(method::REFRESH, |w| w), 437);
    assert_eq!(pair.allocate(), 0);
    let relayed = pair.relayed();
    assert_eq!(code_of(&pair.repeat(method::ALLOCATE, udp)), 0, "the answer was lost");
    assert_eq!(pair.relayed(), relayed);
    assert_eq!(pair.allocate(), 437, "another one");

    let mine = (pair.username.clone(), pair.key.clone());
    (pair.username, pair.key) = credentials("k1", "secret1", "PA_2", T + 300);
    assert_eq!(pair.ask(method::REFRESH, |w| w.word(attribute::LIFETIME, 0)), 441);
    assert_eq!(pair.ask(method::CREATE_PERMISSION, to(MEDIA)), 441);
    (pair.username, pair.key) = mine;

    pair.pass(500);
    assert_eq!(pair.ask(method::REFRESH, |w| w.word(attribute::LIFETIME, 1)), 0);
    pair.pass(599);
    assert_eq!(pair.server.len(), 1, "less than ten minutes is not given");
    assert_eq!(pair.ask(method::REFRESH, |w| w.word(attribute::LIFETIME, 1 << 31)), 0);
    pair.pass(3_599);
    assert_eq!(pair.server.len(), 1);
    pair.pass(1);
    assert_eq!((pair.server.len(), pair.server.poll_freed()), (0, Some(relayed)));

    pair.learn_nonce();
    (pair.username, pair.key) = credentials("k1", "secret1", "PA_1", pair.at.unix + 300);
    assert_eq!(pair.allocate(), 0);
    assert_ne!(pair.relayed(), relayed, "not at once for somebody else");
    assert_eq!(pair.ask(method::REFRESH, |w| w.word(attribute::LIFETIME, 0)), 0);
    assert!(pair.server.is_empty());
    assert_eq!(pair.allocate(), 0);
    pair.server.handle_client_gone(pair.client);
    assert!(pair.server.is_empty());
}

#[test]
fn what_is_not_offered_is_said_so() {
    let mut pair = Pair::new(config());
    let ask = |pair: &mut Pair, kind: u16, value: &[u8]| {
        let value = value.to_vec();
        pair.ask(method::ALLOCATE, move |w| udp(w).attribute(kind, &value))
    };
    assert_eq!(pair.ask(method::ALLOCATE, |w| w), 400);
    let tcp =
        pair.ask(method::ALLOCATE, |w| w.attribute(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0]));
    assert_eq!(tcp, 442);
    assert_eq!(ask(&mut pair, 0x1a, &[]), 420, "DONT-FRAGMENT");
    assert_eq!(ask(&mut pair, attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]), 440);
    assert_eq!(ask(&mut pair, attribute::EVEN_PORT, &[0x80]), 508);
    assert_eq!(ask(&mut pair, attribute::RESERVATION_TOKEN, &[1; 8]), 508);
    assert_eq!(ask(&mut pair, attribute::EVEN_PORT, &[0]), 0);
    assert_eq!(pair.relayed().port() % 2, 0);
}

#[test]
fn a_relayed_address_needs_a_socket_only_for_peers_that_are_not_us() {
    let mut config = config();
    config.peers.allowed = vec!["203.0.113.0/24".parse().unwrap()];
    let mut pair = Pair::new(config);
    assert_eq!(pair.allocate(), 0);
    assert_eq!(pair.ask(method::CREATE_PERMISSION, to(MEDIA)), 0);
    assert_eq!(pair.server.poll_wanted(), None);
    assert_eq!(pair.ask(method::CREATE_PERMISSION, to("203.0.113.9:5000")), 0);
    assert_eq!(pair.server.poll_wanted(), Some(pair.relayed()));
    let bound = pair.ask(method::CHANNEL_BIND, |writer| {
        to("203.0.113.9:5000")(writer.word(attribute::CHANNEL_NUMBER, 0x4000_0000))
    });
    assert_eq!((bound, pair.server.poll_wanted()), (0, Some(pair.relayed())));
}
