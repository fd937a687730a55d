//! Accepting connections on all ports, and handing each to who serves it.
//!
//! * **Owns:** the listeners, the connections that are opening, and one task for each HTTP connection.
//! * **In:** connections; a future that means "stop".
//! * **Out:** connections to [`hearth_http::Server`], [`IceTcp`] and [`Turn`]; a metric for each that is closed instead.
//! * **Invariant:** connections that are opening are bounded (`half_open`). A port that serves nothing but HTTP hands over
//!   at once.

use std::collections::HashMap;
use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;

use hearth_metrics::{Metric, SharedCounts};
use hearth_tls::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::half_open::{Admission, HalfOpen};
use crate::opening::{self, Opened};
use crate::pace::Pace;

/// How long sent bytes may stay unacknowledged by the client's system (TCP_USER_TIMEOUT). Higher forgives longer
/// outages, lower notices sooner that a client has vanished.
#[cfg(target_os = "linux")]
const SILENCE: Duration = Duration::from_secs(60);
/// The pause after the system refuses to accept, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections that begin with a connectivity check (ICE-TCP).
pub trait IceTcp: Send + Sync {
    /// Nothing of the stream was read.
    fn take(&self, stream: TcpStream);
}

/// Takes connections of TURN.
pub trait Turn: Send + Sync {
    /// Nothing of the stream was read.
    fn take_tcp(&self, stream: TcpStream);
    /// The handshake is done; what the client sent behind it may already be inside `tls`.
    fn take_tls(&self, stream: TcpStream, tls: rustls::ServerConnection);
}

impl IceTcp for hearth_runtime::IceTcp {
    fn take(&self, stream: TcpStream) {
        self.take(stream);
    }
}

impl Turn for hearth_runtime::TurnHandle {
    fn take_tcp(&self, stream: TcpStream) {
        self.take_tcp(stream);
    }

    fn take_tls(&self, stream: TcpStream, tls: rustls::ServerConnection) {
        self.take_tls(stream, tls);
    }
}

/// What one port is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Services {
    /// HTTP and WebSockets in plain text.
    pub http: bool,
    /// HTTP and WebSockets in TLS.
    pub https: bool,
    /// ICE-TCP (RFC 6544).
    pub ice_tcp: bool,
    /// TURN over TCP.
    pub turn_tcp: bool,
    /// TURN over TLS.
    pub turn_tls: bool,
}

impl Services {
    /// HTTP in plain text and nothing else.
    pub const HTTP: Self =
        Self { http: true, https: false, ice_tcp: false, turn_tcp: false, turn_tls: false };
}

/// A port that was bound.
#[derive(Debug)]
pub struct Port {
    /// Its socket.
    pub listener: TcpListener,
    /// What it is for.
    pub services: Services,
    /// Its certificates, if TLS is spoken on it.
    pub tls: Option<Tls>,
}

/// Who serves what is accepted.
#[derive(Clone)]
pub struct Handlers {
    /// HTTP and HTTPS.
    pub http: hearth_http::Server,
    /// ICE-TCP.
    pub ice_tcp: Option<Arc<dyn IceTcp>>,
    /// TURN.
    pub turn: Option<Arc<dyn Turn>>,
    /// Where connections are counted.
    pub counts: Arc<SharedCounts>,
}

/// Serves all ports until `shutdown` completes, then lets HTTP connections end.
pub async fn serve(ports: Vec<Port>, handlers: Handlers, shutdown: impl Future<Output = ()>) {
    let http = handlers.http.clone();
    let mut accepting = Accepting::new(handlers);
    tokio::select! {
        () = accepting.run(&ports) => {}
        () = shutdown => {}
    }
    drop(ports);
    accepting.opening.abort_all();
    http.stop().await;
}

/// The connections and their tasks.
struct Accepting {
    handlers: Handlers,
    half_open: HalfOpen<Id>,
    opening: JoinSet<(Opened, SocketAddr)>,
    /// To close one of those.
    aborts: HashMap<Id, AbortHandle>,
    serving: JoinSet<()>,
    pace: Arc<Pace>,
}

impl Accepting {
    fn new(handlers: Handlers) -> Self {
        Self {
            handlers,
            half_open: HalfOpen::new(),
            opening: JoinSet::new(),
            aborts: HashMap::new(),
            serving: JoinSet::new(),
            pace: Arc::new(Pace::new(available_parallelism().map_or(1, usize::from))),
        }
    }

    /// Does not return.
    async fn run(&mut self, ports: &[Port]) {
        let mut turn = 0;
        loop {
            turn += 1;
            tokio::select! {
                accepted = std::future::poll_fn(|cx| poll_accept(ports, turn, cx)) => match accepted {
                    (Ok((stream, from)), port) => self.accepted(stream, from, port),
                    (Err(error), _) => {
                        warn!(%error, "Cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = self.opening.join_next_with_id() => {
                    let (id, opened) = match ended {
                        Ok((id, opened)) => (id, Some(opened)),
                        Err(error) => (error.id(), None),
                    };
                    self.forget(id);
                    if let Some((opened, from)) = opened {
                        self.opened(opened, from);
                    }
                }
                Some(_) = self.serving.join_next() => {}
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, from: SocketAddr, port: &Port) {
        self.count(Metric::ConnectionsAccepted);
        tune(&stream);
        if port.services == Services::HTTP {
            return self.opened(Opened::Http(stream), from);
        }
        match self.half_open.admit(from.ip()) {
            Admission::Open => {}
            Admission::Instead(oldest) => self.abort(oldest, Metric::DropConnectionOldest),
            Admission::InsteadOfItsOwn(oldest) => {
                self.abort(oldest, Metric::DropConnectionAddress);
            }
        }
        let (services, tls, pace) = (port.services, port.tls.clone(), self.pace.clone());
        let opening = async move { (opening::open(stream, services, tls, pace).await, from) };
        let abort = self.opening.spawn(opening);
        self.half_open.add(abort.id(), from.ip());
        self.aborts.insert(abort.id(), abort);
        self.count_opening();
    }

    fn abort(&mut self, oldest: Id, reason: Metric) {
        self.count(reason);
        if let Some(abort) = self.aborts.get(&oldest) {
            abort.abort();
        }
        self.forget(oldest);
    }

    fn forget(&mut self, id: Id) {
        self.half_open.remove(&id);
        self.aborts.remove(&id);
        self.count_opening();
    }

    fn opened(&mut self, opened: Opened, from: SocketAddr) {
        match opened {
            Opened::Http(stream) => {
                let http = self.handlers.http.clone();
                self.serving.spawn(async move { http.serve(stream, from).await });
            }
            Opened::Https(stream) => {
                self.count(Metric::TlsHandshakes);
                let http = self.handlers.http.clone();
                self.serving.spawn(async move { http.serve(stream, from).await });
            }
            Opened::TurnTls(stream, tls) => {
                self.count(Metric::TlsHandshakes);
                match &self.handlers.turn {
                    Some(turn) => turn.take_tls(stream, *tls),
                    None => self.count(Metric::DropConnectionUnserved),
                }
            }
            Opened::Challenge => self.count(Metric::TlsHandshakes),
            Opened::IceTcp(stream) => match &self.handlers.ice_tcp {
                Some(ice_tcp) => ice_tcp.take(stream),
                None => self.count(Metric::DropConnectionUnserved),
            },
            Opened::Turn(stream) => match &self.handlers.turn {
                Some(turn) => turn.take_tcp(stream),
                None => self.count(Metric::DropConnectionUnserved),
            },
            Opened::Closed(reason) => {
                self.count(reason);
                debug!(?reason, "A connection was closed");
            }
        }
    }

    fn count(&self, metric: Metric) {
        self.handlers.counts.add(metric, 1);
    }

    fn count_opening(&self) {
        let opening = u64::try_from(self.half_open.len()).unwrap_or(u64::MAX);
        self.handlers.counts.set(Metric::ConnectionsOpening, opening);
    }
}

/// The next connection of any port; `turn` changes which one is asked first.
fn poll_accept<'p>(
    ports: &'p [Port],
    turn: usize,
    cx: &mut Context<'_>,
) -> Poll<(Result<(TcpStream, SocketAddr)>, &'p Port)> {
    let first = turn.checked_rem(ports.len()).unwrap_or(0);
    for port in ports.iter().cycle().skip(first).take(ports.len()) {
        if let Poll::Ready(accepted) = port.listener.poll_accept(cx) {
            return Poll::Ready((accepted, port));
        }
    }
    Poll::Pending
}

/// Signal messages are small and must not wait for each other's acknowledgements. Whose system does not even acknowledge
/// a ping for so long is gone; a client that is merely not running stays, as at the reference server.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE));
}
