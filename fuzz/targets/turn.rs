//! What strangers send to a TURN server: nothing is relayed, nothing stored, an answer is short; and a stream of it
//! ends or goes on, but never stands still.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hearth_random::Seed;
use hearth_turn::{
    Client, Config, Frame, Message, Moment, Outcome, PeerPolicy, Server, next_frame,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let media: SocketAddr = "198.51.100.7:7882".parse().expect("an address");
    let now = Instant::now();
    let config = Config {
        keys: vec![("k".to_owned(), "s".to_owned())],
        ttl: Duration::from_secs(300),
        relay_ips: vec![media.ip()],
        relay_ports: 30_000..=30_009,
        peers: PeerPolicy { media: vec![media], ..PeerPolicy::default() },
        max_per_participant: 12,
        max_allocations: 8,
    };
    let mut server = Server::new(now, config, &Seed::fixed(1));
    let client = Client { is_stream: true, local: media, remote: media };
    let mut out = [0; 1_600];
    let mut handle = |bytes: &[u8]| {
        let at = Moment { now, unix: 1_700_000_000 };
        match server.handle_client(at, client, bytes, &mut out) {
            Outcome::Answer(len) => {
                assert!(len <= 64 && Message::parse(&out[..len]).is_some() && !bytes.is_empty());
            }
            Outcome::Relay { .. } => panic!("relayed for a stranger"),
            Outcome::Nothing => {}
        }
        assert!(server.is_empty());
    };
    handle(bytes);
    let mut rest = bytes;
    while let Frame::Whole { len, next } = next_frame(rest) {
        assert!(len > 0 && len <= next);
        handle(&rest[..len]);
        rest = &rest[next..];
    }
});
