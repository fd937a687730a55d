//! Starting the server, and stopping it.
//!
//! * **Owns:** the process: its runtime, listeners, node, signals.
//! * **In:** the command line.
//! * **Out:** returns after a clean stop; an error says what to change.
//! * **Invariant:** the HTTP ports are bound before anything else starts, so that a second server on
//!   the same ports stops at once. Clients get a leave before connections are closed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use hearth_access::Keys;
use hearth_http::AppState;
use hearth_room::{RoomConfig, ServerIdentity};
use hearth_runtime::{Node, NodeConfig, StartError, WallClock};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cli::ServeArgs;
use crate::config::{Config, ConfigError, Overrides};
use crate::stop::Stop;
use crate::{dev, logging, token, turn};

/// How long rooms may take to send leaves and end.
const GOODBYE: Duration = Duration::from_secs(5);
/// More media threads gain nothing while network queues are the limit.
const MAX_SHARDS: usize = 64;
/// Connections of one room on a shard before another shares the room: more wakes fewer threads for
/// each packet, fewer spreads what a room costs earlier.
const ROOM_SHARE: u32 = 64;
/// Control threads: HTTP and rooms need little, and media needs the cores.
const MAX_CONTROL_THREADS: usize = 4;

/// Why the server did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another program has the HTTP port.
    #[error(
        "TCP port {} of {} is in use, perhaps by another server; stop that one, or choose a port with \
         --port or `port:`", addr.port(), addr.ip()
    )]
    PortTaken { addr: SocketAddr },
    /// An HTTP address cannot be bound for another reason.
    #[error("cannot listen on {addr}: {source}; choose with --bind and --port")]
    Listen { addr: SocketAddr, source: io::Error },
    /// Another program has the media port.
    #[error(
        "UDP port {} of {} is in use, perhaps by another server; stop that one, or choose a port with \
         --udp-port or `rtc.udp_port:`", addr.port(), addr.ip()
    )]
    UdpPortTaken { addr: SocketAddr },
    /// An address for TURN cannot be bound.
    #[error(
        "cannot listen on {addr} for TURN: {source}; choose with `turn.udp_port`, `turn.tcp_port`, `turn.tls_port` and `turn.bind_addresses`"
    )]
    Turn { addr: SocketAddr, source: io::Error },
    /// The certificate for TURN cannot be used.
    #[error(
        "{path}: {problem}; `turn.cert_file` and `turn.key_file` name a certificate chain and its key in PEM"
    )]
    TurnCertificate { path: String, problem: String },
    /// No address for media.
    #[error("this machine has no address that clients could use; name one with --node-ip")]
    NoAddress,
    /// The node did not start for another reason.
    #[error("cannot start: {0}")]
    Node(#[source] StartError),
    /// No threads, or no signal handlers.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
    /// See [`hearth_runtime::NoRandomness`].
    #[error(transparent)]
    Randomness(#[from] hearth_runtime::NoRandomness),
}

/// Runs until SIGINT or SIGTERM; the second one does not wait.
pub(crate) fn run(args: ServeArgs) -> Result<(), ServeError> {
    let config = load(args)?;
    logging::start(config.log());
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let threads = cores().min(MAX_CONTROL_THREADS);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(ServeError::System)?
        .block_on(serve(config))
}

fn load(args: ServeArgs) -> Result<Config, ConfigError> {
    let over = Overrides {
        dev: args.dev,
        port: args.port,
        keys: args.keys.filter(|keys| !keys.trim().is_empty()),
        key_file: args.key_file,
        bind: args.bind,
        node_ip: args.node_ip.filter(|ip| !ip.is_empty()),
        udp_port: args.udp_port.filter(|port| !port.is_empty()),
        threads: args.threads,
    };
    if let Some(body) = args.config_body.filter(|body| !body.trim().is_empty()) {
        return Config::load(Some(("--config-body (or LIVEKIT_CONFIG)", &body)), over);
    }
    let Some(path) = args.config else { return Config::load(None, over) };
    let text = std::fs::read_to_string(&path).map_err(|source| {
        let what = "the configuration";
        ConfigError::Unreadable { what, path: path.clone(), source }
    })?;
    Config::load(Some((&path.display().to_string(), &text)), over)
}

async fn serve(config: Config) -> Result<(), ServeError> {
    let stop = Stop::new().map_err(ServeError::System)?;
    let listeners = listen(&config).await?;
    let keys = Arc::new(Keys::new(config.keys().iter().cloned()));
    let turn = turn::Listeners::bind(config.turn().own.as_ref()).await?;
    let node = Node::start(node_config(&config, &keys)?).await.map_err(|error| match error {
        StartError::Bind { addr, source } if source.kind() == io::ErrorKind::AddrInUse => {
            ServeError::UdpPortTaken { addr }
        }
        StartError::NoAddress => ServeError::NoAddress,
        StartError::BindTurn { addr, source } => ServeError::Turn { addr, source },
        StartError::Nothing
        | StartError::Bind { .. }
        | StartError::Poller(_)
        | StartError::Thread(_)
        | StartError::Certificate(_) => ServeError::Node(error),
    })?;
    if let Some(handle) = node.turn() {
        turn.serve(&handle);
    }
    let port = listeners.first().and_then(|listener| listener.local_addr().ok());
    let port = port.map_or_else(|| config.http_port(), |addr| addr.port());
    info!(port, udp_port = node.udp_port(), "Hearth {} is ready", env!("CARGO_PKG_VERSION"));
    if config.dev() {
        dev::print_banner(&config, port, WallClock::unix_secs());
    }
    let goodbye = {
        let (node, mut stop) = (node.clone(), stop.clone());
        async move {
            stop.first().await;
            info!("Stopping; once more to stop without goodbye");
            if timeout(GOODBYE, node.shutdown()).await.is_err() {
                warn!("Rooms did not end in time");
            }
        }
    };
    let mut again = stop;
    tokio::select! {
        () = hearth_http::serve(listeners, AppState { node, keys }, goodbye) => {}
        () = again.second() => {}
    }
    info!("Stopped");
    Ok(())
}

/// Binds every HTTP address. Without configured addresses: all of both families.
async fn listen(config: &Config) -> Result<Vec<TcpListener>, ServeError> {
    let port = config.http_port();
    if config.bind().is_empty() {
        // On most systems this one socket takes IPv4 too.
        return match bind((Ipv6Addr::UNSPECIFIED, port).into()).await {
            Ok(both) => Ok(vec![both]),
            Err(taken @ ServeError::PortTaken { .. }) => Err(taken),
            Err(_) => Ok(vec![bind((Ipv4Addr::UNSPECIFIED, port).into()).await?]),
        };
    }
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut skipped = None;
    for ip in config.bind() {
        // A port that the system chose for the first address serves for all.
        let chosen = listeners.first().and_then(|listener| listener.local_addr().ok());
        let port = chosen.map_or(port, |addr| addr.port());
        match bind(SocketAddr::new(*ip, port)).await {
            Ok(listener) => listeners.push(listener),
            // Machines without IPv6 are common, and `--dev` names its loopback address.
            Err(error @ ServeError::Listen { .. }) if config.dev() && ip.is_ipv6() => {
                skipped = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match skipped {
        Some(error) if listeners.is_empty() => Err(error),
        Some(error) => {
            info!("{error}");
            Ok(listeners)
        }
        None => Ok(listeners),
    }
}

async fn bind(addr: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(addr).await.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            ServeError::PortTaken { addr }
        } else {
            ServeError::Listen { addr, source }
        }
    })
}

fn node_config(config: &Config, keys: &Arc<Keys>) -> Result<NodeConfig, ServeError> {
    let limits = config.room();
    let default = RoomConfig::default();
    let identity = ServerIdentity {
        node_id: format!("ND_{}", token::base62(12)?),
        region: config.region().to_owned(),
        ..default.server.clone()
    };
    let mut room = RoomConfig {
        empty_timeout: limits.empty_timeout,
        departure_timeout: limits.departure_timeout,
        max_participants: limits.max_participants,
        dynacast_pause_delay: limits.dynacast_pause_delay,
        enable_remote_unmute: limits.enable_remote_unmute,
        limits: limits.limits,
        server: identity,
        ice_lite: config.ice_lite(),
        keys: keys.clone(),
        ..default
    };
    enable_codecs(&mut room, &limits.enabled_codecs);
    let ips = config.node_ips();
    room.ice_servers = turn::ice_servers(config);
    Ok(NodeConfig {
        turn: turn::node_config(config, has_ipv6()),
        shards: config.threads().shards.unwrap_or_else(default_shards),
        room_share: config.threads().room_share.unwrap_or(ROOM_SHARE),
        udp_bind: udp_bind(config)
            .iter()
            .map(|ip| SocketAddr::new(*ip, config.udp_port()))
            .collect(),
        advertised: ips.iter().map(|ip| SocketAddr::new(*ip, 0)).collect(),
        advertise_loopback: config.dev(),
        auto_create: limits.auto_create,
        room,
        seed: hearth_runtime::seed_from_system()?,
    })
}

/// Keeps the codecs that are listed, in the order of the list; an empty list keeps all.
fn enable_codecs(room: &mut RoomConfig, listed: &[String]) {
    if listed.is_empty() {
        return;
    }
    let known = std::mem::take(&mut room.enabled_codecs);
    for mime in listed.iter().filter(|mime| !mime.eq_ignore_ascii_case("video/rtx")) {
        match known.iter().find(|codec| codec.mime().eq_ignore_ascii_case(mime)) {
            Some(codec) => room.enabled_codecs.push(*codec),
            None => warn!("room.enabled_codecs: {mime} is not known and left out"),
        }
    }
}

/// The addresses media is received at. `--dev` binds loopback only, unless configured otherwise.
fn udp_bind(config: &Config) -> Vec<IpAddr> {
    let ips = config.node_ips();
    if config.dev() && ips.iter().all(IpAddr::is_loopback) {
        let mut bind: Vec<IpAddr> = if ips.is_empty() { config.bind() } else { ips }.to_vec();
        // One loopback address is enough, and every machine has this one.
        bind.retain(|ip| *ip != IpAddr::from(Ipv6Addr::LOCALHOST) || config.bind().len() == 1);
        return bind;
    }
    let both = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let wanted =
        |any: &IpAddr| ips.is_empty() || ips.iter().any(|ip| ip.is_ipv4() == any.is_ipv4());
    both.into_iter().filter(|any| wanted(any) && (any.is_ipv4() || has_ipv6())).collect()
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// One for each core.
fn default_shards() -> u16 {
    u16::try_from(cores().clamp(1, MAX_SHARDS)).unwrap_or(1)
}

fn cores() -> usize {
    available_parallelism().map_or(2, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(over: Overrides, yaml: &str) -> Vec<String> {
        let keys = "keys: {k: 0123456789abcdef0123456789abcdef}\n".to_owned() + yaml;
        let config = Config::load(Some(("c", &keys)), over).unwrap();
        udp_bind(&config).iter().map(ToString::to_string).filter(|ip| ip != "::").collect()
    }

    #[test]
    fn media_is_received_where_clients_send_it() {
        let dev = || Overrides { dev: true, ..Overrides::default() };
        let at = |ip: &str| vec![ip.parse().unwrap()];
        assert_eq!(bound(dev(), ""), ["127.0.0.1"]);
        assert_eq!(bound(Overrides { bind: at("0.0.0.0"), ..dev() }, ""), ["0.0.0.0"]);
        assert_eq!(bound(Overrides { bind: at("::1"), ..dev() }, ""), ["::1"]);
        assert_eq!(
            bound(Overrides { node_ip: Some("192.0.2.1".into()), ..dev() }, ""),
            ["0.0.0.0"]
        );
        assert_eq!(bound(Overrides::default(), ""), ["0.0.0.0"]);
        assert_eq!(bound(Overrides::default(), "bind_addresses: ['127.0.0.1']"), ["0.0.0.0"]);
        assert_eq!(bound(Overrides::default(), "rtc: {node_ip: '2001:db8::1'}"), [""; 0]);
    }

    #[test]
    fn only_listed_codecs_are_enabled() {
        let mut room = RoomConfig::default();
        let listed = ["video/vp8", "audio/opus", "video/rtx", "video/none"].map(str::to_owned);
        enable_codecs(&mut room, &listed);
        let mimes: Vec<_> = room.enabled_codecs.iter().map(|codec| codec.mime()).collect();
        assert_eq!(mimes, ["video/VP8", "audio/opus"]);
    }
}
