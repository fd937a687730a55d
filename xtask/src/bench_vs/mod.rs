//! The same load against Hearth and against a `livekit-server` on PATH, in turns, in one run.
//!
//! * **Owns:** the network namespace of the run.
//! * **In:** `target/release/hearth` as server and as tester.
//! * **Out:** figures on standard output, and between the markers of `docs/perf.md`.
//! * **Invariant:** a figure of one server stands beside that of the other from the same run.

mod lab;
mod page;
mod process;
mod scenario;

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use self::lab::Lab;
use self::process::{Sample, Sampler, Server, Software};
use self::scenario::Scenario;
use crate::{say, tree};

/// Seconds from the last join until figures count.
const SETTLE: f64 = 2.0;

/// What one server did under one load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Packets that reached subscribers within the window.
    pub(crate) packets: f64,
    /// Length of the window in seconds.
    pub(crate) window: f64,
    /// CPU-seconds of the server within the window, in user code and in the kernel.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// CPU-seconds of the server from start to end of the load.
    pub(crate) whole: f64,
    /// Bytes resident at the end of the window, less those before the load.
    pub(crate) memory: f64,
    pub(crate) participants: f64,
    /// The tester's report.
    pub(crate) report: Value,
}

impl Figures {
    /// Microseconds of CPU per delivered packet.
    pub(crate) fn micros(&self) -> f64 {
        (self.user + self.system) * 1e6 / self.packets.max(1.0)
    }
}

/// One load with the figures of each server that was there.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    /// By run, each Hearth first.
    pub(crate) runs: Vec<(Figures, Option<Figures>)>,
}

/// Runs the named scenarios, or all, `rounds` times each.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let (mut rounds, mut names) = (1_usize, Vec::new());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match *arg {
            "--rounds" => {
                let number = rest.next().and_then(|text| text.parse().ok());
                rounds = number.ok_or("--rounds takes a number")?;
            }
            name => names.push(name),
        }
    }
    let scenarios = scenario::select(&names)?;
    let hearth = tree::root().join("target/release/hearth");
    if !hearth.exists() {
        return Err("there is no target/release/hearth: run `cargo build --release` first".into());
    }
    let other = process::find("livekit-server");
    if other.is_none() {
        say("livekit-server is not on PATH: Hearth is measured alone, without ratios.");
    }
    let lab = Lab::new()?;
    say(&lab.describe());
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        let mut runs = Vec::new();
        for _ in 0..rounds {
            let ours = measure(&lab, &hearth, &Software::Hearth(hearth.clone()), &scenario)?;
            say(&page::line("hearth", &scenario, &ours));
            let theirs = match &other {
                Some(path) => {
                    let theirs =
                        measure(&lab, &hearth, &Software::LiveKit(path.clone()), &scenario)?;
                    say(&page::line("livekit-server", &scenario, &theirs));
                    Some(theirs)
                }
                None => None,
            };
            runs.push((ours, theirs));
        }
        outcomes.push(Outcome { scenario, runs });
    }
    let versions = [Some(&hearth), other.as_ref()].into_iter().flatten();
    let versions: Vec<String> = versions.map(|path| process::version(path)).collect();
    let text = page::table(&lab, &versions, &outcomes);
    say(&text);
    if names.is_empty() { page::write(&text) } else { Ok(()) }
}

/// One server under one load.
fn measure(
    lab: &Lab,
    tester: &std::path::Path,
    software: &Software,
    scenario: &Scenario,
) -> Result<Figures, String> {
    let server = Server::start(lab, software)?;
    let before = server.sample()?;
    let report = std::env::temp_dir().join(format!("hearth-bench-{}.json", std::process::id()));
    let mut command = lab.on_tester_core(tester);
    command
        .args(["load-test", "--url", &lab.url(), "--json"])
        .arg(&report)
        .args(["--api-key", process::KEY, "--api-secret", process::SECRET])
        .args(scenario.args())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut sampler = Sampler::new(&server);
    let child = command.spawn().map_err(|error| format!("the tester did not start: {error}"))?;
    let output = sampler.watch(child, scenario.deadline())?;
    let text = std::fs::read_to_string(&report)
        .map_err(|error| format!("the tester wrote no report ({error}): {output}"))?;
    let _ = std::fs::remove_file(&report);
    let report: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(figures(report, before, sampler.samples()))
}

/// Aligns what the tester saw, second by second, with what the server had used by then.
fn figures(report: Value, before: Sample, samples: &[Sample]) -> Figures {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let timeline = report.get("timeline").and_then(Value::as_array).cloned().unwrap_or_default();
    let participants = number(&report, "participants");
    let most = timeline.iter().map(|s| number(s, "connected")).fold(0.0, f64::max);
    let all_there = timeline.iter().find(|s| number(s, "connected") >= most);
    let begin = all_there.map_or(0.0, |second| number(second, "at")) + SETTLE;
    let end = timeline.last().map_or(0.0, |second| number(second, "at"));
    let inside =
        timeline.iter().filter(|s| number(s, "at") > begin + 0.5 && number(s, "at") <= end);
    let packets = inside.map(|second| number(second, "packets")).sum();
    let at = |seconds: f64| {
        let time = Duration::from_secs_f64(seconds.max(0.0));
        samples.iter().take_while(|sample| sample.at <= time).last().copied().unwrap_or(before)
    };
    let (first, last) = (at(begin), at(end));
    Figures {
        packets,
        window: end - begin,
        user: last.user - first.user,
        system: last.system - first.system,
        whole: samples.last().map_or(0.0, |last| last.user + last.system)
            - before.user
            - before.system,
        memory: last.memory - before.memory,
        participants,
        report,
    }
}

/// Where a command's output goes if nobody reads it.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_time_in_which_everybody_was_there_counts() {
        let seconds = (1..=10).map(|n| json!({"at": n, "connected": n.min(3), "packets": 100}));
        let report = json!({"participants": 3, "timeline": seconds.collect::<Vec<_>>()});
        let samples: Vec<Sample> = (0..=100)
            .map(|n| Sample {
                at: Duration::from_millis(n * 100),
                user: n as f64 * 0.01,
                system: n as f64 * 0.02,
                memory: 1_000.0 + n as f64,
            })
            .collect();
        let before = Sample { memory: 1_000.0, ..Sample::default() };
        let figures = figures(report, before, &samples);
        // All are there at 3 s; the window is from 5 s to 10 s.
        assert_eq!((figures.packets, figures.memory), (500.0, 100.0));
        assert!((figures.user - 0.5).abs() < 1e-9 && (figures.system - 1.0).abs() < 1e-9);
        assert!((figures.micros() - 3_000.0).abs() < 1e-6);
    }
}
