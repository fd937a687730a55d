//! The tracks of a room: who publishes them, who gets them, and the descriptions that carry them.
//!
//! * **Owns:** [`Publications`], [`Subscriptions`], whose description changed ([`Negotiator`]), and who is heard
//!   ([`Speakers`]). What one of them does alone is its own; here they act together, on behalf of a [`Roster`].
//! * **In:** descriptions ([`descriptions`](crate::descriptions)), tracks that begin, change and end
//!   ([`publish`](crate::publish)), wishes and permissions of subscribers ([`subscribe`](crate::subscribe)), levels,
//!   participants that come back or leave.
//! * **Out:** commands for tracks, messages about them.
//! * **Invariant:** what has ended has no subscription, no section of its own and no level.
//! * **livekit-server:** `pkg/rtc/room.go`.

use std::time::{Duration, Instant};

use hearth_plane::Level;
use hearth_signal::proto::{self, ParticipantPermission};

use crate::announcements::Announcer;
use crate::negotiation::Negotiator;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publications::Publications;
use crate::roster::Roster;
use crate::speakers::Speakers;
use crate::subscription::Subscriptions;

/// See the module documentation.
pub(crate) struct Tracks {
    pub(crate) publications: Publications,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) negotiator: Negotiator,
    pub(crate) speakers: Speakers,
}

impl Tracks {
    /// `pause_delay`: see [`Publications::new`].
    pub(crate) fn new(pause_delay: Duration) -> Self {
        Self {
            publications: Publications::new(pause_delay),
            subscriptions: Subscriptions::default(),
            negotiator: Negotiator::default(),
            speakers: Speakers::default(),
        }
    }

    /// A participant changed in a way that others see: tells everybody who may know.
    pub(crate) fn changed(&self, key: ParticipantKey, roster: &mut Roster, out: &mut Outbox) {
        Announcer { roster, publications: &self.publications, out }.changed(key);
    }

    /// A shard measured microphones.
    pub(crate) fn handle_levels(&mut self, levels: &[Level], roster: &Roster, out: &mut Outbox) {
        self.speakers.handle_levels(levels, &self.publications);
        self.speakers.announce(&self.subscriptions, roster, out);
    }

    /// Replaces what a participant may do, ends what it may not do any more, and begins what it may.
    pub(crate) fn set_permission(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        permission: ParticipantPermission,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let may_send_data = permission.can_publish_data;
        if !roster.set_permission(key, permission) {
            return;
        }
        self.unpublish_forbidden(now, key, roster, out);
        roster.add_missing_subscriber(key, out);
        self.subscribe_to_all(key, roster, out);
        if !may_send_data {
            self.publications.data_tracks.unpublish_all(key, roster, out);
        }
        self.changed(key, roster, out);
        roster.refresh_token(now, key, out);
    }

    /// A client has resumed: it is told again what it may have missed.
    pub(crate) fn handle_resume(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        self.publications.repeat_demands(key, roster, out);
        self.negotiator.restart_subscriber(now, key, roster, out);
    }

    /// What a client that resumed has. False if that are tracks that nobody here knows of; then nothing changed.
    pub(crate) fn sync(
        &mut self,
        key: ParticipantKey,
        state: &proto::SyncState,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> bool {
        let Some(participant) = roster.get(key) else { return true };
        if !self.publications.has_all(participant, state) {
            return false;
        }
        let disabled = proto::UpdateTrackSettings {
            track_sids: state.track_sids_disabled.clone(),
            disabled: true,
            ..proto::UpdateTrackSettings::default()
        };
        self.update_settings(key, &disabled, roster, out);
        if let Some(subscription) = &state.subscription {
            self.update_subscription(key, subscription, roster, out);
        }
        if let Some(subscription) = &state.data_subscription {
            let data_tracks = &mut self.publications.data_tracks;
            data_tracks.update_subscription(key, subscription, roster, out);
        }
        true
    }

    /// The participant leaves: ends all it publishes and gets.
    pub(crate) fn forget(&mut self, key: ParticipantKey, roster: &mut Roster, out: &mut Outbox) {
        self.unpublish_all(key, roster, out);
        self.unsubscribe_all(key, roster, out);
        self.publications.data_tracks.forget(key, roster, out);
        self.speakers.forget(key);
        self.negotiator.forget(key);
    }

    /// Negotiates with everybody whose description changed, and tells publishers what is watched.
    pub(crate) fn settle(&mut self, now: Instant, roster: &mut Roster, out: &mut Outbox) {
        self.negotiator.negotiate_changed(now, roster, out);
        self.publications.send_demands(now, &self.subscriptions, roster, out);
    }
}
