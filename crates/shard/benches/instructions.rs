//! The same packets every time, for `cargo xtask gate`, which counts the instructions they take.
//!
//! Counted are the calls of [`measured_packets`] only: one packet of 1,100 bytes enters, and leaves
//! sealed for eight subscribers, two hundred times.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use hearth_plane::{Command, DownTrackSpec, TrackId, UpTrackSpec};
use hearth_rtp::{PacketKind, RtpHeader, classify, write_header};
use hearth_shard::{SendSlab, Shard};
use support::{CLEAN, PUBLISHER, ROOM, World, down_spec, server_addr, video_spec};

const TRACK: TrackId = TrackId { room: ROOM, n: 9 };
const SSRC: u32 = 0xabcd;
const SUBSCRIBERS: u32 = 8;
const PACKETS: u64 = 200;

fn main() {
    let mut world = World::new(1, 1, CLEAN);
    world.add_publisher(0);
    let mut spec: UpTrackSpec = video_spec(hearth_plane::Source::Local(PUBLISHER));
    spec.encodings.truncate(1);
    spec.encodings[0].ssrc = Some(SSRC);
    world.command(0, Command::SetUpTrack { track: TRACK, spec: Box::new(spec) });
    for _ in 0..SUBSCRIBERS {
        world.add_connection();
    }
    let all = SUBSCRIBERS as usize + 1;
    assert!(world.run_until(Duration::from_secs(10), |w| w.connected() == all), "not connected");
    world.run_for(Duration::from_millis(200));
    for n in 1..=SUBSCRIBERS {
        let codecs = down_spec(n, support::VIDEO).codecs;
        let spec = DownTrackSpec { codecs, ..down_spec(n, TRACK) };
        world.command(0, Command::SetDownTrack { spec: Box::new(spec) });
    }
    let from = world.client(0).addr();
    let mut slab = SendSlab::new(64);
    let mut sealed: Vec<Vec<u8>> = (1..=PACKETS + 20).map(|seq| sealed(&mut world, seq)).collect();
    let mut rest = sealed.split_off(20);
    // The first ones make the stream and its target known.
    let now = world.now;
    for datagram in &mut sealed {
        world.inject(0, from, datagram);
        while world.shards[0].poll_transmit(now, &mut slab) {
            slab.clear();
        }
    }
    let before = world.shards[0].counters().packets_out;
    for datagram in &mut rest {
        measured_packets(&mut world.shards[0], now, from, datagram, &mut slab);
    }
    let forwarded = world.shards[0].counters().packets_out - before;
    assert_eq!(forwarded, PACKETS * u64::from(SUBSCRIBERS), "not all were forwarded");
    use std::io::Write as _;
    // Read by the gate.
    let _ = writeln!(std::io::stdout(), "forwarded {forwarded}");
}

/// Found by its name in the profile, hence not inlined.
#[inline(never)]
fn measured_packets(
    shard: &mut Shard,
    now: std::time::Instant,
    from: std::net::SocketAddr,
    datagram: &mut [u8],
    slab: &mut SendSlab,
) {
    shard.handle_datagram(now, server_addr(), from, datagram);
    while shard.poll_transmit(now, slab) {
        slab.clear();
    }
}

/// A key frame in one packet, as it comes from the network.
fn sealed(world: &mut World, seq: u64) -> Vec<u8> {
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
