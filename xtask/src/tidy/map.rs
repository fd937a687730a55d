//! ARCHITECTURE.md names things that exist.

use crate::tree::Tree;

/// Every crate is named; every path and every `crate::item` in backticks exists.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.text("ARCHITECTURE.md") else { return Vec::new() };
    let spans: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let mut findings = Vec::new();
    for package in &tree.packages {
        if !spans.contains(&package.name.as_str()) {
            findings.push(format!("ARCHITECTURE.md does not name `{}`", package.name));
        }
    }
    let gone = spans.iter().filter(|span| !exists(span, tree));
    findings.extend(gone.map(|span| format!("ARCHITECTURE.md names `{span}`: it is not there")));
    findings
}

/// False only for what is certainly a reference into this repository, and is not there.
fn exists(span: &str, tree: &Tree) -> bool {
    if let Some((name, item)) = span.split_once("::") {
        let ours = tree.packages.iter().any(|package| package.name == name);
        return !ours || items(item).all(|item| mentioned(name, item, tree));
    }
    let top = span.split('/').next().unwrap_or_default();
    let is_path =
        span.contains('/') && ["crates", "web", "e2e", "docs", "fuzz", "xtask"].contains(&top);
    let wanted = span.trim_end_matches('/');
    let starts = |path: &str| {
        path.strip_prefix(wanted).is_some_and(|rest| matches!(rest.get(..1), None | Some("/" | "")))
    };
    !is_path || tree.files.iter().any(|file| starts(&file.path))
}

/// `Command` and `Event` of `plane::{Command, Event}`; `Room` and `handle_join` of `room::Room::handle_join`.
fn items(item: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| !c.is_alphanumeric() && c != '_';
    item.split(word).filter(|item| !item.is_empty())
}

/// Whether a crate's code has a file or a word of this name.
fn mentioned(package: &str, item: &str, tree: &Tree) -> bool {
    let folder = format!("crates/{package}/src/");
    let file = format!("{folder}{item}");
    tree.files.iter().filter(|source| source.path.starts_with(&folder)).any(|source| {
        source.path.starts_with(&file) || items(&source.text).any(|word| word == item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Package, SourceFile};

    #[test]
    fn what_the_map_names_is_looked_up() {
        let tree = tree("`plane` `plane::{Command, Event}` `web/` `crates/plane/src` `a/b`");
        assert_eq!(check(&tree), ["ARCHITECTURE.md names `web/`: it is not there"]);
        let tree = self::tree("`plane::Packet` `std::mem`");
        assert_eq!(
            check(&tree),
            [
                "ARCHITECTURE.md does not name `plane`",
                "ARCHITECTURE.md names `plane::Packet`: it is not there"
            ]
        );
    }

    fn tree(map: &str) -> Tree {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        Tree {
            packages: vec![Package {
                name: "plane".into(),
                dependencies: Vec::new(),
                unversioned: Vec::new(),
            }],
            libraries: Vec::new(),
            files: vec![
                file("ARCHITECTURE.md", map),
                file("crates/plane/src/lib.rs", "pub enum Command {}\npub enum Event {}"),
            ],
        }
    }
}
