//! What clients are told about the room itself.
//!
//! * **Owns:** sid, name and metadata of the room; the counts that were last sent.
//! * **In:** changed metadata; who is here ([`Roster`]).
//! * **Out:** [`Room`](proto::Room), `RoomUpdate`.
//! * **Invariant:** the room has one sid for its whole life.

use std::time::Duration;

use hearth_signal::proto::{self, signal_response::Message};
use hearth_signal::{room_sid, short_id};

use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::roster::Roster;

/// Of `Room.turn_password`, in characters, as long as livekit-server's. No client of today reads it.
const TURN_PASSWORD_LEN: usize = 43;

/// See the module documentation.
pub(crate) struct RoomInfo {
    pub(crate) sid: String,
    pub(crate) name: String,
    pub(crate) metadata: String,
    pub(crate) sif_trailer: String,
    turn_password: String,
    /// The counts that were last sent.
    sent_counts: (u32, u32),
    /// Whether the room was last said to be recorded.
    sent_recording: bool,
}

impl RoomInfo {
    pub(crate) fn new(name: String, out: &mut Outbox) -> Self {
        Self {
            sid: room_sid(&mut out.random.sids),
            name,
            metadata: out.config.metadata.clone(),
            sif_trailer: (0..4).map(|_| short_id(&mut out.random.sids, "")).collect(),
            turn_password: out.random.ice.ice_chars(TURN_PASSWORD_LEN),
            sent_counts: (0, 0),
            sent_recording: false,
        }
    }

    /// As clients and the server API see it.
    pub(crate) fn message(&self, roster: &Roster, out: &Outbox) -> proto::Room {
        let (num_participants, num_publishers) = counts(roster);
        let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
        proto::Room {
            sid: self.sid.clone(),
            name: self.name.clone(),
            empty_timeout: seconds(out.config.empty_timeout),
            departure_timeout: seconds(out.config.departure_timeout),
            max_participants: out.config.max_participants,
            creation_time: out.created_ms() / 1_000,
            creation_time_ms: out.created_ms(),
            enabled_codecs: out.config.room_codecs(),
            metadata: self.metadata.clone(),
            num_participants,
            num_publishers,
            active_recording: roster.is_recorded(),
            turn_password: self.turn_password.clone(),
            ..proto::Room::default()
        }
    }

    /// Whether a recorder came or went since the room was last sent.
    pub(crate) fn recording_changed(&self, roster: &Roster) -> bool {
        self.sent_recording != roster.is_recorded()
    }

    /// Whether the counts of participants changed since the room was last sent.
    pub(crate) fn counts_changed(&self, roster: &Roster) -> bool {
        self.sent_counts != counts(roster)
    }

    /// Sends the room to one participant.
    pub(crate) fn send(&self, key: ParticipantKey, roster: &Roster, out: &mut Outbox) {
        let room = Some(self.message(roster, out));
        roster.send(out, key, Message::RoomUpdate(proto::RoomUpdate { room }));
    }

    /// Sends the room to everybody.
    pub(crate) fn send_to_all(&mut self, roster: &Roster, out: &mut Outbox) {
        self.sent_counts = counts(roster);
        self.sent_recording = roster.is_recorded();
        let room = self.message(roster, out);
        for key in roster.keys() {
            let room = Some(room.clone());
            roster.send(out, key, Message::RoomUpdate(proto::RoomUpdate { room }));
        }
    }
}

/// Participants without agents and recorders, and publishers of all kinds, as clients are told.
fn counts(roster: &Roster) -> (u32, u32) {
    let publishers = roster.iter().filter(|p| p.is_publisher).count();
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
    (number(roster.independent()), number(publishers))
}
