//! The steps when tracks begin, change and end.
//!
//! * **Owns:** nothing beyond [`Tracks`].
//! * **In:** `add_track`, sections of offers, `mute`, changes of permission.
//! * **Out:** publications and their subscriptions that begin and end together, updates to everybody.
//! * **Invariant:** a track is in the publisher's [`ParticipantInfo`](proto::ParticipantInfo)
//!   before anybody is subscribed to it.
//! * **Not here:** one publication ([`Publications`](crate::publications::Publications)).
//! * **livekit-server:** `pkg/rtc/participant.go`, `pkg/rtc/uptrackmanager.go`.

use std::time::Instant;

use hearth_negotiate::Published as Section;
use hearth_plane::TrackId;
use hearth_signal::proto::request_response::{Reason, Request};
use hearth_signal::proto::{self, AddTrackRequest, signal_response::Message};

use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publication::Publication;
use crate::roster::Roster;
use crate::tracks::Tracks;

/// Audio features of a track that are kept. There are fewer.
const MAX_FEATURES: usize = 16;

impl Tracks {
    /// A client announces a track.
    pub(crate) fn add_track(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: AddTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let matched = self.publications.announce(key, request, roster, out);
        if !matched.is_empty() {
            self.sections_published(now, key, &matched, roster, out);
        }
    }

    /// Sections that carry tracks, new and old.
    pub(crate) fn sections_published(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        sections: &[Section],
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Self { publications, subscriptions, .. } = self;
        let mut begun = Vec::new();
        let mut changed = false;
        for section in sections {
            let known = roster.get(key).and_then(|p| publications.of_mid(p, &section.mid));
            if let Some(id) = known {
                let change = publications.describe(now, id, section, out);
                changed |= change.visible;
                if change.encodings {
                    subscriptions.renew_limits(id, publications, roster, out);
                }
            } else if let Some(id) = publications.begin(now, key, section, roster, out) {
                begun.push(id);
            }
        }
        if changed || !begun.is_empty() {
            self.changed(key, roster, out);
        }
        for id in begun {
            self.offer_to_all(id, roster, out);
        }
    }

    /// The client muted or unmuted its track.
    pub(crate) fn mute(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: proto::MuteTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        if let Some(id) = self.publications.own_track(key, &request.sid) {
            self.set_muted(now, id, request.muted, roster, out);
            return;
        }
        let participant = roster.get_mut(key);
        if let Some(info) = participant.and_then(|p| p.local.publishing.pending_mut(&request.sid)) {
            info.muted = request.muted;
        } else {
            roster.refuse(out, key, Reason::NotFound, "", Request::Mute(request));
        }
    }

    /// Mutes or unmutes a track, and tells everybody if that changes it.
    pub(crate) fn set_muted(
        &mut self,
        now: Instant,
        id: TrackId,
        muted: bool,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Some(publisher) = self.publications.set_muted(now, id, muted, out) else { return };
        if muted {
            self.silence(id, roster, out);
        }
        self.changed(publisher, roster, out);
    }

    /// The client changed features or size of its track.
    pub(crate) fn update_track(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        update: TrackUpdate,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        if let Some(id) = self.publications.own_track(key, update.sid()) {
            self.publications.update_info(now, id, |info| update.apply(info), out);
            self.changed(key, roster, out);
            return;
        }
        let participant = roster.get_mut(key);
        match participant.and_then(|p| p.local.publishing.pending_mut(update.sid())) {
            Some(info) => update.apply(info),
            None => roster.refuse(out, key, Reason::NotFound, "", update.into_request()),
        }
    }

    /// The section of a track is not sent any more.
    pub(crate) fn unpublish_mid(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        mid: &str,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let id = roster.get(key).and_then(|p| self.publications.of_mid(p, mid));
        if let Some(id) = id {
            self.unpublish(now, id, roster, out);
        }
    }

    /// Ends what the participant may not publish any more, and tells it so.
    pub(crate) fn unpublish_forbidden(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let Some(participant) = roster.get_mut(key) else { return };
        // Before what is published ends: that lets what is queued take its place.
        let permission = &participant.record.permission;
        let announced = participant.local.publishing.take_forbidden(permission);
        for (id, track_sid) in self.publications.forbidden(participant) {
            let message = proto::TrackUnpublishedResponse { track_sid };
            roster.send(out, key, Message::TrackUnpublished(message));
            self.unpublish(now, id, roster, out);
        }
        for track_sid in announced {
            let message = proto::TrackUnpublishedResponse { track_sid };
            roster.send(out, key, Message::TrackUnpublished(message));
        }
    }

    /// All tracks of somebody who leaves end; nobody is told of each.
    pub(crate) fn unpublish_all(
        &mut self,
        key: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let tracks = roster.get(key).map(|p| p.local.publishing.tracks.clone());
        for id in tracks.unwrap_or_default() {
            self.end_track(id, roster, out);
        }
    }

    /// A track ends: its subscriptions too, and everybody is told.
    fn unpublish(&mut self, now: Instant, id: TrackId, roster: &mut Roster, out: &mut Outbox) {
        let Some(gone) = self.end_track(id, roster, out) else { return };
        self.changed(gone.publisher, roster, out);
        let publisher = roster.get_mut(gone.publisher);
        if let Some(request) = publisher.and_then(|p| p.local.publishing.take_queued(&gone.cid)) {
            self.add_track(now, gone.publisher, request, roster, out);
        }
    }

    fn end_track(
        &mut self,
        id: TrackId,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Option<Publication> {
        self.unsubscribe_from(id, roster, out);
        let gone = self.publications.remove(id, roster, out)?;
        self.silence(id, roster, out);
        Some(gone)
    }

    /// The track is muted or gone: nobody hears it.
    fn silence(&mut self, id: TrackId, roster: &Roster, out: &mut Outbox) {
        self.speakers.remove(id);
        self.speakers.announce(&self.subscriptions, roster, out);
    }
}

/// What a client says about its track later.
pub(crate) enum TrackUpdate {
    Audio(proto::UpdateLocalAudioTrack),
    Video(proto::UpdateLocalVideoTrack),
}

impl TrackUpdate {
    fn sid(&self) -> &str {
        match self {
            Self::Audio(update) => &update.track_sid,
            Self::Video(update) => &update.track_sid,
        }
    }

    fn apply(&self, info: &mut proto::TrackInfo) {
        match self {
            Self::Audio(update) => {
                info.audio_features = update.features.iter().copied().take(MAX_FEATURES).collect();
            }
            Self::Video(update) => (info.width, info.height) = (update.width, update.height),
        }
    }

    fn into_request(self) -> Request {
        match self {
            Self::Audio(update) => Request::UpdateAudioTrack(update),
            Self::Video(update) => Request::UpdateVideoTrack(update),
        }
    }
}
