//! What clients of an older protocol or SDK understand.
//!
//! * **Owns:** nothing.
//! * **In:** what a client says about itself when it joins; messages on their way to it.
//! * **Out:** [`Compatibility`], and the messages as the client can take them.
//! * **Invariant:** a client of the current protocol gets every message as it is.
//! * **livekit-server:** `pkg/rtc/types/protocol_version.go`, `pkg/rtc/clientinfo.go`.

use hearth_codec::Codec;
use hearth_negotiate::{ClientQuirks, ClientTraits};
use hearth_signal::proto::{
    self, ClientInfo, ConnectionQuality, client_info::Sdk, signal_response::Message,
};

/// The last protocol before the stream id of a track named publisher and track.
const LAST_WITHOUT_PACKED_STREAM_ID: i32 = 0;
/// The last protocol whose publisher connection is the primary one, and that knows no changes of speakers.
const LAST_PUBLISHER_PRIMARY: i32 = 2;
/// The last protocol whose sections carry one track only.
const LAST_WITHOUT_SECTION_REUSE: i32 = 3;
/// The last protocol without connection quality.
const LAST_WITHOUT_QUALITY: i32 = 4;
/// The last protocol without ICE-lite.
const LAST_WITHOUT_ICE_LITE: i32 = 5;
/// The last protocol that is muted instead of unpublished.
const LAST_WITHOUT_UNPUBLISH: i32 = 6;
/// The last protocol that gets no tracks before it is active.
const LAST_WITHOUT_FAST_START: i32 = 7;
/// The last protocol without the quality LOST.
const LAST_WITHOUT_LOST: i32 = 10;
/// Rust SDKs below this protocol fail at messages they do not know.
const RUST_WITH_UNKNOWN_MESSAGES: i32 = 10;
/// JavaScript SDKs below this version fail at a `ReconnectResponse`.
const JS_WITH_RECONNECT: [u32; 3] = [1, 6, 3];

/// Swift SDKs below this version have no ICE over TCP.
const SWIFT_WITH_TCP: [u32; 3] = [1, 0, 5];

/// See the module.
pub(crate) struct Compatibility<'a>(pub(crate) &'a ClientInfo);

impl Compatibility<'_> {
    fn is_above(&self, last_without: i32) -> bool {
        self.0.protocol > last_without
    }

    /// The stream id of a downstream track is `PA_…|TR_…`.
    pub(crate) fn packs_stream_id(&self) -> bool {
        self.is_above(LAST_WITHOUT_PACKED_STREAM_ID)
    }

    /// With two connections, that for subscribing is the primary one.
    pub(crate) fn subscriber_primary(&self) -> bool {
        self.is_above(LAST_PUBLISHER_PRIMARY)
    }

    /// We may be an ICE-lite agent for it.
    pub(crate) fn takes_ice_lite(&self) -> bool {
        self.is_above(LAST_WITHOUT_ICE_LITE)
    }

    /// Its ICE knows TCP.
    pub(crate) fn takes_tcp(&self) -> bool {
        let sdk = self.0.sdk();
        let old_swift = sdk == Sdk::Swift && version_of(&self.0.version) < SWIFT_WITH_TCP;
        sdk != Sdk::Go && !old_swift
    }

    /// With two connections, the first offer carries the tracks that are there.
    pub(crate) fn starts_fast(&self) -> bool {
        self.is_above(LAST_WITHOUT_FAST_START)
    }

    /// A `ReconnectResponse` does not break it. Who does not say its version is taken for a current one.
    pub(crate) fn takes_reconnect(&self) -> bool {
        self.0.sdk() != Sdk::Js
            || self.0.version.is_empty()
            || version_of(&self.0.version) >= JS_WITH_RECONNECT
    }

    /// How it negotiates. `enabled` are the codecs of the server.
    pub(crate) fn quirks(&self, enabled: &[Codec]) -> ClientQuirks {
        let ClientInfo { browser, browser_version, os, device_model, .. } = self.0;
        let mut quirks =
            ClientQuirks::detect(ClientTraits { browser, browser_version, os, device_model });
        quirks.single_use_sections |= !self.is_above(LAST_WITHOUT_SECTION_REUSE);
        let disabled = |codec: &Codec| !enabled.contains(codec);
        quirks.not_enabled = Codec::ALL.into_iter().filter(disabled).collect();
        quirks
    }

    /// A message as the client understands it; `None` if it has no use for it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here passes as it is")]
    pub(crate) fn adapt(&self, message: Message) -> Option<Message> {
        let old_rust = self.0.sdk() == Sdk::Rust && self.0.protocol < RUST_WITH_UNKNOWN_MESSAGES;
        match message {
            Message::SpeakersChanged(_) if !self.is_above(LAST_PUBLISHER_PRIMARY) => None,
            Message::ConnectionQuality(_) if !self.is_above(LAST_WITHOUT_QUALITY) => None,
            Message::RequestResponse(_) | Message::TrackSubscribed(_) if old_rust => None,
            Message::ConnectionQuality(mut update) if !self.is_above(LAST_WITHOUT_LOST) => {
                for info in &mut update.updates {
                    if info.quality() == ConnectionQuality::Lost {
                        info.set_quality(ConnectionQuality::Poor);
                    }
                }
                Some(Message::ConnectionQuality(update))
            }
            Message::TrackUnpublished(gone) if !self.is_above(LAST_WITHOUT_UNPUBLISH) => {
                Some(Message::Mute(proto::MuteTrackRequest { sid: gone.track_sid, muted: true }))
            }
            message => Some(message),
        }
    }
}

/// Major, minor and patch number; what is not a number counts as 0.
fn version_of(text: &str) -> [u32; 3] {
    let mut fields = text.split('.');
    [(); 3].map(|()| fields.next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_gets_what_it_understands() {
        // Features of protocol_version.go, each with the first protocol that has it.
        type Feature<'a> = (&'a str, i32, fn(&Compatibility<'_>) -> bool);
        let first: [Feature<'_>; 9] = [
            ("packed stream id", 1, |c| c.packs_stream_id()),
            ("subscriber primary", 3, |c| c.subscriber_primary()),
            ("speakers", 3, |c| {
                c.adapt(Message::SpeakersChanged(proto::SpeakersChanged::default())).is_some()
            }),
            ("section reuse", 4, |c| !c.quirks(&Codec::ALL).single_use_sections),
            ("quality", 5, |c| c.adapt(quality(ConnectionQuality::Good)).is_some()),
            ("ICE-lite", 6, |c| c.takes_ice_lite()),
            ("unpublish", 7, |c| {
                let message = proto::TrackUnpublishedResponse { track_sid: "TR_x".into() };
                let muted = proto::MuteTrackRequest { sid: "TR_x".into(), muted: true };
                match c.adapt(Message::TrackUnpublished(message)) {
                    Some(Message::TrackUnpublished(_)) => true,
                    other => {
                        assert_eq!(other, Some(Message::Mute(muted)));
                        false
                    }
                }
            }),
            ("fast start", 8, |c| c.starts_fast()),
            ("lost", 11, |c| {
                let lost = quality(ConnectionQuality::Lost);
                c.adapt(lost.clone()) == Some(lost)
            }),
        ];
        for (feature, since, has) in first {
            for protocol in 0..=18 {
                let info = ClientInfo { protocol, ..ClientInfo::default() };
                assert_eq!(has(&Compatibility(&info)), protocol >= since, "{feature} {protocol}");
            }
        }
        let old = ClientInfo { protocol: 10, ..ClientInfo::default() };
        let lost = Compatibility(&old).adapt(quality(ConnectionQuality::Lost));
        assert_eq!(lost, Some(quality(ConnectionQuality::Poor)));
    }

    #[test]
    fn old_sdks_are_spared_what_breaks_them() {
        let client = |sdk: Sdk, version: &str, protocol| ClientInfo {
            sdk: sdk.into(),
            version: version.into(),
            protocol,
            ..ClientInfo::default()
        };
        let cases = [
            (client(Sdk::Js, "1.6.2", 9), false, true),
            (client(Sdk::Js, "1.6.3", 9), true, true),
            (client(Sdk::Js, "1.10", 9), true, true),
            (client(Sdk::Js, "2.21.0", 17), true, true),
            (client(Sdk::Js, "0.18.6", 7), false, true),
            (client(Sdk::Js, "", 17), true, true),
            (client(Sdk::Rust, "0.1.0", 9), true, false),
            (client(Sdk::Rust, "0.3.0", 10), true, true),
            (client(Sdk::Go, "1.0.0", 9), true, true),
        ];
        for (client, reconnect, others) in cases {
            let compatibility = Compatibility(&client);
            assert_eq!(compatibility.takes_reconnect(), reconnect, "{client:?}");
            for message in [
                Message::RequestResponse(proto::RequestResponse::default()),
                Message::TrackSubscribed(proto::TrackSubscribed::default()),
            ] {
                assert_eq!(compatibility.adapt(message).is_some(), others, "{client:?}");
            }
        }
    }

    #[test]
    fn what_the_server_does_not_enable_is_not_negotiated() {
        let info = ClientInfo { protocol: 17, ..ClientInfo::default() };
        let quirks = Compatibility(&info).quirks(&[Codec::H264, Codec::Opus]);
        assert_eq!(quirks.not_enabled.len(), Codec::ALL.len() - 2);
        assert!(![Codec::H264, Codec::Opus].iter().any(|c| quirks.not_enabled.contains(c)));
    }

    fn quality(quality: ConnectionQuality) -> Message {
        let info = proto::ConnectionQualityInfo { quality: quality.into(), ..Default::default() };
        Message::ConnectionQuality(proto::ConnectionQualityUpdate { updates: vec![info] })
    }
}
