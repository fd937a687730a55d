//! With TLS: what is inside gets to whom it belongs, and who does not get far holds little.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use hearth_listener::Services;
use hearth_metrics::Metric;
use hearth_tls::{Pair, Tls};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ports::{Ports, Taken, rest};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const ALLOCATE: &[u8] = b"\x00\x03\x00\x00\x21\x12\xa4\x42abcdefghijkl";
const FRAMED: &[u8] = b"\x00\x14\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
const ALL: Services =
    Services { http: true, https: true, ice_tcp: true, turn_tcp: true, turn_tls: true };

/// A server's certificates, and a client that trusts them.
fn certificates() -> (Tls, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let key = key.serialize_pem();
    let pair = Pair::from_pem((Path::new("c"), cert.as_bytes()), (Path::new("k"), key.as_bytes()));
    let tls = Tls::new();
    tls.set(tls.add_slot(), pair.unwrap());
    (tls, roots)
}

fn client(roots: &RootCertStore, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn connect(ports: &Ports, config: Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("a.example").unwrap();
    TlsConnector::from(config).connect(name, ports.connect().await).await.unwrap()
}

/// The first flight of a client.
fn client_hello(roots: &RootCertStore) -> Vec<u8> {
    let name = ServerName::try_from("a.example").unwrap();
    let mut connection = ClientConnection::new(client(roots, &["http/1.1"]), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn one_port_serves_what_is_inside_tls_beside_what_is_not() {
    let (tls, roots) = certificates();
    let mut ports = Ports::with_tls(ALL, Some(tls)).await;
    for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let mut stream = connect(&ports, client(&roots, alpn)).await;
        stream.write_all(GET).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("OK"), "{alpn:?}: {said}");
    }
    for alpn in [&["stun.turn"][..], &[]] {
        let mut stream = connect(&ports, client(&roots, alpn)).await;
        stream.write_all(ALLOCATE).await.unwrap();
        stream.flush().await.unwrap();
        let Taken::TurnTls(socket, mut tls) = ports.next().await else { panic!("{alpn:?}") };
        // What came with the handshake is inside already; the rest is on the socket.
        let mut got = Vec::new();
        let mut socket = socket.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        while got.len() < ALLOCATE.len() {
            let mut piece = [0; 64];
            match tls.reader().read(&mut piece) {
                Ok(count) => got.extend_from_slice(&piece[..count]),
                Err(_) => {
                    tls.read_tls(&mut socket).unwrap();
                    tls.process_new_packets().unwrap();
                }
            }
        }
        assert_eq!(got, ALLOCATE, "{alpn:?}");
        tls.writer().write_all(b"answer").unwrap();
        tls.write_tls(&mut socket).unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }
    for (bytes, name) in [(ALLOCATE, "turn"), (FRAMED, "ice-tcp")] {
        let mut stream = ports.connect().await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(ports.next().await.name(), name);
    }
    let mut stream = ports.connect().await;
    stream.write_all(GET).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("OK"));
    ports.counted(Metric::TlsHandshakes, 5).await;
    ports.counted(Metric::ConnectionsOpening, 0).await;
}

#[tokio::test]
async fn a_client_hello_in_single_bytes_is_as_good_as_any() {
    let (tls, roots) = certificates();
    let ports = Ports::with_tls(ALL, Some(tls)).await;
    let mut stream = ports.connect().await;
    for byte in client_hello(&roots) {
        stream.write_all(&[byte]).await.unwrap();
    }
    // The server's answer begins with a handshake record.
    let mut first = [0; 3];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [0x16, 3, 3]);
}

#[tokio::test]
async fn what_does_not_become_a_handshake_is_closed_and_counted() {
    let (tls, roots) = certificates();
    let hello = client_hello(&roots);
    // Records of one byte each, that claim to be the longest ClientHello there may be.
    let mut endless = Vec::new();
    for byte in [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat_n(7, 40_000)) {
        endless.extend_from_slice(&[0x16, 3, 1, 0, 1, byte]);
    }
    let mut damaged = hello.clone();
    damaged[5] ^= 0xff;
    for (what, bytes) in [
        ("an endless ClientHello", endless),
        ("a damaged one", damaged),
        ("garbage in a record", b"\x16\x03\x01\x00\x10 sixteen bytes ok".to_vec()),
        ("a record that is too long", b"\x16\x03\x01\xff\xff".repeat(20)),
    ] {
        let ports = Ports::with_tls(ALL, Some(tls.clone())).await;
        let mut stream = ports.connect().await;
        let (mut reading, mut writing) = stream.split();
        // The server may close before it has read all.
        let write = async { drop(writing.write_all(&bytes).await) };
        let mut answer = Vec::new();
        let read = async { drop(reading.read_to_end(&mut answer).await) };
        tokio::join!(write, read);
        assert!(answer.is_empty() || answer[0] == 0x15, "{what}: an alert or nothing");
        ports.counted(Metric::DropTlsFailed, 1).await;
        ports.counted(Metric::ConnectionsOpening, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_handshake_is_ended_by_a_deadline() {
    let (tls, roots) = certificates();
    let hello = client_hello(&roots);
    for length in [1, 5, 100, hello.len()] {
        let ports = Ports::with_tls(ALL, Some(tls.clone())).await;
        let mut stream = ports.connect().await;
        stream.write_all(&hello[..length]).await.unwrap();
        rest(&mut stream).await;
        ports.counted(Metric::DropTlsSlow, 1).await;
        ports.counted(Metric::ConnectionsOpening, 0).await;
    }
    // The same for who says nothing inside.
    let ports = Ports::with_tls(ALL, Some(tls.clone())).await;
    let mut stream = connect(&ports, client(&roots, &[])).await;
    assert_eq!(rest(&mut stream).await, "");
    ports.counted(Metric::DropTlsSlow, 1).await;
}

#[tokio::test]
async fn a_client_of_turn_that_names_http_too_is_served_where_http_is_not() {
    let (tls, roots) = certificates();
    let mut ports = Ports::with_tls(Services { https: false, ..ALL }, Some(tls)).await;
    let mut stream = connect(&ports, client(&roots, &["stun.turn", "http/1.1"])).await;
    stream.write_all(b"\x00\x03\x00\x00").await.unwrap();
    assert!(matches!(ports.next().await, Taken::TurnTls(..)));
}

#[tokio::test]
async fn what_is_inside_and_not_served_is_closed_and_counted() {
    let (tls, roots) = certificates();
    let https = Services { https: true, ..Services::default() };
    for (services, alpn, bytes, metric) in [
        (https, &["stun.turn"][..], &b""[..], Metric::DropConnectionUnserved),
        (ALL, &[], b"\x40\x00 channel data", Metric::DropConnectionUnknown),
        (Services { https: false, ..ALL }, &["http/1.1"], GET, Metric::DropConnectionUnserved),
    ] {
        let ports = Ports::with_tls(services, Some(tls.clone())).await;
        let mut stream = connect(&ports, client(&roots, alpn)).await;
        // The server may be gone already.
        let _ = stream.write_all(bytes).await;
        assert_eq!(rest(&mut stream).await, "");
        ports.counted(metric, 1).await;
    }
}
