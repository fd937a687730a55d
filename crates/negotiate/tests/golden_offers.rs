//! Offers of real clients are answered, section for section.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::Path;

use hearth_codec::Codec;
use hearth_negotiate::{
    Answer, Answerer, AnswererKind, ClientQuirks, ClientTraits, LocalTransport, PendingTrack,
    Sender,
};
use hearth_plane::{DownId, Fingerprint, IceCredentials, RoomId};
use hearth_sdp::{Direction, Session};
use hearth_units::MediaKind;

#[test]
fn every_offer_is_answered_with_the_same_sections_and_bundle() {
    let mut seen = 0;
    for (name, offer) in goldens() {
        let answer = single().handle_offer(&offer, &[], &local()).unwrap();
        let (offer, text) = (Session::parse(&offer).unwrap(), &answer.sdp);
        let parsed = Session::parse(text).unwrap();
        assert_eq!(mids(&parsed), mids(&offer), "{name}");
        assert_eq!(parsed.bundle(), offer.bundle(), "{name}");
        assert!(parsed.media.iter().all(|media| media.port == 9), "{name}");
        assert_eq!(text.matches("a=setup:passive\r\n").count(), offer.media.len(), "{name}");
        assert!(answer.has_data, "{name}");
        assert_eq!(parsed.to_string(), *text, "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn round_trips_may_be_measured_where_the_offer_says_so() {
    let mut seen = [0, 0];
    for (name, offer) in goldens() {
        let answer = single().handle_offer(&offer, &[], &local()).unwrap();
        let (offer, answer) =
            (Session::parse(&offer).unwrap(), Session::parse(&answer.sdp).unwrap());
        for (offered, answered) in offer.media.iter().zip(&answer.media) {
            let value = offered.attributes.value("rtcp-xr");
            assert_eq!(answered.attributes.value("rtcp-xr"), value, "{name}");
            seen[usize::from(value.is_some())] += 1;
        }
    }
    assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
}

#[test]
fn a_join_offer_takes_three_tracks_of_each_kind_and_asks_for_the_fourth() {
    for (name, offer) in goldens() {
        // Captures later than the join have sections of the client's own.
        if !name.contains("offer") {
            continue;
        }
        let mut answerer = single();
        for n in 0..4 {
            answerer.add_sender(sender(n, Codec::Vp8));
            answerer.add_sender(sender(10 + n, Codec::Opus));
        }
        let answer = answerer.handle_offer(&offer, &[], &local()).unwrap();
        assert_eq!(answer.bound.len(), 6, "{name}");
        assert_eq!(answer.mid_to_track_id.len(), 6, "{name}");
        assert_eq!(answerer.sections_needed(), Some((1, 1)), "{name}");
        assert_eq!(answerer.sections_needed(), None, "{name}");
    }
}

#[test]
fn a_firefox_offer_with_own_tracks_is_matched_and_answered() {
    let offer = golden("firefox-publishing.sdp");
    let mut mic = PendingTrack::new("{21c232b0-831a-44a4-a203-ae7c5d8835d2}", MediaKind::Audio);
    mic.no_dtx = true;
    let mut cam = PendingTrack::new("another", MediaKind::Video);
    cam.preferred = Some(Codec::Vp8);
    let quirks = ClientQuirks::detect(ClientTraits {
        browser: "Firefox",
        os: "Linux",
        ..Default::default()
    });
    let mut answerer = Answerer::new(AnswererKind::Single, quirks);
    let answer = answerer.handle_offer(&offer, &[cam, mic], &local()).unwrap();

    let [mic, cam] = &*answer.published else { panic!("{:?}", answer.published) };
    assert_eq!((mic.mid.as_str(), mic.pending), ("7", Some(1)));
    assert_eq!((cam.mid.as_str(), cam.pending), ("8", Some(0)));
    assert_eq!(mic.codecs[0].codec, Codec::Opus);
    assert!(cam.codecs.iter().all(|codec| codec.codec == Codec::Vp8));
    let rids: Vec<_> = cam.encodings.iter().map(|e| e.rid.as_deref().unwrap()).collect();
    assert_eq!(rids, ["q", "h", "f"]);
    assert_eq!((cam.extensions.mid, cam.extensions.rid), (Some(3), Some(9)));
    assert_eq!(section(&answer, "7").direction(), Direction::RecvOnly);
    assert_eq!(section(&answer, "8").port, 9);
}

#[test]
fn a_chromium_publisher_connection_is_matched_and_answered() {
    let offer = golden("chromium-dual-publisher.sdp");
    let mic = PendingTrack::new("d2e0f656-e9ee-4cf9-8880-4707ce9a2eb7", MediaKind::Audio);
    let cam = PendingTrack::new("813b2bd6-a534-4a2f-ad49-3bb11dd0322e", MediaKind::Video);
    let mut answerer = Answerer::new(AnswererKind::Publisher, ClientQuirks::default());
    let answer = answerer.handle_offer(&offer, &[mic, cam], &local()).unwrap();

    let [mic, cam] = &*answer.published else { panic!("{:?}", answer.published) };
    let codecs: Vec<_> = mic.codecs.iter().map(|codec| (codec.codec, codec.pt)).collect();
    let expect = [(Codec::Red, 63), (Codec::Opus, 111), (Codec::Pcmu, 0), (Codec::Pcma, 8)];
    assert_eq!(codecs, expect);
    assert_eq!((cam.codecs[0].codec, cam.codecs[0].pt), (Codec::Vp8, 96));
    assert_eq!(cam.codecs[0].rtx_pt, Some(97));
    assert!(cam.nack);
    let attributes = &section(&answer, "1").attributes;
    let fmtp = attributes.fmtps().find(|fmtp| fmtp.pt == 111).unwrap();
    assert_eq!(fmtp.params, "minptime=10;useinbandfec=1;usedtx=1");
    assert_eq!(section(&answer, "2").attributes.simulcast().unwrap().recv, ["q", "h", "f"]);
}

#[test]
fn a_golden_offer_cut_anywhere_is_an_error_or_an_answer() {
    for (_, offer) in goldens() {
        for end in (0..offer.len()).step_by(101) {
            let _ = single().handle_offer(&offer[..end], &[], &local());
        }
    }
}

#[test]
fn a_golden_offer_with_lines_exchanged_is_an_error_or_an_answer() {
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for (_, offer) in goldens() {
        for _ in 0..40 {
            let mut lines: Vec<&str> = offer.lines().collect();
            for _ in 0..20 {
                let (a, b) = (1 + next(lines.len() - 1), 1 + next(lines.len() - 1));
                lines.swap(a, b);
            }
            let text = lines.join("\n");
            let mut answerer = single();
            answerer.add_sender(sender(1, Codec::Vp8));
            let tracks = [PendingTrack::new("x", MediaKind::Audio)];
            for _ in 0..2 {
                if let Ok(answer) = answerer.handle_offer(&text, &tracks, &local()) {
                    let offered = Session::parse(&text).unwrap();
                    assert_eq!(mids(&Session::parse(&answer.sdp).unwrap()), mids(&offered));
                }
            }
        }
    }
}

fn goldens() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

fn golden(name: &str) -> String {
    goldens().into_iter().find(|(n, _)| n == name).unwrap().1
}

fn mids(session: &Session) -> Vec<Option<&str>> {
    session.media.iter().map(|media| media.mid()).collect()
}

fn section(answer: &Answer, mid: &str) -> hearth_sdp::Media {
    let session = Session::parse(&answer.sdp).unwrap();
    session.media.into_iter().find(|media| media.mid() == Some(mid)).unwrap()
}

fn single() -> Answerer {
    Answerer::new(AnswererKind::Single, ClientQuirks::default())
}

fn sender(n: u32, codec: Codec) -> Sender {
    Sender {
        id: DownId { room: RoomId(1), n },
        kind: codec.kind(),
        codec,
        ssrc: 1_000 + n,
        rtx_ssrc: (codec.kind() == MediaKind::Video).then_some(2_000 + n),
        stream_id: format!("PA_a|TR_{n}"),
        track_id: format!("TR_{n}"),
        stereo: false,
    }
}

fn local() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials { ufrag: "00abcdefghijklmn".into(), pwd: "p".repeat(32) },
        fingerprint: Fingerprint([0xab; 32]),
        ice_lite: true,
    }
}
