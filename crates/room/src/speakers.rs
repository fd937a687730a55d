//! Who is heard.
//!
//! * **Owns:** the last level of every microphone, and the level last shown for each participant.
//! * **In:** levels of tracks; tracks that are muted or gone.
//! * **Out:** participants whose shown level changed.
//! * **Invariant:** a participant that is shown as speaking is shown silent before it is forgotten
//!   by its recipients.
//! * **livekit-server:** `pkg/rtc/room.go` (`audioUpdateWorker`): levels in steps of 1/8.

use std::collections::BTreeMap;

use hearth_plane::TrackId;

use crate::participant::ParticipantKey;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    tracks: BTreeMap<TrackId, (ParticipantKey, f32)>,
    shown: BTreeMap<ParticipantKey, f32>,
}

impl Speakers {
    /// The loudness of a microphone changed; 0 is silence.
    pub(crate) fn set(&mut self, track: TrackId, publisher: ParticipantKey, level: f32) {
        if level > 0.0 {
            self.tracks.insert(track, (publisher, level));
        } else {
            self.tracks.remove(&track);
        }
    }

    /// The track is muted or gone.
    pub(crate) fn remove(&mut self, track: TrackId) {
        self.tracks.remove(&track);
    }

    /// The participant is gone, and nobody needs to be told that it is silent.
    pub(crate) fn forget(&mut self, publisher: ParticipantKey) {
        self.shown.remove(&publisher);
        self.tracks.retain(|_, (key, _)| *key != publisher);
    }

    /// What is shown of this participant; 0 if it is silent.
    pub(crate) fn shown(&self, publisher: ParticipantKey) -> f32 {
        self.shown.get(&publisher).copied().unwrap_or(0.0)
    }

    /// Participants whose level changed since the last call, with the new one, loudest first.
    pub(crate) fn take_changes(&mut self) -> Vec<(ParticipantKey, f32)> {
        let mut levels: BTreeMap<ParticipantKey, f32> = BTreeMap::new();
        for (publisher, level) in self.tracks.values() {
            let loudest = levels.entry(*publisher).or_default();
            *loudest = loudest.max(steps(*level));
        }
        let mut changes: Vec<(ParticipantKey, f32)> = levels
            .iter()
            .filter(|(key, level)| self.shown.get(key) != Some(level))
            .map(|(key, level)| (*key, *level))
            .collect();
        changes.sort_by(|a, b| b.1.total_cmp(&a.1));
        let silent = self.shown.keys().filter(|key| !levels.contains_key(key));
        changes.extend(silent.map(|key| (*key, 0.0)));
        self.shown = levels;
        changes
    }
}

fn steps(level: f32) -> f32 {
    (level.clamp(0.0, 1.0) * 8.0).ceil() / 8.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_plane::RoomId;

    #[test]
    fn only_changes_in_steps_of_an_eighth_are_shown() {
        let mut speakers = Speakers::default();
        let mut at = |level| {
            speakers.set(track(1), ParticipantKey(1), level);
            speakers.take_changes()
        };
        assert_eq!(at(0.05), [(ParticipantKey(1), 0.125)]);
        assert_eq!(at(0.1), []);
        assert_eq!(at(0.2), [(ParticipantKey(1), 0.25)]);
        assert_eq!(at(0.0), [(ParticipantKey(1), 0.0)]);
        assert_eq!(at(0.0), []);
    }

    #[test]
    fn the_loudest_of_several_microphones_counts() {
        let mut speakers = Speakers::default();
        speakers.set(track(1), ParticipantKey(1), 0.5);
        speakers.set(track(2), ParticipantKey(1), 0.2);
        speakers.set(track(3), ParticipantKey(2), 1.0);
        assert_eq!(speakers.take_changes(), [(ParticipantKey(2), 1.0), (ParticipantKey(1), 0.5)]);
        speakers.remove(track(1));
        assert_eq!(speakers.take_changes(), [(ParticipantKey(1), 0.25)]);
    }

    fn track(n: u32) -> TrackId {
        TrackId { room: RoomId(1), n }
    }
}
