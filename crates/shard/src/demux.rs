//! Whose packets of an SSRC are that was not heard before.
//!
//! * **Owns:** nothing; pure functions of what control says of a peer's tracks and of one packet.
//! * **In:** the specs of the tracks, the packet, its header extensions.
//! * **Out:** [`find`]: track, encoding, and whether the SSRC carries media or retransmissions.
//! * **Spec:** RFC 8843 §9.2: the mid of the packet, else an SSRC that the description names, else a payload type
//!   that only one section has. RFC 8852 for rid and repaired rid inside a section.

use hearth_plane::UpTrackSpec;
use hearth_rtp::{ReadExtensions, RtpView};

use crate::entry::TrackKey;

/// What an SSRC carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) track: TrackKey,
    pub(crate) encoding: u8,
    /// Retransmissions (RFC 4588) rather than media.
    pub(crate) is_rtx: bool,
}

/// Finds out by the tracks of the peer, by key.
pub(crate) fn find<'a>(
    tracks: impl Iterator<Item = (TrackKey, &'a UpTrackSpec)> + Clone,
    view: &RtpView<'_>,
    extensions: &ReadExtensions<'_>,
) -> Option<Found> {
    let mut tracks = tracks;
    if let Some(mid) = extensions.mid {
        return tracks
            .filter(|(_, spec)| spec.mid == mid)
            .find_map(|(track, spec)| in_section(track, spec, view, extensions));
    }
    let declared = |(track, spec)| declared(track, spec, view.ssrc);
    if let Some(found) = tracks.clone().find_map(declared) {
        return Some(found);
    }
    let has_type = |(_, spec): &(TrackKey, &UpTrackSpec)| has_payload_type(spec, view.payload_type);
    let (_, first) = tracks.clone().find(has_type)?;
    let is_unique = tracks.clone().filter(has_type).all(|(_, spec)| spec.mid == first.mid);
    if !is_unique {
        return None;
    }
    tracks.find_map(|(track, spec)| in_section(track, spec, view, extensions))
}

/// Whether a packet of a known SSRC says that it is of another section or encoding: an SSRC may change its
/// place (RFC 8843 §9.2).
pub(crate) fn contradicts(
    spec: &UpTrackSpec,
    encoding: u8,
    is_rtx: bool,
    extensions: &ReadExtensions<'_>,
) -> bool {
    let rid = if is_rtx { extensions.repaired_rid } else { extensions.rid };
    let other_rid = |rid: &str| {
        let known = spec.encodings.get(usize::from(encoding));
        known.and_then(|known| known.rid.as_deref()).is_some_and(|known| known != rid)
            && spec.encodings.iter().any(|other| other.rid.as_deref() == Some(rid))
    };
    extensions.mid.is_some_and(|mid| mid != spec.mid) || rid.is_some_and(other_rid)
}

/// By the SSRCs that the description names.
fn declared(track: TrackKey, spec: &UpTrackSpec, ssrc: u32) -> Option<Found> {
    (0_u8..).zip(&spec.encodings).find_map(|(encoding, known)| {
        let is_rtx = known.rtx_ssrc == Some(ssrc);
        let is_known = is_rtx || known.ssrc == Some(ssrc);
        is_known.then_some(Found { track, encoding, is_rtx })
    })
}

/// Which encoding of its section a packet belongs to.
fn in_section(
    track: TrackKey,
    spec: &UpTrackSpec,
    view: &RtpView<'_>,
    extensions: &ReadExtensions<'_>,
) -> Option<Found> {
    if let Some(found) = declared(track, spec, view.ssrc) {
        return Some(found);
    }
    if !has_payload_type(spec, view.payload_type) {
        return None;
    }
    let is_rtx = !spec.codecs.iter().any(|codec| codec.pt == view.payload_type);
    let rid = if is_rtx { extensions.repaired_rid } else { extensions.rid };
    let of_rid = (0_u8..)
        .zip(&spec.encodings)
        .find(|(_, known)| rid.is_some() && known.rid.as_deref() == rid);
    let only = (spec.encodings.len() == 1).then_some(0);
    let encoding = of_rid.map(|(encoding, _)| encoding).or(only)?;
    Some(Found { track, encoding, is_rtx })
}

fn has_payload_type(spec: &UpTrackSpec, payload_type: u8) -> bool {
    let has = |codec: &hearth_plane::ReceiveCodec| {
        codec.pt == payload_type || codec.rtx_pt == Some(payload_type)
    };
    spec.codecs.iter().any(has)
}

#[cfg(test)]
mod tests {
    use hearth_codec::Codec;
    use hearth_plane::{EncodingSpec, PeerId, ReceiveCodec, RoomId, Source};
    use hearth_rtp::{ExtensionIds, RtpHeader, write_header};
    use hearth_units::MediaKind;

    use super::*;
    use crate::slab::Key;

    fn ids() -> ExtensionIds {
        let (mid, rid, repaired_rid) = (Some(1), Some(2), Some(3));
        ExtensionIds { mid, rid, repaired_rid, ..ExtensionIds::default() }
    }

    fn spec(mid: &str, codec: (Codec, u8, Option<u8>), encodings: &[EncodingSpec]) -> UpTrackSpec {
        let (codec, pt, rtx_pt) = codec;
        UpTrackSpec {
            source: Source::Local(PeerId { room: RoomId(1), n: 1 }),
            kind: MediaKind::Video,
            mid: mid.to_owned(),
            codecs: vec![ReceiveCodec { codec, pt, rtx_pt }],
            extensions: ids(),
            encodings: encodings.to_vec(),
            nack: true,
            measure_level: false,
        }
    }

    fn by_rid(rid: &str) -> EncodingSpec {
        EncodingSpec { rid: Some(rid.to_owned()), ssrc: None, rtx_ssrc: None }
    }

    /// A microphone, a camera in three encodings by rid, a screen whose SSRCs are named.
    fn sections() -> [UpTrackSpec; 3] {
        let screen = EncodingSpec { rid: None, ssrc: Some(30), rtx_ssrc: Some(31) };
        [
            spec("0", (Codec::Opus, 111, None), &[EncodingSpec::default()]),
            spec("1", (Codec::Vp8, 96, Some(97)), &["q", "h", "f"].map(by_rid)),
            spec("2", (Codec::Vp8, 96, Some(97)), &[screen]),
        ]
    }

    fn check(
        sections: &[UpTrackSpec],
        (ssrc, payload_type): (u32, u8),
        names: &[(u8, &str)],
        expect: Option<(usize, u8, bool)>,
    ) {
        let names: Vec<(u8, &[u8])> = names.iter().map(|(id, n)| (*id, n.as_bytes())).collect();
        let header = RtpHeader { marker: false, payload_type, seq: 1, timestamp: 2, ssrc };
        let mut buf = [0; 100];
        write_header(&mut buf, &header, &names).unwrap();
        let view = RtpView::parse(&buf).unwrap();
        let extensions = ReadExtensions::read(&view, &ids());
        let found = find((0..).map(|index| Key::of(index, 0)).zip(sections), &view, &extensions);
        let found = found.map(|found| (found.track.index(), found.encoding, found.is_rtx));
        assert_eq!(found, expect, "SSRC {ssrc}, type {payload_type}, {names:?}");
    }

    #[test]
    fn a_packet_finds_its_section_in_every_way_there_is() {
        let all = sections();
        for (packet, names, expect) in [
            // By mid, and in the section by rid.
            ((9, 111), &[(1, "0")][..], Some((0, 0, false))),
            ((9, 96), &[(1, "1"), (2, "h")], Some((1, 1, false))),
            ((9, 97), &[(1, "1"), (3, "f")], Some((1, 2, true))),
            ((9, 96), &[(1, "1")], None),
            // Another SSRC than is named, and one named in another section.
            ((9, 96), &[(1, "2")], Some((2, 0, false))),
            ((9, 97), &[(1, "2")], Some((2, 0, true))),
            ((30, 96), &[(1, "1"), (2, "q")], Some((1, 0, false))),
            ((30, 96), &[(1, "7")], None),
            ((9, 111), &[(1, "1"), (2, "q")], None),
            // By SSRC.
            ((30, 96), &[], Some((2, 0, false))),
            ((31, 97), &[], Some((2, 0, true))),
            // By a payload type that only one section has.
            ((9, 111), &[], Some((0, 0, false))),
            ((9, 96), &[], None),
            ((9, 96), &[(2, "q")], None),
        ] {
            check(&all, packet, names, expect);
        }
        check(&all[..2], (9, 96), &[(2, "f")], Some((1, 2, false)));
        check(&all[..2], (9, 96), &[], None);
        check(&all[2..], (9, 97), &[], Some((0, 0, true)));
    }

    #[test]
    fn an_ssrc_that_names_another_section_or_encoding_has_moved() {
        let all = sections();
        for (names, moved) in [
            (&[][..], false),
            (&[(1, "1"), (2, "h")], false),
            (&[(1, "1"), (2, "q")], true),
            (&[(1, "1"), (2, "unknown")], false),
            (&[(1, "2")], true),
        ] {
            let names: Vec<(u8, &[u8])> =
                names.iter().map(|(id, n): &(u8, &str)| (*id, n.as_bytes())).collect();
            let mut buf = [0; 100];
            let header =
                RtpHeader { marker: false, payload_type: 96, seq: 1, timestamp: 2, ssrc: 3 };
            write_header(&mut buf, &header, &names).unwrap();
            let view = RtpView::parse(&buf).unwrap();
            let extensions = ReadExtensions::read(&view, &ids());
            assert_eq!(contradicts(&all[1], 1, false, &extensions), moved, "{names:?}");
        }
    }
}
