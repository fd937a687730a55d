//! The SSRCs that a client sends, and what each carries.
//!
//! * **Owns:** for each SSRC its track and encoding, reception statistics and what is missing of it.
//! * **In:** packets, by [`Streams::find`].
//! * **Out:** the stream of a packet; of a retransmission, the stream that it repeats a packet of.
//! * **Invariant:** ascending by SSRC, found in O(log n); a sender of ever new SSRCs has [`MAX_SSRCS`] of an encoding.

use std::time::{Duration, Instant};

use hearth_peer::{NackTracker, ReceiverStats, RttEstimator};
use hearth_plane::UpTrackSpec;
use hearth_rtp::{ReadExtensions, RtpView};
use hearth_units::SeqUnwrapper;

use crate::demux::{self, Found};
use crate::entry::{TrackEntry, TrackKey};
use crate::slab::Slab;

/// SSRCs that are remembered of one encoding, and as many of its retransmissions: the one it comes under, the one
/// before, and some to spare.
const MAX_SSRCS: usize = 4;
/// Retransmissions of a stream that is silent for so long are taken for those of the one in its place. Shorter
/// may mix the packets of two, longer repairs nothing meanwhile.
const PARTED_AFTER: Duration = Duration::from_secs(1);

/// A received SSRC.
pub(crate) struct Stream {
    pub(crate) ssrc: u32,
    pub(crate) track: TrackKey,
    pub(crate) encoding: u8,
    pub(crate) role: StreamRole,
    pub(crate) reception: ReceiverStats,
    pub(crate) unwrapper: SeqUnwrapper,
}

/// Media, or the retransmissions of it.
pub(crate) enum StreamRole {
    Media {
        nack: Option<Box<NackTracker>>,
    },
    /// `media_ssrc` is the stream it repeats packets of, from its first packet on.
    Rtx {
        media_ssrc: Option<u32>,
    },
}

impl Stream {
    pub(crate) fn is_rtx(&self) -> bool {
        matches!(self.role, StreamRole::Rtx { .. })
    }

    fn new(ssrc: u32, found: &Found, spec: &UpTrackSpec) -> Self {
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
        Self { ssrc, track, encoding, role, reception, unwrapper }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Streams(pub(crate) Vec<Stream>);

impl Streams {
    /// The place of a packet's stream, which may be new, or have moved. `published` are the tracks of its sender.
    pub(crate) fn find(
        &mut self,
        published: &[TrackKey],
        tracks: &Slab<TrackEntry>,
        view: &RtpView<'_>,
        extensions: &ReadExtensions<'_>,
    ) -> Option<usize> {
        let spec = |key: TrackKey| Some((key, &tracks.get(key)?.spec));
        let names_place = extensions.mid.is_some() || extensions.rid.is_some();
        if let Some(at) = self.place(view.ssrc) {
            let stream = self.0.get(at)?;
            let (_, spec) = spec(stream.track)?;
            let (encoding, is_rtx) = (stream.encoding, stream.is_rtx());
            if !names_place || !demux::contradicts(spec, encoding, is_rtx, extensions) {
                return Some(at);
            }
            self.0.remove(at);
        }
        let specs = published.iter().filter_map(|key| spec(*key));
        let found = demux::find(specs, view, extensions)?;
        self.make_room(&found);
        let at = self.0.partition_point(|stream| stream.ssrc < view.ssrc);
        let (_, spec) = spec(found.track)?;
        self.0.insert(at, Stream::new(view.ssrc, &found, spec));
        Some(at)
    }

    /// The place of an SSRC that was received.
    pub(crate) fn place(&self, ssrc: u32) -> Option<usize> {
        self.0.binary_search_by_key(&ssrc, |stream| stream.ssrc).ok()
    }

    /// What is missing of the stream at `at`.
    pub(crate) fn nack(&mut self, at: usize) -> Option<&mut NackTracker> {
        match &mut self.0.get_mut(at)?.role {
            StreamRole::Media { nack } => nack.as_deref_mut(),
            StreamRole::Rtx { .. } => None,
        }
    }

    /// The place of the stream that packets of the RTX stream at `at` repeat, if that is the `active` one of its
    /// encoding: numbers of another mean other packets. A pair that the active one took the place of is parted when
    /// its media is silent.
    pub(crate) fn repeated(&mut self, now: Instant, at: usize, active: u32) -> Option<usize> {
        let StreamRole::Rtx { media_ssrc } = self.0.get(at)?.role else {
            return None;
        };
        let paired = media_ssrc.filter(|ssrc| *ssrc != active);
        let last = paired.and_then(|ssrc| self.0.get(self.place(ssrc)?)?.reception.last_packet());
        if last.is_some_and(|last| now.saturating_duration_since(last) < PARTED_AFTER) {
            return None;
        }
        if let StreamRole::Rtx { media_ssrc } = &mut self.0.get_mut(at)?.role {
            *media_ssrc = Some(active);
        }
        self.place(active)
    }

    /// Packets of a track's media that were to come, and of these those that never did (RFC 3550 §6.4.1).
    pub(crate) fn expected_and_lost(&self, track: TrackKey) -> (u64, u64) {
        let of_track = self.0.iter().filter(|stream| stream.track == track && !stream.is_rtx());
        of_track.fold((0, 0), |(expected, lost), Stream { reception, .. }| {
            let new = reception.expected();
            (expected + new, lost + new.saturating_sub(reception.received()))
        })
    }

    /// Forgets the SSRC of an encoding that was silent longest, if it has had many.
    fn make_room(&mut self, found: &Found) {
        let same = |stream: &Stream| {
            (stream.track, stream.encoding, stream.is_rtx())
                == (found.track, found.encoding, found.is_rtx)
        };
        if self.0.iter().filter(|stream| same(stream)).count() < MAX_SSRCS {
            return;
        }
        let of_encoding = self.0.iter().enumerate().filter(|(_, stream)| same(stream));
        let silent = of_encoding.min_by_key(|(_, stream)| stream.reception.last_packet());
        if let Some((at, _)) = silent {
            self.0.remove(at);
        }
    }
}

/// Rebuilds, in place, the media packet that an RTX packet repeats (RFC 4588 §4); with its original number.
pub(crate) fn unwrap_rtx<'a>(
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
