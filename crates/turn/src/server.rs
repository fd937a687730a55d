//! The server: which client has which allocation, and what becomes of a message.
//!
//! * **Owns:** the allocations, by client, by relayed address and by participant; who has lost the right to make one.
//! * **In:** [`Server::handle_client`] (a message of a client), [`Server::handle_peer`] (a packet to a relayed address),
//!   [`Server::handle_client_gone`], [`Server::handle_timeout`], [`Server::revoke`].
//! * **Out:** an [`Outcome`]; [`Server::poll_wanted`], [`Server::poll_freed`] (relayed addresses that need a socket, and that
//!   are no more); [`Server::poll_timeout`].
//! * **Invariant:** an allocation is of one client, has one relayed address, and ends by its lifetime, or when its participant
//!   leaves, who then gets no other. A packet costs two look-ups at most, and no memory.
//! * **Spec:** RFC 8656 §7 to §12. **livekit-server:** a user name's time is judged only when it allocates.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hearth_metrics::{Counts, Metric};
use hearth_random::Seed;

use crate::allocation::Allocation;
use crate::answers::Answers;
use crate::message::{Class, Message, Writer, attribute, method};
use crate::nonce::Nonces;
use crate::peers::{Peer, PeerPolicy, normal};
use crate::ports::{PortRange, Ports};
use crate::revoked::Revoked;

mod requests;

/// Where a client is. No two have the same.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Client {
    /// By a stream (TCP or TLS), which pads channel data.
    pub is_stream: bool,
    /// Our end.
    pub local: SocketAddr,
    /// Its end, as we see it.
    pub remote: SocketAddr,
}

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// API keys and secrets, any of which makes valid credentials.
    pub keys: Vec<(String, String)>,
    /// The longest that credentials are made for.
    pub ttl: Duration,
    /// The addresses to relay from: the first of a family is taken.
    pub relay_ips: Vec<IpAddr>,
    /// The ports to relay from.
    pub relay_ports: PortRange,
    /// Who may be relayed to.
    pub peers: PeerPolicy,
    /// Allocations that one participant may have.
    pub max_per_participant: usize,
    /// Allocations in all.
    pub max_allocations: usize,
}

/// The time by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For deadlines.
    pub now: Instant,
    /// Seconds since 1970.
    pub unix: u64,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome<'a> {
    /// An answer of so many bytes is in the buffer.
    Answer(usize),
    /// For a peer, from this relayed address.
    Relay {
        /// Of the client that it came from.
        relayed: SocketAddr,
        /// Where it goes.
        peer: Peer,
        /// What goes there.
        payload: &'a [u8],
    },
    /// Nothing.
    Nothing,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Server {
    config: Config,
    nonces: Nonces,
    answers: Answers,
    ports: Ports,
    allocations: HashMap<Client, Allocation>,
    relayed: HashMap<SocketAddr, Client>,
    ends: BTreeSet<(Instant, Client)>,
    by_participant: BTreeMap<Box<str>, BTreeSet<Client>>,
    revoked: Revoked,
    freed: VecDeque<SocketAddr>,
    wanted: VecDeque<SocketAddr>,
    /// What happened, to be added to the thread's numbers.
    pub counts: Counts,
}

impl Server {
    /// Without allocations.
    pub fn new(now: Instant, config: Config, seed: &Seed) -> Self {
        Self {
            nonces: Nonces::new(seed),
            answers: Answers::new(now),
            ports: Ports::new(config.relay_ports.clone(), seed),
            revoked: Revoked::new(config.ttl),
            config,
            allocations: HashMap::new(),
            relayed: HashMap::new(),
            ends: BTreeSet::new(),
            by_participant: BTreeMap::new(),
            freed: VecDeque::new(),
            wanted: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// A datagram of a client, or a message of its stream. `out` is for the answer, and need not be longer than a
    /// datagram.
    ///
    /// Cost of channel data: one look-up.
    pub fn handle_client<'a>(
        &mut self,
        at: Moment,
        client: Client,
        bytes: &'a [u8],
        out: &mut [u8],
    ) -> Outcome<'a> {
        if bytes.first().is_some_and(|first| first >> 6 == 1) {
            return self.relay_channel(at.now, client, bytes);
        }
        let Some(message) = Message::parse(bytes) else {
            self.counts.add(Metric::DropTurnMalformed, 1);
            return Outcome::Nothing;
        };
        let answer = match (message.class, message.method) {
            (Class::Indication, method::SEND) => return self.relay_send(at.now, client, &message),
            (Class::Request, method::BINDING) => self.answer_binding(at, client, &message, out),
            (Class::Request, method::ALLOCATE | method::REFRESH) => {
                self.answer_request(at, client, &message, out)
            }
            (Class::Request, method::CREATE_PERMISSION | method::CHANNEL_BIND) => {
                self.answer_request(at, client, &message, out)
            }
            (Class::Request | Class::Indication | Class::Success | Class::Error, _) => {
                self.counts.add(Metric::DropTurnMalformed, 1);
                None
            }
        };
        answer.map_or(Outcome::Nothing, Outcome::Answer)
    }

    /// A packet of `peer` to a relayed address: writes what its client gets into `out`. `None` if nobody wants it.
    ///
    /// Cost: two look-ups.
    pub fn handle_peer(
        &mut self,
        now: Instant,
        (relayed, peer): (SocketAddr, SocketAddr),
        packet: &[u8],
        out: &mut [u8],
    ) -> Option<(Client, usize)> {
        let peer = SocketAddr::new(normal(peer.ip()), peer.port());
        let found = self.relayed.get(&relayed).copied();
        let found = found.and_then(|client| Some((client, self.allocations.get(&client)?)));
        let Some((client, allocation)) =
            found.filter(|(_, allocation)| allocation.is_permitted(now, peer.ip()))
        else {
            self.counts.add(Metric::DropTurnForbidden, 1);
            return None;
        };
        let len = match allocation.channel(now, peer) {
            Some(number) => write_channel(client.is_stream, number, packet, out),
            None => {
                let id = [0; 12];
                Writer::new(out, Class::Indication, method::DATA, id)
                    .address(attribute::XOR_PEER_ADDRESS, peer)
                    .attribute(attribute::DATA, packet)
                    .finish()
            }
        };
        let Some(len) = len else {
            self.counts.add(Metric::DropForwardBig, 1);
            return None;
        };
        self.counts.add(Metric::TurnPacketsOut, 1);
        Some((client, len))
    }

    /// A stream has ended, and its allocation with it.
    pub fn handle_client_gone(&mut self, client: Client) {
        self.remove(client);
    }

    /// Ends what has not been refreshed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.revoked.handle_timeout(now);
        while let Some((end, client)) = self.ends.first().copied() {
            if end > now {
                return;
            }
            self.remove(client);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let end = self.ends.first().map(|(end, _)| *end);
        end.into_iter().chain(self.revoked.poll_timeout()).min()
    }

    /// A relayed address whose allocation has ended.
    pub fn poll_freed(&mut self) -> Option<SocketAddr> {
        self.freed.pop_front()
    }

    /// A relayed address that a peer who is not us may send to from now on.
    pub fn poll_wanted(&mut self) -> Option<SocketAddr> {
        self.wanted.pop_front()
    }

    /// A participant has left: ends all of its allocations, and its credentials make no other.
    ///
    /// Cost: its own allocations.
    pub fn revoke(&mut self, now: Instant, participant: &str) {
        self.revoked.insert(now, participant);
        for client in self.by_participant.get(participant).cloned().unwrap_or_default() {
            self.remove(client);
        }
    }

    /// Whether the client has shown a password.
    pub fn has_allocation(&self, client: Client) -> bool {
        self.allocations.contains_key(&client)
    }

    /// Whether it belongs to an allocation.
    pub fn is_relayed(&self, relayed: SocketAddr) -> bool {
        self.relayed.contains_key(&relayed)
    }

    /// Our own media's addresses, as far as they may be relayed to.
    pub fn media(&self) -> &[SocketAddr] {
        &self.config.peers.media
    }

    /// How many allocations there are.
    pub fn len(&self) -> usize {
        self.allocations.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.allocations.is_empty()
    }

    fn relay_channel<'a>(&mut self, now: Instant, client: Client, bytes: &'a [u8]) -> Outcome<'a> {
        let relay = || {
            let ([n0, n1, l0, l1], rest) = bytes.split_first_chunk()?;
            let len = usize::from(u16::from_be_bytes([*l0, *l1]));
            let payload = rest.get(..len)?;
            let allocation = self.allocations.get(&client)?;
            let peer = allocation.peer(now, u16::from_be_bytes([*n0, *n1]))?;
            Some(Outcome::Relay { relayed: allocation.relayed, peer, payload })
        };
        let outcome = relay();
        self.count_relayed(outcome)
    }

    fn relay_send<'a>(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'a>,
    ) -> Outcome<'a> {
        let relay = || {
            let allocation = self.allocations.get(&client)?;
            let to = message.address(attribute::XOR_PEER_ADDRESS)?;
            let payload = message.attribute(attribute::DATA)?;
            let peer = self.config.peers.judge(to)?;
            let family = to.is_ipv4() == allocation.relayed.is_ipv4();
            let permitted = family && allocation.is_permitted(now, peer.addr().ip());
            permitted.then_some(Outcome::Relay { relayed: allocation.relayed, peer, payload })
        };
        let outcome = relay();
        self.count_relayed(outcome)
    }

    fn count_relayed<'a>(&mut self, outcome: Option<Outcome<'a>>) -> Outcome<'a> {
        let metric =
            if outcome.is_some() { Metric::TurnPacketsIn } else { Metric::DropTurnForbidden };
        self.counts.add(metric, 1);
        outcome.unwrap_or(Outcome::Nothing)
    }

    fn insert(&mut self, client: Client, allocation: Allocation) {
        self.by_participant.entry(allocation.participant.clone()).or_default().insert(client);
        self.relayed.insert(allocation.relayed, client);
        self.ends.insert((allocation.expires, client));
        self.allocations.insert(client, allocation);
    }

    fn remove(&mut self, client: Client) {
        let Some(allocation) = self.allocations.remove(&client) else { return };
        self.ends.remove(&(allocation.expires, client));
        self.relayed.remove(&allocation.relayed);
        self.freed.push_back(allocation.relayed);
        if let Some(clients) = self.by_participant.get_mut(&allocation.participant) {
            clients.remove(&client);
            if clients.is_empty() {
                self.by_participant.remove(&allocation.participant);
            }
        }
    }
}

/// Channel data, with its padding where a stream needs that.
fn write_channel(is_stream: bool, number: u16, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = u16::try_from(packet.len()).ok()?;
    let ([n0, n1], [l0, l1]) = (number.to_be_bytes(), len.to_be_bytes());
    let (head, rest) = out.split_first_chunk_mut()?;
    *head = [n0, n1, l0, l1];
    let (payload, rest) = rest.split_at_mut_checked(packet.len())?;
    payload.copy_from_slice(packet);
    let padding = if is_stream { packet.len().next_multiple_of(4) } else { packet.len() };
    let padding = padding.saturating_sub(packet.len());
    rest.get_mut(..padding)?.fill(0);
    packet.len().checked_add(4)?.checked_add(padding)
}

#[cfg(test)]
mod tests;
