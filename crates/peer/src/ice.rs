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
use std::time::{Duration, Instant};

use hearth_datagram::Endpoint;
use hearth_plane::{IceCredentials, PeerSpec};
use hearth_random::{Purpose, Seed};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};
use tracing::debug;

use crate::error::PeerError;
use crate::library_random::LibraryRandom;

/// A client behind a NAT shows a handful of addresses at each of ours; each costs the agent some memory.
const MAX_PROVEN: usize = 64;
/// A client with many interfaces and TURN servers has about twenty; RFC 8445 §6.1.2.5 wants pairs for 100.
const MAX_CANDIDATES: usize = 128;
/// Candidate pairs; above what 128 candidates, 64 endpoints and two local addresses can form.
const MAX_PAIRS: usize = 400;
/// Browsers check the selected pair every 2.5 s; after this the client has left that path.
const NOMINATION_TTL: Duration = Duration::from_secs(3);

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
    proven: Vec<Endpoint>,
    candidates: usize,
    path: Option<Path>,
    /// Source of STUN transaction ids; a lite agent sends no requests.
    transactions: Option<Box<LibraryRandom>>,
}

struct Config {
    lite: bool,
    controlling: bool,
    tie_breaker: u64,
    local: Vec<Candidate>,
}

struct Path {
    endpoint: Endpoint,
    /// The last nomination by the controlling side.
    confirmed: Instant,
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
            path: None,
            transactions: (!spec.ice_lite)
                .then(|| Box::new(LibraryRandom::new(seed.rng(Purpose::StunTransaction)))),
        };
        ice.refresh_random();
        ice.agent.handle_timeout(now);
        Ok(ice)
    }

    /// The endpoint to send by.
    pub(crate) fn path(&self) -> Option<&Endpoint> {
        self.path.as_ref().map(|path| &path.endpoint)
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
        self.proven.contains(&endpoint)
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
        let known = self.proven.iter().position(|endpoint| *endpoint == from);
        if known.is_none() && self.proven.len() >= MAX_PROVEN {
            if !self.agent.accepts_message(&message) {
                return false;
            }
            // The agent cannot forget endpoints: a new one with the same credentials starts with none.
            let local = self.agent.local_credentials().clone();
            self.replace_agent(now, local, self.remote.clone());
            self.proven.clear();
        }
        let confirms = message.is_binding_request() && message.use_candidate();
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
        if !accepted {
            return false;
        }
        match known.and_then(|at| self.proven.get_mut(at..)) {
            Some(later) => later.rotate_left(1),
            None => self.proven.push(from),
        }
        self.run(now);
        // USE-CANDIDATE nominates at a lite agent (RFC 8445 §7.3.1.5). During a restart a check with the old
        // credentials does so only until the new ones have a pair.
        if confirms && self.config.lite && (by_current || !self.nominated) {
            self.confirm(now, from);
        }
        true
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.run(now);
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let next = self.agent.poll_timeout();
        let previous = self.previous.as_mut().and_then(IceAgent::poll_timeout);
        next.into_iter().chain(previous).min()
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
        self.proven.retain(|proven| *proven != endpoint);
        if self.path() == Some(&endpoint) {
            self.path = None;
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
            let endpoint = endpoint(config, proven, proto, (source, destination));
            Some(Path { endpoint, confirmed: now })
        };
        self.agent.handle_timeout(now);
        while let Some(event) = self.agent.poll_event() {
            if let Some(path) = chosen(event) {
                self.nominated = true;
                self.previous = None;
                self.path = Some(path);
            }
        }
        let Some(previous) = &mut self.previous else {
            return;
        };
        previous.handle_timeout(now);
        while let Some(event) = previous.poll_event() {
            if let Some(path) = chosen(event) {
                self.path = Some(path);
            }
        }
    }

    fn refresh_random(&mut self) {
        if let Some(transactions) = &mut self.transactions {
            transactions.refresh();
        }
    }

    /// The controlling side uses `from`. The agent keeps to the pair of highest priority until that
    /// has been silent for 13 s; a client that went from Wi-Fi to cellular should not wait so long.
    fn confirm(&mut self, now: Instant, from: Endpoint) {
        match &mut self.path {
            Some(path) if path.endpoint == from => path.confirmed = now,
            Some(path)
                if now.saturating_duration_since(path.confirmed) >= NOMINATION_TTL
                    && self.remote.is_some() =>
            {
                *path = Path { endpoint: from, confirmed: now };
            }
            // The TCP connection that was the path is closed.
            None if self.remote.is_some() => {
                self.path = Some(Path { endpoint: from, confirmed: now });
            }
            Some(_) | None => {}
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

/// The endpoint from a local candidate to `remote`: the proven one with the newest authenticated message; else, for
/// a check that we send unasked, the candidate's own address.
fn endpoint(
    config: &Config,
    proven: &[Endpoint],
    proto: Protocol,
    (candidate, remote): (SocketAddr, SocketAddr),
) -> Endpoint {
    let is_it = |e: &&Endpoint| {
        e.remote == remote
            && protocol(e.protocol) == proto
            && config.candidate(proto, e.local) == candidate
    };
    let unasked = || match proto {
        Protocol::Udp => Endpoint::udp(candidate, remote),
        Protocol::Tcp | Protocol::SslTcp | Protocol::Tls => Endpoint::tcp(candidate, remote),
    };
    proven.iter().rev().find(is_it).copied().unwrap_or_else(unasked)
}

/// The library's word for it.
const fn protocol(protocol: hearth_datagram::Protocol) -> Protocol {
    match protocol {
        hearth_datagram::Protocol::Udp => Protocol::Udp,
        hearth_datagram::Protocol::Tcp => Protocol::Tcp,
    }
}

fn creds(ice: &IceCredentials) -> IceCreds {
    IceCreds { ufrag: ice.ufrag.clone(), pass: ice.pwd.clone() }
}
