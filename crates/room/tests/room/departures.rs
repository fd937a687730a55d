//! Who goes, when that is seen, and why: in every order of what a client's end looks like from here.

use std::time::Duration;

use crate::common::{Client, World, claims, dual, kinds, resume, updates};
use hearth_access::Claims;
use hearth_plane::{CloseReason, Command, Event};
use hearth_room::Call;
use hearth_signal::JoinParams;
use hearth_signal::proto::{
    self, DisconnectReason, leave_request::Action, signal_request::Message as Request,
    signal_response::Message,
};
use proto::participant_info::State;

const NOTHING: Duration = Duration::ZERO;

/// What the end of a client looks like from here.
#[derive(Clone, Copy, Debug)]
enum Sign {
    /// DTLS close_notify.
    Goodbye,
    Leave(DisconnectReason),
    SocketClosed,
    /// Nothing was heard for 15 s.
    Silence,
    /// So many seconds pass.
    Seconds(u64),
}

#[test]
fn a_departure_is_seen_at_once_and_with_its_reason_in_any_order() {
    use DisconnectReason::{AgentError, ClientInitiated, SignalClose, UserRejected};
    use Sign::{Goodbye, Leave, SocketClosed};

    let said = Leave(ClientInitiated);
    for (signs, reason) in [
        (&[said][..], ClientInitiated),
        (&[said, SocketClosed, Goodbye], ClientInitiated),
        (&[said, Goodbye, SocketClosed], ClientInitiated),
        (&[Goodbye, said], ClientInitiated),
        (&[Goodbye, said, SocketClosed], ClientInitiated),
        (&[Goodbye, Sign::Seconds(14), said], ClientInitiated),
        (&[Goodbye, SocketClosed], SignalClose),
        (&[SocketClosed, Goodbye], SignalClose),
        (&[Leave(DisconnectReason::UnknownReason)], ClientInitiated),
        (&[Leave(DisconnectReason::RoomDeleted)], ClientInitiated),
        (&[Goodbye, Leave(UserRejected)], UserRejected),
        (&[Leave(DisconnectReason::UserUnavailable)], DisconnectReason::UserUnavailable),
        (&[Leave(AgentError), SocketClosed], AgentError),
    ] {
        for join in [World::join_dual, World::join_single] {
            let seen = seen_after(join, signs, NOTHING);
            assert_eq!(seen, [reason], "{signs:?}");
        }
    }
}

#[test]
fn whoever_may_come_back_is_waited_for_and_gone_after_that() {
    use DisconnectReason::ConnectionTimeout;
    use Sign::{Goodbye, Seconds, Silence, SocketClosed};

    for (signs, wait) in [
        (&[Goodbye][..], 20),
        (&[Silence], 5),
        (&[SocketClosed, Silence], 5),
        (&[SocketClosed, Seconds(600), Silence], 5),
        (&[Silence, SocketClosed], 5),
    ] {
        let short = Duration::from_millis(wait * 1_000 - 100);
        assert_eq!(seen_after(World::join_dual, signs, short), [], "{signs:?}");
        let long = Duration::from_millis(wait * 1_000 + 100);
        assert_eq!(seen_after(World::join_dual, signs, long), [ConnectionTimeout], "{signs:?}");
    }
}

#[test]
fn a_silent_transport_is_resumed_and_keeps_its_tracks() {
    for single_pc in [false, true] {
        let mut world = World::new();
        let join = if single_pc { World::join_single } else { World::join_dual };
        let (alice, bob) = two(&mut world, join);
        alice.publish(&mut world, 4);
        world.take(&alice);
        world.take(&bob);
        world.take_commands();
        world.event(Event::IceFailed { peer: alice.primary });
        let told = world.take(&alice);
        let Some(Message::Leave(leave)) = told.last() else { panic!("{told:?}") };
        assert_eq!(leave.action(), Action::Resume);
        assert_eq!(leave.reason(), DisconnectReason::ConnectionTimeout);
        assert_eq!(world.closed, [alice.session]);
        world.event(Event::IceFailed { peer: alice.primary });

        world.pass(Duration::from_secs(4));
        let session = world.try_join(claims("alice"), resume(&alice), 0).unwrap();
        assert_eq!(kinds(&world.signals[&session])[0], "reconnect");
        world.pass(Duration::from_secs(10));
        assert!(gone(&world.take(&bob)).is_empty(), "it came back");
        let removed = world
            .commands
            .iter()
            .any(|(_, c)| matches!(c, Command::RemovePeer { .. } | Command::RemoveUpTrack { .. }));
        assert!(!removed, "the transport and the tracks are those of before");
    }
}

#[test]
fn a_restart_that_fails_too_is_asked_for_again() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    world.event(Event::IceFailed { peer: alice.primary });
    let session = world.try_join(claims("alice"), resume(&alice), 0).unwrap();
    world.event(Event::IceFailed { peer: alice.primary });
    let told = world.signals.remove(&session).unwrap();
    let Some(Message::Leave(leave)) = told.last() else { panic!("{told:?}") };
    assert_eq!(leave.action(), Action::Resume);
    world.pass(Duration::from_secs(6));
    assert_eq!(gone(&world.take(&bob)), [DisconnectReason::ConnectionTimeout]);
}

#[test]
fn clients_that_know_no_action_resume_when_their_connection_closes() {
    let mut world = World::new();
    let mut request = dual();
    request.client.protocol = 12;
    let session = world.try_join(claims("old"), request.clone(), 0).unwrap();
    let old = Client::new(&world, session, false);
    old.connect(&mut world);
    world.take(&old);
    world.event(Event::IceFailed { peer: old.primary });
    assert_eq!((kinds(&world.take(&old)), &world.closed), (vec![], &vec![old.session]));
    let request = JoinParams { client: request.client, ..resume(&old) };
    let session = world.try_join(claims("old"), request, 0).unwrap();
    assert_eq!(kinds(&world.signals[&session])[0], "reconnect");
}

#[test]
fn a_transport_that_nothing_revives_has_the_client_start_over() {
    use CloseReason::{DtlsFailed, DtlsTimeout, IceTimeout, Panicked, Silence};

    for reason in [DtlsFailed, DtlsTimeout, IceTimeout, Panicked, Silence] {
        let mut world = World::new();
        let (alice, _) = two(&mut world, World::join_dual);
        world.event(Event::PeerClosed { peer: alice.primary, reason });
        assert_eq!(last_leave(&mut world, &alice), Some(Action::Reconnect), "{reason:?}");
        let session = world.try_join(claims("alice"), resume(&alice), 0).unwrap();
        assert_eq!(kinds(&world.signals[&session]), ["leave"], "{reason:?}");
    }
    let mut world = World::new();
    let (alice, _) = two(&mut world, World::join_dual);
    let reason = CloseReason::PeerClosed;
    world.event(Event::PeerClosed { peer: alice.primary, reason });
    world.pass(Duration::from_secs(14));
    assert_eq!(last_leave(&mut world, &alice), None);
    world.pass(Duration::from_secs(2));
    assert_eq!(last_leave(&mut world, &alice), Some(Action::Reconnect));
}

#[test]
fn whoever_never_connects_has_a_minute_and_is_told_so() {
    for reason in [CloseReason::IceTimeout, CloseReason::DtlsTimeout] {
        let mut world = World::new();
        let alice = world.join_dual("alice");
        let bob = world.join_dual("bob");
        bob.connect(&mut world);
        world.pass(Duration::from_secs(58));
        world.event(Event::PeerClosed { peer: alice.primary, reason });
        assert!(world.closed.is_empty(), "{reason:?}");
        world.take(&bob);
        world.pass(Duration::from_secs(3));
        assert_eq!(last_leave(&mut world, &alice), Some(Action::Disconnect), "{reason:?}");
        assert_eq!(gone(&world.take(&bob)), [DisconnectReason::JoinFailure], "{reason:?}");
    }
}

#[test]
fn whoever_left_during_an_absence_left_for_a_reason() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    world.room.handle_session_closed(world.now, bob.session);
    let call = Call::RemoveParticipant { identity: "alice".into() };
    world.room.handle_call(world.now, call).unwrap();
    let session = world.try_join(claims("bob"), resume(&bob), 0).unwrap();
    let told = updates(&world.signals.remove(&session).unwrap());
    assert_eq!(told[0].sid, alice.sid);
    assert_eq!(told[0].disconnect_reason(), DisconnectReason::ParticipantRemoved);
}

#[test]
fn simulated_departures_have_the_reasons_of_livekit_server() {
    use proto::simulate_scenario::Scenario;

    for (scenario, action, reason) in [
        (Scenario::ServerLeave(true), Action::Disconnect, DisconnectReason::ServerShutdown),
        (Scenario::NodeFailure(true), Action::Reconnect, DisconnectReason::ServerShutdown),
        (Scenario::Migration(true), Action::Reconnect, DisconnectReason::Migration),
    ] {
        let mut world = World::new();
        let (alice, bob) = two(&mut world, World::join_dual);
        alice.send(&mut world, simulate(scenario));
        assert_eq!(last_leave(&mut world, &alice), Some(action), "{scenario:?}");
        assert_eq!(gone(&world.take(&bob)), [reason], "{scenario:?}");
    }
}

#[test]
fn a_simulated_loss_hits_the_next_resume_only_and_only_if_that_comes_soon() {
    use proto::simulate_scenario::Scenario;

    for (scenario, first) in [
        (Scenario::DisconnectSignalOnResume(true), Some("reconnect")),
        (Scenario::DisconnectSignalOnResumeNoMessages(true), None),
    ] {
        for (wait, drops) in [(4, true), (6, false)] {
            let mut world = World::new();
            let (alice, bob) = two(&mut world, World::join_dual);
            alice.send(&mut world, simulate(scenario));
            assert_eq!((kinds(&world.take(&alice)), world.closed.len()), (vec![], 0));
            world.pass(Duration::from_secs(wait));
            let session = world.try_join(claims("alice"), resume(&alice), 0).unwrap();
            let told = kinds(&world.signals.remove(&session).unwrap_or_default());
            assert_eq!(world.closed.contains(&session), drops, "{scenario:?} after {wait} s");
            if drops {
                assert_eq!(told.first().copied(), first, "{scenario:?}");
                assert!(!told.contains(&"leave"), "a lost connection says nothing");
            }
            let again = world.try_join(claims("alice"), resume(&alice), 0).unwrap();
            assert_eq!(kinds(&world.signals[&again])[0], "reconnect");
            assert!(!world.closed.contains(&again));
            assert!(gone(&world.take(&bob)).is_empty());
        }
    }
}

#[test]
fn a_simulated_speaker_is_heard_for_so_many_seconds_by_those_who_hear_it() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    let carol = world.join_dual("carol");
    carol.connect(&mut world);
    alice.publish(&mut world, 1);
    let mut permission = proto::SubscriptionPermission::default();
    permission.track_permissions.push(proto::TrackPermission {
        participant_identity: "bob".into(),
        all_tracks: true,
        ..Default::default()
    });
    alice.send(&mut world, Request::SubscriptionPermission(permission));
    world.signals.clear();
    alice.send(&mut world, simulate(proto::simulate_scenario::Scenario::SpeakerUpdate(3)));
    let levels = |world: &mut World| {
        [&alice, &bob, &carol].map(|client| match &world.take(client)[..] {
            [Message::SpeakersChanged(changed)] => Some(changed.speakers[0].level),
            _ => None,
        })
    };
    assert_eq!(levels(&mut world), [Some(0.9), Some(0.9), None]);
    world.pass(Duration::from_millis(2_900));
    assert_eq!(levels(&mut world), [None; 3]);
    world.pass(Duration::from_millis(200));
    assert_eq!(levels(&mut world), [Some(0.0), Some(0.0), None]);
}

/// With which reasons the other one has seen the client leave, `wait` after the signs.
fn seen_after(
    join: fn(&mut World, &str) -> Client,
    signs: &[Sign],
    wait: Duration,
) -> Vec<DisconnectReason> {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, join);
    alice.publish(&mut world, 4);
    if !bob.single {
        bob.answer(&mut world);
    }
    for sign in signs {
        match *sign {
            Sign::Goodbye => {
                let reason = CloseReason::PeerClosed;
                world.event(Event::PeerClosed { peer: alice.primary, reason });
            }
            Sign::Leave(reason) => {
                let leave = proto::LeaveRequest { reason: reason.into(), ..Default::default() };
                alice.send(&mut world, Request::Leave(leave));
            }
            Sign::SocketClosed => {
                world.room.handle_session_closed(world.now, alice.session);
                world.drain();
            }
            Sign::Silence => world.event(Event::IceFailed { peer: alice.primary }),
            Sign::Seconds(seconds) => world.pass(Duration::from_secs(seconds)),
        }
    }
    if wait > NOTHING {
        world.pass(wait);
    }
    gone(&world.take(&bob))
}

fn gone(messages: &[Message]) -> Vec<DisconnectReason> {
    let left = updates(messages).into_iter().filter(|info| info.state() == State::Disconnected);
    left.map(|info| info.disconnect_reason()).collect()
}

fn last_leave(world: &mut World, client: &Client) -> Option<Action> {
    match world.take(client).last() {
        Some(Message::Leave(leave)) => Some(leave.action()),
        _ => None,
    }
}

fn simulate(scenario: proto::simulate_scenario::Scenario) -> Request {
    Request::Simulate(proto::SimulateScenario { scenario: Some(scenario) })
}

/// Two active clients whose earlier messages are forgotten.
fn two(world: &mut World, join: fn(&mut World, &str) -> Client) -> (Client, Client) {
    let [alice, bob] = ["alice", "bob"].map(|identity| {
        let client = join(world, identity);
        client.connect(world);
        client
    });
    world.take(&alice);
    world.take(&bob);
    (alice, bob)
}

#[test]
fn a_token_of_another_participant_resumes_nothing() {
    let mut world = World::new();
    let (alice, _) = two(&mut world, World::join_dual);
    let other = Claims { identity: "eve".into(), ..claims("alice") };
    let session = world.try_join(other, resume(&alice), 0).unwrap();
    assert_eq!(kinds(&world.signals[&session]), ["leave"]);
}
