//! What is published in a room.
//!
//! * **Owns:** every published track by id and by sid; which shards have it relayed; what publishers were told of the
//!   demand for it ([`Dynacast`]); data tracks ([`DataTracks`]).
//! * **In:** sections of descriptions, mutes, packets that arrive first, subscriptions' limits.
//! * **Out:** commands for up tracks and relays; `subscribed_quality_update`.
//! * **Invariant:** a sid names one track; versions of tracks grow.
//! * **Not here:** what is announced and not published yet ([`Publishing`](crate::publication::Publishing)).
//! * **livekit-server:** `pkg/rtc/uptrackmanager.go`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hearth_metrics::bug;
use hearth_negotiate::Published as Section;
use hearth_plane::{Command, LayerLimit, ShardId, Source, TrackId, UpTrackSpec};
use hearth_signal::proto::{self, AddTrackRequest, request_response, signal_response::Message};
use hearth_units::MediaKind;

use crate::RoomEvent;
use crate::data_track::DataTracks;
use crate::dynacast::{Demand, Dynacast};
use crate::outbox::Outbox;
use crate::participant::{Participant, ParticipantKey};
use crate::publication::{
    Pending, Publication, Refusal, fill_info, may_publish, set_layer, spec_of,
};
use crate::relays::Relays;
use crate::roster::Roster;

/// See the module documentation.
pub(crate) struct Publications {
    pub(crate) tracks: BTreeMap<TrackId, Publication>,
    pub(crate) track_sids: BTreeMap<String, TrackId>,
    pub(crate) relays: Relays,
    pub(crate) data_tracks: DataTracks,
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
            data_tracks: DataTracks::default(),
            dynacast: Dynacast::new(pause_delay),
            version: proto::TimedVersion::default(),
        }
    }

    pub(crate) fn get(&self, id: TrackId) -> Option<&Publication> {
        self.tracks.get(&id)
    }

    pub(crate) fn by_sid(&self, sid: &str) -> Option<TrackId> {
        let id = *self.track_sids.get(sid)?;
        if !self.tracks.contains_key(&id) {
            bug!("the sid of {id:?} is known, and the track is not");
            return None;
        }
        Some(id)
    }

    /// What one subscriber wants of a track changed; `None`: nothing.
    pub(crate) fn note_limit(
        &mut self,
        id: TrackId,
        before: Option<LayerLimit>,
        after: Option<LayerLimit>,
    ) {
        if let Some(encodings) = self.get(id).map(|track| track.spec.encodings.len()) {
            let (before, after) = (Demand::of(before, encodings), Demand::of(after, encodings));
            self.dynacast.note_limit(id, before, after);
        }
    }

    /// An SSRC that the participant's transport has not carried yet, in either direction.
    pub(crate) fn free_ssrc(&self, participant: &mut Participant) -> Option<u32> {
        let published = participant.local.publishing.tracks.iter().filter_map(|id| self.get(*id));
        let encodings = published.flat_map(|track| &track.spec.encodings);
        let theirs =
            |ssrc| encodings.clone().any(|e| e.ssrc == Some(ssrc) || e.rtx_ssrc == Some(ssrc));
        participant.local.transports.ssrcs.allocate(theirs)
    }

    /// The participant's own track of this sid.
    pub(crate) fn own_track(&self, key: ParticipantKey, sid: &str) -> Option<TrackId> {
        let id = self.by_sid(sid)?;
        self.get(id).filter(|track| track.publisher == key).map(|track| track.id)
    }

    /// Whether the participant has announced or published all that its client says it has.
    pub(crate) fn has_all(&self, participant: &Participant, state: &proto::SyncState) -> bool {
        let key = participant.key;
        let pending = &participant.local.publishing.pending;
        let is_known = |sid: &str| {
            self.own_track(key, sid).is_some() || pending.iter().any(|p| p.info.sid == sid)
        };
        let mut tracks = state.publish_tracks.iter().filter_map(|p| p.track.as_ref());
        let mut data_tracks = state.publish_data_tracks.iter().filter_map(|p| p.info.as_ref());
        tracks.all(|track| is_known(&track.sid))
            && data_tracks.all(|info| self.data_tracks.is_of(key, &info.sid))
    }

    /// The participant's own track of this cid.
    pub(crate) fn of_cid(&self, participant: &Participant, cid: &str) -> Option<TrackId> {
        let is = |id: &&TrackId| self.tracks.get(id).is_some_and(|track| track.cid == cid);
        participant.local.publishing.tracks.iter().find(is).copied()
    }

    /// The participant's own track that this section of its description carries.
    pub(crate) fn of_mid(&self, participant: &Participant, mid: &str) -> Option<TrackId> {
        let is = |id: &&TrackId| self.tracks.get(id).is_some_and(|track| track.spec.mid == mid);
        participant.local.publishing.tracks.iter().find(is).copied()
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

    /// A client announces a track. Returns the sections of its last offer that have waited for this, to be
    /// [begun](Self::begin).
    pub(crate) fn announce(
        &mut self,
        key: ParticipantKey,
        request: AddTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Vec<Section> {
        let known = self.own_track(key, &request.sid).is_some();
        let Some(participant) = roster.get_mut(key) else { return Vec::new() };
        let in_use = self.of_cid(participant, &request.cid).is_some();
        let checked = participant.local.publishing.check(
            &request,
            &participant.record.permission,
            in_use,
            known,
        );
        if let Err(refusal) = checked {
            if refusal == Refusal::Queued {
                participant.local.publishing.queued.push(request.clone());
            }
            let (reason, message) = refusal.reason();
            let request = request_response::Request::AddTrack(request);
            roster.refuse(out, key, reason, message, request);
            return Vec::new();
        }
        let abilities = &participant.local.publishing.abilities;
        let pending = Pending::new(&request, abilities, &mut out.random.sids);
        let track = Some(pending.info.clone());
        participant.local.publishing.pending.push(pending);
        let tracks = participant.local.publishing.pending_tracks();
        let matched = participant.local.transports.answerer.match_pending(&tracks);
        let message = proto::TrackPublishedResponse { cid: request.cid, track };
        roster.send(out, key, Message::TrackPublished(message));
        matched
    }

    /// A section carries a track that was announced: it is published.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        section: &Section,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Option<TrackId> {
        let id = out.next_track();
        let version = self.next_version(now, out);
        let participant = roster.get_mut(key)?;
        let Pending { mut info, track } =
            participant.local.publishing.take_pending(&section.pending_cid)?;
        let home = participant.local.shard;
        let source = Source::Local(participant.local.transports.publisher.peer);
        fill_info(&mut info, section);
        info.version = Some(version);
        participant.local.publishing.tracks.push(id);
        participant.is_publisher = true;
        let microphone = info.source() == proto::TrackSource::Microphone;
        let muted = info.muted;
        if section.kind == MediaKind::Video {
            self.dynacast.begin(now, id, muted);
        }
        let spec = spec_of(section, source, microphone);
        out.event(RoomEvent::TrackPublished {
            participant_sid: participant.record.sid.clone(),
            identity: participant.record.identity.clone(),
            track: Box::new(info.clone()),
        });
        self.track_sids.insert(info.sid.clone(), id);
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
        self.tracks.insert(id, publication);
        set_up_track(id, spec, muted, home, out);
        Some(id)
    }

    /// A later description describes a track again.
    pub(crate) fn describe(
        &mut self,
        now: Instant,
        id: TrackId,
        section: &Section,
        out: &mut Outbox,
    ) -> Change {
        let version = self.next_version(now, out);
        let Some(track) = self.tracks.get_mut(&id) else { return Change::default() };
        let spec = spec_of(section, track.spec.source, track.spec.measure_level);
        let visible = fill_info(&mut track.info, section);
        if visible {
            track.info.version = Some(version);
        }
        if spec == track.spec {
            return Change { visible, encodings: false };
        }
        let encodings = track.spec.encodings.len() != spec.encodings.len();
        track.spec = spec.clone();
        let home = track.home;
        self.dynacast.note_track(id);
        out.command(home, Command::SetUpTrack { track: id, spec: Box::new(spec.clone()) });
        for shard in self.relays.shards(id) {
            let mut spec = spec.clone();
            spec.source = Source::Shard(home);
            out.command(shard, Command::SetUpTrack { track: id, spec: Box::new(spec) });
        }
        Change { visible, encodings }
    }

    /// A shard saw the first packet of an encoding.
    pub(crate) fn encoding_started(&mut self, id: TrackId, encoding: u8, ssrc: u32) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let rid = track.spec.encodings.get(usize::from(encoding)).and_then(|e| e.rid.clone());
        if let Some(codec) = track.info.codecs.first_mut() {
            set_layer(&mut codec.layers, encoding.into(), rid.as_deref(), Some(ssrc));
        }
        track.copy_layers();
    }

    /// Mutes or unmutes a track; returns its publisher if that changes it.
    pub(crate) fn set_muted(
        &mut self,
        now: Instant,
        id: TrackId,
        muted: bool,
        out: &mut Outbox,
    ) -> Option<ParticipantKey> {
        let version = self.next_version(now, out);
        let track = self.tracks.get_mut(&id).filter(|track| track.info.muted != muted)?;
        track.info.muted = muted;
        track.info.version = Some(version);
        let (home, publisher) = (track.home, track.publisher);
        let mut shards = self.relays.shards(id);
        shards.push(home);
        for shard in shards {
            out.command(shard, Command::SetUpTrackMuted { track: id, muted });
        }
        self.dynacast.note_track(id);
        Some(publisher)
    }

    /// Changes what a track is said to be.
    pub(crate) fn update_info(
        &mut self,
        now: Instant,
        id: TrackId,
        change: impl Fn(&mut proto::TrackInfo),
        out: &Outbox,
    ) {
        let version = self.next_version(now, out);
        if let Some(track) = self.tracks.get_mut(&id) {
            change(&mut track.info);
            track.info.version = Some(version);
        }
    }

    /// The track ends. It has no subscriptions any more.
    pub(crate) fn remove(
        &mut self,
        id: TrackId,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Option<Publication> {
        let track = self.tracks.remove(&id)?;
        self.track_sids.remove(&track.info.sid);
        out.command(track.home, Command::RemoveUpTrack { track: id });
        self.dynacast.forget(id);
        roster.forget_settings(&track.info.sid);
        if let Some(publisher) = roster.get_mut(track.publisher) {
            publisher.local.publishing.tracks.retain(|other| *other != id);
            out.event(RoomEvent::TrackUnpublished {
                participant_sid: publisher.record.sid.clone(),
                identity: publisher.record.identity.clone(),
                track: Box::new(track.info.clone()),
            });
        } else {
            bug!("{id:?} outlived its publisher");
        }
        Some(track)
    }

    /// What the participant publishes and may not publish any more, with the sids.
    pub(crate) fn forbidden(&self, participant: &Participant) -> Vec<(TrackId, String)> {
        let tracks = participant.local.publishing.tracks.iter().filter_map(|id| self.get(*id));
        tracks
            .filter(|track| !may_publish(&participant.record.permission, track.info.source()))
            .map(|track| (track.id, track.info.sid.clone()))
            .collect()
    }

    /// A subscription on a shard begins: the first on another shard than the publisher's has the track relayed there.
    pub(crate) fn relay_to(&mut self, shard: ShardId, id: TrackId, out: &mut Outbox) {
        let Some(track) = self.tracks.get(&id).filter(|track| track.home != shard) else { return };
        if self.relays.acquire(id, shard) {
            let spec = UpTrackSpec { source: Source::Shard(track.home), ..track.spec.clone() };
            set_up_track(id, spec, track.info.muted, shard, out);
            out.command(track.home, Command::AddRelay { track: id, to: shard });
        }
    }

    /// A subscription on a shard ends: after the last the track is not relayed there any more.
    pub(crate) fn stop_relay(&mut self, shard: ShardId, id: TrackId, out: &mut Outbox) {
        let Some(track) = self.tracks.get(&id).filter(|track| track.home != shard) else { return };
        if self.relays.release(id, shard) {
            out.command(track.home, Command::RemoveRelay { track: id, to: shard });
            out.command(shard, Command::RemoveUpTrack { track: id });
        }
    }

    /// A track has a subscription: its publisher learns of the first; a subscriber with two connections, that
    /// its video flows.
    pub(crate) fn tell_subscribed(
        &mut self,
        id: TrackId,
        subscriber: ParticipantKey,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        let hidden = roster.get(subscriber).is_some_and(|p| p.record.permission.hidden);
        let single = roster.get(subscriber).is_some_and(|p| p.local.transports.single);
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let (publisher, kind) = (track.publisher, track.spec.kind);
        let track_sid = track.info.sid.clone();
        let first = !hidden && !std::mem::replace(&mut track.told_subscribed, true);
        if first {
            let message = proto::TrackSubscribed { track_sid: track_sid.clone() };
            roster.send(out, publisher, Message::TrackSubscribed(message));
        }
        if kind == MediaKind::Video && !single {
            let participant_sid = roster.get(publisher).map(|p| p.record.sid.clone());
            let state = proto::StreamStateInfo {
                participant_sid: participant_sid.unwrap_or_default(),
                track_sid,
                state: proto::StreamState::Active.into(),
            };
            let message = proto::StreamStateUpdate { stream_states: vec![state] };
            roster.send(out, subscriber, Message::StreamStateUpdate(message));
        }
    }
}

/// What a later description changed of a track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    /// Others see a difference.
    pub(crate) visible: bool,
    /// It comes in more or fewer encodings.
    pub(crate) encodings: bool,
}

/// Has a shard receive a track, or have it relayed.
fn set_up_track(id: TrackId, spec: UpTrackSpec, muted: bool, shard: ShardId, out: &mut Outbox) {
    out.command(shard, Command::SetUpTrack { track: id, spec: Box::new(spec) });
    if muted {
        out.command(shard, Command::SetUpTrackMuted { track: id, muted });
    }
}
