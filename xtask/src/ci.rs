//! The checks that must pass before a change goes in, in the order in which they fail soonest.

use std::process::Command;

use crate::{say, tidy, tree};

/// One cargo run: what to call it, its arguments, and an environment variable it needs.
struct Step {
    name: &'static str,
    args: &'static [&'static str],
    env: Option<(&'static str, &'static str)>,
}

const STEPS: &[Step] = &[
    Step { name: "format", args: &["fmt", "--all", "--check"], env: None },
    Step {
        name: "clippy",
        args: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        env: None,
    },
    Step { name: "tests", args: &["test", "--workspace", "--locked", "--no-fail-fast"], env: None },
    Step {
        name: "documentation",
        args: &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
            "--keep-going",
        ],
        env: Some(("RUSTDOCFLAGS", "-D warnings")),
    },
];

/// Runs tidy, then every step; stops at the first that fails and names it.
pub(crate) fn run() -> Result<(), String> {
    say("== tidy");
    tidy::run()?;
    STEPS.iter().try_for_each(step)
}

fn step(step: &Step) -> Result<(), String> {
    say(&format!("== {}: cargo {}", step.name, step.args.join(" ")));
    let mut command = cargo();
    command.args(step.args).envs(step.env);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("== {} failed", step.name)),
        Err(error) => Err(format!("== {} could not start: {error}", step.name)),
    }
}

fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(tree::root());
    command
}
