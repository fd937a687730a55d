//! What a transport says of itself while it is not connected, and before it fails.

use std::time::Duration;

use hearth_datagram::{Endpoint, Protocol};
use hearth_peer::{Peer, PeerEvent};
use hearth_plane::{
    Connectivity, ConnectivityStage as Stage, HandshakeFailure, HandshakeProgress, Unsent,
};
use hearth_random::Seed;

use super::support::{Client, Pair, client_addr, context, epoch, server_addr, spec};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_transport_that_nothing_reaches_says_so_every_three_seconds() {
    let mut pair = Pair::offered(true, true, 1);
    pair.cut = true;
    pair.run_for(61 * SECOND);
    let said = said(&pair);
    let connecting = said.iter().filter(|(at, seen)| seen.stage == Stage::Connecting(*at));
    assert!((19..=20).contains(&connecting.count()), "{said:?}");
    let (at, last) = said.last().unwrap();
    assert_eq!(last.stage, Stage::NeverConnected(*at));
    assert!(last.described && last.ways.is_empty() && last.nominated.is_none());
    assert_eq!(last.handshake, HandshakeProgress::NotBegun);
}

#[test]
fn a_transport_that_connects_says_nothing() {
    let mut pair = Pair::offered(true, true, 1);
    pair.run_for(40 * SECOND);
    assert_eq!(said(&pair), []);
}

#[test]
fn checks_are_counted_by_the_way_they_came_and_by_their_password() {
    for right in [true, false] {
        let t0 = epoch();
        let mut client = Client::new(t0);
        let spec = spec(true, true, Some(client.params()));
        let mut local = spec.local.clone();
        if !right {
            local.pwd = "another-password-of-22-characters".into();
        }
        client.set_remote(&local);
        let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(1)).unwrap();
        let mut pair = Pair::new(server, client, t0, 1);
        pair.deaf = true;
        pair.run_for(4 * SECOND);
        let said = said(&pair);
        let [way] = said[0].1.ways[..] else { panic!("{said:?}") };
        assert_eq!(
            (way.protocol, way.local, way.last_from),
            (Protocol::Udp, server_addr(), client_addr())
        );
        assert_eq!((way.valid > 1, way.invalid > 1), (right, !right), "{way:?}");
    }
}

#[test]
fn silence_is_said_with_the_last_path_and_its_time() {
    let mut pair = Pair::offered(true, true, 1);
    pair.run_for(10 * SECOND);
    pair.cut = true;
    pair.run_for(50 * SECOND);
    let said = said(&pair);
    let silences: Vec<u64> = said
        .iter()
        .filter_map(|(_, seen)| match seen.stage {
            Stage::Silent(silence) => Some(silence.as_secs()),
            Stage::Connecting(_) | Stage::NeverConnected(_) | Stage::Restored => None,
        })
        .collect();
    assert_eq!(silences, [15, 45]);
    let last = &said.last().unwrap().1;
    assert_eq!(last.nominated, Some(Endpoint::udp(server_addr(), client_addr())));
    assert_eq!((last.handshake, last.channels), (HandshakeProgress::Done, true));
}

#[test]
fn the_end_of_a_silence_is_said_once() {
    let mut pair = Pair::offered(true, true, 1);
    pair.run_for(10 * SECOND);
    pair.cut = true;
    pair.run_for(20 * SECOND);
    pair.cut = false;
    pair.run_for(20 * SECOND);
    let stages: Vec<Stage> = said(&pair).iter().map(|(_, seen)| seen.stage).collect();
    assert_eq!(stages.last(), Some(&Stage::Restored));
    assert_eq!(stages.iter().filter(|stage| **stage == Stage::Restored).count(), 1);
}

#[test]
fn a_certificate_of_somebody_else_is_told_from_other_failures() {
    let t0 = epoch();
    let mut client = Client::new(t0);
    let mut params = client.params();
    params.fingerprints = hearth_plane::Fingerprint([1; 32]).into();
    let spec = spec(true, true, Some(params));
    client.set_remote(&spec.local);
    let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(1)).unwrap();
    let mut pair = Pair::new(server, client, t0, 1);
    pair.run_for(2 * SECOND);
    let failed = HandshakeProgress::Failed(HandshakeFailure::Fingerprint);
    assert_eq!(said(&pair).last().unwrap().1.handshake, failed);
}

#[test]
fn an_answer_that_did_not_leave_is_remembered() {
    let mut pair = Pair::offered(true, true, 1);
    pair.cut = true;
    pair.server.handle_unsent(Unsent::Denied);
    pair.run_for(4 * SECOND);
    assert_eq!(said(&pair)[0].1.unsent, Some(Unsent::Denied));
}

fn said(pair: &Pair) -> Vec<(Duration, Connectivity)> {
    let said = pair.events.iter().filter_map(|(at, event)| match event {
        PeerEvent::Connectivity(seen) => Some((*at, (**seen).clone())),
        PeerEvent::Connected
        | PeerEvent::PathSilent
        | PeerEvent::IceFailed
        | PeerEvent::Closed(_)
        | PeerEvent::ChannelOpen(_)
        | PeerEvent::Data { .. } => None,
    });
    said.collect()
}
