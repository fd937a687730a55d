//! Request heads with a long token in them.
//!
//! A token may hold 512 KiB of metadata, and browsers put it into the request's target. The HTTP parser
//! takes 64 KiB of target and [`USUAL`] of head; so the long parts of a connection's first head are
//! taken out before the parser sees it, and put back behind it.
//!
//! * **Owns:** the bytes of the first head, until it is complete.
//! * **In:** bytes of a connection.
//! * **Out:** the same bytes, but [`MARK`] in place of a long query and of a long `Authorization`; these
//!   by [`LongParts`].
//! * **Invariant:** a head has at most [`LONGEST`] bytes, and at most [`LONG_HEADS`] heads at once have
//!   more than [`USUAL`], so that unauthenticated clients cannot fill the memory.
//! * **livekit-server:** Go's `http.DefaultMaxHeaderBytes`.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest head, in bytes: 1 MiB and Go's slack.
const LONGEST: usize = (1 << 20) + 4_096;
/// Longest head that is held without a permit, in bytes; also the HTTP parser's limit.
pub(crate) const USUAL: usize = 128 * 1_024;
/// How many heads above [`USUAL`] are held at once; they are complete within milliseconds.
pub(crate) const LONG_HEADS: usize = 64;
/// Parts above this are taken out. The parser takes targets of 65,534 bytes.
const LONG_PART: usize = 32 * 1_024;
/// Stands for what was taken out.
const MARK: &str = "hearth-long-part";

/// The parts taken out of a connection's first head.
#[derive(Debug, Default)]
pub(crate) struct LongParts {
    query: OnceLock<String>,
    authorization: OnceLock<HeaderValue>,
}

impl LongParts {
    /// The query of a request, and its `Authorization` put back.
    pub(crate) fn restore(&self, parts: &mut Parts) -> String {
        if let Some(authorization) = self.authorization.get()
            && parts.headers.get(AUTHORIZATION).is_some_and(|value| value == MARK)
        {
            parts.headers.insert(AUTHORIZATION, authorization.clone());
        }
        let query = parts.uri.query().unwrap_or_default();
        match self.query.get() {
            Some(long) if query == MARK => long.clone(),
            Some(_) | None => query.to_owned(),
        }
    }
}

/// A head that does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TooLong;

/// The first head of a connection, as far as it was read.
#[derive(Debug)]
pub(crate) struct FirstHead {
    read: Vec<u8>,
    /// Bytes from the beginning in which no end was found.
    searched: usize,
    parts: Arc<LongParts>,
    long_heads: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl FirstHead {
    pub(crate) fn new(parts: Arc<LongParts>, long_heads: Arc<Semaphore>) -> Self {
        Self { read: Vec::new(), searched: 0, parts, long_heads, permit: None }
    }

    /// Takes received bytes. `Some`: the head is complete, and the parser is to read this.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, TooLong> {
        self.read.extend_from_slice(bytes);
        let unsearched = self.read.get(self.searched..).unwrap_or_default();
        if let Some(end) = unsearched.windows(4).position(|window| window == b"\r\n\r\n") {
            let end = self.searched + end;
            self.permit = None;
            let read = std::mem::take(&mut self.read);
            return if end > LONGEST { Err(TooLong) } else { Ok(Some(self.shortened(read, end))) };
        }
        self.searched = self.read.len().saturating_sub(3);
        if self.read.len() > LONGEST {
            return Err(TooLong);
        }
        if self.read.len() > USUAL && self.permit.is_none() {
            let permit = Arc::clone(&self.long_heads).try_acquire_owned();
            self.permit = Some(permit.map_err(|_| TooLong)?);
        }
        Ok(None)
    }

    /// The connection ended: the incomplete head, for the parser to refuse.
    pub(crate) fn handle_end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Replaces long parts of the head, which ends at `end`.
    fn shortened(&self, read: Vec<u8>, end: usize) -> Vec<u8> {
        let Some((head, rest)) = read.split_at_checked(end) else { return read };
        if head.len() <= LONG_PART {
            return read;
        }
        let Ok(head) = std::str::from_utf8(head) else { return read };
        let mut short = String::new();
        for (number, line) in head.split("\r\n").enumerate() {
            let separator = if number == 0 { "" } else { "\r\n" };
            short.push_str(separator);
            let replaced = match number {
                0 => self.without_query(line),
                _ => self.without_authorization(line),
            };
            short.push_str(replaced.as_deref().unwrap_or(line));
        }
        let mut short = short.into_bytes();
        short.extend_from_slice(rest);
        short
    }

    fn without_query(&self, line: &str) -> Option<String> {
        let (method, rest) = line.split_once(' ')?;
        let (target, version) = rest.rsplit_once(' ')?;
        let (path, query) = target.split_once('?').filter(|(_, query)| query.len() > LONG_PART)?;
        // A target without query stays, for the parser to refuse.
        let graphic = query.bytes().all(|byte| byte.is_ascii_graphic());
        (graphic && self.parts.query.set(query.to_owned()).is_ok())
            .then(|| format!("{method} {path}?{MARK} {version}"))
    }

    fn without_authorization(&self, line: &str) -> Option<String> {
        let (name, value) = line.split_once(':').filter(|(_, value)| value.len() > LONG_PART)?;
        let value = HeaderValue::from_str(value.trim()).ok()?;
        (name.eq_ignore_ascii_case(AUTHORIZATION.as_str())
            && self.parts.authorization.set(value).is_ok())
        .then(|| format!("{name}: {MARK}"))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_short_head_passes_as_it_is_however_it_is_cut() {
        let head = b"GET /rtc?a=b HTTP/1.1\r\nhost: x\r\n\r\nrest";
        for cut in 0..head.len() {
            let (mut first, parts) = first(1);
            let (one, two) = head.split_at(cut);
            let complete = match first.handle_bytes(one).unwrap() {
                Some(complete) => [&complete, two].concat(),
                None => first.handle_bytes(two).unwrap().unwrap(),
            };
            assert_eq!(complete, head);
            assert_eq!(parts.query.get(), None);
        }
    }

    #[test]
    fn long_parts_are_taken_out_and_put_back() {
        let (mut first, long) = first(1);
        let token = "t".repeat(400_000);
        let head = format!(
            "GET /rtc?access_token={token}&a=b HTTP/1.1\r\nhost: x\r\nAUTHORIZATION:  Bearer {token}\r\n\r\nrest"
        );
        let mut pieces = head.as_bytes().chunks(16 * 1_024);
        let short = pieces.find_map(|piece| first.handle_bytes(piece).unwrap()).unwrap();
        let expected =
            format!("GET /rtc?{MARK} HTTP/1.1\r\nhost: x\r\nAUTHORIZATION: {MARK}\r\n\r\nrest");
        assert_eq!(String::from_utf8(short).unwrap(), expected);

        let request = Request::get(format!("/rtc?{MARK}")).header("authorization", MARK);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(long.restore(&mut parts), format!("access_token={token}&a=b"));
        assert_eq!(parts.headers["authorization"], format!("Bearer {token}"));
        let request = Request::get("/rtc?c=d").header("authorization", "Bearer x");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(long.restore(&mut parts), "c=d");
        assert_eq!(parts.headers["authorization"], "Bearer x");
    }

    #[test]
    fn the_mark_of_a_stranger_means_nothing() {
        let request = Request::get(format!("/rtc?{MARK}")).header("authorization", MARK);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(LongParts::default().restore(&mut parts), MARK);
        assert_eq!(parts.headers["authorization"], MARK);
    }

    #[test]
    fn long_heads_are_bounded_each_and_together() {
        let (mut endless, _) = first(1);
        let piece = [b'x'; 16 * 1_024];
        let taken = (0..).take_while(|_| endless.handle_bytes(&piece).is_ok()).count();
        assert_eq!(taken, LONGEST / piece.len());

        let permits = Arc::new(Semaphore::new(1));
        let mut heads = [0, 1].map(|_| FirstHead::new(Arc::default(), permits.clone()));
        let half = vec![b'x'; USUAL + 1];
        assert_eq!(heads[0].handle_bytes(&half), Ok(None));
        assert_eq!(heads[1].handle_bytes(&half), Err(TooLong), "one at a time");
        assert!(heads[0].handle_bytes(b"\r\n\r\n").unwrap().is_some());
        assert_eq!(permits.available_permits(), 1, "a complete head holds none");
    }

    #[test]
    fn a_malformed_head_passes_to_the_parser_that_refuses_it() {
        for line in [
            "\0".repeat(50_000),
            "GET ".repeat(20_000),
            format!("GET /?{} HTTP/1.1", "ä".repeat(40_000)),
        ] {
            let (mut first, _) = first(1);
            let bytes = format!("{line}\r\n\r\n").into_bytes();
            assert_eq!(first.handle_bytes(&bytes), Ok(Some(bytes.clone())));
        }
        let (mut first, _) = first(1);
        assert_eq!(first.handle_bytes(b"GET / HT"), Ok(None));
        assert_eq!(first.handle_end(), b"GET / HT");
    }

    fn first(permits: usize) -> (FirstHead, Arc<LongParts>) {
        let parts = Arc::<LongParts>::default();
        (FirstHead::new(parts.clone(), Arc::new(Semaphore::new(permits))), parts)
    }
}
