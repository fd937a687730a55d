//! The RTP session with one client (RFC 3550 §3): what it sends, how that arrives, and what it is told of it.
//!
//! * **Owns:** the received streams with their statistics and NACK trackers, the record for transport-wide feedback,
//!   the round trip, our SSRC in RTCP, when reports are due.
//! * **In:** plaintext packets ([`RtpSession::receive`], then [`RtpSession::handle_ingested`]), RTCP, time.
//! * **Out:** whose a packet is; RTCP to the client.
//! * **Invariant:** a retransmission that its track takes is missing no longer; what nobody wants is not asked for.

use std::time::{Duration, Instant};

use hearth_metrics::{Metric, bug};
use hearth_peer::{Peer, RttEstimator, TwccRecorder};
use hearth_rtp::rtcp::{ReportBlock, XrBlock, XrBlocks};
use hearth_rtp::{ExtensionIds, ReadExtensions, RtpView};
use hearth_units::ExtSeq;

use crate::entry::{TrackEntry, TrackKey};
use crate::ingest::Ingested;
use crate::outbox::Outbox;
use crate::slab::Slab;
use crate::streams::{Stream, StreamRole, Streams, unwrap_rtx};

/// livekit-server: one receiver report per second, with a reference time that tells the round trip.
const RECEIVER_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Sequence numbers in one NACK packet: all that a tracker has, and one it suspects, in 4 bytes each at worst.
const MAX_NACKS: usize = 257;
/// Report blocks in one receiver report (RFC 3550 §6.4.2: 5-bit count).
const MAX_BLOCKS: usize = 31;
/// Encodings that lost a packet for good of which one poll tells; the others are told of by the next one.
const MAX_UNRECOVERABLE: usize = 8;

/// See the module documentation.
pub(crate) struct RtpSession {
    /// Header extensions of all tracks that the client publishes.
    extensions: ExtensionIds,
    streams: Streams,
    twcc: TwccRecorder,
    /// Our SSRC in RTCP that concerns no stream of ours.
    ssrc: u32,
    rtt: RttEstimator,
    next_receiver_report: Instant,
}

/// A media packet, out of its retransmission if it came in one.
pub(crate) struct Received<'a> {
    pub(crate) track: TrackKey,
    pub(crate) encoding: u8,
    pub(crate) packet: &'a mut [u8],
    pub(crate) origin: Origin,
    /// When its stream has packets to ask for.
    pub(crate) next_nack: Option<Instant>,
}

/// How a media packet came; `at` is the place of the media's stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    Media { at: usize, seq: ExtSeq },
    Rtx { at: usize, seq: u16, timestamp: u32, marker: bool },
}

/// What [`RtpSession::send_nacks`] leaves to do.
#[derive(Default)]
pub(crate) struct Nacked {
    /// When to ask again.
    pub(crate) next: Option<Instant>,
    /// Encodings with packets that will not come any more.
    pub(crate) unrecoverable: [Option<(TrackKey, u8)>; MAX_UNRECOVERABLE],
}

impl RtpSession {
    /// A session in whose RTCP we are `ssrc`.
    pub(crate) fn new(now: Instant, ssrc: u32) -> Self {
        Self {
            extensions: ExtensionIds::default(),
            streams: Streams::default(),
            twcc: TwccRecorder::new(),
            ssrc,
            rtt: RttEstimator::new(now),
            next_receiver_report: now + RECEIVER_REPORT_INTERVAL,
        }
    }

    /// Our SSRC in RTCP that concerns no stream of ours.
    pub(crate) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The round trip to the client.
    pub(crate) const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// Packets of a track's media that were to come, and of these those that never did.
    pub(crate) fn expected_and_lost(&self, track: TrackKey) -> (u64, u64) {
        self.streams.expected_and_lost(track)
    }

    /// The client may use these header extensions, too.
    pub(crate) fn add_extensions(&mut self, extensions: ExtensionIds) {
        self.extensions = self.extensions.union(extensions);
    }

    /// A track that the client published is gone.
    pub(crate) fn remove_track(&mut self, track: TrackKey) {
        self.streams.0.retain(|stream| stream.track != track);
    }

    /// A plaintext RTP packet. `Ok(None)`: a retransmission of which nothing is known; `Err`: what counts its loss.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        packet: &'a mut [u8],
        published: &[TrackKey],
        tracks: &Slab<TrackEntry>,
    ) -> Result<Option<Received<'a>>, Metric> {
        let view = RtpView::parse(packet).map_err(|_| Metric::DropReceiveMalformed)?;
        let extensions = ReadExtensions::read(&view, &self.extensions);
        if let Some(seq) = extensions.transport_seq {
            self.twcc.handle_packet(now, seq);
        }
        let at = self.streams.find(published, tracks, &view, &extensions);
        let at = at.ok_or(Metric::DropReceiveStream)?;
        let Some(stream) = self.streams.0.get_mut(at) else {
            bug!("a stream was found where none is");
            return Ok(None);
        };
        let (track, encoding) = (stream.track, stream.encoding);
        let Some(entry) = tracks.get(track) else {
            bug!("a stream outlived its track");
            return Ok(None);
        };
        let seq = stream.unwrapper.unwrap(view.seq);
        let (timestamp, marker) = (view.timestamp, view.marker);
        stream.reception.handle_packet(now, seq, timestamp, entry.clock_rate());
        let received = |packet, origin, next_nack| {
            Ok(Some(Received { track, encoding, packet, origin, next_nack }))
        };
        if let StreamRole::Media { nack } = &mut stream.role {
            let next = nack.as_mut().and_then(|nack| {
                nack.handle_packet(now, seq, timestamp, marker);
                nack.poll_timeout()
            });
            return received(packet, Origin::Media { at, seq }, next);
        }
        let Some(active) = entry.track.ssrc(encoding) else { return Ok(None) };
        let Some(at) = self.streams.repeated(now, at, active) else { return Ok(None) };
        match unwrap_rtx(active, &entry.spec, packet) {
            Some((seq, packet)) => {
                received(packet, Origin::Rtx { at, seq, timestamp, marker }, None)
            }
            None => Ok(None),
        }
    }

    /// What became of a packet: `None` if its track did not take it. A retransmission that comes too late to be kept
    /// is still missing.
    pub(crate) fn handle_ingested(
        &mut self,
        now: Instant,
        origin: Origin,
        ingested: Option<Ingested>,
    ) {
        let Some(Ingested { keyframe, is_first_of_frame }) = ingested else { return };
        let (at, seq) = match origin {
            Origin::Media { at, seq } => (at, seq),
            Origin::Rtx { at, seq, timestamp, marker } => {
                let Some(nack) = self.streams.nack(at) else { return };
                nack.handle_recovered(now, seq, timestamp, marker);
                if !keyframe {
                    return;
                }
                let Some(stream) = self.streams.0.get_mut(at) else { return };
                (at, stream.unwrapper.unwrap(seq))
            }
        };
        if keyframe && let Some(nack) = self.streams.nack(at) {
            nack.handle_keyframe(seq, is_first_of_frame);
        }
    }

    /// A sender report of the client; of which encoding, if its stream is known and the report news.
    pub(crate) fn handle_sender_report(
        &mut self,
        now: Instant,
        ssrc: u32,
        ntp: u64,
    ) -> Option<(TrackKey, u8)> {
        let at = self.streams.place(ssrc)?;
        let stream = self.streams.0.get_mut(at)?;
        let is_new = stream.reception.handle_sender_report(now, ntp);
        is_new.then_some((stream.track, stream.encoding))
    }

    /// How a stream that we send arrives, by `block`; its last sender report was at `ntp` (RFC 3550 §6.4.1).
    pub(crate) fn handle_report_block(&mut self, now: Instant, ntp: u64, block: &ReportBlock) {
        self.rtt.handle_report(now, ntp, block);
    }

    /// Round trips (RFC 3611 §4.4, §4.5): a publisher's answer to a reference time of ours, or a subscriber's
    /// reference time, which is answered.
    pub(crate) fn handle_extended_report(
        &mut self,
        now: Instant,
        sender: u32,
        blocks: XrBlocks<'_>,
        peer: &mut Peer,
        out: &mut Outbox,
    ) {
        let ours = self.ssrc;
        for block in blocks {
            match block {
                XrBlock::Dlrr(mut reports) => {
                    if let Some(report) = reports.find(|report| report.ssrc == ours) {
                        self.rtt.handle_dlrr(now, &report);
                    }
                }
                XrBlock::ReceiverReferenceTime { ntp } => {
                    if let Some(report) = self.rtt.handle_reference_time(now, sender, ntp) {
                        out.rtcp(peer, |writer| writer.xr_dlrr(ours, report));
                    }
                }
                XrBlock::Unknown { .. } => {}
            }
        }
    }

    /// Asks for what is missing of what somebody watches, as `tracks` know.
    pub(crate) fn send_nacks(
        &mut self,
        now: Instant,
        tracks: &Slab<TrackEntry>,
        peer: &mut Peer,
        out: &mut Outbox,
    ) -> Nacked {
        let (rtt, sender) = (self.rtt.estimate(), self.ssrc);
        let mut nacked = Nacked::default();
        let mut slots = nacked.unrecoverable.iter_mut();
        for stream in &mut self.streams.0 {
            let (media, track, encoding) = (stream.ssrc, stream.track, stream.encoding);
            let StreamRole::Media { nack: Some(nack) } = &mut stream.role else {
                continue;
            };
            let is_wanted = tracks.get(track).is_some_and(|entry| {
                entry.wants(encoding) && entry.track.ssrc(encoding) == Some(media)
            });
            if !is_wanted {
                nack.clear();
                continue;
            }
            let mut seqs = [0; MAX_NACKS];
            let missing = nack.poll(now, rtt, &mut seqs);
            nacked.next = nacked.next.into_iter().chain(nack.poll_timeout()).min();
            if !slots.as_slice().is_empty()
                && nack.take_unrecoverable()
                && let Some(slot) = slots.next()
            {
                *slot = Some((track, encoding));
            }
            if missing > 0 {
                let seqs = seqs.get(..missing).unwrap_or_default();
                out.rtcp(peer, |writer| writer.nack(sender, media, seqs));
            }
        }
        nacked
    }

    /// Asks for a key frame of the stream `media` (RFC 4585 §6.3.1).
    pub(crate) fn send_pli(&self, media: u32, peer: &mut Peer, out: &mut Outbox) {
        out.rtcp(peer, |writer| writer.pli(self.ssrc, media));
    }

    /// Transport-wide feedback and the receiver report, each if it is due; true if the latter was.
    pub(crate) fn send_reports(&mut self, now: Instant, peer: &mut Peer, out: &mut Outbox) -> bool {
        let (sender, twcc) = (self.ssrc, &mut self.twcc);
        if let Some(media) = self.streams.0.first().map(|stream| stream.ssrc) {
            out.rtcp_buffer(peer, |buf| twcc.poll_feedback(now, buf, sender, media));
        }
        if now < self.next_receiver_report {
            return false;
        }
        self.next_receiver_report = now + RECEIVER_REPORT_INTERVAL;
        if !self.streams.0.is_empty() {
            self.send_receiver_report(now, peer, out);
        }
        true
    }

    fn send_receiver_report(&mut self, now: Instant, peer: &mut Peer, out: &mut Outbox) {
        let (sender, time) = (self.ssrc, self.rtt.reference_time(now));
        let (mut next, mut is_first) = (0, true);
        loop {
            let mut blocks = [ReportBlock::default(); MAX_BLOCKS];
            let count = take_blocks(now, &mut self.streams.0, &mut next, &mut blocks);
            if count == 0 && !is_first {
                return;
            }
            let blocks = blocks.get(..count).unwrap_or_default();
            out.rtcp(peer, |writer| {
                let len = writer.receiver_report(sender, blocks)?;
                if is_first { writer.xr_reference_time(sender, time) } else { Some(len) }
            });
            is_first = false;
        }
    }
}

/// Fills `blocks` with reports of the streams from the `next` on that were heard since their last one; returns how
/// many. RFC 3550 §6.1: what does not fit one packet goes into others.
fn take_blocks(
    now: Instant,
    streams: &mut [Stream],
    next: &mut usize,
    blocks: &mut [ReportBlock; MAX_BLOCKS],
) -> usize {
    let mut count = 0;
    while let (Some(slot), Some(stream)) = (blocks.get_mut(count), streams.get_mut(*next)) {
        *next += 1;
        if stream.reception.is_heard() {
            *slot = stream.reception.report_block(now, stream.ssrc);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use hearth_peer::ReceiverStats;
    use hearth_units::SeqUnwrapper;

    use super::*;
    use crate::fixtures::epoch;

    #[test]
    fn every_stream_that_was_heard_is_reported_in_as_many_packets_as_it_takes() {
        let now = epoch();
        let mut streams: Vec<Stream> = (0..70).map(stream).collect();
        for heard in streams.iter_mut().filter(|stream| stream.ssrc != 5) {
            let seq = heard.unwrapper.unwrap(1);
            heard.reception.handle_packet(now, seq, 0, 90_000);
        }
        let mut packets = Vec::new();
        let (mut next, mut blocks) = (0, [ReportBlock::default(); MAX_BLOCKS]);
        loop {
            let count = take_blocks(now, &mut streams, &mut next, &mut blocks);
            if count == 0 {
                break;
            }
            packets.push(blocks[..count].iter().map(|block| block.ssrc).collect::<Vec<_>>());
        }
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [31, 31, 7]);
        let expect: Vec<u32> = (0..70).filter(|ssrc| *ssrc != 5).collect();
        assert_eq!(packets.concat(), expect);
    }

    fn stream(ssrc: u32) -> Stream {
        let (reception, unwrapper) = (ReceiverStats::default(), SeqUnwrapper::default());
        let role = StreamRole::Rtx { media_ssrc: None };
        Stream { ssrc, track: crate::slab::Key::of(0, 0), encoding: 0, role, reception, unwrapper }
    }
}
