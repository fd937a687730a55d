//! Other systems than Linux: sockets of the standard library, for development.
//!
//! * **Owns:** the same as the Linux modules.
//! * **In, Out:** the same names.
//! * **Invariant:** a wake-up takes effect within [`NAP`]; one datagram per system call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hearth_datagram::{Endpoint, Entry, MAX_DATAGRAM, SendSlab};

use crate::batch::{BATCH, Filled};
use crate::{FramedStream, RecvBatch, Sent};

/// The longest wait for one socket. Shorter reacts sooner, longer idles cheaper.
const NAP: Duration = Duration::from_millis(2);

/// Left as the system has it.
pub fn raise_open_files() {}

/// A socket for a few datagrams that never blocks.
///
/// # Errors
///
/// The address is not ours or taken.
pub fn plain_udp(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Unknown here.
pub fn open_files() -> Option<u64> {
    None
}

/// Unknown here.
///
/// # Errors
///
/// Always.
pub fn udp_offload() -> io::Result<[bool; 2]> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Unknown here.
pub fn resident_bytes() -> u64 {
    0
}

/// Left as the system has it.
pub fn refuse_huge_pages() {}

/// A UDP socket that reads and writes in batches.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    local: SocketAddr,
}

impl UdpSocket {
    /// Binds one socket and makes `count` handles of it.
    ///
    /// # Errors
    ///
    /// The address is not ours or taken.
    pub fn bind_group(addr: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let socket = std::net::UdpSocket::bind(addr)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        (0..count.max(1)).map(|_| Ok(Self { socket: socket.try_clone()?, local })).collect()
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Nothing to advise here.
    pub fn buffer_advice(&self) -> Option<String> {
        None
    }

    /// Not noted here.
    ///
    /// # Errors
    ///
    /// None here.
    pub fn note_arrivals(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reads waiting datagrams, up to a full batch. Returns how many datagrams.
    ///
    /// # Errors
    ///
    /// Other than "nothing there".
    pub fn recv_batch(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.clear();
        while batch.taken < BATCH {
            let slot = batch.taken;
            let Some(buffer) = batch.buffers_mut().nth(slot) else { break };
            match self.socket.recv_from(buffer) {
                Ok((len, _)) if len > MAX_DATAGRAM => {
                    batch.truncated += 1;
                    batch.taken += 1;
                }
                Ok((len, from)) => {
                    batch.filled.push(Filled {
                        path: Endpoint::udp(self.local, from),
                        slot,
                        len,
                        segment: len.max(1),
                        at: None,
                    });
                    batch.datagrams += 1;
                    batch.taken += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Windows reports so when an earlier datagram was answered by ICMP port unreachable.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error),
            }
        }
        Ok(batch.datagrams)
    }

    /// Of no use here.
    pub fn set_translated(&mut self, _addresses: Vec<IpAddr>) {}

    /// Sends `entries`, which count in `bytes`, in order. The routing table chooses the source.
    pub fn send(&mut self, bytes: &[u8], entries: &[Entry]) -> Sent {
        let mut sent = Sent::default();
        for entry in entries {
            let end = entry.start.saturating_add(entry.len);
            let data = bytes.get(entry.start..end).unwrap_or_default();
            sent.calls += 1;
            match self.socket.send_to(data, entry.path.remote) {
                Ok(_) => {
                    sent.datagrams += 1;
                    sent.bytes += data.len() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent.full += 1,
                Err(_) => sent.refused.other += 1,
            }
        }
        sent
    }

    /// Nothing is kept here.
    pub fn keep_unsent(&mut self, _datagrams: usize) {}

    /// Nothing is kept here.
    pub fn has_unsent(&self) -> bool {
        false
    }

    /// Nothing is kept here.
    pub fn flush(&mut self) -> Sent {
        Sent::default()
    }

    /// Sends all of a slab.
    pub fn send_slab(&mut self, slab: &SendSlab) -> Sent {
        self.send(slab.bytes(), slab.entries())
    }
}

/// Listens on an address.
///
/// # Errors
///
/// The address is not ours, or taken.
pub fn listen_tcp(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A stream that is waited for.
#[derive(Debug)]
struct Waiting {
    socket: std::net::TcpStream,
    path: Endpoint,
    key: usize,
    for_room: bool,
}

/// Waits by short naps.
#[derive(Debug)]
pub struct Poller {
    sockets: Vec<(std::net::UdpSocket, usize)>,
    streams: Vec<Waiting>,
    tcp: Vec<(std::net::TcpStream, usize)>,
    waker: Waker,
    ready: Vec<usize>,
}

/// Ends a wait of its [`Poller`], from any thread.
#[derive(Clone, Debug, Default)]
pub struct Waker {
    woken: Arc<AtomicBool>,
}

impl Poller {
    /// Waits for nothing but its waker.
    ///
    /// # Errors
    ///
    /// None here.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            sockets: Vec::new(),
            streams: Vec::new(),
            tcp: Vec::new(),
            waker: Waker::default(),
            ready: Vec::new(),
        })
    }

    /// Also waits for datagrams at `socket`; `key` is what [`ready`](Self::ready) calls it.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left.
    pub fn add(&mut self, socket: &UdpSocket, key: usize) -> io::Result<()> {
        self.sockets.push((socket.socket.try_clone()?, key));
        Ok(())
    }

    /// Also waits for frames at `stream`, or its end; `key` is what [`ready`](Self::ready) calls it.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left.
    pub fn add_stream(&mut self, stream: &FramedStream, key: usize) -> io::Result<()> {
        // Whoever had the key is gone.
        self.streams.retain(|waiting| waiting.key != key);
        let socket = stream.socket().try_clone()?;
        self.streams.push(Waiting { socket, path: stream.path(), key, for_room: false });
        Ok(())
    }

    /// Whether it also waits for room to write to `stream`, which was added under `key`.
    ///
    /// # Errors
    ///
    /// None here.
    pub fn wait_for_room(
        &mut self,
        stream: &FramedStream,
        key: usize,
        wait: bool,
    ) -> io::Result<()> {
        let path = stream.path();
        for waiting in self.streams.iter_mut().filter(|w| (w.key, w.path) == (key, path)) {
            waiting.for_room = wait;
        }
        Ok(())
    }

    /// Also reports `stream`, in every wait until it is closed.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left.
    pub fn add_tcp(&mut self, stream: &std::net::TcpStream, key: usize) -> io::Result<()> {
        self.tcp.push((stream.try_clone()?, key));
        Ok(())
    }

    /// The keys of sockets and streams that the last wait found ready.
    pub fn ready(&self) -> &[usize] {
        &self.ready
    }

    /// Never: a wait reports all that are ready.
    pub fn is_full(&self) -> bool {
        false
    }

    /// The handle that ends its waits.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until a socket can be read, a waker was called, or `timeout` has passed.
    ///
    /// # Errors
    ///
    /// None here.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let mut left = if self.streams.is_empty() { timeout } else { timeout.min(NAP) };
        loop {
            self.ready.clear();
            let readable =
                |(socket, _): &&(std::net::UdpSocket, usize)| socket.peek_from(&mut [0; 1]).is_ok();
            self.ready.extend(self.sockets.iter().filter(readable).map(|(_, key)| *key));
            let is_ready = |w: &&Waiting| w.for_room || FramedStream::is_readable(&w.socket);
            self.ready.extend(self.streams.iter().filter(is_ready).map(|waiting| waiting.key));
            let woken = self.waker.woken.swap(false, Ordering::AcqRel);
            if woken || !self.ready.is_empty() || left.is_zero() {
                self.tcp.retain(|(stream, key)| {
                    self.ready.push(*key);
                    !matches!(stream.peek(&mut [0]), Ok(0))
                });
                return Ok(());
            }
            let nap = left.min(NAP);
            std::thread::park_timeout(nap);
            left = left.saturating_sub(nap);
        }
    }
}

impl Waker {
    /// Ends the wait that goes on, or else the next one.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
    }
}
