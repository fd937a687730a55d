//! From what a media thread saw of a client to sentences for people.
//!
//! * **Owns:** the words.
//! * **In:** [`Connectivity`], what we offered, which kinds of candidates the client has.
//! * **Out:** [`Explanation`].
//! * **Invariant:** it says what was seen, then what that usually means and what to change; nothing is said that was
//!   not seen.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hearth_datagram::Protocol;
use hearth_plane::{
    Connectivity, ConnectivityStage, HandshakeFailure, HandshakeProgress, Unsent, Way,
};

use super::Explanation;

/// Where we told the client to send to.
pub(super) struct Offered<'a> {
    pub(super) udp: &'a [SocketAddr],
    pub(super) tcp: &'a [SocketAddr],
}

/// Kinds of candidates that a client has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct ClientCandidates {
    /// With an address that can be read.
    direct: bool,
    /// With a name of multicast DNS, which hides the address.
    hidden: bool,
    /// Of a TURN server.
    relayed: bool,
}

impl ClientCandidates {
    /// RFC 8839 §5.1: `candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type>`.
    pub(super) fn add(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("candidate:") else { return };
        let mut words = rest.split_ascii_whitespace();
        let address = words.nth(4).unwrap_or_default();
        match words.nth(2) {
            Some("relay") => self.relayed = true,
            Some(_) if address.ends_with(".local") => self.hidden = true,
            Some(_) => self.direct = true,
            None => {}
        }
    }
}

/// See the module documentation; `None` if the client is connected again.
pub(super) fn explain(
    seen: &Connectivity,
    offered: &Offered<'_>,
    client: ClientCandidates,
) -> Option<Explanation> {
    let (text, detail) = match seen.stage {
        ConnectivityStage::Restored => return None,
        ConnectivityStage::Silent(silence) => lost(seen, silence),
        ConnectivityStage::Connecting(_) | ConnectivityStage::NeverConnected(_) => {
            (not_connected(seen, offered, client), last_check(seen))
        }
    };
    Some(Explanation { text, detail, settled: seen.stage.is_final() })
}

fn lost(seen: &Connectivity, silence: Duration) -> (String, Option<String>) {
    let text = format!(
        "Nothing has come from the client for {} s, after it was connected. Its network is gone or another one, or a \
         firewall on the way has forgotten the connection.",
        silence.as_secs()
    );
    let detail = seen.nominated.map(|path| {
        let (remote, local, protocol) = (path.remote, path.local, name(path.protocol));
        format!("The last packet came from {remote} to {local} ({protocol}).")
    });
    (text, detail)
}

fn not_connected(seen: &Connectivity, offered: &Offered<'_>, client: ClientCandidates) -> String {
    if let Some(failed) = handshake_failed(seen.handshake) {
        return failed.to_owned();
    }
    let valid: u32 = seen.ways.iter().map(|way| way.valid).fold(0, u32::saturating_add);
    let invalid: u32 = seen.ways.iter().map(|way| way.invalid).fold(0, u32::saturating_add);
    match (seen.handshake, valid, invalid) {
        (HandshakeProgress::Begun | HandshakeProgress::Done, ..) => {
            "The client began to encrypt (DTLS) and did not finish: long packets are lost on the way, as where the MTU is \
             below 1,280 bytes, or most packets are."
                .to_owned()
        }
        (_, 0, 0) if !seen.described => {
            "The client did not answer our offer, so that no connection could begin.".to_owned()
        }
        (_, 0, 0) => nothing_came(offered, client),
        (_, 0, _) => format!(
            "Packets of the client came to {}, but with a password that is not the one of this call: it uses an old \
             session, or another server has the same address.",
            ways(&seen.ways)
        ),
        (..) => unanswered(seen, offered),
    }
}

fn nothing_came(offered: &Offered<'_>, client: ClientCandidates) -> String {
    if client == ClientCandidates::default() {
        return "The client tried no address: it has no network, may use relays (TURN) only and knows none, or its browser \
                blocks WebRTC."
            .to_owned();
    }
    if client.relayed && !client.direct && !client.hidden && offered.udp.is_empty() {
        return "The client uses relays (TURN) only, which need UDP to the server, and that offers none (rtc.force_tcp)."
            .to_owned();
    }
    if client.relayed && !client.direct && !client.hidden {
        return format!(
            "The client uses relays (TURN) only, and nothing of its relay reached {}: the relay may not send there.",
            list(offered.udp, "UDP")
        );
    }
    let (udp, tcp) = (list(offered.udp, "UDP"), list(offered.tcp, "TCP"));
    let (where_to, blocked) = match (offered.udp, offered.tcp) {
        (_, []) => (udp, "drops UDP"),
        ([], _) => (tcp, "drops it"),
        _ => (format!("{udp} or {tcp}"), "drops both"),
    };
    let tried = format!("No packet of the client reached {where_to}");
    let cause = match unreachable_kind(offered) {
        Some(Kind::Loopback) => {
            ", which can be reached from the server's own machine only: set rtc.node_ip (--node-ip)".to_owned()
        }
        Some(Kind::Private) => {
            ", a private address, which can be reached in the server's own network only: set rtc.node_ip to the public \
             address, or let UDP through if the client is in that network"
                .to_owned()
        }
        None => format!(
            ": its firewall or the server's {blocked}, or that address is not the server's (rtc.node_ip)"
        ),
    };
    let tcp = if offered.tcp.is_empty() {
        " TCP was not tried, as the server offers none (rtc.tcp_port)."
    } else {
        ""
    };
    format!("{tried}{cause}.{tcp}")
}

fn unanswered(seen: &Connectivity, offered: &Offered<'_>) -> String {
    let came = ways(&seen.ways);
    if let Some(unsent) = seen.unsent {
        let why = match unsent {
            Unsent::Unreachable => "it has no route to the client",
            Unsent::Denied => "a firewall of its own forbids it; let UDP out of the server's ports",
            Unsent::Refused => "the system refuses to",
        };
        return format!(
            "Packets of the client came to {came}, but the server could not answer: {why}."
        );
    }
    if seen.nominated.is_some() {
        return format!(
            "The client chose the way by {came}, but did not begin to encrypt (DTLS): a firewall on the way lets the checks \
             of ICE through and nothing else, or our answers are lost."
        );
    }
    let ours: Vec<_> = [(offered.udp, "UDP"), (offered.tcp, "TCP")]
        .into_iter()
        .filter(|(addrs, _)| !addrs.is_empty())
        .map(|(addrs, protocol)| list(addrs, protocol))
        .collect();
    format!(
        "Packets of the client came to {came} and were answered, but it did not go on: our answers do not reach it. A \
         firewall drops what leaves the server, or a NAT on the way has another address than {}.",
        ours.join(" and ")
    )
}

fn handshake_failed(handshake: HandshakeProgress) -> Option<&'static str> {
    let HandshakeProgress::Failed(failure) = handshake else { return None };
    Some(match failure {
        HandshakeFailure::Fingerprint => {
            "The client's certificate is not the one that it announced (DTLS fingerprint): something on the way changes \
             descriptions or packets."
        }
        // RFC 5246 §7.2: bad, unsupported, revoked, expired, unknown certificate; unknown CA.
        HandshakeFailure::Alert(42..=46 | 48) => {
            "The client refused the server's certificate (DTLS): something on the way changes descriptions or packets."
        }
        HandshakeFailure::Alert(40 | 70 | 71) | HandshakeFailure::Version => {
            "Client and server have no version or cipher of DTLS in common: the client is too old, or set up to refuse \
             DTLS 1.2."
        }
        HandshakeFailure::Timeout => {
            "The client began to encrypt (DTLS) and did not finish: long packets are lost on the way, as where the MTU is \
             below 1,280 bytes, or most packets are."
        }
        HandshakeFailure::Alert(_) => {
            "The client broke the encryption's handshake off (DTLS alert)."
        }
        HandshakeFailure::Other => "The encryption's handshake (DTLS) failed.",
    })
}

fn last_check(seen: &Connectivity) -> Option<String> {
    let way = seen.ways.iter().max_by_key(|way| way.valid)?;
    let Way { protocol, local, valid, invalid, last_from } = way;
    let total = valid.saturating_add(*invalid);
    let protocol = name(*protocol);
    Some(format!("{total} checks came to {local} ({protocol}), the last from {last_from}."))
}

enum Kind {
    Loopback,
    Private,
}

/// What all offered addresses are, if clients elsewhere cannot reach any.
fn unreachable_kind(offered: &Offered<'_>) -> Option<Kind> {
    let all = || offered.udp.iter().chain(offered.tcp).map(SocketAddr::ip);
    if all().all(|ip| ip.is_loopback()) {
        Some(Kind::Loopback)
    } else if all().all(|ip| ip.is_loopback() || is_private(ip)) {
        Some(Kind::Private)
    } else {
        None
    }
}

/// RFC 1918, RFC 6598, RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn ways(ways: &[Way]) -> String {
    let each = ways.iter().map(|way| format!("{} ({})", way.local, name(way.protocol)));
    each.collect::<Vec<_>>().join(", ")
}

fn list(addrs: &[SocketAddr], protocol: &str) -> String {
    let each: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    format!("{} ({protocol})", each.join(", "))
}

const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
        Protocol::Relay => "TURN",
    }
}

#[cfg(test)]
mod tests {
    use hearth_datagram::Endpoint;

    use super::*;

    const SERVER: &str = "203.0.113.7:7882";

    #[test]
    fn each_failure_has_its_own_words() {
        let host = "candidate:1 1 udp 2122260223 198.51.100.4 54321 typ host";
        let relay = "candidate:1 1 udp 41885439 198.51.100.9 3478 typ relay raddr 0.0.0.0 rport 0";
        let hidden = "candidate:1 1 udp 2122260223 a1b2.local 54321 typ host";
        let failed = |failure| seen(&[(9, 0)], true, HandshakeProgress::Failed(failure));
        let none = HandshakeProgress::NotBegun;
        // (what was seen, what is offered, the client's candidate, words)
        let table: [(Connectivity, &str, &str, &[&str]); 17] = [
            (
                seen(&[], false, none),
                SERVER,
                host,
                &[SERVER, "(UDP)", "drops UDP", "rtc.node_ip", "rtc.tcp_port"],
            ),
            (seen(&[], false, none), SERVER, hidden, &[SERVER, "drops UDP"]),
            (seen(&[], false, none), "127.0.0.1:7882", host, &["own machine only", "--node-ip"]),
            (seen(&[], false, none), "10.0.0.5:7882", host, &["private", "rtc.node_ip"]),
            (seen(&[], false, none), "100.64.1.1:7882 [fd00::1]:7882", host, &["private"]),
            (seen(&[], false, none), SERVER, relay, &["relays (TURN) only", SERVER]),
            (seen(&[], false, none), SERVER, "", &["no address", "relays"]),
            (undescribed(), SERVER, "", &["did not answer our offer"]),
            (seen(&[(0, 4)], false, none), SERVER, host, &["password", "old session"]),
            (seen(&[(7, 0)], false, none), SERVER, host, &["our answers do not reach it", SERVER]),
            (unsent(Unsent::Denied), SERVER, host, &["could not answer", "firewall of its own"]),
            (unsent(Unsent::Unreachable), SERVER, host, &["no route"]),
            (seen(&[(7, 0)], true, none), SERVER, host, &["did not begin to encrypt"]),
            (seen(&[(7, 0)], true, HandshakeProgress::Begun), SERVER, host, &["MTU"]),
            (failed(HandshakeFailure::Fingerprint), SERVER, host, &["fingerprint"]),
            (failed(HandshakeFailure::Alert(42)), SERVER, host, &["server's certificate"]),
            (failed(HandshakeFailure::Alert(70)), SERVER, host, &["version"]),
        ];
        for (seen, addrs, candidate, words) in table {
            let said = said(&seen, addrs, candidate);
            for word in words {
                assert!(said.text.contains(word), "{word}: {}", said.text);
            }
            let sentences = said.text.matches(". ").count() + 1;
            assert!(said.text.ends_with('.') && sentences <= 2, "{}", said.text);
            assert!(!said.text.contains("198.51.100."), "{}", said.text);
        }
    }

    #[test]
    fn a_lost_path_is_said_with_the_last_packet() {
        let path = Endpoint::udp(addr("10.0.0.1:7882"), addr("198.51.100.4:54321"));
        let stage = ConnectivityStage::Silent(Duration::from_secs(15));
        let seen = Connectivity {
            stage,
            nominated: Some(path),
            ..seen(&[(90, 0)], true, HandshakeProgress::Done)
        };
        let said = said(&seen, SERVER, "");
        assert!(said.settled && said.text.contains("for 15 s"), "{}", said.text);
        assert!(said.detail.unwrap().contains("198.51.100.4:54321 to 10.0.0.1:7882 (UDP)"));
    }

    #[test]
    fn tcp_that_is_offered_was_tried() {
        let mut client = ClientCandidates::default();
        client.add("candidate:1 1 udp 1 198.51.100.4 5 typ host");
        let (udp, tcp) = ([addr(SERVER)], [addr("203.0.113.7:7881")]);
        let offered = Offered { udp: &udp, tcp: &tcp };
        let said =
            explain(&seen(&[], false, HandshakeProgress::NotBegun), &offered, client).unwrap();
        assert!(said.text.contains("or 203.0.113.7:7881 (TCP)"), "{}", said.text);
        assert!(!said.text.contains("not tried"), "{}", said.text);

        // Without UDP nothing is said of it.
        let offered = Offered { udp: &[], tcp: &tcp };
        for seen in [
            seen(&[], false, HandshakeProgress::NotBegun),
            seen(&[(5, 0)], false, HandshakeProgress::NotBegun),
        ] {
            let said = explain(&seen, &offered, client).unwrap().text;
            assert!(said.contains("203.0.113.7:7881 (TCP)") && !said.contains(" (UDP)."), "{said}");
        }
        let mut relayed = ClientCandidates::default();
        relayed.add("candidate:1 1 udp 1 198.51.100.4 5 typ relay");
        let said = explain(&seen(&[], false, HandshakeProgress::NotBegun), &offered, relayed)
            .unwrap()
            .text;
        assert!(said.contains("rtc.force_tcp"), "{said}");
    }

    fn said(seen: &Connectivity, addrs: &str, candidate: &str) -> Explanation {
        let udp: Vec<SocketAddr> = addrs.split(' ').map(addr).collect();
        let mut client = ClientCandidates::default();
        client.add(candidate);
        explain(seen, &Offered { udp: &udp, tcp: &[] }, client).unwrap()
    }

    fn seen(counts: &[(u32, u32)], nominated: bool, handshake: HandshakeProgress) -> Connectivity {
        let (local, last_from) = (addr("10.0.0.1:7882"), addr("198.51.100.4:54321"));
        let way = |(valid, invalid): &(u32, u32)| Way {
            protocol: Protocol::Udp,
            local,
            valid: *valid,
            invalid: *invalid,
            last_from,
        };
        Connectivity {
            stage: ConnectivityStage::Connecting(Duration::from_secs(9)),
            described: true,
            ways: counts.iter().map(way).collect(),
            nominated: nominated.then(|| Endpoint::udp(local, last_from)),
            handshake,
            channels: false,
            unsent: None,
        }
    }

    fn unsent(why: Unsent) -> Connectivity {
        Connectivity { unsent: Some(why), ..seen(&[(7, 0)], false, HandshakeProgress::NotBegun) }
    }

    fn undescribed() -> Connectivity {
        Connectivity { described: false, ..seen(&[], false, HandshakeProgress::NotBegun) }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
