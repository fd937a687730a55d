//! Instructions per packet, counted by callgrind and held against a committed figure: a machine's
//! speed does not matter.
//!
//! * **In:** the bench `instructions` of `hearth-shard`, `crates/shard/benches/instructions.baseline`.
//! * **Out:** an error if a packet takes noticeably more instructions than the baseline says.
//! * **Invariant:** without valgrind nothing is measured, and that is said.

use std::path::PathBuf;
use std::process::Command;

use crate::{say, tree};

const BASELINE: &str = "crates/shard/benches/instructions.baseline";
/// Compilers and crypto libraries choose other instructions on other processors.
const TOLERANCE: f64 = 0.05;

/// Measures and compares; `--update` writes the baseline instead.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let update = match args {
        [] => false,
        ["--update"] => true,
        _ => return Err("usage: cargo xtask gate [--update]".to_owned()),
    };
    if Command::new("valgrind").arg("--version").output().is_err() {
        say("gate: valgrind is not installed; instructions are not counted");
        return Ok(());
    }
    let measured = measure(&build()?)?;
    let path = tree::root().join(BASELINE);
    if update {
        let text = format!("{measured:.0}\n");
        return std::fs::write(&path, text).map_err(|error| format!("{BASELINE}: {error}"));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{BASELINE}: {error}"))?;
    let baseline: f64 =
        text.trim().parse().map_err(|_| format!("{BASELINE} does not hold a number"))?;
    verdict(measured, baseline).map(|line| say(&line))
}

fn verdict(measured: f64, baseline: f64) -> Result<String, String> {
    let change = measured / baseline - 1.0;
    let line = format!(
        "gate: {measured:.0} instructions for each packet and subscriber, baseline {baseline:.0} ({:+.1} %)",
        change * 100.0
    );
    if change > TOLERANCE {
        return Err(format!(
            "{line}\nIf that is the price of something, accept it: cargo xtask gate --update"
        ));
    }
    Ok(line)
}

/// Builds the bench, and finds it.
fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(tree::root())
        .args(["bench", "--locked", "--no-run", "-p", "hearth-shard", "--bench", "instructions"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back();
    executable.ok_or_else(|| "the bench did not build".to_owned())
}

/// Instructions for each packet and subscriber.
fn measure(bench: &PathBuf) -> Result<f64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured_packets*"])
        .arg(bench)
        .output()
        .map_err(|error| format!("valgrind did not start: {error}"))?;
    let (out, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let instructions = number_after(&log, "Collected :");
    let forwarded = number_after(&out, "forwarded");
    match (instructions, forwarded) {
        (Some(instructions), Some(forwarded)) if instructions > 0.0 && forwarded > 0.0 => {
            Ok(instructions / forwarded)
        }
        _ => Err(format!("nothing was counted:\n{out}{log}")),
    }
}

fn number_after(text: &str, label: &str) -> Option<f64> {
    let (_, rest) = text.split_once(label)?;
    rest.split_whitespace().next()?.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_instructions_than_the_tolerance_fail_and_fewer_do_not() {
        assert!(verdict(1_040.0, 1_000.0).is_ok());
        assert!(verdict(500.0, 1_000.0).is_ok());
        assert!(verdict(1_060.0, 1_000.0).unwrap_err().contains("+6.0 %"));
    }

    #[test]
    fn figures_are_found_in_what_the_programs_print() {
        assert_eq!(number_after("==1== Collected : 4821,000 x", "Collected :"), Some(4_821_000.0));
        assert_eq!(number_after("forwarded 1600\n", "forwarded"), Some(1_600.0));
        assert_eq!(number_after("", "forwarded"), None);
    }
}
