//! At the start: which addresses clients are told, and telling the operator.
//!
//! * **Owns:** nothing.
//! * **In:** the configuration, the machine's interfaces, STUN servers if the operator wants that.
//! * **Out:** an [`AddressPlan`], or an error that says which hop failed and what to do.
//! * **Invariant:** where no IPv4 address has an external one although the operator wants that, the server does not
//!   start: clients would look for it where it is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hearth_addresses::{
    AddressPlan, External, ExternalError, Hairpin, NoAddress, Obstacle, UnknownInterfaces, Wishes,
    find_external, select,
};
use hearth_runtime::Seed;
use tracing::{info, warn};

use crate::config::Config;

/// Why there are no addresses to tell clients.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// See [`UnknownInterfaces`].
    #[error(transparent)]
    Interfaces(#[from] UnknownInterfaces),
    /// See [`NoAddress`].
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// See [`ExternalError`].
    #[error("rtc.use_external_ip: {0}")]
    External(ExternalError),
}

/// Makes the plan; it takes seconds if STUN servers are to be asked.
pub(crate) async fn plan(config: &Config, seed: &Seed) -> Result<AddressPlan, AddressError> {
    let machine = hearth_runtime::interfaces();
    let (addresses, wishes) = (config.addresses(), wishes(config));
    addresses.filter.check(&machine)?;
    let selected = select(&wishes, &machine);
    let asked_from = if wishes.external { selected.to_ask_for() } else { Vec::new() };
    if wishes.external && !asked_from.iter().any(IpAddr::is_ipv4) {
        info!("rtc.use_external_ip: there is no IPv4 address that a NAT could translate");
    }
    let found = find_external(&asked_from, addresses.udp_port, &addresses.ask, seed).await;
    let external = judge(found)?;
    for one in &external {
        report(one, addresses.udp_port);
    }
    Ok(selected.finish(&wishes, &external)?)
}

/// What is known of it without asking anybody: external addresses are not in it.
pub(crate) fn own(config: &Config) -> Result<AddressPlan, AddressError> {
    let machine = hearth_runtime::interfaces();
    config.addresses().filter.check(&machine)?;
    let wishes = Wishes { external: false, external_only: false, ..wishes(config) };
    Ok(select(&wishes, &machine).finish(&wishes, &[])?)
}

fn wishes(config: &Config) -> Wishes {
    let addresses = config.addresses();
    Wishes {
        bind: udp_bind(config),
        node_ips: addresses.node_ips.clone(),
        filter: addresses.filter.clone(),
        loopback: addresses.loopback || config.dev(),
        external: !addresses.ask.is_empty(),
        external_only: addresses.external_only,
    }
}

/// Some failures are to be expected: addresses of networks without a way out, and of IPv6.
fn judge(found: Vec<Result<External, ExternalError>>) -> Result<Vec<External>, AddressError> {
    let (known, unknown): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    let known: Vec<External> = known.into_iter().flatten().collect();
    let any_v4 = known.iter().any(|one| one.local.is_ipv4());
    for error in unknown.into_iter().filter_map(Result::err) {
        let fatal = match error.local {
            IpAddr::V4(v4) => !any_v4 && !is_public(v4),
            IpAddr::V6(_) => false,
        };
        if fatal || matches!(error.obstacle, Obstacle::PortTaken(_)) {
            return Err(AddressError::External(error));
        }
        if error.local.is_ipv4() {
            warn!("rtc.use_external_ip: clients are told {} as it is: {error}", error.local);
        }
    }
    Ok(known)
}

/// Of the public internet: it needs no NAT.
fn is_public(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && second & 0xC0 == 64;
    let benchmarking = first == 198 && second & 0xFE == 18;
    let special =
        ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
    !(shared || benchmarking || special || ip.is_multicast() || first == 0 || first >= 240)
}

fn report(found: &External, port: u16) {
    let External { local, ip, hairpin, .. } = found;
    match hairpin {
        None => info!("No NAT: STUN servers see {local} as it is"),
        Some(Hairpin::Works) => {
            info!("A datagram to {ip}:{port} came back to {local}: the way in is open from here");
        }
        Some(Hairpin::Nothing) => info!(
            "A datagram to {ip}:{port} did not come back to {local}. Many NATs do not let machines behind them \
             do so; clients elsewhere reach it if the NAT forwards UDP port {port} to {local}"
        ),
    }
    if let Some(warning) = found.warning(port) {
        warn!("{warning}");
    }
}

/// Tells the operator.
pub(crate) fn announce(plan: &AddressPlan) {
    for line in plan.lines() {
        info!("Clients are told {line}");
    }
    for remark in &plan.remarks {
        info!("{remark}");
    }
}

/// The addresses media is received at. `--dev` binds loopback only, unless configured otherwise.
fn udp_bind(config: &Config) -> Vec<IpAddr> {
    let ips = &config.addresses().node_ips;
    let lan = config.tls().local.is_some();
    if config.dev() && !lan && ips.iter().all(IpAddr::is_loopback) {
        let mut bind: Vec<IpAddr> = if ips.is_empty() { config.bind() } else { ips }.to_vec();
        // One loopback address is enough, and every machine has this one.
        bind.retain(|ip| *ip != IpAddr::from(Ipv6Addr::LOCALHOST) || config.bind().len() == 1);
        return bind;
    }
    let both = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let wanted =
        |any: &IpAddr| ips.is_empty() || ips.iter().any(|ip| ip.is_ipv4() == any.is_ipv4());
    both.into_iter().filter(|any| wanted(any) && (any.is_ipv4() || has_ipv6())).collect()
}

pub(crate) fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn bound(over: Overrides, yaml: &str) -> Vec<String> {
        let keys = "keys: {k: 0123456789abcdef0123456789abcdef}\n".to_owned() + yaml;
        let config = Config::load(Some(("c", &keys)), over).unwrap();
        udp_bind(&config).iter().map(ToString::to_string).filter(|ip| ip != "::").collect()
    }

    #[test]
    fn media_is_received_where_clients_send_it() {
        let dev = || Overrides { dev: true, ..Overrides::default() };
        let at = |ip: &str| vec![ip.parse().unwrap()];
        assert_eq!(bound(dev(), ""), ["127.0.0.1"]);
        assert_eq!(bound(Overrides { bind: at("0.0.0.0"), ..dev() }, ""), ["0.0.0.0"]);
        assert_eq!(bound(Overrides { bind: at("::1"), ..dev() }, ""), ["::1"]);
        assert_eq!(
            bound(Overrides { node_ip: Some("192.0.2.1".into()), ..dev() }, ""),
            ["0.0.0.0"]
        );
        assert_eq!(bound(Overrides::default(), ""), ["0.0.0.0"]);
        assert_eq!(bound(Overrides::default(), "bind_addresses: ['127.0.0.1']"), ["0.0.0.0"]);
        assert_eq!(bound(Overrides::default(), "rtc: {node_ip: '2001:db8::1'}"), [""; 0]);
    }

    #[test]
    fn a_missing_external_address_stops_the_start_only_where_clients_would_need_it() {
        let error = |local: &str, obstacle| {
            Err(ExternalError { local: local.parse().unwrap(), obstacle, servers: Vec::new() })
        };
        let silence = |local| error(local, Obstacle::Silence);
        let found = || {
            let local = "10.0.0.5".parse().unwrap();
            let told_by = vec!["a:1".to_owned()];
            Ok(External { local, ip: local, port: None, told_by, hairpin: None })
        };
        for (found, starts) in [
            (vec![found()], true),
            (vec![], true),
            (vec![silence("10.0.0.5")], false),
            (vec![silence("10.0.0.5"), found()], true),
            (vec![silence("192.0.2.7")], false),
            (vec![silence("8.8.8.8")], true),
            (vec![silence("100.64.0.1")], false),
            (vec![silence("fd00::1")], true),
            (vec![silence("fd00::1"), silence("10.0.0.5")], false),
            (vec![found(), error("10.0.0.6", Obstacle::PortTaken(7_882))], false),
        ] {
            assert_eq!(judge(found.clone()).is_ok(), starts, "{found:?}");
        }
    }
}
