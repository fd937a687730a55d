//! Tracks that begin, change and end.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** `add_track`, sections of offers, `mute`, what shards see of encodings.
//! * **Out:** `track_published`, updates, commands for up tracks.
//! * **Invariant:** a track is in the publisher's [`ParticipantInfo`](proto::ParticipantInfo)
//!   before anybody is subscribed to it.
//! * **livekit-server:** `pkg/rtc/participant.go`, `pkg/rtc/uptrackmanager.go`.

use std::time::Instant;

use hearth_negotiate::Published;
use hearth_plane::{Command, Source, TrackId};
use hearth_signal::proto::{self, AddTrackRequest, request_response, signal_response::Message};
use hearth_units::MediaKind;

use crate::Room;
use crate::participant::ParticipantKey;
use crate::publication::{
    Pending, Publication, Refusal, fill_info, may_publish, set_layer, spec_of,
};

impl Room {
    /// A client announces a track.
    pub(crate) fn add_track(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: AddTrackRequest,
    ) {
        let in_use =
            self.roster.get(key).and_then(|p| self.publications.of_cid(p, &request.cid)).is_some();
        let known = self.publications.own_track(key, &request.sid).is_some();
        let Some(participant) = self.roster.get_mut(key) else { return };
        match participant.publishing.check(&request, &participant.permission, in_use, known) {
            Ok(()) => {}
            Err(refusal) => {
                let mut message = "";
                let reason = match refusal {
                    Refusal::NotAllowed => request_response::Reason::NotAllowed,
                    Refusal::NotFound => request_response::Reason::NotFound,
                    Refusal::UnsupportedType => request_response::Reason::UnsupportedType,
                    Refusal::LimitExceeded => {
                        message = "too many pending tracks, rejecting new track";
                        request_response::Reason::LimitExceeded
                    }
                    Refusal::Queued => {
                        participant.publishing.queued.push(request.clone());
                        request_response::Reason::Queued
                    }
                };
                let request = request_response::Request::AddTrack(request);
                self.roster.refuse(&mut self.out, key, reason, message, request);
                return;
            }
        }
        let abilities = &participant.publishing.abilities;
        let pending = Pending::new(&request, abilities, &mut self.out.random.sids);
        let track = Some(pending.info.clone());
        participant.publishing.pending.push(pending);
        let tracks = participant.publishing.pending_tracks();
        let matched = participant.transports.answerer.match_pending(&tracks);
        let message = proto::TrackPublishedResponse { cid: request.cid, track };
        self.roster.send(&mut self.out, key, Message::TrackPublished(message));
        if !matched.is_empty() {
            self.sections_published(now, key, matched);
        }
    }

    /// Sections that carry tracks, new and old.
    pub(crate) fn sections_published(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        sections: Vec<Published>,
    ) {
        let mut begun = Vec::new();
        let mut changed = false;
        for section in sections {
            if let Some(id) =
                self.roster.get(key).and_then(|p| self.publications.of_mid(p, &section.mid))
            {
                changed |= self.track_changed(now, id, &section);
            } else if let Some(id) = self.track_begins(now, key, &section) {
                begun.push(id);
            }
        }
        if changed || !begun.is_empty() {
            self.changed(key);
        }
        for id in begun {
            self.offer_to_all(now, id);
        }
    }

    fn track_begins(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        section: &Published,
    ) -> Option<TrackId> {
        let id = self.out.next_track();
        let version = self.publications.next_version(now, &self.out);
        let participant = self.roster.get_mut(key)?;
        let Pending { mut info, track } =
            participant.publishing.take_pending(&section.pending_cid)?;
        let home = participant.shard;
        let source = Source::Local(participant.transports.publisher.peer);
        fill_info(&mut info, section);
        info.version = Some(version);
        participant.publishing.tracks.push(id);
        participant.is_publisher = true;
        let microphone = info.source() == proto::TrackSource::Microphone;
        let muted = info.muted;
        if section.kind == MediaKind::Video {
            self.publications.dynacast.begin(now, id, muted);
        }
        let spec = spec_of(section, source, microphone);
        self.publications.track_sids.insert(info.sid.clone(), id);
        let publication = Publication {
            id,
            publisher: key,
            home,
            cid: track.cid,
            info,
            spec: spec.clone(),
            stereo: track.stereo,
            told_subscribed: false,
        };
        self.publications.tracks.insert(id, publication);
        self.out.command(home, Command::SetUpTrack { track: id, spec: Box::new(spec) });
        if muted {
            self.out.command(home, Command::SetUpTrackMuted { track: id, muted });
        }
        Some(id)
    }

    /// A later offer describes a track again; true if others see a difference.
    fn track_changed(&mut self, now: Instant, id: TrackId, section: &Published) -> bool {
        let version = self.publications.next_version(now, &self.out);
        let Some(track) = self.publications.tracks.get_mut(&id) else { return false };
        let spec = spec_of(section, track.spec.source, track.spec.measure_level);
        let visible = fill_info(&mut track.info, section);
        if visible {
            track.info.version = Some(version);
        }
        if spec == track.spec {
            return visible;
        }
        let encodings_before = track.spec.encodings.len();
        track.spec = spec.clone();
        let home = track.home;
        self.publications.dynacast.note_track(id);
        self.out.command(home, Command::SetUpTrack { track: id, spec: Box::new(spec.clone()) });
        for shard in self.publications.relays.shards(id) {
            let mut spec = spec.clone();
            spec.source = Source::Shard(home);
            self.out.command(shard, Command::SetUpTrack { track: id, spec: Box::new(spec) });
        }
        if spec.encodings.len() != encodings_before {
            self.renew_wishes(id);
        }
        visible
    }

    /// A shard saw the first packet of an encoding.
    pub(crate) fn encoding_started(&mut self, id: TrackId, encoding: u8, ssrc: u32) {
        let Some(track) = self.publications.tracks.get_mut(&id) else { return };
        let rid = track.spec.encodings.get(usize::from(encoding)).and_then(|e| e.rid.clone());
        if let Some(codec) = track.info.codecs.first_mut() {
            set_layer(&mut codec.layers, encoding.into(), rid.as_deref(), Some(ssrc));
        }
        track.copy_layers();
    }

    /// The client muted or unmuted its track.
    pub(crate) fn mute(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: proto::MuteTrackRequest,
    ) {
        let muted = request.muted;
        if let Some(id) = self.publications.own_track(key, &request.sid) {
            self.set_muted(now, id, muted);
            return;
        }
        let pending = self
            .roster
            .get_mut(key)
            .and_then(|p| p.publishing.pending.iter_mut().find(|t| t.info.sid == request.sid));
        match pending {
            Some(pending) => pending.info.muted = muted,
            None => {
                let request = request_response::Request::Mute(request);
                self.roster.refuse(
                    &mut self.out,
                    key,
                    request_response::Reason::NotFound,
                    "",
                    request,
                );
            }
        }
    }

    /// Mutes or unmutes a track, and tells everybody if that changes it.
    pub(crate) fn set_muted(&mut self, now: Instant, id: TrackId, muted: bool) {
        let version = self.publications.next_version(now, &self.out);
        let Some(track) = self.publications.tracks.get_mut(&id) else { return };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        track.info.version = Some(version);
        let (home, publisher) = (track.home, track.publisher);
        let mut shards = self.publications.relays.shards(id);
        shards.push(home);
        for shard in shards {
            self.out.command(shard, Command::SetUpTrackMuted { track: id, muted });
        }
        self.publications.dynacast.note_track(id);
        if muted {
            self.speakers.remove(id);
            self.speakers.announce(&self.subscriptions, &self.roster, &mut self.out);
        }
        self.changed(publisher);
    }

    /// The section of a track is not sent any more.
    pub(crate) fn unpublish_mid(&mut self, now: Instant, key: ParticipantKey, mid: &str) {
        if let Some(id) = self.roster.get(key).and_then(|p| self.publications.of_mid(p, mid)) {
            self.unpublish(now, id);
        }
    }

    /// A track ends: its subscriptions too, and everybody is told.
    pub(crate) fn unpublish(&mut self, now: Instant, id: TrackId) {
        let Some((publisher, cid)) = self.end_track(id) else { return };
        self.changed(publisher);
        let queued = self.roster.get_mut(publisher).and_then(|p| p.publishing.take_queued(&cid));
        if let Some(request) = queued {
            self.add_track(now, publisher, request);
        }
    }

    /// All tracks of somebody who leaves end; nobody is told of each.
    pub(crate) fn unpublish_all(&mut self, _now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get(key) else { return };
        for id in participant.publishing.tracks.clone() {
            self.end_track(id);
        }
    }

    fn end_track(&mut self, id: TrackId) -> Option<(ParticipantKey, String)> {
        self.unsubscribe_from(id);
        let track = self.publications.tracks.remove(&id)?;
        self.publications.track_sids.remove(&track.info.sid);
        self.out.command(track.home, Command::RemoveUpTrack { track: id });
        self.speakers.remove(id);
        self.speakers.announce(&self.subscriptions, &self.roster, &mut self.out);
        self.quality.forget_up(id);
        self.publications.dynacast.forget(id);
        for key in self.roster.keys() {
            if let Some(participant) = self.roster.get_mut(key) {
                participant.subscription_settings.forget(&track.info.sid);
            }
        }
        let participant = self.roster.get_mut(track.publisher)?;
        participant.publishing.tracks.retain(|other| *other != id);
        Some((track.publisher, track.cid))
    }

    /// Ends what the participant may not publish any more, and tells it so.
    pub(crate) fn unpublish_forbidden(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.roster.get(key) else { return };
        let permission = &participant.permission;
        let forbidden: Vec<(TrackId, String)> = participant
            .publishing
            .tracks
            .iter()
            .filter_map(|id| self.publications.tracks.get(id))
            .filter(|track| !may_publish(permission, track.info.source()))
            .map(|track| (track.id, track.info.sid.clone()))
            .collect();
        for (id, track_sid) in forbidden {
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
        let version = self.publications.next_version(now, &self.out);
        if let Some(track) = self
            .publications
            .own_track(key, sid)
            .and_then(|id| self.publications.tracks.get_mut(&id))
        {
            change(&mut track.info);
            track.info.version = Some(version);
            self.changed(key);
            return;
        }
        let pending = self
            .roster
            .get_mut(key)
            .and_then(|p| p.publishing.pending.iter_mut().find(|t| t.info.sid == sid));
        match pending {
            Some(pending) => change(&mut pending.info),
            None => self.roster.refuse(
                &mut self.out,
                key,
                request_response::Reason::NotFound,
                "",
                request,
            ),
        }
    }
}
