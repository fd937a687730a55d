//! What viewers see of a publisher, over links that are good, bad, or end at another shard.

use std::time::Duration;

use crate::support::{CLEAN, World};
use hearth_metrics::Metric;
use hearth_netem::LinkConfig;
use hearth_plane::Event;

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
            let context =
                format!("seed {seed}, viewer {at}: {report:?}, {:?}", world.publisher().plis);
            assert!(report.repaired > 100, "{context}");
            assert!(report.longest_freeze < SECOND, "{context}");
            assert!(report.frames.iter().sum::<u64>() > 1_700, "{context}");
            assert_eq!(report.current, Some(2), "{context}");
            assert!(report.audio.packets > 2_600, "{context}");
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
    assert!(report.audio.packets >= frames, "{context}");
    assert!(report.feedback.sender_reports > 0, "{context}");
    let faults = (report.jumps, report.picture_jumps, report.time_backwards, report.audio.jumps);
    assert_eq!(faults, (0, 0, 0, 0), "{context}");
    assert_eq!(
        (report.undecodable, report.contradictions, report.feedback.nacks),
        (0, 0, 0),
        "{context}"
    );
    assert!(report.longest_freeze < SECOND / 10, "{context}");
}

#[test]
fn a_viewer_of_the_lowest_encoding_gets_pictures_that_were_lost_as_a_whole() {
    for seed in 1..=3 {
        let mut world = World::call(seed, &[0], CLEAN);
        world.limit(1, true, 0);
        assert!(world.run_until(SECOND, |w| w.connected() == 2), "seed {seed}");
        world.run_for(SECOND);
        // Only the publisher's way is bad.
        world.nodes[0].up.set_config(LinkConfig { loss: 0.05, ..CLEAN });
        world.run_for(60 * SECOND);
        assert!(world.publisher().retransmitted > 30, "seed {seed}: nothing was lost");
        let report = world.report(1);
        let context = format!("seed {seed}: {report:?}");
        assert_eq!(
            (report.frames[1], report.frames[2], report.current),
            (0, 0, Some(0)),
            "{context}"
        );
        assert_eq!(
            (report.undecodable, report.picture_jumps, report.feedback.plis),
            (0, 0, 0),
            "{context}"
        );
        assert!(report.longest_freeze < SECOND / 3, "{context}");
    }
}

#[test]
fn the_first_key_frame_of_each_encoding_is_shown() {
    for delay in [5, 50, 100].map(Duration::from_millis) {
        for homes in [[0, 0], [0, 1]] {
            let mut world = World::call(1, &homes, CLEAN);
            world.set_links(LinkConfig { delay, ..CLEAN });
            let limit = 8 * delay + Duration::from_millis(10);
            let at_best = world.run_until(limit, |w| w.report(2).current == Some(2));
            let (plis, report) = (world.publisher().plis, world.report(2));
            assert!(at_best, "{delay:?}, {homes:?}: {report:?}, asked {plis:?}");
        }
    }
}

#[test]
fn what_nobody_watched_for_long_is_seen_soon_after_it_is_wanted() {
    let mut world = World::call(1, &[0], CLEAN);
    world.limit(1, true, 0);
    assert!(world.run_until(SECOND, |w| w.connected() == 2));
    for wanted in [2, 0, 1, 2] {
        world.run_for(5 * SECOND);
        world.limit(1, true, wanted);
        assert!(
            world.run_until(SECOND, |w| w.report(1).current == Some(wanted)),
            "{wanted}: {:?}",
            world.report(1)
        );
    }
    let report = world.report(1);
    assert!(report.longest_freeze < SECOND / 10, "{report:?}");
    assert_eq!((report.contradictions, report.time_backwards, report.jumps), (0, 0, 0));
}

#[test]
fn when_an_encoding_stops_a_lower_one_takes_over_until_it_returns() {
    let mut world = World::call(1, &[0, 0], CLEAN);
    world.run_for(3 * SECOND);
    world.publisher().enabled[2] = false;
    world.run_for(4 * SECOND);
    for at in [1, 2] {
        let report = world.report(at);
        assert_eq!(report.current, Some(1), "{report:?}");
        // 0.3 s until it counts that it is left out, and a round trip for the key frame.
        assert!(report.longest_freeze < SECOND * 2 / 5, "{report:?}");
        let now = world.now;
        world.viewer(at).reset_freeze(now);
    }
    world.publisher().enabled[2] = true;
    world.run_for(3 * SECOND);
    for at in [1, 2] {
        let report = world.report(at);
        assert_eq!(report.current, Some(2), "{report:?}");
        assert!(report.longest_freeze < SECOND / 5, "{report:?}");
        let faults = (report.jumps, report.picture_jumps, report.time_backwards);
        assert_eq!((faults, report.undecodable), ((0, 0, 0), 0), "{report:?}");
    }
}

#[test]
fn round_trips_are_measured_of_those_who_only_send_and_for_those_who_only_receive() {
    let mut world = World::call(1, &[0], CLEAN);
    world.run_for(6 * SECOND);
    let trips: Vec<_> = world
        .events
        .iter()
        .filter_map(|(_, _, event)| {
            let Event::Report(report) = event else { return None };
            Some((report.peer.n, report.rtt.map(|rtt| rtt.as_millis())))
        })
        .collect();
    assert_eq!(trips, [(0, Some(40)), (1, Some(40))]);
    let report = world.report(1);
    assert!(report.feedback.round_trips >= 5, "{report:?}");
}

#[test]
fn on_a_short_way_what_a_publisher_lost_is_asked_for_soon_again() {
    let short = LinkConfig { delay: Duration::from_millis(1), ..CLEAN };
    for seed in 1..=3 {
        let mut world = World::call(seed, &[0], short);
        world.run_for(3 * SECOND);
        world.nodes[0].up.set_config(LinkConfig { loss: 0.1, ..short });
        world.nodes[0].down.set_config(LinkConfig { loss: 0.1, ..short });
        world.run_for(30 * SECOND);
        assert!(world.publisher().retransmitted > 100, "seed {seed}: nothing was lost");
        let report = world.report(1);
        // 0.65 s with the 70 ms that are assumed of whoever is not measured.
        assert!(report.longest_freeze < SECOND * 3 / 10, "seed {seed}: {report:?}");
    }
}

#[test]
fn what_is_lost_for_good_costs_a_key_frame_only_of_what_is_watched() {
    let mut world = World::call(1, &[0], CLEAN);
    world.limit(1, true, 0);
    world.run_for(3 * SECOND);
    let before = world.publisher().plis;
    world.nodes[0].up.set_config(LinkConfig { loss: 1.0, ..CLEAN });
    world.run_for(SECOND / 10);
    // Nor do the requests arrive.
    world.nodes[0].up.set_config(CLEAN);
    world.nodes[0].down.set_config(LinkConfig { loss: 1.0, ..CLEAN });
    world.run_for(SECOND * 11 / 10);
    world.nodes[0].down.set_config(CLEAN);
    world.run_for(SECOND);
    let plis = world.publisher().plis;
    assert!(plis[0] > before[0], "{before:?}, {plis:?}");
    assert_eq!(plis[1..], before[1..]);
}

#[test]
fn an_encoding_that_pauses_every_few_seconds_is_left_and_taken_up_again_once_each_time() {
    let mut world = World::call(1, &[0, 0], CLEAN);
    world.run_for(8 * SECOND);
    let keyframes = [1, 2].map(|at| world.report(at).keyframes);
    for pause in 1..=5 {
        world.publisher().enabled[2] = false;
        world.run_for(SECOND * 7 / 10);
        assert_eq!([1, 2].map(|at| world.report(at).current), [Some(1); 2], "pause {pause}");
        world.publisher().enabled[2] = true;
        world.run_for(SECOND / 2);
        assert_eq!([1, 2].map(|at| world.report(at).current), [Some(2); 2], "pause {pause}");
        world.run_for(SECOND * 34 / 5);
    }
    for (at, before) in [1, 2].into_iter().zip(keyframes) {
        let report = world.report(at);
        assert_eq!(report.keyframes - before, 10, "two for each pause: {report:?}");
        assert!(report.longest_freeze < SECOND * 2 / 5, "{report:?}");
        let faults = (report.jumps, report.picture_jumps, report.time_backwards);
        assert_eq!((faults, report.undecodable), ((0, 0, 0), 0), "{report:?}");
    }
}

#[test]
fn who_joins_on_another_shard_does_not_wait_for_an_encoding_that_has_to_prove_itself() {
    let mut world = World::new(1, 2, CLEAN);
    world.add_publisher(0);
    world.add_viewer(0, 0);
    world.run_for(8 * SECOND);
    for _ in 0..6 {
        world.publisher().enabled[2] = false;
        world.run_for(SECOND * 7 / 10);
        world.publisher().enabled[2] = true;
        world.run_for(SECOND);
    }
    assert_eq!(world.report(1).current, Some(1), "it paused too often");
    let late = world.add_viewer(1, 1);
    let sees = |world: &mut World| world.report(late).current.is_some();
    assert!(world.run_until(SECOND / 2, sees), "{:?}", world.report(late));
}

#[test]
fn what_nobody_watched_and_was_not_sent_is_seen_soon_after_it_returns() {
    for (highest, sent) in [(0, [true, false, false]), (1, [true, true, false])] {
        let mut world = World::call(1, &[0], CLEAN);
        world.limit(1, true, highest);
        world.run_for(3 * SECOND);
        world.publisher().enabled = sent;
        world.run_for(60 * SECOND);
        world.limit(1, true, 2);
        let now = world.now;
        world.viewer(1).reset_freeze(now);
        world.run_for(SECOND / 5);
        assert_eq!(world.report(1).current, Some(highest), "more is not there yet");
        world.publisher().enabled = [true; 3];
        let asked = world.publisher().plis;
        let higher = |world: &mut World| world.report(1).current == Some(2);
        assert!(world.run_until(SECOND / 2, higher), "{:?}", world.report(1));
        world.run_for(3 * SECOND);
        let (report, plis) = (world.report(1), world.publisher().plis);
        assert!(report.longest_freeze < SECOND / 5, "{report:?}");
        let faults = (report.jumps, report.picture_jumps, report.time_backwards);
        assert_eq!((faults, report.undecodable), ((0, 0, 0), 0), "{report:?}");
        assert!(plis[2] - asked[2] <= 2, "{plis:?} after {asked:?}");
    }
}

#[test]
fn a_camera_that_was_not_sent_at_all_is_seen_soon_after_it_returns() {
    let mut world = World::call(1, &[0], CLEAN);
    world.limit(1, false, 2);
    world.run_for(3 * SECOND);
    world.publisher().enabled = [false; 3];
    world.run_for(60 * SECOND);
    world.limit(1, true, 2);
    world.run_for(SECOND / 5);
    world.publisher().enabled = [true; 3];
    let highest = |world: &mut World| world.report(1).current == Some(2);
    assert!(world.run_until(SECOND / 2, highest), "{:?}", world.report(1));
    let report = world.report(1);
    assert_eq!((report.jumps, report.time_backwards, report.undecodable), (0, 0, 0), "{report:?}");
}

#[test]
fn a_viewer_who_looks_away_gets_nothing_and_continues_with_a_key_frame() {
    let mut world = World::call(1, &[0, 0], CLEAN);
    world.run_for(3 * SECOND);
    world.limit(1, false, 2);
    world.run_for(SECOND / 2);
    let before = world.report(1);
    world.run_for(3 * SECOND);
    let paused = world.report(1);
    assert_eq!(
        (paused.packets, paused.audio.packets > before.audio.packets),
        (before.packets, true)
    );
    assert!(paused.feedback.sender_reports > 0);

    let now = world.now;
    world.viewer(1).reset_freeze(now);
    world.limit(1, true, 2);
    world.run_for(3 * SECOND);
    let report = world.report(1);
    assert!(report.keyframes > paused.keyframes, "{report:?}");
    assert!(report.longest_freeze < SECOND / 5, "{report:?}");
    let faults = (report.jumps, report.picture_jumps, report.time_backwards, report.undecodable);
    assert_eq!(faults, (0, 0, 0, 0), "{report:?}");
    assert_seamless(&mut world, 2, 200);
}

#[test]
fn viewers_on_another_shard_see_the_same() {
    let mut world = World::call(1, &[0, 1, 1], CLEAN);
    assert!(world.run_until(SECOND, |w| w.connected() == 4));
    world.run_for(10 * SECOND);
    assert!(world.messages > 1_000);
    for at in [1, 2, 3] {
        assert_seamless(&mut world, at, 280);
    }
}

#[test]
fn a_key_frame_request_from_another_shard_reaches_the_publisher() {
    let mut world = World::call(1, &[1], CLEAN);
    world.run_for(3 * SECOND);
    let before = world.publisher().plis;
    world.limit(1, false, 2);
    world.run_for(SECOND);
    world.limit(1, true, 2);
    world.run_for(SECOND / 10);
    assert_eq!(world.publisher().plis[2], before[2] + 1);
}

#[test]
fn datagrams_at_the_wrong_shard_are_handed_over() {
    let mut world = World::new(1, 2, CLEAN);
    world.add_publisher(1);
    world.add_viewer(0, 1);
    world.add_viewer(1, 0);
    assert!(world.run_until(SECOND, |w| w.connected() == 3));
    world.run_for(10 * SECOND);
    for at in [1, 2] {
        assert_seamless(&mut world, at, 280);
    }
    assert_eq!(world.shards[0].counts()[Metric::DropReceiveUnknown], 0);
    assert_eq!(world.shards[1].counts()[Metric::DropReceiveUnknown], 0);
}

#[test]
fn a_subscriber_that_does_not_connect_costs_the_others_no_key_frames() {
    let mut world = World::call(1, &[0], CLEAN);
    world.run_for(3 * SECOND);
    let before = world.publisher().plis;
    let late = world.add_viewer(0, 0);
    world.client(late).vanish();
    world.run_for(10 * SECOND);
    assert_eq!(world.publisher().plis, before);
}

#[test]
fn a_key_frame_whose_start_comes_late_is_shown_without_asking_for_another() {
    let mut world = World::call(1, &[0], CLEAN);
    world.run_for(3 * SECOND);
    world.limit(1, false, 2);
    world.run_for(SECOND);
    world.publisher().loses_key_starts = true;
    let before = (world.report(1), world.publisher().plis);
    let now = world.now;
    world.viewer(1).reset_freeze(now);
    world.limit(1, true, 2);
    world.run_for(SECOND);
    assert!(world.publisher().retransmitted > 0, "nothing was lost");
    let report = world.report(1);
    assert_eq!(world.publisher().plis[2], before.1[2] + 1, "{report:?}");
    assert_eq!((report.undecodable, report.jumps, report.feedback.nacks), (0, 0, 0), "{report:?}");
    assert!(report.keyframes > before.0.keyframes, "{report:?}");
    assert!(report.longest_freeze < SECOND / 5, "{report:?}");
}

#[test]
fn what_is_lost_of_the_first_frame_is_asked_for_at_once() {
    let mut world = World::call(1, &[0], CLEAN);
    world.publisher().loses_key_starts = true;
    assert!(world.run_until(SECOND, |w| w.connected() == 2));
    // A round trip is 40 ms; nothing but media tells the shard that there is something to do.
    world.run_for(SECOND / 5);
    assert!(world.publisher().retransmitted > 0, "{:?}", world.publisher().plis);
}

#[test]
fn a_track_that_goes_while_its_packets_wait_leaves_nothing_to_wait_for() {
    let mut world = World::call(1, &[0], CLEAN);
    world.run_for(3 * SECOND);
    let from = world.client(0).addr();
    let mut waits = false;
    for _ in 0..200 {
        world.now += Duration::from_millis(1);
        let now = world.now;
        world.shards[0].handle_timeout(now);
        if let Some(mut datagram) = world.nodes[0].up.poll(now) {
            world.inject(0, from, &mut datagram);
        }
        waits = world.shards[0].poll_timeout().unwrap() <= now;
        if waits {
            break;
        }
    }
    assert!(waits, "no packet came");
    for track in [crate::support::VIDEO, crate::support::AUDIO] {
        world.command(0, hearth_plane::Command::RemoveUpTrack { track });
    }
    let mut slab = hearth_datagram::SendSlab::new(64);
    while world.shards[0].poll_transmit(world.now, &mut slab) {
        slab.clear();
    }
    assert!(world.shards[0].poll_timeout().unwrap() > world.now, "it would spin");
}
