//! What the runtime hands to a room, and what it gets back.
//!
//! * **Owns:** nothing.
//! * **In:** joins and API calls.
//! * **Out:** [`Output`], replies, and errors whose texts go to the client.
//! * **Invariant:** texts and statuses of [`JoinError`] are those of livekit-server.

use std::collections::BTreeMap;

use hearth_access::{Claims, TokenError};
use hearth_plane::{Command, ShardId};
use hearth_signal::{JoinParams, JoinParamsError, proto};

/// Longest identity, name of a participant, and name of a room, in characters.
pub(crate) const MAX_NAME: usize = 256;

/// One signal connection, named by the runtime; never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// A client that wants in.
#[derive(Clone, Debug)]
pub struct Join {
    /// The connection it came by.
    pub session: SessionId,
    /// Where its transports shall live.
    pub shard: ShardId,
    /// Its token, already verified.
    pub claims: Claims,
    /// What it asks for.
    pub request: JoinParams,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// Why a client is not let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// No token, no `video` grant, or metadata without the grant for it.
    #[error("no permissions to access the room")]
    NoPermissions,
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token does not grant joining.
    #[error("permissions denied")]
    Denied,
    /// The token names nobody.
    #[error("identity cannot be empty")]
    NoIdentity,
    /// Above 256 characters.
    #[error("participant identity length exceeds limits: max length 256")]
    IdentityTooLong,
    /// The token names no room.
    #[error("no room name")]
    NoRoom,
    /// Above 256 characters.
    #[error("room name length exceeds limits: max length 256")]
    RoomNameTooLong,
    /// The `join_request` cannot be read.
    #[error(transparent)]
    Params(#[from] JoinParamsError),
    /// Validation only: the `attributes` parameter cannot be read.
    #[error("cannot decode attributes")]
    Attributes,
    /// It does not exist, and may not be made.
    #[error("requested room does not exist")]
    RoomNotFound,
    /// The room has as many participants as it may.
    #[error("connection closed by media")]
    RoomFull,
    /// The node takes no more.
    #[error("node has exceeded its configured limit")]
    NodeLimit,
    /// The room ended while the client joined.
    #[error("could not join the room")]
    Unavailable,
}

impl JoinError {
    /// The HTTP status that goes with the text.
    pub fn status(&self) -> u16 {
        match self {
            Self::Token(error) => error.status(),
            Self::Params(error) => error.status(),
            Self::NoPermissions | Self::Denied => 401,
            Self::NoIdentity
            | Self::IdentityTooLong
            | Self::NoRoom
            | Self::RoomNameTooLong
            | Self::Attributes => 400,
            Self::RoomNotFound => 404,
            Self::RoomFull => 500,
            Self::NodeLimit | Self::Unavailable => 503,
        }
    }
}

/// Whether a token lets its bearer join with these parameters, in the order livekit-server checks.
///
/// # Errors
///
/// [`JoinError`], with the client's fault in its text.
pub fn authorize(claims: &Claims, request: &JoinParams) -> Result<(), JoinError> {
    let too_long = |name: &str| name.chars().count() > MAX_NAME;
    if !claims.has_video {
        return Err(JoinError::NoPermissions);
    }
    if !claims.video.room_join {
        return Err(JoinError::Denied);
    }
    if claims.identity.is_empty() {
        return Err(JoinError::NoIdentity);
    }
    if too_long(&claims.identity) {
        return Err(JoinError::IdentityTooLong);
    }
    if claims.video.room.is_empty() {
        return Err(JoinError::NoRoom);
    }
    if too_long(&claims.video.room) {
        return Err(JoinError::RoomNameTooLong);
    }
    if request.publish.is_some() && !claims.video.may_publish() {
        return Err(JoinError::NoPermissions);
    }
    let changes_metadata = request.sets_own_metadata() && !request.attributes_unreadable;
    if changes_metadata && !claims.video.may_update_own_metadata() {
        return Err(JoinError::NoPermissions);
    }
    Ok(())
}

/// What a room wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this to the client.
    Signal {
        /// By which connection.
        session: SessionId,
        /// What.
        response: Box<proto::SignalResponse>,
    },
    /// Send what is queued, then close the connection.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// Have a shard do this.
    Command {
        /// Which shard.
        shard: ShardId,
        /// What.
        command: Command,
    },
    /// The room is over; nobody is in it, and no input is taken any more.
    Closed,
}

/// A request of RoomService that concerns this room.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// The room itself.
    Info,
    /// Everybody in it.
    ListParticipants,
    /// One of them.
    GetParticipant {
        /// Whom.
        identity: String,
    },
    /// Send somebody away.
    RemoveParticipant {
        /// Whom.
        identity: String,
    },
    /// Mute or unmute a track.
    MutePublishedTrack {
        /// Whose.
        identity: String,
        /// Which.
        track_sid: String,
        /// True: mute.
        muted: bool,
    },
    /// Change somebody.
    UpdateParticipant {
        /// Whom.
        identity: String,
        /// Empty: no change.
        metadata: String,
        /// Empty: no change.
        name: String,
        /// Merged; an empty value deletes.
        attributes: BTreeMap<String, String>,
        /// `None`: no change.
        permission: Option<Box<proto::ParticipantPermission>>,
    },
    /// Subscribe somebody to tracks, or unsubscribe.
    UpdateSubscriptions {
        /// Whom.
        identity: String,
        /// Which tracks.
        track_sids: Vec<String>,
        /// More tracks, by their publishers.
        participant_tracks: Vec<proto::ParticipantTracks>,
        /// True: subscribe.
        subscribe: bool,
    },
    /// Send data to participants.
    SendData {
        /// The packet; its sender fields are set here.
        packet: Box<proto::DataPacket>,
        /// Over `_lossy`.
        lossy: bool,
    },
    /// Change the room's metadata.
    UpdateRoomMetadata {
        /// The new one.
        metadata: String,
    },
    /// Send everybody away and end the room.
    DeleteRoom,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// The room.
    Room(Box<proto::Room>),
    /// One participant.
    Participant(Box<proto::ParticipantInfo>),
    /// All participants, also those that clients are not told of.
    Participants(Vec<proto::ParticipantInfo>),
    /// One track.
    Track(Box<proto::TrackInfo>),
}

/// Why a [`Call`] cannot be met.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// There is no such room.
    #[error("requested room does not exist")]
    RoomNotFound,
    /// Nobody of that identity is here.
    #[error("participant does not exist")]
    ParticipantNotFound,
    /// It has published no such track.
    #[error("track is not published")]
    TrackNotFound,
    /// Unmuting by others is off.
    #[error("remote unmute not enabled")]
    RemoteUnmuteDisabled,
    /// Something is too long.
    #[error("{what} exceeds limits {limit}")]
    TooLarge {
        /// `metadata size`, `attribute size`, `name length`.
        what: &'static str,
        /// In bytes or characters.
        limit: usize,
    },
}

impl CallError {
    /// The Twirp code that goes with the text.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RoomNotFound | Self::ParticipantNotFound | Self::TrackNotFound => "not_found",
            Self::RemoteUnmuteDisabled => "failed_precondition",
            Self::TooLarge { .. } => "invalid_argument",
        }
    }

    /// The HTTP status that goes with the code.
    pub fn status(&self) -> u16 {
        match self {
            Self::RoomNotFound | Self::ParticipantNotFound | Self::TrackNotFound => 404,
            Self::RemoteUnmuteDisabled => 412,
            Self::TooLarge { .. } => 400,
        }
    }
}
