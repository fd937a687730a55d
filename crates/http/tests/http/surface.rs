//! Paths, CORS and the page.

use hearth_access::VideoGrant;

use crate::client::{Server, bearer, token};

#[tokio::test]
async fn paths_answer_as_at_the_reference() {
    let server = Server::start().await;
    let header = bearer(&token("a", VideoGrant::join("r")));
    for (method, path, headers, status, body) in [
        ("GET", "/", &[][..], 200, "OK"),
        ("GET", "//", &[], 200, "OK"),
        ("PUT", "/", &[], 200, "OK"),
        ("OPTIONS", "/", &["origin: http://a"], 200, "OK"),
        ("GET", "/nope", &[], 404, "404 page not found\n"),
        ("GET", "/metrics", &[], 404, "404 page not found\n"),
        ("GET", "/settings/regions", &[], 404, "404 page not found\n"),
        ("GET", "/rtc/v2", &[], 404, "404 page not found\n"),
        ("POST", "/nope", &[], 404, "404 page not found\n"),
        ("GET", "/assets/../Cargo.toml", &[], 404, "404 page not found\n"),
        ("GET", "/rtc", &[&header], 404, ""),
        ("GET", "/rtc", &[], 404, ""),
        ("POST", "/rtc/v1", &[&header], 404, ""),
        ("GET", "/rtc", &["authorization: Bearer x"], 401, "invalid authorization token"),
        ("GET", "/", &["authorization: Bearer x"], 401, "invalid authorization token"),
        ("GET", "/?access_token=x", &[], 401, "invalid authorization token"),
    ] {
        let answer = server.ask(method, path, headers, b"").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{method} {path}");
        assert!(answer.head.to_ascii_lowercase().contains("vary: origin"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_and_a_health_check_gets_ok() {
    let server = Server::start().await;
    let page = server.get("/", &["accept: text/html,application/xhtml+xml,*/*;q=0.8"]).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    for accept in ["accept: */*", "accept: application/json"] {
        assert_eq!(server.get("/", &[accept]).await.body, "OK");
    }
    let head = server.ask("HEAD", "/", &["connection: close"], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("2")));
}

#[tokio::test]
async fn preflights_repeat_what_was_asked() {
    let server = Server::start().await;
    let asked = ["origin: http://a", "access-control-request-headers: authorization,content-type"];
    for (method, path, allowed) in [
        ("POST", "/twirp/livekit.RoomService/ListRooms", true),
        ("GET", "/rtc/validate", true),
        ("PATCH", "/nope", true),
        ("PUT", "/", false),
    ] {
        let asks = format!("access-control-request-method: {method}");
        let answer = server.ask("OPTIONS", path, &[asked[0], asked[1], &asks], b"").await;
        assert_eq!(answer.status, 204);
        let expected = allowed.then_some("http://a");
        assert_eq!(answer.header("access-control-allow-origin"), expected, "{method}");
        assert_eq!(answer.header("access-control-allow-methods"), allowed.then_some(method));
        let headers = allowed.then_some("authorization,content-type");
        assert_eq!(answer.header("access-control-allow-headers"), headers);
        assert_eq!(answer.header("access-control-max-age"), allowed.then_some("86400"));
    }
    let plain = server.get("/", &["origin: null"]).await;
    assert_eq!(plain.header("access-control-allow-origin"), Some("null"));
    assert_eq!(plain.header("access-control-expose-headers"), Some("*"));
}

#[tokio::test]
async fn debug_state_is_for_tokens_that_may_list_rooms() {
    let server = Server::start().await;
    let list = VideoGrant { room_list: true, ..VideoGrant::default() };
    let may = bearer(&token("", list));
    let may_not = bearer(&token("a", VideoGrant::join("r")));
    for headers in [vec![], vec![may_not.as_str()]] {
        let answer = server.get("/debug/state", &headers).await;
        assert_eq!(answer.status, 401);
        assert!(answer.body.contains("roomList"), "{}", answer.body);
    }
    assert_eq!(server.ask("POST", "/debug/state", &[&may], b"").await.status, 405);
    let answer = server.get("/debug/state", &[&may]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let state: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((state["participants"].as_u64(), state["shards"].as_u64()), (Some(0), Some(1)));
    assert!(state["memory"]["resident_bytes"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_participant_is_told_about_itself_only() {
    let server = Server::start().await;
    let list = bearer(&token("", VideoGrant { room_list: true, ..VideoGrant::default() }));
    for headers in [vec![], vec![list.as_str()]] {
        assert_eq!(server.get("/rtc/diagnosis", &headers).await.status, 401);
    }
    let own = bearer(&token("a", VideoGrant::join("r")));
    assert_eq!(server.ask("POST", "/rtc/diagnosis", &[&own], b"").await.status, 405);
    let answer = server.get("/rtc/diagnosis", &[&own]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"explanation\":null}\n"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn nothing_is_sent_for_whoever_has_no_key() {
    let server = Server::start().await;
    let body = br#"{"probes":[{"kind":"tcp","port":1}]}"#;
    let join = bearer(&token("a", VideoGrant::join("r")));
    for headers in [vec![], vec![join.as_str()]] {
        assert_eq!(server.ask("POST", "/debug/reach", &headers, body).await.status, 401);
    }
    let may = bearer(&token("", VideoGrant { room_list: true, ..VideoGrant::default() }));
    assert_eq!(server.get("/debug/reach", &[&may]).await.status, 405);
    let answer = server.ask("POST", "/debug/reach", &[&may], b"{}").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "there are no `probes`"));
    let answer = server.ask("POST", "/debug/reach", &[&may], body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("behind a proxy"), "{}", answer.body);
    let named = br#"{"address":"192.0.2.1","probes":[]}"#;
    let answer = server.ask("POST", "/debug/reach", &[&may], named).await;
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["source"], "127.0.0.1");
    assert_eq!(answer["results"], serde_json::json!([]));
}
