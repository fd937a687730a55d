//! A session description: what is kept is bounded, every reader copes with it, and it survives being
//! written.
#![no_main]

use hearth_sdp::{Attributes, MAX_ATTRIBUTES, MAX_FORMATS, MAX_MEDIA, MAX_TEXT, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(session) = Session::parse(text) else { return };
    session.bundles().count();
    assert!(session.media.len() <= MAX_MEDIA);
    read(&session.attributes);
    for media in &session.media {
        media.mid();
        session.direction(media);
        media.is_live();
        assert!((1..=MAX_FORMATS).contains(&media.formats.len()));
        read(&media.attributes);
    }
    let written = session.to_string();
    if written.len() <= MAX_TEXT {
        assert_eq!(Session::parse(&written).as_ref(), Ok(&session));
    }
});

fn read(attributes: &Attributes) {
    assert!(attributes.len() <= MAX_ATTRIBUTES);
    if let Some((ufrag, pwd)) = attributes.ice() {
        assert!(ufrag.len() <= 256 && pwd.len() <= 256);
    }
    assert!(attributes.fingerprints().all(|fingerprint| fingerprint.digest.len() <= 64));
    attributes.setup();
    attributes.candidates().count();
    attributes.msid();
    attributes.sctp_port();
    attributes.max_message_size();
    assert!(attributes.rtpmaps().all(|map| map.pt < 128));
    assert!(attributes.fmtps().all(|fmtp| fmtp.pt < 128 && fmtp.param("apt") != Some(" ")));
    assert!(attributes.rtcp_fbs().all(|feedback| feedback.pt.is_none_or(|pt| pt < 128)));
    assert!(attributes.extmaps().all(|map| map.id != 0));
    attributes.ssrcs().count();
    assert!(attributes.ssrc_groups().all(|group| group.ssrcs.len() <= 8));
    assert!(attributes.rids().all(|rid| rid.id.is_ascii() && rid.id.len() <= 255));
    if let Some(simulcast) = attributes.simulcast() {
        assert!(simulcast.send.len() <= 16 && simulcast.recv.len() <= 16);
    }
}
