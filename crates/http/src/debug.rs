//! `GET /debug/state`: metrics, memory and drops by reason in JSON, for the operator.
//!
//! * **Owns:** nothing.
//! * **In:** the node's numbers, as the table of [`Metric`] names them.
//! * **Out:** gauges, counters, drops by reason, whose clients are not connected and why, and memory: of the process, and for each participant that
//!   is there. Bytes, datagrams and counts since the start.
//! * **Invariant:** only a token with the grant `roomList` gets it.

use axum::body::Body;
use axum::http::{Method, Response};
use hearth_runtime::{ConnectionTrouble, Counts, Memory, Metric};
use serde_json::{Map, Value, json};

use crate::AppState;
use crate::diagnosis;
use crate::dispatch::RequestContext;
use crate::response;

/// The path of it.
pub(crate) const STATE: &str = "/debug/state";

/// Answers a request for [`STATE`].
pub(crate) async fn state(state: &AppState, request: &RequestContext) -> Response<Body> {
    if !request.claims.as_ref().is_some_and(|claims| claims.video.room_list) {
        return response::text(401, "a token with the grant roomList is needed, as a bearer token");
    }
    if !matches!(request.parts.method, Method::GET | Method::HEAD) {
        return response::text(405, "only GET");
    }
    let mut body = describe(&state.node.counts(), &state.node.memory());
    let troubles = state.node.troubles().await;
    if let Value::Object(state) = &mut body {
        let all: Vec<Value> = troubles.iter().map(trouble).collect();
        state.insert("not_connected".to_owned(), all.into());
    }
    response::with_type(200, "application/json", format!("{body:#}\n").into_bytes())
}

/// A participant whose client is not connected, and why.
fn trouble(trouble: &ConnectionTrouble) -> Value {
    let mut said = diagnosis::describe(Some(trouble));
    if let Value::Object(said) = &mut said {
        said.insert("room".to_owned(), trouble.room.as_str().into());
        said.insert("participant".to_owned(), trouble.identity.as_str().into());
    }
    said
}

fn describe(counts: &Counts, memory: &Memory) -> Value {
    let grown = memory.resident.saturating_sub(memory.resident_at_start);
    let mut state = Map::new();
    for metric in Metric::ALL {
        let group = match metric.group() {
            "" => &mut state,
            group => match state.entry(group).or_insert_with(|| Map::new().into()) {
                Value::Object(group) => group,
                // A number may not have the name of a group: then it is not shown.
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => continue,
            },
        };
        group.insert(metric.name().to_owned(), counts[*metric].into());
    }
    let memory = json!({
        "resident_bytes": memory.resident,
        "resident_at_start_bytes": memory.resident_at_start,
        "bytes_per_participant": grown.checked_div(counts[Metric::Participants]),
    });
    state.insert("memory".to_owned(), memory);
    state.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participant_takes_what_was_added_since_the_start() {
        let memory = Memory { resident: 5_000, resident_at_start: 2_000 };
        let mut counts = Counts::default();
        let nobody = describe(&counts, &memory);
        assert_eq!(nobody["memory"]["bytes_per_participant"], Value::Null);
        counts[Metric::Participants] = 3;
        assert_eq!(describe(&counts, &memory)["memory"]["bytes_per_participant"], 1_000);
    }

    #[test]
    fn every_number_is_shown_under_its_group() {
        let mut counts = Counts::default();
        for (metric, value) in Metric::ALL.iter().zip(1..) {
            counts[*metric] = value;
        }
        let state = describe(&counts, &Memory::default());
        for (metric, value) in Metric::ALL.iter().zip(1_u64..) {
            let group = if metric.group().is_empty() { &state } else { &state[metric.group()] };
            assert_eq!(group[metric.name()], value, "{metric:?}");
        }
        assert_eq!(state["transports"], 6);
    }
}
