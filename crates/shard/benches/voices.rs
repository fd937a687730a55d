//! What a packet of sound costs for one listener when nothing of it is in the cache.
//!
//! A packet of each of ten voices enters the shard and leaves for every listener. Between two rounds
//! the caches are filled with something else, as other work does in the 20 ms between two packets of
//! a voice: a small fast room is measured by `forward`, a real one by this.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

#[expect(dead_code, reason = "no bench uses all of it")]
#[path = "../tests/shard/support/mod.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use hearth_datagram::SendSlab;
use hearth_metrics::Metric;
use support::path;
use support::voices::{room, round};

const VOICES: u32 = 10;
/// Bytes; more than the caches of one core and its share of those it has with others.
const OTHER_WORK: usize = 64 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = [80, 400], sample_count = 60, sample_size = 1)]
fn voices_from_cold_caches(bencher: Bencher<'_, '_>, subscribers: u32) {
    let mut world = room(VOICES, subscribers);
    let mut slab = SendSlab::new(256);
    let from = world.client(0).addr();
    // The first packets make the streams known.
    for seq in 1..3 {
        for mut datagram in round(&mut world, seq, [88; VOICES as usize]) {
            world.inject(0, from, &mut datagram);
        }
        while world.shards[0].poll_transmit(world.now, &mut slab) {
            slab.clear();
        }
        world.run_for(Duration::from_millis(20));
    }
    let (world, seq) = (RefCell::new(world), Cell::new(3));
    let other = RefCell::new(vec![1_u8; OTHER_WORK]);
    bencher
        .counter(ItemsCount::new((VOICES * subscribers) as usize))
        .with_inputs(|| {
            let mut world = world.borrow_mut();
            world.run_for(Duration::from_millis(20));
            let inputs = round(&mut world, seq.get(), [88; VOICES as usize]);
            seq.set(seq.get() + 1);
            for byte in other.borrow_mut().iter_mut().step_by(64) {
                *byte = black_box(byte.wrapping_add(1));
            }
            inputs
        })
        .bench_local_values(|mut inputs| {
            let world = &mut *world.borrow_mut();
            let before = world.shards[0].counts()[Metric::PacketsSent];
            for datagram in &mut inputs {
                world.shards[0].handle_datagram(world.now, path(from), datagram);
            }
            // A shard with so much to do collects for 5 ms.
            let due = world.now + Duration::from_millis(6);
            while world.shards[0].poll_transmit(due, &mut slab) {
                slab.clear();
            }
            let sent = world.shards[0].counts()[Metric::PacketsSent] - before;
            assert_eq!(sent, u64::from(VOICES * subscribers));
            inputs
        });
}
