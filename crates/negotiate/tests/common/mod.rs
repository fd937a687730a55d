//! A client whose descriptions a test writes.
#![expect(dead_code, reason = "each test file uses its part")]

use hearth_codec::Codec;
use hearth_negotiate::{LocalTransport, Sender};
use hearth_plane::{DownId, Fingerprint, IceCredentials, RoomId};
use hearth_units::MediaKind;

pub(crate) const VIDEO: &str = "video";
pub(crate) const AUDIO: &str = "audio";

/// Sections with one bundle; mids count from 0.
pub(crate) struct Client {
    pub(crate) sections: Vec<Section>,
}

pub(crate) struct Section {
    pub(crate) kind: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) port: u16,
    pub(crate) extra: String,
}

impl Client {
    pub(crate) fn new(directions: &[&'static str]) -> Self {
        let mut client = Self { sections: Vec::new() };
        directions.iter().for_each(|direction| client.add(direction));
        client
    }

    pub(crate) fn add(&mut self, direction: &'static str) {
        self.add_kind(VIDEO, direction);
    }

    pub(crate) fn add_kind(&mut self, kind: &'static str, direction: &'static str) {
        self.sections.push(Section { kind, direction, port: 9, extra: String::new() });
    }

    pub(crate) fn offer(&self) -> String {
        let live = |(n, s): (usize, &Section)| {
            (s.port != 0 || s.extra.contains("bundle-only")).then(|| format!(" {n}"))
        };
        let bundle: String = self.sections.iter().enumerate().filter_map(live).collect();
        let mut sdp = format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE{bundle}\r\n\
             a=fingerprint:sha-256 {}\r\n",
            ["AB"; 32].join(":")
        );
        for (mid, section) in self.sections.iter().enumerate() {
            let Section { kind, direction, port, extra } = section;
            let (pts, body) = if *kind == VIDEO { VIDEO_LINES } else { AUDIO_LINES };
            sdp += &format!(
                "m={kind} {port} UDP/TLS/RTP/SAVPF {pts}\r\na=mid:{mid}\r\na={direction}\r\n\
                 a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\na=setup:actpass\r\n\
                 {}{extra}",
                body.replace('\n', "\r\n")
            );
        }
        sdp
    }
}

const VIDEO_LINES: (&str, &str) = (
    "96 97 98 99 100 102 114 108 116 45 46",
    "a=rtpmap:96 VP8/90000
a=rtcp-fb:* goog-remb
a=rtcp-fb:* transport-cc
a=rtcp-fb:* ccm fir
a=rtcp-fb:* nack
a=rtcp-fb:* nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:98 VP9/90000
a=fmtp:98 profile-id=0
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rtpmap:100 VP9/90000
a=fmtp:100 profile-id=2
a=rtpmap:102 H264/90000
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:114 H264/90000
a=fmtp:114 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f
a=rtpmap:108 H264/90000
a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:116 H264/90000
a=fmtp:116 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f
a=rtpmap:45 AV1/90000
a=rtpmap:46 rtx/90000
a=fmtp:46 apt=45
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension
",
);

const AUDIO_LINES: (&str, &str) = (
    "111 63 9 0 8",
    "a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1;stereo=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtcp-fb:* nack
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
",
);

pub(crate) fn id(n: u32) -> DownId {
    DownId { room: RoomId(1), n }
}

pub(crate) fn video_sender(n: u32) -> Sender {
    sender(n, Codec::Vp8)
}

pub(crate) fn sender(n: u32, codec: Codec) -> Sender {
    Sender {
        id: id(n),
        kind: codec.kind(),
        codec,
        ssrc: 1_000 + n,
        rtx_ssrc: (codec.kind() == MediaKind::Video).then_some(2_000 + n),
        stream_id: format!("PA_a|TR_{n}"),
        track_id: format!("TR_{n}"),
        stereo: false,
    }
}

pub(crate) fn local() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials { ufrag: "00abcdefghijklmn".into(), pwd: "p".repeat(32) },
        fingerprint: Fingerprint([0xab; 32]),
        ice_lite: true,
    }
}
