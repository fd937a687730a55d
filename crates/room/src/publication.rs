//! What a participant publishes: announced, matched to a section, or waiting for its turn.
//!
//! * **Owns:** a participant's announced tracks ([`Publishing`]) and one published track
//!   ([`Publication`]).
//! * **In:** `AddTrackRequest`; what its section became.
//! * **Out:** [`TrackInfo`], [`PendingTrack`]s for the answer, the shard's spec.
//! * **Invariant:** at most [`MAX_PENDING`] announced and [`MAX_QUEUED`] queued tracks; a cid is
//!   announced at most once.
//! * **livekit-server:** `pkg/rtc/participant.go` (`addPendingTrackLocked`).

#![expect(deprecated, reason = "older clients read `layers`, `simulcast`, `stereo`, `disable_dtx`")]

use hearth_codec::Codec;
use hearth_negotiate::{PendingTrack, Published, SimulcastCid};
use hearth_plane::{ShardId, Source, TrackId, UpTrackSpec};
use hearth_random::Rng;
use hearth_signal::{proto, track_sid};
use hearth_units::MediaKind;
use proto::{
    AddTrackRequest, AudioTrackFeature, TrackInfo, TrackSource, TrackType, request_response,
};

use crate::participant::ParticipantKey;
use crate::subscription_settings::SubscriptionPermissions;

/// Announced tracks whose section has not come yet; livekit-server's limit.
pub(crate) const MAX_PENDING: usize = 20;
/// Requests that wait for an equal cid to end.
pub(crate) const MAX_QUEUED: usize = 20;
/// The same for one cid; livekit-server's limit.
const MAX_QUEUED_PER_CID: usize = 3;
/// Tracks one participant may have published at a time.
pub(crate) const MAX_TRACKS: usize = 64;

/// A participant's side of publishing.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    pub(crate) pending: Vec<Pending>,
    pub(crate) queued: Vec<AddTrackRequest>,
    pub(crate) tracks: Vec<TrackId>,
    pub(crate) rules: SubscriptionPermissions,
    pub(crate) abilities: Abilities,
}

/// How a client can publish.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abilities {
    /// The codecs it may publish, those that others should choose first.
    pub(crate) codecs: Vec<Codec>,
    /// Not every encoding of it has sender reports (OBS).
    pub(crate) incomplete_reports: bool,
}

impl Abilities {
    /// The codec of an announcement, or what takes its place (protocol.md §4.3); livekit-server falls back to
    /// the codecs that every browser has.
    fn choose(&self, kind: MediaKind, name: &str) -> Codec {
        let known = Codec::from_name(name).filter(|codec| codec.kind() == kind);
        let enabled = known.filter(|codec| self.codecs.contains(codec));
        let first = || self.codecs.iter().copied().find(|codec| codec.kind() == kind);
        enabled.or_else(first).unwrap_or(match kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        })
    }
}

/// One codec of an announced track, which the client may publish.
#[derive(Clone, Debug)]
struct AnnouncedCodec {
    codec: Codec,
    cid: String,
    mode: proto::video_layer::Mode,
    layers: Vec<proto::VideoLayer>,
}

/// An announced track.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) info: TrackInfo,
    pub(crate) track: PendingTrack,
}

/// Why an announcement is not followed by `TrackPublished` now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    NotAllowed,
    NotFound,
    UnsupportedType,
    LimitExceeded,
    Queued,
}

impl Refusal {
    /// As the client is told it, in livekit-server's words.
    pub(crate) fn reason(self) -> (request_response::Reason, &'static str) {
        match self {
            Self::NotAllowed => (request_response::Reason::NotAllowed, ""),
            Self::NotFound => (request_response::Reason::NotFound, ""),
            Self::UnsupportedType => (request_response::Reason::UnsupportedType, ""),
            Self::LimitExceeded => (
                request_response::Reason::LimitExceeded,
                "too many pending tracks, rejecting new track",
            ),
            Self::Queued => (request_response::Reason::Queued, ""),
        }
    }
}

impl Publishing {
    /// Whether a track may be announced; `in_use` says that its cid is published, `known` that the client
    /// published the track of its sid.
    pub(crate) fn check(
        &self,
        request: &AddTrackRequest,
        permission: &proto::ParticipantPermission,
        in_use: bool,
        known: bool,
    ) -> Result<(), Refusal> {
        if !may_publish(permission, request.source()) {
            return Err(Refusal::NotAllowed);
        }
        if request.r#type() == TrackType::Data {
            return Err(Refusal::UnsupportedType);
        }
        // A further codec of a published track is not supported.
        if !request.sid.is_empty() {
            return Err(if known { Refusal::UnsupportedType } else { Refusal::NotFound });
        }
        if self.pending.len() >= MAX_PENDING || self.tracks.len() >= MAX_TRACKS {
            return Err(Refusal::LimitExceeded);
        }
        if in_use || self.pending.iter().any(|pending| pending.track.cid == request.cid) {
            let same = self.queued.iter().filter(|queued| queued.cid == request.cid).count();
            let full = same >= MAX_QUEUED_PER_CID || self.queued.len() >= MAX_QUEUED;
            return Err(if full { Refusal::LimitExceeded } else { Refusal::Queued });
        }
        Ok(())
    }

    pub(crate) fn pending_tracks(&self) -> Vec<PendingTrack> {
        self.pending.iter().map(|pending| pending.track.clone()).collect()
    }

    /// The announced track of this cid, which is announced no longer.
    pub(crate) fn take_pending(&mut self, cid: &str) -> Option<Pending> {
        let index = self.pending.iter().position(|pending| pending.track.cid == cid)?;
        Some(self.pending.remove(index))
    }

    /// Forgets announcements of what may not be published any more. Returns the sids that their client was told.
    pub(crate) fn take_forbidden(
        &mut self,
        permission: &proto::ParticipantPermission,
    ) -> Vec<String> {
        self.queued.retain(|request| may_publish(permission, request.source()));
        let is_forbidden = |pending: &mut Pending| !may_publish(permission, pending.info.source());
        self.pending.extract_if(.., is_forbidden).map(|pending| pending.info.sid).collect()
    }

    /// An announced track that has no section yet.
    pub(crate) fn pending_mut(&mut self, sid: &str) -> Option<&mut TrackInfo> {
        self.pending.iter_mut().map(|pending| &mut pending.info).find(|info| info.sid == sid)
    }

    /// The next request that waited for `cid` to end.
    pub(crate) fn take_queued(&mut self, cid: &str) -> Option<AddTrackRequest> {
        let index = self.queued.iter().position(|queued| queued.cid == cid)?;
        Some(self.queued.remove(index))
    }
}

/// Whether tracks of this source may be published.
pub(crate) fn may_publish(permission: &proto::ParticipantPermission, source: TrackSource) -> bool {
    let sources = &permission.can_publish_sources;
    permission.can_publish && (sources.is_empty() || sources.contains(&source.into()))
}

impl Pending {
    /// What a request announces.
    pub(crate) fn new(request: &AddTrackRequest, abilities: &Abilities, rng: &mut Rng) -> Self {
        let kind = match request.r#type() {
            TrackType::Video => MediaKind::Video,
            TrackType::Audio | TrackType::Data => MediaKind::Audio,
        };
        let has = |feature: AudioTrackFeature| request.audio_features.contains(&feature.into());
        let codecs = announced_codecs(request, kind, abilities);
        let track = PendingTrack {
            cid: request.cid.clone(),
            kind,
            preferred: codecs.first().map(|announced| announced.codec),
            simulcast: codecs
                .iter()
                .map(|announced| SimulcastCid {
                    cid: announced.cid.clone(),
                    codec: Some(announced.codec),
                })
                .collect(),
            stereo: has(AudioTrackFeature::TfStereo) || request.stereo,
            no_dtx: has(AudioTrackFeature::TfNoDtx) || request.disable_dtx,
            disable_red: request.disable_red || request.encryption != 0,
        };
        Self { info: track_info(request, codecs, abilities, rng), track }
    }
}

fn track_info(
    request: &AddTrackRequest,
    announced: Vec<AnnouncedCodec>,
    abilities: &Abilities,
    rng: &mut Rng,
) -> TrackInfo {
    let is_video = request.r#type() == TrackType::Video;
    let codecs = codec_infos(request, announced, abilities);
    let layers = codecs.first().map(|codec| codec.layers.clone()).unwrap_or_default();
    let svc = proto::video_layer::Mode::MultipleSpatialLayersPerStream;
    let is_svc = codecs.first().is_some_and(|codec| codec.video_layer_mode() == svc);
    let mut features = request.audio_features.clone();
    let mut add = |wanted: bool, feature: AudioTrackFeature| {
        if wanted && !features.contains(&feature.into()) {
            features.push(feature.into());
        }
    };
    add(request.stereo && !is_video, AudioTrackFeature::TfStereo);
    add(request.disable_dtx && !is_video, AudioTrackFeature::TfNoDtx);
    let policy = match request.backup_codec_policy() {
        proto::BackupCodecPolicy::Regression => proto::BackupCodecPolicy::Regression,
        other if is_video => other,
        proto::BackupCodecPolicy::PreferRegression | proto::BackupCodecPolicy::Simulcast => {
            proto::BackupCodecPolicy::Simulcast
        }
    };
    TrackInfo {
        sid: track_sid(rng, request.r#type(), request.source()),
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast: is_video && !is_svc && layers.len() > 1,
        stereo: features.contains(&AudioTrackFeature::TfStereo.into()),
        disable_dtx: features.contains(&AudioTrackFeature::TfNoDtx.into()),
        source: request.source,
        layers,
        codecs,
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream: stream_of(request),
        audio_features: features,
        backup_codec_policy: policy.into(),
        packet_trailer_features: request.packet_trailer_features.clone(),
        ..TrackInfo::default()
    }
}

/// What belongs together for lip-sync.
fn stream_of(request: &AddTrackRequest) -> String {
    if !request.stream.is_empty() {
        return request.stream.clone();
    }
    match request.source() {
        TrackSource::Camera | TrackSource::Microphone => "camera".to_owned(),
        TrackSource::ScreenShare | TrackSource::ScreenShareAudio => "screen".to_owned(),
        TrackSource::Unknown => "unknown".to_owned(),
    }
}

/// The codecs of an announcement, as far as the client may publish them: what it may not is replaced, and
/// none is there twice (protocol.md §4.3).
fn announced_codecs(
    request: &AddTrackRequest,
    kind: MediaKind,
    abilities: &Abilities,
) -> Vec<AnnouncedCodec> {
    use proto::video_layer::Mode;

    let mut codecs: Vec<AnnouncedCodec> = Vec::new();
    for entry in &request.simulcast_codecs {
        let codec = abilities.choose(kind, &entry.codec);
        if codecs.iter().any(|other| other.codec == codec) {
            continue;
        }
        let mode = match (entry.video_layer_mode(), codec) {
            (Mode::Unused, Codec::Vp9 | Codec::Av1) => Mode::MultipleSpatialLayersPerStream,
            (Mode::Unused, _) if kind == MediaKind::Video => plain_mode(abilities),
            (said, _) => said,
        };
        let names_it = |other: &&proto::SimulcastCodec| {
            Codec::from_name(&other.codec) == Some(codec) && !other.layers.is_empty()
        };
        let own = request.simulcast_codecs.iter().find(names_it);
        let layers = sorted(own.map_or(&request.layers, |own| &own.layers));
        codecs.push(AnnouncedCodec { codec, cid: entry.cid.clone(), mode, layers });
    }
    codecs
}

/// How a codec without layers of its own has them.
fn plain_mode(abilities: &Abilities) -> proto::video_layer::Mode {
    use proto::video_layer::Mode;

    if abilities.incomplete_reports {
        Mode::OneSpatialLayerPerStreamIncompleteRtcpSr
    } else {
        Mode::OneSpatialLayerPerStream
    }
}

fn sorted(layers: &[proto::VideoLayer]) -> Vec<proto::VideoLayer> {
    let mut layers = layers.to_vec();
    layers.truncate(3);
    layers.sort_by_key(|layer| layer.quality);
    layers
}

fn codec_infos(
    request: &AddTrackRequest,
    announced: Vec<AnnouncedCodec>,
    abilities: &Abilities,
) -> Vec<proto::SimulcastCodecInfo> {
    if announced.is_empty() {
        return vec![proto::SimulcastCodecInfo {
            cid: request.cid.clone(),
            layers: sorted(&request.layers),
            video_layer_mode: plain_mode(abilities).into(),
            ..proto::SimulcastCodecInfo::default()
        }];
    }
    let info = |announced: AnnouncedCodec| proto::SimulcastCodecInfo {
        mime_type: announced.codec.mime().to_owned(),
        cid: announced.cid,
        layers: announced.layers,
        video_layer_mode: announced.mode.into(),
        ..proto::SimulcastCodecInfo::default()
    };
    announced.into_iter().map(info).collect()
}

/// A published track.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) id: TrackId,
    pub(crate) publisher: ParticipantKey,
    /// The shard of its publisher.
    pub(crate) home: ShardId,
    /// The client's name for it.
    pub(crate) cid: String,
    pub(crate) info: TrackInfo,
    pub(crate) spec: UpTrackSpec,
    pub(crate) stereo: bool,
    /// The publisher was told that somebody subscribed.
    pub(crate) told_subscribed: bool,
}

impl Publication {
    /// The codec that subscribers get.
    pub(crate) fn codec(&self) -> Codec {
        let fallback = match self.spec.kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        };
        self.spec.codecs.first().map_or(fallback, |codec| codec.codec)
    }

    /// Writes the layers of the first codec where older clients look for them.
    pub(crate) fn copy_layers(&mut self) {
        if let Some(codec) = self.info.codecs.first() {
            self.info.layers.clone_from(&codec.layers);
        }
    }

    pub(crate) fn is_microphone(&self) -> bool {
        self.info.source() == TrackSource::Microphone
    }
}

/// How a shard recognises a track that a section became.
pub(crate) fn spec_of(published: &Published, source: Source, measure_level: bool) -> UpTrackSpec {
    UpTrackSpec {
        source,
        kind: published.kind,
        mid: published.mid.clone(),
        codecs: published.codecs.clone(),
        extensions: published.extensions,
        encodings: published.encodings.clone(),
        nack: published.nack,
        measure_level,
    }
}

/// Fills in what the section says about a track; false if nothing is new.
pub(crate) fn fill_info(info: &mut TrackInfo, published: &Published) -> bool {
    let before = info.clone();
    info.mid.clone_from(&published.mid);
    if let Some(first) = published.codecs.first() {
        first.codec.mime().clone_into(&mut info.mime_type);
    }
    let (mid, mime) = (info.mid.clone(), info.mime_type.clone());
    if let Some(codec) = info.codecs.first_mut() {
        codec.mid = mid;
        codec.mime_type = mime;
        if codec.cid != published.track_cid {
            codec.sdp_cid.clone_from(&published.track_cid);
        }
        for (index, encoding) in (0..).zip(&published.encodings) {
            set_layer(&mut codec.layers, index, encoding.rid.as_deref(), encoding.ssrc);
        }
        info.layers.clone_from(&codec.layers);
    }
    *info != before
}

/// Names the encoding of a layer.
pub(crate) fn set_layer(
    layers: &mut [proto::VideoLayer],
    index: i32,
    rid: Option<&str>,
    ssrc: Option<u32>,
) {
    let position = usize::try_from(index).unwrap_or(usize::MAX);
    let Some(layer) = layers.get_mut(position) else { return };
    layer.spatial_layer = index;
    if let Some(rid) = rid {
        rid.clone_into(&mut layer.rid);
    }
    if let Some(ssrc) = ssrc {
        layer.ssrc = ssrc;
    }
}

#[cfg(test)]
mod tests {
    use hearth_random::{Purpose, Seed};

    use super::*;

    #[test]
    fn announcements_are_checked_in_the_order_of_livekit_server() {
        let all = proto::ParticipantPermission { can_publish: true, ..Default::default() };
        let mic_only = proto::ParticipantPermission {
            can_publish: true,
            can_publish_sources: vec![2],
            ..Default::default()
        };
        let camera = request("c1", TrackSource::Camera);
        let publishing = Publishing::default();
        assert_eq!(publishing.check(&camera, &all, false, false), Ok(()));
        assert_eq!(publishing.check(&camera, &mic_only, false, false), Err(Refusal::NotAllowed));
        assert_eq!(
            publishing.check(&camera, &Default::default(), false, false),
            Err(Refusal::NotAllowed)
        );
        assert_eq!(publishing.check(&camera, &all, true, false), Err(Refusal::Queued));
        let data = AddTrackRequest { r#type: TrackType::Data.into(), ..camera };
        assert_eq!(publishing.check(&data, &all, false, false), Err(Refusal::UnsupportedType));
    }

    #[test]
    fn the_twenty_first_announcement_and_the_fourth_of_a_cid_are_too_many() {
        let all = proto::ParticipantPermission { can_publish: true, ..Default::default() };
        let mut publishing = Publishing::default();
        let camera = request("c", TrackSource::Camera);
        for _ in 0..MAX_QUEUED_PER_CID {
            assert_eq!(publishing.check(&camera, &all, true, false), Err(Refusal::Queued));
            publishing.queued.push(camera.clone());
        }
        assert_eq!(publishing.check(&camera, &all, true, false), Err(Refusal::LimitExceeded));
        let mut rng = Seed::fixed(1).rng(Purpose::Sid);
        for n in 0..MAX_PENDING {
            let request = request(&n.to_string(), TrackSource::Camera);
            publishing.pending.push(Pending::new(&request, &Abilities::default(), &mut rng));
        }
        let next = request("next", TrackSource::Camera);
        assert_eq!(publishing.check(&next, &all, false, false), Err(Refusal::LimitExceeded));
    }

    #[test]
    fn a_camera_with_three_layers_is_simulcast() {
        let layer = |quality| proto::VideoLayer { quality, ..Default::default() };
        let camera = AddTrackRequest {
            layers: vec![layer(2), layer(0), layer(1)],
            ..request("c", TrackSource::Camera)
        };
        let mut rng = Seed::fixed(1).rng(Purpose::Sid);
        let info = Pending::new(&camera, &Abilities::default(), &mut rng).info;
        assert!(info.sid.starts_with("TR_VC"));
        assert_eq!(info.codecs[0].layers.iter().map(|l| l.quality).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(info.stream, "camera");
        assert!(info.simulcast);
    }

    #[test]
    fn a_further_codec_needs_a_track_of_the_client() {
        let all = proto::ParticipantPermission { can_publish: true, ..Default::default() };
        let request = AddTrackRequest { sid: "TR_x".into(), ..request("c", TrackSource::Camera) };
        let publishing = Publishing::default();
        let check = |known| publishing.check(&request, &all, false, known);
        assert_eq!(check(false), Err(Refusal::NotFound));
        assert_eq!(check(true), Err(Refusal::UnsupportedType));
    }

    #[test]
    fn codecs_that_may_not_be_published_are_replaced() {
        let abilities =
            |codecs: &[Codec]| Abilities { codecs: codecs.into(), ..Default::default() };
        let all = abilities(&[Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Opus, Codec::Red]);
        let h264 = abilities(&[Codec::H264, Codec::Opus]);
        // Video or not, what is announced, what becomes of it.
        type Case<'a> = (bool, Abilities, &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 12] = [
            (true, all.clone(), &["vp9", "vp8"], &["video/VP9", "video/VP8"]),
            (true, all.clone(), &["video/VP8"], &["video/VP8"]),
            (true, all.clone(), &["VIDEO/h264"], &["video/H264"]),
            (true, all.clone(), &["av1", "vp8"], &["video/VP8"]),
            (true, all.clone(), &["theora"], &["video/VP8"]),
            (true, all.clone(), &["opus"], &["video/VP8"]),
            (true, all.clone(), &[""], &["video/VP8"]),
            (true, all.clone(), &[], &[""]),
            (true, h264.clone(), &["vp8", "h264"], &["video/H264"]),
            (false, all, &["red"], &["audio/red"]),
            (false, h264, &["red"], &["audio/opus"]),
            (true, Abilities::default(), &["h264"], &["video/VP8"]),
        ];
        for (video, abilities, announced, expect) in cases {
            let kind = if video { TrackType::Video } else { TrackType::Audio };
            let codec = |name: &&str| proto::SimulcastCodec {
                codec: (*name).to_owned(),
                cid: "c".into(),
                ..Default::default()
            };
            let request = AddTrackRequest {
                r#type: kind.into(),
                simulcast_codecs: announced.iter().map(codec).collect(),
                ..request("c", TrackSource::Unknown)
            };
            let pending = Pending::new(&request, &abilities, &mut Seed::fixed(1).rng(Purpose::Sid));
            let mimes: Vec<_> = pending.info.codecs.iter().map(|c| c.mime_type.as_str()).collect();
            assert_eq!(mimes, expect, "{announced:?}");
            let preferred = pending.track.preferred.map_or("", Codec::mime);
            assert_eq!(preferred, expect[0], "{announced:?}");
        }
    }

    #[test]
    fn layers_are_those_of_their_codec_and_their_mode_that_of_the_client() {
        use proto::video_layer::Mode;

        let layer = |quality| proto::VideoLayer { quality, ..Default::default() };
        let codec = |name: &str, layers, mode: Mode| proto::SimulcastCodec {
            codec: name.into(),
            layers,
            video_layer_mode: mode.into(),
            ..Default::default()
        };
        let request = AddTrackRequest {
            layers: vec![layer(2), layer(0)],
            simulcast_codecs: vec![
                codec("vp9", vec![layer(1)], Mode::Unused),
                codec("vp8", Vec::new(), Mode::Unused),
                codec("h264", Vec::new(), Mode::OneSpatialLayerPerStream),
            ],
            ..request("c", TrackSource::Camera)
        };
        let (svc, plain) = (Mode::MultipleSpatialLayersPerStream, Mode::OneSpatialLayerPerStream);
        let obs = Mode::OneSpatialLayerPerStreamIncompleteRtcpSr;
        for (incomplete_reports, mode) in [(false, plain), (true, obs)] {
            let codecs = vec![Codec::Vp8, Codec::Vp9, Codec::H264];
            let abilities = Abilities { codecs, incomplete_reports };
            let info =
                Pending::new(&request, &abilities, &mut Seed::fixed(1).rng(Purpose::Sid)).info;
            let of = |c: &proto::SimulcastCodecInfo| {
                (c.layers.iter().map(|l| l.quality).collect::<Vec<_>>(), c.video_layer_mode())
            };
            let got: Vec<_> = info.codecs.iter().map(of).collect();
            assert_eq!(got, [(vec![1], svc), (vec![0, 2], mode), (vec![0, 2], plain)]);
            assert!(!info.simulcast);
            let bare = AddTrackRequest { simulcast_codecs: Vec::new(), ..request.clone() };
            let info = Pending::new(&bare, &abilities, &mut Seed::fixed(1).rng(Purpose::Sid)).info;
            assert_eq!((info.codecs[0].video_layer_mode(), info.simulcast), (mode, true));
        }
    }

    fn request(cid: &str, source: TrackSource) -> AddTrackRequest {
        AddTrackRequest {
            cid: cid.into(),
            r#type: TrackType::Video.into(),
            source: source.into(),
            ..AddTrackRequest::default()
        }
    }
}
