//! Linux: epoll, eventfd, `recvmmsg`, `sendmmsg`, `UDP_SEGMENT`.

mod address;
mod poller;
mod receive;
mod send;
mod socket;

pub use poller::{Poller, Waker};
pub use socket::UdpSocket;
