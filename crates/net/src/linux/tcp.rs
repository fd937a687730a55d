//! TCP: listening sockets, and options of connections that carry media.
//!
//! * **Owns:** nothing.
//! * **In:** an address; a connection. **Out:** a listener; options set.
//! * **Invariant:** an option that the kernel does not know costs nothing but what it is for.
#![expect(unsafe_code, reason = "socket options that std does not offer")]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::address;
use super::socket::check;

/// Connections that the kernel has accepted and we have not.
const QUEUE: libc::c_int = 1_024;
/// Bytes that the kernel takes beyond what is on its way. More wakes us less often, less lets newer packets
/// leave instead of older ones where the way is slow: at 1 Mbit/s, 130 ms.
const MAX_UNSENT: libc::c_int = 16 * 1_024;
/// Milliseconds after which a connection is broken whose other side acknowledges nothing: as long as silence takes to
/// be noticed.
const USER_TIMEOUT: libc::c_int = 15_000;

/// Listens on an address: of IPv6 on that family only, so that another socket can have the port of IPv4.
///
/// # Errors
///
/// The address is not ours, or taken.
pub fn listen_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // A server that starts again finds connections of the one before in TIME_WAIT.
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if addr.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let (raw, len) = address::to_raw(addr);
    // SAFETY: `raw` is an address of `len` bytes.
    check(unsafe { libc::bind(fd, std::ptr::from_ref(&raw).cast(), len) })?;
    // SAFETY: takes integers only.
    check(unsafe { libc::listen(fd, QUEUE) })?;
    Ok(TcpListener::from(socket))
}

/// Has the kernel keep little that is not on its way, and notice a connection that is dead.
pub(crate) fn keep_little_unsent(socket: &TcpStream) {
    let fd = socket.as_raw_fd();
    for (name, value) in
        [(libc::TCP_NOTSENT_LOWAT, MAX_UNSENT), (libc::TCP_USER_TIMEOUT, USER_TIMEOUT)]
    {
        // Without it a slow reader gets older packets, which is all.
        let _ = set_option(fd, libc::IPPROTO_TCP, name, value);
    }
}

fn set_option(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is an int of `len` bytes, which all the options used here take.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(&value).cast(), len) })?;
    Ok(())
}
