//! Reading: from JSON to the wire form, field by field as Go's `protojson` does.
//!
//! * **Owns:** nothing.
//! * **In:** a JSON deserializer and a message type.
//! * **Out:** the message's wire form, appended to a buffer.
//! * **Invariant:** `null` is absence for a field and an error inside lists and maps; a field or a
//!   oneof that is set twice is an error; unknown names are ignored, for fields and enums.
//! * **livekit-server:** `google.golang.org/protobuf/encoding/protojson/decode.go`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::schema::{Field, Integer, Kind, MessageType, Schema, Shape};

const BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// Reads one message.
pub(super) struct MessageSeed<'a> {
    pub(super) schema: &'static Schema,
    pub(super) message_type: &'a MessageType,
    pub(super) wire: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.message_type.name.as_str() {
            "google.protobuf.Timestamp" => {
                let time = pbjson_types::Timestamp::deserialize(json)?;
                self.wire.extend(time.encode_to_vec());
                Ok(())
            }
            "google.protobuf.Duration" => {
                let duration = pbjson_types::Duration::deserialize(json)?;
                self.wire.extend(duration.encode_to_vec());
                Ok(())
            }
            _ => json.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object: {}", self.message_type.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { schema, message_type, wire } = self;
        let mut seen = BTreeSet::new();
        let mut seen_oneofs = BTreeSet::new();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let Some(field) = message_type.by_name(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if !seen.insert(field.number) {
                return Err(Error::custom(format_args!("duplicate field {name:?}")));
            }
            let present = map.next_value_seed(FieldSeed { schema, field, wire: &mut *wire })?;
            if let (true, Shape::Optional { oneof }) = (present, field.shape)
                && !seen_oneofs.insert(oneof)
            {
                let text = format_args!("{name:?}: one of its alternatives is already set");
                return Err(Error::custom(text));
            }
        }
        Ok(())
    }
}

/// Reads what stands behind a field's name; was it more than `null`?
struct FieldSeed<'a> {
    schema: &'static Schema,
    field: &'a Field,
    wire: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {}", self.field.name)
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        let Self { schema, field, wire } = self;
        match field.shape {
            Shape::Plain | Shape::Optional { .. } => {
                ValueSeed { schema, field, wire }.deserialize(json)?;
            }
            Shape::List => json.deserialize_seq(ListVisitor(Self { schema, field, wire }))?,
            Shape::Map => json.deserialize_map(MapVisitor(Self { schema, field, wire }))?,
        }
        Ok(true)
    }
}

struct ListVisitor<'a>(FieldSeed<'a>);

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a list", self.0.field.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let FieldSeed { schema, field, wire } = self.0;
        while items.next_element_seed(ValueSeed { schema, field, wire: &mut *wire })?.is_some() {}
        Ok(())
    }
}

struct MapVisitor<'a>(FieldSeed<'a>);

impl<'de> Visitor<'de> for MapVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be an object", self.0.field.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let FieldSeed { schema, field, wire } = self.0;
        let entry = schema.entry(&field.kind);
        let (key, value) = entry.ok_or_else(|| Error::custom("the schema has no such map"))?;
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let mut entry = Vec::new();
            let known = ValueSeed { schema, field: key, wire: &mut entry };
            known.key::<A::Error>(&name)?;
            let before = entry.len();
            map.next_value_seed(ValueSeed { schema, field: value, wire: &mut entry })?;
            if !seen.insert(name) {
                return Err(Error::custom("duplicate map key"));
            }
            // An unknown name of an enum's value leaves no entry.
            if entry.len() > before {
                put_bytes(field.number, &entry, wire);
            }
        }
        Ok(())
    }
}

/// Reads one value and appends it with its field's key.
struct ValueSeed<'a> {
    schema: &'static Schema,
    field: &'a Field,
    wire: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Self { schema, field, wire } = self;
        let Kind::Message(name) = &field.kind else {
            return json.deserialize_any(Self { schema, field, wire });
        };
        let message_type = schema.message(name);
        let message_type =
            message_type.ok_or_else(|| Error::custom("the schema has no such message"))?;
        let mut inner = Vec::new();
        MessageSeed { schema, message_type, wire: &mut inner }.deserialize(json)?;
        put_bytes(field.number, &inner, wire);
        Ok(())
    }
}

impl ValueSeed<'_> {
    fn varint(&mut self, value: u64) {
        encode_key(self.field.number, WireType::Varint, self.wire);
        encode_varint(value, self.wire);
    }

    fn fixed32(&mut self, value: u32) {
        encode_key(self.field.number, WireType::ThirtyTwoBit, self.wire);
        self.wire.extend(value.to_le_bytes());
    }

    fn fixed64(&mut self, value: u64) {
        encode_key(self.field.number, WireType::SixtyFourBit, self.wire);
        self.wire.extend(value.to_le_bytes());
    }

    #[expect(clippy::cast_sign_loss, reason = "the wire form of signed integers")]
    fn signed(&mut self, value: i64, form: Integer, bits: u32) {
        match (form, bits) {
            (Integer::Varint, _) => self.varint(value as u64),
            (Integer::ZigZag, _) => self.varint(((value << 1) ^ (value >> 63)) as u64),
            #[expect(clippy::cast_possible_truncation, reason = "the caller checked the range")]
            (Integer::Fixed, 32) => self.fixed32(value as u32),
            (Integer::Fixed, _) => self.fixed64(value as u64),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the caller checked the range")]
    fn unsigned(&mut self, value: u64, form: Integer, bits: u32) {
        match (form, bits) {
            (Integer::Varint | Integer::ZigZag, _) => self.varint(value),
            (Integer::Fixed, 32) => self.fixed32(value as u32),
            (Integer::Fixed, _) => self.fixed64(value),
        }
    }

    /// A number that has no fraction, in any spelling.
    fn whole<E: Error>(mut self, value: i128) -> Result<(), E> {
        let wrong = |field: &Field| {
            E::custom(format_args!("{value} is out of the range of {}", field.name))
        };
        let field = self.field;
        match &field.kind {
            Kind::Int32(form) => {
                let value = i32::try_from(value).map_err(|_| wrong(field))?;
                self.signed(value.into(), *form, 32);
            }
            Kind::Int64(form) => {
                self.signed(i64::try_from(value).map_err(|_| wrong(field))?, *form, 64);
            }
            Kind::Uint32(form) => {
                let value = u32::try_from(value).map_err(|_| wrong(field))?;
                self.unsigned(value.into(), *form, 32);
            }
            Kind::Uint64(form) => {
                self.unsigned(u64::try_from(value).map_err(|_| wrong(field))?, *form, 64);
            }
            Kind::Enum(_) => {
                let value = i32::try_from(value).map_err(|_| wrong(field))?;
                self.signed(value.into(), Integer::Varint, 32);
            }
            #[expect(clippy::cast_precision_loss, reason = "JSON's numbers are no more precise")]
            Kind::Float | Kind::Double => return self.real(value as f64),
            Kind::Bool | Kind::Text | Kind::Bytes | Kind::Message(_) => {
                return Err(self.mismatch(Unexpected::Other("a number")));
            }
        }
        Ok(())
    }

    /// A number as JSON's parser gives it when it is not written as an integer of 64 bits.
    fn real<E: Error>(mut self, value: f64) -> Result<(), E> {
        match &self.field.kind {
            Kind::Double => self.fixed64(value.to_bits()),
            Kind::Float => {
                #[expect(clippy::cast_possible_truncation, reason = "checked on the next line")]
                let narrow = value as f32;
                if narrow.is_infinite() && value.is_finite() {
                    return Err(self.mismatch(Unexpected::Float(value)));
                }
                self.fixed32(narrow.to_bits());
            }
            Kind::Bool
            | Kind::Int32(_)
            | Kind::Int64(_)
            | Kind::Uint32(_)
            | Kind::Uint64(_)
            | Kind::Text
            | Kind::Bytes
            | Kind::Enum(_)
            | Kind::Message(_) => {
                if value.fract() != 0.0 {
                    return Err(self.mismatch(Unexpected::Float(value)));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "beyond any field, so refused"
                )]
                return self.whole(value as i128);
            }
        }
        Ok(())
    }

    /// A text where a number is wanted: JSON's number in quotes.
    fn quoted<E: Error>(self, text: &str) -> Result<(), E> {
        let special = match text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        };
        if let (Some(special), Kind::Float | Kind::Double) = (special, &self.field.kind) {
            return self.real(special);
        }
        let number: Option<serde_json::Number> =
            if text.trim().len() == text.len() { serde_json::from_str(text).ok() } else { None };
        let Some(number) = number else { return Err(self.mismatch(Unexpected::Str(text))) };
        match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => self.whole(whole),
            (None, Some(real)) => self.real(real),
            (None, None) => Err(self.mismatch(Unexpected::Str(text))),
        }
    }

    /// A map's key, which JSON has as a text.
    fn key<E: Error>(self, text: &str) -> Result<(), E> {
        match (&self.field.kind, text.parse::<i128>(), text.parse::<bool>()) {
            (Kind::Text, ..) => self.visit_str(text),
            (Kind::Bool, _, Ok(truth)) => self.visit_bool(truth),
            (Kind::Bool, ..) | (_, Err(_), _) => Err(self.mismatch(Unexpected::Str(text))),
            (_, Ok(number), _) => self.whole(number),
        }
    }

    fn mismatch<E: Error>(self, found: Unexpected<'_>) -> E {
        E::invalid_value(found, &self)
    }
}

impl Visitor<'_> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.field.name;
        match &self.field.kind {
            Kind::Bool => write!(f, "{name} to be true or false"),
            Kind::Int32(_) | Kind::Uint32(_) => write!(f, "{name} to be an integer of 32 bits"),
            Kind::Int64(_) | Kind::Uint64(_) => write!(f, "{name} to be an integer of 64 bits"),
            Kind::Float | Kind::Double => write!(f, "{name} to be a number"),
            Kind::Text => write!(f, "{name} to be a text"),
            Kind::Bytes => write!(f, "{name} to be a text in base64"),
            Kind::Enum(of) => write!(f, "{name} to be a name or number of {of}"),
            Kind::Message(of) => write!(f, "{name} to be an object: {of}"),
        }
    }

    fn visit_bool<E: Error>(mut self, truth: bool) -> Result<(), E> {
        if self.field.kind != Kind::Bool {
            return Err(E::invalid_type(Unexpected::Bool(truth), &self));
        }
        self.varint(truth.into());
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.real(value)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        match &self.field.kind {
            Kind::Text => {
                put_bytes(self.field.number, text.as_bytes(), self.wire);
                Ok(())
            }
            Kind::Bytes => {
                let url = text.contains(['-', '_']);
                match if url { URL_SAFE.decode(text) } else { STANDARD.decode(text) } {
                    Ok(bytes) => {
                        put_bytes(self.field.number, &bytes, self.wire);
                        Ok(())
                    }
                    Err(_) => Err(self.mismatch(Unexpected::Str(text))),
                }
            }
            Kind::Enum(of) => {
                let number = self.schema.enumeration(of).and_then(|of| of.number(text));
                if let Some(number) = number {
                    self.signed(number.into(), Integer::Varint, 32);
                }
                Ok(())
            }
            Kind::Int32(_)
            | Kind::Int64(_)
            | Kind::Uint32(_)
            | Kind::Uint64(_)
            | Kind::Float
            | Kind::Double => self.quoted(text),
            Kind::Bool | Kind::Message(_) => Err(self.mismatch(Unexpected::Str(text))),
        }
    }
}

fn put_bytes(number: u32, bytes: &[u8], wire: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, wire);
    encode_varint(bytes.len() as u64, wire);
    wire.extend(bytes);
}
