//! The query parameters of `/rtc`.
//!
//! * **Owns:** nothing.
//! * **In:** percent-decoded parameters.
//! * **Out:** [`JoinParams`].
//! * **Invariant:** an unreadable parameter counts as absent.
//! * **livekit-server:** `pkg/service/utils.go` (`ParseClientInfo`).

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use crate::JoinParams;
use crate::proto::ClientInfo;
use crate::proto::client_info::{Capability, Sdk};

/// Letters kept of what a client says about itself; nothing needs more.
pub(crate) const LONGEST: usize = 256;
/// Longest `attributes` parameter that is read, in bytes of base64.
const MAX_ATTRIBUTES: usize = 128 * 1024;

/// Reads the parameters; the last of several equal keys does not count, the first does.
pub(crate) fn read(query: &[(String, String)]) -> JoinParams {
    let text =
        |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let flag = |key: &str| text(key).filter(|value| !value.is_empty()).map(is_true);
    let attributes = text("attributes").filter(|value| !value.is_empty()).map(read_attributes);
    JoinParams {
        single_pc: false,
        reconnect: flag("reconnect").unwrap_or(false),
        reconnect_reason: text("reconnect_reason").and_then(|n| n.parse().ok()).unwrap_or(0),
        participant_sid: text("sid").unwrap_or_default().to_owned(),
        auto_subscribe: flag("auto_subscribe").unwrap_or(true),
        auto_subscribe_data_track: flag("auto_subscribe_data_track").unwrap_or(false),
        adaptive_stream: flag("adaptive_stream").unwrap_or(false),
        disable_ice_lite: flag("disable_ice_lite").unwrap_or(false),
        subscriber_allow_pause: flag("subscriber_allow_pause"),
        client: client(&text),
        publisher_offer: None,
        add_tracks: Vec::new(),
        attributes_unreadable: matches!(attributes, Some(None)),
        attributes: attributes.flatten().unwrap_or_default(),
        metadata: String::new(),
        publish: text("publish").filter(|value| !value.is_empty()).map(str::to_owned),
    }
}

fn client<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> ClientInfo {
    let short = |key: &str| text(key).unwrap_or_default().chars().take(LONGEST).collect::<String>();
    let number = |key: &str| text(key).and_then(|n| n.parse().ok()).unwrap_or(0);
    ClientInfo {
        sdk: sdk(text("sdk").unwrap_or_default()).into(),
        version: short("version"),
        protocol: number("protocol"),
        os: short("os"),
        os_version: short("os_version"),
        device_model: short("device_model"),
        browser: short("browser"),
        browser_version: short("browser_version"),
        network: short("network"),
        client_protocol: number("client_protocol"),
        capabilities: text("capabilities")
            .unwrap_or_default()
            .split(',')
            .take(16)
            .filter_map(|name| Capability::from_str_name(name.trim()).map(i32::from))
            .collect(),
        ..ClientInfo::default()
    }
}

fn is_true(value: &str) -> bool {
    value == "1" || value == "true"
}

fn sdk(name: &str) -> Sdk {
    match name {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "unreal" => Sdk::Unreal,
        "esp32" => Sdk::Esp32,
        _ => Sdk::Unknown,
    }
}

fn read_attributes(base64: &str) -> Option<std::collections::BTreeMap<String, String>> {
    if base64.len() > MAX_ATTRIBUTES {
        return None;
    }
    let bytes = URL_SAFE.decode(base64).or_else(|_| URL_SAFE_NO_PAD.decode(base64)).ok()?;
    // `null` is absence, for all of them and for one.
    type Attributes = Option<std::collections::BTreeMap<String, Option<String>>>;
    let attributes: Attributes = serde_json::from_slice(&bytes).ok()?;
    let attributes = attributes.unwrap_or_default().into_iter();
    Some(attributes.map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_livekit_client_is_understood() {
        let query = pairs(&[
            ("auto_subscribe", "1"),
            ("sdk", "js"),
            ("version", "2.21.0"),
            ("protocol", "17"),
            ("client_protocol", "2"),
            ("adaptive_stream", "true"),
            ("capabilities", "CAP_COMPRESSION_DEFLATE_RAW,CAP_FUTURE"),
            ("reconnect", "1"),
            ("sid", "PA_x"),
            ("reconnect_reason", "1"),
        ]);
        let params = read(&query);
        assert!(params.auto_subscribe && params.adaptive_stream && params.reconnect);
        assert_eq!((params.participant_sid.as_str(), params.reconnect_reason), ("PA_x", 1));
        assert_eq!((params.client.sdk, params.client.protocol), (Sdk::Js.into(), 17));
        assert_eq!(params.client.capabilities, [2]);
    }

    #[test]
    fn absent_parameters_have_their_defaults() {
        let params = read(&pairs(&[("protocol", "many"), ("auto_subscribe", "")]));
        assert!(params.auto_subscribe && !params.adaptive_stream && !params.reconnect);
        assert_eq!(params.client.protocol, 0);
    }

    #[test]
    fn attributes_are_read_or_marked_unreadable() {
        let good = URL_SAFE.encode(r#"{"a":"b"}"#);
        assert_eq!(read(&pairs(&[("attributes", &good)])).attributes["a"], "b");
        let null = URL_SAFE.encode(r#"{"a":"b","c":null}"#);
        let null = read(&pairs(&[("attributes", &null)]));
        assert_eq!((null.attributes["a"].as_str(), null.attributes["c"].as_str()), ("b", ""));
        let nothing = read(&pairs(&[("attributes", &URL_SAFE.encode("null"))]));
        assert!(nothing.attributes.is_empty() && !nothing.attributes_unreadable);
        let bad = read(&pairs(&[("attributes", "!!")]));
        assert!(bad.attributes_unreadable && bad.attributes.is_empty());
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}
