//! Writing: model to text, CRLF line ends.

use std::fmt;

use crate::{Attributes, Media, Session};

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (session, version) = (self.origin.session, self.origin.version);
        write!(f, "v=0\r\no=- {session} {version} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n")?;
        write!(f, "{}", self.attributes)?;
        self.media.iter().try_for_each(|media| write!(f, "{media}"))
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {} {}", self.kind.as_str(), self.port, self.proto)?;
        for format in &self.formats {
            write!(f, " {format}")?;
        }
        write!(f, "\r\nc=IN IP4 0.0.0.0\r\n{}", self.attributes)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|attribute| match &attribute.value {
            Some(value) => write!(f, "a={}:{value}\r\n", attribute.name),
            None => write!(f, "a={}\r\n", attribute.name),
        })
    }
}
