//! One RTP packet: its parts add up, and what was read can be written and reads back the same.
#![no_main]

use hearth_rtp::{
    ExtensionIds, ReadExtensions, RtpHeader, RtpView, classify, original_seq, write_header,
};
use libfuzzer_sys::fuzz_target;

const IDS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    abs_send_time: Some(6),
    abs_capture_time: Some(7),
    dependency_descriptor: Some(8),
    video_orientation: Some(9),
    playout_delay: Some(10),
};

fuzz_target!(|packet: &[u8]| {
    classify(packet);
    let Ok(view) = RtpView::parse(packet) else { return };
    let parts = view.header_len + view.payload.len() + usize::from(view.padding);
    assert_eq!(parts, packet.len());
    ReadExtensions::read(&view, &IDS);
    assert_eq!(original_seq(view.payload).is_some(), view.payload.len() >= 2);

    let extensions: Vec<_> = view.extensions().collect();
    for (id, _) in &extensions {
        let first = extensions.iter().find(|(other, _)| other == id).map(|(_, data)| *data);
        assert_eq!(view.extensions().find(*id), first);
    }
    let RtpView { marker, payload_type, seq, timestamp, ssrc, .. } = view;
    let header = RtpHeader { marker, payload_type, seq, timestamp, ssrc };
    let mut written = vec![0; packet.len()];
    let len = write_header(&mut written, &header, &extensions).expect("it fitted before");
    assert!(len <= view.header_len);
    let again = RtpView::parse(&written[..len]).expect("what is written can be read");
    assert_eq!((again.marker, again.payload_type), (marker, payload_type));
    assert_eq!((again.seq, again.timestamp, again.ssrc), (seq, timestamp, ssrc));
    assert!(again.extensions().eq(extensions));
});
