//! RTP header extensions: which are negotiated for a section, under which ids.

use hearth_rtp::ExtensionIds;
use hearth_sdp::{Attributes, Direction, ExtMap, Media};

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// The extensions that we read of received packets.
const RECEIVED: &[&str] = &[
    MID,
    RID,
    REPAIRED_RID,
    AUDIO_LEVEL,
    TRANSPORT_CC,
    DEPENDENCY_DESCRIPTOR,
    ABS_CAPTURE_TIME,
    VIDEO_ORIENTATION,
];

/// The extensions that we may write into packets that we send.
const SENT: &[&str] =
    &[MID, AUDIO_LEVEL, DEPENDENCY_DESCRIPTOR, ABS_CAPTURE_TIME, VIDEO_ORIENTATION, PLAYOUT_DELAY];

/// Ids in our offers for video; livekit-server's 1 to 3, then ours.
pub(crate) const OFFERED_VIDEO: &[(u8, &str)] = &[
    (1, DEPENDENCY_DESCRIPTOR),
    (2, ABS_CAPTURE_TIME),
    (3, ABS_SEND_TIME),
    (4, VIDEO_ORIENTATION),
    (5, PLAYOUT_DELAY),
];

/// Ids in our offers for audio.
pub(crate) const OFFERED_AUDIO: &[(u8, &str)] = &[(2, ABS_CAPTURE_TIME)];

/// One line of the answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Agreed {
    pub(crate) id: u8,
    pub(crate) direction: Option<Direction>,
    pub(crate) uri: &'static str,
}

/// The extensions of a section's offer that we accept, in its order, whatever the section's direction: Chromium
/// leaves an extension that one section of the bundle refuses out of the sections it adds later,
/// and then cannot send simulcast in them. `session` are the attributes for all sections.
pub(crate) fn agree(session: &Attributes, media: &Media) -> Vec<Agreed> {
    let mut agreed: Vec<Agreed> = Vec::new();
    for ext in media.attributes.extmaps().chain(session.extmaps()) {
        let theirs = ext.direction.unwrap_or_default();
        let up = RECEIVED.iter().find(|uri| theirs.sends() && **uri == ext.uri);
        let down = SENT.iter().find(|uri| theirs.receives() && **uri == ext.uri);
        let Some(uri) = up.or(down) else { continue };
        if agreed.iter().all(|other| other.id != ext.id && other.uri != *uri) {
            agreed.push(Agreed { id: ext.id, direction: ext.direction.map(mirrored), uri });
        }
    }
    agreed
}

/// The extensions of our offer that the client accepted, for a section we send in.
pub(crate) fn answered(media: &Media, ours: &[(u8, &str)]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for ExtMap { id, direction, uri } in media.attributes.extmaps() {
        if ours.contains(&(id, uri)) && direction.unwrap_or_default().receives() {
            set(&mut ids, id, uri);
        }
    }
    ids
}

/// Adds what may be used in one direction to a table of ids.
pub(crate) fn add_ids(ids: &mut ExtensionIds, agreed: &[Agreed], sending: bool) {
    for Agreed { id, direction, uri } in agreed {
        let ours = direction.unwrap_or_default();
        let usable = if sending {
            ours.sends() && SENT.contains(uri)
        } else {
            ours.receives() && RECEIVED.contains(uri)
        };
        if usable {
            set(ids, *id, uri);
        }
    }
}

fn set(ids: &mut ExtensionIds, id: u8, uri: &str) {
    let slot = match uri {
        MID => &mut ids.mid,
        RID => &mut ids.rid,
        REPAIRED_RID => &mut ids.repaired_rid,
        AUDIO_LEVEL => &mut ids.audio_level,
        TRANSPORT_CC => &mut ids.transport_cc,
        ABS_SEND_TIME => &mut ids.abs_send_time,
        ABS_CAPTURE_TIME => &mut ids.abs_capture_time,
        DEPENDENCY_DESCRIPTOR => &mut ids.dependency_descriptor,
        VIDEO_ORIENTATION => &mut ids.video_orientation,
        PLAYOUT_DELAY => &mut ids.playout_delay,
        _ => return,
    };
    slot.get_or_insert(id);
}

const fn mirrored(direction: Direction) -> Direction {
    Direction::new(direction.receives(), direction.sends())
}
