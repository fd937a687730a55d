//! Rules of ARCHITECTURE.md that a program can check.
//!
//! Each module is one group of rules: a function from the tree to findings, and tests that show it finding something.

use crate::say;
use crate::tree::Tree;

mod allow;
mod dependencies;
mod layers;
mod map;
mod sources;
mod types;
mod words;

/// Every group of rules.
const CHECKS: &[fn(&Tree) -> Vec<String>] =
    &[dependencies::check, layers::check, map::check, sources::check, types::check, words::check];

/// Prints every finding; an error if there was one.
pub(crate) fn run() -> Result<(), String> {
    let tree = Tree::read()?;
    let findings: Vec<String> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.iter().for_each(|finding| say(finding));
    match findings.len() {
        0 => {
            say(&format!("tidy: {} files, nothing to report", tree.files.len()));
            Ok(())
        }
        count => Err(format!("tidy: {count} to mend")),
    }
}
