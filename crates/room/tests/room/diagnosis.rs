//! What a room says about clients that are not connected.

use std::time::Duration;

use hearth_datagram::{Endpoint, Protocol};
use hearth_plane::{Connectivity, ConnectivityStage as Stage, Event, HandshakeProgress, Way};
use hearth_room::RoomEvent;
use hearth_signal::proto::{LeaveRequest, TrickleRequest, signal_request::Message as Request};

use crate::common::{Client, World, claims, resume};

#[test]
fn a_client_that_gives_up_is_explained_by_what_was_seen_last() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    let candidate =
        r#"{"candidate":"candidate:1 1 udp 2122 198.51.100.4 5 typ host","sdpMid":"0"}"#;
    let trickle = TrickleRequest { candidate_init: candidate.into(), ..TrickleRequest::default() };
    alice.send(&mut world, Request::Trickle(trickle));
    for seconds in [3, 6] {
        report(&mut world, &alice, Stage::Connecting(Duration::from_secs(seconds)), 0);
    }
    let said = explained(&mut world);
    assert_eq!(said.len(), 1, "the same is not said twice: {said:?}");
    assert!(said[0].contains("No packet of the client reached 192.0.2.1:7882 (UDP)"), "{said:?}");
    report(&mut world, &alice, Stage::Connecting(Duration::from_secs(9)), 4);
    alice.send(&mut world, Request::Leave(LeaveRequest::default()));
    let said = explained(&mut world);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("trying: Packets of the client came to"), "{said:?}");
    assert!(said[1].starts_with("settled: Packets of the client came to"), "{said:?}");
}

#[test]
fn what_was_said_of_a_client_that_connects_is_taken_back() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    report(&mut world, &alice, Stage::Connecting(Duration::from_secs(3)), 0);
    alice.connect(&mut world);
    assert_eq!(explained(&mut world).last().map(String::as_str), Some("taken back"));
    alice.send(&mut world, Request::Leave(LeaveRequest::default()));
    assert_eq!(explained(&mut world), [""; 0]);
}

#[test]
fn a_path_that_is_lost_is_explained_before_the_client_is_asked_to_resume() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    report(&mut world, &alice, Stage::Silent(Duration::from_secs(15)), 9);
    let said = explained(&mut world);
    assert!(said[0].starts_with("settled: Nothing has come from the client for 15 s"), "{said:?}");
    world.try_join(claims("alice"), resume(&alice), 0).unwrap();
    assert_eq!(explained(&mut world), [""; 0], "signalling alone is no connection");
    report(&mut world, &alice, Stage::Restored, 9);
    assert_eq!(explained(&mut world), ["taken back"]);
}

fn report(world: &mut World, client: &Client, stage: Stage, valid: u32) {
    let (local, remote) = ("192.0.2.1:7882".parse().unwrap(), "198.51.100.4:5".parse().unwrap());
    let way = Way { protocol: Protocol::Udp, local, valid, invalid: 0, last_from: remote };
    let silent = matches!(stage, Stage::Silent(_));
    let seen = Box::new(Connectivity {
        stage,
        described: true,
        ways: if valid > 0 { vec![way] } else { Vec::new() },
        nominated: silent.then(|| Endpoint::udp(local, remote)),
        handshake: if silent { HandshakeProgress::Done } else { HandshakeProgress::NotBegun },
        channels: silent,
        unsent: None,
    });
    world.event(Event::Connectivity { peer: client.primary, seen });
}

fn explained(world: &mut World) -> Vec<String> {
    let events = std::mem::take(&mut world.events).into_iter();
    let said = events.filter_map(|event| match event {
        RoomEvent::ConnectionExplained { explanation, .. } => Some(explanation),
        _ => None,
    });
    said.map(|said| match said {
        Some(said) => format!("{}: {}", if said.settled { "settled" } else { "trying" }, said.text),
        None => "taken back".to_owned(),
    })
    .collect()
}
