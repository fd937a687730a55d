//! Rooms: who is in one, what they may do, and what they are told.
//!
//! * **Owns:** [`Room`]: participants, their sessions, publications and subscriptions.
//! * **In:** joins, signal messages, API calls, events from shards, time.
//! * **Out:** [`Output`]s: signal messages, commands to shards, the room's end.
//! * **Invariant:** no input panics; everything a client can make grow has a bound.
//! * **Not here:** SDP (`negotiate`), packets (`shard`), sockets (`runtime`, `http`).

mod admission;
mod announcements;
mod api;
mod calls;
mod compatibility;
mod config;
mod data;
mod data_track;
mod deadline_queue;
mod descriptions;
mod diagnosis;
mod disconnection;
mod dynacast;
mod events;
mod ice_preference;
mod ice_servers;
mod negotiation;
mod outbox;
mod packet;
mod participant;
mod profile;
mod publication;
mod publications;
mod publish;
mod quality;
mod random;
mod relays;
mod requests;
mod room;
mod room_info;
mod roster;
mod session;
mod simulate;
mod speakers;
mod ssrc;
mod subscribe;
mod subscription;
mod subscription_settings;
mod tracks;
mod transport;
mod update_throttle;
mod updates;

pub use api::{Call, CallError, Join, JoinError, Output, Reply, SessionId};
pub use config::{RoomConfig, ServerIdentity};
pub use diagnosis::Explanation;
pub use events::RoomEvent;
pub use ice_servers::{
    EmbeddedTurn, ExternalTurn, IceServers, TurnCredentials, TurnTls, TurnTransport,
};
pub use room::Room;
