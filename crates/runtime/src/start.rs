//! Starting a node: sockets, certificate, shard threads, control tasks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use hearth_metrics::{Metric, SharedCounts};
use hearth_net::{Poller, UdpSocket, host_addresses};
use hearth_peer::Certificate;
use hearth_plane::ShardId;
use hearth_random::{Purpose, Seed};
use hearth_room::RoomConfig;
use hearth_shard::ShardConfig;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{NodeConfig, StartError};
use crate::counters::GaugeGuard;
use crate::directory::{Directory, DirectoryRequest};
use crate::relay::{Ends, Media, RelayLink};
use crate::room_task::NodeHandles;
use crate::shard_link::ShardLink;
use crate::shard_thread::{self, LaneEnds, MAX_CHECKS, MAX_MESSAGES, Parts, ShardChannels};
use crate::socket_routes::SocketRoutes;

/// Ports tried when the system chooses one and another address has it taken already.
const PORT_ATTEMPTS: usize = 16;

/// A running node, as [`Node`](crate::Node) holds it.
pub(crate) struct Started {
    pub(crate) directory: mpsc::Sender<DirectoryRequest>,
    pub(crate) shards: Arc<[ShardLink]>,
    pub(crate) room_config: Arc<RoomConfig>,
    pub(crate) counts: Arc<SharedCounts>,
    pub(crate) udp_port: u16,
    pub(crate) relay: Option<RelayLink>,
}

/// Must run inside a tokio runtime.
pub(crate) fn start(mut config: NodeConfig) -> Result<Started, StartError> {
    let (mut sockets, udp_port) = bind_all(&config.udp_bind, usize::from(config.shards))?;
    let advertised = advertised(&config, udp_port)?;
    let ours = host_addresses(true);
    let translated = advertised.iter().map(SocketAddr::ip).filter(|ip| !is_local(*ip, &ours));
    for socket in sockets.iter_mut().flatten() {
        socket.set_translated(translated.clone().collect());
    }
    let certificate = Arc::new(Certificate::generate().map_err(StartError::Certificate)?);
    config.room.local_addrs.clone_from(&advertised);
    if let Some(turn) = &mut config.room.ice_servers.turn {
        turn.ips = advertised.iter().map(SocketAddr::ip).collect();
        turn.ips.dedup();
    }
    config.room.fingerprint = certificate.fingerprint();
    let counts = Arc::new(SharedCounts::default());
    let relay = config.turn.take().map(|turn| Ok((turn, Ends::new()?))).transpose()?;
    let bound: Vec<_> = sockets.iter().flatten().map(UdpSocket::local_addr).collect();
    let seed = config.seed.clone();
    let shards = Shards { certificate, seed, relay: relay.as_ref().map(|(_, ends)| ends.lane()) };
    let (shards, lanes) = shards.start(sockets, &counts)?;
    let shards: Arc<[ShardLink]> = shards.into();
    let relay = relay.map(|(turn, ends)| {
        let (advertised, counts) = (advertised.as_slice(), &counts);
        let media = Media { advertised, bound: &bound, ours: &ours, counts };
        ends.spawn(turn, &media, lanes, &config.seed)
    });
    let relay = relay.transpose().inspect_err(|_| shards.iter().for_each(ShardLink::stop))?;

    let around = NodeHandles {
        shards: Arc::clone(&shards),
        room_share: config.room_share,
        counts: Arc::clone(&counts),
    };
    let (directory, requests) = Directory::new(config.seed, around);
    tokio::spawn(directory.run());
    info!(shards = shards.len(), udp_port, ?advertised, "Node started");
    Ok(Started {
        directory: requests,
        shards,
        room_config: Arc::new(config.room),
        counts,
        udp_port,
        relay,
    })
}

/// The sockets of each shard, in the order of `addrs`, all of one port.
fn bind_all(addrs: &[SocketAddr], shards: usize) -> Result<(Vec<Vec<UdpSocket>>, u16), StartError> {
    if addrs.is_empty() || shards == 0 {
        return Err(StartError::Nothing);
    }
    let mut attempt = 1;
    loop {
        match bind_once(addrs, shards) {
            Err(StartError::Bind { addr, .. }) if addr.port() == 0 && attempt < PORT_ATTEMPTS => {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

fn bind_once(
    addrs: &[SocketAddr],
    shards: usize,
) -> Result<(Vec<Vec<UdpSocket>>, u16), StartError> {
    let mut by_shard: Vec<Vec<UdpSocket>> = Vec::new();
    by_shard.resize_with(shards, Vec::new);
    let mut chosen = None;
    for &addr in addrs {
        let mut exact = addr;
        if addr.port() == 0 {
            exact.set_port(chosen.unwrap_or(0));
        }
        let group = UdpSocket::bind_group(exact, shards)
            .map_err(|source| StartError::Bind { addr, source })?;
        let port = group.first().map(|socket| socket.local_addr().port());
        chosen = chosen.or(port);
        if let Some(advice) = group.first().and_then(UdpSocket::buffer_advice) {
            warn!("{advice}");
        }
        for (sockets, socket) in by_shard.iter_mut().zip(group) {
            sockets.push(socket);
        }
    }
    Ok((by_shard, chosen.unwrap_or_default()))
}

/// The advertised addresses, with the port that was bound.
fn advertised(config: &NodeConfig, udp_port: u16) -> Result<Vec<SocketAddr>, StartError> {
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
    for addr in addrs.iter_mut().filter(|addr| addr.port() == 0) {
        addr.set_port(udp_port);
    }
    if addrs.is_empty() { Err(StartError::NoAddress) } else { Ok(addrs) }
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
