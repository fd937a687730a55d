//! External addresses, and why one cannot be found.
//!
//! * **Owns:** nothing; values.
//! * **In:** `rtc.stun_servers` ([`StunServer`]); what discovery saw.
//! * **Out:** [`External`], or [`ExternalError`], whose text names the hop that failed and what to do.
//! * **Invariant:** every server that was asked has its outcome in the error.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// The port of STUN (RFC 8489 §18.6).
const STUN_PORT: u16 = 3478;

/// Asked where the operator names none; those of livekit-server.
pub const DEFAULT_STUN_SERVERS: [&str; 3] =
    ["global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302"];

/// A STUN server by name or address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StunServer {
    /// Without the brackets of IPv6.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for StunServer {
    type Err = ();

    /// `host`, `host:port`, `[v6]:port`, also with `stun:` before it.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let text = text.strip_prefix("stun:").unwrap_or(text);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(())?;
                (host, port.strip_prefix(':'))
            }
            None if text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(STUN_PORT), str::parse).map_err(|_| ())?;
        let odd = |c: char| c.is_whitespace() || "/?@#".contains(c);
        if host.is_empty() || port == 0 || host.contains(odd) {
            return Err(());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Whether a datagram to the external address comes back to this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hairpin {
    /// It does, so that the port is open at least from inside.
    Works,
    /// Nothing came within a second. Many routers do not do it, and clients elsewhere do not need it.
    Nothing,
}

/// An external address of an own one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct External {
    /// The own address.
    pub local: IpAddr,
    /// What the servers see. The same where there is no NAT.
    pub ip: IpAddr,
    /// The port that the media port was seen at by the first server; `None` if it was not asked from there.
    pub port: Option<u16>,
    /// The servers that said so.
    pub told_by: Vec<String>,
    /// `None` where there is no NAT.
    pub hairpin: Option<Hairpin>,
}

impl External {
    /// There is a NAT.
    pub fn is_translated(&self) -> bool {
        self.ip != self.local
    }

    /// What the operator should know, if anything, when media is received at `port`.
    pub fn warning(&self, port: u16) -> Option<String> {
        let Self { local, ip, .. } = self;
        if !self.is_translated() {
            return None;
        }
        let inner = match ip {
            IpAddr::V4(v4) => {
                let carrier = v4.octets().first() == Some(&100)
                    && v4.octets().get(1).is_some_and(|b| b & 0xC0 == 64);
                v4.is_private() || carrier
            }
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        if inner {
            return Some(format!(
                "the external address of {local} is {ip}, which is not of the public internet either: there is \
                 another NAT (a carrier's, perhaps), and only clients before it reach this server; relay media by \
                 TURN, or use a machine with a public address"
            ));
        }
        let seen = self.port.filter(|seen| *seen != port)?;
        Some(format!(
            "the NAT of {local} shows UDP port {port} as {seen}: clients reach {ip}:{port} only if the NAT forwards \
             that port to {local}:{port}"
        ))
    }
}

/// Why a server told nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The resolver's words.
    Dns(String),
    /// The resolver has not answered.
    DnsTimeout(Duration),
    /// Its name has no address of the family.
    Family {
        /// Of IPv6; else of IPv4.
        v6: bool,
    },
    /// The datagram could not be sent: the system's words.
    Send(String),
    /// Nothing came back.
    NoAnswer(Duration),
    /// It refused, with a code of STUN.
    Refused(u16),
    /// It told an address that others did not.
    Told(IpAddr),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => write!(f, "its name was not found: {error}"),
            Self::DnsTimeout(after) => write!(f, "no answer of DNS to its name within {after:.1?}"),
            Self::Family { v6: false } => write!(f, "its name has no IPv4 address"),
            Self::Family { v6: true } => write!(f, "its name has no IPv6 address"),
            Self::Send(error) => write!(f, "cannot send to it: {error}"),
            Self::NoAnswer(after) => write!(f, "no answer within {after:.1?}"),
            Self::Refused(code) => write!(f, "it refused with code {code}"),
            Self::Told(ip) => write!(f, "it tells {ip}"),
        }
    }
}

/// Why the external address of one own address is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// Another program has the port to ask from.
    PortTaken(u16),
    /// The port to ask from cannot be had: the system's words.
    Bind(String),
    /// As many servers say one thing as another.
    Disagree,
    /// No server told anything.
    Silence,
}

/// Why the external address of one own address is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalError {
    /// The own address.
    pub local: IpAddr,
    /// What is in the way.
    pub obstacle: Obstacle,
    /// Every server that was asked, and what became of that.
    pub servers: Vec<(String, Failure)>,
}

impl std::error::Error for ExternalError {}

impl fmt::Display for ExternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, obstacle, servers } = self;
        let each: Vec<_> = servers.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        let each = each.join("; ");
        let by_hand =
            "write the external address into rtc.node_ip and take rtc.use_external_ip out";
        match obstacle {
            Obstacle::PortTaken(port) => write!(
                f,
                "UDP port {port} of {local} is in use, perhaps by another server; stop that one, or choose a port with \
                 --udp-port or `rtc.udp_port:`"
            ),
            Obstacle::Bind(error) => {
                write!(f, "cannot ask for the external address of {local} from there: {error}")
            }
            Obstacle::Disagree => write!(
                f,
                "STUN servers disagree about the external address of {local} ({each}): name those to believe in \
                 rtc.stun_servers, or {by_hand}"
            ),
            Obstacle::Silence => {
                let fix = if servers.iter().all(|(_, why)| is_name_trouble(why)) {
                    "repair this machine's DNS, name STUN servers by address in rtc.stun_servers"
                } else {
                    "let UDP out to them, name others in rtc.stun_servers"
                };
                write!(
                    f,
                    "no STUN server told the external address of {local} ({each}): {fix}, or {by_hand}"
                )
            }
        }
    }
}

const fn is_name_trouble(why: &Failure) -> bool {
    matches!(why, Failure::Dns(_) | Failure::DnsTimeout(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_in_several_ways() {
        for (text, host, port) in [
            ("stun.example.org", "stun.example.org", 3478),
            ("stun:stun.example.org:19302", "stun.example.org", 19302),
            (" 192.0.2.1:1 ", "192.0.2.1", 1),
            ("[2001:db8::1]:9", "2001:db8::1", 9),
            ("[2001:db8::1]", "2001:db8::1", 3478),
            ("2001:db8::1", "2001:db8::1", 3478),
        ] {
            let server = StunServer { host: host.to_owned(), port };
            assert_eq!(text.parse(), Ok(server.clone()), "{text}");
            assert_eq!(server.to_string().parse(), Ok(server));
        }
        for text in ["", ":3478", "a:b", "a:0", "a:70000", "turn://a/b", "a b", "[::1"] {
            assert!(text.parse::<StunServer>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_says_which_hop_failed_and_what_to_do() {
        let local = "10.0.0.5".parse().unwrap();
        let said = |obstacle, servers: &[(&str, Failure)]| {
            let servers = servers.iter().map(|(name, why)| ((*name).to_owned(), why.clone()));
            ExternalError { local, obstacle, servers: servers.collect() }.to_string()
        };
        let dns = Failure::Dns("Name or service not known".into());
        let quiet = Failure::NoAnswer(Duration::from_secs(5));
        let text = said(Obstacle::Silence, &[("stun.a:1", dns.clone()), ("stun.b:2", quiet)]);
        assert_eq!(
            text,
            "no STUN server told the external address of 10.0.0.5 (stun.a:1: its name was not found: Name or service \
             not known; stun.b:2: no answer within 5.0s): let UDP out to them, name others in rtc.stun_servers, or \
             write the external address into rtc.node_ip and take rtc.use_external_ip out"
        );
        assert!(
            said(Obstacle::Silence, &[("stun.a:1", dns)]).contains("repair this machine's DNS")
        );
        let told = |n| Failure::Told(IpAddr::from([203, 0, 113, n]));
        let text = said(Obstacle::Disagree, &[("a:1", told(1)), ("b:2", told(2))]);
        assert!(text.contains("disagree") && text.contains("b:2: it tells 203.0.113.2"), "{text}");
    }

    #[test]
    fn a_nat_that_changes_the_port_or_is_not_the_last_one_is_warned_of() {
        let found = |ip: &str, port| External {
            local: "10.0.0.5".parse().unwrap(),
            ip: ip.parse().unwrap(),
            port,
            told_by: vec!["a:1".into()],
            hairpin: None,
        };
        assert_eq!(found("203.0.113.9", Some(7882)).warning(7882), None);
        assert_eq!(found("203.0.113.9", None).warning(7882), None);
        assert_eq!(found("10.0.0.5", Some(9)).warning(7882), None);
        let text = found("203.0.113.9", Some(41_000)).warning(7882).unwrap();
        assert!(text.contains("shows UDP port 7882 as 41000"), "{text}");
        assert!(found("100.64.0.9", Some(7882)).warning(7882).unwrap().contains("another NAT"));
    }
}
