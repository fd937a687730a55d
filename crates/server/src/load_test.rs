//! `hearth load-test` and `hearth room join`.
//!
//! * **Owns:** the progress line on the terminal.
//! * **In:** arguments.
//! * **Out:** a report on standard output, and in files where they are asked for; of a demo
//!   publisher nothing but why it failed.
//! * **Invariant:** Ctrl-C ends a test early and loses nothing of its report.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use hearth_client::load::{self, Audience, DataPlan, Second, VideoPlan};
use hearth_client::{Layout, Plan, Report};

use crate::cli::{JoinArgs, LayoutArg, LoadTestArgs, ResolutionArg, ServerArgs};
use crate::config::DEV_KEY;
use crate::{print_line, token};

/// Runs a test and prints its report.
pub(crate) fn run(args: &LoadTestArgs) -> Result<(), String> {
    let plan = plan(args)?;
    plan.check().map_err(|error| error.to_string())?;
    if plan.participants() == plan.subscribers {
        print_line(
            "Nobody publishes, so nothing is measured but joins; add --video-publishers 1 or the like.",
        );
    }
    for file in [&args.json, &args.html].into_iter().flatten() {
        // Better now than after the test; what is there stays until then.
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    let (count, room) = (plan.participants(), &plan.room);
    print_line(&format!("{count} participants, room {room}, {}. Ctrl-C ends it.", plan.url));
    let report = carry_out(plan)?;
    print_line(&format!("\n{}", report.table()));
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        write(file, &json)?;
    }
    if let Some(file) = &args.html {
        write(file, &report.html())?;
    }
    if report.failures.is_empty() {
        return Ok(());
    }
    let failed: usize = report.failures.iter().map(|failure| failure.count).sum();
    Err(format!("{failed} participants could not join or did not stay (see above)"))
}

/// Takes part in a room until Ctrl-C.
pub(crate) fn join(args: &JoinArgs) -> Result<(), String> {
    let (api_key, api_secret) = keys(&args.server)?;
    let plan = Plan {
        url: args.server.url.clone(),
        api_key,
        api_secret,
        room: args.room.clone(),
        video_publishers: usize::from(args.publish_demo),
        audio_publishers: usize::from(args.publish_demo),
        data_publishers: 0,
        subscribers: usize::from(!args.publish_demo),
        video: VideoPlan { codec: args.video_codec, height: 720, simulcast: true },
        data: DataPlan { rate: 1, size: 20, reliable: false },
        audience: Audience::default(),
        joins_per_second: 10.0,
        duration: None,
        simulate_speakers: false,
        stamped: false,
        identity_prefix: args.identity.clone(),
    };
    let (identity, room) = (&args.identity, &args.room);
    let what = if args.publish_demo { "publish a picture and a voice" } else { "receive" };
    print_line(&format!(
        "{identity} joins room {room} at {} to {what}. Ctrl-C ends it.",
        args.server.url
    ));
    let report = carry_out(plan)?;
    if !args.publish_demo {
        print_line(&format!("\n{}", report.table()));
    }
    match report.failures.first() {
        Some(failure) => Err(failure.reason.clone()),
        None => Ok(()),
    }
}

fn plan(args: &LoadTestArgs) -> Result<Plan, String> {
    let (api_key, api_secret) = keys(&args.server)?;
    let room = match &args.room {
        Some(room) => room.clone(),
        None => format!("load-{}", token::base62(8).map_err(|error| error.to_string())?),
    };
    Ok(Plan {
        url: args.server.url.clone(),
        api_key,
        api_secret,
        room,
        video_publishers: args.video_publishers,
        audio_publishers: args.audio_publishers,
        data_publishers: args.data_publishers,
        subscribers: args.subscribers,
        video: VideoPlan {
            codec: args.video_codec,
            height: match args.video_resolution {
                ResolutionArg::High => 720,
                ResolutionArg::Medium => 360,
                ResolutionArg::Low => 180,
            },
            simulcast: !args.no_simulcast,
        },
        data: DataPlan {
            rate: args.data_rate,
            size: args.data_packet_bytes,
            reliable: args.data_reliable,
        },
        audience: Audience {
            layout: match args.layout {
                LayoutArg::Speaker => Layout::Speaker,
                LayoutArg::Grid3x3 => Layout::Grid3x3,
                LayoutArg::Grid4x4 => Layout::Grid4x4,
                LayoutArg::Grid5x5 => Layout::Grid5x5,
            },
            ..Audience::default()
        },
        joins_per_second: args.num_per_second,
        duration: args.duration,
        simulate_speakers: args.simulate_speakers,
        stamped: true,
        identity_prefix: "tester".to_owned(),
    })
}

fn keys(server: &ServerArgs) -> Result<(String, String), String> {
    match (&server.api_key, &server.api_secret) {
        _ if server.dev => Ok((DEV_KEY.0.to_owned(), DEV_KEY.1.to_owned())),
        (Some(key), Some(secret)) => Ok((key.clone(), secret.clone())),
        _ => Err("no keys: add --dev for a server started with --dev, else --api-key and \
                  --api-secret (or LIVEKIT_API_KEY and LIVEKIT_API_SECRET)"
            .to_owned()),
    }
}

fn carry_out(plan: Plan) -> Result<Report, String> {
    // Fails only the second time, and then changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let stop = async {
        // Without signals the test ends by its duration only.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let report = runtime.block_on(load::run(plan, |second| show(second, terminal), stop));
    if terminal {
        let _ = writeln!(std::io::stderr());
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    report.map_err(|error| error.to_string())
}

/// One line, which the next one replaces.
fn show(second: &Second, terminal: bool) {
    if !terminal {
        return;
    }
    let Second { at, connected, packets, bits, lost, latency_ms: [median, p95, max] } = second;
    let mbps = *bits as f64 / 1e6;
    // Without standard error nothing can be reported.
    let _ = write!(
        std::io::stderr(),
        "\r{at:5.0} s  {connected} connected  {packets} packets/s  {mbps:.1} Mbps  {lost} missing  \
         latency ms {median:.1} / {p95:.1} / {max:.1}   "
    );
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
