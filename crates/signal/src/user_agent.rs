//! Parses a `User-Agent`: a client's browser, system and device.
//!
//! * **Owns:** nothing.
//! * **In:** the header's text.
//! * **Out:** browser, system, device and their versions in a `ClientInfo`.
//! * **Invariant:** what the client said itself stays; what is not recognised is `Other`.
//! * **livekit-server:** `pkg/service/utils.go` (`AugmentClientInfo`), which asks uap-core: the names
//!   and versions here are that program's for the browsers that people use.

use crate::proto::ClientInfo;
use crate::query::LONGEST;

/// A program, the mark it is known by, and where its version stands.
struct Browser {
    mark: &'static str,
    /// Must be there, too; may be empty.
    with: &'static str,
    name: &'static str,
    version: &'static str,
}

const fn browser(
    mark: &'static str,
    with: &'static str,
    name: &'static str,
    version: &'static str,
) -> Browser {
    Browser { mark, with, name, version }
}

/// The first that fits. Order matters: nearly all name Chrome and Safari besides themselves.
const BROWSERS: [Browser; 26] = [
    browser("OBS-Studio/", "", "OBS Studio", "OBS-Studio/"),
    browser("SamsungBrowser/", "", "Samsung Internet", "SamsungBrowser/"),
    browser("YaBrowser/", "", "Yandex Browser", "YaBrowser/"),
    browser("MiuiBrowser/", "", "MiuiBrowser", "MiuiBrowser/"),
    browser("Vivaldi/", "", "Vivaldi", "Vivaldi/"),
    browser("Electron/", "", "Electron", "Electron/"),
    browser("EdgA/", "", "Edge Mobile", "EdgA/"),
    browser("EdgiOS/", "", "Edge Mobile", "EdgiOS/"),
    browser("Edg/", "", "Edge", "Edg/"),
    browser("Edge/", "", "Edge", "Edge/"),
    browser("OPR/", "Mobile", "Opera Mobile", "OPR/"),
    browser("OPR/", "", "Opera", "OPR/"),
    browser("FxiOS/", "", "Firefox iOS", "FxiOS/"),
    browser("Firefox/", "Mobile;", "Firefox Mobile", "Firefox/"),
    browser("Firefox/", "Tablet;", "Firefox Mobile", "Firefox/"),
    browser("Firefox/", "", "Firefox", "Firefox/"),
    browser("CriOS/", "", "Chrome Mobile iOS", "CriOS/"),
    browser("HeadlessChrome/", "", "HeadlessChrome", "HeadlessChrome/"),
    browser("Chrome/", "; wv)", "Chrome Mobile WebView", "Chrome/"),
    browser("Chrome/", "Mobile", "Chrome Mobile", "Chrome/"),
    browser("Chrome/", "", "Chrome", "Chrome/"),
    browser("Version/", "Mobile/", "Mobile Safari", "Version/"),
    browser("AppleWebKit/", "Mobile/", "Mobile Safari UI/WKWebView", "OS "),
    browser("Safari/", "", "Safari", "Version/"),
    browser("okhttp/", "", "okhttp", "okhttp/"),
    browser("curl/", "", "curl", "curl/"),
];

/// Systems by their marks, with where their versions stand.
const SYSTEMS: [(&str, &str, &str); 11] = [
    ("Windows NT", "Windows", "Windows NT "),
    ("Windows", "Windows", ""),
    ("Android", "Android", "Android "),
    ("iPhone", "iOS", "OS "),
    ("iPad", "iOS", "OS "),
    ("iPod", "iOS", "OS "),
    ("CrOS", "Chrome OS", "CrOS x86_64 "),
    ("Mac OS X", "Mac OS X", "Mac OS X "),
    ("Ubuntu", "Ubuntu", "Ubuntu/"),
    ("Fedora", "Fedora", "Fedora/"),
    ("Linux", "Linux", "Linux/"),
];

const UNKNOWN: &str = "Other";

/// Fills in what the client did not say.
pub(crate) fn fill(client: &mut ClientInfo, user_agent: &str) {
    if client.browser.is_empty() {
        let fits = |b: &&Browser| user_agent.contains(b.mark) && user_agent.contains(b.with);
        let known = BROWSERS.iter().find(fits);
        client.browser = known.map_or(UNKNOWN, |known| known.name).to_owned();
        client.browser_version =
            known.map_or_else(String::new, |known| version(user_agent, known.version));
    }
    if client.os.is_empty() {
        let known = SYSTEMS.iter().find(|(mark, ..)| user_agent.contains(mark));
        client.os = known.map_or(UNKNOWN, |(_, name, _)| name).to_owned();
        let version = known.map_or_else(String::new, |(.., at)| version(user_agent, at));
        client.os_version = if client.os == "Windows" { windows(&version) } else { version };
    }
    if client.device_model.is_empty() {
        client.device_model = device(user_agent);
    }
}

/// At most three numbers behind `at`, with dots between.
fn version(user_agent: &str, at: &str) -> String {
    let Some((_, rest)) = user_agent.split_once(at).filter(|_| !at.is_empty()) else {
        return String::new();
    };
    let number = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
    let text: String = rest.chars().take_while(|c| number(*c)).take(LONGEST).collect();
    let parts = text.split(['.', '_']).filter(|part| !part.is_empty()).take(3);
    parts.collect::<Vec<_>>().join(".")
}

/// The name of a version of Windows by its number. 11 calls itself 10.
fn windows(number: &str) -> String {
    match number {
        "10.0" => "10",
        "6.3" => "8.1",
        "6.2" => "8",
        "6.1" => "7",
        other => other,
    }
    .to_owned()
}

fn device(user_agent: &str) -> String {
    for name in ["iPhone", "iPad", "iPod"] {
        if user_agent.contains(name) {
            return name.to_owned();
        }
    }
    if user_agent.contains("Macintosh") {
        return "Mac".to_owned();
    }
    // `(Linux; Android 14; Pixel 8 Build/UD1A)`: the third part.
    let model = user_agent
        .split_once("Android ")
        .and_then(|(_, rest)| rest.split_once(';'))
        .and_then(|(_, rest)| rest.split([')', ';']).next())
        .map(|model| model.split(" Build/").next().unwrap_or_default().trim())
        .filter(|model| !model.is_empty() && *model != "wv" && !model.starts_with("rv:"));
    model.map_or(UNKNOWN, |model| model).chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_name_their_browser_system_and_device() {
        for (agent, browser, os, device) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
                "Firefox 153.0",
                "Linux ",
                "Other",
            ),
            (
                "Mozilla/5.0 (Android 14; Mobile; rv:153.0) Gecko/153.0 Firefox/153.0",
                "Firefox Mobile 153.0",
                "Android 14",
                "Mobile",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36",
                "HeadlessChrome 156.0.0",
                "Linux ",
                "Other",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15",
                "Safari 18.4",
                "Mac OS X 10.15.7",
                "Mac",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1",
                "Mobile Safari 18.4",
                "iOS 18.4.1",
                "iPhone",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.3.1",
                "Edge 156.0.3",
                "Windows 10",
                "Other",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UD1A.1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36",
                "Chrome Mobile 156.0.0",
                "Android 14",
                "Pixel 8",
            ),
            (
                "Mozilla/5.0 (OBS-Studio/30.1.2; Windows x86_64; en-US)",
                "OBS Studio 30.1.2",
                "Windows ",
                "Other",
            ),
            ("", "Other ", "Other ", "Other"),
        ] {
            let mut client = ClientInfo::default();
            fill(&mut client, agent);
            let found = format!("{} {}", client.browser, client.browser_version);
            assert_eq!(found, browser, "{agent}");
            assert_eq!(format!("{} {}", client.os, client.os_version), os, "{agent}");
            assert_eq!(client.device_model, device, "{agent}");
        }
    }

    #[test]
    fn values_that_the_client_sent_stay() {
        let mut client = ClientInfo {
            browser: "mine".into(),
            os: "ours".into(),
            device_model: "theirs".into(),
            ..ClientInfo::default()
        };
        let said = client.clone();
        fill(&mut client, "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0");
        assert_eq!(client, said);
    }
}
