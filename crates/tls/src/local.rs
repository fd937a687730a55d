//! A certificate authority of this machine's own, for a network where no public one can help.
//!
//! * **Owns:** the authority's key and certificate, and this machine's, in files of one directory.
//! * **In:** the names and addresses of this machine ([`LocalHost`]); time.
//! * **Out:** a [`Pair`] for this machine, and the authority's certificate for clients to trust.
//! * **Invariant:** the authority's key is never sent anywhere, and only its owner can read its file. It can sign for private
//!   addresses, `.local` names and the addresses that this machine had when it was made, and for nothing else (name
//!   constraints), so that a stolen one is of little use.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType,
};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::acme::write_private;
use crate::pair::{Pair, PairError};

/// How long the authority is good for. Trusting it takes a person a minute on each phone.
const AUTHORITY_DAYS: i64 = 3_650;
/// How long this machine's certificate is good for: some systems refuse more than 825 days, others 398.
const HOST_DAYS: i64 = 397;
/// It is made anew when so little is left.
const RENEW_DAYS: i64 = 60;
const DAY: i64 = 24 * 3_600;

/// Addresses that no public host has, with the lengths of their prefixes.
const PRIVATE: [(&str, u8); 9] = [
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("fc00::", 7),
    ("fe80::", 10),
    ("::1", 128),
];

/// Why there is no local certificate.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file cannot be written or read.
    #[error("cannot use {path} for the local certificate authority: {source}; name another directory with --data-dir", path = path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The authority's files are damaged.
    #[error("the local certificate authority in {dir} cannot be used: {reason}; remove that directory to have another made (clients must trust the new one)", dir = dir.display())]
    Authority {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What was made cannot be used.
    #[error(transparent)]
    Pair(#[from] PairError),
}

/// What clients call this machine.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LocalHost {
    /// Its name, without domain: clients call it `NAME.local`.
    pub name: Option<String>,
    /// Its addresses. Those that the authority cannot sign for are left out.
    pub addresses: Vec<IpAddr>,
}

impl LocalHost {
    /// The names in its certificate.
    fn names(&self) -> Vec<String> {
        let plain = |name: &String| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let own = self.name.iter().map(|name| name.to_ascii_lowercase()).filter(plain);
        let own = own.map(|name| format!("{name}.local"));
        std::iter::once("localhost".to_owned()).chain(own).collect()
    }

    /// The addresses in its certificate, of those that the authority can sign for.
    fn signed(&self, permitted: &[(IpAddr, u8)]) -> Vec<IpAddr> {
        let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let all = self.addresses.iter().copied().chain(own);
        all.filter(|ip| permitted.iter().any(|net| is_in(*ip, *net))).collect()
    }
}

/// A certificate for this machine, and the authority's own in PEM. Both are made at the first call, and the first anew when
/// the machine has other addresses; `now` is in seconds since 1970.
///
/// # Errors
///
/// The directory cannot be used.
pub fn local_certificate(
    dir: &Path,
    host: &LocalHost,
    now: i64,
) -> Result<(Pair, String), LocalError> {
    let authority = Files::new(dir, "ca");
    let (ca_pem, ca_key) = match authority.read() {
        Ok(found) => found,
        Err(error) if authority.exist() => return Err(error),
        Err(_) => {
            let made = make_authority(host, now).map_err(|error| broken(dir, &error))?;
            authority.write(&made)?;
            made
        }
    };
    let permitted = permitted_by(&ca_pem).ok_or_else(|| LocalError::Authority {
        dir: dir.to_owned(),
        reason: "its certificate is damaged".to_owned(),
    })?;
    let addresses = host.signed(&permitted);
    let own = Files::new(dir, "host");
    if let Ok((pem, key)) = own.read()
        && let Ok(pair) = own.pair(&pem, &key)
        && serves(&pair, &host.names(), &addresses, now)
    {
        return Ok((pair, ca_pem));
    }
    let (pem, key) = make_host((&ca_pem, &ca_key), &host.names(), &addresses, now)
        .map_err(|error| broken(dir, &error))?;
    let chain = format!("{pem}{ca_pem}");
    let pair = own.pair(&chain, &key)?;
    own.write(&(chain, key))?;
    Ok((pair, ca_pem))
}

fn broken(dir: &Path, error: &rcgen::Error) -> LocalError {
    LocalError::Authority { dir: dir.to_owned(), reason: error.to_string() }
}

fn serves(pair: &Pair, names: &[String], addresses: &[IpAddr], now: i64) -> bool {
    names.iter().all(|name| pair.covers(name))
        && addresses.iter().all(|ip| pair.addresses().contains(ip))
        && pair.not_after() - now > RENEW_DAYS * DAY
        && pair.not_before() <= now
}

/// A certificate and its key.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")) }
    }

    fn exist(&self) -> bool {
        self.cert.exists() || self.key.exists()
    }

    fn read(&self) -> Result<(String, String), LocalError> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path)
                .map_err(|source| LocalError::File { path: path.clone(), source })
        };
        Ok((read(&self.cert)?, read(&self.key)?))
    }

    fn write(&self, (cert, key): &(String, String)) -> Result<(), LocalError> {
        let write = |path: &PathBuf, text: &str| {
            write_private(path, text)
                .map_err(|source| LocalError::File { path: path.clone(), source })
        };
        write(&self.key, key)?;
        write(&self.cert, cert)
    }

    fn pair(&self, cert: &str, key: &str) -> Result<Pair, PairError> {
        Pair::from_pem((&self.cert, cert.as_bytes()), (&self.key, key.as_bytes()))
    }
}

fn make_authority(host: &LocalHost, now: i64) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let machine = host.name.as_deref().unwrap_or("this machine");
    params.distinguished_name = named(&format!("Hearth on {machine} (local authority)"));
    // Valid since yesterday: clocks differ.
    params.not_before = date(now - DAY);
    params.not_after = date(now + AUTHORITY_DAYS * DAY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted(host),
        excluded_subtrees: Vec::new(),
    });
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn permitted(host: &LocalHost) -> Vec<GeneralSubtree> {
    let names = ["local", "localhost"].map(|name| GeneralSubtree::DnsName(name.to_owned()));
    let private: Vec<_> =
        PRIVATE.iter().filter_map(|(ip, length)| Some((ip.parse().ok()?, *length))).collect();
    let own = host.addresses.iter().filter(|ip| !private.iter().any(|net| is_in(**ip, *net)));
    let own = own.map(|ip| (*ip, if ip.is_ipv4() { 32 } else { 128 }));
    let nets = private.iter().copied().chain(own);
    let nets = nets.map(|(ip, length)| GeneralSubtree::IpAddress(subnet(ip, length)));
    names.into_iter().chain(nets).collect()
}

/// The networks that an authority can sign for, as its certificate says.
fn permitted_by(ca_pem: &str) -> Option<Vec<(IpAddr, u8)>> {
    let der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).ok()?;
    let (_, certificate) = parse_x509_certificate(&der).ok()?;
    let constraints = certificate.name_constraints().ok()??.value;
    let subtrees = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    // The names are always the same.
    let net = |subtree: &x509_parser::extensions::GeneralSubtree<'_>| {
        if let GeneralName::IPAddress(bytes) = &subtree.base { net(bytes) } else { None }
    };
    Some(subtrees.iter().filter_map(net).collect())
}

/// An address and its mask behind it.
fn net(bytes: &[u8]) -> Option<(IpAddr, u8)> {
    let (ip, mask) = bytes.split_at_checked(bytes.len() / 2)?;
    let length: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
    };
    Some((ip, u8::try_from(length).ok()?))
}

fn is_in(ip: IpAddr, (net, length): (IpAddr, u8)) -> bool {
    let differing = bits(net) ^ bits(ip);
    net.is_ipv4() == ip.is_ipv4()
        && differing.checked_shr(width(ip) - u32::from(length)).unwrap_or(0) == 0
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn width(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn subnet(ip: IpAddr, length: u8) -> CidrSubnet {
    let ones = |width: u32| u128::MAX.checked_shl(width - u32::from(length)).unwrap_or(0);
    match ip {
        IpAddr::V4(v4) => {
            let [.., a, b, c, d] = (ones(32)).to_be_bytes();
            CidrSubnet::V4(v4.octets(), [a, b, c, d])
        }
        IpAddr::V6(v6) => CidrSubnet::V6(v6.octets(), ones(128).to_be_bytes()),
    }
}

fn make_host(
    (ca_pem, ca_key): (&str, &str),
    names: &[String],
    addresses: &[IpAddr],
    now: i64,
) -> Result<(String, String), rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(ca_pem, KeyPair::from_pem(ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.distinguished_name = named("Hearth on this machine");
    params.not_before = date(now - DAY);
    params.not_after = date(now + HOST_DAYS * DAY - DAY);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Of seconds since 1970.
fn date(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{RootCertStore, crypto::aws_lc_rs};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("hearth-local-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn host(name: &str, addresses: &[&str]) -> LocalHost {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        LocalHost { name: Some(name.to_owned()), addresses }
    }

    /// What a client that trusts the authority thinks of a chain under a name.
    fn verify(ca: &str, chain: &str, name: &str, now: i64) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now as u64));
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(|_| ())
    }

    #[test]
    fn who_trusts_the_authority_trusts_this_machine_and_its_key_is_nobodys() {
        let dir = Dir::new("trust");
        let machine = host("Box", &["192.168.1.7", "fd00::7", "203.0.113.9"]);
        let (pair, ca) = local_certificate(&dir.0, &machine, NOW).unwrap();
        assert_eq!(pair.names(), ["localhost", "box.local"]);
        let chain = fs::read_to_string(dir.0.join("host.crt")).unwrap();
        for (name, trusted) in [
            ("192.168.1.7", true),
            ("fd00::7", true),
            ("box.local", true),
            ("localhost", true),
            ("127.0.0.1", true),
            ("203.0.113.9", true),
            ("192.168.1.8", false),
        ] {
            assert_eq!(verify(&ca, &chain, name, NOW).is_ok(), trusted, "{name}");
        }
        assert!(!ca.contains("PRIVATE KEY"));
        #[cfg(unix)]
        for name in ["ca.key", "host.key"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.0.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_stolen_authority_signs_for_no_public_host() {
        let dir = Dir::new("stolen");
        let (_, ca) = local_certificate(&dir.0, &host("box", &["198.51.100.7"]), NOW).unwrap();
        let key = fs::read_to_string(dir.0.join("ca.key")).unwrap();
        for (name, trusted) in [
            ("bank.example", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("203.0.113.9", false),
            ("2001:db8::1", false),
            ("other.local", true),
            ("10.1.2.3", true),
        ] {
            let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&key).unwrap()).unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let own = KeyPair::generate().unwrap();
            let chain = params.signed_by(&own, &issuer).unwrap().pem();
            assert_eq!(verify(&ca, &chain, name, NOW).is_ok(), trusted, "{name}");
        }
    }

    #[test]
    fn the_authority_stays_and_this_machines_certificate_follows_its_addresses_and_time() {
        let dir = Dir::new("follows");
        let made = |machine: &LocalHost, now| {
            let (pair, ca) = local_certificate(&dir.0, machine, now).unwrap();
            (pair.not_after(), pair.addresses().len(), ca)
        };
        let first = made(&host("box", &["10.0.0.1"]), NOW);
        assert_eq!(made(&host("box", &["10.0.0.1"]), NOW + DAY), first);
        let moved = made(&host("box", &["10.0.0.1", "10.0.0.2"]), NOW + DAY);
        assert_eq!((moved.1, &moved.2), (first.1 + 1, &first.2));
        // The authority cannot sign for a public address that the machine did not have when it was made.
        let public = made(&host("box", &["10.0.0.1", "10.0.0.2", "203.0.113.9"]), NOW + DAY);
        assert_eq!(public, moved);
        let renewed = made(&host("box", &["10.0.0.1"]), NOW + 340 * DAY);
        assert!(renewed.0 > NOW + 700 * DAY && renewed.2 == first.2, "{}", renewed.0);
    }

    #[test]
    fn a_damaged_authority_is_not_replaced_behind_its_users_back() {
        let dir = Dir::new("damaged");
        local_certificate(&dir.0, &host("box", &["10.0.0.1"]), NOW).unwrap();
        fs::remove_file(dir.0.join("host.crt")).unwrap();
        fs::write(dir.0.join("ca.key"), "nonsense").unwrap();
        let error = local_certificate(&dir.0, &host("box", &["10.0.0.1"]), NOW).unwrap_err();
        assert!(error.to_string().contains("remove that directory"), "{error}");
        fs::remove_file(dir.0.join("ca.key")).unwrap();
        assert!(local_certificate(&dir.0, &host("box", &["10.0.0.1"]), NOW).is_err());
    }
}
