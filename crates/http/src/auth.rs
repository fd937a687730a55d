//! Authentication: the access token of a request.
//!
//! * **Owns:** nothing.
//! * **In:** request headers, the query, a form.
//! * **Out:** verified claims, `None` without a token, or the refusal's text.
//! * **Invariant:** a token that does not verify is refused on every path.
//! * **livekit-server:** `pkg/service/auth.go`.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hearth_access::{Claims, Keys};
use hearth_runtime::WallClock;

/// Percent-decoded parameters in their order.
pub(crate) type Query = Vec<(String, String)>;

const BAD_HEADER: &str = "invalid authorization header. Must start with Bearer ";

/// Reads and verifies the token; the header wins over the query. The error is for the client.
pub(crate) fn authenticate(
    keys: &Keys,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Claims>, String> {
    let Some(token) = token(headers, query)? else { return Ok(None) };
    keys.verify(token, WallClock::unix_secs()).map(Some).map_err(|error| error.to_string())
}

fn token<'r>(headers: &'r HeaderMap, query: &'r Query) -> Result<Option<&'r str>, String> {
    let header = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("?"));
    if let Some(header) = header.filter(|header| !header.is_empty()) {
        let token = header.strip_prefix("Bearer ").filter(|token| !token.is_empty());
        return token.map(Some).ok_or_else(|| BAD_HEADER.to_owned());
    }
    let parameter = query.iter().find(|(name, _)| name == "access_token");
    Ok(parameter.map(|(_, token)| token.as_str()).filter(|token| !token.is_empty()))
}

/// Reads `a=b&c=d`.
pub(crate) fn parse_query(text: &str) -> Query {
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}
