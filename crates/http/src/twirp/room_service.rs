//! `livekit.RoomService`: the server API for rooms and participants.
//!
//! * **Owns:** nothing.
//! * **In:** decoded requests and the caller's claims.
//! * **Out:** answers of rooms, or errors with the codes and texts of the reference server.
//! * **Invariant:** no method acts without its grant. (Two check the length of their arguments
//!   first, as the reference server does.)
//! * **livekit-server:** `pkg/service/roomservice.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_access::{Claims, Limits, VideoGrant};
use hearth_room::{Call, CallError, Reply, RoomConfig};
use hearth_runtime::Node;
use hearth_signal::proto;

use super::error::{Code, TwirpError};
use super::not_yet;

/// Every method there is.
pub(super) const METHODS: [&str; 11] = [
    "CreateRoom",
    "ListRooms",
    "DeleteRoom",
    "ListParticipants",
    "GetParticipant",
    "RemoveParticipant",
    "MutePublishedTrack",
    "UpdateParticipant",
    "UpdateSubscriptions",
    "SendData",
    "UpdateRoomMetadata",
];

const NONCE_BYTES: usize = 16;

type TwirpResult<T> = Result<T, TwirpError>;

/// One caller's view of the service.
pub(super) struct RoomService<'s> {
    pub(super) node: &'s Node,
    pub(super) claims: Option<&'s Claims>,
}

impl RoomService<'_> {
    pub(super) async fn create_room(
        &self,
        request: proto::CreateRoomRequest,
    ) -> TwirpResult<proto::Room> {
        self.require(|grant| grant.room_create)?;
        self.limits().check_room_name(&request.name).map_err(|excess| {
            let text = format!("room name length exceeds limits: max length {}", excess.limit);
            TwirpError::wrapped(Code::InvalidArgument, text)
        })?;
        self.check_metadata(&request.metadata)?;
        for agent in &request.agents {
            self.check_metadata(&agent.metadata)?;
            self.check_attributes(&agent.attributes.clone().into_iter().collect())?;
        }
        not_yet::check(&request)?;
        let config = room_config(self.node.room_config(), &request).map(Arc::new);
        room(self.node.create_room(&request.name, config).await)
    }

    pub(super) async fn list_rooms(
        &self,
        request: proto::ListRoomsRequest,
    ) -> TwirpResult<proto::ListRoomsResponse> {
        self.require(|grant| grant.room_list)?;
        let wanted =
            |room: &proto::Room| request.names.is_empty() || request.names.contains(&room.name);
        let replies = self.node.list_rooms().await.into_iter();
        let rooms = replies.filter_map(|reply| room(Ok(reply)).ok()).filter(wanted).collect();
        Ok(proto::ListRoomsResponse { rooms })
    }

    pub(super) async fn delete_room(
        &self,
        request: proto::DeleteRoomRequest,
    ) -> TwirpResult<proto::DeleteRoomResponse> {
        self.require(|grant| grant.room_create)?;
        self.node.delete_room(&request.room).await.map_err(|error| stored(&error))?;
        Ok(proto::DeleteRoomResponse::default())
    }

    pub(super) async fn list_participants(
        &self,
        request: proto::ListParticipantsRequest,
    ) -> TwirpResult<proto::ListParticipantsResponse> {
        self.require_admin(&request.room)?;
        let participants = match self.node.call(&request.room, Call::ListParticipants).await {
            Ok(Reply::Participants(participants)) => participants,
            Err(CallError::RoomNotFound) => Vec::new(),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => return Err(stored(&error)),
        };
        Ok(proto::ListParticipantsResponse { participants })
    }

    pub(super) async fn get_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> TwirpResult<proto::ParticipantInfo> {
        self.require_admin(&request.room)?;
        let call = Call::GetParticipant { identity: request.identity };
        participant(self.node.call(&request.room, call).await)
    }

    pub(super) async fn remove_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> TwirpResult<proto::RemoveParticipantResponse> {
        self.require_admin(&request.room)?;
        let call = Call::RemoveParticipant { identity: request.identity };
        self.node.call(&request.room, call).await.map_err(|error| absent(&error))?;
        Ok(proto::RemoveParticipantResponse::default())
    }

    pub(super) async fn mute_published_track(
        &self,
        request: proto::MuteRoomTrackRequest,
    ) -> TwirpResult<proto::MuteRoomTrackResponse> {
        self.require_admin(&request.room)?;
        let call = Call::MutePublishedTrack {
            identity: request.identity,
            track_sid: request.track_sid,
            muted: request.muted,
        };
        let track = match self.node.call(&request.room, call).await {
            Ok(Reply::Track(track)) => Some(*track),
            Err(CallError::TrackNotFound) => None,
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => return Err(unreachable(&error)),
        };
        Ok(proto::MuteRoomTrackResponse { track })
    }

    pub(super) async fn update_participant(
        &self,
        request: proto::UpdateParticipantRequest,
    ) -> TwirpResult<proto::ParticipantInfo> {
        let name = self.limits().check_name(&request.name);
        name.map_err(|excess| TwirpError::too_large("name length", excess.limit))?;
        self.check_metadata(&request.metadata)?;
        let attributes: BTreeMap<String, String> = request.attributes.into_iter().collect();
        self.check_attributes(&attributes)?;
        self.require_admin(&request.room)?;
        let call = Call::UpdateParticipant {
            identity: request.identity,
            metadata: request.metadata,
            name: request.name,
            attributes,
            permission: request.permission.map(Box::new),
        };
        participant(self.node.call(&request.room, call).await)
    }

    pub(super) async fn update_subscriptions(
        &self,
        request: proto::UpdateSubscriptionsRequest,
    ) -> TwirpResult<proto::UpdateSubscriptionsResponse> {
        self.require_admin(&request.room)?;
        let call = Call::UpdateSubscriptions {
            identity: request.identity,
            track_sids: request.track_sids,
            participant_tracks: request.participant_tracks,
            subscribe: request.subscribe,
        };
        self.node.call(&request.room, call).await.map_err(|error| unreachable(&error))?;
        Ok(proto::UpdateSubscriptionsResponse::default())
    }

    pub(super) async fn send_data(
        &self,
        request: proto::SendDataRequest,
    ) -> TwirpResult<proto::SendDataResponse> {
        self.require_admin(&request.room)?;
        let nonce = request.nonce.len();
        if nonce != 0 && nonce != NONCE_BYTES {
            let text = format!("nonce should be 16-bytes or not present, got: {nonce} bytes");
            return Err(TwirpError::new(Code::InvalidArgument, text));
        }
        let room = request.room.clone();
        let lossy = request.kind == i32::from(proto::data_packet::Kind::Lossy);
        let call = Call::SendData { packet: Box::new(data_packet(request)), lossy };
        self.node.call(&room, call).await.map_err(|error| unreachable(&error))?;
        Ok(proto::SendDataResponse::default())
    }

    pub(super) async fn update_room_metadata(
        &self,
        request: proto::UpdateRoomMetadataRequest,
    ) -> TwirpResult<proto::Room> {
        self.check_metadata(&request.metadata)?;
        self.require_admin(&request.room)?;
        let call = Call::UpdateRoomMetadata { metadata: request.metadata };
        room(self.node.call(&request.room, call).await)
    }

    fn require(&self, granted: impl Fn(&VideoGrant) -> bool) -> TwirpResult<()> {
        let granted = self.claims.is_some_and(|claims| granted(&claims.video));
        if granted { Ok(()) } else { Err(TwirpError::denied()) }
    }

    fn limits(&self) -> &Limits {
        &self.node.room_config().limits
    }

    fn check_metadata(&self, metadata: &str) -> TwirpResult<()> {
        let checked = self.limits().check_metadata(metadata);
        checked.map_err(|excess| TwirpError::too_large("metadata size", excess.limit))
    }

    fn check_attributes(&self, attributes: &BTreeMap<String, String>) -> TwirpResult<()> {
        let checked = self.limits().check_attributes(attributes);
        checked.map_err(|excess| TwirpError::too_large("attribute size", excess.limit))
    }

    fn require_admin(&self, room: &str) -> TwirpResult<()> {
        self.require(|grant| grant.room_admin && grant.room == room)
    }
}

/// A copy of the node's configuration with what the request sets; `None` if it sets nothing.
fn room_config(node: &RoomConfig, request: &proto::CreateRoomRequest) -> Option<RoomConfig> {
    let seconds = |asked: u32, default: Duration| match asked {
        0 => default,
        asked => Duration::from_secs(asked.into()),
    };
    let sets = request.empty_timeout != 0
        || request.departure_timeout != 0
        || request.max_participants != 0
        || !request.metadata.is_empty();
    sets.then(|| {
        let mut config = node.clone();
        config.empty_timeout = seconds(request.empty_timeout, config.empty_timeout);
        config.departure_timeout = seconds(request.departure_timeout, config.departure_timeout);
        if request.max_participants != 0 {
            config.max_participants = request.max_participants;
        }
        config.metadata.clone_from(&request.metadata);
        config
    })
}

#[expect(deprecated, reason = "clients of both generations read their own fields")]
fn data_packet(request: proto::SendDataRequest) -> proto::DataPacket {
    let user = proto::UserPacket {
        payload: request.data,
        destination_sids: request.destination_sids,
        destination_identities: request.destination_identities.clone(),
        topic: request.topic,
        nonce: request.nonce,
        ..proto::UserPacket::default()
    };
    proto::DataPacket {
        kind: request.kind,
        destination_identities: request.destination_identities,
        value: Some(proto::data_packet::Value::User(user)),
        ..proto::DataPacket::default()
    }
}

fn room(reply: Result<Reply, CallError>) -> TwirpResult<proto::Room> {
    match reply {
        Ok(Reply::Room(room)) => Ok(*room),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(stored(&error)),
    }
}

fn participant(reply: Result<Reply, CallError>) -> TwirpResult<proto::ParticipantInfo> {
    match reply {
        Ok(Reply::Participant(participant)) => Ok(*participant),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(absent(&error)),
    }
}

/// An answer to another question. A bug, but no reason to stop.
fn unexpected(_: &Reply) -> TwirpError {
    TwirpError::new(Code::Internal, "unexpected reply")
}

/// The error of a room or the directory, with its own text.
fn stored(error: &CallError) -> TwirpError {
    match error {
        CallError::RoomNotFound | CallError::ParticipantNotFound | CallError::TrackNotFound => {
            TwirpError::wrapped(Code::NotFound, error)
        }
        CallError::RemoteUnmuteDisabled => TwirpError::wrapped(Code::FailedPrecondition, error),
        CallError::TooLarge { what, limit } => TwirpError::too_large(what, *limit),
    }
}

/// For methods that look for a participant without looking for its room.
fn absent(error: &CallError) -> TwirpError {
    match error {
        CallError::RoomNotFound => stored(&CallError::ParticipantNotFound),
        CallError::ParticipantNotFound
        | CallError::TrackNotFound
        | CallError::RemoteUnmuteDisabled
        | CallError::TooLarge { .. } => stored(error),
    }
}

/// For methods that the reference server passes on to the node that holds the room or participant: if
/// no node does, the call gets no answer and times out.
fn unreachable(error: &CallError) -> TwirpError {
    match error {
        CallError::RoomNotFound | CallError::ParticipantNotFound => {
            TwirpError::wrapped(Code::Unavailable, "no response from servers")
        }
        CallError::TrackNotFound | CallError::RemoteUnmuteDisabled | CallError::TooLarge { .. } => {
            stored(error)
        }
    }
}
