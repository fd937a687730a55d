//! Framed streams over the kernel's TCP on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hearth_datagram::{Endpoint, SendSlab, TrafficClass};
use hearth_net::{FrameBuffer, FramedStream, Poller, Sent, StreamEnd, WallClock, listen_tcp};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn frames_arrive_whole_however_they_are_cut_on_the_way() {
    let (mut stream, mut client) = connect();
    let mut wire = Vec::new();
    for n in 0..200_u8 {
        let len = u16::from(n) * 7;
        wire.extend(len.to_be_bytes());
        wire.extend(vec![n; usize::from(len)]);
    }
    let mut buffer = FrameBuffer::new();
    let mut next = 0;
    for piece in wire.chunks(997) {
        client.write_all(piece).unwrap();
        let _ = read_some(&mut stream, &mut buffer).unwrap();
        while let Some(frame) = buffer.next_frame() {
            assert_eq!(
                (frame.len(), frame.iter().all(|byte| *byte == next)),
                (usize::from(next) * 7, true)
            );
            next += 1;
        }
    }
    assert_eq!(next, 200);
    drop(client);
    assert_eq!(read_some(&mut stream, &mut buffer), Err(StreamEnd::Closed));
}

#[test]
fn a_frame_longer_than_a_datagram_ends_the_stream_after_what_came_before() {
    let (mut stream, mut client) = connect();
    client.write_all(&[0, 1, 7, 0xff, 0xff, 1, 2, 3]).unwrap();
    let mut buffer = FrameBuffer::new();
    assert_eq!(read_some(&mut stream, &mut buffer), Err(StreamEnd::TooLong));
    assert_eq!(buffer.next_frame(), Some([7].as_mut_slice()));
    assert_eq!(buffer.next_frame(), None);
}

#[test]
fn many_datagrams_leave_in_one_call_and_arrive_in_frames() {
    let (mut stream, mut client) = connect();
    let slab = slab(stream.path(), 30, TrafficClass::Video);
    let sent = stream.send(WallClock::now(), slab.bytes(), slab.entries());
    assert_eq!((sent.datagrams, sent.calls, sent.full), (30, 1, 0));
    let mut wire = vec![0; 30 * 1_202];
    client.read_exact(&mut wire).unwrap();
    for (n, frame) in (0..30_u8).zip(wire.chunks(1_202)) {
        assert_eq!((&frame[..2], &frame[2..]), ([0x04, 0xb0].as_slice(), [n; 1_200].as_slice()));
    }
}

#[test]
fn a_slow_reader_gets_whole_frames_and_what_is_not_video_first() {
    let (mut stream, mut client) = connect();
    let mut poller = Poller::new().unwrap();
    poller.add_stream(&stream, 7).unwrap();
    let now = WallClock::now();
    let mut sent = Sent::default();
    // Kernels buffer megabytes of loopback.
    for _ in 0..400 {
        let slab = slab(stream.path(), 64, TrafficClass::Video);
        add(&mut sent, stream.send(now, slab.bytes(), slab.entries()));
    }
    assert!(sent.full > 1_000, "{sent:?}");
    let mut slab = SendSlab::new(1);
    assert!(slab.push(stream.path(), &[200; 100]));
    let voice = stream.send(now, slab.bytes(), slab.entries());
    assert_eq!((voice.delayed, voice.full), (1, 0), "it has room of its own");
    poller.wait_for_room(&stream, 7, true).unwrap();

    let mut wire = Vec::new();
    let end = WallClock::now() + PATIENCE;
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    loop {
        let mut piece = vec![0; 65_536];
        match client.read(&mut piece) {
            Ok(len) => wire.extend_from_slice(&piece[..len]),
            Err(_) if !stream.has_unsent() => break,
            Err(_) => assert!(WallClock::now() < end, "{sent:?}"),
        }
        poller.wait(Duration::ZERO).unwrap();
        if !poller.ready().is_empty() {
            add(&mut sent, stream.flush(now));
        }
    }
    let frames = frames(&wire);
    assert!(
        frames
            .iter()
            .all(|(len, byte)| (*len, *byte < 64) == (1_200, true) || (*len, *byte) == (100, 200))
    );
    let voice = frames.iter().position(|(len, _)| *len == 100).unwrap();
    let behind = frames.len() - voice - 1;
    assert!((1..=256 * 1_024 / 1_202).contains(&behind), "{behind} frames of video wait behind it");
    assert_eq!(sent.datagrams + 1, frames.len() as u64 + 1);
}

#[test]
fn a_stream_whose_reader_is_gone_is_broken() {
    let (mut stream, client) = connect();
    drop(client);
    let end = WallClock::now() + PATIENCE;
    while !stream.is_broken() {
        assert!(WallClock::now() < end);
        let slab = slab(stream.path(), 1, TrafficClass::Vital);
        stream.send(WallClock::now(), slab.bytes(), slab.entries());
    }
    let slab = slab(stream.path(), 3, TrafficClass::Vital);
    assert_eq!(stream.send(WallClock::now(), slab.bytes(), slab.entries()).refused.other, 3);
}

#[test]
fn both_families_can_have_one_port() {
    let v4 = listen_tcp("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = v4.local_addr().unwrap().port();
    // A machine without IPv6 has nothing to show.
    if let Err(error) = listen_tcp(format!("[::]:{port}").parse().unwrap()) {
        assert_ne!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
    let again = listen_tcp(format!("0.0.0.0:{port}").parse().unwrap());
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

fn connect() -> (FramedStream, TcpStream) {
    let listener = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    listener.set_nonblocking(false).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, from) = listener.accept().unwrap();
    let stream = FramedStream::new(socket).unwrap();
    assert_eq!(stream.path(), Endpoint::tcp(listener.local_addr().unwrap(), from));
    (stream, client)
}

/// Reads when there is something.
fn read_some(stream: &mut FramedStream, buffer: &mut FrameBuffer) -> Result<bool, StreamEnd> {
    let mut poller = Poller::new().unwrap();
    poller.add_stream(stream, 0).unwrap();
    poller.wait(PATIENCE).unwrap();
    assert_eq!(poller.ready(), [0]);
    stream.read(buffer)
}

/// Datagrams of 1,200 bytes, each full of its number.
fn slab(path: Endpoint, count: u8, class: TrafficClass) -> SendSlab {
    let mut slab = SendSlab::new(usize::from(count));
    for n in 0..count {
        slab.reserve().unwrap()[..1_200].fill(n);
        slab.commit_as(class, path, 1_200);
    }
    slab
}

fn add(sum: &mut Sent, sent: Sent) {
    sum.datagrams += sent.datagrams;
    sum.full += sent.full;
    sum.delayed += sent.delayed;
}

/// Length and first byte of each frame.
fn frames(mut wire: &[u8]) -> Vec<(usize, u8)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = wire.split_first_chunk() {
        let (frame, later) = rest.split_at(usize::from(u16::from_be_bytes(*header)));
        frames.push((frame.len(), frame[0]));
        wire = later;
    }
    frames
}
