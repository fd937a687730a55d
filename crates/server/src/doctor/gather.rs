//! Looking facts up on this machine and on the network.
//!
//! * **Owns:** the deadlines of look-ups.
//! * **In:** the configuration. **Out:** [`Facts`].
//! * **Invariant:** look-ups run beside each other, each with a deadline; one that fails says so in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hearth_runtime::WallClock;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::certificate::{Leaf, chain, matches};
use super::exchange::{http, ntp};
use super::facts::{
    CertificateFiles, Clock, Facts, Kernel, Looked, Port, PortState, Routes, Settings, Transport,
    Turn,
};
use super::listener::Listener;
use super::owner;
use super::reflection;
use crate::config::{Config, DEV_KEY, Document};
use crate::media_addresses;

/// How long the name of a domain may take to be looked up.
const DNS_DEADLINE: Duration = Duration::from_secs(2);
/// How long a server on this machine may take to say what it is.
const LOCAL_DEADLINE: Duration = Duration::from_millis(500);

/// What the command line asks for beside the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// A second instance.
    pub(crate) from: Option<String>,
    pub(crate) time_server: Option<String>,
}

/// Facts that need nobody else and are there within milliseconds: files, routes, limits.
pub(crate) fn local(config: &Config, document: &Document) -> Facts {
    let interfaces = hearth_runtime::interfaces().into_iter();
    let interfaces = interfaces
        .flat_map(|one| one.addresses.into_iter().map(move |ip| (one.name.clone(), ip)))
        .collect();
    Facts {
        settings: settings(config, document),
        interfaces,
        routes: Routes { v4: route_v4(), v6: route_v6() },
        kernel: kernel(),
        certificates: certificates(document),
        clock: Clock { ours: WallClock::unix(), others: Vec::new() },
        ..Facts::default()
    }
}

/// All facts.
pub(crate) async fn all(config: &Config, document: &Document, request: &Request) -> Facts {
    let mut facts = local(config, document);
    let (ports, listeners) = ports(config, document).await;
    facts.ports = ports;
    let names: Vec<String> = ["turn.domain", "tls.domain"]
        .into_iter()
        .filter_map(|key| document.text(key))
        .filter(|name| !name.is_empty())
        .collect();
    let (domains, time, reflection) = tokio::join!(
        domains(names),
        asked_time(request.time_server.as_deref()),
        reflection::ask(config, &facts, request.from.as_deref()),
    );
    facts.domains = domains;
    facts.clock.others = time.into_iter().chain(reflection.clock).collect();
    facts.outside = reflection.outside;
    facts.certificates.extend(reflection.certificates);
    drop(listeners);
    facts
}

fn settings(config: &Config, document: &Document) -> Settings {
    let number = |key| document.whole(key).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    let text = |key| document.text(key).unwrap_or_default();
    Settings {
        dev: config.dev(),
        dev_key: config
            .keys()
            .iter()
            .any(|(key, secret)| (key.as_str(), secret.as_str()) == DEV_KEY),
        bind: config.bind().to_vec(),
        udp_port: config.addresses().udp_port,
        node_ips: config.addresses().node_ips.clone(),
        advertised: advertised(config),
        turn: Turn {
            enabled: document.truth("turn.enabled").unwrap_or(false),
            domain: text("turn.domain"),
            udp_port: number("turn.udp_port"),
            tls_port: number("turn.tls_port"),
            external_tls: document.truth("turn.external_tls").unwrap_or(false),
            has_certificate: !text("turn.cert_file").is_empty()
                && !text("turn.key_file").is_empty(),
        },
        redis: ["redis.address", "redis.sentinel_master_name"]
            .iter()
            .any(|key| !text(key).is_empty()),
        warnings: config.warnings().to_vec(),
    }
}

/// None if there are none; then the server does not start, and says why.
fn advertised(config: &Config) -> Vec<IpAddr> {
    let plan = media_addresses::own(config).unwrap_or_default();
    plan.advertised.into_iter().map(|one| one.ip).collect()
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, …; all in hexadecimal.
fn route_v4() -> Option<bool> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    let is_default = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000")
    };
    Some(table.lines().skip(1).any(is_default))
}

/// A line of `/proc/net/ipv6_route`: destination, its prefix, source, its prefix, next hop, …, interface. Unreachable
/// destinations are routed to `lo`.
fn route_v6() -> Option<bool> {
    let Ok(table) = std::fs::read_to_string("/proc/net/ipv6_route") else {
        // A kernel without IPv6 has no such file, and no route.
        return Path::new("/proc/net/route").exists().then_some(false);
    };
    let is_default = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let any = words.first().is_some_and(|to| to.chars().all(|c| c == '0'));
        any && words.get(1) == Some(&"00") && words.last() != Some(&"lo")
    };
    Some(table.lines().any(is_default))
}

fn kernel() -> Kernel {
    let limit = |name: &str| -> Looked<u64> {
        let path = format!("/proc/sys/net/core/{name}");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        text.trim().parse().map_err(|_| format!("{path} holds no number"))
    };
    Kernel {
        buffers: limit("rmem_max").and_then(|read| Ok([read, limit("wmem_max")?])),
        open_files: hearth_runtime::open_files()
            .ok_or_else(|| "the system does not say".to_owned()),
        offload: hearth_runtime::udp_offload().map_err(|error| error.to_string()),
    }
}

fn certificates(document: &Document) -> Vec<CertificateFiles> {
    let named = [
        ("turn", "turn.cert_file", "turn.key_file", "turn.domain"),
        ("tls", "tls.cert_file", "tls.key_file", "tls.domain"),
    ];
    let mut all = Vec::new();
    for (section, cert_key, key_key, domain_key) in named {
        let text = |key| document.text(key).unwrap_or_default();
        let (cert_file, key_file) = (text(cert_key), text(key_key));
        if cert_file.is_empty() {
            continue;
        }
        let read = |path: &str| std::fs::read(path).map_err(|error| error.to_string());
        let certificates = read(&cert_file).and_then(|pem| chain(&pem));
        let leaf = certificates.as_ref().map_err(Clone::clone).and_then(|chain| {
            chain
                .first()
                .ok_or_else(|| "it is empty".to_owned())
                .and_then(|der| Leaf::from_der(der))
        });
        let key_matches = match certificates {
            Ok(chain) => read(&key_file).and_then(|pem| matches(chain, &pem)),
            Err(why) => Err(why),
        };
        let domains = Some(text(domain_key)).filter(|domain| !domain.is_empty());
        all.push(CertificateFiles {
            section,
            cert_file,
            key_file,
            domains: domains.into_iter().collect(),
            certificate: leaf,
            key_matches,
        });
    }
    all
}

async fn domains(names: Vec<String>) -> Vec<(String, Looked<Vec<IpAddr>>)> {
    let mut found = Vec::new();
    for name in names {
        let looked = match timeout(DNS_DEADLINE, tokio::net::lookup_host((name.as_str(), 0))).await
        {
            Ok(Ok(addrs)) => {
                let mut ips: Vec<IpAddr> = addrs.map(|addr| addr.ip()).collect();
                ips.dedup();
                Ok(ips)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no name server answers".to_owned()),
        };
        found.push((name, looked));
    }
    found
}

async fn asked_time(server: Option<&str>) -> Option<(String, Looked<i64>)> {
    let server = server?;
    Some((server.to_owned(), ntp(server).await))
}

/// Whether each port can be had. As long as the listeners live, free ones answer a second instance.
async fn ports(config: &Config, document: &Document) -> (Vec<Port>, Vec<Listener>) {
    let mut ports = Vec::new();
    let mut listeners = Vec::new();
    let ips = if config.bind().is_empty() {
        vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()]
    } else {
        config.bind().to_vec()
    };
    let bound = media_addresses::own(config).map(|plan| plan.bind).unwrap_or_default();
    let mut wanted = vec![(Transport::Tcp, config.http_port(), "port", ips)];
    wanted.push((Transport::Udp, config.addresses().udp_port, "rtc.udp_port", bound));
    if document.truth("turn.enabled") == Some(true) {
        let any = || vec![IpAddr::from(Ipv4Addr::UNSPECIFIED)];
        for (transport, key) in
            [(Transport::Udp, "turn.udp_port"), (Transport::Tcp, "turn.tls_port")]
        {
            let port = document.whole(key).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
            let known = wanted.iter().any(|(t, p, ..)| (*t, *p) == (transport, port));
            if port != 0 && !known {
                wanted.push((transport, port, key, any()));
            }
        }
    }
    for (transport, port, key, ips) in wanted.into_iter().filter(|(_, port, ..)| *port != 0) {
        let mut state = PortState::Free;
        for ip in ips {
            match listen(transport, SocketAddr::new(ip, port)).await {
                Ok(listener) => listeners.push(listener),
                // One socket of both families has the port of the other already.
                Err(error)
                    if error.kind() == std::io::ErrorKind::AddrInUse
                        && state == PortState::Free
                        && ip == IpAddr::from(Ipv4Addr::UNSPECIFIED)
                        && transport == Transport::Tcp
                        && listeners.iter().any(|listener| listener.is_tcp_of(port)) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    state = taken(transport, port, local_http(config)).await;
                }
                // Machines without IPv6 are common.
                Err(_) if ip.is_ipv6() => {}
                Err(error) => state = PortState::Refused(error.to_string()),
            }
        }
        ports.push(Port { transport, port, key, state });
    }
    (ports, listeners)
}

async fn listen(transport: Transport, addr: SocketAddr) -> std::io::Result<Listener> {
    match transport {
        Transport::Tcp => TcpListener::bind(addr).await.map(Listener::tcp),
        Transport::Udp => Listener::udp(addr),
    }
}

/// Who has a port. The process that answers as a server like this one has its other ports too.
async fn taken(transport: Transport, port: u16, local: SocketAddr) -> PortState {
    let process = owner::of(transport, port);
    let answer = timeout(LOCAL_DEADLINE, http(local, "GET", "/rtc/diagnosis", "", None)).await;
    let is_hearth = answer.is_ok_and(|answer| {
        answer.is_ok_and(|answer| answer.status == 401 && answer.body.contains("may join a room"))
    });
    let server = owner::of(Transport::Tcp, local.port());
    let same = process.as_ref().zip(server.as_ref()).is_none_or(|(one, other)| one.id == other.id);
    if is_hearth && same { PortState::Hearth(process) } else { PortState::Taken(process) }
}

/// Where a server of this configuration answers on this machine.
fn local_http(config: &Config) -> SocketAddr {
    let bound = config.bind().first().copied().filter(|ip| !ip.is_unspecified());
    SocketAddr::new(bound.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into()), config.http_port())
}
