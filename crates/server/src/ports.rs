//! Which TCP ports are opened, and what each serves.
//!
//! * **Owns:** nothing; the listeners are its caller's.
//! * **In:** the checked configuration.
//! * **Out:** bound listeners with their [`Services`], those of HTTP first.
//! * **Invariant:** a number that is configured for several services is one port that serves all of them, at the addresses of
//!   the first. ICE-TCP on a port of its own is not here: the node binds that beside its UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hearth_listener::Services;
use tokio::net::TcpListener;
use tracing::info;

use crate::config::Config;
use crate::serve::{ServeError, is_denied};

/// A port that was bound.
pub(crate) struct Opened {
    pub(crate) listener: TcpListener,
    pub(crate) services: Services,
    /// Nothing but TURN is served: its own certificate is the one to show.
    pub(crate) prefers_turn: bool,
}

/// A port that is to be opened.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) port: u16,
    /// Empty: all addresses.
    pub(crate) bind: Vec<IpAddr>,
    services: Services,
}

/// Whether ICE-TCP is served by one of these ports, and the node must not bind its own.
pub(crate) fn shares_ice_tcp(config: &Config) -> bool {
    wanted(config).iter().any(|wanted| wanted.services.ice_tcp)
}

/// Whether clients reach the addresses they are told: what shares the port of HTTP listens at `bind_addresses` only, and media
/// is received at `media`.
///
/// # Errors
///
/// The number that is shared.
pub(crate) fn check_bind(config: &Config, media: &[IpAddr]) -> Result<(), ServeError> {
    let (bind, Some(first)) = (config.bind(), wanted(config).into_iter().next()) else {
        return Ok(());
    };
    let Services { ice_tcp, turn_tcp, turn_tls, .. } = first.services;
    let covers = |ip: &IpAddr| {
        bind.iter().any(|b| b == ip || (b.is_unspecified() && b.is_ipv4() == ip.is_ipv4()))
    };
    let is_shared = ice_tcp || turn_tcp || turn_tls;
    if is_shared && !bind.is_empty() && !media.iter().all(covers) {
        return Err(ServeError::SharedPort { port: first.port });
    }
    Ok(())
}

/// Binds all of them.
pub(crate) async fn open(config: &Config) -> Result<Vec<Opened>, ServeError> {
    let mut opened = Vec::new();
    for (n, Wanted { port, bind, services }) in wanted(config).into_iter().enumerate() {
        let is_http = n == 0;
        let lenient = is_http && config.dev();
        let bound = listen(port, &bind, lenient).await.map_err(|(addr, source)| {
            let denied = |key| ServeError::PortDenied { protocol: "TCP", addr, key };
            match (is_http, is_denied(&source)) {
                (true, true) => denied("--port"),
                (false, true) => denied("`turn.tcp_port:` and `turn.tls_port:`"),
                (true, false) => http_error(addr, source),
                (false, false) => ServeError::Turn { addr, source },
            }
        })?;
        let each = |listener| Opened { listener, services, prefers_turn: !is_http };
        opened.extend(bound.into_iter().map(each));
    }
    Ok(opened)
}

/// All of them, that of HTTP first.
pub(crate) fn wanted(config: &Config) -> Vec<Wanted> {
    let (http, https) = (config.tls().plain_http, config.tls().enabled());
    let services = Services { http, https, ..Services::default() };
    let mut all = vec![Wanted { port: config.http_port(), bind: config.bind().to_vec(), services }];
    if let Some(turn) = &config.turn().own {
        let tls = turn.tls.as_ref();
        let plain = tls.filter(|tls| tls.external).map(|tls| tls.port);
        let secured = tls.filter(|tls| !tls.external).map(|tls| tls.port);
        for port in turn.tcp_port.into_iter().chain(plain) {
            join(&mut all, port, &turn.bind, |services| services.turn_tcp = true);
        }
        if let Some(port) = secured {
            join(&mut all, port, &turn.bind, |services| services.turn_tls = true);
        }
    }
    let ice_tcp = config.tcp().port.filter(|port| *port != 0);
    if let Some(same) = all.iter_mut().find(|wanted| Some(wanted.port) == ice_tcp) {
        same.services.ice_tcp = true;
    }
    all
}

/// One more service of a port, which may be there already.
fn join(all: &mut Vec<Wanted>, port: u16, bind: &[IpAddr], serve: impl Fn(&mut Services)) {
    if let Some(same) = all.iter_mut().find(|wanted| wanted.port == port) {
        return serve(&mut same.services);
    }
    let mut services = Services::default();
    serve(&mut services);
    all.push(Wanted { port, bind: bind.to_vec(), services });
}

fn http_error(addr: SocketAddr, source: io::Error) -> ServeError {
    if source.kind() == io::ErrorKind::AddrInUse {
        ServeError::PortTaken { addr }
    } else {
        ServeError::Listen { addr, source }
    }
}

/// Binds every address; without any: all of both families. `lenient`: an address of IPv6 may be missing.
async fn listen(
    port: u16,
    bind: &[IpAddr],
    lenient: bool,
) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    if bind.is_empty() {
        // On most systems this one socket takes IPv4 too.
        return match bound((Ipv6Addr::UNSPECIFIED, port).into()).await {
            Ok(both) => Ok(vec![both]),
            Err((addr, error)) if is_final(&error) => Err((addr, error)),
            Err(_) => Ok(vec![bound((Ipv4Addr::UNSPECIFIED, port).into()).await?]),
        };
    }
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut skipped = None;
    for ip in bind {
        // A port that the system chose for the first address serves for all.
        let chosen = listeners.first().and_then(|listener| listener.local_addr().ok());
        let port = chosen.map_or(port, |addr| addr.port());
        match bound(SocketAddr::new(*ip, port)).await {
            Ok(listener) => listeners.push(listener),
            // Machines without IPv6 are common, and `--dev` names its loopback address.
            Err((addr, error)) if lenient && ip.is_ipv6() && !is_final(&error) => {
                skipped = Some((addr, error));
            }
            Err(error) => return Err(error),
        }
    }
    match skipped {
        Some(error) if listeners.is_empty() => Err(error),
        Some((addr, error)) => {
            info!("cannot listen on {addr}: {error}");
            Ok(listeners)
        }
        None => Ok(listeners),
    }
}

/// Another address of the same port would fail by this, too.
fn is_final(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

async fn bound(addr: SocketAddr) -> Result<TcpListener, (SocketAddr, io::Error)> {
    TcpListener::bind(addr).await.map_err(|source| (addr, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    /// `port: services` of each, in a word.
    fn ports(yaml: &str, over: Overrides) -> String {
        let yaml = "keys: {k: 0123456789abcdef0123456789abcdef}\n".to_owned() + yaml;
        let config = Config::load(Some(("c", &yaml)), over).unwrap();
        let words = |services: Services| {
            let Services { http, https, ice_tcp, turn_tcp, turn_tls } = services;
            let all = [
                (http, "http"),
                (https, "https"),
                (ice_tcp, "ice"),
                (turn_tcp, "turn"),
                (turn_tls, "turns"),
            ];
            let served = all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word);
            served.collect::<Vec<_>>().join("+")
        };
        let all = wanted(&config).into_iter();
        let each = all.map(|wanted| format!("{}:{}", wanted.port, words(wanted.services)));
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_shared_port_that_listens_elsewhere_than_media_is_an_error() {
        let check = |yaml: &str, media: &str| {
            let yaml = "keys: {k: 0123456789abcdef0123456789abcdef}\n".to_owned() + yaml;
            let config = Config::load(Some(("c", &yaml)), Overrides::default()).unwrap();
            let media: Vec<IpAddr> = media.split(' ').map(|ip| ip.parse().unwrap()).collect();
            check_bind(&config, &media).is_ok()
        };
        for (yaml, media, fits) in [
            ("bind_addresses: ['127.0.0.1']", "0.0.0.0", true),
            ("rtc: {tcp_port: 7880}", "0.0.0.0 ::", true),
            ("rtc: {tcp_port: 7880}\nbind_addresses: ['127.0.0.1']", "0.0.0.0", false),
            ("rtc: {tcp_port: 7880}\nbind_addresses: ['0.0.0.0']", "192.0.2.1", true),
            ("rtc: {tcp_port: 7880}\nbind_addresses: ['0.0.0.0']", "192.0.2.1 ::", false),
            (
                "turn: {enabled: true, tcp_port: 7880}\nbind_addresses: ['127.0.0.1']",
                "0.0.0.0",
                false,
            ),
        ] {
            assert_eq!(check(yaml, media), fits, "{yaml} {media}");
        }
    }

    #[test]
    fn a_port_serves_the_union_of_what_is_configured_for_its_number() {
        let turn = "turn: {enabled: true, domain: t.example.org, cert_file: c, key_file: k";
        for (yaml, expected) in [
            (String::new(), "7880:http"),
            ("rtc: {tcp_port: 7880}".into(), "7880:http+ice"),
            (format!("{turn}, tls_port: 5349, tcp_port: 3478}}"), "7880:http 3478:turn 5349:turns"),
            (format!("{turn}, tls_port: 7880, tcp_port: 7880}}"), "7880:http+turn+turns"),
            (
                format!("port: 443\nrtc: {{tcp_port: 5349}}\n{turn}, tls_port: 5349}}"),
                "443:http 5349:ice+turns",
            ),
            (
                "turn: {enabled: true, domain: t.example.org, tls_port: 5349, external_tls: true}"
                    .into(),
                "7880:http 5349:turn",
            ),
        ] {
            assert_eq!(ports(&yaml, Overrides::default()), expected, "{yaml}");
        }
        let domains = vec!["call.example.org".to_owned()];
        let data_dir = Some("/nonexistent".into());
        let over = Overrides { domains, data_dir, ..Overrides::default() };
        assert_eq!(ports("", over), "443:https+ice+turns");
    }
}
