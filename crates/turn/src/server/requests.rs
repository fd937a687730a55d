//! Requests: who asks, whether that is allowed, the answer.
//!
//! * **Invariant:** an answer to somebody without a password is at most 64 bytes, given only to a message that is a request
//!   for one of our methods, and over UDP not more often than [`Answers`](crate::answers::Answers) allows.
//! * **Spec:** RFC 8489 §9.2.4 (in which order things are checked), RFC 8656 §7.2, §8.2, §10.2, §12.2.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hearth_metrics::Metric;

use super::{Client, Moment, Server};
use crate::REALM;
use crate::allocation::{Allocation, Unbound};
use crate::credentials::Identity;
use crate::integrity::Key;
use crate::message::{Class, Message, Writer, attribute, method};
use crate::peers::Peer;

/// RFC 8656 §3.2: what a client gets that does not ask, and the least that it gets.
const LIFETIME: u32 = 600;
/// RFC 8656 §7.2: the most that it gets.
const MAX_LIFETIME: u32 = 3_600;
/// Protocol number of UDP, the only transport that is relayed.
const UDP: u8 = 17;
/// Peers in one request for permissions.
const MAX_PEERS: usize = 16;

/// Error codes (RFC 8489 §18.4, RFC 8656 §19).
mod code {
    pub(super) const BAD_REQUEST: u16 = 400;
    pub(super) const UNAUTHENTICATED: u16 = 401;
    pub(super) const FORBIDDEN: u16 = 403;
    pub(super) const UNKNOWN_ATTRIBUTE: u16 = 420;
    pub(super) const ALLOCATION_MISMATCH: u16 = 437;
    pub(super) const STALE_NONCE: u16 = 438;
    pub(super) const FAMILY_NOT_SUPPORTED: u16 = 440;
    pub(super) const WRONG_CREDENTIALS: u16 = 441;
    pub(super) const UNSUPPORTED_TRANSPORT: u16 = 442;
    pub(super) const PEER_FAMILY: u16 = 443;
    pub(super) const QUOTA: u16 = 486;
    pub(super) const NO_CAPACITY: u16 = 508;
}

/// Somebody who knows the password of a user name.
struct User<'m> {
    username: &'m str,
    identity: Identity,
    key: Key,
}

/// A request that is not met, with what a client may be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// The client has to say who it is, with this nonce.
    Challenge(u16),
    /// The message makes no sense, and nobody has signed it.
    Unsigned(u16),
    /// To somebody known.
    Signed(u16),
    /// The same, with the attribute that is not understood.
    Unknown(u16),
}

impl Server {
    /// The client's address, as anybody may ask for it.
    pub(super) fn answer_binding(
        &mut self,
        at: Moment,
        client: Client,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        if !self.may_answer(at, client) {
            return None;
        }
        Writer::new(out, Class::Success, method::BINDING, message.transaction)
            .address(attribute::XOR_MAPPED_ADDRESS, client.remote)
            .finish()
    }

    /// Everything that needs a password.
    pub(super) fn answer_request(
        &mut self,
        at: Moment,
        client: Client,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let user = match self.authenticate(at, client, message) {
            Ok(user) => user,
            Err(refusal) => return self.refuse((at, client), message, refusal, None, out),
        };
        let met = match message.method {
            method::ALLOCATE => self.allocate(at, client, message, &user),
            method::REFRESH => self.refresh(at, client, message, &user),
            method::CREATE_PERMISSION => self.create_permission(at, client, message, &user),
            _ => self.bind_channel(at, client, message, &user),
        };
        let lifetime = match met {
            Ok(lifetime) => lifetime,
            Err(refusal) => {
                self.counts.add(Metric::TurnRefused, 1);
                return self.refuse((at, client), message, refusal, Some(&user.key), out);
            }
        };
        let mut answer = Writer::new(out, Class::Success, message.method, message.transaction);
        if message.method == method::ALLOCATE {
            let relayed = self.allocations.get(&client)?.relayed;
            answer = answer
                .address(attribute::XOR_RELAYED_ADDRESS, relayed)
                .address(attribute::XOR_MAPPED_ADDRESS, client.remote);
        }
        if let Some(lifetime) = lifetime {
            answer = answer.word(attribute::LIFETIME, lifetime);
        }
        answer.integrity(&user.key).finish()
    }

    fn authenticate<'m>(
        &self,
        at: Moment,
        client: Client,
        message: &Message<'m>,
    ) -> Result<User<'m>, Refusal> {
        if !message.is_signed() {
            return Err(Refusal::Challenge(code::UNAUTHENTICATED));
        }
        let username = message.text(attribute::USERNAME);
        let realm = message.text(attribute::REALM);
        let nonce = message.attribute(attribute::NONCE);
        let (Some(username), Some(_), Some(nonce)) = (username, realm, nonce) else {
            return Err(Refusal::Unsigned(code::BAD_REQUEST));
        };
        // First of all, as it costs a forger most to get a good one: it has to receive our answer.
        if !self.nonces.is_good(client.remote, at.unix, nonce) {
            return Err(Refusal::Challenge(code::STALE_NONCE));
        }
        let unknown = Refusal::Challenge(code::UNAUTHENTICATED);
        let identity = Identity::parse(username).ok_or(unknown)?;
        let key = match self.allocations.get(&client) {
            Some(allocation) if *allocation.username == *username => allocation.key.clone(),
            Some(_) | None => {
                let secret = self.config.keys.iter().find(|(key, _)| *key == identity.api_key);
                let (_, secret) = secret.ok_or(unknown)?;
                Key::long_term(username, REALM, &identity.password(secret))
            }
        };
        if message.is_signed_by(&key) { Ok(User { username, identity, key }) } else { Err(unknown) }
    }

    /// The allocation that a request is about.
    fn own(&mut self, client: Client, user: &User<'_>) -> Result<&mut Allocation, Refusal> {
        let mismatch = Refusal::Signed(code::ALLOCATION_MISMATCH);
        let allocation = self.allocations.get_mut(&client).ok_or(mismatch)?;
        if *allocation.username == *user.username {
            Ok(allocation)
        } else {
            Err(Refusal::Signed(code::WRONG_CREDENTIALS))
        }
    }

    fn allocate(
        &mut self,
        at: Moment,
        client: Client,
        message: &Message<'_>,
        user: &User<'_>,
    ) -> Result<Option<u32>, Refusal> {
        let lifetime = lifetime(message).max(LIFETIME);
        if let Some(allocation) = self.allocations.get(&client) {
            // The answer was lost.
            let again = allocation.transaction == message.transaction;
            return if again && *allocation.username == *user.username {
                Ok(Some(lifetime))
            } else {
                Err(Refusal::Signed(code::ALLOCATION_MISMATCH))
            };
        }
        let participant = user.identity.participant.as_str();
        if user.identity.expiry <= at.unix || self.revoked.contains(at.now, participant) {
            return Err(Refusal::Challenge(code::UNAUTHENTICATED));
        }
        check_known(message, &[attribute::EVEN_PORT, attribute::RESERVATION_TOKEN])?;
        match message.attribute(attribute::REQUESTED_TRANSPORT) {
            Some([UDP, ..]) => {}
            Some(_) => return Err(Refusal::Signed(code::UNSUPPORTED_TRANSPORT)),
            None => return Err(Refusal::Signed(code::BAD_REQUEST)),
        }
        // A pair of ports is of no use with one for everything, and is not reserved.
        let pair = message.attribute(attribute::EVEN_PORT).is_some_and(|flags| flags != [0]);
        if pair || message.attribute(attribute::RESERVATION_TOKEN).is_some() {
            return Err(Refusal::Signed(code::NO_CAPACITY));
        }
        let ip = self.relay_ip(client, message)?;
        let has = self.by_participant.get(participant).map_or(0, BTreeSet::len);
        if has >= self.config.max_per_participant {
            return Err(Refusal::Signed(code::QUOTA));
        }
        let even = message.attribute(attribute::EVEN_PORT).is_some();
        let relayed = self.relayed_address(ip, even).ok_or(Refusal::Signed(code::NO_CAPACITY))?;
        let expires = at.now.checked_add(Duration::from_secs(lifetime.into())).unwrap_or(at.now);
        let names = (user.username, participant);
        let key = user.key.clone();
        let allocation = Allocation::new(relayed, names, key, message.transaction, expires);
        self.insert(client, allocation);
        Ok(Some(lifetime))
    }

    /// The address to relay from: of the family asked for, else of the client's, else whichever there is.
    fn relay_ip(&self, client: Client, message: &Message<'_>) -> Result<IpAddr, Refusal> {
        let ips = || self.config.relay_ips.iter().copied();
        let unsupported = Refusal::Signed(code::FAMILY_NOT_SUPPORTED);
        match message.attribute(attribute::REQUESTED_ADDRESS_FAMILY) {
            Some([1, ..]) => ips().find(IpAddr::is_ipv4).ok_or(unsupported),
            Some([2, ..]) => ips().find(IpAddr::is_ipv6).ok_or(unsupported),
            Some(_) => Err(unsupported),
            None => {
                let is_v4 = crate::peers::normal(client.remote.ip()).is_ipv4();
                let same = ips().find(|ip| ip.is_ipv4() == is_v4);
                same.or_else(|| ips().next()).ok_or(unsupported)
            }
        }
    }

    fn relayed_address(&mut self, ip: IpAddr, even: bool) -> Option<SocketAddr> {
        if self.allocations.len() >= self.config.max_allocations {
            return None;
        }
        let Self { config, relayed, .. } = self;
        let is_free = |port: u16| {
            let addr = SocketAddr::new(ip, port);
            let ours = config.peers.media.contains(&addr) || relayed.contains_key(&addr);
            !ours && (!even || port & 1 == 0)
        };
        self.ports.take(is_free).map(|port| SocketAddr::new(ip, port))
    }

    fn refresh(
        &mut self,
        at: Moment,
        client: Client,
        message: &Message<'_>,
        user: &User<'_>,
    ) -> Result<Option<u32>, Refusal> {
        let lifetime = match lifetime(message) {
            0 => 0,
            wanted => wanted.max(LIFETIME),
        };
        let expires = at.now.checked_add(Duration::from_secs(lifetime.into())).unwrap_or(at.now);
        match self.own(client, user) {
            // To end what has ended is no error (RFC 8656 §8.2).
            Err(Refusal::Signed(code::ALLOCATION_MISMATCH)) if lifetime == 0 => {}
            Err(refusal) => return Err(refusal),
            Ok(allocation) => {
                check_known(message, &[attribute::REQUESTED_ADDRESS_FAMILY])?;
                if lifetime == 0 {
                    self.remove(client);
                } else {
                    let before = std::mem::replace(&mut allocation.expires, expires);
                    self.ends.remove(&(before, client));
                    self.ends.insert((expires, client));
                }
            }
        }
        Ok(Some(lifetime))
    }

    fn create_permission(
        &mut self,
        at: Moment,
        client: Client,
        message: &Message<'_>,
        user: &User<'_>,
    ) -> Result<Option<u32>, Refusal> {
        let is_v4 = self.own(client, user)?.relayed.is_ipv4();
        check_known(message, &[])?;
        let mut many = 0_usize;
        // All or none.
        for peer in message.addresses(attribute::XOR_PEER_ADDRESS) {
            let peer = peer.ok_or(Refusal::Signed(code::BAD_REQUEST))?;
            self.judge(peer, is_v4, |policy| policy.permits(peer.ip()))?;
            many = many.saturating_add(1);
        }
        if many == 0 || many > MAX_PEERS {
            return Err(Refusal::Signed(code::BAD_REQUEST));
        }
        let allocation = self.own(client, user)?;
        for peer in message.addresses(attribute::XOR_PEER_ADDRESS).flatten() {
            if !allocation.permit(at.now, crate::peers::normal(peer.ip())) {
                return Err(Refusal::Signed(code::NO_CAPACITY));
            }
        }
        let relayed = allocation.relayed;
        let mut peers = message.addresses(attribute::XOR_PEER_ADDRESS).flatten();
        if peers.any(|peer| self.config.peers.is_outside(peer.ip())) {
            self.wanted.push_back(relayed);
        }
        Ok(None)
    }

    fn bind_channel(
        &mut self,
        at: Moment,
        client: Client,
        message: &Message<'_>,
        user: &User<'_>,
    ) -> Result<Option<u32>, Refusal> {
        let is_v4 = self.own(client, user)?.relayed.is_ipv4();
        check_known(message, &[])?;
        let bad = Refusal::Signed(code::BAD_REQUEST);
        let number = message.attribute(attribute::CHANNEL_NUMBER);
        let Some(&[n0, n1, ..]) = number else { return Err(bad) };
        let peer = message.address(attribute::XOR_PEER_ADDRESS).ok_or(bad)?;
        self.judge(peer, is_v4, |policy| policy.judge(peer).is_some())?;
        let peer = self.config.peers.judge(peer).ok_or(Refusal::Signed(code::FORBIDDEN))?;
        let number = u16::from_be_bytes([n0, n1]);
        let allocation = self.own(client, user)?;
        let relayed = allocation.relayed;
        match allocation.bind(at.now, number, peer) {
            Ok(()) => {
                if matches!(peer, Peer::Outside(_)) {
                    self.wanted.push_back(relayed);
                }
                Ok(None)
            }
            Err(Unbound::Conflict) => Err(bad),
            Err(Unbound::Full) => Err(Refusal::Signed(code::NO_CAPACITY)),
        }
    }

    fn judge(
        &self,
        peer: SocketAddr,
        is_v4: bool,
        is_allowed: impl Fn(&crate::peers::PeerPolicy) -> bool,
    ) -> Result<(), Refusal> {
        if !is_allowed(&self.config.peers) {
            Err(Refusal::Signed(code::FORBIDDEN))
        } else if crate::peers::normal(peer.ip()).is_ipv4() != is_v4 {
            Err(Refusal::Signed(code::PEER_FAMILY))
        } else {
            Ok(())
        }
    }

    fn may_answer(&mut self, at: Moment, client: Client) -> bool {
        // Who has made a connection is where it says.
        let may = client.is_stream || self.answers.allow(at.now, client.remote.ip());
        if !may {
            self.counts.add(Metric::DropTurnUnanswered, 1);
        }
        may
    }

    fn refuse(
        &mut self,
        (at, client): (Moment, Client),
        message: &Message<'_>,
        refusal: Refusal,
        key: Option<&Key>,
        out: &mut [u8],
    ) -> Option<usize> {
        if key.is_none() {
            self.counts.add(Metric::TurnUnauthenticated, 1);
            if !self.may_answer(at, client) {
                return None;
            }
        }
        let answer = Writer::new(out, Class::Error, message.method, message.transaction);
        match (refusal, key) {
            (Refusal::Challenge(code), _) => {
                let nonce = self.nonces.make(client.remote, at.unix);
                answer
                    .error(code)
                    .attribute(attribute::REALM, REALM.as_bytes())
                    .attribute(attribute::NONCE, &nonce)
                    .finish()
            }
            (Refusal::Unknown(kind), Some(key)) => answer
                .error(code::UNKNOWN_ATTRIBUTE)
                .attribute(attribute::UNKNOWN_ATTRIBUTES, &kind.to_be_bytes())
                .integrity(key)
                .finish(),
            (Refusal::Signed(code), Some(key)) => answer.error(code).integrity(key).finish(),
            (Refusal::Unsigned(code) | Refusal::Signed(code) | Refusal::Unknown(code), _) => {
                answer.error(code).finish()
            }
        }
    }
}

/// The lifetime that is asked for, within what can be had; a refresh may ask for none.
fn lifetime(message: &Message<'_>) -> u32 {
    message.word(attribute::LIFETIME).unwrap_or(LIFETIME).min(MAX_LIFETIME)
}

/// Attributes that have to be understood are.
fn check_known(message: &Message<'_>, also: &[u16]) -> Result<(), Refusal> {
    use attribute as a;
    let known = [
        a::USERNAME,
        a::MESSAGE_INTEGRITY,
        a::CHANNEL_NUMBER,
        a::LIFETIME,
        a::XOR_PEER_ADDRESS,
        a::REALM,
        a::NONCE,
        a::REQUESTED_ADDRESS_FAMILY,
        a::REQUESTED_TRANSPORT,
    ];
    let optional = 0x8000;
    let unknown = message
        .attributes()
        .map(|(kind, _)| kind)
        .find(|kind| kind & optional == 0 && !known.contains(kind) && !also.contains(kind));
    unknown.map_or(Ok(()), |kind| Err(Refusal::Unknown(kind)))
}
