//! CORS: which web pages may call the server (all of them, as with the reference server).
//!
//! * **Owns:** nothing.
//! * **In:** request headers, before anything else looks at the request.
//! * **Out:** the whole answer to a preflight; headers for every other answer.
//! * **Invariant:** `Vary: Origin` on every answer, so that caches do not mix origins up.
//! * **livekit-server:** `pkg/service/server.go`, rs/cors with any origin.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

const METHODS: [&str; 6] = ["OPTIONS", "HEAD", "GET", "POST", "PATCH", "DELETE"];

/// The part of a request that CORS headers of its response depend on.
pub(crate) struct Cors {
    origin: Option<HeaderValue>,
    any_origin: bool,
}

impl Cors {
    /// `any_origin`: the answer says `*` instead of the caller's origin, even without one.
    pub(crate) fn of(method: &Method, headers: &HeaderMap, any_origin: bool) -> Self {
        let listed = METHODS.contains(&method.as_str());
        Self { origin: headers.get(ORIGIN).filter(|_| listed).cloned(), any_origin }
    }

    /// Adds the headers to an answer.
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if self.origin.is_some() {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        }
        let allowed =
            if self.any_origin { Some(HeaderValue::from_static("*")) } else { self.origin };
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
    }
}

/// The answer to a preflight request, if this is one: the asked method and headers, repeated.
pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| method == Method::OPTIONS)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(
        VARY,
        HeaderValue::from_static(
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    );
    let listed = METHODS.iter().any(|method| method.as_bytes() == asked.as_bytes());
    if let Some(origin) = headers.get(ORIGIN).filter(|_| listed) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    Some(response)
}
