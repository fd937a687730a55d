//! TURN: the relay thread, between clients that only get through this way and the media threads.
//!
//! * **Owns:** the thread's start, and how others reach it ([`TurnHandle`]).
//! * **In:** connections that listeners accepted, who has left a room. **Out:** –
//! * **Invariant:** the thread is one of its own, so that a flood at TURN's ports costs no media thread its time. What is
//!   relayed to our own media passes no socket: it goes by lanes, as between shards. To the shards the relay thread looks like
//!   one more shard, behind the last.

mod lanes;
mod outside;
mod stream_queue;
mod streams;
mod thread;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use hearth_metrics::{Metric, SharedCounts};
use hearth_net::{Poller, UdpSocket, Waker, interfaces};
use hearth_random::Seed;
use hearth_turn::{Cidr, PeerPolicy, PortRange, Server};
use tokio::net::TcpStream;
use tracing::debug;

use crate::WallClock;
use crate::config::StartError;
use crate::counters::GaugeGuard;
use crate::relay::streams::NewStream;
use crate::relay::thread::{Parts, RelayThread};
use crate::shard_thread::{LaneEnds, MAX_CHECKS, MAX_MESSAGES, Shipment};

/// Connections that wait for the thread; more are closed.
const MAX_ACCEPTED: usize = 256;
/// Participants who have left that wait for the thread, 16 bytes and a name each: all of a large room.
const MAX_LEAVING: usize = 4_096;
/// Allocations of all clients, each some hundred bytes: more than one machine has the bandwidth for.
const MAX_ALLOCATIONS: usize = 10_000;

/// The configuration of TURN.
#[derive(Clone, Debug)]
pub struct TurnConfig {
    /// Addresses for TURN over UDP; may be empty where TCP or TLS is served.
    pub udp_bind: Vec<SocketAddr>,
    /// API keys and secrets; any of them makes valid credentials.
    pub keys: Vec<(String, String)>,
    /// The longest that credentials are made for.
    pub ttl: Duration,
    /// Ports that clients are relayed from.
    pub relay_ports: PortRange,
    /// Networks that may be relayed to, beside our own media.
    pub allowed_peers: Vec<Cidr>,
    /// Networks that are never relayed to.
    pub denied_peers: Vec<Cidr>,
    /// Allocations of one participant.
    pub max_per_participant: usize,
}

/// How listeners and rooms reach the relay thread.
#[derive(Clone, Debug)]
pub struct TurnHandle {
    accepted: SyncSender<Box<NewStream>>,
    /// Apart, so that no flood of connections is in their way.
    leaving: SyncSender<Box<str>>,
    waker: Waker,
}

/// What [`TurnHandle`]s have for the thread.
pub(crate) struct Inputs {
    accepted: Receiver<Box<NewStream>>,
    /// Participants, by sid.
    pub(crate) leaving: Receiver<Box<str>>,
}

impl TurnHandle {
    pub(crate) fn new(waker: Waker) -> (Self, Inputs) {
        let (to_accepted, accepted) = sync_channel(MAX_ACCEPTED);
        let (to_leaving, leaving) = sync_channel(MAX_LEAVING);
        let handle = Self { accepted: to_accepted, leaving: to_leaving, waker };
        (handle, Inputs { accepted, leaving })
    }

    /// A connection that speaks TURN. Nothing of it has been read.
    pub fn take_tcp(&self, stream: TcpStream) {
        self.take(stream, None);
    }

    /// A connection whose handshake is done. Plaintext may already be inside `tls`.
    pub fn take_tls(&self, stream: TcpStream, tls: rustls::ServerConnection) {
        self.take(stream, Some(tls));
    }

    /// A participant has left: ends what it has allocated, and lets it allocate nothing more.
    pub fn revoke(&self, participant: &str) {
        if self.leaving.try_send(participant.into()).is_err() {
            debug!(
                participant,
                "The relay thread is busy; who has left keeps its TURN allocations and credentials until they end"
            );
        }
        self.waker.wake();
    }

    fn take(&self, stream: TcpStream, tls: Option<rustls::ServerConnection>) {
        // A stream that is broken already is no loss.
        let made = stream.into_std().and_then(|stream| NewStream::new(stream, tls));
        match made {
            Ok(stream) => self.send(stream),
            Err(error) => debug!(%error, "A TURN connection was lost at its beginning"),
        }
    }

    fn send(&self, stream: NewStream) {
        if self.accepted.try_send(Box::new(stream)).is_err() {
            debug!("The relay thread is busy; a TURN connection is closed");
        }
        self.waker.wake();
    }
}

/// The running thread, as the node holds it.
#[derive(Debug)]
pub(crate) struct RelayLink {
    pub(crate) handle: TurnHandle,
    pub(crate) counts: Arc<SharedCounts>,
    stop: Arc<AtomicBool>,
}

impl RelayLink {
    /// Ends the thread soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.handle.waker.wake();
    }
}

/// The thread's ends, made before the shards, which are given [`Ends::lane`].
pub(crate) struct Ends {
    poller: Poller,
    media: Receiver<Shipment>,
    lane: LaneEnds,
    handle: TurnHandle,
    inputs: Inputs,
}

impl Ends {
    pub(crate) fn new() -> Result<Self, StartError> {
        let poller = Poller::new().map_err(StartError::Poller)?;
        let (media_in, media) = sync_channel(MAX_MESSAGES);
        // No shard takes the relay thread for one that knows a peer.
        let (checks, _) = sync_channel(MAX_CHECKS.min(1));
        let lane = LaneEnds { media: media_in, checks, waker: poller.waker() };
        let (handle, inputs) = TurnHandle::new(poller.waker());
        Ok(Self { poller, media, lane, handle, inputs })
    }

    /// How shards reach the thread.
    pub(crate) fn lane(&self) -> LaneEnds {
        self.lane.clone()
    }

    /// Starts the thread. `media`: every address that media is received at.
    pub(crate) fn spawn(
        self,
        config: TurnConfig,
        media: &Media<'_>,
        shards: Vec<LaneEnds>,
        seed: &Seed,
    ) -> Result<RelayLink, StartError> {
        let mut poller = self.poller;
        let mut sockets = Vec::new();
        for (key, addr) in config.udp_bind.iter().enumerate() {
            let bound = UdpSocket::bind_group(*addr, 1).and_then(|mut group| {
                group.pop().ok_or_else(|| std::io::ErrorKind::NotFound.into())
            });
            let socket = bound.map_err(|source| StartError::BindTurn { addr: *addr, source })?;
            poller.add(&socket, key).map_err(StartError::Poller)?;
            sockets.push(socket);
        }
        let mut relay_ips: Vec<IpAddr> = media.advertised.iter().map(SocketAddr::ip).collect();
        relay_ips.dedup();
        let server = Server::new(
            WallClock::now(),
            hearth_turn::Config {
                keys: config.keys,
                ttl: config.ttl,
                relay_ips,
                relay_ports: config.relay_ports,
                peers: media.policy(config.allowed_peers, config.denied_peers),
                max_per_participant: config.max_per_participant,
                max_allocations: MAX_ALLOCATIONS,
            },
            seed,
        );
        let (stop, counts): (Arc<AtomicBool>, Arc<SharedCounts>) = Default::default();
        let parts = Parts {
            server,
            sockets,
            poller,
            inputs: self.inputs,
            from_shards: self.media,
            shards,
            counts: Arc::clone(&counts),
            stop: Arc::clone(&stop),
            held: GaugeGuard::new(media.counts, Metric::Relays),
        };
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || RelayThread::new(parts).supervise())
            .map_err(StartError::Thread)?;
        Ok(RelayLink { handle: self.handle, counts, stop })
    }
}

/// Where media is received.
pub(crate) struct Media<'a> {
    /// As clients know it.
    pub(crate) advertised: &'a [SocketAddr],
    /// As the sockets are bound; an unspecified address stands for all of this machine.
    pub(crate) bound: &'a [SocketAddr],
    /// This machine's addresses.
    pub(crate) ours: &'a [IpAddr],
    /// The node's numbers.
    pub(crate) counts: &'a Arc<SharedCounts>,
}

impl Media<'_> {
    /// Who may be relayed to.
    fn policy(&self, allowed: Vec<Cidr>, denied: Vec<Cidr>) -> PeerPolicy {
        PeerPolicy { media: self.all(), own: self.own(), allowed, denied }
    }

    /// This machine by all of its addresses, link-local ones too, and by those of a NAT before it.
    fn own(&self) -> Vec<IpAddr> {
        let told = self.advertised.iter().chain(self.bound).map(SocketAddr::ip);
        let has = interfaces().into_iter().flat_map(|interface| interface.addresses);
        let mut own: Vec<_> = told.chain(self.ours.iter().copied()).chain(has).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    fn all(&self) -> Vec<SocketAddr> {
        let mut all = self.advertised.to_vec();
        for bound in self.bound {
            let same = |ip: &&IpAddr| ip.is_ipv4() == bound.is_ipv4();
            if bound.ip().is_unspecified() {
                let ours = self.ours.iter().filter(same);
                all.extend(ours.map(|ip| SocketAddr::new(*ip, bound.port())));
            } else {
                all.push(*bound);
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use hearth_turn::Peer;

    use super::*;

    #[test]
    fn a_flood_of_connections_is_in_nobodys_way_who_leaves() {
        let poller = Poller::new().unwrap();
        let (handle, inputs) = TurnHandle::new(poller.waker());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for _ in 0..2 * MAX_ACCEPTED {
            handle.send(NewStream::new(stream.try_clone().unwrap(), None).unwrap());
        }
        for n in 0..2 * MAX_LEAVING {
            handle.revoke(&format!("PA_{n}"));
        }
        assert_eq!(inputs.accepted.try_iter().count(), MAX_ACCEPTED);
        let leaving: Vec<_> = inputs.leaving.try_iter().collect();
        assert_eq!((leaving.len(), &*leaving[MAX_LEAVING - 1]), (MAX_LEAVING, "PA_4095"));
    }

    #[test]
    fn a_public_network_that_is_open_does_not_open_this_machine() {
        let advertised = ["203.0.113.7:7882".parse().unwrap()];
        let bound = ["0.0.0.0:7882", "[2001:db8::8]:7882"].map(|addr| addr.parse().unwrap());
        let ours = ["198.51.100.7".parse().unwrap()];
        let counts = Arc::default();
        let media = Media { advertised: &advertised, bound: &bound, ours: &ours, counts: &counts };
        let open = ["0.0.0.0/0", "::/0", "127.0.0.0/8", "169.254.0.0/16", "fe80::/10"];
        let policy = media.policy(open.map(|net| net.parse().unwrap()).to_vec(), Vec::new());
        for ip in ["203.0.113.7", "198.51.100.7", "2001:db8::8"] {
            let ip = ip.parse().unwrap();
            assert_eq!(policy.judge(SocketAddr::new(ip, 22)), None, "{ip}");
            let at_media = SocketAddr::new(ip, 7_882);
            assert_eq!(policy.judge(at_media), Some(Peer::Media(at_media)), "{ip}");
        }
        for ip in interfaces().into_iter().flat_map(|interface| interface.addresses) {
            assert_eq!(policy.judge(SocketAddr::new(ip, 22)), None, "{ip}");
        }
        let other = "198.51.100.8:22".parse().unwrap();
        assert_eq!(policy.judge(other), Some(Peer::Outside(other)));
    }
}
