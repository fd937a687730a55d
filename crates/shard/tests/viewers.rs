//! What viewers see of a publisher, over links that are good, bad, or end at another shard.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use hearth_netem::LinkConfig;
use support::{CLEAN, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn over_a_clean_link_every_viewer_sees_the_highest_encoding_without_a_hole() {
    let mut world = World::call(1, &[0, 0], CLEAN);
    assert!(world.run_until(SECOND, |w| w.connected() == 3));
    world.run_for(10 * SECOND);
    for at in [1, 2] {
        assert_seamless(&mut world, at, 280);
    }
}

#[test]
fn five_per_cent_loss_both_ways_freezes_nobody_for_a_second() {
    for seed in 1..=3 {
        let mut world = World::call(seed, &[0, 0], CLEAN);
        assert!(world.run_until(SECOND, |w| w.connected() == 3), "seed {seed}");
        world.set_links(LinkConfig { loss: 0.05, ..CLEAN });
        world.run_for(60 * SECOND);
        for node in &world.nodes {
            let (up, down) = (node.up.counters(), node.down.counters());
            assert!(up.lost > 10 && down.lost > 10, "seed {seed}: {up:?} {down:?}");
        }
        assert!(world.publisher().retransmitted > 100, "seed {seed}: nothing repeated upstream");
        for at in [1, 2] {
            let report = world.report(at);
            let context = format!("seed {seed}, viewer {at}: {report:?}, {:?}", world.publisher().plis);
            println!("{context}");
            assert!(report.repaired > 100, "{context}");
            assert!(report.longest_freeze < SECOND, "{context}");
            assert!(report.frames.iter().sum::<u64>() > 1_700, "{context}");
            assert_eq!(report.current, Some(2), "{context}");
            assert!(report.audio > 2_600, "{context}");
            assert_eq!((report.contradictions, report.time_backwards), (0, 0), "{context}");
        }
    }
}

#[track_caller]
fn assert_seamless(world: &mut World, at: usize, frames: u64) {
    let plis = world.publisher().plis;
    let report = world.report(at);
    let context = format!("viewer {at}: {report:?}, publisher was asked {plis:?}");
    assert!(report.frames.iter().sum::<u64>() >= frames, "{context}");
    assert_eq!(report.current, Some(2), "{context}");
    assert!(report.audio >= frames, "{context}");
    assert!(report.sender_reports > 0, "{context}");
    let faults = (report.jumps, report.picture_jumps, report.time_backwards, report.audio_jumps);
    assert_eq!(faults, (0, 0, 0, 0), "{context}");
    assert_eq!((report.undecodable, report.contradictions, report.nacks), (0, 0, 0), "{context}");
    assert!(report.longest_freeze < SECOND / 10, "{context}");
}
