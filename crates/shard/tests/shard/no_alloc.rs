//! Forwarding must not touch the allocator.
//!
//! Counted: [`Shard::handle_datagram`] for the publisher's media and the subscribers' RTCP, and
//! [`Shard::poll_transmit`]. Not counted: STUN, which the ICE library answers from the heap about
//! once in two seconds per peer, and [`Shard::handle_timeout`], whose news to control are boxed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use hearth_datagram::SendSlab;
use hearth_metrics::Metric;
use hearth_rtp::{PacketKind, classify};

use crate::support::{CLEAN, World, path};

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

struct Counting;

#[expect(unsafe_code, reason = "counting allocator, test only")]
// SAFETY: every call goes to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: same contract as ours.
        unsafe { System.realloc(ptr, layout, size) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: same contract as ours.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn forwarding_to_two_subscribers_does_not_allocate() {
    let mut world = World::call(1, &[0, 0], CLEAN);
    world.run_for(Duration::from_secs(3));
    let mut slab = SendSlab::new(64);
    let (mut forwarded, mut allocations) = (0, 0);
    let before = world.shards[0].counts()[Metric::PacketsSent];
    while forwarded < 10_000 {
        world.now += Duration::from_millis(5);
        let now = world.now;
        for node in &mut world.nodes {
            let addr = node.client().addr();
            while let Some(mut datagram) = node.up.poll(now) {
                let media = matches!(classify(&datagram), PacketKind::Rtp | PacketKind::Rtcp);
                let start = ALLOCATIONS.get();
                world.shards[0].handle_datagram(now, path(addr), &mut datagram);
                let after = ALLOCATIONS.get() - start;
                allocations += if media { after } else { 0 };
            }
        }
        let start = ALLOCATIONS.get();
        while world.shards[0].poll_transmit(now, &mut slab) {
            slab.clear();
        }
        allocations += ALLOCATIONS.get() - start;
        forwarded = world.shards[0].counts()[Metric::PacketsSent] - before;
        world.run_for(Duration::from_millis(5));
    }
    assert_eq!(allocations, 0, "in {forwarded} packets forwarded");
}
