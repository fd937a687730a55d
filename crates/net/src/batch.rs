//! Receive buffers for the datagrams of one `recvmmsg`.
//!
//! * **Owns:** a fixed number of buffers, and the datagrams of the last read.
//! * **In:** filled by [`UdpSocket::recv_batch`](crate::UdpSocket::recv_batch).
//! * **Out:** [`RecvBatch::datagrams_mut`].
//! * **Invariant:** allocates once.

use std::time::Duration;

use hearth_datagram::Endpoint;

/// Messages of one read. More saves calls under load, fewer keeps the batch in the L2 cache.
pub(crate) const BATCH: usize = 32;
/// Bytes of one message: a run of datagrams that the kernel kept together has up to 64 KiB.
pub(crate) const ROOM: usize = 65_536;

/// One received datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its sender, and the address it was sent to; of that, where the system does not say, what the
    /// socket is bound to.
    pub path: Endpoint,
    /// Arrival time by the kernel, since 1970-01-01 UTC, if timestamps are enabled.
    pub at: Option<Duration>,
    /// Its bytes, to be changed in place.
    pub bytes: &'a mut [u8],
}

/// Metadata of one filled buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) path: Endpoint,
    /// Which buffer.
    pub(crate) slot: usize,
    /// Bytes in it.
    pub(crate) len: usize,
    /// Bytes of each datagram in it but the last, which may be shorter; not 0.
    pub(crate) segment: usize,
    pub(crate) at: Option<Duration>,
}

/// See the module documentation.
#[derive(Debug)]
pub struct RecvBatch {
    /// One buffer of [`ROOM`] bytes behind the other.
    room: Box<[u8]>,
    pub(crate) filled: Vec<Filled>,
    /// Messages the kernel handed over, dropped ones too.
    pub(crate) taken: usize,
    /// Datagrams in `filled`.
    pub(crate) datagrams: usize,
    pub(crate) truncated: u64,
}

impl RecvBatch {
    /// 2 MiB, touched only as far as they are used. Allocates once.
    pub fn new() -> Self {
        Self {
            room: vec![0; ROOM * BATCH].into_boxed_slice(),
            filled: Vec::with_capacity(BATCH),
            taken: 0,
            datagrams: 0,
            truncated: 0,
        }
    }

    /// Datagrams of the last read.
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// The last read found nothing.
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// The last read used every buffer: more may be waiting.
    pub fn is_full(&self) -> bool {
        self.taken == BATCH
    }

    /// Datagrams of the last read that were longer than a buffer, and are dropped.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// The datagrams of the last read.
    pub fn datagrams_mut(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let mut filled = self.filled.iter().peekable();
        let full =
            self.room.chunks_exact_mut(ROOM).enumerate().filter_map(move |(slot, buffer)| {
                let filled = *filled.next_if(|filled| filled.slot == slot)?;
                Some((filled, buffer.get_mut(..filled.len)?))
            });
        full.flat_map(|(Filled { path, segment, at, .. }, buffer)| {
            buffer.chunks_mut(segment).map(move |bytes| Datagram { path, at, bytes })
        })
    }

    /// The buffers, each of [`ROOM`] bytes.
    pub(crate) fn buffers_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.room.chunks_exact_mut(ROOM)
    }

    /// Forgets the last read.
    pub(crate) fn clear(&mut self) {
        self.filled.clear();
        self.taken = 0;
        self.datagrams = 0;
        self.truncated = 0;
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}
