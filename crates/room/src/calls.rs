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
use crate::profile::ProfileChange;
use crate::{Call, CallError, Reply, Room};

impl Room {
    pub(crate) fn call(&mut self, now: Instant, call: Call) -> Result<Reply, CallError> {
        match call {
            Call::Info => Ok(self.room_reply()),
            Call::ListParticipants => {
                let info = self.roster.iter().map(|p| p.info(&self.tracks.publications));
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
                let change = ProfileChange { name, metadata, attributes };
                if let Err(excess) = self.announcer().change_profile(now, key, change) {
                    return Err(CallError::TooLarge { what: excess.what, limit: excess.limit });
                }
                if let Some(permission) = permission {
                    let Self { roster, tracks, out, .. } = self;
                    tracks.set_permission(now, key, *permission, roster, out);
                }
                self.participant_reply(key)
            }
            Call::UpdateSubscriptions { identity, track_sids, participant_tracks, subscribe } => {
                let key = self.find(&identity)?;
                let request =
                    proto::UpdateSubscription { track_sids, subscribe, participant_tracks };
                let Self { roster, tracks, out, .. } = self;
                tracks.update_subscription(key, &request, roster, out);
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
        let info = self
            .roster
            .get(key)
            .ok_or(CallError::ParticipantNotFound)?
            .info(&self.tracks.publications);
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
        let id = self.tracks.publications.own_track(key, sid).ok_or(CallError::TrackNotFound)?;
        let message = proto::MuteTrackRequest { sid: sid.to_owned(), muted };
        let Self { roster, tracks, out, .. } = self;
        roster.send(out, key, Message::Mute(message));
        tracks.set_muted(now, id, muted, roster, out);
        let track = self.tracks.publications.get(id).ok_or(CallError::TrackNotFound)?;
        Ok(Reply::Track(Box::new(track.info.clone())))
    }
}
