//! What is published in a room.
//!
//! * **Owns:** every published track by id and by sid; which shards have it relayed; what publishers were told of the
//!   demand for it ([`Dynacast`]).
//! * **In:** sections of descriptions, mutes, packets that arrive first, subscriptions' limits.
//! * **Out:** commands for up tracks and relays; `subscribed_quality_update`.
//! * **Invariant:** a sid names one track; versions of tracks grow.
//! * **Not here:** what is announced and not published yet ([`Publishing`](crate::publication::Publishing)).
//! * **livekit-server:** `pkg/rtc/uptrackmanager.go`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hearth_plane::TrackId;
use hearth_signal::proto;

use crate::dynacast::Dynacast;
use crate::outbox::Outbox;
use crate::participant::{Participant, ParticipantKey};
use crate::publication::Publication;
use crate::relays::Relays;

/// See the module documentation.
pub(crate) struct Publications {
    pub(crate) tracks: BTreeMap<TrackId, Publication>,
    pub(crate) track_sids: BTreeMap<String, TrackId>,
    pub(crate) relays: Relays,
    pub(crate) dynacast: Dynacast,
    /// Of the track that changed last.
    version: proto::TimedVersion,
}

impl Publications {
    /// `pause_delay`: see [`Dynacast::new`].
    pub(crate) fn new(pause_delay: Duration) -> Self {
        Self {
            tracks: BTreeMap::new(),
            track_sids: BTreeMap::new(),
            relays: Relays::default(),
            dynacast: Dynacast::new(pause_delay),
            version: proto::TimedVersion::default(),
        }
    }

    pub(crate) fn get(&self, id: TrackId) -> Option<&Publication> {
        self.tracks.get(&id)
    }

    /// The participant's own track of this sid.
    pub(crate) fn own_track(&self, key: ParticipantKey, sid: &str) -> Option<TrackId> {
        let id = *self.track_sids.get(sid)?;
        self.get(id).filter(|track| track.publisher == key).map(|track| track.id)
    }

    /// The participant's own track of this cid.
    pub(crate) fn of_cid(&self, participant: &Participant, cid: &str) -> Option<TrackId> {
        let is = |id: &&TrackId| self.tracks.get(id).is_some_and(|track| track.cid == cid);
        participant.publishing.tracks.iter().find(is).copied()
    }

    /// The participant's own track that this section of its description carries.
    pub(crate) fn of_mid(&self, participant: &Participant, mid: &str) -> Option<TrackId> {
        let is = |id: &&TrackId| self.tracks.get(id).is_some_and(|track| track.spec.mid == mid);
        participant.publishing.tracks.iter().find(is).copied()
    }

    /// A version for a track that changes now: higher than any before.
    pub(crate) fn next_version(&mut self, now: Instant, out: &Outbox) -> proto::TimedVersion {
        let unix_micro = out.unix_ms(now).saturating_mul(1_000);
        let last = &mut self.version;
        *last = if unix_micro > last.unix_micro {
            proto::TimedVersion { unix_micro, ticks: 0 }
        } else {
            proto::TimedVersion { ticks: last.ticks.saturating_add(1), ..*last }
        };
        *last
    }
}
