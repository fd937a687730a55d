//! A port to connect to, with a server of HTTP behind it and takers that note what they were given.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hearth_access::Keys;
use hearth_http::AppState;
use hearth_listener::{Handlers, IceTcp, Port, Services, Turn, serve};
use hearth_metrics::{Metric, SharedCounts};
use hearth_random::Seed;
use hearth_room::RoomConfig;
use hearth_runtime::{Node, NodeConfig};
use hearth_testkit::ErrorWatch;
use hearth_tls::Tls;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What was handed over, with the stream.
pub(crate) enum Taken {
    IceTcp(TcpStream),
    Turn(TcpStream),
    TurnTls(TcpStream, Box<rustls::ServerConnection>),
}

impl Taken {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::IceTcp(_) => "ice-tcp",
            Self::Turn(_) => "turn",
            Self::TurnTls(..) => "turn-tls",
        }
    }
}

struct Taker(mpsc::UnboundedSender<Taken>);

impl IceTcp for Taker {
    fn take(&self, stream: TcpStream) {
        let _ = self.0.send(Taken::IceTcp(stream));
    }
}

impl Turn for Taker {
    fn take_tcp(&self, stream: TcpStream) {
        let _ = self.0.send(Taken::Turn(stream));
    }

    fn take_tls(&self, stream: TcpStream, tls: rustls::ServerConnection) {
        let _ = self.0.send(Taken::TurnTls(stream, Box::new(tls)));
    }
}

/// One port that is served; it stops when this is dropped.
pub(crate) struct Ports {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<SharedCounts>,
    pub(crate) taken: mpsc::UnboundedReceiver<Taken>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
    _errors: ErrorWatch,
}

impl Ports {
    pub(crate) async fn start(services: Services) -> Self {
        Self::with_tls(services, None).await
    }

    pub(crate) async fn with_tls(services: Services, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taker, taken) = mpsc::unbounded_channel();
        let counts = Arc::<SharedCounts>::default();
        let handlers = Handlers {
            http: http().await,
            ice_tcp: Some(Arc::new(Taker(taker.clone()))),
            turn: Some(Arc::new(Taker(taker))),
            counts: counts.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let port = Port { listener, services, tls };
        let task = tokio::spawn(serve(vec![port], handlers, stopped));
        let _errors = ErrorWatch::everywhere();
        Self { address, counts, taken, stop: Some(stop), task, _errors }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Who was given a connection.
    pub(crate) async fn next(&mut self) -> Taken {
        timeout(Duration::from_secs(20), self.taken.recv()).await.unwrap().unwrap()
    }

    /// Waits until something was counted so often.
    pub(crate) async fn counted(&self, metric: Metric, times: u64) {
        let reached = async {
            while self.counts.get(metric) != times {
                tokio::task::yield_now().await;
            }
        };
        let found = timeout(Duration::from_secs(20), reached).await;
        assert!(found.is_ok(), "{metric:?}: {}, not {times}", self.counts.get(metric));
    }
}

/// All that is sent until the end; a reset is an end too.
pub(crate) async fn rest<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn http() -> hearth_http::Server {
    let keys = Arc::new(Keys::new([("devkey".to_owned(), "secret".to_owned())]));
    let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = NodeConfig {
        shards: 1,
        room_share: 64,
        udp_bind: vec![localhost],
        udp_ports: 1,
        tcp_port: None,
        tcp_shared: false,
        force_tcp: false,
        turn: None,
        advertised: vec![localhost],
        advertise_loopback: true,
        auto_create: true,
        room: RoomConfig { keys: keys.clone(), ..RoomConfig::default() },
        seed: Seed::fixed(1),
    };
    let node = Node::start(config).await.unwrap();
    hearth_http::Server::new(AppState { node, keys, lan: None })
}
