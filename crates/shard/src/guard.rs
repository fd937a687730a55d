//! A panic costs whose turn it was, and nobody else.
//!
//! * **Owns:** nothing.
//! * **In:** a turn, and whose it is. **Out:** what the turn returns, or `None` if it panicked.
//! * **Invariant:** after a panic nothing of the peer or track is left, and control knows of the peer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hearth_plane::{CloseReason, Event, PeerId, TrackId};

use crate::Shard;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    Peer(PeerId),
    Track(TrackId),
}

impl Shard {
    /// Runs one turn.
    pub(crate) fn guarded<R>(&mut self, turn: Turn, run: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            assert_ne!(self.doomed, Some(turn), "a test wants this turn to panic");
            run(self)
        }));
        if outcome.is_err() {
            self.counters.panics += 1;
            self.discard(turn);
        }
        outcome.ok()
    }

    /// A client comes back when it hears that its transport is closed, and publishes again. Only who
    /// watches a track of another shard hears nothing: the track is gone for them.
    fn discard(&mut self, turn: Turn) {
        let publisher = |track| self.tracks.get(*self.track_keys.get(track)?)?.publisher();
        let peer = match turn {
            Turn::Peer(peer) => Some(peer),
            Turn::Track(track) => publisher(&track),
        };
        if let Some(peer) = peer {
            self.remove_peer(peer);
            self.events.push_back(Event::PeerClosed { peer, reason: CloseReason::Panicked });
        } else if let Turn::Track(track) = turn {
            self.remove_up_track(track);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Instant;

    use hearth_peer::Certificate;
    use hearth_plane::{
        Command, DownId, DownTrackSpec, EncodingSpec, IceCredentials, PeerSpec, RoomId, ShardId,
        Source, UpTrackSpec,
    };
    use hearth_rtp::ExtensionIds;
    use hearth_units::{MediaKind, SeqUnwrapper};

    use super::*;
    use crate::{Parcel, ParcelKind, SendSlab, ShardConfig};

    const ROOM: RoomId = RoomId(1);
    const TRACK: TrackId = TrackId { room: ROOM, n: 9 };
    const ELSEWHERE: TrackId = TrackId { room: ROOM, n: 8 };

    fn peer(n: u32) -> PeerId {
        PeerId { room: ROOM, n }
    }

    /// Peer 0 publishes a track, 1 to 3 get it and one of another shard.
    fn room(now: Instant) -> Shard {
        let certificate = Arc::new(Certificate::generate().unwrap());
        let config = ShardConfig { id: ShardId(0), shards: 2, certificate, seed: 1 };
        let mut shard = Shard::new(now, config).unwrap();
        for n in 0..4 {
            let (ufrag, pwd) = (format!("00peer{n}"), "a-password-of-the-server".to_owned());
            let spec = PeerSpec {
                local: IceCredentials { ufrag, pwd },
                ice_lite: true,
                ice_controlling: false,
                local_addrs: vec![SocketAddr::from(([10, 0, 0, 1], 7882))],
                remote: None,
                open_channels: false,
            };
            shard.handle_command(now, Command::AddPeer { peer: peer(n), spec: Box::new(spec) });
        }
        for (track, source) in
            [(TRACK, Source::Local(peer(0))), (ELSEWHERE, Source::Shard(ShardId(1)))]
        {
            let spec = UpTrackSpec {
                source,
                kind: MediaKind::Audio,
                mid: "0".to_owned(),
                codecs: Vec::new(),
                extensions: ExtensionIds::default(),
                encodings: vec![EncodingSpec::default()],
                nack: false,
                measure_level: false,
            };
            shard.handle_command(now, Command::SetUpTrack { track, spec: Box::new(spec) });
            for n in 1..4 {
                let spec = DownTrackSpec {
                    down: DownId { room: ROOM, n: track.n * 10 + n },
                    peer: peer(n),
                    track,
                    ssrc: track.n * 100 + n,
                    rtx_ssrc: None,
                    codecs: Vec::new(),
                    extensions: ExtensionIds::default(),
                    mid: "0".to_owned(),
                    cname: "publisher".to_owned(),
                };
                shard.handle_command(now, Command::SetDownTrack { spec: Box::new(spec) });
            }
        }
        shard
    }

    /// Whose transports were closed by a panic.
    fn closed(shard: &mut Shard) -> Vec<PeerId> {
        let mut closed = Vec::new();
        while let Some(event) = shard.poll_event() {
            if let Event::PeerClosed { peer, reason: CloseReason::Panicked } = event {
                closed.push(peer);
            }
        }
        closed
    }

    /// Peers, tracks and subscriptions that are left, and panics.
    fn left(shard: &Shard) -> (u64, u64, u64, u64) {
        let counters = shard.counters();
        (counters.peers, counters.tracks, counters.subscriptions, counters.panics)
    }

    fn a_packet_waits(now: Instant, shard: &mut Shard) {
        let track = shard.track_keys[&TRACK];
        let seq = SeqUnwrapper::default().unwrap(1);
        shard.queue_packet(now, track, (0, seq), true);
    }

    #[test]
    fn a_subscriber_that_panics_while_it_is_served_costs_the_others_nothing() {
        let now = epoch();
        let mut slab = SendSlab::new(8);
        for n in 1..4 {
            let mut shard = room(now);
            a_packet_waits(now, &mut shard);
            shard.doomed = Some(Turn::Peer(peer(n)));
            while shard.poll_transmit(now, &mut slab) {}
            assert_eq!(closed(&mut shard), [peer(n)]);
            assert_eq!(left(&shard), (3, 2, 4, 1), "{n}");
            a_packet_waits(now, &mut shard);
            shard.doomed = None;
            while shard.poll_transmit(now, &mut slab) {}
            let track = shard.tracks.get(shard.track_keys[&TRACK]).unwrap();
            assert_eq!((track.pending.len(), track.flushed), (0, 2), "both batches are done");
            let behind = |key| {
                let down =
                    shard.downs.get(key).filter(|down| down.track == shard.track_keys[&TRACK]);
                down.is_some_and(|down| down.is_behind(track))
            };
            assert!(!(0..shard.downs.end()).any(behind), "the others get the next one, too");
        }
    }

    #[test]
    fn a_panic_over_a_track_of_another_shard_ends_that_track_here() {
        let now = epoch();
        let mut shard = room(now);
        shard.doomed = Some(Turn::Track(ELSEWHERE));
        let kind = ParcelKind::Packet { track: ELSEWHERE, encoding: 0 };
        for _ in 0..2 {
            shard.handle_parcel(now, ShardId(1), &mut Parcel::new(kind, &[0; 20]).unwrap());
        }
        assert_eq!(closed(&mut shard), []);
        assert_eq!(left(&shard), (4, 1, 3, 1));
    }

    #[test]
    fn a_panic_over_a_publishers_track_or_a_command_closes_the_peer() {
        let now = epoch();
        let mut shard = room(now);
        shard.doomed = Some(Turn::Track(TRACK));
        shard.handle_timeout(now + crate::TICK);
        assert_eq!(closed(&mut shard), [peer(0)]);
        assert_eq!(left(&shard), (3, 1, 3, 1));
        shard.doomed = Some(Turn::Peer(peer(2)));
        let candidate = "candidate:1 1 udp 1 10.0.0.1 9 typ host".to_owned();
        let command = Command::AddRemoteCandidate { peer: peer(2), candidate };
        shard.handle_command(now, command);
        assert_eq!(closed(&mut shard), [peer(2)]);
        assert_eq!(left(&shard), (2, 1, 2, 2));
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
