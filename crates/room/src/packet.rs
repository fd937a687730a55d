//! A `DataPacket` on the wire: stamping the sender without disturbing the rest.
//!
//! * **Owns:** nothing.
//! * **In:** the bytes of a client's packet.
//! * **Out:** the same fields with the server's sender, kind and destinations.
//! * **Invariant:** fields that this server does not know pass untouched, so that newer clients can
//!   talk through it.
//! * **Spec:** protobuf encoding; `DataPacket` of `livekit_models.proto`.

use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use hearth_signal::proto::UserPacket;

const KIND: u32 = 1;
const USER: u32 = 2;
const IDENTITY: u32 = 4;
const SID: u32 = 17;

/// Where a chat message says that an agent made it: `DataPacket.chat_message.generated`.
pub(crate) const GENERATED_CHAT: &[u32] = &[9, 6];
/// The same for a text stream: `DataPacket.stream_header.text_header.generated`.
pub(crate) const GENERATED_TEXT: &[u32] = &[13, 9, 5];

/// What the server says about a packet.
pub(crate) struct Stamp<'a> {
    pub(crate) sid: &'a str,
    /// Empty if the sender is hidden.
    pub(crate) identity: &'a str,
    pub(crate) lossy: bool,
    /// Replaces the packet's user part.
    pub(crate) user: Option<&'a UserPacket>,
    /// A flag in it to be set, by the fields that lead there.
    pub(crate) generated: Option<&'a [u32]>,
}

/// Replaces what the server has to say; `None` if the packet is malformed.
pub(crate) fn stamp(packet: &[u8], stamp: &Stamp<'_>) -> Option<Bytes> {
    let mut out =
        BytesMut::with_capacity(packet.len() + stamp.sid.len() + stamp.identity.len() + 8);
    let mut rest = packet;
    while rest.has_remaining() {
        let field = rest;
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        skip_field(wire_type, tag, &mut rest, prost::encoding::DecodeContext::default()).ok()?;
        let replaced = matches!(tag, KIND | IDENTITY | SID) || tag == USER && stamp.user.is_some();
        if !replaced {
            let len = field.len() - rest.len();
            out.put_slice(field.get(..len)?);
        }
    }
    if stamp.lossy {
        encode_key(KIND, WireType::Varint, &mut out);
        encode_varint(1, &mut out);
    }
    put_bytes(&mut out, IDENTITY, stamp.identity.as_bytes());
    put_bytes(&mut out, SID, stamp.sid.as_bytes());
    if let Some(user) = stamp.user {
        put_bytes(&mut out, USER, &user.encode_to_vec());
    }
    match stamp.generated {
        Some(path) => set_flag(&out, path).map(BytesMut::freeze),
        None => Some(out.freeze()),
    }
}

/// Sets a flag in a message; without a message on the way there, nothing changes.
fn set_flag(message: &[u8], path: &[u32]) -> Option<BytesMut> {
    let (first, deeper) = path.split_first()?;
    let mut out = BytesMut::with_capacity(message.len() + 8);
    if deeper.is_empty() {
        out.put_slice(message);
        encode_key(*first, WireType::Varint, &mut out);
        encode_varint(1, &mut out);
        return Some(out);
    }
    let mut rest = message;
    while rest.has_remaining() {
        let field = rest;
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        let mut content = rest;
        skip_field(wire_type, tag, &mut rest, prost::encoding::DecodeContext::default()).ok()?;
        if tag == *first && wire_type == WireType::LengthDelimited {
            let len = usize::try_from(decode_varint(&mut content).ok()?).ok()?;
            let content = set_flag(content.get(..len)?, deeper)?;
            encode_key(tag, WireType::LengthDelimited, &mut out);
            encode_varint(content.len() as u64, &mut out);
            out.put_slice(&content);
        } else {
            out.put_slice(field.get(..field.len() - rest.len())?);
        }
    }
    Some(out)
}

fn put_bytes(out: &mut BytesMut, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() || tag == USER {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_signal::proto::DataPacket;

    #[test]
    #[expect(deprecated, reason = "older clients read `kind`")]
    fn sender_and_kind_are_ours_and_the_rest_is_the_clients() {
        let forged = DataPacket {
            participant_sid: "PA_forged".into(),
            participant_identity: "forged".into(),
            sequence: 7,
            destination_identities: vec!["bob".into()],
            ..DataPacket::default()
        };
        let stamped = stamp(&forged.encode_to_vec(), &by_alice(true)).unwrap();
        let read = DataPacket::decode(stamped).unwrap();
        assert_eq!((read.participant_sid.as_str(), read.sequence), ("PA_a", 7));
        assert_eq!((read.participant_identity.as_str(), read.kind), ("alice", 1));
        assert_eq!(read.destination_identities, ["bob"]);
    }

    #[test]
    fn fields_of_the_future_pass() {
        let mut packet = BytesMut::new();
        encode_key(900, WireType::Varint, &mut packet);
        encode_varint(42, &mut packet);
        let stamped = stamp(&packet, &by_alice(false)).unwrap();
        let mut rest = &*stamped;
        assert_eq!(decode_key(&mut rest).unwrap(), (900, WireType::Varint));
        assert_eq!(decode_varint(&mut rest).unwrap(), 42);
    }

    #[test]
    fn malformed_packets_are_refused_at_every_length() {
        let whole = DataPacket { participant_sid: "PA_x".into(), ..Default::default() };
        let whole = whole.encode_to_vec();
        for len in 1..whole.len() {
            assert!(stamp(&whole[..len], &by_alice(false)).is_none(), "{len}");
        }
        assert!(stamp(&[0x0b; 4_000], &by_alice(false)).is_none());
    }

    fn by_alice(lossy: bool) -> Stamp<'static> {
        Stamp { sid: "PA_a", identity: "alice", lossy, user: None, generated: None }
    }
}
