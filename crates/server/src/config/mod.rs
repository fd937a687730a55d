//! The configuration: read, checked, ready to use.
//!
//! * **Owns:** the defaults and the allowed ranges.
//! * **In:** YAML text and the command line's [`Overrides`].
//! * **Out:** a [`Config`] with [`warnings`](Config::warnings), or a [`ConfigError`] that says what to
//!   write instead.
//! * **Invariant:** the command line wins over the file; no error or warning quotes a secret.
//! * **livekit-server:** `pkg/config/config.go`; the keys have the same names and defaults.

mod addresses;
mod document;
mod keys;
mod limits;
mod raw;
mod tcp;
mod tls;
mod tree;
mod turn;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use addresses::Addresses;
pub(crate) use document::Document;
use raw::Raw;
pub(crate) use tcp::TcpConfig;
pub(crate) use tls::TlsConfig;
pub(crate) use turn::{Turn, TurnConfig};

use crate::cli::ThreadArgs;

/// The port of HTTP and signalling unless configured.
const HTTP_PORT: u16 = 7880;
/// The API key and secret of `--dev`.
pub(crate) const DEV_KEY: (&str, &str) = ("devkey", "secret");
/// The length below which a secret can be guessed offline from one token.
const SECRET_LEN: usize = 32;

/// API keys and their secrets, in the order of the configuration; the first signs what the server
/// issues.
pub(crate) type ApiKeys = Vec<(String, String)>;

/// An error of the configuration. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file named on the command line or in the configuration cannot be read.
    #[error("cannot read {what} {path}: {source}")]
    Unreadable { what: &'static str, path: PathBuf, source: std::io::Error },
    /// Other users of the machine can read the secrets.
    #[error("{path} can be read by every user of this machine; run: chmod o-rwx {path}")]
    OpenKeyFile { path: PathBuf },
    /// Not YAML.
    #[error("{origin}, {source}")]
    Syntax { origin: String, source: tree::SyntaxError },
    /// An unknown key.
    #[error("{origin}, {source}")]
    UnknownKey { origin: String, source: keys::UnknownKey },
    /// A value of the wrong type.
    #[error("{origin}, {source}")]
    WrongType { origin: String, source: raw::WrongType },
    /// A value out of its range.
    #[error("`{key}` is {got}; allowed: {allowed}")]
    Value { key: &'static str, got: String, allowed: &'static str },
    /// Values that contradict each other.
    #[error("{text}")]
    Conflict { text: String },
    /// Without keys no token is valid, and no participant can join.
    #[error(
        "no API keys: run `hearth generate-keys` and put the line it prints under `keys:` in the \
         configuration file, indented, or into LIVEKIT_KEYS; or start with --dev to try things out on \
         this machine"
    )]
    NoKeys,
    /// Words about a key where the key should be.
    #[error("`{name}` is no API key, as it has a space in it; write `APIxxxxxxxxxxxx: its secret`")]
    KeyName { name: String },
}

/// Values of the command line; they win over the file.
#[derive(Default)]
pub(crate) struct Overrides {
    pub(crate) dev: bool,
    pub(crate) port: Option<u16>,
    pub(crate) keys: Option<String>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) node_ip: Option<String>,
    pub(crate) udp_port: Option<String>,
    pub(crate) threads: ThreadArgs,
    pub(crate) domains: Vec<String>,
    pub(crate) lan: bool,
    pub(crate) data_dir: Option<PathBuf>,
}

/// A checked configuration.
pub(crate) struct Config {
    dev: bool,
    http_port: u16,
    bind: Vec<IpAddr>,
    addresses: Addresses,
    tcp: TcpConfig,
    threads: ThreadArgs,
    ice_lite: bool,
    region: String,
    keys: ApiKeys,
    log: LogConfig,
    room: RoomLimits,
    tls: TlsConfig,
    turn: TurnConfig,
    warnings: Vec<String>,
}

/// How to log.
pub(crate) struct LogConfig {
    /// The least severe level that is written.
    pub(crate) level: tracing::Level,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
}

/// Defaults of rooms that were not created with other values.
pub(crate) struct RoomLimits {
    /// A join makes the room it names.
    pub(crate) auto_create: bool,
    /// How long a room lives without a first participant.
    pub(crate) empty_timeout: Duration,
    /// How long a room outlives its last participant.
    pub(crate) departure_timeout: Duration,
    /// 0: any number.
    pub(crate) max_participants: u32,
    /// MIME types; empty: all that are known.
    pub(crate) enabled_codecs: Vec<String>,
    /// Administrators may unmute tracks.
    pub(crate) enable_remote_unmute: bool,
    /// Dynacast: how long an encoding has no subscriber before its publisher is asked to pause it.
    pub(crate) dynacast_pause_delay: Duration,
    /// How large metadata, attributes and names may be.
    pub(crate) limits: hearth_access::Limits,
}

impl Config {
    /// Reads and checks; `text` is the YAML with a name for messages, such as its path.
    pub(crate) fn load(text: Option<(&str, &str)>, over: Overrides) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let raw = match text {
            Some((origin, text)) => read(origin, text, &mut warnings)?,
            None => Raw::default(),
        };
        let mut config = Self::try_from((raw, over))?;
        warnings.append(&mut config.warnings);
        config.warnings = warnings;
        Ok(config)
    }

    /// Trying things out on this machine.
    pub(crate) fn dev(&self) -> bool {
        self.dev
    }

    /// The TCP port of HTTP and signalling; 0 lets the system choose.
    pub(crate) fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The addresses to listen on; empty means all of the machine's.
    pub(crate) fn bind(&self) -> &[IpAddr] {
        &self.bind
    }

    /// UDP ports of media, and the addresses that clients are told.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Media over TCP.
    pub(crate) fn tcp(&self) -> &TcpConfig {
        &self.tcp
    }

    /// Media threads, and how rooms are spread over them.
    pub(crate) fn threads(&self) -> ThreadArgs {
        self.threads
    }

    /// Clients do the work of connectivity checks.
    pub(crate) fn ice_lite(&self) -> bool {
        self.ice_lite
    }

    /// Where this node is, in the operator's words.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Never empty.
    pub(crate) fn keys(&self) -> &[(String, String)] {
        &self.keys
    }

    /// How to log.
    pub(crate) fn log(&self) -> &LogConfig {
        &self.log
    }

    /// Defaults of every room.
    pub(crate) fn room(&self) -> &RoomLimits {
        &self.room
    }

    /// Certificates.
    pub(crate) fn tls(&self) -> &TlsConfig {
        &self.tls
    }

    /// Our own TURN server, and those of others.
    pub(crate) fn turn(&self) -> &TurnConfig {
        &self.turn
    }

    /// Warnings, each one sentence.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn read(origin: &str, text: &str, warnings: &mut Vec<String>) -> Result<Raw, ConfigError> {
    let origin = || origin.to_owned();
    let document =
        tree::parse(text).map_err(|source| ConfigError::Syntax { origin: origin(), source })?;
    let not_yet = keys::check(&document)
        .map_err(|source| ConfigError::UnknownKey { origin: origin(), source })?;
    warnings.extend(not_yet.into_iter().map(|key| format!("not supported yet: {key}")));
    Raw::from_document(&document)
        .map_err(|source| ConfigError::WrongType { origin: origin(), source })
}

impl TryFrom<(Raw, Overrides)> for Config {
    type Error = ConfigError;

    fn try_from((mut raw, over): (Raw, Overrides)) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        tls::imply(&mut raw, &over);
        let port = over.port.map(i128::from).or(raw.port);
        let dev = over.dev || raw.development.unwrap_or(false);
        let bind = bind_addresses(dev && !over.lan, raw.bind_addresses.as_deref(), &over.bind)?;
        let (udp_port, node_ip) = (over.udp_port.as_deref(), over.node_ip.as_deref());
        let addresses = Addresses::new(&raw.rtc, udp_port, node_ip, &mut warnings)?;
        let keys = api_keys(dev, &raw, &over)?;
        for (key, secret) in keys.iter().filter(|_| !dev) {
            if (key.as_str(), secret.as_str()) == DEV_KEY {
                warnings.push(format!("the API key {key} is that of --dev: everybody knows its secret and can join and end any room; `hearth generate-keys` makes a safe one"));
            } else if secret.len() < SECRET_LEN {
                warnings.push(format!("the secret of API key {key} has fewer than {SECRET_LEN} characters; `hearth generate-keys` makes a safe one"));
            }
        }
        let tls = tls::tls(raw.tls, dev, &over)?;
        let shared = turn::Shared {
            media_ports: (addresses.udp_port, addresses.udp_ports),
            has_certificates: tls.enabled(),
        };
        Ok(Self {
            dev,
            http_port: ranged("port", port, 0..=65_535, HTTP_PORT.into(), "0..=65535")?,
            bind,
            addresses,
            tcp: tcp::tcp(&raw.rtc.tcp)?,
            threads: over.threads,
            ice_lite: dev || raw.rtc.use_ice_lite.unwrap_or(true),
            region: raw.region.unwrap_or_default(),
            keys,
            log: log(dev, raw.logging.level.as_deref(), raw.logging.json)?,
            room: room(raw.room, &raw.video, &raw.limit)?,
            tls,
            turn: turn::turn((&raw.turn, raw.ice_servers), shared, &mut warnings)?,
            warnings,
        })
    }
}

/// Checks a number and brings it into its final type.
fn ranged<T: TryFrom<i128>>(
    key: &'static str,
    value: Option<i128>,
    range: std::ops::RangeInclusive<i128>,
    default: i128,
    allowed: &'static str,
) -> Result<T, ConfigError> {
    let got = value.unwrap_or(default);
    let error = || ConfigError::Value { key, got: got.to_string(), allowed };
    if range.contains(&got) { T::try_from(got).map_err(|_| error()) } else { Err(error()) }
}

fn bind_addresses(
    dev: bool,
    file: Option<&[String]>,
    flags: &[IpAddr],
) -> Result<Vec<IpAddr>, ConfigError> {
    if !flags.is_empty() {
        return Ok(flags.to_vec());
    }
    let listed = file
        .unwrap_or_default()
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| address("bind_addresses", text))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(if listed.is_empty() && dev {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        listed
    })
}

fn address(key: &'static str, text: &str) -> Result<IpAddr, ConfigError> {
    text.trim().parse().map_err(|_| ConfigError::Value {
        key,
        got: text.to_owned(),
        allowed: "an IP address such as 192.0.2.7 or 2001:db8::7",
    })
}

fn log(dev: bool, level: Option<&str>, json: Option<bool>) -> Result<LogConfig, ConfigError> {
    let default = if dev { "debug" } else { "info" };
    let level = match level.unwrap_or(default).to_ascii_lowercase().as_str() {
        "trace" => tracing::Level::TRACE,
        "debug" => tracing::Level::DEBUG,
        "info" | "" => tracing::Level::INFO,
        "warn" | "warning" => tracing::Level::WARN,
        "error" => tracing::Level::ERROR,
        other => {
            let allowed = "trace, debug, info, warn, error";
            return Err(ConfigError::Value {
                key: "logging.level",
                got: other.to_owned(),
                allowed,
            });
        }
    };
    Ok(LogConfig { level, json: json.unwrap_or(false) })
}

fn room(
    raw: raw::RawRoom,
    video: &raw::RawVideo,
    limit: &raw::RawLimit,
) -> Result<RoomLimits, ConfigError> {
    const SECONDS: &str = "0..=31536000 seconds";
    let seconds = |key, value, default| {
        ranged::<u64>(key, value, 0..=31_536_000, default, SECONDS).map(Duration::from_secs)
    };
    let most = i128::from(u32::MAX);
    let limits = limits::limits(limit, &raw)?;
    Ok(RoomLimits {
        limits,
        auto_create: raw.auto_create.unwrap_or(true),
        empty_timeout: seconds("room.empty_timeout", raw.empty_timeout, 300)?,
        departure_timeout: seconds("room.departure_timeout", raw.departure_timeout, 20)?,
        max_participants: ranged(
            "room.max_participants",
            raw.max_participants,
            0..=most,
            0,
            "0..=4294967295, 0 for no limit",
        )?,
        enabled_codecs: raw.enabled_codecs.unwrap_or_default(),
        enable_remote_unmute: raw.enable_remote_unmute.unwrap_or(false),
        dynacast_pause_delay: dynacast_pause_delay(video.dynacast_pause_delay)?,
    })
}

fn dynacast_pause_delay(value: Option<Duration>) -> Result<Duration, ConfigError> {
    match value.unwrap_or(Duration::from_secs(5)) {
        delay if delay <= Duration::from_secs(3_600) => Ok(delay),
        delay => Err(ConfigError::Value {
            key: "video.dynacast_pause_delay",
            got: format!("{delay:?}"),
            allowed: "0s..=1h",
        }),
    }
}

/// The first source that is present wins: `--keys`, `--key-file`, `key_file`, `keys`.
fn api_keys(dev: bool, raw: &Raw, over: &Overrides) -> Result<ApiKeys, ConfigError> {
    let keys = if let Some(text) = &over.keys {
        parse_keys("--keys (or LIVEKIT_KEYS)", text)?
    } else if let Some(path) = &over.key_file {
        read_key_file(path)?
    } else if let Some(path) = raw.key_file.as_deref().filter(|path| !path.is_empty()) {
        read_key_file(Path::new(path))?
    } else {
        raw.keys.clone()
    };
    if let Some((name, _)) = keys.iter().find(|(name, _)| name.contains(char::is_whitespace)) {
        return Err(ConfigError::KeyName { name: name.clone() });
    }
    match keys.is_empty() {
        false => Ok(keys),
        true if dev => Ok(vec![(DEV_KEY.0.to_owned(), DEV_KEY.1.to_owned())]),
        true => Err(ConfigError::NoKeys),
    }
}

/// Reads `key: secret` pairs, one a line.
pub(crate) fn parse_keys(origin: &str, text: &str) -> Result<ApiKeys, ConfigError> {
    let origin = || origin.to_owned();
    let document =
        tree::parse(text).map_err(|source| ConfigError::Syntax { origin: origin(), source })?;
    raw::only_keys(document).map_err(|source| ConfigError::WrongType { origin: origin(), source })
}

/// Reads a key file, if only its owner and group may.
pub(crate) fn read_key_file(path: &Path) -> Result<ApiKeys, ConfigError> {
    let unreadable =
        |source| ConfigError::Unreadable { what: "the key file", path: path.to_owned(), source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(ConfigError::OpenKeyFile { path: path.to_owned() });
        }
    }
    parse_keys(&path.display().to_string(), &std::fs::read_to_string(path).map_err(unreadable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "keys: {k: 0123456789abcdef0123456789abcdef}\n";

    fn load(yaml: &str) -> Result<Config, String> {
        let text = format!("{KEYS}{yaml}");
        Config::load(Some(("c.yaml", &text)), Overrides::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let config = load("").unwrap();
        assert_eq!((config.http_port(), config.addresses().udp_port), (7880, 7882));
        assert_eq!(config.room().empty_timeout, Duration::from_secs(300));
        assert_eq!(config.room().departure_timeout, Duration::from_secs(20));
        assert_eq!(config.room().dynacast_pause_delay, Duration::from_secs(5));
        assert!(
            config.room().auto_create && config.bind().is_empty() && config.warnings().is_empty()
        );
        assert!(!config.room().enable_remote_unmute);
    }

    #[test]
    fn administrators_unmute_where_the_operator_lets_them() {
        let config = load("room: {enable_remote_unmute: true}").unwrap();
        assert!(config.room().enable_remote_unmute && config.warnings().is_empty());
    }

    #[test]
    fn durations_are_written_as_in_go() {
        let delay = |text: &str| {
            let config = load(&format!("video: {{dynacast_pause_delay: {text}}}"))?;
            assert!(config.warnings().is_empty());
            Ok::<_, String>(config.room().dynacast_pause_delay)
        };
        for (text, millis) in
            [("5s", 5_000), ("500ms", 500), ("1m30s", 90_000), ("1.5s", 1_500), ("0", 0)]
        {
            assert_eq!(delay(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["5", "s", "5 s", "5x", "-5s", "1.5", "[5s]", "5s3", "''", "é", "1e9s"] {
            let error = delay(text).unwrap_err();
            assert!(error.contains("must be a duration such as 5s"), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_out_of_range_names_key_value_and_range() {
        for (yaml, said) in [
            ("port: 70000", "`port` is 70000; allowed: 0..=65535"),
            ("port: -1", "`port` is -1; allowed: 0..=65535"),
            (
                "video: {dynacast_pause_delay: 2h}",
                "`video.dynacast_pause_delay` is 7200s; allowed: 0s..=1h",
            ),
            ("port: abc", "c.yaml, line 2, column 7: `port` must be a whole number"),
            ("room: [1]", "c.yaml, line 2, column 7: `room` must be a section with keys below it"),
            (
                "rtc: {udp_port: 9-8}",
                "`rtc.udp_port` is 9-8; allowed: 1..=65535 (one port carries all media), or a range such as 7882-7892",
            ),
            (
                "rtc: {port_range_start: 9, port_range_end: 8}",
                "`rtc.port_range_end` is 8, below rtc.port_range_start 9; allowed: rtc.port_range_start..=65535",
            ),
            (
                "rtc: {node_ip: nonsense}",
                "`rtc.node_ip` is nonsense; allowed: an IP address such as 192.0.2.7 or 2001:db8::7",
            ),
            (
                "logging: {level: loud}",
                "`logging.level` is loud; allowed: trace, debug, info, warn, error",
            ),
            (
                "room: {empty_timeout: -1}",
                "`room.empty_timeout` is -1; allowed: 0..=31536000 seconds",
            ),
            (
                "room: {max_participants: 4294967296}",
                "`room.max_participants` is 4294967296; allowed: 0..=4294967295, 0 for no limit",
            ),
            ("prot: 1", "c.yaml, line 2, column 1: unknown key `prot`; did you mean `port`?"),
        ] {
            assert_eq!(load(yaml).err().as_deref(), Some(said));
        }
    }

    #[test]
    fn keys_without_effect_yet_are_warnings() {
        let said = ["not supported yet: redis.address"];
        assert_eq!(load("redis: {address: x}").unwrap().warnings(), said);
    }

    #[test]
    fn no_error_quotes_a_secret() {
        for yaml in [
            "keys: hunter2",
            "keys: [hunter2]",
            "keys: {k: {deep: hunter2}}",
            "keys: {k:hunter2}",
            "keys: {k: hunter2",
            "port: hunter2",
            "redis: {pasword: hunter2}",
        ] {
            let error = Config::load(Some(("c.yaml", yaml)), Overrides::default()).err().unwrap();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let over = Overrides { keys: Some("k:hunter2".to_owned()), ..Overrides::default() };
        let error = Config::load(None, over).err().unwrap().to_string();
        assert!(error.contains("space after the colon") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn without_keys_only_dev_starts() {
        let error = Config::load(None, Overrides::default()).err().unwrap();
        assert!(error.to_string().contains("hearth generate-keys"), "{error}");
        let dev = Config::load(None, Overrides { dev: true, ..Overrides::default() }).unwrap();
        assert_eq!(dev.keys(), [("devkey".to_owned(), "secret".to_owned())]);
        assert_eq!(dev.bind().len(), 2);
    }

    #[test]
    fn keys_that_are_labels_are_refused_and_those_that_everybody_knows_warned_of() {
        let keys = |text: &str| {
            let over = Overrides { keys: Some(text.to_owned()), ..Overrides::default() };
            Config::load(None, over).map_err(|error| error.to_string())
        };
        let error = keys("API Key:  APIx\nAPI Secret:  hunter2").err().unwrap();
        assert!(error.contains("`API Key` is no API key") && !error.contains("hunter2"), "{error}");
        let warnings = keys("devkey: secret").unwrap().warnings;
        assert!(warnings.iter().any(|w| w.contains("everybody knows")), "{warnings:?}");
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let over = Overrides {
            keys: Some("b: 1x\na: 2x".to_owned()),
            bind: vec![Ipv4Addr::UNSPECIFIED.into()],
            node_ip: Some("192.0.2.1,2001:db8::1".to_owned()),
            udp_port: Some("9000".to_owned()),
            ..Overrides::default()
        };
        let yaml =
            "keys: {k: s}\nbind_addresses: ['127.0.0.1']\nrtc: {udp_port: 1, node_ip: 192.0.2.9}\n";
        let config = Config::load(Some(("c.yaml", yaml)), over).unwrap();
        assert_eq!(config.keys().iter().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(config.bind(), [IpAddr::from(Ipv4Addr::UNSPECIFIED)]);
        let addresses = config.addresses();
        assert_eq!((addresses.udp_port, addresses.node_ips.len()), (9000, 2));
    }
}
