//! One allocation: a relayed address, who may send to it, channels.
//!
//! * **Owns:** permissions and channels, each with its end.
//! * **In:** what its client asked for. **Out:** whether and how a packet is relayed.
//! * **Invariant:** at most [`MAX_PERMISSIONS`] and [`MAX_CHANNELS`]. A channel number has one peer, a peer one channel.
//! * **Spec:** RFC 8656 §9, §12.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::integrity::Key;
use crate::message::TransactionId;
use crate::peers::Peer;

/// Addresses that one client may talk to. A call needs the server's.
const MAX_PERMISSIONS: usize = 32;
/// Channels of one client.
const MAX_CHANNELS: usize = 32;
/// RFC 8656 §9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
const CHANNEL: Duration = Duration::from_secs(600);
/// RFC 5766 §11. RFC 8656 §12 ends at 0x4fff, and clients (libwebrtc, coturn's) still use all.
const NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x7fff;

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) relayed: SocketAddr,
    pub(crate) username: Box<str>,
    pub(crate) participant: Box<str>,
    pub(crate) key: Key,
    /// Of the request that made it, which may be repeated.
    pub(crate) transaction: TransactionId,
    pub(crate) expires: Instant,
    permissions: Vec<(IpAddr, Instant)>,
    channels: Vec<Channel>,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    number: u16,
    peer: Peer,
    expires: Instant,
}

/// Why a channel is not bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unbound {
    /// The number, or the peer, has another one, or the number is none.
    Conflict,
    /// Too many.
    Full,
}

impl Allocation {
    pub(crate) fn new(
        relayed: SocketAddr,
        (username, participant): (&str, &str),
        key: Key,
        transaction: TransactionId,
        expires: Instant,
    ) -> Self {
        let (username, participant) = (username.into(), participant.into());
        let (permissions, channels) = (Vec::new(), Vec::new());
        Self { relayed, username, participant, key, transaction, expires, permissions, channels }
    }

    /// False if it has too many.
    pub(crate) fn permit(&mut self, now: Instant, ip: IpAddr) -> bool {
        let expires = now.checked_add(PERMISSION).unwrap_or(now);
        if let Some((_, end)) = self.permissions.iter_mut().find(|(known, _)| *known == ip) {
            *end = expires;
            return true;
        }
        self.permissions.retain(|(_, end)| *end > now);
        if self.permissions.len() >= MAX_PERMISSIONS {
            return false;
        }
        self.permissions.push((ip, expires));
        true
    }

    pub(crate) fn is_permitted(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.iter().any(|(known, end)| *known == ip && *end > now)
    }

    /// Binds or renews, which is a permission too.
    pub(crate) fn bind(&mut self, now: Instant, number: u16, peer: Peer) -> Result<(), Unbound> {
        self.channels.retain(|channel| channel.expires > now);
        let expires = now.checked_add(CHANNEL).unwrap_or(now);
        let other =
            |channel: &Channel| (channel.number == number) != (channel.peer.addr() == peer.addr());
        if !NUMBERS.contains(&number) || self.channels.iter().any(other) {
            return Err(Unbound::Conflict);
        }
        let known = self.channels.iter().position(|channel| channel.number == number);
        if known.is_none() && self.channels.len() >= MAX_CHANNELS
            || !self.permit(now, peer.addr().ip())
        {
            return Err(Unbound::Full);
        }
        match known.and_then(|at| self.channels.get_mut(at)) {
            Some(channel) => channel.expires = expires,
            None => self.channels.push(Channel { number, peer, expires }),
        }
        Ok(())
    }

    /// The peer of a channel, if it has a permission.
    pub(crate) fn peer(&self, now: Instant, number: u16) -> Option<Peer> {
        let bound = |channel: &&Channel| channel.number == number && channel.expires > now;
        let peer = self.channels.iter().find(bound)?.peer;
        self.is_permitted(now, peer.addr().ip()).then_some(peer)
    }

    /// The channel of a peer.
    pub(crate) fn channel(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let bound = |channel: &&Channel| channel.peer.addr() == peer && channel.expires > now;
        Some(self.channels.iter().find(bound)?.number)
    }
}

impl Peer {
    /// Its address.
    pub const fn addr(self) -> SocketAddr {
        match self {
            Self::Media(addr) | Self::Outside(addr) => addr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(now: Instant) -> Allocation {
        let key = Key::long_term("u", "r", "p");
        Allocation::new("192.0.2.1:5000".parse().unwrap(), ("u", "PA_1"), key, [0; 12], now)
    }

    fn peer(n: u16) -> Peer {
        Peer::Media(SocketAddr::from(([192, 0, 2, 9], n)))
    }

    #[test]
    fn permissions_and_channels_end() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let t0 = Instant::now();
        let mut allocation = allocation(t0);
        allocation.bind(t0, 0x4000, peer(1)).unwrap();
        let at = |secs| t0 + Duration::from_secs(secs);
        assert_eq!(allocation.peer(at(299), 0x4000), Some(peer(1)));
        assert_eq!(allocation.peer(at(300), 0x4000), None, "the permission ends first");
        assert!(allocation.permit(at(300), peer(1).addr().ip()));
        assert_eq!(allocation.peer(at(599), 0x4000), Some(peer(1)));
        assert_eq!(allocation.channel(at(599), peer(1).addr()), Some(0x4000));
        assert_eq!(allocation.peer(at(600), 0x4000), None, "then the channel");
        assert_eq!(allocation.channel(at(600), peer(1).addr()), None);
    }

    #[test]
    fn a_channel_keeps_its_peer_and_there_are_not_too_many() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let t0 = Instant::now();
        let mut allocation = allocation(t0);
        allocation.bind(t0, 0x4000, peer(1)).unwrap();
        allocation.bind(t0, 0x4000, peer(1)).unwrap();
        for (number, n) in [(0x4000, 2), (0x4001, 1), (0x3fff, 3), (0x8000, 3)] {
            assert_eq!(
                allocation.bind(t0, number, peer(n)),
                Err(Unbound::Conflict),
                "{number} {n}"
            );
        }
        for n in 1..32 {
            allocation.bind(t0, 0x4000 + n, peer(10 + n)).unwrap();
        }
        assert_eq!(allocation.bind(t0, 0x4100, peer(100)), Err(Unbound::Full));
        for n in 1..32 {
            assert!(allocation.permit(t0, [10, 0, 0, n].into()));
        }
        assert!(!allocation.permit(t0, [10, 0, 0, 99].into()));
        assert!(
            allocation.permit(t0 + PERMISSION, [10, 0, 0, 99].into()),
            "when others have ended"
        );
    }
}
