//! Options of a room that are not supported yet: a warning for the operator and, where it matters, an error.
//!
//! * **Owns:** nothing.
//! * **In:** a request to make a room; a token's room configuration.
//! * **Out:** warnings; an error where the caller would lose what it relies on.
//! * **Invariant:** no requested option is ignored silently.
//! * **livekit-server:** `pkg/service/roomservice.go`; without an egress service it refuses `egress`, with
//!   one without an egress service it answers after 10 s that the recording did not start.

use std::sync::atomic::{AtomicBool, Ordering};

use hearth_access::Claims;
use hearth_signal::json::{self, JsonError};
use hearth_signal::proto;
use tracing::{debug, warn};

use super::error::{Code, TwirpError};

/// Refuses options that cannot be done at all, and warns of those that are ignored.
pub(super) fn check(request: &proto::CreateRoomRequest) -> Result<(), TwirpError> {
    if !request.room_preset.is_empty() {
        let text = "unknown room configuration in create room request";
        let cause =
            "there are no presets yet: leave room_preset out and send the values themselves";
        return Err(TwirpError::wrapped(Code::InvalidArgument, text).caused_by(cause));
    }
    if request.egress.is_some() {
        let text = "egress not connected (redis required)";
        let cause = "this server does not record yet: leave egress out, or record as a participant";
        return Err(TwirpError::wrapped(Code::Internal, text).caused_by(cause));
    }
    let missing = Missing {
        agents: !request.agents.is_empty(),
        playout: request.min_playout_delay != 0 || request.max_playout_delay != 0,
        sync: request.sync_streams,
        ..Missing::default()
    };
    for what in missing.names() {
        warn!(room = %request.name, "CreateRoom: {what}; the room is made without");
    }
    Ok(())
}

/// Reports parts of a token's `roomConfig` and `roomPreset` without effect, once as a warning.
///
/// # Errors
///
/// The claim is not a room configuration.
pub(crate) fn note_token(claims: &Claims) -> Result<(), JsonError> {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let config = match &claims.room_config {
        Some(config) => json::decode::<proto::RoomConfiguration>(
            "livekit.RoomConfiguration",
            config.to_string().as_bytes(),
        )?,
        None => proto::RoomConfiguration::default(),
    };
    let missing = Missing {
        agents: !config.agents.is_empty(),
        playout: config.min_playout_delay != 0 || config.max_playout_delay != 0,
        sync: config.sync_streams,
        egress: config.egress.is_some(),
        preset: !claims.room_preset.is_empty(),
        numbers: config.empty_timeout != 0
            || config.departure_timeout != 0
            || config.max_participants != 0
            || !config.metadata.is_empty(),
    };
    for what in missing.names() {
        let room = &claims.video.room;
        if WARNED.swap(true, Ordering::Relaxed) {
            debug!(%room, "A token's room configuration: {what}");
        } else {
            warn!(%room, "A token's room configuration: {what} (said once; later ones at DEBUG)");
        }
    }
    Ok(())
}

/// The options that were requested and are not supported.
#[derive(Default)]
struct Missing {
    agents: bool,
    playout: bool,
    sync: bool,
    egress: bool,
    preset: bool,
    numbers: bool,
}

impl Missing {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.agents, "agents are not dispatched yet: start them as participants with a token"),
            (self.playout, "playout delays have no effect yet: set them in the clients"),
            (self.sync, "sync_streams has no effect yet"),
            (self.egress, "egress does not record yet: record as a participant"),
            (self.preset, "there are no presets yet: make the room with CreateRoom and its values"),
            (
                self.numbers,
                "timeouts, max_participants and metadata of a token have no effect yet: make the \
                 room with CreateRoom before",
            ),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_whose_room_configuration_is_none_is_refused() {
        let note = |config: &str| {
            let room_config = serde_json::from_str(config).unwrap();
            note_token(&Claims { room_config: Some(room_config), ..Claims::default() }).is_ok()
        };
        assert!(note(r#"{"emptyTimeout":"5","agents":[{"agentName":"a"}],"future":1}"#));
        assert!(note(r#"{"agents":null}"#));
        assert!(!note(r#"{"emptyTimeout":1.5}"#));
        assert!(!note(r#"{"agents":{}}"#));
    }
}
