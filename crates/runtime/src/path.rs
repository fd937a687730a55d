//! Which advertised address a datagram came in by, and which way an answer leaves.
//!
//! * **Owns:** the advertised addresses, and for remote addresses seen the [`Route`] they used.
//! * **In:** [`Paths::arrived`] for every datagram.
//! * **Out:** [`Paths::local`], [`Paths::route`].
//! * **Invariant:** an answer leaves from the address that the question was sent to. At most
//!   `MAX_LEARNT` remote addresses are remembered; none is if there is one way for each family.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Remote addresses remembered before all are forgotten and learnt again from the next datagrams.
/// Higher costs 100 bytes each, lower may send a few datagrams by the wrong interface.
const MAX_LEARNT: usize = 16_384;

/// A socket, and the address of ours to send from if the socket has several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Route {
    pub(crate) socket: usize,
    pub(crate) source: Option<IpAddr>,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Paths {
    bound: Vec<IpAddr>,
    advertised: Vec<SocketAddr>,
    ambiguous: bool,
    learnt: BTreeMap<SocketAddr, Route>,
}

impl Paths {
    /// `bound` in the order of the sockets.
    pub(crate) fn new(bound: Vec<IpAddr>, advertised: Vec<SocketAddr>) -> Self {
        let several = |v4: bool| {
            let sockets = bound.iter().filter(|ip| ip.is_ipv4() == v4);
            let any = sockets.clone().any(IpAddr::is_unspecified);
            let addrs = advertised.iter().filter(|addr| addr.is_ipv4() == v4);
            sockets.count() > 1 || (any && addrs.count() > 1)
        };
        let ambiguous = several(true) || several(false);
        Self { bound, advertised, ambiguous, learnt: BTreeMap::new() }
    }

    /// A datagram from `from`, sent to `to` if the system said so, arrived at `socket`.
    pub(crate) fn arrived(&mut self, from: SocketAddr, socket: usize, to: Option<IpAddr>) {
        if !self.ambiguous {
            return;
        }
        let any = self.bound.get(socket).is_some_and(IpAddr::is_unspecified);
        let route = Route { socket, source: to.filter(|_| any) };
        if self.learnt.get(&from) == Some(&route) {
            return;
        }
        if self.learnt.len() >= MAX_LEARNT {
            self.learnt.clear();
        }
        self.learnt.insert(from, route);
    }

    /// The advertised address that a datagram at `socket`, sent to `ip` if the system said so, was
    /// sent to: the same address, else (NAT) the first one of its family.
    pub(crate) fn local(&self, socket: usize, ip: Option<IpAddr>) -> Option<SocketAddr> {
        let ip = ip.or_else(|| self.bound.get(socket).copied())?;
        let same = self.advertised.iter().find(|addr| addr.ip() == ip);
        same.or_else(|| self.advertised.iter().find(|addr| addr.is_ipv4() == ip.is_ipv4()))
            .or_else(|| self.advertised.first())
            .copied()
    }

    /// The way to `to`.
    pub(crate) fn route(&self, to: SocketAddr) -> Option<Route> {
        let learnt = if self.ambiguous { self.learnt.get(&to).copied() } else { None };
        learnt.or_else(|| {
            let socket = self.bound.iter().position(|ip| ip.is_ipv4() == to.is_ipv4())?;
            Some(Route { socket, source: None })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(bound: &[&str], advertised: &[&str]) -> Paths {
        Paths::new(
            bound.iter().map(|ip| ip.parse().unwrap()).collect(),
            advertised.iter().map(|addr| addr.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn a_datagram_counts_for_its_own_address_or_the_first_of_its_family() {
        let paths = paths(&["0.0.0.0", "::"], &["203.0.113.9:7", "10.0.0.5:7", "[2001:db8::1]:7"]);
        let table = [
            (0, Some("10.0.0.5"), "10.0.0.5:7"),
            (0, Some("172.17.0.2"), "203.0.113.9:7"),
            (0, None, "203.0.113.9:7"),
            (1, Some("fe80::1"), "[2001:db8::1]:7"),
        ];
        for (socket, ip, local) in table {
            let ip = ip.map(|ip| ip.parse().unwrap());
            assert_eq!(paths.local(socket, ip), Some(local.parse().unwrap()), "{socket} {ip:?}");
        }
    }

    #[test]
    fn an_answer_leaves_by_the_way_the_question_came_in() {
        let remote = "10.0.0.7:99".parse().unwrap();
        let to = Some("10.0.0.5".parse().unwrap());

        let mut specific = paths(&["127.0.0.1", "10.0.0.5", "::1"], &[]);
        assert_eq!(specific.route(remote), Some(Route { socket: 0, source: None }));
        specific.arrived(remote, 1, to);
        assert_eq!(specific.route(remote), Some(Route { socket: 1, source: None }));
        let six = "[::1]:9".parse().unwrap();
        assert_eq!(specific.route(six), Some(Route { socket: 2, source: None }));

        let mut wildcard = paths(&["0.0.0.0"], &["10.0.0.5:7", "127.0.0.1:7"]);
        wildcard.arrived(remote, 0, to);
        assert_eq!(wildcard.route(remote), Some(Route { socket: 0, source: to }));
    }

    #[test]
    fn nothing_is_remembered_where_there_is_one_way_only() {
        let mut paths = paths(&["0.0.0.0", "::"], &["10.0.0.5:7", "[2001:db8::1]:7"]);
        paths.arrived("10.0.0.7:99".parse().unwrap(), 0, Some("10.0.0.5".parse().unwrap()));
        assert!(paths.learnt.is_empty());
    }

    #[test]
    fn the_number_of_remembered_addresses_is_bounded() {
        let mut paths = paths(&["127.0.0.1", "10.0.0.5"], &[]);
        for n in 0..40_000_u32 {
            paths.arrived(SocketAddr::new(IpAddr::from(n.to_be_bytes()), 1), 1, None);
        }
        assert!(paths.learnt.len() <= MAX_LEARNT);
    }
}
