//! `rtc`: UDP ports and the addresses that clients are told.
//!
//! * **Owns:** the defaults of its keys.
//! * **In:** the raw section `rtc`, and what the command line says instead.
//! * **Out:** [`Addresses`], or the first value that cannot be used, with what can.
//! * **Invariant:** keys that contradict each other are an error, keys without a purpose here a warning that says
//!   what serves it instead.
//! * **livekit-server:** `pkg/config/config.go`, and `rtcconfig` of its media transport utilities.

use std::net::IpAddr;

use hearth_addresses::{AddressFilter, Cidr, DEFAULT_STUN_SERVERS, StunServer};

use super::raw::RawRtc;
use super::{ConfigError, address, ranged};

/// The port of all media unless configured.
const UDP_PORT: u16 = 7882;
/// Where `port_range_start` and `port_range_end` begin and end, if only the other one is written.
const PORT_RANGE: (i128, i128) = (50_000, 60_000);

/// See the module documentation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Addresses {
    /// The first UDP port of media.
    pub(crate) udp_port: u16,
    /// How many there are from that one on.
    pub(crate) udp_ports: u16,
    /// Told to clients instead of the machine's own.
    pub(crate) node_ips: Vec<IpAddr>,
    /// `interfaces`, `ips`.
    pub(crate) filter: AddressFilter,
    /// Loopback addresses, too.
    pub(crate) loopback: bool,
    /// Ask these for external addresses; empty: do not.
    pub(crate) ask: Vec<StunServer>,
    /// Tell clients no own IPv4 address.
    pub(crate) external_only: bool,
}

impl Addresses {
    /// `udp_port` and `node_ip` are those of the command line.
    pub(super) fn new(
        rtc: &RawRtc,
        udp_port: Option<&str>,
        node_ip: Option<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let (first, count) = ports(rtc, udp_port, warnings)?;
        let external = rtc.use_external_ip.unwrap_or(false);
        let external_only = rtc.external_ip_only.unwrap_or(false);
        if external_only && !external {
            return Err(ConfigError::Value {
                key: "rtc.external_ip_only",
                got: "true without rtc.use_external_ip".to_owned(),
                allowed: "beside `use_external_ip: true`, which finds the external address; where you know it, \
                          write it into rtc.node_ip instead of both, and clients are told nothing else",
            });
        }
        if rtc.use_stun_port_as_ice == Some(true) {
            warnings.push(
                "rtc.use_stun_port_as_ice has no effect: each media thread has one port; `rtc.udp_port: 3478` \
                 puts media at the port of STUN, which strict networks let out"
                    .to_owned(),
            );
        }
        if rtc.use_mdns == Some(true) {
            warnings.push(
                "rtc.use_mdns has no effect: clients that hide their addresses behind mDNS names are found by \
                 the address that their packets come from"
                    .to_owned(),
            );
        }
        Ok(Self {
            udp_port: first,
            udp_ports: count,
            node_ips: node_ips(node_ip.or(rtc.node_ip.as_deref()))?,
            filter: filter(rtc)?,
            loopback: rtc.enable_loopback_candidate.unwrap_or(false),
            ask: if external { stun_servers(rtc)? } else { Vec::new() },
            external_only,
        })
    }
}

/// The first port and how many: `udp_port`, else of the range, else the default.
fn ports(
    rtc: &RawRtc,
    flag: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<(u16, u16), ConfigError> {
    let port = |key, value, default| ranged::<u16>(key, value, 0..=65_535, default, "0..=65535");
    let start = port("rtc.port_range_start", rtc.port_range_start, PORT_RANGE.0)?;
    let end = port("rtc.port_range_end", rtc.port_range_end, PORT_RANGE.1)?;
    let is_written = |value: Option<i128>| value.is_some_and(|port| port != 0);
    let has_range = is_written(rtc.port_range_start) || is_written(rtc.port_range_end);
    if has_range && (end < start || start == 0) {
        let got = format!("{end}, below rtc.port_range_start {start}");
        let allowed = "rtc.port_range_start..=65535";
        return Err(ConfigError::Value { key: "rtc.port_range_end", got, allowed });
    }
    match flag.or(rtc.udp_port.as_deref()).filter(|text| *text != "0") {
        Some(text) => {
            if has_range {
                warnings.push(
                    "rtc.port_range_start and rtc.port_range_end have no effect beside rtc.udp_port".to_owned(),
                );
            }
            range(text)
        }
        None if has_range => Ok((start, (end - start).saturating_add(1))),
        None => Ok((UDP_PORT, 1)),
    }
}

/// `7882` or `7882-7892`.
fn range(text: &str) -> Result<(u16, u16), ConfigError> {
    let error = || ConfigError::Value {
        key: "rtc.udp_port",
        got: text.to_owned(),
        allowed: "1..=65535 (one port carries all media), or a range such as 7882-7892",
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = first.trim().parse().map_err(|_| error())?;
    let last: u16 = last.trim().parse().map_err(|_| error())?;
    if first == 0 || last < first {
        Err(error())
    } else {
        Ok((first, (last - first).saturating_add(1)))
    }
}

/// One address, or an IPv4 and an IPv6 address with a comma between them.
fn node_ips(text: Option<&str>) -> Result<Vec<IpAddr>, ConfigError> {
    text.unwrap_or_default()
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let ip = address("rtc.node_ip", part)?;
            if ip.is_unspecified() || ip.is_multicast() {
                return Err(ConfigError::Value {
                    key: "rtc.node_ip",
                    got: part.trim().to_owned(),
                    allowed: "an address that clients can send to, such as the public one of this machine",
                });
            }
            Ok(ip)
        })
        .collect()
}

fn filter(rtc: &RawRtc) -> Result<AddressFilter, ConfigError> {
    let names = |list: &Option<Vec<String>>| {
        let mut names = list.clone().unwrap_or_default();
        names.retain(|name| !name.is_empty());
        names
    };
    let blocks = |key, list: &Option<Vec<String>>| {
        let block = |text: &String| {
            text.parse::<Cidr>().map_err(|_| ConfigError::Value {
                key,
                got: text.clone(),
                allowed: "blocks of addresses such as 10.0.0.0/8 or 2001:db8::/32, and addresses",
            })
        };
        names(list).iter().map(block).collect::<Result<Vec<_>, _>>()
    };
    Ok(AddressFilter {
        interfaces: names(&rtc.interfaces.includes),
        not_interfaces: names(&rtc.interfaces.excludes),
        ips: blocks("rtc.ips.includes", &rtc.ips.includes)?,
        not_ips: blocks("rtc.ips.excludes", &rtc.ips.excludes)?,
    })
}

fn stun_servers(rtc: &RawRtc) -> Result<Vec<StunServer>, ConfigError> {
    let server = |text: &str| {
        text.parse().map_err(|()| ConfigError::Value {
            key: "rtc.stun_servers",
            got: text.to_owned(),
            allowed: "names or addresses of STUN servers with their ports, such as stun.example.org:3478",
        })
    };
    let named = rtc.stun_servers.as_deref().unwrap_or_default();
    if named.is_empty() {
        return DEFAULT_STUN_SERVERS.into_iter().map(server).collect();
    }
    named.iter().map(|text| server(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::raw::RawLists;
    use super::*;

    fn read(rtc: &RawRtc) -> Result<(Addresses, Vec<String>), String> {
        let mut warnings = Vec::new();
        let read = Addresses::new(rtc, None, None, &mut warnings);
        read.map(|addresses| (addresses, warnings)).map_err(|error| error.to_string())
    }

    #[test]
    fn ports_are_one_or_a_range_in_either_notation() {
        for (udp_port, start, end, ports) in [
            (None, None, None, (7_882, 1)),
            (Some("0"), None, None, (7_882, 1)),
            (Some("9"), None, None, (9, 1)),
            (Some("7882-7892"), None, None, (7_882, 11)),
            (None, Some(40_000), Some(40_009), (40_000, 10)),
            (None, Some(50_500), None, (50_500, 9_501)),
            (None, None, Some(50_009), (50_000, 10)),
            (None, Some(0), Some(0), (7_882, 1)),
            (None, Some(1), Some(65_535), (1, 65_535)),
        ] {
            let rtc = RawRtc {
                udp_port: udp_port.map(str::to_owned),
                port_range_start: start,
                port_range_end: end,
                ..RawRtc::default()
            };
            let (read, warnings) = read(&rtc).unwrap();
            assert_eq!((read.udp_port, read.udp_ports), ports, "{udp_port:?} {start:?} {end:?}");
            assert_eq!(warnings, [""; 0]);
        }
        let both = RawRtc {
            udp_port: Some("9".into()),
            port_range_start: Some(50_000),
            ..RawRtc::default()
        };
        let (_, warnings) = read(&both).unwrap();
        assert!(warnings[0].contains("no effect beside rtc.udp_port"), "{warnings:?}");
    }

    #[test]
    fn what_cannot_be_used_is_an_error_with_what_can() {
        let list = |text: &str| Some(vec![text.to_owned()]);
        let base = RawRtc::default;
        for (rtc, said) in [
            (
                RawRtc {
                    ips: RawLists { includes: list("10.0.0.0/40"), excludes: None },
                    ..base()
                },
                "`rtc.ips.includes` is 10.0.0.0/40; allowed: blocks of addresses",
            ),
            (
                RawRtc { ips: RawLists { includes: None, excludes: list("eth0") }, ..base() },
                "`rtc.ips.excludes` is eth0",
            ),
            (
                RawRtc { use_external_ip: Some(true), stun_servers: list("stun://x"), ..base() },
                "`rtc.stun_servers` is stun://x; allowed: names or addresses",
            ),
            (
                RawRtc { external_ip_only: Some(true), ..base() },
                "`rtc.external_ip_only` is true without rtc.use_external_ip",
            ),
            (RawRtc { udp_port: Some("9-8".into()), ..base() }, "`rtc.udp_port` is 9-8"),
            (
                RawRtc { port_range_start: Some(60_001), ..base() },
                "`rtc.port_range_end` is 60000, below rtc.port_range_start 60001",
            ),
        ] {
            let error = read(&rtc).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn servers_are_asked_only_if_the_operator_wants_it() {
        let asked = |external, servers: Option<Vec<String>>| {
            let rtc = RawRtc {
                use_external_ip: Some(external),
                stun_servers: servers,
                ..RawRtc::default()
            };
            let asked = read(&rtc).unwrap().0.ask;
            asked.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked(true, None), DEFAULT_STUN_SERVERS);
        assert_eq!(asked(true, Some(vec!["stun.x".into()])), ["stun.x:3478"]);
        assert_eq!(asked(false, Some(vec!["stun.x".into()])), [""; 0]);
    }

    #[test]
    fn keys_that_have_no_purpose_here_say_what_serves_it() {
        let rtc =
            RawRtc { use_mdns: Some(true), use_stun_port_as_ice: Some(true), ..RawRtc::default() };
        let (_, warnings) = read(&rtc).unwrap();
        assert!(warnings[0].contains("`rtc.udp_port: 3478`"), "{warnings:?}");
        assert!(warnings[1].contains("the address that their packets come from"), "{warnings:?}");
    }
}
