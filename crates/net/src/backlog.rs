//! The send backlog: datagrams that the kernel's send buffer had no room for, until the next call.
//!
//! * **Owns:** a bounded number of datagrams, in the order they were to leave.
//! * **In:** [`Backlog::keep`]. **Out:** [`Backlog::take`], to be tried again.
//! * **Invariant:** no path has more than [`SHARE`] datagrams here, so that a path with much traffic does not take the
//!   room of one with little. Datagrams beyond the bounds are dropped and counted.

use hearth_datagram::{Endpoint, Entry, SendSlab};

use crate::Sent;

/// Datagrams of one path: as many as one run of the kernel's has.
const SHARE: usize = 64;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Waiting datagrams, and room for those that have to wait again while they are retried; none if nothing is kept.
    slabs: Option<(SendSlab, SendSlab)>,
}

impl Backlog {
    /// Capacity in datagrams; 0 keeps none. The memory is touched only as far as it is used.
    pub(crate) fn new(datagrams: usize) -> Self {
        let slab = || SendSlab::new(datagrams);
        Self { slabs: (datagrams > 0).then(|| (slab(), slab())) }
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The waiting datagrams, in order; later ones are kept anew. Give the slab back when they were retried.
    pub(crate) fn take(&mut self) -> SendSlab {
        let Some((waiting, spare)) = &mut self.slabs else { return SendSlab::new(0) };
        std::mem::swap(waiting, spare);
        std::mem::replace(spare, SendSlab::new(0))
    }

    /// The counterpart of [`take`](Self::take).
    pub(crate) fn give_back(&mut self, mut slab: SendSlab) {
        slab.clear();
        if let Some((_, spare)) = &mut self.slabs {
            *spare = slab;
        }
    }

    /// How many of the first of `entries` have to wait, as earlier datagrams of their path wait.
    pub(crate) fn held(&self, entries: &[Entry]) -> usize {
        match entries.first() {
            Some(first) if self.holds(first.path) => {
                entries.iter().take_while(|entry| entry.path == first.path).count()
            }
            Some(_) | None => 0,
        }
    }

    /// How many of the first of `entries` need not wait.
    pub(crate) fn free(&self, entries: &[Entry]) -> usize {
        if self.is_empty() {
            return entries.len();
        }
        let mut last = None;
        let is_free = |entry: &&Entry| {
            let looked_up = last.replace(entry.path);
            looked_up == Some(entry.path) || !self.holds(entry.path)
        };
        entries.iter().take_while(is_free).count()
    }

    /// Keeps `entries`, which count in `bytes`, or drops them.
    pub(crate) fn keep(&mut self, bytes: &[u8], entries: &[Entry], sent: &mut Sent) {
        for entry in entries {
            let waiting = self.entries().iter().filter(|other| other.path == entry.path).count();
            let datagram = bytes.get(entry.start..entry.start.saturating_add(entry.len));
            let slab = self.slabs.as_mut().map(|(slab, _)| slab).filter(|_| waiting < SHARE);
            if slab.zip(datagram).is_some_and(|(slab, bytes)| slab.push(entry.path, bytes)) {
                sent.delayed += 1;
            } else {
                sent.full += 1;
            }
        }
    }

    fn entries(&self) -> &[Entry] {
        self.slabs.as_ref().map_or(&[], |(slab, _)| slab.entries())
    }

    fn holds(&self, path: Endpoint) -> bool {
        self.entries().iter().any(|entry| entry.path == path)
    }
}
