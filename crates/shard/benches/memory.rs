//! What a participant holds in a shard, in bytes of the heap: counted, not estimated.
//!
//! Budgets: 60 KB for an idle participant (all of the server), 24 KB more for a video subscription,
//! 6 KB for one of audio. What a shard holds is what is freed when it goes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

#[expect(dead_code, reason = "no bench uses all of it")]
#[path = "../tests/shard/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use hearth_plane::{Command, LayerLimit};
use support::{AUDIO, CLEAN, VIDEO, World, down_spec};

thread_local!(static HELD: Cell<i64> = const { Cell::new(0) });

struct Counting;

#[expect(unsafe_code, reason = "counting allocator, bench only")]
// SAFETY: every call goes to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|n| n.set(n.get() + layout.size() as i64));
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.with(|n| n.set(n.get() - layout.size() as i64));
        // SAFETY: same contract as ours.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Participants of each measurement.
const COUNT: u32 = 50;

fn main() {
    let empty = held_by_shard(0, false, false);
    let idle = held_by_shard(COUNT, false, false);
    let audio = held_by_shard(COUNT, false, true);
    let video = held_by_shard(COUNT, true, false);
    let each = |more: i64, less: i64| (more - less) / i64::from(COUNT);
    println("idle transport", each(idle, empty));
    println("audio subscription", each(audio, idle));
    println("video subscription", each(video, idle));
    println("a publisher of video in three encodings and audio", empty);
}

fn println(what: &str, bytes: i64) {
    use std::io::Write as _;
    // A reader that has gone away needs no figures.
    let _ = writeln!(std::io::stdout(), "{what:<52} {bytes:>9} bytes");
}

/// Heap bytes of a shard with one publisher and so many connected participants after 5 s.
fn held_by_shard(participants: u32, video: bool, audio: bool) -> i64 {
    let mut world = World::new(1, 1, CLEAN);
    world.add_publisher(0);
    for _ in 0..participants {
        world.add_connection();
    }
    let all = participants as usize + 1;
    assert!(world.run_until(Duration::from_secs(10), |w| w.connected() == all), "not connected");
    for n in 1..=participants {
        for (wanted, track) in [(video, VIDEO), (audio, AUDIO)] {
            if wanted {
                let spec = Box::new(down_spec(n, track));
                world.command(0, Command::SetDownTrack { spec, limit: LayerLimit::ALL });
            }
        }
    }
    world.run_for(Duration::from_secs(5));
    let before = HELD.get();
    world.shards.clear();
    before - HELD.get()
}
