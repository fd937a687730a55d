//! The join parameters of a client that opens a signal connection.
//!
//! * **Owns:** nothing.
//! * **In:** query parameters of `/rtc` and `/rtc/v1`, and the `User-Agent` header.
//! * **Out:** [`JoinParams`], or [`JoinParamsError`] whose text goes to the client.
//! * **Invariant:** a join request above 1 MiB, packed or not, is refused; unpacking never holds
//!   more than that.
//! * **livekit-server:** `pkg/service/rtcservice.go`, `pkg/service/utils.go` (`ParseClientInfo`).

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use prost::Message as _;

use crate::proto::{
    AddTrackRequest, ClientInfo, JoinRequest, SessionDescription, WrappedJoinRequest,
    client_info::Sdk, wrapped_join_request::Compression,
};
use crate::{bounds, query, user_agent};

/// Longest `JoinRequest` after decompression, in bytes.
const MAX_JOIN_REQUEST: usize = 1024 * 1024;

/// Base64 with the URL alphabet; `=` may be left out.
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Which signal path was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JoinPath {
    /// `/rtc`: two peer connections unless there is a `join_request`.
    V0,
    /// `/rtc/v1`: one peer connection.
    V1,
}

/// The client's parameters, from query or join request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinParams {
    /// One `RTCPeerConnection` for both directions.
    pub single_pc: bool,
    /// Resume the session of this identity instead of starting one.
    pub reconnect: bool,
    /// `ReconnectReason` as sent.
    pub reconnect_reason: i32,
    /// The session to resume; empty if not said.
    pub participant_sid: String,
    /// Subscribe to every media track.
    pub auto_subscribe: bool,
    /// Subscribe to every data track.
    pub auto_subscribe_data_track: bool,
    /// Adaptive stream: the client sizes its videos by `UpdateTrackSettings`; until then the lowest quality is sent.
    pub adaptive_stream: bool,
    /// Use full ICE with this client.
    pub disable_ice_lite: bool,
    /// Whether videos may be paused for lack of bandwidth; `None` leaves it to the config.
    pub subscriber_allow_pause: Option<bool>,
    /// The client's `ClientInfo`.
    pub client: ClientInfo,
    /// The first offer, already in the join request.
    pub publisher_offer: Option<SessionDescription>,
    /// Tracks published with the join.
    pub add_tracks: Vec<AddTrackRequest>,
    /// Initial attributes; need `canUpdateOwnMetadata`.
    pub attributes: BTreeMap<String, String>,
    /// There was an `attributes` parameter that cannot be read: validation refuses it, a join
    /// ignores it.
    pub attributes_unreadable: bool,
    /// Initial metadata; needs `canUpdateOwnMetadata`.
    pub metadata: String,
    /// Suffix of a publish-only identity (legacy `publish` parameter).
    pub publish: Option<String>,
}

/// Why the parameters cannot be used; the text is what livekit-server answers.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoinParamsError {
    /// `/rtc/v1` without `join_request`.
    #[error("join_request is required")]
    Missing,
    /// Not base64 of the URL alphabet.
    #[error("cannot base64 decode wrapped join request")]
    Base64,
    /// Not a `WrappedJoinRequest`.
    #[error("cannot unmarshal wrapped join request")]
    Wrapped,
    /// A compression this server does not know.
    #[error("unknown compression {0} of join request")]
    Compression(i32),
    /// Broken gzip data.
    #[error("cannot read decompressed join request")]
    Gzip,
    /// Above 1 MiB.
    #[error("join request too large")]
    TooLarge,
    /// Not a `JoinRequest`.
    #[error("cannot unmarshal join request")]
    Inner,
}

impl JoinParams {
    /// Reads the query of a signal or validate request, percent-decoded.
    ///
    /// # Errors
    ///
    /// [`JoinParamsError`] if there is a `join_request` that cannot be read, or none where one is
    /// needed. Unreadable values of other parameters count as absent.
    pub fn from_query(path: JoinPath, query: &[(String, String)]) -> Result<Self, JoinParamsError> {
        let wrapped = query.iter().find(|(key, _)| key == "join_request").map(|(_, value)| value);
        match (path, wrapped) {
            (_, Some(value)) if !value.is_empty() => Self::from_wrapped(value),
            (JoinPath::V1, _) => Err(JoinParamsError::Missing),
            (JoinPath::V0, _) => Ok(query::read(query)),
        }
    }

    /// Reads a `join_request` parameter.
    ///
    /// # Errors
    ///
    /// [`JoinParamsError`] if it cannot be decoded, unpacked or parsed.
    pub fn from_wrapped(base64: &str) -> Result<Self, JoinParamsError> {
        let wrapped = URL_BASE64.decode(base64).map_err(|_| JoinParamsError::Base64)?;
        let wrapped =
            WrappedJoinRequest::decode(&*wrapped).map_err(|_| JoinParamsError::Wrapped)?;
        let bytes = unpack(wrapped)?;
        if bounds::too_many_fields(&bytes) {
            return Err(JoinParamsError::TooLarge);
        }
        let request = JoinRequest::decode(&*bytes).map_err(|_| JoinParamsError::Inner)?;
        Ok(request.into())
    }

    /// Fills in what browsers do not say about themselves.
    pub fn augment(&mut self, user_agent: Option<&str>, address: Option<&str>) {
        if let Some(address) = address {
            self.client.address = address.chars().take(query::LONGEST).collect();
        }
        let from_page = matches!(
            Sdk::try_from(self.client.sdk),
            Ok(Sdk::Unknown | Sdk::Js | Sdk::ReactNative | Sdk::Flutter | Sdk::Unity)
        );
        if from_page {
            user_agent::fill(&mut self.client, user_agent.unwrap_or_default());
        }
    }
}

impl From<JoinRequest> for JoinParams {
    fn from(request: JoinRequest) -> Self {
        let settings = request.connection_settings.unwrap_or_default();
        Self {
            single_pc: true,
            reconnect: request.reconnect,
            reconnect_reason: request.reconnect_reason,
            participant_sid: request.participant_sid,
            auto_subscribe: settings.auto_subscribe,
            auto_subscribe_data_track: settings.auto_subscribe_data_track.unwrap_or(false),
            adaptive_stream: settings.adaptive_stream,
            disable_ice_lite: settings.disable_ice_lite,
            subscriber_allow_pause: Some(settings.subscriber_allow_pause.unwrap_or(false)),
            client: request.client_info.unwrap_or_default(),
            publisher_offer: request.publisher_offer,
            add_tracks: request.add_track_requests,
            attributes: request.participant_attributes.into_iter().collect(),
            attributes_unreadable: false,
            metadata: request.metadata,
            publish: None,
        }
    }
}

fn unpack(wrapped: WrappedJoinRequest) -> Result<Vec<u8>, JoinParamsError> {
    let bytes = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => {
            let mut bytes = Vec::new();
            // One byte more than allowed tells "too large" from "just fits".
            GzDecoder::new(&*wrapped.join_request)
                .take(MAX_JOIN_REQUEST as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(|_| JoinParamsError::Gzip)?;
            bytes
        }
        Err(_) => return Err(JoinParamsError::Compression(wrapped.compression)),
    };
    if bytes.len() > MAX_JOIN_REQUEST { Err(JoinParamsError::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::proto::ConnectionSettings;

    #[test]
    fn a_join_request_is_read_packed_or_not() {
        let request = JoinRequest {
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: true,
                ..ConnectionSettings::default()
            }),
            metadata: "m".into(),
            ..JoinRequest::default()
        };
        let plain = request.encode_to_vec();
        for (compression, bytes) in [(0, plain.clone()), (1, gzip(&plain))] {
            let params = JoinParams::from_wrapped(&wrap(compression, bytes)).unwrap();
            assert!(params.single_pc && params.auto_subscribe);
            assert_eq!(params.metadata, "m");
        }
    }

    #[test]
    fn padding_may_be_left_out() {
        let wrapped =
            wrap(0, JoinRequest { metadata: "mm".into(), ..Default::default() }.encode_to_vec());
        let bare = wrapped.trim_end_matches('=');
        assert_eq!(JoinParams::from_wrapped(bare).unwrap().metadata, "mm");
    }

    #[test]
    fn broken_join_requests_are_refused_with_the_texts_of_livekit_server() {
        let short = gzip(b"hello");
        let cases = [
            ("+/+/".to_owned(), "cannot base64 decode wrapped join request"),
            ("_____w==".to_owned(), "cannot unmarshal wrapped join request"),
            (wrap(1, b"no gzip".to_vec()), "cannot read decompressed join request"),
            (wrap(1, short[..short.len() - 9].to_vec()), "cannot read decompressed join request"),
            (wrap(1, gzip(&vec![0; 2 * MAX_JOIN_REQUEST])), "join request too large"),
            (wrap(0, vec![0xff; 20]), "cannot unmarshal join request"),
            (wrap(7, Vec::new()), "unknown compression 7 of join request"),
        ];
        for (value, text) in cases {
            let error = JoinParams::from_wrapped(&value).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn v1_needs_a_join_request_and_v0_takes_one() {
        let none = JoinParams::from_query(JoinPath::V1, &[]);
        assert_eq!(none.unwrap_err(), JoinParamsError::Missing);
        let value =
            wrap(0, JoinRequest { metadata: "m".into(), ..Default::default() }.encode_to_vec());
        let query = [("join_request".to_owned(), value)];
        assert!(JoinParams::from_query(JoinPath::V0, &query).unwrap().single_pc);
        assert!(!JoinParams::from_query(JoinPath::V0, &[]).unwrap().single_pc);
    }

    fn wrap(compression: i32, join_request: Vec<u8>) -> String {
        let wrapped = WrappedJoinRequest { compression, join_request }.encode_to_vec();
        base64::engine::general_purpose::URL_SAFE.encode(wrapped)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }
}
