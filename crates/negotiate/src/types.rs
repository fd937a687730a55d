//! Input and output types of answerer and offerer.

use hearth_codec::Codec;
use hearth_plane::{DownId, EncodingSpec, Fingerprint, IceCredentials, ReceiveCodec, SendCodec};
use hearth_rtp::ExtensionIds;
use hearth_units::MediaKind;

/// Our end of the transport, as descriptions state it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalTransport {
    /// Current ICE credentials; others than before make the description an ICE restart.
    pub ice: IceCredentials,
    /// Of the node's certificate.
    pub fingerprint: Fingerprint,
    /// Says `a=ice-lite`.
    pub ice_lite: bool,
}

/// Which peer connection of a client an [`Answerer`](crate::Answerer) answers for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnswererKind {
    /// The client's publishing connection beside a subscriber connection; never sends media.
    Publisher,
    /// The client's only connection: carries both directions.
    Single,
}

/// Workarounds for this client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientQuirks {
    /// RED is not put first.
    pub firefox: bool,
    /// A section that carried a track is not used for another one: Safari, and protocols up to 3.
    pub single_use_sections: bool,
    /// Ignores the order of codecs in answers: a published video section keeps only one codec.
    pub one_video_codec: bool,
    /// Never accepted in published sections.
    pub disabled_publish: Vec<Codec>,
    /// Never sent to this client.
    pub disabled_subscribe: Vec<Codec>,
    /// Left out by the server's configuration: neither agreed on nor sent.
    pub not_enabled: Vec<Codec>,
}

/// The parts of `ClientInfo` that workarounds depend on; names compare
/// in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTraits<'a> {
    /// `Firefox`, `Safari`, …
    pub browser: &'a str,
    /// Such as `18.4`.
    pub browser_version: &'a str,
    /// `Linux`, `Android`, …
    pub os: &'a str,
    /// Such as `Xiaomi 2201117TI`.
    pub device_model: &'a str,
}

impl ClientQuirks {
    /// The treatment of a client (livekit-server: `pkg/clientconfiguration/conf.go`).
    pub fn detect(client: ClientTraits<'_>) -> Self {
        let firefox = client.browser.to_ascii_lowercase().contains("firefox");
        let safari = client.browser.eq_ignore_ascii_case("safari");
        let os = client.os.to_ascii_lowercase();
        let unordered = firefox && (os.contains("linux") || os.contains("android"));
        let xiaomi = os == "android" && client.device_model.eq_ignore_ascii_case(XIAOMI);
        let mut disabled_publish = Vec::new();
        disabled_publish.extend((unordered || xiaomi).then_some(Codec::H264));
        disabled_publish.extend(safari.then_some(Codec::Av1));
        let vp9_safari = safari && version_of(client.browser_version) > [18, 3];
        disabled_publish.extend(vp9_safari.then_some(Codec::Vp9));
        Self {
            firefox,
            single_use_sections: safari,
            one_video_codec: unordered,
            disabled_publish,
            disabled_subscribe: if safari { vec![Codec::Av1] } else { Vec::new() },
            not_enabled: Vec::new(),
        }
    }
}

/// Its H.264 encoder cannot be used.
const XIAOMI: &str = "xiaomi 2201117ti";

/// Major and minor number; what is not a number counts as 0.
fn version_of(text: &str) -> [u32; 2] {
    let mut fields = text.split('.');
    [(); 2].map(|()| fields.next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// One `AddTrackRequest` whose section has not been seen yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PendingTrack {
    /// The client's name for it.
    pub cid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The codec named by the request, if any. For audio: `None` means RED or Opus.
    pub preferred: Option<Codec>,
    /// Its `simulcast_codecs`.
    pub simulcast: Vec<SimulcastCid>,
    /// `TF_STEREO`.
    pub stereo: bool,
    /// `TF_NO_DTX`.
    pub no_dtx: bool,
    /// RED must not be used.
    pub disable_red: bool,
}

impl PendingTrack {
    /// A track with nothing special about it.
    pub fn new(cid: impl Into<String>, kind: MediaKind) -> Self {
        Self {
            cid: cid.into(),
            kind,
            preferred: None,
            simulcast: Vec::new(),
            stereo: false,
            no_dtx: false,
            disable_red: false,
        }
    }
}

/// One entry of `AddTrackRequest.simulcast_codecs`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SimulcastCid {
    /// The client's name for the track in this codec; may be empty.
    pub cid: String,
    /// `None` if the name is not one we know.
    pub codec: Option<Codec>,
}

/// The negotiated result of a published track's section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// The section.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Second token of the section's msid; differs from `pending_cid` if matched by kind.
    pub track_cid: String,
    /// The `cid` of the [`PendingTrack`] that was matched.
    pub pending_cid: String,
    /// Index of that track in the list given with this call; `None` if an earlier call matched it.
    pub pending: Option<usize>,
    /// In the answer's order; the first is the track's codec.
    pub codecs: Vec<ReceiveCodec>,
    /// Lowest first, 1 to 3.
    pub encodings: Vec<EncodingSpec>,
    /// Generic NACK was agreed.
    pub nack: bool,
    /// All extensions agreed on this connection (ids are the same in all sections).
    pub extensions: ExtensionIds,
}

/// A track that the client is to get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sender {
    /// Our name for the subscription.
    pub id: DownId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codec of the track.
    pub codec: Codec,
    /// To be declared.
    pub ssrc: u32,
    /// To be declared if RTX is agreed on.
    pub rtx_ssrc: Option<u32>,
    /// First msid token and CNAME, `PA_…|TR_…`.
    pub stream_id: String,
    /// Second msid token, `TR_…`.
    pub track_id: String,
    /// Opus in stereo.
    pub stereo: bool,
}

/// A sender that has a section in the agreed description.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bound {
    /// Which.
    pub sender: DownId,
    /// Its section.
    pub mid: String,
    /// The codecs that may be sent, one entry each; the track's codec (or its replacement) first.
    pub codecs: Vec<SendCodec>,
    /// Extensions agreed for the section.
    pub extensions: ExtensionIds,
}

/// The section that speaks for its bundle (RFC 8843 §7.1.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaggedSection {
    /// Its mid.
    pub mid: String,
    /// Its position in the description, from 0.
    pub index: u32,
}

/// Why a description of the client was refused. Nothing has changed then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NegotiateError {
    /// It is not SDP.
    #[error("invalid session description: {0}")]
    Sdp(#[from] hearth_sdp::ParseError),
    /// No ICE user fragment and password of legal length.
    #[error("no ICE credentials")]
    NoIceCredentials,
    /// No certificate fingerprint with SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512.
    #[error("no certificate fingerprint with a known hash function")]
    NoFingerprint,
    /// The client wants the other end of the DTLS handshake than it had.
    #[error("setup contradicts the DTLS roles of the connection")]
    Setup,
    /// An answer without an offer.
    #[error("no offer is outstanding")]
    NoOfferOutstanding,
    /// An answer's sections are not those of the offer.
    #[error("the answer does not match the offer")]
    AnswerMismatch,
}
