//! A YAML document as a tree in which every key and value knows its line and column.
//!
//! * **Owns:** nothing; a parse result.
//! * **In:** [`parse`] takes the document's text.
//! * **Out:** a [`Tree`], or a [`SyntaxError`] that names the place and never quotes a value.
//! * **Invariant:** no text of the document reaches an error message except key names.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Line and column of something in the document, both counted from 1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    /// Line, from 1; 0 if unknown.
    pub(crate) line: u64,
    /// Column, from 1; 0 if unknown.
    pub(crate) column: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The document is not YAML.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct SyntaxError {
    place: Place,
    what: String,
}

/// One value. Not `Debug`: it may hold secrets.
pub(crate) enum Tree {
    /// `~`, `null` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Whole(i128),
    /// Any other number.
    Real,
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Placed>),
    /// A mapping, in the order of the document.
    Map(Vec<Entry>),
}

/// A value and where it stands.
pub(crate) struct Placed {
    /// Where.
    pub(crate) place: Place,
    /// The error, as a sentence.
    pub(crate) tree: Tree,
}

/// A key, where the key stands, and its value.
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) key_place: Place,
    /// The value.
    pub(crate) value: Placed,
}

/// Parses one YAML document; an empty one is an empty mapping.
pub(crate) fn parse(text: &str) -> Result<Placed, SyntaxError> {
    let parsed: Result<Spanned<Tree>, serde_saphyr::Error> = serde_saphyr::from_str(text);
    match parsed {
        Ok(Spanned { value: Tree::Null, .. }) => Ok(empty()),
        Ok(root) => Ok(root.into()),
        Err(error) if matches!(error.without_snippet(), serde_saphyr::Error::Eof { .. }) => {
            Ok(empty())
        }
        Err(error) => Err(syntax_error(&error)),
    }
}

fn empty() -> Placed {
    Placed { place: Place::default(), tree: Tree::Map(Vec::new()) }
}

/// The parser's own words may quote values; only the name of a duplicate key is passed on.
fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    let place = error.location().map(Place::from).unwrap_or_default();
    let what = if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } =
        error.without_snippet()
    {
        format!("the key `{key}` appears twice")
    } else {
        "this is not valid YAML (look for a tab, a missing space after `:`, an unclosed bracket or \
         quote)"
            .to_owned()
    };
    SyntaxError { place, what }
}

impl From<Spanned<Tree>> for Placed {
    fn from(spanned: Spanned<Tree>) -> Self {
        Self { place: spanned.referenced.into(), tree: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Whole(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Whole(value))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Real)
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
            list.push(item.into());
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Tree>>()?.into();
            entries.push(Entry { key_place: key.referenced.into(), key: key.value, value });
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_place() {
        let Tree::Map(root) = parse("a: 1\nb:\n  c: x\n").unwrap().tree else { panic!("a map") };
        assert_eq!(root[1].key_place, Place { line: 2, column: 1 });
        let Tree::Map(inner) = &root[1].value.tree else { panic!("a map") };
        assert_eq!(inner[0].key_place, Place { line: 3, column: 3 });
        assert_eq!(inner[0].value.place, Place { line: 3, column: 6 });
    }

    #[test]
    fn an_empty_document_is_an_empty_map() {
        for text in ["", "\n", "# only a comment\n", "---\n", "~"] {
            assert!(
                matches!(parse(text).unwrap().tree, Tree::Map(map) if map.is_empty()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_syntax_error_names_the_line_and_quotes_no_value() {
        for text in [
            "keys: {k: hunter2\n",
            "keys:\n  k: hunter2\n\troom: 1\n",
            "keys: {k: hunter2}\nkeys: {k: hunter2}\n",
            "keys:\n  k: hunter2\n  k: hunter2\n",
            "keys: 'hunter2\n",
            "keys: !!int hunter2\n",
            "keys: *hunter2\n",
        ] {
            let Err(error) = parse(text) else { panic!("{text:?} is not YAML") };
            let said = error.to_string();
            assert!(said.starts_with("line ") && !said.contains("hunter2"), "{said}");
        }
    }
}
