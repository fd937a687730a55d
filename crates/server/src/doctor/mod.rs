//! `hearth doctor`: whether clients can connect, and what to change if not.
//!
//! * **Owns:** the order of a run: configuration, facts, checks, report.
//! * **In:** the command line of the server, and whom to ask.
//! * **Out:** findings for people or as JSON; an exit code. The server says the local ones when it starts.
//! * **Invariant:** it changes nothing on the machine, and says what it could not check.

mod certificate;
mod checks;
mod exchange;
mod facts;
mod finding;
mod gather;
mod listener;
mod owner;
mod reflection;

use std::process::ExitCode;
use std::time::Duration;

use hearth_runtime::WallClock;
use tokio::time::timeout;
use tracing::warn;

use crate::cli::DoctorArgs;
use crate::config::{Config, Document};
use crate::{print_line, serve};
use finding::{Finding, Verdict, is_sound, report};
use gather::Request;

/// Nothing takes longer; what did is reported as not checked.
const DEADLINE: Duration = Duration::from_secs(8);
/// Exit codes: there are problems; it could not run.
const PROBLEMS: u8 = 1;
const COULD_NOT_RUN: u8 = 2;

/// Runs all checks and prints what they found.
pub(crate) fn run(args: DoctorArgs) -> ExitCode {
    let started = WallClock::now();
    let DoctorArgs { serve, json, from, time_server } = args;
    let findings = match serve::load(serve) {
        Ok((config, document)) => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    print_line(&format!("cannot run: {error}"));
                    return ExitCode::from(COULD_NOT_RUN);
                }
            };
            let request = Request { from, time_server };
            let findings = runtime
                .block_on(async { timeout(DEADLINE, check(&config, &document, &request)).await });
            // Name servers that do not answer have no deadline of their own.
            runtime.shutdown_background();
            findings.unwrap_or_else(|_| {
                vec![Finding::unchecked("doctor", "the checks did not end in time")]
            })
        }
        Err(error) => vec![Finding::problem(
            "settings",
            error.to_string(),
            "the other checks need this first",
        )],
    };
    let took = WallClock::now().saturating_duration_since(started).as_millis();
    if json {
        print_line(&format!("{:#}", report(&findings, took)));
    } else {
        print_findings(&findings, took);
    }
    if is_sound(&findings) { ExitCode::SUCCESS } else { ExitCode::from(PROBLEMS) }
}

async fn check(config: &Config, document: &Document, request: &Request) -> Vec<Finding> {
    let facts = gather::all(config, document, request).await;
    let mut findings = vec![Finding::sound("settings", "the configuration loads")];
    findings.extend(checks::all(&facts));
    findings
}

fn print_findings(findings: &[Finding], took: u128) {
    for finding in findings {
        print_line(&finding.line());
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
    let open = count(Verdict::Unchecked);
    print_line(&format!(
        "\n{problems} problems, {warnings} warnings, {open} not checked ({took} ms)"
    ));
}

/// What the server says about itself when it starts: beside it, and nothing if all is well.
pub(crate) fn at_start(config: &Config, document: &Document) {
    let facts = gather::local(config, document);
    let findings = checks::at_start(&facts);
    for finding in findings.iter().filter(|finding| finding.verdict >= Verdict::Warning) {
        warn!(check = finding.check, "{}", finding.sentence());
    }
}
