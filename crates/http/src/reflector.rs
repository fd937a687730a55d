//! `POST /debug/reach`: whether this machine reaches ports of another one, for `hearth doctor --from` there.
//!
//! * **Owns:** how many are asked at once, and how often.
//! * **In:** at most [`MAX_PROBES`] ports as JSON, of the address that the request came from or of one that it names.
//! * **Out:** for each whether it was reached; the time; where the request came from.
//! * **Invariant:** only a token of our API keys with the grant `roomList` is served, so that a stranger can have nothing
//!   sent to anybody. A port gets three short datagrams or one connection, nothing that is longer than the request;
//!   loopback, link-local and multicast addresses get nothing, whoever asks and however they are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearth_runtime::{WallClock, seed_from_system, stun_probe};
use hearth_turn::translated;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::dispatch::{RequestContext, read_body};
use crate::response;

/// The path of it.
pub(crate) const PATH: &str = "/debug/reach";

/// Ports in one request; who has more asks more often.
pub const MAX_PROBES: usize = 8;
/// Requests in a minute, all callers together: people ask, not programs.
const MAX_A_MINUTE: u64 = 30;
/// Bytes of a request.
const MAX_BODY: usize = 4_096;
/// How long one port may take. A round trip around the world takes 0.3 s.
const DEADLINE: Duration = Duration::from_millis(2_000);
/// When the datagrams leave.
const SENDS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(600)];

/// What is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProbeKind {
    /// A STUN binding request is answered.
    Udp,
    /// A connection is accepted.
    Tcp,
    /// A TLS handshake is finished.
    Tls,
}

impl ProbeKind {
    /// Its name in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls].into_iter().find(|kind| kind.name() == name)
    }
}

/// One port that is tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// What is tried.
    pub kind: ProbeKind,
    /// Where.
    pub addr: SocketAddr,
    /// For TLS: whose certificate is asked for.
    pub name: String,
}

impl Probe {
    /// Tries it. The result is a certificate (TLS), or empty.
    ///
    /// # Errors
    ///
    /// Why it was not reached, in words.
    pub async fn run(self) -> Result<Vec<u8>, String> {
        let reach = async {
            match self.kind {
                ProbeKind::Udp => udp(self.addr).await.map(|()| Vec::new()),
                ProbeKind::Tcp => {
                    TcpStream::connect(self.addr).await.map(|_| Vec::new()).map_err(text)
                }
                ProbeKind::Tls => {
                    let stream = TcpStream::connect(self.addr).await.map_err(text)?;
                    tls(stream, self.name).await
                }
            }
        };
        timeout(DEADLINE, reach).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }
}

/// Answers a request for [`PATH`].
pub(crate) async fn answer(request: &RequestContext, body: Body) -> Response<Body> {
    if !request.claims.as_ref().is_some_and(|claims| claims.video.room_list) {
        return response::text(401, "a token with the grant roomList is needed, as a bearer token");
    }
    if request.parts.method != Method::POST {
        return response::text(405, "only POST");
    }
    let Ok(body) = read_body(body, MAX_BODY).await else {
        return response::text(413, "the request is too long");
    };
    let source = request.caller.address.ip().to_canonical();
    let probes = match parse(&body, source) {
        Ok(probes) => probes,
        Err(why) => return response::text(400, why),
    };
    if !takes_one_more(WallClock::unix_secs() / 60) {
        return response::text(429, "too many requests; try again in a minute");
    }
    let results = run_all(probes).await;
    let answer = json!({
        "source": source.to_string(),
        "unix_ms": WallClock::unix_ms(),
        "results": results,
    });
    response::with_type(200, "application/json", format!("{answer}\n").into_bytes())
}

fn parse(body: &[u8], source: IpAddr) -> Result<Vec<Probe>, &'static str> {
    let request: Value = serde_json::from_slice(body).map_err(|_| "the request is no JSON")?;
    let named = match request.get("address").and_then(Value::as_str) {
        Some(text) => {
            Some(text.parse::<IpAddr>().map_err(|_| "`address` is no IP address")?.to_canonical())
        }
        None => None,
    };
    let listed = request.get("probes").and_then(Value::as_array).ok_or("there are no `probes`")?;
    if listed.len() > MAX_PROBES {
        return Err("too many probes");
    }
    let ip = match named {
        Some(ip) if is_somebodys(ip) => ip,
        Some(_) => return Err("nothing is sent to that address"),
        None if is_somebodys(source) => source,
        None => {
            return Err(
                "nothing is sent to where the request came from; behind a proxy: name an `address`",
            );
        }
    };
    let probe = |value: &Value| {
        let kind = value.get("kind").and_then(Value::as_str).and_then(ProbeKind::from_name)?;
        let port = u16::try_from(value.get("port")?.as_u64()?).ok().filter(|port| *port != 0)?;
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Probe { kind, addr: SocketAddr::new(ip, port), name })
    };
    listed.iter().map(|value| probe(value).ok_or("a probe is not understood")).collect()
}

/// Whether it is the address of one host on a network, also where a gateway translates it to IPv4.
fn is_somebodys(ip: IpAddr) -> bool {
    // The local prefix of NAT64 (RFC 8215) has IPv4 at places that only its network knows.
    let is_local_nat64 =
        matches!(ip, IpAddr::V6(v6) if v6.segments().starts_with(&[0x64, 0xff9b, 1]));
    !is_local_nat64 && !is_special(ip) && !translated(ip).is_some_and(is_special)
}

/// Loopback is ourselves, link-local has services of clouds that answer to anybody who is there.
fn is_special(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [network, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || network == 0
        }
        IpAddr::V6(v6) => {
            // AWS has these services at a unique local address, too.
            let is_aws = v6.segments().starts_with(&[0xfd00, 0x0ec2]);
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || is_aws
        }
    }
}

/// Counts requests of a minute: the number of the minute above, how many there were in the lower byte.
fn takes_one_more(minute: u64) -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let next = |now: u64| {
        let count = if now >> 8 == minute { now & 0xff } else { 0 };
        (count < MAX_A_MINUTE).then_some(minute << 8 | (count + 1))
    };
    COUNT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

async fn run_all(probes: Vec<Probe>) -> Vec<Value> {
    let mut running = JoinSet::new();
    for (n, probe) in probes.into_iter().enumerate() {
        running.spawn(async move {
            let (kind, port) = (probe.kind.name(), probe.addr.port());
            let result = match probe.run().await {
                Ok(certificate) if certificate.is_empty() => {
                    json!({ "kind": kind, "port": port, "reached": true })
                }
                Ok(certificate) => {
                    let certificate = BASE64.encode(certificate);
                    json!({ "kind": kind, "port": port, "reached": true, "certificate": certificate })
                }
                Err(why) => json!({ "kind": kind, "port": port, "reached": false, "why": why }),
            };
            (n, result)
        });
    }
    let mut results = running.join_all().await;
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A STUN binding request is answered.
async fn udp(addr: SocketAddr) -> Result<(), String> {
    let any: IpAddr =
        if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(text)?;
    socket.connect(addr).await.map_err(text)?;
    let mut rng = seed_from_system().map_err(text)?.rng(hearth_random::Purpose::StunTransaction);
    let transaction = [rng.next_u64().to_be_bytes(), rng.next_u64().to_be_bytes()].concat();
    let transaction = transaction.first_chunk::<12>().copied().unwrap_or_default();
    let request = stun_probe::request(transaction);
    let start = tokio::time::Instant::now();
    let mut buf = [0; 256];
    for (at, next) in SENDS.iter().zip(SENDS.iter().skip(1).chain([&DEADLINE])) {
        tokio::time::sleep_until(start + *at).await;
        // A refusal of the one before may be reported here; the answer to this one may still come.
        let _ = socket.send(&request).await;
        let answered = async {
            loop {
                match socket.recv(&mut buf).await {
                    Ok(len)
                        if stun_probe::is_answer(
                            buf.get(..len).unwrap_or_default(),
                            transaction,
                        ) =>
                    {
                        return Ok(());
                    }
                    Ok(_) => {}
                    Err(error) => return Err(text(error)),
                }
            }
        };
        match tokio::time::timeout_at(start + *next, answered).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) if *next == DEADLINE => return Err(refused),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err("no answer".to_owned())
}

/// Finishes a handshake; returns the server's own certificate, whatever it is.
async fn tls(stream: TcpStream, name: String) -> Result<Vec<u8>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(text)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(name).map_err(text)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(text)?;
    let (_, connection) = stream.get_ref();
    let certificates = connection.peer_certificates().unwrap_or_default();
    let first = certificates.first().ok_or("it showed no certificate")?;
    Ok(first.as_ref().to_vec())
}

/// Takes every certificate: what is wrong with it is for the one who asks to say.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    #[test]
    fn only_few_ports_of_addresses_that_are_somebodys_are_tried() {
        let source: IpAddr = "198.51.100.4".parse().unwrap();
        let ask = |text: &str| parse(text.as_bytes(), source);
        let probes = ask(
            r#"{"probes":[{"kind":"udp","port":7882},{"kind":"tls","port":443,"name":"a.example"}]}"#,
        );
        let probes = probes.unwrap();
        assert_eq!(probes[0].addr, SocketAddr::new(source, 7882));
        assert_eq!((probes[1].kind, probes[1].name.as_str()), (ProbeKind::Tls, "a.example"));
        let named = |ip: &str| {
            ask(&format!(r#"{{"address":"{ip}","probes":[{{"kind":"tcp","port":1}}]}}"#))
        };
        assert_eq!(named("203.0.113.7").unwrap()[0].addr, "203.0.113.7:1".parse().unwrap());
        for ip in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "0.0.0.0",
            "fe80::1",
            "::",
            "0.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:1:2:3:4:80ff:fffe",
            "fd00:ec2::254",
            "x",
        ] {
            assert!(named(ip).is_err(), "{ip}");
        }
        for ip in ["::ffff:203.0.113.7", "64:ff9b::cb00:7107", "2001:db8::7", "10.0.0.5", "fd00::7"]
        {
            assert!(named(ip).is_ok(), "{ip}");
        }
        let many = format!(r#"{{"probes":[{}]}}"#, [r#"{"kind":"tcp","port":1}"#; 9].join(","));
        for text in [
            "",
            "[]",
            r#"{"probes":[{"kind":"sctp","port":1}]}"#,
            r#"{"probes":[{"kind":"tcp","port":0}]}"#,
            r#"{"probes":[{"kind":"tcp","port":65536}]}"#,
            &many,
        ] {
            assert!(ask(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_source_of_a_request_is_no_exception() {
        let ask = |source: &str, text: &str| parse(text.as_bytes(), source.parse().unwrap());
        let unnamed = r#"{"probes":[{"kind":"tcp","port":1}]}"#;
        for source in ["127.0.0.1", "::1", "169.254.1.2", "fe80::1", "64:ff9b::7f00:1"] {
            let why = ask(source, unnamed).unwrap_err();
            assert!(why.contains("behind a proxy: name an `address`"), "{source}: {why}");
            let itself =
                format!(r#"{{"address":"{source}","probes":[{{"kind":"tcp","port":1}}]}}"#);
            assert!(ask(source, &itself).is_err(), "{source}");
        }
        let named = r#"{"address":"203.0.113.7","probes":[{"kind":"tcp","port":1}]}"#;
        assert_eq!(ask("127.0.0.1", named).unwrap()[0].addr, "203.0.113.7:1".parse().unwrap());
    }

    #[test]
    fn requests_of_a_minute_are_bounded() {
        let taken = (0..1_000).filter(|_| takes_one_more(7)).count() as u64;
        assert_eq!(taken, MAX_A_MINUTE);
        assert!(takes_one_more(8));
    }

    #[tokio::test]
    async fn a_port_is_reached_where_a_binding_request_is_answered() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let probe = Probe { kind: ProbeKind::Udp, addr, name: String::new() };
        let answering = tokio::spawn(async move {
            let mut buf = [0; 256];
            let (len, from) = server.recv_from(&mut buf).await.unwrap();
            let (answer, len) = stun_probe::answer(&buf[..len], from).unwrap();
            server.send_to(&answer[..len], from).await.unwrap();
        });
        assert_eq!(probe.run().await, Ok(Vec::new()));
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_tls_server_shows_its_certificate_whatever_that_is() {
        let made = rcgen::generate_simple_self_signed(["somebody.example".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            connection.complete_io(&mut stream).unwrap();
        });
        let probe = Probe { kind: ProbeKind::Tls, addr, name: "nobody.example".into() };
        assert_eq!(probe.run().await, Ok(certificate.to_vec()));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_drips_its_handshake_is_left_at_the_deadline() {
        use std::io::Read as _;

        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let probe = Probe { kind: ProbeKind::Tls, addr, name: "nobody.example".into() };
        let probing = tokio::spawn(probe.run());
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        tokio::time::pause();
        // The first bytes of a record that is long.
        for byte in [0x16, 3, 3, 0x40] {
            stream.write_u8(byte).await.unwrap();
            tokio::time::advance(DEADLINE.mul_f32(0.3)).await;
        }
        assert_eq!(probing.await.unwrap(), Err("no answer".to_owned()));
        let mut stream = stream.into_std().unwrap();
        let mut rest = [0; 4_096];
        let closed = loop {
            match stream.read(&mut rest) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
        };
        assert!(closed, "the connection is held");
    }
}
