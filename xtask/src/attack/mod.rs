//! What a call of eight notices while somebody attacks the server.
//!
//! * **Owns:** the processes of the run, all of which end with it.
//! * **In:** a built `hearth`; the example `attack` of the client crate, which this builds.
//! * **Out:** a table on standard output and, after a run of all attacks, in `docs/perf.md`; an error if a call lost a packet, was
//!   delayed, or the server logged an error.
//! * **Invariant:** the same call was measured on the same server just before, without the attack. An attack lasts
//!   [`ATTACK_SECONDS`].

mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use self::server::{KEY, SECRET, Server};
use crate::bench_vs::page::{self, at};
use crate::{say, tree};

/// Of the call, from its last join on.
const CALL_SECONDS: u32 = 8;
/// From before the call until after it.
const ATTACK_SECONDS: u32 = 13;
/// For an attack to begin.
const AHEAD: Duration = Duration::from_secs(2);
/// What the 99th percentile of latency may gain, in milliseconds.
const MAX_GAIN: f64 = 5.0;
/// The room of the call.
const CALL: &str = "call";

/// One kind of attack: several of these processes at once.
struct Attack {
    name: &'static str,
    title: &'static str,
    /// What to start, as the example calls it, where, and how many datagrams a second.
    parts: &'static [(&'static str, &'static str, u32)],
}

const ALL: [Attack; 9] = [
    Attack {
        name: "nack",
        title: "a subscriber of the call asks for everything again and again",
        parts: &[("nack", CALL, 20_000)],
    },
    Attack {
        name: "check",
        title: "a participant of the call floods valid connectivity checks",
        parts: &[("check", CALL, 20_000)],
    },
    Attack {
        name: "stun",
        title: "strangers at 64 addresses flood checks for all shards and for none",
        parts: &[("stun", "-", 50_000)],
    },
    Attack {
        name: "data",
        title: "two rooms flood reliable data to receivers that acknowledge none",
        parts: &[("data", "noise-1", 0), ("data", "noise-2", 0)],
    },
    Attack {
        name: "sealed",
        title: "a participant of the call sends random RTP and RTCP under valid keys",
        parts: &[("sealed", CALL, 20_000)],
    },
    Attack {
        name: "tcp",
        title: "connections to the port of media over TCP that say nothing, half of something, or what is no check",
        parts: &[("tcp", "-", 1_000)],
    },
    Attack {
        name: "garbage",
        title: "garbage for every parser that UDP, HTTP and WebSockets reach",
        parts: &[("udp", "-", 20_000), ("signal", "garbage", 0), ("signal", "garbage", 0)],
    },
    Attack {
        name: "turn",
        title: "strangers ask for TURN allocations, with wrong passwords and without",
        parts: &[("turn", "-", 10_000)],
    },
    Attack {
        name: "turn-tcp",
        title: "TURN over TCP: connections that say nothing, and frames without end",
        parts: &[("turn-tcp", "-", 1_000)],
    },
];

/// What is shown elsewhere, and why.
const ELSEWHERE: &str = "A media thread that fails: only tests can make one fail; see \
`a_media_thread_that_fails_costs_its_own_and_a_call_of_eight_beside_it_loses_no_packet` in `runtime`. A destination whose socket is \
full: loopback takes a datagram off the sender's buffer at once, so that it never fills; see `what_waits_is_bounded_for_all_and_for_each_path` in `net`.";

/// A run beside, and what it showed.
struct Outcome {
    alone: Value,
    beside: Value,
    sent: Vec<String>,
    counted: Vec<String>,
    faults: Vec<String>,
}

/// Runs `[--debug] [--hearth FILE] [NAME …]`.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let (mut profile, mut hearth, mut names) = ("release", None, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--debug" => profile = "debug",
            "--hearth" => hearth = Some(PathBuf::from(args.next().ok_or("--hearth needs a file")?)),
            name => names.push(name),
        }
    }
    let attacks = select(&names)?;
    let hearth = hearth.unwrap_or_else(|| tree::root().join(format!("target/{profile}/hearth")));
    if !hearth.exists() {
        return Err(format!("there is no {}: build it first", hearth.display()));
    }
    let tester = build(profile)?;
    let mut text = format!(
        "Measured on {}: a call of eight (voice and 360p VP8 of each to all others), {CALL_SECONDS} s alone and {CALL_SECONDS} s beside \
         each attack, on a server with two shards; everything on loopback of one machine.\n\n\
         | attack | lost alone / beside | latency p50, ms | latency p99, ms | gain at p99, ms | sent by the attacker | counted by the server \
         | |\n|---|---|---|---|---|---|---|---|\n",
        page::today(),
    );
    let mut failed = Vec::new();
    for attack in &attacks {
        let outcome = measure(attack, &hearth, &tester)?;
        let row = row(attack, &outcome);
        say(&row);
        text += &format!("{row}\n");
        if !outcome.faults.is_empty() {
            failed.push(attack.name);
        }
    }
    text += &format!("\n{ELSEWHERE}\n");
    say(&format!("\n{text}"));
    if attacks.len() == ALL.len() {
        page::write("attack", &text)?;
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("the call noticed: {}", failed.join(", "))) }
}

fn select(names: &[&str]) -> Result<Vec<&'static Attack>, String> {
    let known = || ALL.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &&str| {
        let attack = ALL.iter().find(|attack| attack.name == *name);
        attack.ok_or_else(|| format!("there is no attack {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// The example of the client crate.
fn build(profile: &str) -> Result<PathBuf, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--package", "hearth-client", "--example", "attack"]);
    if profile == "release" {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(tree::root()).status();
    match status.map_err(|error| format!("cargo did not start: {error}"))?.success() {
        true => Ok(tree::root().join(format!("target/{profile}/examples/attack"))),
        false => Err("the attacks could not be built".to_owned()),
    }
}

fn measure(attack: &Attack, hearth: &Path, tester: &Path) -> Result<Outcome, String> {
    let server = Server::start(hearth)?;
    let start = |kind: &str, room: &str, seconds: u32, rate: u32| {
        let target = if kind.starts_with("turn") { server.turn() } else { server.media() };
        let mut words = vec![kind.to_owned(), server.http(), target];
        words.extend([KEY, SECRET, room].map(str::to_owned));
        words.extend([seconds, rate].map(|number| number.to_string()));
        // What attacks must not take the call's time on this machine: the server is what is tested.
        let mut command = if [CALL, "state"].contains(&kind) {
            Command::new(tester)
        } else {
            let mut command = Command::new("nice");
            command.args(["-n", "19"]).arg(tester);
            command
        };
        let command = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().map_err(|error| format!("{} did not start: {error}", tester.display()))
    };
    let answer = |child: Child| -> Result<Value, String> {
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).map_err(|error| format!("no answer ({error}): {text}"))
    };
    let state = || answer(start("state", "-", 1, 0)?);

    let alone = answer(start(CALL, CALL, CALL_SECONDS, 0)?)?;
    let before = state()?;
    let mut attackers = Attackers(Vec::new());
    for (kind, room, rate) in attack.parts {
        attackers.0.push(start(kind, room, ATTACK_SECONDS, *rate)?);
    }
    std::thread::park_timeout(AHEAD);
    let beside = answer(start(CALL, CALL, CALL_SECONDS, 0)?)?;
    let mut sent = Vec::new();
    for attacker in std::mem::take(&mut attackers.0) {
        let answer = answer(attacker)?;
        sent.push(format!(
            "{:.0} {}",
            at(&answer, &["sent"]),
            answer["what"].as_str().unwrap_or("?")
        ));
    }
    let after = state()?;
    let mut outcome =
        Outcome { alone, beside, sent, counted: counted(&before, &after), faults: server.faults() };
    outcome.faults.extend(faults(&outcome.alone, &outcome.beside, &after));
    Ok(outcome)
}

/// Processes that end with this.
struct Attackers(Vec<Child>);

impl Drop for Attackers {
    fn drop(&mut self) {
        for attacker in &mut self.0 {
            let _ = attacker.kill();
            let _ = attacker.wait();
        }
    }
}

/// What the call noticed, and what no attack may bring about.
fn faults(alone: &Value, beside: &Value, state: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if at(beside, &["joined"]) < 8.0 || at(beside, &["tracks"]) < at(beside, &["expected"]) {
        faults.push("not everybody received everybody".to_owned());
    }
    for failure in beside["failures"].as_array().into_iter().flatten() {
        faults.push(failure.as_str().unwrap_or("?").to_owned());
    }
    if at(beside, &["lost"]) > 0.0 {
        faults.push("packets were lost".to_owned());
    }
    if at(beside, &["p99"]) - at(alone, &["p99"]) > MAX_GAIN {
        faults.push(format!("latency grew by more than {MAX_GAIN} ms"));
    }
    for never in ["panics", "bugs", "shard_failures", "refused_ssrcs"] {
        if at(state, &[never]) > 0.0 {
            faults.push(format!("the server counted {never}"));
        }
    }
    faults
}

/// Drops and retransmissions during the attack; what is not forwarded is no news.
fn counted(before: &Value, after: &Value) -> Vec<String> {
    let dropped = after["dropped"].as_object().into_iter().flatten();
    let names = dropped.map(|(name, _)| ("dropped", name.as_str()));
    let names = names.filter(|(_, name)| !name.starts_with("forward_"));
    let grown = names
        .chain([("sent", "retransmissions"), ("sent", "late_for_a_full_buffer")])
        .map(|(group, name)| (name, at(after, &[group, name]) - at(before, &[group, name])));
    grown.filter(|(_, by)| *by > 0.0).map(|(name, by)| format!("{by:.0} {name}")).collect()
}

fn row(attack: &Attack, outcome: &Outcome) -> String {
    let Outcome { alone, beside, sent, counted, faults } = outcome;
    let both = |key: &str, digits: usize| {
        format!("{:.digits$} / {:.digits$}", at(alone, &[key]), at(beside, &[key]))
    };
    format!(
        "| {}: {} | {} | {} | {} | {:+.1} | {} | {} | {} |",
        attack.name,
        attack.title,
        both("lost", 0),
        both("p50", 1),
        both("p99", 1),
        at(beside, &["p99"]) - at(alone, &["p99"]),
        sent.join(", "),
        if counted.is_empty() { "–".to_owned() } else { counted.join(", ") },
        if faults.is_empty() { "holds".to_owned() } else { faults.join("; ") },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_that_lost_or_waited_is_a_fault_and_one_that_did_not_is_none() {
        let call = |lost: u32, p99: f64| json!({"joined": 8, "tracks": 112, "expected": 112, "lost": lost, "p99": p99, "failures": []});
        let state = json!({"panics": 0});
        assert!(faults(&call(0, 2.0), &call(0, 6.5), &state).is_empty());
        assert_eq!(faults(&call(0, 2.0), &call(1, 7.5), &json!({"panics": 1})).len(), 3);
    }

    #[test]
    fn what_the_server_counted_is_what_grew() {
        let state = |n: u32| {
            let dropped = json!({"forward_paused": n, "checks_unsent": n, "received_stun": 3});
            json!({"dropped": dropped, "sent": {"retransmissions": 2 * n, "late_for_a_full_buffer": 0}})
        };
        assert_eq!(counted(&state(5), &state(9)), ["4 checks_unsent", "8 retransmissions"]);
    }

    #[test]
    fn an_unknown_attack_names_the_known() {
        assert_eq!(select(&[]).unwrap().len(), ALL.len());
        assert!(select(&["x"]).map(|_| ()).unwrap_err().contains("nack, check, stun"));
    }
}
