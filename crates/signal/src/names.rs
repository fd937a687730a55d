//! Sids: the server's names for rooms, participants and tracks.
//!
//! * **Owns:** nothing.
//! * **In:** randomness.
//! * **Out:** strings such as `PA_8sK2mQpLw3Tz`.
//! * **Invariant:** a sid has its prefix and 12 letters or digits that no client can guess.

use crate::Rng;
use crate::proto::{TrackSource, TrackType};

const ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// `prefix` and 12 random letters or digits.
pub fn short_id(rng: &mut Rng, prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 12);
    id.push_str(prefix);
    id.extend((0..12).map(|_| char::from(rng.pick(ALPHABET))));
    id
}

/// A room's sid.
pub fn room_sid(rng: &mut Rng) -> String {
    short_id(rng, "RM_")
}

/// A participant's sid.
pub fn participant_sid(rng: &mut Rng) -> String {
    short_id(rng, "PA_")
}

/// A track's sid; its letters after `TR_` name kind and source, as livekit-server's do.
pub fn track_sid(rng: &mut Rng, kind: TrackType, source: TrackSource) -> String {
    let kind = match kind {
        TrackType::Audio => "A",
        TrackType::Video => "V",
        TrackType::Data => "D",
    };
    let source = match source {
        TrackSource::Camera => "C",
        TrackSource::Microphone => "M",
        TrackSource::ScreenShare => "S",
        TrackSource::ScreenShareAudio => "s",
        TrackSource::Unknown => "",
    };
    short_id(rng, &format!("TR_{kind}{source}"))
}

#[cfg(test)]
mod tests {
    use hearth_random::{Purpose, Seed};

    use super::*;

    #[test]
    fn a_microphone_is_named_am() {
        let sid = track_sid(
            &mut Seed::fixed(1).rng(Purpose::Sid),
            TrackType::Audio,
            TrackSource::Microphone,
        );
        assert!(sid.starts_with("TR_AM"));
        assert_eq!(sid.len(), "TR_AM".len() + 12);
    }

    #[test]
    fn two_sids_differ() {
        let mut rng = Seed::fixed(7).rng(Purpose::Sid);
        assert_ne!(participant_sid(&mut rng), participant_sid(&mut rng));
    }
}
