//! Linux: epoll, eventfd, `recvmmsg`, `sendmmsg`, `UDP_SEGMENT`.

mod address;
mod poller;
mod process;
mod receive;
mod send;
mod socket;
mod tcp;

pub use poller::{Poller, Waker};
pub use process::{open_files, raise_open_files, refuse_huge_pages, resident_bytes};
pub use socket::{UdpSocket, plain_udp, udp_offload};
pub(crate) use tcp::keep_little_unsent;
pub use tcp::listen_tcp;
