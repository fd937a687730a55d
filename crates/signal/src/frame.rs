//! WebSocket frames to messages and back.
//!
//! * **Owns:** nothing.
//! * **In:** the payload of one binary frame (protobuf) or one text frame (protobuf's JSON).
//! * **Out:** a message, or [`FrameError`] if the frame is too large or malformed.
//! * **Invariant:** a frame above [`MAX_FRAME`] is refused before it is parsed.

use prost::Message;

use crate::bounds;
use crate::json::{self, JsonError, Style};
use crate::proto::{SignalRequest, SignalResponse};

/// Longest frame that is read, in bytes: livekit-server's `limit.signal_message_size_limit`.
pub const MAX_FRAME: usize = 2 * 1024 * 1024;

/// Why a frame is not the message it was taken for.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("frame of {len} bytes")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// More fields than any client has reason to send.
    #[error("too many fields")]
    TooMany,
    /// Not a protobuf message of this type.
    #[error("malformed protobuf")]
    Protobuf(#[source] prost::DecodeError),
    /// Not the JSON form of this type.
    #[error("malformed JSON")]
    Json(#[source] JsonError),
}

/// Reads a client's binary frame.
///
/// # Errors
///
/// [`FrameError`] if it is too large or malformed.
pub fn decode_binary(frame: &[u8]) -> Result<SignalRequest, FrameError> {
    check_len(frame.len())?;
    if bounds::too_many_fields(frame) {
        return Err(FrameError::TooMany);
    }
    SignalRequest::decode(frame).map_err(FrameError::Protobuf)
}

/// Reads a client's text frame.
///
/// # Errors
///
/// [`FrameError`] if it is too large or malformed.
pub fn decode_text(frame: &str) -> Result<SignalRequest, FrameError> {
    check_len(frame.len())?;
    if bounds::too_many_values(frame) {
        return Err(FrameError::TooMany);
    }
    json::decode("livekit.SignalRequest", frame.as_bytes()).map_err(FrameError::Json)
}

/// Writes a server's binary frame.
pub fn encode_binary(response: &SignalResponse) -> Vec<u8> {
    response.encode_to_vec()
}

/// Writes a server's text frame.
pub fn encode_text(response: &SignalResponse) -> String {
    let text = json::encode("livekit.SignalResponse", response, Style::Sparse);
    debug_assert!(text.is_ok(), "the schema knows every response");
    text.unwrap_or_default()
}

/// Reads a server's binary frame, as a client does.
///
/// # Errors
///
/// [`FrameError`] if it is too large or malformed.
pub fn decode_response(frame: &[u8]) -> Result<SignalResponse, FrameError> {
    check_len(frame.len())?;
    SignalResponse::decode(frame).map_err(FrameError::Protobuf)
}

/// Writes a client's binary frame.
pub fn encode_request(request: &SignalRequest) -> Vec<u8> {
    request.encode_to_vec()
}

fn check_len(len: usize) -> Result<(), FrameError> {
    if len > MAX_FRAME { Err(FrameError::TooLarge { len }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{MuteTrackRequest, signal_request};

    #[test]
    fn binary_and_text_say_the_same() {
        let mute = MuteTrackRequest { sid: "TR_x".into(), muted: true };
        let request = SignalRequest { message: Some(signal_request::Message::Mute(mute)) };
        assert_eq!(decode_binary(&encode_request(&request)).unwrap(), request);
        let text = r#"{"mute":{"sid":"TR_x","muted":true}}"#;
        assert_eq!(decode_text(text).unwrap(), request);
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_unread() {
        let frame = vec![0; MAX_FRAME + 1];
        assert!(matches!(decode_binary(&frame), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn garbage_is_an_error_not_a_panic() {
        assert!(decode_binary(&[0xff; 40]).is_err());
        assert!(decode_text("[[[").is_err());
        assert!(decode_text("null").is_err());
        assert!(decode_text(r#"{"ping":"1"} x"#).is_err());
        assert!(decode_text(&"[".repeat(100_000)).is_err());
    }
}
