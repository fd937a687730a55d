//! What a packet of sound costs for one listener when nothing of it is in the cache.
//!
//! A packet of each of ten voices enters the shard and leaves for every listener. Between two rounds
//! the caches are filled with something else, as other work does in the 20 ms between two packets of
//! a voice: a small fast room is measured by `forward`, a real one by this.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench says what went wrong by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use hearth_plane::{Command, DownId, DownTrackSpec, Source, TrackId};
use hearth_rtp::{PacketKind, RtpHeader, classify, write_header};
use hearth_shard::SendSlab;
use support::{AUDIO, CLEAN, PUBLISHER, ROOM, World, audio_spec, down_spec, server_addr};

const VOICES: u32 = 10;
/// Bytes; more than the caches of one core and its share of those it has with others.
const OTHER_WORK: usize = 64 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = [80, 400], sample_count = 60, sample_size = 1)]
fn voices_from_cold_caches(bencher: Bencher<'_, '_>, listeners: u32) {
    let mut world = room(listeners);
    let mut slab = SendSlab::new(256);
    let from = world.client(0).addr();
    // The first packets make the streams known.
    for seq in 1..3 {
        for mut datagram in round(&mut world, seq) {
            world.inject(0, from, &mut datagram);
        }
        while world.shards[0].poll_transmit(world.now, &mut slab) {
            slab.clear();
        }
        world.run_for(Duration::from_millis(20));
    }
    let (world, seq) = (RefCell::new(world), Cell::new(3));
    let other = RefCell::new(vec![1_u8; OTHER_WORK]);
    bencher
        .counter(ItemsCount::new((VOICES * listeners) as usize))
        .with_inputs(|| {
            let mut world = world.borrow_mut();
            world.run_for(Duration::from_millis(20));
            let inputs = round(&mut world, seq.get());
            seq.set(seq.get() + 1);
            for byte in other.borrow_mut().iter_mut().step_by(64) {
                *byte = black_box(byte.wrapping_add(1));
            }
            inputs
        })
        .bench_local_values(|mut inputs| {
            let world = &mut *world.borrow_mut();
            let before = world.shards[0].counters().packets_out;
            for datagram in &mut inputs {
                world.shards[0].handle_datagram(world.now, server_addr(), from, datagram);
            }
            // A shard with so much to do collects for 5 ms.
            let due = world.now + Duration::from_millis(6);
            while world.shards[0].poll_transmit(due, &mut slab) {
                slab.clear();
            }
            let sent = world.shards[0].counters().packets_out - before;
            assert_eq!(sent, u64::from(VOICES * listeners));
            inputs
        });
}

/// Node 0 publishes all voices, everybody else hears them.
fn room(listeners: u32) -> World {
    let mut world = World::new(1, 1, CLEAN);
    world.add_publisher(0);
    for voice in 0..VOICES {
        let mut spec = audio_spec(Source::Local(PUBLISHER));
        spec.encodings[0].ssrc = Some(ssrc(voice));
        world.command(0, Command::SetUpTrack { track: track(voice), spec: Box::new(spec) });
    }
    for _ in 0..listeners {
        world.add_connection();
    }
    let all = listeners as usize + 1;
    assert!(world.run_until(Duration::from_secs(10), |w| w.connected() == all), "not connected");
    world.run_for(Duration::from_millis(200));
    for n in 1..=listeners {
        for voice in 0..VOICES {
            let spec = DownTrackSpec {
                down: DownId { room: ROOM, n: n * VOICES + voice + 1_000 },
                ssrc: 1 + n * VOICES + voice,
                track: track(voice),
                ..down_spec(n, AUDIO)
            };
            world.command(0, Command::SetDownTrack { spec: Box::new(spec) });
        }
    }
    world
}

const fn track(voice: u32) -> TrackId {
    TrackId { room: ROOM, n: 100 + voice }
}

const fn ssrc(voice: u32) -> u32 {
    0xa000 + voice
}

/// A packet of each voice, as it comes from the network.
fn round(world: &mut World, seq: u64) -> Vec<Vec<u8>> {
    let packet = |voice| {
        let header = RtpHeader {
            marker: false,
            payload_type: 111,
            seq: seq as u16,
            timestamp: (seq as u32).wrapping_mul(960),
            ssrc: ssrc(voice),
        };
        let mut packet = vec![0x78; 100];
        assert_eq!(write_header(&mut packet, &header, &[]), Some(12));
        packet
    };
    (0..VOICES)
        .map(|voice| {
            let client = world.client(0);
            client.send_rtp(12, &packet(voice), seq);
            let sent = std::iter::from_fn(|| client.poll_transmit());
            sent.filter(|datagram| classify(datagram) == PacketKind::Rtp).last().unwrap()
        })
        .collect()
}
