//! Serving accepted connections, their limits, and closing them.
//!
//! * **Owns:** how many connections there are, and that they end.
//! * **In:** an accepted connection (TCP or TLS: any stream of bytes), the state of the handlers, the stop.
//! * **Out:** [`Server::serve`] returns when its connection has ended, [`Server::stop`] when all have, or
//!   [`GRACE`] after the stop.
//! * **Invariant:** at most [`MAX_CONNECTIONS`] connections; a request head that is not complete
//!   after [`HEAD_DEADLINE`] ends its connection.
//! * **Not here:** accepting connections (`listener`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::AppState;
use crate::dispatch::{ConnectionInfo, dispatch};
use crate::head::{self, FirstHead, LongParts};
use crate::write_timeout::WriteTimeout;

/// How long a request's head may take; also how long an idle connection is kept.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Most connections at once. Each is a socket and up to [`head::USUAL`]; the usual limit of open
/// files is higher.
const MAX_CONNECTIONS: usize = 10_000;
/// How long connections may take to end after the stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long that there are too many connections may take to say.
const BUSY_DEADLINE: Duration = Duration::from_millis(100);
/// The response when there are too many connections.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 20\r\nconnection: close\r\n\r\ntoo many connections";

/// Serves HTTP on connections that others accept. Clones are handles of the same server.
#[derive(Clone)]
pub struct Server {
    state: Arc<AppState>,
    /// One for each connection.
    permits: Arc<Semaphore>,
    /// One for each head that is longer than usual.
    long_heads: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// A server without connections.
    pub fn new(state: AppState) -> Self {
        Self {
            state: Arc::new(state),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            long_heads: Arc::new(Semaphore::new(head::LONG_HEADS)),
            stop: watch::Sender::new(false),
        }
    }

    /// Serves one connection until it ends or becomes a WebSocket. Nothing of it was read or written;
    /// `from` is the client's address.
    pub async fn serve<S>(&self, mut stream: S, from: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            warn!("Too many connections; one was refused");
            // What a new connection can be sent needs no waiting, unless for its first poll.
            let _ = timeout(BUSY_DEADLINE, stream.write_all(BUSY)).await;
            return;
        };
        let long = Arc::<LongParts>::default();
        let head = FirstHead::new(long.clone(), self.long_heads.clone());
        let stopping = self.stop.subscribe();
        if *stopping.borrow() {
            return;
        }
        let caller = ConnectionInfo { address: from, stopping, open: Arc::new(permit), long };
        connection(WriteTimeout::new(stream, head), caller, self.state.clone()).await;
    }

    /// Lets connections end: answers what was asked, says goodbye on WebSockets.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // WebSockets outlive the connections they came by; each holds its permit.
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        if timeout(GRACE, self.permits.acquire_many(all)).await.is_err() {
            debug!("Connections did not end in time");
        }
    }
}

async fn connection<S>(stream: WriteTimeout<S>, caller: ConnectionInfo, state: Arc<AppState>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = caller.stopping.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (state, caller) = (state.clone(), caller.clone());
        async move { Ok::<_, Infallible>(dispatch(&state, caller, request.map(Body::new)).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(head::USUAL);
    let serving = builder.serve_connection(stream, service).with_upgrades();
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "Connection ended");
    }
}
