//! Requests that never end and requests that are too large.

use tokio::io::AsyncWriteExt as _;

use crate::client::Server;

#[tokio::test(start_paused = true)]
async fn half_a_request_is_ended_by_a_deadline() {
    let server = Server::start().await;
    for half in [
        &b""[..],
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        b"POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{",
        b"POST /rtc/validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\na",
    ] {
        let mut client = server.connect().await;
        client.stream.write_all(half).await.unwrap();
        let said = String::from_utf8_lossy(&client.rest().await).into_owned();
        let case = String::from_utf8_lossy(half);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{case:?}: {said:?}");
    }
}

#[tokio::test]
async fn too_large_requests_are_refused() {
    let server = Server::start().await;
    let path = "/twirp/livekit.RoomService/ListRooms";
    let announced = ["content-type: application/json", "content-length: 10485761"];
    let answer = server.ask("POST", path, &announced, b"").await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "request body too large"));

    for head in [
        format!("GET /?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1_100_000)),
        format!("GET / HTTP/1.1\r\nauthorization: {}\r\n\r\n", "x".repeat(1_100_000)),
    ] {
        let mut client = server.connect().await;
        let _ = client.stream.write_all(head.as_bytes()).await;
        assert!(client.rest().await.is_empty());
    }
    // Only the first head of a connection may be so long.
    let long = format!("GET / HTTP/1.1\r\nx-long: {}\r\n\r\n", "x".repeat(200_000));
    let mut client = server.connect().await;
    client.stream.write_all(long.as_bytes()).await.unwrap();
    assert_eq!(client.answer().await.status, 200);
    // The server may answer and close before it has read all of it.
    let _ = client.stream.write_all(long.as_bytes()).await;
    let said = client.rest().await;
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&said)
    );

    for garbage in [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"] {
        let mut client = server.connect().await;
        client.stream.write_all(garbage).await.unwrap();
        let said = client.rest().await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{garbage:?}");
    }
}
