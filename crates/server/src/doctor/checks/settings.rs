//! Contradictions in the configuration.
//!
//! * **Owns:** nothing.
//! * **In:** [`Settings`](crate::doctor::facts::Settings). **Out:** findings.
//! * **Invariant:** no secret is quoted.

use super::super::facts::{Facts, Turn};
use super::super::finding::Finding;

/// API keys that everybody knows.
pub(super) fn keys(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "keys";
    let settings = &facts.settings;
    let local =
        !settings.bind.is_empty() && settings.bind.iter().all(std::net::IpAddr::is_loopback);
    vec![if settings.dev_key && !local {
        Finding::problem(
            NAME,
            "the API key of --dev is used on addresses that others reach: everybody knows its secret and can join and end \
             any room",
            "make keys with `hearth generate-keys` and put them under `keys:`, or listen on 127.0.0.1 only",
        )
    } else if settings.dev_key {
        Finding::sound(NAME, "the key of --dev, on this machine only")
    } else {
        Finding::sound(NAME, "not those that everybody knows")
    }]
}

/// What is configured and does nothing here.
pub(super) fn unsupported(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.settings.redis {
        findings.push(Finding::warning(
            "redis",
            "redis is configured, which this version does not use: the node runs on its own",
            "send all clients of a room to one node, or take `redis:` out",
        ));
    }
    let others = facts.settings.warnings.iter().filter(|warning| !warning.contains(": redis."));
    let fix = "take it out of the configuration, or know that it does nothing";
    findings.extend(others.map(|warning| {
        let fix = if warning.starts_with("not supported yet") { fix } else { "" };
        Finding::warning("settings", warning.clone(), fix)
    }));
    findings
}

/// TURN that nobody can use.
pub(super) fn turn(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "turn";
    let Turn { enabled, domain, udp_port, tcp_port, tls_port, external_tls, has_certificate } =
        &facts.settings.turn;
    if !enabled {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut problem = |cause: String, fix: &str| findings.push(Finding::problem(NAME, cause, fix));
    if [udp_port, tcp_port, tls_port].iter().all(|port| **port == 0) {
        problem(
            "turn.enabled is set, but neither turn.udp_port, turn.tcp_port nor turn.tls_port"
                .to_owned(),
            "set turn.udp_port (3478 is usual), turn.tls_port (443 or 5349), or both",
        );
    }
    if *tls_port != 0 && domain.is_empty() {
        problem(
            "turn.tls_port is set, but turn.domain is empty: clients check the name of a TLS server".to_owned(),
            "set turn.domain to the name in the certificate",
        );
    }
    if *tls_port != 0 && !external_tls && !has_certificate {
        problem(
            "turn.tls_port is set without a certificate".to_owned(),
            "set turn.cert_file and turn.key_file, certificates for the whole server (tls.cert_file, --domain), or turn.external_tls if something before this server ends TLS",
        );
    }
    if *udp_port != 0 && facts.settings.udp_ports.contains(udp_port) {
        problem(
            format!("turn.udp_port and a port of rtc.udp_port are both {udp_port}"),
            "give one of them another port",
        );
    }
    if findings.is_empty() {
        findings.push(Finding::sound(NAME, "its ports, domain and certificate fit together"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Verdict;
    use super::super::tests::{finds, sound};
    use super::*;

    #[test]
    fn the_development_key_is_for_this_machine_only() {
        let mut facts = sound();
        facts.settings.dev_key = true;
        finds(&facts, Verdict::Problem, "key of --dev", "generate-keys");
        facts.settings.bind = vec!["127.0.0.1".parse().unwrap()];
        finds(&facts, Verdict::Sound, "this machine only", "");
    }

    #[test]
    fn turn_that_nobody_can_use_is_a_problem() {
        let with = |turn: Turn| {
            let mut facts = sound();
            facts.settings.turn = Turn { enabled: true, ..turn };
            facts
        };
        finds(&with(Turn::default()), Verdict::Problem, "neither turn.udp_port", "3478");
        let tls = Turn { tls_port: 5349, ..Turn::default() };
        finds(&with(tls.clone()), Verdict::Problem, "turn.domain is empty", "turn.domain");
        finds(&with(tls), Verdict::Problem, "without a certificate", "turn.cert_file");
        let same = Turn { udp_port: 7882, ..Turn::default() };
        finds(&with(same), Verdict::Problem, "both 7882", "another port");
        for good in
            [Turn { udp_port: 3478, ..Turn::default() }, Turn { tcp_port: 3478, ..Turn::default() }]
        {
            finds(&with(good), Verdict::Sound, "fit together", "");
        }
    }

    #[test]
    fn what_does_nothing_here_is_said() {
        let mut facts = sound();
        facts.settings.redis = true;
        facts.settings.warnings =
            vec!["not supported yet: redis.address".into(), "not supported yet: sip.x".into()];
        finds(&facts, Verdict::Warning, "redis is configured", "one node");
        finds(&facts, Verdict::Warning, "sip.x", "take it out");
        assert_eq!(unsupported(&facts).len(), 2);
    }
}
