//! A server with several addresses: an answer leaves from the one that was asked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hearth_datagram::Endpoint;
use hearth_peer::{Context, Peer, Transmit};
use hearth_plane::{DtlsRole, LocalCandidate, PeerSpec};
use hearth_random::Seed;

use crate::roles::{certificate, client_remote, client_spec};
use crate::support::{client_addr, context, epoch, spec};

const STEP: Duration = Duration::from_millis(10);
/// The class and method of a STUN request and of an answer to one (RFC 8489 §5).
const REQUEST: [u8; 2] = [0, 1];
const SUCCESS: [u8; 2] = [1, 1];

#[test]
fn with_two_addresses_every_answer_leaves_from_the_one_that_was_asked() {
    for lite in [true, false] {
        for dead in [None, Some(0), Some(1)] {
            let addrs = [at("10.0.0.1:7882"), at("10.0.0.3:7882")];
            let mut network = Network::new(lite, addrs, addrs);
            network.dead = dead.map(|n: usize| addrs[n]);
            network.run(400);
            let state = format!("lite {lite}, dead {dead:?}");
            assert!(network.server.is_connected() && network.client.is_connected(), "{state}");
            // The client sends by the pair it has nominated; so do we.
            let chosen = network.client.path().unwrap();
            let path = network.server.path().unwrap();
            assert_eq!((path.local, path.remote), (chosen.remote, chosen.local), "{state}");
            assert_ne!(Some(path.local), network.dead, "{state}");
            assert!(network.answered.len() == 2 - dead.iter().count(), "{state}");
        }
    }
}

#[test]
fn behind_a_nat_answers_leave_from_the_address_that_this_machine_has() {
    for lite in [true, false] {
        let told = [at("203.0.113.1:7882"), at("203.0.113.3:7882")];
        // The NAT maps both to one machine, whose address is in neither candidate.
        let here = [at("10.0.0.1:7882"), at("10.0.0.1:7882")];
        let mut network = Network::new(lite, told, here);
        network.dead = Some(told[1]);
        network.run(400);
        assert!(network.server.is_connected() && network.client.is_connected(), "lite {lite}");
        assert_eq!(network.server.path(), Some(Endpoint::udp(here[0], client_addr())));
        assert_eq!(network.answered, [here[0]]);
    }
}

#[test]
fn media_follows_a_client_to_another_address_of_ours() {
    let addrs = [at("10.0.0.1:7882"), at("10.0.0.3:7882")];
    let mut network = Network::new(true, addrs, addrs);
    network.run(300);
    let first = network.server.path().unwrap().local;
    network.dead = Some(first);
    network.run(3_000);
    let path = network.server.path().unwrap();
    assert!(network.server.is_connected());
    assert!(addrs.contains(&path.local) && path.local != first, "{path:?}, then dead {first}");
}

/// A server of two addresses, a client of one, and what is between them.
struct Network {
    now: Instant,
    server: Peer,
    client: Peer,
    /// The advertised addresses, and those this machine has instead.
    told: [SocketAddr; 2],
    here: [SocketAddr; 2],
    /// Advertised addresses that nothing gets through to.
    dead: Option<SocketAddr>,
    /// Where a question came to that is not answered yet, in the order of the questions.
    asked: Vec<(SocketAddr, [u8; 12])>,
    /// Addresses of ours that have answered.
    answered: Vec<SocketAddr>,
}

impl Network {
    fn new(lite: bool, told: [SocketAddr; 2], here: [SocketAddr; 2]) -> Self {
        let now = epoch();
        let (server_context, fingerprint) = context();
        let remote = Some(client_remote(DtlsRole::Server));
        let server = PeerSpec {
            local_candidates: told.iter().copied().map(LocalCandidate::udp).collect(),
            ..spec(lite, false, remote)
        };
        let server = Peer::new(now, &server, &server_context, &Seed::fixed(1)).unwrap();
        let client = client_spec(fingerprint, DtlsRole::Client);
        let client_context = Context::new(certificate()).unwrap();
        let mut client = Peer::new(now, &client, &client_context, &Seed::fixed(2)).unwrap();
        for (n, addr) in told.iter().enumerate() {
            let (ip, port) = (addr.ip(), addr.port());
            let priority = 2_130_706_431 - n;
            let candidate = format!("candidate:{n} 1 udp {priority} {ip} {port} typ host");
            client.add_remote_candidate(now, &candidate);
        }
        let (asked, answered) = (Vec::new(), Vec::new());
        Self { now, server, client, told, here, dead: None, asked, answered }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += STEP;
            self.server.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
            loop {
                let (up, down) = (self.client.poll_transmit(), self.server.poll_transmit());
                if up.is_none() && down.is_none() {
                    break;
                }
                if let Some(up) = up {
                    self.deliver_up(up);
                }
                if let Some(down) = down {
                    self.deliver_down(down);
                }
            }
        }
    }

    fn deliver_up(&mut self, Transmit { path, mut payload }: Transmit) {
        if self.dead == Some(path.remote) {
            return;
        }
        let at = self.told.iter().position(|addr| *addr == path.remote).unwrap();
        let local = self.here[at];
        if payload.starts_with(&REQUEST) {
            self.asked.push((local, transaction(&payload)));
        }
        self.server.handle_datagram(self.now, Endpoint::udp(local, path.local), &mut payload);
    }

    fn deliver_down(&mut self, Transmit { path, mut payload }: Transmit) {
        if payload.starts_with(&SUCCESS) {
            let question = (path.local, transaction(&payload));
            let asked = self.asked.iter().position(|asked| *asked == question);
            self.asked.remove(asked.unwrap_or_else(|| panic!("an answer from {}", path.local)));
            if !self.answered.contains(&path.local) {
                self.answered.push(path.local);
            }
        } else if !payload.starts_with(&REQUEST) {
            // DTLS, to where the client has sent DTLS.
            assert!(self.here.contains(&path.local));
        }
        // A check that we send unasked comes from a candidate, which a NAT knows as well.
        let by_nat = self.here.iter().position(|addr| *addr == path.local);
        let from = by_nat.and_then(|at| self.told.get(at)).copied().unwrap_or(path.local);
        if self.dead != Some(from) {
            let path = Endpoint::udp(path.remote, from);
            self.client.handle_datagram(self.now, path, &mut payload);
        }
    }
}

fn transaction(message: &[u8]) -> [u8; 12] {
    message[8..20].try_into().unwrap()
}

fn at(addr: &str) -> SocketAddr {
    addr.parse().unwrap()
}
