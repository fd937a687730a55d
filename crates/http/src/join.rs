//! Joining: the checks before a signal connection, and the same checks without one.
//!
//! * **Owns:** nothing.
//! * **In:** a request whose token, if any, has been verified.
//! * **Out:** an upgrade to a WebSocket, or a status and a text that clients show to their users.
//! * **Invariant:** the upgrade happens only after the room has answered: any failure
//!   before it is an HTTP status.
//! * **livekit-server:** `pkg/service/rtcservice.go`; the order of the checks and their texts.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use hearth_access::{AdmitError, AdmittedJoin, JoinOptions, Limits};
use hearth_room::JoinError;
use hearth_runtime::{Session, SessionOutput};
use hearth_signal::proto::{
    DisconnectReason, LeaveRequest, SignalResponse, leave_request, signal_response,
};
use hearth_signal::{JoinParams, JoinPath, frame};
use tokio::time::timeout;
use tracing::debug;

use crate::AppState;
use crate::dispatch::{ConnectionInfo, RequestContext};
use crate::refusal::Refusal;
use crate::response;
use crate::socket::{Connection, say_and_close};
use crate::twirp;

/// How long a room may take to answer a join.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes read from a signal connection at once, and the buffer it begins with. That lives as long as the
/// connection, and stays as large as the largest message was: a few hundred bytes, or an SDP of several KB.
const SOCKET_BUFFER: usize = 1_024;
/// Bytes that may wait for a client that does not read, answers to its pings too; more than any one
/// message of ours.
const SOCKET_BACKLOG: usize = 2 * frame::MAX_FRAME;

/// `/rtc/validate`: would a join be refused?
pub(crate) async fn validate(state: &AppState, context: RequestContext) -> Response<Body> {
    let verdict = async {
        let (admitted, params) = admit(&context, limits(state))?;
        if params.attributes_unreadable {
            return Err(Refusal::Attributes);
        }
        if !params.reconnect && !admitted.claims().video.room_create {
            state.node.check_join(&admitted).await?;
        }
        Ok(())
    };
    match verdict.await {
        Ok(()) => response::text(200, "success"),
        Err(refusal) => refusal.answer(),
    }
}

fn limits(state: &AppState) -> &Limits {
    &state.node.room_config().limits
}

/// `/rtc`: joins and upgrades.
pub(crate) async fn connect(state: &AppState, mut context: RequestContext) -> Response<Body> {
    if !asks_for_websocket(&context.parts.headers) {
        return response::empty(StatusCode::NOT_FOUND);
    }
    let limits = limits(state);
    // The size of what a participant has is no matter of validation at the reference server.
    let fits = |(admitted, params): (AdmittedJoin, _)| Ok((admitted.fits(limits)?, params));
    let (admitted, params) = match admit(&context, limits).and_then(fits) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.answer(),
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut context.parts, &()).await {
        Ok(upgrade) => upgrade
            .max_message_size(frame::MAX_FRAME)
            .max_frame_size(frame::MAX_FRAME)
            .read_buffer_size(SOCKET_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(SOCKET_BACKLOG),
        Err(rejection) => {
            let mut response = response::text(400, format!("Bad Request\n{rejection}"));
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return response;
        }
    };
    let resumes = params.reconnect;
    let ConnectionInfo { stopping, open, .. } = context.caller;
    match timeout(JOIN_DEADLINE, join(state, admitted, params)).await {
        Ok(Ok((session, first))) => upgrade.on_upgrade(async move |socket| {
            Connection::new(socket, session).run(first, stopping).await;
            drop(open);
        }),
        // A client that resumes gets a leave message with the action to take instead.
        Ok(Err(Refusal::Join(JoinError::RoomNotFound))) if resumes => {
            upgrade.on_upgrade(async move |socket| {
                say_and_close(socket, reconnect()).await;
                drop(open);
            })
        }
        Ok(Err(refusal)) => refusal.answer(),
        Err(_) => Refusal::NoAnswer.answer(),
    }
}

/// Joins and waits for the room's first message.
async fn join(
    state: &AppState,
    admitted: AdmittedJoin,
    params: JoinParams,
) -> Result<(Session, Box<SignalResponse>), Refusal> {
    // The grant makes the room even where a join alone does not.
    if admitted.claims().video.room_create
        && !params.reconnect
        && let Err(error) = state.node.create_room(admitted.room(), None).await
    {
        debug!(%error, "The room could not be made");
    }
    let mut session = state.node.join(admitted, params).await?;
    match session.responses.recv().await {
        Some(SessionOutput::Signal(first)) => Ok((session, first)),
        Some(SessionOutput::Close) | None => Err(Refusal::NoAnswer),
    }
}

/// The checks that need no room.
fn admit(context: &RequestContext, limits: &Limits) -> Result<(AdmittedJoin, JoinParams), Refusal> {
    let claims = context.claims.clone().ok_or(AdmitError::NoPermissions)?;
    // The token's own grants are checked first: a client without rights learns no more.
    let admitted = AdmittedJoin::new(claims, limits)?;
    let path = if context.path.starts_with("/rtc/v1") { JoinPath::V1 } else { JoinPath::V0 };
    let mut params = JoinParams::from_query(path, &context.query)?;
    let admitted = admitted.with(JoinOptions {
        metadata: std::mem::take(&mut params.metadata),
        attributes: std::mem::take(&mut params.attributes),
        publish: params.publish.take(),
    })?;
    if !params.reconnect {
        twirp::note_token(admitted.claims())?;
    }
    let headers = &context.parts.headers;
    let socket = context.caller.address.ip().to_string();
    let address = client_address(headers).unwrap_or(&socket);
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    params.augment(user_agent, Some(address));
    Ok((admitted, params))
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let lists = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    lists(CONNECTION, "upgrade") && lists(UPGRADE, "websocket")
}

/// The client's address according to proxies' headers, the nearest to the client first.
fn client_address(headers: &HeaderMap) -> Option<&str> {
    ["cf-connecting-ip", "x-forwarded-for", "x-real-ip"]
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find(|value| !value.is_empty())
}

/// The messages to a client that resumes a session that does not exist: reconnect with a full join.
fn reconnect() -> SignalResponse {
    let leave = LeaveRequest {
        // All that clients of protocol 12 and older look at.
        can_reconnect: true,
        reason: DisconnectReason::StateMismatch.into(),
        action: leave_request::Action::Reconnect.into(),
        ..LeaveRequest::default()
    };
    SignalResponse { message: Some(signal_response::Message::Leave(leave)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_the_outermost_proxy_says() {
        let all = [
            ("x-real-ip", "192.0.2.3"),
            ("x-forwarded-for", "192.0.2.2, 10.0.0.1"),
            ("cf-connecting-ip", "192.0.2.1"),
        ];
        let address = |headers: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            client_address(&headers).map(str::to_owned)
        };
        assert_eq!(address(&all).as_deref(), Some("192.0.2.1"));
        assert_eq!(address(&all[..2]).as_deref(), Some("192.0.2.2, 10.0.0.1"));
        assert_eq!(address(&all[..1]).as_deref(), Some("192.0.2.3"));
        assert_eq!(address(&[("cf-connecting-ip", ""), all[0]]).as_deref(), Some("192.0.2.3"));
        assert_eq!(address(&[]), None);
    }
}
