//! The steps when tracks begin, change and end.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** `add_track`, sections of offers, `mute`, changes of permission.
//! * **Out:** publications and their subscriptions that begin and end together, updates to everybody.
//! * **Invariant:** a track is in the publisher's [`ParticipantInfo`](proto::ParticipantInfo)
//!   before anybody is subscribed to it.
//! * **Not here:** one publication ([`Publications`](crate::publications::Publications)).
//! * **livekit-server:** `pkg/rtc/participant.go`, `pkg/rtc/uptrackmanager.go`.

use std::time::Instant;

use hearth_negotiate::Published as Section;
use hearth_plane::TrackId;
use hearth_signal::proto::{self, AddTrackRequest, request_response, signal_response::Message};

use crate::Room;
use crate::participant::ParticipantKey;
use crate::publication::Publication;

impl Room {
    /// A client announces a track.
    pub(crate) fn add_track(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: AddTrackRequest,
    ) {
        let Self { publications, roster, out, .. } = self;
        let matched = publications.announce(key, request, roster, out);
        if !matched.is_empty() {
            self.sections_published(now, key, &matched);
        }
    }

    /// Sections that carry tracks, new and old.
    pub(crate) fn sections_published(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        sections: &[Section],
    ) {
        let mut begun = Vec::new();
        let mut changed = false;
        for section in sections {
            let Self { publications, roster, out, .. } = self;
            let known = roster.get(key).and_then(|p| publications.of_mid(p, &section.mid));
            if let Some(id) = known {
                let change = publications.describe(now, id, section, out);
                changed |= change.visible;
                if change.encodings {
                    self.subscriptions.renew_limits(id, publications, roster, out);
                }
            } else if let Some(id) = publications.begin(now, key, section, roster, out) {
                begun.push(id);
            }
        }
        if changed || !begun.is_empty() {
            self.changed(key);
        }
        for id in begun {
            self.offer_to_all(id);
        }
    }

    /// The client muted or unmuted its track.
    pub(crate) fn mute(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: proto::MuteTrackRequest,
    ) {
        if let Some(id) = self.publications.own_track(key, &request.sid) {
            self.set_muted(now, id, request.muted);
            return;
        }
        let participant = self.roster.get_mut(key);
        if let Some(info) = participant.and_then(|p| p.local.publishing.pending_mut(&request.sid)) {
            info.muted = request.muted;
        } else {
            let request = request_response::Request::Mute(request);
            let reason = request_response::Reason::NotFound;
            self.roster.refuse(&mut self.out, key, reason, "", request);
        }
    }

    /// Mutes or unmutes a track, and tells everybody if that changes it.
    pub(crate) fn set_muted(&mut self, now: Instant, id: TrackId, muted: bool) {
        let publisher = self.publications.set_muted(now, id, muted, &mut self.out);
        let Some(publisher) = publisher else { return };
        if muted {
            self.speakers.remove(id);
            self.speakers.announce(&self.subscriptions, &self.roster, &mut self.out);
        }
        self.changed(publisher);
    }

    /// The section of a track is not sent any more.
    pub(crate) fn unpublish_mid(&mut self, now: Instant, key: ParticipantKey, mid: &str) {
        let id = self.roster.get(key).and_then(|p| self.publications.of_mid(p, mid));
        if let Some(id) = id {
            self.unpublish(now, id);
        }
    }

    /// A track ends: its subscriptions too, and everybody is told.
    pub(crate) fn unpublish(&mut self, now: Instant, id: TrackId) {
        let Some(gone) = self.end_track(id) else { return };
        self.changed(gone.publisher);
        let publisher = self.roster.get_mut(gone.publisher);
        if let Some(request) = publisher.and_then(|p| p.local.publishing.take_queued(&gone.cid)) {
            self.add_track(now, gone.publisher, request);
        }
    }

    /// All tracks of somebody who leaves end; nobody is told of each.
    pub(crate) fn unpublish_all(&mut self, key: ParticipantKey) {
        let tracks = self.roster.get(key).map(|p| p.local.publishing.tracks.clone());
        for id in tracks.unwrap_or_default() {
            self.end_track(id);
        }
    }

    fn end_track(&mut self, id: TrackId) -> Option<Publication> {
        self.unsubscribe_from(id);
        let gone = self.publications.remove(id, &mut self.roster, &mut self.out)?;
        self.speakers.remove(id);
        self.speakers.announce(&self.subscriptions, &self.roster, &mut self.out);
        Some(gone)
    }

    /// Ends what the participant may not publish any more, and tells it so.
    pub(crate) fn unpublish_forbidden(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get(key) else { return };
        for (id, track_sid) in self.publications.forbidden(participant) {
            let message = proto::TrackUnpublishedResponse { track_sid };
            self.roster.send(&mut self.out, key, Message::TrackUnpublished(message));
            self.unpublish(now, id);
        }
    }

    /// The client changed features or size of its track.
    pub(crate) fn update_track(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        sid: &str,
        request: request_response::Request,
        change: impl Fn(&mut proto::TrackInfo),
    ) {
        if let Some(id) = self.publications.own_track(key, sid) {
            self.publications.update_info(now, id, change, &self.out);
            self.changed(key);
            return;
        }
        let participant = self.roster.get_mut(key);
        match participant.and_then(|p| p.local.publishing.pending_mut(sid)) {
            Some(info) => change(info),
            None => {
                let reason = request_response::Reason::NotFound;
                self.roster.refuse(&mut self.out, key, reason, "", request);
            }
        }
    }
}
