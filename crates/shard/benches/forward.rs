//! What one packet costs for one subscriber: decided, renumbered, written and sealed.
//!
//! One packet of the lowest encoding enters the shard, opened from SRTP, and leaves for n
//! subscribers. The budget is 200 ns for each (packet, subscriber): items in the output.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use hearth_plane::{Command, DownTrackSpec, TrackId, UpTrackSpec};
use hearth_rtp::{PacketKind, RtpHeader, classify, write_header};
use hearth_shard::SendSlab;
use support::{CLEAN, PUBLISHER, ROOM, World, down_spec, server_addr, video_spec};

/// Packets that enter between two measurements of the clock.
const BATCH: u64 = 32;
const TRACK: TrackId = TrackId { room: ROOM, n: 9 };
const EXTRA_SSRC: u32 = 0xabcd;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 100, 1_000], sample_count = 30, sample_size = 1)]
fn forward_and_seal(bencher: Bencher<'_, '_>, subscribers: u32) {
    let mut world = World::new(1, 1, CLEAN);
    world.add_publisher(0);
    // A track of its own, whose packets this bench makes.
    let mut spec: UpTrackSpec = video_spec(hearth_plane::Source::Local(PUBLISHER));
    spec.encodings.truncate(1);
    spec.encodings[0].ssrc = Some(EXTRA_SSRC);
    world.command(0, Command::SetUpTrack { track: TRACK, spec: Box::new(spec) });
    for _ in 0..subscribers {
        world.add_connection();
    }
    let all = subscribers as usize + 1;
    assert!(world.run_until(Duration::from_secs(10), |w| w.connected() == all), "not connected");
    // The clients learn of it a little later.
    world.run_for(Duration::from_millis(200));
    for n in 1..=subscribers {
        let spec = DownTrackSpec { track: TRACK, ..down_spec(n, TRACK) };
        let spec = DownTrackSpec { codecs: down_spec(n, support::VIDEO).codecs, ..spec };
        world.command(0, Command::SetDownTrack { spec: Box::new(spec) });
    }
    let mut slab = SendSlab::new(64);
    let mut seq = 1_u64;
    let from = world.client(0).addr();
    let batch = |world: &mut World, seq: &mut u64| -> Vec<Vec<u8>> {
        (0..BATCH).map(|_| sealed(world, seq)).collect()
    };
    // The first packets make the stream and its target known.
    for _ in 0..2 {
        for mut datagram in batch(&mut world, &mut seq) {
            world.inject(0, from, &mut datagram);
        }
        while world.shards[0].poll_transmit(world.now, &mut slab) {
            slab.clear();
        }
        world.run_for(Duration::from_millis(50));
    }
    let world = std::cell::RefCell::new(world);
    let seq = std::cell::Cell::new(seq);
    bencher
        .counter(ItemsCount::new(BATCH as usize * subscribers as usize))
        .with_inputs(|| {
            let mut next = seq.get();
            let inputs = batch(&mut world.borrow_mut(), &mut next);
            seq.set(next);
            inputs
        })
        .bench_local_values(|mut inputs| {
            let world = &mut *world.borrow_mut();
            let before = world.shards[0].counters().packets_out;
            for datagram in &mut inputs {
                world.shards[0].handle_datagram(world.now, server_addr(), from, datagram);
            }
            let mut written = 0;
            while world.shards[0].poll_transmit(world.now, &mut slab) {
                written += slab.entries().len() as u64;
                slab.clear();
            }
            let sent = world.shards[0].counters().packets_out - before;
            assert_eq!(sent, BATCH * u64::from(subscribers));
            assert!(written >= sent);
            inputs
        });
}

/// A key frame in one packet of 1,100 bytes, as it comes from the network.
fn sealed(world: &mut World, seq: &mut u64) -> Vec<u8> {
    let header = RtpHeader {
        marker: true,
        payload_type: 96,
        seq: *seq as u16,
        timestamp: (*seq as u32).wrapping_mul(3_000),
        ssrc: EXTRA_SSRC,
    };
    let mut packet = vec![0; 1_100];
    assert_eq!(write_header(&mut packet, &header, &[]), Some(12));
    let [high, low] = (0x8000 | (*seq & 0x7fff) as u16).to_be_bytes();
    packet[12..16].copy_from_slice(&[0x90, 0x80, high, low]);
    let client = world.client(0);
    client.send_rtp(12, &packet, *seq);
    *seq += 1;
    let sent = std::iter::from_fn(|| client.poll_transmit());
    sent.filter(|datagram| classify(datagram) == PacketKind::Rtp).last().unwrap()
}
