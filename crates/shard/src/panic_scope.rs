//! A panic costs whose turn it was, and nobody else.
//!
//! * **Owns:** which track is being served.
//! * **In:** a turn, and whose it is. **Out:** what the turn returns, or `None` if it panicked.
//! * **Invariant:** after a panic nothing of the peer or track is left, and control knows. If that
//!   panics, too, nothing here can be trusted: the panic leaves the shard, whose owner replaces it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hearth_metrics::Metric;
use hearth_plane::{CloseReason, Event, PeerId, TrackId};
use tracing::error;

use crate::Shard;

/// Within this, two panics over one track are the track's fault: a subscriber that is broken itself needs
/// longer to come back.
const SAME_CAUSE: Duration = Duration::from_millis(200);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    Peer(PeerId),
    Track(TrackId),
    /// A datagram of nobody known.
    Nobody,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct PanicScope {
    /// The track of which a subscriber gets packets now.
    pub(crate) serving: Option<TrackId>,
    /// Whose turn panics, from now on.
    #[cfg(test)]
    pub(crate) fault: Option<FaultInjection>,
}

/// What panics in a test.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FaultInjection {
    /// All turns of one.
    Scope(Scope),
    /// Serving a track.
    Serving(TrackId),
    /// All turns of one, and discarding it.
    Discarding(Scope),
}

impl PanicScope {
    /// Packets of a track are sent to the subscriber whose turn it is.
    pub(crate) fn serve(&mut self, track: TrackId) {
        self.serving = Some(track);
        #[cfg(test)]
        assert_ne!(self.fault, Some(FaultInjection::Serving(track)), "a test wants this to panic");
    }
}

#[cfg(test)]
impl PanicScope {
    fn inject(&self, turn: Scope) {
        let dooms = [Some(FaultInjection::Scope(turn)), Some(FaultInjection::Discarding(turn))];
        assert!(!dooms.contains(&self.fault), "a test wants this to panic");
    }
}

impl Shard {
    /// Runs one turn.
    pub(crate) fn guarded<R>(
        &mut self,
        turn: Scope,
        run: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            self.panic_scope.inject(turn);
            run(self)
        }));
        let serving = self.panic_scope.serving.take();
        if outcome.is_err() {
            self.out.counts.add(Metric::Panics, 1);
            // Not guarded itself: if it fails, nothing here can be trusted.
            self.discard(turn);
            if let Some(track) = serving {
                self.suspect_track(track);
            }
        }
        outcome.ok()
    }

    /// A subscriber's turn panicked while it got packets of a track.
    fn suspect_track(&mut self, id: TrackId) {
        let now = self.next_tick;
        let track = self.graph.track_key(id).and_then(|key| self.graph.tracks.get_mut(key));
        let Some(track) = track else { return };
        let before = track.suspected_at.replace(now);
        if before.is_some_and(|at| now <= at + SAME_CAUSE) {
            self.discard(Scope::Track(id));
        }
    }

    /// A client comes back when it hears that its transport is closed or its track lost, and publishes
    /// again.
    fn discard(&mut self, turn: Scope) {
        #[cfg(test)]
        assert_ne!(
            self.panic_scope.fault,
            Some(FaultInjection::Discarding(turn)),
            "a test wants this to panic"
        );
        match turn {
            Scope::Peer(peer) => {
                error!(?peer, "A bug: a turn of this peer panicked; it is discarded");
                self.remove_peer(peer);
                self.out.event(Event::PeerClosed { peer, reason: CloseReason::Panicked });
            }
            Scope::Track(track) => {
                error!(?track, "A bug: a turn of this track panicked; it is discarded");
                self.remove_up_track(track);
                self.out.event(Event::TrackFailed { track });
            }
            // The counter says it: anybody may send such a datagram, as often as they like.
            Scope::Nobody => {}
        }
    }
}

#[cfg(test)]
mod tests {

    use std::time::Instant;

    use hearth_datagram::{Endpoint, SendSlab};

    use hearth_plane::{Command, DownId, RoomId, ShardId, Source};

    use hearth_units::{MediaKind, SeqUnwrapper};

    use super::*;
    use crate::fixtures::{self, epoch};
    use crate::{ShardMessage, ShardMessageKind};

    const ROOM: RoomId = RoomId(1);
    const TRACK: TrackId = TrackId { room: ROOM, n: 9 };
    const ELSEWHERE: TrackId = TrackId { room: ROOM, n: 8 };

    fn peer(n: u32) -> PeerId {
        PeerId { room: ROOM, n }
    }

    /// Peer 0 publishes a track, 1 to 3 get it and one of another shard.
    fn room(now: Instant) -> Shard {
        let mut shard = fixtures::shard(now, 2);
        for n in 0..4 {
            fixtures::add_peer(&mut shard, now, peer(n));
        }
        for (track, source) in
            [(TRACK, Source::Local(peer(0))), (ELSEWHERE, Source::Shard(ShardId(1)))]
        {
            fixtures::add_track(&mut shard, now, track, source, MediaKind::Audio);
            for n in 1..4 {
                fixtures::subscribe(&mut shard, now, peer(n), track, track.n * 10 + n);
            }
        }
        shard
    }

    /// Which transports and tracks were discarded.
    fn discarded(shard: &mut Shard) -> Vec<Scope> {
        let mut discarded = Vec::new();
        while let Some(event) = shard.poll_event() {
            if let Event::PeerClosed { peer, reason: CloseReason::Panicked } = event {
                discarded.push(Scope::Peer(peer));
            } else if let Event::TrackFailed { track } = event {
                discarded.push(Scope::Track(track));
            }
        }
        discarded
    }

    /// Peers, tracks and subscriptions that are left, and panics.
    fn left(shard: &Shard) -> (u64, u64, u64, u64) {
        let counts = shard.counts();
        let [peers, tracks] = [Metric::Transports, Metric::Tracks].map(|metric| counts[metric]);
        (peers, tracks, counts[Metric::Subscriptions], counts[Metric::Panics])
    }

    fn a_packet_waits(now: Instant, shard: &mut Shard) {
        let track = shard.graph.track_key(TRACK).unwrap();
        let seq = SeqUnwrapper::default().unwrap(1);
        let (graph, out) = (&mut shard.graph, &mut shard.out);
        crate::ingest::queue_packet(now, track, (0, seq), true, graph, out);
    }

    #[test]
    fn a_subscriber_that_panics_while_it_is_served_costs_the_others_nothing() {
        let now = epoch();
        let mut slab = SendSlab::new(8);
        for n in 1..4 {
            let mut shard = room(now);
            a_packet_waits(now, &mut shard);
            shard.panic_scope.fault = Some(FaultInjection::Scope(Scope::Peer(peer(n))));
            while shard.poll_transmit(now, &mut slab) {}
            assert_eq!(discarded(&mut shard), [Scope::Peer(peer(n))]);
            assert_eq!(left(&shard), (3, 2, 4, 1), "{n}");
            a_packet_waits(now, &mut shard);
            shard.panic_scope.fault = None;
            while shard.poll_transmit(now, &mut slab) {}
            let track = shard.graph.tracks.get(shard.graph.track_key(TRACK).unwrap()).unwrap();
            assert_eq!((track.pending.len(), track.flushed), (0, 2), "both batches are done");
            let behind = |index| {
                let down = shard
                    .graph
                    .downs
                    .key_at(index)
                    .and_then(|key| shard.graph.downs.get(key))
                    .filter(|down| down.track == shard.graph.track_key(TRACK).unwrap());
                down.is_some_and(|down| down.is_behind(track))
            };
            assert!(!(0..shard.graph.downs.end()).any(behind), "the others get the next one, too");
        }
    }

    #[test]
    fn a_track_that_panics_for_two_subscribers_is_discarded_before_the_third() {
        let now = epoch();
        let mut slab = SendSlab::new(8);
        let mut shard = room(now);
        a_packet_waits(now, &mut shard);
        shard.panic_scope.fault = Some(FaultInjection::Serving(TRACK));
        while shard.poll_transmit(now, &mut slab) {}
        let expect = [Scope::Peer(peer(3)), Scope::Peer(peer(2)), Scope::Track(TRACK)];
        assert_eq!(discarded(&mut shard), expect);
        assert_eq!(left(&shard), (2, 1, 1, 2));
    }

    #[test]
    fn a_subscriber_that_comes_back_and_panics_again_does_not_cost_the_track() {
        let mut now = epoch();
        let mut slab = SendSlab::new(8);
        let mut shard = room(now);
        for n in [3, 2] {
            shard.panic_scope.fault = None;
            while shard.poll_transmit(now, &mut slab) {}
            a_packet_waits(now, &mut shard);
            shard.panic_scope.fault = Some(FaultInjection::Scope(Scope::Peer(peer(n))));
            shard.panic_scope.serving = Some(TRACK);
            while shard.poll_transmit(now, &mut slab) {}
            assert_eq!(discarded(&mut shard), [Scope::Peer(peer(n))]);
            now += Duration::from_secs(1);
            shard.handle_timeout(now);
        }
        assert_eq!(left(&shard), (2, 2, 2, 2));
    }

    #[test]
    fn a_panic_over_a_track_costs_the_track_once() {
        let now = epoch();
        for (track, source) in [(ELSEWHERE, ShardId(1)), (TRACK, ShardId(0))] {
            let mut shard = room(now);
            shard.panic_scope.fault = Some(FaultInjection::Scope(Scope::Track(track)));
            let kind = ShardMessageKind::Packet { track, encoding: 0 };
            for _ in 0..2 {
                shard.handle_message(now, source, &mut ShardMessage::new(kind, &[0; 20]).unwrap());
                shard.handle_timeout(now + crate::TICK);
            }
            assert_eq!(discarded(&mut shard), [Scope::Track(track)]);
            assert_eq!(left(&shard), (4, 1, 3, 1));
        }
    }

    #[test]
    fn a_panic_over_a_command_costs_the_peer_it_is_about() {
        let now = epoch();
        let candidate = "candidate:1 1 udp 1 10.0.0.1 9 typ host".to_owned();
        for (command, of) in [
            (Command::AddRemoteCandidate { peer: peer(2), candidate }, 2),
            (Command::SetUpTrackMuted { track: TRACK, muted: true }, 0),
            (Command::RemoveUpTrack { track: TRACK }, 0),
            (Command::RemoveDownTrack { down: DownId { room: ROOM, n: 93 } }, 3),
        ] {
            let mut shard = room(now);
            shard.panic_scope.fault = Some(FaultInjection::Scope(Scope::Peer(peer(of))));
            shard.handle_command(now, command.clone());
            assert_eq!(discarded(&mut shard), [Scope::Peer(peer(of))], "{command:?}");
            assert_eq!(shard.counts()[Metric::Transports], 3, "{command:?}");
        }
    }

    #[test]
    fn a_room_that_is_over_leaves_nothing_though_one_of_its_peers_panics() {
        let now = epoch();
        let mut shard = room(now);
        let other = PeerId { room: RoomId(2), n: 0 };
        fixtures::add_peer(&mut shard, now, other);
        assert_eq!(left(&shard), (5, 2, 6, 0));
        shard.panic_scope.fault = Some(FaultInjection::Scope(Scope::Peer(peer(2))));
        shard.handle_command(now, Command::CloseRoom { room: ROOM });
        assert_eq!(left(&shard), (1, 0, 0, 1));
        assert_eq!(shard.counts()[Metric::Routes], 1, "the other room's");
    }

    #[test]
    fn a_panic_while_something_is_discarded_leaves_the_shard() {
        let now = epoch();
        let mut shard = room(now);
        shard.panic_scope.fault = Some(FaultInjection::Discarding(Scope::Peer(peer(2))));
        let candidate = "candidate:1 1 udp 1 10.0.0.1 9 typ host".to_owned();
        let command = Command::AddRemoteCandidate { peer: peer(2), candidate };
        let act = AssertUnwindSafe(|| shard.handle_command(now, command));
        assert!(catch_unwind(act).is_err(), "its owner must know");
        assert_eq!(shard.counts()[Metric::Panics], 1);
    }

    #[test]
    fn a_panic_over_a_stranger_costs_nobody() {
        let now = epoch();
        let mut shard = room(now);
        shard.panic_scope.fault = Some(FaultInjection::Scope(Scope::Nobody));
        let (local, remote) = ("10.0.0.1:7882".parse().unwrap(), "10.9.9.9:9".parse().unwrap());
        shard.handle_datagram(now, Endpoint::udp(local, remote), &mut [0; 20]);
        assert_eq!(discarded(&mut shard), []);
        assert_eq!(left(&shard), (4, 2, 6, 1));
        assert_eq!(shard.counts()[Metric::DropReceiveUnknown], 1);
    }

    #[test]
    fn a_track_of_a_peer_that_is_gone_is_not_made() {
        let now = epoch();
        let mut shard = room(now);
        let spec =
            shard.graph.tracks.get(shard.graph.track_key(TRACK).unwrap()).unwrap().spec.clone();
        shard.handle_command(now, Command::RemovePeer { peer: peer(0) });
        shard.handle_command(now, Command::SetUpTrack { track: TRACK, spec: Box::new(spec) });
        assert_eq!(left(&shard), (3, 1, 3, 0));
    }
}
