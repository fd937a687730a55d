//! The certificates of this process, and the tasks that keep them.
//!
//! * **Owns:** which source has which place; the handler of SIGHUP.
//! * **In:** the checked configuration.
//! * **Out:** [`Secured`], or an error that says what to change before anything else starts.
//! * **Invariant:** a certificate that is unusable stops the start; one that is merely expired is a warning.

use std::io;
use std::net::IpAddr;

use hearth_runtime::WallClock;
use hearth_tls::{
    AcmeConfig, LocalError, LocalHost, PairError, PairFiles, Reload, Slot, Tls, keep_certificate,
    local_certificate, watch_files,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::{info, warn};

use crate::config::TlsConfig;
use crate::lan::Lan;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// See [`PairError`].
    #[error("tls.cert_file, tls.key_file: {0}")]
    Files(#[source] PairError),
    /// See [`PairError`].
    #[error("turn.cert_file, turn.key_file: {0}")]
    TurnFiles(#[source] PairError),
    /// See [`LocalError`].
    #[error("--lan: {0}")]
    Local(#[from] LocalError),
    /// No signal handler.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// Nobody else can reach this machine.
    #[error(
        "--lan: this machine has no address that the local authority can vouch for: connect it to a network, or remove the folder \
         `lan` in the data directory to have another authority made"
    )]
    NoNetwork,
}

/// What a listener and the page need.
#[derive(Default)]
pub(crate) struct Secured {
    /// `None`: plain HTTP only.
    pub(crate) tls: Option<Tls>,
    /// On ports of TURN alone; the same certificates, but its own is the first.
    pub(crate) turn: Option<Tls>,
    /// The certificate of the local authority, in PEM.
    pub(crate) authority: Option<String>,
    /// What is printed about it.
    pub(crate) lan: Option<Lan>,
    acme: Option<(AcmeConfig, Slot)>,
}

impl Secured {
    /// Gets certificates by ACME, now that the ports are bound: the authority asks at once.
    pub(crate) fn start_acme(&self) {
        if let (Some((acme, slot)), Some(tls)) = (&self.acme, &self.tls) {
            tokio::spawn(keep_certificate(acme.clone(), tls.clone(), *slot));
        }
    }
}

/// Reads or makes certificates and starts to watch their files; must run inside the runtime. `addresses` are this machine's.
pub(crate) fn secure(
    config: &TlsConfig,
    of_turn: Option<&PairFiles>,
    addresses: Vec<IpAddr>,
) -> Result<Secured, CertificateError> {
    // Without a handler it would end the process.
    let reload = on_hangup()?;
    if !config.enabled() && of_turn.is_none() {
        tokio::spawn(nothing_to_reload(reload));
        return Ok(Secured::default());
    }
    let tls = Tls::new();
    let mut watched = Vec::new();
    if let Some(files) = &config.files {
        let slot = tls.add_slot();
        from_files(&tls, slot, files).map_err(CertificateError::Files)?;
        watched.push((slot, files.clone()));
    }
    let mut turn = tls.clone();
    if let Some(files) = of_turn {
        let slot = tls.add_slot();
        from_files(&tls, slot, files).map_err(CertificateError::TurnFiles)?;
        watched.push((slot, files.clone()));
        turn = tls.preferring(slot);
    }
    if watched.is_empty() {
        tokio::spawn(nothing_to_reload(reload));
    } else {
        tokio::spawn(watch_files(tls.clone(), watched, reload));
    }
    let acme = config.acme.clone().map(|acme| (acme, tls.add_slot()));
    let (mut authority, mut lan) = (None, None);
    if let Some(dir) = &config.local {
        let host = LocalHost { name: machine_name(), addresses };
        let (pair, pem) = local_certificate(dir, &host, now())?;
        let mut addresses: Vec<IpAddr> =
            pair.addresses().iter().copied().filter(|ip| !ip.is_loopback()).collect();
        // What a person can type.
        addresses.sort_by_key(IpAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(CertificateError::NoNetwork);
        }
        lan = Some(Lan {
            addresses,
            names: pair.names().to_vec(),
            dir: dir.display().to_string(),
            authority: der(&pem),
        });
        tls.set(tls.add_slot(), pair);
        authority = Some(pem);
    }
    Ok(Secured { tls: Some(tls), turn: Some(turn), authority, lan, acme })
}

fn now() -> i64 {
    i64::try_from(WallClock::unix_secs()).unwrap_or(i64::MAX)
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_or_else(|_| Vec::new(), |der| der.to_vec())
}

fn from_files(tls: &Tls, slot: Slot, files: &PairFiles) -> Result<(), PairError> {
    let pair = files.read()?;
    let subject = format!("the certificate in {}", files.cert.display());
    for warning in pair.warnings(&subject, now()) {
        warn!("{warning}");
    }
    tls.set(slot, pair);
    Ok(())
}

/// What others in the network call this machine, as far as the system says.
pub(crate) fn machine_name() -> Option<String> {
    let named = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())?;
    let name = named.trim().split('.').next().unwrap_or_default().to_owned();
    (!name.is_empty()).then_some(name)
}

async fn nothing_to_reload(mut reload: Reload) {
    while reload.recv().await.is_some() {
        info!("SIGHUP: there are no certificate files to read again");
    }
}

/// A wish to read files again for each SIGHUP.
#[cfg(unix)]
fn on_hangup() -> io::Result<Reload> {
    use tokio::signal::unix::{SignalKind, signal};
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            // One wish that waits is enough.
            let _ = asking.try_send(());
        }
    });
    Ok(asked)
}

/// There is no such signal; files are read when they change.
#[cfg(not(unix))]
fn on_hangup() -> io::Result<Reload> {
    Ok(tokio::sync::mpsc::channel(1).1)
}
