//! From an accepted connection to what it is for.
//!
//! * **Owns:** one connection until that is known.
//! * **In:** its first bytes.
//! * **Out:** [`Opened`]: the connection with all its bytes, or why it is closed.
//! * **Invariant:** the client's bytes are looked at, not taken, before it is known who takes them. Each wait has a
//!   deadline.

use std::io::{Error, ErrorKind, Result};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use hearth_metrics::Metric;
use hearth_tls::Tls;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::accept::Services;
use crate::first_bytes::{DECISIVE, Protocol, Verdict, tell};
use crate::handshake::{self, Tlsed};
use crate::pace::Pace;

/// How long the first bytes may take: as long as HTTP gives to a request's head.
const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(10);
/// How long the answer to plain HTTP on a port for HTTPS may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);
/// The response to plain HTTP on a port that serves HTTPS only.
pub const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 70\r\nconnection: close\r\n\r\nthis port speaks HTTPS and WSS only; use an https:// or wss:// address";

/// A connection of which it is known what it is for.
#[derive(Debug)]
pub(crate) enum Opened {
    /// HTTP in plain text.
    Http(TcpStream),
    /// A connectivity check waits in it.
    IceTcp(TcpStream),
    /// A TURN request waits in it.
    Turn(TcpStream),
    /// HTTP in TLS.
    Https(Box<Tlsed>),
    /// TURN in TLS; what was sent behind the handshake may wait in either.
    TurnTls(TcpStream, Box<ServerConnection>),
    /// An authority of certificates has checked a name, and it is closed.
    Challenge,
    /// It is closed, for this reason.
    Closed(Metric),
}

/// Finds out what a connection is for, on a port with these services.
pub(crate) async fn open(
    stream: TcpStream,
    services: Services,
    tls: Option<Tls>,
    pace: Arc<Pace>,
) -> Opened {
    let protocol = match timeout(FIRST_BYTES_DEADLINE, protocol_of(&stream)).await {
        Ok(Ok(Some(protocol))) => protocol,
        Ok(Ok(None)) => return Opened::Closed(Metric::DropConnectionUnknown),
        Ok(Err(_)) | Err(_) => return Opened::Closed(Metric::DropConnectionSilent),
    };
    match (protocol, tls) {
        (Protocol::Tls, Some(tls)) if services.https || services.turn_tls => {
            handshake::open(stream, services, &tls, &pace).await
        }
        (Protocol::Http, _) if services.http => Opened::Http(stream),
        (Protocol::Http, _) if services.https => {
            refuse_plain_http(stream).await;
            Opened::Closed(Metric::DropConnectionUnserved)
        }
        (Protocol::IceTcp, _) if services.ice_tcp => Opened::IceTcp(stream),
        (Protocol::Turn, _) if services.turn_tcp => Opened::Turn(stream),
        (Protocol::Http | Protocol::Tls | Protocol::IceTcp | Protocol::Turn, _) => {
            Opened::Closed(Metric::DropConnectionUnserved)
        }
    }
}

/// Looks at first bytes until they tell; `None`: they are of no protocol that is known.
async fn protocol_of(stream: &TcpStream) -> Result<Option<Protocol>> {
    let mut bytes = [0; DECISIVE];
    let mut seen = 0;
    loop {
        seen = more_than(seen, stream).await?;
        let seen = stream.peek(&mut bytes).await?.max(seen);
        match tell(bytes.get(..seen).unwrap_or(&bytes)) {
            Verdict::Is(protocol) => return Ok(Some(protocol)),
            Verdict::More => {}
            Verdict::Unknown => return Ok(None),
        }
    }
}

/// Waits until there are more than `seen` bytes to read. As nothing is read, the socket stays readable; only within
/// `try_io` it can be said that this is not enough, without missing what comes in the same moment.
async fn more_than(seen: usize, stream: &TcpStream) -> Result<usize> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let counted = stream.try_io(Interest::READABLE, || {
            let mut bytes = [MaybeUninit::uninit(); DECISIVE];
            match SockRef::from(stream).peek(&mut bytes)? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                count if count > seen => Ok(count),
                _ => Err(ErrorKind::WouldBlock.into()),
            }
        });
        match counted {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if ready.is_read_closed() {
                    return Err(Error::from(ErrorKind::UnexpectedEof));
                }
            }
            other => return other,
        }
    }
}

async fn refuse_plain_http(mut stream: TcpStream) {
    // What was asked is taken, or else the system would reset the connection and the answer be lost.
    let _ = stream.try_read(&mut [0; 16 * 1_024]);
    let answered = async {
        stream.write_all(USE_HTTPS).await?;
        stream.shutdown().await
    };
    let _ = timeout(ANSWER_DEADLINE, answered).await;
}
