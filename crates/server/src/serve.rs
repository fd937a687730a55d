//! Starting the server, and stopping it.
//!
//! * **Owns:** the process: its runtime, listeners, node, signals.
//! * **In:** the command line.
//! * **Out:** returns after a clean stop; an error says what to change.
//! * **Invariant:** the HTTP ports are bound before anything else starts, so that a second server on
//!   the same ports stops at once. Clients get a leave before connections are closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use hearth_access::Keys;
use hearth_addresses::AddressPlan;
use hearth_http::{AppState, LanGuide};
use hearth_listener::{Handlers, IceTcp, Port, Turn};
use hearth_room::{EmbeddedTurn, RoomConfig, ServerIdentity};
use hearth_runtime::{Node, NodeConfig, Seed, StartError, WallClock};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cli::ServeArgs;
use crate::config::{Config, ConfigError, Document, Overrides};
use crate::media_addresses::AddressError;
use crate::ports::Opened;
use crate::stop::Stop;
use crate::tls::{self, CertificateError};
use crate::{dev, doctor, logging, media_addresses, ports, token, turn};

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
    /// See [`AddressError`].
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// Another program has the port of media over TCP.
    #[error(
        "TCP port {} of {} is in use, perhaps by another server; stop that one, choose a port for media over TCP \
         with `rtc.tcp_port:`, or do without it with `rtc.tcp_port: 0`", addr.port(), addr.ip()
    )]
    TcpPortTaken { addr: SocketAddr },
    /// Clients would be told addresses at which nobody listens.
    #[error(
        "TCP port {port} is that of HTTP and of media or TURN, and `bind_addresses` does not have all addresses of media; \
         leave `bind_addresses` out, or give `rtc.tcp_port` and TURN other ports than `port`"
    )]
    SharedPort { port: u16 },
    /// An address for TURN cannot be bound.
    #[error(
        "cannot listen on {addr} for TURN: {source}; choose with `turn.udp_port`, `turn.tcp_port`, `turn.tls_port` and `turn.bind_addresses`"
    )]
    Turn { addr: SocketAddr, source: io::Error },
    /// The node did not start for another reason.
    #[error("cannot start: {0}")]
    Node(#[source] StartError),
    /// See [`CertificateError`].
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Ports below 1,024 are for the administrator.
    #[error(
        "this user may not listen on {protocol} port {}; allow it with: sudo setcap cap_net_bind_service=+ep PATH-TO-HEARTH, or in \
         a systemd unit AmbientCapabilities=CAP_NET_BIND_SERVICE; or choose another port with {key}", addr.port()
    )]
    PortDenied { protocol: &'static str, addr: SocketAddr, key: &'static str },
    /// No threads, or no signal handlers.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
    /// See [`hearth_runtime::NoRandomness`].
    #[error(transparent)]
    Randomness(#[from] hearth_runtime::NoRandomness),
}

/// Runs until SIGINT or SIGTERM; the second one does not wait.
pub(crate) fn run(args: ServeArgs) -> Result<(), ServeError> {
    let (config, document) = load(args)?;
    logging::start(config.log());
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let threads = cores().min(MAX_CONTROL_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let served = runtime.block_on(serve(config, document));
    // The system may still look up a name that nobody waits for.
    runtime.shutdown_background();
    served
}

/// The configuration, and the document that it was read from.
pub(crate) fn load(args: ServeArgs) -> Result<(Config, Document), ConfigError> {
    let over = Overrides {
        dev: args.dev,
        port: args.port,
        keys: args.keys.filter(|keys| !keys.trim().is_empty()),
        key_file: args.key_file,
        bind: args.bind,
        node_ip: args.node_ip.filter(|ip| !ip.is_empty()),
        udp_port: args.udp_port.filter(|port| !port.is_empty()),
        threads: args.threads,
        domains: args.domains,
        lan: args.lan,
        data_dir: args.data_dir,
    };
    if let Some(body) = args.config_body.filter(|body| !body.trim().is_empty()) {
        let config = Config::load(Some(("--config-body (or LIVEKIT_CONFIG)", &body)), over)?;
        return Ok((config, Document::parse(&body)));
    }
    let Some(path) = args.config else {
        return Ok((Config::load(None, over)?, Document::default()));
    };
    let text = std::fs::read_to_string(&path).map_err(|source| {
        let what = "the configuration";
        ConfigError::Unreadable { what, path: path.clone(), source }
    })?;
    let config = Config::load(Some((&path.display().to_string(), &text)), over)?;
    Ok((config, Document::parse(&text)))
}

async fn serve(config: Config, document: Document) -> Result<(), ServeError> {
    let config = Arc::new(config);
    let stop = Stop::new().map_err(ServeError::System)?;
    let addresses = hearth_runtime::host_addresses(false);
    let turn_files = config.turn().own.as_ref().and_then(|turn| turn.files.as_ref());
    let secured = tls::secure(config.tls(), turn_files, addresses)?;
    let opened = ports::open(&config).await?;
    let keys = Arc::new(Keys::new(config.keys().iter().cloned()));
    let seed = hearth_runtime::seed_from_system()?;
    let mut plan = media_addresses::plan(&config, &seed).await?;
    ports::check_bind(&config, &plan.bind)?;
    let node_config = node_config(&config, &keys, &plan, seed)?;
    let node = Node::start(node_config).await.map_err(|error| match error {
        StartError::Bind { addr, source } if source.kind() == io::ErrorKind::AddrInUse => {
            ServeError::UdpPortTaken { addr }
        }
        StartError::BindTcp { addr, source } if source.kind() == io::ErrorKind::AddrInUse => {
            ServeError::TcpPortTaken { addr }
        }
        StartError::Bind { addr, source } if is_denied(&source) => {
            ServeError::PortDenied { protocol: "UDP", addr, key: "--udp-port or `rtc.udp_port:`" }
        }
        StartError::BindTcp { addr, source } if is_denied(&source) => {
            ServeError::PortDenied { protocol: "TCP", addr, key: "`rtc.tcp_port:`" }
        }
        StartError::BindTurn { addr, source } if is_denied(&source) => {
            ServeError::PortDenied { protocol: "UDP", addr, key: "`turn.udp_port:`" }
        }
        StartError::BindTurn { addr, source } => ServeError::Turn { addr, source },
        StartError::Nothing
        | StartError::NoAddress
        | StartError::Bind { .. }
        | StartError::BindTcp { .. }
        | StartError::Poller(_)
        | StartError::Thread(_)
        | StartError::Certificate(_) => ServeError::Node(error),
    })?;
    let port = opened.first().and_then(|opened| opened.listener.local_addr().ok());
    let port = port.map_or_else(|| config.http_port(), |addr| addr.port());
    plan.ports = node.udp_ports().to_vec();
    media_addresses::announce(&plan);
    for url in node.room_config().ice_servers.turn.iter().flat_map(EmbeddedTurn::urls) {
        info!("Clients are told {url}");
    }
    let (udp_ports, tcp_port) = (node.udp_ports(), node.tcp_port());
    info!(port, ?udp_ports, ?tcp_port, "Hearth {} is ready", env!("CARGO_PKG_VERSION"));
    let checked = Arc::clone(&config);
    tokio::task::spawn_blocking(move || doctor::at_start(&checked, &document));
    if config.dev() {
        dev::print_banner(&config, &secured, port, WallClock::unix_secs());
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
    secured.start_acme();
    let (tls, of_turn) = (secured.tls, secured.turn);
    let opened = opened.into_iter().map(|Opened { listener, services, prefers_turn }| Port {
        listener,
        services,
        tls: if prefers_turn { of_turn.clone() } else { tls.clone() },
    });
    let counts = node.control_counts();
    let lan = secured.authority.map(|authority| {
        let key = config.keys().first().cloned().unwrap_or_default();
        Arc::new(LanGuide::new(authority, key, dev::ROOM))
    });
    let ice_tcp: Arc<dyn IceTcp> = Arc::new(node.ice_tcp());
    let turn = node.turn().map(|turn| Arc::new(turn) as Arc<dyn Turn>);
    let http = hearth_http::Server::new(AppState { node, keys, lan });
    let handlers = Handlers { http, ice_tcp: Some(ice_tcp), turn, counts };
    tokio::select! {
        () = hearth_listener::serve(opened.collect(), handlers, goodbye) => {}
        () = again.second() => {}
    }
    info!("Stopped");
    Ok(())
}

pub(crate) fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn node_config(
    config: &Config,
    keys: &Arc<Keys>,
    plan: &AddressPlan,
    seed: Seed,
) -> Result<NodeConfig, ServeError> {
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
        tcp_fallback: config.tcp().fallback.then_some(config.tcp().fallback_rtt),
        keys: keys.clone(),
        ..default
    };
    enable_codecs(&mut room, &limits.enabled_codecs);
    let addresses = config.addresses();
    room.ice_servers = turn::ice_servers(config);
    Ok(NodeConfig {
        turn: turn::node_config(config, media_addresses::has_ipv6()),
        shards: shards(config),
        room_share: config.threads().room_share.unwrap_or(ROOM_SHARE),
        udp_bind: plan.bind.iter().map(|ip| SocketAddr::new(*ip, addresses.udp_port)).collect(),
        udp_ports: addresses.udp_ports,
        tcp_port: config.tcp().port,
        tcp_shared: ports::shares_ice_tcp(config),
        force_tcp: config.tcp().force,
        advertised: plan.candidates(),
        advertise_loopback: config.dev(),
        auto_create: limits.auto_create,
        room,
        seed,
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

/// Media threads: one for each core, unless configured.
pub(crate) fn shards(config: &Config) -> u16 {
    let each_core = || u16::try_from(cores().clamp(1, MAX_SHARDS)).unwrap_or(1);
    config.threads().shards.unwrap_or_else(each_core)
}

fn cores() -> usize {
    available_parallelism().map_or(2, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_codecs_are_enabled() {
        let mut room = RoomConfig::default();
        let listed = ["video/vp8", "audio/opus", "video/rtx", "video/none"].map(str::to_owned);
        enable_codecs(&mut room, &listed);
        let mimes: Vec<_> = room.enabled_codecs.iter().map(|codec| codec.mime()).collect();
        assert_eq!(mimes, ["video/VP8", "audio/opus"]);
    }
}
