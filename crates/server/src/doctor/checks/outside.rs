//! What a second instance reached, and whether this machine reaches itself from outside.
//!
//! * **Owns:** nothing.
//! * **In:** [`Outside`]. **Out:** findings.
//! * **Invariant:** without a second instance nothing is said about the outside.

use super::super::facts::{Facts, Outside, Reach, Transport};
use super::super::finding::Finding;
use super::addresses::is_public;

const NAME: &str = "outside";

/// Ports that were reached from outside, or not.
pub(super) fn reached(facts: &Facts) -> Vec<Finding> {
    let outside = match &facts.outside {
        None => {
            return vec![Finding::unchecked(
                NAME,
                "whether clients elsewhere reach this server cannot be told from here: start Hearth on another machine with \
                 the same keys, and run this with --from HOST",
            )];
        }
        Some(Err(why)) => return vec![Finding::unchecked(NAME, why.clone())],
        Some(Ok(outside)) => outside,
    };
    let host = &outside.host;
    let udp_closed = |reach: &Reach| reach.transport == Transport::Udp && reach.outcome.is_err();
    let tcp_open =
        outside.reaches.iter().any(|r| r.transport == Transport::Tcp && r.outcome.is_ok());
    let finding = |reach: &Reach| {
        let Reach { transport, addr, outcome, key } = reach;
        let what = format!("{addr} ({}, {key})", transport.name());
        match outcome {
            Ok(()) => Finding::sound(NAME, format!("{host} reached {what}")),
            Err(why) => {
                let how = if udp_closed(reach) && tcp_open {
                    "TCP gets through and UDP does not: "
                } else {
                    ""
                };
                let (port, name) = (addr.port(), transport.name().to_ascii_lowercase());
                Finding::problem(
                    NAME,
                    format!("{host} did not reach {what}: {why}"),
                    format!(
                        "{how}open {name} port {port} in the cloud's security group, in this machine's firewall (ufw allow \
                             {port}/{name}; nft or iptables likewise), and in docker (-p {port}:{port}/{name}); and see that {} \
                             leads here (rtc.node_ip)",
                        addr.ip()
                    ),
                )
            }
        }
    };
    outside.reaches.iter().map(finding).chain(other_source(facts, outside)).collect()
}

/// Our request came from an address that clients are not told: often that is the one they should be.
fn other_source(facts: &Facts, outside: &Outside) -> Option<Finding> {
    let told = &facts.settings.advertised;
    let source = outside.source.filter(|ip| is_public(*ip) && !told.contains(ip))?;
    told.iter().any(|ip| ip.is_ipv4() == source.is_ipv4()).then_some(())?;
    Some(Finding::warning(
        NAME,
        format!("to {} this machine is {source}, which clients are not told", outside.host),
        format!(
            "set rtc.node_ip to {source}, unless clients reach this machine by another address than it sends from"
        ),
    ))
}

/// Whether clients in this network reach the public address.
pub(super) fn hairpin(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "hairpin";
    let Some(Ok(outside)) = &facts.outside else { return Vec::new() };
    match &outside.hairpin {
        None => Vec::new(),
        Some(Ok(true)) => vec![Finding::sound(NAME, "this machine reaches its own public address")],
        Some(Ok(false)) => vec![Finding::warning(
            NAME,
            "this machine does not reach its own public address: clients in its network cannot connect by it",
            "turn on NAT loopback (hairpin) in the router, or name the private address beside the public one in rtc.node_ip",
        )],
        Some(Err(why)) => vec![Finding::unchecked(NAME, why.clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Verdict;
    use super::super::tests::{finds, sound};
    use super::*;

    #[test]
    fn what_was_not_reached_is_a_problem_with_the_port_to_open() {
        let reach = |transport, port, outcome: Result<(), &str>, key| Reach {
            transport,
            addr: std::net::SocketAddr::new("203.0.113.7".parse().unwrap(), port),
            outcome: outcome.map_err(str::to_owned),
            key,
        };
        let mut facts = sound();
        let mut outside = Outside { host: "far.example".into(), ..Outside::default() };
        outside.reaches = vec![
            reach(Transport::Udp, 7882, Err("no answer"), "rtc.udp_port"),
            reach(Transport::Tcp, 7880, Ok(()), "port"),
        ];
        outside.hairpin = Some(Ok(false));
        facts.outside = Some(Ok(outside.clone()));
        finds(
            &facts,
            Verdict::Problem,
            "did not reach 203.0.113.7:7882 (UDP",
            "TCP gets through and UDP does not",
        );
        finds(&facts, Verdict::Problem, "", "ufw allow 7882/udp");
        finds(&facts, Verdict::Sound, "far.example reached 203.0.113.7:7880", "");
        finds(&facts, Verdict::Warning, "own public address", "loopback");
        outside.source = Some("198.51.100.9".parse().unwrap());
        facts.outside = Some(Ok(outside));
        finds(
            &facts,
            Verdict::Warning,
            "this machine is 198.51.100.9",
            "rtc.node_ip to 198.51.100.9",
        );
        facts.outside = Some(Err("far.example refused our keys".into()));
        finds(&facts, Verdict::Unchecked, "refused our keys", "");
    }
}
