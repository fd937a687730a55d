//! The demo page: built files that are part of the program.
//!
//! * **Owns:** the embedded files of `page/`.
//! * **In:** a path.
//! * **Out:** an answer with the file, or nothing.
//! * **Invariant:** only files that were there at build time are ever served.

use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "page/"]
struct Page;

/// `/`: the page for a browser, `OK` for a health check.
pub(crate) fn root(method: &Method, headers: &HeaderMap) -> Response<Body> {
    let reads = *method == Method::GET || *method == Method::HEAD;
    let page = (reads && wants_html(headers)).then(|| file("/index.html")).flatten();
    let mut response = page.unwrap_or_else(|| crate::response::text(200, "OK"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    response
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"))
}

/// An embedded file by its path with the leading slash.
pub(crate) fn file(path: &str) -> Option<Response<Body>> {
    let name = path.strip_prefix('/')?;
    let data = Page::get(name)?.data.into_owned();
    let mut response = Response::new(Body::from(data));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Names below `assets/` hold a hash of the contents.
    let cache = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    Some(response)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
