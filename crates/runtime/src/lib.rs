//! Threads, tasks, bounded queues and placement: the drivers of the sans-IO crates.
//!
//! * [`Node`] is the handle that HTTP uses: join, call, list, counters, shutdown.
//! * Control: one task per room owns its `room::Room`; the directory task knows which rooms there
//!   are. Shards put events into the queues of the rooms they concern.
//! * Media: one thread per shard owns its `shard::Shard`, its sockets and its clients' TCP connections.
//!   [`IceTcp`] reads of each connection what says which shard's it is.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | control → shard | 4,096 commands, of one room 512 | the room waits |
//! | shard → room, lossless events | by construction: see `room_events` | – |
//! | shard → room, lossy events | 4,096 events, 4 MiB | dropped, counted |
//! | shard → shard, media (`ShardMessage`) | 1,024 messages | dropped, counted |
//! | shard → shard, checks of unknown endpoints | 64 connectivity checks | dropped, counted |
//! | connections → their reception (ICE-TCP) | 256 connections | the listener waits; others are closed |
//! | shard ↔ relay thread (TURN) | as between shards | dropped, counted |
//! | TURN's listeners → relay thread | 256 connections | the connection is closed |
//! | rooms → relay thread, who has left | 4,096 participants | its credentials end by their time |
//! | sessions, API → room | 4,096 inputs | the session is closed, the caller waits |
//! | one session → room | 64 requests | the session is closed |
//! | room → one session | 256 messages | the session is closed |

mod config;
mod counters;
mod directory;
mod explanations;
mod failures;
mod ice_tcp;
mod media_ports;
mod node;
mod placement;
mod relay;
mod room_events;
mod room_task;
mod session;
#[cfg(test)]
mod shard_failure;
mod shard_link;
mod shard_thread;
mod socket_routes;
mod start;
mod streams;

pub use config::{NodeConfig, StartError};
pub use explanations::ConnectionTrouble;
pub use hearth_metrics::{Counts, Metric};
pub use hearth_net::WallClock;
pub use hearth_net::{NoRandomness, seed_from_system};
pub use hearth_net::{host_addresses, interfaces};
pub use hearth_net::{open_files, udp_offload};
pub use hearth_peer::probe as stun_probe;
pub use hearth_random::Seed;
pub use hearth_turn::Cidr;
pub use ice_tcp::IceTcp;
pub use node::{Memory, Node};
pub use relay::{TurnConfig, TurnHandle};
pub use session::{SendError, Session, SessionOutput};
