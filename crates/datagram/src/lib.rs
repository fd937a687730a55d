//! Datagrams: the network path they take (`Endpoint`), and a batch of them to send (`SendSlab`).
//!
//! * **Owns:** the words that the media core and the sockets share: [`Endpoint`], [`SendSlab`].
//! * **In:** finished datagrams, each with its path.
//! * **Out:** [`Entry`]s over one buffer, in the order written.
//! * **Invariant:** no datagram is longer than [`MAX_DATAGRAM`], in either direction.
//! * **Not here:** sockets (`net`), the peer at the other end (`peer`, `shard`).

mod endpoint;
mod send_slab;

pub use endpoint::{Endpoint, Protocol};
pub use send_slab::{Entry, SendSlab, TrafficClass};

/// Longest datagram that is sent or received, in bytes: what an Ethernet frame carries. More would be
/// read from clients on networks with larger frames, and costs each `ShardMessage` as much.
pub const MAX_DATAGRAM: usize = 1_500;
