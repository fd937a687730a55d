//! The UDP sockets of media: which ports there are, and which thread reads which.
//!
//! * **Owns:** nothing; it binds and hands over.
//! * **In:** addresses, how many ports from theirs on may be used, how many media threads there are.
//! * **Out:** [`MediaPorts`]: the sockets and the port of each thread.
//! * **Invariant:** a thread has one port, the same at all addresses. Where there are as many ports as threads, no
//!   two threads share one, so that the kernel gives every datagram to the thread that owns its peer.

use std::net::SocketAddr;

use hearth_net::UdpSocket;
use tracing::{info, warn};

use crate::config::StartError;

/// Ports tried when the system chooses one and another address has it taken already.
pub(crate) const PORT_ATTEMPTS: usize = 16;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct MediaPorts {
    /// Of each shard, in the order of the addresses.
    pub(crate) sockets: Vec<Vec<UdpSocket>>,
    /// Of each shard.
    pub(crate) ports: Vec<u16>,
}

impl MediaPorts {
    /// Binds `addrs` for `shards` threads, each at its own of `ports` consecutive ports; threads beyond those share
    /// them in turn. Port 0: the system chooses each.
    pub(crate) fn bind(
        addrs: &[SocketAddr],
        ports: u16,
        shards: usize,
    ) -> Result<Self, StartError> {
        let count = usize::from(ports).min(shards);
        if addrs.is_empty() || count == 0 {
            return Err(StartError::Nothing);
        }
        let mut attempt = 1;
        let bound = loop {
            match bind_once(addrs, count, shards) {
                Err(StartError::Bind { addr, .. })
                    if addr.port() == 0 && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => break outcome?,
            }
        };
        if let Some(remark) = remark(ports, shards, &bound.ports) {
            info!("{remark}");
        }
        let first = bound.sockets.iter().flatten().next();
        if let Some(advice) = first.and_then(UdpSocket::buffer_advice) {
            warn!("{advice}");
        }
        Ok(bound)
    }

    /// The ports in use, each once.
    pub(crate) fn distinct(&self) -> Vec<u16> {
        distinct(&self.ports)
    }
}

fn distinct(ports: &[u16]) -> Vec<u16> {
    let mut distinct: Vec<u16> = Vec::new();
    for port in ports {
        if !distinct.contains(port) {
            distinct.push(*port);
        }
    }
    distinct
}

/// What the operator should know about a range that does not fit the threads.
fn remark(ports: u16, shards: usize, used: &[u16]) -> Option<String> {
    let used = distinct(used);
    let (first, last) = (used.first()?, used.last()?);
    let wanted = first.checked_add(u16::try_from(shards).ok()?)?.checked_sub(1)?;
    match usize::from(ports) {
        1 => None,
        many if many > shards => Some(format!(
            "UDP ports {first}-{last} are used, one for each of {shards} media threads; the others of the range are not needed"
        )),
        few if few < shards => Some(format!(
            "{shards} media threads share {few} UDP ports, so that some packets pass between threads; \
             `rtc.udp_port: {first}-{wanted}` gives each its own"
        )),
        _ => None,
    }
}

fn bind_once(addrs: &[SocketAddr], count: usize, shards: usize) -> Result<MediaPorts, StartError> {
    let mut sockets: Vec<Vec<UdpSocket>> = Vec::new();
    sockets.resize_with(shards, Vec::new);
    let mut ports = vec![0; shards];
    for (index, step) in (0..count).zip(0_u16..) {
        let of_port = || (index..shards).step_by(count);
        let mut chosen = None;
        for &addr in addrs {
            let mut exact = addr;
            exact.set_port(match addr.port() {
                0 => chosen.unwrap_or(0),
                base => base.checked_add(step).ok_or(StartError::Nothing)?,
            });
            let addr = if addr.port() == 0 { addr } else { exact };
            let group = UdpSocket::bind_group(exact, of_port().count())
                .map_err(|source| StartError::Bind { addr, source })?;
            chosen = chosen.or_else(|| group.first().map(|socket| socket.local_addr().port()));
            for (shard, socket) in of_port().zip(group) {
                if let Some(sockets) = sockets.get_mut(shard) {
                    sockets.push(socket);
                }
            }
        }
        for shard in of_port() {
            if let (Some(port), Some(chosen)) = (ports.get_mut(shard), chosen) {
                *port = chosen;
            }
        }
    }
    Ok(MediaPorts { sockets, ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_its_own_port_as_far_as_there_are_ports() {
        let addrs = ["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
        for (ports, shards, distinct) in [(1, 3, 1), (2, 2, 2), (2, 5, 2), (9, 2, 2), (3, 1, 1)] {
            let bound = MediaPorts::bind(&addrs, ports, shards).unwrap();
            assert_eq!((bound.ports.len(), bound.distinct().len()), (shards, distinct));
            for (sockets, port) in bound.sockets.iter().zip(&bound.ports) {
                let at = |n: usize| SocketAddr::new(addrs[n].ip(), *port);
                let local: Vec<_> = sockets.iter().map(UdpSocket::local_addr).collect();
                assert_eq!(local, [at(0), at(1)]);
            }
        }
    }

    #[test]
    fn a_range_that_does_not_fit_the_threads_is_remarked_upon() {
        let said = |ports, shards, used: &[u16]| remark(ports, shards, used).unwrap_or_default();
        assert_eq!(said(1, 8, &[7_882; 8]), "");
        assert_eq!(said(2, 2, &[7_882, 7_883]), "");
        assert!(said(11, 2, &[7_882, 7_883]).starts_with("UDP ports 7882-7883 are used"));
        assert!(said(2, 4, &[7_882, 7_883, 7_882, 7_883]).contains("`rtc.udp_port: 7882-7885`"));
    }
}
