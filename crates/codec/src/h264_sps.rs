//! Picture size of an H.264 sequence parameter set.
//!
//! * **Owns:** nothing; one pure function.
//! * **In:** the parameter set behind its NAL header.
//! * **Out:** width and height after cropping.
//! * **Invariant:** every loop is bounded by the syntax or by the bits there are.
//! * **Spec:** H.264 §7.3.2.1.1 (syntax), §7.4.2.1.1 (cropping units).

use crate::bits::BitReader;

/// Width and height in pixels; `None` if the set is truncated, or the size is not of 16 bits.
pub(crate) fn dimensions(sps: &[u8]) -> Option<(u16, u16)> {
    let mut bits = BitReader::new(sps);
    let profile = bits.bits(8)?;
    let _constraints_and_level = bits.bits(16)?;
    let _id = bits.ue()?;
    let chroma = if HIGH_PROFILES.contains(&profile) { read_chroma(&mut bits)? } else { 1 };
    let _log2_max_frame_num = bits.ue()?;
    skip_picture_order(&mut bits)?;
    let _max_num_ref_frames = bits.ue()?;
    let _gaps_allowed = bits.bit()?;
    let width_mbs = bits.ue()?.checked_add(1)?;
    let height_map_units = bits.ue()?.checked_add(1)?;
    let frame_mbs_only = bits.bit()?;
    if !frame_mbs_only {
        let _adaptive = bits.bit()?;
    }
    let _direct_8x8 = bits.bit()?;
    // A picture of fields has half as many map units.
    let fields = if frame_mbs_only { 1 } else { 2_u32 };
    let mut width = width_mbs.checked_mul(16)?;
    let mut height = height_map_units.checked_mul(16)?.checked_mul(fields)?;
    if bits.bit()? {
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { fields.checked_mul(2)? } else { fields };
        let horizontal = bits.ue()?.checked_add(bits.ue()?)?;
        let vertical = bits.ue()?.checked_add(bits.ue()?)?;
        width = width.checked_sub(horizontal.checked_mul(unit_x)?)?;
        height = height.checked_sub(vertical.checked_mul(unit_y)?)?;
    }
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Passes what only the high profiles have; returns ChromaArrayType.
fn read_chroma(bits: &mut BitReader<'_>) -> Option<u32> {
    let format = bits.ue()?;
    let separate_planes = format == 3 && bits.bit()?;
    let _luma_depth = bits.ue()?;
    let _chroma_depth = bits.ue()?;
    let _bypass = bits.bit()?;
    if bits.bit()? {
        let lists = if format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(if separate_planes { 0 } else { format })
}

fn skip_scaling_list(bits: &mut BitReader<'_>, size: u32) -> Option<()> {
    let mut scale = 8_i32;
    for _ in 0..size {
        scale = scale.wrapping_add(bits.se()?) & 0xff;
        if scale == 0 {
            break;
        }
    }
    Some(())
}

fn skip_picture_order(bits: &mut BitReader<'_>) -> Option<()> {
    match bits.ue()? {
        0 => {
            let _log2_max = bits.ue()?;
        }
        1 => {
            let _always_zero = bits.bit()?;
            let _offsets = (bits.se()?, bits.se()?);
            let frames = bits.ue().filter(|frames| *frames <= 255)?;
            for _ in 0..frames {
                let _offset = bits.se()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// profile_idc of the profiles with chroma_format_idc.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_netem::each_seed;

    /// x264, High profile, 1280x720.
    const HD: [u8; 25] = [
        0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00,
        0x10, 0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x19, 0x60,
    ];
    /// x264, High profile, 1920x1080: 1088 lines, cropped.
    const FULL_HD: [u8; 26] = [
        0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03,
        0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
    ];

    #[test]
    fn sizes_of_real_encoders() {
        assert_eq!(dimensions(&HD), Some((1280, 720)));
        assert_eq!(dimensions(&FULL_HD), Some((1920, 1080)));
    }

    /// Writes fields given as text: digits are Exp-Golomb codes, `b…` bits as they are.
    fn sps(fields: &str) -> Vec<u8> {
        let mut bits = String::new();
        for field in fields.split_whitespace() {
            if let Some(raw) = field.strip_prefix('b') {
                bits.push_str(raw);
            } else {
                let code = format!("{:b}", field.parse::<u32>().unwrap().wrapping_add(1));
                bits.push_str(&"0".repeat(code[1..].len()));
                bits.push_str(&code);
            }
        }
        bits.push_str("10000000");
        let bytes = bits.as_bytes().chunks_exact(8);
        bytes.map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap()).collect()
    }

    #[test]
    fn every_branch_of_the_syntax() {
        let base = "b01000010 b0000000000011111"; // Baseline, level 3.1
        let high = "b01100100 b0000000000011111";
        let table = [
            // id, frame_num, order 0, refs, gaps, 40x30 macroblocks, frames only, 8x8, no crop
            (format!("{base} 0 0 0 0 1 b0 39 29 b1 b1 b0"), (640, 480)),
            // order of type 1 with two offsets
            (format!("{base} 0 0 1 b0 3 4 2 5 6 1 b0 39 29 b1 b1 b0"), (640, 480)),
            // order of type 2; fields, cropped by 2 units of 2 and 3 units of 4
            (format!("{base} 0 0 2 1 b0 39 14 b0 b0 b1 b1 1 1 2 1"), (636, 468)),
            // 4:4:4 with separate planes and one scaling list that ends at once (delta -8)
            (
                format!(
                    "{high} 0 3 b1 0 0 b0 b1 b1 16 b00000000000 0 0 0 1 b0 39 29 b1 b1 b1 1 0 0 1"
                ),
                (639, 479),
            ),
            // 4:2:2: cropped by 2 across and 1 down
            (format!("{high} 0 2 0 0 b0 b0 0 0 0 1 b0 39 29 b1 b1 b1 1 0 0 1"), (638, 479)),
        ];
        for (fields, expect) in table {
            let sps = sps(&fields);
            assert_eq!(dimensions(&sps), Some(expect), "{fields}");
            for n in 0..sps.len() - 2 {
                assert_eq!(dimensions(&sps[..n]), None, "{n} of {fields}");
            }
        }
    }

    #[test]
    fn a_size_beyond_16_bits_or_below_zero_is_none() {
        let base = "b01000010 b0000000000011111 0 0 0 0 1 b0";
        for fields in ["4095 29 b1 b1 b0", "4294967294 29 b1 b1 b0", "0 29 b1 b1 b1 9 0 0 0"] {
            assert_eq!(dimensions(&sps(&format!("{base} {fields}"))), None, "{fields}");
        }
    }

    #[test]
    fn random_bytes_do_not_panic() {
        let mut found = 0_u32;
        each_seed(|noise| {
            let mut sps = vec![if noise.bits() & 1 == 0 { 66 } else { 100 }];
            sps.extend(noise.bytes(60));
            found += u32::from(dimensions(&sps).is_some());
        });
        assert!(found > 100, "only {found} had a size");
    }
}
