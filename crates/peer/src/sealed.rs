//! In builds with assertions: checks that no SRTP index seals two different packets.
//!
//! * **Owns:** digests of the newest sealed packets.
//! * **In:** [`note`](Sealed::note), each packet before it is sealed.
//! * **Out:** a failed assertion.
//! * **Invariant:** without assertions it is empty and costs nothing. Indices are kept apart by `media`, for each
//!   SSRC, and [`Ssrcs`](crate::ssrcs::Ssrcs).

#[cfg(debug_assertions)]
use std::hash::{DefaultHasher, Hasher as _};

/// Packets that are remembered; retransmissions under the same index come within 128.
#[cfg(debug_assertions)]
const PACKETS: usize = 1_024;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    /// By SSRC and index, each in the place of an older one: (SSRC, index, digest).
    #[cfg(debug_assertions)]
    packets: Vec<(u32, u64, u64)>,
}

#[cfg(debug_assertions)]
impl Sealed {
    /// `packet` is about to be sealed under `index`.
    pub(crate) fn note(&mut self, packet: &[u8], index: u64) {
        let Some([s0, s1, s2, s3]) = packet.get(8..12).and_then(<[u8]>::first_chunk) else {
            return;
        };
        let ssrc = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let mut digest = DefaultHasher::new();
        digest.write(packet);
        let digest = digest.finish();
        self.packets.resize(PACKETS, (0, 0, 0));
        let at = (u64::from(ssrc).wrapping_mul(0x9e37_79b9) ^ index) % PACKETS as u64;
        let Some(packet) = self.packets.get_mut(at as usize) else { return };
        let before = std::mem::replace(packet, (ssrc, index, digest));
        let is_other = (before.0, before.1) == (ssrc, index) && before.2 != digest;
        debug_assert!(!is_other, "SRTP index {index} of SSRC {ssrc:#x} seals two packets");
    }
}

#[cfg(not(debug_assertions))]
impl Sealed {
    /// Nothing, without assertions.
    #[expect(clippy::unused_self, reason = "the same with assertions")]
    pub(crate) const fn note(&self, _packet: &[u8], _index: u64) {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn the_same_packet_may_be_sealed_again() {
        let mut sealed = Sealed::default();
        for index in [5, 6, 5, 5 + PACKETS as u64, 5] {
            sealed.note(&[7; 40], index);
        }
    }

    #[test]
    #[should_panic = "seals two packets"]
    fn another_packet_under_the_same_index_is_noticed() {
        let mut sealed = Sealed::default();
        sealed.note(&[7; 40], 5);
        sealed.note(&[7; 41], 5);
    }
}
