//! What a room says happened: in order, and each thing once.

use std::time::Duration;

use crate::common::{DUAL_BOTH, DUAL_ENDED, World};
use hearth_plane::{CloseReason, Event};
use hearth_room::RoomEvent;
use hearth_signal::proto::{
    DisconnectReason, LeaveRequest, TrackInfo, signal_request::Message as Request,
};

#[test]
fn a_call_is_said_as_it_happened_and_nothing_twice() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    world.event(Event::PeerConnected { peer: alice.primary });
    alice.publish(&mut world, 1);
    alice.offer(&mut world, DUAL_BOTH, 2);
    let bob = world.join_dual("bob");
    alice.offer(&mut world, DUAL_ENDED, 3);
    bob.send(&mut world, Request::Leave(LeaveRequest::default()));
    let carol = world.join_dual("carol");
    carol.connect(&mut world);
    alice.send(&mut world, Request::Leave(LeaveRequest::default()));
    let reason = CloseReason::PeerClosed;
    world.event(Event::PeerClosed { peer: alice.primary, reason });
    world.stop();
    world.stop();
    world.pass(Duration::from_secs(3_600));

    let said: Vec<String> = world.events.iter().map(describe).collect();
    let expect = [
        "started golden",
        "alice joined",
        "alice published MICROPHONE",
        "alice published CAMERA",
        "alice unpublished CAMERA",
        "bob aborted: CLIENT_INITIATED",
        "carol joined",
        "alice unpublished MICROPHONE",
        "alice left: CLIENT_INITIATED",
        "carol left: SERVER_SHUTDOWN",
        "finished golden",
    ];
    assert_eq!(said, expect);
}

#[test]
fn a_room_that_nobody_joins_starts_and_finishes() {
    let mut world = World::new();
    world.pass(Duration::from_secs(3_600));
    let said: Vec<String> = world.events.iter().map(describe).collect();
    assert_eq!((said, world.over), (vec!["started golden".into(), "finished golden".into()], true));
}

fn describe(event: &RoomEvent) -> String {
    let reason_of = |reason: &DisconnectReason| reason.as_str_name();
    let source = |track: &TrackInfo| track.source().as_str_name();
    match event {
        RoomEvent::RoomStarted { room } => format!("started {}", room.name),
        RoomEvent::ParticipantJoined { participant } => format!("{} joined", participant.identity),
        RoomEvent::ParticipantLeft { participant, reason } => {
            format!("{} left: {}", participant.identity, reason_of(reason))
        }
        RoomEvent::ConnectionAborted { participant, reason } => {
            format!("{} aborted: {}", participant.identity, reason_of(reason))
        }
        RoomEvent::ConnectionExplained { identity, explanation, .. } => match explanation {
            Some(said) => format!("{identity} explained, settled {}: {}", said.settled, said.text),
            None => format!("{identity} explained no more"),
        },
        RoomEvent::TrackPublished { identity, track, .. } => {
            format!("{identity} published {}", source(track))
        }
        RoomEvent::TrackUnpublished { identity, track, .. } => {
            format!("{identity} unpublished {}", source(track))
        }
        RoomEvent::RoomFinished { room } => format!("finished {}", room.name),
    }
}
