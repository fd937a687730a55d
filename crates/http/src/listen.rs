//! Accepting connections, their limits, and closing them.
//!
//! * **Owns:** the listeners and one task per connection.
//! * **In:** bound listeners, the state of the handlers, a future that means "stop".
//! * **Out:** returns when all connections have ended, or [`GRACE`] after the stop.
//! * **Invariant:** at most [`MAX_CONNECTIONS`] connections; a request head that is not complete
//!   after [`HEAD_DEADLINE`] ends its connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
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
/// How long sent bytes may stay unacknowledged by the client's system (TCP_USER_TIMEOUT). Higher forgives longer
/// outages, lower notices sooner that a client has vanished.
#[cfg(target_os = "linux")]
const SILENCE: Duration = Duration::from_secs(60);
/// The pause after the system refuses to accept, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The response when there are too many connections.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 20\r\nconnection: close\r\n\r\ntoo many connections";

/// Serves HTTP until `shutdown` completes, then lets connections end.
pub async fn serve(
    listeners: Vec<TcpListener>,
    state: AppState,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let long_heads = Arc::new(Semaphore::new(head::LONG_HEADS));
    let state = Arc::new(state);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let shared = Shared {
            state: state.clone(),
            permits: permits.clone(),
            long_heads: long_heads.clone(),
        };
        accepting.spawn(accept(listener, shared, stopping.clone()));
    }
    shutdown.await;
    // Receivers outlive this: each accepting task holds one.
    let _ = stop.send(true);
    let drained = async {
        while accepting.join_next().await.is_some() {}
        // WebSockets outlive the connections they came by; each holds its permit.
        let _ = permits.acquire_many(u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX)).await;
    };
    if timeout(GRACE, drained).await.is_err() {
        debug!("Connections did not end in time");
    }
}

/// The state shared by all connections.
struct Shared {
    state: Arc<AppState>,
    /// One for each connection.
    permits: Arc<Semaphore>,
    /// One for each head that is longer than usual.
    long_heads: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, shared: Shared, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let Ok(permit) = shared.permits.clone().try_acquire_owned() else {
                        warn!("Too many connections; one was refused");
                        // The response is sent if that needs no waiting.
                        let _ = stream.try_write(BUSY);
                        continue;
                    };
                    let stopping = stopping.clone();
                    let long = Arc::<LongParts>::default();
                    let head = FirstHead::new(long.clone(), shared.long_heads.clone());
                    let caller = ConnectionInfo { address: from, stopping, open: Arc::new(permit), long };
                    let stream = guarded(stream, head);
                    connections.spawn(connection(stream, caller, shared.state.clone()));
                }
                Err(error) => {
                    warn!(%error, "Cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = stopping.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn guarded(stream: TcpStream, head: FirstHead) -> WriteTimeout {
    // Signal messages are small and must not wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    // Whose system does not even acknowledge a ping for so long is gone. A client that is merely not
    // running stays, as at the reference server.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE));
    WriteTimeout::new(stream, head)
}

async fn connection(stream: WriteTimeout, caller: ConnectionInfo, state: Arc<AppState>) {
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
