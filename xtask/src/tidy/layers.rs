//! Dependencies point downwards, and only the runtime knows that an operating system exists.
//!
//! The table is the one in ARCHITECTURE.md: a crate's layer, and in "(uses …)" what it may use of its own layer.

use std::collections::BTreeMap;

use crate::tree::{Package, Tree};

/// Crates that bring sockets, clocks, threads or an executor.
const IO_CRATES: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "libc",
    "nix",
    "rustix",
    "hyper",
    "axum",
    "quinn",
    "redis",
    "rand",
    "async-io",
    "smol",
    "polling",
    "windows-sys",
];

/// The first layer that may use [`IO_CRATES`].
const FIRST_IO_LAYER: u8 = 3;

/// Written "–" in the table: for development. It may use every crate, and no crate may ship with it.
const DEV: u8 = u8::MAX;

/// Where a crate stands.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    layer: u8,
    /// Crates of the same layer that it may use.
    beside: Vec<String>,
}

/// Every dependency of every crate against the table.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md is missing: it holds the table of layers".to_owned()];
    };
    let table = parse(text);
    tree.packages.iter().flat_map(|package| findings(package, &table)).collect()
}

fn findings(package: &Package, table: &BTreeMap<String, Place>) -> Vec<String> {
    let name = &package.name;
    let Some(place) = table.get(name) else {
        return vec![format!("ARCHITECTURE.md: the table of crates lacks `{name}`")];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        if place.layer < FIRST_IO_LAYER && IO_CRATES.contains(&dependency.as_str()) {
            findings.push(format!(
                "crates/{name}: layer {} is sans-IO and must not use {dependency}",
                place.layer
            ));
        }
        let Some(below) = table.get(dependency) else { continue };
        let allowed = below.layer < place.layer
            || (below.layer == place.layer && place.beside.contains(dependency))
            || place.layer == DEV;
        if allowed {
            continue;
        }
        findings.push(match below.layer {
            DEV => format!("crates/{name}: {dependency} is for development only"),
            layer => format!(
                "crates/{name}: layer {} must not use {dependency} of layer {layer}",
                place.layer
            ),
        });
    }
    findings
}

/// Rows of the form ``| 2 | `shard` | the media core (uses `peer`, `media`) |``.
fn parse(text: &str) -> BTreeMap<String, Place> {
    let mut table = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", layer, name, what @ ..] = cells.as_slice() else { continue };
        let layer = if *layer == "–" { Ok(DEV) } else { layer.parse() };
        let (Ok(layer), Some(name)) = (layer, quoted(name).next()) else { continue };
        let uses = what.iter().find_map(|cell| cell.split("(uses").nth(1));
        let uses = uses.and_then(|uses| uses.split(')').next()).unwrap_or_default();
        let beside = quoted(uses).map(str::to_owned).collect();
        table.insert(name.to_owned(), Place { layer, beside });
    }
    table
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| 0 | `units` | words |\n| 2 | `plane` | commands |\n\
        | 2 | `shard` | the core (uses `plane`, `peer`) |\n| 3 | `net` | sockets |\n\
        | – | `testkit` | for tests |\n";

    #[test]
    fn a_dependency_upwards_beside_or_on_the_system_is_found() {
        check("units", &[], &[]);
        check("shard", &["units", "plane", "bytes"], &[]);
        check("net", &["shard", "libc"], &[]);
        check("units", &["plane"], &["crates/units: layer 0 must not use plane of layer 2"]);
        check("plane", &["shard"], &["crates/plane: layer 2 must not use shard of layer 2"]);
        check("shard", &["tokio"], &["crates/shard: layer 2 is sans-IO and must not use tokio"]);
        check("testkit", &["net", "testkit", "tokio"], &[]);
        check("net", &["testkit"], &["crates/net: testkit is for development only"]);
        check("cluster", &[], &["ARCHITECTURE.md: the table of crates lacks `cluster`"]);
    }

    fn check(name: &str, dependencies: &[&str], expected: &[&str]) {
        let dependencies = dependencies.iter().map(|&name| name.to_owned()).collect();
        let package = Package { name: name.to_owned(), dependencies, unversioned: Vec::new() };
        assert_eq!(findings(&package, &parse(TABLE)), expected, "{name}");
    }
}
