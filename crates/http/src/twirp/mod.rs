//! The server API over Twirp: a method's name in the path, a message in the body.
//!
//! * **Owns:** nothing.
//! * **In:** a request below [`PREFIX`], its claims, its body.
//! * **Out:** the method's answer in the format of the request, or an error as JSON.
//! * **Invariant:** a body is read and decoded only after route and content type are known good;
//!   a method acts only after its grant is checked.
//! * **Spec:** Twirp wire protocol v7.

mod error;
mod not_yet;
mod room_service;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hearth_signal::json::{self, Style};
use prost::Message;

use crate::AppState;
use crate::dispatch::{BODY_BYTES, RequestContext, read_body};
use crate::response;
use error::{Code, TwirpError};
pub(crate) use not_yet::note_token;
use room_service::RoomService;

/// The service's name in its `.proto` file.
const NAME: &str = "livekit.RoomService";
/// The service's path, without a method.
pub(crate) const SERVICE: &str = "/twirp/livekit.RoomService";
/// Bytes of a body that are read of a caller without a grant, so that small requests are answered in
/// the reference's order: first malformed, then permission_denied.
const UNAUTHENTICATED_BYTES: usize = 16 * 1_024;
/// The prefix of every method's path.
pub(crate) const PREFIX: &str = "/twirp/livekit.RoomService/";

/// The path without its last slash leads to the path with it.
pub(crate) fn redirect() -> Response<Body> {
    let mut response = response::empty(StatusCode::TEMPORARY_REDIRECT);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(PREFIX));
    response
}

/// Calls a method.
pub(crate) async fn call(state: &AppState, context: RequestContext, body: Body) -> Response<Body> {
    let service = RoomService { node: &state.node, claims: context.claims.as_ref() };
    let (method, path) = (&context.parts.method, context.path.as_str());
    match route(method, path, &context.parts.headers) {
        Ok((name, wire)) => invoke(&service, name, wire, body).await,
        Err(error) => Err(error),
    }
    .unwrap_or_else(TwirpError::answer)
}

/// The formats of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wire {
    Json,
    Protobuf,
}

/// The method's name and the body's format.
fn route<'p>(
    method: &Method,
    path: &'p str,
    headers: &HeaderMap,
) -> Result<(&'p str, Wire), TwirpError> {
    let bad = |msg| TwirpError::bad_route(msg, method.as_str(), path);
    if method != Method::POST {
        let method = method.as_str();
        return Err(bad(format!("unsupported method {method:?} (only POST is allowed)")));
    }
    let name = path.strip_prefix(PREFIX).unwrap_or_default();
    if !room_service::METHODS.contains(&name) {
        return Err(bad(format!("no handler for path {path:?}")));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok((name, Wire::Json)),
        "application/protobuf" => Ok((name, Wire::Protobuf)),
        _ => Err(bad(format!("unexpected Content-Type: {content_type:?}"))),
    }
}

async fn invoke(
    service: &RoomService<'_>,
    name: &str,
    wire: Wire,
    body: Body,
) -> Result<Response<Body>, TwirpError> {
    // A caller without grants is not read for long.
    let grant = service.claims.map(|claims| &claims.video);
    let may_call = grant.is_some_and(|g| g.room_create || g.room_list || g.room_admin);
    let limit = if may_call { BODY_BYTES } else { UNAUTHENTICATED_BYTES };
    let body = read_body(body, limit)
        .await
        .map_err(|_| if may_call { malformed(wire) } else { TwirpError::denied() })?;
    let types = json::method(NAME, name);
    let (asks, answers) = types.ok_or_else(|| TwirpError::new(Code::Internal, "no such method"))?;
    let call = Invocation { wire, body, asks, answers };
    match name {
        "CreateRoom" => call.run(|request| service.create_room(request)).await,
        "ListRooms" => call.run(|request| service.list_rooms(request)).await,
        "DeleteRoom" => call.run(|request| service.delete_room(request)).await,
        "ListParticipants" => call.run(|request| service.list_participants(request)).await,
        "GetParticipant" => call.run(|request| service.get_participant(request)).await,
        "RemoveParticipant" => call.run(|request| service.remove_participant(request)).await,
        "MutePublishedTrack" => call.run(|request| service.mute_published_track(request)).await,
        "UpdateParticipant" => call.run(|request| service.update_participant(request)).await,
        "UpdateSubscriptions" => call.run(|request| service.update_subscriptions(request)).await,
        "SendData" => call.run(|request| service.send_data(request)).await,
        "UpdateRoomMetadata" => call.run(|request| service.update_room_metadata(request)).await,
        // `route` lets no other name through.
        _ => Err(TwirpError::new(Code::Internal, "no such method")),
    }
}

fn malformed(wire: Wire) -> TwirpError {
    let format = match wire {
        Wire::Json => "json",
        Wire::Protobuf => "protobuf",
    };
    TwirpError::new(Code::Malformed, format!("the {format} request could not be decoded"))
}

/// A body, its format, and the full names of what it is and what it is answered with.
struct Invocation {
    wire: Wire,
    body: bytes::Bytes,
    asks: &'static str,
    answers: &'static str,
}

impl Invocation {
    /// Decodes, has the request met, encodes.
    async fn run<Q, A, F>(self, meet: impl FnOnce(Q) -> F) -> Result<Response<Body>, TwirpError>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, TwirpError>>,
    {
        let wrong = |cause: &dyn std::fmt::Display| malformed(self.wire).caused_by(cause);
        let request = match self.wire {
            Wire::Json => {
                json::decode_first(self.asks, &self.body).map_err(|error| wrong(&error))?
            }
            Wire::Protobuf => Q::decode(&*self.body).map_err(|error| wrong(&error))?,
        };
        let met = meet(request).await?;
        match self.wire {
            Wire::Json => {
                let body = json::encode(self.answers, &met, Style::Full)
                    .map_err(|_| TwirpError::new(Code::Internal, "failed to marshal response"))?;
                Ok(response::with_type(200, "application/json", body.into_bytes()))
            }
            Wire::Protobuf => {
                Ok(response::with_type(200, "application/protobuf", met.encode_to_vec()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_refused_with_the_texts_of_the_reference() {
        let post = "POST";
        for (method, path, content_type, msg) in [
            (
                "GET",
                "ListRooms",
                "application/json",
                "unsupported method \"GET\" (only POST is allowed)",
            ),
            (
                post,
                "Nope",
                "application/json",
                "no handler for path \"/twirp/livekit.RoomService/Nope\"",
            ),
            (
                post,
                "listRooms",
                "application/json",
                "no handler for path \"/twirp/livekit.RoomService/listRooms\"",
            ),
            (
                post,
                "ListRooms/",
                "application/json",
                "no handler for path \"/twirp/livekit.RoomService/ListRooms/\"",
            ),
            (post, "ListRooms", "text/plain", "unexpected Content-Type: \"text/plain\""),
            (
                post,
                "ListRooms",
                "application/x-protobuf",
                "unexpected Content-Type: \"application/x-protobuf\"",
            ),
            (post, "ListRooms", "", "unexpected Content-Type: \"\""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            let path = format!("{PREFIX}{path}");
            let error = route(&method.parse().unwrap(), &path, &headers).unwrap_err();
            let said = format!("{error:?}");
            assert!(said.contains(&format!("{msg:?}")), "{said}");
            assert!(said.contains(&format!("{method} {path}")), "{said}");
        }
    }

    #[test]
    fn content_types_are_compared_without_case_and_parameters() {
        for (content_type, wire) in [
            ("application/json", Wire::Json),
            ("application/json;charset=UTF-8", Wire::Json),
            ("APPLICATION/JSON", Wire::Json),
            (" application/json", Wire::Json),
            ("application/protobuf; x=1", Wire::Protobuf),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            let routed = route(&Method::POST, "/twirp/livekit.RoomService/ListRooms", &headers);
            assert_eq!(routed.unwrap(), ("ListRooms", wire));
        }
    }
}
