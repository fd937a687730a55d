//! `GET /debug/state`: what the server holds, in JSON, for whoever runs it.
//!
//! * **Owns:** nothing.
//! * **In:** the node's numbers.
//! * **Out:** what exists, what was dropped, and memory: of the process, and for each participant that
//!   is there. Bytes, datagrams and counts since the start.
//! * **Invariant:** only who may list rooms sees it (the grant `roomList`).

use axum::body::Body;
use axum::http::{Method, Response};
use hearth_runtime::{Counters, Memory};
use serde_json::{Value, json};

use crate::AppState;
use crate::answer;
use crate::dispatch::Asked;

/// The path of it.
pub(crate) const STATE: &str = "/debug/state";

/// Answers a request for [`STATE`].
pub(crate) fn state(state: &AppState, asked: &Asked) -> Response<Body> {
    if !asked.claims.as_ref().is_some_and(|claims| claims.video.room_list) {
        return answer::text(401, "a token with the grant roomList is needed, as a bearer token");
    }
    if !matches!(asked.parts.method, Method::GET | Method::HEAD) {
        return answer::text(405, "only GET");
    }
    let body = describe(&state.node.counters(), &state.node.memory());
    answer::with_type(200, "application/json", format!("{body:#}\n").into_bytes())
}

fn describe(counters: &Counters, memory: &Memory) -> Value {
    let grown = memory.resident.saturating_sub(memory.resident_at_start);
    let drops = &counters.drops;
    json!({
        "rooms": counters.rooms,
        "participants": counters.participants,
        "sessions": counters.sessions,
        "transports": counters.peers,
        "shards": counters.shards,
        "control_tasks": counters.tasks,
        "memory": {
            "resident_bytes": memory.resident,
            "resident_at_start_bytes": memory.resident_at_start,
            "bytes_per_participant": grown.checked_div(counters.participants),
        },
        "received": { "datagrams": counters.datagrams_in, "bytes": counters.bytes_in },
        "sent": {
            "datagrams": counters.datagrams_out,
            "bytes": counters.bytes_out,
            "late_for_a_full_buffer": counters.datagrams_delayed,
        },
        "dropped": {
            "send_buffer_full": drops.send_full,
            "send_unreachable": drops.send_unreachable,
            "send_denied": drops.send_denied,
            "send_too_long": drops.send_too_long,
            "send_refused": drops.send_refused,
            "received_too_long": drops.receive_truncated,
            "received_of_nobody_known": drops.receive_unknown,
            "received_invalid": drops.receive_invalid,
            "answers_without_room": drops.shard_full,
            "data_to_slow_channels": drops.data,
            "parcels_between_shards": drops.parcels,
            "checks_between_shards": drops.checks,
            "events": drops.events,
            "sessions_too_slow": drops.sessions,
        },
        "panics": counters.panics,
        "shard_failures": counters.shard_failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participant_takes_what_was_added_since_the_start() {
        let memory = Memory { resident: 5_000, resident_at_start: 2_000 };
        let counters = Counters { participants: 3, ..Counters::default() };
        assert_eq!(describe(&counters, &memory)["memory"]["bytes_per_participant"], 1_000);
        let nobody = describe(&Counters::default(), &memory);
        assert_eq!(nobody["memory"]["bytes_per_participant"], Value::Null);
    }
}
