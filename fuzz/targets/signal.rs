//! What a client says on its signalling socket and when it opens it: both forms of a message, join
//! requests packed or not, query parameters, candidates.
#![no_main]

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use flate2::{Compression, write::GzEncoder};
use hearth_signal::json::{self, Style};
use hearth_signal::proto::{SignalRequest, WrappedJoinRequest};
use hearth_signal::{
    JoinParams, JoinParamsError, JoinPath, frame, parse_candidate, write_candidate,
};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

const PACKED: i32 = 1;
const REQUEST: &str = "livekit.SignalRequest";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = frame::decode_binary(bytes) {
        survives(&request);
    }
    let _ = frame::decode_response(bytes);
    if let Ok(params) = from_wrapped(0, bytes.to_vec()) {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(bytes).expect("a Vec takes everything");
        let packed = packer.finish().expect("a Vec takes everything");
        assert_eq!(from_wrapped(PACKED, packed), Ok(params));
    }
    let _ = from_wrapped(PACKED, bytes.to_vec());

    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(request) = frame::decode_text(text) {
        survives(&request);
        for style in [Style::Sparse, Style::Full] {
            let text = json::encode(REQUEST, &request, style).expect("every message has a form");
            assert_eq!(
                json::decode::<SignalRequest>(REQUEST, text.as_bytes()).ok().as_ref(),
                Some(&request)
            );
        }
    }
    let _ = JoinParams::from_wrapped(text);
    let query: Vec<_> = form_urlencoded::parse(bytes).into_owned().collect();
    for path in [JoinPath::V0, JoinPath::V1] {
        if let Ok(mut params) = JoinParams::from_query(path, &query) {
            params.augment(Some(text), Some(text));
            assert!(params.client.address.chars().count() <= 256);
            assert!(params.client.capabilities.len() <= 16 || params.single_pc);
        }
    }
    if let Ok(candidate) = parse_candidate(text)
        && candidate.line.len() <= 512
    {
        let json = write_candidate(&candidate.line, "0", 0);
        assert_eq!(parse_candidate(&json), Ok(candidate));
    }
});

/// Written and read again it is the same message.
fn survives(request: &SignalRequest) {
    let again = frame::decode_binary(&frame::encode_request(request));
    assert_eq!(again.expect("what is written can be read"), *request);
}

fn from_wrapped(compression: i32, join_request: Vec<u8>) -> Result<JoinParams, JoinParamsError> {
    let wrapped = WrappedJoinRequest { compression, join_request }.encode_to_vec();
    JoinParams::from_wrapped(&URL_SAFE.encode(wrapped))
}
