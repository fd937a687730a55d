//! LiveKit's messages and services, as their `.proto` files describe them.
//!
//! * **Owns:** the descriptor set `livekit.binpb`, made by `cargo xtask schema`.
//! * **In:** names.
//! * **Out:** message types with their fields, enums, methods.
//! * **Invariant:** read once; a set that cannot be read is an empty schema, which a test would show.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Schema {
    messages: BTreeMap<String, MessageType>,
    enums: BTreeMap<String, EnumType>,
    /// By `service/method`.
    methods: BTreeMap<String, (String, String)>,
}

/// A message type.
#[derive(Debug)]
pub(super) struct MessageType {
    /// Such as `livekit.Room`.
    pub(super) name: String,
    /// In the order of the `.proto` file.
    pub(super) fields: Vec<Field>,
}

/// A field of a message type.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// In snake case.
    pub(super) name: String,
    /// In camel case.
    pub(super) json_name: String,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// Once; absent is the empty value.
    Plain,
    /// Once or not at all, or as one of the fields of this oneof.
    Optional {
        oneof: i32,
    },
    List,
    Map,
}

/// The type of a field, and its wire form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int32(Integer),
    Int64(Integer),
    Uint32(Integer),
    Uint64(Integer),
    Float,
    Double,
    Text,
    Bytes,
    /// The full name of an enum.
    Enum(String),
    /// The full name of a message type.
    Message(String),
}

/// How an integer looks on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Integer {
    Varint,
    ZigZag,
    Fixed,
}

/// An enum: numbers and names, in the order of the `.proto` file.
#[derive(Debug, Default)]
pub(super) struct EnumType {
    values: Vec<(i32, String)>,
}

impl EnumType {
    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(_, known)| known == name).map(|(number, _)| *number)
    }

    pub(super) fn name(&self, number: i32) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == number).map(|(_, name)| name.as_str())
    }
}

/// The schema.
pub(super) fn get() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let set = FileDescriptorSet::decode(&include_bytes!("livekit.binpb")[..]);
        set.map(Schema::new).unwrap_or_default()
    })
}

impl Schema {
    fn new(set: FileDescriptorSet) -> Self {
        let mut schema = Self::default();
        for file in set.file {
            let package = file.package().to_owned();
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{package}.{}/{}", service.name(), method.name());
                    let types = (bare(method.input_type()), bare(method.output_type()));
                    schema.methods.insert(name, types);
                }
            }
            schema.add_enums(&package, file.enum_type);
            schema.add_messages(&package, file.message_type);
        }
        schema
    }

    pub(super) fn message(&self, name: &str) -> Option<&MessageType> {
        self.messages.get(name)
    }

    pub(super) fn enumeration(&self, name: &str) -> Option<&EnumType> {
        self.enums.get(name)
    }

    pub(super) fn method(&self, service: &str, method: &str) -> Option<(&str, &str)> {
        let (input, output) = self.methods.get(&format!("{service}/{method}"))?;
        Some((input, output))
    }

    /// The key and the value of a map's entries.
    pub(super) fn entry(&self, kind: &Kind) -> Option<(&Field, &Field)> {
        let Kind::Message(name) = kind else { return None };
        let entry = self.message(name)?;
        Some((entry.by_number(1)?, entry.by_number(2)?))
    }

    fn add_messages(&mut self, scope: &str, messages: Vec<DescriptorProto>) {
        for message in messages {
            let name = format!("{scope}.{}", message.name());
            let maps: Vec<String> = message
                .nested_type
                .iter()
                .filter(|nested| nested.options.as_ref().is_some_and(|o| o.map_entry()))
                .map(|entry| format!("{name}.{}", entry.name()))
                .collect();
            let fields =
                message.field.iter().filter_map(|field| Field::new(field, &maps)).collect();
            self.add_enums(&name, message.enum_type);
            self.add_messages(&name, message.nested_type);
            self.messages.insert(name.clone(), MessageType { name, fields });
        }
    }

    fn add_enums(&mut self, scope: &str, enums: Vec<EnumDescriptorProto>) {
        for declared in enums {
            let values = declared.value.iter();
            let values = values.map(|value| (value.number(), value.name().to_owned())).collect();
            self.enums.insert(format!("{scope}.{}", declared.name()), EnumType { values });
        }
    }
}

impl MessageType {
    /// By either spelling.
    pub(super) fn by_name(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.json_name == name || field.name == name)
    }

    pub(super) fn by_number(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

impl Field {
    /// `None` for what proto3 does not have.
    fn new(field: &FieldDescriptorProto, maps: &[String]) -> Option<Self> {
        use Integer::{Fixed, Varint, ZigZag};

        let type_name = bare(field.type_name());
        let is_map = maps.contains(&type_name);
        let kind = match field.r#type() {
            Type::Bool => Kind::Bool,
            Type::Int32 => Kind::Int32(Varint),
            Type::Sint32 => Kind::Int32(ZigZag),
            Type::Sfixed32 => Kind::Int32(Fixed),
            Type::Int64 => Kind::Int64(Varint),
            Type::Sint64 => Kind::Int64(ZigZag),
            Type::Sfixed64 => Kind::Int64(Fixed),
            Type::Uint32 => Kind::Uint32(Varint),
            Type::Fixed32 => Kind::Uint32(Fixed),
            Type::Uint64 => Kind::Uint64(Varint),
            Type::Fixed64 => Kind::Uint64(Fixed),
            Type::Float => Kind::Float,
            Type::Double => Kind::Double,
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Enum => Kind::Enum(type_name),
            Type::Message => Kind::Message(type_name),
            Type::Group => return None,
        };
        let shape = match (field.label(), field.oneof_index) {
            (Label::Repeated, _) if is_map => Shape::Map,
            (Label::Repeated, _) => Shape::List,
            (Label::Optional | Label::Required, Some(oneof)) => Shape::Optional { oneof },
            (Label::Optional | Label::Required, None) => Shape::Plain,
        };
        Some(Self {
            number: u32::try_from(field.number()).ok()?,
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind,
            shape,
        })
    }
}

/// A full name without the dot before it.
fn bare(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_a_field_or_a_method_names_is_there() {
        let schema = get();
        assert!(schema.messages.len() > 200, "{}", schema.messages.len());
        for message in schema.messages.values().filter(|m| m.name.starts_with("livekit.")) {
            for field in &message.fields {
                if let Kind::Enum(name) = &field.kind {
                    assert!(schema.enumeration(name).is_some(), "{}.{name}", message.name);
                }
                if let Kind::Message(name) = &field.kind {
                    assert!(schema.message(name).is_some(), "{}.{name}", message.name);
                }
            }
        }
        assert_eq!(
            schema.method("livekit.RoomService", "CreateRoom"),
            Some(("livekit.CreateRoomRequest", "livekit.Room"))
        );
        assert_eq!(schema.method("livekit.RoomService", "Nope"), None);
    }
}
