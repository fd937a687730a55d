//! What is read and written, as tables.

use prost::Message as _;
use serde_json::{Value, json};

use super::{JsonError, Style, decode, decode_first, encode};
use crate::proto;

fn room(text: &str) -> Result<proto::CreateRoomRequest, JsonError> {
    decode("livekit.CreateRoomRequest", text.as_bytes())
}

#[test]
fn integers_are_read_in_every_spelling_of_go() {
    let timeout = |value: &str| {
        room(&format!(r#"{{"emptyTimeout":{value}}}"#)).ok().map(|room| room.empty_timeout)
    };
    for (value, read) in [
        ("11", Some(11)),
        ("11.0", Some(11)),
        ("1e2", Some(100)),
        ("1.2e1", Some(12)),
        ("120e-1", Some(12)),
        ("-0", Some(0)),
        ("null", Some(0)),
        ("4294967295", Some(u32::MAX)),
        (r#""11""#, Some(11)),
        (r#""11.0""#, Some(11)),
        (r#""1.2e1""#, Some(12)),
        (r#""4294967295""#, Some(u32::MAX)),
        ("1.5", None),
        ("-1", None),
        ("4294967296", None),
        ("1e10", None),
        ("1e400", None),
        ("true", None),
        ("[1]", None),
        ("{}", None),
        (r#""1.5""#, None),
        (r#""-1""#, None),
        (r#""4294967296""#, None),
        (r#"" 11""#, None),
        (r#""11 ""#, None),
        (r#""+11""#, None),
        (r#""0x11""#, None),
        (r#""eleven""#, None),
        (r#""""#, None),
        (r#""NaN""#, None),
    ] {
        assert_eq!(timeout(value), read, "{value}");
    }
}

#[test]
fn long_integers_are_read_as_numbers_and_as_texts() {
    let ping = |value: &str| {
        let text = format!(r#"{{"pingReq":{{"timestamp":{value}}}}}"#);
        let request: proto::SignalRequest =
            decode("livekit.SignalRequest", text.as_bytes()).ok()?;
        let Some(proto::signal_request::Message::PingReq(ping)) = request.message else {
            return None;
        };
        Some(ping.timestamp)
    };
    for (value, read) in [
        ("1795489979164", Some(1_795_489_979_164)),
        (r#""1795489979164""#, Some(1_795_489_979_164)),
        (r#""-9223372036854775808""#, Some(i64::MIN)),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        (r#""9223372036854775808""#, None),
        ("1.5", None),
    ] {
        assert_eq!(ping(value), read, "{value}");
    }
}

#[test]
fn enums_are_read_by_name_and_by_number() {
    let kind = |value: &str| {
        let text = format!(r#"{{"room":"r","kind":{value}}}"#);
        decode::<proto::SendDataRequest>("livekit.SendDataRequest", text.as_bytes())
            .ok()
            .map(|request| request.kind)
    };
    for (value, read) in [
        (r#""LOSSY""#, Some(1)),
        ("1", Some(1)),
        ("1.0", Some(1)),
        ("10e-1", Some(1)),
        ("77", Some(77)),
        ("-1", Some(-1)),
        ("null", Some(0)),
        (r#""NOPE""#, Some(0)),
        (r#""lossy""#, Some(0)),
        (r#""1""#, Some(0)),
        ("1.5", None),
        ("4294967296", None),
        ("true", None),
        ("[]", None),
    ] {
        assert_eq!(kind(value), read, "{value}");
    }
    let update = br#"{"permission":{"canPublishSources":["NOPE","CAMERA",2,3.0]}}"#;
    let update: proto::UpdateParticipantRequest =
        decode("livekit.UpdateParticipantRequest", update).unwrap();
    assert_eq!(update.permission.unwrap().can_publish_sources, [1, 2, 3]);
}

#[test]
fn bytes_are_read_in_both_alphabets_with_and_without_padding() {
    let data = |value: &str| {
        let text = format!(r#"{{"data":"{value}"}}"#);
        decode::<proto::SendDataRequest>("livekit.SendDataRequest", text.as_bytes())
            .ok()
            .map(|request| request.data)
    };
    for (value, read) in [
        ("aGk=", Some(&b"hi"[..])),
        ("aGk", Some(b"hi")),
        ("+/+/", Some(&[0xfb, 0xff, 0xbf])),
        ("-_-_", Some(&[0xfb, 0xff, 0xbf])),
        ("-_8=", Some(&[0xfb, 0xff])),
        ("", Some(b"")),
        ("+_+_", None),
        ("%%%", None),
        ("a", None),
    ] {
        assert_eq!(data(value).as_deref(), read, "{value}");
    }
}

#[test]
fn objects_lists_and_maps_are_read_as_by_go() {
    for (text, good) in [
        (r#"{"name":"n","empty_timeout":1,"maxParticipants":2}"#, true),
        (r#"{"nope":{"a":[1,{"b":null}]},"name":"n"}"#, true),
        (r#"{"Name":"read over"}"#, true),
        (r#"{"agents":null,"metadata":null,"egress":null,"syncStreams":null,"tags":null}"#, true),
        (r#"{"agents":[{"agentName":null,"attributes":{"a":"b"}}]}"#, true),
        (r#"{"egress":{"room":{"roomName":"n","fileOutputs":[{"filepath":"f"}]}}}"#, true),
        (r#"{"syncStreams":true}"#, true),
        (r#"{"syncStreams":"true"}"#, false),
        (r#"{"syncStreams":1}"#, false),
        (r#"{"name":7}"#, false),
        (r#"{"name":["n"]}"#, false),
        (r#"{"agents":[null]}"#, false),
        (r#"{"agents":{}}"#, false),
        (r#"{"agents":[{"attributes":{"a":null}}]}"#, false),
        (r#"{"agents":[{"attributes":{"a":1}}]}"#, false),
        (r#"{"agents":[{"attributes":{"a":"b","a":"c"}}]}"#, false),
        (r#"{"name":"a","name":"b"}"#, false),
        (r#"{"empty_timeout":1,"emptyTimeout":2}"#, false),
        (r#"{"emptyTimeout":null,"empty_timeout":2}"#, false),
        (r#"{"name":"\ud83d"}"#, false),
        (r#"{"name""#, false),
        ("{'name':1}", false),
        (r#"{} x"#, false),
        ("", false),
        ("null", false),
        ("[]", false),
        (r#""x""#, false),
    ] {
        assert_eq!(room(text).is_ok(), good, "{text}");
    }
    for (text, good) in [("  {} x", true), ("{}{}", true), ("", false), ("x {}", false)] {
        let read =
            decode_first::<proto::CreateRoomRequest>("livekit.CreateRoomRequest", text.as_bytes());
        assert_eq!(read.is_ok(), good, "{text}");
    }
}

#[test]
fn one_of_several_may_be_set_once() {
    let request =
        |text: &str| decode::<proto::SignalRequest>("livekit.SignalRequest", text.as_bytes());
    let mute = r#"{"mute":{"sid":"TR_x","muted":true}}"#;
    let said = proto::MuteTrackRequest { sid: "TR_x".into(), muted: true };
    let said = proto::signal_request::Message::Mute(said);
    assert_eq!(request(mute).unwrap().message, Some(said));
    assert_eq!(request(r#"{"mute":null,"future":1}"#).unwrap().message, None);
    assert!(request(r#"{"mute":null,"ping":"1"}"#).is_ok());
    assert!(request(r#"{"mute":{},"ping":"1"}"#).is_err());
}

#[test]
fn times_and_durations_are_read_in_their_own_forms() {
    for (timeout, seconds) in [
        (r#""1.500s""#, Some((1, 500_000_000))),
        (r#""20s""#, Some((20, 0))),
        (r#""-1s""#, Some((-1, 0))),
        ("20", None),
        (r#""20""#, None),
    ] {
        let text = format!(r#"{{"ringingTimeout":{timeout}}}"#);
        let name = "livekit.CreateSIPParticipantRequest";
        let read = decode::<proto::CreateSipParticipantRequest>(name, text.as_bytes()).ok();
        let read = read.and_then(|request| request.ringing_timeout);
        assert_eq!(read.map(|d| (d.seconds, d.nanos)), seconds, "{timeout}");
    }
    let name = "livekit.MetricsBatch";
    for (time, good) in [
        (r#""2026-11-30T12:00:00Z""#, true),
        (r#""2026-11-30T12:00:00.123456789+02:00""#, true),
        (r#""yesterday""#, false),
        ("1795489979", false),
    ] {
        let text = format!(r#"{{"normalizedTimestamp":{time}}}"#);
        assert_eq!(decode::<proto::MetricsBatch>(name, text.as_bytes()).is_ok(), good, "{time}");
    }
}

#[test]
fn errors_say_which_field_takes_what() {
    for (text, said) in [
        (r#"{"emptyTimeout":1.5}"#, "empty_timeout to be an integer of 32 bits"),
        (r#"{"emptyTimeout":4294967296}"#, "4294967296 is out of the range of empty_timeout"),
        (r#"{"name":7}"#, "name to be a text"),
        (r#"{"name":"a","name":"b"}"#, "duplicate field \"name\""),
    ] {
        let error = room(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn the_server_api_writes_every_field_in_snake_case() {
    let room = proto::Room { name: "r".into(), empty_timeout: 300, ..Default::default() };
    let written = encode("livekit.Room", &room, Style::Full).unwrap();
    let expected = json!({
        "sid": "", "name": "r", "empty_timeout": 300, "departure_timeout": 0,
        "max_participants": 0, "creation_time": "0", "creation_time_ms": "0",
        "turn_password": "", "enabled_codecs": [], "metadata": "", "num_participants": 0,
        "num_publishers": 0, "active_recording": false, "version": null
    });
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
    assert!(written.starts_with(r#"{"sid":"","name":"r","empty_timeout":300,"#), "{written}");

    let mut participant = proto::ParticipantInfo {
        attributes: [("camelKey\"".to_owned(), "v".to_owned())].into(),
        permission: Some(proto::ParticipantPermission {
            can_publish_sources: vec![1, 2, 99],
            ..Default::default()
        }),
        // Packed numbers, and enums whose numbers have no name.
        kind: 1_234,
        ..Default::default()
    };
    participant.tracks.push(proto::TrackInfo { muted: true, ..Default::default() });
    let written = encode("livekit.ParticipantInfo", &participant, Style::Full).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["attributes"], json!({"camelKey\"": "v"}));
    assert_eq!(written["permission"]["can_publish_sources"], json!(["CAMERA", "MICROPHONE", 99]));
    assert_eq!(written["tracks"][0]["disable_dtx"], json!(false));
    assert_eq!((&written["state"], &written["kind"]), (&json!("JOINING"), &json!(1_234)));
}

#[test]
fn signalling_writes_what_is_set_in_camel_case() {
    let update = proto::ParticipantUpdate {
        participants: vec![proto::ParticipantInfo {
            sid: "PA_x".into(),
            joined_at: 7,
            ..Default::default()
        }],
    };
    let message = Some(proto::signal_response::Message::Update(update));
    let response = proto::SignalResponse { message };
    let written = encode("livekit.SignalResponse", &response, Style::Sparse).unwrap();
    assert_eq!(written, r#"{"update":{"participants":[{"sid":"PA_x","joinedAt":"7"}]}}"#);
    let pong = proto::SignalResponse { message: Some(proto::signal_response::Message::Pong(0)) };
    let written = encode("livekit.SignalResponse", &pong, Style::Sparse).unwrap();
    assert_eq!(written, r#"{"pong":"0"}"#);
}

#[test]
fn what_is_written_is_read_again() {
    let request = proto::CreateRoomRequest {
        name: "ä\"\\\n😀".into(),
        min_playout_delay: 5,
        sync_streams: true,
        agents: vec![proto::RoomAgentDispatch {
            agent_name: "a".into(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..Default::default()
        }],
        tags: [("k".to_owned(), String::new())].into(),
        ..Default::default()
    };
    let name = "livekit.CreateRoomRequest";
    for style in [Style::Sparse, Style::Full] {
        let written = encode(name, &request, style).unwrap();
        let read: proto::CreateRoomRequest = decode(name, written.as_bytes()).unwrap();
        assert_eq!(read, request, "{written}");
    }
    assert!(!request.encode_to_vec().is_empty());
}
