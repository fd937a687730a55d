//! Certificates of the server: where they are from, and which one a client gets.
//!
//! * [`Tls`] is what a TLS handshake needs: it chooses by the name that the client asks for, and gets new certificates while
//!   the server runs.
//! * [`Pair`] is a certificate with its key, checked; [`PairFiles`] are the files it is read from, [`watch_files`] reads
//!   them again when they change.
//! * [`keep_certificate`] gets one by ACME and renews it; [`local_certificate`] makes one of an authority of this machine's own.

mod acme;
mod files;
mod local;
mod pair;
mod served;
#[cfg(test)]
mod tests;

pub use acme::{AcmeConfig, LETS_ENCRYPT, keep_certificate};
pub use files::{PairFiles, Reload, watch_files};
pub use local::{LocalError, LocalHost, local_certificate};
pub use pair::{Pair, PairError};
pub use served::{Handshake, Slot, Tls};
