//! No random value that a transport puts on the wire predicts another transport's.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hearth_peer::{Certificate, Context, Peer};
use hearth_plane::{DtlsRole, Fingerprint, IceCredentials, LocalCandidate, PeerSpec, RemoteParams};
use hearth_random::Seed;

/// STUN attributes ICE-CONTROLLED and ICE-CONTROLLING (RFC 8445 §16.1).
const TIE_BREAKERS: [u16; 2] = [0x8029, 0x802a];

#[test]
fn a_transport_shows_the_same_numbers_for_the_same_seed_whatever_the_thread_drew_before() {
    let shown = |thread, seed| {
        fastrand::seed(thread);
        checks(&Seed::fixed(seed))
    };
    let first = shown(1, 7);
    assert!(first.len() >= 3, "{first:?}");
    assert_eq!(first, shown(2, 7), "the seed does not decide");
    for check in shown(1, 8) {
        assert!(!first.contains(&check), "another seed, and still {check:?}");
    }
}

/// The random values of a connectivity check.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Check {
    transaction: [u8; 12],
    tie_breaker: u64,
}

/// The checks of a full agent in its first second.
fn checks(seed: &Seed) -> Vec<Check> {
    let t0 = epoch();
    let remote = RemoteParams {
        ice: IceCredentials { ufrag: "remo".into(), pwd: "p".repeat(22) },
        fingerprints: Fingerprint([1; 32]).into(),
        role: DtlsRole::Server,
    };
    let local: SocketAddr = "192.0.2.1:7000".parse().unwrap();
    let spec = PeerSpec {
        local: IceCredentials { ufrag: "loca".into(), pwd: "q".repeat(22) },
        ice_lite: false,
        ice_controlling: true,
        local_candidates: vec![LocalCandidate::udp(local)],
        remote: Some(remote),
        open_channels: false,
    };
    let mut peer = Peer::new(t0, &spec, context(), seed).unwrap();
    peer.add_remote_candidate(t0, "candidate:1 1 udp 2130706431 192.0.2.2 9 typ host");
    let mut checks = Vec::new();
    for ms in 0..1_000 {
        peer.handle_timeout(t0 + Duration::from_millis(ms));
        while let Some(transmit) = peer.poll_transmit() {
            checks.extend(parse(&transmit.payload));
        }
    }
    checks
}

/// A STUN request (RFC 8489 §5, §14).
fn parse(stun: &[u8]) -> Option<Check> {
    let transaction = *stun.get(8..)?.first_chunk::<12>()?;
    let mut rest = stun.get(20..)?;
    while let [t0, t1, l0, l1, value @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        if TIE_BREAKERS.contains(&u16::from_be_bytes([*t0, *t1])) {
            let tie_breaker = u64::from_be_bytes(*value.first_chunk()?);
            return Some(Check { transaction, tie_breaker });
        }
        rest = value.get(len.next_multiple_of(4)..)?;
    }
    None
}

fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new(Arc::new(Certificate::generate().unwrap())).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
