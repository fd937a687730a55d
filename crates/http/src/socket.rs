//! One signal connection (WebSocket) after its upgrade: messages between a client and its room.
//!
//! * **Owns:** the WebSocket and the [`Session`]; both end together.
//! * **In:** frames of the client (binary: protobuf, text: JSON), messages of the room.
//! * **Out:** requests to the room; frames to the client, in the format it last used; a close code.
//! * **Invariant:** close code 1000 is sent only after a `leave`: clients neither resume nor
//!   reconnect after another 1000. Every wait for a write has a deadline.
//! * **livekit-server:** `pkg/service/wsprotocol.go`.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use hearth_runtime::{Session, SessionOutput};
use hearth_signal::frame;
use hearth_signal::proto::{SignalResponse, signal_response};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tracing::debug;

use crate::write_timeout::WRITE_DEADLINE;

/// Between two control pings, whatever else is sent: they keep proxies from closing the connection, and
/// have its system find out that a client has vanished (`listener`). Whether a client answers them is not
/// considered: a client that sleeps for minutes and wakes up goes on, as at the reference server.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a client may take to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The client closed it or it broke.
    Gone,
    /// Writing has failed. Messages that the client sent before may still wait to be read.
    Unwritable,
    /// By the room, after its last message was sent.
    Room,
    /// The server stops.
    Stopping,
    /// The client sent a malformed message, or too much.
    Client(u16),
    /// The room dropped the session.
    Dropped,
}

/// A signal connection.
pub(crate) struct Connection {
    socket: WebSocket,
    session: Session,
    /// The client last sent text.
    json: bool,
    /// A `leave` was sent.
    left: bool,
}

impl Connection {
    pub(crate) fn new(socket: WebSocket, session: Session) -> Self {
        Self { socket, session, json: false, left: false }
    }

    /// Runs until one side has had enough. `first` is sent first.
    pub(crate) async fn run(
        mut self,
        first: Box<SignalResponse>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let end = match self.begin(first).await {
            Ok(()) => self.serve(&mut stopping).await,
            Err(end) => end,
        };
        debug!(?end, left = self.left, "Signal connection ends");
        if end == End::Unwritable {
            self.take_rest().await;
        }
        let Self { socket, session, left, .. } = self;
        // The room learns of the end before the client has answered the close frame.
        drop(session);
        close(socket, end, left).await;
    }

    /// Takes the message, because in a large room it is hundreds of kilobytes and a connection lasts
    /// for hours.
    async fn begin(&mut self, first: Box<SignalResponse>) -> Result<(), End> {
        self.send(&first).await
    }

    async fn serve(&mut self, stopping: &mut watch::Receiver<bool>) -> End {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                output = self.session.responses.recv() => match output {
                    Some(SessionOutput::Signal(response)) => self.send(&response).await,
                    Some(SessionOutput::Close) => Err(End::Room),
                    None => Err(End::Dropped),
                },
                received = self.socket.recv() => match received {
                    Some(Ok(message)) => self.receive(message),
                    Some(Err(error)) => Err(refused(&error)),
                    None => Err(End::Gone),
                },
                _ = pings.tick() => self.write(Message::Ping(bytes::Bytes::new())).await,
                _ = stopping.changed() => Err(self.flush().await),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Sends the room's queued messages; for a server that stops.
    async fn flush(&mut self) -> End {
        let until = Instant::now() + CLOSE_WAIT;
        while let Ok(Some(SessionOutput::Signal(response))) =
            timeout_at(until, self.session.responses.recv()).await
        {
            if self.send(&response).await.is_err() {
                return End::Gone;
            }
        }
        End::Stopping
    }

    /// Hands on the client's last messages before it closed its end: mostly a leave with its reason.
    async fn take_rest(&mut self) {
        let until = Instant::now() + CLOSE_WAIT;
        while let Ok(Some(Ok(message))) = timeout_at(until, self.socket.recv()).await {
            if self.receive(message).is_err() {
                return;
            }
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), End> {
        let request = match message {
            Message::Binary(bytes) => {
                self.json = false;
                frame::decode_binary(&bytes)
            }
            Message::Text(text) => {
                self.json = true;
                frame::decode_text(text.as_str())
            }
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
        };
        let request = request.map_err(|error| {
            debug!(%error, "A frame was refused");
            End::Client(close_code::INVALID)
        })?;
        self.session.send(request).map_err(|error| {
            debug!(%error, "A request was not taken");
            End::Dropped
        })
    }

    async fn send(&mut self, response: &SignalResponse) -> Result<(), End> {
        self.left |= matches!(response.message, Some(signal_response::Message::Leave(_)));
        let message = if self.json {
            Message::Text(frame::encode_text(response).into())
        } else {
            Message::Binary(frame::encode_binary(response).into())
        };
        self.write(message).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Unwritable),
        }
    }
}

/// The kind of a failed read: a message above the limit, a broken frame, or a broken connection.
fn refused(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") {
        End::Client(close_code::SIZE)
    } else if text.contains("UTF-8") {
        End::Client(close_code::INVALID)
    } else if text.contains("protocol") {
        End::Client(close_code::PROTOCOL)
    } else {
        End::Gone
    }
}

/// Sends a close frame and waits a little for the answer, so that messages sent before are not lost.
async fn close(mut socket: WebSocket, end: End, left: bool) {
    let code = match end {
        End::Gone | End::Unwritable => return drain(socket).await,
        End::Room | End::Stopping | End::Dropped if left => close_code::NORMAL,
        End::Stopping => close_code::AWAY,
        End::Room | End::Dropped => close_code::ERROR,
        End::Client(code) => code,
    };
    let frame = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    if let Ok(Ok(())) = timeout(WRITE_DEADLINE, socket.send(frame)).await {
        drain(socket).await;
    }
}

/// Reads to the end: an unread byte would make the system reset the connection.
async fn drain(mut socket: WebSocket) {
    let rest = async { while let Some(Ok(_)) = socket.recv().await {} };
    // A client that goes on sending is cut off.
    let _ = timeout(CLOSE_WAIT, rest).await;
}

/// Sends one `leave` on a connection that has no session, and closes it.
pub(crate) async fn say_and_close(mut socket: WebSocket, leave: SignalResponse) {
    let message = Message::Binary(frame::encode_binary(&leave).into());
    if let Ok(Ok(())) = timeout(WRITE_DEADLINE, socket.send(message)).await {
        close(socket, End::Room, true).await;
    }
}
