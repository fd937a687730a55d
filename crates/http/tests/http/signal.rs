//! Signal connections after the upgrade.

use std::time::Duration;

use hearth_access::VideoGrant;
use hearth_signal::frame::{decode_response, encode_request};
use hearth_signal::proto::{
    DisconnectReason, SignalRequest, leave_request, signal_request, signal_response,
};
use tokio::time::timeout;

use crate::client::{Client, Server, bearer, token, upgrade};

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;

async fn join(server: &Server, query: &str) -> Client {
    let header = bearer(&token("a", VideoGrant::join("r")));
    let mut client = server.connect().await;
    client.request("GET", &format!("/rtc{query}"), &upgrade(&header), b"").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 101, "{answer:?}");
    client
}

async fn message(client: &mut Client) -> Option<signal_response::Message> {
    let (first, payload) = client.frame().await?;
    assert_eq!(first, BINARY);
    decode_response(&payload).unwrap().message
}

fn request(message: signal_request::Message) -> Vec<u8> {
    encode_request(&SignalRequest { message: Some(message) })
}

#[tokio::test]
async fn the_first_message_is_the_answer_to_the_join() {
    let server = Server::start().await;
    let mut client = join(&server, "").await;
    assert!(matches!(message(&mut client).await, Some(signal_response::Message::Join(_))));
}

#[tokio::test]
async fn a_resume_of_an_unknown_session_is_told_to_reconnect() {
    let server = Server::start().await;
    let mut client = join(&server, "?reconnect=1&sid=PA_nobody").await;
    let Some(signal_response::Message::Leave(leave)) = message(&mut client).await else {
        panic!("a leave")
    };
    let mismatch = i32::from(DisconnectReason::StateMismatch);
    let reconnect = i32::from(leave_request::Action::Reconnect);
    assert_eq!((leave.reason, leave.action), (mismatch, reconnect));
    assert!(leave.can_reconnect, "all that old clients look at");
    assert_eq!(client.close_code().await, Some(1000));
}

#[tokio::test]
async fn answers_come_in_the_format_of_the_last_request() {
    let server = Server::start().await;
    let mut client = join(&server, "").await;
    message(&mut client).await.unwrap();
    client.send_frame(TEXT, br#"{"ping":"1"}"#).await;
    let pong = |payload: &[u8]| String::from_utf8_lossy(payload).contains("pong");
    loop {
        let (first, payload) = client.frame().await.expect("a pong in JSON");
        if first == TEXT && pong(&payload) {
            break;
        }
    }
    client.send_frame(BINARY, &request(signal_request::Message::Ping(1))).await;
    loop {
        let (first, payload) = client.frame().await.expect("a pong in protobuf");
        let message = (first == BINARY).then(|| decode_response(&payload).unwrap().message);
        if matches!(message, Some(Some(signal_response::Message::Pong(_)))) {
            break;
        }
    }
}

#[tokio::test]
async fn requests_in_json_are_read_as_go_reads_them() {
    let server = Server::start().await;
    let mut client = join(&server, "").await;
    message(&mut client).await.unwrap();
    for request in [
        r#"{"ping":"7"}"#,
        r#"{"ping":7.0}"#,
        r#"{"offer":null,"ping":7e0}"#,
        r#"{"future":{"a":[1]},"ping":7}"#,
    ] {
        client.send_frame(TEXT, request.as_bytes()).await;
        loop {
            let (first, payload) = client.frame().await.expect(request);
            assert_ne!(first, 0x88, "closed after {request}");
            if String::from_utf8_lossy(&payload).contains("pong") {
                break;
            }
        }
    }
    for request in [r#"{"ping":7.5}"#, r#"{"ping":7,"offer":{}}"#, r#"{"ping":7} x"#] {
        let mut client = join(&server, "").await;
        message(&mut client).await.unwrap();
        client.send_frame(TEXT, request.as_bytes()).await;
        assert_eq!(client.close_code().await, Some(1007), "{request}");
    }
}

#[tokio::test]
async fn a_malformed_message_closes_the_connection_with_a_code_that_lets_clients_resume() {
    let server = Server::start().await;
    let over_limit = vec![0; (2 << 20) + 1];
    for (case, first, payload, codes) in [
        ("garbage", BINARY, &[0xff; 40][..], &[1007][..]),
        ("no JSON", TEXT, b"[[[", &[1007]),
        ("no UTF-8", TEXT, &[0xff, 0xfe], &[1007]),
        ("reserved opcode", 0x83, b"x", &[1002]),
        ("continuation of nothing", 0x80, b"x", &[1002]),
        ("reserved bits", 0xf2, b"x", &[1002]),
        ("above 2 MiB", BINARY, &over_limit, &[1009]),
    ] {
        let mut client = join(&server, "").await;
        message(&mut client).await.unwrap();
        client.send_frame(first, payload).await;
        let code = timeout(Duration::from_secs(20), client.close_code()).await.expect(case);
        assert!(code.is_some_and(|code| codes.contains(&code)), "{case}: {code:?}");
    }
}

#[tokio::test]
async fn endless_fragments_end_at_the_limit() {
    let server = Server::start().await;
    let mut client = join(&server, "").await;
    message(&mut client).await.unwrap();
    let piece = vec![0; 64 << 10];
    client.send_frame(0x02, &piece).await;
    for _ in 0..40 {
        client.send_frame(0x00, &piece).await;
    }
    assert_eq!(timeout(Duration::from_secs(20), client.close_code()).await.unwrap(), Some(1009));
}

#[tokio::test]
async fn a_handshake_that_is_none_is_400() {
    let server = Server::start().await;
    let header = bearer(&token("a", VideoGrant::join("r")));
    for broken in ["sec-websocket-version: 8", "sec-websocket-version: 13"] {
        let headers = ["connection: Upgrade", "upgrade: websocket", broken, &*header];
        let answer = server.get("/rtc", &headers).await;
        assert_eq!((answer.status, answer.header("sec-websocket-version")), (400, Some("13")));
    }
}

#[tokio::test]
async fn a_stop_closes_connections_without_1000_unless_they_were_told_to_leave() {
    let mut server = Server::start().await;
    let mut client = join(&server, "").await;
    message(&mut client).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    let mut left = false;
    let code = loop {
        let (first, payload) = client.frame().await.expect("a close frame");
        if first == 0x88 {
            break u16::from_be_bytes([payload[0], payload[1]]);
        }
        let message = decode_response(&payload).ok().and_then(|response| response.message);
        left |= matches!(message, Some(signal_response::Message::Leave(_)));
    };
    assert_eq!(code, if left { 1000 } else { 1001 });
    drop(client);
    timeout(Duration::from_secs(10), &mut server.task).await.unwrap().unwrap();
}
