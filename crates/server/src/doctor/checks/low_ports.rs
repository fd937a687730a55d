//! Ports of media that browsers do not send to.
//!
//! * **Owns:** nothing.
//! * **In:** ports of media, and addresses that clients are told. **Out:** findings.
//! * **Invariant:** where an external address is yet to be asked for, nothing is said of private ones.
//! * **Why:** libwebrtc, of which browsers and most SDKs are made, refuses a remote candidate with a port below 1024, but for
//!   80 and 443 at an address that is not private (its `VerifyCandidate`, in `p2p/base`).

use std::net::IpAddr;

use super::super::facts::Facts;
use super::super::finding::Finding;
use super::addresses::is_private;

/// Ports from this one on are taken at every address.
const FIRST_FREE: u16 = 1_024;
/// Lower ones that are taken at public addresses.
const OF_THE_WEB: [u16; 2] = [80, 443];

/// Whether browsers send media to the ports that they are told.
pub(super) fn media(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "candidates";
    let settings = &facts.settings;
    let udp = settings.udp_ports.iter().map(|port| (*port, "rtc.udp_port", 7_882));
    let tcp = settings.tcp_port.iter().map(|port| (*port, "rtc.tcp_port", 7_881));
    let mut findings: Vec<Finding> = Vec::new();
    for (port, key, usual) in udp.chain(tcp) {
        let Some((why, other)) = refused(facts, port) else { continue };
        findings.push(Finding::problem(
            NAME,
            format!("{key} is {port}, {why}: browsers, and SDKs made of libwebrtc, ignore it"),
            format!("set {key} to another port, such as {usual}{other}"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::sound(NAME, "browsers take the ports of media"));
    }
    findings
}

/// Why a port is ignored, and what else may be changed.
fn refused(facts: &Facts, port: u16) -> Option<(String, &'static str)> {
    if port >= FIRST_FREE {
        return None;
    }
    if !OF_THE_WEB.contains(&port) {
        return Some(("below 1024 and neither 80 nor 443".to_owned(), ""));
    }
    let told = &facts.settings.advertised;
    let only_private = !told.is_empty() && told.iter().all(|ip| is_private(*ip));
    (only_private && !facts.settings.external).then(|| {
        let told: Vec<String> = told.iter().map(IpAddr::to_string).collect();
        let why = format!("below 1024, at private addresses only ({})", told.join(", "));
        (why, ", or rtc.node_ip to the public address")
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Verdict;
    use super::super::tests::{finds, sound};
    use super::*;

    fn with(udp: u16, tcp: u16, told: &[&str]) -> Facts {
        let mut facts = sound();
        facts.settings.udp_ports = vec![udp];
        facts.settings.tcp_port = Some(tcp);
        facts.settings.advertised = told.iter().map(|ip| ip.parse().unwrap()).collect();
        facts
    }

    #[test]
    fn a_low_port_that_browsers_ignore_is_a_problem() {
        let public = ["203.0.113.7"];
        finds(&with(500, 7_881, &public), Verdict::Problem, "rtc.udp_port is 500", "7882");
        finds(&with(7_882, 22, &public), Verdict::Problem, "rtc.tcp_port is 22", "7881");
        let private = ["10.0.0.5", "fd00::5"];
        let udp = with(443, 7_881, &private);
        finds(&udp, Verdict::Problem, "rtc.udp_port is 443", "7882, or rtc.node_ip to the public");
        finds(&with(7_882, 80, &private), Verdict::Problem, "only (10.0.0.5, fd00::5)", "7881");
        let said = super::super::at_start(&udp);
        assert!(said.iter().any(|finding| finding.cause.contains("is 443")), "{said:?}");
    }

    #[test]
    fn browsers_take_the_ports_of_the_web_at_public_addresses() {
        const SOUND: &str = "browsers take the ports";
        finds(&with(443, 443, &["10.0.0.5", "203.0.113.7"]), Verdict::Sound, SOUND, "");
        finds(&with(1_024, 7_881, &["10.0.0.5"]), Verdict::Sound, SOUND, "");
        let mut asking = with(443, 443, &["10.0.0.5"]);
        asking.settings.external = true;
        finds(&asking, Verdict::Sound, SOUND, "");
    }
}
