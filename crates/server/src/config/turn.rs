//! `turn`, `rtc.turn_servers` and `rtc.stun_servers`: our own TURN server, and those of others.
//!
//! * **Owns:** the defaults and ranges of these keys.
//! * **In:** the raw sections. **Out:** [`Turn`] and the lists for clients, or an error with its fix.
//! * **Invariant:** what cannot work together is an error and not a surprise. No error quotes a secret.
//! * **livekit-server:** `pkg/config/config.go` (`TURNConfig`, `TURNServer`), `pkg/service/turn.go`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use hearth_room::{ExternalTurn, TurnCredentials, TurnTls, TurnTransport};
use hearth_runtime::Cidr;
use hearth_tls::PairFiles;

use super::raw::{WrongType, text, texts, truth, whole};
use super::tree::{Place, Placed, Tree};
use super::{ConfigError, address, ranged};

/// The most ports that a relay is given, unless configured.
const RELAY_PORTS: (i128, i128) = (30_000, 40_000);
/// Allocations of one participant.
const PER_PARTICIPANT: i128 = 12;
/// Seconds that credentials are good for: to allocate, not to go on.
const TTL: i128 = 300;
/// The same at servers of others, which may judge a refresh by it too.
const EXTERNAL_TTL: i128 = 14_400;

/// `turn`, as it is written.
#[derive(Default)]
pub(crate) struct RawTurn {
    enabled: Option<bool>,
    domain: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    tls_port: Option<i128>,
    udp_port: Option<i128>,
    tcp_port: Option<i128>,
    relay_range_start: Option<i128>,
    relay_range_end: Option<i128>,
    external_tls: Option<bool>,
    bind_addresses: Option<Vec<String>>,
    per_user_relay_allocation_limit: Option<i128>,
    ttl_seconds: Option<i128>,
    allow_restricted_peer_cidrs: Option<Vec<String>>,
    deny_peer_cidrs: Option<Vec<String>>,
}

/// What clients are told beside, as it is written.
#[derive(Default)]
pub(crate) struct RawIceServers {
    /// `rtc.turn_servers`.
    turn: Vec<RawServer>,
    /// `rtc.stun_servers`.
    stun: Option<Vec<String>>,
}

#[derive(Default)]
struct RawServer {
    host: Option<String>,
    port: Option<i128>,
    protocol: Option<String>,
    username: Option<String>,
    credential: Option<String>,
    secret: Option<String>,
    secret_file: Option<String>,
    ttl: Option<i128>,
}

/// Our own TURN server.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Addresses to listen on; empty means all.
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) udp_port: Option<u16>,
    pub(crate) tcp_port: Option<u16>,
    pub(crate) tls: Option<TurnTls>,
    /// Its own certificate, where TLS ends here; without it that of the server.
    pub(crate) files: Option<PairFiles>,
    pub(crate) relay_ports: RangeInclusive<u16>,
    pub(crate) max_per_participant: usize,
    pub(crate) ttl: Duration,
    pub(crate) allowed_peers: Vec<Cidr>,
    pub(crate) denied_peers: Vec<Cidr>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct TurnConfig {
    pub(crate) own: Option<Turn>,
    pub(crate) external: Vec<ExternalTurn>,
    pub(crate) stun: Vec<String>,
}

impl RawTurn {
    /// TURN over TLS at this name and port, where nothing else is written.
    pub(super) fn imply(&mut self, domain: &str, port: u16) {
        let Self { enabled, domain: name, tls_port, .. } = self;
        if *enabled.get_or_insert(true) {
            name.get_or_insert_with(|| domain.to_owned());
            tls_port.get_or_insert(port.into());
        }
    }

    pub(super) fn from_document(root: &Placed) -> Result<Self, WrongType> {
        Ok(Self {
            enabled: truth(root, "turn.enabled")?,
            domain: text(root, "turn.domain")?,
            cert_file: text(root, "turn.cert_file")?,
            key_file: text(root, "turn.key_file")?,
            tls_port: whole(root, "turn.tls_port")?,
            udp_port: whole(root, "turn.udp_port")?,
            tcp_port: whole(root, "turn.tcp_port")?,
            relay_range_start: whole(root, "turn.relay_range_start")?,
            relay_range_end: whole(root, "turn.relay_range_end")?,
            external_tls: truth(root, "turn.external_tls")?,
            bind_addresses: texts(root, "turn.bind_addresses")?,
            per_user_relay_allocation_limit: whole(root, "turn.per_user_relay_allocation_limit")?,
            ttl_seconds: whole(root, "turn.ttl_seconds")?,
            allow_restricted_peer_cidrs: texts(root, "turn.allow_restricted_peer_cidrs")?,
            deny_peer_cidrs: texts(root, "turn.deny_peer_cidrs")?,
        })
    }
}

impl RawIceServers {
    pub(super) fn from_document(root: &Placed) -> Result<Self, WrongType> {
        Ok(Self { turn: servers(root)?, stun: texts(root, "rtc.stun_servers")? })
    }
}

fn servers(root: &Placed) -> Result<Vec<RawServer>, WrongType> {
    let rtc = child(root, "rtc");
    let Some(list) = rtc.and_then(|rtc| child(rtc, "turn_servers")) else { return Ok(Vec::new()) };
    let wrong = |place: Place| WrongType::new(place, "rtc.turn_servers", "a list of sections");
    let items = match &list.tree {
        Tree::List(items) => items,
        Tree::Null => return Ok(Vec::new()),
        Tree::Bool(_) | Tree::Whole(_) | Tree::Real | Tree::Text(_) | Tree::Map(_) => {
            return Err(wrong(list.place));
        }
    };
    let server = |item: &Placed| {
        if !matches!(item.tree, Tree::Map(_)) {
            return Err(wrong(item.place));
        }
        Ok(RawServer {
            host: text(item, "host")?,
            port: whole(item, "port")?,
            protocol: text(item, "protocol")?,
            username: text(item, "username")?,
            credential: text(item, "credential")?,
            secret: text(item, "secret")?,
            secret_file: text(item, "secret_file")?,
            ttl: whole(item, "ttl")?,
        })
    };
    items.iter().map(server).collect()
}

fn child<'t>(at: &'t Placed, key: &str) -> Option<&'t Placed> {
    let Tree::Map(entries) = &at.tree else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// What TURN shares with the rest of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// The first port of media and how many there are; TURN cannot have one of them.
    pub(super) media_ports: (u16, u16),
    /// The server has certificates, which do for TURN.
    pub(super) has_certificates: bool,
}

/// Checks.
pub(super) fn turn(
    (raw, others): (&RawTurn, RawIceServers),
    shared: Shared,
    warnings: &mut Vec<String>,
) -> Result<TurnConfig, ConfigError> {
    let external = others.turn.iter().map(external).collect::<Result<_, _>>()?;
    let stun = others.stun.unwrap_or_default();
    for server in &stun {
        check_host_port("rtc.stun_servers", server)?;
    }
    for (key, port) in [
        ("turn.udp_port", raw.udp_port),
        ("turn.tcp_port", raw.tcp_port),
        ("turn.tls_port", raw.tls_port),
    ] {
        if raw.enabled.is_none() && port.is_some_and(|port| port != 0) {
            warnings.push(format!("`{key}` has no effect without `turn.enabled: true`"));
        }
    }
    let own = if raw.enabled == Some(true) { Some(own(raw, shared, warnings)?) } else { None };
    Ok(TurnConfig { own, external, stun })
}

fn own(raw: &RawTurn, shared: Shared, warnings: &mut Vec<String>) -> Result<Turn, ConfigError> {
    let Shared { media_ports: (first, count), has_certificates } = shared;
    let port = |key, value| {
        let port = ranged::<u16>(key, value, 0..=65_535, 0, "0..=65535")?;
        Ok::<_, ConfigError>((port != 0).then_some(port))
    };
    let udp_port = port("turn.udp_port", raw.udp_port)?;
    let tcp_port = port("turn.tcp_port", raw.tcp_port)?;
    let tls_port = port("turn.tls_port", raw.tls_port)?;
    if udp_port.is_none() && tcp_port.is_none() && tls_port.is_none() {
        return Err(conflict(
            "invalid TURN ports: `turn.enabled` is true and there is no port; write \
             `udp_port: 3478`, and `tls_port: 443` with `domain`, `cert_file` and `key_file`, below `turn:`",
        ));
    }
    if let Some(port) = udp_port.filter(|port| (first..first.saturating_add(count)).contains(port))
    {
        return Err(conflict(&format!(
            "`turn.udp_port` and `rtc.udp_port` are both {port}; media and TURN need a port each, \
             such as 3478 for TURN"
        )));
    }
    let start = ranged::<u16>(
        "turn.relay_range_start",
        raw.relay_range_start.filter(|port| *port != 0),
        1_024..=65_535,
        RELAY_PORTS.0,
        "1024..=65535",
    )?;
    let end = ranged::<u16>(
        "turn.relay_range_end",
        raw.relay_range_end.filter(|port| *port != 0),
        start.into()..=65_535,
        RELAY_PORTS.1.max(start.into()),
        "turn.relay_range_start..=65535",
    )?;
    let tls = tls_port.map(|port| tls(raw, port)).transpose()?;
    let files = files(raw, tls.as_ref(), has_certificates)?;
    let cidrs = |key, list: &Option<Vec<String>>| {
        let list = list.as_deref().unwrap_or_default().iter();
        list.map(|text| cidr(key, text)).collect::<Result<Vec<_>, _>>()
    };
    let max = raw.per_user_relay_allocation_limit.filter(|limit| *limit != 0);
    let key = "turn.per_user_relay_allocation_limit";
    let max_per_participant = ranged(key, max, 1..=1_000, PER_PARTICIPANT, "1..=1000 allocations")?;
    let ttl = raw.ttl_seconds.filter(|ttl| *ttl != 0);
    let ttl = ranged("turn.ttl_seconds", ttl, 10..=86_400, TTL, "10..=86400 seconds")?;
    let bind = raw.bind_addresses.as_deref().unwrap_or_default().iter();
    let bind = bind.filter(|text| !text.is_empty());
    let bind = bind.map(|text| address("turn.bind_addresses", text)).collect::<Result<_, _>>()?;
    if tls.is_none() && (raw.cert_file.is_some() || raw.key_file.is_some()) {
        warnings.push("`turn.cert_file` has no effect without `turn.tls_port`".to_owned());
    }
    Ok(Turn {
        bind,
        udp_port,
        tcp_port,
        tls,
        files,
        relay_ports: start..=end,
        max_per_participant,
        ttl: Duration::from_secs(ttl),
        allowed_peers: cidrs("turn.allow_restricted_peer_cidrs", &raw.allow_restricted_peer_cidrs)?,
        denied_peers: cidrs("turn.deny_peer_cidrs", &raw.deny_peer_cidrs)?,
    })
}

fn tls(raw: &RawTurn, port: u16) -> Result<TurnTls, ConfigError> {
    let domain = raw.domain.clone().unwrap_or_default();
    let label = |label: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.len() <= 63 && label.chars().all(fits)
    };
    if !domain.contains('.') || domain.len() > 253 || !domain.split('.').all(label) {
        return Err(ConfigError::Value {
            key: "turn.domain",
            got: if domain.is_empty() { "empty".to_owned() } else { domain },
            allowed: "with turn.tls_port the name in the certificate, such as turn.example.org",
        });
    }
    Ok(TurnTls { domain, port, external: raw.external_tls.unwrap_or(false) })
}

fn files(
    raw: &RawTurn,
    tls: Option<&TurnTls>,
    has_certificates: bool,
) -> Result<Option<PairFiles>, ConfigError> {
    let given = |file: &Option<String>| file.clone().filter(|file| !file.is_empty());
    match (tls, given(&raw.cert_file), given(&raw.key_file)) {
        (Some(TurnTls { external: false, .. }), Some(cert), Some(key)) => {
            Ok(Some(PairFiles { cert: cert.into(), key: key.into() }))
        }
        (Some(TurnTls { external: false, .. }), None, None) if has_certificates => Ok(None),
        (Some(TurnTls { external: false, .. }), _, _) => Err(conflict(
            "`turn.tls_port` needs `turn.cert_file` and `turn.key_file`, or certificates for the whole server \
             (`tls.cert_file` and `tls.key_file`, or --domain); or write `external_tls: true`, if a load balancer in \
             front of this server ends TLS",
        )),
        (Some(_) | None, _, _) => Ok(None),
    }
}

fn external(raw: &RawServer) -> Result<ExternalTurn, ConfigError> {
    let host = raw.host.clone().unwrap_or_default();
    check_host("rtc.turn_servers", &host)?;
    let key = "rtc.turn_servers.port";
    let port = ranged(key, Some(raw.port.unwrap_or(0)), 1..=65_535, 0, "1..=65535")?;
    let transport = match raw.protocol.as_deref().unwrap_or("udp").to_ascii_lowercase().as_str() {
        "udp" => TurnTransport::Udp,
        "tcp" => TurnTransport::Tcp,
        "tls" => TurnTransport::Tls,
        other => {
            let (key, got) = ("rtc.turn_servers.protocol", other.to_owned());
            return Err(ConfigError::Value { key, got, allowed: "udp, tcp, tls" });
        }
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let fixed = given(&raw.username).zip(given(&raw.credential));
    let secret = match (given(&raw.secret), given(&raw.secret_file)) {
        (Some(_), Some(_)) => {
            return Err(conflict(
                "a server in `rtc.turn_servers` has both `secret` and `secret_file`; keep one of them",
            ));
        }
        (Some(secret), None) => Some(secret),
        (None, Some(path)) => Some(read_secret(Path::new(&path))?),
        (None, None) => None,
    };
    let ttl = raw.ttl.filter(|ttl| *ttl != 0);
    let key = "rtc.turn_servers.ttl";
    let ttl = ranged(key, ttl, 10..=2_592_000, EXTERNAL_TTL, "10..=2592000 seconds")?;
    let credentials = match (secret, fixed) {
        (Some(secret), _) => TurnCredentials::Shared { secret, ttl: Duration::from_secs(ttl) },
        (None, Some((username, credential))) => TurnCredentials::Fixed { username, credential },
        (None, None) => {
            return Err(conflict(&format!(
                "the server {host} in `rtc.turn_servers` has no credentials; write `username` and \
                 `credential`, or `secret` (coturn's static-auth-secret)"
            )));
        }
    };
    Ok(ExternalTurn { host, port, transport, credentials })
}

fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let what = "the secret of a TURN server,";
    let unreadable = |source| ConfigError::Unreadable { what, path: path.to_owned(), source };
    Ok(std::fs::read_to_string(path).map_err(unreadable)?.trim().to_owned())
}

/// What browsers cannot parse in a URL fails there with an error that nobody sees.
fn check_host(key: &'static str, host: &str) -> Result<(), ConfigError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        let got = if host.is_empty() { "without a host".to_owned() } else { host.to_owned() };
        return Err(ConfigError::Value {
            key,
            got,
            allowed: "a host such as turn.example.org, without scheme",
        });
    }
    Ok(())
}

fn check_host_port(key: &'static str, text: &str) -> Result<(), ConfigError> {
    let fits = |(host, port): &(&str, &str)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.starts_with('['))
    };
    match text.rsplit_once(':').filter(fits) {
        Some((host, _)) => check_host(key, host),
        None => {
            let allowed = "host and port such as stun.example.org:3478, without scheme";
            Err(ConfigError::Value { key, got: text.to_owned(), allowed })
        }
    }
}

fn cidr(key: &'static str, text: &str) -> Result<Cidr, ConfigError> {
    let allowed = "networks such as 10.0.0.0/8 or fd00::/8";
    text.parse().map_err(|_| ConfigError::Value { key, got: text.to_owned(), allowed })
}

fn conflict(text: &str) -> ConfigError {
    ConfigError::Conflict { text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Overrides};
    use super::*;

    fn load(yaml: &str) -> Result<Config, String> {
        let text = format!("keys: {{k: 0123456789abcdef0123456789abcdef}}\n{yaml}");
        Config::load(Some(("c", &text)), Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn turn_is_off_unless_it_is_enabled() {
        for yaml in ["", "turn: {udp_port: 3478}", "turn: {enabled: false, udp_port: 3478}"] {
            assert!(load(yaml).unwrap().turn().own.is_none(), "{yaml}");
        }
        let config = load("turn: {enabled: true, udp_port: 3478}").unwrap();
        let own = config.turn().own.as_ref().unwrap();
        assert_eq!((own.udp_port, own.max_per_participant), (Some(3478), 12));
        assert_eq!((own.ttl.as_secs(), own.relay_ports.clone()), (300, 30_000..=40_000));
        assert!(config.warnings().is_empty());
    }

    #[test]
    fn what_cannot_work_is_an_error_with_its_fix() {
        for (yaml, said) in [
            ("turn: {enabled: true}", "invalid TURN ports"),
            ("turn: {enabled: true, udp_port: 7882}", "both 7882"),
            ("rtc: {udp_port: 7882-7885}\nturn: {enabled: true, udp_port: 7885}", "both 7885"),
            ("turn: {enabled: true, udp_port: 70000}", "`turn.udp_port` is 70000"),
            ("turn: {enabled: true, tls_port: 5349}", "`turn.domain` is empty"),
            (
                "turn: {enabled: true, tls_port: 5349, domain: localhost}",
                "such as turn.example.org",
            ),
            (
                "turn: {enabled: true, tls_port: 5349, domain: 'https://a.b'}",
                "such as turn.example.org",
            ),
            ("turn: {enabled: true, tls_port: 5349, domain: a.b}", "`external_tls: true`"),
            (
                "turn: {enabled: true, udp_port: 1, relay_range_start: 5000, relay_range_end: 4000}",
                "`turn.relay_range_end` is 4000",
            ),
            ("turn: {enabled: true, udp_port: 1, deny_peer_cidrs: [10.0.0.0]}", "10.0.0.0/8"),
            ("turn: {enabled: true, udp_port: 1, allow_restricted_peer_cidrs: [x/8]}", "is x/8"),
            ("rtc: {turn_servers: [{port: 1}]}", "without a host"),
            ("rtc: {turn_servers: [{host: 'turn:a.b/x', port: 1}]}", "without scheme"),
            (
                "rtc: {turn_servers: [{host: a.b, username: u, credential: p}]}",
                "`rtc.turn_servers.port` is 0",
            ),
            ("rtc: {turn_servers: [{host: a.b, port: 1}]}", "has no credentials"),
            ("rtc: {turn_servers: [{host: a.b, port: 1, protocol: dtls}]}", "udp, tcp, tls"),
            (
                "rtc: {turn_servers: [{host: a.b, port: 1, secret: hunter2, secret_file: f}]}",
                "keep one",
            ),
            (
                "rtc: {turn_servers: [{host: a.b, port: 1, secret_file: /nowhere/f}]}",
                "cannot read the secret",
            ),
            ("rtc: {turn_servers: [7]}", "`rtc.turn_servers` must be a list of sections"),
            ("rtc: {stun_servers: [stun.example.org]}", "stun.example.org:3478"),
            ("rtc: {stun_servers: ['stun:stun.example.org:3478']}", "stun.example.org:3478"),
        ] {
            let error = load(yaml).err().unwrap_or_else(|| panic!("{yaml} is accepted"));
            assert!(error.contains(said) && !error.contains("hunter2"), "{yaml}: {error}");
        }
    }

    #[test]
    fn servers_of_others_are_taken_as_they_are_written() {
        let config = load(
            "rtc:\n  stun_servers: ['stun.example.org:3478']\n  turn_servers:\n  \
             - {host: a.b, port: 443, protocol: TLS, secret: north, ttl: 60}\n  \
             - {host: 192.0.2.1, port: 3478, username: u, credential: p}\n",
        )
        .unwrap();
        let TurnConfig { own, external, stun } = config.turn();
        assert!(own.is_none() && stun.len() == 1 && config.warnings().is_empty());
        let [tls, udp] = external.as_slice() else { panic!("{external:?}") };
        assert_eq!((tls.transport, udp.transport), (TurnTransport::Tls, TurnTransport::Udp));
        let shared =
            TurnCredentials::Shared { secret: "north".into(), ttl: Duration::from_secs(60) };
        assert!(tls.credentials == shared);
    }
}
