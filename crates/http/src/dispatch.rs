//! Routing: from a request to its response.
//!
//! * **Owns:** nothing; the order of the checks.
//! * **In:** a request and the client's address.
//! * **Out:** the answer, from one of the modules beside this one.
//! * **Invariant:** CORS, then the path's slashes, then the body's size, then the token, then the
//!   path: a token that does not verify is 401 on every path.
//! * **livekit-server:** `pkg/service/server.go` (`NewLivekitServer`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use hearth_access::Claims;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use crate::auth::{Query, authenticate, parse_query};
use crate::cors::{Cors, preflight};
use crate::head::LongParts;
use crate::{AppState, debug, diagnosis, join, page, reflector, response, twirp};

/// Longest request body.
pub(crate) const BODY_BYTES: usize = 10 << 20;
/// Longest form: it holds a token.
const FORM_BYTES: usize = 128 * 1_024;
/// How long a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The other end of a connection, and whether the server stops.
#[derive(Clone)]
pub(crate) struct ConnectionInfo {
    pub(crate) address: SocketAddr,
    pub(crate) stopping: watch::Receiver<bool>,
    /// The connection counts as open until all clones are dropped, a WebSocket's too.
    pub(crate) open: Arc<OwnedSemaphorePermit>,
    /// The long parts of the connection's first head.
    pub(crate) long: Arc<LongParts>,
}

/// A request with its token's claims and client address.
pub(crate) struct RequestContext {
    pub(crate) parts: Parts,
    /// Without the slash too many.
    pub(crate) path: String,
    pub(crate) query: Query,
    /// Verified; `None` without a token.
    pub(crate) claims: Option<Claims>,
    pub(crate) caller: ConnectionInfo,
}

/// Answers one request.
pub(crate) async fn dispatch(
    state: &AppState,
    caller: ConnectionInfo,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Some(response) = preflight(&parts.method, &parts.headers) {
        return response;
    }
    let path = parts.uri.path();
    let path = if path.starts_with("//") { path.get(1..).unwrap_or(path) } else { path }.to_owned();
    let validates = matches!(path.as_str(), "/rtc/validate" | "/rtc/v1/validate");
    let cors = Cors::of(&parts.method, &parts.headers, validates);
    let mut response = match read(state, caller, parts, path, body).await {
        Ok((context, body)) => route(state, context, body).await,
        Err(refusal) => refusal,
    };
    cors.apply(response.headers_mut());
    response
}

/// The checks of every path.
async fn read(
    state: &AppState,
    caller: ConnectionInfo,
    mut parts: Parts,
    path: String,
    body: Body,
) -> Result<(RequestContext, Body), Response<Body>> {
    if content_length(&parts.headers).is_some_and(|length| length > BODY_BYTES) {
        return Err(response::text(413, "request body too large"));
    }
    let mut query = parse_query(&caller.long.restore(&mut parts));
    let mut body = body;
    if is_form(&parts) {
        let form =
            read_body(body, FORM_BYTES).await.map_err(|_| response::text(400, "bad form"))?;
        query.extend(parse_query(&String::from_utf8_lossy(&form)));
        body = Body::from(form);
    }
    let claims = authenticate(&state.keys, &parts.headers, &query)
        .map_err(|refusal| response::text(401, refusal))?;
    Ok((RequestContext { parts, path, query, claims, caller }, body))
}

async fn route(state: &AppState, context: RequestContext, body: Body) -> Response<Body> {
    match context.path.as_str() {
        "/" => page::root(&context.parts.method, &context.parts.headers),
        "/rtc" | "/rtc/v1" => join::connect(state, context).await,
        "/rtc/validate" | "/rtc/v1/validate" => join::validate(state, context).await,
        diagnosis::PATH => diagnosis::answer(state, &context).await,
        debug::STATE => debug::state(state, &context).await,
        reflector::PATH => reflector::answer(&context, body).await,
        twirp::SERVICE => twirp::redirect(),
        path if path.starts_with(twirp::PREFIX) => twirp::call(state, context, body).await,
        path if matches!(context.parts.method, Method::GET | Method::HEAD) => {
            let guide = state.lan.as_ref().and_then(|guide| guide.answer(path, &context.parts));
            guide.or_else(|| page::file(path)).unwrap_or_else(response::not_found)
        }
        _ => response::not_found(),
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_form(parts: &Parts) -> bool {
    let form = |value: &str| value.starts_with("application/x-www-form-urlencoded");
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    parts.method == Method::POST && content_type.is_some_and(form)
}

/// Reads a whole body of at most `limit` bytes, within the deadline.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<bytes::Bytes, StatusCode> {
    match timeout(BODY_DEADLINE, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
