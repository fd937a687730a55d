//! Which packets leave as one run, and what is added to them for that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::World;
use crate::support::voices::{room, round};
use hearth_datagram::SendSlab;
use hearth_rtp::RtpView;
use hearth_testkit::Received;

/// (Length of the datagram, of its payload, of its padding), for each datagram to a listener.
type Sent = BTreeMap<SocketAddr, Vec<(usize, usize, u8)>>;

/// Lets everybody say packets of so many bytes: one after another those of each round.
fn say<const N: usize, const M: usize>(
    world: &mut World,
    seq: u64,
    rounds: [[usize; N]; M],
) -> Sent {
    let from = world.client(0).addr();
    for (seq, sizes) in (seq..).zip(rounds) {
        for mut datagram in round(world, seq, sizes) {
            world.inject(0, from, &mut datagram);
        }
    }
    // Longer than a busy shard collects.
    let due = world.now + Duration::from_millis(6);
    let mut slab = SendSlab::new(256);
    let mut sent = Sent::new();
    while world.shards[0].poll_transmit(due, &mut slab) {
        for (path, bytes) in slab.iter() {
            let mut clients = world.nodes.iter_mut().map(|node| node.client());
            let client = clients.find(|client| client.addr() == path.remote).unwrap();
            if let Received::Rtp(packet) = client.handle(due, &mut bytes.to_vec()) {
                let view = RtpView::parse(&packet).unwrap();
                assert!(view.payload[5..].iter().all(|byte| *byte == 0x78), "{:?}", view.payload);
                let lengths = (bytes.len(), view.payload.len(), view.padding);
                sent.entry(path.remote).or_default().push(lengths);
            }
        }
        slab.clear();
    }
    world.run_for(Duration::from_millis(20));
    sent
}

#[test]
fn a_busy_shard_makes_nearly_equal_packets_equal_and_sends_the_shortest_last() {
    let mut world = room(4, 60);
    // 12,000 packets a second.
    for seq in 1..20 {
        assert_eq!(say(&mut world, seq, [[80; 4]]).len(), 60);
    }
    let cases = [
        ([70, 90, 80, 85], vec![(90, 0), (85, 5), (80, 10), (70, 0)]),
        ([30, 90, 87, 10], vec![(90, 0), (87, 3), (30, 0), (10, 0)]),
        ([20, 120, 60, 61], vec![(120, 0), (61, 0), (60, 0), (20, 0)]),
        ([90, 66, 65, 10], vec![(90, 0), (66, 24), (65, 0), (10, 0)]),
    ];
    for (seq, (sizes, expected)) in (20..).zip(cases) {
        for datagrams in say(&mut world, seq, [sizes]).values() {
            let found: Vec<_> = datagrams.iter().map(|(_, size, pad)| (*size, *pad)).collect();
            assert_eq!(found, expected, "{sizes:?}");
            let overhead = datagrams[0].0 - datagrams[0].1;
            let adds_up =
                |(len, size, pad): &(usize, usize, u8)| *len == overhead + size + usize::from(*pad);
            assert!(datagrams.iter().all(adds_up), "{datagrams:?}");
        }
    }
}

#[test]
fn packets_of_one_stream_are_made_as_long_as_the_longest_of_them_to_come() {
    let mut world = room(1, 150);
    for seq in 1..20 {
        say(&mut world, seq, [[80]]);
    }
    for (seq, (sizes, expected)) in (20..).step_by(4).zip([
        ([70, 70, 71, 71], [(70, 1), (70, 1), (71, 0), (71, 0)]),
        ([110, 50, 100, 90], [(110, 0), (50, 0), (100, 0), (90, 0)]),
        ([90, 60, 61, 20], [(90, 0), (60, 0), (61, 0), (20, 0)]),
    ]) {
        for datagrams in say(&mut world, seq, sizes.map(|size| [size])).values() {
            let found: Vec<_> = datagrams.iter().map(|(_, size, pad)| (*size, *pad)).collect();
            assert_eq!(found, expected, "{sizes:?}");
        }
    }
}

#[test]
fn a_shard_with_little_to_do_adds_nothing() {
    let mut world = room(4, 3);
    for seq in 1..20 {
        let sent = say(&mut world, seq, [[70, 90, 80, 85]]);
        assert!(sent.values().flatten().all(|(.., padding)| *padding == 0), "{sent:?}");
        assert_eq!(sent.values().map(Vec::len).sum::<usize>(), 12);
    }
}
