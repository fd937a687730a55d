//! The forwarding path must not touch the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use hearth_codec::Codec;
use hearth_media::{DownTrack, Ingest, Target, UpTrack, Verdict};
use hearth_plane::{
    DownId, DownTrackSpec, EncodingSpec, PeerId, ReceiveCodec, RoomId, SendCodec, Source, TrackId,
    UpTrackSpec,
};
use hearth_rtp::{ExtensionIds, RtpHeader, RtpView, write_header};
use hearth_units::MediaKind;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

struct Counting;

#[expect(unsafe_code, reason = "counting allocator, test only")]
// SAFETY: every call goes to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: same contract as ours.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn ingesting_and_forwarding_a_packet_does_not_allocate() {
    let room = RoomId(1);
    let codec = Codec::Vp8;
    let (peer, track) = (PeerId { room, n: 1 }, TrackId { room, n: 1 });
    #[expect(clippy::disallowed_methods, reason = "std offers no other way to make an Instant")]
    let now = Instant::now();
    let spec = UpTrackSpec {
        source: Source::Local(peer),
        kind: MediaKind::Video,
        mid: "0".to_owned(),
        codecs: vec![ReceiveCodec { codec, pt: 96, rtx_pt: None }],
        extensions: ExtensionIds::default(),
        encodings: vec![EncodingSpec::default()],
        nack: true,
        measure_level: false,
    };
    let mut up = UpTrack::new(&spec);
    up.set_subscribed_encodings(now, 1);
    let spec = DownTrackSpec {
        down: DownId { room, n: 1 },
        peer,
        track,
        ssrc: 9,
        rtx_ssrc: None,
        codecs: vec![SendCodec { codec, pt: 100, rtx_pt: None }],
        extensions: ExtensionIds::default(),
        cname: "c".to_owned(),
    };
    let mut down = DownTrack::new(now, spec, MediaKind::Video, 1);
    down.set_target(Some(Target { spatial: 0, temporal: 7 }));
    let mut out = [0; 1_500];

    let before = ALLOCATIONS.get();
    let mut forwarded = 0;
    for seq in 0..2_000_u16 {
        let (packet, len) = vp8_packet(seq);
        let view = RtpView::parse(&packet[..len]).unwrap();
        let Ingest::Accepted { wanted: Some(seq), .. } = up.ingest(now, 0, &view) else {
            panic!("not stored");
        };
        let pkt = up.packet(0, seq).unwrap();
        if let Verdict::Forward(_) = down.forward(now, &pkt, up.clocks(), &mut out, |_| 0) {
            forwarded += 1;
        }
    }
    assert_eq!((ALLOCATIONS.get() - before, forwarded), (0, 2_000));
}

/// One picture a packet: extended descriptor with a 15-bit picture id; the first is a key frame.
fn vp8_packet(seq: u16) -> ([u8; 1_200], usize) {
    let mut packet = [0; 1_200];
    let timestamp = u32::from(seq) * 3_000;
    let header = RtpHeader { marker: true, payload_type: 96, seq, timestamp, ssrc: 5 };
    assert_eq!(write_header(&mut packet, &header, &[]), Some(12));
    let [high, low] = (0x8000 | seq).to_be_bytes();
    packet[12..17].copy_from_slice(&[0x90, 0x80, high, low, u8::from(seq != 0)]);
    (packet, 1_150)
}
