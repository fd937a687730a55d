//! Clients whose network lets no UDP through: what they are told and when.

use std::net::SocketAddr;
use std::time::Duration;

use hearth_datagram::Protocol;
use hearth_plane::{Command, Event, LocalCandidate};
use hearth_room::{ExternalTurn, RoomConfig, TurnCredentials, TurnTransport};
use hearth_signal::proto::{
    self, ClientConfigSetting, leave_request::Action, signal_request, signal_response::Message,
};

use crate::common::{Client, World, claims, dual, resume};

/// A room of a node with a TCP port.
fn world(change: impl FnOnce(&mut RoomConfig)) -> World {
    World::with(|config| {
        let addr = SocketAddr::from(([192, 0, 2, 1], 7_881));
        config.local_candidates.iter_mut().for_each(|of| of.push(LocalCandidate::tcp(addr)));
        let external = |port, transport| ExternalTurn {
            host: "turn.example.org".into(),
            port,
            transport,
            credentials: TurnCredentials::Fixed { username: "u".into(), credential: "c".into() },
        };
        let transports = [(3_478, TurnTransport::Udp), (443, TurnTransport::Tls)];
        config.ice_servers.external = transports.map(|(port, via)| external(port, via)).into();
        change(config);
    })
}

#[test]
fn udp_that_falls_silent_has_the_client_resume_and_its_participant_is_not_waited_for() {
    let mut world = world(|_| {});
    let (alice, bob) = (world.join_dual("alice"), world.join_dual("bob"));
    for client in [&alice, &bob] {
        world.event(Event::PeerConnected { peer: client.primary });
        world.take(client);
    }
    world.event(Event::PathSilent { peer: alice.primary });
    let told = world.take(&alice);
    let Some(Message::Leave(leave)) = told.last() else { panic!("{told:?}") };
    assert_eq!((leave.action(), leave.can_reconnect), (Action::Resume, true));
    world.pass(Duration::from_secs(14));
    assert!(world.take(&bob).iter().all(|message| !matches!(message, Message::Update(_))));
    let session = world.try_join(claims("alice"), resume(&alice), 0).unwrap();
    // Its other transport falls silent.
    world.event(Event::PathSilent { peer: alice.primary });
    assert!(!world.closed.contains(&session), "who resumes is not disturbed");
    assert!(matches!(world.signals[&session][0], Message::Reconnect(_)));
}

#[test]
fn without_tcp_the_silence_of_udp_is_no_reason_to_resume() {
    for (config_has, sdk) in
        [(false, proto::client_info::Sdk::Js), (true, proto::client_info::Sdk::Go)]
    {
        let mut world = world(|config| {
            let keeps = |c: &LocalCandidate| config_has || c.protocol == Protocol::Udp;
            config.local_candidates.iter_mut().for_each(|of| of.retain(keeps));
        });
        let mut request = dual();
        request.client.set_sdk(sdk);
        let session = world.try_join(claims("alice"), request, 0).unwrap();
        let alice = Client::new(&world, session, false);
        world.event(Event::PeerConnected { peer: alice.primary });
        world.take(&alice);
        world.event(Event::PathSilent { peer: alice.primary });
        assert_eq!(world.take(&alice).len(), 0);
    }
}

#[test]
fn a_client_whose_udp_failed_early_is_told_of_tcp_only_then_of_a_relay_only() {
    let mut world = world(|_| {});
    // Somebody is here, so that the room goes on.
    world.join_dual("bob").connect(&mut world);
    let mut seen = Vec::new();
    for _ in 0..3 {
        world.take_commands();
        let alice = world.join_dual("alice");
        let told = world.take(&alice);
        let Some(Message::Join(join)) = told.first() else { panic!("{told:?}") };
        let relay = join.client_configuration.as_ref().map(|c| c.force_relay());
        let urls: usize = join.ice_servers.iter().map(|server| server.urls.len()).sum();
        let offered = world.commands.iter().find_map(|(_, command)| match command {
            Command::AddPeer { spec, .. } => Some(spec.local_candidates.len()),
            _ => None,
        });
        seen.push((join.fast_publish, relay, urls, offered));
        world.event(Event::PeerConnected { peer: alice.primary });
        world.pass(Duration::from_secs(10));
        world.event(Event::IceFailed { peer: alice.primary });
        world.pass(Duration::from_secs(6));
    }
    let relay = Some(ClientConfigSetting::Enabled);
    assert_eq!(
        seen,
        [(true, None, 2, Some(2)), (false, None, 2, Some(1)), (false, relay, 1, Some(2)),]
    );
}

#[test]
fn where_nothing_is_received_over_udp_nobody_is_sent_to_a_relay() {
    let mut world = world(|config| {
        let is_tcp = |candidate: &LocalCandidate| candidate.protocol == Protocol::Tcp;
        config.local_candidates.iter_mut().for_each(|of| of.retain(is_tcp));
    });
    world.join_dual("bob").connect(&mut world);
    for _ in 0..3 {
        let alice = world.join_dual("alice");
        let told = world.take(&alice);
        let Some(Message::Join(join)) = told.first() else { panic!("{told:?}") };
        assert_eq!(join.client_configuration, None);
        world.event(Event::PeerConnected { peer: alice.primary });
        world.pass(Duration::from_secs(10));
        world.event(Event::IceFailed { peer: alice.primary });
        world.pass(Duration::from_secs(6));
    }
}

#[test]
fn a_test_hook_has_a_client_use_tcp() {
    let mut world = world(|_| {});
    let alice = world.join_dual("alice");
    world.event(Event::PeerConnected { peer: alice.primary });
    world.take(&alice);
    let scenario = proto::simulate_scenario::Scenario::SwitchCandidateProtocol(
        proto::CandidateProtocol::Tcp.into(),
    );
    let request = proto::SimulateScenario { scenario: Some(scenario) };
    alice.send(&mut world, signal_request::Message::Simulate(request));
    let told = world.take(&alice);
    let lines: Vec<_> = told
        .iter()
        .filter_map(|message| match message {
            Message::Trickle(trickle) => Some(trickle.candidate_init.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(lines.len(), 1, "{told:?}");
    assert!(lines[0].contains(" tcp ") && lines[0].contains("tcptype passive"));
    let alice = world.join_dual("alice");
    assert!(matches!(&world.take(&alice)[0], Message::Join(join) if !join.fast_publish));
}
