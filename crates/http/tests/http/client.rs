//! A server to talk to, and a client that sends exactly the bytes it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hearth_access::{Keys, TokenBuilder, VideoGrant};
use hearth_http::AppState;
use hearth_random::Seed;
use hearth_room::RoomConfig;
use hearth_runtime::{Node, NodeConfig, WallClock};
use hearth_testkit::ErrorWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server; it stops when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
    _errors: ErrorWatch,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let keys = Arc::new(Keys::new([("devkey".to_owned(), "secret".to_owned())]));
        let node = node(keys.clone()).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(accept(
            listener,
            hearth_http::Server::new(AppState { node, keys, lan: None }),
            stopped,
        ));
        Self { address, stop: Some(stop), task, _errors: ErrorWatch::everywhere() }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// One request on its own connection.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        let mut client = self.connect().await;
        client.request(method, target, headers, body).await;
        client.answer().await
    }

    pub(crate) async fn get(&self, target: &str, headers: &[&str]) -> Answer {
        self.ask("GET", target, headers, b"").await
    }
}

async fn accept(
    listener: TcpListener,
    server: hearth_http::Server,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, from) = accepted.unwrap();
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream, from).await });
            }
            _ = &mut stopped => break,
        }
    }
    server.stop().await;
}

async fn node(keys: Arc<Keys>) -> Node {
    let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = NodeConfig {
        shards: 1,
        room_share: 64,
        udp_bind: vec![localhost],
        udp_ports: 1,
        tcp_port: None,
        tcp_shared: false,
        force_tcp: false,
        advertised: vec![localhost],
        advertise_loopback: true,
        turn: None,
        auto_create: true,
        room: RoomConfig { keys, ..RoomConfig::default() },
        seed: Seed::fixed(1),
    };
    Node::start(config).await.unwrap()
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[&str],
        body: &[u8],
    ) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
    }

    /// Reads one answer; its body by content-length.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        if !(answer.status == 101 || answer.status == 204) {
            let mut body = vec![0; length];
            // The body of an answer to HEAD is announced and absent.
            let read =
                tokio::time::timeout(Duration::from_secs(2), self.stream.read_exact(&mut body));
            if read.await.is_ok_and(|read| read.is_ok()) {
                answer.body = String::from_utf8_lossy(&body).into_owned();
            }
        }
        answer
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }

    /// Sends one masked frame, as clients must.
    pub(crate) async fn send_frame(&mut self, first_byte: u8, payload: &[u8]) {
        let mut frame = vec![first_byte];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        // The server may close before it has read all.
        let _ = self.stream.write_all(&frame).await;
    }

    /// Reads one frame: its first byte and payload; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let length = match self.stream.read_u8().await.ok()? {
            126 => usize::from(self.stream.read_u16().await.ok()?),
            127 => self.stream.read_u64().await.ok()? as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    }

    /// Reads frames up to the close frame; its code.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        while let Some((first, payload)) = self.frame().await {
            if first == 0x88 {
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
        None
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The headers of a WebSocket upgrade, and one more.
pub(crate) fn upgrade(more: &str) -> Vec<&str> {
    let mut headers = vec![
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    headers.extend((!more.is_empty()).then_some(more));
    headers
}

/// A token that expires in an hour.
pub(crate) fn token(identity: &str, grant: VideoGrant) -> String {
    token_at(identity, grant, 0, 3_600)
}

/// A token that begins `begins` seconds after now and expires `expires` seconds after now.
pub(crate) fn token_at(identity: &str, grant: VideoGrant, begins: i64, expires: i64) -> String {
    let now = WallClock::unix_secs().saturating_add_signed(begins);
    let valid_for = Duration::from_secs(u64::try_from(expires - begins).unwrap());
    TokenBuilder::new()
        .identity(identity)
        .video(grant)
        .sign("devkey", "secret", now, valid_for)
        .unwrap()
}

/// The header that carries a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}
