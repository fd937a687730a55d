//! SDP (RFC 8866, as JSEP uses it): parse, model, write.
//!
//! * **Owns:** the text format. A description is a bag of attributes in order, with typed readers
//!   for the ones a media server looks at; any other attribute is kept as it was received.
//! * **Input:** any text. Nothing panics, and what is kept is bounded by [`MAX_TEXT`],
//!   [`MAX_MEDIA`] and [`MAX_ATTRIBUTES`].
//! * **Not here:** offer and answer, codecs, what an attribute means for media (`negotiate`).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod model;
mod parse;
mod readers;
mod write;

pub use model::{Attribute, Attributes, Direction, Media, MediaType, Origin, Session};
pub use parse::{MAX_ATTRIBUTES, MAX_FORMATS, MAX_MEDIA, MAX_TEXT, ParseError};
pub use readers::{
    ExtMap, Fingerprint, Fmtp, Rid, RtcpFb, RtpMap, Setup, Simulcast, SsrcAttribute, SsrcGroup,
};
