//! Types stay small, however many files they are spread over.
//!
//! * **Owns:** the sums: lines of all `impl` blocks of a type in its crate, fields of a struct.
//! * **Not here:** the compiler's view. Code is read line by line as rustfmt writes it: a block ends at the first line of its indentation.

use std::collections::BTreeMap;

use super::allow::Allowed;
use crate::tree::{SourceFile, Tree};

/// Most lines of a type's `impl` blocks together. More are two owners.
const MAX_IMPL_LINES: usize = 600;

/// Most fields of a struct.
const MAX_FIELDS: usize = 15;

/// Every type of the workspace.
pub(super) fn check(tree: &Tree) -> Vec<String> {
    let types = Types::of(tree.rust().filter(|file| !file.is_test()));
    let mut lines = Allowed::read(tree, "impl-lines");
    let mut fields = Allowed::read(tree, "fields");
    let mut findings = Vec::new();
    for (name, count) in types.impl_lines() {
        findings.extend(lines.judge(&name, count, MAX_IMPL_LINES, "lines in its impl blocks"));
    }
    for (name, count) in types.fields() {
        findings.extend(fields.judge(&name, count, MAX_FIELDS, "fields"));
    }
    findings.extend(lines.leftovers());
    findings.extend(fields.leftovers());
    findings
}

/// A crate, the name of a type in it, and the file that defines it.
type Definition<'t> = (&'t str, &'t str, &'t str);

/// The sums over all files.
#[derive(Debug, Default)]
struct Types<'t> {
    /// Fields of each struct; 0 for other types.
    defined: BTreeMap<Definition<'t>, usize>,
    /// Lines of the `impl` blocks in each file, by the same three; the file is that of the block.
    implemented: BTreeMap<Definition<'t>, usize>,
}

impl<'t> Types<'t> {
    fn of(files: impl Iterator<Item = &'t SourceFile>) -> Self {
        let mut types = Self::default();
        files.for_each(|file| types.read(file));
        types
    }

    fn read(&mut self, file: &'t SourceFile) {
        let package = package(&file.path);
        let lines: Vec<&str> = file.code().lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let block = lines.get(at..).unwrap_or_default();
            if let Some(name) = defined_type(line) {
                let count = if line.ends_with('{') { fields_of(block) } else { 0 };
                self.defined.insert((package, name, &file.path), count);
            } else if let Some(name) = implemented_type(line) {
                *self.implemented.entry((package, name, &file.path)).or_default() += length(block);
            }
        }
    }

    /// Sums by type. Where several files of a crate define a type of one name, a block in one of them is that one's.
    fn impl_lines(&self) -> BTreeMap<String, usize> {
        let mut sums = BTreeMap::new();
        for (&key, lines) in &self.implemented {
            *sums.entry(self.name(key)).or_default() += lines;
        }
        sums
    }

    fn fields(&self) -> impl Iterator<Item = (String, usize)> {
        self.defined.iter().map(|(&key, &count)| (self.name(key), count))
    }

    fn name(&self, (package, name, path): Definition<'t>) -> String {
        let twins =
            self.defined.keys().filter(|(other, twin, _)| (*other, *twin) == (package, name));
        let here = self.defined.contains_key(&(package, name, path));
        if here && twins.count() > 1 {
            let file = path.rsplit_once("src/").map_or(path, |(_, file)| file);
            format!("{package}::{name} of {file}")
        } else {
            format!("{package}::{name}")
        }
    }
}

/// `room` of `crates/room/src/room.rs`, `xtask` of `xtask/src/main.rs`.
fn package(path: &str) -> &str {
    let path = path.strip_prefix("crates/").unwrap_or(path);
    path.split('/').next().unwrap_or(path)
}

/// The type that a definition on this line begins.
fn defined_type(line: &str) -> Option<&str> {
    let line = without_visibility(line.trim_start());
    let kinds = ["struct ", "enum ", "union "];
    kinds.iter().find_map(|kind| line.strip_prefix(kind)).map(first_word)
}

/// The type whose `impl` block begins on this line. A header of several lines names it on the first.
fn implemented_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("unsafe ").unwrap_or(line).strip_prefix("impl")?;
    if !rest.starts_with([' ', '<']) {
        return None;
    }
    let rest = without_generics(rest).trim_start();
    let named = rest.split_once(" for ").map_or(rest, |(_, named)| named);
    let path = named.split(['<', '{']).next()?.trim_start_matches(['&', '(']).trim();
    let name = path.rsplit("::").next()?.rsplit(' ').next()?;
    let name = first_word(name);
    name.starts_with(char::is_uppercase).then_some(name)
}

/// `text` behind the angle brackets that it starts with.
fn without_generics(text: &str) -> &str {
    if !text.starts_with('<') {
        return text;
    }
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            // Not that of an arrow.
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(at + 1..).unwrap_or_default();
        }
        before = c;
    }
    ""
}

fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else { return line };
    let rest =
        rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
    rest.trim_start()
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// Lines of the block that begins on the first of `lines`.
fn length(lines: &[&str]) -> usize {
    let Some(first) = lines.first() else { return 0 };
    if first.ends_with('}') {
        return 1;
    }
    let indent = indentation(first);
    let ends = |line: &&str| line.trim_start().starts_with('}') && indentation(line) == indent;
    lines.iter().position(ends).map_or(lines.len(), |at| at + 1)
}

/// Fields of the struct that begins on the first of `lines`.
fn fields_of(lines: &[&str]) -> usize {
    let inner = lines.first().map_or(0, |line| indentation(line)) + 4;
    let is_field = |line: &&&str| {
        let name = without_visibility(line.trim_start());
        let name = name.strip_prefix("r#").unwrap_or(name);
        let word = first_word(name);
        let typed = name.get(word.len()..).is_some_and(|rest| rest.starts_with(": "));
        indentation(line) == inner && !word.is_empty() && typed
    };
    lines.iter().take(length(lines)).filter(is_field).count()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_block_is_found() {
        for (line, expected) in [
            ("impl Room {", Some("Room")),
            ("    impl Room {", Some("Room")),
            ("impl<'a, T: Iterator<Item = u8>> Reader<'a, T> {", Some("Reader")),
            ("impl<F: Fn(u8) -> u8> Map<F> {", Some("Map")),
            ("impl fmt::Display for super::Room {", Some("Room")),
            ("impl From<Vec<u8>> for Room {", Some("Room")),
            ("unsafe impl Send for Room {}", Some("Room")),
            ("impl Trait for &mut Room {", Some("Room")),
            ("impl Tail for [u8] {", None),
            ("implement(room);", None),
            ("/// impl Room {", None),
        ] {
            assert_eq!(implemented_type(line), expected, "{line}");
        }
    }

    #[test]
    fn blocks_are_added_over_the_files_of_a_crate() {
        let files = [
            file(
                "crates/a/src/lib.rs",
                "pub struct Room {\n    /// Doc.\n    pub(crate) x: u8,\n    r#type: u8,\n}\n",
            ),
            file(
                "crates/a/src/b.rs",
                "impl Room {\n    fn f() {\n        {\n        }\n    }\n}\nimpl Clone for Room {}\n",
            ),
            file(
                "crates/a/src/c.rs",
                "impl Room {\n}\n#[cfg(test)]\nmod tests {\n    impl Room {\n    }\n}\n",
            ),
            file("crates/b/src/lib.rs", "impl Room {\n}\n"),
        ];
        let types = Types::of(files.iter());
        let lines = [("a::Room".to_owned(), 9), ("b::Room".to_owned(), 2)];
        assert_eq!(types.impl_lines(), BTreeMap::from(lines));
        assert_eq!(types.fields().collect::<Vec<_>>(), [("a::Room".to_owned(), 2)]);
    }

    #[test]
    fn types_of_one_name_are_kept_apart_by_their_files() {
        let text = "enum State {\n    A,\n}\nimpl State {\n}\n";
        let files = [file("crates/a/src/b.rs", text), file("crates/a/src/c.rs", text)];
        let lines = [("a::State of b.rs".to_owned(), 2), ("a::State of c.rs".to_owned(), 2)];
        assert_eq!(Types::of(files.iter()).impl_lines(), BTreeMap::from(lines));
    }

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }
}
