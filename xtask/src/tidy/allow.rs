//! Exceptions from the checks: `xtask/tidy-allow.toml`.
//!
//! Each is a line of the form `"room::Room" = { most = 2178, reason = "…" }` in the section of its check.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Tree;

const PATH: &str = "xtask/tidy-allow.toml";

/// How far a ceiling may stand above what it allows, in parts of a hundred: it follows what shrinks.
const SLACK_PERCENT: usize = 5;

/// The exceptions of one section of the file.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    section: &'static str,
    ceilings: BTreeMap<String, usize>,
    used: BTreeSet<String>,
    malformed: Vec<String>,
}

impl Allowed {
    /// Reads one section.
    pub(super) fn read(tree: &Tree, section: &'static str) -> Self {
        Self::parse(tree.text(PATH).unwrap_or_default(), section)
    }

    fn parse(text: &str, section: &'static str) -> Self {
        let mut allowed = Self { section, ..Self::default() };
        let mut inside = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[') {
                inside = name.strip_suffix(']') == Some(section);
            } else if inside && !line.is_empty() && !line.starts_with('#') {
                match exception(line) {
                    Some((name, most)) => drop(allowed.ceilings.insert(name.to_owned(), most)),
                    None => allowed.malformed.push(format!(
                        "{PATH}:{}: not of the form \"name\" = {{ most = 1, reason = \"why\" }}",
                        number + 1
                    )),
                }
            }
        }
        allowed
    }

    /// The finding, if `name` has a `count` above `limit` without an exception.
    pub(super) fn judge(
        &mut self,
        name: &str,
        count: usize,
        limit: usize,
        what: &str,
    ) -> Option<String> {
        if count <= limit {
            return None;
        }
        self.used.insert(name.to_owned());
        let section = self.section;
        match self.ceilings.get(name) {
            None => Some(format!("{name}: {count} {what}, more than {limit}")),
            Some(&most) if count > most => {
                Some(format!("{name}: {count} {what}; {PATH} allows {most}, and only less"))
            }
            Some(&most) if count * (100 + SLACK_PERCENT) < most * 100 => Some(format!(
                "{PATH}: [{section}] allows {name} {most} {what}; it has {count}: write that"
            )),
            Some(_) => None,
        }
    }

    /// Lines that cannot be read, and exceptions that nothing needs.
    pub(super) fn leftovers(self) -> Vec<String> {
        let section = self.section;
        let idle = self.ceilings.into_keys().filter(|name| !self.used.contains(name));
        let idle = idle.map(|name| format!("{PATH}: [{section}] {name} needs no exception"));
        self.malformed.into_iter().chain(idle).collect()
    }
}

/// The name and the ceiling; none without a reason.
fn exception(line: &str) -> Option<(&str, usize)> {
    let (name, value) = line.split_once(" = { most = ")?;
    let (most, reason) = value.split_once(", reason = \"")?;
    let reason = reason.strip_suffix("\" }")?;
    (!reason.trim().is_empty()).then_some((name.trim_matches('"'), most.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Why.\n[fields]\n\"a::B\" = { most = 40, reason = \"a mirror\" }\n\
        [lines]\n\"a::B\" = { most = 900, reason = \"two owners\" }\n\"a::C\" = { most = 2, reason = \"\" }\n";

    #[test]
    fn a_ceiling_is_kept_and_follows_what_shrinks() {
        for (name, count, expected) in [
            ("a::B", 100, None),
            ("a::B", 899, None),
            ("a::B", 901, Some("a::B: 901 lines; xtask/tidy-allow.toml allows 900, and only less")),
            (
                "a::B",
                700,
                Some(
                    "xtask/tidy-allow.toml: [lines] allows a::B 900 lines; it has 700: write that",
                ),
            ),
            ("a::D", 601, Some("a::D: 601 lines, more than 600")),
        ] {
            let mut allowed = Allowed::parse(FILE, "lines");
            assert_eq!(
                allowed.judge(name, count, 600, "lines").as_deref(),
                expected,
                "{name} {count}"
            );
        }
    }

    #[test]
    fn an_exception_that_nothing_needs_or_that_has_no_reason_is_found() {
        let unreadable =
            "xtask/tidy-allow.toml:6: not of the form \"name\" = { most = 1, reason = \"why\" }";
        let mut allowed = Allowed::parse(FILE, "lines");
        assert_eq!(allowed.judge("a::B", 900, 600, "lines"), None);
        assert_eq!(allowed.leftovers(), [unreadable]);
        let idle = "xtask/tidy-allow.toml: [fields] a::B needs no exception";
        assert_eq!(Allowed::parse(FILE, "fields").leftovers(), [idle]);
    }
}
