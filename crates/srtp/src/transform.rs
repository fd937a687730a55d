//! Encryption and authentication of one packet, with everything about time and order decided.
//!
//! Each cipher is from the library that is faster at it: AES-GCM from ring, AES-CM and HMAC-SHA1
//! from aws-lc (`docs/decisions/0002-aes-gcm-from-ring.md`).

use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::hmac;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::SrtpError;
use crate::kdf::{Label, cipher, counter_mode, derive};
use crate::session::Profile;

/// HMAC-SHA1 cut to 80 bits.
const CM_TAG: usize = 10;
/// GCM's tag is never cut (RFC 7714 §13.2).
const GCM_TAG: usize = 16;

/// Session keys of one direction and one protocol (RTP or RTCP).
#[derive(Debug)]
pub(crate) enum Transform {
    /// The salt as a number of 96 bits.
    Gcm {
        key: Box<LessSafeKey>,
        salt: u128,
    },
    Cm {
        key: Box<EncryptingKey>,
        auth: Box<hmac::Key>,
        salt: [u8; 14],
    },
}

impl Transform {
    pub(crate) fn rtp(profile: Profile, master: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Self::new(profile, master, salt, [Label::RtpKey, Label::RtpAuth, Label::RtpSalt])
    }

    pub(crate) fn rtcp(profile: Profile, master: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Self::new(profile, master, salt, [Label::RtcpKey, Label::RtcpAuth, Label::RtcpSalt])
    }

    fn new(
        profile: Profile,
        master: &[u8],
        master_salt: &[u8],
        [key_label, auth_label, salt_label]: [Label; 3],
    ) -> Result<Self, SrtpError> {
        let mut key = [0; 32];
        let key = key.get_mut(..profile.key_len()).ok_or(SrtpError::Keys)?;
        derive(master, master_salt, key_label, key)?;
        match profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                let mut salt = [0; 12];
                derive(master, master_salt, salt_label, &mut salt)?;
                Self::gcm(key, salt)
            }
            Profile::AesCm128HmacSha1_80 => {
                let (mut auth, mut salt) = ([0; 20], [0; 14]);
                derive(master, master_salt, auth_label, &mut auth)?;
                derive(master, master_salt, salt_label, &mut salt)?;
                let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth);
                Ok(Self::Cm { key: Box::new(cipher(key)?), auth: Box::new(auth), salt })
            }
        }
    }

    /// AES-GCM with these session keys.
    pub(crate) fn gcm(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Keys)?;
        let salt = salt.iter().fold(0, |number, byte| (number << 8) | u128::from(*byte));
        Ok(Self::Gcm { key: Box::new(LessSafeKey::new(key)), salt })
    }

    /// Length of the tag in bytes.
    pub(crate) const fn tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG,
            Self::Cm { .. } => CM_TAG,
        }
    }

    /// Reads some of the key.
    pub(crate) fn prefetch(&self) -> bool {
        match self {
            Self::Gcm { key, .. } => key.algorithm().key_len() > 0,
            Self::Cm { auth, .. } => auth.algorithm() == hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// Encrypts the RTP packet `packet[..len]` and appends the tag; returns the new length.
    pub(crate) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let total = len.checked_add(self.tag_len()).ok_or(SrtpError::NoRoom)?;
        let packet = packet.get_mut(..total).ok_or(SrtpError::NoRoom)?;
        let ssrc = ssrc_at::<8>(packet)?;
        let (data, tag) = packet.split_at_mut_checked(len).ok_or(SrtpError::NoRoom)?;
        let (header, payload) = data.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { key, salt } => {
                seal_gcm(key, gcm_iv(*salt, ssrc, index), header, payload, tag)?;
            }
            Self::Cm { key, auth, salt } => {
                counter_mode(key, cm_iv(salt, ssrc, index), payload)?;
                let digest = authenticate(auth, data, rollover(index));
                copy(tag, digest.as_ref());
            }
        }
        Ok(total)
    }

    /// Checks and decrypts the RTP packet `packet`; returns its length without the tag.
    pub(crate) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let ssrc = ssrc_at::<8>(packet)?;
        let len = packet.len().checked_sub(self.tag_len()).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { key, salt } => {
                let (header, rest) =
                    packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
                open_gcm(key, gcm_iv(*salt, ssrc, index), header, rest)?;
            }
            Self::Cm { key, auth, salt } => {
                let (data, tag) = packet.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
                let payload = data.get_mut(header_len..).ok_or(SrtpError::TooShort)?;
                let iv = cm_iv(salt, ssrc, index);
                let payload_at = payload.len();
                let digest = authenticate(auth, data, rollover(index));
                verify(tag, digest.as_ref())?;
                let start = data.len().checked_sub(payload_at).ok_or(SrtpError::TooShort)?;
                counter_mode(key, iv, data.get_mut(start..).ok_or(SrtpError::TooShort)?)?;
            }
        }
        Ok(len)
    }

    /// Encrypts the compound RTCP packet `packet[..len]`, appends tag and index word (31 bits).
    pub(crate) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        len: usize,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let total = len.checked_add(self.tag_len()).and_then(|n| n.checked_add(4));
        let total = total.ok_or(SrtpError::NoRoom)?;
        let packet = packet.get_mut(..total).ok_or(SrtpError::NoRoom)?;
        let ssrc = ssrc_at::<4>(packet)?;
        let word = (index | 0x8000_0000).to_be_bytes();
        let (data, trailer) = packet.split_at_mut_checked(len).ok_or(SrtpError::NoRoom)?;
        let (header, payload) = data.split_at_mut_checked(8).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { key, salt } => {
                let aad = rtcp_aad(header, word);
                let (tag, end) = trailer.split_at_mut_checked(GCM_TAG).ok_or(SrtpError::NoRoom)?;
                seal_gcm(key, gcm_iv(*salt, ssrc, u64::from(index)), &aad, payload, tag)?;
                copy(end, &word);
            }
            Self::Cm { key, auth, salt } => {
                counter_mode(key, cm_iv(salt, ssrc, u64::from(index)), payload)?;
                let digest = authenticate(auth, data, word);
                let (end, tag) = trailer.split_at_mut_checked(4).ok_or(SrtpError::NoRoom)?;
                copy(end, &word);
                copy(tag, digest.as_ref());
            }
        }
        Ok(total)
    }

    /// The index word of an SRTCP packet: bit 31 is the E flag (encrypted), the rest is the index.
    pub(crate) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let end = match self {
            Self::Gcm { .. } => packet.len(),
            Self::Cm { .. } => packet.len().checked_sub(CM_TAG).ok_or(SrtpError::TooShort)?,
        };
        let word = packet.get(..end).and_then(<[u8]>::last_chunk::<4>);
        Ok(u32::from_be_bytes(*word.ok_or(SrtpError::TooShort)?))
    }

    /// Checks and decrypts an SRTCP packet whose index word is `word`; returns the plain length.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8], word: u32) -> Result<usize, SrtpError> {
        let (encrypted, index) = (word & 0x8000_0000 != 0, word & 0x7fff_ffff);
        let overhead = self.tag_len().saturating_add(4);
        let len = packet.len().checked_sub(overhead).filter(|len| *len >= 8);
        let len = len.ok_or(SrtpError::TooShort)?;
        let ssrc = ssrc_at::<4>(packet)?;
        let word = word.to_be_bytes();
        match self {
            Self::Gcm { key, salt } => {
                let sealed = packet.len().checked_sub(4).ok_or(SrtpError::TooShort)?;
                let sealed = packet.get_mut(..sealed).ok_or(SrtpError::TooShort)?;
                let (header, rest) = sealed.split_at_mut_checked(8).ok_or(SrtpError::TooShort)?;
                if !encrypted {
                    // Authentication without encryption is possible (RFC 7714 §9.3), but no client uses it.
                    return Err(SrtpError::Forged);
                }
                let aad = rtcp_aad(header, word);
                open_gcm(key, gcm_iv(*salt, ssrc, u64::from(index)), &aad, rest)?;
            }
            Self::Cm { key, auth, salt } => {
                let (data, trailer) =
                    packet.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
                let tag = trailer.get(4..).ok_or(SrtpError::TooShort)?;
                let digest = authenticate(auth, data, word);
                verify(tag, digest.as_ref())?;
                if encrypted {
                    let payload = data.get_mut(8..).ok_or(SrtpError::TooShort)?;
                    counter_mode(key, cm_iv(salt, ssrc, u64::from(index)), payload)?;
                }
            }
        }
        Ok(len)
    }
}

fn seal_gcm(
    key: &LessSafeKey,
    iv: [u8; 12],
    aad: &[u8],
    payload: &mut [u8],
    tag: &mut [u8],
) -> Result<(), SrtpError> {
    let nonce = Nonce::assume_unique_for_key(iv);
    let sealed = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
        .map_err(|_| SrtpError::Failed)?;
    copy(tag, sealed.as_ref());
    Ok(())
}

fn open_gcm(
    key: &LessSafeKey,
    iv: [u8; 12],
    aad: &[u8],
    sealed: &mut [u8],
) -> Result<(), SrtpError> {
    let nonce = Nonce::assume_unique_for_key(iv);
    key.open_in_place(nonce, Aad::from(aad), sealed).map(|_| ()).map_err(|_| SrtpError::Forged)
}

/// RFC 3711 §4.2: over the packet and four more bytes (rollover counter, or SRTCP index word).
fn authenticate(key: &hmac::Key, data: &[u8], more: [u8; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(data);
    context.update(&more);
    context.sign()
}

fn verify(tag: &[u8], digest: &[u8]) -> Result<(), SrtpError> {
    let expect = digest.get(..CM_TAG).ok_or(SrtpError::Failed)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(tag, expect).map_err(|_| SrtpError::Forged)
}

/// RFC 7714 §8.1 and §9.1: `00 00 || SSRC || 48-bit index`, xor salt. An SRTCP index has 31 bits.
fn gcm_iv(salt: u128, ssrc: [u8; 4], index: u64) -> [u8; 12] {
    let index = u128::from(index & 0xffff_ffff_ffff);
    let iv = ((u128::from(u32::from_be_bytes(ssrc)) << 48) | index) ^ salt;
    let [_, _, _, _, iv @ ..] = iv.to_be_bytes();
    iv
}

/// RFC 3711 §4.1.1: `(salt << 16) ^ (SSRC << 64) ^ (index << 16)`.
fn cm_iv(salt: &[u8; 14], ssrc: [u8; 4], index: u64) -> [u8; 16] {
    let [_, _, i0, i1, i2, i3, i4, i5] = index.to_be_bytes();
    let [s0, s1, s2, s3] = ssrc;
    let mut iv = [0, 0, 0, 0, s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, 0, 0];
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    iv
}

/// The upper 32 bits of a 48-bit index.
fn rollover(index: u64) -> [u8; 4] {
    let [_, _, r0, r1, r2, r3, _, _] = index.to_be_bytes();
    [r0, r1, r2, r3]
}

/// RFC 7714 §9.2: the first eight bytes and the index word.
fn rtcp_aad(header: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    for (to, from) in aad.iter_mut().zip(header.iter().chain(&word)) {
        *to = *from;
    }
    aad
}

fn ssrc_at<const AT: usize>(packet: &[u8]) -> Result<[u8; 4], SrtpError> {
    packet.get(AT..).and_then(<[u8]>::first_chunk::<4>).copied().ok_or(SrtpError::TooShort)
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::hex;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";
    const SALT: [u8; 12] = *b"Quid pro quo";

    #[test]
    fn a_gcm_packet_equals_that_of_rfc_7714_16_1_1() {
        let plain = hex(concat!(
            "8040f17b8041f8d35501a0b2",
            "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573"
        ));
        let sealed = hex(concat!(
            "8040f17b8041f8d35501a0b2",
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
            "899d7f27beb16a9152cf765ee4390cce"
        ));
        let transform = Transform::gcm(&hex(KEY), SALT).unwrap();
        let mut packet = plain.clone();
        packet.resize(plain.len() + 16, 0);
        assert_eq!(transform.seal_rtp(&mut packet, 12, plain.len(), 0xf17b), Ok(sealed.len()));
        assert_eq!(packet, sealed);
        assert_eq!(transform.open_rtp(&mut packet, 12, 0xf17b), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }

    #[test]
    fn a_gcm_rtcp_packet_equals_that_of_rfc_7714_17_1() {
        let plain = hex(concat!(
            "81c8000d4d617273",
            "4e5450314e545032525450200000042a0000e9304c756e61",
            "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
        ));
        let sealed = hex(concat!(
            "81c8000d4d617273",
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d",
            "c676a5f1730d6fda4ce09b4686303ded0bb9275b",
            "c84aa45896cf4d2fc5abf87245d9eade800005d4"
        ));
        let transform = Transform::gcm(&hex(KEY), SALT).unwrap();
        let mut packet = plain.clone();
        packet.resize(plain.len() + 20, 0);
        assert_eq!(transform.seal_rtcp(&mut packet, plain.len(), 0x5d4), Ok(sealed.len()));
        assert_eq!(packet, sealed);
        let word = transform.rtcp_index(&packet).unwrap();
        assert_eq!(transform.open_rtcp(&mut packet, word), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }

    #[test]
    fn the_counter_mode_key_stream_equals_that_of_rfc_3711_b2() {
        let key = cipher(&hex("2b7e151628aed2a6abf7158809cf4f3c")).unwrap();
        let salt: [u8; 14] = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
        let mut data = [0; 32];
        counter_mode(&key, cm_iv(&salt, [0; 4], 0), &mut data).unwrap();
        assert_eq!(
            data.to_vec(),
            hex("e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab")
        );
    }
}
