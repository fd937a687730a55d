//! Addresses that clients are told to send media to.
//!
//! * **Owns:** nothing.
//! * **In:** what is advertised, what this machine has, which routes there are. **Out:** findings.
//! * **Invariant:** whether an address is reached from elsewhere is never guessed: only another host can tell.

use std::net::IpAddr;

use super::super::facts::Facts;
use super::super::finding::Finding;

const NAME: &str = "addresses";
/// How container engines and hypervisors name their bridges.
const BRIDGES: &[&str] =
    &["docker", "br-", "virbr", "cni", "podman", "lxcbr", "veth", "flannel", "cali"];

/// What is advertised, why, and whether it can be right.
pub(super) fn advertised(facts: &Facts) -> Vec<Finding> {
    let settings = &facts.settings;
    if settings.advertised.is_empty() {
        return vec![Finding::problem(
            NAME,
            "this machine has no address that clients could use",
            "write the address that clients reach into rtc.node_ip",
        )];
    }
    let why = if settings.node_ips.is_empty() { "this machine's own" } else { "rtc.node_ip" };
    let all: Vec<String> = settings.advertised.iter().map(ToString::to_string).collect();
    let mut findings: Vec<Finding> =
        settings.advertised.iter().filter_map(|ip| doubt(facts, *ip)).collect();
    let private = settings.advertised.iter().all(|ip| is_private(*ip));
    if findings.is_empty() && private && !settings.dev {
        findings.push(Finding::warning(
            NAME,
            format!(
                "clients are told {} ({why}), which can be reached in its own network only",
                all.join(", ")
            ),
            "for clients elsewhere set rtc.node_ip to the public address",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::sound(NAME, format!("clients are told {} ({why})", all.join(", "))));
    }
    findings
}

fn doubt(facts: &Facts, ip: IpAddr) -> Option<Finding> {
    let settings = &facts.settings;
    let of_ours = facts.interfaces.iter().find(|(_, ours)| *ours == ip);
    let configured = settings.node_ips.contains(&ip);
    if let Some((interface, _)) = of_ours {
        let bridge = BRIDGES.iter().any(|prefix| interface.starts_with(prefix));
        return (bridge && !configured).then(|| {
            Finding::warning(
                NAME,
                format!("clients are told {ip}, the address of {interface}, a bridge for containers on this machine: they lose \
                         time with it or cannot connect"),
                "set rtc.node_ip to the address that clients reach",
            )
        });
    }
    if ip.is_loopback() || !configured {
        return None;
    }
    if is_private(ip) {
        return Some(Finding::problem(
            NAME,
            format!("rtc.node_ip is {ip}, a private address that this machine does not have"),
            format!(
                "set it to an address of this machine ({}) or to the public address",
                ours(facts, ip)
            ),
        ));
    }
    // With a public address of its own there is no NAT before this machine, as far as one can see from here.
    let public = facts.interfaces.iter().map(|(_, ours)| *ours);
    let public =
        public.filter(|ours| ours.is_ipv4() == ip.is_ipv4()).find(|ours| is_public(*ours))?;
    Some(Finding::problem(
        NAME,
        format!(
            "rtc.node_ip is {ip}, which this machine does not have; it has the public address {public}, so that no NAT is \
                 in evidence"
        ),
        format!("set rtc.node_ip to {public}, or check with --from that {ip} leads here"),
    ))
}

fn ours(facts: &Facts, like: IpAddr) -> String {
    let same = |ip: &IpAddr| ip.is_ipv4() == like.is_ipv4() && !ip.is_loopback();
    let ours = facts.interfaces.iter().map(|(_, ip)| *ip).filter(same);
    ours.map(|ip| ip.to_string()).collect::<Vec<_>>().join(", ")
}

/// Addresses of a family without a way to the internet.
pub(super) fn families(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (v6, route, name) in [(false, facts.routes.v4, "IPv4"), (true, facts.routes.v6, "IPv6")] {
        let of_family = facts.settings.advertised.iter().filter(|ip| ip.is_ipv6() == v6);
        let Some(ip) = of_family.copied().find(|ip| is_public(*ip)) else { continue };
        findings.push(match route {
            Some(true) => Finding::sound("routes", format!("there is a default route of {name}")),
            Some(false) => Finding::problem(
                "routes",
                format!("clients are told {ip}, but this machine has no default route of {name}: answers to them are lost"),
                format!("give the machine a route of {name}, or name the addresses without {name} in rtc.node_ip"),
            ),
            None => Finding::unchecked("routes", format!("the system does not say whether there is a route of {name}")),
        });
    }
    findings
}

/// Not reachable from the internet: RFC 1918, 6598, 3927, 4193, loopback.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

pub(super) fn is_public(ip: IpAddr) -> bool {
    !is_private(ip) && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::Routes;
    use super::super::super::finding::Verdict;
    use super::super::tests::{finds, sound};
    use super::*;

    fn with(node_ip: &str, own: &[(&str, &str)]) -> Facts {
        let mut facts = sound();
        facts.interfaces =
            own.iter().map(|(name, ip)| ((*name).into(), ip.parse().unwrap())).collect();
        facts.settings.node_ips =
            node_ip.split_whitespace().map(|ip| ip.parse().unwrap()).collect();
        facts.settings.advertised = if node_ip.is_empty() {
            facts.interfaces.iter().map(|(_, ip)| *ip).collect()
        } else {
            facts.settings.node_ips.clone()
        };
        facts
    }

    #[test]
    fn an_address_that_is_not_ours_needs_a_nat() {
        let cloud = with("203.0.113.7", &[("eth0", "10.0.0.5")]);
        finds(&cloud, Verdict::Sound, "203.0.113.7 (rtc.node_ip)", "");
        let typo = with("203.0.113.8", &[("eth0", "203.0.113.7")]);
        finds(&typo, Verdict::Problem, "no NAT", "set rtc.node_ip to 203.0.113.7");
        let private = with("10.0.0.6", &[("eth0", "10.0.0.5")]);
        finds(&private, Verdict::Problem, "10.0.0.6, a private address", "10.0.0.5");
    }

    #[test]
    fn bridges_for_containers_and_private_addresses_are_pointed_at() {
        let docker = with("", &[("eth0", "203.0.113.7"), ("docker0", "172.17.0.1")]);
        finds(&docker, Verdict::Warning, "172.17.0.1, the address of docker0", "rtc.node_ip");
        finds(
            &with("", &[("eth0", "10.0.0.5")]),
            Verdict::Warning,
            "own network only",
            "rtc.node_ip",
        );
        finds(&with("", &[]), Verdict::Problem, "no address", "rtc.node_ip");
    }

    #[test]
    fn an_address_without_a_route_is_a_problem() {
        let mut facts = with("", &[("eth0", "203.0.113.7"), ("eth0", "2001:db9::7")]);
        finds(&facts, Verdict::Problem, "no default route of IPv6", "route of IPv6");
        facts.routes = Routes { v4: Some(true), v6: Some(true) };
        finds(&facts, Verdict::Sound, "default route of IPv6", "");
        facts.routes.v6 = None;
        finds(&facts, Verdict::Unchecked, "route of IPv6", "");
    }
}
