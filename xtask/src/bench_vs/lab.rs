//! Where the servers run: a network namespace of their own, one core for the server and one for the
//! tester.
//!
//! * **Owns:** the namespace and its pair of interfaces; both go when this is dropped.
//! * **Invariant:** without the rights to make a namespace, loopback is used, and said.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::quiet;

const NAMESPACE: &str = "hearth-bench";
/// A range for documentation and tests would not be routed to; this one is private.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const TESTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Lab {
    isolated: bool,
    cores: usize,
    /// The tester's packets are received on the tester's core.
    steered: bool,
}

impl Lab {
    /// Makes the namespace if that is possible.
    pub(crate) fn new() -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut lab = Self { isolated: false, cores, steered: false };
        // What an earlier run that was killed has left.
        lab.ip("netns del", &[NAMESPACE]);
        lab.isolated = lab.ip("netns add", &[NAMESPACE])
            && lab.ip("link add", &["hb-tester", "type", "veth", "peer", "name", "hb-server"])
            && lab.ip("link set", &["hb-server", "netns", NAMESPACE])
            && lab.ip("addr add", &[&format!("{TESTER}/24"), "dev", "hb-tester"])
            && lab.ip("link set", &["hb-tester", "up"])
            && lab.inside(&format!("addr add {SERVER}/24 dev hb-server"))
            && lab.inside("link set hb-server up")
            && lab.inside("link set lo up");
        lab.steer();
        Ok(lab)
    }

    /// Host and port of the server's signalling.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}:7890", self.server())
    }

    /// The server's address.
    pub(crate) fn server(&self) -> Ipv4Addr {
        if self.isolated { SERVER } else { Ipv4Addr::LOCALHOST }
    }

    /// A command in the server's place.
    pub(crate) fn on_server_core(&self, program: &Path) -> Command {
        let mut words = Vec::new();
        if self.isolated {
            words.extend(["ip", "netns", "exec", NAMESPACE]);
        }
        self.pinned(words, "0", program)
    }

    /// A command in the tester's place.
    pub(crate) fn on_tester_core(&self, program: &Path) -> Command {
        self.pinned(Vec::new(), if self.cores > 1 { "1" } else { "0" }, program)
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let place = if self.isolated {
            "the server in its own network namespace behind a veth pair"
        } else {
            "everything on loopback (a network namespace needs root and `ip`)"
        };
        let cores = match self.cores {
            1 => "server and tester share the only core".to_owned(),
            cores => format!("the server on core 0, the tester on core 1 of {cores}"),
        };
        let steering = if self.steered { ", which also receives its packets (RPS)" } else { "" };
        format!("{place}; {cores}{steering}")
    }

    /// Lets the tester's core do the receiving of what the tester is sent: through a veth pair it would
    /// otherwise run on the sender's core and be billed to the server, as no network card would do.
    fn steer(&mut self) {
        let mask = "/sys/class/net/hb-tester/queues/rx-0/rps_cpus";
        self.steered = self.isolated && self.cores > 1 && std::fs::write(mask, "2").is_ok();
    }

    fn pinned<'a>(&self, mut words: Vec<&'a str>, core: &'a str, program: &Path) -> Command {
        words.extend(["taskset", "-c", core]);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or("taskset"));
        command.args(words).arg(program);
        command
    }

    fn ip(&self, verb: &str, args: &[&str]) -> bool {
        let mut command = Command::new("ip");
        quiet(command.args(verb.split(' ')).args(args)).status().is_ok_and(|s| s.success())
    }

    fn inside(&self, args: &str) -> bool {
        self.ip("-n", &[NAMESPACE].into_iter().chain(args.split(' ')).collect::<Vec<_>>())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The interfaces go with it.
        self.ip("netns del", &[NAMESPACE]);
    }
}
