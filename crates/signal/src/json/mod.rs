//! Messages in protobuf's JSON form, as Go reads and writes it.
//!
//! * **Owns:** the schema of LiveKit's messages and services.
//! * **In:** JSON of a client; or a message of ours.
//! * **Out:** a message; or JSON.
//! * **Invariant:** JSON that Go's `protojson` accepts is accepted, with the same meaning; what it refuses is
//!   refused. Every message of ours has a JSON form, whatever numbers its enums hold.
//! * **Spec:** <https://protobuf.dev/programming-guides/json>. livekit-server: `protojson` with
//!   `DiscardUnknown`; for the server API also `UseProtoNames` and `EmitUnpopulated`.

mod read;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use prost::Message;
use serde::de::DeserializeSeed as _;

pub use write::Style;

/// Why a text is not the message it was taken for.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// A value that its field does not take, or no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The schema and the types do not belong together. A bug.
    #[error("the schema has no such message")]
    Schema,
}

/// The full names of a method's request and answer, such as `livekit.CreateRoomRequest`.
pub fn method(service: &str, method: &str) -> Option<(&'static str, &'static str)> {
    schema::get().method(service, method)
}

/// Reads a text that is one message of the full name `name`.
///
/// # Errors
///
/// [`JsonError`], with what is wrong and where.
pub fn decode<M: Message + Default>(name: &str, text: &[u8]) -> Result<M, JsonError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let message = message(name, &mut json)?;
    json.end()?;
    Ok(message)
}

/// As [`decode`], but what follows the message is not looked at: Twirp for Go reads one value.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_first<M: Message + Default>(name: &str, text: &[u8]) -> Result<M, JsonError> {
    message(name, &mut serde_json::Deserializer::from_slice(text))
}

/// Writes a message of the full name `name`.
///
/// # Errors
///
/// [`JsonError::Schema`] if the message is not of that name.
pub fn encode(name: &str, message: &impl Message, style: Style) -> Result<String, JsonError> {
    let schema = schema::get();
    let message_type = schema.message(name).ok_or(JsonError::Schema)?;
    write::message(schema, message_type, &message.encode_to_vec(), style).ok_or(JsonError::Schema)
}

fn message<'de, M, R>(name: &str, json: &mut serde_json::Deserializer<R>) -> Result<M, JsonError>
where
    M: Message + Default,
    R: serde_json::de::Read<'de>,
{
    let schema = schema::get();
    let message_type = schema.message(name).ok_or(JsonError::Schema)?;
    let mut wire = Vec::new();
    read::MessageSeed { schema, message_type, wire: &mut wire }.deserialize(json)?;
    M::decode(&*wire).map_err(|_| JsonError::Schema)
}
