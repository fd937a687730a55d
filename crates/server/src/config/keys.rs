//! Every key of the reference server's configuration file and of ours, and what this server does with it.
//!
//! * **Owns:** the table of keys.
//! * **In:** [`check`] takes a parsed document.
//! * **Out:** the keys that are recognised but have no effect yet, or the first unknown key,
//!   with its place and the nearest known key.
//! * **Invariant:** a key is in the table once; `.*` stands for a whole section.

use super::tree::{Entry, Place, Placed, Tree};

/// Keys that have an effect.
const SUPPORTED: &[&str] = &[
    "port",
    "bind_addresses",
    "region",
    "development",
    "key_file",
    "keys.*",
    "rtc.udp_port",
    "rtc.tcp_port",
    "rtc.force_tcp",
    "rtc.allow_tcp_fallback",
    "rtc.tcp_fallback_rtt_threshold",
    "rtc.node_ip",
    "rtc.use_external_ip",
    "rtc.use_ice_lite",
    "rtc.port_range_start",
    "rtc.port_range_end",
    "rtc.use_stun_port_as_ice",
    "rtc.external_ip_only",
    "rtc.interfaces.includes",
    "rtc.interfaces.excludes",
    "rtc.ips.includes",
    "rtc.ips.excludes",
    "rtc.enable_loopback_candidate",
    "rtc.use_mdns",
    "rtc.stun_servers",
    "rtc.turn_servers",
    "rtc.turn_servers.host",
    "rtc.turn_servers.port",
    "rtc.turn_servers.protocol",
    "rtc.turn_servers.username",
    "rtc.turn_servers.credential",
    "rtc.turn_servers.secret",
    "rtc.turn_servers.secret_file",
    "rtc.turn_servers.ttl",
    "turn.enabled",
    "turn.domain",
    "turn.cert_file",
    "turn.key_file",
    "turn.tls_port",
    "turn.udp_port",
    "turn.relay_range_start",
    "turn.relay_range_end",
    "turn.external_tls",
    "turn.bind_addresses",
    "turn.per_user_relay_allocation_limit",
    "turn.ttl_seconds",
    "turn.allow_restricted_peer_cidrs",
    "turn.deny_peer_cidrs",
    "turn.tcp_port",
    "logging.level",
    "logging.json",
    "room.auto_create",
    "room.empty_timeout",
    "room.departure_timeout",
    "room.max_participants",
    "room.enabled_codecs",
    "room.enable_remote_unmute",
    "video.dynacast_pause_delay",
    "limit.max_metadata_size",
    "limit.max_attributes_size",
    "limit.max_room_name_length",
    "limit.max_participant_identity_length",
    "limit.max_participant_name_length",
    "room.max_metadata_size",
    "room.max_room_name_length",
    "room.max_participant_identity_length",
    "tls.cert_file",
    "tls.key_file",
    "tls.domains",
    "tls.plain_http",
    "tls.acme.email",
    "tls.acme.directory",
    "tls.acme.root",
    "tls.acme.cache_dir",
];

/// Keys of the reference server that are read and reported, and otherwise ignored.
const NOT_YET: &[&str] = &[
    "prometheus_port",
    "prometheus.port",
    "prometheus.username",
    "prometheus.password",
    "debug_handler.port",
    "log_level",
    "logging.sample",
    "logging.component_levels.*",
    "logging.sample_initial",
    "logging.sample_interval",
    "logging.item_sample_seconds",
    "logging.item_sample_initial",
    "logging.item_sample_interval",
    "logging.pion_level",
    "enable_data_tracks",
    "enable_participant_data_blob",
    "rtc.batch_io.batch_size",
    "rtc.batch_io.max_flush_interval",
    "rtc.sctp_min_cwnd",
    "rtc.sctp_fast_rtx_wnd",
    "rtc.sctp_cwnd_ca_step",
    "rtc.enable_warp",
    "rtc.packet_buffer_size",
    "rtc.packet_buffer_size_video",
    "rtc.packet_buffer_size_audio",
    "rtc.pli_throttle.low_quality",
    "rtc.pli_throttle.mid_quality",
    "rtc.pli_throttle.high_quality",
    "rtc.congestion_control.*",
    "rtc.allow_udp_unstable_fallback",
    "rtc.reconnect_on_publication_error",
    "rtc.reconnect_on_subscription_error",
    "rtc.reconnect_on_data_channel_error",
    "rtc.data_channel_max_buffered_amount",
    "rtc.datachannel_slow_threshold",
    "rtc.datachannel_lossy_target_latency",
    "rtc.datachannel_data_track_target_latency",
    "rtc.forward_stats.summary_interval",
    "rtc.forward_stats.report_interval",
    "rtc.forward_stats.report_window",
    "rtc.enable_rtp_stream_restart_detection",
    "rtc.strict_acks",
    "redis.address",
    "redis.username",
    "redis.password",
    "redis.db",
    "redis.use_tls",
    "redis.tls.*",
    "redis.sentinel_master_name",
    "redis.sentinel_username",
    "redis.sentinel_password",
    "redis.sentinel_addresses",
    "redis.cluster_addresses",
    "redis.dial_timeout",
    "redis.read_timeout",
    "redis.write_timeout",
    "redis.max_redirects",
    "redis.pool_timeout",
    "redis.pool_size",
    "audio.active_level",
    "audio.min_percentile",
    "audio.update_interval",
    "audio.smooth_intervals",
    "audio.active_red_encoding",
    "audio.enable_loss_proxying",
    "video.codec_regression_threshold",
    "video.stream_tracker_manager.*",
    "room.playout_delay.enabled",
    "room.playout_delay.min",
    "room.playout_delay.max",
    "room.sync_streams",
    "room.create_room_timeout",
    "room.create_room_attempts",
    "room.enable_full_room_in_webhooks",
    "room.update_batch_target_size",
    "room.room_configurations.*",
    "ingress.rtmp_base_url",
    "ingress.whip_base_url",
    "sip.*",
    "webhook.urls",
    "webhook.api_key",
    "webhook.filter_params.*",
    "webhook.resource_url_notifier.*",
    "webhook.url_notifier.*",
    "node_selector.kind",
    "node_selector.sort_by",
    "node_selector.algorithm",
    "node_selector.cpu_load_limit",
    "node_selector.sysload_limit",
    "node_selector.regions",
    "signal_relay.retry_timeout",
    "signal_relay.min_retry_interval",
    "signal_relay.max_retry_interval",
    "signal_relay.stream_buffer_size",
    "signal_relay.connect_attempts",
    "psrpc.max_attempts",
    "psrpc.timeout",
    "psrpc.backoff",
    "psrpc.buffer_size",
    "limit.num_tracks",
    "limit.bytes_per_sec",
    "limit.subscription_limit_video",
    "limit.subscription_limit_audio",
    "limit.max_data_blob_key_length",
    "limit.max_data_blobs_size",
    "limit.max_data_track_custom_encoding_length",
    "limit.signal_message_size_limit",
    "limit.agent_signal_message_size_limit",
    "limit.max_api_request_body_size",
    "agents.enable_user_data_recording",
    "agents.enable_user_data_redaction",
    "agents.target_load",
    "metric.*",
    "trace.jaeger_url",
    "node_stats.stats_update_interval",
    "node_stats.stats_rate_measurement_intervals",
    "node_stats.stats_max_delay",
    "api.execution_timeout",
    "api.check_interval",
    "api.max_check_interval",
    "api.enable_psrpc_for_get_list_participants",
];

/// A key that is in neither table.
#[derive(Debug, thiserror::Error)]
#[error("{place}: unknown key `{path}`{}", hint(nearest))]
pub(crate) struct UnknownKey {
    place: Place,
    path: String,
    nearest: Option<&'static str>,
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

/// Walks the document; returns the keys that are recognised but not supported yet.
pub(crate) fn check(document: &Placed) -> Result<Vec<String>, UnknownKey> {
    let mut not_yet = Vec::new();
    walk("", document, &mut not_yet)?;
    Ok(not_yet)
}

fn walk(prefix: &str, at: &Placed, not_yet: &mut Vec<String>) -> Result<(), UnknownKey> {
    let Tree::Map(entries) = &at.tree else { return Ok(()) };
    for entry in entries {
        let path = join(prefix, &entry.key);
        match lookup(&path) {
            Known::Supported => walk_items(&path, &entry.value, not_yet)?,
            Known::NotYet => not_yet.push(path),
            Known::Section => walk(&path, &entry.value, not_yet)?,
            Known::No => return Err(unknown(entry, path)),
        }
    }
    Ok(())
}

/// The sections of a list, where they are known.
fn walk_items(path: &str, at: &Placed, not_yet: &mut Vec<String>) -> Result<(), UnknownKey> {
    let Tree::List(items) = &at.tree else { return Ok(()) };
    let is_known = all().any(|key| is_below(key, path));
    items.iter().filter(|_| is_known).try_for_each(|item| walk(path, item, not_yet))
}

fn is_below(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Known {
    Supported,
    NotYet,
    Section,
    No,
}

fn lookup(path: &str) -> Known {
    let is = |table: &[&str]| {
        table.iter().any(|key| *key == path || key.strip_suffix(".*") == Some(path))
    };
    if is(SUPPORTED) {
        Known::Supported
    } else if is(NOT_YET) {
        Known::NotYet
    } else if all().any(|key| is_below(key, path)) {
        Known::Section
    } else {
        Known::No
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().chain(NOT_YET).copied()
}

fn unknown(entry: &Entry, path: String) -> UnknownKey {
    UnknownKey { place: entry.key_place, nearest: nearest(&path), path }
}

/// The known key that a typing error most likely meant: the same key in another section first, then
/// the one that needs the fewest edits, if they are few for its length.
fn nearest(path: &str) -> Option<&'static str> {
    let leaf = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let names = || all().map(|key| key.strip_suffix(".*").unwrap_or(key));
    let sections = || names().filter_map(|key| key.split_once('.').map(|(section, _)| section));
    if let Some(moved) = names().find(|key| leaf(key) == leaf(path)) {
        return Some(moved);
    }
    let (distance, key) = names()
        .chain(sections())
        .map(|key| (distance(path, key), key))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= (path.len() / 4).max(2) && distance * 2 <= path.len()).then_some(key)
}

/// Levenshtein distance by characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX - 1);
            let cost = (diagonal + usize::from(from != *to)).min(left + 1).min(above + 1);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            (diagonal, left) = (above, cost);
        }
        if let Some(last) = row.last_mut() {
            *last = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn check_text(text: &str) -> Result<Vec<String>, String> {
        check(&tree::parse(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        for (text, said) in [
            ("port: 1\nprot: 7880\n", "line 2, column 1: unknown key `prot`; did you mean `port`?"),
            (
                "rtc:\n  udp_prot: 1\n",
                "line 2, column 3: unknown key `rtc.udp_prot`; did you mean `rtc.udp_port`?",
            ),
            (
                "udp_port: 1\n",
                "line 1, column 1: unknown key `udp_port`; did you mean `rtc.udp_port`?",
            ),
            ("redsi: {}\n", "line 1, column 1: unknown key `redsi`; did you mean `redis`?"),
            (
                "redis: {adress: x}\n",
                "line 1, column 9: unknown key `redis.adress`; did you mean `redis.address`?",
            ),
            (
                "rtc: {turn_servers: [{host: x, protocl: tls}]}\n",
                "line 1, column 32: unknown key `rtc.turn_servers.protocl`; did you mean `rtc.turn_servers.protocol`?",
            ),
            ("frobnicate: 1\n", "line 1, column 1: unknown key `frobnicate`"),
            ("foo: 1\n", "line 1, column 1: unknown key `foo`"),
        ] {
            assert_eq!(check_text(text).unwrap_err(), said);
        }
    }

    #[test]
    fn a_key_of_the_reference_without_effect_is_reported_by_its_path() {
        let text = "port: 1\nredis: {address: 'x:1', tls: {enabled: true}}\nwebhook:\n  urls: []\n";
        assert_eq!(check_text(text).unwrap(), ["redis.address", "redis.tls", "webhook.urls"]);
    }

    #[test]
    fn every_key_stands_in_the_tables_once() {
        let mut keys: Vec<_> = all().collect();
        keys.sort_unstable();
        let many = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), many);
    }

    #[test]
    fn distances() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("port", "prot", 2),
            ("kitten", "sitting", 3),
            ("a", "a", 0),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
