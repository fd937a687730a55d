//! The client's side of a negotiation over one peer connection: our offers, the server's answers.
//!
//! * **Owns:** the sections of the connection: one for data, then those that send, then those that
//!   receive; sections are only ever added.
//! * **In:** tracks to publish, how many tracks are to be received, answers.
//! * **Out:** [`Description::offer`], [`Answer`].
//! * **Invariant:** a section keeps its place and its payload types for good.
//! * **Spec:** RFC 8829 (JSEP), RFC 8853 (simulcast), RFC 8843 (bundle).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hearth_codec::Codec;
use hearth_plane::{DtlsRole, Fingerprint, IceCredentials, RemoteParams};
use hearth_rtp::ExtensionIds;
use hearth_sdp::{Attributes, Direction, Media, MediaType, Origin, Session, Setup};
use hearth_units::MediaKind;

/// RIDs of the encodings, lowest first, as every LiveKit client names them.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

const MID: (u8, &str) = (1, "urn:ietf:params:rtp-hdrext:sdes:mid");
const RID: (u8, &str) = (2, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id");
const REPAIRED_RID: (u8, &str) = (3, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id");
const AUDIO_LEVEL: (u8, &str) = (4, "urn:ietf:params:rtp-hdrext:ssrc-audio-level");
const TRANSPORT_CC: (u8, &str) =
    (5, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01");

/// Codec, payload type, that of its retransmissions, parameters; in order of preference.
const AUDIO: &[(Codec, u8, Option<u8>, &str)] =
    &[(Codec::Opus, 111, None, "minptime=10;useinbandfec=1")];
const VIDEO: &[(Codec, u8, Option<u8>, &str)] = &[
    (Codec::Vp8, 96, Some(97), ""),
    (
        Codec::H264,
        102,
        Some(103),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
];

/// Why an answer is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// It is not SDP.
    #[error("the server's answer is no session description: {0}")]
    Sdp(#[from] hearth_sdp::ParseError),
    /// No ICE credentials or no certificate.
    #[error("the server's answer lacks {0}")]
    Lacks(&'static str),
}

/// A track to publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Published {
    /// Our name for it.
    pub(crate) cid: String,
    pub(crate) codec: Codec,
    /// SSRC and that of the retransmissions, lowest encoding first; more than one is simulcast.
    pub(crate) ssrcs: Vec<(u32, u32)>,
}

/// The use of a section.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Section {
    Data,
    Send(Published),
    Receive(MediaKind),
}

/// Our description of the connection.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    ice: IceCredentials,
    fingerprint: Fingerprint,
    origin: Origin,
    sections: Vec<Section>,
}

/// The result of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) remote: RemoteParams,
    pub(crate) candidates: Vec<String>,
    /// Sections that send, as agreed.
    pub(crate) sends: Vec<AgreedTrack>,
    /// Sections that receive a track.
    pub(crate) receives: Vec<Receive>,
}

/// A published track as agreed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AgreedTrack {
    pub(crate) cid: String,
    pub(crate) mid: String,
    pub(crate) pt: u8,
    pub(crate) rtx_pt: Option<u8>,
    pub(crate) extensions: ExtensionIds,
}

/// A received track.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Receive {
    pub(crate) mid: String,
    pub(crate) kind: MediaKind,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    /// From the msid; the map beside the answer is equal.
    pub(crate) track_sid: String,
}

impl Description {
    /// `session` is a random number for the `o=` line.
    pub(crate) fn new(ice: IceCredentials, fingerprint: Fingerprint, session: u64) -> Self {
        let origin = Origin { session: session >> 1, version: 0 };
        Self { ice, fingerprint, origin, sections: vec![Section::Data] }
    }

    /// Our credentials.
    pub(crate) fn ice(&self) -> &IceCredentials {
        &self.ice
    }

    /// How many sections there are.
    pub(crate) fn sections(&self) -> usize {
        self.sections.len()
    }

    /// Publishes a track from the next offer on.
    pub(crate) fn publish(&mut self, track: Published) {
        self.sections.push(Section::Send(track));
    }

    /// Receives `count` more tracks of a kind from the next offer on.
    pub(crate) fn receive(&mut self, kind: MediaKind, count: usize) {
        self.sections.extend(std::iter::repeat_n(Section::Receive(kind), count));
    }

    /// The next offer.
    pub(crate) fn offer(&mut self) -> String {
        self.origin.version += 1;
        let mut attributes = Attributes::default();
        let mids: Vec<String> = (0..self.sections.len()).map(|mid| mid.to_string()).collect();
        attributes.push("group", format_args!("BUNDLE {}", mids.join(" ")));
        attributes.push_flag("extmap-allow-mixed");
        attributes.push("msid-semantic", "WMS");
        let media = self.sections.iter().zip(&mids).map(|(section, mid)| self.media(section, mid));
        Session { origin: self.origin, attributes, media: media.collect() }.to_string()
    }

    /// Reads the answer to the last offer.
    pub(crate) fn read_answer(&self, sdp: &str) -> Result<Answer, AnswerError> {
        let session = Session::parse(sdp)?;
        let places = || {
            std::iter::once(&session.attributes).chain(session.media.iter().map(|m| &m.attributes))
        };
        let lacks = AnswerError::Lacks;
        let (ufrag, pwd) =
            places().find_map(Attributes::ice).ok_or_else(|| lacks("ICE credentials"))?;
        let digest = places()
            .flat_map(Attributes::fingerprints)
            .find(|fingerprint| fingerprint.hash.eq_ignore_ascii_case("sha-256"))
            .and_then(|fingerprint| fingerprint.digest.try_into().ok())
            .ok_or_else(|| lacks("a sha-256 fingerprint"))?;
        let role = match places().find_map(Attributes::setup) {
            Some(Setup::Active) => DtlsRole::Server,
            Some(_) | None => DtlsRole::Client,
        };
        let ice = IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() };
        let mut answer = Answer {
            remote: RemoteParams { ice, fingerprints: Fingerprint(digest).into(), role },
            candidates: places().flat_map(Attributes::candidates).collect(),
            sends: Vec::new(),
            receives: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for media in session.media.iter().filter(|media| media.is_live()) {
            if !seen.insert(media.mid()) {
                continue;
            }
            let section = self
                .sections
                .iter()
                .enumerate()
                .find(|(n, _)| media.mid().is_some_and(|mid| *mid == n.to_string()));
            match section {
                Some((_, Section::Send(track))) => answer.sends.extend(agreed(track, media)),
                Some((_, Section::Receive(kind))) => answer.receives.extend(received(*kind, media)),
                Some((_, Section::Data)) | None => {}
            }
        }
        Ok(answer)
    }

    fn media(&self, section: &Section, mid: &str) -> Media {
        let (kind, proto, formats) = match section {
            Section::Data => (MediaType::Application, "UDP/DTLS/SCTP", &[][..]),
            Section::Send(track) if track.codec.kind() == MediaKind::Audio => {
                (MediaType::Audio, "UDP/TLS/RTP/SAVPF", AUDIO)
            }
            Section::Receive(MediaKind::Audio) => (MediaType::Audio, "UDP/TLS/RTP/SAVPF", AUDIO),
            Section::Send(_) | Section::Receive(MediaKind::Video) => {
                (MediaType::Video, "UDP/TLS/RTP/SAVPF", VIDEO)
            }
        };
        let attributes = Attributes::default();
        let proto = proto.to_owned();
        let mut media = Media { kind, port: 9, proto, formats: Vec::new(), attributes };
        self.push_transport(&mut media.attributes, mid);
        match section {
            Section::Data => {
                media.formats.push("webrtc-datachannel".to_owned());
                media.attributes.push("sctp-port", 5000);
                media.attributes.push("max-message-size", 65_535);
            }
            Section::Send(track) => {
                media.attributes.push_flag(Direction::SendOnly.as_str());
                push_rtp(&mut media, formats.iter().filter(|format| format.0 == track.codec));
                push_streams(&mut media.attributes, track);
            }
            Section::Receive(_) => {
                media.attributes.push_flag(Direction::RecvOnly.as_str());
                push_rtp(&mut media, formats.iter());
            }
        }
        media
    }

    fn push_transport(&self, attributes: &mut Attributes, mid: &str) {
        attributes.push("ice-ufrag", &self.ice.ufrag);
        attributes.push("ice-pwd", &self.ice.pwd);
        attributes.push("ice-options", "trickle");
        let mut hex = String::with_capacity(95);
        for byte in self.fingerprint.0 {
            let colon = if hex.is_empty() { "" } else { ":" };
            // Writing to a String cannot fail.
            let _ = write!(hex, "{colon}{byte:02X}");
        }
        attributes.push("fingerprint", format_args!("sha-256 {hex}"));
        attributes.push("setup", "actpass");
        attributes.push("mid", mid);
    }
}

/// Codecs and header extensions of a section.
fn push_rtp<'a>(
    media: &mut Media,
    formats: impl Iterator<Item = &'a (Codec, u8, Option<u8>, &'a str)>,
) {
    let video = media.kind == MediaType::Video;
    let attributes = &mut media.attributes;
    attributes.push_flag("rtcp-mux");
    attributes.push_flag("rtcp-rsize");
    let by_kind = if video { &[RID, REPAIRED_RID][..] } else { &[AUDIO_LEVEL] };
    for (id, uri) in [MID, TRANSPORT_CC].iter().chain(by_kind) {
        attributes.push("extmap", format_args!("{id} {uri}"));
    }
    for (codec, pt, rtx_pt, fmtp) in formats {
        let channels = if video { "" } else { "/2" };
        let (name, rate) = (codec.name(), codec.clock_rate());
        media.formats.push(pt.to_string());
        attributes.push("rtpmap", format_args!("{pt} {name}/{rate}{channels}"));
        let feedback: &[&str] = if video {
            &["transport-cc", "ccm fir", "nack", "nack pli"]
        } else {
            &["transport-cc"]
        };
        for name in feedback {
            attributes.push("rtcp-fb", format_args!("{pt} {name}"));
        }
        if !fmtp.is_empty() {
            attributes.push("fmtp", format_args!("{pt} {fmtp}"));
        }
        if let Some(rtx_pt) = rtx_pt {
            media.formats.push(rtx_pt.to_string());
            attributes.push("rtpmap", format_args!("{rtx_pt} rtx/{rate}"));
            attributes.push("fmtp", format_args!("{rtx_pt} apt={pt}"));
        }
    }
}

/// How a published track's packets are recognised: by RID, or by SSRC if there is one encoding.
fn push_streams(attributes: &mut Attributes, track: &Published) {
    let cid = &track.cid;
    attributes.push("msid", format_args!("{cid} {cid}"));
    match track.ssrcs.as_slice() {
        [(ssrc, rtx)] => {
            let rtx = (track.codec.kind() == MediaKind::Video).then_some(rtx);
            if let Some(rtx) = rtx {
                attributes.push("ssrc-group", format_args!("FID {ssrc} {rtx}"));
            }
            for ssrc in std::iter::once(ssrc).chain(rtx) {
                attributes.push("ssrc", format_args!("{ssrc} cname:{cid}"));
                attributes.push("ssrc", format_args!("{ssrc} msid:{cid} {cid}"));
            }
        }
        encodings => {
            let rids: Vec<&str> = RIDS.into_iter().take(encodings.len()).collect();
            for rid in &rids {
                attributes.push("rid", format_args!("{rid} send"));
            }
            attributes.push("simulcast", format_args!("send {}", rids.join(";")));
        }
    }
}

/// The encodings and codec of a published track that the server accepts.
fn agreed(track: &Published, media: &Media) -> Option<AgreedTrack> {
    let attributes = &media.attributes;
    let pt = attributes
        .rtpmaps()
        .find(|map| Codec::from_name(map.name) == Some(track.codec))
        .map(|map| map.pt)?;
    let mut extensions = ExtensionIds::default();
    for ext in attributes.extmaps() {
        let slot = match ext.uri {
            uri if uri == MID.1 => &mut extensions.mid,
            uri if uri == RID.1 => &mut extensions.rid,
            uri if uri == REPAIRED_RID.1 => &mut extensions.repaired_rid,
            uri if uri == AUDIO_LEVEL.1 => &mut extensions.audio_level,
            uri if uri == TRANSPORT_CC.1 => &mut extensions.transport_cc,
            _ => continue,
        };
        *slot = Some(ext.id);
    }
    let apt = |fmtp: &hearth_sdp::Fmtp<'_>| fmtp.param("apt").and_then(|apt| apt.parse().ok());
    let rtx_pt = attributes.fmtps().find(|fmtp| apt(fmtp) == Some(pt)).map(|fmtp| fmtp.pt);
    Some(AgreedTrack {
        cid: track.cid.clone(),
        mid: media.mid()?.to_owned(),
        pt,
        rtx_pt,
        extensions,
    })
}

/// The track that the server sends in a section of ours, if any.
fn received(kind: MediaKind, media: &Media) -> Option<Receive> {
    let attributes = &media.attributes;
    if !media.direction().sends() {
        return None;
    }
    let ssrc = attributes.ssrcs().next()?.ssrc;
    let group = attributes.ssrc_groups().find(|group| group.semantics == "FID");
    let (ssrc, rtx_ssrc) = match group.as_ref().map(|group| group.ssrcs.as_slice()) {
        Some([media, rtx, ..]) => (*media, Some(*rtx)),
        Some(_) | None => (ssrc, None),
    };
    let track_sid = attributes.msid().map(|(_, track)| track.to_owned()).unwrap_or_default();
    Some(Receive { mid: media.mid()?.to_owned(), kind, ssrc, rtx_ssrc, track_sid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let ice = IceCredentials { ufrag: "abcd".into(), pwd: "p".repeat(24) };
        let mut description = Description::new(ice, Fingerprint([0xab; 32]), 77);
        description.publish(Published {
            cid: "cam".into(),
            codec: Codec::Vp8,
            ssrcs: vec![(1, 2), (3, 4), (5, 6)],
        });
        description.publish(Published {
            cid: "mic".into(),
            codec: Codec::Opus,
            ssrcs: vec![(7, 8)],
        });
        description.receive(MediaKind::Video, 2);
        description
    }

    #[test]
    fn an_offer_says_what_is_sent_and_what_can_be_received() {
        let mut description = description();
        let session = Session::parse(&description.offer()).unwrap();
        assert_eq!(session.bundle(), Some(vec!["0", "1", "2", "3", "4"]));
        let [data, cam, mic, first, second] = session.media.as_slice() else { panic!() };
        assert_eq!(data.attributes.sctp_port(), Some(5000));
        assert_eq!(cam.attributes.simulcast().unwrap().send, RIDS);
        assert_eq!(cam.attributes.ssrcs().count(), 0);
        assert_eq!(mic.attributes.ssrcs().next().unwrap().ssrc, 7);
        assert_eq!(cam.direction(), Direction::SendOnly);
        assert_eq!(
            (first.direction(), second.direction()),
            (Direction::RecvOnly, Direction::RecvOnly)
        );
        let names: Vec<_> = first.attributes.rtpmaps().map(|map| map.name.to_owned()).collect();
        assert_eq!(names, ["VP8", "rtx", "H264", "rtx"]);
        let again = Session::parse(&description.offer()).unwrap();
        assert_eq!((again.origin.session, again.origin.version), (session.origin.session, 2));
    }

    #[test]
    fn an_answer_names_the_streams_to_receive_and_what_may_be_sent() {
        let description = description();
        let sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
            a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
            a=group:BUNDLE 0 1 3 4\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=setup:passive\r\na=mid:0\r\n\
            a=ice-ufrag:wxyz\r\na=ice-pwd:0123456789012345678901\r\n\
            a=candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n\
            a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:3\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n\
            a=ssrc-group:FID 11 12\r\na=ssrc:12 cname:x\r\na=ssrc:11 cname:x\r\na=msid:PA_a|TR_b TR_b\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:4\r\na=inactive\r\na=rtpmap:96 VP8/90000\r\n";
        let answer = description.read_answer(sdp).unwrap();
        assert_eq!(
            (answer.remote.role, answer.remote.ice.ufrag.as_str()),
            (DtlsRole::Client, "wxyz")
        );
        assert_eq!(answer.candidates.len(), 1);
        let [send] = answer.sends.as_slice() else { panic!("{answer:?}") };
        assert_eq!((send.cid.as_str(), send.pt, send.rtx_pt), ("cam", 96, Some(97)));
        assert_eq!(send.extensions.rid, Some(2));
        let [receive] = answer.receives.as_slice() else { panic!("{answer:?}") };
        assert_eq!(
            (receive.ssrc, receive.rtx_ssrc, receive.track_sid.as_str()),
            (11, Some(12), "TR_b")
        );
        let active = sdp.replace("setup:passive", "setup:active");
        assert_eq!(description.read_answer(&active).unwrap().remote.role, DtlsRole::Server);
        let without = sdp.replace("a=ice-ufrag:wxyz\r\n", "");
        assert_eq!(description.read_answer(&without), Err(AnswerError::Lacks("ICE credentials")));
    }
}
