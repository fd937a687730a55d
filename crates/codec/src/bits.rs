//! Bits of an H.264 or H.265 parameter set.
//!
//! * **Owns:** the position in the NAL unit, and which bytes only prevent start codes.
//! * **In:** a NAL unit behind its header, with emulation prevention bytes.
//! * **Out:** fixed-width and Exp-Golomb numbers; `None` once the bits run out.
//! * **Invariant:** every read consumes at least one bit or returns `None`.
//! * **Spec:** ITU-T H.264 §7.3.1 (emulation prevention), §9.1 (Exp-Golomb).

/// Reads from the most significant bit of the first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    byte: u8,
    bits_left: u8,
    zeros: u8,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, byte: 0, bits_left: 0, zeros: 0 }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (mut byte, mut rest) = self.bytes.split_first()?;
        if self.zeros >= 2 && *byte == 3 {
            self.zeros = 0;
            (byte, rest) = rest.split_first()?;
        }
        self.bytes = rest;
        self.zeros = if *byte == 0 { self.zeros.saturating_add(1) } else { 0 };
        Some(*byte)
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        if self.bits_left == 0 {
            self.byte = self.next_byte()?;
            self.bits_left = 8;
        }
        self.bits_left = self.bits_left.saturating_sub(1);
        let bit = self.byte & 0x80 != 0;
        self.byte <<= 1;
        Some(bit)
    }

    /// `n` bits, at most 32.
    pub(crate) fn bits(&mut self, n: u32) -> Option<u32> {
        (0..n).try_fold(0_u32, |value, _| Some((value << 1) | u32::from(self.bit()?)))
    }

    /// An unsigned Exp-Golomb number of at most 32 bits.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0_u32;
        while !self.bit()? {
            zeros = zeros.checked_add(1).filter(|zeros| *zeros < 32)?;
        }
        let base = 1_u32.unbounded_shl(zeros).checked_sub(1)?;
        base.checked_add(self.bits(zeros)?)
    }

    /// A signed Exp-Golomb number.
    pub(crate) fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let magnitude = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code & 1 == 0 { magnitude.wrapping_neg() } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_numbers() {
        // 1 | 010 | 011 | 00100 | 00101 | 1 …
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1100_0000]);
        let read: Vec<_> = (0..6).map_while(|_| bits.ue()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4, 0]);
        assert_eq!(bits.ue(), None);

        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1100_0000]);
        let read: Vec<_> = (0..5).map_while(|_| bits.se()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn the_longest_exp_golomb_number_fits_and_longer_ones_are_refused() {
        let longest = [0, 0, 3, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(BitReader::new(&longest).ue(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&[0, 0, 3, 0, 0, 3, 0xff, 0xff, 0xff, 0xff]).ue(), None);
    }

    #[test]
    fn bytes_that_prevent_start_codes_are_left_out() {
        let mut bits = BitReader::new(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 2]);
        let read: Vec<_> = (0..9).map_while(|_| bits.bits(8)).collect();
        assert_eq!(read, [0, 0, 1, 0, 0, 0, 0, 2]);
        let mut bits = BitReader::new(&[0, 3, 0, 0, 3]);
        let read: Vec<_> = (0..9).map_while(|_| bits.bits(8)).collect();
        assert_eq!(read, [0, 3, 0, 0]);
    }
}
