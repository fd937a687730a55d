//! A report as one page that needs nothing else: figures, and plots over time.
//!
//! * **Owns:** nothing.
//! * **In:** a [`Report`].
//! * **Out:** HTML with inline SVG; no scripts, no addresses.
//! * **Invariant:** whatever a server named its rooms or errors is text, never markup.

use std::fmt::{self, Write};

use super::report::{Report, TrackRow};
use crate::thread::Second;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;
/// Left of the plot, for its labels.
const MARGIN: f64 = 70.0;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;\
text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}\
svg{width:100%;height:auto}text{font-size:12px;fill:#555}.a{stroke:#c2410c}.b{stroke:#0369a1}\
.c{stroke:#65a30d}path{fill:none;stroke-width:1.5}.grid{stroke:#e5e5e5}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#18181b}td,th{border-color:#3f3f46}\
text{fill:#a1a1aa}.grid{stroke:#3f3f46}}";

/// One line of a plot.
type Line<'a> = (&'a str, &'a str, fn(&Second) -> f64);

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_html(&mut page);
        page
    }

    fn write_html(&self, out: &mut String) -> fmt::Result {
        let room = escaped(&self.room);
        write!(
            out,
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content='width=device-width'><title>Load test of {room}</title>\
             <style>{STYLE}</style><h1>Load test</h1><p>Server {}, room {room}: {} of {} participants joined.</p>",
            escaped(&self.url),
            self.joined,
            self.participants
        )?;
        for failure in &self.failures {
            write!(out, "<p><b>{} ×</b> {}</p>", failure.count, escaped(&failure.reason))?;
        }
        out.write_str("<table><tr><th>milliseconds<th>count<th>p50<th>p95<th>p99<th>max</tr>")?;
        for (name, times) in [
            ("Join response", &self.join),
            ("Connected", &self.connected),
            ("First media", &self.first_media),
            ("Media latency", &self.total.latency),
            ("Data latency", &self.data_latency),
        ] {
            write!(
                out,
                "<tr><td>{name}<td>{}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}</tr>",
                times.count, times.p50, times.p95, times.p99, times.max
            )?;
        }
        out.write_str("</table>")?;
        self.plot(
            out,
            "Latency, ms",
            &[
                ("median", "a", |second| second.latency_ms[0]),
                ("95 %", "b", |second| second.latency_ms[1]),
                ("largest", "c", |second| second.latency_ms[2]),
            ],
        )?;
        self.plot(out, "Received, Mbit/s", &[("all", "b", |second| second.bits as f64 / 1e6)])?;
        self.plot(out, "Missing packets", &[("all", "a", |second| second.lost as f64)])?;
        self.plot(
            out,
            "Connected participants",
            &[("all", "c", |second| second.connected as f64)],
        )?;
        out.write_str(
            "<h2>Tracks</h2><table><tr><th>track<th>kind<th>subscribers<th>kbit/s<th>packets<th>lost\
             <th>repaired<th>p50 ms<th>p99 ms</tr>",
        )?;
        for row in self.tracks.iter().chain([&self.total]) {
            let TrackRow { kind, received, expected, packets, lost, recovered, latency, .. } = row;
            write!(
                out,
                "<tr><td>{}<td>{kind}<td>{received}/{expected}<td>{:.0}<td>{packets}<td>{lost}\
                 <td>{recovered}<td>{:.1}<td>{:.1}</tr>",
                escaped(&row.track),
                row.bitrate / 1e3,
                latency.p50,
                latency.p99
            )?;
        }
        out.write_str("</table></html>")
    }

    fn plot(&self, out: &mut String, title: &str, lines: &[Line<'_>]) -> fmt::Result {
        let values = |read: fn(&Second) -> f64| self.timeline.iter().map(read);
        let top = lines.iter().flat_map(|line| values(line.2)).fold(0.0, f64::max).max(1e-9);
        let end = self.timeline.last().map_or(1.0, |second| second.at.max(1e-9));
        let x = |at: f64| MARGIN + at / end * (WIDTH - MARGIN);
        let y = |value: f64| HEIGHT - value / top * (HEIGHT - 20.0);
        write!(out, "<h2>{title}</h2><svg viewBox='0 0 {WIDTH} {}'>", HEIGHT + 24.0)?;
        for part in [0.0, 0.5, 1.0] {
            let at = y(top * part);
            write!(
                out,
                "<path class=grid d='M{MARGIN} {at:.1}H{WIDTH}'/><text x=0 y={at:.1}>{:.1}</text>",
                top * part
            )?;
        }
        for (n, (name, class, read)) in (0..).zip(lines) {
            let mut path = String::new();
            for (command, second) in
                std::iter::once('M').chain(std::iter::repeat('L')).zip(&self.timeline)
            {
                write!(path, "{command}{:.1} {:.1}", x(second.at), y(read(second)))?;
            }
            write!(out, "<path class={class} d='{path}'/>")?;
            let at = MARGIN + 20.0 + 90.0 * f64::from(n);
            write!(
                out,
                "<path class={class} d='M{at} {0}h20'/><text x={1} y={2}>{name}</text>",
                HEIGHT + 15.0,
                at + 26.0,
                HEIGHT + 19.0
            )?;
        }
        write!(out, "<text x={} y={}>{end:.0} s</text></svg>", WIDTH - 40.0, HEIGHT + 19.0)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use crate::load::report::tests::example_report;

    #[test]
    fn the_page_holds_the_figures_and_nothing_from_elsewhere() {
        let mut report = example_report();
        report.room = "<script>x</script>".into();
        let page = report.html();
        assert!(page.contains("6 of 7 participants joined"), "{page}");
        assert!(page.contains("TR_a") && page.contains("<svg"));
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
        report.timeline.clear();
        assert!(report.html().ends_with("</html>"));
    }
}
