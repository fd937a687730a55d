//! TURN: from the configuration to the node, and the listeners for TCP and TLS.
//!
//! * **Owns:** the listening sockets, one task each; TLS handshakes.
//! * **In:** the configuration. **Out:** connections, to the node's [`TurnHandle`].
//! * **Invariant:** a handshake has a deadline, and there is a bounded number of them; what is above that is closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hearth_room::{EmbeddedTurn, IceServers};
use hearth_runtime::{TurnConfig, TurnHandle};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::config::{Config, Turn};
use crate::serve::ServeError;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once.
const MAX_HANDSHAKES: usize = 512;
/// When the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients are told.
pub(crate) fn ice_servers(config: &Config) -> IceServers {
    let turn = config.turn();
    let own = turn.own.as_ref().zip(config.keys().first());
    let own = own.map(|(own, key)| EmbeddedTurn {
        key: key.clone(),
        ttl: own.ttl,
        ips: Vec::new(),
        udp_port: own.udp_port,
        tcp_port: own.tcp_port,
        tls: own.tls.clone(),
    });
    IceServers { turn: own, external: turn.external.clone(), stun: turn.stun.clone() }
}

/// What the node is told.
pub(crate) fn node_config(config: &Config, has_ipv6: bool) -> Option<TurnConfig> {
    let own = config.turn().own.as_ref()?;
    let addrs = |port| addresses(&own.bind, port).into_iter();
    let udp_bind = own.udp_port.into_iter().flat_map(addrs);
    Some(TurnConfig {
        udp_bind: udp_bind.filter(|addr| addr.is_ipv4() || has_ipv6).collect(),
        keys: config.keys().to_vec(),
        relay_ports: own.relay_ports.clone(),
        allowed_peers: own.allowed_peers.clone(),
        denied_peers: own.denied_peers.clone(),
        max_per_participant: own.max_per_participant,
    })
}

fn addresses(bind: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let all = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let ips = if bind.is_empty() { &all } else { bind };
    ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}

/// The listening sockets, bound.
pub(crate) struct Listeners {
    plain: Vec<TcpListener>,
    tls: Vec<TcpListener>,
    acceptor: Option<TlsAcceptor>,
}

impl Listeners {
    /// Binds what is configured.
    pub(crate) async fn bind(own: Option<&Turn>) -> Result<Self, ServeError> {
        let mut listeners = Self { plain: Vec::new(), tls: Vec::new(), acceptor: None };
        let Some(own) = own else { return Ok(listeners) };
        if let Some(port) = own.tcp_port {
            listen(&own.bind, port, &mut listeners.plain).await?;
        }
        if let Some(tls) = &own.tls {
            let to = if tls.external { &mut listeners.plain } else { &mut listeners.tls };
            listen(&own.bind, tls.port, to).await?;
        }
        if let Some((cert, key)) = &own.files {
            listeners.acceptor = Some(acceptor(cert, key)?);
        }
        Ok(listeners)
    }

    /// Brings what comes to `handle`, for as long as the process lives.
    pub(crate) fn serve(self, handle: &TurnHandle) {
        for listener in self.plain {
            let handle = handle.clone();
            tokio::spawn(accept(listener, move |stream| handle.take_tcp(stream)));
        }
        let Some(acceptor) = self.acceptor else { return };
        let slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        for listener in self.tls {
            let (handle, acceptor) = (handle.clone(), acceptor.clone());
            let slots = Arc::clone(&slots);
            tokio::spawn(accept(listener, move |stream| {
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { return };
                let (handle, acceptor) = (handle.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let (stream, tls) = stream.into_inner();
                            handle.take_tls(stream, tls);
                        }
                        Ok(Err(error)) => debug!(%error, "A TLS handshake for TURN failed"),
                        Err(_) => debug!("A TLS handshake for TURN took too long"),
                    }
                    drop(slot);
                });
            }));
        }
    }
}

async fn accept(listener: TcpListener, take: impl Fn(TcpStream) + Send) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(stream),
            Err(error) => {
                warn!(%error, "A TURN connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn listen(bind: &[IpAddr], port: u16, to: &mut Vec<TcpListener>) -> Result<(), ServeError> {
    // On most systems this one socket takes IPv4 too.
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    if bind.is_empty()
        && let Ok(listener) = TcpListener::bind(both).await
    {
        to.push(listener);
        return Ok(());
    }
    for addr in addresses(bind, port) {
        match TcpListener::bind(addr).await {
            Ok(listener) => to.push(listener),
            Err(_) if bind.is_empty() && addr.is_ipv6() => {}
            Err(source) => return Err(ServeError::Turn { addr, source }),
        }
    }
    Ok(())
}

/// TLS 1.2 and 1.3 by the certificate in these files.
fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let problem = |path: &Path, problem: &dyn std::fmt::Display| ServeError::TurnCertificate {
        path: path.display().to_string(),
        problem: problem.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| problem(cert, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| problem(key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| problem(cert, &error))?;
    info!(cert = %cert.display(), "TURN over TLS");
    Ok(TlsAcceptor::from(Arc::new(config)))
}
