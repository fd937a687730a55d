//! Codecs and payload types: those a section offers, those we offer, and those kept in an answer.

use std::collections::BTreeMap;

use hearth_codec::Codec;
use hearth_plane::{ReceiveCodec, SendCodec};
use hearth_sdp::{Fmtp, Media};

use crate::{ClientQuirks, Sender};

/// Feedback (`a=rtcp-fb`) of one payload type, as far as we take part in it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Feedback {
    pub(crate) transport_cc: bool,
    pub(crate) fir: bool,
    pub(crate) nack: bool,
    pub(crate) pli: bool,
}

impl Feedback {
    /// The video formats that we offer to send.
    pub(crate) const SENDING: Self = Self { transport_cc: false, fir: true, nack: true, pli: true };

    fn add(&mut self, value: &str) {
        match value {
            "transport-cc" => self.transport_cc = true,
            "ccm fir" => self.fir = true,
            "nack" => self.nack = true,
            "nack pli" => self.pli = true,
            _ => {}
        }
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.transport_cc, "transport-cc"),
            (self.fir, "ccm fir"),
            (self.nack, "nack"),
            (self.pli, "nack pli"),
        ]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
    }
}

/// A payload type with all that a section says about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) pt: u8,
    pub(crate) rtx_pt: Option<u8>,
    pub(crate) fmtp: Option<String>,
    pub(crate) feedback: Feedback,
}

impl Format {
    /// The value of `a=rtpmap` after the payload type.
    pub(crate) fn rtpmap(&self) -> String {
        let channels = if matches!(self.codec, Codec::Opus | Codec::Red) { "/2" } else { "" };
        format!("{}/{}{channels}", self.codec.name(), self.codec.clock_rate())
    }

    fn param(&self, key: &str) -> Option<&str> {
        let params = self.fmtp.as_deref()?;
        Fmtp { pt: self.pt, params }.param(key)
    }

    /// Preference of the profile, 0 first; `None` only where there is no better one.
    fn rank(&self) -> Option<u8> {
        let plain = |key, value| match self.param(key) {
            None => Some(0),
            Some(got) => (got == value).then_some(0),
        };
        match self.codec {
            Codec::Vp9 => plain("profile-id", "0"),
            Codec::Av1 => plain("profile", "0"),
            Codec::H265 => plain("profile-id", "1"),
            Codec::H264 => {
                let single_nal = self.param("packetization-mode") != Some("1");
                let profile = self.param("profile-level-id").unwrap_or("420010");
                let baseline = profile.get(..2) == Some("42");
                let constrained = profile.get(2..3).is_some_and(|c| c.eq_ignore_ascii_case("e"));
                let rank = u8::from(!constrained) | (u8::from(single_nal) << 1);
                baseline.then_some(rank)
            }
            Codec::Vp8 | Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => Some(0),
        }
    }
}

/// The payload types of a section that we can use: codecs in the section's order, within a codec
/// the best profile first. Other profiles than the usual are left out if the usual is there.
pub(crate) fn formats_of(media: &Media, disabled: &[Codec]) -> Vec<Format> {
    let mut by_codec: Vec<(Codec, Vec<Format>)> = Vec::new();
    let kind = match media.kind {
        hearth_sdp::MediaType::Audio => hearth_units::MediaKind::Audio,
        hearth_sdp::MediaType::Video => hearth_units::MediaKind::Video,
        hearth_sdp::MediaType::Application | hearth_sdp::MediaType::Other(_) => return Vec::new(),
    };
    for format in all_formats(media) {
        if format.codec.kind() != kind || disabled.contains(&format.codec) {
            continue;
        }
        match by_codec.iter_mut().find(|(codec, _)| *codec == format.codec) {
            Some((_, formats)) => formats.push(format),
            None => by_codec.push((format.codec, vec![format])),
        }
    }
    for (_, formats) in &mut by_codec {
        if formats.iter().any(|format| format.rank().is_some()) {
            formats.retain(|format| format.rank().is_some());
            formats.sort_by_key(Format::rank);
        } else {
            formats.truncate(1);
        }
    }
    let mut formats: Vec<Format> = by_codec.into_iter().flat_map(|(_, formats)| formats).collect();
    let opus: Vec<u8> = pts(&formats, Codec::Opus);
    formats.retain(|format| format.codec != Codec::Red || is_red_of(format, &opus));
    formats
}

fn pts(formats: &[Format], codec: Codec) -> Vec<u8> {
    formats.iter().filter(|format| format.codec == codec).map(|format| format.pt).collect()
}

/// RFC 2198 §5: `111/111` names the payload types inside.
fn is_red_of(format: &Format, opus: &[u8]) -> bool {
    let inner = format.fmtp.as_deref().and_then(|params| params.split('/').next());
    inner.and_then(|pt| pt.trim().parse().ok()).is_some_and(|pt| opus.contains(&pt))
}

fn all_formats(media: &Media) -> Vec<Format> {
    let attributes = &media.attributes;
    // Of several lines about one payload type the first counts.
    let mut maps = BTreeMap::new();
    for map in attributes.rtpmaps() {
        maps.entry(map.pt).or_insert(map);
    }
    let mut fmtps = BTreeMap::new();
    for fmtp in attributes.fmtps() {
        fmtps.entry(fmtp.pt).or_insert(fmtp);
    }
    let mut feedback: BTreeMap<u8, Feedback> = BTreeMap::new();
    let mut feedback_of_all = Vec::new();
    for fb in attributes.rtcp_fbs() {
        match fb.pt {
            Some(pt) => feedback.entry(pt).or_default().add(fb.value),
            None => feedback_of_all.push(fb.value),
        }
    }
    // RFC 5761 §4: 64–95 would be taken for RTCP.
    let usable: Vec<u8> = media
        .formats
        .iter()
        .filter_map(|format| format.parse().ok())
        .filter(|pt: &u8| *pt < 64 || (96..128).contains(pt))
        .collect();
    let mut rtx = BTreeMap::new();
    for pt in &usable {
        let is_rtx = maps.get(pt).is_some_and(|map| map.name.eq_ignore_ascii_case("rtx"));
        let apt = fmtps.get(pt).and_then(|fmtp| fmtp.param("apt")?.parse::<u8>().ok());
        if let (true, Some(apt)) = (is_rtx, apt) {
            rtx.entry(apt).or_insert(*pt);
        }
    }
    let mut formats: Vec<Format> = Vec::new();
    for pt in usable {
        let (name, clock_rate) = match (maps.get(&pt), pt) {
            (Some(map), _) => (map.name, map.clock_rate),
            // Static payload types need no rtpmap (RFC 3551 §6).
            (None, 0) => ("PCMU", 8_000),
            (None, 8) => ("PCMA", 8_000),
            (None, _) => continue,
        };
        let known = Codec::from_name(name).filter(|codec| codec.clock_rate() == clock_rate);
        let Some(codec) = known.filter(|_| formats.iter().all(|format| format.pt != pt)) else {
            continue;
        };
        let mut feedback = feedback.get(&pt).copied().unwrap_or_default();
        feedback_of_all.iter().for_each(|value| feedback.add(value));
        formats.push(Format {
            codec,
            pt,
            rtx_pt: rtx.get(&pt).copied(),
            fmtp: fmtps.get(&pt).map(|fmtp| fmtp.params.to_owned()),
            feedback,
        });
    }
    formats
}

/// Moves a codec to the front; the rest keeps its order.
pub(crate) fn prefer(formats: &mut [Format], codec: Codec) {
    formats.sort_by_key(|format| format.codec != codec);
}

/// The formats as a publisher may send them.
pub(crate) fn receive_codecs(formats: &[Format]) -> Vec<ReceiveCodec> {
    let receive = |format: &Format| ReceiveCodec {
        codec: format.codec,
        pt: format.pt,
        rtx_pt: format.rtx_pt,
    };
    formats.iter().map(receive).collect()
}

/// The formats as the sender may use them, one a codec, its own (or Opus instead of RED) first.
/// Empty if the client cannot receive the track.
pub(crate) fn send_codecs(formats: &[Format], sender: &Sender) -> Vec<SendCodec> {
    let mut codecs: Vec<SendCodec> = Vec::new();
    for format in formats {
        if codecs.iter().all(|codec| codec.codec != format.codec) {
            let rtx_pt = format.rtx_pt.filter(|_| sender.rtx_ssrc.is_some());
            codecs.push(SendCodec { codec: format.codec, pt: format.pt, rtx_pt });
        }
    }
    let has = |codec| codecs.iter().any(|c| c.codec == codec);
    let first = if has(sender.codec) {
        sender.codec
    } else if sender.codec == Codec::Red && has(Codec::Opus) {
        Codec::Opus
    } else {
        return Vec::new();
    };
    codecs.sort_by_key(|codec| codec.codec != first);
    codecs
}

/// The formats offered for a track that we send: its own codec for video, every codec for audio.
pub(crate) fn offered(sender: &Sender, quirks: &ClientQuirks) -> Vec<Format> {
    let codecs = match sender.kind {
        hearth_units::MediaKind::Video => vec![sender.codec],
        hearth_units::MediaKind::Audio => {
            vec![Codec::Opus, Codec::Red, Codec::Pcmu, Codec::Pcma]
        }
    };
    let enabled = codecs.iter().copied().filter(|codec| {
        !quirks.not_enabled.contains(codec) && !quirks.disabled_subscribe.contains(codec)
    });
    let mut formats: Vec<Format> = enabled.map(|codec| table(codec, sender)).collect();
    if formats.is_empty() {
        // A section needs a format; what the client cannot take it will refuse by itself.
        formats.extend(codecs.into_iter().map(|codec| table(codec, sender)));
    }
    formats
}

fn table(codec: Codec, sender: &Sender) -> Format {
    let (pt, fmtp) = match codec {
        Codec::Opus if sender.stereo => (111, "minptime=10;useinbandfec=1;sprop-stereo=1"),
        Codec::Opus => (111, "minptime=10;useinbandfec=1"),
        Codec::Red => (63, "111/111"),
        Codec::Pcmu => (0, ""),
        Codec::Pcma => (8, ""),
        Codec::Vp8 => (96, ""),
        Codec::Vp9 => (98, "profile-id=0"),
        Codec::H264 => {
            (108, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
        }
        Codec::Av1 => (35, ""),
        Codec::H265 => (116, ""),
    };
    let video = codec.kind() == hearth_units::MediaKind::Video;
    Format {
        codec,
        pt,
        rtx_pt: (video && sender.rtx_ssrc.is_some()).then(|| u8::saturating_add(pt, 1)),
        fmtp: (!fmtp.is_empty()).then(|| fmtp.to_owned()),
        feedback: if video { Feedback::SENDING } else { Feedback::default() },
    }
}

/// How the Opus of a section is to be sent to us, or is sent by us.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct OpusOptions {
    pub(crate) stereo: bool,
    pub(crate) no_dtx: bool,
    pub(crate) sends_stereo: bool,
}

/// The client's Opus parameters as our answer states them.
///
/// Without stereo and with DTX the result is the same for every section of an answer: one payload
/// type must not mean two things in a bundle.
pub(crate) fn answer_opus(offered: Option<&str>, options: OpusOptions) -> String {
    const OURS: [&str; 4] = ["usedtx", "stereo", "sprop-stereo", "maxaveragebitrate"];
    let theirs = offered.unwrap_or_default().split(';').map(str::trim).filter(|param| {
        let key = param.split('=').next().unwrap_or_default();
        !key.is_empty() && !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(key))
    });
    let mut params: Vec<&str> = theirs.collect();
    if !options.no_dtx {
        params.push("usedtx=1");
    }
    if options.stereo {
        params.extend(["stereo=1", "maxaveragebitrate=510000"]);
    }
    if options.sends_stereo {
        params.push("sprop-stereo=1");
    }
    params.join(";")
}
