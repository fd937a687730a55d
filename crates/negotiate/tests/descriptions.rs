//! Rejected sections, the bundle's transport, and old but legal SDP.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{local, sender};
use hearth_codec::Codec;
use hearth_negotiate::{
    Answer, Answerer, AnswererKind, ClientQuirks, ClientTraits, NegotiateError, Offerer,
    PendingTrack,
};
use hearth_plane::{DtlsRole, FingerprintHash};
use hearth_sdp::{Direction, Media, Session};
use hearth_units::MediaKind;

const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const OPUS: &str = "a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";
const VP8: &str = "a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";
const H264: &str = "a=rtcp-mux\r\na=rtpmap:102 H264/90000\r\n";
const SETUP: &str = "a=setup:actpass\r\n";

#[test]
fn what_counts_as_sending() {
    let named = "a=msid:s cam\r\n";
    let ssrc = "a=ssrc:7 cname:x\r\n";
    // Direction and names; whether a connection for publishing takes it, whether the only one does.
    let cases = [
        ("a=sendonly\r\n", "", true, true),
        ("a=sendrecv\r\n", "", true, false),
        ("a=sendrecv\r\n", named, true, true),
        ("a=sendrecv\r\n", ssrc, true, true),
        ("a=sendrecv\r\n", "a=ssrc:7 msid:s cam\r\n", true, true),
        ("a=sendrecv\r\n", "a=ssrc:7 label:cam\r\n", true, true),
        ("a=sendrecv\r\n", "a=rid:q send\r\na=simulcast:send q\r\n", true, true),
        ("a=sendrecv\r\n", "a=rid:q recv\r\na=simulcast:recv q\r\n", true, false),
        ("", "", true, false),
        ("", ssrc, true, true),
        ("a=recvonly\r\n", named, false, false),
        ("a=recvonly\r\n", ssrc, false, false),
        ("a=inactive\r\n", named, false, false),
    ];
    for (direction, names, publisher, single) in cases {
        // Said in the section, and for all sections.
        for session_level in [false, true] {
            let (head, own) = if session_level { (direction, "") } else { ("", direction) };
            let body = format!("{VP8}{own}{names}");
            let sdp = format!("{HEAD}{}{head}{}", bundle("0"), video(9, "0", 1, &body));
            for (kind, sends) in
                [(AnswererKind::Publisher, publisher), (AnswererKind::Single, single)]
            {
                let answer = answer_of(kind, &sdp);
                assert_eq!(answer.published.len(), usize::from(sends), "{kind:?} {sdp}");
                let session = Session::parse(&answer.sdp).unwrap();
                let way = if sends { Direction::RecvOnly } else { Direction::Inactive };
                assert_eq!(session.media[0].direction(), way, "{kind:?} {sdp}");
            }
        }
    }
}

#[test]
fn unnamed_sections_take_the_announced_tracks_in_order() {
    let section = |n: u32| video(9, &n.to_string(), 1, &format!("{VP8}a=ssrc:{n} cname:x\r\n"));
    let sdp = format!("{HEAD}{}{}{}", bundle("2 10"), section(2), section(10));
    let tracks =
        [PendingTrack::new("a", MediaKind::Video), PendingTrack::new("b", MediaKind::Video)];
    let answer = publisher().handle_offer(&sdp, &tracks, &local()).unwrap();
    let mut matched: Vec<_> =
        answer.published.iter().map(|p| (p.mid.as_str(), p.pending_cid.as_str())).collect();
    matched.sort_unstable();
    assert_eq!(matched, [("10", "b"), ("2", "a")]);
}

/// (bundle, sections, ports of the answer, its bundle, the ufrag that counts, the tagged section).
type Layout<'a> = (&'a str, Vec<String>, &'a [u16], &'a str, &'a str, Option<(&'a str, u32)>);

#[test]
fn a_section_that_does_not_live_contributes_nothing() {
    let gone = || video(0, "old", 1, VP8);
    let unknown = |mid: &str| video(9, mid, 3, "a=rtpmap:120 theora/90000\r\n");
    let cases: Vec<Layout<'_>> = vec![
        ("BUNDLE 0", vec![gone(), audio(9, "0", 2, OPUS)], &[0, 9], "0", "ufr2", Some(("0", 1))),
        ("BUNDLE 0 x", vec![audio(9, "0", 2, OPUS)], &[9], "0", "ufr2", Some(("0", 0))),
        // Outside of the bundle.
        (
            "BUNDLE 1",
            vec![audio(9, "0", 1, OPUS), audio(9, "1", 2, OPUS)],
            &[0, 9],
            "1",
            "ufr2",
            Some(("1", 1)),
        ),
        // The bundle's order says whose transport counts, and the answer keeps it.
        (
            "BUNDLE 1 0",
            vec![audio(9, "0", 1, OPUS), audio(9, "1", 2, OPUS)],
            &[9, 9],
            "1 0",
            "ufr2",
            Some(("1", 1)),
        ),
        // A section that we refuse does not speak for the bundle.
        (
            "BUNDLE v 0",
            vec![unknown("v"), audio(9, "0", 2, OPUS)],
            &[0, 9],
            "0",
            "ufr2",
            Some(("0", 1)),
        ),
        // Unless no other section has any.
        (
            "BUNDLE v 0",
            vec![unknown("v"), audio(0, "0", 0, &format!("a=bundle-only\r\n{OPUS}"))],
            &[0, 9],
            "0",
            "ufr3",
            Some(("0", 1)),
        ),
        // The second bundle, if the first is dead; only one of two.
        (
            "BUNDLE old\r\na=group:BUNDLE 0",
            vec![gone(), audio(9, "0", 2, OPUS)],
            &[0, 9],
            "0",
            "ufr2",
            Some(("0", 1)),
        ),
        (
            "BUNDLE 0\r\na=group:BUNDLE 1",
            vec![audio(9, "0", 1, OPUS), audio(9, "1", 2, OPUS)],
            &[9, 0],
            "0",
            "ufr1",
            Some(("0", 0)),
        ),
        // Without a bundle, the first that we can take; an empty one is none.
        (
            "LS 0 1",
            vec![gone(), unknown("v"), audio(9, "0", 1, OPUS), audio(9, "1", 2, OPUS)],
            &[0, 0, 9, 0],
            "",
            "ufr1",
            Some(("0", 2)),
        ),
        ("BUNDLE", vec![audio(9, "0", 1, OPUS)], &[9], "", "ufr1", Some(("0", 0))),
        // The second of two with one mid; mids that are none.
        (
            "BUNDLE 0",
            vec![audio(9, "0", 1, OPUS), video(9, "0", 2, VP8)],
            &[9, 0],
            "0",
            "ufr1",
            Some(("0", 0)),
        ),
        (
            "BUNDLE 1",
            vec![audio(9, "a b", 1, OPUS), audio(9, "1", 2, OPUS)],
            &[0, 9],
            "1",
            "ufr2",
            Some(("1", 1)),
        ),
        // Transports that we do not have.
        (
            "BUNDLE 0 1",
            vec![
                audio(9, "0", 1, OPUS).replace("UDP/TLS/RTP/SAVPF", "TCP/MSRP"),
                audio(9, "1", 2, OPUS),
            ],
            &[0, 9],
            "1",
            "ufr2",
            Some(("1", 1)),
        ),
    ];
    for (group, sections, ports, answered, ufrag, tagged) in cases {
        let sdp = format!("{HEAD}a=group:{group}\r\n{}", sections.concat());
        let answer = answer_of(AnswererKind::Publisher, &sdp);
        let session = Session::parse(&answer.sdp).unwrap();
        assert_eq!(ports_of(&session), ports, "{sdp}");
        assert_eq!(session.bundle().unwrap_or_default().join(" "), answered, "{sdp}");
        assert_eq!(answer.remote.unwrap().ice.ufrag, ufrag, "{sdp}");
        let got = answer.tagged.as_ref().map(|tagged| (tagged.mid.as_str(), tagged.index));
        assert_eq!(got, tagged, "{sdp}");
    }
}

#[test]
fn an_offer_in_which_nothing_lives_is_answered() {
    let dead = "a=setup:holdconn\r\n";
    for sections in [
        String::new(),
        video(0, "0", 1, VP8),
        video(9, "0", 1, "a=rtpmap:120 theora/90000\r\n"),
        format!("m=audio 49170 RTP/AVP 0\r\n{dead}"),
        "m=audio 9 RTP/SAVP 111\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n".to_owned(),
        "m=image 0 udptl t38\r\na=mid:0\r\n".to_owned(),
    ] {
        let sdp = format!("{HEAD}{}{sections}", bundle("0"));
        let mut answerer = publisher();
        let answer = answerer.handle_offer(&sdp, &[], &local()).unwrap();
        assert_eq!((answer.remote, answer.tagged), (None, None), "{sdp}");
        let session = Session::parse(&answer.sdp).unwrap();
        assert!(session.media.iter().all(|media| media.port == 0));
        assert_eq!(session.bundle(), None);
        let live = format!("{HEAD}{}{}", bundle("0"), audio(9, "0", 1, OPUS));
        assert!(answerer.handle_offer(&live, &[], &local()).unwrap().remote.is_some());
    }
}

#[test]
fn old_but_legal_sdp_is_answered() {
    let good = format!("{HEAD}{}{}", bundle("0"), audio(9, "0", 1, OPUS));
    let cases = [
        good.clone(),
        good.replace("\r\n", "\n"),
        good.replace("\r\n", "\r"),
        good.replace("a=rtcp-mux\r\n", ""),
        good.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"),
        good.replace("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP"),
        good.replace("UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF"),
        good.replace("m=audio 9 ", "m=audio 9/1 "),
        good.replace(SETUP, ""),
        good.replace(SETUP, "a=setup:holdconn\r\n"),
        good.replace(SETUP, "a=setup:active\r\n"),
        good.replace(OPUS, &format!("{OPUS}a=ptime:20\r\na=maxptime:60\r\nb=AS:64\r\n")),
        good.replace(OPUS, &format!("{OPUS}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n")),
        good.replace(OPUS, &format!("{OPUS}a=x-google:\u{1}\r\na=x:\u{fc}\r\na=\r\n")),
        good.replace("a=mid:0\r\n", "").replace("a=group:BUNDLE 0\r\n", ""),
        good.replace("a=mid:0\r\n", &format!("a=mid:{}\r\n", "m".repeat(255)))
            .replace("BUNDLE 0", &format!("BUNDLE {}", "m".repeat(255))),
        good.replace(" 111\r\n", " 0\r\n").replace("a=rtpmap:111 opus/48000/2\r\n", ""),
        good.replace(" 111\r\n", " 8\r\n").replace("a=rtpmap:111 opus/48000/2\r\n", ""),
        good.replace("111", "0"),
        good.replace("111", "63"),
        good.replace("111", "96"),
        good.replace("111", "127"),
    ];
    for sdp in cases {
        let answer = answer_of(AnswererKind::Publisher, &sdp);
        let session = Session::parse(&answer.sdp).unwrap();
        let offered = Session::parse(&sdp).unwrap();
        assert_eq!(ports_of(&session), [9], "{sdp}");
        assert_eq!(session.media[0].mid(), offered.media[0].mid(), "{sdp}");
        assert_eq!(session.media[0].proto, offered.media[0].proto, "{sdp}");
        assert_eq!(session.bundle(), offered.bundle(), "{sdp}");
        assert_eq!(answer.published.len(), 1, "{sdp}");
    }
}

#[test]
fn attributes_of_the_session_hold_for_all_sections() {
    let head = "a=ice-ufrag:ufr9\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n\
        a=fingerprint:sha-1 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13\r\n\
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
    let bare = audio(9, "0", 0, OPUS);
    let answer = answer_of(AnswererKind::Publisher, &format!("{HEAD}{}{head}{bare}", bundle("0")));
    let remote = answer.remote.unwrap();
    assert_eq!(
        (remote.ice.ufrag.as_str(), remote.fingerprints.hash),
        ("ufr9", FingerprintHash::Sha1)
    );
    assert_eq!(answer.published[0].extensions.mid, Some(4));
    // The section's own word counts more.
    let own = audio(9, "0", 1, OPUS);
    let answer = answer_of(AnswererKind::Publisher, &format!("{HEAD}{}{head}{own}", bundle("0")));
    let remote = answer.remote.unwrap();
    assert_eq!(
        (remote.ice.ufrag.as_str(), remote.fingerprints.hash),
        ("ufr1", FingerprintHash::Sha256)
    );
}

#[test]
fn of_several_fingerprints_those_with_the_strongest_hash_count() {
    let line = |hash: &str, byte: &str, len: usize| {
        format!("a=fingerprint:{hash} {}\r\n", vec![byte; len].join(":"))
    };
    let (sha1, sha224) = (line("sha-1", "01", 20), line("sha-224", "02", 28));
    let (sha256, sha384) = (line("SHA-256", "03", 32), line("sha-384", "04", 48));
    let (sha512, md5) = (line("sha-512", "05", 64), line("md5", "06", 16));
    let cases = [
        (sha1.clone(), Some((FingerprintHash::Sha1, vec![vec![1; 20]]))),
        (sha224, Some((FingerprintHash::Sha224, vec![vec![2; 28]]))),
        (sha256.clone(), Some((FingerprintHash::Sha256, vec![vec![3; 32]]))),
        (sha384, Some((FingerprintHash::Sha384, vec![vec![4; 48]]))),
        (sha512.clone(), Some((FingerprintHash::Sha512, vec![vec![5; 64]]))),
        (format!("{sha512}{sha1}{sha256}"), Some((FingerprintHash::Sha512, vec![vec![5; 64]]))),
        (
            format!("{sha256}{sha1}{}", line("sha-256", "07", 32)),
            Some((FingerprintHash::Sha256, vec![vec![3; 32], vec![7; 32]])),
        ),
        (format!("{md5}{sha1}"), Some((FingerprintHash::Sha1, vec![vec![1; 20]]))),
        (line("sha-256", "08", 20), None),
        (md5, None),
    ];
    for (lines, expect) in cases {
        let body = format!("{OPUS}{CREDENTIALS}{lines}");
        let sdp = format!("{HEAD}{}{}", bundle("0"), audio(9, "0", 0, &body));
        let got = publisher().handle_offer(&sdp, &[], &local());
        let got = got.map(|answer| answer.remote.unwrap().fingerprints);
        match expect {
            None => assert_eq!(got, Err(NegotiateError::NoFingerprint)),
            Some((hash, digests)) => {
                let got = got.unwrap();
                assert_eq!((got.hash, got.digests), (hash, digests), "{lines}");
            }
        }
    }
}

#[test]
fn the_client_may_choose_the_dtls_roles_once() {
    let offer = |setup: &str| {
        let sdp = format!("{HEAD}{}{}", bundle("0"), audio(9, "0", 1, OPUS));
        sdp.replace("actpass", setup)
    };
    for (first, role, ours, other) in [
        ("actpass", DtlsRole::Server, "passive", "passive"),
        ("active", DtlsRole::Server, "passive", "passive"),
        ("passive", DtlsRole::Client, "active", "active"),
    ] {
        let mut answerer = publisher();
        for setup in [first, "actpass", first] {
            let answer = answerer.handle_offer(&offer(setup), &[], &local()).unwrap();
            assert_eq!(answer.remote.unwrap().role, role, "{setup}");
            assert!(answer.sdp.contains(&format!("a=setup:{ours}\r\n")), "{setup}");
        }
        let changed = answerer.handle_offer(&offer(other), &[], &local());
        assert_eq!(changed, Err(NegotiateError::Setup), "{first}");
    }
}

#[test]
fn data_sections_are_answered_in_the_form_of_the_offer() {
    let cases = [
        ("9 UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000\r\n", true),
        ("9 TCP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000\r\n", true),
        ("9 DTLS/SCTP 5000", "a=sctpmap:5000 webrtc-datachannel 1024\r\n", true),
        ("9 UDP/DTLS/SCTP 5000", "a=sctpmap:5000 webrtc-datachannel 1024\r\n", true),
        ("9 DTLS/SCTP 5000", "a=fmtp:5000 protocol=webrtc-datachannel;streams=10\r\n", true),
        ("0 UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000\r\n", false),
        ("9 UDP/DTLS/SCTP bfcp", "", false),
        ("9 TCP/TLS/BFCP *", "", false),
    ];
    for (line, attributes, accepted) in cases {
        let data = format!("m=application {line}\r\na=mid:d\r\n{attributes}");
        let sdp = format!("{HEAD}{}{}{data}", bundle("0 d"), audio(9, "0", 1, OPUS));
        let answer = answer_of(AnswererKind::Publisher, &sdp);
        assert_eq!(answer.has_data, accepted, "{line}");
        let session = Session::parse(&answer.sdp).unwrap();
        let (media, offered) = (&session.media[1], &Session::parse(&sdp).unwrap().media[1]);
        assert_eq!(media.port != 0, accepted, "{line}");
        assert_eq!((&media.proto, &media.formats), (&offered.proto, &offered.formats));
        if accepted {
            assert_eq!(media.attributes.sctp_port(), Some(5_000), "{line}");
            let old = media.attributes.has("sctpmap");
            assert_eq!(old, media.formats == ["5000"], "{line}");
        }
    }
}

#[test]
fn candidates_are_those_of_the_transport() {
    let candidate = |n: u8| format!("a=candidate:{n} 1 udp 1 192.0.2.{n} 5000 typ host\r\n");
    let sdp = format!(
        "{HEAD}{}{}{}{}{}",
        bundle("0 1 2"),
        video(0, "old", 9, &format!("{VP8}{}", candidate(9))),
        audio(9, "0", 1, &format!("{OPUS}{}{}", candidate(1), candidate(1))),
        // Bundled, but not yet known to be: a transport of its own.
        audio(9, "1", 2, &format!("{OPUS}{}", candidate(2))),
        audio(9, "2", 0, &format!("{OPUS}{}", candidate(3))),
    );
    let got = answer_of(AnswererKind::Publisher, &sdp).remote_candidates;
    let expect: Vec<_> = [1, 3].map(|n| candidate(n)[2..].trim_end().to_owned()).into();
    assert_eq!(got, expect);
}

#[test]
fn codecs_that_are_not_enabled_are_neither_answered_nor_offered() {
    let quirks = ClientQuirks {
        not_enabled: vec![Codec::Vp8, Codec::Pcmu, Codec::Red],
        ..Default::default()
    };
    let sound = audio(9, "0", 1, "a=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n")
        .replace(" 111\r\n", " 0 111\r\n");
    let both = video(9, "1", 1, &format!("{VP8}{H264}")).replace(" 96\r\n", " 96 102\r\n");
    let formats = |kind, direction: &str, sections: &[&str]| {
        let mids = if sections.len() == 1 { "1" } else { "0 1" };
        let sdp = format!("{HEAD}{}{}", bundle(mids), sections.concat());
        let sdp = sdp.replace("a=mid", &format!("a={direction}\r\na=mid"));
        let mut answerer = Answerer::new(kind, quirks.clone());
        let answer = answerer.handle_offer(&sdp, &tracks(), &local()).unwrap();
        let media = Session::parse(&answer.sdp).unwrap().media;
        let formats = |m: &Media| (m.port != 0).then(|| m.formats.join(" "));
        (media.iter().map(formats).collect::<Vec<_>>(), answer.published)
    };
    for (kind, direction) in [
        (AnswererKind::Publisher, "sendonly"),
        (AnswererKind::Single, "sendonly"),
        (AnswererKind::Single, "recvonly"),
    ] {
        let (got, published) = formats(kind, direction, &[&sound, &both]);
        assert_eq!(got, [Some("111".to_owned()), Some("102".to_owned())], "{kind:?} {direction}");
        let codecs = published.iter().flat_map(|p| &p.codecs);
        assert!(codecs.clone().all(|codec| !quirks.not_enabled.contains(&codec.codec)));
        let (got, published) = formats(kind, direction, &[&video(9, "1", 1, VP8)]);
        assert_eq!((got, published.len()), (vec![None], 0), "{kind:?} {direction}");
    }
    let mut offerer = Offerer::new(quirks);
    offerer.add_sender(sender(1, Codec::Opus));
    let offer = Session::parse(&offerer.create_offer(&local()).sdp).unwrap();
    assert_eq!(offer.media[1].formats, ["111", "8"]);
}

#[test]
fn a_section_without_a_codec_that_may_be_published_leaves_its_track_to_another() {
    let quirks = ClientQuirks { disabled_publish: vec![Codec::H264], ..Default::default() };
    let refused = video(9, "0", 1, &format!("a=sendonly\r\n{H264}")).replace(" 96\r\n", " 102\r\n");
    let sdp = format!("{HEAD}{}{refused}{}", bundle("0 1"), video(9, "1", 1, VP8));
    let mut answerer = Answerer::new(AnswererKind::Publisher, quirks);
    let answer = answerer.handle_offer(&sdp, &tracks(), &local()).unwrap();
    assert_eq!(ports_of(&Session::parse(&answer.sdp).unwrap()), [0, 9]);
    let matched: Vec<_> = answer.published.iter().map(|p| (p.mid.as_str(), p.pending)).collect();
    assert_eq!(matched, [("1", Some(1))]);
}

#[test]
fn clients_are_treated_as_at_livekit_server() {
    let of = |browser, browser_version, os, device_model| {
        ClientQuirks::detect(ClientTraits { browser, browser_version, os, device_model })
    };
    let cases = [
        (of("Chrome", "131", "Linux", ""), vec![], vec![]),
        (of("Firefox", "140", "Linux", ""), vec![Codec::H264], vec![]),
        (of("firefox mobile", "140", "android", ""), vec![Codec::H264], vec![]),
        (of("Firefox", "140", "Windows", ""), vec![], vec![]),
        (of("Safari", "18.3", "macOS", ""), vec![Codec::Av1], vec![Codec::Av1]),
        (of("Safari", "18.4", "macOS", ""), vec![Codec::Av1, Codec::Vp9], vec![Codec::Av1]),
        (of("Safari", "26.0.1", "macOS", ""), vec![Codec::Av1, Codec::Vp9], vec![Codec::Av1]),
        (of("", "", "Android", "Xiaomi 2201117TI"), vec![Codec::H264], vec![]),
    ];
    for (quirks, publish, subscribe) in cases {
        assert_eq!((quirks.disabled_publish, quirks.disabled_subscribe), (publish, subscribe));
    }
}

#[test]
fn a_connection_without_data_is_offered_with_its_first_track() {
    let mut offerer = Offerer::without_data(ClientQuirks::default());
    assert!(!offerer.needs_offer() && !offerer.begun());
    offerer.add_sender(sender(1, Codec::Opus));
    assert!(offerer.needs_offer());
    let offer = offerer.create_offer(&local());
    assert_eq!(offer.mid_to_track_id["0"], "TR_1");
    let session = Session::parse(&offer.sdp).unwrap();
    assert_eq!((session.media.len(), session.bundle()), (1, Some(vec!["0"])));
    // The answer of a client that leaves out what it may.
    let answer = offer
        .sdp
        .replace("a=setup:actpass", "a=setup:active")
        .replace("a=sendonly", "a=recvonly")
        .replace("a=group:BUNDLE 0\r\n", "")
        .replace("a=mid:0\r\n", "");
    let accepted = offerer.handle_answer(&answer).unwrap();
    assert_eq!((accepted.bound.len(), accepted.bound[0].mid.as_str()), (1, "0"));
}

#[test]
fn an_answer_that_rejects_everything_costs_the_tracks_only() {
    let mut offerer = Offerer::new(ClientQuirks::default());
    offerer.add_sender(sender(1, Codec::Opus));
    let offer = offerer.create_offer(&local()).sdp;
    // Only an offer may have a section without a port live (RFC 8843 §6).
    let answer = offer.replace(" 9 ", " 0 ").replace("a=sendonly", "a=recvonly\r\na=bundle-only");
    let accepted = offerer.handle_answer(&answer).unwrap();
    assert_eq!((accepted.remote, accepted.unbound.len()), (None, 1));
}

fn publisher() -> Answerer {
    Answerer::new(AnswererKind::Publisher, ClientQuirks::default())
}

fn tracks() -> [PendingTrack; 2] {
    [PendingTrack::new("mic", MediaKind::Audio), PendingTrack::new("cam", MediaKind::Video)]
}

fn answer_of(kind: AnswererKind, sdp: &str) -> Answer {
    let mut answerer = Answerer::new(kind, ClientQuirks::default());
    answerer.handle_offer(sdp, &tracks(), &local()).unwrap()
}

fn ports_of(session: &Session) -> Vec<u16> {
    session.media.iter().map(|media| media.port).collect()
}

const CREDENTIALS: &str = "a=ice-ufrag:ufr0\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n";

fn bundle(mids: &str) -> String {
    format!("a=group:BUNDLE {mids}\r\n")
}

fn audio(port: u16, mid: &str, transport: u8, body: &str) -> String {
    section("audio", (port, 111), mid, transport, body)
}

fn video(port: u16, mid: &str, transport: u8, body: &str) -> String {
    section("video", (port, 96), mid, transport, body)
}

/// With a transport of its own, whose ufrag ends with this number; 0 has none.
fn section(kind: &str, (port, pt): (u16, u8), mid: &str, transport: u8, body: &str) -> String {
    let own = format!(
        "{}a=fingerprint:sha-256 {}\r\n{SETUP}",
        CREDENTIALS.replace("ufr0", &format!("ufr{transport}")),
        ["AB"; 32].join(":")
    );
    let own = if transport == 0 { String::new() } else { own };
    format!("m={kind} {port} UDP/TLS/RTP/SAVPF {pt}\r\na=mid:{mid}\r\n{own}{body}")
}
