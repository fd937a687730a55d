//! Ports, limits and the clock of this machine.
//!
//! * **Owns:** what the server wants of the machine.
//! * **In:** who has the ports, limits of the kernel, clocks of others. **Out:** findings.
//! * **Invariant:** a server that runs already is recognised and is no problem.

use super::super::facts::{Clock, Facts, PortState, Process};
use super::super::finding::Finding;

/// Bytes that each UDP socket asks for (`net`).
const WANTED_BUFFER: u64 = 4 << 20;
/// Below this, few hundred clients use the limit up: each session is a file.
const WANTED_FILES: u64 = 4_096;
/// Tokens are refused with a clock that is further off (`access`).
const MAX_SKEW_MS: i64 = 60_000;

/// Whether the ports can be had.
pub(super) fn ports(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "ports";
    let finding = |port: &super::super::facts::Port| {
        let what = format!("{} port {} ({})", port.transport.name(), port.port, port.key);
        match &port.state {
            PortState::Free => Finding::sound(NAME, format!("{what} is free")),
            PortState::Hearth(by) => {
                Finding::sound(NAME, format!("{what}: a Hearth server runs there{}", who(by)))
            }
            PortState::Taken(by) => Finding::problem(
                NAME,
                format!("{what} is taken by another program{}", who(by)),
                format!("stop that program, or set `{}` to another port", port.key),
            ),
            PortState::Refused(why) => Finding::problem(
                NAME,
                format!("{what} cannot be had: {why}"),
                if port.port < 1_024 {
                    "allow ports below 1024 (setcap cap_net_bind_service=+ep, or AmbientCapabilities in the service)".to_owned()
                } else {
                    format!(
                        "set `{}` to a port, and `bind_addresses` to addresses, of this machine",
                        port.key
                    )
                },
            ),
        }
    };
    facts.ports.iter().map(finding).collect()
}

fn who(process: &Option<Process>) -> String {
    match process {
        Some(Process { id, name }) => format!(": {name} (process {id})"),
        None => String::new(),
    }
}

/// Buffers of UDP sockets.
pub(super) fn buffers(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "buffers";
    vec![match &facts.kernel.buffers {
        Ok([read, write]) if *read.min(write) < WANTED_BUFFER => Finding::warning(
            NAME,
            format!(
                "UDP sockets get {read} (receive) and {write} (send) bytes of buffer at most, {WANTED_BUFFER} are wanted: \
                     bursts of packets are lost"
            ),
            format!(
                "sysctl -w net.core.rmem_max={WANTED_BUFFER} net.core.wmem_max={WANTED_BUFFER}, and the same in \
                     /etc/sysctl.d"
            ),
        ),
        Ok(_) => Finding::sound(NAME, "UDP sockets get the buffers they want"),
        Err(why) => Finding::unchecked(NAME, why.clone()),
    }]
}

/// How many files the process may open.
pub(super) fn open_files(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "files";
    vec![match &facts.kernel.open_files {
        Ok(limit) if *limit < WANTED_FILES => Finding::warning(
            NAME,
            format!(
                "the process may open {limit} files, each client takes one: later ones are refused"
            ),
            format!(
                "raise the limit: LimitNOFILE={WANTED_FILES} or more in the service, ulimit -n, --ulimit nofile= of docker"
            ),
        ),
        Ok(limit) => Finding::sound(NAME, format!("the process may open {limit} files")),
        Err(why) => Finding::unchecked(NAME, why.clone()),
    }]
}

/// Sending and receiving in runs.
pub(super) fn offload(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "offload";
    vec![match &facts.kernel.offload {
        Ok([true, true]) => {
            Finding::sound(NAME, "the kernel sends and receives UDP in runs (GSO, GRO)")
        }
        Ok([segments, _]) => Finding::warning(
            NAME,
            format!(
                "the kernel does not {} UDP in runs ({}): media costs more CPU",
                if *segments { "receive" } else { "send" },
                if *segments { "GRO" } else { "GSO" }
            ),
            "use Linux 5.0 or newer",
        ),
        Err(why) => Finding::unchecked(NAME, why.clone()),
    }]
}

/// Whether this machine's clock is right: tokens have times.
pub(super) fn clock(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "clock";
    let Clock { others, .. } = &facts.clock;
    if others.is_empty() {
        return vec![Finding::unchecked(
            NAME,
            "nobody was asked for the time: name one with --from or --time-server",
        )];
    }
    let finding = |(who, ahead): &(String, Result<i64, String>)| match ahead {
        Ok(ahead) if ahead.abs() > MAX_SKEW_MS => {
            let direction = if *ahead > 0 { "ahead of" } else { "behind" };
            let seconds = ahead.abs() / 1_000;
            Finding::problem(
                NAME,
                format!(
                    "this machine's clock is {seconds} s {direction} that of {who}: tokens made elsewhere are refused as \
                         expired or not valid yet"
                ),
                "set the clock, and keep it right: timedatectl set-ntp true, or chrony",
            )
        }
        Ok(ahead) => Finding::sound(NAME, format!("within {} s of {who}", ahead.abs() / 1_000 + 1)),
        Err(why) => Finding::unchecked(NAME, format!("{who} did not tell the time: {why}")),
    };
    others.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Verdict;
    use super::super::tests::{finds, sound};
    use super::*;

    #[test]
    fn a_taken_port_names_who_has_it() {
        let nginx = Process { id: 42, name: "nginx".into() };
        let with = |state| {
            let mut facts = sound();
            facts.ports[0].state = state;
            facts
        };
        finds(
            &with(PortState::Taken(Some(nginx))),
            Verdict::Problem,
            "TCP port 7880 (port) is taken by another program: nginx (process 42)",
            "set `port`",
        );
        finds(&with(PortState::Taken(None)), Verdict::Problem, "is taken", "stop that program");
        finds(&with(PortState::Hearth(None)), Verdict::Sound, "a Hearth server runs there", "");
        let mut facts = with(PortState::Refused("permission denied".into()));
        facts.ports[0].port = 443;
        finds(&facts, Verdict::Problem, "permission denied", "cap_net_bind_service");
    }

    #[test]
    fn limits_of_the_machine_are_warned_of() {
        let mut facts = sound();
        facts.kernel.buffers = Ok([212_992, 8 << 20]);
        facts.kernel.open_files = Ok(256);
        facts.kernel.offload = Ok([false, true]);
        finds(&facts, Verdict::Warning, "212992", "net.core.rmem_max=4194304");
        finds(&facts, Verdict::Warning, "open 256 files", "LimitNOFILE");
        finds(&facts, Verdict::Warning, "GSO", "Linux 5.0");
        facts.kernel.buffers = Err("no /proc".into());
        finds(&facts, Verdict::Unchecked, "no /proc", "");
    }

    #[test]
    fn a_clock_that_is_off_is_a_problem() {
        let mut facts = sound();
        facts.clock.others =
            vec![("a.example".into(), Ok(300_000)), ("b.example".into(), Ok(-61_000))];
        finds(&facts, Verdict::Problem, "300 s ahead of that of a.example", "set-ntp");
        finds(&facts, Verdict::Problem, "61 s behind that of b.example", "set-ntp");
        facts.clock.others = vec![("a".into(), Ok(-1_500)), ("b".into(), Err("no answer".into()))];
        finds(&facts, Verdict::Sound, "within 2 s of a", "");
        finds(&facts, Verdict::Unchecked, "b did not tell the time: no answer", "");
    }
}
