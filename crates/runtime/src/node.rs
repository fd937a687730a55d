//! The handle of one server process (node) that HTTP uses: join, call, list, counters, shutdown.
//!
//! * **Owns:** the sending ends of the queues to the directory and to the shards.
//! * **In:** joins and calls.
//! * **Out:** [`Session`]s and replies.
//! * **Invariant:** a join never lands in a room that is closing: it asks the directory again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_access::AdmittedJoin;
use hearth_metrics::{Counts, Metric, SharedCounts};
use hearth_room::{Call, CallError, JoinError, Reply, RoomConfig, SessionId};
use hearth_signal::JoinParams;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::config::{NodeConfig, StartError};
use crate::directory::DirectoryRequest;
use crate::explanations::ConnectionTrouble;
use crate::ice_tcp::IceTcp;
use crate::relay::{RelayLink, TurnHandle};
use crate::room_task::{Input, JoinInput, Mailbox};
use crate::session::{MAX_RESPONSES, Session, SessionLink};
use crate::shard_link::ShardLink;
use crate::start::{self, Started, Tcp};

/// Tries to get into a room while rooms of that name end under our hands. More than one retry
/// needs a room that closes within microseconds of its making.
const ATTEMPTS: usize = 8;
/// How long the rooms, and then the shard threads, may take to end. They need milliseconds.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// See the module documentation. Clones are handles of the same node.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: mpsc::Sender<DirectoryRequest>,
    shards: Arc<[ShardLink]>,
    room_config: Arc<RoomConfig>,
    auto_create: bool,
    next_session: AtomicU64,
    counts: Arc<SharedCounts>,
    udp_ports: Vec<u16>,
    tcp: Tcp,
    relay: Option<RelayLink>,
    /// Bytes of memory before the first participant.
    resident_at_start: u64,
}

/// Memory of the process, in bytes; 0 where the system does not say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident when the node had started.
    pub resident_at_start: u64,
}

impl Node {
    /// Binds the sockets, starts the shard threads and the control tasks.
    ///
    /// # Errors
    ///
    /// A port cannot be had, or the machine has no address to advertise to clients.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let auto_create = config.auto_create;
        let Started { directory, shards, room_config, counts, udp_ports, tcp, relay } =
            start::start(config)?;
        let inner = Inner {
            directory,
            shards,
            room_config,
            auto_create,
            next_session: AtomicU64::new(1),
            counts,
            udp_ports,
            tcp,
            relay,
            resident_at_start: hearth_net::resident_bytes(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The UDP ports of media, each once; the first is that of the first media thread.
    pub fn udp_ports(&self) -> &[u16] {
        &self.inner.udp_ports
    }

    /// The numbers of control, for who serves connections in front of this node.
    pub fn control_counts(&self) -> Arc<SharedCounts> {
        Arc::clone(&self.inner.counts)
    }

    /// The TCP port that was bound for ICE-TCP.
    pub fn tcp_port(&self) -> Option<u16> {
        self.inner.tcp.port
    }

    /// Where other listeners bring connections of ICE-TCP.
    pub fn ice_tcp(&self) -> IceTcp {
        self.inner.tcp.ice_tcp.clone()
    }

    /// Where listeners bring connections of TURN, if it is offered.
    pub fn turn(&self) -> Option<TurnHandle> {
        self.inner.relay.as_ref().map(|relay| relay.handle.clone())
    }

    /// The configuration of new rooms; a changed copy may be given to
    /// [`create_room`](Self::create_room).
    pub fn room_config(&self) -> &Arc<RoomConfig> {
        &self.inner.room_config
    }

    /// Joins the room that the token names, or resumes in it. A resume never makes a room.
    ///
    /// # Errors
    ///
    /// With the text that the client is to see.
    pub async fn join(
        &self,
        admitted: AdmittedJoin,
        params: JoinParams,
    ) -> Result<Session, JoinError> {
        let name = admitted.room();
        let may_make = self.inner.auto_create && !params.reconnect;
        let or_make = may_make.then(|| Arc::clone(&self.inner.room_config));
        for _ in 0..ATTEMPTS {
            let Some(mailbox) = self.find(name, or_make.clone()).await else {
                // Only a node that stops does not make rooms.
                let stopping = may_make || self.inner.directory.is_closed();
                return Err(if stopping {
                    JoinError::Unavailable
                } else {
                    JoinError::RoomNotFound
                });
            };
            if let Some(outcome) = self.try_join(mailbox, admitted.clone(), params.clone()).await {
                return outcome;
            }
            debug!("The room ended during a join; once more");
        }
        Err(JoinError::Unavailable)
    }

    /// `None`: the room ended meanwhile.
    async fn try_join(
        &self,
        mailbox: Mailbox,
        admitted: AdmittedJoin,
        request: JoinParams,
    ) -> Option<Result<Session, JoinError>> {
        let session = SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed));
        let (responses, receiver) = mpsc::channel(MAX_RESPONSES);
        let (reply, answer) = oneshot::channel();
        // Made before the join is sent: if the caller gives up halfway, its drop ends the session.
        let link = SessionLink::new(session, mailbox.clone(), Arc::clone(&self.inner.counts));
        let join = Box::new(JoinInput { session, admitted, request, responses });
        mailbox.send(Input::Join { join, reply }).await.ok()?;
        let answer = answer.await.ok()?;
        Some(answer.map(|()| Session::new(receiver, link)))
    }

    /// Would a join be refused?
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join), as far as that can be known without joining.
    pub async fn check_join(&self, admitted: &AdmittedJoin) -> Result<(), JoinError> {
        if !self.inner.auto_create && self.find(admitted.room(), None).await.is_none() {
            return Err(JoinError::RoomNotFound);
        }
        Ok(())
    }

    /// Makes a room if there is none of that name. `config`: other than the node's.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn create_room(
        &self,
        name: &str,
        config: Option<Arc<RoomConfig>>,
    ) -> Result<Reply, CallError> {
        let config = config.unwrap_or_else(|| Arc::clone(&self.inner.room_config));
        for _ in 0..ATTEMPTS {
            let Some(mailbox) = self.find(name, Some(Arc::clone(&config))).await else { break };
            match call(&mailbox, Call::Info).await {
                Some(outcome) => return outcome,
                None => debug!("The room ended when it was just made; once more"),
            }
        }
        Err(CallError::RoomNotFound)
    }

    /// The answers of all rooms to [`Call::Info`], in order of their names.
    pub async fn list_rooms(&self) -> Vec<Reply> {
        let (reply, answer) = oneshot::channel();
        let asked = self.inner.directory.send(DirectoryRequest::List { reply }).await;
        let rooms = if asked.is_ok() { answer.await.unwrap_or_default() } else { Vec::new() };
        let mut infos = Vec::with_capacity(rooms.len());
        for mailbox in rooms {
            if let Some(Ok(reply)) = call(&mailbox, Call::Info).await {
                infos.push(reply);
            }
        }
        infos
    }

    /// Ends a room; its participants are sent a leave.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn delete_room(&self, name: &str) -> Result<Reply, CallError> {
        self.call(name, Call::DeleteRoom).await
    }

    /// Asks a room for something.
    ///
    /// # Errors
    ///
    /// There is no such room, or the room's error.
    pub async fn call(&self, room: &str, what: Call) -> Result<Reply, CallError> {
        let Some(mailbox) = self.find(room, None).await else {
            return Err(CallError::RoomNotFound);
        };
        call(&mailbox, what).await.unwrap_or(Err(CallError::RoomNotFound))
    }

    /// Why the client of a participant was not connected lately.
    pub async fn trouble_of(&self, room: &str, identity: &str) -> Option<ConnectionTrouble> {
        let of = Some((room.to_owned(), identity.to_owned()));
        self.find_trouble(of).await.into_iter().next()
    }

    /// Why clients were not connected lately, the newest first.
    pub async fn troubles(&self) -> Vec<ConnectionTrouble> {
        self.find_trouble(None).await
    }

    async fn find_trouble(&self, of: Option<(String, String)>) -> Vec<ConnectionTrouble> {
        let (reply, answer) = oneshot::channel();
        let asked = self.inner.directory.send(DirectoryRequest::Trouble { of, reply }).await;
        if asked.is_ok() { answer.await.unwrap_or_default() } else { Vec::new() }
    }

    /// The state of the node for `/debug/state`: what it holds, and drops by reason.
    pub fn counts(&self) -> Counts {
        let mut sum = self.inner.counts.snapshot();
        for shard in self.inner.shards.iter() {
            sum.add_all(&shard.gauges().counts.snapshot());
        }
        if let Some(relay) = &self.inner.relay {
            sum.add_all(&relay.counts.snapshot());
        }
        sum[Metric::Bugs] = hearth_metrics::bugs();
        sum
    }

    /// Memory of the process. Reads a small file of the system's.
    pub fn memory(&self) -> Memory {
        Memory {
            resident: hearth_net::resident_bytes(),
            resident_at_start: self.inner.resident_at_start,
        }
    }

    /// Ends all rooms, then the shard threads. Joins after this are refused.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.inner.directory.send(DirectoryRequest::Stop { reply }).await.is_ok() {
            // Dropped unanswered only if the directory is gone, which is the same.
            if timeout(STOP_DEADLINE, done).await.is_err() {
                warn!("Some rooms did not end in time");
            }
        }
        self.inner.stop_shards();
        let ended = async {
            while self.counts().sum(&[Metric::Shards, Metric::Relays]) > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(STOP_DEADLINE, ended).await.is_err() {
            warn!("Some shard threads did not end in time");
        }
    }

    async fn find(&self, name: &str, or_make: Option<Arc<RoomConfig>>) -> Option<Mailbox> {
        let (reply, answer) = oneshot::channel();
        let request = DirectoryRequest::Find { name: name.to_owned(), or_make, reply };
        self.inner.directory.send(request).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// `None`: the room ended meanwhile.
async fn call(mailbox: &Mailbox, what: Call) -> Option<Result<Reply, CallError>> {
    let (reply, answer) = oneshot::channel();
    mailbox.send(Input::Call { call: Box::new(what), reply }).await.ok()?;
    answer.await.ok()
}

impl Inner {
    fn stop_shards(&self) {
        for shard in self.shards.iter() {
            shard.stop();
        }
        if let Some(relay) = &self.relay {
            relay.stop();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_shards();
        // Sessions may outlive the handle; without shards they are of no use.
        let (reply, _) = oneshot::channel();
        let _ = self.directory.try_send(DirectoryRequest::Stop { reply });
    }
}
