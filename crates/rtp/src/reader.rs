//! Taking big-endian numbers off the front of a slice.
//!
//! * **Owns:** the part of the slice not read yet.
//! * **In:** any bytes.
//! * **Out:** `None` once the bytes run out.
//! * **Invariant:** a read that returns `None` takes nothing.

/// A slice that is read from the front.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(chunk)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[b]| *b)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.chunk().map(|b| u16::from_be_bytes(*b))
    }

    pub(crate) fn u24(&mut self) -> Option<u32> {
        self.chunk::<3>().map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.chunk().map(|b| u32::from_be_bytes(*b))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.chunk().map(|b| u64::from_be_bytes(*b))
    }
}
