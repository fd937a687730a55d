//! Words that do not belong in the repository: one machine's paths, tests that do not run, tests that wait for time.

use crate::tree::{SourceFile, Tree};

/// Folders of one machine. In two pieces, so that this file does not contain what it looks for.
const PATHS: &[&str] =
    &[concat!("/wo", "rk"), concat!("/tm", "p"), concat!("/ro", "ot"), concat!("/ho", "me")];

/// Waiting for time instead of for the event.
const SLEEPS: &[&str] =
    &[concat!("sle", "ep("), concat!("waitFor", "Timeout("), concat!("set", "Timeout(")];

/// The one function that may wait between two looks at something: it polls a condition against a deadline.
const WAITS: &str = "eventually";

/// Tests that are there and do not run.
const SKIPS: &[&str] =
    &[concat!("#[ign", "ore"), concat!("test.sk", "ip("), concat!("test.to", "do(")];

/// Every text file of the repository.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    tree.files.iter().flat_map(findings).collect()
}

fn findings(file: &SourceFile) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let found = PATHS.iter().find(|path| names_folder(line, path));
        findings
            .extend(found.map(|path| at(file, number, &format!("a path of one machine: {path}"))));
    }
    let end_to_end = file.path.starts_with("e2e/");
    let tests = if end_to_end { &file.text } else { file.tests() };
    let before = file.text.lines().count() - tests.lines().count();
    let mut function = "";
    for (number, line) in tests.lines().enumerate() {
        function = starts_function(line).unwrap_or(function);
        let waits = SLEEPS.iter().any(|sleep| calls(line, sleep)) && function != WAITS;
        let skips = SKIPS.iter().any(|skip| line.contains(skip));
        findings.extend(waits.then(|| at(file, before + number, "a test waits for time")));
        findings.extend(skips.then(|| at(file, before + number, "a test that does not run")));
    }
    findings
}

fn at(file: &SourceFile, number: usize, what: &str) -> String {
    format!("{}:{}: {what}", file.path, number + 1)
}

/// Whether an absolute path on this line starts with `folder`.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + folder.len()..).and_then(|text| text.chars().next());
        let inside = |c: char| c.is_alphanumeric() || "._-~})>/*".contains(c);
        !before.is_some_and(inside) && after == Some('/')
    })
}

/// The name of the function, in any language, that starts on this line.
fn starts_function(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.find(|word| ["fn", "function", "def"].contains(word))?;
    words.find(|word| !word.is_empty())
}

/// Whether `function` is called on this line; a longer name that ends the same does not count.
fn calls(line: &str, function: &str) -> bool {
    line.match_indices(function).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found_and_other_paths_are_not() {
        for line in ["see X/a", "open(\"X/a\")", "a:X/b"] {
            for folder in PATHS {
                let line = line.replace('X', folder);
                assert_eq!(findings(&file("README.md", &line)).len(), 1, "{line}");
            }
        }
        for line in ["netX/a", "../X/a", "Xspace/a", "https://host/X/a", "${HOME}X/a"] {
            let line = line.replace('X', PATHS[0]);
            assert_eq!(findings(&file("README.md", &line)), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_test_that_sleeps_or_is_skipped_is_found_where_it_stands() {
        let sleep =
            format!("//! Doc.\nfn f() {{}}\n#[cfg(test)]\nmod tests {{\n  {}1);\n}}", SLEEPS[0]);
        let expected = ["crates/a/src/b.rs:5: a test waits for time"];
        assert_eq!(findings(&file("crates/a/src/b.rs", &sleep)), expected);
        let code = format!("//! Doc.\n{}1)", SLEEPS[0]);
        assert_eq!(findings(&file("crates/a/src/b.rs", &code)), [""; 0]);
        let skipped = format!("//! Doc.\n{}]", SKIPS[0]);
        let expected = ["crates/a/tests/b.rs:2: a test that does not run"];
        assert_eq!(findings(&file("crates/a/tests/b.rs", &skipped)), expected);
        let page = format!("{}f, 10)", SLEEPS[2]);
        assert_eq!(findings(&file("e2e/a.js", &page)), ["e2e/a.js:1: a test waits for time"]);
        let polls = format!("async function {WAITS}(done) {{\n{}f, 10)", SLEEPS[2]);
        assert_eq!(findings(&file("e2e/a.js", &polls)), [""; 0]);
    }

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }
}
