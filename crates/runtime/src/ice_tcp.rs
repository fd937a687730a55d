//! TCP connections of clients until it is known which shard's they are (ICE-TCP).
//!
//! * **Owns:** half-open connections: accepted, and their first frame not read.
//! * **In:** connections of the node's own port, or of any other listener ([`IceTcp::take`]).
//! * **Out:** a [`NewStream`] for the shard that the first frame names, which has to be a connectivity check.
//! * **Invariant:** at most [`MAX_HALF_OPEN`] connections are half-open, of one client [`MAX_OF_A_CLIENT`], each for
//!   [`FIRST_FRAME`] at most, with memory for one frame that has been announced. Who comes last stays: a client that is
//!   honest sends at once, so that those who are older than a round trip give way.
//! * **Spec:** RFC 6544 (passive candidates), RFC 4571 (framing).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hearth_datagram::MAX_DATAGRAM;
use hearth_metrics::{Metric, SharedCounts};
use hearth_plane::ShardId;
use hearth_shard::shard_of_check;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::shard_link::{ShardInput, ShardLink};
use crate::streams::NewStream;

/// Half-open connections. More lets a flood displace fewer honest clients that have a long way, fewer costs less memory:
/// each is a file descriptor, a task, and a frame.
const MAX_HALF_OPEN: usize = 1_024;
/// Of these, of one address of IPv4 or one /64 of IPv6: a company behind one NAT that comes back after an outage.
const MAX_OF_A_CLIENT: usize = 128;
/// How long the first frame may take.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// Connections on their way from listeners to their reception.
const QUEUE: usize = 256;
/// The pause after the system refuses to accept, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A STUN message is its header at least.
const SHORTEST: usize = 20;

/// Where listeners bring connections of ICE-TCP. Clones bring them to the same node.
#[derive(Clone, Debug)]
pub struct IceTcp {
    arrivals: mpsc::Sender<TcpStream>,
    counts: Arc<SharedCounts>,
}

impl IceTcp {
    /// Must run inside a tokio runtime. It ends with the last clone.
    pub(crate) fn start(shards: Arc<[ShardLink]>, counts: Arc<SharedCounts>) -> Self {
        let (arrivals, receiver) = mpsc::channel(QUEUE);
        let reception = Reception {
            shards,
            counts: Arc::clone(&counts),
            half_open: BTreeMap::new(),
            of_client: HashMap::new(),
            reading: JoinSet::new(),
            next: 0,
        };
        tokio::spawn(reception.run(receiver));
        Self { arrivals, counts }
    }

    /// Takes a connection of which nothing has been read. One that is not a client's of this node is closed.
    pub fn take(&self, stream: TcpStream) {
        if self.arrivals.try_send(stream).is_err() {
            self.counts.add(Metric::DropTcpHalfOpen, 1);
        }
    }

    /// Accepts connections for as long as the node lives.
    pub(crate) async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if self.arrivals.send(stream).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    debug!(%error, "Cannot accept a connection of ICE-TCP");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Reads first frames.
struct Reception {
    shards: Arc<[ShardLink]>,
    counts: Arc<SharedCounts>,
    /// The oldest first.
    half_open: BTreeMap<u64, HalfOpen>,
    /// How many of them are of each client.
    of_client: HashMap<IpAddr, usize>,
    reading: JoinSet<(u64, Option<Named>)>,
    next: u64,
}

struct HalfOpen {
    client: IpAddr,
    task: AbortHandle,
}

/// A connection whose first frame names its shard.
type Named = (ShardId, NewStream);

impl Reception {
    async fn run(mut self, mut arrivals: mpsc::Receiver<TcpStream>) {
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(stream) => self.begin(stream),
                    None => return,
                },
                Some(read) = self.reading.join_next() => {
                    // One that was displaced has no result.
                    if let Ok((number, named)) = read {
                        self.forget(number);
                        self.hand_over(named);
                    }
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        let Ok(from) = stream.peer_addr() else { return };
        let client = client_of(from.ip());
        self.counts.add(Metric::TcpConnections, 1);
        if self.of_client.get(&client).is_some_and(|count| *count >= MAX_OF_A_CLIENT) {
            self.displace(|half_open| half_open.client == client);
        } else if self.half_open.len() >= MAX_HALF_OPEN {
            self.displace(|_| true);
        }
        let number = self.next;
        self.next += 1;
        let task = self.reading.spawn(async move {
            (number, timeout(FIRST_FRAME, read_first(stream)).await.ok().flatten())
        });
        self.half_open.insert(number, HalfOpen { client, task });
        *self.of_client.entry(client).or_default() += 1;
    }

    /// Closes the oldest of some.
    fn displace(&mut self, of: impl Fn(&HalfOpen) -> bool) {
        let oldest = self.half_open.iter().find(|(_, half_open)| of(half_open));
        let Some(number) = oldest.map(|(number, _)| *number) else { return };
        if let Some(half_open) = self.forget(number) {
            half_open.task.abort();
            self.counts.add(Metric::DropTcpHalfOpen, 1);
        }
    }

    fn forget(&mut self, number: u64) -> Option<HalfOpen> {
        let half_open = self.half_open.remove(&number)?;
        if let Some(count) = self.of_client.get_mut(&half_open.client) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&half_open.client);
            }
        }
        Some(half_open)
    }

    fn hand_over(&self, named: Option<Named>) {
        let link = |shard: ShardId| self.shards.get(usize::from(shard.0));
        let handed_over = named.and_then(|(shard, stream)| {
            link(shard)?.try_send(ShardInput::Stream(stream)).then_some(())
        });
        if handed_over.is_none() {
            self.counts.add(Metric::DropTcpFirst, 1);
        }
    }
}

/// Reads one frame and not a byte more.
async fn read_first(stream: TcpStream) -> Option<Named> {
    let mut header = [0; 2];
    read_exactly(&stream, &mut header).await?;
    let len = usize::from(u16::from_be_bytes(header));
    if !(SHORTEST..=MAX_DATAGRAM).contains(&len) {
        return None;
    }
    let mut first = vec![0; len];
    read_exactly(&stream, &mut first).await?;
    let shard = shard_of_check(&first)?;
    Some((shard, NewStream { socket: stream.into_std().ok()?, first }))
}

/// `None`: the connection ends before that.
async fn read_exactly(stream: &TcpStream, buf: &mut [u8]) -> Option<()> {
    let mut rest = buf;
    while !rest.is_empty() {
        stream.readable().await.ok()?;
        match stream.try_read(rest) {
            Ok(0) => return None,
            Ok(read) => rest = rest.get_mut(read..)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    Some(())
}

/// Whom an address stands for.
fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        for (ip, client) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(client_of(ip.parse().unwrap()).to_string(), client);
        }
    }
}
