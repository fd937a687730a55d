//! One batch of datagrams to send, contiguous in memory.
//!
//! * **Owns:** a fixed buffer, and for each datagram in it its path and its class.
//! * **In:** [`SendSlab::reserve`] room, write into it, [`SendSlab::commit_as`].
//! * **Out:** [`SendSlab::iter`], in the order written.
//! * **Invariant:** datagrams lie back to back, so a run by one path is one contiguous slice.

use crate::{Endpoint, MAX_DATAGRAM};

/// What is given up first where a path is slower than what is sent by it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TrafficClass {
    /// Audio, RTCP, and what a transport itself sends (STUN, DTLS).
    #[default]
    Vital,
    /// Video packets: most of the bytes, and what the receiver can ask for again.
    Video,
}

/// The place of a datagram in the slab, its network path and its class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Where from and where to.
    pub path: Endpoint,
    /// First byte in [`SendSlab::bytes`].
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
    /// What a slow path makes of it.
    pub class: TrafficClass,
}

/// See the module documentation.
#[derive(Debug)]
pub struct SendSlab {
    bytes: Box<[u8]>,
    entries: Vec<Entry>,
    used: usize,
}

impl SendSlab {
    /// Room for `datagrams` of [`MAX_DATAGRAM`] bytes. Allocates once.
    pub fn new(datagrams: usize) -> Self {
        Self {
            bytes: vec![0; datagrams.saturating_mul(MAX_DATAGRAM)].into_boxed_slice(),
            entries: Vec::with_capacity(datagrams),
            used: 0,
        }
    }

    /// No room for another datagram: send, then [`clear`](Self::clear).
    pub fn is_full(&self) -> bool {
        self.entries.len() == self.entries.capacity()
            || self.bytes.len().saturating_sub(self.used) < MAX_DATAGRAM
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.used = 0;
    }

    /// The datagrams in the order written.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The buffer that [`Entry::start`] counts in.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The datagrams in the order written, with their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Endpoint, &[u8])> {
        self.entries.iter().map(|entry| {
            let end = entry.start.saturating_add(entry.len);
            (entry.path, self.bytes.get(entry.start..end).unwrap_or_default())
        })
    }

    /// [`MAX_DATAGRAM`] bytes to write the next datagram into; `None` if full.
    pub fn reserve(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let end = self.used.saturating_add(MAX_DATAGRAM);
        self.bytes.get_mut(self.used..end)
    }

    /// Adds the first `len` bytes of the last reserved room as a datagram that goes by `path`.
    pub fn commit(&mut self, path: Endpoint, len: usize) {
        self.commit_as(TrafficClass::Vital, path, len);
    }

    /// The same for any class.
    #[inline]
    pub fn commit_as(&mut self, class: TrafficClass, path: Endpoint, len: usize) {
        let len = len.min(MAX_DATAGRAM);
        self.entries.push(Entry { path, start: self.used, len, class });
        self.used = self.used.saturating_add(len);
    }

    /// Forgets the first `n` datagrams; those after them keep their order.
    pub fn remove_first(&mut self, n: usize) {
        if n >= self.entries.len() {
            self.clear();
        } else {
            self.entries.drain(..n);
        }
    }

    /// Copies a finished datagram in; false if full or too long.
    pub fn push(&mut self, path: Endpoint, datagram: &[u8]) -> bool {
        let Some(room) = self.reserve().and_then(|room| room.get_mut(..datagram.len())) else {
            return false;
        };
        room.copy_from_slice(datagram);
        self.commit(path, datagram.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_lie_back_to_back_and_a_full_slab_refuses() {
        let path = path();
        let mut slab = SendSlab::new(2);
        assert!(slab.push(path, b"ab"));
        assert!(slab.push(path, b"c"));
        assert!(!slab.push(path, b"d"));
        let sent: Vec<&[u8]> = slab.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(sent, [b"ab".as_slice(), b"c"]);
        assert_eq!(slab.bytes()[..3], *b"abc");

        slab.clear();
        assert!(slab.is_empty());
    }

    #[test]
    fn a_datagram_longer_than_the_limit_is_refused() {
        let mut slab = SendSlab::new(2);
        assert!(!slab.push(path(), &[0; MAX_DATAGRAM + 1]));
    }
    fn path() -> Endpoint {
        Endpoint::udp("127.0.0.1:7882".parse().unwrap(), "127.0.0.1:9".parse().unwrap())
    }
}
