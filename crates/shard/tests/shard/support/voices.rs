//! A room in which several people talk to many listeners.

use std::time::Duration;

use hearth_plane::{Command, DownId, DownTrackSpec, LayerLimit, Source, TrackId};
use hearth_rtp::{PacketKind, RtpHeader, classify, write_header};

use super::{AUDIO, CLEAN, PUBLISHER, ROOM, World, audio_spec, down_spec};

/// Node 0 publishes all voices, everybody else hears them.
pub(crate) fn room(voices: u32, subscribers: u32) -> World {
    let mut world = World::new(1, 1, CLEAN);
    world.add_publisher(0);
    for voice in 0..voices {
        let mut spec = audio_spec(Source::Local(PUBLISHER));
        spec.encodings[0].ssrc = Some(ssrc(voice));
        world.command(0, Command::SetUpTrack { track: track(voice), spec: Box::new(spec) });
    }
    for _ in 0..subscribers {
        world.add_connection();
    }
    let all = subscribers as usize + 1;
    assert!(world.run_until(Duration::from_secs(10), |w| w.connected() == all), "not connected");
    world.run_for(Duration::from_millis(200));
    for n in 1..=subscribers {
        for voice in 0..voices {
            let spec = subscription(n, voice, 0);
            world
                .command(0, Command::SetDownTrack { spec: Box::new(spec), limit: LayerLimit::ALL });
        }
    }
    world
}

/// Listener `n` hears one of the first ten voices, for the first time or again: up to a hundred times.
pub(crate) fn subscription(n: u32, voice: u32, again: u32) -> DownTrackSpec {
    let number = 100_000 + n * 1_000 + voice * 100 + again;
    let down = DownId { room: ROOM, n: number };
    DownTrackSpec { down, ssrc: number, track: track(voice), ..down_spec(n, AUDIO) }
}

const fn track(voice: u32) -> TrackId {
    TrackId { room: ROOM, n: 100 + voice }
}

const fn ssrc(voice: u32) -> u32 {
    0xa000 + voice
}

/// What a voice says in a packet: five bytes that tell it from all others, then the same.
pub(crate) fn words(voice: u32, seq: u64, size: usize) -> Vec<u8> {
    let [_, _, _, _, s0, s1, s2, s3] = seq.to_be_bytes();
    let mut words = vec![0x78; size];
    words[..5].copy_from_slice(&[voice as u8, s0, s1, s2, s3]);
    words
}

/// A packet of each voice with so many bytes of payload, five at least, as it comes from the network.
pub(crate) fn round<const N: usize>(
    world: &mut World,
    seq: u64,
    sizes: [usize; N],
) -> Vec<Vec<u8>> {
    let packet = |(voice, size): (u32, usize)| {
        let header = RtpHeader {
            marker: false,
            payload_type: 111,
            seq: seq as u16,
            timestamp: (seq as u32).wrapping_mul(960),
            ssrc: ssrc(voice),
        };
        let mut packet = vec![0; 12];
        assert_eq!(write_header(&mut packet, &header, &[]), Some(12));
        packet.extend(words(voice, seq, size));
        packet
    };
    (0..)
        .zip(sizes)
        .map(|voice| {
            let client = world.client(0);
            client.send_rtp(12, &packet(voice), seq);
            let sent = std::iter::from_fn(|| client.poll_transmit());
            sent.filter(|datagram| classify(datagram) == PacketKind::Rtp).last().unwrap()
        })
        .collect()
}
