//! The query parameters of `/rtc`, and what a `User-Agent` says.
//!
//! * **Owns:** nothing.
//! * **In:** percent-decoded parameters; a header.
//! * **Out:** [`JoinParams`]; browser and system in a `ClientInfo`.
//! * **Invariant:** an unreadable parameter counts as absent.
//! * **livekit-server:** `pkg/service/utils.go` (`ParseClientInfo`).

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use crate::JoinParams;
use crate::proto::ClientInfo;
use crate::proto::client_info::{Capability, Sdk};

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

/// Sets browser, system and device from a browser's `User-Agent`, where the client did not.
pub(crate) fn read_user_agent(client: &mut ClientInfo, user_agent: &str) {
    // Order matters: Edge and Opera also name Chrome, and Chrome also names Safari.
    const BROWSERS: [(&str, &str, &str); 8] = [
        ("Edg/", "Edge", "Edg/"),
        ("OPR/", "Opera", "OPR/"),
        ("FxiOS/", "Firefox iOS", "FxiOS/"),
        ("Firefox/", "Firefox", "Firefox/"),
        ("CriOS/", "Chrome iOS", "CriOS/"),
        ("Chrome/", "Chrome", "Chrome/"),
        ("Mobile/", "Mobile Safari", "Version/"),
        ("Safari/", "Safari", "Version/"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "Mac OS X"),
        ("CrOS", "Chrome OS"),
        ("Linux", "Linux"),
    ];
    if let Some((_, name, version)) = BROWSERS.iter().find(|(key, ..)| user_agent.contains(key))
        && client.browser.is_empty()
    {
        client.browser = (*name).to_owned();
        let (_, rest) = user_agent.split_once(version).unwrap_or_default();
        client.browser_version =
            rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(32).collect();
    }
    if let Some((_, name)) = SYSTEMS.iter().find(|(key, _)| user_agent.contains(key))
        && client.os.is_empty()
    {
        client.os = (*name).to_owned();
    }
}

fn client<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> ClientInfo {
    // Nothing a client says about itself needs more.
    let short = |key: &str| text(key).unwrap_or_default().chars().take(256).collect::<String>();
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
    serde_json::from_slice(&bytes).ok()
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
        let bad = read(&pairs(&[("attributes", "!!")]));
        assert!(bad.attributes_unreadable && bad.attributes.is_empty());
    }

    #[test]
    fn user_agents_name_their_browser() {
        let cases = [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
                "Firefox",
                "Linux",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36",
                "Chrome",
                "Linux",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15",
                "Safari",
                "Mac OS X",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/156.0 Safari/537.36 Edg/156.0",
                "Edge",
                "Windows",
            ),
        ];
        for (agent, browser, os) in cases {
            let mut client = ClientInfo::default();
            read_user_agent(&mut client, agent);
            assert_eq!((client.browser.as_str(), client.os.as_str()), (browser, os));
        }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}
