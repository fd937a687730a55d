//! The STUN and TURN servers that clients are told, with credentials of their own for each participant.
//!
//! * **Owns:** nothing; a value of the configuration.
//! * **In:** a participant's sid, the time, whether it may use TLS only.
//! * **Out:** the lists of `JoinResponse` and `ReconnectResponse`.
//! * **Invariant:** a credential is good for one participant and for a time. No secret is shown by `Debug`.
//! * **livekit-server:** `pkg/service/roommanager.go` (`iceServersForParticipant`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hearth_signal::proto;
use hearth_turn::{Identity, shared_secret_credentials};

/// What clients are told where nothing else is configured.
const DEFAULT_STUN: [&str; 3] =
    ["global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302"];
/// The port of HTTPS, which networks let through that let nothing else through.
const HTTPS: u16 = 443;

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct IceServers {
    /// Our own TURN server.
    pub turn: Option<EmbeddedTurn>,
    /// Those of others.
    pub external: Vec<ExternalTurn>,
    /// `host:port` each.
    pub stun: Vec<String>,
}

/// How clients reach our own TURN server.
#[derive(Clone, Default)]
pub struct EmbeddedTurn {
    /// The API key whose secret makes the passwords, and that.
    pub key: (String, String),
    /// How long a participant may allocate.
    pub ttl: Duration,
    /// This node's addresses; filled in at the start.
    pub ips: Vec<IpAddr>,
    /// TURN over UDP.
    pub udp_port: Option<u16>,
    /// TURN over TCP.
    pub tcp_port: Option<u16>,
    /// TURN over TLS.
    pub tls: Option<TurnTls>,
}

/// TURN over TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TurnTls {
    /// The name in the certificate.
    pub domain: String,
    /// Where we listen.
    pub port: u16,
    /// TLS ends at a load balancer before us, which listens at 443.
    pub external: bool,
}

/// A TURN server of somebody else.
#[derive(Clone)]
pub struct ExternalTurn {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How to reach it.
    pub transport: TurnTransport,
    /// How to make credentials.
    pub credentials: TurnCredentials,
}

/// How a client reaches a TURN server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TurnTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// Credentials at a TURN server of somebody else.
#[derive(Clone, Eq, PartialEq)]
pub enum TurnCredentials {
    /// The same for all.
    Fixed {
        /// User name.
        username: String,
        /// Password.
        credential: String,
    },
    /// Made by a secret that it shares with us (coturn's `static-auth-secret`).
    Shared {
        /// The secret.
        secret: String,
        /// How long they are good for.
        ttl: Duration,
    },
}

impl IceServers {
    /// A relay over TLS is among them.
    pub(crate) fn has_tls(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.tls.is_some())
            || self.external.iter().any(|turn| turn.transport == TurnTransport::Tls)
    }

    /// For a participant, at `unix` seconds since 1970. `only_tls`: everything else has failed for it.
    pub fn for_participant(
        &self,
        unix: u64,
        participant: &str,
        only_tls: bool,
    ) -> Vec<proto::IceServer> {
        let embedded = self.turn.as_ref().map(|turn| turn.entry(unix, participant, only_tls));
        let external = self.external.iter();
        let external = external.filter(|turn| !only_tls || turn.transport == TurnTransport::Tls);
        let external = external.map(|turn| turn.entry(unix, participant));
        let mut servers: Vec<_> =
            embedded.into_iter().chain(external).filter(|entry| !entry.urls.is_empty()).collect();
        let stun = |hosts: &mut dyn Iterator<Item = &str>| proto::IceServer {
            urls: hosts.map(|host| format!("stun:{host}")).collect(),
            ..proto::IceServer::default()
        };
        let has_udp = self.turn.as_ref().is_some_and(|turn| turn.udp_port.is_some());
        if only_tls {
            // Nothing but TURN can help.
        } else if !self.stun.is_empty() {
            servers.push(stun(&mut self.stun.iter().map(String::as_str)));
        } else if !has_udp && self.external.is_empty() {
            servers.push(stun(&mut DEFAULT_STUN.into_iter()));
        }
        servers
    }
}

impl EmbeddedTurn {
    /// Where clients find it.
    pub fn urls(&self) -> Vec<String> {
        self.urls_for(false)
    }

    fn urls_for(&self, only_tls: bool) -> Vec<String> {
        let mut urls = Vec::new();
        for (transport, port) in [("udp", self.udp_port), ("tcp", self.tcp_port)] {
            let Some(port) = port.filter(|_| !only_tls) else { continue };
            let addrs = self.ips.iter().map(|ip| SocketAddr::new(*ip, port));
            urls.extend(addrs.map(|addr| format!("turn:{addr}?transport={transport}")));
        }
        urls.extend(self.tls.iter().flat_map(TurnTls::urls));
        urls
    }

    fn entry(&self, unix: u64, participant: &str, only_tls: bool) -> proto::IceServer {
        let (key, secret) = &self.key;
        let identity = Identity {
            api_key: key.clone(),
            participant: participant.to_owned(),
            expiry: unix.saturating_add(self.ttl.as_secs()),
        };
        let urls = self.urls_for(only_tls);
        let credential = identity.password(secret);
        proto::IceServer { urls, username: identity.username(), credential }
    }
}

impl TurnTls {
    /// 443, as the reference has it wherever we listen: a load balancer may be there. Where TLS ends here, also where we
    /// listen.
    fn urls(&self) -> impl Iterator<Item = String> {
        let own = (!self.external && self.port != HTTPS).then_some(self.port);
        let ports = own.into_iter().chain([HTTPS]);
        ports.map(|port| format!("turns:{}:{port}?transport=tcp", self.domain))
    }
}

impl ExternalTurn {
    fn entry(&self, unix: u64, participant: &str) -> proto::IceServer {
        let (scheme, transport) = match self.transport {
            TurnTransport::Udp => ("turn", "udp"),
            TurnTransport::Tcp => ("turn", "tcp"),
            TurnTransport::Tls => ("turns", "tcp"),
        };
        let (username, credential) = match &self.credentials {
            TurnCredentials::Fixed { username, credential } => {
                (username.clone(), credential.clone())
            }
            TurnCredentials::Shared { secret, ttl } => {
                let expiry = unix.saturating_add(ttl.as_secs());
                shared_secret_credentials(secret, participant, expiry)
            }
        };
        let urls = vec![format!("{scheme}:{}:{}?transport={transport}", self.host, self.port)];
        proto::IceServer { urls, username, credential }
    }
}

impl fmt::Debug for EmbeddedTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { udp_port, tcp_port, tls, .. } = self;
        write!(f, "EmbeddedTurn({udp_port:?}, {tcp_port:?}, {tls:?})")
    }
}

impl fmt::Debug for ExternalTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalTurn({:?} {}:{})", self.transport, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded() -> EmbeddedTurn {
        EmbeddedTurn {
            key: ("k".to_owned(), "s".to_owned()),
            ttl: Duration::from_secs(300),
            ips: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            udp_port: Some(3478),
            tcp_port: None,
            tls: Some(TurnTls {
                domain: "turn.example.org".to_owned(),
                port: 443,
                external: false,
            }),
        }
    }

    fn urls(servers: &IceServers, only_tls: bool) -> Vec<Vec<String>> {
        let list = servers.for_participant(1_000, "PA_1", only_tls);
        list.into_iter().map(|server| server.urls).collect()
    }

    #[test]
    fn our_own_server_is_told_with_credentials_for_one_participant() {
        let servers = IceServers { turn: Some(embedded()), ..IceServers::default() };
        let list = servers.for_participant(1_000, "PA_1", false);
        assert_eq!(list.len(), 1, "the public servers are of no use beside it");
        assert_eq!(
            list[0].urls,
            [
                "turn:192.0.2.7:3478?transport=udp",
                "turn:[2001:db8::7]:3478?transport=udp",
                "turns:turn.example.org:443?transport=tcp",
            ]
        );
        let identity = Identity::parse(&list[0].username).unwrap();
        assert_eq!((identity.participant.as_str(), identity.expiry), ("PA_1", 1_300));
        assert_eq!(list[0].credential, identity.password("s"));
        assert_eq!(urls(&servers, true), [["turns:turn.example.org:443?transport=tcp"]]);
    }

    #[test]
    fn tls_is_told_where_it_can_be_reached() {
        let told = |port, external| {
            let tls = Some(TurnTls { domain: "a.b".to_owned(), port, external });
            let turn = EmbeddedTurn { udp_port: None, tls, ..embedded() };
            let servers = IceServers { turn: Some(turn), ..IceServers::default() };
            urls(&servers, true).concat()
        };
        let https = "turns:a.b:443?transport=tcp".to_owned();
        assert_eq!(told(443, false), std::slice::from_ref(&https));
        assert_eq!(told(5349, true), std::slice::from_ref(&https));
        assert_eq!(told(5349, false), ["turns:a.b:5349?transport=tcp".to_owned(), https]);
    }

    #[test]
    fn others_have_an_entry_each_and_public_stun_is_for_those_who_have_nothing() {
        let external = |transport, credentials| ExternalTurn {
            host: "t.example.org".to_owned(),
            port: 443,
            transport,
            credentials,
        };
        let fixed = TurnCredentials::Fixed { username: "u".to_owned(), credential: "p".to_owned() };
        let shared =
            TurnCredentials::Shared { secret: "north".to_owned(), ttl: Duration::from_secs(60) };
        let mut servers = IceServers {
            external: vec![
                external(TurnTransport::Udp, fixed),
                external(TurnTransport::Tls, shared),
            ],
            ..IceServers::default()
        };
        let list = servers.for_participant(1_000, "PA_1", false);
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].urls, ["turn:t.example.org:443?transport=udp"]);
        assert_eq!((list[0].username.as_str(), list[0].credential.as_str()), ("u", "p"));
        assert_eq!(list[1].username, "1060:PA_1");
        assert_eq!(urls(&servers, true), [["turns:t.example.org:443?transport=tcp"]]);
        servers.stun = vec!["stun.example.org:3478".to_owned()];
        assert_eq!(urls(&servers, false)[2], ["stun:stun.example.org:3478"]);

        let nothing = IceServers::default();
        assert_eq!(urls(&nothing, false).concat().len(), 3);
        let tls_only = EmbeddedTurn { udp_port: None, ..embedded() };
        let tls_only = IceServers { turn: Some(tls_only), ..IceServers::default() };
        assert_eq!(urls(&tls_only, false).len(), 2, "for those whose UDP gets through");
        let shown = format!("{servers:?}{tls_only:?}");
        assert!(!shown.contains("north") && !shown.contains("\"s\""), "{shown}");
    }
}
