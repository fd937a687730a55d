//! No SSRC of a transport is used by two subscriptions, at a time or one after another.

use crate::support::World;
use crate::support::voices::{room, subscription};
use hearth_metrics::Metric;
use hearth_plane::{CloseReason, Command, DownTrackSpec, Event};

#[test]
fn an_ssrc_that_carried_a_subscription_carries_no_other() {
    let first = subscription(1, 0, 0);
    for is_there_still in [true, false] {
        let mut world = room(2, 1);
        if !is_there_still {
            world.command(0, Command::RemoveDownTrack { down: first.down });
        }
        assert_refused(&mut world, &DownTrackSpec { ssrc: first.ssrc, ..subscription(1, 1, 50) });
    }
}

#[test]
fn retransmissions_have_an_ssrc_of_their_own() {
    let mut world = room(2, 1);
    let spec = subscription(1, 1, 50);
    assert_refused(&mut world, &DownTrackSpec { rtx_ssrc: Some(spec.ssrc), ..spec });
}

/// With assertions it is a bug that costs the peer, which joins anew; without, the subscription.
#[track_caller]
fn assert_refused(world: &mut World, spec: &DownTrackSpec) {
    let shard = &mut world.shards[0];
    let before = shard.counts();
    shard.handle_command(
        world.now,
        Command::SetDownTrack {
            spec: Box::new(spec.clone()),
            limit: hearth_plane::LayerLimit::ALL,
        },
    );
    let after = shard.counts();
    world.errors.forgive();
    assert_eq!(after[Metric::RefusedSsrcs] - before[Metric::RefusedSsrcs], 1);
    if cfg!(debug_assertions) {
        let mut events = std::iter::from_fn(|| shard.poll_event());
        let closed = Event::PeerClosed { peer: spec.peer, reason: CloseReason::Panicked };
        assert!(events.any(|event| event == closed));
    } else {
        assert_eq!(after[Metric::Subscriptions], before[Metric::Subscriptions]);
    }
}
