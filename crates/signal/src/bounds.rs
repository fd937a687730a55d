//! Bounds on the memory of a decoded message: its number of values, as two bytes on the wire can decode to hundreds.
//!
//! * **Owns:** nothing.
//! * **In:** bytes of a client, before they are decoded.
//! * **Out:** whether they hold more fields than any client has reason to send.
//! * **Invariant:** linear in the length of the message, whatever it holds.
//! * **Spec:** the wire format of Protocol Buffers: tag, then value by wire type.

/// Fields of one message, nested ones too: a subscription to ten thousand tracks fits.
const MAX_FIELDS: usize = 20_000;
/// LiveKit's messages nest no deeper where it matters.
const MAX_DEPTH: u8 = 5;

/// Whether a protobuf message has too many fields. Text that happens to look like fields counts.
pub(crate) fn too_many_fields(message: &[u8]) -> bool {
    let mut budget = MAX_FIELDS;
    // What is no message is for the decoder to refuse.
    let _ = walk(message, 0, &mut budget);
    budget == 0
}

/// Whether a JSON text has too many values.
pub(crate) fn too_many_values(text: &str) -> bool {
    text.bytes().filter(|byte| matches!(byte, b',' | b'{' | b'[')).nth(2 * MAX_FIELDS).is_some()
}

/// Takes each field from the budget; `None` at the first byte that is no field.
fn walk(mut rest: &[u8], depth: u8, budget: &mut usize) -> Option<()> {
    while !rest.is_empty() && *budget > 0 {
        *budget -= 1;
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                varint(&mut rest)?;
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                let (inner, after) = rest.split_at_checked(len)?;
                rest = after;
                if depth < MAX_DEPTH {
                    // Text and bytes are fields, too, but not made of any.
                    let _ = walk(inner, depth + 1, budget);
                }
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::{
        SignalRequest, SyncState, TrackPublishedResponse, UpdateSubscription, signal_request,
    };

    fn request(message: signal_request::Message) -> Vec<u8> {
        SignalRequest { message: Some(message) }.encode_to_vec()
    }

    #[test]
    fn many_tracks_pass_and_a_flood_of_empty_ones_does_not() {
        let track_sids = (0..9_000).map(|n| format!("TR_{n:012}")).collect();
        let wish = UpdateSubscription { track_sids, ..UpdateSubscription::default() };
        assert!(!too_many_fields(&request(signal_request::Message::Subscription(wish))));
        let flood = |count| {
            let publish_tracks = vec![TrackPublishedResponse::default(); count];
            let state = SyncState { publish_tracks, ..SyncState::default() };
            request(signal_request::Message::SyncState(state))
        };
        assert!(!too_many_fields(&flood(1_000)));
        assert!(too_many_fields(&flood(30_000)));
        let json = format!(r#"{{"syncState":{{"publishTracks":[{}]}}}}"#, "{},".repeat(30_000));
        assert!(too_many_values(&json));
        assert!(!too_many_values(&"a=candidate:1 1 udp 1 10.0.0.1 1 typ host\r\n".repeat(20_000)));
    }

    #[test]
    fn garbage_is_not_counted_beyond_its_end() {
        for garbage in [&[0xff; 40][..], &[0x0a, 0xff, 0xff], &[0x0a], &[0x0b], &[]] {
            assert!(!too_many_fields(garbage));
        }
    }
}
