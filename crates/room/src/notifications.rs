//! Speakers and connection quality: what is told to whom.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** levels from shards; ticks.
//! * **Out:** `speakers_changed`, `connection_quality`.
//! * **Invariant:** a participant hears of itself and of publishers it is subscribed to, of nobody
//!   else.
//! * **livekit-server:** `pkg/rtc/room.go` (`audioUpdateWorker`, `connectionQualityWorker`).

use std::collections::BTreeMap;

use hearth_plane::Level;
use hearth_signal::proto::{self, SpeakerInfo, signal_response::Message};

use crate::Room;
use crate::participant::ParticipantKey;
use crate::quality::{opinion, quality_of};

impl Room {
    /// A shard measured microphones.
    pub(crate) fn levels(&mut self, levels: &[Level]) {
        for Level { track, level } in levels {
            let Some(publication) = self.publications.tracks.get(track) else { continue };
            if publication.is_microphone() && !publication.info.muted {
                self.speakers.set(*track, publication.publisher, *level);
            }
        }
        self.tell_speakers();
    }

    /// Tells everybody whose level changed, as far as it concerns them.
    pub(crate) fn tell_speakers(&mut self) {
        let changes: Vec<(ParticipantKey, SpeakerInfo)> = self
            .speakers
            .take_changes()
            .into_iter()
            .filter_map(|(key, level)| Some((key, self.speaker(key, level)?)))
            .collect();
        if changes.is_empty() {
            return;
        }
        let changes: BTreeMap<ParticipantKey, SpeakerInfo> = changes.into_iter().collect();
        for recipient in self.roster.keys() {
            let speakers: Vec<SpeakerInfo> = self
                .subscriptions
                .concerning(recipient)
                .into_iter()
                .filter_map(|key| changes.get(&key).cloned())
                .collect();
            if !speakers.is_empty() {
                let message = proto::SpeakersChanged { speakers };
                self.roster.send(&mut self.out, recipient, Message::SpeakersChanged(message));
            }
        }
    }

    fn speaker(&self, key: ParticipantKey, level: f32) -> Option<SpeakerInfo> {
        let sid = self.roster.get(key)?.sid.clone();
        Some(SpeakerInfo { sid, level, active: level > 0.0 })
    }

    /// A subscription begins: the publisher may be speaking.
    pub(crate) fn tell_speaker_to(
        &mut self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
    ) {
        let level = self.speakers.shown(publisher);
        if level > 0.0
            && let Some(speaker) = self.speaker(publisher, level)
        {
            let message = proto::SpeakersChanged { speakers: vec![speaker] };
            self.roster.send(&mut self.out, subscriber, Message::SpeakersChanged(message));
        }
    }

    /// A subscription ended: if it was the last of a speaking publisher, it is heard no more.
    pub(crate) fn tell_silence_to(
        &mut self,
        subscriber: ParticipantKey,
        publisher: ParticipantKey,
    ) {
        if self.speakers.shown(publisher) > 0.0
            && !self.subscriptions.is_subscribed_to(subscriber, publisher)
            && let Some(speaker) = self.speaker(publisher, 0.0)
        {
            let message = proto::SpeakersChanged { speakers: vec![speaker] };
            self.roster.send(&mut self.out, subscriber, Message::SpeakersChanged(message));
        }
    }

    /// Tells active participants how well they and their publishers are connected, if that changed
    /// for anybody.
    pub(crate) fn send_quality(&mut self) {
        let active: Vec<ParticipantKey> =
            self.roster.iter().filter(|p| p.is_active()).map(|p| p.key).collect();
        let mut infos = BTreeMap::new();
        let mut changed = false;
        for key in active {
            let Some(participant) = self.roster.get(key) else { continue };
            let up = participant.publishing.tracks.iter().copied();
            let down = self.subscriptions.of_subscriber(key).map(|s| s.down);
            let score = self.quality.score(up, down);
            let participant_sid = participant.sid.clone();
            let quality = quality_of(score);
            changed |= self.quality.note(key, quality);
            let info = proto::ConnectionQualityInfo {
                participant_sid,
                quality: quality.into(),
                score: opinion(score),
            };
            infos.insert(key, info);
        }
        if !changed {
            return;
        }
        for recipient in infos.keys() {
            let concerning = self.subscriptions.concerning(*recipient).into_iter();
            let updates = concerning.filter_map(|key| infos.get(&key).cloned()).collect();
            let message = proto::ConnectionQualityUpdate { updates };
            self.roster.send(&mut self.out, *recipient, Message::ConnectionQuality(message));
        }
    }
}
