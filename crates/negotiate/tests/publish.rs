//! What the client publishes: matching, codecs, encodings.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{AUDIO, Client, local};
use hearth_codec::Codec;
use hearth_negotiate::{
    Answer, Answerer, AnswererKind, ClientQuirks, ClientTraits, PendingTrack, Published,
    SimulcastCid,
};
use hearth_plane::EncodingSpec;
use hearth_sdp::{Direction, Session};
use hearth_units::MediaKind;

#[test]
fn a_section_is_matched_by_cid_then_simulcast_cid_then_kind() {
    let mut backup = video("primary");
    backup.simulcast = vec![entry("primary", Codec::Vp9), entry("second", Codec::Vp8)];
    let cases: [(&str, &[PendingTrack], Option<usize>); 6] = [
        ("b", &[video("a"), video("b")], Some(1)),
        ("second", &[video("a"), backup.clone()], Some(1)),
        ("other", &[video("a"), video("b")], Some(0)),
        ("other", &[PendingTrack::new("m", MediaKind::Audio), video("b")], Some(1)),
        ("other", &[PendingTrack::new("other", MediaKind::Audio)], None),
        ("other", &[], None),
    ];
    for (cid, tracks, expect) in cases {
        let client = publishing(cid);
        let answer = handle(&mut publisher(), &client, tracks);
        assert_eq!(answer.published.first().and_then(|p| p.pending), expect, "{cid}");
        assert_eq!(direction(&answer), Direction::RecvOnly);
    }
    let answer = handle(&mut publisher(), &publishing("second"), &[backup]);
    assert_eq!(answer.published[0].pending_cid, "primary");
    assert_eq!(answer.published[0].codecs[0].codec, Codec::Vp8);
}

#[test]
fn a_match_by_name_comes_before_one_by_kind() {
    let mut client = publishing("unknown");
    client.add("sendonly");
    client.sections[1].extra = "a=msid:s a\r\n".to_owned();
    let answer = handle(&mut publisher(), &client, &[video("a"), video("b")]);
    let matched: Vec<_> =
        answer.published.iter().map(|p| (p.mid.as_str(), p.pending_cid.as_str())).collect();
    assert_eq!(matched, [("0", "b"), ("1", "a")]);
}

#[test]
fn a_match_stays_over_offers_and_ends_with_the_section() {
    let mut answerer = publisher();
    let mut client = publishing("x");
    let first = handle(&mut answerer, &client, &[video("a")]);
    assert_eq!((first.published[0].pending, first.published[0].track_cid.as_str()), (Some(0), "x"));
    let again = handle(&mut answerer, &client, &[video("a"), video("b")]);
    assert_eq!(again.published[0].pending_cid, "a");
    assert_eq!(again.published[0].pending, None);

    client.sections[0].direction = "inactive";
    let ended = handle(&mut answerer, &client, &[]);
    assert_eq!(ended.ended_mids, ["0"]);
    assert!(ended.published.is_empty());
    assert_eq!(direction(&ended), Direction::Inactive);
    assert!(handle(&mut answerer, &client, &[]).ended_mids.is_empty());
}

#[test]
fn another_announced_track_in_the_same_section_replaces_the_first() {
    let mut answerer = publisher();
    handle(&mut answerer, &publishing("a"), &[video("a")]);
    let answer = handle(&mut answerer, &publishing("b"), &[video("b")]);
    assert_eq!(answer.ended_mids, ["0"]);
    assert_eq!(
        (answer.published[0].pending_cid.as_str(), answer.published[0].pending),
        ("b", Some(0))
    );
}

#[test]
fn a_track_announced_after_its_offer_is_matched_late() {
    let mut answerer = publisher();
    assert!(handle(&mut answerer, &publishing("a"), &[]).published.is_empty());
    let late = answerer.match_pending(&[video("a")]);
    assert_eq!((late.len(), late[0].pending), (1, Some(0)));
    assert!(!late[0].codecs.is_empty());
    assert!(answerer.match_pending(&[video("a")]).is_empty());
}

#[test]
fn the_preferred_codec_comes_first() {
    let cases = [
        (None, &[(Codec::Vp8, 96), (Codec::Vp9, 98), (Codec::H264, 108)]),
        (Some(Codec::Vp9), &[(Codec::Vp9, 98), (Codec::Vp8, 96), (Codec::H264, 108)]),
        (Some(Codec::H264), &[(Codec::H264, 108), (Codec::H264, 102), (Codec::H264, 114)]),
        (Some(Codec::H265), &[(Codec::Vp8, 96), (Codec::Vp9, 98), (Codec::H264, 108)]),
    ];
    for (preferred, expect) in cases {
        let mut track = video("a");
        track.preferred = preferred;
        let answer = handle(&mut publisher(), &publishing("a"), &[track]);
        let got: Vec<_> = codecs(&answer.published[0]).into_iter().take(3).collect();
        assert_eq!(got, expect, "{preferred:?}");
    }
}

#[test]
fn a_client_that_ignores_the_order_is_given_one_codec() {
    let mut track = video("a");
    track.preferred = Some(Codec::Vp9);
    let quirks = ClientQuirks::detect(ClientTraits {
        browser: "Firefox",
        os: "Linux",
        ..Default::default()
    });
    let mut answerer = Answerer::new(AnswererKind::Publisher, quirks);
    let answer = handle(&mut answerer, &publishing("a"), &[track]);
    assert_eq!(codecs(&answer.published[0]), [(Codec::Vp9, 98)]);
}

#[test]
fn red_comes_first_unless_something_speaks_against_it() {
    const PLAIN: &str = "minptime=10;useinbandfec=1;usedtx=1";
    const STEREO: &str = "minptime=10;useinbandfec=1;usedtx=1;stereo=1;maxaveragebitrate=510000";
    let track = |edit: fn(&mut PendingTrack)| {
        let mut track = PendingTrack::new("a", MediaKind::Audio);
        edit(&mut track);
        track
    };
    let firefox = ClientQuirks::detect(ClientTraits {
        browser: "Firefox",
        os: "Windows",
        ..Default::default()
    });
    let cases = [
        (track(|_| {}), ClientQuirks::default(), Codec::Red, PLAIN),
        (track(|t| t.disable_red = true), ClientQuirks::default(), Codec::Opus, PLAIN),
        (track(|t| t.preferred = Some(Codec::Pcmu)), ClientQuirks::default(), Codec::Pcmu, PLAIN),
        (track(|_| {}), firefox, Codec::Opus, PLAIN),
        (track(|t| t.stereo = true), ClientQuirks::default(), Codec::Red, STEREO),
        (
            track(|t| t.no_dtx = true),
            ClientQuirks::default(),
            Codec::Red,
            "minptime=10;useinbandfec=1",
        ),
    ];
    for (track, quirks, first, fmtp) in cases {
        let mut client = Client::new(&[]);
        client.add_kind(AUDIO, "sendonly");
        client.sections[0].extra = "a=msid:s a\r\n".to_owned();
        client.add_kind(AUDIO, "recvonly");
        let mut answerer = Answerer::new(AnswererKind::Single, quirks);
        let answer = handle(&mut answerer, &client, std::slice::from_ref(&track));
        assert_eq!(answer.published[0].codecs[0].codec, first, "{track:?}");
        assert!(answer.published[0].nack);
        let session = Session::parse(&answer.sdp).unwrap();
        let opus = |n: usize| {
            let mut fmtps = session.media[n].attributes.fmtps();
            fmtps.find(|fmtp| fmtp.pt == 111).unwrap().params.to_owned()
        };
        assert_eq!(opus(0), fmtp);
        assert_eq!(opus(1), PLAIN, "place holders agree with a plain track");
    }
}

#[test]
fn encodings_are_lowest_first() {
    let rid = |rid: &str| EncodingSpec { rid: Some(rid.into()), ..Default::default() };
    let ssrc = |ssrc, rtx_ssrc| EncodingSpec { rid: None, ssrc: Some(ssrc), rtx_ssrc };
    let rids = |list: &str| {
        let lines: Vec<_> = list.split(';').map(|rid| format!("a=rid:{rid} send\r\n")).collect();
        format!("{}a=simulcast:send {list}\r\n", lines.concat())
    };
    let cases = [
        (rids("q;h;f"), vec![rid("q"), rid("h"), rid("f")]),
        (rids("f;h;q"), vec![rid("q"), rid("h"), rid("f")]),
        (rids("0;1;2"), vec![rid("2"), rid("1"), rid("0")]),
        (rids("f;q"), vec![rid("q"), rid("f")]),
        (rids("lo;mid;hi"), vec![rid("lo"), rid("mid"), rid("hi")]),
        (rids("a;b;c;d"), vec![rid("a"), rid("b"), rid("c")]),
        ("a=rid:q send\r\na=rid:h send\r\n".repeat(2), vec![rid("q"), rid("h")]),
        (
            "a=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:x\r\n".into(),
            vec![ssrc(1, Some(2))],
        ),
        (
            "a=ssrc-group:SIM 1 2 3\r\na=ssrc-group:FID 1 4\r\na=ssrc-group:FID 3 6\r\n".into(),
            vec![ssrc(1, Some(4)), ssrc(2, None), ssrc(3, Some(6))],
        ),
        ("a=ssrc:7 cname:x\r\n".into(), vec![ssrc(7, None)]),
        (String::new(), vec![EncodingSpec::default()]),
    ];
    for (lines, expect) in cases {
        let mut client = publishing("a");
        client.sections[0].extra.push_str(&lines);
        let answer = handle(&mut publisher(), &client, &[video("a")]);
        assert_eq!(answer.published[0].encodings, expect, "{lines}");
    }
}

#[test]
fn an_encoding_that_the_client_has_paused_stays_paused() {
    let mut client = publishing("a");
    let rids = "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\n";
    client.sections[0].extra += &format!("{rids}a=simulcast:send q;~h;~f\r\n");
    let answer = handle(&mut publisher(), &client, &[video("a")]);
    assert_eq!(answer.published[0].encodings.len(), 3);
    assert!(answer.sdp.contains("a=simulcast:recv q;~h;~f\r\n"), "{}", answer.sdp);
}

#[test]
fn extensions_and_feedback_are_those_that_both_know() {
    let answer = handle(&mut publisher(), &publishing("a"), &[video("a")]);
    let ids = answer.published[0].extensions;
    assert_eq!((ids.mid, ids.rid, ids.repaired_rid), (Some(4), Some(10), Some(11)));
    assert_eq!((ids.transport_cc, ids.dependency_descriptor), (Some(3), Some(12)));
    let session = Session::parse(&answer.sdp).unwrap();
    let attributes = &session.media[0].attributes;
    assert!(attributes.extmaps().all(|ext| !ext.uri.contains("toffset")));
    let feedback: Vec<_> =
        attributes.rtcp_fbs().filter(|fb| fb.pt == Some(96)).map(|fb| fb.value).collect();
    assert_eq!(feedback, ["transport-cc", "ccm fir", "nack", "nack pli"]);
}

fn publishing(cid: &str) -> Client {
    let mut client = Client::new(&["sendonly"]);
    client.sections[0].extra = format!("a=msid:s {cid}\r\n");
    client
}

fn publisher() -> Answerer {
    Answerer::new(AnswererKind::Publisher, ClientQuirks::default())
}

fn video(cid: &str) -> PendingTrack {
    PendingTrack::new(cid, MediaKind::Video)
}

fn entry(cid: &str, codec: Codec) -> SimulcastCid {
    SimulcastCid { cid: cid.to_owned(), codec: Some(codec) }
}

fn handle(answerer: &mut Answerer, client: &Client, tracks: &[PendingTrack]) -> Answer {
    answerer.handle_offer(&client.offer(), tracks, &local()).unwrap()
}

fn direction(answer: &Answer) -> Direction {
    Session::parse(&answer.sdp).unwrap().media[0].direction()
}

fn codecs(published: &Published) -> Vec<(Codec, u8)> {
    published.codecs.iter().map(|codec| (codec.codec, codec.pt)).collect()
}
