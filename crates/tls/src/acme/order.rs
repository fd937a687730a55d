//! One order of a certificate: account, proof of each name, certificate.
//!
//! * **Owns:** the account's key in its file.
//! * **In:** which names.
//! * **Out:** [`Issued`], or why not.
//! * **Invariant:** a challenge is answered only while its order waits for it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, Key, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::explain::Failure;
use super::transport::Transport;
use super::{AcmeConfig, write_private};
use crate::served::Tls;

/// How long an authority may take for the proof of the names, and then for the certificate.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Orders one certificate.
pub(super) async fn issue(config: &AcmeConfig, tls: &Tls) -> Result<Issued, Failure> {
    let account = account(config).await?;
    let names: Vec<Identifier> = config.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    let answers = Answers { tls, names: &config.domains };
    prove(&mut order, tls).await?;
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) | Err(_) => return Err(refused(&mut order).await),
    }
    drop(answers);
    let key = KeyPair::generate().map_err(|error| Failure::other(&error))?;
    let request = request(&config.domains, &key).map_err(|error| Failure::other(&error))?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// The account of our key, made at its first use.
async fn account(config: &AcmeConfig) -> Result<Account, Failure> {
    let path = config.cache_dir.join("account.key.pem");
    let der = match fs::read(&path) {
        Ok(pem) => PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| {
            Failure::other(&format!(
                "the account's key in {} cannot be used: {error}; remove that file",
                path.display()
            ))
        })?,
        Err(_) => {
            let key = KeyPair::generate().map_err(|error| Failure::other(&error))?;
            // If it cannot be kept, each start makes another account: keeping the certificate warns of the same.
            let _ = write_private(&path, &key.serialize_pem());
            PrivatePkcs8KeyDer::from(key.serialize_der())
        }
    };
    let key = Key::from_pkcs8_der(der.clone_key())?;
    let transport =
        Transport::new(config.root.as_deref()).map_err(|error| Failure::other(&error))?;
    let builder = Account::builder_with_http(Box::new(transport));
    let directory = config.directory.clone();
    let (account, _) = builder.create_from_key((key, PrivateKeyDer::Pkcs8(der)), directory).await?;
    if let Some(email) = &config.email {
        account.update_contacts(&[&format!("mailto:{email}")]).await?;
    }
    Ok(account)
}

/// Answers each challenge, and says so.
async fn prove(order: &mut Order, tls: &Tls) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => {
                return Err(Failure::other(&"an earlier proof failed"));
            }
        }
        let Identifier::Dns(name) = authorization.identifier().identifier.clone() else {
            return Err(Failure::other(&"the authority asks for something that is no name"));
        };
        let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or_else(|| {
            Failure::other(&format!("the authority does not prove {name} by TLS-ALPN-01 on port 443, which is what Hearth does; names with * need another kind of proof"))
        })?;
        let digest = challenge.key_authorization().digest();
        let answer = answer(&name, digest.as_ref()).map_err(|error| Failure::other(&error))?;
        tls.set_challenge(&name, Some(answer));
        challenge.set_ready().await?;
    }
    Ok(())
}

/// The certificate that answers a challenge.
fn answer(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let chain = vec![certificate.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    // Not checked against the certificate: its critical extension is known to authorities only.
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key.into())?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

fn request(names: &[String], key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// What the authority found wrong.
async fn refused(order: &mut Order) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let Identifier::Dns(name) = authorization.identifier().identifier.clone() else { continue };
        let mut problems = authorization.challenges.iter().filter_map(|one| one.error.as_ref());
        if let Some(problem) = problems.next() {
            return Failure::of_name(&name, problem);
        }
    }
    Failure::slow()
}

/// Challenges that are answered; no longer when this is dropped.
struct Answers<'a> {
    tls: &'a Tls,
    names: &'a [String],
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        for name in self.names {
            self.tls.set_challenge(name, None);
        }
    }
}
