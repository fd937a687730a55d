//! ICE: connectivity checks, candidates and the nominated pair (which address the client is at, and which of
//! ours it reaches).
//!
//! * **Owns:** the ICE agent, during a restart also the one before it; the endpoints that passed a
//!   check; the nominated one.
//! * **In:** STUN datagrams, credentials, candidates, time.
//! * **Out:** [`poll_transmit`](Ice::poll_transmit) – STUN; [`path`](Ice::path).
//! * **Invariant:** an endpoint is proven only by a message with the right password; at most
//!   64 endpoints and 128 candidates are remembered. A response leaves from the local address that
//!   its request came to, also where clients know that under another one (NAT).
//! * **Spec:** RFC 8445, lite agents §2.5, restart §9; over TCP RFC 6544, where clients connect to us.

use std::net::SocketAddr;
use std::time::Instant;

use hearth_datagram::Endpoint;
use hearth_plane::{IceCredentials, MAX_WAYS, PeerSpec, Way};
use hearth_random::{Purpose, Seed};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};
use tracing::debug;

use crate::error::PeerError;
use crate::library_random::LibraryRandom;
use crate::path::{CONSENT, Path};

/// A client behind a NAT shows a handful of addresses at each of ours; each costs the agent some memory.
const MAX_PROVEN: usize = 64;
/// A client with many interfaces and TURN servers has about twenty; RFC 8445 §6.1.2.5 wants pairs for 100.
const MAX_CANDIDATES: usize = 128;
/// Candidate pairs; above what 128 candidates, 64 endpoints and two local addresses can form.
const MAX_PAIRS: usize = 400;

/// One ICE session, across restarts.
pub(crate) struct Ice {
    config: Config,
    agent: IceAgent,
    /// Whether `agent` has chosen a path.
    nominated: bool,
    /// The agent before a restart, as long as the new one has no path.
    previous: Option<IceAgent>,
    remote: Option<IceCreds>,
    /// The remote restarted, and we have not yet.
    remote_ahead: bool,
    /// Ordered by the last authenticated message, newest last.
    proven: Vec<Proven>,
    candidates: usize,
    /// Checks that came, by the way they came in.
    ways: Vec<Way>,
    path: Option<Path>,
    /// Source of STUN transaction ids; a lite agent sends no requests.
    transactions: Option<Box<LibraryRandom>>,
}

/// An endpoint that authenticated messages of ICE came by.
#[derive(Clone, Copy, Debug)]
struct Proven {
    endpoint: Endpoint,
    /// The last of them.
    at: Instant,
    /// The client has nominated it.
    nominated: bool,
    /// It has answered a check of ours.
    answered: bool,
}

struct Config {
    lite: bool,
    controlling: bool,
    tie_breaker: u64,
    local: Vec<Candidate>,
}

impl Ice {
    pub(crate) fn new(now: Instant, spec: &PeerSpec, seed: &Seed) -> Result<Self, PeerError> {
        let mut local = Vec::new();
        let mut refused = String::from("no address");
        for candidate in &spec.local_candidates {
            match Candidate::host(candidate.addr, protocol(candidate.protocol)) {
                Ok(candidate) => local.push(candidate),
                Err(error) => refused = error.to_string(),
            }
        }
        if local.is_empty() {
            return Err(PeerError::Candidate(refused));
        }
        let config = Config {
            lite: spec.ice_lite,
            controlling: spec.ice_controlling && !spec.ice_lite,
            tie_breaker: seed.rng(Purpose::IceTieBreaker).next_u64(),
            local,
        };
        let agent = config.agent(creds(&spec.local));
        let mut ice = Self {
            config,
            agent,
            nominated: false,
            previous: None,
            remote: None,
            remote_ahead: false,
            proven: Vec::new(),
            candidates: 0,
            ways: Vec::new(),
            path: None,
            transactions: (!spec.ice_lite)
                .then(|| Box::new(LibraryRandom::new(seed.rng(Purpose::StunTransaction)))),
        };
        ice.refresh_random();
        ice.agent.handle_timeout(now);
        Ok(ice)
    }

    /// The endpoint to send by; none without consent.
    pub(crate) fn path(&self) -> Option<&Endpoint> {
        self.path.as_ref().and_then(Path::endpoint)
    }

    /// The nominated endpoint, with consent to send there or without.
    pub(crate) fn last_path(&self) -> Option<&Endpoint> {
        self.path.as_ref().map(Path::last)
    }

    /// There was a nominated pair at some time.
    pub(crate) const fn has_chosen(&self) -> bool {
        self.path.is_some()
    }

    /// Until when an endpoint that is not nominated may be sent to, unless something more is heard from there.
    pub(crate) fn consent_until(&self, endpoint: Endpoint) -> Option<Instant> {
        let proven = self.proven.iter().find(|proven| proven.endpoint == endpoint);
        proven.map(|proven| proven.at + CONSENT)
    }

    /// Connectivity checks so far, by the way they came in.
    pub(crate) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// We only answer checks.
    pub(crate) const fn is_lite(&self) -> bool {
        self.config.lite
    }

    /// The path is one of UDP, and the client was offered TCP too.
    pub(crate) fn has_tcp_left(&self) -> bool {
        let over_udp = |path: &Endpoint| path.protocol == hearth_datagram::Protocol::Udp;
        self.path().is_some_and(over_udp)
            && self.config.local.iter().any(|candidate| candidate.proto() == Protocol::Tcp)
    }

    /// Whether a message with the right password was received by this endpoint.
    pub(crate) fn is_proven(&self, endpoint: Endpoint) -> bool {
        self.proven.iter().any(|proven| proven.endpoint == endpoint)
    }

    /// The ufrags that checks may be addressed to, newest first.
    pub(crate) fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.agent)
            .chain(&self.previous)
            .map(|agent| agent.local_credentials().ufrag.as_str())
    }

    /// The other side's credentials; others than before are a restart of its, and true.
    pub(crate) fn set_remote(&mut self, now: Instant, remote: &IceCredentials) -> bool {
        let remote = creds(remote);
        if self.remote.as_ref() == Some(&remote) {
            return false;
        }
        self.remote = Some(remote.clone());
        if self.agent.remote_credentials().is_some() {
            let local = self.agent.local_credentials().clone();
            self.replace_agent(now, local, Some(remote));
            self.remote_ahead = true;
        } else {
            self.agent.set_remote_credentials(remote);
            self.run(now);
        }
        true
    }

    /// New credentials of ours. Checks with the old ones are answered until the new ones work.
    pub(crate) fn restart(&mut self, now: Instant, local: &IceCredentials) {
        let local = creds(local);
        if *self.agent.local_credentials() == local {
            return;
        }
        let remote = self.remote.clone().filter(|_| self.remote_ahead);
        self.remote_ahead = false;
        self.replace_agent(now, local, remote);
    }

    /// Adds a remote candidate, `candidate:…` or with `a=` before it. One that cannot be used is ignored.
    pub(crate) fn add_remote_candidate(&mut self, now: Instant, candidate: &str) {
        let text = candidate.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        if self.candidates >= MAX_CANDIDATES {
            return;
        }
        self.candidates += 1;
        match Candidate::from_sdp_string(text) {
            Ok(candidate) if candidate.proto() == Protocol::Udp => {
                // A lite agent sends no checks, so that it has no use for remote candidates.
                if !self.config.lite {
                    self.agent.add_remote_candidate(candidate);
                    self.run(now);
                }
            }
            // Clients connect to us, from ports that their candidates do not name (RFC 6544 §4.5).
            Ok(_) => {}
            // Among these are host names (`….local`, RFC 8828 §3.1), which show up by themselves.
            Err(error) => debug!(%error, "Remote candidate ignored"),
        }
    }

    /// Takes a STUN message; false if it is not one of ours.
    pub(crate) fn handle_packet(&mut self, now: Instant, from: Endpoint, buf: &[u8]) -> bool {
        let Ok(message) = StunMessage::parse(buf) else {
            return false;
        };
        let known = self.proven.iter().position(|proven| proven.endpoint == from);
        if known.is_none() && self.proven.len() >= MAX_PROVEN {
            if !self.agent.accepts_message(&message) {
                return false;
            }
            // The agent cannot forget endpoints: a new one with the same credentials starts with none.
            let local = self.agent.local_credentials().clone();
            self.replace_agent(now, local, self.remote.clone());
            self.proven.clear();
        }
        let is_check = message.is_binding_request();
        let nominates = is_check && message.use_candidate();
        let answers = message.is_successful_binding_response();
        self.refresh_random();
        let proto = protocol(from.protocol);
        let (source, destination) = (from.remote, self.config.candidate(proto, from.local));
        let packet = |message| StunPacket { proto, source, destination, message };
        let by_current = self.agent.handle_packet(now, packet(message));
        let accepted = by_current
            || self.previous.as_mut().is_some_and(|previous| {
                StunMessage::parse(buf)
                    .is_ok_and(|message| previous.handle_packet(now, packet(message)))
            });
        if is_check {
            count_check(&mut self.ways, from, accepted);
        }
        if !accepted {
            return false;
        }
        self.note(now, from, nominates, answers);
        if let Some(path) = &mut self.path {
            path.handle_check(now, from);
        }
        self.run(now);
        // During a restart a check with the old credentials nominates only until the new ones have a pair.
        let counts = nominates && (by_current || !self.nominated);
        self.follow(now, from, counts || answers);
        true
    }

    /// Remembers that an authenticated message came by `from`.
    fn note(&mut self, now: Instant, from: Endpoint, nominates: bool, answers: bool) {
        let known = self.proven.iter().position(|proven| proven.endpoint == from);
        let known = known.map(|at| self.proven.remove(at));
        let nominated = nominates || known.is_some_and(|known| known.nominated);
        let answered = answers || known.is_some_and(|known| known.answered);
        self.proven.push(Proven { endpoint: from, at: now, nominated, answered });
    }

    /// USE-CANDIDATE nominates at a lite agent (RFC 8445 §7.3.1.5), at a full one where a check of ours was
    /// answered, too (§7.3.1.5 again: a valid pair).
    fn follow(&mut self, now: Instant, from: Endpoint, counts: bool) {
        let valid = |proven: &Proven| proven.nominated && (self.config.lite || proven.answered);
        let is_valid = self.proven.last().is_some_and(valid);
        if counts && is_valid && self.remote.is_some() {
            match &mut self.path {
                Some(path) => path.nominate(now, from),
                // The TCP connection that was the path is closed.
                None => self.path = Some(Path::new(now, from)),
            }
        }
    }

    /// Authenticated media came by `from`.
    pub(crate) fn handle_media(&mut self, from: Endpoint) {
        if let Some(path) = &mut self.path {
            path.handle_media(from);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.run(now);
        if let Some(path) = &mut self.path {
            path.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let next = self.agent.poll_timeout();
        let previous = self.previous.as_mut().and_then(IceAgent::poll_timeout);
        let path = self.path.as_ref().and_then(Path::poll_timeout);
        next.into_iter().chain(previous).chain(path).min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(Endpoint, Vec<u8>)> {
        let transmit = self
            .agent
            .poll_transmit()
            .or_else(|| self.previous.as_mut().and_then(IceAgent::poll_transmit))?;
        let ends = (transmit.source, transmit.destination);
        let endpoint = endpoint(&self.config, &self.proven, transmit.proto, ends);
        Some((endpoint, transmit.contents.into()))
    }

    /// Nothing can be sent by `endpoint` any more, nor will anything come: its TCP connection is closed.
    pub(crate) fn forget(&mut self, endpoint: Endpoint) {
        self.proven.retain(|proven| proven.endpoint != endpoint);
        self.path.take_if(|path| *path.last() == endpoint);
        if let Some(path) = &mut self.path {
            path.forget(endpoint);
        }
    }

    fn replace_agent(&mut self, now: Instant, local: IceCreds, remote: Option<IceCreds>) {
        let mut agent = self.config.agent(local);
        if let Some(remote) = remote {
            agent.set_remote_credentials(remote);
        }
        let old = std::mem::replace(&mut self.agent, agent);
        if self.nominated || self.previous.is_none() {
            self.previous = Some(old);
        }
        self.nominated = false;
        self.candidates = 0;
        self.run(now);
    }

    /// Lets the agents work, and follows the path they choose.
    fn run(&mut self, now: Instant) {
        self.refresh_random();
        let (config, proven) = (&self.config, &self.proven);
        let chosen = |event| {
            let IceAgentEvent::NominatedSend { proto, source, destination } = event else {
                return None;
            };
            Some(endpoint(config, proven, proto, (source, destination)))
        };
        self.agent.handle_timeout(now);
        while let Some(event) = self.agent.poll_event() {
            if let Some(endpoint) = chosen(event) {
                self.nominated = true;
                self.previous = None;
                choose(&mut self.path, now, endpoint);
            }
        }
        let Some(previous) = &mut self.previous else {
            return;
        };
        previous.handle_timeout(now);
        while let Some(event) = previous.poll_event() {
            if let Some(endpoint) = chosen(event) {
                choose(&mut self.path, now, endpoint);
            }
        }
    }

    fn refresh_random(&mut self) {
        if let Some(transactions) = &mut self.transactions {
            transactions.refresh();
        }
    }
}

impl Config {
    fn agent(&self, local: IceCreds) -> IceAgent {
        let mut agent = IceAgent::new(local);
        agent.set_ice_lite(self.lite);
        agent.set_controlling(self.controlling);
        agent.set_control_tie_breaker(self.tie_breaker);
        agent.set_max_candidate_pairs(MAX_PAIRS);
        for candidate in &self.local {
            agent.add_local_candidate(candidate.clone());
        }
        agent
    }

    /// The candidate of ours that a datagram was sent to. Where the advertised address is not the
    /// one of the socket, the IP alone decides, then the family.
    fn candidate(&self, proto: Protocol, local: SocketAddr) -> SocketAddr {
        let ours = || self.local.iter().filter(|c| c.proto() == proto).map(Candidate::addr);
        let same = ours().find(|addr| *addr == local);
        same.or_else(|| ours().find(|addr| addr.ip() == local.ip()))
            .or_else(|| ours().find(|addr| addr.is_ipv4() == local.is_ipv4()))
            .unwrap_or(local)
    }
}

fn choose(path: &mut Option<Path>, now: Instant, endpoint: Endpoint) {
    match path {
        Some(path) => path.choose(now, endpoint),
        None => *path = Some(Path::new(now, endpoint)),
    }
}

/// Counts a check that came by `from`; of ways beyond the bound nothing is kept.
fn count_check(ways: &mut Vec<Way>, from: Endpoint, valid: bool) {
    let Endpoint { protocol, local, remote } = from;
    let known = ways.iter().position(|way| way.protocol == protocol && way.local == local);
    let at = known.unwrap_or(ways.len());
    if at == ways.len() && at < MAX_WAYS {
        ways.push(Way { protocol, local, valid: 0, invalid: 0, last_from: remote });
    }
    let Some(way) = ways.get_mut(at) else { return };
    let count = if valid { &mut way.valid } else { &mut way.invalid };
    *count = count.saturating_add(1);
    way.last_from = remote;
}

/// The endpoint from a local candidate to `remote`: the proven one with the newest authenticated message; else, for
/// a check that we send unasked, the candidate's own address.
fn endpoint(
    config: &Config,
    proven: &[Proven],
    proto: Protocol,
    (candidate, remote): (SocketAddr, SocketAddr),
) -> Endpoint {
    let is_it = |e: &Endpoint| {
        e.remote == remote
            && protocol(e.protocol) == proto
            && config.candidate(proto, e.local) == candidate
    };
    let unasked = || match proto {
        Protocol::Udp => Endpoint::udp(candidate, remote),
        Protocol::Tcp | Protocol::SslTcp | Protocol::Tls => Endpoint::tcp(candidate, remote),
    };
    let mut newest_first = proven.iter().rev().map(|proven| proven.endpoint);
    newest_first.find(is_it).unwrap_or_else(unasked)
}

/// The library's word for it.
const fn protocol(protocol: hearth_datagram::Protocol) -> Protocol {
    match protocol {
        // What our own TURN server relays came to a candidate of UDP.
        hearth_datagram::Protocol::Udp | hearth_datagram::Protocol::Relay => Protocol::Udp,
        hearth_datagram::Protocol::Tcp => Protocol::Tcp,
    }
}

fn creds(ice: &IceCredentials) -> IceCreds {
    IceCreds { ufrag: ice.ufrag.clone(), pass: ice.pwd.clone() }
}
