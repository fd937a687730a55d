//! Certificates in files, read again when they change.
//!
//! * **Owns:** what the files looked like when they were last read.
//! * **In:** time, and [`Reload`]: the operator says that they have changed.
//! * **Out:** [`Tls::set`]; a warning for a pair that cannot be used.
//! * **Invariant:** what cannot be used replaces nothing. Files are read when they have stayed the same for one look, as the two
//!   of a pair are not written in the same moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hearth_net::WallClock;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::pair::{Pair, PairError};
use crate::served::{Slot, Tls};

/// Between two looks at the files. Higher costs less, lower serves a new certificate sooner.
const LOOK: Duration = Duration::from_secs(2);

/// Asks for the files to be read now; `SIGHUP` does.
pub type Reload = mpsc::Receiver<()>;

/// The files of a pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairFiles {
    /// The certificate, then those of its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl PairFiles {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// They do not make a usable pair.
    pub fn read(&self) -> Result<Pair, PairError> {
        let cert = bytes("the certificate", &self.cert)?;
        let key = bytes("the key", &self.key)?;
        Pair::from_pem((&self.cert, &cert), (&self.key, &key))
    }

    fn look(&self) -> Looks {
        [&self.cert, &self.key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }
}

fn bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, PairError> {
    fs::read(path).map_err(|source| PairError::Unreadable { what, path: path.to_owned(), source })
}

/// Time and length of both files, as far as they are there.
type Looks = [Option<(SystemTime, u64)>; 2];

/// One pair that is watched.
struct Watched {
    slot: Slot,
    files: PairFiles,
    /// When it was last read.
    read: Looks,
    /// At the last look.
    last: Looks,
}

/// Reads files again when they change or when asked; does not return.
pub async fn watch_files(tls: Tls, pairs: Vec<(Slot, PairFiles)>, mut reload: Reload) {
    let mut watched: Vec<Watched> = pairs
        .into_iter()
        .map(|(slot, files)| {
            let looks = files.look();
            Watched { slot, files, read: looks, last: looks }
        })
        .collect();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = true;
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            asked = reload.recv(), if asking => {
                asking = asked.is_some();
                asking
            }
        };
        for one in &mut watched {
            let now = one.files.look();
            let changed = now != one.read && now == one.last;
            one.last = now;
            if changed || asked {
                one.read = now;
                replace(&tls, one);
            }
        }
    }
}

fn replace(tls: &Tls, one: &Watched) {
    let cert = one.files.cert.display();
    match one.files.read() {
        Ok(pair) => {
            let now = i64::try_from(WallClock::unix_secs()).unwrap_or(i64::MAX);
            for warning in pair.warnings(&format!("the new certificate in {cert}"), now) {
                warn!("{warning}");
            }
            info!(names = ?pair.names(), "New connections get the new certificate in {cert}");
            tls.set(one.slot, pair);
        }
        Err(error) => warn!("The certificate was not replaced, and the old one stays: {error}"),
    }
}
