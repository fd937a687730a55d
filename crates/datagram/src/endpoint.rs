//! The network path of a datagram: transport protocol, local and remote address.
//!
//! * **Owns:** nothing; a value.
//! * **In:** the addresses of a received datagram. **Out:** the addresses to send its answer by.
//! * **Invariant:** the answer to a datagram takes the same endpoint; nothing else is needed to find the
//!   return path.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// The transport protocol below ICE.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// UDP, from one of our sockets.
    Udp,
    /// TCP that the client opened to our port, with framing (RFC 4571, ICE-TCP: RFC 6544).
    Tcp,
    /// Through our own TURN server: the client's end is its relayed address, and no socket is between.
    Relay,
}

/// One network path between us and a client: a key for tables, and all that a socket needs to send by it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The local address, as this machine sees it; behind a NAT another address than
    /// the advertised one. An unspecified IP stands for the one that the routing table chooses.
    pub local: SocketAddr,
    /// The client's end, as we see it.
    pub remote: SocketAddr,
}

impl Endpoint {
    /// Over UDP between `local` and `remote`.
    pub const fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { protocol: Protocol::Udp, local, remote }
    }

    /// Over the TCP connection between `local` and `remote`.
    pub const fn tcp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { protocol: Protocol::Tcp, local, remote }
    }

    /// Through our own TURN server, which relays from `relayed` to our address `local`.
    pub const fn relay(local: SocketAddr, relayed: SocketAddr) -> Self {
        Self { protocol: Protocol::Relay, local, remote: relayed }
    }

    /// The same client, at whichever address of ours.
    #[must_use]
    pub const fn from_anywhere(self) -> Self {
        let any = match self.remote {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { local: SocketAddr::new(any, 0), ..self }
    }
}

/// A table is asked for each datagram that comes, and a keyed hasher takes as long for each part of a key as for 8
/// bytes: over IPv4 all is one part.
impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (self.local, self.remote) else {
            return (self.protocol, self.local, self.remote).hash(state);
        };
        let number =
            |end: SocketAddrV4| (u128::from(end.ip().to_bits()) << 16) | u128::from(end.port());
        let protocol = self.protocol as u8;
        state.write_u128((u128::from(protocol) << 96) | (number(local) << 48) | number(remote));
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn every_part_of_an_endpoint_changes_its_hash() {
        let keys = std::hash::RandomState::new();
        for (local, remote, others) in [
            (
                "10.0.0.1:7882",
                "10.0.0.2:9",
                [
                    ("10.0.0.3:7882", "10.0.0.2:9"),
                    ("10.0.0.1:7883", "10.0.0.2:9"),
                    ("10.0.0.1:7882", "11.0.0.2:9"),
                    ("10.0.0.1:7882", "10.0.0.2:8"),
                    ("10.0.0.2:9", "10.0.0.1:7882"),
                ],
            ),
            (
                "[2001:db8::1]:7882",
                "[2001:db8::2]:9",
                [
                    ("[2001:db8::3]:7882", "[2001:db8::2]:9"),
                    ("[2001:db8::1]:7883", "[2001:db8::2]:9"),
                    ("[2001:db8::1]:7882", "[2002:db8::2]:9"),
                    ("[2001:db8::1]:7882", "[2001:db8::2]:8"),
                    ("[2001:db8::2]:9", "[2001:db8::1]:7882"),
                ],
            ),
        ] {
            let hash = |(local, remote): (&str, &str)| {
                keys.hash_one(Endpoint::udp(local.parse().unwrap(), remote.parse().unwrap()))
            };
            assert_eq!(hash((local, remote)), hash((local, remote)));
            for other in others {
                assert_ne!(hash((local, remote)), hash(other), "{other:?}");
            }
        }
    }

    #[test]
    fn an_endpoint_from_anywhere_differs_only_in_our_end() {
        for (local, remote, any) in [
            ("10.0.0.1:7882", "10.0.0.2:9", "0.0.0.0:0"),
            ("[2001:db8::1]:7882", "[2001:db8::2]:9", "[::]:0"),
        ] {
            let remote = remote.parse().unwrap();
            let endpoint = Endpoint::udp(local.parse().unwrap(), remote);
            assert_eq!(endpoint.from_anywhere(), Endpoint::udp(any.parse().unwrap(), remote));
        }
    }
}
