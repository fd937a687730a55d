//! What one packet costs for one subscriber: decided, renumbered, written and sealed.
//!
//! One packet of the lowest encoding enters the shard, opened from SRTP, and leaves for n
//! subscribers. The budget is 200 ns for each (packet, subscriber): items in the output.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

mod one_track;
#[expect(dead_code, reason = "no bench uses all of it")]
#[path = "../tests/shard/support/mod.rs"]
mod support;

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use hearth_datagram::SendSlab;
use hearth_metrics::Metric;
use support::{World, path};

/// Packets that enter between two measurements of the clock.
const BATCH: u64 = 32;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 100, 1_000], sample_count = 30, sample_size = 1)]
fn forward_and_seal(bencher: Bencher<'_, '_>, subscribers: u32) {
    let mut world = one_track::world(subscribers);
    let mut slab = SendSlab::new(64);
    let mut seq = 1_u64;
    let from = world.client(0).addr();
    let batch = |world: &mut World, seq: &mut u64| -> Vec<Vec<u8>> {
        let first = *seq;
        *seq += BATCH;
        (first..*seq).map(|seq| one_track::sealed(world, seq)).collect()
    };
    // The first packets make the stream and its target known.
    for _ in 0..2 {
        for mut datagram in batch(&mut world, &mut seq) {
            world.inject(0, from, &mut datagram);
        }
        while world.shards[0].poll_transmit(world.now, &mut slab) {
            slab.clear();
        }
        world.run_for(Duration::from_millis(50));
    }
    let world = std::cell::RefCell::new(world);
    let seq = std::cell::Cell::new(seq);
    bencher
        .counter(ItemsCount::new(BATCH as usize * subscribers as usize))
        .with_inputs(|| {
            let mut next = seq.get();
            let inputs = batch(&mut world.borrow_mut(), &mut next);
            seq.set(next);
            inputs
        })
        .bench_local_values(|mut inputs| {
            let world = &mut *world.borrow_mut();
            let before = world.shards[0].counts()[Metric::PacketsSent];
            for datagram in &mut inputs {
                world.shards[0].handle_datagram(world.now, path(from), datagram);
            }
            let mut written = 0;
            while world.shards[0].poll_transmit(world.now, &mut slab) {
                written += slab.entries().len() as u64;
                slab.clear();
            }
            let sent = world.shards[0].counts()[Metric::PacketsSent] - before;
            assert_eq!(sent, BATCH * u64::from(subscribers));
            assert!(written >= sent);
            inputs
        });
}
