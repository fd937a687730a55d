//! Looking facts up on this machine and on the network.
//!
//! * **Owns:** the deadlines of look-ups.
//! * **In:** the configuration. **Out:** [`Facts`].
//! * **Invariant:** look-ups run beside each other, each with a deadline; one that fails says so in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hearth_runtime::WallClock;
use hearth_tls::PairFiles;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::certificate::{Leaf, chain, matches};
use super::exchange::{Answer, http, ntp};
use super::facts::{
    CertificateFiles, Clock, Facts, Kernel, Looked, Port, PortState, Routes, Settings, Transport,
    Turn,
};
use super::listener::Listener;
use super::owner;
use super::reflection;
use crate::config::{Config, DEV_KEY, Document};
use crate::turn::udp_bind;
use crate::{media_addresses, ports, serve};

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
        certificates: certificates(config),
        clock: Clock { ours: WallClock::unix(), others: Vec::new() },
        ..Facts::default()
    }
}

/// All facts.
pub(crate) async fn all(config: &Config, document: &Document, request: &Request) -> Facts {
    let mut facts = local(config, document);
    let (ports, listeners) = ports(config).await;
    facts.ports = ports;
    let (domains, time, reflection) = tokio::join!(
        domains(names(config)),
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
    let redis = ["redis.address", "redis.sentinel_master_name"];
    let is_written = |key: &&'static str| document.text(key).is_some_and(|text| !text.is_empty());
    Settings {
        dev: config.dev(),
        dev_key: config
            .keys()
            .iter()
            .any(|(key, secret)| (key.as_str(), secret.as_str()) == DEV_KEY),
        bind: config.bind().to_vec(),
        udp_ports: udp_ports(config),
        tcp_port: config.tcp().port,
        external: !config.addresses().ask.is_empty(),
        node_ips: config.addresses().node_ips.clone(),
        advertised: advertised(config),
        https_domains: https_domains(config).to_vec(),
        turn: turn(config),
        redis: redis.iter().any(is_written),
        warnings: config.warnings().to_vec(),
    }
}

fn turn(config: &Config) -> Turn {
    let Some(own) = &config.turn().own else { return Turn::default() };
    let tls = own.tls.as_ref();
    Turn {
        enabled: true,
        domain: tls.map(|tls| tls.domain.clone()).unwrap_or_default(),
        udp_port: own.udp_port.unwrap_or(0),
        tcp_port: own.tcp_port.unwrap_or(0),
        tls_port: tls.map_or(0, |tls| tls.port),
        external_tls: tls.is_some_and(|tls| tls.external),
        has_certificate: own.files.is_some() || config.tls().enabled(),
    }
}

/// Those of the range that media threads use; none if the system chooses.
fn udp_ports(config: &Config) -> Vec<u16> {
    let addresses = config.addresses();
    let count = addresses.udp_ports.min(serve::shards(config));
    let ports = (0..count).filter_map(|n| addresses.udp_port.checked_add(n));
    ports.filter(|port| *port != 0).collect()
}

fn https_domains(config: &Config) -> &[String] {
    config.tls().acme.as_ref().map_or(&[], |acme| &acme.domains)
}

/// Names that clients look up.
fn names(config: &Config) -> Vec<String> {
    let mut names = https_domains(config).to_vec();
    let of_turn = turn(config).domain;
    if !of_turn.is_empty() && !names.contains(&of_turn) {
        names.push(of_turn);
    }
    names
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

fn certificates(config: &Config) -> Vec<CertificateFiles> {
    let own = config.turn().own.as_ref();
    let of_turn = own.and_then(|own| own.tls.as_ref().filter(|tls| !tls.external));
    let of_turn: Vec<String> = of_turn.map(|tls| tls.domain.clone()).into_iter().collect();
    let turn_files = own.and_then(|own| own.files.as_ref());
    // Without files of its own TURN shows those of the server, unless ACME gets it one.
    let shared = turn_files.is_none();
    let acme = https_domains(config);
    let of_server = of_turn.iter().filter(|name| shared && !acme.contains(name)).cloned().collect();
    let turn = turn_files.map(|files| certificate("turn", files, of_turn));
    let server = config.tls().files.as_ref().map(|files| certificate("tls", files, of_server));
    turn.into_iter().chain(server).collect()
}

fn certificate(section: &'static str, files: &PairFiles, domains: Vec<String>) -> CertificateFiles {
    let read = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
    let certificates = read(&files.cert).and_then(|pem| chain(&pem));
    let leaf = certificates.as_ref().map_err(Clone::clone).and_then(|chain| {
        let first = chain.first().ok_or_else(|| "it is empty".to_owned());
        first.and_then(|der| Leaf::from_der(der))
    });
    let key_matches =
        certificates.and_then(|chain| read(&files.key).and_then(|pem| matches(chain, &pem)));
    CertificateFiles {
        section,
        cert_file: files.cert.display().to_string(),
        key_file: files.key.display().to_string(),
        domains,
        certificate: leaf,
        key_matches,
    }
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

/// A port that the server binds, where, and the key of the configuration that sets it.
struct Wanted {
    transport: Transport,
    port: u16,
    key: &'static str,
    ips: Vec<IpAddr>,
}

/// Those that the system chooses are not among them.
fn wanted(config: &Config) -> Vec<Wanted> {
    let media = media_addresses::own(config).map(|plan| plan.bind).unwrap_or_default();
    let turn = turn(config);
    let tcp = |port, key, ips| Wanted { transport: Transport::Tcp, port, key, ips };
    let udp = |port, key, ips| Wanted { transport: Transport::Udp, port, key, ips };
    let mut all = Vec::new();
    for (n, one) in ports::wanted(config).into_iter().enumerate() {
        let key = match one.port {
            _ if n == 0 => "port",
            port if port == turn.tls_port => "turn.tls_port",
            _ => "turn.tcp_port",
        };
        let both = || vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        all.push(tcp(one.port, key, if one.bind.is_empty() { both() } else { one.bind }));
    }
    if let Some(port) = config.tcp().port.filter(|_| !ports::shares_ice_tcp(config)) {
        let mut ips = media.clone();
        ips.sort_by_key(IpAddr::is_ipv4);
        all.push(tcp(port, "rtc.tcp_port", ips));
    }
    all.extend(udp_ports(config).into_iter().map(|port| udp(port, "rtc.udp_port", media.clone())));
    if let Some(own) = &config.turn().own {
        let addrs = udp_bind(own, media_addresses::has_ipv6());
        let ips = addrs.iter().map(SocketAddr::ip).collect();
        // A port that is media's too is a contradiction, and said as such.
        let port = own.udp_port.filter(|port| !udp_ports(config).contains(port));
        all.extend(port.map(|port| udp(port, "turn.udp_port", ips)));
    }
    all.retain(|wanted| wanted.port != 0);
    all
}

/// Whether each port can be had. As long as the listeners live, free ones answer a second instance.
async fn ports(config: &Config) -> (Vec<Port>, Vec<Listener>) {
    let mut ports = Vec::new();
    let mut listeners = Vec::new();
    for Wanted { transport, port, key, ips } in wanted(config) {
        let mut state = PortState::Free;
        for ip in ips {
            match listen(transport, SocketAddr::new(ip, port)).await {
                Ok(listener) => listeners.push(listener),
                // One socket of both families has the port of the other already.
                Err(error)
                    if error.kind() == std::io::ErrorKind::AddrInUse
                        && state == PortState::Free
                        && ip.is_ipv4()
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
    let is_hearth = answer.is_ok_and(|answer| answer.is_ok_and(|answer| is_hearth(&answer)));
    let server = owner::of(Transport::Tcp, local.port());
    let same = process.as_ref().zip(server.as_ref()).is_none_or(|(one, other)| one.id == other.id);
    if is_hearth && same { PortState::Hearth(process) } else { PortState::Taken(process) }
}

/// Whether `/rtc/diagnosis` is answered like this, without a token, in plain HTTP.
fn is_hearth(answer: &Answer) -> bool {
    let served = answer.status == 401 && answer.body.contains("may join a room");
    served || reflection::is_https_only(answer)
}

/// Where a server of this configuration answers on this machine.
fn local_http(config: &Config) -> SocketAddr {
    let bound = config.bind().first().copied().filter(|ip| !ip.is_unspecified());
    SocketAddr::new(bound.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into()), config.http_port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn load(yaml: &str, domains: &[&str]) -> Config {
        let yaml = "keys: {k: 0123456789abcdef0123456789abcdef}\n".to_owned() + yaml;
        let domains = domains.iter().map(|&name| name.to_owned()).collect();
        let over = Overrides { domains, data_dir: Some("d".into()), ..Overrides::default() };
        let threads = crate::cli::ThreadArgs { shards: Some(2), ..over.threads };
        Config::load(Some(("c", &yaml)), Overrides { threads, ..over }).unwrap()
    }

    #[test]
    fn every_port_that_the_server_binds_is_looked_at() {
        let turn = "turn: {enabled: true, domain: t.example.org, cert_file: c, key_file: k";
        for (yaml, domains, expected) in [
            ("", [].as_slice(), "tcp 7880 port, tcp 7881 rtc.tcp_port, udp 7882 rtc.udp_port"),
            (
                "rtc: {udp_port: 9000-9009, tcp_port: 0}",
                &[],
                "tcp 7880 port, udp 9000 rtc.udp_port, udp 9001 rtc.udp_port",
            ),
            (
                &format!("{turn}, udp_port: 3478, tcp_port: 3478, tls_port: 5349}}"),
                &[],
                "tcp 7880 port, tcp 3478 turn.tcp_port, tcp 5349 turn.tls_port, tcp 7881 rtc.tcp_port, udp 7882 \
                 rtc.udp_port, udp 3478 turn.udp_port",
            ),
            ("", &["a.example"], "tcp 443 port, udp 443 rtc.udp_port"),
        ] {
            let all = wanted(&load(yaml, domains)).into_iter().map(|one| {
                let transport = one.transport.name().to_ascii_lowercase();
                format!("{transport} {} {}", one.port, one.key)
            });
            assert_eq!(all.collect::<Vec<_>>().join(", "), expected, "{yaml}");
        }
    }

    #[test]
    fn turn_is_judged_by_what_the_server_makes_of_the_configuration() {
        for (yaml, domains, looked_up) in [
            (
                "tls: {domains: [x.example]}\nturn: {enabled: true, domain: x.example, tls_port: 5349}",
                [].as_slice(),
                ["x.example"].as_slice(),
            ),
            ("turn: {enabled: true, tcp_port: 3478}", &[], &[]),
            ("", &["a.example", "b.example"], &["a.example", "b.example"]),
            (
                "turn: {enabled: true, domain: t.example, tls_port: 5349, external_tls: true}",
                &[],
                &["t.example"],
            ),
        ] {
            let config = load(yaml, domains);
            assert_eq!(names(&config), looked_up, "{yaml}");
            let all = super::super::checks::at_start(&local(&config, &Document::default()));
            let of_turn = all.iter().find(|finding| finding.check == "turn").unwrap();
            assert!(of_turn.cause.contains("fit together"), "{yaml}: {of_turn:?}");
        }
    }

    #[test]
    fn a_server_is_recognised_also_where_it_speaks_https_only() {
        let answer = |status, body: &str| Answer { status, date: None, body: body.to_owned() };
        assert!(is_hearth(&answer(401, "a token that may join a room is needed")));
        let refusal = "this port speaks HTTPS and WSS only; use an https:// or wss:// address";
        assert!(is_hearth(&answer(400, refusal)));
        assert!(!is_hearth(&answer(400, "Client sent an HTTP request to an HTTPS server.")));
        assert!(!is_hearth(&answer(200, "OK")));
    }

    #[test]
    fn certificates_are_judged_by_the_names_they_are_shown_for() {
        let files = |section: &str| format!("cert_file: {section}.pem, key_file: k.pem");
        let turn = "enabled: true, domain: t.example, tls_port: 5349";
        for (yaml, expected) in [
            (format!("tls: {{{}}}", files("s")), "s.pem:"),
            (format!("tls: {{{}}}\nturn: {{{turn}}}", files("s")), "s.pem:t.example"),
            (
                format!("tls: {{{}}}\nturn: {{{turn}, {}}}", files("s"), files("t")),
                "t.pem:t.example s.pem:",
            ),
            (format!("tls: {{{}, domains: [t.example]}}\nturn: {{{turn}}}", files("s")), "s.pem:"),
        ] {
            let all = certificates(&load(&yaml, &[])).into_iter();
            let all = all.map(|one| format!("{}:{}", one.cert_file, one.domains.join("+")));
            assert_eq!(all.collect::<Vec<_>>().join(" "), expected, "{yaml}");
        }
    }
}
