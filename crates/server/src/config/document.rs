//! Single values of the configuration as written, for who reports on it rather than runs by it.
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

    pub(crate) fn whole(&self, key: &'static str) -> Option<i128> {
        raw::whole(self.0.as_ref()?, key).ok().flatten()
    }

    pub(crate) fn truth(&self, key: &'static str) -> Option<bool> {
        raw::truth(self.0.as_ref()?, key).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_key() {
        let document = Document::parse("turn: {enabled: true, udp_port: 3478, domain: a.example}");
        assert_eq!(document.text("turn.domain").as_deref(), Some("a.example"));
        assert_eq!(
            (document.whole("turn.udp_port"), document.truth("turn.enabled")),
            (Some(3478), Some(true))
        );
        assert_eq!((document.whole("turn.domain"), document.text("turn.cert_file")), (None, None));
        assert_eq!(Document::parse("[").text("turn.domain"), None);
    }
}
