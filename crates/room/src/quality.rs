//! How well everybody is connected.
//!
//! * **Owns:** a smoothed score per track and per subscription, and the quality last shown of each
//!   participant.
//! * **In:** a [`PeerReport`] per transport every 5 s.
//! * **Out:** `connection_quality`, when the shown quality of a participant changed.
//! * **Invariant:** scores are between 0 and 100; what is not there any more has none
//!   when qualities are sent next.
//! * **livekit-server:** `pkg/sfu/connectionquality`.

use std::collections::BTreeMap;

use hearth_plane::{DownId, PeerReport, TrackId, TrackReport};
use hearth_signal::proto::{self, ConnectionQuality, signal_response::Message};

use crate::dynacast::Demand;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publications::Publications;
use crate::roster::Roster;
use crate::subscription::Subscriptions;

/// Percent of lost packets times this is taken off the score.
const LOSS_WEIGHT: f32 = 6.0;
/// The score of a track of which nothing arrives although it is not muted.
const NOTHING_ARRIVES: f32 = 40.0;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    up: BTreeMap<TrackId, f32>,
    down: BTreeMap<DownId, f32>,
    shown: BTreeMap<ParticipantKey, i32>,
}

impl Quality {
    /// A transport reports. Ids that the room does not know are left out by `knows`.
    fn note_report(
        &mut self,
        report: &PeerReport,
        knows_up: impl Fn(TrackId) -> bool,
        knows_down: impl Fn(DownId) -> bool,
    ) {
        for track in report.up.iter().filter(|track| knows_up(track.id)) {
            let score = score(track).unwrap_or(NOTHING_ARRIVES);
            smooth(self.up.entry(track.id).or_insert(score), score, track.idle);
        }
        for track in report.down.iter().filter(|track| knows_down(track.id)) {
            let Some(score) = score(track) else { continue };
            smooth(self.down.entry(track.id).or_insert(score), score, track.idle);
        }
    }

    pub(crate) fn forget(&mut self, participant: ParticipantKey) {
        self.shown.remove(&participant);
    }

    /// The worst score of these tracks and subscriptions; 100 if there are none.
    fn score(&self, up: impl Iterator<Item = TrackId>, down: impl Iterator<Item = DownId>) -> f32 {
        let up = up.filter_map(|id| self.up.get(&id));
        let down = down.filter_map(|id| self.down.get(&id));
        up.chain(down).copied().fold(100.0, f32::min)
    }

    /// Notes what is about to be shown; false if it is shown already.
    fn note(&mut self, participant: ParticipantKey, quality: ConnectionQuality) -> bool {
        self.shown.insert(participant, quality.into()) != Some(quality.into())
    }
}

impl Quality {
    /// A transport reports.
    pub(crate) fn handle_report(
        &mut self,
        mut report: PeerReport,
        publications: &Publications,
        subscriptions: &Subscriptions,
    ) {
        for track in &mut report.up {
            // Who sends nothing because nobody watches is well connected.
            track.idle |=
                track.expected == 0 && publications.dynacast.told(track.id) == Some(Demand::Off);
        }
        let knows_up = |id| publications.get(id).is_some();
        let knows_down = |id| subscriptions.get(id).is_some();
        self.note_report(&report, knows_up, knows_down);
    }

    /// Tells active participants how well they and their publishers are connected, if that changed
    /// for anybody.
    pub(crate) fn announce(
        &mut self,
        publications: &Publications,
        subscriptions: &Subscriptions,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        self.up.retain(|id, _| publications.get(*id).is_some());
        self.down.retain(|id, _| subscriptions.get(*id).is_some());
        let mut infos = BTreeMap::new();
        let mut changed = false;
        for participant in roster.iter().filter(|participant| participant.is_active()) {
            let key = participant.key;
            let up = participant.local.publishing.tracks.iter().copied();
            let down = subscriptions.of_subscriber(key).map(|s| s.down);
            let score = self.score(up, down);
            let quality = quality_of(score);
            changed |= self.note(key, quality);
            let info = proto::ConnectionQualityInfo {
                participant_sid: participant.record.sid.clone(),
                quality: quality.into(),
                score: opinion(score),
            };
            infos.insert(key, info);
        }
        if !changed {
            return;
        }
        for recipient in infos.keys() {
            let concerning = subscriptions.concerning(*recipient).into_iter();
            let updates = concerning.filter_map(|key| infos.get(&key).cloned()).collect();
            let message = proto::ConnectionQualityUpdate { updates };
            roster.send(out, *recipient, Message::ConnectionQuality(message));
        }
    }
}

/// `None` if nothing can be said.
fn score<Id>(report: &TrackReport<Id>) -> Option<f32> {
    if report.idle {
        return Some(100.0);
    }
    if report.expected == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage needs no 24 bits")]
    let lost = report.lost.min(report.expected) as f32 / report.expected as f32;
    Some((100.0 - lost * 100.0 * LOSS_WEIGHT).max(30.0))
}

fn smooth(score: &mut f32, new: f32, idle: bool) {
    let factor = if idle {
        1.0
    } else if new > *score {
        0.4
    } else {
        0.8
    };
    *score += (new - *score) * factor;
}

/// The name of a score.
fn quality_of(score: f32) -> ConnectionQuality {
    if score > 80.0 {
        ConnectionQuality::Excellent
    } else if score > 40.0 {
        ConnectionQuality::Good
    } else if score > 20.0 {
        ConnectionQuality::Poor
    } else {
        ConnectionQuality::Lost
    }
}

/// Mean opinion score, 1 to 4.5.
fn opinion(score: f32) -> f32 {
    (1.0 + 0.035 * score + 0.000_007 * score * (score - 60.0) * (100.0 - score)).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_plane::{PeerId, RoomId};
    use hearth_units::Bitrate;

    const ROOM: RoomId = RoomId(1);
    const TRACK: TrackId = TrackId { room: ROOM, n: 1 };

    #[test]
    fn loss_makes_a_connection_poor_and_recovery_takes_longer() {
        let mut quality = Quality::default();
        let mut after = |expected, lost, idle| {
            quality.note_report(&report(expected, lost, idle), |_| true, |_| true);
            quality_of(quality.score([TRACK].into_iter(), [].into_iter()))
        };
        assert_eq!(after(100, 0, false), ConnectionQuality::Excellent);
        assert_eq!(after(100, 20, false), ConnectionQuality::Good);
        assert_eq!(after(100, 20, false), ConnectionQuality::Poor);
        assert_eq!(after(100, 0, false), ConnectionQuality::Good);
        assert_eq!(after(0, 0, true), ConnectionQuality::Excellent);
        assert_eq!(after(0, 0, false), ConnectionQuality::Good);
    }

    #[test]
    fn nobody_without_tracks_is_badly_connected() {
        let score = Quality::default().score([].into_iter(), [].into_iter());
        assert_eq!(quality_of(score), ConnectionQuality::Excellent);
        assert!((opinion(score) - 4.5).abs() < 0.01);
    }

    fn report(expected: u32, lost: u32, idle: bool) -> PeerReport {
        let up = TrackReport { id: TRACK, expected, lost, bitrate: Bitrate::ZERO, idle };
        PeerReport { peer: PeerId { room: ROOM, n: 1 }, rtt: None, up: vec![up], down: vec![] }
    }
}
