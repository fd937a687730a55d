//! Carries events from shards to the rooms they concern.
//!
//! * **Owns:** the map from room to mailbox.
//! * **In:** [`Registration`]s from the directory, events from the shards.
//! * **Out:** [`Input::Event`] in the rooms' mailboxes.
//! * **Invariant:** a room is registered before it sends its first command, hence before its first
//!   event; events of unknown rooms are of rooms that are over.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_plane::{Event, RoomId};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::counters::{ControlCounters, Held, add};
use crate::room_task::{Input, Mailbox};

/// Events waiting for the dispatcher: far above any real rate, because shards do not wait.
pub(crate) const MAX_EVENTS: usize = 65_536;

/// A room begins (`Some`) or is over.
pub(crate) type Registration = (RoomId, Option<Mailbox>);

/// Runs until the directory is gone.
pub(crate) async fn run(
    mut registrations: mpsc::Receiver<Registration>,
    mut events: mpsc::Receiver<Event>,
    counters: Arc<ControlCounters>,
    _held: Held,
) {
    let mut rooms: BTreeMap<RoomId, Mailbox> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            registration = registrations.recv() => match registration {
                Some((id, Some(mailbox))) => { rooms.insert(id, mailbox); }
                Some((id, None)) => { rooms.remove(&id); }
                None => return,
            },
            Some(event) = events.recv() => {
                let mailbox = event.room().and_then(|room| rooms.get(&room));
                if let Some(mailbox) = mailbox {
                    deliver(mailbox, event, &counters).await;
                }
            }
        }
    }
}

async fn deliver(mailbox: &Mailbox, event: Event, counters: &ControlCounters) {
    let may_be_lost = match event {
        Event::Data { .. } | Event::Levels { .. } | Event::Report(_) => true,
        Event::PeerConnected { .. }
        | Event::PeerClosed { .. }
        | Event::ChannelOpen { .. }
        | Event::EncodingStarted { .. }
        | Event::TrackFailed { .. } => false,
    };
    match mailbox.try_send(Input::Event(event)) {
        Ok(()) | Err(TrySendError::Closed(_)) => {}
        Err(TrySendError::Full(_)) if may_be_lost => add(&counters.dropped_room_inputs, 1),
        Err(TrySendError::Full(input)) => {
            // The room is over: nobody needs to know.
            let _ = mailbox.send(input).await;
        }
    }
}
