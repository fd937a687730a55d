//! What the checks are made of: everything that was looked up, as values.
//!
//! * **Owns:** nothing.
//! * **In:** [`gather`](super::gather) for this machine; tests make them up.
//! * **Out:** the arguments of every check.
//! * **Invariant:** what could not be looked up says why.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::certificate::Leaf;

/// Something that could not be looked up, and why.
pub(crate) type Looked<T> = Result<T, String>;

/// All facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) settings: Settings,
    /// Addresses of this machine with the names of their interfaces.
    pub(crate) interfaces: Vec<(String, IpAddr)>,
    pub(crate) routes: Routes,
    pub(crate) ports: Vec<Port>,
    pub(crate) kernel: Kernel,
    /// Each domain with the addresses it stands for.
    pub(crate) domains: Vec<(String, Looked<Vec<IpAddr>>)>,
    pub(crate) certificates: Vec<CertificateFiles>,
    pub(crate) clock: Clock,
    pub(crate) outside: Option<Looked<Outside>>,
}

/// The configuration, as far as checks need it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) dev: bool,
    /// The API key of `--dev` is one of the keys.
    pub(crate) dev_key: bool,
    /// Where HTTP listens; empty: everywhere.
    pub(crate) bind: Vec<IpAddr>,
    /// UDP ports of media that are in use.
    pub(crate) udp_ports: Vec<u16>,
    /// The TCP port of media.
    pub(crate) tcp_port: Option<u16>,
    /// STUN servers are asked for more addresses than are advertised here.
    pub(crate) external: bool,
    /// `rtc.node_ip`.
    pub(crate) node_ips: Vec<IpAddr>,
    /// Addresses that clients are told.
    pub(crate) advertised: Vec<IpAddr>,
    /// Names for which the server gets certificates by ACME.
    pub(crate) https_domains: Vec<String>,
    pub(crate) turn: Turn,
    pub(crate) redis: bool,
    pub(crate) warnings: Vec<String>,
}

/// `turn:`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) enabled: bool,
    pub(crate) domain: String,
    pub(crate) udp_port: u16,
    pub(crate) tcp_port: u16,
    pub(crate) tls_port: u16,
    /// Somebody else terminates TLS.
    pub(crate) external_tls: bool,
    pub(crate) has_certificate: bool,
}

/// Whether there is a way to the internet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routes {
    pub(crate) v4: Option<bool>,
    pub(crate) v6: Option<bool>,
}

/// A port that the server needs.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) transport: Transport,
    pub(crate) port: u16,
    /// The key of the configuration that sets it.
    pub(crate) key: &'static str,
    pub(crate) state: PortState,
}

/// Of a port.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Whether a port can be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PortState {
    Free,
    /// By a server like this one, which runs.
    Hearth(Option<Process>),
    Taken(Option<Process>),
    /// The system's words.
    Refused(String),
}

/// A program that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
}

/// Limits of the system.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// `net.core.rmem_max` and `wmem_max`.
    pub(crate) buffers: Looked<[u64; 2]>,
    pub(crate) open_files: Looked<u64>,
    /// Whether it takes `UDP_SEGMENT` and `UDP_GRO`.
    pub(crate) offload: Looked<[bool; 2]>,
}

impl Default for Kernel {
    fn default() -> Self {
        let unknown = || "not looked up".to_owned();
        Self { buffers: Err(unknown()), open_files: Err(unknown()), offload: Err(unknown()) }
    }
}

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    /// The section of the configuration that names them.
    pub(crate) section: &'static str,
    pub(crate) cert_file: String,
    pub(crate) key_file: String,
    /// Names it should have.
    pub(crate) domains: Vec<String>,
    pub(crate) certificate: Looked<Leaf>,
    /// Whether the key is the one of the certificate.
    pub(crate) key_matches: Looked<bool>,
}

/// This machine's clock, and another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Since 1970.
    pub(crate) ours: Duration,
    /// Who was asked, with how far ahead ours is (negative: behind), in milliseconds.
    pub(crate) others: Vec<(String, Looked<i64>)>,
}

/// What a second instance found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// Its name, as it was asked for.
    pub(crate) host: String,
    /// Where our request came from, as it saw it.
    pub(crate) source: Option<IpAddr>,
    pub(crate) reaches: Vec<Reach>,
    /// Whether this machine reaches its own advertised address.
    pub(crate) hairpin: Option<Looked<bool>>,
}

/// Whether a second instance reached a port.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) transport: Transport,
    pub(crate) addr: SocketAddr,
    /// Reached, or why not.
    pub(crate) outcome: Looked<()>,
    /// The key of the configuration that sets the port.
    pub(crate) key: &'static str,
}
