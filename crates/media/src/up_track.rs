//! The receiving side of one published track.
//!
//! * **Owns:** for each encoding its packets, its key frame requests and its clock; which of them the
//!   publisher sends, and the bitrate of each layer; the audio level.
//! * **In:** [`UpTrack::ingest`] (a plaintext packet), [`UpTrack::set_subscribed_encodings`] (whether anybody gets
//!   it), [`UpTrack::handle_sender_report`], [`UpTrack::request_keyframe`].
//! * **Out:** [`UpTrack::packet`], [`UpTrack::poll_keyframe_request`], [`UpTrack::poll_level`],
//!   [`UpTrack::layer_bitrate`].
//! * **Invariant:** a packet is stored once, however often it arrives, and only if somebody watched
//!   its encoding before. Numbers of an encoding grow, whatever SSRC it comes under and however that counts.
//! * **Not here:** who gets it (`shard`), loss recovery (`peer`).

use std::time::{Duration, Instant};

use hearth_codec::{Codec, PayloadInfo, inspect};
use hearth_plane::{ReceiveCodec, UpTrackSpec};
use hearth_rtp::{ExtensionIds, ReadExtensions, RtpView};
use hearth_units::{Bitrate, ExtSeq, MediaKind, SeqUnwrapper};

use crate::audio_level_meter::AudioLevelMeter;
use crate::keyframe::KeyframeRequests;
use crate::layer_rates::LayerRates;
use crate::ring::{PacketMeta, PacketRing, UpPacket};
use crate::stream_tracker::{MAX_ENCODINGS, StreamTracker};
use crate::timestamp_rewriter::SourceClock;

/// Two PLIs for one encoding are at least this far apart: half livekit-server's for the upper
/// ones, because a lost PLI freezes a viewer for as long.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
/// For so long after the last subscription leaves an encoding, its packets can still be retransmitted.
/// Shorter repairs less of what was in flight, longer holds memory for nobody; a ring keeps a second.
const KEPT_UNWATCHED: Duration = Duration::from_secs(2);
/// For so long packets go on being stored: some round trips, so that a subscription that comes back at once finds
/// a key frame whole though its start was retransmitted. Longer holds memory for few.
const STORED_UNWATCHED: Duration = Duration::from_millis(300);

/// A jump of the numbers that no burst of loss explains: the sender began anew.
const MAX_GAP: u64 = 1_000;
/// An SSRC that another has replaced is accepted again after that one was silent for so long. Longer drops more of a
/// stream that went back to its first SSRC, shorter lets the last packets of the one before through.
const TAKEN_BACK: Duration = Duration::from_millis(500);
/// An encoding goes on under another SSRC or in another codec once in this time at most; what says otherwise sooner is
/// ignored. Each change is told to the room, and has every subscription look for its target.
const LEAST_BEGINNING: Duration = Duration::from_millis(100);

/// What became of a received packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ingest {
    /// It is a packet of the track.
    Accepted {
        /// The number it is stored under if somebody may get it.
        wanted: Option<ExtSeq>,
        /// The encoding starts with it, or goes on under another SSRC or in another codec.
        first: bool,
        /// It begins a key frame (video only).
        keyframe: bool,
        /// Its codec; of a packet without a payload of the track, that of those before it.
        codec: Codec,
    },
    /// Stored before, too old, or of no stream of the track.
    Ignored,
}

/// Where the packets of an encoding are.
#[derive(Debug)]
enum Retention {
    /// Nowhere: nobody watches.
    Off,
    /// The encoding has not begun. Whoever watches another may want it: its first packet may begin its
    /// only key frame.
    Armed(Stored),
    /// Somebody may get them.
    Active(Stored),
    /// Nobody watches any more. What was sent may be asked for again.
    Draining { stored: Stored, since: Instant },
}

#[derive(Debug)]
struct Stored {
    ring: PacketRing,
    /// What is not newer came while nothing was stored, or was in another ring.
    after: Option<ExtSeq>,
}

impl Retention {
    fn get(&self) -> Option<&Stored> {
        match self {
            Self::Armed(stored) | Self::Active(stored) | Self::Draining { stored, .. } => {
                Some(stored)
            }
            Self::Off => None,
        }
    }

    /// Where a packet is to be stored.
    fn room(&mut self, now: Instant) -> Option<&mut Stored> {
        match self {
            Self::Armed(stored) | Self::Active(stored) => Some(stored),
            Self::Draining { stored, since } if now < *since + STORED_UNWATCHED => Some(stored),
            Self::Draining { .. } | Self::Off => None,
        }
    }
}

#[derive(Debug)]
struct Encoding {
    retention: Retention,
    source: Source,
    unwrapper: SeqUnwrapper,
    /// Added to what the unwrapper says, so that numbers grow when the source begins anew.
    offset: u64,
    newest: Option<ExtSeq>,
    codec: Option<Codec>,
    /// [`PacketMeta::beginning`] of the newest, and its first number.
    beginning: u8,
    begins: Option<ExtSeq>,
    /// When it last went on under another SSRC or in another codec.
    began: Option<Instant>,
    keyframes: KeyframeRequests,
    octets: u64,
}

/// The SSRC an encoding comes under.
#[derive(Debug, Default)]
struct Source {
    ssrc: Option<u32>,
    /// The one before.
    former: Option<u32>,
    heard: Option<Instant>,
}

impl Source {
    /// Whether a packet is of the encoding, and whether that begins anew with it. `may_begin` is false for
    /// padding, which begins nothing, and soon after another beginning.
    fn takes(&mut self, now: Instant, ssrc: u32, may_begin: bool) -> Option<bool> {
        if self.ssrc == Some(ssrc) {
            self.heard = Some(now);
            return Some(false);
        }
        let silent =
            self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= TAKEN_BACK);
        if !may_begin || (self.former == Some(ssrc) && !silent) {
            return None;
        }
        self.former = self.ssrc.replace(ssrc);
        self.heard = Some(now);
        Some(self.former.is_some())
    }
}

/// What a packet is to its encoding.
struct Place {
    seq: ExtSeq,
    codec: Codec,
    /// The encoding starts with it, or goes on under another SSRC or in another codec.
    first: bool,
    /// It comes under another SSRC: its number and its clock have nothing to do with those before.
    is_other_source: bool,
}

impl Encoding {
    fn new() -> Self {
        Self {
            retention: Retention::Off,
            source: Source::default(),
            unwrapper: SeqUnwrapper::default(),
            offset: 0,
            newest: None,
            codec: None,
            beginning: 0,
            begins: None,
            began: None,
            keyframes: KeyframeRequests::new(PLI_INTERVAL),
            octets: 0,
        }
    }

    /// Another source goes on: its numbers have nothing to do with those before.
    fn renumber(&mut self) {
        let newest = self.newest.map_or(0, ExtSeq::get);
        self.offset = newest.checked_next_multiple_of(0x1_0000).unwrap_or(newest);
        self.unwrapper = SeqUnwrapper::default();
    }

    /// What follows `seq` does not go on from what came before.
    fn begin(&mut self, now: Instant, kind: MediaKind, seq: ExtSeq) {
        self.beginning = self.beginning.wrapping_add(1);
        self.begins = Some(seq);
        let is_watched = matches!(self.retention, Retention::Armed(_) | Retention::Active(_));
        if is_watched && kind == MediaKind::Video {
            self.keyframes.handle_request(now);
        }
    }

    /// What a packet is to the encoding; `media` is its codec, `None` if it has no payload of the track. `None`
    /// if it is none of the encoding.
    fn place(
        &mut self,
        now: Instant,
        kind: MediaKind,
        view: &RtpView<'_>,
        media: Option<Codec>,
    ) -> Option<Place> {
        let codec = media.or(self.codec)?;
        let began = |at| now.saturating_duration_since(at) < LEAST_BEGINNING;
        let may_begin = !self.began.is_some_and(began);
        let is_other_source = self.source.takes(now, view.ssrc, media.is_some() && may_begin)?;
        if is_other_source {
            self.renumber();
        }
        let seq = self.unwrapper.unwrap(view.seq).plus(self.offset);
        let jump = self.newest.map_or(0, |newest| seq.since(newest).unwrap_or(0));
        if media.is_none() && jump > MAX_GAP {
            return None;
        }
        // Audio changes between RED and Opus from packet to packet.
        let is_other_codec = kind == MediaKind::Video
            && jump > 0
            && self.codec.is_some_and(|before| before != codec);
        if is_other_codec && !may_begin {
            return None;
        }
        if is_other_source || is_other_codec {
            self.began = Some(now);
        }
        if is_other_source || is_other_codec || jump > MAX_GAP {
            self.begin(now, kind, seq);
        }
        if Some(seq) > self.newest {
            self.codec = Some(codec);
        }
        let first = self.newest.is_none() || is_other_source || is_other_codec;
        Some(Place { seq, codec, first, is_other_source })
    }

    /// [`PacketMeta::beginning`] of packet `seq`.
    fn beginning_of(&self, seq: ExtSeq) -> u8 {
        let earlier = self.begins.is_some_and(|begins| seq < begins);
        self.beginning.wrapping_sub(u8::from(earlier))
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct UpTrack {
    kind: MediaKind,
    codecs: Vec<ReceiveCodec>,
    extensions: ExtensionIds,
    encodings: Vec<Encoding>,
    /// By encoding, as all subscriptions read them together.
    clocks: [Option<SourceClock>; MAX_ENCODINGS],
    stream_tracker: StreamTracker,
    rates: LayerRates,
    level_meter: Option<AudioLevelMeter>,
    muted: bool,
}

impl UpTrack {
    /// Starts with no packets, and nobody watches.
    pub fn new(spec: &UpTrackSpec) -> Self {
        let mut track = Self {
            kind: spec.kind,
            codecs: spec.codecs.clone(),
            extensions: spec.extensions,
            encodings: Vec::new(),
            clocks: [None; MAX_ENCODINGS],
            stream_tracker: StreamTracker::default(),
            rates: LayerRates::new(),
            level_meter: spec.measure_level.then(AudioLevelMeter::default),
            muted: false,
        };
        track.update(spec);
        track
    }

    /// Takes over what a renegotiation may change; packets stay. Encodings may be added: those that are
    /// gone fall silent.
    pub fn update(&mut self, spec: &UpTrackSpec) {
        self.codecs.clone_from(&spec.codecs);
        self.extensions = spec.extensions;
        let count = spec.encodings.len().clamp(1, MAX_ENCODINGS).max(self.encodings.len());
        self.encodings.resize_with(count, Encoding::new);
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// The publisher muted or unmuted it.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Whether the publisher muted it.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Says which encodings somebody may get packets of: bit i for encoding i. To be said again after
    /// the first packet of each.
    ///
    /// Allocates the room for one that was not watched before.
    pub fn set_subscribed_encodings(&mut self, now: Instant, watched: u8) {
        for (i, enc) in self.encodings.iter_mut().enumerate() {
            let is_watched = watched & (1 << i) != 0;
            let is_awaited = watched != 0 && enc.newest.is_none();
            let after = enc.newest;
            let new = || Stored { ring: PacketRing::new(self.kind), after };
            enc.retention =
                match (is_watched, std::mem::replace(&mut enc.retention, Retention::Off)) {
                    (true, Retention::Off) => Retention::Active(new()),
                    (true, Retention::Armed(stored) | Retention::Active(stored)) => {
                        Retention::Active(stored)
                    }
                    (true, Retention::Draining { stored, since }) => {
                        let is_whole = now < since + STORED_UNWATCHED;
                        let after = if is_whole { stored.after } else { after };
                        Retention::Active(Stored { after, ..stored })
                    }
                    (false, Retention::Off) if is_awaited => Retention::Armed(new()),
                    (false, Retention::Armed(stored) | Retention::Active(stored)) if is_awaited => {
                        Retention::Armed(stored)
                    }
                    (false, Retention::Off | Retention::Armed(_)) => Retention::Off,
                    (false, Retention::Active(stored)) => {
                        Retention::Draining { stored, since: now }
                    }
                    (false, Retention::Draining { stored, since }) => {
                        Retention::Draining { stored, since }
                    }
                };
        }
    }

    /// Whether somebody gets packets of an encoding, or will of one that has not begun.
    pub fn is_watched(&self, encoding: u8) -> bool {
        let enc = self.encodings.get(usize::from(encoding));
        enc.is_some_and(|enc| matches!(enc.retention, Retention::Armed(_) | Retention::Active(_)))
    }

    /// Frees the room of encodings that nobody watches any more.
    pub fn release_unwatched(&mut self, now: Instant) {
        for enc in &mut self.encodings {
            if matches!(enc.retention, Retention::Draining { since, .. } if since + KEPT_UNWATCHED <= now)
            {
                enc.retention = Retention::Off;
            }
        }
    }

    /// Takes a packet of `encoding`; payload type already that of the media (not of RTX). One that is of no use
    /// but takes a number (padding, another payload type) is stored without a payload, so that subscribers see
    /// no gap where it was.
    ///
    /// **Cost:** O(1), one copy of the payload if the encoding is or was just watched, no allocation.
    pub fn ingest(&mut self, now: Instant, encoding: u8, view: &RtpView<'_>) -> Ingest {
        let known = self.codecs.iter().find(|c| c.pt == view.payload_type).map(|c| c.codec);
        let media = known.filter(|_| !view.payload.is_empty());
        let Some(enc) = self.encodings.get_mut(usize::from(encoding)) else {
            return Ingest::Ignored;
        };
        let Some(place) = enc.place(now, self.kind, view, media) else {
            return Ingest::Ignored;
        };
        let Place { seq, codec, first, is_other_source } = place;
        if is_other_source && let Some(clock) = self.clocks.get_mut(usize::from(encoding)) {
            *clock = None;
        }
        let (payload, extensions) = match media {
            Some(_) => (view.payload, ReadExtensions::read(view, &self.extensions)),
            None => (&[][..], ReadExtensions::default()),
        };
        let info = media.map_or_else(PayloadInfo::default, |codec| inspect(codec, payload));
        let meta = PacketMeta {
            seq,
            timestamp: view.timestamp,
            marker: view.marker,
            codec,
            encoding,
            beginning: enc.beginning_of(seq),
            info,
            audio_level: extensions.audio_level.map(|level| level.to_byte()),
            orientation: extensions.video_orientation,
            capture_time: extensions.abs_capture_time.and_then(|t| t.first_chunk().copied()),
        };
        let descriptor = extensions.dependency_descriptor.unwrap_or_default();
        let is_newest = Some(seq) > enc.newest;
        // What is not stored may be here for the second time.
        let mut is_new = is_newest;
        if let Some(stored) = enc.retention.room(now).filter(|stored| Some(seq) > stored.after) {
            is_new = stored.ring.insert(meta, descriptor, payload);
            if !is_new {
                return Ingest::Ignored;
            }
        }
        if is_new {
            enc.octets += payload.len() as u64;
            self.rates.handle_packet(encoding, info.temporal, payload.len());
        }
        if is_newest && media.is_some() {
            self.stream_tracker.handle_packet(now, encoding, view.timestamp);
        }
        enc.newest = enc.newest.max(Some(seq));
        let keyframe = info.keyframe && self.kind == MediaKind::Video;
        if keyframe {
            enc.keyframes.handle_keyframe();
        }
        if let (Some(level_meter), Some(level), false) =
            (self.level_meter.as_mut(), extensions.audio_level, self.muted)
        {
            level_meter.handle_packet(now, level.level, view.timestamp, codec.clock_rate());
        }
        let wanted = match &enc.retention {
            Retention::Armed(stored) | Retention::Active(stored) => Some(seq) > stored.after,
            Retention::Draining { .. } | Retention::Off => false,
        };
        Ingest::Accepted { wanted: wanted.then_some(seq), first, keyframe, codec }
    }

    /// The SSRC an encoding comes under.
    pub fn ssrc(&self, encoding: u8) -> Option<u32> {
        self.encodings.get(usize::from(encoding))?.source.ssrc
    }

    /// The codec an encoding comes in.
    pub fn codec(&self, encoding: u8) -> Option<Codec> {
        self.encodings.get(usize::from(encoding))?.codec
    }

    /// A stored packet.
    #[inline]
    pub fn packet(&self, encoding: u8, seq: ExtSeq) -> Option<UpPacket<'_>> {
        self.encodings.get(usize::from(encoding))?.retention.get()?.ring.packet(seq)
    }

    /// Newest number of an encoding.
    pub fn newest(&self, encoding: u8) -> Option<ExtSeq> {
        self.encodings.get(usize::from(encoding))?.newest
    }

    /// The publisher's clocks, by encoding.
    pub const fn clocks(&self) -> &[Option<SourceClock>; MAX_ENCODINGS] {
        &self.clocks
    }

    /// A sender report for `encoding` arrived.
    pub fn handle_sender_report(&mut self, encoding: u8, clock: SourceClock) {
        let at = usize::from(encoding);
        if at < self.encodings.len()
            && let Some(slot) = self.clocks.get_mut(at)
        {
            *slot = Some(clock);
        }
    }

    /// A subscriber needs a key frame of `encoding`.
    pub fn request_keyframe(&mut self, now: Instant, encoding: u8) {
        if self.kind == MediaKind::Video
            && let Some(enc) = self.encodings.get_mut(usize::from(encoding))
        {
            enc.keyframes.handle_request(now);
        }
    }

    /// A subscriber waits for a key frame of `encoding`; repeat it for as long as that is so.
    pub fn need_keyframe(&mut self, now: Instant, encoding: u8) {
        if self.kind == MediaKind::Video
            && let Some(enc) = self.encodings.get_mut(usize::from(encoding))
        {
            enc.keyframes.handle_need(now);
        }
    }

    /// An encoding that a PLI is due for. Call until `None`. It is repeated after `retry`
    /// ([`retry_after`](crate::retry_after)).
    pub fn poll_keyframe_request(&mut self, now: Instant, retry: Duration) -> Option<u8> {
        (0_u8..).zip(&mut self.encodings).find_map(|(i, enc)| {
            // Another shard may have a target that does not count as available here.
            let reachable = self.stream_tracker.is_receiving(now, i) || enc.newest.is_none();
            (reachable && enc.keyframes.poll_output(now, retry).is_some()).then_some(i)
        })
    }

    /// Whether any key frame is being waited for.
    pub fn wants_keyframe(&self) -> bool {
        self.encodings.iter().any(|enc| enc.keyframes.poll_timeout().is_some())
    }

    /// Bit i is set while encoding i comes, is not left out, and not on probation after a pause.
    pub fn available(&self, now: Instant) -> u8 {
        self.stream_tracker.available(now)
    }

    /// The audio level to tell, if it changed since the last call.
    pub fn poll_level(&mut self, now: Instant) -> Option<f32> {
        self.level_meter.as_mut()?.poll_level(now)
    }

    /// Measures the layers' bitrates. To be called some times in 200 ms.
    pub fn update_rates(&mut self, now: Instant) {
        self.rates.handle_timeout(now);
    }

    /// What one temporal layer of an encoding takes, without those below it, in payload: header, extensions and
    /// authentication tag come on top, and differ from subscriber to subscriber. It follows a rise within a second,
    /// a fall within some; zero for a layer that is not received.
    pub fn layer_bitrate(&self, encoding: u8, temporal: u8) -> Bitrate {
        self.rates.bitrate(encoding, temporal)
    }

    /// Payload bytes received over all encodings.
    pub fn octets(&self) -> u64 {
        self.encodings.iter().map(|enc| enc.octets).sum()
    }
}

#[cfg(test)]
mod tests {
    use hearth_plane::{EncodingSpec, PeerId, RoomId, Source};
    use hearth_rtp::{RtpHeader, write_header};

    use super::*;

    struct Scene {
        spec: UpTrackSpec,
        up: UpTrack,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let spec = UpTrackSpec {
                source: Source::Local(PeerId { room: RoomId(1), n: 1 }),
                kind: MediaKind::Video,
                mid: "0".to_owned(),
                codecs: [(Codec::H264, 96), (Codec::Vp8, 98)]
                    .map(|(codec, pt)| ReceiveCodec { codec, pt, rtx_pt: None })
                    .to_vec(),
                extensions: ExtensionIds::default(),
                encodings: vec![EncodingSpec::default(); 2],
                nack: true,
                measure_level: false,
            };
            #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
            let now = Instant::now();
            Self { up: UpTrack::new(&spec), spec, now }
        }

        /// The number it is stored under if somebody may get it.
        fn ingest(&mut self, encoding: u8, seq: u16) -> Option<ExtSeq> {
            match self.receive(encoding, (5, seq), 96, 88) {
                Ingest::Accepted { wanted, .. } => wanted,
                Ingest::Ignored => panic!("ignored"),
            }
        }

        /// A packet of an SSRC with a number, a payload type, and a payload of so many bytes.
        fn receive(
            &mut self,
            encoding: u8,
            (ssrc, seq): (u32, u16),
            payload_type: u8,
            len: usize,
        ) -> Ingest {
            let mut packet = vec![0; 12 + len];
            let timestamp = u32::from(seq).wrapping_mul(3_000);
            let header = RtpHeader { marker: true, payload_type, seq, timestamp, ssrc };
            write_header(&mut packet, &header, &[]).unwrap();
            self.up.ingest(self.now, encoding, &RtpView::parse(&packet).unwrap())
        }

        /// As what it is stored: number, which beginning, length.
        fn stored(&self, encoding: u8, ingest: Ingest) -> Option<(ExtSeq, u8, usize)> {
            let Ingest::Accepted { wanted, .. } = ingest else { return None };
            let packet = self.up.packet(encoding, wanted?)?;
            Some((packet.meta.seq, packet.meta.beginning, packet.payload.len()))
        }
    }

    #[test]
    fn what_nobody_watches_is_not_stored_but_known_to_be_alive() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b10);
        let first = scene.ingest(0, 6).expect("it may begin its only key frame");
        scene.up.set_subscribed_encodings(scene.now, 0b10);
        assert!(scene.up.packet(0, first).is_none(), "nobody has watched it");
        scene.now += Duration::from_secs(3);
        assert_eq!(scene.ingest(0, 7), None);
        assert!(scene.ingest(1, 7).is_some());
        assert_eq!(scene.up.available(scene.now), 0b11);
        scene.up.set_subscribed_encodings(scene.now, 0b11);
        assert!(scene.ingest(0, 8).is_some());
    }

    #[test]
    fn what_was_sent_is_sent_again_for_a_while_after_nobody_watches() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        let seq = scene.ingest(0, 7).unwrap();
        scene.up.set_subscribed_encodings(scene.now, 0);
        for (after, there) in [(0, true), (1_999, true), (2_000, false)] {
            scene.up.release_unwatched(scene.now + Duration::from_millis(after));
            assert_eq!(scene.up.packet(0, seq).is_some(), there, "after {after} ms");
        }
    }

    #[test]
    fn what_came_just_after_nobody_watched_is_there_for_whoever_watches_again() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        scene.ingest(0, 7).unwrap();
        scene.up.set_subscribed_encodings(scene.now, 0);
        assert_eq!(scene.ingest(0, 9), None);
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        let late = scene.ingest(0, 8).unwrap();
        assert!(scene.up.packet(0, late.plus(1)).is_some());
    }

    #[test]
    fn what_came_long_after_nobody_watched_is_not_stored_and_no_key_frame_is_found_in_part() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        scene.ingest(0, 7).unwrap();
        scene.up.set_subscribed_encodings(scene.now, 0);
        scene.now += STORED_UNWATCHED;
        assert_eq!(scene.ingest(0, 9), None);
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        assert_eq!(scene.ingest(0, 8), None, "what follows it is not there");
        assert!(scene.ingest(0, 10).is_some());
    }

    #[test]
    fn repetitions_of_what_was_lost_do_not_keep_an_encoding_alive() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b11);
        for seq in 10..20 {
            scene.ingest(0, seq).unwrap();
            scene.ingest(1, 2 * seq).unwrap();
            scene.now += Duration::from_millis(33);
        }
        for seq in 20..30 {
            scene.ingest(0, seq).unwrap();
            scene.ingest(1, 2 * seq - 21).unwrap();
            scene.now += Duration::from_millis(33);
        }
        assert_eq!(scene.up.available(scene.now), 0b01);
    }

    #[test]
    fn the_bitrate_of_a_layer_is_known_whoever_watches_and_counts_a_packet_once() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b10);
        for seq in 0..400 {
            for encoding in [0, 1, 0, 1] {
                scene.receive(encoding, (5, seq), 96, 88);
            }
            scene.now += Duration::from_millis(20);
            scene.up.update_rates(scene.now);
        }
        let rates = [(0, 0), (1, 0), (1, 1)].map(|(e, t)| scene.up.layer_bitrate(e, t));
        assert_eq!(rates, [35_200, 35_200, 0].map(Bitrate::from_bps));
    }

    #[test]
    fn an_encoding_that_a_later_offer_adds_is_taken() {
        let mut scene = Scene::new();
        scene.spec.encodings.push(EncodingSpec::default());
        scene.up.update(&scene.spec);
        scene.up.set_subscribed_encodings(scene.now, 0b100);
        assert!(scene.ingest(2, 1).is_some());
    }

    #[test]
    fn what_came_before_somebody_watches_is_not_stored_when_it_comes_again() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        assert!(scene.ingest(0, 5).is_some());
        scene.up.set_subscribed_encodings(scene.now, 0);
        scene.now += KEPT_UNWATCHED;
        scene.up.release_unwatched(scene.now);
        assert_eq!(scene.ingest(0, 6), None);
        scene.now += Duration::from_millis(1_500);
        scene.up.set_subscribed_encodings(scene.now, 0b01);
        for again in [5, 6] {
            assert_eq!(scene.ingest(0, again), None);
        }
        assert_eq!(scene.up.available(scene.now), 0, "old packets do not make it alive");
        assert_eq!(scene.up.octets(), 2 * 88);
        assert!(scene.ingest(0, 7).is_some());
    }

    #[test]
    fn padding_and_unknown_payload_types_take_their_numbers_and_nothing_else() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b11);
        assert_eq!(scene.receive(0, (5, 8), 96, 0), Ingest::Ignored, "no beginning");
        let first = scene.ingest(0, 9).unwrap();
        for (ahead, payload_type, len) in [(1, 96, 0), (2, 126, 4), (3, 13, 0)] {
            let ingest = scene.receive(0, (5, 9 + ahead), payload_type, len);
            assert_eq!(scene.stored(0, ingest), Some((first.plus(u64::from(ahead)), 0, 0)));
        }
        assert_eq!(scene.up.octets(), 88);
        assert_eq!(scene.receive(0, (6, 900), 96, 0), Ingest::Ignored, "nor another beginning");
        assert_eq!(scene.receive(0, (5, 9_000), 96, 0), Ingest::Ignored);
        assert_eq!(scene.ingest(0, 13), Some(first.plus(4)));
    }

    #[test]
    fn an_encoding_goes_on_under_another_ssrc_whatever_that_counts_from() {
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b11);
        scene.ingest(0, 40_000).unwrap();
        for (n, ssrc, seq) in [(1, 6, 20_000), (2, 7, 39_000), (3, 8, 65_535), (4, 9, 3)] {
            scene.now += LEAST_BEGINNING;
            let newest = scene.up.newest(0).unwrap();
            let ingest = scene.receive(0, (ssrc, seq), 96, 88);
            assert!(matches!(ingest, Ingest::Accepted { first: true, .. }), "{ingest:?}");
            let (stored, beginning, _) = scene.stored(0, ingest).unwrap();
            assert!(stored > newest, "{ssrc}");
            assert_eq!((beginning, scene.up.ssrc(0)), (n, Some(ssrc)));
            // One that left before it.
            assert_eq!(scene.receive(0, (ssrc - 1, 40_001), 96, 88), Ingest::Ignored);
            let next = scene.receive(0, (ssrc, seq.wrapping_add(1)), 96, 88);
            assert_eq!(scene.stored(0, next), Some((stored.plus(1), n, 88)));
        }
        scene.now += TAKEN_BACK;
        assert_eq!(scene.receive(0, (8, 7), 96, 0), Ingest::Ignored);
        let back = scene.receive(0, (8, 7), 96, 88);
        assert_eq!(scene.stored(0, back).map(|(_, beginning, _)| beginning), Some(5));
    }

    #[test]
    fn a_publisher_that_changes_its_ssrc_or_codec_with_each_packet_begins_ten_times_a_second() {
        for flips_codec in [false, true] {
            let mut scene = Scene::new();
            scene.up.set_subscribed_encodings(scene.now, 0b11);
            let mut beginnings = 0;
            for n in 0..1_000_u16 {
                scene.now += Duration::from_millis(1);
                let (ssrc, payload_type) = match flips_codec {
                    true => (5, 96 + 2 * (n % 2) as u8),
                    false => (u32::from(n), 96),
                };
                let ingest = scene.receive(0, (ssrc, n), payload_type, 88);
                beginnings += u32::from(matches!(ingest, Ingest::Accepted { first: true, .. }));
            }
            assert!((9..=11).contains(&beginnings), "{flips_codec}: {beginnings}");
        }
    }

    #[test]
    fn another_codec_and_a_jump_of_the_numbers_are_beginnings_that_want_a_key_frame() {
        for (seq, payload_type, first) in [(11, 98, true), (1_011, 96, false)] {
            let mut scene = Scene::new();
            scene.up.set_subscribed_encodings(scene.now, 0b11);
            scene.ingest(0, 10).unwrap();
            let ingest = scene.receive(0, (5, seq), payload_type, 88);
            assert!(matches!(ingest, Ingest::Accepted { first: now, .. } if now == first));
            assert_eq!(scene.stored(0, ingest).map(|(_, beginning, _)| beginning), Some(1));
            assert_eq!(scene.up.poll_keyframe_request(scene.now, Duration::ZERO), Some(0));
            // What is late belongs to what was before.
            let late = scene.receive(0, (5, seq - 2), 96, 88);
            assert_eq!(scene.stored(0, late).map(|(_, beginning, _)| beginning), Some(0));
        }
        let mut scene = Scene::new();
        scene.up.set_subscribed_encodings(scene.now, 0b11);
        scene.ingest(0, 10).unwrap();
        let ingest = scene.receive(0, (5, 1_010), 96, 88);
        assert_eq!(scene.stored(0, ingest).map(|(_, beginning, _)| beginning), Some(0));
    }
}
