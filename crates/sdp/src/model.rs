//! A session description as a bag of attributes.

use std::fmt;

/// `a=name` or `a=name:value`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attribute {
    /// The name, before the colon.
    pub name: String,
    /// The value after it; `None` without a colon.
    pub value: Option<String>,
}

/// Attributes in the order of the text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(Vec<Attribute>);

impl Attributes {
    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Attribute> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this name, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.name == name)
    }

    /// The value of the first one of this name that has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .filter(|attribute| attribute.name == name)
            .find_map(|attribute| attribute.value.as_deref())
    }

    /// The values of all of this name.
    pub fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0
            .iter()
            .filter(move |attribute| attribute.name == name)
            .filter_map(|attribute| attribute.value.as_deref())
    }

    /// Appends `a=name`.
    pub fn push_flag(&mut self, name: &str) {
        self.0.push(Attribute { name: name.to_owned(), value: None });
    }

    /// Appends `a=name:value`.
    pub fn push(&mut self, name: &str, value: impl fmt::Display) {
        self.0.push(Attribute { name: name.to_owned(), value: Some(value.to_string()) });
    }

    pub(crate) fn push_attribute(&mut self, attribute: Attribute) {
        self.0.push(attribute);
    }
}

/// The `o=` line, as far as it means something: the other fields are always the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// Constant for the life of a connection; below 2^63.
    pub session: u64,
    /// Grows with each description.
    pub version: u64,
}

/// A whole description.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// Read leniently: what is not a number is 0.
    pub origin: Origin,
    /// Attributes before the first section.
    pub attributes: Attributes,
    /// The sections.
    pub media: Vec<Media>,
}

/// The kind of media of a section (`m=`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MediaType {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
    /// `m=application`
    Application,
    /// Anything else, as it came.
    Other(String),
}

impl MediaType {
    /// The word on the `m=` line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Other(other) => other,
        }
    }
}

impl From<&str> for MediaType {
    fn from(word: &str) -> Self {
        match word {
            "audio" => Self::Audio,
            "video" => Self::Video,
            "application" => Self::Application,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// One section: an `m=` line and what follows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Media {
    /// First field of the `m=` line.
    pub kind: MediaType,
    /// Second field, without a number of ports; 0 is rejected, or bundled only.
    pub port: u16,
    /// Third field, such as `UDP/TLS/RTP/SAVPF`.
    pub proto: String,
    /// The rest: payload types, or `webrtc-datachannel`.
    pub formats: Vec<String>,
    /// Attributes of the section.
    pub attributes: Attributes,
}

/// The direction of media, seen by the author of the description.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Direction {
    /// Send and receive; the default (RFC 8866 §6.7).
    #[default]
    SendRecv,
    /// The writer sends.
    SendOnly,
    /// The writer receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The direction of one that sends and receives, or not.
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}
