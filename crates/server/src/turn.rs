//! TURN: from the configuration to the node and to what clients are told.
//!
//! * **Owns:** nothing.
//! * **In:** the configuration. **Out:** [`TurnConfig`], [`IceServers`].
//! * **Not here:** the ports of TCP and TLS ([`ports`](crate::ports)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hearth_room::{EmbeddedTurn, IceServers};
use hearth_runtime::TurnConfig;

use crate::config::{Config, Turn};

/// What clients are told.
pub(crate) fn ice_servers(config: &Config) -> IceServers {
    let turn = config.turn();
    let own = turn.own.as_ref().zip(config.keys().first());
    let own = own.map(|(own, key)| EmbeddedTurn {
        key: key.clone(),
        ttl: own.ttl,
        ips: Vec::new(),
        udp_port: own.udp_port,
        tcp_port: own.tcp_port,
        tls: own.tls.clone(),
    });
    IceServers { turn: own, external: turn.external.clone(), stun: turn.stun.clone() }
}

/// What the node is told.
pub(crate) fn node_config(config: &Config, has_ipv6: bool) -> Option<TurnConfig> {
    let own = config.turn().own.as_ref()?;
    Some(TurnConfig {
        udp_bind: udp_bind(own, has_ipv6),
        keys: config.keys().to_vec(),
        ttl: own.ttl,
        relay_ports: own.relay_ports.clone(),
        allowed_peers: own.allowed_peers.clone(),
        denied_peers: own.denied_peers.clone(),
        max_per_participant: own.max_per_participant,
    })
}

/// Where TURN over UDP listens.
pub(crate) fn udp_bind(own: &Turn, has_ipv6: bool) -> Vec<SocketAddr> {
    let addrs = own.udp_port.into_iter().flat_map(|port| addresses(&own.bind, port));
    addrs.filter(|addr| addr.is_ipv4() || has_ipv6).collect()
}

fn addresses(bind: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let all = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let ips = if bind.is_empty() { &all } else { bind };
    ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}
