//! Tracks that we publish: the send times of frames.
//!
//! * **Owns:** the place in the clip, picture numbers, packets that wait for their time.
//! * **In:** time; keyframe requests, NACKs, and the encodings that are subscribed to (dynacast).
//! * **Out:** packets, through [`Track::transmit`].
//! * **Invariant:** frames come at their rate whatever happens; the packets of a frame are spread
//!   over it as libwebrtc's pacer spreads them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_random::Rng;
use hearth_rtp::rtcp::SenderInfo;

use crate::description::{Published, RIDS};
use crate::media::{AudioClip, Picture, VideoClip, opus, stamp, video};
use crate::outbound::{Outbound, Unsent, Wire};

/// libwebrtc sends a frame's packets at 2.5 times the bitrate.
const PACING: f64 = 2.5;
/// libwebrtc's burst interval: what 40 ms of that rate can carry leaves at once, so that only key
/// frames and the like are spread.
const BURST: Duration = Duration::from_millis(40);
/// Length of an Opus packet.
const AUDIO_FRAME: Duration = Duration::from_millis(20);
/// Loudness that is stated, −dBov.
const LOUDNESS: u8 = 20;

/// A published track.
pub(crate) struct Track {
    cid: String,
    /// Frames carry the time they are sent at, counted from here.
    stamps_from: Option<Instant>,
    clock_rate: u32,
    first_timestamp: u32,
    began: Option<Instant>,
    next_frame: u64,
    source: Source,
}

enum Source {
    Video(Vec<Encoding>),
    Audio { clip: Arc<AudioClip>, out: Box<Outbound> },
}

/// One encoding of a video.
struct Encoding {
    clip: VideoClip,
    out: Outbound,
    enabled: bool,
    /// The next frame of the clip.
    cursor: usize,
    picture: Picture,
    waiting: VecDeque<Unsent>,
    next_send: Instant,
}

impl Track {
    /// A video in the given encodings, lowest first.
    pub(crate) fn video(
        now: Instant,
        published: &Published,
        clips: Vec<VideoClip>,
        stamps_from: Option<Instant>,
        rng: &mut Rng,
    ) -> Self {
        let simulcast = clips.len() > 1;
        let encodings =
            clips.into_iter().zip(&published.ssrcs).zip(RIDS).map(|((clip, ssrcs), rid)| {
                Encoding {
                    clip,
                    out: Outbound::new(*ssrcs, simulcast.then_some(rid), None, rng),
                    enabled: true,
                    cursor: 0,
                    picture: Picture { id: rng.next_u64() as u16 & 0x7fff, ..Picture::default() },
                    waiting: VecDeque::new(),
                    next_send: now,
                }
            });
        let source = Source::Video(encodings.collect());
        Self::new(published, stamps_from, source, rng)
    }

    /// A tone.
    pub(crate) fn audio(
        published: &Published,
        clip: Arc<AudioClip>,
        stamps_from: Option<Instant>,
        rng: &mut Rng,
    ) -> Self {
        let ssrcs = published.ssrcs.first().copied().unwrap_or_default();
        let out = Box::new(Outbound::new(ssrcs, None, Some(LOUDNESS), rng));
        Self::new(published, stamps_from, Source::Audio { clip, out }, rng)
    }

    fn new(
        published: &Published,
        stamps_from: Option<Instant>,
        source: Source,
        rng: &mut Rng,
    ) -> Self {
        Self {
            cid: published.cid.clone(),
            stamps_from,
            clock_rate: published.codec.clock_rate(),
            first_timestamp: rng.next_u64() as u32,
            began: None,
            next_frame: 0,
            source,
        }
    }

    /// Our name for it.
    pub(crate) fn cid(&self) -> &str {
        &self.cid
    }

    /// Sends only these encodings, bit 0 the lowest.
    pub(crate) fn set_encodings(&mut self, wanted: u8) {
        let Source::Video(encodings) = &mut self.source else { return };
        for (n, encoding) in encodings.iter_mut().enumerate() {
            let enabled = wanted & (1 << n) != 0;
            if enabled && !encoding.enabled {
                encoding.cursor = 0;
            }
            encoding.enabled = enabled;
        }
    }

    /// The next frame of the stream starts anew.
    pub(crate) fn request_keyframe(&mut self, ssrc: u32) {
        let Source::Video(encodings) = &mut self.source else { return };
        for encoding in encodings.iter_mut().filter(|encoding| encoding.out.ssrc() == ssrc) {
            encoding.cursor = 0;
        }
    }

    /// Whether the stream is one of its, which then sends packet `seq` again.
    pub(crate) fn resend(&mut self, wire: &mut Wire<'_>, ssrc: u32, seq: u16) -> bool {
        let out = match &mut self.source {
            Source::Video(encodings) => encodings
                .iter_mut()
                .map(|encoding| &mut encoding.out)
                .find(|out| out.ssrc() == ssrc),
            Source::Audio { out, .. } => Some(&mut **out).filter(|out| out.ssrc() == ssrc),
        };
        let Some(out) = out else { return false };
        out.resend(wire, seq);
        true
    }

    /// Sends what is due; false if the slab is full before that.
    pub(crate) fn transmit(&mut self, now: Instant, wire: &mut Wire<'_>) -> bool {
        self.encode(now);
        match &mut self.source {
            Source::Video(encodings) => {
                encodings.iter_mut().all(|encoding| encoding.transmit(now, wire))
            }
            Source::Audio { clip, out } => {
                // One packet at a time; late ones are sent by the next call.
                let Some(began) = self.began else { return true };
                let due = (now - began).as_nanos() / AUDIO_FRAME.as_nanos();
                while u128::from(self.next_frame) <= due && !clip.packets.is_empty() {
                    let at = self.next_frame as usize % clip.packets.len();
                    let stamp = self.stamps_from.map(|from| micros_since(from, now));
                    let payload = clip.packets.get(at).map(|packet| opus(packet, stamp));
                    let timestamp =
                        self.first_timestamp.wrapping_add((self.next_frame * 960) as u32);
                    let unsent =
                        Unsent { payload: payload.unwrap_or_default(), marker: false, timestamp };
                    if !out.send(wire, unsent) {
                        return false;
                    }
                    self.next_frame += 1;
                }
                true
            }
        }
    }

    /// When there is something to send next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let began = self.began?;
        let frame = began + self.interval() * u32::try_from(self.next_frame).ok()?;
        let waiting = match &self.source {
            Source::Video(encodings) => encodings
                .iter()
                .filter(|encoding| !encoding.waiting.is_empty())
                .map(|encoding| encoding.next_send)
                .min(),
            Source::Audio { .. } => None,
        };
        waiting.into_iter().chain([frame]).min()
    }

    /// Media begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// Sender reports of its streams; `ntp` is the time now.
    pub(crate) fn reports(&self, now: Instant, ntp: u64) -> Vec<SenderInfo> {
        let Some(began) = self.began else { return Vec::new() };
        let rtp_time = self.timestamp(now - began);
        match &self.source {
            Source::Video(encodings) => {
                let active = encodings.iter().filter(|encoding| encoding.enabled);
                active.filter_map(|encoding| encoding.out.report(ntp, rtp_time)).collect()
            }
            Source::Audio { out, .. } => out.report(ntp, rtp_time).into_iter().collect(),
        }
    }

    fn interval(&self) -> Duration {
        match self.source {
            Source::Video(_) => Duration::from_secs(1) / VideoClip::RATE,
            Source::Audio { .. } => AUDIO_FRAME,
        }
    }

    fn timestamp(&self, elapsed: Duration) -> u32 {
        let ticks = elapsed.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        self.first_timestamp.wrapping_add(ticks as u32)
    }

    /// Cuts the video frames that are due into packets.
    fn encode(&mut self, now: Instant) {
        let (Some(began), interval) = (self.began, self.interval()) else { return };
        let due = u64::try_from((now - began).as_nanos() / interval.as_nanos()).unwrap_or(0);
        if self.next_frame > due {
            return;
        }
        let timestamp = self.timestamp(interval * due as u32);
        let Source::Video(encodings) = &mut self.source else { return };
        // After a stall the frames in between are lost, as a camera's are.
        self.next_frame = due + 1;
        for encoding in encodings.iter_mut().filter(|encoding| encoding.enabled) {
            let stamp = self.stamps_from.map(|from| micros_since(from, now));
            encoding.encode(timestamp, stamp);
        }
    }
}

impl Encoding {
    fn encode(&mut self, timestamp: u32, stamp: Option<[u8; stamp::LEN]>) {
        let Some(frame) = self.clip.frames.get(self.cursor) else { return };
        let key = self.cursor == 0;
        self.cursor = (self.cursor + 1) % self.clip.frames.len();
        self.picture.id = (self.picture.id + 1) & 0x7fff;
        self.picture.tl0 = self.picture.tl0.wrapping_add(1);
        self.picture.key = (self.picture.key + u8::from(key)) & 0x1f;
        let waiting = &mut self.waiting;
        video(self.clip.codec, frame, self.picture, stamp, |payload, marker| {
            waiting.push_back(Unsent { payload: payload.to_vec(), marker, timestamp });
        });
    }

    fn transmit(&mut self, now: Instant, wire: &mut Wire<'_>) -> bool {
        let rate = f64::from(self.clip.bitrate()) * PACING;
        self.next_send = self.next_send.max(now.checked_sub(BURST).unwrap_or(now));
        while self.next_send <= now {
            let Some(unsent) = self.waiting.pop_front() else { break };
            if wire.slab.is_full() {
                self.waiting.push_front(unsent);
                return false;
            }
            let bits = unsent.payload.len() as f64 * 8.0;
            self.out.send(wire, unsent);
            self.next_send += Duration::from_secs_f64(bits / rate.max(1.0));
        }
        true
    }
}

fn micros_since(from: Instant, now: Instant) -> [u8; stamp::LEN] {
    let micros = now.saturating_duration_since(from).as_micros();
    stamp::write(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The encodings to publish of a codec: all, or only the one of that height.
pub(crate) fn clips(codec: Codec, height: u32, simulcast: bool) -> Vec<VideoClip> {
    let mut clips = VideoClip::all(codec);
    clips.retain(|clip| if simulcast { clip.height <= height } else { clip.height == height });
    clips
}
