//! Writes the parts of sections that our offers and answers share.

use std::fmt::Write;

use hearth_plane::Fingerprint;
use hearth_sdp::{Attributes, Direction, Media, MediaType, Origin, Session};
use hearth_units::MediaKind;

use crate::{LocalTransport, Sender, codecs::Format};

/// The format of a section for data channels.
const DATA_CHANNELS: &str = "webrtc-datachannel";
const ROUND_TRIPS: &str = "rcvr-rtt=all";
const RTP_PROTO: &str = "UDP/TLS/RTP/SAVPF";

/// Both ends' port on a data channel (RFC 8841 §5).
const SCTP_PORT: u16 = 5_000;

/// Largest message on a data channel that we take, in bytes; livekit-server's number.
const MAX_MESSAGE_SIZE: u32 = 65_535;

/// Numbers for the `o=` line of one connection's descriptions.
#[derive(Debug, Default)]
pub(crate) struct OriginCounter(Origin);

impl OriginCounter {
    /// The origin line of the next description. The session id is derived from the first ufrag, which is random.
    pub(crate) fn next(&mut self, local: &LocalTransport) -> Origin {
        if self.0.version == 0 {
            // FNV-1a, 63 bits.
            let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            self.0.session = local.ice.ufrag.bytes().fold(0xcbf2_9ce4_8422_2325, fnv) >> 1;
        }
        self.0.version = self.0.version.saturating_add(1);
        self.0
    }

    /// Whether there was a description.
    pub(crate) const fn begun(&self) -> bool {
        self.0.version != 0
    }
}

/// A description without sections.
pub(crate) fn session(origin: Origin, local: &LocalTransport, mixed: bool) -> Session {
    let mut attributes = Attributes::default();
    attributes.push("msid-semantic", "WMS *");
    attributes.push("fingerprint", format_args!("sha-256 {}", colon_hex(local.fingerprint)));
    if local.ice_lite {
        attributes.push_flag("ice-lite");
    }
    if mixed {
        attributes.push_flag("extmap-allow-mixed");
    }
    Session { origin, attributes, media: Vec::new() }
}

/// States the bundle.
pub(crate) fn push_bundle(session: &mut Session, mids: &[&str]) {
    if !mids.is_empty() {
        session.attributes.push("group", format_args!("BUNDLE {}", mids.join(" ")));
    }
}

/// The transport of a section for RTP under DTLS: what RFC 9429 §5.1.2 has implementations accept.
/// Those that do not name DTLS mean it only if there is a fingerprint.
pub(crate) fn is_rtp(session: &Attributes, media: &Media) -> bool {
    let prefixes = ["UDP/TLS/", "UDP/DTLS/", "TCP/TLS/", "TCP/DTLS/"];
    let profile = prefixes.iter().find_map(|prefix| media.proto.strip_prefix(prefix));
    match profile {
        Some(profile) => matches!(profile, "RTP/SAVPF" | "RTP/SAVP"),
        None => {
            let known = ["RTP/SAVPF", "RTP/SAVP", "RTP/AVPF", "RTP/AVP"];
            let has = |attributes: &Attributes| attributes.has("fingerprint");
            known.contains(&media.proto.as_str()) && (has(session) || has(&media.attributes))
        }
    }
}

/// A section for data channels, in the form of RFC 8841 or of draft-ietf-mmusic-sctp-sdp before 21.
pub(crate) fn is_data(media: &Media) -> bool {
    media.kind == MediaType::Application
        && matches!(media.proto.as_str(), "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP" | "DTLS/SCTP")
        && (has_data_channels(media) || old_sctp_port(media).is_some())
}

fn has_data_channels(media: &Media) -> bool {
    media.formats.iter().any(|format| format == DATA_CHANNELS)
}

/// The old form has the SCTP port as its format.
fn old_sctp_port(media: &Media) -> Option<u16> {
    media.formats.first()?.parse().ok()
}

/// A section for data channels.
pub(crate) fn data(mid: &str, local: &LocalTransport) -> Media {
    let mut media = Media {
        kind: MediaType::Application,
        port: 9,
        proto: "UDP/DTLS/SCTP".to_owned(),
        formats: vec![DATA_CHANNELS.to_owned()],
        attributes: Attributes::default(),
    };
    push_transport(&mut media.attributes, Some(mid), local, "actpass");
    push_data(&mut media);
    media
}

/// The answer to a section for data channels, in the form of the offer.
pub(crate) fn data_answer(offered: &Media, local: &LocalTransport, setup: &str) -> Media {
    let mut media = Media {
        kind: MediaType::Application,
        port: 9,
        proto: offered.proto.clone(),
        formats: vec![DATA_CHANNELS.to_owned()],
        attributes: Attributes::default(),
    };
    push_transport(&mut media.attributes, offered.mid(), local, setup);
    match old_sctp_port(offered).filter(|_| !has_data_channels(offered)) {
        None => push_data(&mut media),
        Some(port) => {
            media.formats = vec![port.to_string()];
            media.attributes.push_flag(Direction::SendRecv.as_str());
            media.attributes.push("sctpmap", format_args!("{port} {DATA_CHANNELS} 1024"));
            media.attributes.push("max-message-size", MAX_MESSAGE_SIZE);
        }
    }
    media
}

fn push_data(media: &mut Media) {
    media.attributes.push_flag(Direction::SendRecv.as_str());
    media.attributes.push("sctp-port", SCTP_PORT);
    media.attributes.push("max-message-size", MAX_MESSAGE_SIZE);
}

/// An audio or video section, up to its codecs.
pub(crate) fn rtp(
    kind: MediaKind,
    mid: Option<&str>,
    local: &LocalTransport,
    setup: &str,
    formats: &[Format],
) -> Media {
    let kind = match kind {
        MediaKind::Audio => MediaType::Audio,
        MediaKind::Video => MediaType::Video,
    };
    let proto = RTP_PROTO.to_owned();
    let attributes = Attributes::default();
    let mut media = Media { kind, port: 9, proto, formats: Vec::new(), attributes };
    push_transport(&mut media.attributes, mid, local, setup);
    media.attributes.push_flag("rtcp-mux");
    media.attributes.push_flag("rtcp-rsize");
    formats.iter().for_each(|format| push_format(&mut media, format));
    media
}

/// Lets the other side measure round trips though it only receives (RFC 3611 §5.1): it knows then when to
/// ask for a packet again. An answer says so only if the offer did.
pub(crate) fn push_round_trips(attributes: &mut Attributes) {
    attributes.push("rtcp-xr", ROUND_TRIPS);
}

/// Whether a section of an offer has it.
pub(crate) fn has_round_trips(attributes: &Attributes) -> bool {
    attributes.values("rtcp-xr").flat_map(str::split_whitespace).any(|format| format == ROUND_TRIPS)
}

/// The refusal of a section, with its own words.
pub(crate) fn rejected(offered: &Media) -> Media {
    let mut media = Media {
        kind: offered.kind.clone(),
        port: 0,
        proto: offered.proto.clone(),
        formats: offered.formats.iter().take(1).cloned().collect(),
        attributes: Attributes::default(),
    };
    if let Some(mid) = offered.mid() {
        media.attributes.push("mid", mid);
    }
    media.attributes.push_flag(Direction::Inactive.as_str());
    media
}

/// Declares the streams of a sender.
pub(crate) fn push_sender(attributes: &mut Attributes, sender: &Sender, rtx: bool) {
    let Sender { stream_id, track_id, ssrc, .. } = sender;
    let rtx_ssrc = sender.rtx_ssrc.filter(|_| rtx);
    if let Some(rtx_ssrc) = rtx_ssrc {
        attributes.push("ssrc-group", format_args!("FID {ssrc} {rtx_ssrc}"));
    }
    for ssrc in [Some(*ssrc), rtx_ssrc].into_iter().flatten() {
        attributes.push("ssrc", format_args!("{ssrc} cname:{stream_id}"));
        attributes.push("ssrc", format_args!("{ssrc} msid:{stream_id} {track_id}"));
    }
    attributes.push("msid", format_args!("{stream_id} {track_id}"));
}

fn push_transport(
    attributes: &mut Attributes,
    mid: Option<&str>,
    local: &LocalTransport,
    setup: &str,
) {
    attributes.push("setup", setup);
    if let Some(mid) = mid {
        attributes.push("mid", mid);
    }
    attributes.push("ice-ufrag", &local.ice.ufrag);
    attributes.push("ice-pwd", &local.ice.pwd);
}

fn push_format(media: &mut Media, format: &Format) {
    let Format { pt, rtx_pt, fmtp, feedback, .. } = format;
    media.formats.push(pt.to_string());
    media.attributes.push("rtpmap", format_args!("{pt} {}", format.rtpmap()));
    if let Some(fmtp) = fmtp {
        media.attributes.push("fmtp", format_args!("{pt} {fmtp}"));
    }
    for name in feedback.names() {
        media.attributes.push("rtcp-fb", format_args!("{pt} {name}"));
    }
    if let Some(rtx_pt) = rtx_pt {
        media.formats.push(rtx_pt.to_string());
        media.attributes.push("rtpmap", format_args!("{rtx_pt} rtx/90000"));
        media.attributes.push("fmtp", format_args!("{rtx_pt} apt={pt}"));
    }
}

fn colon_hex(fingerprint: Fingerprint) -> String {
    let mut text = String::with_capacity(95);
    for (index, byte) in fingerprint.0.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}
