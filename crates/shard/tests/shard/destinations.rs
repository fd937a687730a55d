//! What crosses from the shard of a publisher to another one is what is watched there.

use std::time::Duration;

use crate::support::{AUDIO, CLEAN, VIDEO, World};

const SECOND: Duration = Duration::from_secs(1);

/// The video's encodings of which packets cross in three seconds.
fn crossing(world: &mut World) -> [bool; 3] {
    world.crossed.clear();
    world.run_for(3 * SECOND);
    [0, 1, 2].map(|encoding| world.crossed.contains_key(&(VIDEO, encoding)))
}

#[test]
fn an_encoding_that_nobody_watches_on_the_other_shard_does_not_cross() {
    // One viewer beside the publisher sees the best all the time.
    let mut world = World::call(1, &[0, 1, 1], CLEAN);
    world.run_for(3 * SECOND);
    assert_eq!(crossing(&mut world), [false, false, true], "both see the best");
    for (limits, expect) in [
        ([0, 0], [true, false, false]),
        ([0, 1], [true, true, false]),
        ([2, 1], [false, true, true]),
        ([2, 2], [false, false, true]),
    ] {
        world.limit(2, true, limits[0]);
        world.limit(3, true, limits[1]);
        world.run_for(SECOND);
        assert_eq!(crossing(&mut world), expect, "{limits:?}");
        for (at, limit) in [(1, 2), (2, limits[0]), (3, limits[1])] {
            assert_eq!(world.report(at).current, Some(limit), "viewer {at}, {limits:?}");
        }
    }
    for at in [2, 3] {
        world.limit(at, false, 2);
    }
    world.run_for(SECOND);
    assert_eq!(crossing(&mut world), [false; 3], "nobody watches");
    assert!(world.crossed.contains_key(&(AUDIO, 0)), "but they listen");
    for at in [1, 2, 3] {
        let report = world.report(at);
        let faults = (report.jumps, report.picture_jumps, report.undecodable);
        assert_eq!(faults, (0, 0, 0), "viewer {at}: {report:?}");
    }
}

#[test]
fn a_publisher_that_leaves_out_an_encoding_is_seen_on_the_other_shard_at_what_it_sends() {
    let mut world = World::call(1, &[1], CLEAN);
    world.run_for(3 * SECOND);
    world.publisher().enabled[2] = false;
    world.run_for(SECOND);
    assert_eq!(world.report(1).current, Some(1));
    assert_eq!(crossing(&mut world), [false, true, false]);
    world.publisher().enabled[2] = true;
    let best = |world: &mut World| world.report(1).current == Some(2);
    assert!(world.run_until(3 * SECOND, best), "{:?}", world.report(1));
}

#[test]
fn lost_words_between_shards_cost_a_second_and_no_picture() {
    let mut world = World::new(1, 2, CLEAN);
    world.loses_layer_state = true;
    world.add_publisher(0);
    world.add_viewer(1, 1);
    world.run_for(3 * SECOND);
    assert_eq!(world.report(1).current, Some(2));
    assert_eq!(crossing(&mut world), [true; 3], "nothing is known of what is watched");
    world.loses_layer_state = false;
    world.run_for(SECOND);
    assert_eq!(crossing(&mut world), [false, false, true]);
    // Said while it is lost, and said again.
    world.loses_layer_state = true;
    world.limit(1, true, 0);
    world.run_for(SECOND / 10);
    world.loses_layer_state = false;
    world.run_for(2 * SECOND);
    assert_eq!(world.report(1).current, Some(0));
    assert_eq!(crossing(&mut world), [true, false, false]);
}
