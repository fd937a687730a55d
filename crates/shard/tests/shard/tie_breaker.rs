//! What a shard shows of its random numbers, and what that tells of others.

use crate::support::{CLEAN, ROOM, World, client_addr};
use hearth_datagram::SendSlab;
use hearth_plane::{
    Command, DtlsRole, Fingerprint, IceCredentials, LocalCandidate, PeerId, PeerSpec, RemoteParams,
};

/// STUN attributes ICE-CONTROLLED and ICE-CONTROLLING (RFC 8445 §16.1).
const TIE_BREAKERS: [u16; 2] = [0x8029, 0x802a];

/// A tie-breaker goes to the other side in every check. Were it an output of SplitMix64, which can be
/// inverted, it would give away the state that the numbers of the next transports come from.
#[test]
fn a_tie_breaker_does_not_tell_that_of_the_next_transport() {
    let mut world = World::new(3, 1, CLEAN);
    let shown: Vec<u64> = (1..=100).map(|n| tie_breaker(&mut world, n)).collect();
    for pair in shown.windows(2) {
        assert_ne!(split_mix(inverse_split_mix(pair[0])), pair[1]);
    }
    assert_eq!(inverse_split_mix(split_mix(STEP)), STEP.wrapping_mul(2), "the attack is none");
}

/// What a new transport, which is a full agent, sends to the only candidate of its client.
fn tie_breaker(world: &mut World, n: u32) -> u64 {
    let spec = PeerSpec {
        local: IceCredentials { ufrag: format!("00{n:014}"), pwd: "q".repeat(24) },
        ice_lite: false,
        ice_controlling: true,
        local_candidates: vec![LocalCandidate::udp("192.0.2.1:7000".parse().unwrap())],
        remote: Some(RemoteParams {
            ice: IceCredentials { ufrag: "remo".into(), pwd: "p".repeat(22) },
            fingerprints: Fingerprint([1; 32]).into(),
            role: DtlsRole::Server,
        }),
        open_channels: false,
    };
    let peer = PeerId { room: ROOM, n };
    let addr = client_addr(n);
    let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", addr.ip(), addr.port());
    world.command(0, Command::AddPeer { peer, spec: Box::new(spec) });
    world.command(0, Command::AddRemoteCandidate { peer, candidate });
    let mut slab = SendSlab::new(64);
    for ms in 0..1_000 {
        let now = world.now + std::time::Duration::from_millis(ms);
        world.shards[0].handle_timeout(now);
        while world.shards[0].poll_transmit(now, &mut slab) {
            let shown = slab
                .iter()
                .filter(|(path, _)| path.remote == addr)
                .find_map(|(_, stun)| parse(stun));
            if let Some(shown) = shown {
                world.command(0, Command::RemovePeer { peer });
                return shown;
            }
            slab.clear();
        }
    }
    panic!("transport {n} checks nothing")
}

/// The tie-breaker of a STUN request (RFC 8489 §5, §14).
fn parse(stun: &[u8]) -> Option<u64> {
    let mut rest = stun.get(20..)?;
    while let [t0, t1, l0, l1, value @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        if TIE_BREAKERS.contains(&u16::from_be_bytes([*t0, *t1])) {
            return Some(u64::from_be_bytes(*value.first_chunk()?));
        }
        rest = value.get(len.next_multiple_of(4)..)?;
    }
    None
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood 2014): the output after `state`.
fn split_mix(state: u64) -> u64 {
    let z = state.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The state that an output came from, one step on.
fn inverse_split_mix(output: u64) -> u64 {
    let unshift = |z: u64, by: u32| (0..64 / by).fold(z, |x, _| z ^ (x >> by));
    let z = unshift(output, 31).wrapping_mul(0x3196_42b2_d24d_8ec3);
    let z = unshift(z, 27).wrapping_mul(0x96de_1b17_3f11_9089);
    unshift(z, 30)
}
