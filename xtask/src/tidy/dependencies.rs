//! Dependencies: one version of each crate, from one registry, under licences that ours allows.
//!
//! Advisories are not checked: their database is beyond what a build may need.

use std::collections::{BTreeMap, BTreeSet};

use super::allow::Allowed;
use crate::tree::{Library, Package, Tree};

/// Licences that permit what the Apache License 2.0 does.
const LICENCES: &[&str] = &["Apache-2.0", "MIT", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib"];

/// Who may use `serde_json`: JSON exists at the edge only.
const JSON_USERS: &[&str] = &["access", "http", "server", "signal", "xtask"];

/// Libraries that must not come in, and what is used instead.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "aws-lc-rs, and ring for AES-GCM"),
    ("openssl-sys", "aws-lc-rs, and ring for AES-GCM"),
    ("native-tls", "rustls"),
];

/// Every library of the lock and of the graph.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut allowed = Allowed::read(tree, "versions");
    let mut findings: Vec<String> = tree.libraries.iter().filter_map(licence).collect();
    findings.extend(tree.packages.iter().flat_map(manifest));
    findings.extend(locked(tree.text("Cargo.lock").unwrap_or_default(), &mut allowed));
    findings.extend(allowed.leftovers());
    findings
}

fn licence(library: &Library) -> Option<String> {
    let Library { name, licence } = library;
    (!permits(licence)).then(|| format!("{name}: licence {licence:?} is not among {LICENCES:?}"))
}

fn manifest(package: &Package) -> Vec<String> {
    let name = &package.name;
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        if dependency == "serde_json" && !JSON_USERS.contains(&name.as_str()) {
            findings.push(format!("{name}: JSON exists at the edge only ({JSON_USERS:?})"));
        }
    }
    let any = package.unversioned.iter();
    findings.extend(any.map(|one| format!("{name}: {one} is wanted in any version")));
    findings
}

/// Versions, sources and names in the lock, which is for all platforms.
fn locked(lock: &str, allowed: &mut Allowed) -> Vec<String> {
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sources = BTreeSet::new();
    for line in lock.lines() {
        if let Some(name) = value(line, "name") {
            *versions.entry(name).or_default() += 1;
        }
        sources.extend(value(line, "source"));
    }
    let mut findings = Vec::new();
    for (name, count) in &versions {
        findings.extend(allowed.judge(name, *count, 1, "versions"));
    }
    for (name, instead) in BANNED.iter().filter(|(name, _)| versions.contains_key(name)) {
        findings.push(format!("{name} must not come in: {instead}"));
    }
    if sources.len() > 1 || sources.iter().any(|source| !source.starts_with("registry+")) {
        findings.push(format!("Cargo.lock: libraries come from one registry, not {sources:?}"));
    }
    findings
}

/// `base64` of `name = "base64"`.
fn value<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

/// Whether an SPDX expression can be met with [`LICENCES`] alone. `/` is the old form of `OR`; an exception only permits more.
fn permits(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> bool {
    let mut any = both(rest);
    while taken(rest, "OR") {
        any |= both(rest);
    }
    any
}

fn both(rest: &mut &[&str]) -> bool {
    let mut all = one(rest);
    while taken(rest, "AND") {
        all &= one(rest);
    }
    all
}

fn one(rest: &mut &[&str]) -> bool {
    if taken(rest, "(") {
        let inner = either(rest);
        return taken(rest, ")") && inner;
    }
    let Some((name, after)) = rest.split_first() else { return false };
    *rest = after;
    if taken(rest, "WITH") {
        *rest = rest.get(1..).unwrap_or_default();
    }
    LICENCES.contains(name)
}

fn taken(rest: &mut &[&str], word: &str) -> bool {
    let is_next = rest.first() == Some(&word);
    if is_next {
        *rest = rest.get(1..).unwrap_or_default();
    }
    is_next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_met_by_what_is_allowed() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("Unlicense/MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("ISC AND (Apache-2.0 OR ISC) AND BSD-3-Clause", true),
            ("ISC AND (GPL-3.0-only OR OpenSSL)", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", true),
            ("MIT AND GPL-3.0-only OR ISC", true),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(permits(expression), expected, "{expression}");
        }
    }

    #[test]
    fn second_versions_second_sources_and_banned_names_are_found() {
        let registry = "source = \"registry+https://index\"\n";
        check("name = \"a\"\nsource = \"registry+https://index\"\n", &[]);
        check("name = \"a\"\nname = \"b\"\nname = \"a\"\n", &["a: 2 versions, more than 1"]);
        check(
            &format!("{registry}name = \"openssl\"\n"),
            &["openssl must not come in: aws-lc-rs, and ring for AES-GCM"],
        );
        check(
            &format!("{registry}source = \"git+https://host/x\"\n"),
            &[
                "Cargo.lock: libraries come from one registry, not {\"git+https://host/x\", \"registry+https://index\"}",
            ],
        );
    }

    #[test]
    fn json_in_the_middle_and_any_version_are_found() {
        let package = |name: &str, unversioned: &[&str]| Package {
            name: name.to_owned(),
            dependencies: vec!["serde_json".to_owned()],
            unversioned: unversioned.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(manifest(&package("http", &[])), [""; 0]);
        let findings = manifest(&package("room", &["bytes"]));
        assert!(findings[0].starts_with("room: JSON exists at the edge only"), "{findings:?}");
        assert_eq!(findings[1..], ["room: bytes is wanted in any version"]);
    }

    fn check(lock: &str, expected: &[&str]) {
        assert_eq!(locked(lock, &mut Allowed::default()), expected, "{lock}");
    }
}
