//! A certificate with its key, checked.
//!
//! * **Owns:** both, ready for handshakes; the certificate's names and dates.
//! * **In:** PEM: a chain that begins with the server's own certificate, and that one's key.
//! * **Out:** a [`Pair`] with its [`warnings`](Pair::warnings), or a [`PairError`] that says what to change.
//! * **Invariant:** the key belongs to the certificate. No text quotes a key.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// A certificate that ends within so many seconds is worth a warning: renewal is overdue then.
const SOON: i64 = 7 * 24 * 3_600;

/// Why a certificate cannot be used. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {source}; correct the path, or let the user that runs hearth read the file", path = path.display())]
    Unreadable {
        /// Which of the two files.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No certificate in the file.
    #[error("{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----); {}", if *.key { "it holds a key: are the two files swapped?" } else { "is it in DER? then: openssl x509 -inform der -in FILE -out FILE.pem" }, path = path.display())]
    NoCertificate {
        /// Its path.
        path: PathBuf,
        /// There is a key in it.
        key: bool,
    },
    /// A certificate that is none, or asks for something that nobody here knows.
    #[error("the certificate in {path} cannot be used: {reason}", path = path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No key in the file.
    #[error("{path} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)", path = path.display())]
    NoKey {
        /// Its path.
        path: PathBuf,
    },
    /// The key needs a password.
    #[error("the key in {path} is encrypted with a password, and nobody could type it when the server starts; run: openssl pkey -in {path} -out decrypted.pem, and protect that file (chmod 600)", path = path.display())]
    Encrypted {
        /// Its path.
        path: PathBuf,
    },
    /// A key of a kind that cannot be used.
    #[error("the key in {path} is of a kind that TLS here does not use: make one of ECDSA P-256 or RSA with 2048 bits", path = path.display())]
    Unsupported {
        /// Its path.
        path: PathBuf,
    },
    /// Two that do not belong together.
    #[error("the key in {key} does not belong to the first certificate in {cert}; the server's own certificate must come first in the file, those of its authority behind it", key = key.display(), cert = cert.display())]
    Mismatch {
        /// Path of the certificate.
        cert: PathBuf,
        /// Path of the key.
        key: PathBuf,
    },
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_before: i64,
    not_after: i64,
}

impl Pair {
    /// Reads PEM. The paths are for messages.
    ///
    /// # Errors
    ///
    /// They do not make a usable pair.
    pub fn from_pem(
        (cert_path, chain): (&Path, &[u8]),
        (key_path, key): (&Path, &[u8]),
    ) -> Result<Self, PairError> {
        let path = || cert_path.to_owned();
        let damaged = |reason: String| PairError::Damaged { path: path(), reason };
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(error.to_string()))
            .and_then(|found| match found.is_empty() {
                true => {
                    Err(PairError::NoCertificate { path: path(), key: has(chain, "PRIVATE KEY") })
                }
                false => Ok(found),
            })?;
        let key = private_key(key_path, key)?;
        let read = read_names(chain.first().map_or(&[][..], |own| own.as_ref()))
            .ok_or_else(|| damaged("it is no X.509 certificate".to_owned()))?;
        let certified = match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
            Ok(certified) => certified,
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(PairError::Mismatch { cert: path(), key: key_path.to_owned() });
            }
            Err(rustls::Error::InvalidCertificate(error)) => {
                return Err(damaged(error.to_string()));
            }
            Err(_) => return Err(PairError::Unsupported { path: key_path.to_owned() }),
        };
        let ReadNames { names, addresses, not_before, not_after } = read;
        Ok(Self { certified: Arc::new(certified), names, addresses, not_before, not_after })
    }

    /// What handshakes use.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Whether it is good for a host of this name, in small letters.
    pub fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names
            .iter()
            .any(|own| own == name || (own.starts_with("*.") && own.strip_prefix("*.") == parent))
    }

    /// The DNS names in it, in small letters.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The IP addresses in it.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// From when it is valid, in seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Until when it is valid, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// What an operator should know about it at this time (seconds since 1970), each a sentence about `subject`.
    pub fn warnings(&self, subject: &str, now: i64) -> Vec<String> {
        let days = |seconds: i64| seconds / (24 * 3_600);
        let mut warnings = Vec::new();
        if now >= self.not_after {
            warnings.push(format!(
                "{subject} expired {} days ago: clients will refuse it; put a new one into the same files, which are read again when they change",
                days(now - self.not_after)
            ));
        } else if now < self.not_before {
            warnings.push(format!(
                "{subject} is valid only in {} seconds: is the clock of this machine right?",
                self.not_before - now
            ));
        } else if self.not_after - now < SOON {
            warnings.push(format!("{subject} expires in {} days", days(self.not_after - now)));
        }
        if self.names.is_empty() && self.addresses.is_empty() {
            warnings
                .push(format!("{subject} names no host (subjectAltName): clients will refuse it"));
        }
        warnings
    }
}

fn has(pem: &[u8], label: &str) -> bool {
    String::from_utf8_lossy(pem).contains(label)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    if has(pem, "BEGIN ENCRYPTED PRIVATE KEY") || has(pem, "Proc-Type: 4,ENCRYPTED") {
        return Err(PairError::Encrypted { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| PairError::NoKey { path: path.to_owned() })
}

/// Names and dates; the key is not that of the certificate yet.
fn read_names(der: &[u8]) -> Option<ReadNames> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in
        certificate.subject_alternative_name().ok()?.map_or(&[][..], |san| &san.value.general_names)
    {
        // Names of mail boxes, directories and the like name no host.
        if let GeneralName::DNSName(name) = name {
            names.push(name.to_ascii_lowercase());
        } else if let GeneralName::IPAddress(bytes) = name {
            addresses.extend(address(bytes));
        }
    }
    let validity = certificate.validity();
    Some(ReadNames {
        names,
        addresses,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// What a certificate says.
struct ReadNames {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_before: i64,
    not_after: i64,
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};

    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn read(cert: &str, key: &str) -> Result<Pair, String> {
        let (cert, key) = (cert.as_bytes(), key.as_bytes());
        Pair::from_pem((Path::new("c.pem"), cert), (Path::new("k.pem"), key))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_matched_as_browsers_do() {
        let (cert, key) = made(&["Example.org", "*.example.org", "192.0.2.7", "2001:db8::7"]);
        let pair = read(&cert, &key).unwrap();
        assert_eq!(pair.names(), ["example.org", "*.example.org"]);
        assert_eq!(pair.addresses().len(), 2);
        for (name, covered) in [
            ("example.org", true),
            ("turn.example.org", true),
            ("a.b.example.org", false),
            ("example.com", false),
            ("org", false),
            ("", false),
        ] {
            assert_eq!(pair.covers(name), covered, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_what_to_change() {
        let (cert, key) = made(&["a.example"]);
        let (other, other_key) = made(&["b.example"]);
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
        for (cert, key, said) in [
            (
                key.as_str(),
                key.as_str(),
                "c.pem holds no certificate in PEM (-----BEGIN CERTIFICATE-----); it holds a key: are the two files swapped?",
            ),
            (
                "",
                &key,
                "c.pem holds no certificate in PEM (-----BEGIN CERTIFICATE-----); is it in DER?",
            ),
            (&cert, "", "k.pem holds no private key in PEM"),
            (&cert, &cert, "k.pem holds no private key in PEM"),
            (&cert, encrypted, "the key in k.pem is encrypted with a password"),
            (&cert, old, "the key in k.pem is encrypted with a password"),
            (
                &cert,
                &other_key,
                "the key in k.pem does not belong to the first certificate in c.pem",
            ),
            (
                &format!("{other}{cert}"),
                &key,
                "the key in k.pem does not belong to the first certificate in c.pem",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key,
                "the certificate in c.pem cannot be used",
            ),
        ] {
            let error = read(cert, key).unwrap_err();
            assert!(error.starts_with(said), "{error:?}, not {said:?}");
            assert!(!error.contains("MII"), "{error}");
        }
        assert!(read(&format!("{cert}{other}"), &key).is_ok());
        assert!(read(&cert, &format!("{cert}{key}")).is_ok(), "both may be in one file");
        assert!(KeyPair::generate_for(&PKCS_RSA_SHA256).is_ok_and(|rsa| {
            let params = CertificateParams::new(vec!["rsa.example".to_owned()]).unwrap();
            read(&params.self_signed(&rsa).unwrap().pem(), &rsa.serialize_pem()).is_ok()
        }));
    }

    #[test]
    fn the_time_of_a_certificate_is_watched() {
        let day = 24 * 3_600;
        let (cert, key) = made(&["a.example"]);
        let pair = read(&cert, &key).unwrap();
        for (now, said) in [
            (pair.not_before() - 60, Some("it is valid only in 60 seconds: is the clock")),
            (pair.not_before(), None),
            (pair.not_after() - 8 * day, None),
            (pair.not_after() - 2 * day, Some("it expires in 2 days")),
            (pair.not_after() + 3 * day, Some("it expired 3 days ago: clients will refuse it")),
        ] {
            let warnings = pair.warnings("it", now);
            assert_eq!(warnings.len(), usize::from(said.is_some()), "{warnings:?}");
            assert!(said.is_none_or(|said| warnings[0].starts_with(said)), "{warnings:?}");
        }
        let (cert, key) = made(&[]);
        let nameless = read(&cert, &key).unwrap();
        assert!(nameless.warnings("it", nameless.not_before())[0].contains("names no host"));
    }
}
