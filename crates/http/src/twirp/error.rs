//! Twirp errors: codes, statuses, JSON.
//!
//! * **Owns:** the mapping from error codes to HTTP statuses.
//! * **In:** a code and a text.
//! * **Out:** an HTTP answer; always JSON, whatever the request was.
//! * **Invariant:** the texts are those of the reference server: clients compare them.
//! * **Spec:** Twirp wire protocol v7, "Errors".

use axum::body::Body;
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::response;

/// Twirp's error codes, as far as they are used here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    BadRoute,
    Malformed,
    InvalidArgument,
    Unauthenticated,
    NotFound,
    FailedPrecondition,
    Unavailable,
    Internal,
}

impl Code {
    fn name_and_status(self) -> (&'static str, u16) {
        match self {
            Self::BadRoute => ("bad_route", 404),
            Self::Malformed => ("malformed", 400),
            Self::InvalidArgument => ("invalid_argument", 400),
            Self::Unauthenticated => ("unauthenticated", 401),
            Self::NotFound => ("not_found", 404),
            Self::FailedPrecondition => ("failed_precondition", 412),
            Self::Unavailable => ("unavailable", 503),
            Self::Internal => ("internal", 500),
        }
    }
}

/// A call that failed.
#[derive(Debug)]
pub(crate) struct TwirpError {
    code: Code,
    msg: String,
    /// One name and value of `meta`.
    meta: Option<(&'static str, String)>,
}

impl TwirpError {
    /// The text stands for itself.
    pub(crate) fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), meta: None }
    }

    /// An error that the reference server passes through its error translation, which marks the text.
    pub(crate) fn wrapped(code: Code, text: impl std::fmt::Display) -> Self {
        Self::new(code, format!("twirp error unknown: {text}"))
    }

    /// No such path, or the wrong HTTP method or content type for it.
    pub(crate) fn bad_route(msg: String, method: &str, path: &str) -> Self {
        let meta = Some(("twirp_invalid_route", format!("{method} {path}")));
        Self { code: Code::BadRoute, msg, meta }
    }

    /// The token lacks the grant.
    pub(crate) fn denied() -> Self {
        Self::new(Code::Unauthenticated, "permissions denied")
    }

    /// Something is longer than `limit`.
    pub(crate) fn too_large(what: &str, limit: usize) -> Self {
        let argument = format!("{what} exceeds limits");
        Self {
            code: Code::InvalidArgument,
            msg: format!("{argument} {limit}"),
            meta: Some(("argument", argument)),
        }
    }

    /// The same error, with details as `meta.cause`, where they do not disturb clients that
    /// compare texts.
    pub(crate) fn caused_by(mut self, cause: impl std::fmt::Display) -> Self {
        self.meta = Some(("cause", cause.to_string()));
        self
    }

    /// The HTTP answer.
    pub(crate) fn answer(self) -> Response<Body> {
        let (name, status) = self.code.name_and_status();
        let mut body = Map::new();
        body.insert("code".to_owned(), json!(name));
        body.insert("msg".to_owned(), json!(self.msg));
        if let Some((name, value)) = self.meta {
            body.insert("meta".to_owned(), json!({ name: value }));
        }
        response::with_type(
            status,
            "application/json",
            Value::Object(body).to_string().into_bytes(),
        )
    }
}
