//! One connection for both directions: senders are added, wait for sections, and are removed.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{Client, id, local, sender, video_sender};
use hearth_codec::Codec;
use hearth_negotiate::{
    Answerer, AnswererKind, ClientQuirks, ClientTraits, NegotiateError, PendingTrack,
};
use hearth_sdp::{Direction, ParseError, Session};
use hearth_units::MediaKind;

#[test]
fn a_sender_takes_a_free_section_at_the_next_offer() {
    let mut client = Client::new(&["recvonly", "recvonly"]);
    let mut answerer = single();
    assert_eq!(answerer.sections_needed(), None, "the first offer is on its way");
    answer(&mut answerer, &client);
    assert_eq!(answerer.sections_needed(), None);

    answerer.add_sender(video_sender(1));
    assert_eq!(answerer.sections_needed(), Some((0, 0)));
    assert_eq!(answerer.sections_needed(), None, "asked once");
    answerer.add_sender(video_sender(2));
    assert_eq!(answerer.sections_needed(), None, "there is a section, and an offer on its way");
    answerer.add_sender(video_sender(3));
    assert_eq!(answerer.sections_needed(), Some((0, 1)));

    client.add("recvonly");
    let got = answer(&mut answerer, &client);
    let bound: Vec<_> = got.bound.iter().map(|b| (b.sender, b.mid.as_str())).collect();
    assert_eq!(bound, [(id(1), "0"), (id(2), "1"), (id(3), "2")]);
    assert_eq!(got.mid_to_track_id["1"], "TR_2");
    let session = Session::parse(&got.sdp).unwrap();
    let media = &session.media[0];
    assert_eq!(media.direction(), Direction::SendOnly);
    assert_eq!(media.attributes.msid(), Some(("PA_a|TR_1", "TR_1")));
    assert_eq!(media.attributes.ssrc_groups().next().unwrap().ssrcs, [1001, 2001]);
    assert_eq!(answerer.sections_needed(), None);
}

#[test]
fn a_freed_section_is_inactive_once_before_it_is_used_again() {
    let client = Client::new(&["recvonly"]);
    let mut answerer = single();
    answerer.add_sender(video_sender(1));
    assert_eq!(answer(&mut answerer, &client).bound.len(), 1);

    answerer.remove_sender(id(1));
    answerer.add_sender(video_sender(2));
    assert_eq!(answerer.sections_needed(), Some((0, 0)));
    let got = answer(&mut answerer, &client);
    assert!(got.bound.is_empty() && got.mid_to_track_id.is_empty());
    assert_eq!(directions(&got.sdp), [Direction::Inactive]);

    assert_eq!(answerer.sections_needed(), Some((0, 0)));
    let got = answer(&mut answerer, &client);
    assert_eq!(got.bound[0].sender, id(2));
    assert_eq!(directions(&got.sdp), [Direction::SendOnly]);
}

#[test]
fn safari_gets_a_new_section_instead_of_a_used_one() {
    let mut client = Client::new(&["recvonly"]);
    let quirks = ClientQuirks::detect(ClientTraits { browser: "Safari", ..Default::default() });
    let mut answerer = Answerer::new(AnswererKind::Single, quirks);
    answerer.add_sender(video_sender(1));
    answer(&mut answerer, &client);
    answerer.remove_sender(id(1));
    answerer.add_sender(video_sender(2));
    assert_eq!(answerer.sections_needed(), Some((0, 1)));
    client.add("recvonly");
    assert_eq!(answer(&mut answerer, &client).bound[0].mid, "1");
}

#[test]
fn a_codec_that_the_client_lacks_unbinds_the_sender_for_good() {
    let client = Client::new(&["recvonly"]);
    let mut answerer = single();
    answerer.add_sender(sender(1, Codec::H265));
    assert_eq!(answer(&mut answerer, &client).unbound, [id(1)]);
    assert!(answer(&mut answerer, &client).unbound.is_empty());
    assert_eq!(answerer.sections_needed(), None);
}

#[test]
fn a_client_that_adds_no_section_is_not_asked_for_ever() {
    let client = Client::new(&["recvonly"]);
    let mut answerer = single();
    answerer.add_sender(video_sender(1));
    answerer.add_sender(video_sender(2));
    let mut asked = 0;
    for _ in 0..100 {
        answer(&mut answerer, &client);
        asked += u32::from(answerer.sections_needed().is_some());
    }
    assert!((2..10).contains(&asked), "{asked}");
}

#[test]
fn a_section_of_both_directions_carries_a_track_each_way() {
    // Go publishes with `sendrecv`; its msid names the track.
    let mut client = Client::new(&["sendrecv"]);
    client.sections[0].extra = "a=msid:s cam\r\n".to_owned();
    let mut answerer = single();
    answerer.add_sender(video_sender(1));
    let tracks = [PendingTrack::new("cam", MediaKind::Video)];
    let got = answerer.handle_offer(&client.offer(), &tracks, &local()).unwrap();
    assert_eq!((got.published.len(), got.bound.len()), (1, 1));
    assert_eq!(directions(&got.sdp), [Direction::SendRecv]);

    // Without an msid it is only there to receive.
    client.sections[0].extra = String::new();
    let got = answer(&mut answerer, &client);
    assert_eq!((got.published.len(), got.ended_mids.len()), (0, 1));
    assert_eq!(directions(&got.sdp), [Direction::SendOnly]);
}

#[test]
fn an_unused_or_bundle_only_section_is_never_refused() {
    let mut client = Client::new(&["recvonly", "recvonly", "inactive"]);
    client.sections[1].port = 0;
    client.sections[1].extra = "a=bundle-only\r\n".to_owned();
    let got = answer(&mut single(), &client);
    let session = Session::parse(&got.sdp).unwrap();
    assert!(session.media.iter().all(|media| media.port == 9));
    assert_eq!(directions(&got.sdp), [Direction::Inactive; 3]);
    assert_eq!(session.bundle().unwrap(), ["0", "1", "2"]);
}

#[test]
fn a_stopped_section_stays_refused_and_out_of_the_bundle() {
    let mut client = Client::new(&["recvonly", "recvonly"]);
    client.sections[1].port = 0;
    let got = answer(&mut single(), &client);
    let session = Session::parse(&got.sdp).unwrap();
    assert_eq!(session.media[1].port, 0);
    assert_eq!(session.bundle().unwrap(), ["0"]);
}

#[test]
fn hostile_offers_are_errors() {
    let good = Client::new(&["recvonly"]).offer();
    let cases = [
        (good.replace("v=0", "v=1"), NegotiateError::Sdp(ParseError::Version)),
        (good.replace("ice-pwd", "x"), NegotiateError::NoIceCredentials),
        (good.replace("sha-256", "md5"), NegotiateError::NoFingerprint),
        (good.replace("AB:AB", "AB"), NegotiateError::NoFingerprint),
    ];
    let mut answerer = single();
    answerer.add_sender(video_sender(1));
    for (offer, error) in cases {
        assert_eq!(answerer.handle_offer(&offer, &[], &local()), Err(error));
    }
    assert_eq!(answerer.handle_offer(&good, &[], &local()).unwrap().bound.len(), 1);
}

fn single() -> Answerer {
    Answerer::new(AnswererKind::Single, ClientQuirks::default())
}

fn answer(answerer: &mut Answerer, client: &Client) -> hearth_negotiate::Answer {
    answerer.handle_offer(&client.offer(), &[], &local()).unwrap()
}

fn directions(sdp: &str) -> Vec<Direction> {
    Session::parse(sdp).unwrap().media.iter().map(|media| media.direction()).collect()
}
