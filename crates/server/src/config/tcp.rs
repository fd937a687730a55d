//! `rtc`, as far as it is about media over TCP.
//!
//! * **Owns:** the defaults.
//! * **In:** the raw section. **Out:** [`TcpConfig`], or the first value that cannot be.
//! * **Invariant:** clients that are to use TCP only have a port to use.
//! * **livekit-server:** `pkg/config/config.go`; the keys have the same names and defaults.

use std::time::Duration;

use super::raw::RawTcp;
use super::{ConfigError, ranged};

/// The port of media over TCP unless configured.
const TCP_PORT: i128 = 7881;
/// `rtc.tcp_fallback_rtt_threshold`: a minute is longer than any round trip.
const MAX_RTT: i128 = 60_000;

/// Media over TCP, for clients whose network lets no UDP through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TcpConfig {
    /// `None`: media goes over UDP only.
    pub(crate) port: Option<u16>,
    /// No client is offered UDP.
    pub(crate) force: bool,
    /// A client whose UDP fails is told to use TCP only.
    pub(crate) fallback: bool,
    /// Clients whose signalling takes longer there and back are not; zero: all are.
    pub(crate) fallback_rtt: Duration,
}

pub(super) fn tcp(rtc: &RawTcp) -> Result<TcpConfig, ConfigError> {
    let port: u16 = ranged("rtc.tcp_port", rtc.tcp_port, 0..=65_535, TCP_PORT, "0..=65535")?;
    let force = rtc.force_tcp.unwrap_or(false);
    if force && port == 0 {
        return Err(ConfigError::Value {
            key: "rtc.force_tcp",
            got: "true, and rtc.tcp_port is 0".to_owned(),
            allowed: "false, or true with a port such as 7881 in rtc.tcp_port",
        });
    }
    let key = "rtc.tcp_fallback_rtt_threshold";
    let allowed = "0..=60000 milliseconds, 0 for no limit";
    let rtt = ranged(key, rtc.tcp_fallback_rtt_threshold, 0..=MAX_RTT, 0, allowed)?;
    Ok(TcpConfig {
        port: (port != 0).then_some(port),
        force,
        fallback: rtc.allow_tcp_fallback.unwrap_or(true),
        fallback_rtt: Duration::from_millis(rtt),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Overrides};
    use super::*;

    #[test]
    fn media_over_tcp_is_on_unless_it_is_configured_away() {
        let usual = TcpConfig {
            port: Some(7881),
            force: false,
            fallback: true,
            fallback_rtt: Duration::ZERO,
        };
        for (yaml, expected) in [
            ("", usual),
            ("rtc: {tcp_port: 443}", TcpConfig { port: Some(443), ..usual }),
            ("rtc: {tcp_port: 0}", TcpConfig { port: None, ..usual }),
            ("rtc: {force_tcp: true}", TcpConfig { force: true, ..usual }),
            ("rtc: {allow_tcp_fallback: false}", TcpConfig { fallback: false, ..usual }),
            (
                "rtc: {tcp_fallback_rtt_threshold: 200}",
                TcpConfig { fallback_rtt: Duration::from_millis(200), ..usual },
            ),
        ] {
            let config = load(yaml).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((*config.tcp(), config.warnings()), (expected, [].as_slice()), "{yaml}");
        }
    }

    #[test]
    fn a_contradiction_names_what_to_write() {
        for (yaml, error) in [
            (
                "rtc: {force_tcp: true, tcp_port: 0}",
                "`rtc.force_tcp` is true, and rtc.tcp_port is 0; allowed: false, or true with a port such as 7881 in rtc.tcp_port",
            ),
            ("rtc: {tcp_port: 70000}", "`rtc.tcp_port` is 70000; allowed: 0..=65535"),
        ] {
            assert_eq!(load(yaml).err().map(|error| error.to_string()).as_deref(), Some(error));
        }
    }

    fn load(yaml: &str) -> Result<Config, ConfigError> {
        let keys = "keys: {k: 0123456789abcdef0123456789abcdef}\n".to_owned() + yaml;
        Config::load(Some(("c", &keys)), Overrides::default())
    }
}
