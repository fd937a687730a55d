//! What a shard holds for each peer, track and subscription.

use std::time::{Duration, Instant};

use hearth_datagram::Endpoint;
use hearth_media::{DownTrack, SmoothedLoss, UpTrack};
use hearth_metrics::bug;
use hearth_peer::Peer;
use hearth_plane::{DownId, IceCredentials, LayerLimit, PeerId, Source, TrackId, UpTrackSpec};
use hearth_units::ExtSeq;

use crate::destination::{Destinations, WatchedEncodings};
use crate::outbox::Outbox;
use crate::rtp_session::RtpSession;
use crate::shard_message::ShardMessageKind;
use crate::slab::{Key, Slab};
use crate::ssrc_table::SsrcTable;
use crate::uplink::Uplink;

/// Names a transport of this shard.
pub(crate) type PeerKey = Key<PeerEntry>;
/// Names a track that this shard has, published here or on another shard.
pub(crate) type TrackKey = Key<TrackEntry>;
/// Names a subscription of a peer of this shard.
pub(crate) type DownKey = Key<DownEntry>;

/// How often the shard of a publisher is told what is watched here: messages between shards may be lost, and after
/// so long a lost one is made good.
const WATCHED_INTERVAL: Duration = Duration::from_secs(1);

/// A transport with its streams.
pub(crate) struct PeerEntry {
    pub(crate) id: PeerId,
    pub(crate) peer: Peer,
    pub(crate) connected: bool,
    pub(crate) ufrags: Vec<String>,
    /// The ways by which it talks to us, and those that a check of ours took.
    pub(crate) paths: Vec<Endpoint>,
    /// The tracks it publishes.
    pub(crate) tracks: Vec<TrackKey>,
    /// Its subscriptions.
    pub(crate) downs: Vec<DownKey>,
    /// The same by SSRC.
    pub(crate) down_ssrcs: SsrcTable,
    pub(crate) rtp: RtpSession,
    pub(crate) next_quality: Instant,
}

impl PeerEntry {
    /// It can be sent media from now on; what it subscribes to is to have its key frames asked for.
    pub(crate) fn handle_connected(
        &mut self,
        downs: &Slab<DownEntry>,
        tracks: &mut Slab<TrackEntry>,
    ) {
        self.connected = true;
        for down in self.downs.iter().filter_map(|down| downs.get(*down)) {
            match tracks.get_mut(down.track) {
                Some(track) => track.needs_target_update = true,
                None => bug!("{:?} outlived its track", down.id),
            }
        }
    }

    /// New local credentials (RFC 8445 §9). Returns the user fragments that are valid no longer: those before the last,
    /// which stays until the new one works.
    pub(crate) fn restart_ice(&mut self, now: Instant, local: &IceCredentials) -> Vec<String> {
        self.ufrags.push(local.ufrag.clone());
        self.peer.restart_ice(now, local);
        let surplus = self.ufrags.len().saturating_sub(2);
        self.ufrags.drain(..surplus).collect()
    }
}

/// How many subscriptions watch each encoding.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watchers([u32; 8]);

impl Watchers {
    /// A subscription watches other encodings than before: bit i for encoding i.
    pub(crate) fn replace(&mut self, before: u8, after: u8) {
        for (i, count) in self.0.iter_mut().enumerate() {
            *count = count.saturating_add(u32::from(after >> i & 1));
            *count = count.saturating_sub(u32::from(before >> i & 1));
        }
    }

    /// The encodings that anybody watches: bit i for encoding i.
    pub(crate) fn watched(self) -> u8 {
        (0..).zip(self.0).fold(0, |bits, (i, count)| bits | (u8::from(count > 0) << i))
    }
}

/// A published track with those who get it.
pub(crate) struct TrackEntry {
    pub(crate) id: TrackId,
    pub(crate) spec: UpTrackSpec,
    pub(crate) track: UpTrack,
    /// Its subscriptions here.
    pub(crate) subscribers: Vec<Subscriber>,
    /// The encodings that they watch, by their targets.
    pub(crate) watchers: Watchers,
    /// Where its packets go beside them.
    pub(crate) destinations: Destinations,
    /// What its publisher's shard was told and has said, if that is another.
    pub(crate) upstream: Upstream,
    /// How well it gets here, or to its publisher's shard.
    pub(crate) uplink: Uplink,
    /// Packets of this batch, not yet sent to everybody.
    pub(crate) pending: Vec<Pending>,
    /// How many packets were taken out of `pending` so far.
    pub(crate) flushed: u64,
    /// The encodings that were received when the targets of its subscriptions were set last: bit i for encoding i.
    pub(crate) available: u8,
    /// A subscription waits for a key frame, or has just come.
    pub(crate) needs_target_update: bool,
    /// When a subscriber's turn panicked while it got packets of it.
    pub(crate) suspected_at: Option<Instant>,
    pub(crate) quality: QualityWindow,
    pub(crate) window_start: QualityWindow,
}

/// A subscription of a track.
#[derive(Clone, Copy)]
pub(crate) struct Subscriber {
    pub(crate) down: DownKey,
    pub(crate) peer: PeerKey,
}

/// A stored packet that is to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) encoding: u8,
    pub(crate) seq: ExtSeq,
    /// [`hearth_media::UpPacket::size`].
    pub(crate) size: u16,
}

impl TrackEntry {
    pub(crate) fn new(id: TrackId, track: UpTrack, spec: UpTrackSpec) -> Self {
        Self {
            id,
            spec,
            track,
            subscribers: Vec::new(),
            watchers: Watchers::default(),
            destinations: Destinations::default(),
            upstream: Upstream::default(),
            uplink: Uplink::default(),
            pending: Vec::with_capacity(64),
            flushed: 0,
            available: 0,
            needs_target_update: true,
            suspected_at: None,
            quality: QualityWindow::default(),
            window_start: QualityWindow::default(),
        }
    }

    /// Its description changes; its packets go on.
    pub(crate) fn update(&mut self, spec: UpTrackSpec) {
        self.track.update(&spec);
        self.needs_target_update = true;
        self.spec = spec;
    }

    /// Whether the targets of its subscriptions may be out of date, or a key frame is to be asked for.
    pub(crate) fn needs_target_update(&self, now: Instant) -> bool {
        self.needs_target_update
            || self.available != self.received(now)
            || self.track.wants_keyframe()
    }

    /// Whether an encoding is received, or was before.
    pub(crate) fn was_received(&self, encoding: u8) -> bool {
        self.available & (1 << encoding) != 0 || self.track.codec(encoding).is_some()
    }

    /// The encodings that are received at its publisher's shard: bit i for encoding i.
    fn received(&self, now: Instant) -> u8 {
        // What is not watched does not come here, and so only that shard knows.
        self.upstream.available.unwrap_or_else(|| self.track.available(now))
    }

    /// Notes which encodings are received, and has other shards know.
    pub(crate) fn update_available(&mut self, now: Instant, out: &mut Outbox) {
        let encodings = self.received(now);
        if encodings != self.available {
            self.available = encodings;
            self.destinations.send_news(self.available_message(), out);
        }
    }

    /// What other shards are told of what is received here.
    pub(crate) fn available_message(&self) -> ShardMessageKind {
        let (encodings, uplink) = (self.available, self.uplink.quality());
        ShardMessageKind::Available { track: self.id, encodings, uplink }
    }

    /// Has the publisher's shard know what is watched here, if it does not, or was not told for a while.
    pub(crate) fn send_watched(&mut self, now: Instant, out: &mut Outbox) {
        let Source::Shard(shard) = self.spec.source else { return };
        let watched = self.watchers.watched();
        let known = self.upstream.known;
        let told = WatchedEncodings { watched, known };
        if self.upstream.told != Some(told) || self.upstream.next.is_none_or(|next| next <= now) {
            self.upstream.told = Some(told);
            self.upstream.next = Some(now + WATCHED_INTERVAL);
            let kind = ShardMessageKind::Watched { track: self.id, watched, known };
            out.message(shard, kind, &[]);
        }
    }

    /// Whether packets of an encoding that were lost on their way here are of use to anybody.
    pub(crate) fn wants(&self, encoding: u8) -> bool {
        self.destinations.want(encoding) || self.track.is_watched(encoding)
    }

    /// Of its RTP timestamps, Hz.
    pub(crate) fn clock_rate(&self) -> u32 {
        self.spec.codecs.first().map_or(90_000, |codec| codec.codec.clock_rate())
    }

    /// The peer that publishes it, if that is on this shard.
    pub(crate) fn publisher(&self) -> Option<PeerId> {
        match self.spec.source {
            Source::Local(peer) => Some(peer),
            Source::Shard(_) => None,
        }
    }
}

/// What passes between a track and the shard of its publisher, if that is another.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    /// The encodings that are received there, as it said last.
    pub(crate) available: Option<u8>,
    /// All that it ever said are.
    pub(crate) known: u8,
    /// What it was told last.
    told: Option<WatchedEncodings>,
    /// When it is told again at the latest.
    next: Option<Instant>,
}

/// Packet counters; a copy of them marks the start of a 5 s window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QualityWindow {
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    pub(crate) octets: u64,
}

/// A subscription.
#[repr(C)] // What every packet reads comes first.
pub(crate) struct DownEntry {
    pub(crate) peer: PeerKey,
    pub(crate) track: TrackKey,
    /// Position in the track's packets, counted as `flushed + pending`.
    pub(crate) cursor: u64,
    /// Packets that overtook the start of the key frame that was switched to.
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) down: DownTrack,
    pub(crate) id: DownId,
    /// The layers that the room lets it have.
    pub(crate) limit: LayerLimit,
    pub(crate) next_sender_report: Instant,
    /// The encodings that it watches, by its target: bit i for encoding i.
    pub(crate) watched: u8,
    /// Loss by the subscriber's reports: of late, and cumulative.
    pub(crate) loss: SmoothedLoss,
    pub(crate) lost: i32,
    pub(crate) window_start: QualityWindow,
}

impl DownEntry {
    /// Whether there is more to send of `track`.
    pub(crate) fn is_behind(&self, track: &TrackEntry) -> bool {
        self.catch_up.is_some() || self.cursor < track.flushed + track.pending.len() as u64
    }
}

/// Numbers after a key frame that are caught up with: as many as are stored of an encoding. A publisher
/// may leave out thousands with each packet, and each costs every subscriber a step.
const MAX_CATCH_UP: u64 = 512;

/// A stretch of one encoding's numbers, at most [`MAX_CATCH_UP`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CatchUp {
    pub(crate) encoding: u8,
    pub(crate) next: ExtSeq,
    pub(crate) last: ExtSeq,
}

impl CatchUp {
    /// What came after `seq`, if anything did.
    pub(crate) fn after(encoding: u8, seq: ExtSeq, newest: ExtSeq) -> Option<Self> {
        let last = newest.min(seq.plus(MAX_CATCH_UP));
        (last > seq).then(|| Self { encoding, next: seq.plus(1), last })
    }
}

#[cfg(test)]
mod tests {
    use hearth_units::SeqUnwrapper;

    use super::*;

    #[test]
    fn an_encoding_is_watched_until_the_last_of_its_watchers_leaves() {
        let mut watchers = Watchers::default();
        watchers.replace(0, 0b011);
        watchers.replace(0, 0b1000_0010);
        watchers.replace(0b011, 0b001);
        assert_eq!(watchers.watched(), 0b1000_0011);
        watchers.replace(0b1000_0010, 0);
        assert_eq!(watchers.watched(), 0b001);
    }

    #[test]
    fn a_publisher_that_leaves_out_numbers_does_not_make_catching_up_long() {
        let seq = SeqUnwrapper::default().unwrap(9);
        let after = |ahead: u64| CatchUp::after(1, seq, seq.plus(ahead));
        assert_eq!(after(0), None);
        for (ahead, count) in [(1, 1), (300, 300), (512, 512), (16_000_000, 512)] {
            let (next, last) = (seq.plus(1), seq.plus(count));
            assert_eq!(after(ahead), Some(CatchUp { encoding: 1, next, last }), "{ahead}");
        }
    }
}
