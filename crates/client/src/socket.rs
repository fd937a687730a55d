//! The signalling connection: a WebSocket, with errors in words for a person.
//!
//! * **Owns:** the connection of one participant.
//! * **In:** a join request, then requests from the media thread.
//! * **Out:** the server's messages to the media thread.
//! * **Invariant:** every wait has a deadline; a server that refuses gives its own reason.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{SinkExt as _, StreamExt as _};
use hearth_signal::frame::{decode_response, encode_request};
use hearth_signal::proto::{
    JoinRequest, SignalRequest, SignalResponse, WrappedJoinRequest, signal_response,
    wrapped_join_request,
};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::session::why_left;
use crate::thread::{Handle, Input};

/// From the first byte to the server's first message.
const DEADLINE: Duration = Duration::from_secs(15);
/// Time for a leave to be sent.
const CLOSING: Duration = Duration::from_secs(2);

/// A connection on which the server has answered.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a participant is not in the call. Ends in what to do about it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// Not an address of a server.
    #[error("{url} is no server address: it must begin with ws://, wss://, http:// or https://")]
    Url {
        /// The URL that was given.
        url: String,
    },
    /// No server answers there.
    #[error("nobody answers at {url}: {cause}; is the server running, and is this its address?")]
    Unreachable {
        /// The server.
        url: String,
        /// The system's error.
        cause: String,
    },
    /// The server refused.
    #[error("the server refused the join with status {status}: {reason}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its own words.
        reason: String,
    },
    /// The server is too old.
    #[error("the server does not know /rtc/v1 (one peer connection), which this program needs")]
    NoSinglePeerConnection,
    /// It took too long.
    #[error("the server did not answer the join within {} s", DEADLINE.as_secs())]
    Timeout,
    /// Something else went wrong with the connection.
    #[error("the signalling connection failed: {0}")]
    Broken(String),
}

/// A server's address as WebSockets need it.
pub(crate) fn websocket_url(url: &str) -> Result<String, JoinError> {
    let error = || JoinError::Url { url: url.to_owned() };
    let (scheme, rest) = url.split_once("://").ok_or_else(error)?;
    let scheme = match scheme {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return Err(error()),
    };
    let url = format!("{scheme}://{}", rest.trim_end_matches('/'));
    let uri: Uri = url.parse().map_err(|_| error())?;
    if uri.host().is_none_or(str::is_empty) { Err(error()) } else { Ok(url) }
}

/// Joins, and waits for the first message. `url` is as [`websocket_url`] made it.
pub(crate) async fn join(
    url: &str,
    token: &str,
    request: &JoinRequest,
) -> Result<(Socket, SignalResponse), JoinError> {
    match tokio::time::timeout(DEADLINE, connect(url, token, request)).await {
        Ok(joined) => joined,
        Err(_) => Err(JoinError::Timeout),
    }
}

/// Carries messages in both directions until one side ends.
pub(crate) async fn carry(
    mut socket: Socket,
    mut outbox: mpsc::UnboundedReceiver<SignalRequest>,
    (key, thread): (usize, Handle),
) {
    let why = loop {
        tokio::select! {
            request = outbox.recv() => {
                let Some(request) = request else {
                    let _ = tokio::time::timeout(CLOSING, socket.close(None)).await;
                    return;
                };
                let frame = Message::Binary(Bytes::from(encode_request(&request)));
                if let Err(error) = socket.send(frame).await {
                    break error.to_string();
                }
            }
            frame = socket.next() => match frame {
                Some(Ok(Message::Binary(frame))) => {
                    if let Ok(response) = decode_response(&frame) {
                        let response = Box::new(response);
                        thread.send(Input::Signal { key, response });
                    }
                }
                Some(Ok(Message::Close(_))) | None => break "closed by the server".to_owned(),
                Some(Ok(_)) => {}
                Some(Err(error)) => break error.to_string(),
            },
        }
    };
    thread.send(Input::Closed { key, why: format!("the signalling connection: {why}") });
}

async fn connect(
    url: &str,
    token: &str,
    request: &JoinRequest,
) -> Result<(Socket, SignalResponse), JoinError> {
    let broken = |error: &dyn std::fmt::Display| JoinError::Broken(error.to_string());
    let full = format!("{url}/rtc/v1?join_request={}", pack(request).replace('=', "%3D"));
    let mut handshake = full.into_client_request().map_err(|error| broken(&error))?;
    let bearer =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| broken(&error))?;
    handshake.headers_mut().insert(AUTHORIZATION, bearer);
    // Requests are small and must not wait for each other.
    let connected = tokio_tungstenite::connect_async_with_config(handshake, None, true).await;
    let mut socket = match connected {
        Ok((socket, _)) => socket,
        Err(Error::Http(response)) => {
            let status = response.status().as_u16();
            let body = response.body().as_deref().unwrap_or_default();
            let reason = String::from_utf8_lossy(body).trim().to_owned();
            return Err(if status == 404 && !reason.contains("room") {
                JoinError::NoSinglePeerConnection
            } else {
                JoinError::Refused { status, reason }
            });
        }
        Err(Error::Io(error)) => {
            return Err(JoinError::Unreachable { url: url.to_owned(), cause: error.to_string() });
        }
        Err(error) => return Err(broken(&error)),
    };
    while let Some(frame) = socket.next().await {
        if let Message::Binary(frame) = frame.map_err(|error| broken(&error))? {
            let first = decode_response(&frame).map_err(|error| broken(&error))?;
            return match &first.message {
                Some(signal_response::Message::Leave(leave)) => {
                    Err(JoinError::Broken(why_left(leave)))
                }
                Some(_) | None => Ok((socket, first)),
            };
        }
    }
    Err(JoinError::Broken("closed before the first message".to_owned()))
}

/// A `join_request` parameter: compressed, in base64 of the URL alphabet.
fn pack(request: &JoinRequest) -> String {
    let bytes = request.encode_to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = gzip.write_all(&bytes).and_then(|()| gzip.finish());
    let (compression, join_request) = match packed {
        Ok(packed) => (wrapped_join_request::Compression::Gzip, packed),
        // Writing to memory does not fail; if it did, this is also right.
        Err(_) => (wrapped_join_request::Compression::None, bytes),
    };
    let wrapped = WrappedJoinRequest { compression: compression as i32, join_request };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use hearth_signal::{JoinParams, JoinPath};

    use super::*;

    #[test]
    fn addresses_of_all_schemes_are_taken_and_others_refused() {
        for (given, expected) in [
            ("ws://localhost:7880", "ws://localhost:7880"),
            ("http://localhost:7880/", "ws://localhost:7880"),
            ("https://example.test", "wss://example.test"),
            ("wss://example.test/", "wss://example.test"),
        ] {
            assert_eq!(websocket_url(given).as_deref(), Ok(expected));
        }
        for bad in ["localhost:7880", "ftp://x", "ws://", "", "ws:// x"] {
            let error = websocket_url(bad).unwrap_err().to_string();
            assert!(error.contains("ws://"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_packed_join_request_is_read_back() {
        let request = JoinRequest { metadata: "m".repeat(5_000), ..JoinRequest::default() };
        let query = [("join_request".to_owned(), pack(&request))];
        let params = JoinParams::from_query(JoinPath::V1, &query).unwrap();
        assert_eq!((params.metadata.len(), params.single_pc), (5_000, true));
        assert!(query[0].1.len() < 300);
    }
}
