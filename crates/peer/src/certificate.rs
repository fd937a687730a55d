//! The node's DTLS certificate and the configuration all its transports share.
//!
//! * **Owns:** the certificate with its key, and the DTLS library's configuration.
//! * **In:** nothing.
//! * **Out:** [`Certificate::fingerprint`], for session descriptions.
//! * **Invariant:** both are made once per node and never change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, Algorithm};
use hearth_plane::{Fingerprint, FingerprintHash, RemoteFingerprints};

use crate::error::{CertificateError, PeerError};

/// The handshake ends in an error after this, as with livekit-server: not before the limit for
/// connecting at all.
pub(crate) const DTLS_TIMEOUT: Duration = Duration::from_secs(60);
/// First retransmission timeout of a handshake flight, as livekit-server sets it; it doubles from there.
const FLIGHT_START_RTO: Duration = Duration::from_millis(100);
/// The last of nine handshake retransmissions leaves after 51.1 s, and still fits in [`DTLS_TIMEOUT`].
const FLIGHT_RETRIES: usize = 9;

/// A self-signed ECDSA P-256 certificate with its key.
pub struct Certificate {
    dtls: dimpl::DtlsCertificate,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a new one, valid for this process.
    ///
    /// # Errors
    ///
    /// The crypto library failed.
    pub fn generate() -> Result<Self, CertificateError> {
        let dtls = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| PeerError::Dtls(error.to_string()))?;
        let fingerprint = fingerprint_of(&dtls.certificate);
        Ok(Self { dtls, fingerprint })
    }

    /// Its `a=fingerprint` in a session description (RFC 8122 §5).
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// SHA-256 over a DER certificate (RFC 8122 §5).
pub(crate) fn fingerprint_of(der: &[u8]) -> Fingerprint {
    let digest = digest::digest(&digest::SHA256, der);
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    Fingerprint(bytes)
}

/// Whether a DER certificate has one of these fingerprints (RFC 8122 §5.1).
pub(crate) fn has_fingerprint(der: &[u8], fingerprints: &RemoteFingerprints) -> bool {
    let algorithm: &'static Algorithm = match fingerprints.hash {
        FingerprintHash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        FingerprintHash::Sha224 => &digest::SHA224,
        FingerprintHash::Sha256 => &digest::SHA256,
        FingerprintHash::Sha384 => &digest::SHA384,
        FingerprintHash::Sha512 => &digest::SHA512,
    };
    let digest = digest::digest(algorithm, der);
    fingerprints.digests.iter().any(|known| known == digest.as_ref())
}

/// The DTLS configuration of all transports of a node. Making one tests the crypto library (0.9 ms): make it once.
#[derive(Clone)]
pub struct Context {
    config: Arc<dimpl::Config>,
    certificate: Arc<Certificate>,
}

impl Context {
    /// Checks the crypto library.
    ///
    /// # Errors
    ///
    /// The crypto library failed its self-test.
    pub fn new(certificate: Arc<Certificate>) -> Result<Self, PeerError> {
        let config = dimpl::Config::builder()
            .use_server_cookie(false)
            .require_client_certificate(true)
            .handshake_timeout(DTLS_TIMEOUT)
            .flight_start_rto(FLIGHT_START_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .build()
            .map_err(|error| PeerError::Dtls(error.to_string()))?;
        Ok(Self { config: Arc::new(config), certificate })
    }

    pub(crate) fn dtls_config(&self) -> Arc<dimpl::Config> {
        Arc::clone(&self.config)
    }

    pub(crate) fn dtls_certificate(&self) -> dimpl::DtlsCertificate {
        self.certificate.dtls.clone()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4: hashes of "abc".
    const ABC: [(FingerprintHash, &str); 5] = [
        (FingerprintHash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (FingerprintHash::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
        (
            FingerprintHash::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            FingerprintHash::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            FingerprintHash::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ];

    #[test]
    fn a_certificate_is_verified_with_the_hash_of_its_fingerprint() {
        for (hash, hex) in ABC {
            let digest: Vec<u8> = (0..hex.len() / 2)
                .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
                .collect();
            assert_eq!(digest.len(), hash.digest_len());
            let other = vec![0; digest.len()];
            let wrong = RemoteFingerprints { hash, digests: vec![other.clone()] };
            assert!(!has_fingerprint(b"abc", &wrong), "{hash:?}");
            let several = RemoteFingerprints { hash, digests: vec![other, digest] };
            assert!(has_fingerprint(b"abc", &several), "{hash:?}");
            assert!(!has_fingerprint(b"abd", &several), "{hash:?}");
        }
        assert!(has_fingerprint(b"abc", &fingerprint_of(b"abc").into()));
    }
}
