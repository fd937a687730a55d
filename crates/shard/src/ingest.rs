//! A publisher's packets: whose they are, and into which track they go.

use std::time::Instant;

use hearth_media::{Ingest, SourceClock};
use hearth_metrics::Metric;
use hearth_peer::{NackTracker, Reception, RoundTrip};
use hearth_plane::{Event, Source, UpTrackSpec};
use hearth_rtp::{ReadExtensions, RtpView};
use hearth_units::{ExtSeq, MediaKind, SeqUnwrapper};

use crate::batching::Queued;
use crate::entry::{PeerEntry, Pending, Stream, StreamRole};
use crate::{Parcel, ParcelKind, Shard};

/// SSRCs that one peer may send; more are dropped.
const MAX_STREAMS: usize = 64;
/// Packets of one track that may wait for one flush: all that one turn of the thread can bring.
const MAX_PENDING: usize = 2_048;

impl Shard {
    /// A plaintext RTP packet of peer `key`.
    pub(crate) fn receive_rtp(&mut self, now: Instant, key: usize, packet: &mut [u8]) {
        let Some(entry) = self.peers.get_mut(key) else {
            return;
        };
        let Ok(view) = RtpView::parse(packet) else {
            self.counts.add(Metric::DropReceiveMalformed, 1);
            return;
        };
        let extensions = ReadExtensions::read(&view, &entry.extensions);
        if let Some(seq) = extensions.transport_seq {
            entry.twcc.handle_packet(now, seq);
        }
        let at = match entry.streams.binary_search_by_key(&view.ssrc, |stream| stream.ssrc) {
            Ok(at) => at,
            Err(at) => {
                let found = entry.tracks.iter().find_map(|track| {
                    let spec = &self.tracks.get(*track)?.spec;
                    let (encoding, role) = recognise(spec, &view, &extensions)?;
                    Some((*track, encoding, role))
                });
                let (Some((track, encoding, role)), true) =
                    (found, entry.streams.len() < MAX_STREAMS)
                else {
                    self.counts.add(Metric::DropReceiveStream, 1);
                    return;
                };
                entry.streams.insert(at, new_stream(view.ssrc, track, encoding, role));
                at
            }
        };
        let Some(stream) = entry.streams.get_mut(at) else {
            return;
        };
        let (track, encoding) = (stream.track, stream.encoding);
        let Some(track_entry) = self.tracks.get(track) else {
            return;
        };
        let clock_rate = track_entry.spec.codecs.first().map_or(90_000, |c| c.codec.clock_rate());
        let seq = stream.unwrapper.unwrap(view.seq);
        stream.reception.handle_packet(now, seq, view.timestamp, clock_rate);
        match &mut stream.role {
            StreamRole::Media { nack } => {
                if let Some(nack) = nack {
                    nack.handle_packet(now, seq);
                }
                self.ingest(now, track, encoding, packet);
            }
            StreamRole::Rtx { media_ssrc } => {
                let media_ssrc = *media_ssrc;
                let Some(media) =
                    unwrap_rtx(entry, track, encoding, media_ssrc, &track_entry.spec, packet)
                else {
                    return;
                };
                let original = RtpView::parse(media).ok().map(|view| view.seq);
                // What comes too late to be kept is still missing.
                if self.ingest(now, track, encoding, media)
                    && let (Some(original), Some(entry)) = (original, self.peers.get_mut(key))
                    && let Some(StreamRole::Media { nack: Some(nack) }) =
                        media_stream(entry, track, encoding).map(|stream| &mut stream.role)
                {
                    nack.handle_recovered(original);
                }
            }
        }
    }

    /// Gives a media packet to its track, and queues it for those who get it; whether the track took it.
    pub(crate) fn ingest(
        &mut self,
        now: Instant,
        track: usize,
        encoding: u8,
        packet: &mut [u8],
    ) -> bool {
        let (Some(entry), Ok(view)) = (self.tracks.get_mut(track), RtpView::parse(packet)) else {
            return false;
        };
        if view.payload.is_empty() {
            return false;
        }
        let Ingest::Accepted { wanted, first, codec } = entry.track.ingest(now, encoding, &view)
        else {
            return false;
        };
        self.counts.add(Metric::PacketsReceived, 1);
        entry.quality.packets += 1;
        if first {
            let (track, ssrc) = (entry.id, view.ssrc);
            self.events.push_back(Event::EncodingStarted { track, encoding, ssrc, codec });
        }
        if let Some(seq) = wanted {
            let completes = entry.spec.kind == MediaKind::Video && view.marker;
            self.queue_packet(now, track, (encoding, seq), completes);
        }
        let Some(entry) = self.tracks.get(track) else {
            return true;
        };
        let (id, kind) = (entry.id, |track| ParcelKind::Packet { track, encoding });
        for i in 0..entry.relays.len() {
            let to = self.tracks.get(track).and_then(|entry| entry.relays.get(i).copied());
            if let (Some(to), Some(parcel)) = (to, Parcel::new(kind(id), packet)) {
                self.send_parcel(to, parcel);
            }
        }
        if first {
            self.retarget(now, track);
        }
        true
    }

    /// A packet of a track waits for those who get it; `completes` a frame.
    pub(crate) fn queue_packet(
        &mut self,
        now: Instant,
        track: usize,
        packet: (u8, ExtSeq),
        completes: bool,
    ) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let place = self.batching.handle_packet(now, entry.id.room, completes);
        let begins = entry.pending.is_empty();
        let (encoding, seq) = packet;
        let size = entry.track.packet(encoding, seq).map_or(0, |packet| packet.size());
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        if entry.pending.len() < MAX_PENDING {
            entry.pending.push(Pending { encoding, seq, size });
        } else {
            self.counts.add(Metric::DropBatchFull, 1);
        }
        if begins {
            self.batching.queue_track(place, track);
            for listener in &entry.listeners {
                self.batching.queue(place, listener.peer, Queued { down: listener.down, size });
            }
        }
    }

    /// A publisher's sender report: (NTP, RTP time).
    pub(crate) fn take_sender_report(
        &mut self,
        now: Instant,
        track: usize,
        encoding: u8,
        (ntp, rtp_time): (u64, u32),
    ) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        entry.track.handle_sender_report(encoding, SourceClock { ntp, rtp_time, at: now });
        let id = entry.id;
        let relays = entry.relays.clone();
        for to in relays {
            let kind = ParcelKind::SenderReport { track: id, encoding, ntp, rtp_time };
            if let Some(parcel) = Parcel::new(kind, &[]) {
                self.send_parcel(to, parcel);
            }
        }
    }

    /// Aims every subscription of a track at what is alive, asks for the key frames they need, and
    /// stores what they watch.
    pub(crate) fn retarget(&mut self, now: Instant, track: usize) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let live = entry.track.live(now);
        (entry.live, entry.unsettled) = (live, false);
        let mut watched = 0;
        for listener in &entry.listeners {
            let Some(down) = self.downs.get_mut(listener.down) else {
                continue;
            };
            // A key frame that comes before the subscriber can have it would be wasted.
            if self.peers.get(down.peer).is_some_and(|peer| peer.connected)
                && let Some(encoding) = down.down.retarget(live)
            {
                entry.unsettled = true;
                entry.track.need_keyframe(now, encoding);
            }
            watched |= down.down.watched();
        }
        entry.track.set_watched(now, watched);
        self.send_keyframe_requests(now, track);
    }

    /// A subscriber, here or on another shard, cannot decode.
    pub(crate) fn request_keyframe(&mut self, now: Instant, track: usize, encoding: u8) {
        if let Some(entry) = self.tracks.get_mut(track) {
            entry.track.request_keyframe(now, encoding);
        }
        self.send_keyframe_requests(now, track);
    }

    fn send_keyframe_requests(&mut self, now: Instant, track: usize) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let (id, source) = (entry.id, entry.spec.source);
        let mut wanted = [None; 3];
        for slot in &mut wanted {
            *slot = entry.track.poll_keyframe_request(now);
        }
        for encoding in wanted.into_iter().flatten() {
            match source {
                Source::Local(peer) => self.send_pli(peer, track, encoding),
                Source::Shard(shard) => {
                    let kind = ParcelKind::KeyframeRequest { track: id, encoding };
                    if let Some(parcel) = Parcel::new(kind, &[]) {
                        self.send_parcel(shard, parcel);
                    }
                }
            }
        }
    }
}

fn new_stream(ssrc: u32, track: usize, encoding: u8, role: StreamRole) -> Stream {
    let (reception, unwrapper) = (Reception::default(), SeqUnwrapper::default());
    Stream { ssrc, track, encoding, role, reception, unwrapper }
}

/// Whether a packet of an unknown SSRC belongs to a track: by declared SSRC, by mid and rid, or,
/// without either, by payload type.
fn recognise(
    spec: &UpTrackSpec,
    view: &RtpView<'_>,
    extensions: &ReadExtensions<'_>,
) -> Option<(u8, StreamRole)> {
    let media = |encoding| {
        let tracker = || Box::new(NackTracker::new(RoundTrip::ASSUMED));
        (encoding, StreamRole::Media { nack: spec.nack.then(tracker) })
    };
    for (i, encoding) in (0_u8..).zip(&spec.encodings) {
        if encoding.ssrc == Some(view.ssrc) {
            return Some(media(i));
        }
        if encoding.rtx_ssrc == Some(view.ssrc) {
            return Some((i, StreamRole::Rtx { media_ssrc: encoding.ssrc }));
        }
    }
    if extensions.mid.is_some_and(|mid| mid != spec.mid) {
        return None;
    }
    let is_media = spec.codecs.iter().any(|codec| codec.pt == view.payload_type);
    let is_rtx = spec.codecs.iter().any(|codec| codec.rtx_pt == Some(view.payload_type));
    let by_rid = |rid: Option<&str>| {
        let rid = rid?;
        (0_u8..).zip(&spec.encodings).find(|(_, e)| e.rid.as_deref() == Some(rid)).map(|(i, _)| i)
    };
    if let Some(i) = by_rid(extensions.repaired_rid).filter(|_| is_rtx) {
        return Some((i, StreamRole::Rtx { media_ssrc: None }));
    }
    if let Some(i) = by_rid(extensions.rid).filter(|_| is_media) {
        return Some(media(i));
    }
    let only = spec.encodings.len() == 1 && extensions.mid.is_some();
    let undeclared = spec.encodings.first().is_some_and(|e| e.ssrc.is_none() && e.rid.is_none());
    match (only && undeclared, is_media, is_rtx) {
        (true, true, _) => Some(media(0)),
        (true, false, true) => Some((0, StreamRole::Rtx { media_ssrc: None })),
        _ => None,
    }
}

fn media_stream(entry: &mut PeerEntry, track: usize, encoding: u8) -> Option<&mut Stream> {
    entry.streams.iter_mut().find(|stream| {
        stream.track == track
            && stream.encoding == encoding
            && matches!(stream.role, StreamRole::Media { .. })
    })
}

/// Rebuilds, in place, the media packet that an RTX packet repeats (RFC 4588 §4).
fn unwrap_rtx<'a>(
    entry: &mut PeerEntry,
    track: usize,
    encoding: u8,
    media_ssrc: Option<u32>,
    spec: &UpTrackSpec,
    packet: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    let ssrc = match media_ssrc {
        Some(ssrc) => ssrc,
        None => media_stream(entry, track, encoding)?.ssrc,
    };
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
    Some(media)
}
