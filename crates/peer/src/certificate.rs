//! The node's DTLS certificate and the configuration all its transports share.
//!
//! * **Owns:** the certificate with its key, and the DTLS library's configuration.
//! * **In:** nothing.
//! * **Out:** [`Certificate::fingerprint`], for session descriptions.
//! * **Invariant:** both are made once per node and never change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hearth_plane::Fingerprint;

use crate::error::{CertificateError, PeerError};

/// The handshake ends in an error after this, as with livekit-server: not before the limit for
/// connecting at all.
pub(crate) const DTLS_TIMEOUT: Duration = Duration::from_secs(60);
/// First retransmission of a flight, as livekit-server sets it; it doubles from there.
const FLIGHT_START_RTO: Duration = Duration::from_millis(100);
/// The last of nine repeats comes after 51.1 s, and still fits in [`DTLS_TIMEOUT`].
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

    /// What the session description says about it.
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
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    Fingerprint(bytes)
}

/// What all transports of a node share. Making one tests the crypto library (0.9 ms): make it once.
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
