//! A bound UDP socket and its options.
#![expect(unsafe_code, reason = "socket options that std does not offer")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use hearth_datagram::{Entry, SendSlab};

use super::address::{self, NO_ADDR};
use super::receive;
use super::send::Sender;
use crate::{RecvBatch, Sent};

/// Bytes of each kernel buffer: at 1 Gbit/s, 34 ms.
const BUFFER_BYTES: libc::c_int = 4 << 20;

/// A UDP socket that reads and writes in batches and never blocks.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    sources: Sources,
    sender: Sender,
}

/// Which address of ours a datagram leaves from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The socket is bound to no address in particular.
    any: bool,
    /// See [`UdpSocket::set_translated`].
    translated: Vec<IpAddr>,
}

impl Sources {
    /// `None`: the kernel knows best.
    pub(super) fn source(&self, local: SocketAddr) -> Option<IpAddr> {
        let ip = local.ip();
        let is_ours = !ip.is_unspecified() && !self.translated.contains(&ip);
        (self.any && is_ours).then_some(ip)
    }
}

impl UdpSocket {
    /// Binds `count` sockets to one address. The kernel spreads senders over them, and keeps each
    /// sender with one.
    ///
    /// # Errors
    ///
    /// The address is not ours or taken, also by another process that would share it.
    pub fn bind_group(addr: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let first = Self::bind(addr, false)?;
        if count <= 1 {
            return Ok(vec![first]);
        }
        // The first bind shows that no other process has the address; sharing it needs a new socket.
        let exact = first.local;
        drop(first);
        (0..count).map(|_| Self::bind(exact, true)).collect()
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A warning for the operator, if the kernel gives smaller buffers than asked for.
    pub fn buffer_advice(&self) -> Option<String> {
        let read = self.option(libc::SOL_SOCKET, libc::SO_RCVBUF).unwrap_or(0);
        let write = self.option(libc::SOL_SOCKET, libc::SO_SNDBUF).unwrap_or(0);
        // The kernel doubles what it is asked for, and reports that.
        let (read, write) = (read / 2, write / 2);
        (read < BUFFER_BYTES || write < BUFFER_BYTES).then(|| {
            format!(
                "UDP buffers are {read} (receive) and {write} (send) bytes, {BUFFER_BYTES} wanted: \
                 sysctl -w net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}"
            )
        })
    }

    /// Has the kernel timestamp each datagram's arrival ([`Datagram::at`](crate::Datagram::at)), for callers
    /// that read later.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn note_arrivals(&self) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
    }

    /// Reads waiting datagrams, up to a full batch. Returns how many datagrams.
    ///
    /// # Errors
    ///
    /// Other than "nothing there".
    pub fn recv_batch(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        let read = receive::recv_batch(self.fd.as_raw_fd(), self.local, batch)?;
        let translated = &mut self.sources.translated;
        if !translated.is_empty() {
            for filled in &batch.filled {
                // It came here, so this machine has got the address meanwhile.
                translated.retain(|ip| *ip != filled.path.local.ip());
            }
        }
        Ok(read)
    }

    /// Addresses advertised to clients that this machine does not have, as they are a NAT's: datagrams
    /// whose local end is one of them leave from the address that the routing table chooses.
    pub fn set_translated(&mut self, addresses: Vec<IpAddr>) {
        self.sources.translated = addresses;
    }

    /// Sends `entries`, which count in `bytes`, in order, each from its path's local end: a socket bound
    /// to no address in particular sends from any that this machine has.
    pub fn send(&mut self, bytes: &[u8], entries: &[Entry]) -> Sent {
        self.sender.send(self.fd.as_raw_fd(), bytes, entries, &self.sources)
    }

    /// Keeps up to so many datagrams that find no room in the kernel, for the next
    /// [`send`](Self::send) or [`flush`](Self::flush). Without this they are lost. Allocates once.
    pub fn keep_unsent(&mut self, datagrams: usize) {
        self.sender.keep_unsent(datagrams);
    }

    /// Something waits for room: call [`flush`](Self::flush) soon.
    pub fn has_unsent(&self) -> bool {
        self.sender.has_backlog()
    }

    /// Tries again to send the backlog.
    pub fn flush(&mut self) -> Sent {
        self.send(&[], &[])
    }

    /// Sends all of a slab.
    pub fn send_slab(&mut self, slab: &SendSlab) -> Sent {
        self.send(slab.bytes(), slab.entries())
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn bind(addr: SocketAddr, shared: bool) -> io::Result<Self> {
        let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes integers only.
        let fd = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let sources = Sources { any: addr.ip().is_unspecified(), translated: Vec::new() };
        let mut socket = Self { fd, local: addr, sources, sender: Sender::default() };
        if addr.is_ipv4() {
            socket.set_option(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        } else {
            socket.set_option(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            socket.set_option(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
        // Older kernels lack it; then each message is one datagram.
        let _ = socket.set_option(libc::SOL_UDP, libc::UDP_GRO, 1);
        if shared {
            socket.set_option(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER_BYTES)?;
        socket.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER_BYTES)?;
        let (raw, len) = address::to_raw(addr);
        // SAFETY: `raw` is an address of `len` bytes.
        check(unsafe { libc::bind(socket.raw_fd(), std::ptr::from_ref(&raw).cast(), len) })?;
        socket.local = socket.bound_to()?;
        Ok(socket)
    }

    fn bound_to(&self) -> io::Result<SocketAddr> {
        let mut raw = NO_ADDR;
        let mut len = size_of_val(&raw) as libc::socklen_t;
        // SAFETY: `raw` has room for `len` bytes.
        check(unsafe {
            libc::getsockname(self.raw_fd(), std::ptr::from_mut(&mut raw).cast(), &mut len)
        })?;
        address::from_raw(&raw).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }

    fn set_option(
        &self,
        level: libc::c_int,
        name: libc::c_int,
        value: libc::c_int,
    ) -> io::Result<()> {
        let len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: `value` is an int of `len` bytes, which all the options used here take.
        check(unsafe {
            libc::setsockopt(self.raw_fd(), level, name, std::ptr::from_ref(&value).cast(), len)
        })?;
        Ok(())
    }

    fn option(&self, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
        let mut value: libc::c_int = 0;
        let mut len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: `value` has room for `len` bytes.
        check(unsafe {
            let to = std::ptr::from_mut(&mut value).cast();
            libc::getsockopt(self.raw_fd(), level, name, to, &mut len)
        })?;
        Ok(value)
    }
}

/// A socket for a few datagrams, bound like those of media, that never blocks.
///
/// # Errors
///
/// The address is not ours or taken.
pub fn plain_udp(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    UdpSocket::bind(addr, false).map(|socket| socket.fd.into())
}

/// Whether the kernel sends UDP in runs (`UDP_SEGMENT`), and whether it receives it so (`UDP_GRO`).
///
/// # Errors
///
/// There can be no socket.
pub fn udp_offload() -> io::Result<[bool; 2]> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = UdpSocket::bind(any, false)?;
    let takes = |option| socket.set_option(libc::SOL_UDP, option, 1).is_ok();
    Ok([takes(libc::UDP_SEGMENT), takes(libc::UDP_GRO)])
}

/// -1 means that `errno` says why.
pub(super) fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
