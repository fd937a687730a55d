//! Without TLS: each protocol gets to whom it belongs, or is closed with a reason.

use hearth_listener::Services;
use hearth_metrics::Metric;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ports::{Ports, Taken, rest};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
const FRAMED: &[u8] = b"\x00\x14\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
const ALL: Services =
    Services { http: true, https: false, ice_tcp: true, turn_tcp: true, turn_tls: false };
const HTTPS: Services =
    Services { http: false, https: true, ice_tcp: false, turn_tcp: false, turn_tls: false };

#[tokio::test]
async fn one_port_serves_three_protocols_however_their_bytes_come() {
    let mut ports = Ports::start(ALL).await;
    for piece in [1, 3, 7, 1_000] {
        for (bytes, expected) in [(BINDING, "turn"), (FRAMED, "ice-tcp")] {
            let mut client = ports.connect().await;
            for part in bytes.chunks(piece) {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            let taken = ports.next().await;
            assert_eq!(taken.name(), expected, "in pieces of {piece}");
            // Nothing was taken out of it, and it goes both ways.
            let (Taken::IceTcp(mut stream) | Taken::Turn(mut stream)) = taken else { panic!() };
            let mut got = vec![0; bytes.len()];
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(got, bytes);
            stream.write_all(b"back").await.unwrap();
            drop(stream);
            assert_eq!(rest(&mut client).await, "back");
        }
        let mut client = ports.connect().await;
        for part in GET.chunks(piece) {
            client.write_all(part).await.unwrap();
        }
        let said = rest(&mut client).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("OK"), "{said}");
    }
    ports.counted(Metric::ConnectionsOpening, 0).await;
}

#[tokio::test]
async fn what_a_port_is_not_for_is_closed_and_counted() {
    for (services, bytes, metric) in [
        (HTTPS, BINDING, Metric::DropConnectionUnserved),
        (HTTPS, FRAMED, Metric::DropConnectionUnserved),
        (ALL, &b"\x16\x03\x01\x00\x05\x01"[..], Metric::DropConnectionUnserved),
        (ALL, b"\x80garbage", Metric::DropConnectionUnknown),
        (ALL, b"\x00\x01\x00\x00nocookie", Metric::DropConnectionUnknown),
    ] {
        let ports = Ports::start(services).await;
        let mut client = ports.connect().await;
        client.write_all(bytes).await.unwrap();
        assert_eq!(rest(&mut client).await, "", "{bytes:?}");
        ports.counted(metric, 1).await;
        ports.counted(Metric::ConnectionsOpening, 0).await;
    }
}

#[tokio::test]
async fn plain_http_on_a_port_for_https_is_told_so() {
    let ports = Ports::start(HTTPS).await;
    let mut client = ports.connect().await;
    client.write_all(GET).await.unwrap();
    let said = rest(&mut client).await;
    assert!(
        said.starts_with("HTTP/1.1 400 ") && said.ends_with("use an https:// or wss:// address"),
        "{said}"
    );
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    ports.counted(Metric::DropConnectionUnserved, 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_it_said_anything_is_forgotten_at_once() {
    let ports = Ports::start(ALL).await;
    for (times, bytes) in [(1, &b""[..]), (2, b"\x00"), (3, &FRAMED[..9])] {
        let mut client = ports.connect().await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, "");
        ports.counted(Metric::DropConnectionSilent, times).await;
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_ended_by_a_deadline() {
    let ports = Ports::start(ALL).await;
    for (times, bytes) in [(1, &b""[..]), (2, &FRAMED[..9])] {
        let mut client = ports.connect().await;
        client.write_all(bytes).await.unwrap();
        assert_eq!(rest(&mut client).await, "");
        ports.counted(Metric::DropConnectionSilent, times).await;
    }
}

#[tokio::test]
async fn one_address_cannot_hold_the_port() {
    let ports = Ports::start(ALL).await;
    let mut silent = Vec::new();
    for _ in 0..128 {
        silent.push(ports.connect().await);
    }
    ports.counted(Metric::ConnectionsOpening, 128).await;
    let mut more = ports.connect().await;
    assert_eq!(rest(&mut more).await, "");
    ports.counted(Metric::DropConnectionAddress, 1).await;
    drop(silent);
    ports.counted(Metric::ConnectionsOpening, 0).await;
    let mut client = ports.connect().await;
    client.write_all(GET).await.unwrap();
    assert!(rest(&mut client).await.ends_with("OK"));
}

#[tokio::test]
async fn a_stop_ends_everything() {
    let mut ports = Ports::start(ALL).await;
    let mut silent = ports.connect().await;
    ports.counted(Metric::ConnectionsOpening, 1).await;
    ports.stop.take().unwrap().send(()).unwrap();
    (&mut ports.task).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    assert!(tokio::net::TcpStream::connect(ports.address).await.is_err());
}
