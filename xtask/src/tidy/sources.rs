//! Files stay small and say what they own.

use crate::tree::{SourceFile, Tree};

/// Longest file, counted without its tests. Aim at 300.
const MAX_LINES: usize = 600;

/// A file with one of these has a state machine in it.
const MACHINE: &[&str] = &["fn poll_timeout(", "fn poll_output(", "fn poll_event("];

/// The parts of a state machine's header.
const HEADINGS: &[&str] = &["**Owns:**"];

/// Crates that may contain `unsafe`, each use with its own reason.
const UNSAFE: &[&str] = &["crates/net/", "crates/srtp/"];

/// Every Rust file of the workspace.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    tree.rust().flat_map(findings).collect()
}

fn findings(file: &SourceFile) -> Vec<String> {
    let (path, code) = (&file.path, file.code());
    let mut findings = Vec::new();
    let lines = code.lines().count();
    if lines > MAX_LINES {
        findings.push(format!("{path}: {lines} lines; find the second state machine in it"));
    }
    let header: String = code.lines().take_while(|line| line.starts_with("//!")).collect();
    if header.is_empty() {
        findings.push(format!("{path}: does not start with a `//!` header"));
    }
    // The definition of a machine stands at the start of a line; a mention in a string does not.
    let defines = |what: &&str| {
        let starts = |line: &str| {
            let line = line.trim_start();
            line.starts_with(what) || line.starts_with(&format!("pub {what}"))
        };
        code.lines().any(starts)
    };
    if MACHINE.iter().any(defines) {
        let lacking = HEADINGS.iter().filter(|heading| !header.contains(**heading));
        findings.extend(lacking.map(|heading| format!("{path}: header lacks {heading}")));
    }
    let may_be_unsafe = UNSAFE.iter().any(|folder| path.starts_with(folder)) || file.is_test();
    if !may_be_unsafe && code.contains(concat!("expect(", "unsafe_code")) {
        findings.push(format!("{path}: unsafe code belongs in crates/net"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_unnamed_and_ownerless_files_are_found() {
        let long = format!("//! Doc.\n{}", "x\n".repeat(600));
        let tested = format!("//! Doc.\n#[cfg(test)]\nmod tests {{\n{}}}", "x\n".repeat(600));
        check("//! Doc.\n", &[]);
        check(&long, &["a.rs: 601 lines; find the second state machine in it"]);
        check(&tested, &[]);
        check("use std;\n", &["a.rs: does not start with a `//!` header"]);
        check("//! Doc.\n  pub fn poll_output(&mut self)", &["a.rs: header lacks **Owns:**"]);
        check("//! **Owns:** it.\n  fn poll_timeout(&self)", &[]);
        let unsafe_code = concat!("//! Doc.\n#![expect(", "unsafe_code, reason = \"no\")]");
        check(unsafe_code, &["a.rs: unsafe code belongs in crates/net"]);
    }

    fn check(text: &str, expected: &[&str]) {
        let file = SourceFile { path: "a.rs".into(), text: text.into() };
        assert_eq!(findings(&file), expected, "{text:.40}");
    }
}
