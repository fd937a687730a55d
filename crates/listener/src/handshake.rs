//! The TLS handshake of a connection, and who gets what is inside.
//!
//! * **Owns:** one connection until that is known.
//! * **In:** its ClientHello, which has begun to come.
//! * **Out:** [`Opened`]: HTTPS, TURN over TLS, or why it is closed.
//! * **Invariant:** before the handshake is done a client makes us hold [`MOST_BYTES`] at most, for
//!   [`DEADLINE`] at most; its cryptography waits for its turn (`pace`).
//! * **Spec:** what is inside is said by ALPN (RFC 7301; `stun.turn` is RFC 7443), or else by the first byte.

use std::future::poll_fn;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hearth_metrics::Metric;
use hearth_tls::Tls;
use rustls::server::Acceptor;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::accept::Services;
use crate::first_bytes::{Protocol, Verdict, tell_plaintext};
use crate::opening::Opened;
use crate::pace::Pace;

/// How long a handshake and the first byte behind it may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much a client may send before its handshake is done. A ClientHello with post-quantum keys has two kilobytes.
const MOST_BYTES: usize = 32 * 1_024;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A TLS connection of a client.
pub(crate) type Tlsed = TlsStream<Bounded>;

/// What came out of a handshake.
enum Shaken {
    /// A connection, and what its client says is inside.
    Done(Box<Tlsed>, Option<Protocol>),
    /// An authority has seen what it wanted to see.
    Challenge(Box<Tlsed>),
}

/// Does the handshake and finds out what is inside.
pub(crate) async fn open(stream: TcpStream, services: Services, tls: &Tls, pace: &Pace) -> Opened {
    let stream = Bounded { stream, left: Some(MOST_BYTES) };
    let opened = async {
        match shake(stream, tls, pace).await {
            Ok(Shaken::Done(stream, inside)) => inside_of(stream, inside, services).await,
            Ok(Shaken::Challenge(mut stream)) => {
                let _ = timeout(GOODBYE, stream.shutdown()).await;
                Opened::Challenge
            }
            Err(error) => {
                debug!(%error, "A TLS handshake failed");
                Opened::Closed(Metric::DropTlsFailed)
            }
        }
    };
    timeout(DEADLINE, opened).await.unwrap_or(Opened::Closed(Metric::DropTlsSlow))
}

async fn shake(stream: Bounded, tls: &Tls, pace: &Pace) -> Result<Shaken> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let handshake = tls.handshake(&start.client_hello());
    let mut turn = pace.turn().await;
    let mut accept = pin!(start.into_stream(handshake.config));
    // The first step is nearly all of the cryptography, and does not wait.
    let begun = Instant::now();
    let first = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx))).await;
    turn.took(begun.elapsed());
    drop(turn);
    let mut stream = match first {
        Poll::Ready(done) => done?,
        Poll::Pending => accept.await?,
    };
    stream.get_mut().0.left = None;
    if handshake.challenge {
        return Ok(Shaken::Challenge(Box::new(stream)));
    }
    let inside = match stream.get_ref().1.alpn_protocol() {
        Some(b"stun.turn") => Some(Protocol::Turn),
        Some(_) => Some(Protocol::Http),
        None => None,
    };
    Ok(Shaken::Done(Box::new(stream), inside))
}

async fn inside_of(mut stream: Box<Tlsed>, inside: Option<Protocol>, services: Services) -> Opened {
    let inside = match inside {
        // Clients name all that they could speak, and HTTP is our first choice: coturn's names it beside TURN. Where HTTP
        // is not served the first byte says which it is.
        Some(inside) if inside != Protocol::Http || services.https => inside,
        // Where there is no choice, the first byte may take as long as whoever serves it allows.
        None if !services.turn_tls => Protocol::Http,
        None if !services.https => Protocol::Turn,
        Some(_) | None => match stream.fill_buf().await.map(|bytes| bytes.first().copied()) {
            Ok(Some(first)) => match tell_plaintext(first) {
                Verdict::Is(protocol) => protocol,
                Verdict::More | Verdict::Unknown => {
                    return Opened::Closed(Metric::DropConnectionUnknown);
                }
            },
            Ok(None) | Err(_) => return Opened::Closed(Metric::DropConnectionSilent),
        },
    };
    match inside {
        Protocol::Http if services.https => Opened::Https(stream),
        Protocol::Turn if services.turn_tls => {
            let (bounded, tls) = stream.into_inner();
            Opened::TurnTls(bounded.stream, Box::new(tls))
        }
        Protocol::Http | Protocol::Turn | Protocol::Tls | Protocol::IceTcp => {
            Opened::Closed(Metric::DropConnectionUnserved)
        }
    }
}

/// A stream of which only so much is read.
#[derive(Debug)]
pub(crate) struct Bounded {
    stream: TcpStream,
    /// Bytes that may still be read; `None`: any number.
    left: Option<usize>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(before);
        match self.left {
            Some(left) if count > left => {
                Poll::Ready(Err(Error::new(ErrorKind::InvalidData, "the handshake is too long")))
            }
            Some(left) => {
                self.left = Some(left - count);
                read
            }
            None => read,
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
