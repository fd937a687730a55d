//! Where log lines go.
//!
//! * **Owns:** nothing; sets the process's subscriber once.
//! * **In:** the checked configuration.
//! * **Out:** lines on standard error, as text or one JSON object each.
//! * **Invariant:** `RUST_LOG`, if set, wins over the configured level.

use std::io::IsTerminal as _;

use tracing::warn;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogConfig;

/// Starts logging. A second call has no effect.
pub(crate) fn start(config: &LogConfig) {
    let level = config.level.as_str().to_ascii_lowercase();
    // Libraries log every packet and frame; theirs are enabled only by name.
    let default = format!("warn,dcsctp=error,hearth={level},{}", ours(&level));
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let (filter, refused) = filter(&wanted, &default);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only a subscriber that is there already refuses, and it does the same.
    let _ = if config.json { lines.json().try_init() } else { lines.try_init() };
    if let Some(error) = refused {
        warn!(
            "RUST_LOG={wanted} is not understood ({error}), so the configured level counts; \
             write levels and crates, as in RUST_LOG=info,hearth_room=debug"
        );
    }
}

/// The log filter, and a warning about parts that could not be parsed.
fn filter(wanted: &str, default: &str) -> (EnvFilter, Option<ParseError>) {
    match EnvFilter::try_new(wanted) {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (EnvFilter::new(default), None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    }
}

/// One directive per crate of ours.
fn ours(level: &str) -> String {
    const CRATES: [&str; 11] = [
        "access",
        "http",
        "listener",
        "media",
        "negotiate",
        "net",
        "peer",
        "room",
        "runtime",
        "shard",
        "tls",
    ];
    CRATES.map(|name| format!("hearth_{name}={level}")).join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_invalid_filter_is_reported_and_the_configured_level_counts() {
        for (wanted, used, refused) in [
            ("", "warn,hearth=info", false),
            ("hearth_room=debug", "hearth_room=debug", false),
            ("hearth=debgu", "warn,hearth=info", true),
            ("x[y", "warn,hearth=info", true),
        ] {
            let (filter, error) = filter(wanted, "warn,hearth=info");
            let parts = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
            assert_eq!(parts(&filter.to_string()), parts(used), "{wanted}");
            assert_eq!(error.is_some(), refused, "{wanted}");
        }
    }
}
