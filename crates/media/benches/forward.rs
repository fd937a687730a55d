//! Cost of taking in one packet and renumbering it for n subscribers, without sealing.

use std::time::Instant;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use hearth_codec::Codec;
use hearth_media::{DownTrack, Ingest, Target, UpTrack, Verdict};
use hearth_plane::{
    DownId, DownTrackSpec, EncodingSpec, PeerId, ReceiveCodec, RoomId, SendCodec, Source, TrackId,
    UpTrackSpec,
};
use hearth_rtp::{ExtensionIds, RtpHeader, RtpView, write_header};
use hearth_units::MediaKind;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 10, 100, 1_000])]
fn forward_to(bencher: Bencher<'_, '_>, subscribers: u32) {
    let room = RoomId(1);
    let peer = PeerId { room, n: 1 };
    let track = TrackId { room, n: 1 };
    #[expect(clippy::disallowed_methods, reason = "a bench starts somewhere")]
    let now = Instant::now();
    let spec = UpTrackSpec {
        source: Source::Local(peer),
        kind: MediaKind::Video,
        mid: "0".to_owned(),
        codecs: vec![ReceiveCodec { codec: Codec::H264, pt: 96, rtx_pt: None }],
        extensions: ExtensionIds::default(),
        encodings: vec![EncodingSpec::default()],
        nack: true,
        measure_level: false,
    };
    let mut up = UpTrack::new(&spec);
    up.set_subscribed_encodings(now, 1);
    let mut downs: Vec<DownTrack> = (0..subscribers)
        .map(|n| {
            let spec = DownTrackSpec {
                down: DownId { room, n },
                peer,
                track,
                ssrc: n,
                rtx_ssrc: None,
                codecs: vec![SendCodec { codec: Codec::H264, pt: 100, rtx_pt: None }],
                extensions: ExtensionIds::default(),
                cname: String::new(),
            };
            let mut down = DownTrack::new(now, spec, MediaKind::Video, u64::from(n));
            down.set_target(Some(Target { spatial: 0, temporal: 7 }));
            down
        })
        .collect();
    let mut out = [0; 1_500];
    let mut packet = [0_u8; 1_150];
    let mut seq = 0_u16;

    bencher.counter(ItemsCount::new(subscribers)).bench_local(|| {
        let timestamp = u32::from(seq) * 3_000;
        let header = RtpHeader { marker: true, payload_type: 96, seq, timestamp, ssrc: 5 };
        let Some(at) = write_header(&mut packet, &header, &[]) else {
            return;
        };
        if let Some(slice) = packet.get_mut(at..at + 2) {
            slice.copy_from_slice(&[0x65, 0x88]); // first slice of an IDR picture
        }
        seq = seq.wrapping_add(1);
        let Ok(view) = RtpView::parse(&packet) else {
            return;
        };
        let Ingest::Accepted { wanted: Some(seq), .. } = up.ingest(now, 0, &view) else {
            return;
        };
        let (Some(pkt), clocks) = (up.packet(0, seq), up.clocks()) else {
            return;
        };
        for down in &mut downs {
            let verdict = down.forward(now, black_box(&pkt), clocks, &mut out, |_| 0);
            assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
            black_box(&out);
        }
    });
}
