//! The directory: the task that creates, finds and ends rooms.
//!
//! * **Owns:** the map from name to room, the counter of room ids, and what was explained to participants ([`Explanations`]).
//! * **In:** [`DirectoryRequest`].
//! * **Out:** room tasks, replies.
//! * **Invariant:** a name leads to one room. A room whose mailbox is closed is no room: the next
//!   join makes a new one, and the late [`DirectoryRequest::Closed`] of the old one does not touch it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_metrics::Metric;
use hearth_plane::RoomId;
use hearth_random::{Purpose, Seed};
use hearth_room::{Explanation, Room, RoomConfig};
use tokio::sync::{mpsc, oneshot};

use crate::WallClock;
use crate::counters::GaugeGuard;
use crate::explanations::{ConnectionTrouble, Explanations};
use crate::room_task::{Input, MAX_INPUTS, Mailbox, NodeHandles, RoomTask};

/// Questions waiting for the directory; askers wait.
pub(crate) const MAX_REQUESTS: usize = 1_024;

/// A question or a message to the directory.
#[derive(Debug)]
pub(crate) enum DirectoryRequest {
    /// The mailbox of a room; if there is none, a new one is made with this config.
    Find { name: String, or_make: Option<Arc<RoomConfig>>, reply: oneshot::Sender<Option<Mailbox>> },
    /// All rooms, by name.
    List { reply: oneshot::Sender<Vec<Mailbox>> },
    /// A room is over.
    Closed { id: RoomId },
    /// Why a participant's client is not connected; `None` if it is after all.
    Explained { room: RoomId, identity: String, explanation: Option<Explanation> },
    /// What was said of one participant (room and identity), or of all, lately.
    Trouble { of: Option<(String, String)>, reply: oneshot::Sender<Vec<ConnectionTrouble>> },
    /// Ends all rooms, then the directory; the reply is sent when that is done.
    Stop { reply: oneshot::Sender<()> },
}

struct Entry {
    id: RoomId,
    mailbox: Mailbox,
}

/// See the module documentation.
pub(crate) struct Directory {
    by_name: BTreeMap<String, Entry>,
    /// Tasks that run, closing ones too.
    names: BTreeMap<RoomId, String>,
    explanations: Explanations,
    next_id: u32,
    seed: Seed,
    around: NodeHandles,
    requests: mpsc::Receiver<DirectoryRequest>,
    to_self: mpsc::Sender<DirectoryRequest>,
    stopping: Option<oneshot::Sender<()>>,
    _held: GaugeGuard,
}

impl Directory {
    pub(crate) fn new(seed: Seed, around: NodeHandles) -> (Self, mpsc::Sender<DirectoryRequest>) {
        let (to_self, requests) = mpsc::channel(MAX_REQUESTS);
        let held = GaugeGuard::new(&around.counts, Metric::Tasks);
        let directory = Self {
            by_name: BTreeMap::new(),
            names: BTreeMap::new(),
            explanations: Explanations::default(),
            next_id: 0,
            seed,
            around,
            requests,
            to_self: to_self.clone(),
            stopping: None,
            _held: held,
        };
        (directory, to_self)
    }

    /// Runs until it is stopped and the last room is over.
    pub(crate) async fn run(mut self) {
        while let Some(request) = self.requests.recv().await {
            match request {
                DirectoryRequest::Find { name, or_make, reply } => {
                    let mailbox = self.find(name, or_make);
                    let _ = reply.send(mailbox);
                }
                DirectoryRequest::List { reply } => {
                    let rooms = self.by_name.values().map(|entry| entry.mailbox.clone());
                    let _ = reply.send(rooms.collect());
                }
                DirectoryRequest::Closed { id } => self.forget(id),
                DirectoryRequest::Explained { room, identity, explanation } => {
                    if let Some(room) = self.names.get(&room) {
                        self.explanations.note(WallClock::now(), room, identity, explanation);
                    }
                }
                DirectoryRequest::Trouble { of, reply } => {
                    let of = of.as_ref().map(|(room, identity)| (room.as_str(), identity.as_str()));
                    let _ = reply.send(self.explanations.find(WallClock::now(), of));
                }
                DirectoryRequest::Stop { reply } => {
                    self.stopping = Some(reply);
                    for entry in self.by_name.values() {
                        stop_soon(entry.mailbox.clone());
                    }
                }
            }
            if self.names.is_empty()
                && let Some(reply) = self.stopping.take()
            {
                let _ = reply.send(());
                return;
            }
        }
    }

    fn find(&mut self, name: String, or_make: Option<Arc<RoomConfig>>) -> Option<Mailbox> {
        if let Some(entry) = self.by_name.get(&name)
            && !entry.mailbox.is_closed()
        {
            return Some(entry.mailbox.clone());
        }
        if self.stopping.is_some() {
            return None;
        }
        Some(self.make(name, or_make?))
    }

    fn make(&mut self, name: String, config: Arc<RoomConfig>) -> Mailbox {
        let id = RoomId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let (mailbox, inbox) = mpsc::channel(MAX_INPUTS);
        let seed = self.seed.derive(Purpose::Room, id.0.into());
        let (now, unix_ms) = (WallClock::now(), WallClock::unix_ms());
        let room = Room::new(now, unix_ms, id, name.clone(), config, &seed);
        let task = RoomTask::new(id, room, inbox, self.around.clone(), self.to_self.clone());
        tokio::spawn(task.run());
        self.names.insert(id, name.clone());
        self.by_name.insert(name, Entry { id, mailbox: mailbox.clone() });
        mailbox
    }

    fn forget(&mut self, id: RoomId) {
        let Some(name) = self.names.remove(&id) else { return };
        if self.by_name.get(&name).is_some_and(|entry| entry.id == id) {
            self.by_name.remove(&name);
        }
    }
}

/// Does not wait: a room that is busy gets it when it is not.
fn stop_soon(mailbox: Mailbox) {
    tokio::spawn(async move {
        // A room that is over needs no stop.
        let _ = mailbox.send(Input::Stop).await;
    });
}
