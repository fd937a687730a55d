//! RoomService, as far as it concerns one room.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** [`Call`]s of administrators.
//! * **Out:** [`Reply`]s, and the effects on participants.
//! * **Invariant:** a call that is refused changed nothing.
//! * **livekit-server:** `pkg/service/roomservice.go`, `pkg/service/roommanager.go`.

use std::time::Instant;

use hearth_signal::proto::{self, DisconnectReason, signal_response::Message};

use crate::data;
use crate::participant::ParticipantKey;
use crate::{Call, CallError, Reply, Room};

impl Room {
    pub(crate) fn call(&mut self, now: Instant, call: Call) -> Result<Reply, CallError> {
        match call {
            Call::Info => Ok(self.room_reply()),
            Call::ListParticipants => {
                let info = self.roster.iter().map(|p| p.info(&self.publications));
                Ok(Reply::Participants(info.collect()))
            }
            Call::GetParticipant { identity } => {
                let key = self.find(&identity)?;
                self.participant_reply(key)
            }
            Call::RemoveParticipant { identity } => {
                let key = self.find(&identity)?;
                self.disconnect(key, DisconnectReason::ParticipantRemoved);
                Ok(Reply::Done)
            }
            Call::MutePublishedTrack { identity, track_sid, muted } => {
                self.mute_published(now, &identity, &track_sid, muted)
            }
            Call::UpdateParticipant { identity, metadata, name, attributes, permission } => {
                let key = self.find(&identity)?;
                let profile =
                    self.roster.get(key).map(|p| p.record.profile.clone()).unwrap_or_default();
                let merged = profile.merged(&metadata, &name, attributes);
                let limits = &self.out.config.limits;
                if let Err(excess) = merged.check(limits, &name, &metadata) {
                    return Err(CallError::TooLarge { what: excess.what, limit: excess.limit });
                }
                self.set_profile(now, key, merged);
                if let Some(permission) = permission {
                    self.set_permission(now, key, *permission);
                }
                self.participant_reply(key)
            }
            Call::UpdateSubscriptions { identity, track_sids, participant_tracks, subscribe } => {
                let key = self.find(&identity)?;
                let request =
                    proto::UpdateSubscription { track_sids, subscribe, participant_tracks };
                self.update_subscription(key, &request);
                Ok(Reply::Done)
            }
            Call::SendData { packet, lossy } => {
                data::send(*packet, lossy, &mut self.roster, &mut self.out);
                Ok(Reply::Done)
            }
            Call::UpdateRoomMetadata { metadata } => {
                if let Err(excess) = self.out.config.limits.check_metadata(&metadata) {
                    let what = "metadata size";
                    return Err(CallError::TooLarge { what, limit: excess.limit });
                }
                self.record.metadata = metadata;
                self.record.send_to_all(&self.roster, &mut self.out);
                Ok(self.room_reply())
            }
            Call::DeleteRoom => {
                self.close(DisconnectReason::RoomDeleted);
                Ok(Reply::Done)
            }
        }
    }

    fn find(&self, identity: &str) -> Result<ParticipantKey, CallError> {
        self.roster.by_identity(identity).ok_or(CallError::ParticipantNotFound)
    }

    fn room_reply(&self) -> Reply {
        Reply::Room(Box::new(self.record.message(&self.roster, &self.out)))
    }

    fn participant_reply(&self, key: ParticipantKey) -> Result<Reply, CallError> {
        let info =
            self.roster.get(key).ok_or(CallError::ParticipantNotFound)?.info(&self.publications);
        Ok(Reply::Participant(Box::new(info)))
    }

    fn mute_published(
        &mut self,
        now: Instant,
        identity: &str,
        sid: &str,
        muted: bool,
    ) -> Result<Reply, CallError> {
        let key = self.find(identity)?;
        if !muted && !self.out.config.enable_remote_unmute {
            return Err(CallError::RemoteUnmuteDisabled);
        }
        let id = self.publications.own_track(key, sid).ok_or(CallError::TrackNotFound)?;
        let message = proto::MuteTrackRequest { sid: sid.to_owned(), muted };
        self.roster.send(&mut self.out, key, Message::Mute(message));
        self.set_muted(now, id, muted);
        let track = self.publications.tracks.get(&id).ok_or(CallError::TrackNotFound)?;
        Ok(Reply::Track(Box::new(track.info.clone())))
    }

    /// Replaces what a participant may do, and ends what it may not do any more.
    fn set_permission(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        permission: proto::ParticipantPermission,
    ) {
        if self
            .roster
            .get(key)
            .is_none_or(|participant| participant.record.permission == permission)
        {
            return;
        }
        let (may_publish, may_send_data) = (permission.can_publish, permission.can_publish_data);
        self.roster.set_permission(key, permission);
        let Some(participant) = self.roster.get_mut(key) else { return };
        participant.is_publisher &= may_publish;
        self.unpublish_forbidden(now, key);
        self.add_missing_subscriber(key);
        self.subscribe_to_all(key);
        if !may_send_data {
            self.publications.data_tracks.unpublish_all(key, &mut self.roster, &mut self.out);
        }
        self.changed(key);
        self.roster.refresh_token(now, key, &mut self.out);
    }
}
