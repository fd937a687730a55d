//! Taking numbers off the front of a slice.
//!
//! * **Owns:** the part of the slice not read yet.
//! * **In:** any bytes.
//! * **Out:** `None` once the bytes run out.
//! * **Invariant:** a read that returns `None` takes nothing.

/// A slice that is read from the front.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*chunk))
    }

    /// A length of up to eight times seven bits, least significant first (AV1 §4.10.5).
    pub(crate) fn leb128(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..56_u32).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).unbounded_shl(shift);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
