//! The same packets every time, for `cargo xtask gate`, which counts the instructions they take.
//!
//! Counted are the calls of [`measured_packets`] only: one packet of 1,100 bytes enters, and leaves
//! sealed for eight subscribers, two hundred times.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

mod one_track;
#[expect(dead_code, reason = "no bench uses all of it")]
#[path = "../tests/shard/support/mod.rs"]
mod support;

use hearth_datagram::SendSlab;
use hearth_metrics::Metric;
use hearth_shard::Shard;
use support::path;

const SUBSCRIBERS: u32 = 8;
const PACKETS: u64 = 200;

fn main() {
    let mut world = one_track::world(SUBSCRIBERS);
    let from = world.client(0).addr();
    let mut slab = SendSlab::new(64);
    let mut sealed: Vec<Vec<u8>> =
        (1..=PACKETS + 20).map(|seq| one_track::sealed(&mut world, seq)).collect();
    let mut rest = sealed.split_off(20);
    // The first ones make the stream and its target known.
    let now = world.now;
    for datagram in &mut sealed {
        world.inject(0, from, datagram);
        while world.shards[0].poll_transmit(now, &mut slab) {
            slab.clear();
        }
    }
    let before = world.shards[0].counts()[Metric::PacketsSent];
    for datagram in &mut rest {
        measured_packets(&mut world.shards[0], now, from, datagram, &mut slab);
    }
    let forwarded = world.shards[0].counts()[Metric::PacketsSent] - before;
    assert_eq!(forwarded, PACKETS * u64::from(SUBSCRIBERS), "not all were forwarded");
    use std::io::Write as _;
    // Read by the gate.
    let _ = writeln!(std::io::stdout(), "forwarded {forwarded}");
}

/// Found by its name in the profile, hence not inlined.
#[inline(never)]
fn measured_packets(
    shard: &mut Shard,
    now: std::time::Instant,
    from: std::net::SocketAddr,
    datagram: &mut [u8],
    slab: &mut SendSlab,
) {
    shard.handle_datagram(now, path(from), datagram);
    while shard.poll_transmit(now, slab) {
        slab.clear();
    }
}
