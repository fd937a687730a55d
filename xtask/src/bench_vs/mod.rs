//! The same load against Hearth and against a `livekit-server` on PATH, in turns, in one run.
//!
//! * **Owns:** the network namespace of the run.
//! * **In:** `target/release/hearth` as server and as tester.
//! * **Out:** figures on standard output, and between the markers of `docs/perf.md`.
//! * **Invariant:** a figure of one server stands beside that of the other from the same run.

mod lab;
pub(crate) mod page;
mod process;
mod scale;
mod scenario;

pub(crate) use self::scale::run as run_scale;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use self::lab::Lab;
use self::process::{Sample, Sampler, Server, Software};
use self::scenario::Scenario;
use crate::{say, tree};

/// Seconds from the last join until figures count.
const SETTLE: f64 = 2.0;

/// The figures of one server under one load.
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
    /// CPU-seconds of the testers within the window.
    pub(crate) tester: f64,
    /// Share of a core that the host gave to others within the window.
    pub(crate) stolen: f64,
    /// The report of the first tester.
    pub(crate) report: Value,
}

impl Figures {
    /// Microseconds of CPU per delivered packet; not a number if there was no window.
    pub(crate) fn micros(&self) -> f64 {
        (self.user + self.system) * 1e6 / self.packets
    }

    /// Microseconds of the testers' CPU per packet they received.
    pub(crate) fn tester_micros(&self) -> f64 {
        self.tester * 1e6 / self.packets
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
            let software = Software::Hearth(hearth.clone());
            let ours = measure(&lab, &hearth, &Setup::of(software), &scenario)?;
            say(&page::line("hearth", &scenario, &ours));
            let theirs = match &other {
                Some(path) => {
                    let software = Software::LiveKit(path.clone());
                    let theirs = measure(&lab, &hearth, &Setup::of(software), &scenario)?;
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
    if names.is_empty() { page::write("bench-vs", &text) } else { Ok(()) }
}

/// A server, and how many rooms get the load.
struct Setup {
    software: Software,
    flags: Vec<&'static str>,
    rooms: usize,
}

impl Setup {
    fn of(software: Software) -> Self {
        Self { software, flags: Vec::new(), rooms: 1 }
    }
}

/// One server under one load, in each of the rooms at the same time.
fn measure(
    lab: &Lab,
    tester: &Path,
    setup: &Setup,
    scenario: &Scenario,
) -> Result<Figures, String> {
    let server = Server::start(lab, &setup.software, &setup.flags)?;
    let before = server.sample()?;
    let file = |room| {
        std::env::temp_dir().join(format!("hearth-bench-{}-{room}.json", std::process::id()))
    };
    let mut testers = Vec::new();
    for room in 0..setup.rooms {
        let mut command = lab.on_tester_core(tester);
        command
            .args(["load-test", "--url", &lab.url(), "--room", &format!("bench-{room}"), "--json"])
            .arg(file(room))
            .args(["--api-key", process::KEY, "--api-secret", process::SECRET])
            .args(scenario.args())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn();
        testers.push(child.map_err(|error| format!("the tester did not start: {error}"))?);
    }
    let mut sampler = Sampler::new(&server);
    let output = sampler.watch(&mut testers, scenario.deadline())?;
    let read = |room| {
        let text = std::fs::read_to_string(file(room))
            .map_err(|error| format!("the tester wrote no report ({error}): {output}"))?;
        let _ = std::fs::remove_file(file(room));
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    let reports = (0..setup.rooms).map(read).collect::<Result<Vec<Value>, String>>()?;
    Ok(figures(&reports, before, sampler.samples()))
}

/// Aligns what the testers saw, second by second, with what the server had used by then.
fn figures(reports: &[Value], before: Sample, samples: &[Sample]) -> Figures {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let timeline = |report: &Value| {
        report.get("timeline").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let all_there = |report: &Value| {
        let seconds = timeline(report);
        let most = seconds.iter().map(|s| number(s, "connected")).fold(0.0, f64::max);
        let found = seconds.iter().find(|s| number(s, "connected") >= most);
        found.map_or(0.0, |second| number(second, "at"))
    };
    let begin = reports.iter().map(all_there).fold(0.0, f64::max) + SETTLE;
    let ends = reports.iter().map(|r| timeline(r).last().map_or(0.0, |s| number(s, "at")));
    // A tester that is overwhelmed may see the last join later than it ends: then nothing counts.
    let end = ends.fold(f64::MAX, f64::min).max(begin);
    let inside = |s: &Value| number(s, "at") > begin + 0.5 && number(s, "at") <= end;
    let packets = reports.iter().flat_map(timeline).filter(inside).map(|s| number(&s, "packets"));
    let at = |seconds: f64| {
        let time = Duration::from_secs_f64(seconds.max(0.0));
        samples.iter().take_while(|sample| sample.at <= time).last().copied().unwrap_or(before)
    };
    let (first, last) = (at(begin), at(end));
    Figures {
        packets: packets.sum(),
        window: end - begin,
        user: last.user - first.user,
        system: last.system - first.system,
        whole: samples.last().map_or(0.0, |last| last.user + last.system)
            - before.user
            - before.system,
        memory: last.memory - before.memory,
        participants: reports.iter().map(|report| number(report, "participants")).sum(),
        tester: last.tester - first.tester,
        stolen: (last.stolen - first.stolen) / (end - begin).max(1.0),
        report: reports.first().cloned().unwrap_or_default(),
    }
}

/// Discards a command's output.
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
                tester: n as f64 * 0.05,
                stolen: n as f64 * 0.001,
            })
            .collect();
        let before = Sample { memory: 1_000.0, ..Sample::default() };
        let late = json!({"timeline": [{"at": 10, "connected": 3, "packets": 100}]});
        let nothing = figures(&[late], before, &samples);
        assert!(nothing.micros().is_nan() && nothing.user.abs() < 1e-9, "no window");
        let figures = figures(&[report.clone(), report], before, &samples);
        // All are there at 3 s; the window is from 5 s to 10 s.
        assert_eq!((figures.packets, figures.memory), (1_000.0, 100.0));
        assert!((figures.tester - 2.5).abs() < 1e-9);
        assert!((figures.stolen - 0.01).abs() < 1e-9);
        assert!((figures.user - 0.5).abs() < 1e-9 && (figures.system - 1.0).abs() < 1e-9);
        assert!((figures.micros() - 1_500.0).abs() < 1e-6);
    }
}
