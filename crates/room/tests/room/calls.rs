//! Whole conversations with clients, as livekit-client 2.21.0 holds them.

use std::time::Duration;

use crate::common::{
    Client, DUAL_DATA, DUAL_ENDED, SINGLE_BOTH, SINGLE_JOIN, World, claims, dual, kinds, single,
    updates,
};
use hearth_plane::{CloseReason, Command, Event, ShardId, Source};
use hearth_room::SessionId;
use hearth_signal::proto::{self, signal_request::Message as Request, signal_response::Message};
use proto::participant_info::State;

#[test]
fn a_dual_join_is_answered_in_the_order_clients_rely_on() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    let messages = world.take(&alice);
    assert_eq!(kinds(&messages), ["join", "token", "offer", "trickle"]);
    let Message::Join(join) = &messages[0] else { panic!() };
    assert!(join.subscriber_primary && join.fast_publish);
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert_eq!(join.server_info.as_ref().unwrap().protocol, 17);
    assert_eq!(join.enabled_publish_codecs[0].mime, "video/VP8");
    assert!(join.participant.as_ref().unwrap().permission.as_ref().unwrap().can_publish);
    assert!(alice.sid.starts_with("PA_"));
    let Message::Offer(offer) = &messages[2] else { panic!() };
    assert!(offer.id > 0 && offer.sdp.contains("m=application"));
    let Message::Trickle(trickle) = &messages[3] else { panic!() };
    assert!(trickle.r#final && trickle.target() == proto::SignalTarget::Subscriber);
    let (_, Command::AddPeer { spec, .. }) = &world.commands[0] else { panic!() };
    assert!(spec.open_channels && spec.local.ufrag.starts_with("00"));
}

#[test]
fn a_client_is_told_the_port_of_its_shard() {
    let mut world = World::new();
    for (shard, port) in [(0, 7_882), (1, 7_883)] {
        let session = world.try_join(claims(&format!("on-{shard}")), dual(), shard).unwrap();
        let client = Client::new(&world, session, false);
        let messages = world.take(&client);
        let Some(Message::Trickle(trickle)) = messages.last() else { panic!("{messages:?}") };
        let told = format!("192.0.2.1 {port} typ host");
        assert!(trickle.candidate_init.contains(&told), "{trickle:?}");
        let Some((_, Command::AddPeer { spec, .. })) = world.commands.last() else { panic!() };
        assert_eq!(spec.local_candidates[0].addr.port(), port);
    }
}

#[test]
fn a_single_join_gets_its_answer_after_the_token() {
    let mut world = World::new();
    let alice = world.join_single("alice");
    let messages = world.take(&alice);
    assert_eq!(kinds(&messages), ["join", "token", "answer", "trickle"]);
    let Message::Join(join) = &messages[0] else { panic!() };
    assert!(!join.subscriber_primary);
    let Message::Answer(answer) = &messages[2] else { panic!() };
    assert_eq!(answer.id, 1);
    let shape = |(_, command): &(_, Command)| match command {
        Command::AddPeer { spec, .. } => !spec.open_channels && !spec.ice_controlling,
        Command::SetRemote { .. } => true,
        _ => false,
    };
    assert!(world.commands.iter().all(shape));
}

#[test]
fn a_client_becomes_active_with_its_primary_transport() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    let bob = world.join_single("bob");
    alice.offer(&mut world, DUAL_DATA, 1);
    assert!(kinds(&world.signals[&alice.session]).ends_with(&["answer", "trickle"]));
    alice.connect(&mut world);
    for client in [&alice, &bob] {
        let seen = updates(&world.take(client));
        let last = seen.last().unwrap();
        assert_eq!((last.sid.as_str(), last.state()), (alice.sid.as_str(), State::Active));
    }
}

#[test]
fn a_published_track_reaches_a_dual_subscriber() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.publish(&mut world, 1);
    let sent = kinds(&world.take(&alice));
    assert_eq!(
        sent,
        ["track_published", "track_published", "answer", "trickle", "update"],
        "the publisher"
    );
    let received = world.take(&bob);
    assert_eq!(kinds(&received), ["update", "permission", "permission", "offer"]);
    let tracks = &updates(&received)[0].tracks;
    assert_eq!(tracks.len(), 2);
    assert_eq!(
        (tracks[0].mime_type.as_str(), tracks[1].mime_type.as_str()),
        ("audio/red", "video/VP8")
    );
    let Message::Offer(offer) = &received[3] else { panic!() };
    for track in tracks {
        let msid = format!("a=msid:{}|{} {}", alice.sid, track.sid, track.sid);
        assert!(offer.sdp.contains(&msid), "{msid}");
        assert!(["1", "2"].iter().any(|mid| offer.mid_to_track_id[*mid] == track.sid));
    }

    world.signals.insert(bob.session, received);
    bob.answer(&mut world);
    let down = world.down_tracks();
    assert_eq!(down.len(), 2);
    assert!(down.iter().all(|spec| spec.peer == bob.primary && !spec.codecs.is_empty()));
    let told = kinds(&world.take(&alice));
    assert_eq!(told, ["track_subscribed", "track_subscribed", "demand"], "the camera's");
    let wishes = world.commands.iter().filter_map(|(_, command)| match command {
        Command::SetDownTrack { limit, .. } => Some(limit.spatial),
        Command::SetLayerLimit { .. } => panic!("it was told with the subscription"),
        _ => None,
    });
    assert_eq!(wishes.count(), 2);
}

#[test]
fn a_published_track_reaches_a_single_subscriber() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_single);
    alice.publish(&mut world, 4);
    let sent = kinds(&world.take(&alice));
    assert_eq!(sent, ["track_published", "track_published", "answer", "update"]);
    let received = world.take(&bob);
    assert_eq!(kinds(&received), ["update", "permission", "permission", "sections"]);
    let Message::MediaSectionsRequirement(need) = &received[3] else { panic!() };
    assert_eq!((need.num_audios, need.num_videos), (0, 0));

    bob.offer(&mut world, SINGLE_JOIN, 2);
    let received = world.take(&bob);
    assert_eq!(kinds(&received), ["answer"]);
    let Message::Answer(answer) = &received[0] else { panic!() };
    assert_eq!((answer.id, answer.mid_to_track_id.len()), (2, 2));
    assert_eq!(world.down_tracks().len(), 2);
}

#[test]
fn a_latecomer_gets_what_is_there_with_the_first_offer() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    alice.publish(&mut world, 1);
    let bob = world.join_dual("bob");
    let messages = world.take(&bob);
    let Message::Join(join) = &messages[0] else { panic!() };
    assert_eq!(join.other_participants[0].tracks.len(), 2);
    let offers: Vec<&str> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Offer(offer) => Some(offer.sdp.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(offers.len(), 1);
    assert!(offers[0].contains("m=video") && offers[0].contains("m=audio"));
}

#[test]
fn subscribers_on_another_shard_share_one_relay() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    alice.publish(&mut world, 1);
    let mut others = Vec::new();
    for identity in ["bob", "carol"] {
        let session = world.try_join(claims(identity), dual(), 1).unwrap();
        let client = client_of(&world, session);
        client.connect(&mut world);
        client.answer(&mut world);
        others.push(client);
    }
    let commands = world.take_commands();
    let count = |is: fn(&Command) -> bool| commands.iter().filter(|(_, c)| is(c)).count();
    assert_eq!(count(|c| matches!(c, Command::AddRelay { .. })), 2, "one a track");
    let from_shard = |c: &Command| matches!(c, Command::SetUpTrack { spec, .. } if matches!(spec.source, Source::Shard(_)));
    assert_eq!(count(from_shard), 2);
    assert_eq!(count(|c| matches!(c, Command::SetDownTrack { .. })), 4);

    for client in others {
        client.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    }
    let removed = world.commands.iter().filter(|(_, c)| matches!(c, Command::RemoveRelay { .. }));
    assert_eq!(removed.count(), 2, "with the last subscriber");
}

#[test]
fn muting_is_told_to_everybody_and_to_the_shard() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.publish(&mut world, 1);
    let sid = updates(&world.take(&bob))[0].tracks[0].sid.clone();
    world.take(&alice);
    let mute = |muted| Request::Mute(proto::MuteTrackRequest { sid: sid.clone(), muted });
    alice.send(&mut world, mute(true));
    alice.send(&mut world, mute(true));
    for client in [&alice, &bob] {
        let seen = updates(&world.take(client));
        assert_eq!(seen.len(), 1);
        assert!(seen[0].tracks[0].muted);
    }
    let muted = |(_, c): &&(_, Command)| matches!(c, Command::SetUpTrackMuted { muted: true, .. });
    assert_eq!(world.commands.iter().filter(muted).count(), 1);

    let unknown = proto::MuteTrackRequest { sid: "TR_none".into(), muted: true };
    alice.send(&mut world, Request::Mute(unknown));
    assert_eq!(kinds(&world.take(&alice)), ["response"]);
}

#[test]
fn a_track_ends_with_its_section() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.publish(&mut world, 1);
    bob.answer(&mut world);
    world.take(&bob);
    alice.offer(&mut world, DUAL_ENDED, 2);
    let received = world.take(&bob);
    assert_eq!(updates(&received).last().unwrap().tracks.len(), 1);
    assert_eq!(kinds(&received).last(), Some(&"offer"));
    let removed = |(_, c): &&(_, Command)| matches!(c, Command::RemoveUpTrack { .. });
    assert_eq!(world.commands.iter().filter(removed).count(), 1);
}

#[test]
fn a_client_that_leaves_gets_its_goodbye_and_is_gone_at_once() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    let messages = world.take(&alice);
    let Message::Leave(leave) = &messages[0] else { panic!() };
    assert_eq!(leave.reason(), proto::DisconnectReason::ClientInitiated);
    assert_eq!(world.closed, [alice.session]);
    let seen = updates(&world.take(&bob));
    assert_eq!((seen[0].sid.as_str(), seen[0].state()), (alice.sid.as_str(), State::Disconnected));
    let removed = |(_, c): &&(_, Command)| matches!(c, Command::RemovePeer { .. });
    assert_eq!(world.commands.iter().filter(removed).count(), 1, "the one that was made");
}

#[test]
fn the_second_of_an_identity_replaces_the_first() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    let again = world.join_dual("alice");
    let messages = world.take(&alice);
    let Message::Leave(leave) = &messages[0] else { panic!() };
    assert_eq!(leave.reason(), proto::DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), proto::leave_request::Action::Disconnect);
    assert_eq!(world.closed, [alice.session]);
    let seen = updates(&world.take(&bob));
    assert!(seen.iter().all(|info| info.sid == again.sid), "clients replace by identity");
    let kinds = kinds(&world.take(&again));
    assert_eq!(kinds[0], "join");
}

#[test]
fn a_resume_keeps_the_participant_and_restarts_ice() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.publish(&mut world, 1);
    bob.answer(&mut world);
    world.room.handle_session_closed(world.now, bob.session);
    let carol = world.join_dual("carol");
    alice.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    world.take_commands();

    let resume = proto_resume(&bob);
    let session = world.try_join(claims("bob"), resume, 0).unwrap();
    let messages = world.signals.remove(&session).unwrap();
    assert_eq!(
        kinds(&messages),
        ["reconnect", "update", "update", "room_update", "token", "offer", "trickle"]
    );
    let seen = updates(&messages);
    let left = seen.iter().find(|info| info.state() == State::Disconnected).unwrap();
    assert_eq!(left.sid, alice.sid);
    let here: Vec<&str> = seen[1..].iter().map(|info| info.sid.as_str()).collect();
    assert_eq!(here, [bob.sid.as_str(), carol.sid.as_str()], "also what it knows");
    let restarts = |(_, c): &&(_, Command)| matches!(c, Command::RestartIce { .. });
    assert_eq!(world.commands.iter().filter(restarts).count(), 1);
}

#[test]
fn who_was_replaced_and_left_during_an_absence_is_told_as_gone() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    world.room.handle_session_closed(world.now, bob.session);
    let again = world.join_dual("alice");
    again.send(&mut world, Request::Leave(proto::LeaveRequest::default()));

    let session = world.try_join(claims("bob"), proto_resume(&bob), 0).unwrap();
    let seen = updates(&world.signals.remove(&session).unwrap());
    let gone: Vec<&str> = seen
        .iter()
        .filter(|info| info.state() == State::Disconnected)
        .map(|info| info.sid.as_str())
        .collect();
    assert_eq!(gone, [alice.sid.as_str()]);
}

#[test]
fn an_unknown_session_is_told_to_start_over() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    let mut other = proto_resume(&alice);
    other.participant_sid = "PA_other".into();
    for request in [other, hearth_signal::JoinParams { single_pc: true, ..proto_resume(&alice) }] {
        let session = world.try_join(claims("alice"), request, 0).unwrap();
        let messages = world.signals.remove(&session).unwrap();
        let Message::Leave(leave) = &messages[0] else { panic!() };
        assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
        assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
        assert_eq!(world.closed.pop(), Some(session));
    }
    assert!(!world.closed.contains(&alice.session));
}

#[test]
fn a_lost_socket_keeps_the_participant_only_if_it_was_connected() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    let carol = world.join_dual("carol");
    world.take(&bob);
    world.room.handle_session_closed(world.now, carol.session);
    world.room.handle_session_closed(world.now, alice.session);
    world.drain();
    let gone: Vec<String> = updates(&world.take(&bob)).into_iter().map(|info| info.sid).collect();
    assert_eq!(gone, [carol.sid.as_str()]);

    world.event(Event::IceFailed { peer: alice.primary });
    world.pass(Duration::from_secs(5));
    let gone: Vec<String> = updates(&world.take(&bob)).into_iter().map(|info| info.sid).collect();
    assert_eq!(gone, [alice.sid.as_str()]);
}

#[test]
fn a_transport_that_is_gone_has_the_client_start_over_within_five_seconds() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    let reason = CloseReason::Panicked;
    world.event(Event::PeerClosed { peer: alice.primary, reason });
    assert_eq!(kinds(&world.take(&alice)), ["leave"]);
    assert_eq!(world.closed, [alice.session]);
    world.pass(Duration::from_millis(4_900));
    assert!(updates(&world.take(&bob)).is_empty());
    world.pass(Duration::from_millis(200));
    assert_eq!(updates(&world.take(&bob))[0].state(), State::Disconnected);
}

#[test]
fn a_track_that_a_shard_has_lost_has_its_publisher_start_over() {
    let mut world = World::new();
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.publish(&mut world, 1);
    let published = world.commands.iter().find_map(|(_, command)| match command {
        Command::SetUpTrack { track, .. } => Some(*track),
        _ => None,
    });
    let track = published.unwrap();
    world.take(&alice);
    world.take(&bob);
    world.event(Event::TrackFailed { track });
    assert_eq!(kinds(&world.take(&alice)), ["leave"]);
    assert_eq!(world.closed, [alice.session]);
    world.event(Event::TrackFailed { track });
    assert_eq!(world.closed, [alice.session], "once");
    world.pass(Duration::from_millis(5_100));
    assert_eq!(updates(&world.take(&bob))[0].state(), State::Disconnected);
    world.event(Event::TrackFailed { track });
}

#[test]
fn a_shard_that_failed_has_those_on_it_come_back_and_is_told_all_anew() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    alice.publish(&mut world, 1);
    let join = |world: &mut World, identity| {
        let session = world.try_join(claims(identity), dual(), 1).unwrap();
        let client = client_of(world, session);
        client.connect(world);
        client.answer(world);
        client
    };
    let (bob, carol) = (join(&mut world, "bob"), join(&mut world, "carol"));
    for client in [&alice, &bob, &carol] {
        world.take(client);
    }
    world.take_commands();

    world.event(Event::ShardFailed { shard: ShardId(1) });
    for client in [&bob, &carol] {
        assert_eq!(kinds(&world.take(client)), ["leave"]);
    }
    assert_eq!(world.closed, [bob.session, carol.session]);
    assert!(!kinds(&world.take(&alice)).contains(&"leave"), "she is on another shard");
    let count = |world: &mut World, is: fn(&Command) -> bool| {
        world.take_commands().iter().filter(|(_, command)| is(command)).count()
    };
    assert_eq!(count(&mut world, |c| matches!(c, Command::RemoveRelay { .. })), 2);

    join(&mut world, "bob");
    let is_relayed = |c: &Command| matches!(c, Command::SetUpTrack { spec, .. } if matches!(spec.source, Source::Shard(_)));
    assert_eq!(count(&mut world, is_relayed), 2, "though the former carol is still waited for");
    world.take(&alice);
    world.event(Event::ShardFailed { shard: ShardId(0) });
    assert_eq!(kinds(&world.take(&alice)), ["leave"]);
}

#[test]
fn whoever_never_becomes_active_is_sent_away_after_a_minute() {
    let mut world = World::new();
    let alice = world.join_single("alice");
    world.pass(Duration::from_secs(59));
    assert!(world.closed.is_empty());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.closed, [alice.session]);
}

#[test]
fn an_unanswered_offer_has_a_connected_client_start_over() {
    let mut world = World::new();
    let waiting = world.join_dual("waiting");
    let (alice, bob) = two(&mut world, World::join_dual);
    alice.publish(&mut world, 1);
    world.pass(Duration::from_secs(14));
    assert!(world.closed.is_empty());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.closed, [bob.session]);
    assert_eq!(kinds(&world.take(&bob)).last(), Some(&"leave"));
    world.pass(Duration::from_secs(43));
    assert_eq!(world.closed, [bob.session], "who never connected has a minute");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.closed, [bob.session, waiting.session]);
}

#[test]
fn a_room_ends_when_nobody_came_or_everybody_left() {
    let mut empty = World::new();
    empty.pass(Duration::from_secs(301));
    assert!(empty.over);
    assert!(empty.try_join(claims("late"), dual(), 0).is_err());

    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    world.pass(Duration::from_secs(3_600));
    assert!(!world.over);
    alice.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    world.pass(Duration::from_secs(19));
    assert!(!world.over);
    world.pass(Duration::from_secs(2));
    assert!(world.over);
}

#[test]
fn tokens_are_refreshed_every_five_minutes() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    world.take(&alice);
    world.pass(Duration::from_secs(901));
    let tokens = kinds(&world.take(&alice)).into_iter().filter(|kind| *kind == "token").count();
    assert_eq!(tokens, 3);
}

#[test]
fn a_single_client_without_an_offer_is_answered_when_it_offers() {
    let mut world = World::new();
    let firefox = hearth_signal::JoinParams { publisher_offer: None, ..single() };
    let session = world.try_join(claims("alice"), firefox, 0).unwrap();
    assert_eq!(kinds(&world.signals.remove(&session).unwrap()), ["join", "token"]);
    assert_eq!(world.take_commands(), []);
    let request = proto::SignalRequest {
        message: Some(Request::Offer(proto::SessionDescription {
            sdp: SINGLE_BOTH.into(),
            id: 1,
            ..Default::default()
        })),
    };
    world.room.handle_signal(world.now, session, request);
    world.drain();
    assert_eq!(kinds(&world.signals.remove(&session).unwrap()), ["answer", "trickle"]);
    assert!(matches!(world.commands[0].1, Command::AddPeer { .. }));
}

/// Two active clients whose earlier messages are forgotten.
fn two(world: &mut World, join: fn(&mut World, &str) -> Client) -> (Client, Client) {
    let alice = join(world, "alice");
    alice.connect(world);
    let bob = join(world, "bob");
    bob.connect(world);
    world.take(&alice);
    world.take(&bob);
    world.take_commands();
    (alice, bob)
}

fn client_of(world: &World, session: SessionId) -> Client {
    let Some(Message::Join(join)) = world.signals[&session].first() else { panic!() };
    let primary = world.commands.iter().rev().find_map(|(_, command)| match command {
        Command::AddPeer { peer, .. } => Some(*peer),
        _ => None,
    });
    let sid = join.participant.as_ref().unwrap().sid.clone();
    Client { session, sid, single: false, primary: primary.unwrap() }
}

fn proto_resume(client: &Client) -> hearth_signal::JoinParams {
    hearth_signal::JoinParams { reconnect: true, participant_sid: client.sid.clone(), ..dual() }
}
