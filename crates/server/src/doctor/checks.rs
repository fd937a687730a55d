//! The checks: from facts to findings.
//!
//! * **Owns:** the names of the checks and their words.
//! * **In:** [`Facts`].
//! * **Out:** [`Finding`]s, each check at least one.
//! * **Invariant:** pure; a broken set-up is a value in a test.

mod addresses;
mod low_ports;
mod machine;
mod names;
mod outside;
mod settings;

use super::facts::Facts;
use super::finding::Finding;

/// One check.
type Check = fn(&Facts) -> Vec<Finding>;

/// Those that need nobody but this machine and are done in milliseconds, without what a starting server says anyway (its
/// ports, its buffers, keys that do nothing).
const LOCAL: &[Check] = &[
    settings::keys,
    settings::turn,
    addresses::advertised,
    addresses::families,
    low_ports::media,
    machine::open_files,
    machine::offload,
    names::certificates,
];

/// The others.
const REST: &[Check] = &[
    settings::unsupported,
    machine::buffers,
    machine::ports,
    names::domains,
    machine::clock,
    outside::reached,
    outside::hairpin,
];

/// What the server says about itself when it starts.
pub(crate) fn at_start(facts: &Facts) -> Vec<Finding> {
    LOCAL.iter().flat_map(|check| check(facts)).collect()
}

/// All there are.
pub(crate) fn all(facts: &Facts) -> Vec<Finding> {
    LOCAL.iter().chain(REST).flat_map(|check| check(facts)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::finding::{Verdict, is_sound};
    use super::*;
    use crate::doctor::facts::{Kernel, Port, PortState, Routes, Settings, Transport};

    /// A machine on which all is well.
    pub(in super::super) fn sound() -> Facts {
        let ip = |text: &str| text.parse().unwrap();
        let advertised = vec![ip("203.0.113.7")];
        let port = |transport, port, key| Port { transport, port, key, state: PortState::Free };
        Facts {
            settings: Settings {
                udp_ports: vec![7882],
                node_ips: advertised.clone(),
                advertised,
                ..Settings::default()
            },
            interfaces: vec![("lo".into(), ip("127.0.0.1")), ("eth0".into(), ip("203.0.113.7"))],
            routes: Routes { v4: Some(true), v6: Some(false) },
            ports: vec![
                port(Transport::Tcp, 7880, "port"),
                port(Transport::Udp, 7882, "rtc.udp_port"),
            ],
            kernel: Kernel {
                buffers: Ok([16 << 20; 2]),
                open_files: Ok(1 << 20),
                offload: Ok([true; 2]),
            },
            ..Facts::default()
        }
    }

    /// Requires that `facts` have a finding of this verdict, whose cause and fix have these words.
    #[track_caller]
    pub(in super::super) fn finds(facts: &Facts, verdict: Verdict, cause: &str, fix: &str) {
        let all = all(facts);
        let found = all
            .iter()
            .any(|f| f.verdict == verdict && f.cause.contains(cause) && f.fix.contains(fix));
        assert!(found, "{verdict:?} {cause:?} -> {fix:?} in {all:#?}");
    }

    #[test]
    fn on_a_sound_machine_only_what_nobody_was_asked_about_is_open() {
        let all = all(&sound());
        assert!(is_sound(&all), "{all:#?}");
        let worse = |finding: &&Finding| finding.verdict > Verdict::Unchecked;
        assert!(!all.iter().any(|finding| worse(&finding)), "{all:#?}");
        let open = all.iter().filter(|finding| finding.verdict == Verdict::Unchecked);
        let open: Vec<&str> = open.map(|finding| finding.check).collect();
        assert_eq!(open, ["clock", "outside"]);
    }
}
