//! A participant's peer connections: our end of each, and what is being negotiated on it.
//!
//! * **Owns:** ids, credentials and candidates of one or two transports, their
//!   [`Answerer`] and [`Offerer`], and the offer that waits for its answer.
//! * **In:** the client's descriptions and candidates.
//! * **Out:** [`Command`]s that make and change the transport on its shard.
//! * **Invariant:** a shard hears of a transport before anything else about it; the client's
//!   candidates follow its description; at most [`MAX_EARLY`] of them wait for it.
//! * **Spec:** a local ufrag begins with the shard's number (`ARCHITECTURE.md`).

use std::time::Instant;

use hearth_datagram::Protocol;
use hearth_negotiate::{
    Answerer, AnswererKind, ClientQuirks, LocalTransport, Offerer, TaggedSection,
};
use hearth_plane::{
    Command, Fingerprint, IceCredentials, LocalCandidate, PeerId, PeerSpec, RemoteParams, ShardId,
};
use hearth_signal::{Rng, proto::SignalTarget, write_candidate};

use crate::ice_preference::IcePreference;
use crate::random::Random;
use crate::ssrc::SsrcAllocator;

/// Candidates kept until the client's description is known, as many as a transport takes. A browser has
/// below 20.
const MAX_EARLY: usize = 128;

/// Our end of one peer connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) local: LocalTransport,
    /// We made the first offer: control nomination.
    offers: bool,
    /// The client reads data from channels of ours on it.
    opens_channels: bool,
    /// The shard was told of it.
    added: bool,
    /// Our candidates of the current credentials were sent to the client.
    pub(crate) trickled: bool,
    /// It connected at some time.
    pub(crate) connected: bool,
    /// The shard has forgotten it: neither the client nor a restart can use it any more.
    pub(crate) closed: bool,
    remote: Option<RemoteParams>,
    early: Vec<String>,
}

impl Link {
    /// Nothing is told to anybody yet.
    fn new(peer: PeerId, local: LocalTransport, offers: bool) -> Self {
        Self {
            peer,
            local,
            offers,
            opens_channels: false,
            added: false,
            trickled: false,
            connected: false,
            closed: false,
            remote: None,
            early: Vec::new(),
        }
    }

    /// The transport begins: tells the shard, if it was not told.
    pub(crate) fn add(&mut self, candidates: &[LocalCandidate]) -> Option<Command> {
        if self.added {
            return None;
        }
        self.added = true;
        let spec = PeerSpec {
            local: self.local.ice.clone(),
            ice_lite: self.local.ice_lite,
            ice_controlling: self.offers,
            local_candidates: candidates.to_vec(),
            remote: None,
            open_channels: self.opens_channels,
        };
        Some(Command::AddPeer { peer: self.peer, spec: Box::new(spec) })
    }

    /// The client's description: what the shard has to know of it.
    pub(crate) fn set_remote(
        &mut self,
        remote: RemoteParams,
        candidates: Vec<String>,
    ) -> Vec<Command> {
        let peer = self.peer;
        let mut commands = Vec::new();
        if self.remote.as_ref() != Some(&remote) {
            self.remote = Some(remote.clone());
            commands.push(Command::SetRemote { peer, remote });
        }
        let early = std::mem::take(&mut self.early);
        let candidates = early.into_iter().chain(candidates).take(MAX_EARLY);
        commands
            .extend(candidates.map(|candidate| Command::AddRemoteCandidate { peer, candidate }));
        commands
    }

    /// A candidate of the client.
    pub(crate) fn add_candidate(&mut self, candidate: String) -> Option<Command> {
        if self.remote.is_some() && self.added {
            return Some(Command::AddRemoteCandidate { peer: self.peer, candidate });
        }
        if self.early.len() < MAX_EARLY {
            self.early.push(candidate);
        }
        None
    }

    /// True if a description with these credentials restarts ICE (RFC 8839 §4.4.1.1.1).
    pub(crate) fn is_restart(&self, ice: &IceCredentials) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.ice != *ice)
    }

    /// New credentials on our side.
    pub(crate) fn restart(&mut self, ice: IceCredentials) -> Option<Command> {
        self.local.ice = ice.clone();
        self.trickled = false;
        self.early.clear();
        self.added.then_some(Command::RestartIce { peer: self.peer, local: ice })
    }

    /// Its shard was told of it.
    pub(crate) fn is_added(&self) -> bool {
        self.added
    }

    /// Forgets the transport on its shard, if it was told of it.
    pub(crate) fn remove(&self) -> Option<Command> {
        self.added.then_some(Command::RemovePeer { peer: self.peer })
    }

    /// Our candidates as `candidateInit`s for the section whose transport all share.
    pub(crate) fn candidates(
        &self,
        candidates: &[LocalCandidate],
        tagged: &TaggedSection,
    ) -> Vec<String> {
        let ufrag = &self.local.ice.ufrag;
        let line = |(n, candidate): (u32, &LocalCandidate)| {
            let (foundation, text) = (n + 1, candidate_text(n, *candidate));
            let line = format!("candidate:{foundation} 1 {text} ufrag {ufrag}");
            write_candidate(&line, &tagged.mid, tagged.index)
        };
        (0..).zip(candidates).map(line).collect()
    }
}

/// Protocol, priority, address and type of our host candidate `n`, from 0; its component is the first.
fn candidate_text(n: u32, candidate: LocalCandidate) -> String {
    let LocalCandidate { protocol, addr } = candidate;
    let (ip, port) = (addr.ip(), addr.port());
    // RFC 8445 §5.1.2.1: type, falling local preference, component.
    let priority = |kind: u32, local: u32| (kind << 24) + (local << 8) + 255;
    match protocol {
        // What our own TURN server relays comes to a candidate of UDP.
        Protocol::Udp | Protocol::Relay => {
            let priority = priority(126, 65_535_u32.saturating_sub(n));
            format!("udp {priority} {ip} {port} typ host")
        }
        // Below UDP; the local preference of a passive one: RFC 6544 §4.2.
        Protocol::Tcp => {
            let priority = priority(90, (4 << 13) + 8_191_u32.saturating_sub(n));
            format!("tcp {priority} {ip} {port} typ host tcptype passive")
        }
    }
}

/// An offer of ours that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingOffer {
    pub(crate) id: u32,
    pub(crate) since: Instant,
}

/// The subscriber connection of a client with two.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) link: Link,
    pub(crate) offerer: Offerer,
    pub(crate) next_id: u32,
    pub(crate) pending: Option<PendingOffer>,
}

/// All peer connections of one participant.
#[derive(Debug)]
pub(crate) struct Transports {
    /// The only one, or the one for publishing.
    pub(crate) publisher: Link,
    pub(crate) answerer: Answerer,
    /// Only with two connections, and only once subscribing is allowed.
    pub(crate) subscriber: Option<Subscriber>,
    /// The client was told at the join that the subscriber connection is the primary one.
    pub(crate) subscriber_primary: bool,
    /// One connection for both directions.
    pub(crate) single: bool,
    /// Of the connection that carries media to the client.
    pub(crate) ssrcs: SsrcAllocator,
    /// What the client's media is to take.
    pub(crate) preference: IcePreference,
    quirks: ClientQuirks,
}

/// What a client's transports shall be like.
pub(crate) struct TransportOptions {
    pub(crate) single: bool,
    pub(crate) can_subscribe: bool,
    /// With two connections, that for subscribing is the primary one.
    pub(crate) subscriber_primary: bool,
    pub(crate) ice_lite: bool,
    pub(crate) quirks: ClientQuirks,
    pub(crate) preference: IcePreference,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) shard: ShardId,
}

impl Transports {
    /// Makes up to two transports; nothing is told to anybody yet.
    pub(crate) fn new(shape: &TransportOptions, peers: [PeerId; 2], random: &mut Random) -> Self {
        let [first, second] = peers;
        let local = LocalTransport {
            ice: credentials(shape.shard, &mut random.ice),
            fingerprint: shape.fingerprint,
            ice_lite: shape.ice_lite,
        };
        let publisher = Link::new(first, local, false);
        let wants_subscriber = !shape.single && shape.can_subscribe;
        let kind = if shape.single { AnswererKind::Single } else { AnswererKind::Publisher };
        let mut transports = Self {
            publisher,
            answerer: Answerer::new(kind, shape.quirks.clone()),
            subscriber: None,
            subscriber_primary: wants_subscriber && shape.subscriber_primary,
            single: shape.single,
            ssrcs: SsrcAllocator::new(&mut random.ssrcs),
            preference: shape.preference,
            quirks: shape.quirks.clone(),
        };
        if wants_subscriber {
            transports.add_subscriber(second, shape.shard, random);
        }
        transports
    }

    /// Makes the subscriber connection of a client with two. It carries data only if it is primary.
    pub(crate) fn add_subscriber(&mut self, peer: PeerId, shard: ShardId, random: &mut Random) {
        let ice = credentials(shard, &mut random.ice);
        let local = LocalTransport { ice, ..self.publisher.local.clone() };
        let mut link = Link::new(peer, local, true);
        link.opens_channels = self.subscriber_primary;
        let quirks = self.quirks.clone();
        let primary = self.subscriber_primary;
        let offerer = if primary { Offerer::new(quirks) } else { Offerer::without_data(quirks) };
        let next_id = 1 + random.sids.below(250);
        self.subscriber = Some(Subscriber { link, offerer, next_id, pending: None });
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.links().map(|link| link.peer)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.subscriber.iter().map(|s| &s.link).chain([&self.publisher])
    }

    /// The one whose connection makes the participant active, and that carries data to it.
    pub(crate) fn primary(&self) -> &Link {
        let subscriber = self.subscriber.as_ref().filter(|_| self.subscriber_primary);
        subscriber.map_or(&self.publisher, |s| &s.link)
    }

    pub(crate) fn is_primary(&self, peer: PeerId) -> bool {
        self.primary().peer == peer
    }

    pub(crate) fn link_mut(&mut self, target: SignalTarget) -> Option<&mut Link> {
        match target {
            SignalTarget::Publisher => Some(&mut self.publisher),
            SignalTarget::Subscriber => self.subscriber.as_mut().map(|s| &mut s.link),
        }
    }

    pub(crate) fn by_peer_mut(&mut self, peer: PeerId) -> Option<&mut Link> {
        let subscriber = self.subscriber.as_mut().map(|s| &mut s.link);
        [Some(&mut self.publisher), subscriber].into_iter().flatten().find(|l| l.peer == peer)
    }

    /// The transport that carries media to the client.
    pub(crate) fn downstream(&self) -> Option<&Link> {
        if self.single {
            return Some(&self.publisher);
        }
        self.subscriber.as_ref().map(|s| &s.link)
    }

    pub(crate) fn add_sender(&mut self, sender: hearth_negotiate::Sender) {
        if self.single {
            self.answerer.add_sender(sender);
        } else if let Some(subscriber) = &mut self.subscriber {
            subscriber.offerer.add_sender(sender);
        }
    }

    pub(crate) fn remove_sender(&mut self, down: hearth_plane::DownId) {
        if self.single {
            self.answerer.remove_sender(down);
        } else if let Some(subscriber) = &mut self.subscriber {
            subscriber.offerer.remove_sender(down);
        }
    }

    /// A resume has nothing to come back to: a transport was closed, by the client or because it never
    /// connected.
    pub(crate) fn any_closed(&self) -> bool {
        self.links().any(|link| link.closed)
    }

    /// It connected at some time, so that the client may come back to it.
    pub(crate) fn was_connected(&self) -> bool {
        self.primary().connected
    }
}

/// Credentials of a transport on `shard`.
pub(crate) fn credentials(shard: ShardId, rng: &mut Rng) -> IceCredentials {
    let ShardId(shard) = shard;
    IceCredentials { ufrag: format!("{shard:02x}{}", rng.ice_chars(14)), pwd: rng.ice_chars(24) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_plane::{DtlsRole, RoomId};
    use hearth_random::Seed;

    #[test]
    fn a_ufrag_names_its_shard() {
        let ice = credentials(ShardId(3), &mut Random::new(&Seed::fixed(1)).ice);
        assert!(ice.ufrag.starts_with("03"));
        assert_eq!((ice.ufrag.len(), ice.pwd.len()), (16, 24));
    }

    #[test]
    fn candidates_before_the_description_wait_for_it_in_bounds() {
        let mut transports = transports();
        let link = &mut transports.publisher;
        assert!(link.add(&[]).is_some() && link.add(&[]).is_none());
        for n in 0..200 {
            assert_eq!(link.add_candidate(format!("candidate:{n}")), None);
        }
        let remote = RemoteParams {
            ice: IceCredentials { ufrag: "abcd".into(), pwd: "p".repeat(22) },
            fingerprints: Fingerprint([1; 32]).into(),
            role: DtlsRole::Server,
        };
        let commands = link.set_remote(remote.clone(), Vec::new());
        assert!(matches!(commands[0], Command::SetRemote { .. }));
        assert_eq!(commands.len(), 1 + MAX_EARLY);
        assert_eq!(link.set_remote(remote, Vec::new()), []);
        assert!(link.add_candidate("candidate:x".into()).is_some());
        let other = |ufrag: &str, pwd| IceCredentials { ufrag: ufrag.into(), pwd };
        assert!(!link.is_restart(&other("abcd", "p".repeat(22))));
        assert!(link.is_restart(&other("efgh", "p".repeat(22))));
        assert!(link.is_restart(&other("abcd", "q".repeat(22))));
    }

    #[test]
    fn our_first_candidate_has_the_priority_of_a_host() {
        let transports = transports();
        let candidates = [
            LocalCandidate::udp("192.0.2.7:7882".parse().unwrap()),
            LocalCandidate::tcp("192.0.2.7:7881".parse().unwrap()),
        ];
        let tagged = TaggedSection { mid: "v".into(), index: 2 };
        let lines = transports.publisher.candidates(&candidates, &tagged);
        let [json, tcp] = lines.try_into().unwrap();
        let expected =
            "candidate:2 1 tcp 1520434943 192.0.2.7 7881 typ host tcptype passive ufrag 00";
        assert!(tcp.contains(expected), "{tcp}");
        assert!(json.contains("candidate:1 1 udp 2130706431 192.0.2.7 7882 typ host ufrag 00"));
        assert!(json.contains(r#""sdpMLineIndex":2,"sdpMid":"v""#), "{json}");
    }

    fn transports() -> Transports {
        let shape = TransportOptions {
            single: true,
            can_subscribe: true,
            subscriber_primary: true,
            ice_lite: true,
            quirks: ClientQuirks::default(),
            preference: IcePreference::None,
            fingerprint: Fingerprint([0; 32]),
            shard: ShardId(0),
        };
        let peer = |n| PeerId { room: RoomId(1), n };
        Transports::new(&shape, [peer(1), peer(2)], &mut Random::new(&Seed::fixed(1)))
    }
}
