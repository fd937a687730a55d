//! A subscriber of one VP8 track and one Opus track, with freezes and NACKs as in libwebrtc.
//!
//! * **Owns:** the packets of incomplete frames (jitter buffer), missing packets, decoded frames.
//! * **In:** [`Viewer::handle`] (a datagram of the server), [`Viewer::run`] (time).
//! * **Out:** NACK, PLI and reports in [`Viewer::client`]; [`Viewer::report`].
//! * **Invariant:** a frame is decoded if it is complete, and is a keyframe or follows the last
//!   decoded one of its encoding, as a VP8 decoder needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hearth_codec::{Codec, inspect};
use hearth_rtp::rtcp::{DlrrReport, Packet, Packets, ReportBlock, Writer, XrBlock, XrBlocks};
use hearth_rtp::{ExtensionIds, RtpView};
use hearth_units::{SeqUnwrapper, ntp_mid32};

use crate::client::{Client, Received};

const TICK: Duration = Duration::from_millis(10);
const REPORT: Duration = Duration::from_secs(1);
/// Without a frame for this long, it asks for a keyframe: before the first one, and later. What follows
/// are libwebrtc's times.
const STUCK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(3_000));
/// From one NACK for a packet to the next; libwebrtc assumes this round trip where it sends nothing.
const RETRY: Duration = Duration::from_millis(100);
const MAX_TRIES: u8 = 10;
const FREEZE: Duration = Duration::from_millis(183);
/// Packets kept for frames that are not complete.
const MAX_BUFFERED: usize = 2_000;
/// The payload type of its audio.
const OPUS: u8 = 111;
/// The id of the playout delay extension.
const PLAYOUT_DELAY: u8 = 10;

/// The subscriber's experience (frames, freezes), and the packets behind it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ViewerReport {
    /// Frames decoded, by encoding.
    pub frames: [u64; 3],
    /// Keyframes among them.
    pub keyframes: u64,
    /// Complete frames that refer to something it does not have.
    pub undecodable: u64,
    /// Packets of the video stream, without retransmissions.
    pub packets: u64,
    /// Packets whose number was not the one after the newest.
    pub jumps: u64,
    /// Frames whose VP8 picture id was not the one after that of the last.
    pub picture_jumps: u64,
    /// Frames whose RTP timestamp was not after that of the last.
    pub time_backwards: u64,
    /// Two packets with one number and different contents.
    pub contradictions: u64,
    /// Retransmissions that filled a hole.
    pub repaired: u64,
    /// What it heard.
    pub audio: AudioReport,
    /// What it asked for, and was told.
    pub feedback: FeedbackReport,
    /// Times without a new frame of more than 150 ms beyond the usual 33, as Chromium counts freezes, without its
    /// jitter buffer.
    pub freezes: u64,
    /// The longest time without a new frame since the first, or since the last reset.
    pub longest_freeze: Duration,
    /// The encoding of the last frame.
    pub current: Option<u8>,
    /// The least time that it was last asked to hold the picture back for; it does not.
    pub playout_delay: Option<Duration>,
}

/// What arrived of the audio.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AudioReport {
    /// Packets of the stream.
    pub packets: u64,
    /// Packets whose number was not the one after the newest.
    pub jumps: u64,
}

/// RTCP of either direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FeedbackReport {
    /// Numbers it asked for.
    pub nacks: u64,
    /// Key frames it asked for.
    pub plis: u64,
    /// Sender reports of either stream that arrived.
    pub sender_reports: u64,
    /// Answers to its last reference time.
    pub round_trips: u64,
}

/// See the module documentation.
pub struct Viewer {
    /// Its transport.
    pub client: Client,
    ssrcs: Ssrcs,
    report: ViewerReport,
    video: Numbers,
    audio: Numbers,
    buffer: BTreeMap<u64, Part>,
    /// Numbers of packets without a payload.
    empty: BTreeSet<u64>,
    /// Number after the last decoded frame.
    next: Option<u64>,
    last: Option<Frame>,
    missing: BTreeMap<u64, (u8, Instant)>,
    clocks: Option<Clocks>,
    reporting: Reporting,
}

/// The sequence numbers of a stream.
#[derive(Default)]
struct Numbers {
    unwrapper: SeqUnwrapper,
    newest: Option<u64>,
}

impl Numbers {
    fn unwrap(&mut self, wire: u16) -> u64 {
        self.unwrapper.unwrap(wire).get()
    }
}

/// What its next receiver report needs.
struct Reporting {
    /// Last sender report: middle of its NTP time, arrival.
    last_sr: Option<(u32, Instant)>,
    /// Newest number and packets of the video at the report before.
    reported: (u64, u64),
    /// NTP format; an arbitrary time.
    reference_time: u64,
}

#[derive(Clone, Copy)]
struct Ssrcs {
    video: u32,
    rtx: u32,
    audio: u32,
}

struct Clocks {
    next_tick: Instant,
    next_report: Instant,
    /// When the last frame was decoded, or the waiting began.
    fresh: Instant,
    last_pli: Option<Instant>,
}

#[derive(Clone, Eq, PartialEq)]
struct Part {
    starts: bool,
    key: bool,
    marker: bool,
    timestamp: u32,
    picture_id: u16,
    encoding: u8,
    frame: u32,
    part: u8,
    parts: u8,
}

#[derive(Clone, Copy)]
struct Frame {
    encoding: u8,
    frame: u32,
    picture_id: u16,
    timestamp: u32,
}

impl Viewer {
    /// Watches the streams with these SSRCs.
    pub fn new(client: Client, video: u32, rtx: u32, audio: u32) -> Self {
        Self {
            client,
            ssrcs: Ssrcs { video, rtx, audio },
            report: ViewerReport::default(),
            video: Numbers::default(),
            audio: Numbers::default(),
            buffer: BTreeMap::new(),
            empty: BTreeSet::new(),
            next: None,
            last: None,
            missing: BTreeMap::new(),
            clocks: None,
            reporting: Reporting { last_sr: None, reported: (0, 0), reference_time: 77 << 32 },
        }
    }

    /// The header extensions it takes.
    pub fn extensions() -> ExtensionIds {
        ExtensionIds {
            audio_level: Some(9),
            playout_delay: Some(PLAYOUT_DELAY),
            ..ExtensionIds::default()
        }
    }

    /// A datagram of the server.
    pub fn handle(&mut self, now: Instant, buf: &mut [u8]) {
        match self.client.handle(now, buf) {
            Received::Rtp(packet) => self.handle_rtp(now, &packet),
            Received::Rtcp(compound) => {
                for packet in Packets::new(&compound) {
                    if let Packet::SenderReport { ssrc, ntp, .. } = packet {
                        self.report.feedback.sender_reports += 1;
                        if ssrc == self.ssrcs.video {
                            self.reporting.last_sr = Some((ntp_mid32(ntp), now));
                        }
                    } else if let Packet::Xr { blocks, .. } = packet {
                        self.handle_xr(blocks);
                    }
                }
            }
            Received::Nothing => {}
        }
    }

    /// Sends NACKs, keyframe requests and reports that are due.
    pub fn run(&mut self, now: Instant) {
        self.client.run(now);
        if !self.client.is_connected() {
            return;
        }
        let mut clocks = self.clocks.take().unwrap_or(Clocks {
            next_tick: now,
            next_report: now,
            fresh: now,
            last_pli: None,
        });
        if clocks.next_tick <= now {
            clocks.next_tick = now + TICK;
            self.send_nacks(now);
            let stuck_after = if self.last.is_some() { STUCK.1 } else { STUCK.0 };
            let requested = clocks.last_pli.is_some_and(|at| now - at < stuck_after);
            if now - clocks.fresh >= stuck_after && !requested {
                clocks.last_pli = Some(now);
                self.report.feedback.plis += 1;
                let video = self.ssrcs.video;
                self.send_rtcp(|writer| writer.pli(1, video));
            }
        }
        if clocks.next_report <= now {
            clocks.next_report = now + REPORT;
            self.send_report(now);
        }
        self.clocks = Some(clocks);
    }

    /// When to call [`run`](Self::run) next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let media = self.clocks.as_ref().map(|c| c.next_tick.min(c.next_report));
        self.client.poll_timeout().into_iter().chain(media).min()
    }

    /// The experience until `now`.
    pub fn report(&self, now: Instant) -> ViewerReport {
        let mut report = self.report.clone();
        if let Some(clocks) = self.clocks.as_ref().filter(|_| self.last.is_some()) {
            report.longest_freeze = report.longest_freeze.max(now - clocks.fresh);
        }
        report
    }

    /// Forgets the freezes so far.
    pub fn reset_freeze(&mut self, now: Instant) {
        self.report.longest_freeze = Duration::ZERO;
        if let Some(clocks) = &mut self.clocks {
            clocks.fresh = now;
        }
    }

    fn handle_xr(&mut self, blocks: XrBlocks<'_>) {
        let last_rr = ntp_mid32(self.reporting.reference_time - (1 << 32));
        for block in blocks {
            if let XrBlock::Dlrr(mut reports) = block {
                let expected = DlrrReport { ssrc: 1, last_rr, delay: 0 };
                self.report.feedback.round_trips +=
                    u64::from(reports.any(|report| report == expected));
            }
        }
    }

    fn handle_rtp(&mut self, now: Instant, packet: &[u8]) {
        let view = RtpView::parse(packet).unwrap();
        if view.ssrc == self.ssrcs.audio {
            assert_eq!(view.payload_type, OPUS);
            let seq = self.audio.unwrap(view.seq);
            self.report.audio.packets += 1;
            let jumped = self.audio.newest.is_some_and(|newest| seq != newest + 1);
            self.report.audio.jumps += u64::from(jumped);
            self.audio.newest = self.audio.newest.max(Some(seq));
            return;
        }
        if view.ssrc == self.ssrcs.rtx {
            let (original, payload) = hearth_rtp::original_seq(view.payload).unwrap();
            let seq = self.video.unwrap(original);
            self.report.repaired += u64::from(self.missing.remove(&seq).is_some());
            self.take(now, seq, &view, payload);
            return;
        }
        assert_eq!(view.ssrc, self.ssrcs.video, "an SSRC that was not declared");
        let seq = self.video.unwrap(view.seq);
        self.report.packets += 1;
        self.missing.remove(&seq);
        if let Some(newest) = self.video.newest {
            self.report.jumps += u64::from(seq != newest + 1);
            for lost in (newest + 1..seq).rev().take(200) {
                self.missing.insert(lost, (0, now));
            }
        }
        self.video.newest = self.video.newest.max(Some(seq));
        if let Some(&[a, b, _]) = view.extensions().find(PLAYOUT_DELAY) {
            let units = u64::from(a) << 4 | u64::from(b) >> 4;
            self.report.playout_delay = Some(Duration::from_millis(10 * units));
        }
        self.take(now, seq, &view, view.payload);
    }

    fn take(&mut self, now: Instant, seq: u64, view: &RtpView<'_>, payload: &[u8]) {
        if payload.is_empty() {
            self.empty.insert(seq);
            while self.decode_one(now) {}
            return;
        }
        let info = inspect(Codec::Vp8, payload);
        let descriptor = info.vp8.unwrap();
        let at = usize::from(descriptor.header_len) + 10;
        let part = Part {
            starts: info.starts_frame,
            key: info.keyframe,
            marker: view.marker,
            timestamp: view.timestamp,
            picture_id: descriptor.picture_id.unwrap().0,
            encoding: payload[at],
            frame: u32::from_be_bytes(*payload[at + 1..].first_chunk().unwrap()),
            part: payload[at + 5],
            parts: payload[at + 6],
        };
        if self.next.is_some_and(|next| seq < next) {
            return;
        }
        if self.buffer.get(&seq).is_some_and(|old| *old != part) {
            self.report.contradictions += 1;
        }
        self.buffer.insert(seq, part);
        if self.buffer.len() > MAX_BUFFERED {
            self.buffer.pop_first();
        }
        while self.decode_one(now) {}
    }

    /// Decodes the next frame, or the next keyframe if there is a complete one.
    fn decode_one(&mut self, now: Instant) -> bool {
        while let Some(next) = self.next.filter(|next| self.empty.remove(next)) {
            self.next = Some(next + 1);
        }
        let next = self.next.filter(|next| self.complete(*next).is_some());
        let candidate = next.or_else(|| {
            let starts = self.buffer.iter().filter(|(_, part)| part.starts && part.key);
            starts.map(|(seq, _)| *seq).find(|seq| self.complete(*seq).is_some())
        });
        let Some((start, end)) = candidate.and_then(|start| Some((start, self.complete(start)?)))
        else {
            return false;
        };
        let part = self.buffer[&start].clone();
        let frame = Frame {
            encoding: part.encoding,
            frame: part.frame,
            picture_id: part.picture_id,
            timestamp: part.timestamp,
        };
        let follows = self
            .last
            .is_some_and(|last| (last.encoding, last.frame + 1) == (frame.encoding, frame.frame));
        self.buffer = self.buffer.split_off(&(end + 1));
        self.missing = self.missing.split_off(&(end + 1));
        self.next = Some(end + 1);
        if !part.key && !follows {
            self.report.undecodable += 1;
            return true;
        }
        self.decoded(now, frame, part.key);
        true
    }

    fn decoded(&mut self, now: Instant, frame: Frame, key: bool) {
        if let Some(last) = self.last {
            let next = last.picture_id.wrapping_add(1) & 0x7fff;
            self.report.picture_jumps += u64::from(frame.picture_id != next);
            let ahead = frame.timestamp.wrapping_sub(last.timestamp).cast_signed();
            self.report.time_backwards += u64::from(ahead <= 0);
        }
        let clocks = self.clocks.get_or_insert(Clocks {
            next_tick: now,
            next_report: now,
            fresh: now,
            last_pli: None,
        });
        if self.last.is_some() {
            self.report.longest_freeze = self.report.longest_freeze.max(now - clocks.fresh);
            self.report.freezes += u64::from(now - clocks.fresh > FREEZE);
        }
        clocks.fresh = now;
        self.last = Some(frame);
        self.report.frames[usize::from(frame.encoding)] += 1;
        self.report.keyframes += u64::from(key);
        self.report.current = Some(frame.encoding);
    }

    /// The last number of the frame that starts at `start`, if all of it is there.
    fn complete(&self, start: u64) -> Option<u64> {
        let first = self.buffer.get(&start).filter(|part| part.starts)?;
        let mut seq = start;
        loop {
            let part = self.buffer.get(&seq)?;
            if seq > start && part.starts && part.key {
                // The end had not arrived when another encoding took over, and never will.
                return None;
            }
            let belongs = (part.timestamp, part.picture_id, part.encoding, part.frame)
                == (first.timestamp, first.picture_id, first.encoding, first.frame)
                && u64::from(part.part) == seq - start;
            assert!(belongs, "packet {seq} does not belong to the frame from {start}");
            if part.marker {
                assert_eq!(part.part + 1, part.parts, "the frame from {start} is too short");
                return Some(seq);
            }
            seq += 1;
        }
    }

    fn send_nacks(&mut self, now: Instant) {
        let mut requested = Vec::new();
        self.missing.retain(|seq, (tries, at)| {
            if *at <= now && requested.len() < 100 {
                requested.push(*seq as u16);
                (*tries, *at) = (*tries + 1, now + RETRY);
            }
            *tries < MAX_TRIES
        });
        if !requested.is_empty() {
            self.report.feedback.nacks += requested.len() as u64;
            let video = self.ssrcs.video;
            self.send_rtcp(|writer| writer.nack(1, video, &requested));
        }
    }

    fn send_report(&mut self, now: Instant) {
        let (last_sr, since) =
            self.reporting.last_sr.map_or((0, Duration::ZERO), |(sr, at)| (sr, now - at));
        let (newest, packets) = (self.video.newest.unwrap_or_default(), self.report.packets);
        let expected = newest - self.reporting.reported.0;
        let lost = expected.saturating_sub(packets - self.reporting.reported.1);
        let is_first = self.reporting.reported.0 == 0;
        self.reporting.reported = (newest, packets);
        let block = ReportBlock {
            ssrc: self.ssrcs.video,
            fraction_lost: if is_first { 0 } else { (lost * 255 / expected.max(1)) as u8 },
            cumulative_lost: 0,
            highest_seq: self.video.newest.unwrap_or_default() as u32,
            jitter: 0,
            last_sr,
            delay_since_last_sr: (since.as_secs_f64() * 65_536.0) as u32,
        };
        let time = self.reporting.reference_time;
        self.reporting.reference_time += 1 << 32;
        self.send_rtcp(|writer| {
            writer.receiver_report(1, &[block])?;
            writer.xr_reference_time(1, time)
        });
    }

    fn send_rtcp(&mut self, build: impl FnOnce(&mut Writer<'_>) -> Option<usize>) {
        let mut buf = [0; 1_200];
        let mut writer = Writer::new(&mut buf);
        build(&mut writer).unwrap();
        let len = writer.len();
        self.client.send_rtcp(&buf[..len]);
    }
}
