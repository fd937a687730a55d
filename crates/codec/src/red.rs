//! RED: one audio frame and some of those before it in one packet.
//!
//! * **Owns:** nothing; borrows the payload.
//! * **In:** an RTP payload.
//! * **Out:** [`primary`], the frame; [`redundant`], older ones, oldest first; [`blocks`], all.
//! * **Invariant:** a payload whose headers or lengths do not fit has no blocks at all.
//! * **Spec:** RFC 2198 §3.

use crate::reader::Reader;

/// One frame inside a RED payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Block<'a> {
    /// Payload type, 7 bits, in the session of the packet.
    pub payload_type: u8,
    /// How much older than the packet it is: 14 bits, in units of the RTP clock; 0 for the primary.
    pub timestamp_offset: u16,
    /// True for the last block, the frame that the packet was sent for.
    pub primary: bool,
    /// The frame.
    pub data: &'a [u8],
}

/// The blocks of one payload, in its order: redundant ones, then the primary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blocks<'a> {
    headers: Reader<'a>,
    data: Reader<'a>,
}

impl<'a> Blocks<'a> {
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let headers = Reader(payload);
        let mut data = headers;
        let mut redundant_len = 0_usize;
        while let Header::Redundant { len, .. } = Header::read(&mut data)? {
            redundant_len = redundant_len.saturating_add(usize::from(len));
        }
        (redundant_len <= data.0.len()).then_some(Self { headers, data })
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        Some(match Header::read(&mut self.headers)? {
            Header::Redundant { payload_type, timestamp_offset, len } => {
                let data = self.data.take(usize::from(len))?;
                Block { payload_type, timestamp_offset, primary: false, data }
            }
            Header::Primary { payload_type } => {
                let data = std::mem::take(self).data.0;
                Block { payload_type, timestamp_offset: 0, primary: true, data }
            }
        })
    }
}

enum Header {
    Redundant { payload_type: u8, timestamp_offset: u16, len: u16 },
    Primary { payload_type: u8 },
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.u8()?;
        let payload_type = first & 0x7f;
        if first & 0x80 == 0 {
            return Some(Self::Primary { payload_type });
        }
        let (offset_high, rest) = (reader.u8()?, reader.u16()?);
        let timestamp_offset = (u16::from(offset_high) << 6) | (rest >> 10);
        Some(Self::Redundant { payload_type, timestamp_offset, len: rest & 0x3ff })
    }
}

/// All blocks; none if the payload is broken.
pub fn blocks(payload: &[u8]) -> Blocks<'_> {
    Blocks::parse(payload).unwrap_or_default()
}

/// Payload type and bytes of the frame that the packet was sent for; `None` if it is broken.
///
/// **Cost:** one pass over the block headers.
pub fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    blocks(payload).last().map(|block| (block.payload_type, block.data))
}

/// The older frames, in the order of the packet.
pub fn redundant(payload: &[u8]) -> impl Iterator<Item = Block<'_>> {
    blocks(payload).filter(|block| !block.primary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    /// Two older frames of 1 and 2 bytes, 1920 and 960 ticks ago, before one of 3 bytes.
    const PAYLOAD: [u8; 15] = [0xef, 0x1e, 0x00, 1, 0xef, 0x0f, 0x00, 2, 0x6f, 1, 2, 2, 3, 3, 3];

    #[test]
    fn blocks_come_in_order_and_the_last_is_the_primary() {
        let older = [
            Block { payload_type: 111, timestamp_offset: 1920, primary: false, data: &[1] },
            Block { payload_type: 111, timestamp_offset: 960, primary: false, data: &[2, 2] },
        ];
        assert!(redundant(&PAYLOAD).eq(older));
        assert_eq!(blocks(&PAYLOAD).count(), 3);
        assert_eq!(primary(&PAYLOAD), Some((111, [3, 3, 3].as_slice())));
    }

    #[test]
    fn a_payload_without_redundancy_is_one_byte_longer_than_its_frame() {
        assert_eq!(primary(&[0x6f, 7, 8]), Some((111, [7, 8].as_slice())));
        assert_eq!(primary(&[0x6f]), Some((111, [].as_slice())));
        assert_eq!(redundant(&[0x6f, 7, 8]).count(), 0);
    }

    #[test]
    fn offset_and_length_take_all_their_bits() {
        let mut payload = vec![0xff, 0xff, 0xff, 0xff, 0x00];
        payload.resize(5 + 1023, 9);
        let block = redundant(&payload).next().unwrap();
        assert_eq!((block.payload_type, block.timestamp_offset), (127, 0x3fff));
        assert_eq!(block.data.len(), 1023);
        assert_eq!(primary(&payload), Some((0, [].as_slice())));
    }

    #[test]
    fn a_truncated_payload_has_no_blocks() {
        for n in 0..12 {
            assert_eq!(blocks(&PAYLOAD[..n]).count(), 0, "{n} bytes");
            assert_eq!(primary(&PAYLOAD[..n]), None, "{n} bytes");
        }
    }

    #[test]
    fn random_bytes_do_not_panic_and_a_primary_is_always_last() {
        let mut found = 0_u32;
        each_seed(|noise| {
            let payload = noise.bytes(60);
            let blocks: Vec<_> = blocks(&payload).collect();
            assert_eq!(blocks.last().is_some_and(|last| last.primary), !blocks.is_empty());
            assert_eq!(redundant(&payload).count(), blocks.len().saturating_sub(1));
            found += u32::from(blocks.len() > 1);
        });
        assert!(found > 100, "only {found} had redundancy");
    }
}
