//! The JSON of the server API: snake case, and every field even if it is empty.
//!
//! The message types write the other JSON of Protobuf: camel case, empty fields left out. Readers
//! must accept both, but scripts that read `.num_participants` do not.
//!
//! * **Owns:** the fields of the messages that the API answers with.
//! * **In:** the JSON that the message types write; JSON that clients send.
//! * **Out:** the JSON of the reference server; a decoded request.
//! * **Invariant:** a field that is missing in the table is passed on, renamed.
//! * **livekit-server:** Twirp for Go, `UseProtoNames` and `EmitUnpopulated`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A field's name and what stands for its empty value.
pub(crate) type Field = (&'static str, Shape);

/// What a field holds.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Number,
    /// 64 bits: a number in quotes.
    Long,
    Flag,
    /// An enum; its value 0.
    Name(&'static str),
    /// A list of what needs no renaming.
    List,
    /// A map whose keys are data.
    Map,
    /// A list of messages.
    Each(&'static [Field]),
    /// A message; `null` if absent.
    Message(&'static [Field]),
}

use Shape::{Each, Flag, List, Long, Map as Pairs, Message, Name, Number, Text};

const CODEC: &[Field] = &[("mime", Text), ("fmtp_line", Text)];
const VERSION: &[Field] = &[("unix_micro", Long), ("ticks", Number)];
pub(crate) const ROOM: &[Field] = &[
    ("sid", Text),
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("creation_time", Long),
    ("creation_time_ms", Long),
    ("turn_password", Text),
    ("enabled_codecs", Each(CODEC)),
    ("metadata", Text),
    ("num_participants", Number),
    ("num_publishers", Number),
    ("active_recording", Flag),
    ("version", Message(VERSION)),
];
const LAYER: &[Field] = &[
    ("quality", Name("LOW")),
    ("width", Number),
    ("height", Number),
    ("bitrate", Number),
    ("ssrc", Number),
    ("spatial_layer", Number),
    ("rid", Text),
    ("repair_ssrc", Number),
];
const TRACK_CODEC: &[Field] = &[
    ("mime_type", Text),
    ("mid", Text),
    ("cid", Text),
    ("layers", Each(LAYER)),
    ("video_layer_mode", Name("MODE_UNUSED")),
    ("sdp_cid", Text),
];
pub(crate) const TRACK: &[Field] = &[
    ("sid", Text),
    ("type", Name("AUDIO")),
    ("name", Text),
    ("muted", Flag),
    ("width", Number),
    ("height", Number),
    ("simulcast", Flag),
    ("disable_dtx", Flag),
    ("source", Name("UNKNOWN")),
    ("layers", Each(LAYER)),
    ("mime_type", Text),
    ("mid", Text),
    ("codecs", Each(TRACK_CODEC)),
    ("stereo", Flag),
    ("disable_red", Flag),
    ("encryption", Name("NONE")),
    ("stream", Text),
    ("version", Message(VERSION)),
    ("audio_features", List),
    ("backup_codec_policy", Name("PREFER_REGRESSION")),
    ("packet_trailer_features", List),
];
const PERMISSION: &[Field] = &[
    ("can_subscribe", Flag),
    ("can_publish", Flag),
    ("can_publish_data", Flag),
    ("can_publish_sources", List),
    ("hidden", Flag),
    ("recorder", Flag),
    ("can_update_metadata", Flag),
    ("agent", Flag),
    ("can_subscribe_metrics", Flag),
    ("can_manage_agent_session", Flag),
];
pub(crate) const PARTICIPANT: &[Field] = &[
    ("sid", Text),
    ("identity", Text),
    ("state", Name("JOINING")),
    ("tracks", Each(TRACK)),
    ("metadata", Text),
    ("joined_at", Long),
    ("joined_at_ms", Long),
    ("name", Text),
    ("version", Number),
    ("permission", Message(PERMISSION)),
    ("region", Text),
    ("is_publisher", Flag),
    ("kind", Name("STANDARD")),
    ("attributes", Pairs),
    ("disconnect_reason", Name("UNKNOWN_REASON")),
    ("kind_details", List),
    ("data_tracks", List),
    ("client_protocol", Number),
    ("capabilities", List),
];
pub(crate) const ROOMS: &[Field] = &[("rooms", Each(ROOM))];
pub(crate) const PARTICIPANTS: &[Field] = &[("participants", Each(PARTICIPANT))];
pub(crate) const MUTED: &[Field] = &[("track", Message(TRACK))];
pub(crate) const NOTHING: &[Field] = &[];

/// Writes an answer.
pub(crate) fn write(message: &impl Serialize, fields: &[Field]) -> Option<Vec<u8>> {
    let sparse = serde_json::to_value(message).ok()?;
    Some(complete(sparse, fields).to_string().into_bytes())
}

/// Renames and fills in, recursively; the depth is that of the tables.
fn complete(sparse: Value, fields: &[Field]) -> Value {
    let Value::Object(mut sparse) = sparse else { return sparse };
    let mut full = Map::new();
    for (name, shape) in fields {
        let value = sparse.remove(&camel(name));
        full.insert((*name).to_owned(), value.map_or_else(|| empty(*shape), |v| nested(v, *shape)));
    }
    full.extend(sparse.into_iter().map(|(name, value)| (snake(&name), value)));
    Value::Object(full)
}

fn nested(value: Value, shape: Shape) -> Value {
    match (shape, value) {
        (Each(fields), Value::Array(items)) => {
            items.into_iter().map(|item| complete(item, fields)).collect()
        }
        (Message(fields), value) => complete(value, fields),
        (Each(_) | Text | Number | Long | Flag | Name(_) | List | Pairs, value) => value,
    }
}

fn empty(shape: Shape) -> Value {
    match shape {
        Text => json!(""),
        Number => json!(0),
        Long => json!("0"),
        Flag => json!(false),
        Name(zero) => json!(zero),
        List | Each(_) => json!([]),
        Pairs => json!({}),
        Message(_) => Value::Null,
    }
}

fn camel(name: &str) -> String {
    let mut up = false;
    let mut camel = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '_' {
            up = true;
        } else {
            camel.push(if up { letter.to_ascii_uppercase() } else { letter });
            up = false;
        }
    }
    camel
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Reads a request: the first JSON value of the body, both spellings of names, unknown fields
/// ignored, `null` like absence, unknown names of enums like their default.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let mut strict = serde_json::Deserializer::from_slice(body);
    if let Ok(request) = T::deserialize(&mut strict) {
        return Some(request);
    }
    let mut lenient = serde_json::Deserializer::from_slice(body);
    let mut value: Value = serde::Deserialize::deserialize(&mut lenient).ok()?;
    // Another reading is tried only if there was something to forgive.
    if relax(&mut value) { serde_json::from_value(value).ok() } else { None }
}

/// Takes out what the reader of messages refuses and the reference server ignores; was there any?
fn relax(value: &mut Value) -> bool {
    let Value::Object(fields) = value else { return false };
    let many = fields.len();
    let ignored =
        |name: &str, value: &Value| value.is_null() || (name == "kind" && unknown(value, KINDS));
    fields.retain(|name, value| !ignored(name, value));
    let mut relaxed = fields.len() < many;
    for (name, value) in fields {
        if matches!(name.as_str(), "canPublishSources" | "can_publish_sources")
            && let Value::Array(sources) = value
        {
            let many = sources.len();
            sources.retain(|source| !unknown(source, SOURCES));
            relaxed |= sources.len() < many;
        }
        relaxed |= relax(value);
    }
    relaxed
}

fn unknown(value: &Value, names: &[&str]) -> bool {
    value.as_str().is_some_and(|name| !names.contains(&name))
}

const KINDS: &[&str] = &["RELIABLE", "LOSSY"];
const SOURCES: &[&str] = &["UNKNOWN", "CAMERA", "MICROPHONE", "SCREEN_SHARE", "SCREEN_SHARE_AUDIO"];

#[cfg(test)]
mod tests {
    use hearth_signal::proto;

    use super::*;

    #[test]
    fn an_answer_has_every_field_in_snake_case() {
        let room = proto::Room { name: "r".into(), empty_timeout: 300, ..Default::default() };
        let written: Value = serde_json::from_slice(&write(&room, ROOM).unwrap()).unwrap();
        let expected = json!({
            "sid": "", "name": "r", "empty_timeout": 300, "departure_timeout": 0,
            "max_participants": 0, "creation_time": "0", "creation_time_ms": "0",
            "turn_password": "", "enabled_codecs": [], "metadata": "", "num_participants": 0,
            "num_publishers": 0, "active_recording": false, "version": null
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn nested_messages_are_completed_and_map_keys_are_left_alone() {
        let mut participant = proto::ParticipantInfo {
            attributes: [("camelKey".to_owned(), "v".to_owned())].into(),
            permission: Some(proto::ParticipantPermission::default()),
            ..Default::default()
        };
        participant.tracks.push(proto::TrackInfo { muted: true, ..Default::default() });
        let written: Value =
            serde_json::from_slice(&write(&participant, PARTICIPANT).unwrap()).unwrap();
        assert_eq!(written["attributes"], json!({"camelKey": "v"}));
        assert_eq!(written["permission"]["can_publish_sources"], json!([]));
        assert_eq!(written["tracks"][0]["disable_dtx"], json!(false));
        assert_eq!(written["state"], json!("JOINING"));
    }

    #[test]
    fn requests_are_read_as_leniently_as_by_the_reference() {
        let room = |text: &str| read::<proto::CreateRoomRequest>(text.as_bytes());
        let timeout = |text: &str| room(text).map(|room| room.empty_timeout);
        for (text, read) in [
            (r#"{"name":"r","empty_timeout":11}"#, Some(11)),
            (r#"{"name":"r","emptyTimeout":11}"#, Some(11)),
            (r#"{"empty_timeout":"11"}"#, Some(11)),
            (r#"  {} x"#, Some(0)),
            (r#"{}{}"#, Some(0)),
            (r#"{"nope":1}"#, Some(0)),
            (r#"{"name":null,"emptyTimeout":3}"#, Some(3)),
            (r#"{"empty_timeout":1.5}"#, None),
            (r#"{"empty_timeout":-1}"#, None),
            (r#"{"empty_timeout":4294967296}"#, None),
            (r#"{"empty_timeout":11,"emptyTimeout":12}"#, None),
            (r#"{"name":7}"#, None),
            ("", None),
            ("null", None),
            (r#"{"empty_timeout":1,"empty_timeout":2}"#, None),
            ("[]", None),
            ("\"x\"", None),
            ("{'name':1}", None),
            ("{\"name\"", None),
            ("{\"name\":\"\\ud83d\"}", None),
        ] {
            assert_eq!(timeout(text), read, "{text}");
        }
        let send = read::<proto::SendDataRequest>(br#"{"room":"r","kind":"NOPE"}"#).unwrap();
        assert_eq!(send.kind, 0);
        let update = br#"{"permission":{"canPublishSources":["NOPE","CAMERA"]}}"#;
        let update = read::<proto::UpdateParticipantRequest>(update).unwrap();
        assert_eq!(update.permission.unwrap().can_publish_sources, [1]);
    }
}
