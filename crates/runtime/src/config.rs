//! The configuration of a node, and the errors of its start.

use std::io;
use std::net::SocketAddr;

use hearth_random::Seed;
use hearth_room::RoomConfig;

use crate::relay::TurnConfig;

/// The configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Media threads, at least 1.
    pub shards: u16,
    /// Connections of one room that a media thread takes before another shares the room; 1 spreads
    /// every room over all threads.
    pub room_share: u32,
    /// Addresses to receive media at, all with one port, the first that is used. Port 0: the system chooses; see
    /// [`Node::udp_ports`](crate::Node::udp_ports).
    pub udp_bind: Vec<SocketAddr>,
    /// How many ports from that one on may be used, at least 1. Each media thread has its own as far as there are
    /// enough; else they share them.
    pub udp_ports: u16,
    /// TCP port at the same addresses, for clients whose network lets no UDP through (ICE-TCP). Port 0: the system
    /// chooses one; see [`Node::tcp_port`](crate::Node::tcp_port). `None`: no such port.
    pub tcp_port: Option<u16>,
    /// Others listen on that port and bring its connections ([`Node::ice_tcp`](crate::Node::ice_tcp)).
    pub tcp_shared: bool,
    /// Clients are offered that port only. (UDP is bound all the same.)
    pub force_tcp: bool,
    /// Addresses advertised to clients as candidates; port 0 stands for the port of the peer's media thread. Empty: the
    /// machine's own addresses, of the families that are bound.
    pub advertised: Vec<SocketAddr>,
    /// When `advertised` is empty: also advertise the loopback addresses (development).
    pub advertise_loopback: bool,
    /// TURN, if it is offered.
    pub turn: Option<TurnConfig>,
    /// A join makes the room if it does not exist.
    pub auto_create: bool,
    /// For the rooms. `local_candidates` and `fingerprint` are filled in at the start.
    pub room: RoomConfig,
    /// The node's key: everything random comes from it. Of [`seed_from_system`](crate::seed_from_system).
    pub seed: Seed,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `udp_bind` or `shards` is empty.
    #[error("no UDP address to bind, or no shards")]
    Nothing,
    /// A UDP port cannot be had.
    #[error("cannot bind UDP {addr}: {source}")]
    Bind {
        /// The configured address.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A TCP port cannot be had.
    #[error("cannot bind TCP {addr}: {source}")]
    BindTcp {
        /// The address.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// An address for TURN cannot be had.
    #[error("cannot bind UDP {addr} for TURN: {source}")]
    BindTurn {
        /// The configured address.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The poller cannot be made.
    #[error("cannot make a poller: {0}")]
    Poller(#[source] io::Error),
    /// No thread can be started.
    #[error("cannot start a shard thread: {0}")]
    Thread(#[source] io::Error),
    /// No address to advertise to clients.
    #[error("no address to advertise: the machine has none, and none is configured")]
    NoAddress,
    /// The DTLS library refused.
    #[error("DTLS certificate: {0}")]
    Certificate(#[source] hearth_peer::PeerError),
}
