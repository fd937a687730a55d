//! Certificates by ACME: obtained, kept in files, renewed.
//!
//! * **Owns:** the files of the account and of the certificate, and when the next step is due.
//! * **In:** which names, and whom to ask ([`AcmeConfig`]); time.
//! * **Out:** [`Tls::set`]; a warning that says what is wrong and how to fix it, for each attempt that fails.
//! * **Invariant:** an attempt that fails changes nothing that is served, and is repeated, less and less often. Files with
//!   keys can be read by their owner only.
//! * **Spec:** RFC 8555; the names are proven by TLS-ALPN-01 (RFC 8737), so port 443 is all that must be open.

mod explain;
mod order;
mod transport;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_net::WallClock;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::files::PairFiles;
use crate::pair::Pair;
use crate::served::{Slot, Tls};
use order::Issued;

/// Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(300);
/// The pause after the first failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Authorities count failures by the hour and let five pass.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3_600);
/// The pause when the authority says that there were too many attempts.
const LIMITED_PAUSE: Duration = Duration::from_secs(3_600);
/// The longest sleep: the clock of the machine may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

/// Which certificate to get, and of whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcmeConfig {
    /// The names, in small letters; the first one names the files.
    pub domains: Vec<String>,
    /// Where the authority writes about trouble.
    pub email: Option<String>,
    /// The authority's directory.
    pub directory: String,
    /// A file with the root certificate that the authority's own server has, if the system does not trust it.
    pub root: Option<PathBuf>,
    /// Where account and certificate are kept.
    pub cache_dir: PathBuf,
}

/// Keeps a certificate for the names; does not return.
pub async fn keep_certificate(config: AcmeConfig, tls: Tls, slot: Slot) {
    let mut due = match cached(&config) {
        Some(pair) => {
            info!(names = ?pair.names(), "The certificate in {} is used", config.cache_dir.display());
            let due = renewal(&pair);
            tls.set(slot, pair);
            due
        }
        None => 0,
    };
    let mut failures = 0;
    loop {
        wait_until(due).await;
        let attempt = timeout(ATTEMPT, order::issue(&config, &tls)).await;
        let issued = attempt.unwrap_or_else(|_| Err(explain::Failure::slow()));
        let failure = match issued.and_then(|issued| keep(&config, &issued)) {
            Ok(pair) => {
                info!(names = ?pair.names(), "New connections get a new certificate of {}", config.directory);
                failures = 0;
                due = renewal(&pair);
                tls.set(slot, pair);
                continue;
            }
            Err(failure) => failure,
        };
        let pause = pause(failures, failure.limited);
        failures += 1;
        warn!(
            "No certificate for {} yet: {failure}. The next attempt is in {} minutes; what has a certificate keeps it",
            config.domains.join(", "),
            pause.as_secs().div_ceil(60)
        );
        due = now().saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
    }
}

fn now() -> i64 {
    i64::try_from(WallClock::unix_secs()).unwrap_or(i64::MAX)
}

async fn wait_until(due: i64) {
    while let Some(left) = due.checked_sub(now()).filter(|left| *left > 0) {
        sleep(Duration::from_secs(left.unsigned_abs()).min(LONGEST_SLEEP)).await;
    }
}

/// When two thirds of its time are over, as authorities advise.
fn renewal(pair: &Pair) -> i64 {
    let lifetime = pair.not_after().saturating_sub(pair.not_before());
    pair.not_after().saturating_sub(lifetime / 3)
}

fn pause(failures: u32, limited: bool) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    let least = if limited { LIMITED_PAUSE } else { FIRST_PAUSE };
    doubled.min(LONGEST_PAUSE).max(least)
}

fn files(config: &AcmeConfig) -> PairFiles {
    let name = config.domains.first().map_or("certificate", String::as_str).replace('*', "_");
    let path = |end: &str| config.cache_dir.join(format!("{name}.{end}"));
    PairFiles { cert: path("crt.pem"), key: path("key.pem") }
}

/// The certificate of an earlier run, if it is still good for all names.
fn cached(config: &AcmeConfig) -> Option<Pair> {
    let files = files(config);
    if !files.cert.exists() {
        return None;
    }
    match files.read() {
        Ok(pair) => {
            let covers = config.domains.iter().all(|name| pair.covers(name));
            (covers && pair.not_after() > now()).then_some(pair)
        }
        Err(error) => {
            warn!(
                "The certificate that was kept cannot be used, and a new one is asked for: {error}"
            );
            None
        }
    }
}

fn keep(config: &AcmeConfig, issued: &Issued) -> Result<Pair, explain::Failure> {
    let files = files(config);
    let chain = (files.cert.as_path(), issued.chain.as_bytes());
    let pair = Pair::from_pem(chain, (&files.key, issued.key.as_bytes()))
        .map_err(|error| explain::Failure::other(&error))?;
    // The key first: a certificate without its key is of no use.
    let written = write_private(&files.key, &issued.key)
        .and_then(|()| write_private(&files.cert, &issued.chain));
    if let Err(error) = written {
        warn!(
            "The new certificate cannot be kept in {}: {error}; without it every start asks for another, of which authorities give few a week. Make that directory writable, or name another with tls.acme.cache_dir",
            config.cache_dir.display()
        );
    }
    Ok(pair)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_private_dir(parent)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_less_and_less_often() {
        let pauses: Vec<u64> = (0..12).map(|n| pause(n, false).as_secs() / 60).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]);
        assert_eq!(pause(0, true), LIMITED_PAUSE);
        assert_eq!(pause(u32::MAX, true), LONGEST_PAUSE);
    }
}
