//! A publisher's packets: whose they are, and into which track they go.

use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_media::{Ingest, SourceClock};
use hearth_metrics::Metric;
use hearth_peer::{NackTracker, ReceiverStats, RttEstimator};
use hearth_plane::{Event, UpTrackSpec};
use hearth_rtp::{ReadExtensions, RtpView};
use hearth_units::{ExtSeq, MediaKind, SeqUnwrapper};

use crate::demux::{self, Found};
use crate::entry::{
    PeerEntry, PeerKey, Pending, Stream, StreamRole, Subscriber, TrackEntry, TrackKey,
};
use crate::send_scheduler::QueuedDown;
use crate::slab::Slab;
use crate::{Shard, ShardMessageKind};

/// SSRCs that are remembered of one encoding, and as many of its retransmissions: the one it comes under, the one
/// before, and some to spare.
const MAX_SSRCS: usize = 4;
/// Retransmissions of a stream that is silent for so long are taken for those of the one in its place. Shorter
/// may mix the packets of two, longer repairs nothing meanwhile.
const PARTED_AFTER: Duration = Duration::from_secs(1);
/// Packets of one track that may wait for one flush: all that one turn of the thread can bring.
const MAX_PENDING: usize = 2_048;

impl Shard {
    /// A plaintext RTP packet of peer `key`.
    pub(crate) fn receive_rtp(&mut self, now: Instant, key: PeerKey, packet: &mut [u8]) {
        let Some(entry) = self.graph.peers.get_mut(key) else {
            return;
        };
        let Ok(view) = RtpView::parse(packet) else {
            self.out.counts.add(Metric::DropReceiveMalformed, 1);
            return;
        };
        let extensions = ReadExtensions::read(&view, &entry.extensions);
        if let Some(seq) = extensions.transport_seq {
            entry.twcc.handle_packet(now, seq);
        }
        let Some(at) = find_stream(entry, &self.graph.tracks, &view, &extensions) else {
            self.out.counts.add(Metric::DropReceiveStream, 1);
            return;
        };
        let Some(stream) = entry.streams.get_mut(at) else {
            return;
        };
        let (track, encoding) = (stream.track, stream.encoding);
        let Some(track_entry) = self.graph.tracks.get(track) else {
            return;
        };
        let clock_rate = track_entry.spec.codecs.first().map_or(90_000, |c| c.codec.clock_rate());
        let seq = stream.unwrapper.unwrap(view.seq);
        let (timestamp, marker) = (view.timestamp, view.marker);
        stream.reception.handle_packet(now, seq, timestamp, clock_rate);
        match &mut stream.role {
            StreamRole::Media { nack } => {
                if let Some(nack) = nack {
                    nack.handle_packet(now, seq, timestamp, marker);
                    if let Some(next) = nack.poll_timeout() {
                        self.deadlines.note_nack(key, next);
                    }
                }
                let taken = self.ingest(now, track, encoding, packet);
                if let Some(taken) = taken.filter(|taken| taken.keyframe)
                    && let Some(nack) =
                        self.graph.peers.get_mut(key).and_then(|entry| entry.nack(at))
                {
                    nack.handle_keyframe(seq, taken.is_first_of_frame());
                }
            }
            StreamRole::Rtx { .. } => {
                let active = track_entry.track.ssrc(encoding);
                let Some(at) = active.and_then(|active| repeated_stream(now, entry, at, active))
                else {
                    return;
                };
                let spec = &track_entry.spec;
                let Some((original, media)) = unwrap_rtx(active.unwrap_or(0), spec, packet) else {
                    return;
                };
                // What comes too late to be kept is still missing.
                let taken = self.ingest(now, track, encoding, media);
                if let Some(taken) = taken
                    && let Some(entry) = self.graph.peers.get_mut(key)
                    && let Some(nack) = entry.nack(at)
                {
                    nack.handle_recovered(now, original, timestamp, marker);
                    if taken.keyframe
                        && let Some(stream) = entry.streams.get_mut(at)
                    {
                        let seq = stream.unwrapper.unwrap(original);
                        if let Some(nack) = entry.nack(at) {
                            nack.handle_keyframe(seq, taken.is_first_of_frame());
                        }
                    }
                }
            }
        }
    }

    /// Gives a media packet to its track, and queues it for those who get it; `None` if the track did not take it.
    pub(crate) fn ingest(
        &mut self,
        now: Instant,
        track: TrackKey,
        encoding: u8,
        packet: &mut [u8],
    ) -> Option<Taken> {
        let (Some(entry), Ok(view)) = (self.graph.tracks.get_mut(track), RtpView::parse(packet))
        else {
            return None;
        };
        let Ingest::Accepted { wanted, first, keyframe, codec } =
            entry.track.ingest(now, encoding, &view)
        else {
            return None;
        };
        self.out.counts.add(Metric::PacketsReceived, 1);
        entry.quality.packets += 1;
        if first {
            let (track, ssrc) = (entry.id, view.ssrc);
            self.out.event(Event::EncodingStarted { track, encoding, ssrc, codec });
        }
        if let Some(seq) = wanted {
            let completes = entry.spec.kind == MediaKind::Video && view.marker;
            self.queue_packet(now, track, (encoding, seq), completes);
        }
        let taken = Some(Taken { keyframe, codec });
        let Some(entry) = self.graph.tracks.get(track) else {
            return taken;
        };
        let (id, kind) = (entry.id, |track| ShardMessageKind::Packet { track, encoding });
        for i in 0..entry.relays.len() {
            let to = self.graph.tracks.get(track).and_then(|entry| entry.relays.get(i).copied());
            if let Some(to) = to {
                self.out.message(to, kind(id), packet);
            }
        }
        if first {
            self.graph.update_targets(now, track, &mut self.out);
        }
        taken
    }

    /// A packet of a track waits for those who get it; `completes` a frame.
    pub(crate) fn queue_packet(
        &mut self,
        now: Instant,
        track: TrackKey,
        packet: (u8, ExtSeq),
        completes: bool,
    ) {
        let Some(entry) = self.graph.tracks.get_mut(track) else {
            return;
        };
        let place = self.scheduler.handle_packet(now, entry.id.room, completes);
        let begins = entry.pending.is_empty();
        let (encoding, seq) = packet;
        let size = entry.track.packet(encoding, seq).map_or(0, |packet| packet.size());
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        if entry.pending.len() < MAX_PENDING {
            entry.pending.push(Pending { encoding, seq, size });
        } else {
            self.out.counts.add(Metric::DropBatchFull, 1);
        }
        if begins {
            self.scheduler.queue_track(place, track);
            let kind = entry.track.kind();
            for Subscriber { down, peer } in entry.subscribers.iter().copied() {
                self.scheduler.queue(place, peer, QueuedDown { down, size, kind });
            }
        }
    }

    /// A publisher's sender report: (NTP, RTP time).
    pub(crate) fn take_sender_report(
        &mut self,
        now: Instant,
        track: TrackKey,
        encoding: u8,
        (ntp, rtp_time): (u64, u32),
    ) {
        let Some(entry) = self.graph.tracks.get_mut(track) else {
            return;
        };
        entry.track.handle_sender_report(encoding, SourceClock { ntp, rtp_time, at: now });
        let id = entry.id;
        let relays = entry.relays.clone();
        for to in relays {
            let kind = ShardMessageKind::SenderReport { track: id, encoding, ntp, rtp_time };
            self.out.message(to, kind, &[]);
        }
    }
}

/// A packet that its track took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    keyframe: bool,
    codec: Codec,
}

impl Taken {
    /// Whether nothing of its frame comes before it: parameter sets may (H.264, H.265).
    fn is_first_of_frame(self) -> bool {
        !matches!(self.codec, Codec::H264 | Codec::H265)
    }
}

/// The place of a packet's stream, which may be new, or have moved.
fn find_stream(
    entry: &mut PeerEntry,
    tracks: &Slab<TrackEntry>,
    view: &RtpView<'_>,
    extensions: &ReadExtensions<'_>,
) -> Option<usize> {
    let spec = |key: TrackKey| Some((key, &tracks.get(key)?.spec));
    let known = entry.streams.binary_search_by_key(&view.ssrc, |stream| stream.ssrc);
    let names_place = extensions.mid.is_some() || extensions.rid.is_some();
    if let Ok(at) = known {
        let stream = entry.streams.get(at)?;
        let (_, spec) = spec(stream.track)?;
        let moved =
            names_place && demux::contradicts(spec, stream.encoding, stream.is_rtx(), extensions);
        if !moved {
            return Some(at);
        }
        entry.streams.remove(at);
    }
    let specs = entry.tracks.iter().filter_map(|key| spec(*key));
    let found = demux::find(specs, view, extensions)?;
    make_room(entry, &found);
    let at = entry.streams.partition_point(|stream| stream.ssrc < view.ssrc);
    let (_, spec) = spec(found.track)?;
    entry.streams.insert(at, new_stream(view.ssrc, &found, spec));
    Some(at)
}

/// Forgets the SSRC of an encoding that was silent longest, if it has had many.
fn make_room(entry: &mut PeerEntry, found: &Found) {
    let same = |stream: &Stream| {
        (stream.track, stream.encoding, stream.is_rtx())
            == (found.track, found.encoding, found.is_rtx)
    };
    if entry.streams.iter().filter(|stream| same(stream)).count() < MAX_SSRCS {
        return;
    }
    let of_encoding = entry.streams.iter().enumerate().filter(|(_, stream)| same(stream));
    let silent = of_encoding.min_by_key(|(_, stream)| stream.reception.last_packet());
    if let Some((at, _)) = silent {
        entry.streams.remove(at);
    }
}

fn new_stream(ssrc: u32, found: &Found, spec: &UpTrackSpec) -> Stream {
    let Found { track, encoding, is_rtx } = *found;
    let has_rtx = spec.codecs.iter().any(|codec| codec.rtx_pt.is_some());
    let tracker = || Box::new(NackTracker::new(RttEstimator::ASSUMED, !has_rtx));
    let declared = spec.encodings.get(usize::from(encoding));
    let declared = declared.filter(|encoding| encoding.rtx_ssrc == Some(ssrc));
    let role = if is_rtx {
        StreamRole::Rtx { media_ssrc: declared.and_then(|encoding| encoding.ssrc) }
    } else {
        StreamRole::Media { nack: spec.nack.then(tracker) }
    };
    let (reception, unwrapper) = (ReceiverStats::default(), SeqUnwrapper::default());
    Stream { ssrc, track, encoding, role, reception, unwrapper }
}

impl PeerEntry {
    /// What is missing of the stream at `at`.
    fn nack(&mut self, at: usize) -> Option<&mut NackTracker> {
        match &mut self.streams.get_mut(at)?.role {
            StreamRole::Media { nack } => nack.as_deref_mut(),
            StreamRole::Rtx { .. } => None,
        }
    }
}

/// The place of the stream that packets of the RTX stream at `at` repeat, if that is the `active` one of its
/// encoding: numbers of another mean other packets. A pair that the active one took the place of is parted when
/// its media is silent.
fn repeated_stream(now: Instant, entry: &mut PeerEntry, at: usize, active: u32) -> Option<usize> {
    let place =
        |entry: &PeerEntry, ssrc| entry.streams.binary_search_by_key(&ssrc, |s| s.ssrc).ok();
    let StreamRole::Rtx { media_ssrc } = entry.streams.get(at)?.role else {
        return None;
    };
    let paired = media_ssrc.filter(|ssrc| *ssrc != active);
    let last =
        paired.and_then(|ssrc| entry.streams.get(place(entry, ssrc)?)?.reception.last_packet());
    if last.is_some_and(|last| now.saturating_duration_since(last) < PARTED_AFTER) {
        return None;
    }
    if let StreamRole::Rtx { media_ssrc } = &mut entry.streams.get_mut(at)?.role {
        *media_ssrc = Some(active);
    }
    place(entry, active)
}

/// Rebuilds, in place, the media packet that an RTX packet repeats (RFC 4588 §4); with its original number.
fn unwrap_rtx<'a>(
    ssrc: u32,
    spec: &UpTrackSpec,
    packet: &'a mut [u8],
) -> Option<(u16, &'a mut [u8])> {
    let view = RtpView::parse(packet).ok()?;
    let pt = spec.codecs.iter().find(|c| c.rtx_pt == Some(view.payload_type))?.pt;
    let (header_len, [high, low]) = (view.header_len, *view.payload.first_chunk::<2>()?);
    packet.copy_within(..header_len, 2);
    let media = packet.get_mut(2..)?;
    if let [_, b1, s0, s1, _, _, _, _, c0, c1, c2, c3, ..] = media {
        *b1 = (*b1 & 0x80) | pt;
        (*s0, *s1) = (high, low);
        [*c0, *c1, *c2, *c3] = ssrc.to_be_bytes();
    }
    Some((u16::from_be_bytes([high, low]), media))
}
