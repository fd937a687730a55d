//! The subscriber connection: we offer.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{id, local, sender, video_sender};
use hearth_codec::Codec;
use hearth_negotiate::{ClientQuirks, NegotiateError, Offerer};
use hearth_plane::DtlsRole;
use hearth_sdp::{Direction, MediaType, Session};

#[test]
fn the_first_offer_has_data_and_what_is_wanted_already() {
    let mut offerer = offerer();
    assert!(offerer.needs_offer(), "data channels are wanted at once");
    offerer.add_sender(video_sender(1));
    offerer.add_sender(sender(2, Codec::Red));
    let offer = offerer.create_offer(&local());
    assert!(!offerer.needs_offer());
    assert_eq!(offer.mid_to_track_id["1"], "TR_1");

    let session = Session::parse(&offer.sdp).unwrap();
    assert!(session.attributes.has("ice-lite") && session.attributes.has("extmap-allow-mixed"));
    assert_eq!(session.bundle().unwrap(), ["0", "1", "2"]);
    let [data, video, audio] = &*session.media else { panic!("{}", offer.sdp) };
    assert_eq!((&data.kind, data.attributes.sctp_port()), (&MediaType::Application, Some(5000)));
    assert_eq!(video.formats, ["96", "97"]);
    assert_eq!(video.attributes.msid(), Some(("PA_a|TR_1", "TR_1")));
    assert_eq!(audio.formats, ["111", "63", "0", "8"]);
    assert_eq!(directions(&offer.sdp)[1..], [Direction::SendOnly; 2]);
    for media in [video, audio] {
        assert_eq!(media.attributes.value("rtcp-xr"), Some("rcvr-rtt=all"));
    }

    let accepted = offerer.handle_answer(&accept(&offer.sdp)).unwrap();
    let [video, audio] = &*accepted.bound else { panic!("{accepted:?}") };
    assert_eq!(
        (video.mid.as_str(), video.codecs[0].pt, video.codecs[0].rtx_pt),
        ("1", 96, Some(97))
    );
    assert_eq!(video.extensions.dependency_descriptor, Some(1));
    assert_eq!((audio.codecs[0].codec, audio.codecs[0].pt), (Codec::Red, 63));
    assert!(!offerer.needs_offer());
}

#[test]
fn an_answer_that_is_passive_leaves_the_first_step_to_us() {
    for (setup, role) in [("active", DtlsRole::Server), ("passive", DtlsRole::Client)] {
        let mut offerer = offerer();
        let answer = accept(&offerer.create_offer(&local()).sdp);
        let answer = answer.replace("setup:active", &format!("setup:{setup}"));
        assert_eq!(offerer.handle_answer(&answer).unwrap().remote.unwrap().role, role);
    }
}

#[test]
fn an_outstanding_offer_is_repeated_not_changed() {
    let mut offerer = offerer();
    let first = offerer.create_offer(&local());
    offerer.add_sender(video_sender(1));
    assert!(!offerer.needs_offer());
    let mut restarted = local();
    restarted.ice.ufrag = "00another-ufrag.".to_owned();
    let again = offerer.create_offer(&restarted);
    let (first, again) = (Session::parse(&first.sdp).unwrap(), Session::parse(&again.sdp).unwrap());
    assert_eq!(again.media.len(), 1);
    assert_eq!(again.origin.session, first.origin.session);
    assert!(again.origin.version > first.origin.version);
    assert_ne!(again.media[0].attributes.ice(), first.media[0].attributes.ice());

    let accepted = offerer.handle_answer(&accept(&again.to_string())).unwrap();
    assert!(accepted.bound.is_empty() && offerer.needs_offer());
    assert_eq!(exchange(&mut offerer).bound.len(), 1);
}

#[test]
fn a_freed_section_is_inactive_once_before_it_is_used_again() {
    let mut offerer = offerer();
    offerer.add_sender(video_sender(1));
    exchange(&mut offerer);
    offerer.remove_sender(id(1));
    offerer.add_sender(sender(2, Codec::Opus));
    assert!(offerer.needs_offer());
    let offer = offerer.create_offer(&local());
    assert_eq!(directions(&offer.sdp)[1..], [Direction::Inactive, Direction::SendOnly]);
    offerer.handle_answer(&accept(&offer.sdp)).unwrap();

    offerer.add_sender(sender(3, Codec::Vp9));
    let offer = offerer.create_offer(&local());
    assert_eq!(offer.mid_to_track_id["1"], "TR_3");
    let accepted = offerer.handle_answer(&accept(&offer.sdp)).unwrap();
    let mids: Vec<_> = accepted.bound.iter().map(|b| (b.sender, b.mid.as_str())).collect();
    assert_eq!(mids, [(id(3), "1"), (id(2), "2")]);
}

#[test]
fn a_sender_removed_while_its_offer_is_outstanding_is_not_bound() {
    let mut offerer = offerer();
    offerer.add_sender(video_sender(1));
    let offer = offerer.create_offer(&local());
    offerer.remove_sender(id(1));
    let accepted = offerer.handle_answer(&accept(&offer.sdp)).unwrap();
    assert!(accepted.bound.is_empty() && accepted.unbound.is_empty());
    assert!(offerer.needs_offer());
    assert_eq!(directions(&offerer.create_offer(&local()).sdp)[1], Direction::Inactive);
}

#[test]
fn a_refused_section_unbinds_its_sender_and_is_not_used_again() {
    let mut offerer = offerer();
    offerer.add_sender(sender(1, Codec::H265));
    let offer = offerer.create_offer(&local());
    let refused = accept(&offer.sdp).replace("m=video 9", "m=video 0");
    let accepted = offerer.handle_answer(&refused).unwrap();
    assert_eq!((accepted.unbound, accepted.bound.len()), (vec![id(1)], 0));
    assert!(!offerer.needs_offer());

    offerer.add_sender(video_sender(2));
    let offer = offerer.create_offer(&local());
    let session = Session::parse(&offer.sdp).unwrap();
    assert_eq!(session.media[1].port, 0);
    assert_eq!(session.bundle().unwrap(), ["0", "2"]);
    assert_eq!(offerer.handle_answer(&accept(&offer.sdp)).unwrap().bound[0].mid, "2");
}

#[test]
fn answers_that_do_not_fit_are_errors_and_change_nothing() {
    let mut offerer = offerer();
    let offer = offerer.create_offer(&local());
    let good = accept(&offer.sdp);
    assert_eq!(
        offerer.handle_answer(&good.replace("mid:0", "mid:1")),
        Err(NegotiateError::AnswerMismatch)
    );
    for end in 0..good.len() - 120 {
        let _ = offerer.handle_answer(&good[..end]).unwrap_err();
    }
    offerer.handle_answer(&good).unwrap();
    assert_eq!(offerer.handle_answer(&good), Err(NegotiateError::NoOfferOutstanding));
}

fn offerer() -> Offerer {
    Offerer::new(ClientQuirks::default())
}

fn exchange(offerer: &mut Offerer) -> hearth_negotiate::Accepted {
    let offer = offerer.create_offer(&local());
    offerer.handle_answer(&accept(&offer.sdp)).unwrap()
}

/// The offer, seen from the other side.
fn accept(offer: &str) -> String {
    offer.replace("setup:actpass", "setup:active").replace("a=sendonly", "a=recvonly")
}

fn directions(sdp: &str) -> Vec<Direction> {
    Session::parse(sdp).unwrap().media.iter().map(|media| media.direction()).collect()
}
