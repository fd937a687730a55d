//! Single values of the configuration as written that have no effect, for who reports on them.
//!
//! * **Owns:** a parsed document. Not `Debug`: it may hold secrets.
//! * **In:** YAML. **Out:** values by their key.
//! * **Invariant:** a value of the wrong type is none: [`Config`](super::Config) has refused it where it matters.

use super::raw;
use super::tree::{self, Placed};

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Document(Option<Placed>);

impl Document {
    /// One that cannot be parsed is empty.
    pub(crate) fn parse(text: &str) -> Self {
        Self(tree::parse(text).ok())
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        raw::text(self.0.as_ref()?, key).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_key() {
        let document = Document::parse("redis: {address: 'a.example:6379', tls: {enabled: true}}");
        assert_eq!(document.text("redis.address").as_deref(), Some("a.example:6379"));
        assert_eq!((document.text("redis.tls"), document.text("redis.username")), (None, None));
        assert_eq!(Document::parse("[").text("redis.address"), None);
    }
}
