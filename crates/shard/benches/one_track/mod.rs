//! A shard with one track of one encoding, whose packets a bench makes, and its subscribers.

use std::time::Duration;

use hearth_plane::{Command, DownTrackSpec, LayerLimit, TrackId, UpTrackSpec};
use hearth_rtp::{PacketKind, RtpHeader, classify, write_header};

use crate::support::{CLEAN, PUBLISHER, ROOM, VIDEO, World, down_spec, video_spec};

const TRACK: TrackId = TrackId { room: ROOM, n: 9 };
const SSRC: u32 = 0xabcd;

/// All are connected and subscribed; node 0 publishes.
pub(crate) fn world(subscribers: u32) -> World {
    let mut world = World::new(1, 1, CLEAN);
    world.add_publisher(0);
    let mut spec: UpTrackSpec = video_spec(hearth_plane::Source::Local(PUBLISHER));
    spec.encodings.truncate(1);
    spec.encodings[0].ssrc = Some(SSRC);
    world.command(0, Command::SetUpTrack { track: TRACK, spec: Box::new(spec) });
    for _ in 0..subscribers {
        world.add_connection();
    }
    let all = subscribers as usize + 1;
    assert!(world.run_until(Duration::from_secs(10), |w| w.connected() == all), "not connected");
    // The clients learn of it a little later.
    world.run_for(Duration::from_millis(200));
    for n in 1..=subscribers {
        let codecs = down_spec(n, VIDEO).codecs;
        let spec = DownTrackSpec { codecs, ..down_spec(n, TRACK) };
        world.command(0, Command::SetDownTrack { spec: Box::new(spec), limit: LayerLimit::ALL });
    }
    world
}

/// A key frame in one packet of 1,100 bytes, as it comes from the network.
pub(crate) fn sealed(world: &mut World, seq: u64) -> Vec<u8> {
    let header = RtpHeader {
        marker: true,
        payload_type: 96,
        seq: seq as u16,
        timestamp: (seq as u32).wrapping_mul(3_000),
        ssrc: SSRC,
    };
    let mut packet = vec![0; 1_100];
    assert_eq!(write_header(&mut packet, &header, &[]), Some(12));
    let [high, low] = (0x8000 | (seq & 0x7fff) as u16).to_be_bytes();
    packet[12..16].copy_from_slice(&[0x90, 0x80, high, low]);
    let client = world.client(0);
    client.send_rtp(12, &packet, seq);
    let sent = std::iter::from_fn(|| client.poll_transmit());
    sent.filter(|datagram| classify(datagram) == PacketKind::Rtp).last().unwrap()
}
