//! Which socket a datagram is sent by: routing by the local end of its path.
//!
//! * **Owns:** the addresses that the sockets are bound to.
//! * **In:** the local end of a datagram's path. **Out:** [`SocketRoutes::socket`].
//! * **Invariant:** an answer leaves by the socket that the request came in by. Nothing is learnt: the
//!   path decides alone.

use std::net::SocketAddr;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct SocketRoutes {
    bound: Vec<SocketAddr>,
}

impl SocketRoutes {
    /// `bound` in the order of the sockets.
    pub(crate) fn new(bound: Vec<SocketAddr>) -> Self {
        Self { bound }
    }

    /// The socket whose address `local` is, else the one of no address in particular, else (a check
    /// of ours, from an address that a NAT has) the first of its family.
    pub(crate) fn socket(&self, local: SocketAddr) -> Option<usize> {
        let of_family = |bound: &SocketAddr| bound.is_ipv4() == local.is_ipv4();
        let any = |bound: &SocketAddr| of_family(bound) && bound.ip().is_unspecified();
        let bound = || self.bound.iter();
        let same = bound().position(|bound| *bound == local);
        same.or_else(|| bound().position(|b| any(b) && b.port() == local.port()))
            .or_else(|| bound().position(any))
            .or_else(|| bound().position(of_family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_leaves_by_the_socket_that_has_its_local_end() {
        let table = [
            ("0.0.0.0:7 [::]:7", "10.0.0.5:7", Some(0)),
            ("0.0.0.0:7 [::]:7", "[2001:db8::1]:7", Some(1)),
            ("127.0.0.1:7 10.0.0.5:7 [::1]:7", "10.0.0.5:7", Some(1)),
            ("127.0.0.1:7 10.0.0.5:7 [::1]:7", "[::1]:7", Some(2)),
            // Two ports, as a shard with one of its own would have.
            ("0.0.0.0:7 0.0.0.0:8", "10.0.0.5:8", Some(1)),
            ("10.0.0.5:7 10.0.0.5:8", "10.0.0.5:8", Some(1)),
            // A check from an address that a NAT has, or from whichever.
            ("127.0.0.1:7 10.0.0.5:7", "203.0.113.9:7", Some(0)),
            ("[::1]:7 0.0.0.0:7", "0.0.0.0:0", Some(1)),
            ("[::1]:7", "10.0.0.5:7", None),
        ];
        for (bound, local, expected) in table {
            let bound_to = bound.split(' ').map(|addr| addr.parse().unwrap()).collect();
            let socket = SocketRoutes::new(bound_to).socket(local.parse().unwrap());
            assert_eq!(socket, expected, "{bound} {local}");
        }
    }
}
