//! `GET /rtc/diagnosis`: why the client of a token is not connected, in words for its user.
//!
//! * **Owns:** nothing.
//! * **In:** a token that may join a room; its room and identity say whose explanation is wanted.
//! * **Out:** JSON: `explanation` (null if there is none), `detail`, `settled`, `age_seconds`.
//! * **Invariant:** a participant is told about itself only.

use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Method, Response};
use hearth_runtime::ConnectionTrouble;
use serde_json::{Value, json};

use crate::AppState;
use crate::dispatch::RequestContext;
use crate::response;

/// The path of it.
pub(crate) const PATH: &str = "/rtc/diagnosis";

/// Answers a request for [`PATH`].
pub(crate) async fn answer(state: &AppState, request: &RequestContext) -> Response<Body> {
    if !matches!(request.parts.method, Method::GET | Method::HEAD) {
        return response::text(405, "only GET");
    }
    let claims = request.claims.as_ref().filter(|claims| claims.video.room_join);
    let Some(claims) = claims.filter(|claims| !claims.identity.is_empty()) else {
        return response::text(401, "a token that may join a room is needed");
    };
    let trouble = state.node.trouble_of(&claims.video.room, &claims.identity).await;
    let body = describe(trouble.as_ref());
    let mut response =
        response::with_type(200, "application/json", format!("{body}\n").into_bytes());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One explanation, as clients and the operator read it.
pub(crate) fn describe(trouble: Option<&ConnectionTrouble>) -> Value {
    let Some(ConnectionTrouble { age, explanation, .. }) = trouble else {
        return json!({ "explanation": null });
    };
    json!({
        "explanation": explanation.text,
        "detail": explanation.detail,
        "settled": explanation.settled,
        "age_seconds": age.as_secs(),
    })
}
