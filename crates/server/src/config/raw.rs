//! The configuration as written: every key optional, nothing checked but its type.
//!
//! * **Owns:** nothing; a mirror of the reference server's YAML, as far as it has an effect here.
//! * **In:** a parsed document.
//! * **Out:** [`Raw`], or the first value of the wrong type, by key, place and expected type.
//! * **Invariant:** a value is never quoted: it may be a secret in the wrong place.

use std::time::Duration;

use super::ApiKeys;
use super::tree::{Place, Placed, Tree};
use super::turn::{RawIceServers, RawTurn};

/// A value of the wrong type for its key.
#[derive(Debug, thiserror::Error)]
#[error("{place}: `{key}` must be {expected}")]
pub(crate) struct WrongType {
    place: Place,
    key: &'static str,
    expected: &'static str,
}

impl WrongType {
    pub(super) fn new(place: Place, key: &'static str, expected: &'static str) -> Self {
        Self { place, key, expected }
    }
}

/// The keys that have an effect.
#[derive(Default)]
pub(crate) struct Raw {
    pub(crate) port: Option<i128>,
    pub(crate) bind_addresses: Option<Vec<String>>,
    pub(crate) region: Option<String>,
    pub(crate) development: Option<bool>,
    pub(crate) key_file: Option<String>,
    pub(crate) keys: ApiKeys,
    pub(crate) rtc: RawRtc,
    pub(crate) logging: RawLogging,
    pub(crate) room: RawRoom,
    pub(crate) video: RawVideo,
    pub(crate) limit: RawLimit,
    pub(crate) tls: RawTls,
    pub(crate) turn: RawTurn,
    pub(crate) ice_servers: RawIceServers,
}

/// `tls`.
#[derive(Default)]
pub(crate) struct RawTls {
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) domains: Option<Vec<String>>,
    pub(crate) plain_http: Option<bool>,
    pub(crate) acme: RawAcme,
}

/// `tls.acme`.
#[derive(Default)]
pub(crate) struct RawAcme {
    pub(crate) email: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) root: Option<String>,
    pub(crate) cache_dir: Option<String>,
}

/// `rtc`.
#[derive(Default)]
pub(crate) struct RawRtc {
    pub(crate) udp_port: Option<String>,
    pub(crate) tcp: RawTcp,
    pub(crate) node_ip: Option<String>,
    pub(crate) use_external_ip: Option<bool>,
    pub(crate) use_ice_lite: Option<bool>,
    pub(crate) port_range_start: Option<i128>,
    pub(crate) port_range_end: Option<i128>,
    pub(crate) use_stun_port_as_ice: Option<bool>,
    pub(crate) use_mdns: Option<bool>,
    pub(crate) stun_servers: Option<Vec<String>>,
    pub(crate) external_ip_only: Option<bool>,
    pub(crate) interfaces: RawLists,
    pub(crate) ips: RawLists,
    pub(crate) enable_loopback_candidate: Option<bool>,
}

/// The keys of `rtc` about media over TCP.
#[derive(Default)]
pub(crate) struct RawTcp {
    pub(crate) tcp_port: Option<i128>,
    pub(crate) force_tcp: Option<bool>,
    pub(crate) allow_tcp_fallback: Option<bool>,
    pub(crate) tcp_fallback_rtt_threshold: Option<i128>,
}

/// `rtc.interfaces`, `rtc.ips`.
#[derive(Default)]
pub(crate) struct RawLists {
    pub(crate) includes: Option<Vec<String>>,
    pub(crate) excludes: Option<Vec<String>>,
}

/// `logging`.
#[derive(Default)]
pub(crate) struct RawLogging {
    pub(crate) level: Option<String>,
    pub(crate) json: Option<bool>,
}

/// `room`.
#[derive(Default)]
pub(crate) struct RawRoom {
    pub(crate) auto_create: Option<bool>,
    pub(crate) empty_timeout: Option<i128>,
    pub(crate) departure_timeout: Option<i128>,
    pub(crate) max_participants: Option<i128>,
    pub(crate) enabled_codecs: Option<Vec<String>>,
    pub(crate) enable_remote_unmute: Option<bool>,
    /// These three are older names of keys of `limit`.
    pub(crate) max_metadata_size: Option<i128>,
    pub(crate) max_room_name_length: Option<i128>,
    pub(crate) max_participant_identity_length: Option<i128>,
}

/// `limit`, in bytes.
#[derive(Default)]
pub(crate) struct RawLimit {
    pub(crate) max_metadata_size: Option<i128>,
    pub(crate) max_attributes_size: Option<i128>,
    pub(crate) max_room_name_length: Option<i128>,
    pub(crate) max_participant_identity_length: Option<i128>,
    pub(crate) max_participant_name_length: Option<i128>,
}

/// `video`.
#[derive(Default)]
pub(crate) struct RawVideo {
    pub(crate) dynacast_pause_delay: Option<Duration>,
}

impl Raw {
    /// Takes what has an effect out of a document; other keys were reported before.
    pub(crate) fn from_document(root: &Placed) -> Result<Self, WrongType> {
        Ok(Self {
            port: whole(root, "port")?,
            bind_addresses: texts(root, "bind_addresses")?,
            region: text(root, "region")?,
            development: truth(root, "development")?,
            key_file: text(root, "key_file")?,
            keys: keys(root)?,
            rtc: rtc(root)?,
            logging: RawLogging {
                level: text(root, "logging.level")?,
                json: truth(root, "logging.json")?,
            },
            room: RawRoom {
                auto_create: truth(root, "room.auto_create")?,
                empty_timeout: whole(root, "room.empty_timeout")?,
                departure_timeout: whole(root, "room.departure_timeout")?,
                max_participants: whole(root, "room.max_participants")?,
                enabled_codecs: codecs(root)?,
                enable_remote_unmute: truth(root, "room.enable_remote_unmute")?,
                max_metadata_size: whole(root, "room.max_metadata_size")?,
                max_room_name_length: whole(root, "room.max_room_name_length")?,
                max_participant_identity_length: whole(
                    root,
                    "room.max_participant_identity_length",
                )?,
            },
            video: RawVideo { dynacast_pause_delay: duration(root, "video.dynacast_pause_delay")? },
            limit: limit(root)?,
            tls: tls(root)?,
            turn: RawTurn::from_document(root)?,
            ice_servers: RawIceServers::from_document(root)?,
        })
    }
}

fn rtc(root: &Placed) -> Result<RawRtc, WrongType> {
    Ok(RawRtc {
        udp_port: text(root, "rtc.udp_port")?,
        tcp: RawTcp {
            tcp_port: whole(root, "rtc.tcp_port")?,
            force_tcp: truth(root, "rtc.force_tcp")?,
            allow_tcp_fallback: truth(root, "rtc.allow_tcp_fallback")?,
            tcp_fallback_rtt_threshold: whole(root, "rtc.tcp_fallback_rtt_threshold")?,
        },
        node_ip: text(root, "rtc.node_ip")?,
        use_external_ip: truth(root, "rtc.use_external_ip")?,
        use_ice_lite: truth(root, "rtc.use_ice_lite")?,
        port_range_start: whole(root, "rtc.port_range_start")?,
        port_range_end: whole(root, "rtc.port_range_end")?,
        use_stun_port_as_ice: truth(root, "rtc.use_stun_port_as_ice")?,
        use_mdns: truth(root, "rtc.use_mdns")?,
        stun_servers: texts(root, "rtc.stun_servers")?,
        external_ip_only: truth(root, "rtc.external_ip_only")?,
        interfaces: RawLists {
            includes: texts(root, "rtc.interfaces.includes")?,
            excludes: texts(root, "rtc.interfaces.excludes")?,
        },
        ips: RawLists {
            includes: texts(root, "rtc.ips.includes")?,
            excludes: texts(root, "rtc.ips.excludes")?,
        },
        enable_loopback_candidate: truth(root, "rtc.enable_loopback_candidate")?,
    })
}

fn limit(root: &Placed) -> Result<RawLimit, WrongType> {
    Ok(RawLimit {
        max_metadata_size: whole(root, "limit.max_metadata_size")?,
        max_attributes_size: whole(root, "limit.max_attributes_size")?,
        max_room_name_length: whole(root, "limit.max_room_name_length")?,
        max_participant_identity_length: whole(root, "limit.max_participant_identity_length")?,
        max_participant_name_length: whole(root, "limit.max_participant_name_length")?,
    })
}

fn tls(root: &Placed) -> Result<RawTls, WrongType> {
    Ok(RawTls {
        cert_file: text(root, "tls.cert_file")?,
        key_file: text(root, "tls.key_file")?,
        domains: texts(root, "tls.domains")?,
        plain_http: truth(root, "tls.plain_http")?,
        acme: RawAcme {
            email: text(root, "tls.acme.email")?,
            directory: text(root, "tls.acme.directory")?,
            root: text(root, "tls.acme.root")?,
            cache_dir: text(root, "tls.acme.cache_dir")?,
        },
    })
}

/// Finds a value by its path; a section that is no mapping is an error of that section.
fn find<'t>(root: &'t Placed, key: &'static str) -> Result<Option<&'t Placed>, WrongType> {
    let mut at = root;
    for step in key.split('.') {
        at = match &at.tree {
            Tree::Map(entries) => match entries.iter().find(|entry| entry.key == step) {
                Some(entry) => &entry.value,
                None => return Ok(None),
            },
            Tree::Null => return Ok(None),
            Tree::Bool(_) | Tree::Whole(_) | Tree::Real | Tree::Text(_) | Tree::List(_) => {
                let key = key.split_once('.').map_or(key, |(section, _)| section);
                return Err(WrongType {
                    place: at.place,
                    key,
                    expected: "a section with keys below it",
                });
            }
        };
    }
    Ok(if matches!(at.tree, Tree::Null) { None } else { Some(at) })
}

/// Reads one optional value with `take`, which says `None` if the type is wrong.
fn read<T>(
    root: &Placed,
    key: &'static str,
    expected: &'static str,
    take: impl FnOnce(&Tree) -> Option<T>,
) -> Result<Option<T>, WrongType> {
    let Some(at) = find(root, key)? else { return Ok(None) };
    take(&at.tree).map(Some).ok_or(WrongType { place: at.place, key, expected })
}

pub(super) fn whole(root: &Placed, key: &'static str) -> Result<Option<i128>, WrongType> {
    read(root, key, "a whole number", |tree| match tree {
        Tree::Whole(number) => Some(*number),
        Tree::Text(text) => text.parse().ok(),
        Tree::Null | Tree::Bool(_) | Tree::Real | Tree::List(_) | Tree::Map(_) => None,
    })
}

pub(super) fn truth(root: &Placed, key: &'static str) -> Result<Option<bool>, WrongType> {
    read(root, key, "true or false", |tree| match tree {
        Tree::Bool(truth) => Some(*truth),
        Tree::Null | Tree::Whole(_) | Tree::Real | Tree::Text(_) | Tree::List(_) | Tree::Map(_) => {
            None
        }
    })
}

fn as_text(tree: &Tree) -> Option<String> {
    match tree {
        Tree::Text(text) => Some(text.clone()),
        Tree::Whole(number) => Some(number.to_string()),
        Tree::Null | Tree::Bool(_) | Tree::Real | Tree::List(_) | Tree::Map(_) => None,
    }
}

pub(super) fn text(root: &Placed, key: &'static str) -> Result<Option<String>, WrongType> {
    read(root, key, "text", as_text)
}

pub(super) fn texts(root: &Placed, key: &'static str) -> Result<Option<Vec<String>>, WrongType> {
    read(root, key, "a list of texts, such as [\"127.0.0.1\"]", |tree| match tree {
        Tree::List(list) => list.iter().map(|item| as_text(&item.tree)).collect(),
        Tree::Null | Tree::Bool(_) | Tree::Whole(_) | Tree::Real | Tree::Text(_) | Tree::Map(_) => {
            None
        }
    })
}

fn duration(root: &Placed, key: &'static str) -> Result<Option<Duration>, WrongType> {
    read(root, key, "a duration such as 5s, 500ms or 1m30s", |tree| {
        as_text(tree).and_then(|text| duration_of(&text))
    })
}

/// Numbers, each with its unit, as Go writes durations; a bare 0 has none.
fn duration_of(text: &str) -> Option<Duration> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut total = Duration::ZERO;
    let mut rest = if text == "0" { "0s" } else { text };
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// `room.enabled_codecs`: a list of `{mime, fmtp_line}`; only the MIME type is used.
fn codecs(root: &Placed) -> Result<Option<Vec<String>>, WrongType> {
    read(root, "room.enabled_codecs", "a list such as [{mime: audio/opus}]", |tree| match tree {
        Tree::List(list) => list.iter().map(|item| mime(&item.tree)).collect(),
        Tree::Null | Tree::Bool(_) | Tree::Whole(_) | Tree::Real | Tree::Text(_) | Tree::Map(_) => {
            None
        }
    })
}

fn mime(codec: &Tree) -> Option<String> {
    let Tree::Map(entries) = codec else { return None };
    entries.iter().find(|entry| entry.key == "mime").and_then(|entry| as_text(&entry.value.tree))
}

/// `keys`. A secret that YAML reads as a number or a truth must be quoted, because `007` and `7`
/// would be the same secret.
fn keys(root: &Placed) -> Result<ApiKeys, WrongType> {
    let found = read(root, "keys", EXPECTED_KEYS, |tree| match tree {
        Tree::Map(entries) => entries
            .iter()
            .map(|entry| match &entry.value.tree {
                Tree::Text(secret) => Some((entry.key.clone(), secret.clone())),
                Tree::Null
                | Tree::Bool(_)
                | Tree::Whole(_)
                | Tree::Real
                | Tree::List(_)
                | Tree::Map(_) => None,
            })
            .collect(),
        Tree::Null
        | Tree::Bool(_)
        | Tree::Whole(_)
        | Tree::Real
        | Tree::Text(_)
        | Tree::List(_) => None,
    })?;
    Ok(found.unwrap_or_default())
}

/// Reads a document that is nothing but keys: a key file, or the value of `--keys`.
pub(crate) fn only_keys(document: Placed) -> Result<ApiKeys, WrongType> {
    let entry =
        super::tree::Entry { key: "keys".to_owned(), key_place: document.place, value: document };
    keys(&Placed { place: Place::default(), tree: Tree::Map(vec![entry]) })
}

const EXPECTED_KEYS: &str = "API keys with their secrets, `key: secret`, with a space after the colon and all-digit secrets in quotes";
