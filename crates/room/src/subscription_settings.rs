//! What one participant wants of tracks, and what publishers allow.
//!
//! * **Owns:** a subscriber's explicit subscriptions and settings per track sid ([`SubscriptionSettings`]); a publisher's
//!   rules on who may subscribe ([`SubscriptionPermissions`]).
//! * **In:** `UpdateSubscription`, `UpdateTrackSettings`, `SubscriptionPermission`.
//! * **Out:** whether a track is wanted, whether it is allowed, and the layer limit for the shard.
//! * **Invariant:** at most [`MAX_WANTS`] tracks are remembered; settings outlive the subscription.
//! * **livekit-server:** `pkg/rtc/subscriptionmanager.go`, `uptrackmanager.go`.

#![expect(deprecated, reason = "`TrackInfo.layers` are those of the first codec")]

use std::collections::BTreeMap;

use hearth_plane::LayerLimit;
use hearth_signal::proto::{self, VideoQuality};

/// A client may name tracks that do not exist yet; more than these are ignored.
pub(crate) const MAX_WANTS: usize = 2_048;

/// What a subscriber said about a track's quality.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    disabled: bool,
    quality: VideoQuality,
    /// Longer than 0: decides instead of `quality`.
    width: u32,
    height: u32,
}

impl Settings {
    /// What holds until the client says something.
    pub(crate) fn initial(adaptive_stream: bool) -> Self {
        let quality = if adaptive_stream { VideoQuality::Low } else { VideoQuality::High };
        Self { disabled: false, quality, width: 0, height: 0 }
    }

    pub(crate) fn of(request: &proto::UpdateTrackSettings) -> Self {
        Self {
            disabled: request.disabled,
            quality: request.quality(),
            width: request.width,
            height: request.height,
        }
    }

    /// The highest quality asked for of a track; `Off` if none.
    pub(crate) fn quality(&self, info: &proto::TrackInfo) -> VideoQuality {
        if self.disabled {
            VideoQuality::Off
        } else if self.width > 0 {
            quality_for(self.width, self.height, info)
        } else {
            self.quality
        }
    }

    /// The layer limit for a track that comes in `encodings` encodings.
    pub(crate) fn limit(&self, info: &proto::TrackInfo, encodings: usize) -> LayerLimit {
        let highest = u8::try_from(encodings.saturating_sub(1)).unwrap_or(u8::MAX);
        let spatial = match self.quality(info) {
            VideoQuality::Off | VideoQuality::Low => 0,
            VideoQuality::Medium => highest.min(1),
            VideoQuality::High => highest,
        };
        let enabled = self.quality(info) != VideoQuality::Off;
        LayerLimit { enabled, spatial, temporal: MAX_TEMPORAL }
    }
}

/// No codec has more temporal layers than 8.
const MAX_TEMPORAL: u8 = 7;

/// The lowest layer that is at least nine tenths as high as asked; of several of one height, which differ in frame
/// rate, the highest (livekit-server: `GetQualityForDimension`).
fn quality_for(width: u32, height: u32, info: &proto::TrackInfo) -> VideoQuality {
    const QUALITIES: [VideoQuality; 3] =
        [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High];
    let mut layers: Vec<(i32, u32)> = info
        .layers
        .iter()
        .filter(|layer| layer.height > 0)
        .map(|layer| (layer.quality, layer.height))
        .collect();
    layers.sort_unstable();
    let asked = if info.layers.is_empty() && info.width < info.height { width } else { height };
    if layers.is_empty() {
        let full = info.height.min(info.width).max(1);
        layers = vec![(0, 180), (1, 360), (2, full)];
    }
    let enough = |&&(_, height): &&(i32, u32)| u64::from(height) * 10 >= u64::from(asked) * 9;
    let first = layers.iter().find(enough).or_else(|| layers.last());
    let is_as_high = |layer: &&(i32, u32)| first.is_some_and(|first| first.1 == layer.1);
    let layer = layers.iter().rev().find(is_as_high);
    let quality = layer.map_or(2, |(quality, _)| usize::try_from(*quality).unwrap_or(2));
    QUALITIES.get(quality).copied().unwrap_or(VideoQuality::High)
}

#[derive(Clone, Copy, Debug, Default)]
struct TrackSettings {
    subscribe: Option<bool>,
    settings: Option<Settings>,
    told_allowed: Option<bool>,
}

/// What a subscriber said about tracks.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionSettings {
    tracks: BTreeMap<String, TrackSettings>,
}

impl SubscriptionSettings {
    fn entry(&mut self, sid: &str) -> Option<&mut TrackSettings> {
        if self.tracks.len() >= MAX_WANTS && !self.tracks.contains_key(sid) {
            return None;
        }
        Some(self.tracks.entry(sid.to_owned()).or_default())
    }

    pub(crate) fn set_subscribe(&mut self, sid: &str, subscribe: bool) {
        if let Some(want) = self.entry(sid) {
            want.subscribe = Some(subscribe);
        }
    }

    pub(crate) fn set_settings(&mut self, sid: &str, settings: Settings) {
        if let Some(want) = self.entry(sid) {
            want.settings = Some(settings);
        }
    }

    /// `None`: nothing was said, the default holds.
    pub(crate) fn subscribe(&self, sid: &str) -> Option<bool> {
        self.tracks.get(sid).and_then(|want| want.subscribe)
    }

    pub(crate) fn settings(&self, sid: &str) -> Option<Settings> {
        self.tracks.get(sid).and_then(|want| want.settings)
    }

    /// Notes what the subscriber is told about its permission; false if it was told the same.
    pub(crate) fn note_allowed(&mut self, sid: &str, allowed: bool) -> bool {
        let Some(want) = self.entry(sid) else { return false };
        want.told_allowed.replace(allowed) != Some(allowed)
    }

    /// The track is gone for good.
    pub(crate) fn forget(&mut self, sid: &str) {
        self.tracks.remove(sid);
    }
}

/// A publisher's rules on who may subscribe to its tracks.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionPermissions {
    /// `None`: everybody may.
    restricted: Option<BTreeMap<String, proto::TrackPermission>>,
}

impl SubscriptionPermissions {
    /// The rules that a publisher sends; `None` if an entry says nothing about whom it is. One about a sid
    /// that is not here (`identity_of`) has no effect; the last about somebody counts.
    pub(crate) fn of(
        request: proto::SubscriptionPermission,
        identity_of: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        if request.all_participants {
            return Some(Self::default());
        }
        let mut entries = BTreeMap::new();
        for entry in request.track_permissions {
            if !entry.participant_identity.is_empty() {
                entries.insert(entry.participant_identity.clone(), entry);
            } else if entry.participant_sid.is_empty() {
                return None;
            } else if let Some(identity) = identity_of(&entry.participant_sid) {
                entries.insert(identity, entry);
            }
        }
        Some(Self { restricted: Some(entries) })
    }

    pub(crate) fn allow(&self, identity: &str, track_sid: &str) -> bool {
        let Some(entries) = &self.restricted else { return true };
        entries
            .get(identity)
            .is_some_and(|e| e.all_tracks || e.track_sids.iter().any(|sid| sid == track_sid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_on_screen_decides_the_encoding() {
        let info = simulcast();
        let cases = [(180, 0), (200, 0), (201, 1), (360, 1), (401, 2), (720, 2), (2_000, 2)];
        for (height, encoding) in cases {
            let request = proto::UpdateTrackSettings { width: 1, height, ..Default::default() };
            let limit = Settings::of(&request).limit(&info, 3);
            assert_eq!((limit.enabled, limit.spatial), (true, encoding), "{height}");
        }
    }

    #[test]
    fn of_layers_of_one_height_the_highest_is_taken() {
        let layer = |quality, height| proto::VideoLayer { quality, height, ..Default::default() };
        for (heights, asked, expect) in
            [([1_080; 3], 1_080, 2), ([540, 1_080, 1_080], 1_080, 2), ([540, 540, 1_080], 360, 1)]
        {
            let layers = (0..).zip(heights).map(|(quality, height)| layer(quality, height));
            let info = proto::TrackInfo { layers: layers.collect(), ..simulcast() };
            let request =
                proto::UpdateTrackSettings { width: 1, height: asked, ..Default::default() };
            let limit = Settings::of(&request).limit(&info, 3);
            assert_eq!(limit.spatial, expect, "{heights:?}");
        }
    }

    #[test]
    fn quality_names_an_encoding_among_those_there_are() {
        use VideoQuality::{High, Low, Medium, Off};
        let cases =
            [(Low, 3, 0), (Medium, 3, 1), (High, 3, 2), (Medium, 2, 1), (High, 2, 1), (High, 1, 0)];
        for (quality, encodings, expect) in cases {
            let request =
                proto::UpdateTrackSettings { quality: quality.into(), ..Default::default() };
            assert_eq!(Settings::of(&request).limit(&simulcast(), encodings).spatial, expect);
        }
        let off = proto::UpdateTrackSettings { quality: Off.into(), ..Default::default() };
        assert!(!Settings::of(&off).limit(&simulcast(), 3).enabled);
    }

    #[test]
    fn a_flood_of_track_names_is_not_remembered() {
        let mut wants = SubscriptionSettings::default();
        for n in 0..10_000 {
            wants.set_subscribe(&format!("TR_{n}"), true);
        }
        assert_eq!(wants.tracks.len(), MAX_WANTS);
        assert_eq!(wants.subscribe("TR_1"), Some(true));
        assert_eq!(wants.subscribe("TR_9999"), None);
    }

    #[test]
    fn rules_allow_by_identity_or_sid_and_by_track() {
        let entry = |identity: &str, sid: &str, all, tracks: &[&str]| proto::TrackPermission {
            participant_identity: identity.into(),
            participant_sid: sid.into(),
            all_tracks: all,
            track_sids: tracks.iter().map(|&t| t.to_owned()).collect(),
        };
        let of = |track_permissions| {
            let request =
                proto::SubscriptionPermission { all_participants: false, track_permissions };
            SubscriptionPermissions::of(request, |sid| (sid == "PA_c").then(|| "carol".to_owned()))
        };
        assert!(SubscriptionPermissions::default().allow("bob", "TR_1"));
        let rules = of(vec![
            entry("bob", "", true, &[]),
            entry("bob", "", false, &["TR_1"]),
            entry("", "PA_c", true, &[]),
            entry("", "PA_gone", true, &[]),
            entry("dan", "PA_b", true, &[]),
        ]);
        let rules = rules.unwrap();
        assert!(rules.allow("bob", "TR_1") && !rules.allow("bob", "TR_2"));
        assert!(rules.allow("carol", "TR_2") && rules.allow("dan", "TR_2"));
        assert!(!rules.allow("eve", "TR_1"));
        assert!(of(vec![entry("bob", "", true, &[]), entry("", "", true, &[])]).is_none());
        assert!(!of(Vec::new()).unwrap().allow("bob", "TR_1"), "nobody");
    }

    fn simulcast() -> proto::TrackInfo {
        let layer = |quality: VideoQuality, height| proto::VideoLayer {
            quality: quality.into(),
            width: height * 16 / 9,
            height,
            ..Default::default()
        };
        proto::TrackInfo {
            width: 1280,
            height: 720,
            layers: vec![
                layer(VideoQuality::High, 720),
                layer(VideoQuality::Low, 180),
                layer(VideoQuality::Medium, 360),
            ],
            ..Default::default()
        }
    }
}
