//! The report of a load test: packet loss, latency, bandwidth, join times.
//!
//! * **Owns:** nothing.
//! * **In:** what each participant counted.
//! * **Out:** [`Report`], as a table or serialized.
//! * **Invariant:** totals are the sums of the rows, and nothing is rounded before it is added.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use hearth_units::MediaKind;
use serde::Serialize;

use super::plan::{Plan, Role};
use super::run::steps;
use crate::inbound::{latencies, record};
use crate::socket::JoinError;
use crate::thread::{Outcome, Second};

/// How one participant's join went.
pub(super) struct Joined {
    pub(super) key: usize,
    pub(super) role: Role,
    pub(super) error: Option<JoinError>,
    /// Until the server's first message was here.
    pub(super) answered: Option<Duration>,
    pub(super) task: Option<tokio::task::JoinHandle<()>>,
}

/// Of a distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Reception of one published track at all its subscribers together; or of all tracks.
#[derive(Clone, Debug, Serialize)]
pub struct TrackRow {
    /// Its sid, or "total".
    pub track: String,
    /// "audio", "video", or "all".
    pub kind: &'static str,
    /// Subscribers that should get it.
    pub expected: usize,
    /// Subscribers that got something of it.
    pub received: usize,
    /// Bits a second, the mean of its subscribers.
    pub bitrate: f64,
    /// Packets that arrived.
    pub packets: u64,
    /// Packet loss: packets that did not arrive, not even by retransmission.
    pub lost: u64,
    /// Packets that a later one overtook.
    pub out_of_order: u64,
    /// Packets that arrived more than once.
    pub duplicates: u64,
    /// Packets that arrived only by retransmission.
    pub recovered: u64,
    /// From the publisher's encoder to the subscriber.
    pub latency: Percentiles,
}

/// Participants that could not join, or did not stay, for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct JoinFailure {
    /// In words.
    pub reason: String,
    /// How many.
    pub count: usize,
}

/// See the module documentation.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server.
    pub url: String,
    /// The room.
    pub room: String,
    /// Participants that were to join.
    pub participants: usize,
    /// Participants that did.
    pub joined: usize,
    /// Why the others did not, or left early.
    pub failures: Vec<JoinFailure>,
    /// From the first byte to the server's first message.
    pub join: Percentiles,
    /// From the first byte until media can flow.
    pub connected: Percentiles,
    /// From the first byte to the first packet of media.
    pub first_media: Percentiles,
    /// By track.
    pub tracks: Vec<TrackRow>,
    /// All tracks.
    pub total: TrackRow,
    /// Data messages that were sent, that should have arrived, and that did.
    pub data: [u64; 3],
    /// Of data messages.
    pub data_latency: Percentiles,
    /// Second by second.
    pub timeline: Vec<Second>,
}

/// Sums over subscribers.
struct Sums {
    kind: Option<MediaKind>,
    received: usize,
    bitrate: f64,
    row: [u64; 5],
    latency: Histogram<u32>,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        joined: Vec<Joined>,
        outcome: Outcome,
        timeline: Vec<Second>,
    ) -> Self {
        let mut failures = BTreeMap::new();
        for error in joined.iter().filter_map(|joined| joined.error.as_ref()) {
            *failures.entry(error.to_string()).or_insert(0) += 1;
        }
        let subscribers: Vec<usize> = joined
            .iter()
            .filter(|j| j.role.subscribes && j.error.is_none())
            .map(|j| j.key)
            .collect();
        // Nobody gets what is its own.
        let others = subscribers.len().saturating_sub(usize::from(plan.audience.everybody));
        let mut by_track: BTreeMap<String, Sums> = BTreeMap::new();
        let mut total = Sums::new();
        let mut data = [0; 3];
        let mut times = [(); 3].map(|()| latencies());
        for (key, summary) in &outcome.summaries {
            if let Some(why) = &summary.ended {
                *failures.entry(why.clone()).or_insert(0) += 1;
            }
            for (times, step) in times.iter_mut().zip(steps(&summary.milestones)) {
                let micros = step.and_then(|step| u64::try_from(step.as_micros()).ok());
                micros.into_iter().for_each(|micros| record(times, micros));
            }
            data[0] += summary.data_sent;
            data[2] += summary.data_received * u64::from(subscribers.contains(key));
            for tally in &summary.tallies {
                by_track.entry(tally.track_sid.clone()).or_insert_with(Sums::new).add(tally);
                total.add(tally);
            }
        }
        data[1] = data[0] * others as u64;
        let rows = by_track.into_iter().map(|(sid, sums)| sums.row(sid, others));
        let [join, connected, first_media] = times.each_ref().map(Percentiles::of);
        Self {
            url: plan.url.clone(),
            room: plan.room.clone(),
            participants: plan.roles().count(),
            joined: joined.iter().filter(|joined| joined.answered.is_some()).count(),
            failures: failures
                .into_iter()
                .map(|(reason, count)| JoinFailure { reason, count })
                .collect(),
            join,
            connected,
            first_media,
            tracks: rows.collect(),
            total: total.row("total".to_owned(), others * plan.tracks()),
            data,
            data_latency: Percentiles::of(&outcome.data_latency),
            timeline,
        }
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{:<16} {:<5} {:>11} {:>10} {:>11} {:>8} {:>8} {:>7} {:>7}   latency ms p50 / p95 / p99 / max",
            "track",
            "kind",
            "subscribers",
            "bitrate",
            "packets",
            "lost",
            "repaired",
            "order",
            "twice"
        )?;
        for row in self.tracks.iter().chain([&self.total]) {
            let TrackRow { packets, lost, recovered, out_of_order, duplicates, latency, .. } = row;
            writeln!(
                out,
                "{:<16} {:<5} {:>11} {:>10} {:>11} {:>8} {:>8} {:>7} {:>7}   {}",
                row.track,
                row.kind,
                format!("{}/{}", row.received, row.expected),
                bits(row.bitrate),
                packets,
                lost,
                recovered,
                out_of_order,
                duplicates,
                latency.text()
            )?;
        }
        match self.total.packets + self.total.lost {
            0 => writeln!(out, "\nloss              – (no media)")?,
            sent => {
                let loss = self.total.lost as f64 * 100.0 / sent as f64;
                writeln!(out, "\nloss              {loss:.4} %")?;
            }
        }
        if self.data[0] > 0 {
            let [sent, expected, received] = self.data;
            writeln!(
                out,
                "data messages     {sent} sent, {received} of {expected} received; latency ms {}",
                self.data_latency.text()
            )?;
        }
        writeln!(out, "joined            {} of {}", self.joined, self.participants)?;
        for (name, times) in [
            ("join response ms", &self.join),
            ("connected ms", &self.connected),
            ("first media ms", &self.first_media),
        ] {
            writeln!(out, "{name:<17} {} (of {})", times.text(), times.count)?;
        }
        for JoinFailure { reason, count } in &self.failures {
            writeln!(out, "{count} × {reason}")?;
        }
        Ok(())
    }
}

impl Percentiles {
    /// Of values in microseconds.
    fn of(histogram: &Histogram<u32>) -> Self {
        let at = |q| histogram.value_at_quantile(q) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: histogram.max() as f64 / 1_000.0,
        }
    }

    fn text(&self) -> String {
        let Self { count, p50, p95, p99, max } = self;
        if *count == 0 {
            return "–".to_owned();
        }
        format!("{p50:.1} / {p95:.1} / {p99:.1} / {max:.1}")
    }
}

impl Sums {
    fn new() -> Self {
        Self { kind: None, received: 0, bitrate: 0.0, row: [0; 5], latency: latencies() }
    }

    fn add(&mut self, tally: &crate::inbound::Tally) {
        self.kind = Some(tally.kind);
        self.received += usize::from(tally.packets > 0);
        let span = tally
            .first_at
            .zip(tally.last_at)
            .map_or(0.0, |(first, last)| last.saturating_duration_since(first).as_secs_f64());
        if span > 0.0 {
            self.bitrate += tally.bytes as f64 * 8.0 / span;
        }
        let values =
            [tally.packets, tally.lost, tally.out_of_order, tally.duplicates, tally.recovered];
        for (sum, value) in self.row.iter_mut().zip(values) {
            *sum += value;
        }
        // Both histograms grow as they need.
        let _ = self.latency.add(&tally.latency);
    }

    fn row(self, track: String, expected: usize) -> TrackRow {
        let [packets, lost, out_of_order, duplicates, recovered] = self.row;
        let kind = match self.kind {
            _ if track == "total" => "all",
            Some(MediaKind::Audio) => "audio",
            Some(MediaKind::Video) | None => "video",
        };
        TrackRow {
            track,
            kind,
            expected,
            received: self.received,
            bitrate: self.bitrate / self.received.max(1) as f64,
            packets,
            lost,
            out_of_order,
            duplicates,
            recovered,
            latency: Percentiles::of(&self.latency),
        }
    }
}

/// `1.5 Mbps`, `32 kbps`.
fn bits(bps: f64) -> String {
    if bps >= 1e6 { format!("{:.2} Mbps", bps / 1e6) } else { format!("{:.0} kbps", bps / 1e3) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::client::{Milestones, Summary};
    use crate::inbound::Tally;
    use crate::load::plan::example;

    pub(crate) fn example_report() -> Report {
        let t0 = hearth_net::WallClock::now();
        let tally = |sid: &str, packets| {
            let mut latency = latencies();
            record(&mut latency, packets * 1_000);
            Tally {
                kind: MediaKind::Video,
                track_sid: sid.into(),
                packets,
                bytes: packets * 125,
                lost: 1,
                out_of_order: 2,
                duplicates: 3,
                recovered: 4,
                first_at: Some(t0),
                last_at: Some(t0 + Duration::from_secs(1)),
                latency,
            }
        };
        let summary = |key, tallies| {
            let milestones = Milestones {
                began: Some(t0),
                joined: Some(t0 + Duration::from_millis(20)),
                ..Milestones::default()
            };
            (key, Summary { milestones, tallies, data_sent: 0, data_received: 5, ended: None })
        };
        let plan = example();
        let joined = plan.roles().enumerate().map(|(key, role)| Joined {
            key,
            role,
            error: (key == 6).then_some(JoinError::Timeout),
            answered: (key != 6).then_some(Duration::from_millis(20)),
            task: None,
        });
        let summaries = vec![
            summary(3, vec![tally("TR_a", 10), tally("TR_b", 20)]),
            summary(4, vec![tally("TR_a", 30)]),
        ];
        let outcome = Outcome { summaries, data_latency: latencies() };
        let timeline = (1..4).map(|n| Second { at: f64::from(n), packets: 9, ..Second::default() });
        Report::new(&plan, joined.collect(), outcome, timeline.collect())
    }

    #[test]
    fn totals_are_the_sums_of_the_rows_and_failures_are_counted_by_reason() {
        let report = example_report();
        assert_eq!((report.joined, report.participants), (6, 7));
        let rows: Vec<_> = report.tracks.iter().map(|row| (row.packets, row.received)).collect();
        assert_eq!(rows, [(40, 2), (20, 1)]);
        let total = &report.total;
        assert_eq!((total.packets, total.lost, total.received, total.expected), (60, 3, 3, 15));
        assert_eq!((total.out_of_order, total.duplicates, total.recovered), (6, 9, 12));
        assert!((report.tracks[0].bitrate - 20_000.0).abs() < 1.0, "{:?}", report.tracks[0]);
        assert_eq!(report.failures[0].count, 1);
        assert!(report.failures[0].reason.contains("15 s"));
        let table = report.table();
        assert!(table.contains("TR_a") && table.contains("2/3"), "{table}");
        assert!(table.contains("joined            6 of 7"), "{table}");
        // No participant of the example has connected.
        assert!(table.contains("connected ms      – (of 0)"), "{table}");
    }
}
