//! Asking a second instance what it reaches of this one.
//!
//! * **Owns:** which ports are asked about.
//! * **In:** the configuration and [`Facts`] of this machine. **Out:** what the second instance found, its clock, the
//!   certificates that it was shown; whether this machine reaches its own public address.
//! * **Invariant:** without a second instance that takes our keys nothing is known, and the reason is said.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearth_access::{TokenBuilder, VideoGrant};
use hearth_http::{MAX_PROBES, Probe, ProbeKind};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::certificate::Leaf;
use super::exchange::{Answer, http, parse, resolve, unix_ms};
use super::facts::{CertificateFiles, Facts, Looked, Outside, Reach, Transport};
use crate::config::Config;

/// The port of a second instance unless it is named.
const PORT: u16 = 7880;
/// Above what the second instance gives a port.
const DEADLINE: Duration = Duration::from_millis(3_500);
/// How long the token is valid.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Default)]
pub(super) struct Reflection {
    pub(super) outside: Option<Looked<Outside>>,
    pub(super) clock: Option<(String, Looked<i64>)>,
    pub(super) certificates: Vec<CertificateFiles>,
}

/// See the module documentation.
pub(super) async fn ask(config: &Config, facts: &Facts, from: Option<&str>) -> Reflection {
    let Some(host) = from else { return Reflection::default() };
    match timeout(DEADLINE, exchange(config, facts, host)).await {
        Ok(Ok(reflection)) => reflection,
        Ok(Err(why)) => failed(host, &why),
        Err(_) => failed(host, "no answer"),
    }
}

fn failed(host: &str, why: &str) -> Reflection {
    let outside = Some(Err(format!("{host} could not be asked what it reaches: {why}")));
    Reflection {
        outside,
        clock: Some((host.to_owned(), Err(why.to_owned()))),
        certificates: Vec::new(),
    }
}

struct Wanted {
    kind: ProbeKind,
    port: u16,
    key: &'static str,
    name: String,
}

async fn exchange(config: &Config, facts: &Facts, host: &str) -> Looked<Reflection> {
    let addr = resolve(host, PORT).await?;
    let asked = unix_ms();
    let first = http(addr, "GET", "/", "", None).await?;
    if is_https_only(&first) {
        return Err(
            "it speaks HTTPS only, and is asked in plain HTTP; set tls.plain_http there".to_owned()
        );
    }
    // Half a second is lost where the time is told in seconds.
    let ahead = first.date.map(|theirs| asked.midpoint(unix_ms()) - (theirs * 1_000 + 500));
    let token = token(config, ahead.unwrap_or(0))?;
    let mut reflection = match reach(facts, host, addr, &token).await {
        Ok(reflection) => reflection,
        Err(why) => failed(host, &why),
    };
    reflection.clock = Some((host.to_owned(), ahead.ok_or_else(|| "it does not say".to_owned())));
    Ok(reflection)
}

/// It is a Hearth with a certificate, and nothing else.
pub(super) fn is_https_only(answer: &Answer) -> bool {
    Some(answer) == parse(&String::from_utf8_lossy(hearth_listener::USE_HTTPS)).as_ref()
}

/// Has the second instance try the ports.
async fn reach(facts: &Facts, host: &str, addr: SocketAddr, token: &str) -> Looked<Reflection> {
    let wanted = wanted(facts);
    // One address: that of the family by which the second instance is reached.
    let ours = facts.settings.advertised.iter();
    let named = ours.copied().find(|ip| ip.is_ipv4() == addr.is_ipv4() && !ip.is_loopback());
    let mut asking = JoinSet::new();
    for (n, some) in wanted.chunks(MAX_PROBES).enumerate() {
        let probe = |w: &Wanted| json!({ "kind": w.kind.name(), "port": w.port, "name": w.name });
        let probes: Vec<Value> = some.iter().map(probe).collect();
        let body = json!({ "address": named.map(|ip| ip.to_string()), "probes": probes });
        let (body, token) = (body.to_string(), token.to_owned());
        asking.spawn(
            async move { (n, http(addr, "POST", "/debug/reach", &body, Some(&token)).await) },
        );
    }
    let (mut answers, hairpin) = tokio::join!(asking.join_all(), hairpin(facts, named));
    answers.sort_by_key(|(n, _)| *n);
    let (mut source, mut results) = (None, Vec::new());
    for (_, answer) in answers {
        let answer = understood(answer?)?;
        source = answer.get("source").and_then(Value::as_str).and_then(|ip| ip.parse().ok());
        results
            .extend(answer.get("results").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    Ok(read((source, &results), host, named, &wanted, hairpin))
}

fn understood(answer: Answer) -> Looked<Value> {
    match answer.status {
        200 => {}
        401 => return Err("it does not take our API keys; give it the same `keys:`".to_owned()),
        404 => {
            return Err("it has no /debug/reach: it is no Hearth, or an older one".to_owned());
        }
        status => return Err(format!("it said {status}: {}", answer.body.trim())),
    }
    let why = "it is no Hearth: it answered no JSON";
    serde_json::from_str(&answer.body).map_err(|_| why.to_owned())
}

/// Whether this machine reaches the address that clients are told, if that is not its own but a NAT's.
async fn hairpin(facts: &Facts, named: Option<IpAddr>) -> Option<Looked<bool>> {
    let ip = named?;
    if facts.interfaces.iter().any(|(_, ours)| *ours == ip) {
        return None;
    }
    let addr = SocketAddr::new(ip, *facts.settings.udp_ports.first()?);
    let probe = Probe { kind: ProbeKind::Udp, addr, name: String::new() };
    Some(Ok(probe.run().await.is_ok()))
}

fn read(
    (source, results): (Option<IpAddr>, &[Value]),
    host: &str,
    named: Option<IpAddr>,
    wanted: &[Wanted],
    hairpin: Option<Looked<bool>>,
) -> Reflection {
    let mut reaches = Vec::new();
    let mut certificates = Vec::new();
    let target = named.or(source);
    for (wanted, result) in wanted.iter().zip(results) {
        let Some(ip) = target else { continue };
        let reached = result.get("reached").and_then(Value::as_bool) == Some(true);
        let why = result.get("why").and_then(Value::as_str).unwrap_or("no answer");
        let transport = match wanted.kind {
            ProbeKind::Udp => Transport::Udp,
            ProbeKind::Tcp | ProbeKind::Tls => Transport::Tcp,
        };
        let outcome = if reached { Ok(()) } else { Err(why.to_owned()) };
        reaches.push(Reach {
            transport,
            addr: SocketAddr::new(ip, wanted.port),
            outcome,
            key: wanted.key,
        });
        if let Some(shown) = result.get("certificate").and_then(Value::as_str) {
            certificates.push(shown_certificate(wanted, host, shown));
        }
    }
    let outside = Some(Ok(Outside { host: host.to_owned(), source, reaches, hairpin }));
    Reflection { outside, clock: None, certificates }
}

/// A certificate as a client elsewhere is shown it.
fn shown_certificate(wanted: &Wanted, host: &str, shown: &str) -> CertificateFiles {
    let der = BASE64.decode(shown).map_err(|error| error.to_string());
    CertificateFiles {
        section: "tls",
        cert_file: format!("shown to {host} on port {}", wanted.port),
        key_file: String::new(),
        domains: Some(wanted.name.clone()).filter(|name| !name.is_empty()).into_iter().collect(),
        certificate: der.and_then(|der| Leaf::from_der(&der)),
        key_matches: Ok(true),
    }
}

fn wanted(facts: &Facts) -> Vec<Wanted> {
    let turn = &facts.settings.turn;
    let of_turn = Some(turn.domain.clone()).filter(|name| !turn.external_tls && !name.is_empty());
    let each = facts.ports.iter().map(|port| {
        let name = match port.key {
            "port" => facts.settings.https_domains.first().cloned(),
            "turn.tls_port" => of_turn.clone(),
            _ => None,
        };
        let serves = matches!(port.state, super::facts::PortState::Hearth(_));
        let kind = match port.transport {
            Transport::Udp => ProbeKind::Udp,
            Transport::Tcp if name.is_some() && serves => ProbeKind::Tls,
            Transport::Tcp => ProbeKind::Tcp,
        };
        Wanted { kind, port: port.port, key: port.key, name: name.unwrap_or_default() }
    });
    each.collect()
}

/// `ahead`: by how many milliseconds our clock is ahead of that of the one who reads it.
fn token(config: &Config, ahead: i64) -> Looked<String> {
    let (key, secret) = config.keys().first().ok_or("there are no API keys")?;
    let grant = VideoGrant { room_list: true, ..VideoGrant::default() };
    let now = u64::try_from((unix_ms() - ahead) / 1_000).unwrap_or(0);
    let signed = TokenBuilder::new().video(grant).sign(key, secret, now, TOKEN_LIFE);
    signed.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::checks::tests::sound;
    use super::super::facts::{Port, PortState};
    use super::*;

    #[test]
    fn a_certificate_is_asked_for_where_a_server_shows_one() {
        let mut facts = sound();
        facts.settings.https_domains = vec!["a.example".into(), "b.example".into()];
        facts.settings.turn.domain = "t.example".into();
        let (transport, state) = (Transport::Tcp, PortState::Hearth(None));
        facts.ports = [(443, "port"), (5_349, "turn.tls_port"), (7_881, "rtc.tcp_port")]
            .map(|(port, key)| Port { transport, port, key, state: state.clone() })
            .to_vec();
        let asked = |facts: &Facts| {
            let all = wanted(facts).into_iter().map(|one| format!("{:?} {}", one.kind, one.name));
            all.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(asked(&facts), "Tls a.example, Tls t.example, Tcp ");
        facts.settings.turn.external_tls = true;
        facts.ports[0].state = PortState::Free;
        assert_eq!(asked(&facts), "Tcp a.example, Tcp , Tcp ");
    }
}
