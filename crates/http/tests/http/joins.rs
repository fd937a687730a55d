//! Refused joins, with status and text; the same with and without a WebSocket.

use hearth_access::{Keys, TokenBuilder, VideoGrant};

use crate::client::{Server, bearer, token, token_at, upgrade};

const NO_ACCESS: &str = "no permissions to access the room";
const SIGNATURE: &str =
    "invalid authorization token: token signature is invalid: signature is invalid";
const EXPIRED: &str = "invalid authorization token: token has invalid claims: token is expired";
const EARLY: &str = "invalid authorization token: token has invalid claims: token is not valid yet";
const HEADER: &str = "invalid authorization header. Must start with Bearer ";
/// An empty `JoinRequest`, not compressed, with an unknown field so that it is not an empty string.
const JOIN_REQUEST: &str = "EgYKBAgBGBE=";

/// Recorded from livekit-server 1.13.5: case, `Authorization` header, status, text.
fn refusals() -> Vec<(&'static str, String, u16, &'static str)> {
    let join = || VideoGrant::join("r");
    let long = "x".repeat(257);
    let signed_by = |key: &str, secret: &str| {
        let builder = TokenBuilder::new().identity("a").video(join());
        let now = hearth_runtime::WallClock::unix_secs();
        bearer(&builder.sign(key, secret, now, std::time::Duration::from_secs(60)).unwrap())
    };
    let unsigned = |header: &str| {
        let signed = token("a", join());
        let mut parts = signed.split('.');
        parts.next();
        bearer(&format!("{header}.{}.{}", parts.next().unwrap(), parts.next().unwrap()))
    };
    vec![
        ("no token", String::new(), 401, NO_ACCESS),
        ("Basic", "authorization: Basic YTpi".into(), 401, HEADER),
        ("lower case", "authorization: bearer x".into(), 401, HEADER),
        ("Bearer without a token", "authorization: Bearer ".into(), 401, HEADER),
        ("no JWT", bearer("garbage"), 401, "invalid authorization token"),
        ("a.b.c", bearer("a.b.c"), 401, "invalid authorization token"),
        ("bad signature", signed_by("devkey", "other"), 401, SIGNATURE),
        ("unknown key", signed_by("nokey", "secret"), 401, "invalid API key"),
        (
            "alg none",
            unsigned("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"),
            401,
            "invalid authorization token: token signature is invalid: signing method none is invalid",
        ),
        (
            "alg HS384",
            unsigned("eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9"),
            401,
            "invalid authorization token: token signature is invalid: signing method HS384 is invalid",
        ),
        ("expired 70 s ago", bearer(&token_at("a", join(), -3_600, -70)), 401, EXPIRED),
        ("not valid for 70 s", bearer(&token_at("a", join(), 70, 3_600)), 401, EARLY),
        (
            "no roomJoin",
            bearer(&token("a", VideoGrant { room: "r".into(), ..VideoGrant::default() })),
            401,
            "permissions denied",
        ),
        ("no room", bearer(&token("a", VideoGrant::join(""))), 400, "no room name"),
        (
            "room of 257",
            bearer(&token("a", VideoGrant::join(&long))),
            400,
            "room name length exceeds limits: max length 256",
        ),
        ("no identity", bearer(&token("", join())), 400, "identity cannot be empty"),
        (
            "identity of 257",
            bearer(&token(&long, join())),
            400,
            "participant identity length exceeds limits: max length 256",
        ),
    ]
}

#[tokio::test]
async fn joins_are_refused_alike_on_all_four_paths() {
    let server = Server::start().await;
    for (case, header, status, text) in refusals() {
        let (v1, v1_validate) = (
            format!("/rtc/v1?join_request={JOIN_REQUEST}"),
            format!("/rtc/v1/validate?join_request={JOIN_REQUEST}"),
        );
        for (path, socket) in
            [("/rtc", true), (&*v1, true), ("/rtc/validate", false), (&*v1_validate, false)]
        {
            let mut headers = if socket { upgrade(&header) } else { vec![header.as_str()] };
            headers.retain(|header| !header.is_empty());
            headers.push("origin: http://example.test");
            let answer = server.get(path, &headers).await;
            assert_eq!((answer.status, answer.body.as_str()), (status, text), "{case} {path}");
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{case}");
            let origin = if socket { "http://example.test" } else { "*" };
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{case}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{case}");
        }
    }
}

/// Recorded from livekit-server 1.13.5: case, `join_request`, text.
const JOIN_REQUESTS: &[(&str, &str, &str)] = &[
    ("absent", "", "join_request is required"),
    ("empty", "join_request=", "join_request is required"),
    ("not base64", "join_request=%21%21", "cannot base64 decode wrapped join request"),
    ("standard alphabet", "join_request=%2B%2F%2B%2F", "cannot base64 decode wrapped join request"),
    ("random bytes", "join_request=_____w==", "cannot unmarshal wrapped join request"),
    (
        "gzip of nothing like it",
        "join_request=CAESA2FiYw==",
        "cannot read decompressed join request",
    ),
    ("not a JoinRequest", "join_request=EgP___8=", "cannot unmarshal join request"),
];

#[tokio::test]
async fn an_unreadable_join_request_is_400_with_its_reason() {
    let server = Server::start().await;
    let header = bearer(&token("a", VideoGrant::join("r")));
    for (case, query, text) in JOIN_REQUESTS {
        for (path, socket) in [("/rtc/v1", true), ("/rtc/v1/validate", false)] {
            let headers = if socket { upgrade(&header) } else { vec![header.as_str()] };
            let answer = server.get(&format!("{path}?{query}"), &headers).await;
            assert_eq!((answer.status, answer.body.as_str()), (400, *text), "{case} {path}");
        }
    }
}

#[tokio::test]
async fn own_attributes_need_their_grant() {
    let server = Server::start().await;
    let plain = bearer(&token("a", VideoGrant::join("r")));
    let may = VideoGrant { can_update_own_metadata: Some(true), ..VideoGrant::join("r") };
    let may = bearer(&token("a", may));
    let mute = VideoGrant { can_publish: Some(false), ..VideoGrant::join("r") };
    let mute = bearer(&token("a", mute));
    for (header, query, status, text) in [
        (&plain, "attributes=eyJrIjoidiJ9", 401, NO_ACCESS),
        (&may, "attributes=eyJrIjoidiJ9", 200, "success"),
        (&may, "attributes=%21%21", 400, "cannot decode attributes"),
        (&mute, "publish=x", 401, NO_ACCESS),
        (&plain, "room=other", 200, "success"),
        (&plain, "reconnect=1&sid=PA_x", 200, "success"),
    ] {
        let answer = server.get(&format!("/rtc/validate?{query}"), &[header]).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{query}");
    }
}

#[tokio::test]
async fn sizes_of_a_token_are_judged_before_the_upgrade() {
    let server = Server::start().await;
    let signed = |builder: TokenBuilder| {
        let now = hearth_runtime::WallClock::unix_secs();
        let valid_for = std::time::Duration::from_secs(60);
        builder.sign("devkey", "secret", now, valid_for).unwrap()
    };
    let fat = |metadata: usize, attribute: usize| {
        let attributes = [("a".to_owned(), "v".repeat(attribute))].into();
        let builder = TokenBuilder::new().identity("a").video(VideoGrant::join("r"));
        signed(builder.metadata("m".repeat(metadata)).attributes(attributes))
    };
    for (metadata, attribute, status, text) in [
        (524_288, 65_535, 101, ""),
        (524_289, 0, 500, "metadata has 524289 bytes and may have 524288"),
        (0, 65_536, 500, "attributes have 65537 bytes and may have 65536"),
    ] {
        let token = fat(metadata, attribute);
        let header = bearer(&token);
        let by_query = format!("access_token={token}");
        for (query, header) in [("", header.as_str()), (by_query.as_str(), "")] {
            let mut client = server.connect().await;
            client.request("GET", &format!("/rtc?{query}"), &upgrade(header), b"").await;
            let answer = client.answer().await;
            assert_eq!(answer.status, status);
            assert!(answer.body.contains(text), "{}", answer.body);
            assert_eq!(answer.body.starts_with("connection closed by media"), status == 500);
            let headers: Vec<&str> = [header].into_iter().filter(|h| !h.is_empty()).collect();
            let validated = server.get(&format!("/rtc/validate?{query}"), &headers).await;
            assert_eq!((validated.status, validated.body.as_str()), (200, "success"));
        }
    }
}

#[tokio::test]
async fn lengths_are_in_bytes() {
    let server = Server::start().await;
    for (identity, room, text) in [
        ("ä".repeat(128), "r".to_owned(), "success"),
        (
            "ä".repeat(129),
            "r".to_owned(),
            "participant identity length exceeds limits: max length 256",
        ),
        ("a".to_owned(), "ä".repeat(128), "success"),
        ("a".to_owned(), "ä".repeat(129), "room name length exceeds limits: max length 256"),
    ] {
        let header = bearer(&token(&identity, VideoGrant::join(room)));
        let answer = server.get("/rtc/validate", &[&header]).await;
        assert_eq!(answer.body, text);
        assert_eq!(answer.status, if text == "success" { 200 } else { 400 });
    }
}

#[tokio::test]
async fn a_good_token_is_good_wherever_it_stands() {
    let server = Server::start().await;
    let signed = token("a", VideoGrant::join("r"));
    assert!(Keys::new([("devkey".to_owned(), "secret".to_owned())]).verify(&signed, 0).is_err());
    for begins_and_expires in [(0, 3_600), (-60, -5), (5, 60)] {
        let (begins, expires) = begins_and_expires;
        let header = bearer(&token_at("a", VideoGrant::join("r"), begins, expires));
        let answer = server.get("/rtc/validate", &[&header]).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "success"),
            "{begins_and_expires:?}"
        );
    }
    let in_query = server.get(&format!("//rtc/validate?access_token={signed}"), &[]).await;
    assert_eq!((in_query.status, in_query.body.as_str()), (200, "success"));
    let both = server.get("/rtc/validate?access_token=garbage", &[&bearer(&signed)]).await;
    assert_eq!(both.status, 200, "the header wins");
    let form = format!("access_token={signed}");
    let headers = ["content-type: application/x-www-form-urlencoded"];
    let in_form = server.ask("POST", "/rtc/validate", &headers, form.as_bytes()).await;
    assert_eq!((in_form.status, in_form.body.as_str()), (200, "success"));
}
