//! Dependency descriptor: the fields that every one has.
//!
//! * **Owns:** nothing; a pure function of one header extension.
//! * **In:** the extension's data.
//! * **Out:** [`Mandatory`].
//! * **Invariant:** what is behind the mandatory fields is not checked.
//! * **Spec:** "RTP Payload Format For AV1" v1.0.0, appendix A.8.2.
//! * **Not here:** templates, decode targets and chains.

/// The three bytes in front of each descriptor, and whether a template structure follows them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mandatory {
    /// First packet of a frame.
    pub start_of_frame: bool,
    /// Last packet of a frame.
    pub end_of_frame: bool,
    /// frame_dependency_template_id, 6 bits.
    pub template_id: u8,
    /// Counts frames, 16 bits, wraps.
    pub frame_number: u16,
    /// It brings a template structure, as those of key frames do.
    pub has_structure: bool,
}

impl Mandatory {
    /// Reads the front of a descriptor; `None` below three bytes.
    pub fn parse(descriptor: &[u8]) -> Option<Self> {
        let ([flags, n0, n1], rest) = descriptor.split_first_chunk()?;
        Some(Self {
            start_of_frame: flags & 0x80 != 0,
            end_of_frame: flags & 0x40 != 0,
            template_id: flags & 0x3f,
            frame_number: u16::from_be_bytes([*n0, *n1]),
            has_structure: rest.first().is_some_and(|extended| extended & 0x80 != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mandatory_fields() {
        let plain = Mandatory {
            start_of_frame: true,
            end_of_frame: false,
            template_id: 5,
            frame_number: 0x1234,
            has_structure: false,
        };
        assert_eq!(Mandatory::parse(&[0x85, 0x12, 0x34]), Some(plain));
        assert_eq!(Mandatory::parse(&[0x85, 0x12, 0x34, 0x7f]), Some(plain));
        let key = Mandatory { end_of_frame: true, has_structure: true, ..plain };
        assert_eq!(Mandatory::parse(&[0xc5, 0x12, 0x34, 0x80]), Some(key));
        for n in 0..3 {
            assert_eq!(Mandatory::parse(&[0xc5, 0x12, 0x34][..n]), None, "{n} bytes");
        }
    }
}
