//! Clients that vanish, and datagrams of nobody.

use std::net::SocketAddr;
use std::time::Duration;

use hearth_datagram::SendSlab;
use hearth_metrics::{Counts, Metric};
use hearth_peer::probe;
use hearth_plane::{CloseReason, Command, Event, PeerId};
use hearth_testkit::{ViewerReport, authentic_check, forged_check};

use crate::support::{CLEAN, PUBLISHER, World, credentials};

const SECOND: Duration = Duration::from_secs(1);
/// Of each kind.
const FLOOD: u32 = 20_000;

/// How far a client gets before it vanishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    BeforeIce,
    AfterIce,
    InDtls,
    Connected,
}

#[test]
fn a_client_that_vanishes_is_closed_in_time_at_every_step() {
    for (step, reason, within) in [
        (Step::BeforeIce, CloseReason::IceTimeout, 61),
        (Step::AfterIce, CloseReason::DtlsTimeout, 61),
        (Step::InDtls, CloseReason::DtlsTimeout, 61),
        (Step::Connected, CloseReason::Silence, 46),
    ] {
        for who in [0, 1] {
            let mut world = World::call(1, &[0, 0], CLEAN);
            vanish(&mut world, who, step);
            world.run_for(within * SECOND);
            let peer = PeerId { n: who as u32, ..PUBLISHER };
            let closed = world.events.iter().filter_map(|(at, _, event)| {
                let Event::PeerClosed { peer, reason } = event else {
                    return None;
                };
                Some((*at, *peer, *reason))
            });
            let closed: Vec<_> = closed.collect();
            assert_eq!(closed.len(), 1, "{step:?}, {who}: {closed:?}");
            assert_eq!((closed[0].1, closed[0].2), (peer, reason), "{step:?}, {who}");
            let counts = world.shards[0].counts();
            let expect = if who == 0 { (2, 0, 0) } else { (2, 2, 2) };
            let left =
                (counts[Metric::Transports], counts[Metric::Tracks], counts[Metric::Subscriptions]);
            assert_eq!(left, expect, "{step:?}, {who}");
        }
    }
}

#[test]
fn when_all_are_gone_nothing_is_left() {
    for step in [Step::BeforeIce, Step::AfterIce, Step::InDtls, Step::Connected] {
        let mut world = World::call(1, &[0, 0], CLEAN);
        vanish(&mut world, 2, step);
        for who in 0..2 {
            world.client(who).vanish();
        }
        world.run_for(61 * SECOND);
        assert_empty(world.shards[0].counts());
        assert_eq!(world.shards[0].poll_timeout(), None, "{step:?}");
    }
    let mut world = World::call(1, &[0, 0], CLEAN);
    world.run_for(2 * SECOND);
    for n in [1, 0, 2] {
        world.command(0, Command::RemovePeer { peer: PeerId { n, ..PUBLISHER } });
    }
    assert_empty(world.shards[0].counts());
}

#[test]
fn a_flood_of_garbage_leaves_a_call_alone() {
    let mut world = World::call(1, &[0], CLEAN);
    world.run_for(2 * SECOND);
    let (peers, routes) = {
        let counts = world.shards[0].counts();
        (counts[Metric::Transports], counts[Metric::Routes])
    };
    let mut noise = Noise(99);
    let kinds: [fn(&mut Noise) -> Vec<u8>; 6] =
        [unknown_stun, broken_stun, client_hello, rtp, rtcp, anything];
    for n in 0..FLOOD {
        for (kind, make) in (0_u16..).zip(kinds) {
            let mut datagram = make(&mut noise);
            let from = SocketAddr::from(([192, 0, (n >> 8) as u8, n as u8], 1_000 + kind));
            world.inject(0, from, &mut datagram);
        }
        // The same from an address that a peer has proven.
        let mut datagram = kinds[(n % 6) as usize](&mut noise);
        let from = world.client(1).addr();
        world.inject(0, from, &mut datagram);
        if n % 100 == 0 {
            world.run_for(SECOND / 50);
        }
    }
    let counts = world.shards[0].counts();
    assert_eq!(
        (counts[Metric::Transports], counts[Metric::Routes], counts[Metric::Panics]),
        (peers, routes, 0)
    );
    assert!(counts[Metric::DropReceiveUnknown] >= 4 * u64::from(FLOOD), "{counts:?}");
    let invalid = [
        Metric::DropReceiveStun,
        Metric::DropReceiveUnproven,
        Metric::DropReceiveForged,
        Metric::DropReceiveMalformed,
        Metric::DropReceiveProtocol,
    ];
    assert!(counts.sum(&invalid) >= u64::from(FLOOD) / 2, "{counts:?}");
    let each = invalid.iter().filter(|metric| counts[**metric] > 0).count();
    assert!(each >= 3, "by reason: {counts:?}");
    world.run_for(2 * SECOND);
    let report = world.report(1);
    assert!(report.longest_freeze < SECOND / 10, "{report:?}");
    assert_eq!((report.jumps, report.audio.jumps, report.undecodable), (0, 0, 0), "{report:?}");
    assert!(world.events.iter().all(|(.., e)| !matches!(e, Event::PeerClosed { .. })));
}

#[test]
fn garbage_for_other_shards_is_bounded() {
    let mut world = World::call(1, &[0, 1], CLEAN);
    world.run_for(SECOND);
    let mut noise = Noise(5);
    let before = world.shards[0].counts()[Metric::DropChecksOwn];
    for n in 0..FLOOD {
        let mut datagram = stun(&mut noise, "01nobodyknowsit:x");
        let from = SocketAddr::from(([192, 0, (n >> 8) as u8, n as u8], 1));
        world.inject(0, from, &mut datagram);
    }
    assert!(world.shards[0].counts()[Metric::DropChecksOwn] - before > u64::from(FLOOD) / 2);
    world.run_for(3 * SECOND);
    assert_eq!(world.shards[1].counts()[Metric::Transports], 1);
    let report = world.report(2);
    assert!(report.longest_freeze < SECOND / 5, "{report:?}");
}

#[test]
fn a_flood_of_checks_for_the_other_shard_costs_a_call_over_two_shards_no_packet() {
    // The kernel gives everybody's datagrams to the wrong shard.
    let mut world = World::new(1, 2, CLEAN);
    world.add_publisher(1);
    let viewers = [world.add_viewer(0, 1), world.add_viewer(1, 0)];
    world.run_for(3 * SECOND);
    let before = viewers.map(|at| world.report(at));
    let relayed = world.messages;

    let mut noise = Noise(7);
    for n in 0..FLOOD * 5 {
        for shard in [0_usize, 1] {
            // Of peers that exist, and of nobody.
            let known = noise.next().is_multiple_of(8);
            let (other, peer) = (1 - shard, [0, 2][1 - shard]);
            let name = if known { format!("node{peer:08}") } else { format!("{:x}", noise.next()) };
            let mut datagram = stun(&mut noise, &format!("{other:02x}{name}:abcd"));
            let from = SocketAddr::from(([192, (n >> 16) as u8, (n >> 8) as u8, n as u8], 1));
            world.inject(shard, from, &mut datagram);
        }
        // Twenty thousand at each shard between two of its turns, once; else two thousand.
        if n > FLOOD && n % 2_000 == 0 {
            world.run_for(SECOND / 50);
        }
    }
    world.run_for(2 * SECOND);

    let after = viewers.map(|at| world.report(at));
    for (before, after) in before.iter().zip(&after) {
        assert!(after.packets > before.packets + 200, "{before:?}, {after:?}");
        let lost =
            |report: &ViewerReport| (report.jumps, report.audio.jumps, report.feedback.nacks);
        assert_eq!(lost(after), lost(before));
        assert!(after.longest_freeze < SECOND / 10, "{after:?}");
    }
    let counts = [0, 1].map(|at: usize| world.shards[at].counts());
    for counts in &counts {
        let harm = [Metric::DropMessagesOwn, Metric::DropControlFull, Metric::Panics];
        assert_eq!(counts.sum(&harm), 0, "{counts:?}");
        assert!(counts[Metric::DropChecksOwn] > u64::from(FLOOD), "{counts:?}");
    }
    assert!(world.messages > relayed + 1_000, "the call goes over both shards");
    assert!(world.events.iter().all(|(.., e)| !matches!(e, Event::PeerClosed { .. })));
}

#[test]
fn a_client_that_begins_during_a_flood_is_let_through() {
    let mut world = World::new(1, 2, CLEAN);
    world.add_publisher(1);
    let viewer = world.add_viewer(1, 0);
    let mut noise = Noise(7);
    let mut n = 0_u32;
    while !world.client(viewer).is_connected() {
        assert!(n < 400_000, "not within 10 s");
        for _ in 0..20 {
            n += 1;
            let mut datagram = stun(&mut noise, "01nobodyknowsit:x");
            let from = SocketAddr::from(([192, (n >> 16) as u8, (n >> 8) as u8, n as u8], 1));
            world.inject(0, from, &mut datagram);
        }
        world.run_for(SECOND / 2_000);
    }
}

#[test]
fn a_client_that_floods_checks_takes_no_answer_of_another() {
    let mut world = World::call(1, &[0, 0], CLEAN);
    world.run_for(2 * SECOND);
    let check = |world: &mut World, who: usize| {
        let (ours, theirs) = (credentials(0, who), world.client(who).params().ice.ufrag);
        let mut check = authentic_check(&format!("{}:{theirs}", ours.ufrag), &ours.pwd);
        let from = world.client(who).addr();
        world.inject(0, from, &mut check);
    };
    let full = world.shards[0].counts()[Metric::DropControlFull];
    for _ in 0..2_000 {
        check(&mut world, 1);
    }
    for _ in 0..10 {
        check(&mut world, 2);
    }
    let mut answers = [0; 2];
    let addrs = [1, 2].map(|who| world.client(who).addr());
    let mut slab = SendSlab::new(64);
    while world.shards[0].poll_transmit(world.now, &mut slab) {
        for (path, datagram) in slab.iter() {
            let is_answer = datagram.starts_with(&[1, 1]);
            for (count, addr) in answers.iter_mut().zip(addrs) {
                *count += u32::from(is_answer && path.remote == addr);
            }
        }
        slab.clear();
    }
    assert_eq!(answers, [128, 10], "the flood has its share, who is beside it has all");
    assert_eq!(world.shards[0].counts()[Metric::DropControlFull] - full, 2_000 - 128);
}

fn vanish(world: &mut World, who: usize, step: Step) {
    let limit = 2 * SECOND;
    let reached = match step {
        Step::BeforeIce => true,
        Step::AfterIce => world.run_until(limit, |w| w.client(who).has_path()),
        Step::InDtls => {
            assert!(world.run_until(limit, |w| w.client(who).has_path()));
            world.run_for(Duration::from_millis(25));
            !world.client(who).is_connected()
        }
        Step::Connected => world.run_until(limit, |w| w.client(who).is_connected()),
    };
    assert!(reached, "{step:?} was not reached");
    if step == Step::Connected {
        world.run_for(SECOND);
    }
    world.client(who).vanish();
}

#[track_caller]
fn assert_empty(counts: Counts) {
    let left = (
        counts[Metric::Transports],
        counts[Metric::Tracks],
        counts[Metric::Subscriptions],
        counts[Metric::Routes],
    );
    assert_eq!(left, (0, 0, 0, 0));
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.next() % most;
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A binding request of somebody who does not know the password.
fn stun(noise: &mut Noise, username: &str) -> Vec<u8> {
    forged_check(username, std::array::from_fn(|_| noise.next() as u8))
}

fn unknown_stun(noise: &mut Noise) -> Vec<u8> {
    // Now and then of a peer that exists: only the password is wrong.
    let known = noise.next().is_multiple_of(4);
    let ufrag = if known { "00node00000001".to_owned() } else { format!("00{:x}", noise.next()) };
    stun(noise, &format!("{ufrag}:abcd"))
}

fn broken_stun(noise: &mut Noise) -> Vec<u8> {
    let mut message = stun(noise, "00node00000001:abcd");
    let at = 3 + (noise.next() as usize % 22);
    message[at] = noise.next() as u8;
    message.truncate(noise.next() as usize % message.len());
    message
}

fn client_hello(noise: &mut Noise) -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = noise.bytes(300);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(&body);
    record
}

fn rtp(noise: &mut Noise) -> Vec<u8> {
    let mut packet = vec![0x80 | (noise.next() as u8 & 0x3f), 96];
    packet.extend(noise.bytes(1_200));
    packet
}

fn rtcp(noise: &mut Noise) -> Vec<u8> {
    let mut packet = vec![0x80 | (noise.next() as u8 & 0x3f), 200 + (noise.next() % 8) as u8];
    packet.extend(noise.bytes(200));
    packet
}

fn anything(noise: &mut Noise) -> Vec<u8> {
    noise.bytes(1_500)
}

#[test]
fn a_stranger_who_asks_whether_a_port_is_reached_gets_less_than_it_sent() {
    let mut world = World::new(1, 1, CLEAN);
    let from = SocketAddr::from(([192, 0, 2, 9], 5));
    let mut slab = SendSlab::new(64);
    for (asked, answered) in [(1, 1), (1_000, 4), (2, 2)] {
        for n in 0..asked {
            let id = [n as u8; 12];
            world.inject(0, from, &mut probe::request(id));
        }
        world.shards[0].poll_transmit(world.now, &mut slab);
        let answers: Vec<_> = slab.iter().collect();
        assert_eq!(answers.len(), answered);
        for (path, answer) in answers {
            assert!(path.remote == from && answer.len() < probe::REQUEST_LEN);
            assert!(probe::is_answer(answer, [answer[8]; 12]));
        }
        slab.clear();
    }
    assert_eq!(world.shards[0].counts()[Metric::DropReceiveUnknown], 996);
}
