//! Figures for people: lines while it runs, a table at the end, `docs/perf.md`.

use serde_json::Value;

use super::{Figures, Outcome, lab::Lab, scenario::Scenario};
use crate::tree;

const PAGE: &str = "docs/perf.md";
const END: &str = "<!-- end -->";

/// One run in one line.
pub(crate) fn line(who: &str, scenario: &Scenario, figures: &Figures) -> String {
    let cost = if scenario.is_joins() {
        let joins = at(&figures.report, &["joined"]);
        format!("{:.2} ms of CPU a join", figures.whole * 1e3 / joins.max(1.0))
    } else {
        let cost = cost(scenario, figures);
        format!(
            "{cost:.2} µs of CPU a packet ({:.0} % of it in the kernel)",
            figures.system * 100.0 / (figures.user + figures.system).max(1e-9)
        )
    };
    format!(
        "{:<11} {who:<15} {cost}, {:.0} packets/s, {:.0} KiB a participant, lost {}, join p50 {:.0} ms p99 {:.0} ms, joined {}/{}, latency p50 {:.1} p99 {:.1} ms, stolen {:.1} %",
        scenario.name,
        figures.packets / figures.window.max(1.0),
        memory(figures),
        at(&figures.report, &["total", "lost"]),
        at(&figures.report, &["join", "p50"]),
        at(&figures.report, &["join", "p99"]),
        at(&figures.report, &["joined"]),
        figures.participants,
        at(&figures.report, &["total", "latency", "p50"]),
        at(&figures.report, &["total", "latency", "p99"]),
        figures.stolen * 100.0,
    )
}

/// All runs as a section of the page.
pub(crate) fn table(lab: &Lab, versions: &[String], outcomes: &[Outcome]) -> String {
    let runs = outcomes.iter().flat_map(|outcome| &outcome.runs);
    let stolen: Vec<f64> = runs
        .flat_map(|(ours, theirs)| [Some(ours), theirs.as_ref()])
        .flatten()
        .map(|figures| figures.stolen * 100.0)
        .collect();
    let mut text = format!(
        "Measured on {} with {}; {}.\nEach figure is the median of {} run(s), the servers in turns; \
         ratios are livekit-server's figure divided by Hearth's of the same round. Meanwhile the host of the \
         virtual machine gave {:.1} % of a core to others in the median run, {:.1} % in the worst.\n\n\
         | load | | Hearth | livekit-server | ratio |\n|---|---|---|---|---|\n",
        today(),
        versions.join(" and "),
        lab.describe(),
        outcomes.first().map_or(0, |outcome| outcome.runs.len()),
        median(&stolen).unwrap_or(0.0),
        stolen.iter().copied().fold(0.0, f64::max),
    );
    for Outcome { scenario, runs } in outcomes {
        let mut title = scenario.title;
        for (what, digits, read) in rows(scenario) {
            let ours: Vec<f64> = runs.iter().map(|run| read(&run.0)).collect();
            let theirs: Vec<f64> = runs.iter().filter_map(|run| run.1.as_ref()).map(read).collect();
            let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| b / a).collect();
            let cell = |values: &[f64], digits: usize| match median(values) {
                Some(value) if value.is_finite() => format!("{value:.digits$}"),
                _ => "–".to_owned(),
            };
            text += &format!(
                "| {title} | {what} | {} | {} | {} |\n",
                cell(&ours, digits),
                cell(&theirs, digits),
                cell(&ratios, 1)
            );
            title = "";
        }
    }
    text
}

/// Replaces what stands between the markers of a command on the page.
pub(crate) fn write(command: &str, text: &str) -> Result<(), String> {
    let begin = format!("<!-- begin: written by `cargo xtask {command}` -->");
    let path = tree::root().join(PAGE);
    let page = std::fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let parts =
        page.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let Some((head, tail)) = parts else {
        return Err(format!("{PAGE} lacks the lines `{begin}` and `{END}`"));
    };
    std::fs::write(&path, format!("{head}{begin}\n\n{text}\n{END}{tail}"))
        .map_err(|error| format!("{PAGE}: {error}"))
}

type Row = (&'static str, usize, fn(&Figures) -> f64);

fn rows(scenario: &Scenario) -> Vec<Row> {
    let joins: [Row; 3] = [
        ("join response p50, ms", 1, |f| at(&f.report, &["join", "p50"])),
        ("join response p99, ms", 1, |f| at(&f.report, &["join", "p99"])),
        ("memory, KiB a participant", 0, memory),
    ];
    if scenario.is_joins() {
        let first: [Row; 2] = [
            ("CPU, ms a join", 2, |f| f.whole * 1e3 / at(&f.report, &["joined"]).max(1.0)),
            ("joins that failed", 0, |f| f.participants - at(&f.report, &["joined"])),
        ];
        return first.into_iter().chain(joins).collect();
    }
    let cpu: Vec<Row> = if scenario.is_data() {
        vec![
            ("CPU, µs a message delivered", 2, |f| {
                f.whole * 1e6 / at(&f.report, &["data", "2"]).max(1.0)
            }),
            ("messages lost", 0, |f| at(&f.report, &["data", "1"]) - at(&f.report, &["data", "2"])),
            ("latency p99, ms", 1, |f| at(&f.report, &["data_latency", "p99"])),
        ]
    } else {
        vec![
            ("CPU, µs a packet delivered", 2, Figures::micros),
            ("– of these in the kernel", 2, |f| f.system * 1e6 / f.packets),
            ("packets lost", 0, |f| at(&f.report, &["total", "lost"])),
            ("the tester's CPU, µs a packet", 2, Figures::tester_micros),
        ]
    };
    let latency: [Row; 2] = [
        ("latency p50, ms", 2, |f| at(&f.report, &["total", "latency", "p50"])),
        ("latency p99, ms", 2, |f| at(&f.report, &["total", "latency", "p99"])),
    ];
    let latency = latency.into_iter().filter(|_| !scenario.is_data());
    cpu.into_iter().chain(latency).chain(joins).collect()
}

fn cost(scenario: &Scenario, figures: &Figures) -> f64 {
    if scenario.is_data() {
        figures.whole * 1e6 / at(&figures.report, &["data", "2"]).max(1.0)
    } else {
        figures.micros()
    }
}

/// KiB for each participant.
pub(crate) fn memory(figures: &Figures) -> f64 {
    figures.memory / 1_024.0 / figures.participants.max(1.0)
}

/// A number in the report; a key of digits is an index.
pub(crate) fn at(report: &Value, path: &[&str]) -> f64 {
    let step = |value: &'_ Value, key: &&str| match key.parse::<usize>() {
        Ok(index) => value.get(index).cloned(),
        Err(_) => value.get(*key).cloned(),
    };
    let found = path.iter().try_fold(report.clone(), |value, key| step(&value, key));
    found.and_then(|value| value.as_f64()).unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

pub(crate) fn today() -> String {
    let output = std::process::Command::new("date").arg("+%Y-%m-%d").output();
    output.map_or_else(|_| "?".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_found_by_key_and_by_index() {
        let report = json!({"total": {"lost": 3}, "data": [1, 2, 5]});
        assert!((at(&report, &["total", "lost"]) - 3.0).abs() < 1e-9);
        assert!((at(&report, &["data", "2"]) - 5.0).abs() < 1e-9);
        assert!(at(&report, &["nothing"]).is_nan());
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
