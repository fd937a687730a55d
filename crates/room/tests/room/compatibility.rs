//! Clients of older protocols and SDKs, configured codecs, descriptions that cannot be read.

use std::time::Duration;

use bytes::Bytes;
use hearth_codec::Codec;
use hearth_plane::{Channel, Command, Event, PeerId};
use hearth_room::Call;
use hearth_signal::JoinParams;
use hearth_signal::proto::{
    self, ClientInfo, client_info::Sdk, request_response::Reason,
    signal_request::Message as Request, signal_response::Message,
};

use prost::Message as _;

use crate::common::{
    CAMERA, Client, DUAL_BOTH, DUAL_DATA, World, claims, dual, kinds, microphone, simulcast_camera,
};

#[test]
fn up_to_protocol_2_the_publisher_connection_is_the_primary_one() {
    for protocol in [0, 1, 2, 3, 17] {
        let mut world = World::new();
        let alice = world.join_dual("alice");
        alice.connect(&mut world);
        let (bob, join) = join_as(&mut world, "bob", old(protocol));
        assert_eq!(join.subscriber_primary, protocol > 2, "{protocol}");
        let offered = has(&world, &bob, |m| matches!(m, Message::Offer(_)));
        assert_eq!(offered, protocol > 2, "{protocol}");
        if protocol > 2 {
            continue;
        }
        // Its own offer makes the transport that makes it active, and that carries data both ways.
        world.take_commands();
        bob.offer(&mut world, DUAL_DATA, 1);
        let [(peer, opens)] = transports(&world)[..] else { panic!("one transport") };
        assert!(!opens, "the client opens its channels");
        world.event(Event::PeerConnected { peer });
        world.take(&bob);
        assert!(!has(&world, &bob, |m| matches!(m, Message::Offer(_))));

        // The first track comes with the first offer, which has no section for data.
        world.take_commands();
        alice.publish(&mut world, 1);
        let offer = world.signals[&bob.session].iter().find_map(|message| match message {
            Message::Offer(offer) => Some(offer.clone()),
            _ => None,
        });
        let offer = offer.expect("there are tracks");
        assert!(!offer.sdp.contains("m=application"), "{}", offer.sdp);
        assert_eq!(offer.mid_to_track_id.len(), 2);
        let stream = if protocol == 0 { "" } else { "|TR_" };
        assert!(offer.sdp.contains(&format!("a=msid:{}{stream}", alice.sid)), "{}", offer.sdp);
        let of_bob = transports(&world).into_iter().find(|(other, _)| *other != peer);
        assert!(of_bob.is_some_and(|(_, opens)| !opens));
        bob.answer(&mut world);
        assert_eq!(world.down_tracks().len(), 2);
    }
}

#[test]
fn up_to_protocol_7_tracks_wait_until_the_client_is_active() {
    for (protocol, fast) in [(7, false), (8, true)] {
        let mut world = World::new();
        let alice = world.join_dual("alice");
        alice.connect(&mut world);
        alice.publish(&mut world, 1);
        let (bob, _) = join_as(&mut world, "bob", old(protocol));
        let offered = |world: &World| {
            has(world, &bob, |m| matches!(m, Message::Offer(o) if o.sdp.contains("m=video")))
        };
        assert_eq!(offered(&world), fast, "{protocol}");
        bob.connect(&mut world);
        world.pass(Duration::from_secs(1));
        assert!(offered(&world), "{protocol}");
    }
}

#[test]
fn up_to_protocol_6_a_track_that_may_not_stay_is_muted() {
    for (protocol, kind) in [(6, "mute"), (7, "track_unpublished")] {
        let mut world = World::new();
        let (alice, _) = join_as(&mut world, "alice", old(protocol));
        alice.connect(&mut world);
        alice.publish(&mut world, 1);
        world.take(&alice);
        let update = Call::UpdateParticipant {
            identity: "alice".into(),
            name: String::new(),
            metadata: String::new(),
            attributes: Default::default(),
            permission: Some(Box::new(proto::ParticipantPermission {
                can_subscribe: true,
                ..Default::default()
            })),
        };
        world.room.handle_call(world.now, update).unwrap();
        world.drain();
        assert!(kinds(&world.take(&alice)).contains(&kind), "{protocol}");
    }
}

#[test]
fn old_sdks_are_not_sent_what_breaks_them() {
    for (version, expect) in [("1.6.2", false), ("1.6.3", true)] {
        let mut world = World::new();
        let info = ClientInfo { version: version.into(), ..old(9) };
        let (alice, _) = join_as(&mut world, "alice", info.clone());
        alice.connect(&mut world);
        let request = JoinParams {
            reconnect: true,
            participant_sid: alice.sid.clone(),
            client: info,
            ..dual()
        };
        let session = world.try_join(claims("alice"), request, 0).unwrap();
        let got = kinds(&world.signals[&session]);
        assert_eq!(got.contains(&"reconnect"), expect, "{version} {got:?}");
        assert!(got.contains(&"update") && got.contains(&"offer"), "{version} {got:?}");
    }
    for (protocol, expect) in [(9, false), (10, true)] {
        let mut world = World::new();
        let info = ClientInfo { sdk: Sdk::Rust.into(), ..old(protocol) };
        let (alice, _) = join_as(&mut world, "alice", info);
        alice.connect(&mut world);
        alice.publish(&mut world, 1);
        let bob = world.join_dual("bob");
        bob.connect(&mut world);
        let data = proto::AddTrackRequest { r#type: 2, ..microphone("d") };
        alice.send(&mut world, Request::AddTrack(data));
        let got = kinds(&world.take(&alice));
        assert_eq!(got.contains(&"track_subscribed"), expect, "{protocol}");
        assert_eq!(got.contains(&"response"), expect, "{protocol}");
    }
}

#[test]
fn ice_lite_is_for_protocols_above_5() {
    for (protocol, lite) in [(5, false), (6, true)] {
        let mut world = World::new();
        let (bob, _) = join_as(&mut world, "bob", old(protocol));
        let said =
            has(&world, &bob, |m| matches!(m, Message::Offer(o) if o.sdp.contains("a=ice-lite")));
        assert_eq!(said, lite, "{protocol}");
    }
}

#[test]
fn codecs_that_are_not_enabled_are_neither_told_nor_published() {
    let mut world =
        World::with(|config| config.enabled_codecs = vec![Codec::Opus, Codec::Vp9, Codec::H264]);
    let alice = world.join_dual("alice");
    let Some(Message::Join(join)) = world.signals[&alice.session].first() else {
        panic!("no join")
    };
    let told: Vec<_> = join.enabled_publish_codecs.iter().map(|c| c.mime.as_str()).collect();
    assert_eq!(told, ["video/H264", "video/VP9", "audio/opus"]);
    alice.connect(&mut world);
    world.take(&alice);
    let codec = |name: &str| proto::SimulcastCodec {
        codec: name.into(),
        cid: CAMERA.into(),
        ..Default::default()
    };
    let camera = proto::AddTrackRequest {
        simulcast_codecs: vec![codec("vp8"), codec("vp9")],
        ..simulcast_camera(CAMERA)
    };
    alice.send(&mut world, Request::AddTrack(camera));
    alice.offer(&mut world, DUAL_BOTH, 1);
    let messages = world.take(&alice);
    let mimes = messages.iter().find_map(|message| match message {
        Message::TrackPublished(published) => {
            let codecs = &published.track.as_ref()?.codecs;
            Some(codecs.iter().map(|c| c.mime_type.clone()).collect::<Vec<_>>())
        }
        _ => None,
    });
    assert_eq!(mimes.unwrap(), ["video/H264", "video/VP9"]);
    let answer = messages.iter().find_map(|message| match message {
        Message::Answer(answer) => Some(answer.sdp.clone()),
        _ => None,
    });
    let answer = answer.unwrap();
    assert!(answer.contains("H264/90000") && !answer.contains("VP8/90000"), "{answer}");
    assert!(answer.contains("opus/48000") && !answer.contains("PCMU/8000"), "{answer}");
    let specs = world.commands.iter().filter_map(|(_, command)| match command {
        Command::SetUpTrack { spec, .. } => Some(spec.codecs.clone()),
        _ => None,
    });
    let codecs: Vec<Codec> = specs.flatten().map(|codec| codec.codec).collect();
    assert_eq!(codecs.first(), Some(&Codec::H264));
    assert!(codecs.iter().all(|codec| [Codec::H264, Codec::Vp9].contains(codec)), "{codecs:?}");
}

#[test]
fn codecs_that_the_client_cannot_publish_are_not_told_to_it() {
    let told = |browser: &str, version: &str, os: &str| {
        let mut world = World::new();
        let info = ClientInfo {
            browser: browser.into(),
            browser_version: version.into(),
            os: os.into(),
            ..old(17)
        };
        let (_, join) = join_as(&mut world, "alice", info);
        join.enabled_publish_codecs
            .into_iter()
            .map(|codec| codec.mime)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let audio = "audio/PCMU audio/PCMA audio/opus audio/red";
    for (browser, version, os, video) in [
        ("Chrome", "131", "Linux", "video/VP8 video/H264 video/VP9 video/AV1 video/H265"),
        ("Firefox", "140", "Linux", "video/VP8 video/VP9 video/AV1 video/H265"),
        ("Safari", "18.0", "macOS", "video/VP8 video/H264 video/VP9 video/H265"),
        ("Safari", "18.4", "macOS", "video/VP8 video/H264 video/H265"),
    ] {
        assert_eq!(told(browser, version, os), format!("{video} {audio}"), "{browser} {version}");
    }
}

#[test]
fn what_is_refused_is_refused_with_its_reason() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    world.take(&alice);
    let response = |world: &mut World| match &world.take(&alice)[..] {
        [Message::RequestResponse(response)] => (response.reason(), response.message.clone()),
        other => panic!("{other:?}"),
    };
    alice.offer(&mut world, "v=1\r\n", 1);
    let (reason, message) = response(&mut world);
    assert_eq!(reason, Reason::UnclassifiedError);
    assert!(message.contains("does not begin with v=0"), "{message}");
    let backup = proto::AddTrackRequest { sid: "TR_unknown".into(), ..simulcast_camera("c") };
    alice.send(&mut world, Request::AddTrack(backup));
    assert_eq!(response(&mut world).0, Reason::NotFound);
    assert!(world.closed.is_empty());
}

#[test]
fn a_section_that_does_not_live_restarts_no_ice() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    alice.offer(&mut world, DUAL_DATA, 1);
    world.take(&alice);
    world.take_commands();
    let dead = "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:old\r\na=ice-ufrag:gone\r\n\
        a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=rtpmap:96 VP8/90000\r\n";
    let with_dead = DUAL_DATA.replace("m=application", &format!("{dead}m=application"));
    alice.offer(&mut world, &with_dead, 2);
    assert_eq!(kinds(&world.take(&alice)), ["answer"]);
    assert_eq!(world.take_commands(), []);

    // A restart is one; the candidates belong to the section that lives.
    alice.offer(&mut world, &with_dead.replace("eUbw", "newU"), 3);
    let restarts = |(_, command): &(_, Command)| matches!(command, Command::RestartIce { .. });
    assert!(world.take_commands().iter().any(restarts));
    let messages = world.take(&alice);
    let trickled = messages.iter().find_map(|message| match message {
        Message::Trickle(trickle) => Some(trickle.candidate_init.clone()),
        _ => None,
    });
    let trickled = trickled.unwrap();
    assert!(trickled.contains(r#""sdpMLineIndex":1,"sdpMid":"0""#), "{trickled}");
}

#[test]
fn an_offer_in_which_nothing_lives_ends_the_tracks_only() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    alice.connect(&mut world);
    alice.publish(&mut world, 1);
    world.take(&alice);
    world.take_commands();
    let ended: Vec<String> = DUAL_BOTH.lines().map(stopped).collect();
    alice.offer(&mut world, &ended.concat(), 2);
    assert!(kinds(&world.take(&alice)).contains(&"answer"));
    let commands = world.take_commands();
    let ends = |(_, command): &&(_, Command)| matches!(command, Command::RemoveUpTrack { .. });
    assert_eq!(commands.iter().filter(ends).count(), 2);
    let changes = |(_, command): &(_, Command)| {
        matches!(command, Command::SetRemote { .. } | Command::RestartIce { .. })
    };
    assert!(!commands.iter().any(changes) && world.closed.is_empty());
}

#[test]
fn messages_on_channels_of_other_names_arrive_as_user_packets() {
    let mut world = World::new();
    let [alice, bob] = ["alice", "bob"].map(|identity| {
        let client = world.join_dual(identity);
        client.connect(&mut world);
        client
    });
    world.take_commands();
    let payload = Bytes::from_static(b"anything");
    world.event(Event::Data { peer: alice.primary, channel: Channel::Other, payload });
    let sent = world.take_commands().into_iter().find_map(|(_, command)| match command {
        Command::SendData { peers, channel, payload } => Some((peers, channel, payload)),
        _ => None,
    });
    let (peers, channel, payload) = sent.unwrap();
    assert_eq!((&*peers, channel), (&[bob.primary][..], Channel::Reliable));
    let packet = proto::DataPacket::decode(payload).unwrap();
    let Some(proto::data_packet::Value::User(user)) = packet.value else { panic!("{packet:?}") };
    assert_eq!((user.payload.as_slice(), packet.participant_sid), (&b"anything"[..], alice.sid));
}

/// A line of a description whose sections are all rejected.
fn stopped(line: &str) -> String {
    let mut fields = line.splitn(3, ' ');
    match (fields.next(), fields.next(), fields.next()) {
        (Some(kind), Some(_), Some(rest)) if kind.starts_with("m=") => {
            format!("{kind} 0 {rest}\r\n")
        }
        _ => format!("{line}\r\n"),
    }
}

fn old(protocol: i32) -> ClientInfo {
    ClientInfo { sdk: Sdk::Js.into(), protocol, ..ClientInfo::default() }
}

/// Joins with two connections; the transport that was made last is the primary one.
fn join_as(world: &mut World, identity: &str, client: ClientInfo) -> (Client, proto::JoinResponse) {
    let request = JoinParams { client, ..dual() };
    let session = world.try_join(claims(identity), request, 0).unwrap();
    let Some(Message::Join(join)) = world.signals[&session].first().cloned() else {
        panic!("the first message is not a join")
    };
    let sid = join.participant.as_ref().unwrap().sid.clone();
    let primary = transports(world).last().map_or(NOBODY, |(peer, _)| *peer);
    (Client { session, sid, single: false, primary }, join)
}

const NOBODY: PeerId = PeerId { room: hearth_plane::RoomId(0), n: 0 };

/// The transports that were made, and whether we open channels on them.
fn transports(world: &World) -> Vec<(PeerId, bool)> {
    let made = |(_, command): &(_, Command)| match command {
        Command::AddPeer { peer, spec } => Some((*peer, spec.open_channels)),
        _ => None,
    };
    world.commands.iter().filter_map(made).collect()
}

fn has(world: &World, client: &Client, is: impl Fn(&Message) -> bool) -> bool {
    world.signals.get(&client.session).is_some_and(|messages| messages.iter().any(is))
}
