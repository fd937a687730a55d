//! A TCP connection that carries datagrams, each in a frame.
//!
//! * **Owns:** the socket, the beginning of a frame that has not come whole, the backlog of frames to write.
//! * **In:** entries of a slab ([`FramedStream::send`]), time.
//! * **Out:** frames, by [`FramedStream::read`] in a [`FrameBuffer`]; [`Sent`].
//! * **Invariant:** it never waits. At most a frame of each connection is kept of what was read, and a bounded backlog of
//!   what is to be written (`backlog`); the kernel keeps little that is not on its way. A frame longer than any datagram
//!   ends the connection.
//! * **Spec:** RFC 4571 §2: two bytes of length, then the datagram.

mod backlog;

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use hearth_datagram::{Endpoint, Entry, MAX_DATAGRAM};

use crate::Sent;
use backlog::StreamBacklog;

/// Bytes of length before each frame.
pub(crate) const HEADER: usize = 2;
/// Bytes of one read. More saves calls where much is received, fewer stays in the L2 cache.
const READ: usize = 32 * 1_024;
/// Frames of one write.
const FRAMES: usize = 32;

/// Where the frames of one read lie; one is enough for all connections of a thread.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Box<[u8]>,
    /// The end of the last frame that is whole.
    end: usize,
    /// The beginning of the next frame to give out.
    next: usize,
}

impl FrameBuffer {
    /// Allocates once.
    pub fn new() -> Self {
        Self { bytes: vec![0; READ].into_boxed_slice(), end: 0, next: 0 }
    }

    /// The next frame of the last read, to be changed in place.
    pub fn next_frame(&mut self) -> Option<&mut [u8]> {
        let rest = self.bytes.get_mut(..self.end)?.get_mut(self.next..)?;
        let (header, rest) = rest.split_first_chunk_mut::<HEADER>()?;
        let len = usize::from(u16::from_be_bytes(*header));
        self.next += HEADER + len;
        rest.get_mut(..len)
    }
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// The other side has closed it, or it broke.
    Closed,
    /// A frame is longer than any datagram.
    TooLong,
}

/// See the module documentation.
#[derive(Debug)]
pub struct FramedStream {
    socket: TcpStream,
    path: Endpoint,
    /// The beginning of a frame.
    unread: Vec<u8>,
    backlog: StreamBacklog,
    broken: bool,
}

impl FramedStream {
    /// Takes over a connection.
    ///
    /// # Errors
    ///
    /// It is broken already.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        crate::linux::keep_little_unsent(&socket);
        let path = Endpoint::tcp(canonical(socket.local_addr()?), canonical(socket.peer_addr()?));
        let (unread, backlog) = (Vec::new(), StreamBacklog::new());
        Ok(Self { socket, path, unread, backlog, broken: false })
    }

    /// Its two ends.
    pub const fn path(&self) -> Endpoint {
        self.path
    }

    /// Reads what has come, at most a buffer full. True if there may be more.
    ///
    /// # Errors
    ///
    /// It is of no more use; frames of the buffer came before that.
    pub fn read(&mut self, buffer: &mut FrameBuffer) -> Result<bool, StreamEnd> {
        (buffer.end, buffer.next) = (0, 0);
        let held = self.unread.len();
        let Some(room) = buffer.bytes.get_mut(held..) else { return Err(StreamEnd::TooLong) };
        let read = match self.socket.read(room) {
            Ok(0) => return Err(StreamEnd::Closed),
            Ok(read) => read,
            Err(error) if is_temporary(&error) => return Ok(false),
            Err(_) => return Err(StreamEnd::Closed),
        };
        let is_full = read == room.len();
        if let Some(beginning) = buffer.bytes.get_mut(..held) {
            beginning.copy_from_slice(&self.unread);
        }
        let filled = buffer.bytes.get(..held + read).unwrap_or_default();
        let (end, too_long) = whole_frames(filled);
        buffer.end = end;
        self.unread.clear();
        if too_long {
            return Err(StreamEnd::TooLong);
        }
        self.unread.extend_from_slice(filled.get(end..).unwrap_or_default());
        Ok(is_full)
    }

    /// Sends `entries`, which count in `bytes`, in order.
    pub fn send(&mut self, now: Instant, bytes: &[u8], entries: &[Entry]) -> Sent {
        let mut sent = Sent::default();
        let mut rest = entries;
        while !rest.is_empty() && self.backlog.is_empty() && !self.broken {
            let (run, later) = rest.split_at(rest.len().min(FRAMES));
            rest = later;
            self.write_run(now, bytes, run, &mut sent);
        }
        if self.broken {
            sent.refused.other += rest.len() as u64;
        } else if !rest.is_empty() {
            for entry in rest {
                self.backlog.push(now, entry.class, datagram(bytes, entry), &mut sent);
            }
            self.write_backlog(now, &mut sent);
        }
        sent
    }

    /// Something waits for room.
    pub fn has_unsent(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Tries again to send the backlog.
    pub fn flush(&mut self, now: Instant) -> Sent {
        let mut sent = Sent::default();
        self.write_backlog(now, &mut sent);
        sent
    }

    /// Writing has failed: nothing more can be sent.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.socket)
    }

    /// Whether a read would find something, or the end.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn is_readable(socket: &TcpStream) -> bool {
        !socket.peek(&mut [0; 1]).is_err_and(|error| is_temporary(&error))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes up to [`FRAMES`] frames in one call; what finds no room becomes the backlog.
    fn write_run(&mut self, now: Instant, bytes: &[u8], run: &[Entry], sent: &mut Sent) {
        let mut headers = [[0; HEADER]; FRAMES];
        for (header, entry) in headers.iter_mut().zip(run) {
            *header = u16::try_from(entry.len).unwrap_or(0).to_be_bytes();
        }
        let mut slices = [IoSlice::new(&[]); FRAMES * 2];
        for ((pair, header), entry) in slices.chunks_exact_mut(2).zip(&headers).zip(run) {
            if let [first, second] = pair {
                *first = IoSlice::new(header);
                *second = IoSlice::new(datagram(bytes, entry));
            }
        }
        let used = slices.get(..run.len() * 2).unwrap_or(&slices);
        let mut written = self.write(used, sent);
        let mut left = run.iter().zip(&headers);
        for (entry, header) in left.by_ref() {
            let frame = HEADER + entry.len;
            if written < frame {
                if self.broken {
                    sent.refused.other += 1;
                } else if written == 0 {
                    self.backlog.push(now, entry.class, datagram(bytes, entry), sent);
                } else {
                    self.backlog.start(header.get(written..).unwrap_or_default());
                    let from = written.saturating_sub(HEADER);
                    self.backlog.start(datagram(bytes, entry).get(from..).unwrap_or_default());
                    sent.datagrams += 1;
                    sent.bytes += entry.len as u64;
                }
                written = 0;
                continue;
            }
            written -= frame;
            sent.datagrams += 1;
            sent.bytes += entry.len as u64;
        }
    }

    fn write_backlog(&mut self, now: Instant, sent: &mut Sent) {
        self.backlog.expire(now, sent);
        while !self.backlog.is_empty() && !self.broken {
            let slices = self.backlog.slices().map(IoSlice::new);
            let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
            sent.calls += 1;
            let written = outcome((&self.socket).write_vectored(&slices), &mut self.broken);
            self.backlog.consume(written, sent);
            if written < wanted {
                return;
            }
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>], sent: &mut Sent) -> usize {
        sent.calls += 1;
        outcome((&self.socket).write_vectored(slices), &mut self.broken)
    }
}

/// Bytes that were written; 0 also if there is no room.
fn outcome(written: io::Result<usize>, broken: &mut bool) -> usize {
    match written {
        Ok(written) => written,
        Err(error) if is_temporary(&error) => 0,
        Err(_) => {
            *broken = true;
            0
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn datagram<'b>(bytes: &'b [u8], entry: &Entry) -> &'b [u8] {
    bytes.get(entry.start..entry.start.saturating_add(entry.len)).unwrap_or_default()
}

/// Where the last whole frame ends, and whether one that is too long follows it.
fn whole_frames(filled: &[u8]) -> (usize, bool) {
    let mut end = 0;
    while let Some((header, rest)) = filled.get(end..).and_then(<[u8]>::split_first_chunk) {
        let len = usize::from(u16::from_be_bytes(*header));
        if len > MAX_DATAGRAM {
            return (end, true);
        }
        if rest.len() < len {
            break;
        }
        end += HEADER + len;
    }
    (end, false)
}

/// A client that came by IPv4 to a socket of both families.
const fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whole_and_one_that_is_too_long_is_seen_at_its_header() {
        assert_eq!(whole_frames(&[]), (0, false));
        assert_eq!(whole_frames(&[0]), (0, false));
        assert_eq!(whole_frames(&[0, 2, 9]), (0, false));
        assert_eq!(whole_frames(&[0, 2, 9, 9, 0]), (4, false));
        assert_eq!(whole_frames(&[0, 0, 0, 1, 7, 0x05, 0xdc]), (5, false));
        assert_eq!(whole_frames(&[0, 0, 0, 1, 7, 0x05, 0xdd]), (5, true));
    }

    #[test]
    fn an_ipv4_client_of_a_socket_of_both_families_has_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:7".parse().unwrap());
    }
}
