//! Cost of a relayed packet, each way, among n clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use divan::{AllocProfiler, Bencher, black_box};
use hearth_random::Seed;
use hearth_turn::{
    Class, Client, Config, Identity, Key, Message, Moment, Outcome, PeerPolicy, REALM, Server,
    Writer, attribute, method,
};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn media() -> SocketAddr {
    ([198, 51, 100, 7], 7_882).into()
}

/// A server with so many clients, each of which has bound a channel; and the relayed addresses.
fn server(clients: u16) -> (Server, Moment, Vec<(Client, SocketAddr)>) {
    #[expect(clippy::disallowed_methods, reason = "a bench starts somewhere")]
    let at = Moment { now: Instant::now(), unix: 1_700_000_000 };
    let config = Config {
        keys: vec![("k".to_owned(), "s".to_owned())],
        ttl: Duration::from_secs(300),
        relay_ips: vec![media().ip()],
        relay_ports: 30_000..=40_000,
        peers: PeerPolicy { media: vec![media()], ..PeerPolicy::default() },
        max_per_participant: 10_000,
        max_allocations: 10_000,
    };
    let mut server = Server::new(at.now, config, &Seed::fixed(1));
    let identity =
        Identity { api_key: "k".to_owned(), participant: "PA_1".to_owned(), expiry: at.unix + 300 };
    let username = identity.username();
    let key = Key::long_term(&username, REALM, &identity.password("s"));
    let mut out = [0; 1_600];
    let mut made = Vec::new();
    for n in 0..clients {
        let [high, low] = n.to_be_bytes();
        let remote = ([10, 0, high, low], 5_000).into();
        let client = Client { is_stream: false, local: ([198, 51, 100, 7], 3_478).into(), remote };
        let mut ask = |kind, nonce: &[u8]| {
            let mut buf = [0; 400];
            let len = Writer::new(&mut buf, Class::Request, kind, [1; 12])
                .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .word(attribute::CHANNEL_NUMBER, 0x4000_0000)
                .address(attribute::XOR_PEER_ADDRESS, media())
                .attribute(attribute::USERNAME, username.as_bytes())
                .attribute(attribute::REALM, REALM.as_bytes())
                .attribute(attribute::NONCE, nonce)
                .integrity(&key)
                .finish();
            let request = buf.get(..len.unwrap_or_default()).unwrap_or_default();
            match server.handle_client(at, client, request, &mut out) {
                Outcome::Answer(len) => out.get(..len).unwrap_or_default().to_vec(),
                Outcome::Relay { .. } | Outcome::Nothing => Vec::new(),
            }
        };
        let challenge = ask(method::ALLOCATE, b"");
        let nonce = Message::parse(&challenge).and_then(|m| m.attribute(attribute::NONCE));
        let nonce = nonce.unwrap_or_default().to_vec();
        let allocated = ask(method::ALLOCATE, &nonce);
        let relayed = Message::parse(&allocated)
            .and_then(|message| message.address(attribute::XOR_RELAYED_ADDRESS));
        ask(method::CHANNEL_BIND, &nonce);
        made.extend(relayed.map(|relayed| (client, relayed)));
    }
    assert_eq!(made.len(), usize::from(clients), "all have allocated");
    (server, at, made)
}

#[divan::bench(args = [1, 100, 1_000])]
fn of_a_client(bencher: Bencher<'_, '_>, clients: u16) {
    let (mut server, at, made) = server(clients);
    let packet = [&[0x40, 0, 4, 76][..], &[7; 1_100]].concat();
    let (mut next, mut out) = (made.iter().cycle(), [0; 1_600]);
    bencher.bench_local(|| {
        let Some((client, _)) = next.next() else { return };
        let outcome = server.handle_client(at, *client, black_box(&packet), &mut out);
        assert!(matches!(outcome, Outcome::Relay { .. }), "it is relayed");
    });
}

#[divan::bench(args = [1, 100, 1_000])]
fn to_a_client(bencher: Bencher<'_, '_>, clients: u16) {
    let (mut server, at, made) = server(clients);
    let (mut next, mut out) = (made.iter().cycle(), [0; 1_600]);
    bencher.bench_local(|| {
        let Some((_, relayed)) = next.next() else { return };
        let way = (*relayed, media());
        assert!(server.handle_peer(at.now, way, black_box(&[7; 1_100]), &mut out).is_some());
    });
}
