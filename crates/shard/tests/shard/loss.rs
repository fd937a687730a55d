//! What viewers see when packets are lost on long ways, or a publisher does what few do.

use std::time::Duration;

use crate::support::{CLEAN, VIDEO, World, down_spec};
use hearth_metrics::Metric;
use hearth_netem::LinkConfig;
use hearth_plane::{Command, LayerLimit};
use hearth_rtp::rtcp::Writer;

const SECOND: Duration = Duration::from_secs(1);

/// A call with a round trip of so many ms each for publisher and viewer, connected.
fn call(seed: u64, rtt: u64, viewers: &[usize]) -> (World, LinkConfig) {
    let link = LinkConfig { delay: Duration::from_millis(rtt / 2), ..CLEAN };
    let mut world = World::call(seed, viewers, link);
    world.publisher().rtt = Duration::from_millis(rtt);
    let count = viewers.len() + 1;
    assert!(world.run_until(3 * SECOND, |w| w.connected() == count), "seed {seed}");
    world.run_for(8 * SECOND);
    (world, link)
}

#[test]
fn what_is_lost_on_the_way_here_is_repaired_before_a_viewer_notices_at_real_distances() {
    // Without a jitter buffer. A retransmission that is lost, too, is noticed a round trip later.
    for (rtt, most) in [(10, 1), (30, 4), (60, 18), (100, 45)] {
        let mut freezes = 0;
        for seed in 1..=2 {
            let (mut world, link) = call(seed, rtt, &[0]);
            let before = world.report(1).freezes;
            world.nodes[0].up.set_config(LinkConfig { loss: 0.05, ..link });
            world.nodes[0].down.set_config(LinkConfig { loss: 0.05, ..link });
            world.run_for(60 * SECOND);
            let retransmitted = world.publisher().retransmitted;
            assert!(retransmitted > 100, "{rtt} ms, seed {seed}: nothing was lost");
            let report = world.report(1);
            assert!(report.longest_freeze < SECOND, "{rtt} ms, seed {seed}: {report:?}");
            freezes += report.freezes - before;
        }
        assert!(freezes <= most, "{rtt} ms: {freezes} freezes in two minutes");
    }
}

#[test]
fn who_loses_packets_far_away_is_asked_to_hold_the_picture_back_and_no_longer_when_it_is_over() {
    // The link that loses: the publisher's, whose shard one viewer is on and the other is not, or a viewer's own.
    for (lossy, asked) in [(0, [true, true]), (1, [true, false]), (2, [false, true])] {
        let (mut world, link) = call(3, 100, &[0, 1]);
        assert_eq!([1, 2].map(|at| world.report(at).playout_delay), [None; 2], "nothing is lost");
        world.nodes[lossy].up.set_config(LinkConfig { loss: 0.05, ..link });
        world.nodes[lossy].down.set_config(LinkConfig { loss: 0.05, ..link });
        world.run_for(20 * SECOND);
        for (at, asked) in [1, 2].into_iter().zip(asked) {
            let ms = world.report(at).playout_delay.map(|delay| delay.as_millis());
            let expected = if asked { 110..=160 } else { 0..=0 };
            assert!(expected.contains(&ms.unwrap_or(0)), "{lossy}: viewer {at} {ms:?}");
        }
        world.nodes[lossy].up.set_config(link);
        world.nodes[lossy].down.set_config(link);
        world.run_for(40 * SECOND);
        for at in [1, 2] {
            let delay = world.report(at).playout_delay.unwrap_or_default();
            assert_eq!(delay, Duration::ZERO, "{lossy}: viewer {at}");
        }
    }
}

#[test]
fn hardly_any_request_comes_while_a_publisher_ignores_it() {
    for rtt in [30, 60, 100, 150] {
        let (mut world, link) = call(1, rtt, &[0]);
        world.nodes[0].up.set_config(LinkConfig { loss: 0.05, ..link });
        world.run_for(60 * SECOND);
        // What arrives is asked for twice: the second copy is ignored, and nothing else.
        let (repeated, ignored) = (world.publisher().retransmitted, world.publisher().ignored);
        assert!(ignored <= repeated, "{rtt} ms: {ignored} ignored, {repeated} repeated");
    }
}

#[test]
fn padding_in_the_stream_of_the_media_leaves_no_hole() {
    let (mut world, link) = call(1, 40, &[0, 1]);
    let before = [1, 2].map(|at| world.report(at));
    world.publisher().pads = true;
    world.run_for(5 * SECOND);
    for (at, before) in [1, 2].into_iter().zip(before) {
        let report = world.report(at);
        let faults =
            (report.jumps, report.feedback.nacks, report.picture_jumps, report.undecodable);
        let expect =
            (before.jumps, before.feedback.nacks, before.picture_jumps, before.undecodable);
        assert_eq!(faults, expect, "{report:?}");
        assert!(report.frames[2] - before.frames[2] > 145, "{report:?}");
    }
    world.nodes[0].up.set_config(LinkConfig { loss: 0.05, ..link });
    world.run_for(20 * SECOND);
    for at in [1, 2] {
        let report = world.report(at);
        assert!(report.longest_freeze < SECOND, "{report:?}");
        assert_eq!((report.contradictions, report.time_backwards), (0, 0), "{report:?}");
    }
}

#[test]
fn a_publisher_that_goes_on_under_other_ssrcs_is_seen_and_heard_within_a_second() {
    let (mut world, _) = call(1, 40, &[0, 1]);
    for change in 1..=3 {
        let before = [1, 2].map(|at| world.report(at));
        world.publisher().change_ssrcs();
        let now = world.now;
        for at in [1, 2] {
            world.viewer(at).reset_freeze(now);
        }
        world.run_for(3 * SECOND);
        for (at, before) in [1, 2].into_iter().zip(before) {
            let report = world.report(at);
            assert!(report.longest_freeze < SECOND / 4, "change {change}: {report:?}");
            assert!(report.frames[2] - before.frames[2] > 75, "change {change}: {report:?}");
            assert!(
                report.audio.packets - before.audio.packets > 140,
                "change {change}: {report:?}"
            );
            let faults = (report.jumps, report.audio.jumps, report.time_backwards);
            assert_eq!(faults, (0, 0, 0), "change {change}: {report:?}");
        }
    }
    let plis = world.publisher().plis;
    assert!(plis[2] >= 3, "{plis:?}");
}

#[test]
fn who_asks_for_everything_all_the_time_costs_a_bystander_nothing() {
    let (mut world, _) = call(1, 40, &[0, 0]);
    let before = world.report(2);
    for round in 0..500_u16 {
        for part in 0..10 {
            // Whatever number it is at, it asks for the last ones in some round.
            let first = (10 * round + part).wrapping_mul(512);
            let every: Vec<u16> = (0..17 * 340).map(|n| first.wrapping_add(n)).collect();
            let mut nack = [0; 1_400];
            let mut writer = Writer::new(&mut nack);
            writer.nack(1, 101, &every).unwrap();
            let nack = writer.as_bytes().to_vec();
            world.client(1).send_rtcp(&nack);
        }
        world.run_for(Duration::from_millis(10));
    }
    let report = world.report(2);
    let faults = (report.jumps, report.audio.jumps, report.feedback.nacks, report.undecodable);
    let expect = (before.jumps, before.audio.jumps, before.feedback.nacks, before.undecodable);
    assert_eq!(faults, expect, "{report:?}");
    assert!(report.longest_freeze < SECOND / 10, "{report:?}");
    let retransmitted = world.shards[0].counts()[Metric::Retransmissions];
    assert!(retransmitted > 0 && retransmitted < 512 * 6, "{retransmitted}");
}

#[test]
fn what_a_viewer_asks_for_and_cannot_get_any_more_brings_a_key_frame_at_once() {
    let (mut world, _) = call(1, 40, &[0]);
    let before = world.publisher().plis;
    // One of them is old, and not older than the last key frame.
    for first in (0..u16::MAX).step_by(500) {
        let asked: Vec<u16> = (first..first.saturating_add(500)).collect();
        let mut nack = [0; 1_400];
        let mut writer = Writer::new(&mut nack);
        writer.nack(1, 101, &asked).unwrap();
        let nack = writer.as_bytes().to_vec();
        world.client(1).send_rtcp(&nack);
    }
    world.run_for(Duration::from_millis(60));
    let plis = world.publisher().plis;
    assert_eq!((plis[0], plis[1], plis[2]), (before[0], before[1], before[2] + 1));
}

#[test]
fn where_many_are_lost_on_the_way_out_retransmissions_are_sent_twice() {
    for (loss, twice) in [(0.002, false), (0.06, true), (0.3, false)] {
        let (mut world, link) = call(1, 40, &[0]);
        world.nodes[1].down.set_config(LinkConfig { loss, ..link });
        world.run_for(5 * SECOND);
        let (before, nacks) =
            (world.shards[0].counts()[Metric::Retransmissions], world.report(1).feedback.nacks);
        world.run_for(30 * SECOND);
        let sent = world.shards[0].counts()[Metric::Retransmissions] - before;
        let asked = world.report(1).feedback.nacks - nacks;
        assert!(asked > 3, "{loss}: nothing was lost");
        let is_twice = sent > asked + asked / 2;
        assert_eq!(is_twice, twice, "{loss}: {sent} sent, {asked} asked");
    }
}

#[test]
fn what_was_repaired_on_the_way_here_is_sent_twice_where_many_are_lost_on_the_way_out() {
    let mut sent = [0, 0];
    for (sent, up) in sent.iter_mut().zip([0.0, 0.05]) {
        let (mut world, link) = call(1, 100, &[0]);
        world.nodes[1].down.set_config(LinkConfig { loss: 0.06, ..link });
        world.run_for(5 * SECOND);
        world.nodes[0].up.set_config(LinkConfig { loss: up, ..link });
        let before = world.shards[0].counts()[Metric::Retransmissions];
        let repaired = world.publisher().retransmitted;
        world.run_for(30 * SECOND);
        *sent = world.shards[0].counts()[Metric::Retransmissions] - before;
        if up > 0.0 {
            let repaired = world.publisher().retransmitted - repaired;
            assert!(repaired > 100, "{repaired}");
        }
    }
    assert!(sent[1] > sent[0] + 100, "{sent:?}");
}

#[test]
fn who_wants_a_low_encoding_from_the_start_causes_no_key_frame_of_another() {
    let (mut world, _) = call(1, 40, &[0]);
    let at = world.add_connection();
    world.run_for(2 * SECOND);
    let before = world.publisher().plis;
    let spec = Box::new(down_spec(at as u32, VIDEO));
    let limit = LayerLimit { spatial: 0, ..LayerLimit::ALL };
    world.command(0, Command::SetDownTrack { spec, limit });
    world.run_for(SECOND);
    assert_eq!(world.report(at).current, Some(0));
    let plis = world.publisher().plis;
    assert_eq!((plis[0] > before[0], plis[1], plis[2]), (true, before[1], before[2]));
}

#[test]
fn after_a_switch_the_clocks_are_told_at_once() {
    let (mut world, _) = call(1, 40, &[0]);
    for wanted in [0, 2, 1, 0, 2] {
        world.run_for(SECOND / 2);
        world.limit(1, true, wanted);
        assert!(world.run_until(SECOND, |w| w.report(1).current == Some(wanted)), "{wanted}");
        let before = world.report(1).feedback.sender_reports;
        world.run_for(Duration::from_millis(30));
        assert!(world.report(1).feedback.sender_reports > before, "{wanted}");
    }
}
