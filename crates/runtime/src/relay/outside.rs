//! Sockets at relayed addresses, for peers that are not us and that the operator allows.
//!
//! * **Owns:** a socket for each relayed address that such a peer may send to.
//! * **In:** [`Outside::open`]; packets for them. **Out:** packets of theirs, by the keys that the poller reports.
//! * **Invariant:** no socket is bound before its client has a permission for such a peer, and none outlives its allocation.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hearth_datagram::{Endpoint, SendSlab};
use hearth_metrics::{Counts, Metric};
use hearth_net::{Poller, UdpSocket};
use tracing::debug;

use crate::counters::count_sent;

/// Sockets in all: each takes a descriptor.
const MAX_SOCKETS: usize = 1_024;
/// The first key of these sockets.
pub(super) const FIRST_KEY: usize = 1 << 16;

/// See the module documentation.
pub(super) struct Outside {
    keys: HashMap<SocketAddr, usize>,
    sockets: BTreeMap<usize, (SocketAddr, UdpSocket)>,
    slab: SendSlab,
    next_key: usize,
}

impl Outside {
    pub(super) fn new() -> Self {
        let (keys, sockets) = (HashMap::new(), BTreeMap::new());
        Self { keys, sockets, slab: SendSlab::new(1), next_key: FIRST_KEY }
    }

    /// Binds a socket, if there is none.
    pub(super) fn open(&mut self, relayed: SocketAddr, poller: &mut Poller) {
        self.socket(relayed, poller);
    }

    /// Sends a packet, by a new socket if there is none.
    pub(super) fn send(
        &mut self,
        (relayed, peer): (SocketAddr, SocketAddr),
        packet: &[u8],
        poller: &mut Poller,
        counts: &mut Counts,
    ) {
        let Some(socket) = self.socket(relayed, poller) else {
            return counts.add(Metric::DropSendRefused, 1);
        };
        let local = socket.local_addr();
        self.slab.clear();
        if !self.slab.push(Endpoint::udp(local, peer), packet) {
            return counts.add(Metric::DropForwardBig, 1);
        }
        if let Some(key) = self.keys.get(&relayed)
            && let Some((_, socket)) = self.sockets.get_mut(key)
        {
            count_sent(counts, socket.send_slab(&self.slab));
        }
    }

    /// The socket of this key, and its relayed address.
    pub(super) fn get_mut(&mut self, key: usize) -> Option<(SocketAddr, &mut UdpSocket)> {
        self.sockets.get_mut(&key).map(|(relayed, socket)| (*relayed, socket))
    }

    /// Closes what belongs to an allocation that has ended.
    pub(super) fn remove(&mut self, relayed: SocketAddr) {
        if let Some(key) = self.keys.remove(&relayed) {
            self.sockets.remove(&key);
        }
    }

    fn socket(&mut self, relayed: SocketAddr, poller: &mut Poller) -> Option<&mut UdpSocket> {
        if !self.keys.contains_key(&relayed) {
            if self.sockets.len() >= MAX_SOCKETS {
                return None;
            }
            let socket = bind(relayed)?;
            let key = self.next_key;
            // Below the keys of streams.
            self.next_key = if key + 1 < super::streams::FIRST_KEY { key + 1 } else { FIRST_KEY };
            if self.sockets.contains_key(&key) || poller.add(&socket, key).is_err() {
                return None;
            }
            self.keys.insert(relayed, key);
            self.sockets.insert(key, (relayed, socket));
        }
        let key = self.keys.get(&relayed)?;
        self.sockets.get_mut(key).map(|(_, socket)| socket)
    }
}

/// At the address itself, or, where a NAT has that, at the same port of any.
fn bind(relayed: SocketAddr) -> Option<UdpSocket> {
    let any = match relayed {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let group = UdpSocket::bind_group(relayed, 1)
        .or_else(|_| UdpSocket::bind_group(SocketAddr::new(any, relayed.port()), 1));
    match group {
        Ok(mut group) => group.pop(),
        Err(error) => {
            debug!(%error, "A relayed address cannot be bound");
            None
        }
    }
}
