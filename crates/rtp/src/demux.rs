//! Which protocol a datagram belongs to.
//!
//! * **Owns:** nothing; one pure function of the first two bytes.
//! * **In:** any datagram of a transport that bundles everything on one port.
//! * **Out:** a [`PacketKind`].
//! * **Invariant:** the answer says where to try, not that the rest of the datagram is valid.
//! * **Spec:** RFC 7983 §7 (first byte), RFC 5761 §4 (RTP against RTCP by the second byte).

/// The protocol to hand a datagram to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PacketKind {
    /// First byte 0–3.
    Stun,
    /// First byte 20–63.
    Dtls,
    /// First byte 128–191, second byte outside 192–223.
    Rtp,
    /// First byte 128–191, second byte 192–223.
    Rtcp,
    /// Anything else, among it TURN channels (64–79) and datagrams of less than two bytes.
    Unknown,
}

/// Looks at the first two bytes of a datagram.
pub fn classify(buf: &[u8]) -> PacketKind {
    match buf {
        [0..=3, _, ..] => PacketKind::Stun,
        [20..=63, _, ..] => PacketKind::Dtls,
        [128..=191, 192..=223, ..] => PacketKind::Rtcp,
        [128..=191, _, ..] => PacketKind::Rtp,
        _ => PacketKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_bytes_decide() {
        let table: [(&[u8], PacketKind); 16] = [
            (&[], PacketKind::Unknown),
            (&[0x80], PacketKind::Unknown),
            (&[0, 1], PacketKind::Stun),
            (&[3, 0], PacketKind::Stun),
            (&[4, 0], PacketKind::Unknown),
            (&[19, 0], PacketKind::Unknown),
            (&[20, 0], PacketKind::Dtls),
            (&[63, 254], PacketKind::Dtls),
            (&[64, 0], PacketKind::Unknown),
            (&[127, 200], PacketKind::Unknown),
            (&[0x80, 111], PacketKind::Rtp),
            (&[0x80, 191], PacketKind::Rtp),
            (&[0x80, 192], PacketKind::Rtcp),
            (&[0xbf, 223], PacketKind::Rtcp),
            (&[0xbf, 224], PacketKind::Rtp),
            (&[192, 200], PacketKind::Unknown),
        ];
        for (bytes, expect) in table {
            assert_eq!(classify(bytes), expect, "{bytes:?}");
        }
    }
}
