//! Datagrams of a client that has passed a connectivity check and nothing else, each behind 16 bits of
//! length, whoever begins the handshake: no media comes of them, and in the end the transport closes.
//! Also as candidates and as messages that open data channels.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hearth_datagram::Endpoint;
use hearth_peer::{Certificate, Context, Incoming, Peer, stun_local_ufrag};
use hearth_plane::{DtlsRole, Fingerprint, IceCredentials, LocalCandidate, PeerSpec, RemoteParams};
use hearth_random::Seed;
use is::{Candidate, IceAgent, IceCreds};
use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the crate's module; it needs more of it than this")]
#[path = "../../crates/peer/src/dcep.rs"]
mod dcep;

const SERVER: SocketAddr = at(1, 7_882);
const CLIENT: SocketAddr = at(2, 40_000);
const PATH: Endpoint = Endpoint::udp(SERVER, CLIENT);
/// More than all deadlines together.
const LATER: Duration = Duration::from_secs(60);

fuzz_target!(|bytes: &[u8]| {
    if let Some(dcep::Dcep::Open { label }) = dcep::parse(bytes)
        && let Some(ours) = dcep::open(dcep::channel(label))
    {
        assert_eq!(dcep::parse(&ours), dcep::parse(bytes));
    }

    for role in [DtlsRole::Server, DtlsRole::Client] {
        handshake(bytes, role);
    }
});

fn handshake(bytes: &[u8], role: DtlsRole) {
    let Node { start, context, check } = node();
    let spec = spec(role);
    let mut peer = Peer::new(*start, &spec, context, &Seed::fixed(1)).expect("an IPv4 address is a candidate");
    let mut check = check.clone();
    let incoming = peer.handle_datagram(*start, PATH, &mut check);
    assert!(matches!(incoming, Incoming::Consumed));
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (datagram, tail) = tail.split_at(len);
        rest = tail;
        if let Some(ufrag) = stun_local_ufrag(datagram) {
            assert!(ufrag.len() < datagram.len());
        }
        let mut datagram = datagram.to_vec();
        let incoming = peer.handle_datagram(*start, PATH, &mut datagram);
        assert!(matches!(incoming, Incoming::Consumed | Incoming::Dropped(_)));
        while peer.poll_transmit().is_some() {}
        while peer.poll_event().is_some() {}
    }
    if let Ok(candidate) = std::str::from_utf8(bytes) {
        peer.add_remote_candidate(*start, candidate);
    }
    assert!(!peer.is_connected());
    peer.handle_timeout(*start + LATER);
    assert_eq!(peer.poll_timeout(), None, "it is still open");
}

struct Node {
    start: Instant,
    context: Context,
    /// A connectivity check of the client.
    check: Vec<u8>,
}

/// What is made once.
fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        let start = Instant::now();
        let certificate = Certificate::generate().expect("the crypto library works");
        let context = Context::new(Arc::new(certificate)).expect("the crypto library works");
        let host = |addr| Candidate::host(addr, "udp").expect("an IPv4 address is a candidate");
        let spec = spec(DtlsRole::Server);
        let mut ice = IceAgent::new(creds(&spec.remote.expect("the client offered").ice));
        ice.set_controlling(true);
        ice.add_local_candidate(host(CLIENT));
        ice.set_remote_credentials(creds(&spec.local));
        ice.add_remote_candidate(host(SERVER));
        ice.handle_timeout(start);
        let check = ice.poll_transmit().expect("there is a pair to check").contents.into();
        Node { start, context, check }
    })
}

const fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port))
}

fn creds(ice: &IceCredentials) -> IceCreds {
    IceCreds { ufrag: ice.ufrag.clone(), pass: ice.pwd.clone() }
}

fn spec(role: DtlsRole) -> PeerSpec {
    let fingerprint = Fingerprint([1; 32]);
    let ice = |side: &str| IceCredentials { ufrag: format!("00{side}"), pwd: side.repeat(4) };
    PeerSpec {
        local: ice("server"),
        ice_lite: false,
        ice_controlling: false,
        local_candidates: vec![LocalCandidate::udp(SERVER)],
        remote: Some(RemoteParams { ice: ice("client"), fingerprints: fingerprint.into(), role }),
        open_channels: true,
    }
}
