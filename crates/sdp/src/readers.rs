//! Typed readers of attributes. Values that do not parse are skipped, as RFC 8866 §5.13 asks.

use std::collections::BTreeSet;

use crate::{Attributes, Direction, Media, Session};

/// Longest digest of a fingerprint, in bytes: that of SHA-512.
const MAX_DIGEST: usize = 64;

/// `a=rtpmap:111 opus/48000/2`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpMap<'a> {
    /// Payload type, 0–127.
    pub pt: u8,
    /// Encoding name.
    pub name: &'a str,
    /// Clock rate in Hz.
    pub clock_rate: u32,
    /// Channels, 1 if not said.
    pub channels: u8,
}

/// `a=fmtp:111 minptime=10;useinbandfec=1`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fmtp<'a> {
    /// Payload type, 0–127.
    pub pt: u8,
    /// The rest of the line.
    pub params: &'a str,
}

impl<'a> Fmtp<'a> {
    /// The value of a `key=value` parameter; keys compare in any case.
    pub fn param(&self, key: &str) -> Option<&'a str> {
        self.params
            .split(';')
            .filter_map(|param| param.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case(key))
            .map(|(_, value)| value.trim())
    }
}

/// `a=rtcp-fb:96 nack pli`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtcpFb<'a> {
    /// Payload type; `None` is `*`, all of them.
    pub pt: Option<u8>,
    /// The rest of the line.
    pub value: &'a str,
}

/// `a=extmap:4/sendonly urn:…`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExtMap<'a> {
    /// 1–255; above 14 only for two-byte headers.
    pub id: u8,
    /// If the line restricts it.
    pub direction: Option<Direction>,
    /// The URI of the extension.
    pub uri: &'a str,
}

/// `a=ssrc:1234 cname:x`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SsrcAttribute<'a> {
    /// The SSRC.
    pub ssrc: u32,
    /// `cname`, `msid`, …
    pub name: &'a str,
    /// The value after its colon.
    pub value: Option<&'a str>,
}

/// `a=ssrc-group:FID 1 2`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SsrcGroup<'a> {
    /// `FID`, `SIM`, …
    pub semantics: &'a str,
    /// At most 8.
    pub ssrcs: Vec<u32>,
}

/// `a=rid:q send`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rid<'a> {
    /// Letters, digits, `-` and `_`; at most 255, as a two-byte header extension can carry.
    pub id: &'a str,
    /// `send` rather than `recv`.
    pub sends: bool,
}

/// `a=simulcast:send q;h;f`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Simulcast<'a> {
    /// The RIDs that the author of the description sends, in its order; the first of alternatives, pause marks removed.
    pub send: Vec<&'a str>,
    /// Those of them that are paused (`~`).
    pub paused: Vec<&'a str>,
    /// The RIDs it receives.
    pub recv: Vec<&'a str>,
}

/// `a=fingerprint:sha-256 AB:CD:…` (RFC 8122 §5)
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fingerprint<'a> {
    /// Name of the hash function, in any case.
    pub hash: &'a str,
    /// Hash of the DER certificate, at most 64 bytes; its length need not be that of the function.
    pub digest: Vec<u8>,
}

/// `a=setup` (RFC 5763 §5): which side starts the DTLS handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setup {
    /// The writer does.
    Active,
    /// The other side does.
    Passive,
    /// The other side chooses.
    ActPass,
}

impl Session {
    /// The mids of the first BUNDLE group; `None` if there is none.
    pub fn bundle(&self) -> Option<Vec<&str>> {
        self.bundles().next()
    }

    /// The mids of each BUNDLE group (RFC 8843 §7).
    pub fn bundles(&self) -> impl Iterator<Item = Vec<&str>> {
        self.attributes.values("group").filter_map(|value| {
            let mut words = value.split_ascii_whitespace();
            (words.next() == Some("BUNDLE")).then(|| words.collect())
        })
    }

    /// The direction of a section: what it says itself, else what is said for all, else the default
    /// (RFC 8866 §6.7).
    pub fn direction(&self, media: &Media) -> Direction {
        media.attributes.direction().or_else(|| self.attributes.direction()).unwrap_or_default()
    }
}

impl Media {
    /// `a=mid`
    pub fn mid(&self) -> Option<&str> {
        self.attributes.value("mid")
    }

    /// The direction of the section, as far as it is said there; the default if it says nothing. See
    /// [`Session::direction`].
    pub fn direction(&self) -> Direction {
        self.attributes.direction().unwrap_or_default()
    }

    /// In an offer, neither rejected nor stopped: it has a port, or shares that of its bundle. In an
    /// answer only the port counts (RFC 8843 §6).
    pub fn is_live(&self) -> bool {
        self.port != 0 || self.attributes.has("bundle-only")
    }
}

impl Attributes {
    /// The direction, if it is said here.
    pub fn direction(&self) -> Option<Direction> {
        self.iter()
            .filter(|attribute| attribute.value.is_none())
            .find_map(|attribute| direction_of(&attribute.name))
    }

    /// `a=ice-ufrag` and `a=ice-pwd`, if both are there with a legal length (RFC 8839 §5.4).
    pub fn ice(&self) -> Option<(&str, &str)> {
        let ufrag = self.value("ice-ufrag").filter(|ufrag| (4..=256).contains(&ufrag.len()))?;
        let pwd = self.value("ice-pwd").filter(|pwd| (22..=256).contains(&pwd.len()))?;
        Some((ufrag, pwd))
    }

    /// All `a=fingerprint`.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint<'_>> {
        self.values("fingerprint").filter_map(|value| {
            let (hash, digest) = value.split_once(' ')?;
            Some(Fingerprint { hash, digest: digest_of(digest.trim())? })
        })
    }

    /// `a=setup`
    pub fn setup(&self) -> Option<Setup> {
        match self.value("setup")? {
            "active" => Some(Setup::Active),
            "passive" => Some(Setup::Passive),
            "actpass" => Some(Setup::ActPass),
            _ => None,
        }
    }

    /// Each `candidate:…`, the form in which candidates are trickled.
    pub fn candidates(&self) -> impl Iterator<Item = String> {
        self.values("candidate").map(|value| format!("candidate:{value}"))
    }

    /// Both tokens of the first `a=msid`, of its form for one SSRC, or of the `label` before that; the
    /// second is the whole value if there is only one.
    pub fn msid(&self) -> Option<(&str, &str)> {
        let of_ssrc =
            |name| self.ssrcs().find(|ssrc| ssrc.name == name).and_then(|ssrc| ssrc.value);
        self.value("msid")
            .or_else(|| of_ssrc("msid"))
            .or_else(|| of_ssrc("label"))
            .filter(|value| !value.is_empty())
            .map(|value| value.split_once(' ').unwrap_or((value, value)))
    }

    /// `a=sctp-port`, or the port of `a=sctpmap` before that (draft-ietf-mmusic-sctp-sdp-07 §9).
    pub fn sctp_port(&self) -> Option<u16> {
        let port = self.value("sctp-port").or_else(|| self.value("sctpmap")?.split(' ').next())?;
        port.parse().ok()
    }

    /// `a=max-message-size`
    pub fn max_message_size(&self) -> Option<u64> {
        self.value("max-message-size")?.parse().ok()
    }

    /// All `a=rtpmap`.
    pub fn rtpmaps(&self) -> impl Iterator<Item = RtpMap<'_>> {
        self.values("rtpmap").filter_map(|value| {
            let (pt, rest) = value.split_once(' ')?;
            let mut fields = rest.trim().split('/');
            Some(RtpMap {
                pt: payload_type(pt)?,
                name: fields.next()?,
                clock_rate: fields.next()?.parse().ok()?,
                channels: fields.next().map_or(Some(1), |channels| channels.parse().ok())?,
            })
        })
    }

    /// All `a=fmtp`.
    pub fn fmtps(&self) -> impl Iterator<Item = Fmtp<'_>> {
        self.values("fmtp").filter_map(|value| {
            let (pt, params) = value.split_once(' ')?;
            Some(Fmtp { pt: payload_type(pt)?, params: params.trim() })
        })
    }

    /// All `a=rtcp-fb`.
    pub fn rtcp_fbs(&self) -> impl Iterator<Item = RtcpFb<'_>> {
        self.values("rtcp-fb").filter_map(|value| {
            let (pt, value) = value.split_once(' ')?;
            let pt = if pt == "*" { None } else { Some(payload_type(pt)?) };
            Some(RtcpFb { pt, value: value.trim() })
        })
    }

    /// All `a=extmap` with an id that can be written.
    pub fn extmaps(&self) -> impl Iterator<Item = ExtMap<'_>> {
        self.values("extmap").filter_map(|value| {
            let mut fields = value.split_ascii_whitespace();
            let key = fields.next()?;
            let (id, direction) = match key.split_once('/') {
                Some((id, direction)) => (id, Some(direction_of(direction)?)),
                None => (key, None),
            };
            // RFC 8285 §4.3, §5: those above, up to 4351, ask for an id that the answer chooses.
            let id = id.parse().ok().filter(|&id| id != 0)?;
            Some(ExtMap { id, direction, uri: fields.next()? })
        })
    }

    /// All `a=ssrc`.
    pub fn ssrcs(&self) -> impl Iterator<Item = SsrcAttribute<'_>> {
        self.values("ssrc").filter_map(|value| {
            let (ssrc, rest) = value.split_once(' ').unwrap_or((value, ""));
            let (name, value) = match rest.split_once(':') {
                Some((name, value)) => (name, Some(value)),
                None => (rest, None),
            };
            Some(SsrcAttribute { ssrc: ssrc.parse().ok()?, name, value })
        })
    }

    /// All `a=ssrc-group` whose SSRCs are numbers.
    pub fn ssrc_groups(&self) -> impl Iterator<Item = SsrcGroup<'_>> {
        self.values("ssrc-group").filter_map(|value| {
            let mut fields = value.split_ascii_whitespace();
            let semantics = fields.next()?;
            let ssrcs = fields.take(8).map(|ssrc| ssrc.parse().ok()).collect::<Option<_>>()?;
            Some(SsrcGroup { semantics, ssrcs })
        })
    }

    /// All `a=rid` with a legal id.
    pub fn rids(&self) -> impl Iterator<Item = Rid<'_>> {
        self.values("rid").filter_map(|value| {
            let mut fields = value.split_ascii_whitespace();
            let id = fields.next().filter(|id| is_rid(id))?;
            let sends = match fields.next()? {
                "send" => true,
                "recv" => false,
                _ => return None,
            };
            Some(Rid { id, sends })
        })
    }

    /// `a=simulcast` (RFC 8853 §5.1); also the draft's `rid=` form.
    pub fn simulcast(&self) -> Option<Simulcast<'_>> {
        let mut simulcast = Simulcast::default();
        let mut fields = self.value("simulcast")?.split_ascii_whitespace();
        while let (Some(direction), Some(list)) = (fields.next(), fields.next()) {
            match direction {
                "send" => (simulcast.send, simulcast.paused) = rid_list(list),
                "recv" => (simulcast.recv, _) = rid_list(list),
                _ => return None,
            }
        }
        Some(simulcast)
    }
}

/// At most 16 different ids, and those of them that are marked as paused.
fn rid_list(list: &str) -> (Vec<&str>, Vec<&str>) {
    let mut seen = BTreeSet::new();
    let mut paused = Vec::new();
    let rids = list
        .strip_prefix("rid=")
        .unwrap_or(list)
        .split(';')
        .filter_map(|stream| stream.split(',').next())
        .map(|mark| (mark.trim_start_matches('~'), mark))
        .filter(|(rid, _)| is_rid(rid) && seen.insert(*rid))
        .take(16)
        .inspect(|(rid, mark)| paused.extend(mark.starts_with('~').then_some(*rid)))
        .map(|(rid, _)| rid)
        .collect();
    (rids, paused)
}

fn is_rid(id: &str) -> bool {
    (1..=255).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|&pt: &u8| pt < 128)
}

fn direction_of(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn digest_of(text: &str) -> Option<Vec<u8>> {
    if text.len() > 3 * MAX_DIGEST {
        return None;
    }
    let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |pair| is_byte(pair).then(|| u8::from_str_radix(pair, 16).ok())?;
    text.split(':').map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulcast_lists_are_read_in_every_form() {
        let cases = [
            ("send q;h;f", vec!["q", "h", "f"], vec![], vec![]),
            ("send q;~h;f,g recv x", vec!["q", "h", "f"], vec!["h"], vec!["x"]),
            ("recv ~a send b;b", vec!["b"], vec![], vec!["a"]),
            ("send ~b;b;~", vec!["b"], vec!["b"], vec![]),
            ("send rid=2;1;0", vec!["2", "1", "0"], vec![], vec![]),
            ("send", vec![], vec![], vec![]),
        ];
        for (text, send, paused, recv) in cases {
            let attributes = attributes("simulcast", text);
            let got = attributes.simulcast().unwrap();
            assert_eq!((got.send, got.paused, got.recv), (send, paused, recv), "{text}");
        }
    }

    #[test]
    fn extension_ids_that_cannot_be_written_are_skipped() {
        let cases = [
            ("4 urn:x", Some((4, None))),
            ("8/sendonly urn:x", Some((8, Some(Direction::SendOnly)))),
            ("0 urn:x", None),
            ("1 urn:x", Some((1, None))),
            ("14 urn:x", Some((14, None))),
            ("15 urn:x", Some((15, None))),
            ("255 urn:x", Some((255, None))),
            ("256 urn:x", None),
            ("4096 urn:x", None),
            ("4", None),
            ("4/both urn:x", None),
        ];
        for (text, expect) in cases {
            let got = attributes("extmap", text).extmaps().next().map(|e| (e.id, e.direction));
            assert_eq!(got, expect, "{text}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_whatever_its_hash() {
        let hex = |bytes: usize| vec!["AB"; bytes].join(":");
        let cases = [
            (format!("sha-1 {}", hex(20)), Some(("sha-1", 20))),
            (format!("SHA-256  {}", hex(32).to_lowercase()), Some(("SHA-256", 32))),
            (format!("sha-512 {}", hex(64)), Some(("sha-512", 64))),
            ("md5 AB".to_owned(), Some(("md5", 1))),
            (format!("sha-512 {}", hex(65)), None),
            ("sha-256 AB:C".to_owned(), None),
            ("sha-256 AB:CD:".to_owned(), None),
            ("sha-256 +B:CD".to_owned(), None),
            ("sha-256".to_owned(), None),
        ];
        for (text, expect) in cases {
            let attributes = attributes("fingerprint", &text);
            let got = attributes.fingerprints().next();
            let expect = expect.map(|(hash, len)| Fingerprint { hash, digest: vec![0xab; len] });
            assert_eq!(got, expect, "{text}");
        }
    }

    #[test]
    fn attributes_of_the_session_hold_for_its_sections() {
        let (section, inherits) = ("m=audio 9 P 0\na=recvonly\n", "m=video 9 P 96\n");
        for (session, expect) in [
            ("", [Direction::RecvOnly, Direction::SendRecv]),
            ("a=sendonly\n", [Direction::RecvOnly, Direction::SendOnly]),
            ("a=inactive\n", [Direction::RecvOnly, Direction::Inactive]),
            ("a=sendonly:x\n", [Direction::RecvOnly, Direction::SendRecv]),
        ] {
            let text = format!("v=0\n{session}{section}{inherits}");
            let session = Session::parse(&text).unwrap();
            let got: Vec<_> = session.media.iter().map(|m| session.direction(m)).collect();
            assert_eq!(got, expect, "{text}");
        }
    }

    #[test]
    fn every_bundle_is_read() {
        let text = "v=0\na=group:LS a b\na=group:BUNDLEX c\na=group:BUNDLE 0 1\na=group:BUNDLE\n";
        let session = Session::parse(text).unwrap();
        assert_eq!(session.bundles().collect::<Vec<_>>(), [vec!["0", "1"], vec![]]);
        assert_eq!(session.bundle(), Some(vec!["0", "1"]));
    }

    /// The least and the most that the standards allow, and one beyond.
    #[test]
    fn bounds_are_those_of_the_standards() {
        let ice = |ufrag: usize, pwd: usize| {
            let mut attributes = attributes("ice-ufrag", &"u".repeat(ufrag));
            attributes.push("ice-pwd", "p".repeat(pwd));
            attributes.ice().is_some()
        };
        for (ufrag, pwd, legal) in [
            (3, 22, false),
            (4, 22, true),
            (256, 256, true),
            (257, 256, false),
            (4, 21, false),
            (4, 257, false),
        ] {
            assert_eq!(ice(ufrag, pwd), legal, "{ufrag} {pwd}");
        }
        for (pt, legal) in [("0", true), ("127", true), ("128", false), ("-1", false)] {
            let line = format!("{pt} VP8/90000");
            assert_eq!(attributes("rtpmap", &line).rtpmaps().count(), usize::from(legal), "{pt}");
        }
        for (len, legal) in [(1, true), (16, true), (17, true), (255, true), (256, false)] {
            let line = format!("{} send", "r".repeat(len));
            assert_eq!(attributes("rid", &line).rids().count(), usize::from(legal), "{len}");
        }
        for (ssrc, legal) in [("0", true), ("4294967295", true), ("4294967296", false)] {
            let line = format!("{ssrc} cname:x");
            assert_eq!(attributes("ssrc", &line).ssrcs().count(), usize::from(legal), "{ssrc}");
        }
        for (name, value, port) in [
            ("sctp-port", "0", Some(0)),
            ("sctp-port", "65535", Some(65_535)),
            ("sctp-port", "65536", None),
            ("sctpmap", "5000 webrtc-datachannel 1024", Some(5_000)),
        ] {
            assert_eq!(attributes(name, value).sctp_port(), port, "{value}");
        }
    }

    #[test]
    fn the_track_of_an_msid_is_its_second_token() {
        let cases = [
            (("msid", "s t"), Some("t")),
            (("msid", "only"), Some("only")),
            (("msid", "- t"), Some("t")),
            (("ssrc", "1 msid:s t"), Some("t")),
            (("ssrc", "1 label:t"), Some("t")),
            (("ssrc", "1 mslabel:s"), None),
            (("ssrc", "1 cname:s"), None),
        ];
        for ((name, value), track) in cases {
            assert_eq!(attributes(name, value).msid().map(|msid| msid.1), track, "{value}");
        }
    }

    #[test]
    fn codec_lines_are_read() {
        let mut attributes = attributes("rtpmap", "111 opus/48000/2");
        attributes.push("rtpmap", "128 no/1");
        attributes.push("fmtp", "111 minptime=10; UseInbandFec=1");
        attributes.push("rtcp-fb", "* nack pli");
        let map = attributes.rtpmaps().collect::<Vec<_>>();
        assert_eq!(map, [RtpMap { pt: 111, name: "opus", clock_rate: 48_000, channels: 2 }]);
        assert_eq!(attributes.fmtps().next().unwrap().param("useinbandfec"), Some("1"));
        let feedback = attributes.rtcp_fbs().next().unwrap();
        assert_eq!(feedback, RtcpFb { pt: None, value: "nack pli" });
    }

    fn attributes(name: &str, value: &str) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.push(name, value);
        attributes
    }
}
