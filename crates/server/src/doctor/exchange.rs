//! One request and its answer: HTTP and SNTP, as little of them as a check needs.
//!
//! * **Owns:** nothing.
//! * **In:** a server's address. **Out:** its answer, or why there is none.
//! * **Invariant:** answers are bounded in size, and each exchange has a deadline.
//! * **Spec:** RFC 9112 (HTTP/1.1), RFC 4330 (SNTP).

use std::net::SocketAddr;
use std::time::Duration;

use hearth_runtime::WallClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::certificate::days;
use super::facts::Looked;

/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 * 1_024;
/// How long a time server may take.
const NTP_DEADLINE: Duration = Duration::from_secs(2);
const NTP_PORT: u16 = 123;
/// From 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: i64 = 2_208_988_800;

/// An answer over HTTP.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Of the header `Date`: seconds since 1970.
    pub(super) date: Option<i64>,
    pub(super) body: String,
}

/// Asks an HTTP server once.
pub(super) async fn http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
    token: Option<&str>,
) -> Looked<Answer> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(addr).await.map_err(text)?;
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\naccept: */*\r\n{}content-type: \
         application/json\r\ncontent-length: {}\r\n\r\n{body}",
        authorization.unwrap_or_default(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await.map_err(text)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| "it does not speak HTTP".to_owned())
}

/// Reads an answer; `None` if it is not one of HTTP.
pub(super) fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let dates = head.lines().filter_map(|line| line.split_once(':'));
    let mut dates = dates.filter(|(name, _)| name.eq_ignore_ascii_case("date"));
    let date = dates.next().and_then(|(_, text)| http_date(text.trim()));
    Some(Answer { status, date, body: body.to_owned() })
}

/// `Mon, 30 Nov 2026 15:59:53 GMT` (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = (1..).zip(MONTHS).find_map(|(n, month)| (month == name).then_some(n))?;
    let year: u64 = words.next()?.parse().ok()?;
    let of_day = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let of_day = of_day.collect::<Option<Vec<u64>>>()?;
    let [hours, minutes, seconds] = of_day[..] else { return None };
    let days = days(year, month, day)?;
    i64::try_from(days * 86_400 + hours * 3_600 + minutes * 60 + seconds).ok()
}

/// How far ahead of a time server this machine's clock is, in milliseconds.
pub(super) async fn ntp(server: &str) -> Looked<i64> {
    let exchange = async {
        let text = |error: std::io::Error| error.to_string();
        let addr = resolve(server, NTP_PORT).await?;
        let local: SocketAddr =
            if addr.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(local).await.map_err(text)?;
        socket.connect(addr).await.map_err(text)?;
        let mut request = [0; 48];
        // Version 4, client.
        if let Some(first) = request.first_mut() {
            *first = 0x23;
        }
        let sent = unix_ms();
        socket.send(&request).await.map_err(text)?;
        let mut answer = [0; 96];
        let len = socket.recv(&mut answer).await.map_err(text)?;
        let middle = sent.midpoint(unix_ms());
        let theirs = answer.get(..len).and_then(ntp_time).ok_or("it does not speak NTP")?;
        Ok(middle - theirs)
    };
    timeout(NTP_DEADLINE, exchange).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

/// The transmit timestamp of an answer, in milliseconds since 1970.
fn ntp_time(answer: &[u8]) -> Option<i64> {
    // Mode 4 is that of a server, which says stratum 0 if it does not know the time.
    let (&first, &stratum) = (answer.first()?, answer.get(1)?);
    let seconds = u32::from_be_bytes(*answer.get(40..44)?.first_chunk::<4>()?);
    let fraction = u32::from_be_bytes(*answer.get(44..48)?.first_chunk::<4>()?);
    let valid = first & 7 == 4 && stratum != 0 && seconds != 0;
    // Seconds wrap in 2036: the upper half is before that.
    let era = if seconds & 0x8000_0000 == 0 { 1_i64 << 32 } else { 0 };
    let milliseconds = (i64::from(fraction) * 1_000) >> 32;
    valid.then_some((era + i64::from(seconds) - NTP_TO_UNIX) * 1_000 + milliseconds)
}

/// The first address of `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
pub(super) async fn resolve(host: &str, port: u16) -> Looked<SocketAddr> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let mut addrs = lookup_host(target).await.map_err(|error| format!("{host}: {error}"))?;
    addrs.next().ok_or_else(|| format!("{host} stands for no address"))
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> i64 {
    i64::try_from(WallClock::unix_ms()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.1 401 Unauthorized\r\nvary: x\r\n\r\nno").unwrap();
        assert_eq!((answer.status, answer.date, answer.body.as_str()), (401, None, "no"));
        let dated =
            parse("HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 15:59:53 GMT\r\n\r\n").unwrap();
        assert_eq!(dated.date, Some(1_796_054_393));
        for text in ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_is_that_of_the_answers_departure() {
        let mut answer = [0; 48];
        (answer[0], answer[1]) = (0x24, 2);
        // 2026-01-01 00:00:00.5
        answer[40..44].copy_from_slice(&(1_767_225_600_u32 + 2_208_988_800).to_be_bytes());
        answer[44] = 0x80;
        assert_eq!(ntp_time(&answer), Some(1_767_225_600_500));
        // 2040-01-01: seconds have wrapped.
        answer[40..44]
            .copy_from_slice(&(2_208_988_800_u32.wrapping_add(2_208_988_800)).to_be_bytes());
        assert_eq!(ntp_time(&answer), Some(2_208_988_800_500));
        answer[1] = 0;
        assert_eq!(ntp_time(&answer), None);
        assert_eq!(ntp_time(&answer[..47]), None);
    }

    #[tokio::test]
    async fn hosts_are_named_with_and_without_a_port() {
        for (host, addr) in [
            ("127.0.0.1", "127.0.0.1:9"),
            ("127.0.0.1:8", "127.0.0.1:8"),
            ("::1", "[::1]:9"),
            ("[::1]", "[::1]:9"),
            ("[::1]:8", "[::1]:8"),
        ] {
            assert_eq!(resolve(host, 9).await, Ok(addr.parse().unwrap()), "{host}");
        }
    }
}
