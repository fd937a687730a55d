//! One subscriber's copy of one track: which packets it gets, and under which numbers.
//!
//! * **Owns:** all renumbering, and what may be retransmitted; [`LayerSelector`] says of which encoding, and
//!   [`PacketWriter`] writes the bytes. One shard thread owns it.
//! * **In:** [`set_target`](DownTrack::set_target) (which layers), [`forward`](DownTrack::forward) (one packet of
//!   the track).
//! * **Out:** a [`Verdict`] per packet, and the bytes of those forwarded, not yet sealed.
//! * **Invariant:** after a pause or a switch, the first video packet sent starts a key frame. A number is given
//!   only to what is sent: where a packet cannot be, an empty one is, and nobody asks for it for ever.
//! * **livekit-server:** `DownTrack.WriteRTP` and `Forwarder.GetTranslationParams`.

use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_plane::DownTrackSpec;
use hearth_units::{ExtSeq, MediaKind, ntp_ticks};

use crate::history::{History, Recall, Record};
use crate::layer_selector::LayerSelector;
use crate::layer_target::Target;
use crate::link_quality::LinkQuality;
use crate::packet_writer::{PacketWriter, pad_unsealed};
use crate::playout_delay::PlayoutDelay;
use crate::retransmission_budget::RetransmissionBudget;
use crate::ring::UpPacket;
use crate::sequence_rewriter::SequenceRewriter;
use crate::timestamp_rewriter::{SourceClock, TimestampRewriter, ticks};
use crate::verdict::DropReason::{
    AwaitKeyframe, Duplicate, Empty, OtherCodec, OtherEncoding, Paused, TemporalLayer, TooBig,
    TooOld,
};
use crate::verdict::{Verdict, Written};
use crate::vp8_rewriter::{Vp8PictureIds, Vp8Rewriter};

/// Send state of one subscription.
///
/// A room with ten voices and a hundred listeners has a thousand of these, each of which forwards one
/// packet in 20 ms and has left the cache by then.
#[derive(Debug)]
#[repr(C)] // What every packet reads and writes comes first, in as few cache lines as it takes.
pub struct DownTrack {
    writer: PacketWriter,
    selector: LayerSelector,
    /// [`PacketMeta::beginning`](crate::PacketMeta::beginning) of the current encoding.
    beginning: u8,
    counts: SenderCounts,
    /// The wire number of the first packet; below 2^15 so that the rollover counter starts at 0.
    first_seq: u64,
    timestamps: TimestampRewriter,
    history: History,
    rewriter: SequenceRewriter,
    vp8: Vp8Rewriter,
    /// Where the last key frame sent begins, 0 if none was.
    keyframe: u64,
    next_rtx: u64,
    budget: RetransmissionBudget,
    playout_delay: PlayoutDelay,
    /// What `writer` is from.
    spec: DownTrackSpec,
}

/// What a sender report says was sent (RFC 3550 §6.4.1), without retransmissions. Wraps.
#[derive(Clone, Copy, Debug, Default)]
struct SenderCounts {
    packets: u32,
    /// Of payload.
    octets: u32,
}

impl SenderCounts {
    const fn add(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
    }
}

impl DownTrack {
    /// Starts with nothing sent and nothing to send; `seed` gives the first sequence numbers.
    pub fn new(now: Instant, spec: DownTrackSpec, kind: MediaKind, seed: u64) -> Self {
        Self {
            writer: PacketWriter::new(&spec),
            selector: LayerSelector::new(kind),
            beginning: 0,
            counts: SenderCounts::default(),
            first_seq: 1 + (seed & 0x7ffe),
            timestamps: TimestampRewriter::default(),
            history: History::new(now, kind),
            rewriter: SequenceRewriter::default(),
            vp8: Vp8Rewriter::default(),
            keyframe: 0,
            budget: RetransmissionBudget::new(now),
            playout_delay: PlayoutDelay::default(),
            next_rtx: 1 + ((seed >> 16) & 0x7ffe),
            spec,
        }
    }

    /// What it was made from.
    pub fn spec(&self) -> &DownTrackSpec {
        &self.spec
    }

    /// Takes over what a renegotiation changed; numbers go on.
    ///
    /// What was sent under other payload types or extensions is not retransmitted: one SRTP index
    /// must not seal two different packets.
    pub fn update(&mut self, spec: DownTrackSpec) {
        let same = (self.spec.ssrc, self.spec.extensions) == (spec.ssrc, spec.extensions)
            && self.spec.codecs == spec.codecs
            && self.spec.rtx_ssrc == spec.rtx_ssrc;
        if !same {
            self.history.clear();
        }
        self.writer = PacketWriter::new(&spec);
        self.writer.set_playout_delay(self.playout_delay.extension());
        self.spec = spec;
    }

    /// The subscriber of a video has reported: asks it to hold back the picture for as long as repairs over the link
    /// to it, and over that of the publisher, take.
    pub fn update_playout_delay(
        &mut self,
        now: Instant,
        uplink: LinkQuality,
        downlink: LinkQuality,
    ) {
        self.playout_delay.update(now, [uplink, downlink]);
        self.writer.set_playout_delay(self.playout_delay.extension());
    }

    /// Which layers to send from now on: `None` is nothing, and takes effect at once. Returns the encoding that a key
    /// frame is needed of.
    pub fn set_target(&mut self, target: Option<Target>) -> Option<u8> {
        self.selector.set_target(target);
        self.selector.awaited_keyframe()
    }

    /// The encoding that it cannot continue without a key frame of, or without one cannot change to.
    pub fn awaited_keyframe(&self) -> Option<u8> {
        self.selector.awaited_keyframe()
    }

    /// The encoding being sent.
    pub fn current(&self) -> Option<u8> {
        self.selector.current()
    }

    /// The encoding being sent, and which of its beginnings: another one than before was switched to.
    pub fn source(&self) -> (Option<u8>, u8) {
        (self.selector.current(), self.beginning)
    }

    /// Whether the subscriber can get packets of a codec.
    pub fn decodes(&mut self, codec: Codec) -> bool {
        self.writer.codec(&self.spec.codecs, codec).is_some()
    }

    /// The encodings whose packets it may get, now or from a key frame on: bit i for encoding i.
    pub fn watched(&self) -> u8 {
        self.selector.watched()
    }

    /// Nothing is to be sent.
    pub fn is_idle(&self) -> bool {
        self.selector.target().is_none()
    }

    /// Reads what [`forward`](Self::forward) will need, so that the memory brings it.
    pub fn prefetch(&self) -> (u32, u64, u64, bool) {
        (self.writer.prefetch(), self.first_seq, self.rewriter.next(), self.history.prefetch())
    }

    /// Decides whether this subscriber gets `pkt`, and writes it to `buf` if so. `padding` says how many
    /// bytes to add to a packet of a length.
    ///
    /// **Cost:** O(1), one copy of the payload; no allocation, lock or clock.
    pub fn forward(
        &mut self,
        now: Instant,
        pkt: &UpPacket<'_>,
        clocks: &[Option<SourceClock>; 3],
        buf: &mut [u8],
        padding: impl FnOnce(usize) -> u8,
    ) -> Verdict {
        let meta = &pkt.meta;
        let Some(target) = self.selector.target() else {
            return Verdict::Drop(Paused);
        };
        let is_current = self.selector.current() == Some(meta.encoding);
        let follows = is_current && self.beginning == meta.beginning;
        if pkt.payload.is_empty() {
            return if follows { self.pass_over(now, pkt, buf) } else { Verdict::Drop(Empty) };
        }
        let converted = self.writer.convert(&self.spec.codecs, meta.codec, pkt.payload);
        let Some((codec, payload)) = converted else {
            return Verdict::Drop(OtherCodec);
        };
        if !follows {
            let is_later = meta.beginning.wrapping_sub(self.beginning).cast_signed() > 0;
            let accepted = if is_current { is_later } else { self.selector.accepts(meta.encoding) };
            if !accepted {
                return Verdict::Drop(OtherEncoding);
            }
            if !meta.info.keyframe || meta.info.temporal > target.temporal {
                return Verdict::Drop(AwaitKeyframe);
            }
            self.switch_to(now, pkt, clocks);
        }
        // A late one whose number was passed over is sent whatever its layer: the subscriber asks for it.
        if meta.info.temporal > target.temporal && self.rewriter.skip(meta.seq) {
            if let Some((input, modulus)) = vp8_numbers(pkt) {
                self.vp8.skip(input.picture_id, modulus);
            }
            return Verdict::Drop(TemporalLayer);
        }
        let is_next = !follows || self.rewriter.is_next(meta.seq);
        let Some(out) = self.rewriter.map(meta.seq) else {
            return Verdict::Drop(TooOld);
        };
        let index = self.first_seq + out;
        if !self.history.is_free(index) {
            return Verdict::Drop(Duplicate);
        }
        let mut record = Record {
            source: meta.seq.get() as u32,
            timestamp: self.timestamps.map(meta.encoding, meta.timestamp),
            keyidx_encoding: meta.encoding << 6,
            ..Record::default()
        };
        if let Some((input, modulus)) = vp8_numbers(pkt) {
            let Some(numbers) = self.vp8.map(input, modulus, is_next) else {
                return self.fill(now, pkt, out, buf);
            };
            record.picture_id = numbers.picture_id;
            record.tl0 = numbers.tl0;
            record.keyidx_encoding |= numbers.keyidx & 0x1f;
        }
        let as_sent = (index, &record);
        let Some(written) = self.writer.write_media(pkt, payload, codec, as_sent, buf) else {
            return self.fill(now, pkt, out, buf);
        };
        if meta.info.keyframe && is_next {
            self.keyframe = index;
        }
        self.counts.add(written.len - written.header_len);
        record.padding = padding(written.len);
        let written = pad_unsealed(buf, written, record.padding).unwrap_or_else(|| {
            record.padding = 0;
            written
        });
        self.history.record(now, index, record);
        self.timestamps.sent(now, record.timestamp);
        Verdict::Forward(Written { late: !is_next, ..written })
    }

    /// Which packet of the track answers a NACK for `wire`; counts as its retransmission. `rtt` is the round trip to
    /// the subscriber, if it is known.
    pub fn lookup(
        &mut self,
        now: Instant,
        wire: u16,
        rtt: Option<Duration>,
        newest: impl Fn(u8) -> Option<ExtSeq>,
    ) -> Answer {
        if !self.budget.allows(now, self.counts.packets) {
            return Answer::Nothing;
        }
        match self.history.retransmit(now, wire, rtt) {
            Recall::Nothing => Answer::Nothing,
            Recall::Forgotten { index } => self.answer_lost(index),
            Recall::Found { index, record, first } => {
                let encoding = record.encoding();
                let seq = newest(encoding).and_then(|newest| History::source_seq(newest, &record));
                let Some(seq) = seq else { return self.answer_lost(index) };
                // Spent here and not when it leaves: many may be looked up before the first leaves.
                self.budget.spend();
                Answer::Resend(Resend { encoding, seq, first, index, record })
            }
        }
    }

    /// The packet that has just been written as `written`, to be sent once more.
    pub fn resend(&self, pkt: &UpPacket<'_>, written: &Written) -> Option<Resend> {
        let (encoding, seq, index) = (pkt.meta.encoding, pkt.meta.seq, written.index);
        let record = self.history.get(index)?;
        Some(Resend { encoding, seq, first: true, index, record })
    }

    /// What there is to say when the packet of a [`Resend`] is no longer stored.
    pub fn not_stored(&self, resend: &Resend) -> Answer {
        self.answer_lost(resend.index)
    }

    /// Packet `index` cannot be retransmitted. What precedes the last key frame is not needed.
    fn answer_lost(&self, index: u64) -> Answer {
        match self.selector.current() {
            Some(encoding) if self.keyframe > 0 && index >= self.keyframe => {
                Answer::Lost { encoding }
            }
            _ => Answer::Nothing,
        }
    }

    /// Writes `pkt` once more, soon after [`retransmit`](Self::retransmit), in case that is lost. Only over RTX,
    /// where each packet has its own number, and within the budget.
    pub fn retransmit_copy(
        &mut self,
        now: Instant,
        resend: &Resend,
        pkt: &UpPacket<'_>,
        buf: &mut [u8],
    ) -> Option<Written> {
        let codec = self.writer.codec(&self.spec.codecs, pkt.meta.codec)?;
        if self.writer.rtx(codec).is_none() || !self.budget.allows(now, self.counts.packets) {
            return None;
        }
        self.budget.spend();
        self.retransmit(resend, pkt, buf)
    }

    /// Writes the retransmission of `pkt`, over RTX if negotiated, else as it was.
    pub fn retransmit(
        &mut self,
        resend: &Resend,
        pkt: &UpPacket<'_>,
        buf: &mut [u8],
    ) -> Option<Written> {
        let (codec, payload) = if resend.record.is_empty() {
            (self.writer.codec(&self.spec.codecs, pkt.meta.codec)?, pkt.payload)
        } else {
            self.writer.convert(&self.spec.codecs, pkt.meta.codec, pkt.payload)?
        };
        let (pkt, sent) = (&UpPacket { payload, ..*pkt }, (resend.index, &resend.record));
        let written = if let Some(rtx) = self.writer.rtx(codec) {
            let written = self.writer.write_rtx(pkt, rtx, self.next_rtx, sent, buf)?;
            self.next_rtx += 1;
            written
        } else {
            // One SRTP index must not seal two different packets.
            let written = self.writer.write_media(pkt, pkt.payload, codec, sent, buf)?;
            pad_unsealed(buf, written, resend.record.padding)?
        };
        Some(written)
    }

    /// NTP time, RTP time, packets and octets for a sender report at `now`, on the publisher's
    /// NTP clock so that its tracks stay in step; `None` before the publisher's first report.
    pub fn sender_report(
        &self,
        now: Instant,
        clock_rate: u32,
        clocks: &[Option<SourceClock>; 3],
    ) -> Option<(u64, u32, u32, u32)> {
        let encoding = self.selector.current()?;
        let clock = (*clocks.get(usize::from(encoding))?)?;
        let elapsed = now.saturating_duration_since(clock.at);
        let ntp = clock.ntp.wrapping_add(ntp_ticks(elapsed));
        let rtp =
            self.timestamps.map(encoding, clock.rtp_time).wrapping_add(ticks(elapsed, clock_rate));
        let SenderCounts { packets, octets } = self.counts;
        (packets > 0).then_some((ntp, rtp, packets, octets))
    }

    /// Packets and payload bytes sent so far, wrapping.
    pub fn sent(&self) -> (u32, u32) {
        (self.counts.packets, self.counts.octets)
    }

    fn switch_to(&mut self, now: Instant, pkt: &UpPacket<'_>, clocks: &[Option<SourceClock>; 3]) {
        let meta = pkt.meta;
        self.beginning = meta.beginning;
        self.rewriter.switch_to(meta.seq);
        self.timestamps.switch_to(
            now,
            meta.encoding,
            meta.timestamp,
            meta.codec.clock_rate(),
            clocks,
        );
        if let Some((first, modulus)) = vp8_numbers(pkt) {
            self.vp8.switch_to(first, modulus);
        }
        self.selector.switch_to(meta.encoding);
    }

    /// Closes the gap that a packet without a payload would leave; if it is late and its number a gap already, it
    /// fills that.
    fn pass_over(&mut self, now: Instant, pkt: &UpPacket<'_>, buf: &mut [u8]) -> Verdict {
        if self.rewriter.skip(pkt.meta.seq) {
            return Verdict::Drop(Empty);
        }
        match self.rewriter.map(pkt.meta.seq) {
            Some(out) if !self.history.is_free(self.first_seq + out) => Verdict::Drop(Duplicate),
            Some(out) => self.fill(now, pkt, out, buf),
            None => Verdict::Drop(TooOld),
        }
    }

    /// Sends number `out`, which `pkt` cannot be sent under, as a packet of padding. A receiver takes it as
    /// arrived, and no frame as complete that lacks it.
    fn fill(&mut self, now: Instant, pkt: &UpPacket<'_>, out: u64, buf: &mut [u8]) -> Verdict {
        let meta = pkt.meta;
        let Some(codec) = self.writer.codec(&self.spec.codecs, meta.codec) else {
            return Verdict::Drop(OtherCodec);
        };
        let index = self.first_seq + out;
        let record = Record {
            source: meta.seq.get() as u32,
            timestamp: self.timestamps.map(meta.encoding, meta.timestamp),
            keyidx_encoding: (meta.encoding << 6) | Record::EMPTY,
            padding: 1,
            ..Record::default()
        };
        let written = self.writer.write_media(pkt, &[], codec, (index, &record), buf);
        let padded = written.and_then(|written| pad_unsealed(buf, written, record.padding));
        let Some(written) = padded else {
            return Verdict::Drop(TooBig);
        };
        self.counts.add(0);
        self.history.record(now, index, record);
        Verdict::Forward(written)
    }
}

/// What there is to say to a NACK.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// This packet, again.
    Resend(Resend),
    /// What was asked for is needed and gone: only a key frame of the encoding helps.
    Lost {
        /// The encoding being sent.
        encoding: u8,
    },
    /// It was never sent, is in flight, is not needed, or was retransmitted often enough.
    Nothing,
}

/// A packet to be retransmitted.
#[derive(Clone, Copy, Debug)]
pub struct Resend {
    /// Where it is stored.
    pub encoding: u8,
    /// Where it is stored.
    pub seq: ExtSeq,
    /// It was not retransmitted before.
    pub first: bool,
    index: u64,
    record: Record,
}

/// The picture numbers of a VP8 packet that has them, and the modulus of its PictureID.
fn vp8_numbers(pkt: &UpPacket<'_>) -> Option<(Vp8PictureIds, u16)> {
    let descriptor = pkt.meta.info.vp8?;
    let (picture_id, is_15_bits) = descriptor.picture_id?;
    let triple = Vp8PictureIds {
        picture_id,
        tl0: descriptor.tl0.unwrap_or_default(),
        keyidx: descriptor.keyidx.unwrap_or_default(),
    };
    Some((triple, if is_15_bits { 0x8000 } else { 0x80 }))
}

#[cfg(test)]
mod tests {
    use hearth_codec::PayloadInfo;
    use hearth_plane::{DownId, PeerId, RoomId, SendCodec, TrackId};
    use hearth_rtp::{ExtensionIds, RtpView};
    use hearth_units::SeqUnwrapper;

    use super::*;
    use crate::packet_writer::SEAL_ROOM;
    use crate::ring::PacketMeta;

    #[test]
    fn video_starts_with_a_key_frame_and_keeps_going() {
        let mut scene = Scene::new(MediaKind::Video);
        assert_eq!(scene.send(0, 10, false), Err(AwaitKeyframe));
        let first = scene.send(0, 11, true).unwrap();
        assert_eq!(scene.send(0, 12, false), Ok(first + 1));
        assert_eq!(scene.send(0, 14, false), Ok(first + 3), "a lost packet stays a gap");
        assert_eq!(scene.send(0, 13, false), Ok(first + 2));
    }

    #[test]
    fn a_switch_waits_for_its_key_frame_and_leaves_no_gap() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        assert_eq!(scene.aim_at(2), Some(2));
        assert_eq!(scene.send(2, 500, false), Err(AwaitKeyframe));
        assert_eq!(scene.send(0, 11, false), Ok(first + 1));
        assert_eq!(scene.send(2, 501, true), Ok(first + 2));
        assert_eq!(scene.send(0, 12, false), Err(OtherEncoding));
        assert_eq!(scene.aim_at(2), None);
    }

    #[test]
    fn a_disabled_subscription_gets_nothing_and_restarts_with_a_key_frame() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        assert_eq!(scene.down.set_target(None), None);
        assert_eq!(scene.send(0, 11, false), Err(Paused));
        assert_eq!(scene.aim_at(0), Some(0));
        assert_eq!(scene.send(0, 12, false), Err(AwaitKeyframe));
        assert_eq!(scene.send(0, 13, true), Ok(first + 1));
    }

    #[test]
    fn audio_starts_at_once() {
        let mut scene = Scene::new(MediaKind::Audio);
        assert!(scene.send(0, 10, true).is_ok());
    }

    #[test]
    fn a_nack_is_answered_over_rtx_with_the_original_number() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        let newest = scene.seqs[0].unwrap(10);
        let resend = resend(scene.down.lookup(scene.now, first, RTT, |_| Some(newest))).unwrap();
        let meta = scene.meta(0, 10, true);
        let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
        let mut buf = [0; 1_500];
        let written = scene.down.retransmit(&resend, &pkt, &mut buf).unwrap();
        let view = RtpView::parse(&buf[..written.len]).unwrap();
        assert_eq!((view.ssrc, view.payload_type), (2, 97));
        assert_eq!(view.payload[..2], first.to_be_bytes());
        assert_eq!(view.payload[2..], [7; 100]);
    }

    #[test]
    fn a_packet_asked_for_all_the_time_is_repeated_within_the_budget() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        let meta = scene.meta(0, 10, true);
        let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
        let (start, mut buf) = (scene.now, [0; 1_500]);
        // All are looked up before the first leaves, as in a turn of a shard.
        let found = (0..90).filter_map(|i| {
            let now = start + i * Duration::from_millis(10);
            resend(scene.down.lookup(now, first, RTT, |_| Some(meta.seq)))
        });
        let found: Vec<_> = found.collect();
        let repeated =
            found.iter().filter(|resend| scene.down.retransmit(resend, &pkt, &mut buf).is_some());
        assert_eq!(repeated.count(), 64);
    }

    #[test]
    fn a_repetition_under_the_same_number_has_the_same_padding() {
        for (rtx_pt, is_same) in [(None, true), (Some(97), false)] {
            let mut scene = Scene::new(MediaKind::Audio);
            scene.down.spec.codecs[0].rtx_pt = rtx_pt;
            let meta = scene.meta(0, 9, true);
            let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
            let (mut sent, mut again) = ([0; 1_500], [0; 1_500]);
            let verdict =
                scene.down.forward(scene.now, &pkt, &[None; 3], &mut sent, |len| len as u8 - 107);
            let Verdict::Forward(written) = verdict else { panic!("{verdict:?}") };
            let first = RtpView::parse(&sent[..written.len]).unwrap();
            assert_eq!((written.len, first.padding, first.payload), (117, 5, &[7; 100][..]));
            assert_eq!(scene.down.sent(), (1, 100), "padding is no payload");

            let answer = scene.down.lookup(scene.now, first.seq, RTT, |_| Some(meta.seq));
            let resend = resend(answer).unwrap();
            let repeated = scene.down.retransmit(&resend, &pkt, &mut again).unwrap();
            if is_same {
                assert_eq!(again[..repeated.len], sent[..written.len]);
            } else {
                assert_eq!(RtpView::parse(&again[..repeated.len]).unwrap().padding, 0);
            }
        }
    }

    #[test]
    fn only_what_is_never_sent_again_under_its_number_has_a_place_for_a_transport_wide_one() {
        for (rtx_pt, level, at) in [
            (Some(97), Some(9), Some(17)),
            (Some(97), Some(15), Some(18)),
            (Some(97), None, Some(17)),
            (None, Some(9), None),
        ] {
            let mut scene = Scene::new(MediaKind::Audio);
            let mut spec = scene.down.spec().clone();
            spec.codecs[0].rtx_pt = rtx_pt;
            spec.extensions =
                ExtensionIds { transport_cc: Some(3), audio_level: level, ..spec.extensions };
            scene.down.update(spec);
            let meta = PacketMeta { audio_level: Some(7), ..scene.meta(0, 9, true) };
            let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
            let mut buf = [0; 1_500];
            let verdict = scene.down.forward(scene.now, &pkt, &[None; 3], &mut buf, |_| 0);
            let Verdict::Forward(written) = verdict else { panic!("{verdict:?}") };
            assert_eq!(stamped(&written, &mut buf), at, "{rtx_pt:?} {level:?}");

            let wire = RtpView::parse(&buf[..written.len]).unwrap().seq;
            let answer = scene.down.lookup(scene.now, wire, RTT, |_| Some(meta.seq));
            let written = scene.down.retransmit(&resend(answer).unwrap(), &pkt, &mut buf).unwrap();
            assert_eq!(stamped(&written, &mut buf), at, "again: {rtx_pt:?} {level:?}");
        }
    }

    #[test]
    fn a_playout_delay_goes_only_into_what_is_never_sent_again_under_its_number() {
        for (rtx_pt, said) in [(Some(97), true), (None, false)] {
            let mut scene = Scene::new(MediaKind::Video);
            let mut spec = scene.down.spec().clone();
            spec.codecs[0].rtx_pt = rtx_pt;
            spec.extensions.playout_delay = Some(5);
            scene.down.update(spec.clone());
            let link = LinkQuality { loss: 20, rtt: Duration::from_millis(100) };
            let mut send = |seq, link: Option<LinkQuality>| {
                if let Some(link) = link {
                    scene.down.update_playout_delay(scene.now, link, LinkQuality::default());
                    scene.down.update(spec.clone());
                }
                scene.send(0, seq, seq == 9).unwrap();
                let view = RtpView::parse(&scene.bytes).unwrap();
                view.extensions().find(5).map(<[u8]>::to_vec)
            };
            assert_eq!(send(9, None), None);
            let expected = said.then(|| vec![0, 0xff, 0xff]);
            assert_eq!([send(10, Some(link)), send(11, None)], [expected.clone(), expected]);
        }
    }

    /// Where a transport-wide number is stamped, which is then read as extension 3.
    fn stamped(written: &Written, buf: &mut [u8]) -> Option<u8> {
        let is_stamped = written.stamp_transport_seq(buf, 0x1234);
        let view = RtpView::parse(&buf[..written.len]).unwrap();
        let expect = is_stamped.then_some([0x12, 0x34]);
        assert_eq!(view.extensions().find(3), expect.as_ref().map(<[u8; 2]>::as_slice));
        written.transport_seq
    }

    #[test]
    fn a_packet_that_comes_to_it_twice_leaves_once() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        assert_eq!(scene.send(0, 11, false), Ok(first + 1));
        assert_eq!(scene.send(0, 11, false), Err(Duplicate));
        assert_eq!(scene.send(0, 10, true), Err(Duplicate));
        let mut changed = scene.down.spec().clone();
        changed.codecs[0].pt = 101;
        scene.down.update(changed);
        assert_eq!(scene.send(0, 11, false), Err(Duplicate), "nor under another payload type");
        assert_eq!(scene.send(0, 12, false), Ok(first + 2));
    }

    #[test]
    fn padding_for_which_there_is_no_room_is_left_out() {
        let mut scene = Scene::new(MediaKind::Audio);
        scene.down.spec.codecs[0].rtx_pt = None;
        let meta = scene.meta(0, 9, true);
        let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
        let (mut buf, mut again) = ([0; 112 + SEAL_ROOM], [0; 1_500]);
        let verdict = scene.down.forward(scene.now, &pkt, &[None; 3], &mut buf, |_| 1);
        let Verdict::Forward(written) = verdict else { panic!("{verdict:?}") };
        let first = RtpView::parse(&buf[..written.len]).unwrap();
        assert_eq!(first.padding, 0);

        let answer = scene.down.lookup(scene.now, first.seq, RTT, |_| Some(meta.seq));
        let resend = resend(answer).unwrap();
        let repeated = scene.down.retransmit(&resend, &pkt, &mut again).unwrap();
        assert_eq!(again[..repeated.len], buf[..written.len], "nor is it there the second time");
    }

    const RTT: Option<Duration> = Some(Duration::ZERO);

    fn resend(answer: Answer) -> Option<Resend> {
        if let Answer::Resend(resend) = answer { Some(resend) } else { None }
    }

    #[test]
    fn padding_leaves_no_gap_and_fills_the_one_it_left_when_it_was_late() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 100, true).unwrap();
        assert_eq!(scene.send_payload(0, 101, &[], |_| {}), Err(Empty));
        assert_eq!(scene.send(0, 102, false), Ok(first + 1));
        // 103 is lost, and comes by a retransmission.
        assert_eq!(scene.send(0, 104, false), Ok(first + 3));
        assert_eq!(scene.send_payload(0, 103, &[], |_| {}), Ok(first + 2));
        assert_eq!((scene.sent.payload.len(), scene.sent.padding), (0, 1));
        assert_eq!(scene.send_payload(0, 103, &[], |_| {}), Err(Duplicate));
        assert_eq!(scene.send(0, 105, false), Ok(first + 4));
    }

    #[test]
    fn what_was_sent_as_padding_is_sent_again_as_the_same_whatever_is_stored() {
        for (rtx_pt, len) in [(None, 0), (Some(97), 2)] {
            let mut scene = Scene::new(MediaKind::Video);
            scene.down.spec.codecs[0].rtx_pt = rtx_pt;
            let first = scene.send(0, 10, true).unwrap();
            scene.send(0, 12, false).unwrap();
            assert_eq!(scene.send_payload(0, 11, &[], |_| {}), Ok(first + 1));
            let sent = scene.bytes.clone();
            let meta = scene.meta(0, 11, false);
            let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
            let answer = scene.down.lookup(scene.now, first + 1, RTT, |_| Some(meta.seq));
            let mut again = [0; 1_500];
            let written =
                scene.down.retransmit(&resend(answer).unwrap(), &pkt, &mut again).unwrap();
            let view = RtpView::parse(&again[..written.len]).unwrap();
            assert_eq!(view.payload.len(), len);
            assert!(rtx_pt.is_some() || again[..written.len] == sent);
        }
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_no_gap_to_be_asked_for() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        assert_eq!(scene.send_payload(0, 11, &[7; 1_490], |_| {}), Ok(first + 1));
        assert_eq!((scene.sent.payload.len(), scene.sent.padding), (0, 1));
        assert_eq!(scene.send(0, 12, false), Ok(first + 2));
    }

    #[test]
    fn a_late_packet_that_fills_a_gap_is_sent_whatever_its_layer() {
        let mut scene = Scene::new(MediaKind::Video);
        scene.down.set_target(Some(Target { spatial: 0, temporal: 1 }));
        let layer = |temporal| move |meta: &mut PacketMeta| meta.info.temporal = temporal;
        let first = scene.send(0, 10, true).unwrap();
        // 11, of a layer that is not wanted, is lost at first.
        assert_eq!(scene.send_payload(0, 12, &[7; 100], layer(1)), Ok(first + 2));
        assert_eq!(scene.send_payload(0, 11, &[7; 100], layer(2)), Ok(first + 1));
        assert_eq!(scene.send_payload(0, 13, &[7; 100], layer(2)), Err(TemporalLayer));
        assert_eq!(scene.send(0, 14, false), Ok(first + 3));
    }

    #[test]
    fn an_encoding_that_begins_anew_goes_on_with_its_key_frame_and_never_back() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        let anew = |keyframe| {
            move |meta: &mut PacketMeta| {
                (meta.beginning, meta.info.keyframe) = (1, keyframe);
            }
        };
        let back = |meta: &mut PacketMeta| meta.info.keyframe = true;
        assert_eq!(scene.send_payload(0, 20_000, &[7; 100], anew(false)), Err(AwaitKeyframe));
        assert_eq!(scene.send(0, 11, false), Ok(first + 1), "what is late still counts");
        assert_eq!(scene.send_payload(0, 20_001, &[7; 100], anew(true)), Ok(first + 2));
        assert_eq!(scene.send_payload(0, 12, &[7; 100], back), Err(OtherEncoding));
        assert_eq!(scene.send_payload(0, 20_002, &[7; 100], anew(false)), Ok(first + 3));
        assert_eq!(scene.down.source(), (Some(0), 1));
    }

    #[test]
    fn sound_goes_on_at_once_when_it_begins_anew() {
        let mut scene = Scene::new(MediaKind::Audio);
        let first = scene.send(0, 40_000, true).unwrap();
        let anew = |meta: &mut PacketMeta| meta.beginning = 1;
        assert_eq!(
            scene.send_payload(0, 60_000, &[7; 100], |meta| {
                meta.info.keyframe = true;
                anew(meta);
            }),
            Ok(first + 1)
        );
    }

    #[test]
    fn a_request_that_can_no_longer_be_answered_asks_for_a_key_frame_unless_one_was_sent_since() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 1, true).unwrap();
        for seq in 2..=700 {
            scene.send(0, seq, false).unwrap();
        }
        let newest = scene.seqs[0].unwrap(700);
        let ask = |scene: &mut Scene, ahead: u16| {
            scene.down.lookup(scene.now, first + ahead, RTT, |_| Some(newest))
        };
        assert!(matches!(ask(&mut scene, 100), Answer::Lost { encoding: 0 }), "not in the history");
        let Answer::Resend(found) = ask(&mut scene, 690) else { panic!("in the history") };
        assert!(matches!(scene.down.not_stored(&found), Answer::Lost { encoding: 0 }));
        assert!(matches!(ask(&mut scene, 700), Answer::Nothing), "yet to come");
        scene.send(0, 701, true).unwrap();
        assert!(matches!(ask(&mut scene, 100), Answer::Nothing));
        assert!(matches!(scene.down.not_stored(&found), Answer::Nothing));
    }

    #[test]
    fn the_copy_of_a_retransmission_has_a_number_of_its_own_and_counts_against_the_budget() {
        let mut scene = Scene::new(MediaKind::Video);
        let first = scene.send(0, 10, true).unwrap();
        let meta = scene.meta(0, 10, true);
        let pkt = UpPacket { meta: &meta, descriptor: &[], payload: &[7; 100] };
        let answer = scene.down.lookup(scene.now, first, RTT, |_| Some(meta.seq));
        let found = resend(answer).unwrap();
        let (now, mut buf) = (scene.now, [0; 1_500]);
        assert!(found.first);
        let one = scene.down.retransmit(&found, &pkt, &mut buf).unwrap();
        let copies = (0..100).map_while(|_| {
            scene.down.retransmit_copy(now, &found, &pkt, &mut buf).map(|written| written.index)
        });
        let expect: Vec<u64> = (1..64).map(|i| one.index + i).collect();
        assert_eq!(copies.collect::<Vec<_>>(), expect);
        let mut scene = Scene::new(MediaKind::Audio);
        scene.down.spec.codecs[0].rtx_pt = None;
        let copy = scene.down.retransmit_copy(now, &found, &pkt, &mut buf);
        assert!(
            copy.is_none(),
            "without RTX it would be the same packet, and is dropped as a replay"
        );
    }

    struct Scene {
        /// What was sent last.
        bytes: Vec<u8>,
        sent: Sent,
        down: DownTrack,
        now: Instant,
        codec: Codec,
        seqs: [SeqUnwrapper; 3],
    }

    impl Scene {
        fn new(kind: MediaKind) -> Self {
            let room = RoomId(1);
            let codec = if kind == MediaKind::Video { Codec::H264 } else { Codec::Opus };
            let spec = DownTrackSpec {
                down: DownId { room, n: 1 },
                peer: PeerId { room, n: 1 },
                track: TrackId { room, n: 1 },
                ssrc: 1,
                rtx_ssrc: Some(2),
                codecs: vec![SendCodec { codec, pt: 96, rtx_pt: Some(97) }],
                extensions: ExtensionIds::default(),
                cname: String::new(),
            };
            #[expect(clippy::disallowed_methods, reason = "std offers no other way to make one")]
            let now = Instant::now();
            let mut down = DownTrack::new(now, spec, kind, 77);
            down.set_target(Some(Target { spatial: 0, temporal: 7 }));
            Self {
                bytes: Vec::new(),
                sent: Sent::default(),
                down,
                now,
                codec,
                seqs: Default::default(),
            }
        }

        fn aim_at(&mut self, spatial: u8) -> Option<u8> {
            self.down.set_target(Some(Target { spatial, temporal: 7 }))
        }

        fn meta(&mut self, encoding: u8, wire: u16, keyframe: bool) -> PacketMeta {
            PacketMeta {
                seq: self.seqs[usize::from(encoding)].unwrap(wire),
                timestamp: u32::from(wire) * 3_000,
                marker: true,
                codec: self.codec,
                encoding,
                beginning: 0,
                info: PayloadInfo { keyframe, ..PayloadInfo::default() },
                audio_level: None,
                orientation: None,
                capture_time: None,
            }
        }

        /// The wire number it left under, of a packet that `change` changes.
        fn send_payload(
            &mut self,
            encoding: u8,
            wire: u16,
            payload: &[u8],
            change: impl FnOnce(&mut PacketMeta),
        ) -> Result<u16, crate::DropReason> {
            let mut meta = self.meta(encoding, wire, false);
            change(&mut meta);
            let pkt = UpPacket { meta: &meta, descriptor: &[], payload };
            let mut buf = [0; 1_500];
            match self.down.forward(self.now, &pkt, &[None; 3], &mut buf, |_| 0) {
                Verdict::Forward(written) => {
                    self.bytes = buf[..written.len].to_vec();
                    let view = RtpView::parse(&self.bytes).unwrap();
                    self.sent = Sent { payload: view.payload.to_vec(), padding: view.padding };
                    Ok(view.seq)
                }
                Verdict::Drop(reason) => Err(reason),
            }
        }

        /// The wire number it left under.
        fn send(
            &mut self,
            encoding: u8,
            wire: u16,
            keyframe: bool,
        ) -> Result<u16, crate::DropReason> {
            self.send_payload(encoding, wire, &[7; 100], |meta| meta.info.keyframe = keyframe)
        }
    }

    #[derive(Default)]
    struct Sent {
        payload: Vec<u8>,
        padding: u8,
    }
}
