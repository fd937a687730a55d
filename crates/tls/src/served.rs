//! The certificates that are served, and what a handshake needs.
//!
//! * **Owns:** the table of certificates, one place ([`Slot`]) for each source, and the answers to challenges of ACME.
//! * **In:** [`Tls::set`] puts a new certificate into its place, [`Tls::set_challenge`] a certificate for a challenge.
//! * **Out:** [`Tls::handshake`], by what the client asks for.
//! * **Invariant:** a certificate that covers the name that the client asks for is preferred; without one the first is
//!   served. A handshake that has begun keeps what it began with.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::sync::watch;

use crate::pair::Pair;

/// What is spoken inside TLS: HTTP/1.1, and TURN for clients that say so (RFC 7443).
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"stun.turn"];
/// What the authority of a challenge says it wants to speak (RFC 8737).
const CHALLENGE: &[u8] = b"acme-tls/1";

/// The place of a source of certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot(usize);

/// What a client's handshake is done with.
#[derive(Debug)]
pub struct Handshake {
    /// The configuration for it.
    pub config: Arc<ServerConfig>,
    /// An authority checks that a name is ours: the connection is closed after its handshake.
    pub challenge: bool,
}

/// Certificates for handshakes. Clones share them.
#[derive(Clone, Debug)]
pub struct Tls {
    table: watch::Sender<Vec<Option<Pair>>>,
    challenges: watch::Sender<Vec<(String, Arc<CertifiedKey>)>>,
    config: Arc<ServerConfig>,
    challenge_config: Arc<ServerConfig>,
}

impl Tls {
    /// Without certificates yet: handshakes fail until there is one.
    pub fn new() -> Self {
        let table = watch::Sender::new(Vec::new());
        let challenges = watch::Sender::new(Vec::new());
        let config = configuration(ByName { table: table.clone(), first: 0 }, &PROTOCOLS);
        let challenge_config = configuration(ByChallenge(challenges.clone()), &[CHALLENGE]);
        Self { table, challenges, config, challenge_config }
    }

    /// The same certificates, but the one in this place is served to who asks for no name that is covered.
    #[must_use]
    pub fn preferring(&self, slot: Slot) -> Self {
        let by_name = ByName { table: self.table.clone(), first: slot.0 };
        Self { config: configuration(by_name, &PROTOCOLS), ..self.clone() }
    }

    /// A place for another source, behind those that there are.
    pub fn add_slot(&self) -> Slot {
        let mut slot = Slot(0);
        self.table.send_modify(|table| {
            slot = Slot(table.len());
            table.push(None);
        });
        slot
    }

    /// New handshakes get this one.
    pub fn set(&self, slot: Slot, pair: Pair) {
        self.table.send_modify(|table| {
            if let Some(place) = table.get_mut(slot.0) {
                *place = Some(pair);
            }
        });
    }

    /// Answers the challenge for a name, or no longer.
    pub fn set_challenge(&self, name: &str, certificate: Option<Arc<CertifiedKey>>) {
        self.challenges.send_modify(|challenges| {
            challenges.retain(|(other, _)| other != name);
            challenges.extend(certificate.map(|certificate| (name.to_owned(), certificate)));
        });
    }

    /// What a handshake that begins like this is done with.
    pub fn handshake(&self, hello: &ClientHello<'_>) -> Handshake {
        let mut protocols = hello.alpn().into_iter().flatten();
        let challenge = protocols.next() == Some(CHALLENGE) && protocols.next().is_none();
        let config = if challenge { &self.challenge_config } else { &self.config };
        Handshake { config: Arc::clone(config), challenge }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

/// TLS 1.3 and 1.2, with the one crypto library.
fn configuration(
    certificates: impl ResolvesServerCert + 'static,
    protocols: &[&[u8]],
) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let ciphers = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12]);
    // Both versions have cipher suites there.
    let ciphers = ciphers.unwrap_or_else(|_| ServerConfig::builder_with_protocol_versions(&[]));
    let mut config = ciphers.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// By the name that the client asks for.
#[derive(Debug)]
struct ByName {
    table: watch::Sender<Vec<Option<Pair>>>,
    first: usize,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.borrow();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.and_then(|name| table.iter().flatten().find(|pair| pair.covers(&name)));
        let first = || table.get(self.first).and_then(Option::as_ref);
        named.or_else(first).or_else(|| table.iter().flatten().next()).map(Pair::certified)
    }
}

/// By the name that an authority checks.
#[derive(Debug)]
struct ByChallenge(watch::Sender<Vec<(String, Arc<CertifiedKey>)>>);

impl ResolvesServerCert for ByChallenge {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        let challenges = self.0.borrow();
        challenges.iter().find(|(own, _)| *own == name).map(|(_, certificate)| certificate.clone())
    }
}
