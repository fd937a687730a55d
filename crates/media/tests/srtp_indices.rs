//! One SRTP index of an SSRC seals one packet, whatever publisher, subscriber and negotiation do.
//!
//! Tracks, subscriptions and the keys of one transport against a table of everything that was sealed. GCM gives its
//! authentication key away if one nonce, which is SSRC and index, seals two different packets (RFC 7714 §8.4).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_media::{Answer, DownTrack, Ingest, UpTrack, Verdict, Written, choose_target};
use hearth_plane::{
    DownId, DownTrackSpec, EncodingSpec, LayerLimit, PeerId, ReceiveCodec, RoomId, SendCodec,
    Source, TrackId, UpTrackSpec,
};
use hearth_rtp::{ExtensionIds, RtpHeader, RtpView, write_header};
use hearth_srtp::{Profile, Sealer, Session};
use hearth_units::{ExtSeq, MediaKind};

/// Four seconds in a build that is not optimised.
const OPERATIONS: u32 = 1_000_000;
const ROOM: RoomId = RoomId(1);
/// Subscriptions of the transport at a time.
const DOWNS: usize = 5;
/// Packets of each encoding that may come once more.
const KEPT: usize = 64;

#[test]
fn no_srtp_index_seals_two_packets() {
    let mut model = Model::new(7);
    for _ in 0..OPERATIONS {
        model.step();
    }
    model.check();
}

struct Model {
    random: Random,
    now: Instant,
    tracks: Vec<Track>,
    downs: Vec<Down>,
    transport: Transport,
    /// Subscriptions so far.
    made: u32,
    seen: Seen,
}

/// How often each danger was there.
#[derive(Debug, Default)]
struct Seen {
    forwarded: u64,
    refused: u64,
    repeated: u64,
    over_rtx: u64,
    renegotiated: u64,
    resubscribed: u64,
    wraps: u64,
    stamped: u64,
}

/// A published track, and the numbers its publisher is at.
struct Track {
    up: UpTrack,
    spec: UpTrackSpec,
    encodings: Vec<Publisher>,
}

#[derive(Default)]
struct Publisher {
    seq: u16,
    timestamp: u32,
    picture: u16,
    /// Packets that were taken lately.
    taken: Vec<ExtSeq>,
    /// What was sent lately, to come again.
    sent: Vec<(u16, Vec<u8>)>,
}

struct Down {
    track: usize,
    down: DownTrack,
    limit: LayerLimit,
    newest: Option<u64>,
}

/// The keys of the subscriber, and a digest of what each (SSRC, index) sealed.
struct Transport {
    sealer: Sealer,
    sealed: HashMap<(u32, u64), u64>,
    /// Counts what is sealed: a packet that is sent again gets another number, if it has a place for one.
    seq: u16,
}

impl Model {
    fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
        let now = Instant::now();
        let material: Vec<u8> = (0..56).collect();
        let (sealer, _) = Session::from_dtls(Profile::AeadAes128Gcm, &material, true).unwrap();
        let mut model = Self {
            random: Random(seed),
            now,
            tracks: [MediaKind::Audio, MediaKind::Video].map(Track::new).into(),
            downs: Vec::new(),
            transport: Transport { sealer, sealed: HashMap::new(), seq: 0 },
            made: 0,
            seen: Seen::default(),
        };
        for at in 0..DOWNS {
            model.subscribe(at);
        }
        model
    }

    fn step(&mut self) {
        self.now += Duration::from_micros(self.random.below(8_000).into());
        let at = self.random.below(DOWNS as u32) as usize;
        match self.random.below(1_000) {
            0..600 => self.publish(),
            600..660 => self.overtake(at),
            660..940 => self.nack(at),
            940..960 => self.limit(at),
            960..980 => self.aim(),
            980..988 => self.renegotiate(at),
            // The first two last, so that their numbers wrap.
            988..990 if at > 1 => self.subscribe(at),
            990..993 => self.renegotiate_publisher(),
            993..995 => self.now += Duration::from_secs(self.random.below(4).into()),
            _ => self.tracks.iter_mut().for_each(|track| track.up.release_unwatched(self.now)),
        }
    }

    /// A packet of a publisher: the next, one that comes again or late, or after a jump; everybody gets it.
    fn publish(&mut self) {
        let (track, encoding, packet) = self.next_packet();
        let now = self.now;
        let Some(Track { up, encodings, .. }) = self.tracks.get_mut(track) else { return };
        let view = RtpView::parse(&packet).unwrap();
        let Ingest::Accepted { wanted: Some(seq), .. } = up.ingest(now, encoding, &view) else {
            return;
        };
        let taken = &mut encodings[usize::from(encoding)].taken;
        taken.push(seq);
        taken.drain(..taken.len().saturating_sub(KEPT));
        for at in 0..self.downs.len() {
            if self.downs[at].track == track {
                self.forward(at, encoding, seq);
            }
        }
    }

    fn next_packet(&mut self) -> (usize, u8, Vec<u8>) {
        let random = &mut self.random;
        let at = random.below(4).min(1) as usize;
        let track = &mut self.tracks[at];
        let encoding = random.below(track.encodings.len() as u32) as u8;
        let codecs = &track.spec.codecs;
        // Another codec than before begins a video anew.
        let is_other = at == 0 || random.below(500) == 0;
        let codec = codecs[if is_other { random.below(codecs.len() as u32) as usize } else { 0 }];
        let publisher = &mut track.encodings[usize::from(encoding)];
        let seq = match random.below(2_000) {
            // It begins anew.
            0 => random.below(0x1_0000) as u16,
            // Further than that begins anew, too.
            1..5 => publisher.seq.wrapping_add(random.below(20_000) as u16),
            5..100 => publisher.seq.wrapping_add(random.below(1_000) as u16),
            260..340 => publisher.seq.wrapping_add(random.below(5) as u16),
            // Late, and perhaps with another payload than before.
            100..160 => publisher.seq.wrapping_sub(random.below(700) as u16),
            160..260 if !publisher.sent.is_empty() => {
                let again = random.below(publisher.sent.len() as u32) as usize;
                return (at, encoding, publisher.sent[again].1.clone());
            }
            _ => publisher.seq.wrapping_add(1),
        };
        if seq.wrapping_sub(publisher.seq) < 0x8000 {
            publisher.seq = seq;
        }
        publisher.timestamp = publisher.timestamp.wrapping_add(random.below(3_000));
        publisher.picture = publisher.picture.wrapping_add(random.below(2) as u16);
        let packet = publisher.packet(random, &codec, seq);
        publisher.sent.push((seq, packet.clone()));
        publisher.sent.drain(..publisher.sent.len().saturating_sub(KEPT));
        (at, encoding, packet)
    }

    /// A subscription gets a stored packet, perhaps not for the first time, as after a late key frame.
    fn overtake(&mut self, at: usize) {
        let track = &self.tracks[self.downs[at].track];
        let encoding = self.random.below(track.encodings.len() as u32) as u8;
        let taken = &track.encodings[usize::from(encoding)].taken;
        if taken.is_empty() {
            return;
        }
        let seq = taken[self.random.below(taken.len() as u32) as usize];
        self.forward(at, encoding, seq);
    }

    fn forward(&mut self, at: usize, encoding: u8, seq: ExtSeq) {
        let Self { downs, tracks, transport, random, seen, now, .. } = self;
        let down = &mut downs[at];
        let up = &tracks[down.track].up;
        let Some(pkt) = up.packet(encoding, seq) else { return };
        let (mut buf, padding) = ([0; 400], random.below(25) as u8);
        match down.down.forward(*now, &pkt, up.clocks(), &mut buf, |_| padding) {
            Verdict::Forward(written) => {
                seen.forwarded += 1;
                let before = down.newest.replace(down.newest.unwrap_or(0).max(written.index));
                seen.wraps += u64::from(before.is_some_and(|b| b >> 16 < written.index >> 16));
                let sealed = transport.seal(&mut buf, &written, down.down.spec());
                assert!(!sealed.before, "forwarded twice: {written:?}");
                seen.stamped += u64::from(sealed.stamped);
            }
            Verdict::Drop(hearth_media::DropReason::Duplicate) => seen.refused += 1,
            Verdict::Drop(_) => {}
        }
    }

    /// The subscriber asks for a number of late.
    fn nack(&mut self, at: usize) {
        let Self { downs, tracks, transport, random, seen, now, .. } = self;
        let Down { track, down, newest, .. } = &mut downs[at];
        let up = &tracks[*track].up;
        let wire = (newest.unwrap_or(0) as u16).wrapping_sub(random.below(600).min(40) as u16);
        let rtt = Some(Duration::from_millis(random.below(100).into()));
        let Answer::Resend(resend) = down.lookup(*now, wire, rtt, |encoding| up.newest(encoding))
        else {
            return;
        };
        let Some(pkt) = up.packet(resend.encoding, resend.seq) else { return };
        let mut buf = [0; 400];
        if let Some(written) = down.retransmit(&resend, &pkt, &mut buf) {
            let sealed = transport.seal(&mut buf, &written, down.spec());
            seen.repeated += u64::from(sealed.before);
            seen.over_rtx += u64::from(!sealed.before);
            seen.stamped += u64::from(sealed.stamped);
        }
    }

    fn limit(&mut self, at: usize) {
        self.downs[at].limit = LayerLimit {
            enabled: self.random.below(4) > 0,
            spatial: self.random.below(3) as u8,
            temporal: self.random.below(4) as u8,
        };
        self.aim();
    }

    /// Some encodings are alive, which the subscriptions follow.
    fn aim(&mut self) {
        let available = 1 + self.random.below(7) as u8;
        for (n, track) in self.tracks.iter_mut().enumerate() {
            let mut watched = 0;
            for down in self.downs.iter_mut().filter(|down| down.track == n) {
                let available = if track.encodings.len() == 1 { 1 } else { available };
                let target = choose_target(down.limit, available, down.down.current());
                down.down.set_target(target);
                watched |= down.down.watched();
            }
            track.up.set_subscribed_encodings(self.now, watched);
        }
    }

    /// The subscriber's description changes: payload types, extensions, RTX that comes and goes.
    fn renegotiate(&mut self, at: usize) {
        self.seen.renegotiated += 1;
        let down = &mut self.downs[at];
        let spec = down.down.spec().clone();
        let ssrc = spec.ssrc;
        down.down.update(changed(&mut self.random, spec, ssrc));
    }

    /// The publisher's description changes: codecs that come and go.
    fn renegotiate_publisher(&mut self) {
        let track = &mut self.tracks[self.random.below(2) as usize];
        track.spec.codecs.reverse();
        track.spec.extensions = extensions(&mut self.random);
        track.up.update(&track.spec);
    }

    /// A subscription ends and another begins on the transport, as `room` numbers them.
    fn subscribe(&mut self, at: usize) {
        self.made += 1;
        let track = self.random.below(2) as usize;
        let kind = self.tracks[track].spec.kind;
        let spec = DownTrackSpec {
            down: DownId { room: ROOM, n: self.made },
            peer: PeerId { room: ROOM, n: 1 },
            track: TrackId { room: ROOM, n: track as u32 },
            ssrc: 0,
            rtx_ssrc: None,
            codecs: Vec::new(),
            extensions: ExtensionIds::default(),
            cname: String::new(),
        };
        let spec = changed(&mut self.random, spec, self.made * 4);
        let seed = u64::from(self.random.next()) << 32 | u64::from(self.random.next());
        let down = DownTrack::new(self.now, spec, kind, seed);
        let down = Down { track, down, limit: LayerLimit::ALL, newest: None };
        match self.downs.get_mut(at) {
            Some(old) => *old = down,
            None => self.downs.push(down),
        }
        self.seen.resubscribed += 1;
        self.aim();
    }

    fn check(&self) {
        let Seen { forwarded, refused, repeated, over_rtx, .. } = self.seen;
        let Seen { renegotiated, resubscribed, wraps, stamped, .. } = self.seen;
        let counts = [
            (forwarded, 300_000),
            (refused, 10_000),
            (repeated, 1_000),
            (over_rtx, 1_000),
            (renegotiated, 5_000),
            (resubscribed, 1_000),
            (wraps, 50),
            (stamped, 50_000),
        ];
        for (count, least) in counts {
            assert!(count >= least, "the model is tame: {:?}", self.seen);
        }
    }
}

impl Track {
    fn new(kind: MediaKind) -> Self {
        let (codecs, encodings) = match kind {
            MediaKind::Audio => ([(Codec::Opus, 111), (Codec::Red, 63)], 1),
            MediaKind::Video => ([(Codec::Vp8, 96), (Codec::H264, 102)], 3),
        };
        let spec = UpTrackSpec {
            source: Source::Local(PeerId { room: ROOM, n: 9 }),
            kind,
            mid: "0".to_owned(),
            codecs: codecs.map(|(codec, pt)| ReceiveCodec { codec, pt, rtx_pt: None }).into(),
            extensions: ExtensionIds::default(),
            encodings: vec![EncodingSpec::default(); encodings],
            nack: true,
            measure_level: false,
        };
        let encodings = std::iter::repeat_with(Publisher::default).take(encodings).collect();
        Self { up: UpTrack::new(&spec), spec, encodings }
    }
}

impl Publisher {
    fn packet(&self, random: &mut Random, codec: &ReceiveCodec, seq: u16) -> Vec<u8> {
        let mut packet = vec![0; 300];
        let header = RtpHeader {
            marker: random.below(2) == 0,
            payload_type: codec.pt,
            seq,
            timestamp: self.timestamp,
            ssrc: 5,
        };
        let (level, orientation) = ([random.next() as u8], [random.next() as u8 & 3]);
        let some = [(1, level.as_slice()), (2, orientation.as_slice())];
        let extensions = &some[..random.below(3) as usize];
        let header_len = write_header(&mut packet, &header, extensions).unwrap();
        packet.truncate(header_len);
        let is_keyframe = random.below(20) == 0;
        match codec.codec {
            Codec::Vp8 => {
                let [high, low] = (0x8000 | self.picture).to_be_bytes();
                let layer = (random.below(3) as u8) << 6 | 0x20;
                packet.extend([0x90, 0xf0, high, low, random.next() as u8, layer]);
                packet.push(u8::from(!is_keyframe));
            }
            Codec::H264 => packet.push(if is_keyframe { 0x67 } else { 0x41 }),
            // One block of 3 bytes before the primary.
            Codec::Red => packet.extend([0x80 | 111, 0, 0, 3, 111, 1, 2, 3]),
            Codec::Vp9 | Codec::Av1 | Codec::H265 | Codec::Opus | Codec::Pcmu | Codec::Pcma => {}
        }
        packet.extend((0..random.below(80)).map(|_| random.next() as u8));
        packet
    }
}

impl Transport {
    /// Stamps a packet with the next transport-wide number if it has a place for it, and seals it.
    fn seal(&mut self, buf: &mut [u8], written: &Written, spec: &DownTrackSpec) -> Sealed {
        self.seq = self.seq.wrapping_add(1);
        let stamped = written.stamp_transport_seq(buf, self.seq);
        let Written { header_len, len, index, .. } = *written;
        let view = RtpView::parse(&buf[..len]).unwrap();
        assert_eq!(view.seq, index as u16);
        let found = spec.extensions.transport_cc.and_then(|id| view.extensions().find(id));
        assert_eq!(found, stamped.then_some(self.seq.to_be_bytes().as_slice()));
        let key = (view.ssrc, index);
        let mut digest = DefaultHasher::new();
        digest.write(&buf[..len]);
        let digest = digest.finish();
        self.sealer.seal_rtp(buf, header_len, len, index).unwrap();
        match self.sealed.insert(key, digest) {
            Some(before) if before != digest => panic!("{key:?} seals two packets"),
            before => Sealed { before: before.is_some(), stamped },
        }
    }
}

/// What came of sealing a packet.
struct Sealed {
    /// Its index had sealed the same one before.
    before: bool,
    stamped: bool,
}

/// Another description of the same subscription.
fn changed(random: &mut Random, spec: DownTrackSpec, ssrc: u32) -> DownTrackSpec {
    let has_rtx = random.below(2) == 0;
    let codecs = [Codec::Opus, Codec::Red, Codec::Vp8, Codec::H264];
    let codecs = codecs.into_iter().zip([100, 102, 104, 106]).map(|(codec, pt)| {
        let pt = pt + 8 * (random.below(2) as u8);
        let rtx_pt = (has_rtx && random.below(4) > 0).then_some(pt + 1);
        SendCodec { codec, pt, rtx_pt }
    });
    let codecs = codecs.collect();
    let rtx_ssrc = has_rtx.then_some(ssrc + 2);
    DownTrackSpec { ssrc, rtx_ssrc, codecs, extensions: extensions(random), ..spec }
}

fn extensions(random: &mut Random) -> ExtensionIds {
    let mut id = |id| (random.below(2) == 0).then_some(id);
    ExtensionIds {
        audio_level: id(1),
        // More than 14 does not fit the one-byte form.
        video_orientation: id(2).or_else(|| id(15)),
        transport_cc: id(3),
        ..ExtensionIds::default()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(bound)) >> 32) as u32
    }
}
