//! One signal connection, as HTTP sees it.
//!
//! * **Owns:** the receiving end of the room's messages, and the right to speak for one session.
//! * **In:** [`Session::send`].
//! * **Out:** [`Session::responses`]; its end without [`SessionOutput::Close`] means that the
//!   room dropped the session (it read too slowly, or the room failed).
//! * **Invariant:** the room learns of the end of every session exactly once: dropping the value
//!   tells it.

use std::sync::Arc;

use hearth_metrics::{Metric, SharedCounts};
use hearth_room::SessionId;
use hearth_signal::proto::{SignalRequest, SignalResponse};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::GaugeGuard;
use crate::room_task::{Input, Mailbox};

/// Requests of one session that its room has not looked at yet. A client sends a few dozen when
/// it joins; more at once is a flood.
const MAX_REQUESTS: usize = 64;
/// Messages to one session that HTTP has not taken yet. Higher forgives slower readers, and costs
/// memory for each of them.
pub(crate) const MAX_RESPONSES: usize = 256;

/// A message from a room to one session.
#[derive(Debug)]
pub enum SessionOutput {
    /// To be sent to the client.
    Signal(Box<SignalResponse>),
    /// To be closed after all before it is sent.
    Close,
}

/// A request was not taken: close the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The client sends faster than its room works.
    #[error("too many requests")]
    Flood,
    /// The room is over.
    #[error("room closed")]
    RoomClosed,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Session {
    /// Messages for the client, in order. The first one answers the join.
    pub responses: mpsc::Receiver<SessionOutput>,
    link: SessionLink,
}

impl Session {
    pub(crate) fn new(responses: mpsc::Receiver<SessionOutput>, link: SessionLink) -> Self {
        Self { responses, link }
    }

    /// Hands a request of the client to the room.
    ///
    /// # Errors
    ///
    /// After one, the connection should be closed.
    pub fn send(&self, request: SignalRequest) -> Result<(), SendError> {
        self.link.send(request)
    }

    /// Its name.
    pub fn id(&self) -> SessionId {
        self.link.id
    }
}

/// The speaking half; its end is the end of the session.
#[derive(Debug)]
pub(crate) struct SessionLink {
    id: SessionId,
    mailbox: Mailbox,
    budget: Arc<Semaphore>,
    runtime: Handle,
    counts: Arc<SharedCounts>,
    _held: GaugeGuard,
}

/// A request counts against its session until this is dropped.
pub(crate) type RequestPermit = OwnedSemaphorePermit;

impl SessionLink {
    pub(crate) fn new(id: SessionId, mailbox: Mailbox, counts: Arc<SharedCounts>) -> Self {
        let held = GaugeGuard::new(&counts, Metric::Sessions);
        Self {
            id,
            mailbox,
            budget: Arc::new(Semaphore::new(MAX_REQUESTS)),
            runtime: Handle::current(),
            counts,
            _held: held,
        }
    }

    fn send(&self, request: SignalRequest) -> Result<(), SendError> {
        let Ok(permit) = Arc::clone(&self.budget).try_acquire_owned() else {
            self.counts.add(Metric::DropSessions, 1);
            return Err(SendError::Flood);
        };
        let input = Input::Signal { session: self.id, request: Box::new(request), permit };
        self.mailbox.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.counts.add(Metric::DropSessions, 1);
                SendError::Flood
            }
            TrySendError::Closed(_) => SendError::RoomClosed,
        })
    }
}

impl Drop for SessionLink {
    fn drop(&mut self) {
        if let Err(TrySendError::Full(input)) =
            self.mailbox.try_send(Input::SessionClosed { session: self.id })
        {
            let mailbox = self.mailbox.clone();
            self.runtime.spawn(async move {
                // A room that is over needs not to know.
                let _ = mailbox.send(input).await;
            });
        }
    }
}
