//! The server API: routes, formats, grants and errors.

use hearth_access::VideoGrant;
use serde_json::{Value, json};

use crate::client::{Answer, Server, bearer, token};

const JSON: &str = "content-type: application/json";

async fn call(server: &Server, grant: VideoGrant, method: &str, body: &Value) -> (u16, Value) {
    let header = bearer(&token("", grant));
    let path = format!("/twirp/livekit.RoomService/{method}");
    let answer = server.ask("POST", &path, &[JSON, &header], body.to_string().as_bytes()).await;
    (answer.status, parsed(&answer))
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

fn admin(room: &str) -> VideoGrant {
    VideoGrant { room_admin: true, room: room.into(), ..VideoGrant::default() }
}

fn all() -> VideoGrant {
    VideoGrant { room_create: true, room_list: true, ..admin("r") }
}

#[tokio::test]
async fn without_the_grant_every_method_is_denied() {
    let server = Server::start().await;
    let denied = json!({"code": "unauthenticated", "msg": "permissions denied"});
    let create = VideoGrant { room_create: true, ..VideoGrant::default() };
    for (method, wrong) in [
        ("CreateRoom", admin("r")),
        ("ListRooms", create.clone()),
        ("DeleteRoom", admin("r")),
        ("ListParticipants", admin("other")),
        ("GetParticipant", admin("")),
        ("RemoveParticipant", create.clone()),
        ("MutePublishedTrack", create.clone()),
        ("UpdateParticipant", admin("other")),
        ("UpdateSubscriptions", admin("other")),
        ("SendData", admin("other")),
        ("UpdateRoomMetadata", admin("other")),
    ] {
        let body = json!({"room": "r", "identity": "a"});
        assert_eq!(call(&server, wrong, method, &body).await, (401, denied.clone()), "{method}");
        let path = format!("/twirp/livekit.RoomService/{method}");
        let tokenless = server.ask("POST", &path, &[JSON], body.to_string().as_bytes()).await;
        assert_eq!((tokenless.status, parsed(&tokenless)), (401, denied.clone()), "{method}");
    }
}

#[tokio::test]
async fn what_is_absent_is_said_as_at_the_reference() {
    let server = Server::start().await;
    let error =
        |code: &str, msg: &str| json!({"code": code, "msg": format!("twirp error unknown: {msg}")});
    let no_room = || error("not_found", "requested room does not exist");
    let nobody = || error("not_found", "participant does not exist");
    let silence = || error("unavailable", "no response from servers");
    for (method, status, said) in [
        ("DeleteRoom", 404, no_room()),
        ("UpdateRoomMetadata", 404, no_room()),
        ("GetParticipant", 404, nobody()),
        ("RemoveParticipant", 404, nobody()),
        ("UpdateParticipant", 404, nobody()),
        ("MutePublishedTrack", 503, silence()),
        ("UpdateSubscriptions", 503, silence()),
        ("SendData", 503, silence()),
        ("ListParticipants", 200, json!({"participants": []})),
        ("ListRooms", 200, json!({"rooms": []})),
    ] {
        let body = json!({"room": "r", "identity": "a"});
        assert_eq!(call(&server, all(), method, &body).await, (status, said), "{method}");
    }
}

#[tokio::test]
async fn limits_are_said_as_at_the_reference() {
    let server = Server::start().await;
    let too_large = |what: &str, limit: usize| {
        let argument = format!("{what} exceeds limits");
        json!({"code": "invalid_argument", "msg": format!("{argument} {limit}"), "meta": {"argument": argument}})
    };
    let metadata = "x".repeat(524_289);
    for (method, body, said) in [
        (
            "UpdateRoomMetadata",
            json!({"room": "r", "metadata": metadata}),
            too_large("metadata size", 524_288),
        ),
        (
            "UpdateParticipant",
            json!({"room": "r", "metadata": metadata}),
            too_large("metadata size", 524_288),
        ),
        (
            "UpdateParticipant",
            json!({"room": "r", "name": "x".repeat(257)}),
            too_large("name length", 256),
        ),
        (
            "UpdateParticipant",
            json!({"room": "r", "attributes": {"k": "x".repeat(65_536)}}),
            too_large("attribute size", 65_536),
        ),
        (
            "CreateRoom",
            json!({"name": "x".repeat(257)}),
            json!({"code": "invalid_argument", "msg": "twirp error unknown: room name length exceeds limits: max length 256"}),
        ),
        (
            "SendData",
            json!({"room": "r", "nonce": "MDEyMzQ1Njc="}),
            json!({"code": "invalid_argument", "msg": "nonce should be 16-bytes or not present, got: 8 bytes"}),
        ),
    ] {
        assert_eq!(call(&server, all(), method, &body).await, (400, said), "{method}");
    }
}

#[tokio::test]
async fn json_is_read_as_go_reads_it() {
    let server = Server::start().await;
    let header = bearer(&token("", all()));
    let ask = async |method: &str, body: &str| {
        let path = format!("/twirp/livekit.RoomService/{method}");
        server.ask("POST", &path, &[JSON, &header], body.as_bytes()).await
    };
    for (number, (body, timeout)) in [
        (r#""empty_timeout":11"#, 11),
        (r#""empty_timeout":"11""#, 11),
        (r#""emptyTimeout":11.0"#, 11),
        (r#""emptyTimeout":1e2"#, 100),
        (r#""emptyTimeout":"1.2e1""#, 12),
        (r#""emptyTimeout":null,"agents":null,"future":{"a":[null]}"#, 300),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask("CreateRoom", &format!(r#"{{"name":"r{number}",{body}}}"#)).await;
        assert_eq!((answer.status, &parsed(&answer)["empty_timeout"]), (200, &json!(timeout)));
    }
    for (method, body) in [
        ("CreateRoom", r#"{"empty_timeout":1.5}"#),
        ("CreateRoom", r#"{"empty_timeout":-1}"#),
        ("CreateRoom", r#"{"empty_timeout":4294967296}"#),
        ("CreateRoom", r#"{"empty_timeout":1,"emptyTimeout":1}"#),
        ("CreateRoom", r#"{"name":7}"#),
        ("ListRooms", r#"{"names":[null]}"#),
        ("SendData", r#"{"room":"r","data":"%%%"}"#),
        ("MutePublishedTrack", r#"{"room":"r","muted":"true"}"#),
        ("UpdateParticipant", r#"{"room":"r","attributes":{"a":null}}"#),
    ] {
        let answer = ask(method, body).await;
        let said = parsed(&answer);
        assert_eq!((answer.status, &said["code"]), (400, &json!("malformed")), "{method} {body}");
        assert_eq!(said["msg"], json!("the json request could not be decoded"));
        assert!(said["meta"]["cause"].is_string(), "{said}");
    }
    for kind in ["1.0", "1", r#""LOSSY""#, r#""NOPE""#] {
        let body = format!(r#"{{"room":"r","data":"aGk","kind":{kind}}}"#);
        assert_eq!(ask("SendData", &body).await.status, 503, "{kind}");
    }
}

#[tokio::test]
async fn unsupported_room_options_are_reported_and_not_dropped() {
    let server = Server::start().await;
    for (body, status, code, msg, cause) in [
        (
            json!({"name": "r", "egress": {"room": {"roomName": "r"}}}),
            500,
            "internal",
            "egress not connected (redis required)",
            "leave egress out",
        ),
        (
            json!({"name": "r", "roomPreset": "nope"}),
            400,
            "invalid_argument",
            "unknown room configuration in create room request",
            "leave room_preset out",
        ),
    ] {
        let (got, said) = call(&server, all(), "CreateRoom", &body).await;
        assert_eq!((got, &said["code"]), (status, &json!(code)), "{said}");
        assert_eq!(said["msg"], json!(format!("twirp error unknown: {msg}")));
        assert!(said["meta"]["cause"].as_str().unwrap().contains(cause), "{said}");
    }
    assert_eq!(call(&server, all(), "ListRooms", &json!({})).await.1, json!({"rooms": []}));
    let left_out = json!({"name": "r", "agents": [{"agentName": "a"}], "syncStreams": true,
        "minPlayoutDelay": 5, "maxPlayoutDelay": 9});
    assert_eq!(call(&server, all(), "CreateRoom", &left_out).await.0, 200);
}

#[tokio::test]
async fn rooms_are_made_once_listed_and_deleted() {
    let server = Server::start().await;
    let (status, made) =
        call(&server, all(), "CreateRoom", &json!({"name": "r", "emptyTimeout": 77})).await;
    assert_eq!((status, &made["name"], &made["empty_timeout"]), (200, &json!("r"), &json!(77)));
    assert_eq!((&made["num_participants"], &made["version"]), (&json!(0), &Value::Null));
    let (_, again) =
        call(&server, all(), "CreateRoom", &json!({"name": "r", "emptyTimeout": 5})).await;
    assert_eq!((&again["sid"], &again["empty_timeout"]), (&made["sid"], &json!(77)));
    let (_, listed) = call(&server, all(), "ListRooms", &json!({"names": ["r", "absent"]})).await;
    assert_eq!(listed["rooms"][0]["sid"], made["sid"]);
    assert_eq!(call(&server, all(), "DeleteRoom", &json!({"room": "r"})).await, (200, json!({})));
    assert_eq!(call(&server, all(), "ListRooms", &json!({})).await.1, json!({"rooms": []}));
}

#[tokio::test]
async fn protobuf_is_answered_by_protobuf_and_refused_by_json() {
    let server = Server::start().await;
    let header = bearer(&token("", all()));
    let headers = ["content-type: application/protobuf", &*header];
    let path = "/twirp/livekit.RoomService/CreateRoom";
    let made = server.ask("POST", path, &headers, b"\n\x02pb").await;
    assert_eq!((made.status, made.header("content-type")), (200, Some("application/protobuf")));
    assert!(made.body.contains("pb"));
    let garbage = server.ask("POST", path, &headers, &[0xff; 3]).await;
    let said = parsed(&garbage);
    assert_eq!((garbage.status, &said["code"]), (400, &json!("malformed")));
    assert_eq!(said["msg"], json!("the protobuf request could not be decoded"));
}

#[tokio::test]
async fn a_wrong_route_says_why() {
    let server = Server::start().await;
    let path = "/twirp/livekit.RoomService/Nope";
    let answer = server.ask("POST", path, &[JSON], b"{}").await;
    let meta = json!({"twirp_invalid_route": format!("POST {path}")});
    let msg = format!("no handler for path \"{path}\"");
    let said = json!({"code": "bad_route", "msg": msg, "meta": meta});
    assert_eq!((answer.status, parsed(&answer)), (404, said));
    let other = server.ask("POST", "/twirp/livekit.Nope/X", &[JSON], b"{}").await;
    assert_eq!((other.status, other.body.as_str()), (404, "404 page not found\n"));
    let bare = server.ask("POST", "/twirp/livekit.RoomService", &[JSON], b"{}").await;
    assert_eq!(bare.header("location"), Some("/twirp/livekit.RoomService/"));
}
