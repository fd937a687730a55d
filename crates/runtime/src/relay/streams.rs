//! TURN over TCP and TLS: streams of clients, cut into messages.
//!
//! * **Owns:** the streams, by client and by the key that the poller has for them.
//! * **In:** [`Streams::add`], [`Streams::read`] what has come, [`Streams::send`], time.
//! * **Out:** messages, to the caller's function; the clients whose streams have ended ([`Streams::poll_gone`]).
//! * **Invariant:** a stream without allocation ends after [`SILENCE`], and there are at most [`MAX_NEW`] of them: of more the
//!   oldest ends. A stream holds at most one message that has partly come, and what its [`StreamQueue`] holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hearth_net::Poller;
use hearth_turn::{Client, Frame, MAX_FRAME, next_frame};

use super::stream_queue::StreamQueue;

/// Streams in all: each takes a descriptor.
const MAX_STREAMS: usize = 4_096;
/// Streams that have shown no password.
const MAX_NEW: usize = 1_024;
/// How long a stream may be without an allocation: clients have one after two round trips.
const SILENCE: Duration = Duration::from_secs(15);
/// How long nothing may leave of what waits.
const STUCK: Duration = Duration::from_secs(10);
/// Bytes read of one stream in one turn; what is left is read in the next.
const BYTES_A_TURN: usize = 256 * 1_024;
/// Bytes of one read.
const READ: usize = 32 * 1_024;
/// Bytes that the kernel takes beyond what is on its way: more wakes us less often, less lets newer packets leave
/// instead of older ones where the way is slow.
const MAX_UNSENT: u32 = 16 * 1_024;
/// TLS that waits to be written, beyond what the queue holds: one record.
const MAX_TLS: usize = 20 * 1_024;
/// The first key of streams.
pub(super) const FIRST_KEY: usize = 1 << 24;

/// A stream as a listener hands it over.
#[derive(Debug)]
pub(crate) struct NewStream {
    tcp: TcpStream,
    tls: Option<Box<rustls::ServerConnection>>,
    client: Client,
}

impl NewStream {
    pub(super) fn new(tcp: TcpStream, tls: Option<rustls::ServerConnection>) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        // Without it a slow reader gets older packets, which is all.
        let _ = socket2::SockRef::from(&tcp).set_tcp_notsent_lowat(MAX_UNSENT);
        let (local, remote) = (canonical(tcp.local_addr()?), canonical(tcp.peer_addr()?));
        let tls = tls.map(|mut tls| {
            tls.set_buffer_limit(Some(MAX_TLS));
            Box::new(tls)
        });
        Ok(Self { tcp, tls, client: Client { is_stream: true, local, remote } })
    }
}

/// IPv4 that came to a socket of both families is IPv4.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

struct Stream {
    tcp: TcpStream,
    tls: Option<Box<rustls::ServerConnection>>,
    client: Client,
    /// The beginning of a message.
    part: Vec<u8>,
    queue: StreamQueue,
    /// Since when it has had no allocation.
    bare_since: Option<Instant>,
    /// The last time that something left.
    moved: Instant,
}

/// See the module documentation.
pub(super) struct Streams {
    by_key: BTreeMap<usize, Stream>,
    keys: HashMap<Client, usize>,
    next_key: usize,
    /// Streams that have more to read than a turn allows.
    unread: Vec<usize>,
    /// Streams with something to write.
    dirty: Vec<usize>,
    gone: VecDeque<Client>,
    room: Box<[u8]>,
    next_check: Instant,
    /// One was added since the last look at all.
    has_new: bool,
}

impl Streams {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            by_key: BTreeMap::new(),
            keys: HashMap::new(),
            next_key: FIRST_KEY,
            unread: Vec::new(),
            dirty: Vec::new(),
            gone: VecDeque::new(),
            room: vec![0; READ + MAX_FRAME].into_boxed_slice(),
            next_check: now,
            has_new: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Some streams have more to read.
    pub(super) fn has_more(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes a stream, and reads what has come with it at the next turn. False if there is no room.
    pub(super) fn add(&mut self, now: Instant, new: NewStream, poller: &mut Poller) -> bool {
        let NewStream { tcp, tls, client } = new;
        if self.keys.contains_key(&client) || self.by_key.len() >= MAX_STREAMS {
            return false;
        }
        let key = self.next_key;
        if poller.add_tcp(&tcp, key).is_err() {
            return false;
        }
        self.next_key += 1;
        let (part, queue) = (Vec::new(), StreamQueue::default());
        let bare_since = Some(now);
        let stream = Stream { tcp, tls, client, part, queue, bare_since, moved: now };
        self.by_key.insert(key, stream);
        self.keys.insert(client, key);
        self.unread.push(key);
        self.has_new = true;
        true
    }

    /// Streams to read now: those that `ready` names, and those that were not read to the end.
    pub(super) fn take_readable(&mut self, ready: &[usize]) -> Vec<usize> {
        let mut readable = std::mem::take(&mut self.unread);
        readable.extend(ready.iter().filter(|key| **key >= FIRST_KEY));
        readable.sort_unstable();
        readable.dedup();
        readable
    }

    /// Reads messages, and gives each to `handle` until it says no. Writes what there is room for again.
    pub(super) fn read(&mut self, key: usize, mut handle: impl FnMut(Client, &[u8])) {
        self.dirty.push(key);
        let Some(stream) = self.by_key.get_mut(&key) else { return };
        let mut taken = 0;
        loop {
            let begun = stream.part.len().min(MAX_FRAME);
            let (start, rest) = self.room.split_at_mut(begun);
            start.copy_from_slice(&stream.part);
            let read = match &mut stream.tls {
                None => stream.tcp.read(rest),
                Some(tls) => read_tls(tls, &mut stream.tcp, rest),
            };
            let len = match read {
                Ok(0) => return self.close(key),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return self.close(key),
            };
            stream.part.clear();
            let mut bytes = self.room.get(..begun + len).unwrap_or_default();
            loop {
                match next_frame(bytes) {
                    Frame::Whole { len, next } => {
                        handle(stream.client, bytes.get(..len).unwrap_or_default());
                        bytes = bytes.get(next..).unwrap_or_default();
                    }
                    Frame::Part => break,
                    Frame::Refused => return self.close(key),
                }
            }
            stream.part.extend_from_slice(bytes);
            taken += len;
            if taken >= BYTES_A_TURN {
                self.unread.push(key);
                return;
            }
        }
    }

    /// Queues a message for a client; `payload` is the packet in it. Returns how many were dropped. It leaves with
    /// [`flush`](Self::flush).
    pub(super) fn send(&mut self, now: Instant, to: Client, message: &[u8], payload: &[u8]) -> u64 {
        let Some(key) = self.keys.get(&to) else { return 1 };
        let Some(stream) = self.by_key.get_mut(key) else { return 1 };
        if stream.queue.is_empty() {
            stream.moved = now;
            self.dirty.push(*key);
        }
        stream.queue.push(now, message, payload)
    }

    /// Writes what waits, as far as there is room.
    pub(super) fn flush(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.dirty) {
            let Some(stream) = self.by_key.get_mut(&key) else { continue };
            if stream.write(now).is_err() {
                self.close(key);
            }
        }
    }

    /// Closes streams that say nothing or read nothing. Returns how many. `has_allocation`: whether a client has one.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        has_allocation: impl Fn(Client) -> bool,
    ) -> u64 {
        let crowded = std::mem::take(&mut self.has_new) && self.by_key.len() > MAX_NEW;
        if now < self.next_check && !crowded {
            return 0;
        }
        self.next_check = now + Duration::from_secs(1);
        let mut closed = Vec::new();
        let mut bare = Vec::new();
        for (key, stream) in &mut self.by_key {
            if has_allocation(stream.client) {
                stream.bare_since = None;
            } else {
                let since = *stream.bare_since.get_or_insert(now);
                bare.push(*key);
                if now.saturating_duration_since(since) >= SILENCE {
                    closed.push(*key);
                }
            }
            let stuck = now.saturating_duration_since(stream.moved) >= STUCK;
            if stuck && !stream.queue.is_empty() {
                closed.push(*key);
            }
        }
        closed.dedup();
        closed.iter().for_each(|key| self.close(*key));
        bare.retain(|key| self.by_key.contains_key(key));
        closed.len() as u64 + self.close_oldest(&bare, MAX_NEW)
    }

    /// Closes all of these but the `most` that came last. Keys are in the order of coming.
    fn close_oldest(&mut self, keys: &[usize], most: usize) -> u64 {
        let (closed, _) = keys.split_at(keys.len().saturating_sub(most));
        closed.iter().for_each(|key| self.close(*key));
        closed.len() as u64
    }

    /// A client whose stream has ended.
    pub(super) fn poll_gone(&mut self) -> Option<Client> {
        self.gone.pop_front()
    }

    fn close(&mut self, key: usize) {
        let Some(stream) = self.by_key.remove(&key) else { return };
        // Already closed is closed.
        let _ = stream.tcp.shutdown(Shutdown::Both);
        self.keys.remove(&stream.client);
        self.gone.push_back(stream.client);
    }
}

impl Stream {
    fn write(&mut self, now: Instant) -> io::Result<()> {
        let before = self.queue.waiting().len();
        let outcome = self.write_all();
        if self.queue.waiting().len() < before {
            self.moved = now;
        }
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome,
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            let Some(tls) = &mut self.tls else {
                if self.queue.is_empty() {
                    return Ok(());
                }
                let written = self.tcp.write(self.queue.waiting())?;
                self.queue.sent(written);
                continue;
            };
            while tls.wants_write() {
                tls.write_tls(&mut self.tcp)?;
            }
            if self.queue.is_empty() {
                return Ok(());
            }
            // It takes as much as its limit allows: nothing else waits in it.
            let written = tls.writer().write(self.queue.waiting())?;
            if written == 0 {
                return Ok(());
            }
            self.queue.sent(written);
        }
    }
}

/// Plaintext, as much as there is; an error of the protocol is an error of the stream.
fn read_tls(
    tls: &mut rustls::ServerConnection,
    tcp: &mut TcpStream,
    room: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
        if tls.read_tls(tcp)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::WallClock;

    /// A listener, and the streams that it accepted.
    struct Site {
        listener: TcpListener,
        streams: Streams,
        poller: Poller,
        now: Instant,
    }

    impl Site {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let now = WallClock::now();
            Self { listener, streams: Streams::new(now), poller: Poller::new().unwrap(), now }
        }

        /// The client's end, and ours.
        fn connect(&mut self) -> (TcpStream, Client) {
            let theirs = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let (ours, _) = self.listener.accept().unwrap();
            let new = NewStream::new(ours, None).unwrap();
            let client = new.client;
            assert!(self.streams.add(self.now, new, &mut self.poller));
            (theirs, client)
        }

        /// Reads until `enough`, and returns what came.
        fn read(&mut self, enough: impl Fn(&Streams, &[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
            let mut messages = Vec::new();
            while !enough(&self.streams, &messages) {
                for key in self.streams.take_readable(self.poller.ready()) {
                    self.streams.read(key, |_, message| messages.push(message.to_vec()));
                }
                self.poller.wait(Duration::from_millis(20)).unwrap();
            }
            messages
        }

        fn pass(&mut self, secs: u64, has_allocation: bool) -> u64 {
            self.now += Duration::from_secs(secs);
            self.streams.handle_timeout(self.now, |_| has_allocation)
        }
    }

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let mut site = Site::new();
        let (mut theirs, _) = site.connect();
        let request = [&b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..], &[7; 12]].concat();
        let data = b"\x40\x00\x00\x05hello\0\0\0";
        for byte in [&request[..], data].concat() {
            theirs.write_all(&[byte]).unwrap();
            site.poller.wait(Duration::ZERO).unwrap();
        }
        let messages = site.read(|_, messages| messages.len() >= 2);
        assert_eq!(messages, [request, data[..9].to_vec()]);
    }

    #[test]
    fn a_stream_that_says_nothing_or_has_no_allocation_ends() {
        let mut site = Site::new();
        let (_theirs, client) = site.connect();
        assert_eq!((site.pass(14, false), site.pass(1, false)), (0, 1));
        assert_eq!((site.streams.len(), site.streams.poll_gone()), (0, Some(client)));
        let (_theirs, _) = site.connect();
        assert_eq!((site.pass(20, true), site.pass(3_600, true)), (0, 0));
        assert_eq!((site.pass(1, false), site.pass(15, false)), (0, 1), "when that has ended");
    }

    #[test]
    fn of_too_many_strangers_the_oldest_ends_first() {
        let mut site = Site::new();
        let kept: Vec<_> = (0..64).map(|_| site.connect()).collect();
        // Stands for a flood that the limit on descriptors does not allow here.
        let bare = site.streams.by_key.keys().copied().collect::<Vec<_>>();
        assert!(bare.is_sorted() && kept.len() == bare.len());
        assert_eq!(site.streams.close_oldest(&bare, 60), 4);
        let gone: Vec<_> = std::iter::from_fn(|| site.streams.poll_gone()).collect();
        let oldest: Vec<_> = kept.iter().take(4).map(|(_, client)| *client).collect();
        assert_eq!(gone, oldest);
    }

    #[test]
    fn what_is_no_turn_or_too_long_ends_the_stream() {
        for bytes in [
            &b"\x40\x00\xff\xff"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00\x01\xff\xfc",
            b"\x80\x00\x00\x00",
        ] {
            let mut site = Site::new();
            let (mut theirs, client) = site.connect();
            theirs.write_all(bytes).unwrap();
            let messages = site.read(|streams, _| streams.len() == 0);
            assert_eq!((messages.len(), site.streams.poll_gone()), (0, Some(client)));
        }
    }

    #[test]
    fn a_reader_that_reads_nothing_costs_a_bounded_queue_and_is_closed() {
        let mut site = Site::new();
        let (_theirs, client) = site.connect();
        let packet = [&[0x80, 96][..], &[0; 1_198]].concat();
        let message = [&[0x40, 0, 4, 176][..], &packet].concat();
        let mut dropped = 0;
        for _ in 0..20_000 {
            dropped += site.streams.send(site.now, client, &message, &packet);
            site.streams.flush(site.now);
        }
        assert!(dropped > 10_000, "{dropped}");
        let stream = site.streams.by_key.values().next().unwrap();
        assert!(stream.queue.waiting().len() <= 64 * 1_024);
        assert_eq!((site.pass(9, true), site.pass(1, true)), (0, 1));
        assert_eq!(site.streams.poll_gone(), Some(client));
    }
}
