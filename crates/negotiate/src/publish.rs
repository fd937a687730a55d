//! Matches sections of the client's offers to announced tracks (publications).
//!
//! * **Owns:** the match of each section that the client sends in, until the section stops.
//! * **In:** [`update`](Uplinks::update) (an offer), [`match_late`](Uplinks::match_late) (tracks
//!   announced after their section).
//! * **Out:** [`plan`](Uplinks::plan), [`published`](Uplinks::published).
//! * **Invariant:** a matched section keeps its match while it sends, unless its msid becomes the
//!   name of another announced track.
//! * **livekit-server:** `participant.go`, `getPendingTrack`.

use std::collections::{BTreeMap, BTreeSet};

use hearth_codec::Codec;
use hearth_plane::EncodingSpec;
use hearth_sdp::{Direction, Media};
use hearth_units::MediaKind;

use crate::{AnswererKind, PendingTrack, Published};

/// Most encodings of a track.
const MAX_ENCODINGS: usize = 3;

/// The publication options of a section's track.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) preferred: Option<Codec>,
    pub(crate) stereo: bool,
    pub(crate) no_dtx: bool,
    pub(crate) disable_red: bool,
}

/// A section that the client sends in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) mid: &'a str,
    pub(crate) kind: MediaKind,
    pub(crate) cid: &'a str,
}

/// The changes by an offer.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Sections whose match ended.
    pub(crate) ended: Vec<String>,
    /// New matches: mid, and index of the track.
    pub(crate) matched: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Up {
    /// Among the sections that send, in the order of the last offer.
    position: usize,
    kind: MediaKind,
    cid: String,
    matched: Option<Match>,
    /// The spec of the last answer, without the match.
    published: Option<Published>,
}

#[derive(Clone, Debug)]
struct Match {
    pending_cid: String,
    plan: Plan,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Uplinks {
    by_mid: BTreeMap<String, Up>,
}

impl Uplinks {
    /// Takes note of all sections that the client sends in.
    pub(crate) fn update(&mut self, sending: &[Sending<'_>], tracks: &[PendingTrack]) -> Changes {
        let mut changes = Changes::default();
        let mids: BTreeSet<&str> = sending.iter().map(|section| section.mid).collect();
        self.by_mid.retain(|mid, up| {
            let stays = mids.contains(mid.as_str());
            if !stays && up.matched.is_some() {
                changes.ended.push(mid.clone());
            }
            stays
        });
        for (position, section) in (0..).zip(sending) {
            let fresh = || Up {
                position,
                kind: section.kind,
                cid: section.cid.to_owned(),
                matched: None,
                published: None,
            };
            let up = self.by_mid.entry(section.mid.to_owned()).or_insert_with(fresh);
            up.position = position;
            if up.cid == section.cid {
                continue;
            }
            section.cid.clone_into(&mut up.cid);
            let other = exact(up.kind, section.cid, tracks);
            let current = up.matched.as_ref().map(|m| m.pending_cid.as_str());
            if let (Some((_, other)), Some(current)) = (other, current)
                && other.pending_cid != current
            {
                up.matched = None;
                changes.ended.push(section.mid.to_owned());
            }
        }
        changes.matched = self.match_all(tracks);
        changes
    }

    /// Matches sections of earlier offers with tracks announced since.
    pub(crate) fn match_late(&mut self, tracks: &[PendingTrack]) -> Vec<Published> {
        let matched = self.match_all(tracks);
        self.published(&matched).filter(|published| published.pending.is_some()).collect()
    }

    /// How the section is to be answered, if it is matched.
    pub(crate) fn plan(&self, mid: &str) -> Option<Plan> {
        self.by_mid.get(mid)?.matched.as_ref().map(|matched| matched.plan)
    }

    /// Keeps the answered spec of a section.
    pub(crate) fn set_answered(&mut self, answered: Vec<Published>) {
        for up in self.by_mid.values_mut() {
            up.published = None;
        }
        for published in answered {
            if let Some(up) = self.by_mid.get_mut(&published.mid) {
                up.published = Some(published);
            }
        }
    }

    /// Every matched section that was answered.
    pub(crate) fn published<'a>(
        &'a self,
        new: &'a BTreeMap<String, usize>,
    ) -> impl Iterator<Item = Published> + 'a {
        self.by_mid.iter().filter_map(|(mid, up)| {
            let mut published = up.published.clone()?;
            published.pending_cid.clone_from(&up.matched.as_ref()?.pending_cid);
            published.track_cid.clone_from(&up.cid);
            published.pending = new.get(mid).copied();
            Some(published)
        })
    }

    /// First by name, so that no section takes a track by kind that another one names.
    fn match_all(&mut self, tracks: &[PendingTrack]) -> BTreeMap<String, usize> {
        let mut new = BTreeMap::new();
        let mut taken: BTreeSet<String> = self
            .by_mid
            .values()
            .filter_map(|up| Some(up.matched.as_ref()?.pending_cid.clone()))
            .collect();
        let mut unmatched: Vec<(&String, &mut Up)> =
            self.by_mid.iter_mut().filter(|(_, up)| up.matched.is_none()).collect();
        unmatched.sort_by_key(|(_, up)| up.position);
        for by_name in [true, false] {
            for (mid, up) in unmatched.iter_mut().filter(|(_, up)| up.matched.is_none()) {
                let found = if by_name {
                    exact(up.kind, &up.cid, tracks)
                } else {
                    by_kind(up.kind, tracks, &taken)
                };
                if let Some((index, matched)) = found {
                    taken.insert(matched.pending_cid.clone());
                    up.matched = Some(matched);
                    new.insert((*mid).clone(), index);
                }
            }
        }
        new
    }
}

fn exact(kind: MediaKind, cid: &str, tracks: &[PendingTrack]) -> Option<(usize, Match)> {
    if cid.is_empty() {
        return None;
    }
    let of_kind = || tracks.iter().enumerate().filter(|(_, track)| track.kind == kind);
    if let Some((index, track)) = of_kind().find(|(_, track)| track.cid == cid) {
        return Some((index, matched(track, primary_codec(track))));
    }
    of_kind().find_map(|(index, track)| {
        let entry = track.simulcast.iter().find(|entry| entry.cid == cid)?;
        Some((index, matched(track, entry.codec)))
    })
}

fn by_kind(
    kind: MediaKind,
    tracks: &[PendingTrack],
    taken: &BTreeSet<String>,
) -> Option<(usize, Match)> {
    let mut free =
        tracks.iter().enumerate().filter(|(_, t)| t.kind == kind && !taken.contains(&t.cid));
    free.next().map(|(index, track)| (index, matched(track, primary_codec(track))))
}

fn primary_codec(track: &PendingTrack) -> Option<Codec> {
    track.preferred.or_else(|| track.simulcast.first()?.codec)
}

fn matched(track: &PendingTrack, codec: Option<Codec>) -> Match {
    let plan = Plan {
        preferred: codec.filter(|codec| codec.kind() == track.kind),
        stereo: track.stereo,
        no_dtx: track.no_dtx,
        disable_red: track.disable_red,
    };
    Match { pending_cid: track.cid.clone(), plan }
}

/// Whether the client sends a track in the section, whose direction this is. On a connection for both
/// ways a `sendrecv` section may be there only to receive; then it names neither track nor stream.
pub(crate) fn is_sending(media: &Media, direction: Direction, kind: AnswererKind) -> bool {
    let attributes = &media.attributes;
    let names_a_stream = || {
        attributes.msid().is_some()
            || attributes.rids().any(|rid| rid.sends)
            || attributes.ssrcs().next().is_some()
    };
    match (kind, direction) {
        (_, Direction::SendOnly) | (AnswererKind::Publisher, Direction::SendRecv) => true,
        (AnswererKind::Single, Direction::SendRecv) => names_a_stream(),
        (_, Direction::RecvOnly | Direction::Inactive) => false,
    }
}

/// The RIDs that the client sends, in its order; empty without simulcast by RID.
pub(crate) fn rids_of(media: &Media) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let sent = media.attributes.rids().filter(|rid| rid.sends && seen.insert(rid.id));
    let declared: Vec<&str> = sent.map(|rid| rid.id).take(16).collect();
    let listed = media.attributes.simulcast().map(|simulcast| simulcast.send).unwrap_or_default();
    let mut rids = if listed.is_empty() { declared.clone() } else { listed };
    rids.retain(|rid| declared.contains(rid));
    let kept: BTreeSet<&str> = lowest_first(rids.clone()).into_iter().take(MAX_ENCODINGS).collect();
    rids.retain(|rid| kept.contains(rid));
    rids
}

/// The encodings of a section, lowest first; one without a name or number if nothing is said.
pub(crate) fn encodings_of(media: &Media) -> Vec<EncodingSpec> {
    let rids = rids_of(media);
    if !rids.is_empty() {
        let spec = |rid: &str| EncodingSpec { rid: Some(rid.to_owned()), ..Default::default() };
        return lowest_first(rids).into_iter().map(spec).collect();
    }
    let groups: Vec<_> = media.attributes.ssrc_groups().take(64).collect();
    let rtx_of = |ssrc: u32| {
        let pairs = groups.iter().filter(|group| group.semantics == "FID");
        pairs
            .filter_map(|group| Some((group.ssrcs.first()?, group.ssrcs.get(1)?)))
            .find(|(primary, _)| **primary == ssrc)
            .map(|(_, rtx)| *rtx)
    };
    let primaries: Vec<u32> = match groups.iter().find(|group| group.semantics == "SIM") {
        Some(group) => group.ssrcs.iter().copied().take(MAX_ENCODINGS).collect(),
        None => {
            let first_of_pair = groups.iter().filter_map(|group| group.ssrcs.first().copied());
            let first = media.attributes.ssrcs().map(|ssrc| ssrc.ssrc);
            first_of_pair.chain(first).take(1).collect()
        }
    };
    if primaries.is_empty() {
        return vec![EncodingSpec::default()];
    }
    let spec = |ssrc| EncodingSpec { rid: None, ssrc: Some(ssrc), rtx_ssrc: rtx_of(ssrc) };
    primaries.into_iter().map(spec).collect()
}

/// Sorts by the names LiveKit's clients use; others stay in the client's order.
fn lowest_first(mut rids: Vec<&str>) -> Vec<&str> {
    for names in [["q", "h", "f"], ["2", "1", "0"]] {
        let rank = |rid: &&str| names.iter().position(|name| name == rid);
        if rids.iter().all(|rid| rank(rid).is_some()) {
            rids.sort_by_key(rank);
        }
    }
    rids
}
