//! Where log lines go.
//!
//! * **Owns:** nothing; sets the process's subscriber once.
//! * **In:** the checked configuration.
//! * **Out:** lines on standard error, as text or one JSON object each.
//! * **Invariant:** `RUST_LOG`, if set, wins over the configured level.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Starts logging. A second call has no effect.
pub(crate) fn start(config: &LogConfig) {
    let level = config.level.as_str().to_ascii_lowercase();
    // Libraries tell of every packet and frame; theirs are wanted only by name.
    let default = format!("warn,dcsctp=error,hearth={level},{}", ours(&level));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only a subscriber that is there already refuses, and it does the same.
    let _ = if config.json { lines.json().try_init() } else { lines.try_init() };
}

/// One directive per crate of ours.
fn ours(level: &str) -> String {
    const CRATES: [&str; 9] =
        ["access", "http", "media", "negotiate", "net", "peer", "room", "runtime", "shard"];
    CRATES.map(|name| format!("hearth_{name}={level}")).join(",")
}
