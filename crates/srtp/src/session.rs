//! Keying material of a DTLS handshake, split into the two directions.

use crate::transform::Transform;
use crate::{Opener, Sealer, SrtpError};

/// A protection profile of RFC 5764 §4.1.2 and RFC 7714 §14.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    AesCm128HmacSha1_80,
}

impl Profile {
    /// Length of a master key and of a session key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of a master salt in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::AesCm128HmacSha1_80 => 14,
        }
    }
}

/// Both directions of one transport.
#[derive(Debug)]
pub struct Session;

impl Session {
    /// Makes both directions from exported keying material (RFC 5764 §4.2): client key, server key,
    /// client salt, server salt.
    ///
    /// # Errors
    ///
    /// [`SrtpError::Keys`] if there are too few bytes for the profile.
    pub fn from_dtls(
        profile: Profile,
        keying_material: &[u8],
        is_dtls_server: bool,
    ) -> Result<(Sealer, Opener), SrtpError> {
        let split = |bytes: &mut &[u8], n: usize| -> Result<Vec<u8>, SrtpError> {
            let (head, tail) = bytes.split_at_checked(n).ok_or(SrtpError::Keys)?;
            *bytes = tail;
            Ok(head.to_vec())
        };
        let mut rest = keying_material;
        let client_key = split(&mut rest, profile.key_len())?;
        let server_key = split(&mut rest, profile.key_len())?;
        let client_salt = split(&mut rest, profile.salt_len())?;
        let server_salt = split(&mut rest, profile.salt_len())?;
        let (client, server) = ((client_key, client_salt), (server_key, server_salt));
        let (ours, theirs) = if is_dtls_server { (server, client) } else { (client, server) };
        let sealer = Sealer::new(
            Transform::rtp(profile, &ours.0, &ours.1)?,
            Transform::rtcp(profile, &ours.0, &ours.1)?,
        );
        let opener = Opener::new(
            Transform::rtp(profile, &theirs.0, &theirs.1)?,
            Transform::rtcp(profile, &theirs.0, &theirs.1)?,
        );
        Ok((sealer, opener))
    }
}

#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 3] =
        [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];

    #[test]
    fn each_side_opens_what_the_other_sealed() {
        for profile in PROFILES {
            let (mut server, mut client) = pair(profile);
            let mut packet = rtp(65_535, 40);
            let len = server.0.seal_rtp(&mut packet, 12, 52, 65_535).unwrap();
            assert_ne!(packet[12..52], [0xab; 40]);
            let opened = client.1.open_rtp(&mut packet[..len]).unwrap();
            assert_eq!((opened.len, opened.index), (52, 65_535));
            assert_eq!(packet[12..52], [0xab; 40]);

            let mut packet = [0x5a; 60];
            packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
            let plain = packet;
            let len = client.0.seal_rtcp(&mut packet, 28).unwrap();
            let opened = server.1.open_rtcp(&mut packet[..len]).unwrap();
            assert_eq!(opened.len, 28);
            assert_eq!(packet[..28], plain[..28]);
        }
    }

    #[test]
    fn the_index_goes_on_across_wraps_and_loss() {
        for profile in PROFILES {
            let (mut server, mut client) = pair(profile);
            for index in (65_000..200_000).step_by(997) {
                let mut packet = rtp(u16::try_from(index & 0xffff).unwrap(), 5);
                let len = server.0.seal_rtp(&mut packet, 12, 17, index).unwrap();
                assert_eq!(client.1.open_rtp(&mut packet[..len]).unwrap().index, index);
            }
        }
    }

    #[test]
    fn a_packet_opens_once() {
        for profile in PROFILES {
            let (mut server, mut client) = pair(profile);
            let mut packet = rtp(9, 5);
            let len = server.0.seal_rtp(&mut packet, 12, 17, 9).unwrap();
            let mut again = packet.clone();
            assert!(client.1.open_rtp(&mut packet[..len]).is_ok());
            let replayed = client.1.open_rtp(&mut again[..len]);
            assert_eq!(replayed.unwrap_err(), SrtpError::Replayed);

            let mut packet = [0x80; 60];
            let len = server.0.seal_rtcp(&mut packet, 28).unwrap();
            let mut again = packet;
            assert!(client.1.open_rtcp(&mut packet[..len]).is_ok());
            let replayed = client.1.open_rtcp(&mut again[..len]);
            assert_eq!(replayed.unwrap_err(), SrtpError::Replayed);
        }
    }

    #[test]
    fn any_changed_bit_is_noticed_and_any_truncation_is_refused() {
        for profile in PROFILES {
            let (mut server, mut client) = pair(profile);
            let mut packet = rtp(9, 5);
            let len = server.0.seal_rtp(&mut packet, 12, 17, 9).unwrap();
            for at in 0..len {
                let mut forged = packet[..len].to_vec();
                forged[at] ^= 0x04;
                assert!(client.1.open_rtp(&mut forged).is_err(), "byte {at}");
                assert!(client.1.open_rtp(&mut packet[..at].to_vec()).is_err(), "{at} bytes");
            }
            assert!(client.1.open_rtp(&mut packet[..len]).is_ok());

            let mut packet = [0x80; 60];
            let len = server.0.seal_rtcp(&mut packet, 28).unwrap();
            for at in 0..len {
                let mut forged = packet[..len].to_vec();
                forged[at] ^= 0x04;
                assert!(client.1.open_rtcp(&mut forged).is_err(), "RTCP byte {at}");
                assert!(client.1.open_rtcp(&mut packet[..at].to_vec()).is_err(), "{at} bytes");
            }
            assert!(client.1.open_rtcp(&mut packet[..len]).is_ok());
        }
    }

    #[test]
    fn header_extensions_stay_readable() {
        for profile in PROFILES {
            let (mut server, mut client) = pair(profile);
            let mut packet = rtp(9, 40);
            packet[0] = 0x91;
            packet[12..24].copy_from_slice(&[1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
            let header = packet[..24].to_vec();
            let len = server.0.seal_rtp(&mut packet, 24, 52, 9).unwrap();
            assert_eq!(packet[..24], header);
            assert_eq!(client.1.open_rtp(&mut packet[..len]).unwrap().len, 52);
            assert_eq!(packet[24..52], [0xab; 28]);
        }
    }

    #[test]
    fn a_flood_of_sources_does_not_grow_the_table() {
        let (mut server, mut client) = pair(Profile::AeadAes128Gcm);
        for ssrc in 0..1_000_u32 {
            let mut packet = rtp(9, 5);
            packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            let len = server.0.seal_rtp(&mut packet, 12, 17, 9).unwrap();
            assert!(client.1.open_rtp(&mut packet[..len]).is_ok());
        }
        assert_eq!(client.1.sources(), 128);
    }

    fn pair(profile: Profile) -> ((Sealer, Opener), (Sealer, Opener)) {
        let material: Vec<u8> = (0..88).collect();
        let server = Session::from_dtls(profile, &material, true).unwrap();
        (server, Session::from_dtls(profile, &material, false).unwrap())
    }

    fn rtp(seq: u16, payload: usize) -> Vec<u8> {
        let [hi, lo] = seq.to_be_bytes();
        let mut packet = vec![0x80, 96, hi, lo, 0, 0, 0, 9, 0, 0, 0, 7];
        packet.extend(std::iter::repeat_n(0xab, payload));
        packet.extend([0; 16]);
        packet
    }
}
