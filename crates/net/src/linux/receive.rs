//! Reading datagrams, 32 messages in one call, each of one datagram or of a run that the kernel
//! kept together (generic receive offload).
#![expect(unsafe_code, reason = "recvmmsg")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use hearth_datagram::{Endpoint, MAX_DATAGRAM};

use super::address::{self, Control, NO_ADDR, NO_CONTROL, RawAddr};
use super::socket::check;
use crate::RecvBatch;
use crate::batch::{BATCH, Filled, ROOM};

/// Reads waiting datagrams, up to a full batch, from a socket that is bound to `bound`.
pub(super) fn recv_batch(fd: RawFd, bound: SocketAddr, batch: &mut RecvBatch) -> io::Result<usize> {
    batch.clear();
    let mut addrs: [RawAddr; BATCH] = [NO_ADDR; BATCH];
    let mut controls: [Control; BATCH] = [NO_CONTROL; BATCH];
    let mut slices = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut messages = [libc::mmsghdr { msg_hdr: address::no_message(), msg_len: 0 }; BATCH];
    let parts = messages.iter_mut().zip(&mut slices).zip(&mut addrs).zip(&mut controls);
    for ((((message, slice), addr), control), buffer) in parts.zip(batch.buffers_mut()) {
        slice.iov_base = buffer.as_mut_ptr().cast();
        slice.iov_len = buffer.len();
        let header = &mut message.msg_hdr;
        header.msg_name = std::ptr::from_mut(addr).cast();
        header.msg_namelen = size_of::<RawAddr>() as libc::socklen_t;
        header.msg_iov = slice;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>() as _;
    }
    // SAFETY: `messages` holds `BATCH` headers; what they point to (addresses, slices, control
    // buffers, buffers) lives until the end of this function and is not touched during the call.
    let count = check(unsafe {
        libc::recvmmsg(
            fd,
            messages.as_mut_ptr(),
            BATCH as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    });
    let count = match count {
        Ok(count) => usize::try_from(count).unwrap_or(0),
        Err(error) if is_nothing(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    batch.taken = count;
    for (slot, (message, addr)) in messages.iter().zip(&addrs).take(count).enumerate() {
        let Some(from) = address::from_raw(addr) else { continue };
        let address::Arrival { to, segment, at } = address::arrival(&message.msg_hdr);
        let len = (message.msg_len as usize).min(ROOM);
        let segment = segment.unwrap_or(len).max(1);
        if message.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0
            || segment > MAX_DATAGRAM
        {
            batch.truncated += 1;
            continue;
        }
        batch.datagrams += len.div_ceil(segment);
        let local = SocketAddr::new(to.unwrap_or_else(|| bound.ip()), bound.port());
        let path = Endpoint::udp(local, from);
        batch.filled.push(Filled { path, slot, len, segment, at });
    }
    Ok(batch.datagrams)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
