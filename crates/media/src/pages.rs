//! Memory that takes no more than was written to, and goes back to the system at once.
//!
//! * **Owns:** zeros, to be written over.
//! * **In:** bytes written. **Out:** the same bytes.
//! * **Invariant:** as long as asked for, and zero where nothing was written.
//! * **Why:** an allocator keeps what it gets back, among what is still in use. What a publisher's highest
//!   encoding took while its viewers settled on a lower one would stay for as long as the call.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// See the module documentation.
#[derive(Debug)]
pub(crate) enum Pages {
    Mapped(MmapMut),
    /// The system refused a mapping, for instance because the process has as many as it may have. This one is
    /// whole from the start, and goes back to the allocator.
    Heap(Box<[u8]>),
}

impl Pages {
    /// `len` zeros.
    pub(crate) fn new(len: usize) -> Self {
        let heap = || Self::Heap(vec![0; len].into_boxed_slice());
        MmapMut::map_anon(len).map_or_else(|_| heap(), Self::Mapped)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeros_until_they_are_written_to() {
        let heap = Pages::Heap(vec![0; 10_000].into_boxed_slice());
        for mut pages in [Pages::new(10_000), heap] {
            assert_eq!(*pages, [0; 10_000]);
            pages[9_999] = 7;
            assert_eq!(pages[9_990..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        }
        assert!(Pages::new(0).is_empty());
    }
}
