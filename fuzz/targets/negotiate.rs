//! Descriptions of a client, one after another with NUL between them: as offers to us, and as answers to
//! our offer. What is answered fits the offer, and what is refused has changed nothing.
#![no_main]

use std::collections::BTreeSet;

use hearth_codec::Codec;
use hearth_negotiate::{
    Answer, Answerer, AnswererKind, ClientQuirks, LocalTransport, Offerer, PendingTrack, Sender,
};
use hearth_plane::{DownId, Fingerprint, IceCredentials, RoomId};
use hearth_sdp::Session;
use hearth_units::MediaKind;
use libfuzzer_sys::fuzz_target;

/// An offer that is answered, whatever came before.
const GOOD: &str = include_str!("../seeds/negotiate/offer-small.sdp");

fuzz_target!(|texts: &str| {
    for kind in [AnswererKind::Publisher, AnswererKind::Single] {
        offers(texts, kind);
    }
    answers(texts);
});

fn offers(texts: &str, kind: AnswererKind) {
    let tracks =
        [PendingTrack::new("mic", MediaKind::Audio), PendingTrack::new("cam", MediaKind::Video)];
    let mut answerer = answerer(kind);
    let mut untouched = true;
    for offer in texts.split('\0') {
        if let Ok(answer) = answerer.handle_offer(offer, &tracks, &local()) {
            untouched = false;
            fits(&answer, offer);
            answerer.remove_sender(id(1));
            answerer.sections_needed();
            answerer.match_pending(&tracks);
        }
    }
    let answer = answerer.handle_offer(GOOD, &tracks, &local()).expect("it is good");
    fits(&answer, GOOD);
    if untouched {
        assert_eq!(self::answerer(kind).handle_offer(GOOD, &tracks, &local()), Ok(answer));
    }
}

fn fits(answer: &Answer, offer: &str) {
    let offered = Session::parse(offer).expect("it was answered");
    let answered = Session::parse(&answer.sdp).expect("what is written can be read");
    assert_eq!(answered.to_string(), answer.sdp);
    assert!(answer.sdp.len() <= 16 * offer.len() + 4_096, "{} bytes", answer.sdp.len());

    let mids = |session: &Session| -> Vec<_> {
        session.media.iter().map(|media| media.mid().map(str::to_owned)).collect()
    };
    assert_eq!(mids(&answered), mids(&offered));
    // A section that lives is in the bundle, if there is one; a mid that was not said is made up.
    let live: BTreeSet<_> =
        answered.media.iter().filter(|media| media.port != 0).map(|media| media.mid()).collect();
    let bundle = answered.bundle().unwrap_or_default();
    if bundle.is_empty() {
        assert!(live.len() <= 1, "sections without a bundle need a transport each");
    } else {
        assert_eq!(bundle.iter().copied().map(Some).collect::<BTreeSet<_>>(), live);
        let in_order = |offered: &Vec<&str>| {
            let mut offered = offered.iter();
            bundle.iter().all(|mid| offered.any(|offered| offered == mid))
        };
        assert!(offered.bundles().any(|offered| in_order(&offered)));
    }
    assert_eq!(answer.tagged.is_some(), !live.is_empty());
    assert!(answer.remote.is_some() || live.is_empty());
    let lives = |mid: &str| live.contains(&Some(mid)) || live.contains(&None);
    for (answered, offered) in answered.media.iter().zip(&offered.media) {
        assert_eq!(answered.kind, offered.kind);
        // `08` is answered as `8`.
        let plain =
            |format: &String| format.parse().map_or(format.clone(), |pt: u8| pt.to_string());
        let formats: BTreeSet<_> = answered.formats.iter().map(plain).collect();
        assert_eq!(formats.len(), answered.formats.len(), "a format is there twice");
        assert!(formats.is_subset(&offered.formats.iter().map(plain).collect()));
    }
    for published in &answer.published {
        assert!(lives(&published.mid));
        assert!((1..=3).contains(&published.encodings.len()) && !published.codecs.is_empty());
    }
    for bound in &answer.bound {
        assert!(lives(&bound.mid) && !bound.codecs.is_empty());
    }
    let sections: BTreeSet<_> = answer.bound.iter().map(|bound| &bound.mid).collect();
    assert_eq!(sections.len(), answer.bound.len(), "a section carries two tracks");
    assert!(answer.remote_candidates.len() <= 128);
}

fn answers(texts: &str) {
    let mut offerer = Offerer::new(ClientQuirks::default());
    offerer.add_sender(sender(1, Codec::Vp8));
    offerer.add_sender(sender(2, Codec::Opus));
    let mut offer = offerer.create_offer(&local()).sdp;
    for answer in texts.split('\0') {
        if let Ok(accepted) = offerer.handle_answer(answer) {
            assert!(accepted.bound.iter().all(|bound| !bound.codecs.is_empty()));
            offerer.remove_sender(id(1));
            offerer.add_sender(sender(3, Codec::Vp9));
            offer = offerer.create_offer(&local()).sdp;
        }
    }
    let offered = Session::parse(&offer).expect("what is written can be read");
    assert_eq!(offered.to_string(), offer);
    let mirrored =
        offer.replace("a=setup:actpass", "a=setup:active").replace("a=sendonly", "a=recvonly");
    offerer.handle_answer(&mirrored).expect("it is the offer's mirror image");
}

fn answerer(kind: AnswererKind) -> Answerer {
    let mut answerer = Answerer::new(kind, ClientQuirks::default());
    if kind == AnswererKind::Single {
        answerer.add_sender(sender(1, Codec::Vp8));
        answerer.add_sender(sender(2, Codec::Opus));
        answerer.add_sender(sender(3, Codec::Red));
    }
    answerer
}

fn id(n: u32) -> DownId {
    DownId { room: RoomId(1), n }
}

fn sender(n: u32, codec: Codec) -> Sender {
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

fn local() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials { ufrag: "00abcdefghijklmn".into(), pwd: "p".repeat(32) },
        fingerprint: Fingerprint([0xab; 32]),
        ice_lite: true,
    }
}
