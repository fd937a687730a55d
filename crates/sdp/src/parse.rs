//! Parsing: text to model.

use crate::{Attribute, Media, MediaType, Origin, Session};

/// Most bytes in a description: as much as a signal message may have. Chromium takes about 5 KiB for
/// a video section of an offer, so this is enough for some 400 of them.
pub const MAX_TEXT: usize = 2 * 1024 * 1024;

/// Most sections in a description: audio and video of 1,000 others in one connection.
pub const MAX_MEDIA: usize = 2_048;

/// Most attributes at session level, and in one section. Chromium's video section has 170, plus
/// its candidates.
pub const MAX_ATTRIBUTES: usize = 2048;

/// Most formats in one section: there are 128 payload types.
pub const MAX_FORMATS: usize = 128;

/// Why a text is not a session description.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// More than [`MAX_TEXT`] bytes.
    #[error("more than {MAX_TEXT} bytes")]
    TooLarge,
    /// More than [`MAX_MEDIA`] sections.
    #[error("more than {MAX_MEDIA} sections")]
    TooManySections,
    /// More than [`MAX_ATTRIBUTES`] in one place.
    #[error("more than {MAX_ATTRIBUTES} attributes in one section")]
    TooManyAttributes,
    /// More than [`MAX_FORMATS`] in one section.
    #[error("more than {MAX_FORMATS} formats in one section")]
    TooManyFormats,
    /// The first line is not `v=0`.
    #[error("does not begin with v=0")]
    Version,
    /// Not `x=…`.
    #[error("line {line} is malformed")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// An `m=` line without kind, port, protocol and a format.
    #[error("line {line} is not a valid media line")]
    MediaLine {
        /// Counted from 1.
        line: usize,
    },
}

impl Session {
    /// Reads a description. Lines end with CRLF, and with LF or CR alone, too (RFC 8866 §5).
    ///
    /// Lines other than `o=`, `m=` and `a=` carry nothing for WebRTC and are skipped; so are attributes
    /// with a control character, which none that is read here has.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLarge);
        }
        let mut session = Self::default();
        let mut begun = false;
        let lines = text.split('\n').enumerate();
        let lines = lines.flat_map(|(n, line)| line.split('\r').map(move |part| (n, part)));
        for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let number = index.saturating_add(1);
            let malformed = ParseError::Line { line: number };
            if !begun {
                if line.trim_end() != "v=0" {
                    return Err(ParseError::Version);
                }
                begun = true;
                continue;
            }
            match line.split_once('=').ok_or(malformed)? {
                ("o", value) if session.media.is_empty() => session.origin = origin(value),
                ("m", value) => session.push_media(value, number)?,
                ("a", value) if value.contains(is_control) => {}
                ("a", value) => session.push_attribute(value)?,
                (kind, _) if kind.len() == 1 => {}
                _ => return Err(malformed),
            }
        }
        if begun { Ok(session) } else { Err(ParseError::Version) }
    }

    fn push_media(&mut self, value: &str, line: usize) -> Result<(), ParseError> {
        if self.media.len() >= MAX_MEDIA {
            return Err(ParseError::TooManySections);
        }
        let malformed = ParseError::MediaLine { line };
        if value.contains(is_control) {
            return Err(malformed);
        }
        let mut fields = value.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(proto)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(malformed);
        };
        // `9/2` is a range of ports (RFC 8866 §5.14), of which WebRTC uses one.
        let port = port.split('/').next().unwrap_or_default().parse().map_err(|_| malformed)?;
        let formats: Vec<String> =
            fields.by_ref().take(MAX_FORMATS).map(ToOwned::to_owned).collect();
        if fields.next().is_some() {
            return Err(ParseError::TooManyFormats);
        }
        if formats.is_empty() {
            return Err(malformed);
        }
        self.media.push(Media {
            kind: MediaType::from(kind),
            port,
            proto: proto.to_owned(),
            formats,
            attributes: crate::Attributes::default(),
        });
        Ok(())
    }

    fn push_attribute(&mut self, value: &str) -> Result<(), ParseError> {
        let attributes = match self.media.last_mut() {
            Some(media) => &mut media.attributes,
            None => &mut self.attributes,
        };
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(ParseError::TooManyAttributes);
        }
        let (name, value) = match value.split_once(':') {
            Some((name, value)) => (name, Some(value.trim().to_owned())),
            None => (value.trim_end(), None),
        };
        attributes.push_attribute(Attribute { name: name.to_owned(), value });
        Ok(())
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

fn origin(value: &str) -> Origin {
    let mut fields = value.split_ascii_whitespace().skip(1);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).unwrap_or(0);
    Origin { session: number(), version: number() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Direction;

    const SMALL: &str = "v=0\r\no=- 42 7 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=msid:stream track\r\na=ssrc:1 cname:x\r\n\
        m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=bundle-only\r\n";

    #[test]
    fn a_description_is_read_with_every_line_end() {
        let crlf = Session::parse(SMALL).unwrap();
        for end in ["\n", "\r", "\r\r\n", "\n\n"] {
            assert_eq!(Session::parse(&SMALL.replace("\r\n", end)).unwrap(), crlf, "{end:?}");
        }
        assert_eq!(crlf.origin, Origin { session: 42, version: 7 });
        assert_eq!(crlf.bundle(), Some(vec!["0", "1"]));
        assert_eq!(crlf.media.len(), 2);
        assert_eq!(crlf.media[0].direction(), Direction::SendOnly);
        assert_eq!(crlf.media[1].port, 0);
        assert!(crlf.media[1].attributes.has("bundle-only"));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let session = Session::parse(SMALL).unwrap();
        assert_eq!(Session::parse(&session.to_string()).unwrap(), session);
    }

    #[test]
    fn limits_are_errors() {
        let head = "v=0\n";
        let cases = [
            (String::new(), ParseError::Version),
            ("s=-\n".to_owned(), ParseError::Version),
            (format!("{head}{}", "x".repeat(MAX_TEXT)), ParseError::TooLarge),
            (format!("{head}{}", "m=audio 9 P 0\n".repeat(2049)), ParseError::TooManySections),
            (format!("{head}{}", "a=x\n".repeat(2049)), ParseError::TooManyAttributes),
            (format!("{head}m=audio 9 P{}\n", " 0".repeat(129)), ParseError::TooManyFormats),
            (format!("{head}m=audio 9 P\n"), ParseError::MediaLine { line: 2 }),
            (format!("{head}m=audio 99999 P 0\n"), ParseError::MediaLine { line: 2 }),
            (format!("{head}m=audio 9 P 0\u{1}\n"), ParseError::MediaLine { line: 2 }),
            (format!("{head}hello\n"), ParseError::Line { line: 2 }),
        ];
        for (text, error) in cases {
            assert_eq!(Session::parse(&text), Err(error), "{:.40}", text);
        }
        assert!(Session::parse(&format!("{head}{}", "m=audio 9 P 0\n".repeat(2048))).is_ok());
    }

    #[test]
    fn legal_lines_that_are_not_used_are_no_errors() {
        let head = "v=0 \n";
        let cases = [
            "i=\u{e9}\u{1}\n",
            "k=prompt\nb=AS:512\nz=0 0\nr=7d 1h 0\n",
            "a=x:\u{7f}\na=charset:ISO-8859-1\na=\n",
            "m=audio 49170/2 RTP/AVP 0 8\na=ptime:20\n",
            "m=message 7 TCP/MSRP *\nm=text 9 RTP/AVP 98\nm=image 9 udptl t38\n",
        ];
        for lines in cases {
            assert!(Session::parse(&format!("{head}{lines}")).is_ok(), "{lines}");
        }
        let ranged = Session::parse(&format!("{head}{}", cases[3])).unwrap();
        assert_eq!((ranged.media[0].port, ranged.media[0].formats.len()), (49_170, 2));
        let control = Session::parse(&format!("{head}{}", cases[2])).unwrap();
        assert!(!control.attributes.has("x") && control.attributes.has("charset"));
    }

    #[test]
    fn a_description_cut_anywhere_does_not_panic() {
        for end in 0..SMALL.len() {
            if let Ok(session) = Session::parse(&SMALL[..end]) {
                read_everything(&session);
            }
        }
    }

    #[test]
    fn noise_does_not_panic() {
        // Lines of a real description with bytes exchanged by a small generator.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let alphabet = b"\n\n:;,/= 0123456789abmfrtsdix~-_";
        let mut parsed = 0;
        for _ in 0..20_000 {
            let mut bytes = SMALL.as_bytes().to_vec();
            for _ in 0..next() % 6 {
                let at = usize::try_from(next()).unwrap() % bytes.len();
                bytes[at] = alphabet[usize::try_from(next()).unwrap() % alphabet.len()];
            }
            if let Ok(session) = Session::parse(&String::from_utf8(bytes).unwrap()) {
                parsed += 1;
                read_everything(&session);
                // What is kept survives being written.
                assert_eq!(Session::parse(&session.to_string()).unwrap(), session);
            }
        }
        assert!(parsed > 5_000, "{parsed}");
    }

    fn read_everything(session: &Session) {
        let _ = (session.bundle(), session.attributes.ice(), session.attributes.setup());
        for media in &session.media {
            let a = &media.attributes;
            let _ = (
                session.direction(media),
                media.mid(),
                a.msid(),
                a.ice(),
                a.setup(),
                a.sctp_port(),
            );
            let _ = (a.fingerprints().count(), a.candidates().count(), a.rids().count());
            let _ = (a.rtpmaps().count(), a.fmtps().count(), a.rtcp_fbs().count());
            let _ = (a.extmaps().count(), a.ssrcs().count(), a.ssrc_groups().count());
            let _ = (a.simulcast(), a.max_message_size());
        }
    }
}
