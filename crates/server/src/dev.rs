//! The banner that `--dev` prints: address, token, commands to copy.
//!
//! * **Owns:** nothing.
//! * **In:** the configuration and the port that was bound.
//! * **Out:** a page of text on standard output: addresses, a token, commands to copy.
//! * **Invariant:** every command in it works as printed.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hearth_access::{TokenBuilder, VideoGrant};

use crate::config::{Config, DEV_KEY};
use crate::print_line;
use crate::tls::Secured;

/// The room of everything that is printed.
pub(crate) const ROOM: &str = "demo";
const VALID_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Prints the page; `now_unix` in seconds.
pub(crate) fn print_banner(config: &Config, secured: &Secured, port: u16, now_unix: u64) {
    if let Some(key) = config.keys().first() {
        let host = reachable(config.bind(), port);
        let others = match secured.authority {
            Some(_) => String::new(),
            None => others(config.bind(), &hearth_runtime::host_addresses(false), port),
        };
        print_line(&page(&program(), &host, &others, key, now_unix));
    }
    if let Some(lan) = &secured.lan {
        print_line(&lan.page(port));
    }
}

/// The command of this program: its name if a shell finds it by that, else as it was started.
fn program() -> String {
    let name = env!("CARGO_PKG_NAME");
    let first = env::var_os("PATH").and_then(|path| {
        env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    });
    let here = env::current_exe().and_then(|exe| exe.canonicalize());
    if first.zip(here.ok()).is_some_and(|(file, exe)| file.canonicalize().is_ok_and(|f| f == exe)) {
        return name.to_owned();
    }
    let started = env::args_os().next().unwrap_or_else(|| name.into());
    quoted(&started.to_string_lossy())
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The machine's addresses at which other machines reach the page.
fn others(bind: &[IpAddr], addresses: &[IpAddr], port: u16) -> String {
    let heard = |ip: &&IpAddr| {
        let takes = |bind: &IpAddr| {
            bind == *ip || (bind.is_unspecified() && (bind.is_ipv6() || ip.is_ipv4()))
        };
        !ip.is_loopback() && (bind.is_empty() || bind.iter().any(takes))
    };
    let page = |ip: &IpAddr| {
        let host = SocketAddr::new(*ip, port);
        format!(
            "  from elsewhere  http://{host}/?token=TOKEN   (each with a token of their own, see below)\n"
        )
    };
    addresses.iter().filter(heard).map(page).collect()
}

/// Host and port for a browser on this machine.
fn reachable(bind: &[IpAddr], port: u16) -> String {
    let here = bind.is_empty() || bind.iter().any(|ip| ip.is_loopback() || ip.is_unspecified());
    match bind.first() {
        Some(ip) if !here => SocketAddr::new(*ip, port).to_string(),
        Some(_) | None => format!("localhost:{port}"),
    }
}

fn page(
    program: &str,
    host: &str,
    others: &str,
    (key, secret): &(String, String),
    now_unix: u64,
) -> String {
    let signer = if (key.as_str(), secret.as_str()) == DEV_KEY {
        "--dev".to_owned()
    } else {
        format!("--api-key {key} --api-secret {secret}")
    };
    let token = TokenBuilder::new()
        .identity("guest")
        .name("Guest")
        .video(VideoGrant::join(ROOM))
        .sign(key, secret, now_unix, VALID_FOR)
        .unwrap_or_default();
    format!(
        "
Hearth is running for development: whoever can reach it can make tokens with these keys.

  demo page       http://{host}/?room={ROOM}
{others}  server URL      ws://{host}
  API key         {key}
  API secret      {secret}

A token for \"guest\" in the room \"{ROOM}\", valid for 24 hours:

  {token}

More tokens, a participant who shows a test picture, the same with the LiveKit command line, a load test:

  {program} token create {signer} --join --room {ROOM} --identity alice --valid-for 24h
  {program} room join {signer} --url ws://{host} --publish-demo {ROOM}
  lk room join --url ws://{host} --api-key {key} --api-secret {secret} --identity bob --publish-demo {ROOM}
  {program} load-test {signer} --url ws://{host} --video-publishers 1 --subscribers 20 --duration 20s

Ctrl-C stops the server.
"
    )
}

#[cfg(test)]
mod tests {
    use hearth_access::Keys;

    use super::*;

    #[test]
    fn the_printed_token_is_good_for_the_printed_room() {
        let key = ("devkey".to_owned(), "secret".to_owned());
        let page = page("hearth", "localhost:7880", "", &key, 1_800_000_000);
        let token = page.lines().map(str::trim).find(|line| line.starts_with("ey")).unwrap();
        let keys = Keys::new([("devkey".to_owned(), "secret".to_owned())]);
        let claims = keys.verify(token, 1_800_000_000).unwrap();
        assert_eq!((claims.identity.as_str(), claims.video.room.as_str()), ("guest", ROOM));
        assert!(page.contains("http://localhost:7880/?room=demo"));
        assert!(page.contains("hearth token create --dev --join"));
    }

    #[test]
    fn the_printed_host_is_one_that_is_listened_on() {
        for (bind, host) in [
            (&[][..], "localhost:1"),
            (&["127.0.0.1", "::1"], "localhost:1"),
            (&["0.0.0.0"], "localhost:1"),
            (&["192.0.2.7"], "192.0.2.7:1"),
            (&["2001:db8::7"], "[2001:db8::7]:1"),
        ] {
            let bind: Vec<IpAddr> = bind.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(reachable(&bind, 1), host);
        }
    }

    #[test]
    fn the_banner_names_the_addresses_that_are_listened_on() {
        let ips =
            |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let machine = ips(&["192.0.2.7", "2001:db8::7"]);
        for (bind, told) in [
            (&["127.0.0.1", "::1"][..], &[][..]),
            (&["0.0.0.0"], &["http://192.0.2.7:1/"]),
            (&["::"], &["http://192.0.2.7:1/", "http://[2001:db8::7]:1/"]),
            (&[], &["http://192.0.2.7:1/", "http://[2001:db8::7]:1/"]),
            (&["2001:db8::7"], &["http://[2001:db8::7]:1/"]),
        ] {
            let text = others(&ips(bind), &machine, 1);
            assert_eq!(text.lines().count(), told.len(), "{bind:?}: {text}");
            assert!(told.iter().all(|page| text.contains(page)), "{bind:?}: {text}");
        }
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted("target/release/hearth"), "target/release/hearth");
        assert_eq!(quoted("/my dir/it's"), "'/my dir/it'\\''s'");
    }
}
