//! UDP sockets in batches, framed TCP streams and the clocks; the crate that holds the system calls.
//!
//! * [`UdpSocket`] reads with `recvmmsg` and writes with `sendmmsg` and `UDP_SEGMENT` on Linux;
//!   elsewhere one datagram per call, good enough for development.
//! * [`FramedStream`] carries datagrams over TCP, in frames; [`listen_tcp`] is where they come from.
//! * [`Poller`] waits for sockets and streams, for a [`Waker`], or for a deadline.
//! * [`WallClock`] reads the clocks, [`seed_from_system`] the random numbers of the system.
//! * [`interfaces()`] and [`host_addresses`] list the machine's own addresses, [`source_towards`] asks the routing table.
//! * [`open_files`] and [`udp_offload`] say what the system allows and can do.
//! * [`raise_open_files`] and [`refuse_huge_pages`] ask the kernel for what a server of many needs;
//!   [`resident_bytes`] is what it has.
//!
//! Both platforms offer the same names, so no other crate asks which one it is.

#[cfg(target_os = "linux")]
mod backlog;
mod batch;
mod clock;
mod entropy;
#[cfg(target_os = "linux")]
mod gso;
mod interfaces;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;
mod stream;

pub use batch::{Datagram, RecvBatch};
pub use clock::WallClock;
pub use entropy::{NoRandomness, seed_from_system};
pub use interfaces::{Interface, host_addresses, interfaces, source_towards};
#[cfg(target_os = "linux")]
pub use linux::{
    Poller, UdpSocket, Waker, listen_tcp, open_files, plain_udp, raise_open_files,
    refuse_huge_pages, resident_bytes, udp_offload,
};
#[cfg(not(target_os = "linux"))]
pub use portable::{
    Poller, UdpSocket, Waker, listen_tcp, open_files, plain_udp, raise_open_files,
    refuse_huge_pages, resident_bytes, udp_offload,
};
pub use stream::{FrameBuffer, FramedStream, StreamEnd};

/// The results of datagrams to send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Datagrams the kernel took.
    pub datagrams: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    /// Kept for the next call, as the send buffer is full.
    pub delayed: u64,
    /// Dropped: the send buffer and the backlog are full.
    pub full: u64,
    /// Dropped: the kernel refused them.
    pub refused: Refused,
    /// The path of the last of these, but for those that were too long.
    pub refused_path: Option<hearth_datagram::Endpoint>,
    /// System calls made.
    pub calls: u64,
}

/// Datagrams that the kernel refused to send, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Refused {
    /// No route to the destination, or no such address of ours.
    pub unreachable: u64,
    /// A firewall of this machine.
    pub denied: u64,
    /// Longer than the path takes.
    pub too_long: u64,
    /// Anything else: a destination of the wrong family, say.
    pub other: u64,
}

impl Refused {
    /// For whatever reason.
    pub const fn total(self) -> u64 {
        self.unreachable + self.denied + self.too_long + self.other
    }
}
