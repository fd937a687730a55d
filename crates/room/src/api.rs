//! What the runtime hands to a room, and what it gets back.
//!
//! * **Owns:** nothing.
//! * **In:** joins and API calls.
//! * **Out:** [`Output`], replies, and errors whose texts go to the client.
//! * **Invariant:** texts of [`JoinError`] and [`CallError`] are those of livekit-server.
//! * **Not here:** HTTP statuses and Twirp's codes (`http`).

use std::collections::BTreeMap;

use hearth_access::AdmittedJoin;
use hearth_plane::{Command, ShardId};
use hearth_signal::{JoinParams, proto};

use crate::RoomEvent;

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
    /// Who it is and what it may do.
    pub admitted: AdmittedJoin,
    /// How it wants to be served; metadata, attributes and identity are those of `admitted`.
    pub request: JoinParams,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// Why a client with a good token is not let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// It does not exist, and may not be made.
    #[error("requested room does not exist")]
    RoomNotFound,
    /// The room has as many participants as it may.
    #[error("connection closed by media")]
    RoomFull,
    /// The room ended while the client joined.
    #[error("could not join the room")]
    Unavailable,
}

/// What a room wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Something happened that others may want to know of.
    Event(RoomEvent),
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
    /// A reliable message was dropped: too much waits for its receiver, whose data channel is not open yet.
    DataDropped,
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
        /// In bytes.
        limit: usize,
    },
}
