//! Linux: epoll, eventfd, `recvmmsg`, `sendmmsg`, `UDP_SEGMENT`.

mod address;
mod poller;
mod process;
mod receive;
mod send;
mod socket;

pub use poller::{Poller, Waker};
pub use process::{open_files, raise_open_files, refuse_huge_pages, resident_bytes};
pub use socket::{UdpSocket, plain_udp, udp_offload};
