//! For people in the same network, with `--dev --lan`: how to get in, and the local authority's certificate.
//!
//! * **Owns:** the words of the guide.
//! * **In:** a path, the request's `Host`.
//! * **Out:** `/lan` (the guide), `/lan/join` (to the demo page, with a token of one's own), `/ca.crt`.
//! * **Invariant:** only the authority's certificate is ever sent, never its key. What a client says about its host is
//!   repeated only if it looks like one.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HOST, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response};
use hearth_access::{TokenBuilder, VideoGrant};
use hearth_runtime::WallClock;

use crate::response;

/// How long a visitor's token is valid.
const VALID_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// What the guide needs to know.
#[derive(Debug)]
pub struct LanGuide {
    authority: String,
    key: (String, String),
    room: String,
    visitors: AtomicU64,
}

impl LanGuide {
    /// * `authority` – the certificate of the local authority, in PEM.
    /// * `key` – the API key and secret that sign visitors' tokens.
    /// * `room` – the room they come into.
    pub fn new(authority: String, key: (String, String), room: &str) -> Self {
        Self { authority, key, room: room.to_owned(), visitors: AtomicU64::new(0) }
    }

    /// The answer to a request for one of its paths.
    pub(crate) fn answer(&self, path: &str, parts: &Parts) -> Option<Response<Body>> {
        match path {
            "/ca.crt" => {
                let pem = self.authority.clone().into_bytes();
                Some(response::with_type(200, "application/x-x509-ca-cert", pem))
            }
            "/lan" => {
                let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
                let page = page(host.filter(|host| is_host(host)).unwrap_or_default());
                Some(response::with_type(200, "text/html; charset=utf-8", page.into_bytes()))
            }
            "/lan/join" => self.join(),
            _ => None,
        }
    }

    fn join(&self) -> Option<Response<Body>> {
        let now = WallClock::unix_secs();
        let number = self.visitors.fetch_add(1, Ordering::Relaxed);
        let identity = format!("guest-{now:x}-{number}");
        let (key, secret) = &self.key;
        let token = TokenBuilder::new()
            .identity(&identity)
            .name("Guest")
            .video(VideoGrant::join(&self.room))
            .sign(key, secret, now, VALID_FOR)
            .ok()?;
        let target = format!("/?room={}&token={token}", self.room);
        let mut response = response::text(302, "");
        let headers = response.headers_mut();
        headers.insert(LOCATION, HeaderValue::try_from(target).ok()?);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}

/// A name or address with a port.
fn is_host(host: &str) -> bool {
    host.len() <= 260 && host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c))
}

fn page(host: &str) -> String {
    let join =
        if host.is_empty() { "/lan/join".to_owned() } else { format!("https://{host}/lan/join") };
    format!(
        r#"<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hearth in this network</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:2rem auto;padding:0 1rem}}a.go{{display:inline-block;padding:.6rem 1.2rem;border-radius:.5rem;background:#c2410c;color:#fff;text-decoration:none}}</style>
<h1>A call in this network</h1>
<p><a class="go" href="{join}">Open the call</a></p>
<p>Browsers give camera and microphone only to pages with HTTPS. This server made its certificate itself, so your browser warns you once.</p>
<h2>Without trusting anything</h2>
<p>In Chrome, Edge and Firefox choose <em>Advanced</em> and continue: the call works. On iPhones and iPads it does not; there, trust the certificate as below.</p>
<h2>Trusting this server</h2>
<p>Download <a href="/ca.crt">the certificate of its authority</a>. It is good for private addresses, .local names and the addresses that the server's machine had when it was made: with it nobody can pretend to be a site on the internet. Its fingerprint (SHA-256) must be the one that the server printed when it started.</p>
<ul>
<li><b>iPhone, iPad:</b> download it with Safari; Settings, <em>Profile Downloaded</em>, install; then Settings, General, About, Certificate Trust Settings, switch it on.</li>
<li><b>Android:</b> Settings, search for <em>CA certificate</em>, install the file. (Firefox: Settings, About, tap the logo five times; Secret Settings, use third party CA certificates.)</li>
<li><b>Windows:</b> open the file, Install Certificate, <em>Trusted Root Certification Authorities</em>.</li>
<li><b>macOS:</b> open the file, then in Keychain Access set it to <em>Always Trust</em>.</li>
<li><b>Linux:</b> copy it to /usr/local/share/ca-certificates/hearth.crt and run update-ca-certificates; in Chrome and Firefox: settings, certificates, authorities, import.</li>
<li><b>Programs:</b> NODE_EXTRA_CA_CERTS=ca.crt (Node), SSL_CERT_FILE=ca.crt (Python, Rust, Go), curl --cacert ca.crt.</li>
</ul>
</html>
"#
    )
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use hearth_access::Keys;

    use super::*;

    fn guide() -> LanGuide {
        LanGuide::new("PEM".to_owned(), ("devkey".to_owned(), "secret".to_owned()), "demo")
    }

    fn ask(path: &str, host: &str) -> Option<Response<Body>> {
        asked(&guide(), path, host)
    }

    fn asked(guide: &LanGuide, path: &str, host: &str) -> Option<Response<Body>> {
        let (parts, ()) = Request::get(path).header("host", host).body(()).unwrap().into_parts();
        guide.answer(path, &parts)
    }

    #[tokio::test]
    async fn the_authority_is_offered_as_what_systems_take_for_one() {
        let response = ask("/ca.crt", "x").unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-x509-ca-cert");
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(body.as_ref(), b"PEM");
        assert!(ask("/ca.key", "x").is_none());
    }

    #[tokio::test]
    async fn the_guide_leads_to_https_at_the_same_place_and_repeats_no_nonsense() {
        for (host, link) in [
            ("192.168.1.7:7880", "href=\"https://192.168.1.7:7880/lan/join\""),
            ("[fd00::7]:7880", "href=\"https://[fd00::7]:7880/lan/join\""),
            ("\"><script>", "href=\"/lan/join\""),
        ] {
            let body = axum::body::to_bytes(ask("/lan", host).unwrap().into_body(), 10_000);
            let page = String::from_utf8(body.await.unwrap().to_vec()).unwrap();
            assert!(page.contains(link) && !page.contains("<script"), "{host}");
        }
    }

    #[test]
    fn each_visitor_gets_a_token_of_their_own() {
        let keys = Keys::new([("devkey".to_owned(), "secret".to_owned())]);
        let guide = guide();
        let identities: Vec<String> = (0..2)
            .map(|_| {
                let response = asked(&guide, "/lan/join", "x").unwrap();
                assert_eq!(response.status(), 302);
                let target = response.headers()["location"].to_str().unwrap().to_owned();
                let token = target.strip_prefix("/?room=demo&token=").unwrap();
                keys.verify(token, WallClock::unix_secs()).unwrap().identity
            })
            .collect();
        assert_ne!(identities[0], identities[1]);
    }
}
