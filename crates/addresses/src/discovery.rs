//! Asking STUN servers for external addresses, from each own address at once.
//!
//! * **Owns:** for the time of the question, a socket at the media port of each own address.
//! * **In:** own addresses, servers. **Out:** [`External`] or [`ExternalError`] for each address.
//! * **Invariant:** everything together takes at most [`DEADLINE`] and [`HAIRPIN`]. An answer counts only from the
//!   address that was asked.
//! * **Spec:** RFC 8489 (STUN); hairpinning is RFC 4787 §6.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hearth_net::WallClock;
use hearth_random::{Purpose, Rng, Seed};
use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::external::{External, ExternalError, Failure, Hairpin, Obstacle, StunServer};
use crate::stun::{Answer, Consensus, Query, Transaction, consensus};

/// For names and answers together.
const DEADLINE: Duration = Duration::from_secs(5);
/// Of that, for names.
const DNS_DEADLINE: Duration = Duration::from_secs(3);
/// How long a datagram may take to come back through a NAT.
const HAIRPIN: Duration = Duration::from_secs(1);
/// One that is lost on the way is no proof.
const HAIRPIN_EVERY: Duration = Duration::from_millis(200);
/// How long a second server is waited for when one has answered.
const SECOND_OPINION: Duration = Duration::from_millis(1_500);

/// The external address of each of `locals`, as seen by `servers`.
///
/// * `port` – that of media, from which is asked, so that the NAT's mapping of it is known. 0: any.
pub async fn find_external(
    locals: &[IpAddr],
    port: u16,
    servers: &[StunServer],
    seed: &Seed,
) -> Vec<Result<External, ExternalError>> {
    let deadline = Instant::now() + DEADLINE;
    let servers = resolve(servers).await;
    let mut tasks = JoinSet::new();
    for (place, &local) in locals.iter().enumerate() {
        let servers = servers.clone();
        let rng = seed.derive(Purpose::Client, place as u64).rng(Purpose::StunTransaction);
        let search = Search { local, port, rng };
        tasks.spawn(async move { (place, search.run(&servers, deadline).await) });
    }
    let mut found = Vec::new();
    while let Some(Ok(result)) = tasks.join_next().await {
        found.push(result);
    }
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, result)| result).collect()
}

/// A server's name, and its addresses.
type Resolved = (String, Result<Vec<SocketAddr>, Failure>);

async fn resolve(servers: &[StunServer]) -> Vec<Resolved> {
    let mut tasks = JoinSet::new();
    for (place, server) in servers.iter().cloned().enumerate() {
        tasks.spawn(async move {
            let name = server.to_string();
            let looked_up = timeout(DNS_DEADLINE, lookup_host((server.host, server.port))).await;
            let addrs = match looked_up {
                Ok(Ok(addrs)) => Ok(addrs.collect()),
                Ok(Err(error)) => Err(Failure::Dns(error.to_string())),
                Err(_) => Err(Failure::DnsTimeout(DNS_DEADLINE)),
            };
            (place, (name, addrs))
        });
    }
    let mut resolved = Vec::new();
    while let Some(Ok(one)) = tasks.join_next().await {
        resolved.push(one);
    }
    resolved.sort_by_key(|(place, _)| *place);
    resolved.into_iter().map(|(_, one)| one).collect()
}

/// The search for the external address of one own address.
struct Search {
    local: IpAddr,
    port: u16,
    rng: Rng,
}

/// One server's part in it.
struct Asked {
    name: String,
    /// `Err`: it told nothing.
    state: Result<(SocketAddr, Query), Failure>,
}

impl Search {
    async fn run(
        mut self,
        servers: &[Resolved],
        deadline: Instant,
    ) -> Result<External, ExternalError> {
        let local = self.local;
        let error = |obstacle, servers| ExternalError { local, obstacle, servers };
        let bound = UdpSocket::bind((local, self.port)).await;
        let socket = bound.map_err(|e| {
            let taken = e.kind() == io::ErrorKind::AddrInUse;
            let bind = || Obstacle::Bind(e.to_string());
            error(if taken { Obstacle::PortTaken(self.port) } else { bind() }, Vec::new())
        })?;
        let mut asked: Vec<Asked> = servers.iter().map(|server| self.ask(server)).collect();
        let began = Instant::now();
        exchange(&socket, &mut asked, deadline).await;
        let waited = began.elapsed();

        let told: Vec<(&str, SocketAddr)> = asked.iter().filter_map(Asked::told).collect();
        let ips: Vec<IpAddr> = told.iter().map(|(_, addr)| addr.ip()).collect();
        let ip = match consensus(&ips) {
            Consensus::One(ip) | Consensus::Agreed(ip) => ip,
            Consensus::Disagree => return Err(error(Obstacle::Disagree, outcomes(asked, waited))),
            Consensus::None => return Err(error(Obstacle::Silence, outcomes(asked, waited))),
        };
        let believed = || told.iter().filter(|(_, addr)| addr.ip() == ip);
        let told_by = believed().map(|(name, _)| (*name).to_owned()).collect();
        let port = believed().map(|(_, addr)| addr.port()).next().filter(|_| self.port != 0);
        let hairpin = if ip == local {
            None
        } else {
            Some(self.hairpin(&socket, ip).await.unwrap_or(Hairpin::Nothing))
        };
        Ok(External { local, ip, port, told_by, hairpin })
    }

    fn ask(&mut self, (name, addrs): &Resolved) -> Asked {
        let v6 = self.local.is_ipv6();
        let transaction = self.transaction();
        let state = addrs.clone().and_then(|addrs| {
            let same = addrs.into_iter().find(|addr| addr.is_ipv6() == v6);
            let query = Query::new(WallClock::now(), transaction);
            same.map(|addr| (addr, query)).ok_or(Failure::Family { v6 })
        });
        Asked { name: name.clone(), state }
    }

    fn transaction(&mut self) -> Transaction {
        let mut transaction = Transaction::default();
        let bytes = [self.rng.next_u64().to_be_bytes(), self.rng.next_u64().to_be_bytes()];
        transaction.iter_mut().zip(bytes.as_flattened()).for_each(|(to, from)| *to = *from);
        transaction
    }

    /// Sends to `external` at the media port until it arrives there.
    async fn hairpin(&mut self, socket: &UdpSocket, external: IpAddr) -> io::Result<Hairpin> {
        let to = SocketAddr::new(external, socket.local_addr()?.port());
        let sender = UdpSocket::bind((self.local, 0)).await?;
        // Nobody can say that it came who has not got it.
        let secret = [self.rng.next_u64().to_be_bytes(), self.rng.next_u64().to_be_bytes()];
        let secret = secret.as_flattened();
        let end = Instant::now() + HAIRPIN;
        let mut buffer = [0; 64];
        while Instant::now() < end {
            sender.send_to(secret, to).await?;
            let again = (Instant::now() + HAIRPIN_EVERY).min(end);
            while let Ok(Ok((len, _))) = timeout_at(again, socket.recv_from(&mut buffer)).await {
                if buffer.get(..len) == Some(secret) {
                    return Ok(Hairpin::Works);
                }
            }
        }
        Ok(Hairpin::Nothing)
    }
}

impl Asked {
    fn told(&self) -> Option<(&str, SocketAddr)> {
        match self.state.as_ref().ok()?.1.answer()? {
            Answer::Mapped(addr) => Some((&self.name, addr)),
            Answer::Refused(_) => None,
        }
    }

    /// It may still answer.
    fn is_open(&self) -> bool {
        self.state.as_ref().is_ok_and(|(_, query)| query.answer().is_none())
    }
}

/// Asks until two agree, all have answered, or the deadline.
async fn exchange(socket: &UdpSocket, asked: &mut [Asked], deadline: Instant) {
    let mut end = deadline;
    let mut buffer = [0; 2_048];
    while asked.iter().any(Asked::is_open) && Instant::now() < end {
        for one in asked.iter_mut() {
            transmit(socket, one).await;
        }
        let due = |one: &Asked| one.state.as_ref().ok()?.1.poll_timeout();
        let next = asked.iter().filter_map(due).min().map(Instant::from_std);
        let wait = next.map_or(end, |next| next.min(end));
        let Ok(received) = timeout_at(wait, socket.recv_from(&mut buffer)).await else { continue };
        // An error is of an earlier datagram: its server says nothing, as others show.
        let Ok((len, from)) = received else { continue };
        let datagram = buffer.get(..len).unwrap_or_default();
        let queries = asked.iter_mut().filter_map(|one| one.state.as_mut().ok());
        let mut of_sender = queries.filter(|(addr, _)| *addr == from);
        if !of_sender.any(|(_, query)| query.handle(datagram)) {
            continue;
        }
        let told: Vec<_> = asked.iter().filter_map(Asked::told).map(|(_, at)| at.ip()).collect();
        match consensus(&told) {
            Consensus::Agreed(_) => return,
            Consensus::One(_) => end = end.min(Instant::now() + SECOND_OPINION),
            Consensus::Disagree | Consensus::None => {}
        }
    }
}

async fn transmit(socket: &UdpSocket, one: &mut Asked) {
    let Ok((to, query)) = &mut one.state else { return };
    let Some(datagram) = query.poll_transmit(WallClock::now()) else { return };
    if let Err(error) = socket.send_to(&datagram, *to).await {
        one.state = Err(Failure::Send(error.to_string()));
    }
}

fn outcomes(asked: Vec<Asked>, waited: Duration) -> Vec<(String, Failure)> {
    let outcome = |one: Asked| {
        let failure = match one.state {
            Err(failure) => failure,
            Ok((_, query)) => match query.answer() {
                Some(Answer::Mapped(addr)) => Failure::Told(addr.ip()),
                Some(Answer::Refused(code)) => Failure::Refused(code),
                None => Failure::NoAnswer(waited),
            },
        };
        (one.name, failure)
    };
    asked.into_iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A STUN server that tells everybody the same address, after `delay`.
    async fn server(told: Option<SocketAddr>) -> StunServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let Some(told) = told else { continue };
                assert_eq!(len, 20);
                let SocketAddr::V4(v4) = told else { panic!("{told}") };
                let mut answer = vec![1, 1, 0, 12];
                answer.extend(&buffer[4..20]);
                answer.extend([0, 1, 0, 8, 0, 1]);
                answer.extend(v4.port().to_be_bytes());
                answer.extend(v4.ip().octets());
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        StunServer { host: "127.0.0.1".to_owned(), port }
    }

    async fn find(servers: &[StunServer]) -> Result<External, ExternalError> {
        let local = "127.0.0.1".parse().unwrap();
        find_external(&[local], 0, servers, &Seed::fixed(1)).await.remove(0)
    }

    fn at(ip: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip.parse().unwrap(), 7_882))
    }

    #[tokio::test]
    async fn two_servers_that_agree_are_believed_at_once_beside_one_that_is_silent() {
        let servers =
            [server(None).await, server(at("127.0.0.1")).await, server(at("127.0.0.1")).await];
        let found = timeout(SECOND_OPINION, find(&servers)).await.unwrap().unwrap();
        assert_eq!((found.ip, found.told_by.len(), found.hairpin), (found.local, 2, None));
    }

    #[tokio::test]
    async fn one_that_answers_is_believed_after_a_while_and_hairpinning_is_tried() {
        let servers = [server(None).await, server(at("127.0.0.2")).await];
        let found = find(&servers).await.unwrap();
        assert_eq!(found.told_by, [servers[1].to_string()]);
        // The socket is bound to 127.0.0.1 only.
        assert_eq!(found.hairpin, Some(Hairpin::Nothing));
    }

    #[tokio::test]
    async fn servers_that_disagree_are_an_error_that_names_them() {
        let servers = [server(at("127.0.0.2")).await, server(at("127.0.0.3")).await];
        let error = find(&servers).await.unwrap_err();
        assert_eq!(error.obstacle, Obstacle::Disagree);
        let told = |n| Failure::Told(IpAddr::from([127, 0, 0, n]));
        assert_eq!(
            error.servers.iter().map(|(_, why)| why.clone()).collect::<Vec<_>>(),
            [told(2), told(3)]
        );
    }

    #[tokio::test]
    async fn each_hop_that_fails_is_named() {
        let silent = server(None).await;
        let nowhere = StunServer { host: "stun.invalid".to_owned(), port: 3478 };
        let v6 = StunServer { host: "::1".to_owned(), port: 3478 };
        let error = find(&[silent, nowhere, v6]).await.unwrap_err();
        assert_eq!(error.obstacle, Obstacle::Silence);
        let [(_, silent), (_, nowhere), (_, v6)] = &error.servers[..] else { panic!("{error}") };
        assert!(matches!(silent, Failure::NoAnswer(_)), "{error}");
        assert!(matches!(nowhere, Failure::Dns(_) | Failure::DnsTimeout(_)), "{error}");
        assert_eq!(*v6, Failure::Family { v6: false });
    }

    #[tokio::test]
    async fn a_port_in_use_is_said() {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let local = "127.0.0.1".parse().unwrap();
        let error =
            find_external(&[local], port, &[], &Seed::fixed(1)).await.remove(0).unwrap_err();
        assert_eq!(error.obstacle, Obstacle::PortTaken(port));
    }
}
