//! Who is heard.
//!
//! * **Owns:** the last level of every microphone, and the level last shown for each participant.
//! * **In:** levels of tracks; tracks that are muted or gone.
//! * **Out:** `speakers_changed`, for participants whose shown level changed.
//! * **Invariant:** a participant that is shown as speaking is shown silent before it is forgotten
//!   by its recipients.
//! * **livekit-server:** `pkg/rtc/room.go` (`audioUpdateWorker`): levels in steps of 1/8.

use std::collections::BTreeMap;

use hearth_plane::{Level, TrackId};
use hearth_signal::proto::{self, SpeakerInfo, signal_response::Message};

use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publications::Publications;
use crate::roster::Roster;
use crate::subscription::Subscriptions;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    tracks: BTreeMap<TrackId, (ParticipantKey, f32)>,
    shown: BTreeMap<ParticipantKey, f32>,
}

impl Speakers {
    /// A shard measured microphones.
    pub(crate) fn handle_levels(&mut self, levels: &[Level], publications: &Publications) {
        for Level { track, level } in levels {
            let Some(publication) = publications.get(*track) else { continue };
            if publication.is_microphone() && !publication.info.muted {
                self.set(*track, publication.publisher, *level);
            }
        }
    }

    /// The loudness of a microphone changed; 0 is silence.
    fn set(&mut self, track: TrackId, publisher: ParticipantKey, level: f32) {
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
    fn shown(&self, publisher: ParticipantKey) -> f32 {
        self.shown.get(&publisher).copied().unwrap_or(0.0)
    }

    /// Participants whose level changed since the last call, with the new one, loudest first.
    fn take_changes(&mut self) -> Vec<(ParticipantKey, f32)> {
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

impl Speakers {
    /// Tells everybody whose level changed, as far as it concerns them.
    pub(crate) fn announce(
        &mut self,
        subscriptions: &Subscriptions,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        let changes: BTreeMap<ParticipantKey, SpeakerInfo> = self
            .take_changes()
            .into_iter()
            .filter_map(|(key, level)| Some((key, speaker(roster, key, level)?)))
            .collect();
        if changes.is_empty() {
            return;
        }
        for recipient in roster.keys() {
            let concerning = subscriptions.concerning(recipient).into_iter();
            let speakers: Vec<SpeakerInfo> =
                concerning.filter_map(|key| changes.get(&key).cloned()).collect();
            if !speakers.is_empty() {
                let message = proto::SpeakersChanged { speakers };
                roster.send(out, recipient, Message::SpeakersChanged(message));
            }
        }
    }

    /// A subscription begins: the publisher may be speaking.
    pub(crate) fn tell_speaker(
        &self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        let level = self.shown(publisher);
        if level > 0.0 {
            send_level(subscriber, (publisher, level), roster, out);
        }
    }

    /// The last subscription to a publisher ended: if it speaks, it is heard no more.
    pub(crate) fn tell_silence(
        &self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        if self.shown(publisher) > 0.0 {
            send_level(subscriber, (publisher, 0.0), roster, out);
        }
    }
}

/// Tells one participant how loud another is.
pub(crate) fn send_level(
    to: ParticipantKey,
    (key, level): (ParticipantKey, f32),
    roster: &Roster,
    out: &mut Outbox,
) {
    if let Some(speaker) = speaker(roster, key, level) {
        let message = proto::SpeakersChanged { speakers: vec![speaker] };
        roster.send(out, to, Message::SpeakersChanged(message));
    }
}

fn speaker(roster: &Roster, key: ParticipantKey, level: f32) -> Option<SpeakerInfo> {
    let sid = roster.get(key)?.record.sid.clone();
    Some(SpeakerInfo { sid, level, active: level > 0.0 })
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
