//! Starting a node: sockets, certificate, shard threads, control tasks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use hearth_metrics::{Metric, SharedCounts};
use hearth_net::{Poller, UdpSocket, host_addresses, listen_tcp};
use hearth_peer::Certificate;
use hearth_plane::{LocalCandidate, ShardId};
use hearth_random::{Purpose, Seed};
use hearth_room::RoomConfig;
use hearth_shard::ShardConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::{NodeConfig, StartError};
use crate::counters::GaugeGuard;
use crate::directory::{Directory, DirectoryRequest};
use crate::ice_tcp::IceTcp;
use crate::media_ports::{MediaPorts, PORT_ATTEMPTS};
use crate::relay::{Ends, Media, RelayLink};
use crate::room_task::NodeHandles;
use crate::shard_link::ShardLink;
use crate::shard_thread::{self, LaneEnds, MAX_CHECKS, MAX_MESSAGES, Parts, ShardChannels};
use crate::socket_routes::SocketRoutes;

/// A running node, as [`Node`](crate::Node) holds it.
pub(crate) struct Started {
    pub(crate) directory: mpsc::Sender<DirectoryRequest>,
    pub(crate) shards: Arc<[ShardLink]>,
    pub(crate) room_config: Arc<RoomConfig>,
    pub(crate) counts: Arc<SharedCounts>,
    /// Each once.
    pub(crate) udp_ports: Vec<u16>,
    pub(crate) tcp: Tcp,
    pub(crate) relay: Option<RelayLink>,
}

/// ICE-TCP of a running node.
#[derive(Debug)]
pub(crate) struct Tcp {
    /// `None`: no port of the node's own.
    pub(crate) port: Option<u16>,
    pub(crate) ice_tcp: IceTcp,
    /// Accepting ends when this is dropped.
    pub(crate) _accepting: JoinSet<()>,
}

/// Must run inside a tokio runtime.
pub(crate) fn start(mut config: NodeConfig) -> Result<Started, StartError> {
    let mut bound =
        MediaPorts::bind(&config.udp_bind, config.udp_ports, usize::from(config.shards))?;
    let advertised = advertised(&config)?;
    let ours = host_addresses(true);
    let translated = advertised.iter().map(SocketAddr::ip).filter(|ip| !is_local(*ip, &ours));
    for socket in bound.sockets.iter_mut().flatten() {
        socket.set_translated(translated.clone().collect());
    }
    let certificate = Arc::new(Certificate::generate().map_err(StartError::Certificate)?);
    let (listeners, tcp_port) = match config.tcp_port {
        Some(port) if config.tcp_shared => (Vec::new(), Some(port)),
        Some(port) => bind_tcp(&config.udp_bind, port)?,
        None => (Vec::new(), None),
    };
    let advertised_by_shard = of_each_shard(&advertised, &bound.ports);
    config.room.local_candidates = advertised_by_shard
        .iter()
        .map(|advertised| candidates(advertised, tcp_port, config.force_tcp))
        .collect();
    if let Some(turn) = &mut config.room.ice_servers.turn {
        turn.ips = advertised.iter().map(SocketAddr::ip).collect();
        turn.ips.dedup();
    }
    config.room.fingerprint = certificate.fingerprint();
    let counts = Arc::new(SharedCounts::default());
    let relay = config.turn.take().map(|turn| Ok((turn, Ends::new()?))).transpose()?;
    let seed = config.seed.clone();
    let udp_ports = bound.distinct();
    let local: Vec<_> = bound.sockets.iter().flatten().map(UdpSocket::local_addr).collect();
    let shards = Shards { certificate, seed, relay: relay.as_ref().map(|(_, ends)| ends.lane()) };
    let (shards, lanes) = shards.start(bound.sockets, &counts)?;
    let shards: Arc<[ShardLink]> = shards.into();
    let relay = relay.map(|(turn, ends)| {
        let mut advertised: Vec<_> = advertised_by_shard.into_iter().flatten().collect();
        advertised.sort_unstable();
        advertised.dedup();
        let (advertised, counts) = (advertised.as_slice(), &counts);
        let media = Media { advertised, bound: &local, ours: &ours, counts };
        ends.spawn(turn, &media, lanes, &config.seed)
    });
    let relay = relay.transpose().inspect_err(|_| shards.iter().for_each(ShardLink::stop))?;

    let ice_tcp = IceTcp::start(Arc::clone(&shards), Arc::clone(&counts));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener).map_err(StartError::Poller)?;
        accepting.spawn(ice_tcp.clone().accept(listener));
    }
    let around = NodeHandles {
        shards: Arc::clone(&shards),
        room_share: config.room_share,
        counts: Arc::clone(&counts),
        turn: relay.as_ref().map(|relay| relay.handle.clone()),
    };
    let (directory, requests) = Directory::new(config.seed, around);
    tokio::spawn(directory.run());
    info!(shards = shards.len(), ?udp_ports, ?tcp_port, "Node started");
    Ok(Started {
        directory: requests,
        shards,
        room_config: Arc::new(config.room),
        counts,
        udp_ports,
        tcp: Tcp { port: tcp_port, ice_tcp, _accepting: accepting },
        relay,
    })
}

/// Listens at the IPs of `addrs`, on one port.
fn bind_tcp(
    addrs: &[SocketAddr],
    port: u16,
) -> Result<(Vec<std::net::TcpListener>, Option<u16>), StartError> {
    let mut attempt = 1;
    loop {
        match bind_tcp_once(addrs, port) {
            Err(StartError::BindTcp { .. }) if port == 0 && attempt < PORT_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

fn bind_tcp_once(
    addrs: &[SocketAddr],
    port: u16,
) -> Result<(Vec<std::net::TcpListener>, Option<u16>), StartError> {
    let mut listeners = Vec::new();
    let mut chosen = None;
    for addr in addrs {
        let addr = SocketAddr::new(addr.ip(), chosen.unwrap_or(port));
        let failed = |source| StartError::BindTcp { addr, source };
        let listener = listen_tcp(addr).map_err(failed)?;
        chosen = Some(listener.local_addr().map_err(failed)?.port());
        listeners.push(listener);
    }
    Ok((listeners, chosen))
}

/// Host candidates, UDP before TCP. `force_tcp`: without UDP.
fn candidates(
    advertised: &[SocketAddr],
    tcp_port: Option<u16>,
    force_tcp: bool,
) -> Vec<LocalCandidate> {
    let udp = advertised.iter().copied().map(LocalCandidate::udp).filter(|_| !force_tcp);
    let mut candidates: Vec<_> = udp.collect();
    let tcp = advertised.iter().zip(tcp_port.into_iter().cycle());
    for (addr, port) in tcp {
        let candidate = LocalCandidate::tcp(SocketAddr::new(addr.ip(), port));
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    candidates
}

/// The advertised addresses; port 0 stands for that of a peer's shard.
fn advertised(config: &NodeConfig) -> Result<Vec<SocketAddr>, StartError> {
    let bound = &config.udp_bind;
    let mut addrs = config.advertised.clone();
    if addrs.is_empty() {
        let reachable = host_addresses(config.advertise_loopback).into_iter().filter(|ip| {
            bound.iter().any(|addr| {
                addr.ip() == *ip || (addr.ip().is_unspecified() && addr.is_ipv4() == ip.is_ipv4())
            })
        });
        addrs.extend(reachable.map(|ip| SocketAddr::new(ip, 0)));
    }
    if addrs.is_empty() { Err(StartError::NoAddress) } else { Ok(addrs) }
}

/// What the peers of each shard are told, whose ports these are.
fn of_each_shard(advertised: &[SocketAddr], ports: &[u16]) -> Vec<Vec<SocketAddr>> {
    let at = |addr: &SocketAddr, port: u16| {
        SocketAddr::new(addr.ip(), if addr.port() == 0 { port } else { addr.port() })
    };
    ports.iter().map(|port| advertised.iter().map(|addr| at(addr, *port)).collect()).collect()
}

/// Whether datagrams can leave from `ip`, on a machine with the addresses `ours`.
fn is_local(ip: IpAddr, ours: &[IpAddr]) -> bool {
    // All of 127.0.0.0/8 is this machine's, and the list has one of it.
    ip.is_loopback() || ours.contains(&ip)
}

/// The parts that all shards of a node share.
pub(crate) struct Shards {
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) seed: Seed,
    /// How they reach the relay thread.
    pub(crate) relay: Option<LaneEnds>,
}

impl Shards {
    /// Starts a thread for each set of sockets. Also returns how to reach them past their queues of commands.
    pub(crate) fn start(
        self,
        sockets: Vec<Vec<UdpSocket>>,
        counts: &Arc<SharedCounts>,
    ) -> Result<(Vec<ShardLink>, Vec<LaneEnds>), StartError> {
        let count = u16::try_from(sockets.len()).map_err(|_| StartError::Nothing)?;
        let mut pollers = Vec::new();
        let mut outgoing = Vec::new();
        let mut incoming = Vec::new();
        for sockets in &sockets {
            let mut poller = Poller::new().map_err(StartError::Poller)?;
            for socket in sockets {
                poller.add(socket, 0).map_err(StartError::Poller)?;
            }
            // All memory of a lane is written to when it is made, and a single shard has no other to send to.
            let shared = count > 1 || self.relay.is_some();
            let [messages, checks] = if shared { [MAX_MESSAGES, MAX_CHECKS] } else { [1, 1] };
            let (media, from_media) = sync_channel(messages);
            let (checks, from_checks) = sync_channel(checks);
            outgoing.push(LaneEnds { media, checks, waker: poller.waker() });
            incoming.push((from_media, from_checks));
            pollers.push(poller);
        }
        let lanes = outgoing.clone();
        outgoing.extend(self.relay);
        let mut links = Links::default();
        let each = sockets.into_iter().zip(pollers).zip(incoming).zip(0..count);
        for (((sockets, poller), (incoming, checks)), n) in each {
            let config = ShardConfig {
                id: ShardId(n),
                shards: count,
                certificate: Arc::clone(&self.certificate),
                seed: self.seed.derive(Purpose::Shard, n.into()),
            };
            let bound = sockets.iter().map(|socket| socket.local_addr()).collect();
            let parts = Parts {
                config,
                sockets,
                poller,
                paths: SocketRoutes::new(bound),
                channels: ShardChannels { incoming, checks, outgoing: outgoing.clone() },
                held: GaugeGuard::new(counts, Metric::Shards),
            };
            links.0.push(shard_thread::spawn(parts)?);
        }
        Ok((links.finish(), lanes))
    }
}

/// Shards that run; they are stopped if a later one cannot start.
#[derive(Default)]
struct Links(Vec<ShardLink>);

impl Links {
    fn finish(mut self) -> Vec<ShardLink> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.0.iter().for_each(ShardLink::stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_the_port_of_its_shard() {
        let advertised = ["10.0.0.5:0", "203.0.113.9:9000"].map(|addr| addr.parse().unwrap());
        let told = of_each_shard(&advertised, &[7_882, 7_883]);
        let told: Vec<Vec<_>> =
            told.iter().map(|addrs| addrs.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(
            told,
            [["10.0.0.5:7882", "203.0.113.9:9000"], ["10.0.0.5:7883", "203.0.113.9:9000"]]
        );
    }
}
