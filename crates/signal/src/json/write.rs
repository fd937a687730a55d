//! Writing: from the wire form to JSON.
//!
//! * **Owns:** nothing.
//! * **In:** the wire form of a message of ours, and its type.
//! * **Out:** JSON in the order of the `.proto` file.
//! * **Invariant:** 64-bit integers stand in quotes, enums by name (by number if they have none).
//! * **livekit-server:** `google.golang.org/protobuf/encoding/protojson/encode.go`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde::Serialize;

use super::schema::{Field, Integer, Kind, MessageType, Schema, Shape};

/// Which of the forms of Go's `protojson`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// Names in camel case, empty fields left out: signalling, webhooks.
    Sparse,
    /// Names in snake case, every field: the server API (`UseProtoNames`, `EmitUnpopulated`).
    Full,
}

/// A value of a field.
#[derive(Clone, Copy)]
enum Wire<'w> {
    /// Of any width.
    Number(u64),
    Bytes(&'w [u8]),
}

/// Writes a message; `None` if the bytes are not of that type.
pub(super) fn message(
    schema: &Schema,
    message_type: &MessageType,
    bytes: &[u8],
    style: Style,
) -> Option<String> {
    let mut writer = Writer { schema, style, out: String::new() };
    writer.message(message_type, bytes)?;
    Some(writer.out)
}

struct Writer<'s> {
    schema: &'s Schema,
    style: Style,
    out: String,
}

impl<'s> Writer<'s> {
    fn message(&mut self, message_type: &MessageType, bytes: &[u8]) -> Option<()> {
        match message_type.name.as_str() {
            "google.protobuf.Timestamp" => {
                return self.serialized(&pbjson_types::Timestamp::decode(bytes).ok()?);
            }
            "google.protobuf.Duration" => {
                return self.serialized(&pbjson_types::Duration::decode(bytes).ok()?);
            }
            _ => {}
        }
        let fields = split(bytes)?;
        self.out.push('{');
        let mut separator = "";
        for field in &message_type.fields {
            let values = fields.get(&field.number).map_or(&[][..], Vec::as_slice);
            let wanted = match field.shape {
                Shape::Optional { .. } => !values.is_empty(),
                Shape::Plain => self.style == Style::Full || self.says(field, values),
                Shape::List | Shape::Map => self.style == Style::Full || !values.is_empty(),
            };
            if wanted {
                let name = match self.style {
                    Style::Sparse => &field.json_name,
                    Style::Full => &field.name,
                };
                write!(self.out, "{separator}\"{name}\":").ok()?;
                self.field(field, values)?;
                separator = ",";
            }
        }
        self.out.push('}');
        Some(())
    }

    /// Whether a plain field is other than empty. (The wire form leaves out empty ones, too.)
    fn says(&self, field: &Field, values: &[Wire<'_>]) -> bool {
        let is_message = matches!(field.kind, Kind::Message(_));
        values.last().is_some_and(|value| match value {
            Wire::Number(number) => *number != 0,
            Wire::Bytes(bytes) => is_message || !bytes.is_empty(),
        })
    }

    fn field(&mut self, field: &Field, values: &[Wire<'_>]) -> Option<()> {
        match field.shape {
            Shape::Plain | Shape::Optional { .. } => match values.last() {
                Some(value) => self.value(&field.kind, *value),
                None => self.empty(&field.kind),
            },
            Shape::List => {
                self.out.push('[');
                let mut separator = "";
                for value in values {
                    for value in unpacked(&field.kind, *value)? {
                        self.out.push_str(separator);
                        self.value(&field.kind, value)?;
                        separator = ",";
                    }
                }
                self.out.push(']');
                Some(())
            }
            Shape::Map => self.map(field, values),
        }
    }

    /// Entries in the order of their keys.
    fn map(&mut self, field: &Field, values: &[Wire<'_>]) -> Option<()> {
        let (key, value) = self.schema.entry(&field.kind)?;
        let mut entries = BTreeMap::new();
        for entry in values {
            let Wire::Bytes(entry) = entry else { return None };
            let parts = split(entry)?;
            let part = |field: &Field| parts.get(&field.number)?.last().copied();
            let mut writer = Writer { schema: self.schema, style: self.style, out: String::new() };
            match part(key) {
                Some(part) => writer.value(&key.kind, part)?,
                None => writer.empty(&key.kind)?,
            }
            // All kinds of keys are texts in JSON.
            let name = std::mem::take(&mut writer.out);
            let bare = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
            let name = bare.unwrap_or(&name).to_owned();
            match (part(value), &value.kind) {
                (Some(part), kind) => writer.value(kind, part)?,
                (None, Kind::Message(_)) => writer.value(&value.kind, Wire::Bytes(&[]))?,
                (None, kind) => writer.empty(kind)?,
            }
            entries.insert(name, writer.out);
        }
        self.out.push('{');
        let mut separator = "";
        for (name, value) in entries {
            write!(self.out, "{separator}\"{name}\":{value}").ok()?;
            separator = ",";
        }
        self.out.push('}');
        Some(())
    }

    fn value(&mut self, kind: &Kind, value: Wire<'_>) -> Option<()> {
        match (kind, value) {
            (Kind::Bool, Wire::Number(number)) => self.serialized(&(number != 0)),
            #[expect(clippy::cast_possible_truncation, reason = "the wire form of signed integers")]
            (Kind::Int32(form), Wire::Number(number)) => match form {
                Integer::ZigZag => self.serialized(&unzigzag(number)),
                Integer::Varint | Integer::Fixed => self.serialized(&(number as i32)),
            },
            #[expect(clippy::cast_possible_wrap, reason = "the wire form of signed integers")]
            (Kind::Int64(form), Wire::Number(number)) => match form {
                Integer::ZigZag => self.quoted(unzigzag(number)),
                Integer::Varint | Integer::Fixed => self.quoted(number as i64),
            },
            #[expect(clippy::cast_possible_truncation, reason = "it has 32 bits")]
            (Kind::Uint32(_), Wire::Number(number)) => self.serialized(&(number as u32)),
            (Kind::Uint64(_), Wire::Number(number)) => self.quoted(number),
            #[expect(clippy::cast_possible_truncation, reason = "it has 32 bits")]
            (Kind::Float, Wire::Number(number)) => {
                let number = f32::from_bits(number as u32);
                if number.is_finite() {
                    self.serialized(&number)
                } else {
                    self.special(number.into())
                }
            }
            (Kind::Double, Wire::Number(number)) => {
                let number = f64::from_bits(number);
                if number.is_finite() { self.serialized(&number) } else { self.special(number) }
            }
            (Kind::Text, Wire::Bytes(bytes)) => self.serialized(&std::str::from_utf8(bytes).ok()?),
            (Kind::Bytes, Wire::Bytes(bytes)) => self.serialized(&STANDARD.encode(bytes)),
            #[expect(clippy::cast_possible_truncation, reason = "the wire form of signed integers")]
            (Kind::Enum(name), Wire::Number(number)) => self.enumerated(name, number as i32),
            (Kind::Message(name), Wire::Bytes(bytes)) => {
                let message_type = self.schema.message(name)?;
                self.message(message_type, bytes)
            }
            (_, Wire::Number(_) | Wire::Bytes(_)) => None,
        }
    }

    fn empty(&mut self, kind: &Kind) -> Option<()> {
        match kind {
            Kind::Text | Kind::Bytes => self.value(kind, Wire::Bytes(&[])),
            Kind::Message(_) => {
                self.out.push_str("null");
                Some(())
            }
            Kind::Bool
            | Kind::Int32(_)
            | Kind::Int64(_)
            | Kind::Uint32(_)
            | Kind::Uint64(_)
            | Kind::Float
            | Kind::Double
            | Kind::Enum(_) => self.value(kind, Wire::Number(0)),
        }
    }

    fn enumerated(&mut self, of: &str, number: i32) -> Option<()> {
        match self.schema.enumeration(of)?.name(number) {
            Some(name) => write!(self.out, "\"{name}\"").ok(),
            None => write!(self.out, "{number}").ok(),
        }
    }

    fn quoted(&mut self, number: impl std::fmt::Display) -> Option<()> {
        write!(self.out, "\"{number}\"").ok()
    }

    fn special(&mut self, number: f64) -> Option<()> {
        self.out.push_str(match number {
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            _ => "\"NaN\"",
        });
        Some(())
    }

    fn serialized(&mut self, value: &impl Serialize) -> Option<()> {
        self.out.push_str(&serde_json::to_string(value).ok()?);
        Some(())
    }
}

/// The fields of a message by their numbers.
fn split(mut bytes: &[u8]) -> Option<BTreeMap<u32, Vec<Wire<'_>>>> {
    let mut fields: BTreeMap<u32, Vec<Wire<'_>>> = BTreeMap::new();
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        let value = match wire_type {
            WireType::Varint => Wire::Number(decode_varint(&mut bytes).ok()?),
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (value, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Wire::Bytes(value)
            }
            WireType::ThirtyTwoBit => Wire::Number(take_fixed32(&mut bytes)?),
            WireType::SixtyFourBit => Wire::Number(take_fixed64(&mut bytes)?),
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        fields.entry(number).or_default().push(value);
    }
    Some(fields)
}

fn take_fixed32(bytes: &mut &[u8]) -> Option<u64> {
    let (value, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*value).into())
}

fn take_fixed64(bytes: &mut &[u8]) -> Option<u64> {
    let (value, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*value))
}

/// The values of one occurrence of a list: several where numbers are packed.
fn unpacked<'w>(kind: &Kind, value: Wire<'w>) -> Option<Vec<Wire<'w>>> {
    let Wire::Bytes(mut bytes) = value else { return Some(vec![value]) };
    let mut values = Vec::new();
    loop {
        values.push(Wire::Number(match kind {
            Kind::Text | Kind::Bytes | Kind::Message(_) => return Some(vec![value]),
            _ if bytes.is_empty() => return Some(values),
            Kind::Float | Kind::Int32(Integer::Fixed) | Kind::Uint32(Integer::Fixed) => {
                take_fixed32(&mut bytes)?
            }
            Kind::Double | Kind::Int64(Integer::Fixed) | Kind::Uint64(Integer::Fixed) => {
                take_fixed64(&mut bytes)?
            }
            Kind::Bool
            | Kind::Int32(_)
            | Kind::Int64(_)
            | Kind::Uint32(_)
            | Kind::Uint64(_)
            | Kind::Enum(_) => decode_varint(&mut bytes).ok()?,
        }));
    }
}

#[expect(clippy::cast_possible_wrap, reason = "the wire form of signed integers")]
fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
