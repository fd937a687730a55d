//! Key derivation: from master key and salt to session keys (RFC 3711 §4.3, RFC 7714 §11).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use crate::SrtpError;

/// The purpose (label) of a derived key (RFC 3711 §4.3.2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the key for `label`: AES in counter mode from `(salt ^ label << 48) << 16`.
///
/// * `master` – 16 or 32 bytes.
/// * `salt` – 14 bytes, or 12 for the AEAD profiles, which count as padded on the right.
pub(crate) fn derive(
    master: &[u8],
    salt: &[u8],
    label: Label,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    let mut iv = [0_u8; 16];
    for (to, from) in iv.iter_mut().zip(salt) {
        *to = *from;
    }
    if let Some(byte) = iv.get_mut(7) {
        *byte ^= label as u8;
    }
    out.fill(0);
    counter_mode(&cipher(master)?, iv, out)
}

/// AES for counter mode, by the length of the key.
pub(crate) fn cipher(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr).map_err(|_| SrtpError::Keys)
}

/// Adds the key stream that begins at `iv` to `data`.
pub(crate) fn counter_mode(
    cipher: &EncryptingKey,
    iv: [u8; 16],
    data: &mut [u8],
) -> Result<(), SrtpError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    cipher.less_safe_encrypt(data, context).map(|_| ()).map_err(|_| SrtpError::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3711 appendix B.3.
    const MASTER: &str = "e1f97a0d3e018be0d64fa32c06de4139";
    const SALT: &str = "0ec675ad498afeebb6960b3aabe6";

    #[test]
    fn session_keys_equal_those_of_rfc_3711_b3() {
        check(Label::RtpKey, "c61e7a93744f39ee10734afe3ff7a087");
        check(Label::RtpSalt, "30cbbc08863d8c85d49db34a9ae1");
        check(Label::RtpAuth, "cebe321f6ff7716b6fd4ab49af256a156d38baa4");
    }

    #[test]
    fn a_master_key_of_another_length_is_refused() {
        let mut out = [0; 16];
        assert_eq!(derive(&[0; 15], &[0; 14], Label::RtpKey, &mut out), Err(SrtpError::Keys));
    }

    #[track_caller]
    fn check(label: Label, expect: &str) {
        let expect = crate::session::hex(expect);
        let mut out = vec![0; expect.len()];
        derive(&crate::session::hex(MASTER), &crate::session::hex(SALT), label, &mut out).unwrap();
        assert_eq!(out, expect);
    }
}
