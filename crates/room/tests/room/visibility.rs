//! Who is shown to whom, who counts, and what permissions that change do.
#![expect(deprecated, reason = "clients and egress still read `recorder`")]

use std::time::Duration;

use crate::common::{Client, World, claims, dual, kinds, microphone, updates};
use hearth_access::Claims;
use hearth_plane::{Channel, Command, Event};
use hearth_room::{Call, JoinError, Reply, SessionId};
use hearth_signal::JoinParams;
use hearth_signal::proto::data_packet::Value;
use hearth_signal::proto::data_stream::{Header as DataStreamHeader, header::ContentHeader};
use hearth_signal::proto::{
    self, ParticipantPermission, request_response::Reason, signal_request::Message as Request,
    signal_response::Message,
};

#[test]
fn a_hidden_participant_is_never_shown_but_its_tracks_are_subscribed_and_the_api_lists_it() {
    let mut world = World::new();
    let bob = join(&mut world, claims("bob"));
    let mut hidden = claims("ghost");
    hidden.video.hidden = true;
    let ghost = join(&mut world, hidden);
    ghost.publish(&mut world, 1);
    let mic = own_track(&mut world, "ghost");
    ghost.send(&mut world, Request::Mute(proto::MuteTrackRequest { sid: mic, muted: true }));
    bob.answer(&mut world);
    let late = join(&mut world, claims("late"));
    let down = world.down_tracks().iter().filter(|spec| spec.peer == bob.primary).count();
    assert_eq!(down, 2, "its microphone and camera are received");

    let resume = JoinParams { reconnect: true, participant_sid: bob.sid.clone(), ..dual() };
    let session = world.try_join(claims("bob"), resume, 0).unwrap();
    ghost.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    for told in [bob.session, session, late.session].map(|session| everything(&world, session)) {
        let names: Vec<String> = told.into_iter().map(|info| info.identity).collect();
        assert!(!names.is_empty() && !names.contains(&"ghost".to_owned()), "{names:?}");
    }
    let own = updates(&world.take(&ghost));
    assert!(own.iter().any(|info| info.identity == "ghost" && info.tracks.len() == 2));

    let mut hidden = claims("ghost");
    hidden.video.hidden = true;
    join(&mut world, hidden);
    assert_eq!(listed(&mut world), ["bob", "ghost", "late"]);
}

#[test]
fn agents_and_recorders_do_not_count_by_kind_or_by_grant() {
    let kind = |kind: &str| Claims { kind: kind.into(), ..claims("dependent") };
    let mut agent = claims("dependent");
    agent.video.agent = true;
    let mut recorder = claims("dependent");
    recorder.video.recorder = true;
    for (dependent, records) in [
        (kind("agent"), false),
        (kind("AGENT"), false),
        (kind("egress"), true),
        (agent, false),
        (recorder, true),
    ] {
        let mut world = World::with(|config| config.max_participants = 1);
        let alice = join(&mut world, claims("alice"));
        world.take(&alice);
        let dependent = join(&mut world, dependent);
        let room = room(&mut world);
        assert_eq!((room.num_participants, room.active_recording), (1, records));
        let told: Vec<bool> = room_updates(&world.take(&alice));
        assert_eq!(told, vec![true; usize::from(records)], "at once");
        assert_eq!(world.try_join(claims("bob"), dual(), 0), Err(JoinError::RoomFull));

        // It does not keep the room alive, and is told of the end.
        alice.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
        world.take(&dependent);
        world.pass(Duration::from_secs(21));
        assert!(world.over);
        let told = world.take(&dependent);
        let Some(Message::Leave(leave)) = told.last() else { panic!("{told:?}") };
        assert_eq!(leave.reason(), proto::DisconnectReason::RoomClosed);
    }
}

#[test]
fn the_end_of_a_recording_is_told_at_once() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let egress = join(&mut world, Claims { kind: "egress".into(), ..claims("egress") });
    world.take(&alice);
    egress.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    assert_eq!(room_updates(&world.take(&alice)), [false]);
}

#[test]
fn a_recorder_may_subscribe_to_what_others_may_not() {
    let egress = Claims { kind: "egress".into(), ..claims("egress") };
    let mut recorder = claims("recorder");
    recorder.video.recorder = true;
    for claims in [egress, recorder] {
        let mut world = World::new();
        let alice = join(&mut world, super::common::claims("alice"));
        alice.send(&mut world, Request::SubscriptionPermission(Default::default()));
        alice.publish(&mut world, 1);
        let client = join(&mut world, claims);
        assert!(permissions(&world.take(&client)).iter().all(|(_, allowed)| *allowed));
        assert_eq!(world.down_tracks().len(), 2);
    }
}

#[test]
fn a_publisher_stays_one_and_counts_as_one_until_it_may_publish_no_more() {
    let mut world = World::new();
    let alice = join(&mut world, Claims { kind: "agent".into(), ..claims("alice") });
    let bob = join(&mut world, claims("bob"));
    assert_eq!(room(&mut world).num_publishers, 0);
    alice.publish(&mut world, 1);
    assert_eq!(room(&mut world).num_publishers, 1, "agents publish, too");
    alice.offer(&mut world, super::common::DUAL_DATA, 2);
    let told = updates(&world.take(&bob));
    let last = told.iter().rfind(|info| info.identity == "alice").unwrap();
    assert_eq!((last.tracks.len(), last.is_publisher), (0, true));

    bob.send(&mut world, publish_data(7, "pose"));
    assert_eq!(room(&mut world).num_publishers, 2, "data tracks are published, too");
    let listener = ParticipantPermission { can_subscribe: true, ..Default::default() };
    permit(&mut world, "bob", listener);
    assert_eq!(room(&mut world).num_publishers, 1);
}

#[test]
fn subscribing_that_is_granted_later_works_with_two_connections() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    alice.publish(&mut world, 1);
    let mut deaf = claims("bob");
    deaf.video.can_subscribe = Some(false);
    let session = world.try_join(deaf, dual(), 1).unwrap();
    let messages = world.signals[&session].clone();
    let Some(Message::Join(response)) = messages.first() else { panic!() };
    assert_eq!((response.subscriber_primary, kinds(&messages)), (false, vec!["join", "token"]));
    world.take_commands();

    let all = ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_data: true,
        ..Default::default()
    };
    permit(&mut world, "bob", all.clone());
    let made: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            Command::AddPeer { peer, spec } => Some((*peer, spec.open_channels)),
            _ => None,
        })
        .collect();
    let &[(peer, false)] = &made[..] else { panic!("data keeps to the publishing one: {made:?}") };
    let sid = response.participant.as_ref().unwrap().sid.clone();
    let bob = Client { session, sid, single: false, primary: peer };
    bob.answer(&mut world);
    world.event(Event::PeerConnected { peer });
    let down = world.down_tracks();
    assert_eq!(down.iter().filter(|spec| spec.peer == peer).count(), 2);

    let deaf = ParticipantPermission { can_subscribe: false, ..all.clone() };
    permit(&mut world, "bob", deaf);
    world.take_commands();
    permit(&mut world, "bob", all);
    let again = world.commands.iter().any(|(_, c)| matches!(c, Command::AddPeer { .. }));
    assert!(!again, "one is enough");
}

#[test]
fn a_permission_by_api_changes_who_counts() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    world.take(&alice);
    let recorder = ParticipantPermission { recorder: true, ..Default::default() };
    permit(&mut world, "alice", recorder);
    let now = room(&mut world);
    assert_eq!((now.num_participants, now.active_recording), (0, true));
    assert_eq!(room_updates(&world.take(&alice)), [true]);
}

#[test]
fn subscription_permissions_cover_data_tracks() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let bob = join(&mut world, claims("bob"));
    alice.send(&mut world, publish_data(0x1234, "pose"));
    let sid = updates(&world.take(&bob)).last().unwrap().data_tracks[0].sid.clone();
    bob.send(&mut world, subscribe_data(&sid, true));
    assert_eq!(permissions(&world.take(&bob)), [(sid.clone(), true)]);
    assert_eq!(delivered(&mut world, &alice), 1);

    let none = Request::SubscriptionPermission(Default::default());
    alice.send(&mut world, none);
    let told = world.take(&bob);
    assert_eq!(permissions(&told), [(sid.clone(), false)]);
    assert_eq!(handles(&told), Some(0));
    assert_eq!(delivered(&mut world, &alice), 0);

    let all = proto::SubscriptionPermission { all_participants: true, ..Default::default() };
    alice.send(&mut world, Request::SubscriptionPermission(all));
    let told = world.take(&bob);
    assert_eq!((permissions(&told), handles(&told)), (vec![(sid.clone(), true)], Some(1)));
    assert_eq!(delivered(&mut world, &alice), 1, "the limit has outlived the ban");

    bob.send(&mut world, subscribe_data(&sid, false));
    assert_eq!((handles(&world.take(&bob)), delivered(&mut world, &alice)), (Some(0), 0));
}

#[test]
fn data_tracks_follow_the_permission_to_subscribe_and_wishes_that_come_early() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let request = JoinParams { auto_subscribe_data_track: true, ..dual() };
    let session = world.try_join(claims("bob"), request, 0).unwrap();
    let bob = Client::new(&world, session, false);
    bob.connect(&mut world);
    alice.send(&mut world, publish_data(1, "pose"));
    assert_eq!(handles(&world.take(&bob)), Some(1), "without asking");
    let publisher =
        ParticipantPermission { can_publish: true, can_publish_data: true, ..Default::default() };
    permit(&mut world, "bob", publisher.clone());
    assert_eq!(handles(&world.take(&bob)), Some(0));
    permit(&mut world, "bob", ParticipantPermission { can_subscribe: true, ..publisher });
    assert_eq!(handles(&world.take(&bob)), Some(1));
    let listener = ParticipantPermission { can_subscribe: true, ..Default::default() };
    permit(&mut world, "bob", listener);
    assert_eq!(handles(&world.take(&bob)), None, "who may not send still receives");
}

#[test]
fn a_subscription_permission_that_names_nobody_changes_nothing() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let bob = join(&mut world, claims("bob"));
    alice.publish(&mut world, 1);
    bob.answer(&mut world);
    world.take(&bob);
    let nameless = proto::TrackPermission { all_tracks: true, ..Default::default() };
    let named = proto::TrackPermission { participant_identity: "carol".into(), ..nameless.clone() };
    let bad = proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![named, nameless],
    };
    alice.send(&mut world, Request::SubscriptionPermission(bad));
    assert_eq!(permissions(&world.take(&bob)), []);
}

#[test]
fn what_is_not_subscribed_by_itself_is_by_a_wish_even_an_early_one() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let request = JoinParams { auto_subscribe: false, ..dual() };
    let session = world.try_join(claims("bob"), request, 0).unwrap();
    let bob = Client::new(&world, session, false);
    bob.connect(&mut world);
    world.take(&bob);
    alice.send(&mut world, Request::AddTrack(microphone(super::common::MIC)));
    let told = world.take(&alice);
    let published = told.iter().find_map(|message| match message {
        Message::TrackPublished(published) => published.track.clone(),
        _ => None,
    });
    let limit = proto::UpdateSubscription {
        track_sids: vec![published.unwrap().sid],
        subscribe: true,
        ..Default::default()
    };
    bob.send(&mut world, Request::Subscription(limit));
    alice.publish(&mut world, 1);
    bob.answer(&mut world);
    let down = world.down_tracks();
    assert_eq!(down.len(), 1, "the microphone, not the camera");
}

#[test]
fn a_track_has_a_higher_version_with_every_change() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let bob = join(&mut world, claims("bob"));
    alice.publish(&mut world, 1);
    let sid = own_track(&mut world, "alice");
    let mute = |muted| Request::Mute(proto::MuteTrackRequest { sid: sid.clone(), muted });
    let features = proto::UpdateLocalAudioTrack { track_sid: sid.clone(), features: vec![1] };
    alice.send(&mut world, mute(true));
    alice.send(&mut world, mute(false));
    alice.send(&mut world, Request::UpdateAudioTrack(features));
    let told = updates(&world.take(&bob));
    let track = |info: &proto::ParticipantInfo| info.tracks.iter().find(|t| t.sid == sid).cloned();
    let versions: Vec<(i64, i32)> = told
        .iter()
        .filter_map(|info| track(info)?.version)
        .map(|version| (version.unix_micro, version.ticks))
        .collect();
    assert_eq!(versions.len(), 4);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[test]
fn refusals_say_why() {
    let mut world = World::new();
    let alice = join(&mut world, claims("alice"));
    let mut may = claims("bob");
    may.video.can_update_own_metadata = Some(true);
    let bob = join(&mut world, may);
    let update = |metadata: String| {
        Request::UpdateMetadata(proto::UpdateParticipantMetadata { metadata, ..Default::default() })
    };
    let attributes = proto::UpdateParticipantMetadata {
        attributes: [("a".to_owned(), "x".repeat(65_536))].into(),
        ..Default::default()
    };
    let trickle = proto::TrickleRequest { candidate_init: "{".into(), ..Default::default() };
    for (client, request, reason, text) in [
        (
            &alice,
            update("m".into()),
            Reason::NotAllowed,
            "does not have permission to update own metadata",
        ),
        (&bob, update("m".repeat(600_000)), Reason::LimitExceeded, "exceeds metadata size limit"),
        (
            &bob,
            Request::UpdateMetadata(attributes),
            Reason::LimitExceeded,
            "exceeds attributes size limit",
        ),
        (&bob, Request::StoreDataBlobRequest(Default::default()), Reason::NotAllowed, BLOB),
        (&bob, publish_data(0, "x"), Reason::InvalidHandle, "handle should be > 0 AND < 65536"),
    ] {
        client.send(&mut world, request);
        let told = world.take(client);
        let Some(Message::RequestResponse(response)) = told.last() else { panic!("{told:?}") };
        assert_eq!((response.reason(), response.message.as_str()), (reason, text));
    }
    alice.send(&mut world, Request::Trickle(trickle));
    let told = world.take(&alice);
    let Some(Message::RequestResponse(response)) = told.last() else { panic!("{told:?}") };
    assert!(!response.message.is_empty());
}

const BLOB: &str = "data blob not enabled";

#[test]
fn what_is_said_of_many_is_cut_into_messages_of_128_kib() {
    let mut world = World::new();
    let bob = join(&mut world, claims("bob"));
    for n in 0..20 {
        let metadata = "m".repeat(20_000);
        join(&mut world, Claims { metadata, ..claims(&format!("p{n}")) });
    }
    world.room.handle_session_closed(world.now, bob.session);
    let resume = JoinParams { reconnect: true, participant_sid: bob.sid, ..dual() };
    let session = world.try_join(claims("bob"), resume, 0).unwrap();
    let told = world.signals.remove(&session).unwrap();
    let sizes = told.iter().filter_map(|message| match message {
        Message::Update(update) => Some(prost::Message::encoded_len(update)),
        _ => None,
    });
    let sizes: Vec<usize> = sizes.collect();
    assert_eq!((sizes.len(), updates(&told).len()), (4, 21));
    assert!(sizes.iter().all(|size| *size <= 129 * 1_024), "{sizes:?}");
}

#[test]
fn participants_say_their_region_and_the_details_of_their_kind() {
    let mut world = World::with(|config| config.server.region = "eu-north".into());
    let kind_details = vec!["cloud_agent".to_owned()];
    join(&mut world, Claims { kind: "agent".into(), kind_details, ..claims("agent") });
    let reply = world.room.handle_call(world.now, Call::ListParticipants);
    let Ok(Reply::Participants(all)) = reply else { panic!() };
    let detail = proto::participant_info::KindDetail::CloudAgent;
    assert_eq!(
        (all[0].region.as_str(), &all[0].kind_details[..]),
        ("eu-north", &[detail.into()][..])
    );
    assert_eq!(room(&mut world).turn_password.len(), 43);
}

#[test]
fn an_agent_may_speak_for_another_in_text_and_that_is_marked() {
    let text = || DataStreamHeader {
        stream_id: "s".into(),
        content_header: Some(ContentHeader::TextHeader(proto::data_stream::TextHeader {
            version: 3,
            ..Default::default()
        })),
        ..Default::default()
    };
    let bytes = || DataStreamHeader { content_header: None, ..text() };
    let chat = || proto::ChatMessage { message: "hi".into(), ..Default::default() };
    for (agent, value, identity, generated) in [
        (true, Value::ChatMessage(chat()), "carol", true),
        (true, Value::StreamHeader(text()), "carol", true),
        (true, Value::StreamHeader(bytes()), "alice", false),
        (false, Value::ChatMessage(chat()), "alice", false),
        (false, Value::StreamHeader(text()), "alice", false),
    ] {
        let mut world = World::new();
        let kind = if agent { "agent" } else { "" };
        let alice = join(&mut world, Claims { kind: kind.into(), ..claims("alice") });
        join(&mut world, claims("bob"));
        world.take_commands();
        let packet = proto::DataPacket {
            participant_identity: "carol".into(),
            value: Some(value),
            ..Default::default()
        };
        let payload = prost::Message::encode_to_vec(&packet).into();
        world.event(Event::Data { peer: alice.primary, channel: Channel::Reliable, payload });
        let got = world.take_commands().into_iter().find_map(|(_, command)| match command {
            Command::SendData { payload, .. } => Some(payload),
            _ => None,
        });
        let got = <proto::DataPacket as prost::Message>::decode(got.unwrap()).unwrap();
        let (marked, kept) = match &got.value {
            Some(Value::ChatMessage(chat)) => (chat.generated, chat.message == "hi"),
            Some(Value::StreamHeader(header)) => match &header.content_header {
                Some(ContentHeader::TextHeader(text)) => (text.generated, text.version == 3),
                _ => (false, header.stream_id == "s"),
            },
            other => panic!("{other:?}"),
        };
        assert!(kept, "{got:?}");
        assert_eq!((got.participant_identity.as_str(), marked), (identity, generated));
        assert_eq!(got.participant_sid, alice.sid);
    }
}

/// An active client; its messages so far stay in the world.
fn join(world: &mut World, claims: Claims) -> Client {
    let session = world.try_join(claims, dual(), 0).unwrap();
    let client = Client::new(world, session, false);
    client.connect(world);
    client
}

/// Everybody of whom a session was told in any way.
fn everything(world: &World, session: SessionId) -> Vec<proto::ParticipantInfo> {
    let messages = &world.signals[&session];
    let mut infos = updates(messages);
    for message in messages {
        if let Message::Join(join) = message {
            infos.extend(join.participant.clone());
            infos.extend(join.other_participants.clone());
        }
    }
    infos
}

fn own_track(world: &mut World, identity: &str) -> String {
    let call = Call::GetParticipant { identity: identity.into() };
    let Ok(Reply::Participant(info)) = world.room.handle_call(world.now, call) else { panic!() };
    info.tracks[0].sid.clone()
}

fn listed(world: &mut World) -> Vec<String> {
    let reply = world.room.handle_call(world.now, Call::ListParticipants);
    let Ok(Reply::Participants(all)) = reply else { panic!() };
    let mut names: Vec<String> = all.into_iter().map(|info| info.identity).collect();
    names.sort();
    names
}

fn room(world: &mut World) -> proto::Room {
    let Ok(Reply::Room(room)) = world.room.handle_call(world.now, Call::Info) else { panic!() };
    *room
}

fn permit(world: &mut World, identity: &str, permission: ParticipantPermission) {
    let call = Call::UpdateParticipant {
        identity: identity.into(),
        metadata: String::new(),
        name: String::new(),
        attributes: [].into(),
        permission: Some(Box::new(permission)),
    };
    world.room.handle_call(world.now, call).unwrap();
    world.drain();
}

/// Whether the room was said to be recorded, each time it was described.
fn room_updates(messages: &[Message]) -> Vec<bool> {
    let recorded = |message: &Message| match message {
        Message::RoomUpdate(update) => update.room.as_ref().map(|room| room.active_recording),
        _ => None,
    };
    messages.iter().filter_map(recorded).collect()
}

fn permissions(messages: &[Message]) -> Vec<(String, bool)> {
    let permission = |message: &Message| match message {
        Message::SubscriptionPermissionUpdate(update) => {
            Some((update.track_sid.clone(), update.allowed))
        }
        _ => None,
    };
    messages.iter().filter_map(permission).collect()
}

/// How many data tracks the last list of handles has.
fn handles(messages: &[Message]) -> Option<usize> {
    let handles = |message: &Message| match message {
        Message::DataTrackSubscriberHandles(handles) => Some(handles.sub_handles.len()),
        _ => None,
    };
    messages.iter().rev().find_map(handles)
}

fn publish_data(pub_handle: u32, name: &str) -> Request {
    let name = name.to_owned();
    Request::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle,
        name,
        ..Default::default()
    })
}

fn subscribe_data(sid: &str, subscribe: bool) -> Request {
    let update = proto::update_data_subscription::Update {
        track_sid: sid.to_owned(),
        subscribe,
        options: None,
    };
    Request::UpdateDataSubscription(proto::UpdateDataSubscription { updates: vec![update] })
}

/// How many get a packet of the publisher's data track.
fn delivered(world: &mut World, publisher: &Client) -> usize {
    let packet = vec![0x18, 0, 0x12, 0x34, 0, 1, 0, 1, 0, 0, 0, 0, 9];
    world.take_commands();
    let channel = Channel::DataTrack;
    world.event(Event::Data { peer: publisher.primary, channel, payload: packet.into() });
    let is = |(_, c): &&(_, Command)| matches!(c, Command::SendData { .. });
    world.take_commands().iter().filter(is).count()
}
