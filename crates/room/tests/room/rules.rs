//! Who is let in, what is refused, what is passed on.

use std::time::Duration;

use crate::common::{
    Client, DUAL_BOTH, MIC, SINGLE_BOTH, SINGLE_MIC, World, claims, dual, kinds, microphone,
    updates,
};
use bytes::Bytes;
use hearth_access::Claims;
use hearth_plane::{Channel, Command, Event, LayerLimit, Level};
use hearth_room::{Call, CallError, JoinError, Reply};
use hearth_signal::proto::{
    self, DataPacket, UserPacket, data_packet, signal_request::Message as Request,
    signal_response::Message,
};
use prost::Message as _;

#[test]
fn a_full_room_takes_nobody_but_a_successor() {
    let mut world = World::with(|config| config.max_participants = 1);
    world.join_dual("alice");
    let error = world.try_join(claims("bob"), dual(), 0).unwrap_err();
    assert_eq!(error, JoinError::RoomFull);
    assert_eq!(error.to_string(), "connection closed by media");
    world.join_dual("alice");
    let agent = Claims { kind: "agent".into(), ..claims("agent") };
    assert!(world.try_join(agent, dual(), 0).is_ok(), "agents do not count");
}

#[test]
fn data_reaches_those_it_is_for_and_says_who_sent_it() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    let packet = |to: &[&str], sequence| DataPacket {
        participant_identity: "forged".into(),
        destination_identities: to.iter().map(|&i| i.to_owned()).collect(),
        sequence,
        value: Some(data_packet::Value::User(UserPacket {
            payload: b"hello".to_vec(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let mut send = |packet: &DataPacket, channel| {
        let payload = Bytes::from(packet.encode_to_vec());
        world.event(Event::Data { peer: alice.primary, channel, payload });
        sent(&mut world)
    };
    let to_all = send(&packet(&[], 1), Channel::Reliable);
    assert_eq!(
        to_all.iter().map(|(peer, ..)| *peer).collect::<Vec<_>>(),
        [bob.primary, carol.primary]
    );
    let (_, channel, first) = &to_all[0];
    assert_eq!(*channel, Channel::Reliable);
    assert_eq!(
        (first.participant_sid.as_str(), first.participant_identity.as_str()),
        (alice.sid.as_str(), "alice")
    );
    assert_eq!(first.sequence, 1);

    assert_eq!(send(&packet(&[], 1), Channel::Reliable), [], "seen before");
    let to_carol = send(&packet(&["carol", "alice", "nobody"], 2), Channel::Lossy);
    assert_eq!(to_carol.len(), 1, "never back to the sender");
    assert_eq!((to_carol[0].0, to_carol[0].1), (carol.primary, Channel::Lossy));
}

#[test]
fn data_waits_for_the_channel_and_keeps_its_order() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    let bob = world.join_dual("bob");
    for sequence in 1..=3 {
        let packet = DataPacket { sequence, ..Default::default() };
        let payload = Bytes::from(packet.encode_to_vec());
        world.event(Event::Data { peer: alice.primary, channel: Channel::Reliable, payload });
    }
    assert_eq!(sent(&mut world), []);
    bob.connect(&mut world);
    let order: Vec<u32> = sent(&mut world).iter().map(|(.., packet)| packet.sequence).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn what_cannot_wait_for_a_channel_to_open_is_counted() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    let bob = world.join_dual("bob");
    for n in 1..=30 {
        let user = UserPacket { payload: vec![0; 10_000], ..Default::default() };
        let value = Some(data_packet::Value::User(user));
        let packet = DataPacket { sequence: n, value, ..Default::default() };
        let payload = Bytes::from(packet.encode_to_vec());
        world.event(Event::Data { peer: alice.primary, channel: Channel::Reliable, payload });
    }
    bob.connect(&mut world);
    let kept = sent(&mut world).len() as u64;
    assert!(kept > 5, "{kept}");
    assert_eq!(world.data_dropped, 30 - kept);
}

#[test]
fn without_the_permission_data_goes_nowhere() {
    let mut world = World::new();
    let mut mute = claims("mute");
    mute.video.can_publish_data = Some(false);
    let bob = world.join_dual("bob");
    bob.connect(&mut world);
    let session = world.try_join(mute, dual(), 0).unwrap();
    let peer = world.commands.iter().rev().find_map(|(_, command)| match command {
        Command::AddPeer { peer, .. } => Some(*peer),
        _ => None,
    });
    let payload = Bytes::from(DataPacket::default().encode_to_vec());
    world.event(Event::Data { peer: peer.unwrap(), channel: Channel::Reliable, payload });
    assert_eq!(sent(&mut world), []);
    assert!(world.signals.contains_key(&session));
}

#[test]
fn settings_become_wishes() {
    let mut world = World::new();
    let [alice, bob, _] = three(&mut world);
    alice.publish(&mut world, 1);
    let camera = updates(&world.signals[&bob.session]).last().unwrap().tracks[1].sid.clone();
    bob.answer(&mut world);
    world.take_commands();
    let mut limit = |request: proto::UpdateTrackSettings| {
        let track_sids = vec![camera.clone()];
        let request = proto::UpdateTrackSettings { track_sids, ..request };
        bob.send(&mut world, Request::TrackSetting(request));
        world.take_commands().into_iter().find_map(|(_, command)| match command {
            Command::SetLayerLimit { limit, .. } => Some(limit),
            _ => None,
        })
    };
    let high = proto::UpdateTrackSettings { quality: 2, ..Default::default() };
    assert_eq!(limit(high), None, "it was high already");
    let small = proto::UpdateTrackSettings { width: 320, height: 180, ..Default::default() };
    assert_eq!(limit(small).map(|w: LayerLimit| (w.enabled, w.spatial)), Some((true, 0)));
    let off = proto::UpdateTrackSettings { disabled: true, ..Default::default() };
    assert_eq!(limit(off).map(|w| w.enabled), Some(false));
}

#[test]
fn whoever_unsubscribes_or_is_forbidden_gets_no_more() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    alice.publish(&mut world, 1);
    bob.answer(&mut world);
    carol.answer(&mut world);
    let mic = updates(&world.signals[&bob.session]).last().unwrap().tracks[0].sid.clone();
    world.take_commands();
    let removed = |world: &mut World| {
        let is = |(_, c): &&(_, Command)| matches!(c, Command::RemoveDownTrack { .. });
        world.take_commands().iter().filter(is).count()
    };
    let unsubscribe = |subscribe| {
        let track_sids = vec![mic.clone()];
        Request::Subscription(proto::UpdateSubscription {
            track_sids,
            subscribe,
            ..Default::default()
        })
    };
    bob.send(&mut world, unsubscribe(false));
    assert_eq!(removed(&mut world), 1);
    assert_eq!(kinds(&world.take(&bob)).last(), Some(&"offer"));

    alice.send(&mut world, Request::SubscriptionPermission(Default::default()));
    assert_eq!(removed(&mut world), 3, "bob's camera, carol's both");
    let told = world.take(&carol);
    let Some(Message::SubscriptionPermissionUpdate(update)) =
        told.iter().find(|m| matches!(m, Message::SubscriptionPermissionUpdate(u) if !u.allowed))
    else {
        panic!("carol was not told")
    };
    assert_eq!(update.participant_sid, alice.sid);
}

#[test]
fn speakers_are_told_to_those_who_hear_them() {
    let mut world = World::new();
    let [alice, bob, _] = three(&mut world);
    alice.publish(&mut world, 1);
    let track = world.commands.iter().find_map(|(_, command)| match command {
        Command::SetUpTrack { track, spec } if spec.measure_level => Some(*track),
        _ => None,
    });
    world.take(&alice);
    world.take(&bob);
    let mut levels = |level| {
        world.event(Event::Levels { levels: vec![Level { track: track.unwrap(), level }] });
        [&alice, &bob].map(|client| match &world.take(client)[..] {
            [Message::SpeakersChanged(changed)] => Some(changed.speakers[0].level),
            _ => None,
        })
    };
    assert_eq!(levels(0.3), [Some(0.375), Some(0.375)]);
    assert_eq!(levels(0.31), [None, None]);
    assert_eq!(levels(0.0), [Some(0.0), Some(0.0)]);
}

#[test]
fn metadata_is_changed_by_those_who_may() {
    let mut world = World::new();
    let mut may = claims("alice");
    may.video.can_update_own_metadata = Some(true);
    let session = world.try_join(may, dual(), 0).unwrap();
    let bob = world.join_dual("bob");
    world.signals.clear();
    let request = |name: &str| proto::UpdateParticipantMetadata {
        name: name.into(),
        request_id: 7,
        ..Default::default()
    };
    let message = Some(Request::UpdateMetadata(request("Alice")));
    world.room.handle_signal(world.now, session, proto::SignalRequest { message });
    world.drain();
    assert_eq!(kinds(&world.signals[&session]), ["update", "token", "response"]);
    bob.send(&mut world, Request::UpdateMetadata(request("Bob")));
    let told = world.take(&bob);
    let Some(Message::RequestResponse(response)) = told.last() else { panic!() };
    assert_eq!(response.reason(), proto::request_response::Reason::NotAllowed);
    assert_eq!(response.request_id, 7);
    assert_eq!(response.message, "does not have permission to update own metadata");
}

#[test]
fn what_is_too_large_of_a_profile_is_named_and_a_long_name_of_a_token_is_in_nobodys_way() {
    let mut world = World::new();
    // 2 letters more than the limit of 256 bytes.
    let long = "ä".repeat(129);
    let mut may = Claims { name: long.clone(), ..claims("alice") };
    may.video.can_update_own_metadata = Some(true);
    let session = world.try_join(may, dual(), 0).unwrap();
    let metadata = |len: usize| proto::UpdateParticipantMetadata {
        metadata: "m".repeat(len),
        ..Default::default()
    };
    let name = proto::UpdateParticipantMetadata { name: long, ..Default::default() };
    let attributes = proto::UpdateParticipantMetadata {
        attributes: [("k".to_owned(), "v".repeat(65_536))].into(),
        ..Default::default()
    };
    for (request, said) in [
        (metadata(524_288), ""),
        (metadata(524_289), "exceeds metadata size limit"),
        (name, "exceeds name length limit"),
        (attributes, "exceeds attributes size limit"),
    ] {
        world.signals.clear();
        let message = Some(Request::UpdateMetadata(request));
        world.room.handle_signal(world.now, session, proto::SignalRequest { message });
        world.drain();
        let Some(Message::RequestResponse(response)) = world.signals[&session].last() else {
            panic!("an answer")
        };
        let limited = response.reason() == proto::request_response::Reason::LimitExceeded;
        assert_eq!((response.message.as_str(), limited), (said, !said.is_empty()));
    }
}

#[test]
fn a_track_is_announced_before_or_after_its_section_and_once() {
    let mut world = World::new();
    let [alice, bob, _] = three(&mut world);
    alice.offer(&mut world, DUAL_BOTH, 1);
    world.take(&bob);
    alice.send(&mut world, Request::AddTrack(microphone(MIC)));
    let told = world.take(&alice);
    assert!(kinds(&told).ends_with(&["answer", "trickle", "track_published", "update"]));
    assert_eq!(updates(&world.take(&bob))[0].tracks.len(), 1);
    alice.send(&mut world, Request::AddTrack(microphone(MIC)));
    let told = world.take(&alice);
    let Some(Message::RequestResponse(response)) = told.last() else { panic!() };
    assert_eq!(response.reason(), proto::request_response::Reason::Queued);
}

#[test]
fn data_tracks_are_forwarded_under_the_subscribers_handle() {
    let mut world = World::new();
    let [alice, bob, _] = three(&mut world);
    let publish = proto::PublishDataTrackRequest {
        pub_handle: 0x1234,
        name: "pose".into(),
        ..Default::default()
    };
    alice.send(&mut world, Request::PublishDataTrackRequest(publish));
    let told = world.take(&alice);
    assert_eq!(kinds(&told)[kinds(&told).len() - 2..], ["data_track_published", "update"]);
    let sid = updates(&world.take(&bob)).last().unwrap().data_tracks[0].sid.clone();
    assert!(sid.starts_with("DTR_"));
    let update =
        proto::update_data_subscription::Update { track_sid: sid, subscribe: true, options: None };
    let request = proto::UpdateDataSubscription { updates: vec![update] };
    bob.send(&mut world, Request::UpdateDataSubscription(request));
    let told = world.take(&bob);
    let Some(Message::DataTrackSubscriberHandles(handles)) = told.last() else { panic!() };
    let handle = 1_u16;
    assert!(handles.sub_handles.contains_key(&1));

    let mut packet = vec![0x18, 0, 0x12, 0x34, 0, 1, 0, 1, 0, 0, 0, 0, 9];
    let payload = Bytes::from(packet.clone());
    let channel = Channel::DataTrack;
    world.event(Event::Data { peer: alice.primary, channel, payload });
    packet[2..4].copy_from_slice(&handle.to_be_bytes());
    let got = world.take_commands().into_iter().find_map(|(_, command)| match command {
        Command::SendData { peers, payload, .. } => Some((peers.to_vec(), payload.to_vec())),
        _ => None,
    });
    assert_eq!(got, Some((vec![bob.primary], packet)));
}

#[test]
fn a_message_costs_a_command_for_each_shard_and_not_for_each_receiver() {
    let mut world = World::new();
    let mut clients = Vec::new();
    for n in 0..100_u16 {
        let claims = claims(&format!("client{n}"));
        let session = world.try_join(claims, dual(), u16::from(n >= 70)).unwrap();
        let client = Client::new(&world, session, false);
        client.connect(&mut world);
        clients.push(client);
    }
    world.take_commands();
    for (channel, payload) in [(Channel::Reliable, "all"), (Channel::Lossy, "lossy")] {
        let user = UserPacket { payload: payload.into(), ..UserPacket::default() };
        let value = Some(data_packet::Value::User(user));
        let payload = DataPacket { value, ..DataPacket::default() }.encode_to_vec().into();
        world.event(Event::Data { peer: clients[0].primary, channel, payload });
        let mut got = Vec::new();
        let mut sizes = Vec::new();
        for (shard, command) in world.take_commands() {
            let Command::SendData { peers, .. } = command else { panic!("{command:?}") };
            sizes.push((shard.0, peers.len()));
            got.extend(peers.iter().copied());
        }
        // 69 and 30, at most 64 a command.
        assert_eq!(sizes, [(0, 64), (0, 5), (1, 30)]);
        let others: Vec<_> = clients[1..].iter().map(|client| client.primary).collect();
        assert_eq!(got, others, "everybody but the sender, once");
    }
}

#[test]
fn administrators_unmute_where_the_operator_lets_them() {
    let mut world = World::with(|config| config.enable_remote_unmute = true);
    let [alice, bob, _] = three(&mut world);
    alice.publish(&mut world, 1);
    let mic = updates(&world.take(&bob)).last().unwrap().tracks[0].sid.clone();
    world.take(&alice);
    for muted in [true, false] {
        let (identity, track_sid) = ("alice".to_owned(), mic.clone());
        let call = Call::MutePublishedTrack { identity, track_sid, muted };
        let reply = world.room.handle_call(world.now, call);
        world.drain();
        assert!(matches!(reply, Ok(Reply::Track(track)) if track.muted == muted), "{muted}");
        assert_eq!(updates(&world.take(&bob)).last().unwrap().tracks[0].muted, muted);
        assert_eq!(kinds(&world.take(&alice)).first(), Some(&"mute"), "{muted}");
    }
}

#[test]
fn administrators_list_mute_change_and_remove() {
    let mut world = World::new();
    let [alice, bob, _] = three(&mut world);
    alice.publish(&mut world, 1);
    let mic = updates(&world.take(&bob)).last().unwrap().tracks[0].sid.clone();
    let mut call = |call| {
        let reply = world.room.handle_call(world.now, call);
        world.drain();
        reply
    };
    let Ok(Reply::Participants(all)) = call(Call::ListParticipants) else { panic!() };
    assert_eq!(all.len(), 3);
    let identity = || "alice".to_owned();
    let mute =
        |muted| Call::MutePublishedTrack { identity: identity(), track_sid: mic.clone(), muted };
    assert!(matches!(call(mute(true)), Ok(Reply::Track(track)) if track.muted));
    assert_eq!(call(mute(false)), Err(CallError::RemoteUnmuteDisabled));
    let nobody = Call::RemoveParticipant { identity: "nobody".into() };
    assert_eq!(call(nobody), Err(CallError::ParticipantNotFound));
    let listen_only =
        Box::new(proto::ParticipantPermission { can_subscribe: true, ..Default::default() });
    let update = Call::UpdateParticipant {
        identity: identity(),
        metadata: String::new(),
        name: String::new(),
        attributes: [("a".to_owned(), "b".to_owned())].into(),
        permission: Some(listen_only),
    };
    let Ok(Reply::Participant(info)) = call(update) else { panic!() };
    assert_eq!((info.tracks.len(), info.attributes.len()), (0, 1));
    assert_eq!(call(Call::RemoveParticipant { identity: identity() }), Ok(Reply::Done));
    assert_eq!(call(Call::DeleteRoom), Ok(Reply::Done));
    assert_eq!(call(Call::Info), Err(CallError::RoomNotFound));
    assert!(world.over);
    let unpublished =
        kinds(&world.take(&alice)).iter().filter(|k| **k == "track_unpublished").count();
    assert_eq!(unpublished, 2);
    assert_eq!(kinds(&world.take(&bob)).last(), Some(&"leave"));
}

#[test]
fn what_was_announced_while_it_was_allowed_is_not_published_when_it_is_no_longer() {
    for single in [false, true] {
        let mut world = World::new();
        let bob = world.join_dual("bob");
        bob.connect(&mut world);
        let (alice, cid, sdp) = if single {
            (world.join_single("alice"), SINGLE_MIC, SINGLE_BOTH)
        } else {
            (world.join_dual("alice"), MIC, DUAL_BOTH)
        };
        alice.connect(&mut world);
        alice.send(&mut world, Request::AddTrack(microphone(cid)));
        // One more waits for the place of the first.
        alice.send(&mut world, Request::AddTrack(microphone(cid)));
        let listen_only =
            proto::ParticipantPermission { can_subscribe: true, ..Default::default() };
        let update = Call::UpdateParticipant {
            identity: "alice".to_owned(),
            metadata: String::new(),
            name: String::new(),
            attributes: Default::default(),
            permission: Some(Box::new(listen_only)),
        };
        world.room.handle_call(world.now, update).unwrap();
        world.drain();
        assert!(kinds(&world.take(&alice)).contains(&"track_unpublished"), "single {single}");
        world.take(&bob);
        alice.offer(&mut world, sdp, 2);
        let seen = updates(&world.take(&bob));
        assert!(seen.iter().all(|p| p.tracks.is_empty()), "single {single}: {seen:?}");
    }
}

#[test]
fn a_crowd_that_joins_is_told_of_each_other_in_few_messages() {
    let mut world = World::new();
    let crowd: Vec<Client> = (0..100).map(|n| world.join_dual(&format!("p{n}"))).collect();
    world.pass(Duration::from_millis(200));
    let mut messages = 0;
    for client in &crowd {
        let taken = world.take(client);
        let mut known: Vec<String> = updates(&taken).into_iter().map(|p| p.identity).collect();
        for message in &taken {
            match message {
                Message::Join(join) => {
                    known.extend(join.other_participants.iter().map(|p| p.identity.clone()));
                }
                Message::Update(_) => messages += 1,
                _ => {}
            }
        }
        known.sort();
        known.dedup();
        assert!(known.len() >= 99, "{} of the other 99", known.len());
    }
    assert!(messages < 1_000, "{messages} messages where one each would have made 4,950");

    world.pass(Duration::from_millis(300));
    let late = world.join_dual("late");
    let told = updates(&world.take(&crowd[0]));
    assert_eq!(told.last().map(|p| p.identity.as_str()), Some("late"), "at once in a calm room");
    assert!(!world.take(&late).is_empty());
}

#[test]
fn a_successor_that_goes_before_it_is_shown_takes_its_predecessor_with_it() {
    let mut world = World::new();
    let crowd: Vec<Client> = (0..100).map(|n| world.join_dual(&format!("p{n}"))).collect();
    world.pass(Duration::from_secs(1));
    let watcher = &crowd[50];
    world.take(watcher);
    // Enough joins for updates to wait.
    let more: Vec<Client> = (100..110).map(|n| world.join_dual(&format!("p{n}"))).collect();
    let successor = world.join_dual("p0");
    successor.send(&mut world, Request::Leave(proto::LeaveRequest::default()));
    world.pass(Duration::from_secs(1));
    let told = updates(&world.take(watcher));
    let last = told.iter().rfind(|p| p.identity == "p0").map(proto::ParticipantInfo::state);
    assert_eq!(last, Some(proto::participant_info::State::Disconnected));
    assert_eq!(more.len(), 10);
}

#[test]
fn when_a_room_ends_everybody_gets_a_leave_and_nothing_else() {
    let mut world = World::new();
    let crowd: Vec<Client> = (0..300).map(|n| world.join_dual(&format!("p{n}"))).collect();
    for client in &crowd {
        world.take(client);
    }
    world.stop();
    for client in &crowd {
        assert_eq!(kinds(&world.take(client)), ["leave"]);
    }
}

#[test]
fn a_server_that_stops_says_so() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    world.stop();
    let last = world.take(&alice).pop();
    let Some(Message::Leave(leave)) = last else { panic!("{last:?}") };
    assert_eq!(leave.reason(), proto::DisconnectReason::ServerShutdown);
    assert!(world.over);
}

#[test]
fn hostile_requests_cost_only_their_sender() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    let long = "x".repeat(100_000);
    let description =
        |sdp: &str| proto::SessionDescription { sdp: sdp.into(), ..Default::default() };
    let trickle =
        |json: &str| proto::TrickleRequest { candidate_init: json.into(), ..Default::default() };
    for request in [
        Request::Trickle(trickle("{")),
        Request::Trickle(trickle(&long)),
        Request::Trickle(trickle(r#"{"candidate":"candidate:"}"#)),
        Request::Answer(description(&long)),
        Request::Subscription(proto::UpdateSubscription {
            track_sids: (0..100_000).map(|n| n.to_string()).collect(),
            subscribe: true,
            ..Default::default()
        }),
        Request::AddTrack(proto::AddTrackRequest {
            cid: long.clone(),
            r#type: 77,
            ..Default::default()
        }),
        Request::PublishDataTrackRequest(Default::default()),
        Request::StoreDataBlobRequest(Default::default()),
        Request::Simulate(Default::default()),
        Request::SyncState(Default::default()),
    ] {
        alice.send(&mut world, request);
    }
    assert!(world.closed.is_empty());
    for _ in 0..200 {
        alice.send(&mut world, Request::AddTrack(microphone("same")));
    }
    alice.send(&mut world, Request::Offer(description("v=0 garbage")));
    assert!(world.closed.is_empty(), "what cannot be read changes nothing");
    alice.send(&mut world, Request::Offer(description("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\n")));
    assert_eq!(world.closed, [alice.session], "what leaves no transport starts over");
    for channel in [Channel::Reliable, Channel::DataTrack, Channel::Other] {
        let payload = Bytes::from(vec![0xff; 60_000]);
        world.event(Event::Data { peer: bob.primary, channel, payload });
    }
    assert!(world.signals.contains_key(&carol.session));
    assert!(!world.over);
}

fn three(world: &mut World) -> [Client; 3] {
    ["alice", "bob", "carol"].map(|identity| {
        let client = world.join_dual(identity);
        client.connect(world);
        client
    })
}

/// The packets that went out, by transport and channel.
fn sent(world: &mut World) -> Vec<(hearth_plane::PeerId, Channel, DataPacket)> {
    let packets = |(_, command)| match command {
        Command::SendData { peers, channel, payload } => {
            let packet = DataPacket::decode(payload).unwrap();
            peers.iter().map(|peer| (*peer, channel, packet.clone())).collect()
        }
        _ => Vec::new(),
    };
    world.take_commands().into_iter().flat_map(packets).collect()
}
