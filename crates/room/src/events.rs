//! What happened in a room, for whoever follows it from outside: webhooks, agents, dashboards.
//!
//! * **Owns:** nothing; every event is a value.
//! * **In:** the steps of a [`Room`](crate::Room) that others want to know of.
//! * **Out:** [`Output::Event`](crate::Output::Event).
//! * **Invariant:** each thing is said once, in the order in which it happened: the room starts before and finishes
//!   after everything else, and a participant's tracks are unpublished before it leaves.
//! * **livekit-server:** the events of `pkg/telemetry/events.go`, which become webhooks.

use crate::Explanation;
use hearth_signal::proto::{DisconnectReason, ParticipantInfo, Room, TrackInfo};

/// Something that happened in a room.
#[derive(Clone, Debug, PartialEq)]
pub enum RoomEvent {
    /// The room was made.
    RoomStarted {
        /// The room, without participants yet.
        room: Box<Room>,
    },
    /// A participant is active: its primary transport is connected.
    ParticipantJoined {
        /// As others see it.
        participant: Box<ParticipantInfo>,
    },
    /// A participant that was active is gone.
    ParticipantLeft {
        /// As others saw it last, disconnected.
        participant: Box<ParticipantInfo>,
        /// Why.
        reason: DisconnectReason,
    },
    /// A participant is gone that never became active.
    ConnectionAborted {
        /// As others saw it last, disconnected.
        participant: Box<ParticipantInfo>,
        /// Why.
        reason: DisconnectReason,
    },
    /// Why a participant's client is not connected, or not any more.
    ConnectionExplained {
        /// Sid of the participant.
        participant_sid: String,
        /// Its identity.
        identity: String,
        /// `None`: it connected after all, and what was said before is obsolete.
        explanation: Option<Box<Explanation>>,
    },
    /// A track is published. With a fast client this may come before its participant is active.
    TrackPublished {
        /// Sid of the publisher.
        participant_sid: String,
        /// Identity of the publisher.
        identity: String,
        /// The track.
        track: Box<TrackInfo>,
    },
    /// A track has ended, with or before its publisher.
    TrackUnpublished {
        /// Sid of the publisher.
        participant_sid: String,
        /// Identity of the publisher.
        identity: String,
        /// The track as it was last.
        track: Box<TrackInfo>,
    },
    /// The room is over. Nothing follows.
    RoomFinished {
        /// The room as it was last, without participants.
        room: Box<Room>,
    },
}
