//! One payload, taken for each codec's: layers are in range, and blocks add up to the payload.
#![no_main]

use hearth_codec::{Codec, Vp8Descriptor, dd::Mandatory, inspect, opus, red};
use libfuzzer_sys::fuzz_target;

const VIDEO: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265];

fuzz_target!(|payload: &[u8]| {
    for codec in VIDEO {
        let info = inspect(codec, payload);
        assert!(info.temporal < 8 && info.spatial < 8, "{codec:?}");
        assert!(info.starts_frame || !info.keyframe, "{codec:?}");
        assert!(info.vp8.is_none() || codec == Codec::Vp8, "{codec:?}");
    }

    if let Some(read) = Vp8Descriptor::parse(payload) {
        assert!(usize::from(read.header_len) <= payload.len());
        let mut bytes = [0; Vp8Descriptor::MAX_LEN];
        let len = read.write(&mut bytes);
        let expect = Vp8Descriptor {
            picture_id: read.picture_id.map(|(id, _)| (id, true)),
            header_len: len as u8,
            ..read
        };
        assert_eq!(Vp8Descriptor::parse(&bytes[..len]), Some(expect));
    }

    let blocks: Vec<_> = red::blocks(payload).collect();
    if let Some((last, older)) = blocks.split_last() {
        assert!(last.primary && older.iter().all(|block| !block.primary));
        let data: usize = blocks.iter().map(|block| block.data.len()).sum();
        assert_eq!(data + 4 * older.len() + 1, payload.len());
        assert_eq!(red::primary(payload), Some((last.payload_type, last.data)));
    }
    assert_eq!(red::redundant(payload).count(), blocks.len().saturating_sub(1));

    assert!(opus::is_silence(payload) || !opus::is_dtx(payload));
    assert_eq!(Mandatory::parse(payload).is_some(), payload.len() >= 3);
});
