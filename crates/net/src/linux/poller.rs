//! Waiting for sockets, for a wake-up, or for a deadline.
//!
//! * **Owns:** an epoll instance and an eventfd.
//! * **In:** [`Poller::add`] sockets, [`Poller::add_stream`], [`Waker::wake`] from any thread.
//! * **Out:** the end of [`Poller::wait`], and which sockets can be read.
//! * **Invariant:** a wake-up between two waits ends the next one at once. An owner of few sockets may
//!   ignore which are ready and read all of them.
#![expect(unsafe_code, reason = "epoll and eventfd")]

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::socket::{UdpSocket, check};
use crate::FramedStream;

/// The token of the eventfd among ready descriptors; sockets have their index.
const WAKER: u64 = u64::MAX;
/// Sockets that one wait can report; the others are reported by the next one.
const MAX_READY: usize = 256;

/// See the module documentation.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    waker: Waker,
    ready: Vec<usize>,
}

/// Ends a wait of its [`Poller`], from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<WakerFd>,
}

#[derive(Debug)]
struct WakerFd {
    fd: OwnedFd,
    /// The eventfd is written already: saves a call for each command of a burst.
    woken: AtomicBool,
}

impl Poller {
    /// Waits for nothing but its waker.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes integers only.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        // SAFETY: takes integers only.
        let event = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(event) };
        let waker = Waker { inner: Arc::new(WakerFd { fd, woken: AtomicBool::new(false) }) };
        let poller = Self { epoll, waker, ready: Vec::with_capacity(MAX_READY) };
        poller.watch(event, WAKER)?;
        Ok(poller)
    }

    /// Also waits for datagrams at `socket`, until that is dropped; `key` is what
    /// [`ready`](Self::ready) calls it.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn add(&mut self, socket: &UdpSocket, key: usize) -> io::Result<()> {
        self.watch(socket.raw_fd(), key as u64)
    }

    /// Also waits for frames at `stream`, or its end, until that is dropped; `key` is what
    /// [`ready`](Self::ready) calls it.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn add_stream(&mut self, stream: &FramedStream, key: usize) -> io::Result<()> {
        self.watch(stream.raw_fd(), key as u64)
    }

    /// Whether it also waits for room to write to `stream`, which was added under `key`.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn wait_for_room(
        &mut self,
        stream: &FramedStream,
        key: usize,
        wait: bool,
    ) -> io::Result<()> {
        let events = if wait { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
        self.control(libc::EPOLL_CTL_MOD, stream.raw_fd(), key as u64, events)
    }

    /// Also reports, until it is closed, when bytes have come to `stream` or it has room again: once each, so that its
    /// owner has to read and write until the kernel says no.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn add_tcp(&mut self, stream: &TcpStream, key: usize) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(libc::EPOLL_CTL_ADD, stream.as_raw_fd(), key as u64, events)
    }

    /// The keys of sockets and streams that the last wait found ready, at most 256.
    pub fn ready(&self) -> &[usize] {
        &self.ready
    }

    /// The last wait filled its list of events: more may be ready.
    pub fn is_full(&self) -> bool {
        self.ready.len() >= MAX_READY
    }

    /// The handle that ends its waits.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until a socket can be read, a waker was called, or `timeout` has passed (rounded up
    /// to a millisecond).
    ///
    /// # Errors
    ///
    /// Other than an interruption, which ends the wait.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MAX_READY];
        self.ready.clear();
        let room = libc::c_int::try_from(events.len()).unwrap_or(1);
        // SAFETY: `events` has room for that many.
        let ready = check(unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, millis)
        });
        match ready {
            Ok(ready) => {
                let ready = usize::try_from(ready).unwrap_or(0);
                for event in events.iter().take(ready) {
                    match event.u64 {
                        WAKER => self.waker.inner.rest(),
                        key => self.ready.push(key as usize),
                    }
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, fd: libc::c_int, what: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, what, libc::EPOLLIN)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: libc::c_int,
        what: u64,
        events: libc::c_int,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: what };
        // SAFETY: `event` is read during the call only.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) })?;
        Ok(())
    }
}

impl Waker {
    /// Ends the wait that goes on, or else the next one.
    pub fn wake(&self) {
        if self.inner.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let one: u64 = 1;
        // SAFETY: writes the 8 bytes that an eventfd takes. It fails only if the counter is full,
        // and then the poller wakes as well.
        let _ = unsafe {
            libc::write(
                self.inner.fd.as_raw_fd(),
                std::ptr::from_ref(&one).cast(),
                size_of_val(&one),
            )
        };
    }
}

impl WakerFd {
    /// Clears a wake-up; the queues it was for are read after this.
    fn rest(&self) {
        let mut count: u64 = 0;
        // SAFETY: reads 8 bytes, for which there is room. It does not block.
        let _ = unsafe {
            libc::read(
                self.fd.as_raw_fd(),
                std::ptr::from_mut(&mut count).cast(),
                size_of_val(&count),
            )
        };
        // A swap, to see what was queued before a `wake` that found the flag set.
        self.woken.swap(false, Ordering::AcqRel);
    }
}
