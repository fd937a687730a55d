//! A whole node: real threads, a real port on loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hearth_access::{AdmittedJoin, Claims, Limits, VideoGrant};
use hearth_random::Seed;
use hearth_room::{JoinError, RoomConfig};
use hearth_runtime::{Counts, Metric, Node, NodeConfig, Session, SessionOutput};
use hearth_signal::JoinParams;
use hearth_signal::proto::{
    DisconnectReason, JoinResponse, LeaveRequest, SignalRequest, signal_request, signal_response,
};
use hearth_testkit::{ErrorWatch, forged_check};
use tokio::time::{interval, timeout};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn who_joins_gets_a_join_response_first_and_leaves_nothing_behind() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let idle = node.counts();
    assert_eq!(
        (idle[Metric::Shards], idle[Metric::Tasks], idle[Metric::Rooms], idle[Metric::Sessions]),
        (2, 1, 0, 0)
    );

    let mut alice = node.join(admitted("alice"), JoinParams::default()).await.unwrap();
    let answer = first_response(&mut alice).await;
    assert_eq!(answer.room.unwrap().name, "den");
    assert_eq!(answer.participant.unwrap().identity, "alice");
    let counters = node.counts();
    assert_eq!(
        (counters[Metric::Rooms], counters[Metric::Sessions], counters[Metric::Tasks]),
        (1, 1, 2)
    );

    let leave = signal_request::Message::Leave(LeaveRequest::default());
    alice.send(SignalRequest { message: Some(leave) }).unwrap();
    drop(alice);
    settle(&node, |now| {
        now[Metric::Transports]
            + now[Metric::Rooms]
            + now[Metric::Sessions]
            + now[Metric::Participants]
            == 0
    })
    .await;
    assert_eq!(node.counts()[Metric::Tasks], 1);

    node.shutdown().await;
    settle(&node, |now| now[Metric::Tasks] + now[Metric::Shards] == 0).await;
    assert_eq!(node.counts()[Metric::Panics], 0);
}

#[tokio::test]
async fn a_dropped_session_and_a_given_up_join_leave_nothing_behind() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let mut bob = node.join(admitted("bob"), JoinParams::default()).await.unwrap();
    first_response(&mut bob).await;
    drop(bob);
    for _ in 0..50 {
        let join = node.join(admitted("carol"), JoinParams::default());
        // Too short to be sure of an answer, long enough to be sure of a request.
        drop(timeout(Duration::from_micros(50), join).await);
    }
    settle(&node, |now| {
        now[Metric::Rooms]
            + now[Metric::Sessions]
            + now[Metric::Participants]
            + now[Metric::Transports]
            == 0
    })
    .await;
    node.shutdown().await;
}

#[tokio::test]
async fn joins_while_the_room_ends_get_a_new_room() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    for n in 0..200 {
        let deleting = node.clone();
        let deleted = tokio::spawn(async move { deleting.delete_room("den").await });
        let mut session = node.join(admitted("dave"), JoinParams::default()).await.unwrap();
        let _ = deleted.await.unwrap();
        match timeout(PATIENCE, session.responses.recv()).await {
            Ok(Some(SessionOutput::Signal(_))) => {}
            other => panic!("attempt {n}: {other:?}"),
        }
    }
    node.shutdown().await;
    settle(&node, |now| now[Metric::Rooms] + now[Metric::Tasks] == 0).await;
}

#[tokio::test]
async fn a_node_that_stops_tells_clients_so() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let mut alice = node.join(admitted("alice"), JoinParams::default()).await.unwrap();
    first_response(&mut alice).await;
    node.shutdown().await;
    let mut reason = None;
    while let Some(SessionOutput::Signal(response)) = alice.responses.recv().await {
        if let Some(signal_response::Message::Leave(leave)) = response.message {
            reason = Some(leave.reason());
        }
    }
    assert_eq!(reason, Some(DisconnectReason::ServerShutdown));
}

#[tokio::test]
async fn a_room_that_does_not_exist_is_not_made_if_the_config_or_a_resume_says_so() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(NodeConfig { auto_create: false, ..config() }).await.unwrap();
    let refused = node.join(admitted("erin"), JoinParams::default()).await.unwrap_err();
    assert_eq!(refused, JoinError::RoomNotFound);
    assert_eq!(node.check_join(&admitted("erin")).await, Err(JoinError::RoomNotFound));
    node.create_room("den", None).await.unwrap();
    assert_eq!(node.list_rooms().await.len(), 1);
    node.join(admitted("erin"), JoinParams::default()).await.unwrap();
    node.shutdown().await;

    let node = Node::start(config()).await.unwrap();
    let resume = JoinParams { reconnect: true, ..JoinParams::default() };
    assert_eq!(node.join(admitted("erin"), resume).await.unwrap_err(), JoinError::RoomNotFound);
    assert_eq!(node.counts()[Metric::Rooms], 0);
}

#[tokio::test]
async fn a_datagram_of_a_stranger_is_counted_and_not_answered() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        stranger.send_to(&[0; 40], ("127.0.0.1", node.udp_ports()[0])).unwrap();
    }
    settle(&node, |now| now[Metric::DatagramsReceived] == 10 && now[Metric::BytesReceived] == 400)
        .await;
    assert_eq!(node.counts()[Metric::DatagramsSent], 0);
    drop(node);
}

#[tokio::test]
async fn a_second_node_cannot_share_the_port_of_the_first() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let taken = format!("127.0.0.1:{}", node.udp_ports()[0]).parse().unwrap();
    let second = Node::start(NodeConfig { udp_bind: vec![taken], ..config() }).await;
    assert!(second.is_err());
}

#[tokio::test]
async fn connections_that_say_nothing_are_bounded_and_the_oldest_gives_way() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let server = ("127.0.0.1", node.tcp_port().unwrap());
    let mut silent = Vec::new();
    silent.resize_with(200, || TcpStream::connect(server).unwrap());
    settle(&node, |now| now[Metric::TcpConnections] == 200).await;
    settle(&node, |now| now[Metric::DropTcpHalfOpen] == 200 - 128).await;
    for (n, mut stream) in silent.into_iter().enumerate() {
        let closed = n < 200 - 128;
        stream.set_nonblocking(!closed).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).is_ok_and(|read| read == 0), closed, "{n}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_begin_with_a_check_is_closed() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let check = forged_check("00nobody:x", [7; 20]);
    let short = [[0, 19].as_slice(), &[0; 19]].concat();
    let framed = [&[0, u8::try_from(check.len()).unwrap()], check.as_slice()].concat();
    for begins in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 2], &short, &framed] {
        let mut stream = TcpStream::connect(("127.0.0.1", node.tcp_port().unwrap())).unwrap();
        stream.write_all(begins).unwrap();
        let read = tokio::task::spawn_blocking(move || stream.read(&mut [0; 1]).unwrap_or(0));
        assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap(), 0);
    }
    settle(&node, |now| now[Metric::DropTcpFirst] == 3 && now[Metric::DropTcpUnknown] == 1).await;
}

#[tokio::test]
async fn a_port_of_tcp_that_is_taken_is_an_error_that_says_which() {
    let _errors = ErrorWatch::everywhere();
    let node = Node::start(config()).await.unwrap();
    let second = Node::start(NodeConfig { tcp_port: node.tcp_port(), ..config() }).await;
    let expected = format!("cannot bind TCP 127.0.0.1:{}: ", node.tcp_port().unwrap());
    assert!(second.unwrap_err().to_string().starts_with(&expected));
}

fn config() -> NodeConfig {
    NodeConfig {
        shards: 2,
        room_share: 1,
        udp_bind: vec!["127.0.0.1:0".parse().unwrap()],
        udp_ports: 1,
        tcp_port: Some(0),
        tcp_shared: false,
        force_tcp: false,
        advertised: Vec::new(),
        advertise_loopback: true,
        turn: None,
        auto_create: true,
        room: RoomConfig {
            empty_timeout: Duration::from_millis(100),
            departure_timeout: Duration::from_millis(100),
            keys: Arc::new([("key".to_owned(), "secret".to_owned())].into_iter().collect()),
            ..RoomConfig::default()
        },
        seed: Seed::fixed(1),
    }
}

fn admitted(identity: &str) -> AdmittedJoin {
    let video = VideoGrant { room_join: true, room: "den".to_owned(), ..VideoGrant::default() };
    let claims = Claims {
        api_key: "key".to_owned(),
        identity: identity.to_owned(),
        has_video: true,
        video,
        ..Claims::default()
    };
    AdmittedJoin::new(claims, &Limits::default()).unwrap()
}

async fn first_response(session: &mut Session) -> JoinResponse {
    match timeout(PATIENCE, session.responses.recv()).await.unwrap() {
        Some(SessionOutput::Signal(response)) => match response.message {
            Some(signal_response::Message::Join(join)) => join,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Waits until the counters are as they should be.
async fn settle(node: &Node, done: impl Fn(&Counts) -> bool) {
    let wait = async {
        let mut beat = interval(Duration::from_millis(2));
        while !done(&node.counts()) {
            beat.tick().await;
        }
    };
    if timeout(PATIENCE, wait).await.is_err() {
        panic!("did not settle: {:?}", node.counts());
    }
}
