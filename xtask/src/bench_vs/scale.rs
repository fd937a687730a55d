//! CPU cost of a packet in small and large rooms, and on two shards beside one. Hearth alone.
//!
//! * **Owns:** nothing beyond the run.
//! * **In:** `target/release/hearth` as server and as tester.
//! * **Out:** two tables, on standard output and between the markers of `docs/perf.md`.
//! * **Invariant:** the server has one core whatever its shards: what is compared is CPU, not speed.

use super::lab::Lab;
use super::page::{self, at, memory};
use super::process::{self, Software};
use super::scenario::Scenario;
use super::{Figures, Setup, measure};
use crate::{say, tree};

/// Rooms of the load with many.
const ROOMS: usize = 4;

/// Rooms that grow: the first of each kind is what the others are compared with.
const GROWTH: [&[Scenario]; 2] = [
    &[
        load("1 video → 50", "--video-publishers 1 --subscribers 50", 51),
        load("1 video → 200", "--video-publishers 1 --subscribers 200", 201),
        load("1 video → 500", "--video-publishers 1 --subscribers 500", 501),
        load("1 video → 1,000", "--video-publishers 1 --subscribers 1000", 1_001),
    ],
    &[
        load("10 audio → 50", "--audio-publishers 10 --subscribers 50", 60),
        load("10 audio → 200", "--audio-publishers 10 --subscribers 200", 210),
        load("10 audio → 1,000", "--audio-publishers 10 --subscribers 1000", 1_010),
    ],
];

/// How often one shard and two take turns.
const ROUNDS: usize = 3;

/// The same work for one shard and for two.
const SHARDS: [(Scenario, usize); 3] = [
    (load("one room, 1 video → 200", "--video-publishers 1 --subscribers 200", 201), 1),
    (load("one room, 10 audio → 80", "--audio-publishers 10 --subscribers 80", 90), 1),
    (load("4 rooms, 1 video → 50 each", "--video-publishers 1 --subscribers 50", 51), ROOMS),
];

const fn load(title: &'static str, flags: &'static str, participants: u32) -> Scenario {
    Scenario { name: "scale", title, flags, participants, joins_per_second: 50, seconds: 15 }
}

/// Measures and writes the page.
pub(crate) fn run() -> Result<(), String> {
    let hearth = tree::root().join("target/release/hearth");
    if !hearth.exists() {
        return Err("there is no target/release/hearth: run `cargo build --release` first".into());
    }
    let lab = Lab::new()?;
    let one = |scenario: &Scenario, shards: &'static str, rooms: usize| {
        let software = Software::Hearth(hearth.clone());
        let setup = Setup { software, flags: vec!["--shards", shards], rooms };
        let figures = measure(&lab, &hearth, &setup, scenario)?;
        say(&format!("{shards} shard(s), {}", page::line("hearth", scenario, &figures)));
        Ok::<_, String>(figures)
    };
    let mut text = format!(
        "Measured on {} with {}; {}.\n\n\
         | load, one shard | packets/s | CPU, µs a packet | beside the first | lost | latency p50 / p99, ms \
         | the server's core | the tester's core | joined | memory, KiB a participant |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        page::today(),
        process::version(&hearth),
        lab.describe(),
    );
    for loads in GROWTH {
        let mut first = None;
        for scenario in loads {
            let figures = one(scenario, "1", 1)?;
            let beside = figures.micros() / *first.get_or_insert_with(|| figures.micros());
            text += &growth_row(scenario, &figures, beside);
        }
    }
    text += &format!(
        "\nMedians of {ROUNDS} rounds in turns.\n\n\
         | load | CPU, µs a packet, one shard | two shards | ratio (each round) |\n|---|---|---|---|\n"
    );
    for (scenario, rooms) in &SHARDS {
        let (mut single, mut double, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            single.push(one(scenario, "1", *rooms)?.micros());
            double.push(one(scenario, "2", *rooms)?.micros());
            ratios.extend(double.last().zip(single.last()).map(|(double, single)| double / single));
        }
        let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let middle = |values: &[f64]| page::median(values).unwrap_or(f64::NAN);
        text += &format!(
            "| {} | {:.2} | {:.2} | {:.2} ({}) |\n",
            scenario.title,
            middle(&single),
            middle(&double),
            middle(&ratios),
            all.join(", ")
        );
    }
    say(&text);
    page::write("bench-scale", &text)
}

fn growth_row(scenario: &Scenario, figures: &Figures, beside: f64) -> String {
    let share = |seconds: f64| format!("{:.0} %", seconds * 100.0 / figures.window.max(1.0));
    let total = |key| at(&figures.report, &["total", key]);
    format!(
        "| {} | {:.0} | {:.2} | {beside:.2} | {:.0} ({:.3} %) | {:.1} / {:.1} | {} | {} | {:.0} of {:.0} | {:.0} |\n",
        scenario.title,
        figures.packets / figures.window.max(1.0),
        figures.micros(),
        total("lost"),
        total("lost") * 100.0 / (total("lost") + total("packets")).max(1.0),
        at(&figures.report, &["total", "latency", "p50"]),
        at(&figures.report, &["total", "latency", "p99"]),
        share(figures.user + figures.system),
        share(figures.tester),
        at(&figures.report, &["joined"]),
        figures.participants,
        memory(figures),
    )
}
