//! Attacks on a server of this machine, and the call beside them; `cargo xtask attack` runs them.
//!
//! * **Owns:** nothing.
//! * **In:** `attack KIND HTTP-ADDRESS UDP-ADDRESS KEY SECRET ROOM SECONDS RATE`.
//! * **Out:** one JSON value: a report of the call, `/debug/state`, or how much was sent.
//! * **Invariant:** it ends by itself after SECONDS.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use hearth_access::{TokenBuilder, VideoGrant};
use hearth_client::load::{self, Attack, AttackKind, Audience, DataPlan, VideoPlan};
use hearth_client::{Layout, Plan};
use hearth_codec::Codec;
use hearth_net::WallClock;
use hearth_random::{Purpose, Rng};
use hearth_signal::proto::{
    SessionDescription, SignalRequest, TrickleRequest, signal_request::Message as Request,
};
use prost::Message as _;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Addresses that a flood comes from.
const SOURCES: usize = 64;
const BEAT: Duration = Duration::from_millis(1);
/// Connections that are held open, below the usual limit of open files.
const CONNECTIONS: usize = 700;
const CONNECT: Duration = Duration::from_millis(100);
/// Bytes of a reliable message.
const MESSAGE: usize = 15_000;
/// What is changed here and there, and offered.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sctp-port:5000\r\n\
a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\n\
a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rid:q send\r\n\
a=simulcast:send q;h;f\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc-group:FID 1 2\r\n";

struct Args {
    http: SocketAddr,
    media: SocketAddr,
    key: String,
    secret: String,
    room: String,
    time: Duration,
    rate: u32,
}

fn main() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: attack KIND HTTP-ADDRESS UDP-ADDRESS KEY SECRET ROOM SECONDS RATE";
    let [kind, http, media, key, secret, room, seconds, rate] = words.as_slice() else {
        return Err(usage.to_owned());
    };
    let args = Args {
        http: http.parse().map_err(text)?,
        media: media.parse().map_err(text)?,
        key: key.clone(),
        secret: secret.clone(),
        room: room.clone(),
        time: Duration::from_secs(seconds.parse().map_err(text)?),
        rate: rate.parse().map_err(text)?,
    };
    let answer = match kind.as_str() {
        "state" => state(&args)?,
        "call" => report(call(&args))?,
        "nack" => participant(&args, AttackKind::Nacks)?,
        "check" => participant(&args, AttackKind::Checks)?,
        "sealed" => participant(&args, AttackKind::Garbage)?,
        "data" => flood_data(&args)?,
        "stun" => flood(&args, stun)?,
        "turn" => flood(&args, turn)?,
        "turn-tcp" => hold(&args)?,
        "udp" => flood(&args, garbage)?,
        "tcp" => connections(&args)?,
        "signal" => wait_for(signal(&args))??,
        _ => return Err(usage.to_owned()),
    };
    writeln!(std::io::stdout(), "{answer}").map_err(text)
}

/// Everybody sends a voice and a picture, and receives those of the others.
fn call(args: &Args) -> Plan {
    Plan {
        url: format!("ws://{}", args.http),
        api_key: args.key.clone(),
        api_secret: args.secret.clone(),
        room: args.room.clone(),
        video_publishers: 8,
        audio_publishers: 8,
        data_publishers: 0,
        subscribers: 0,
        video: VideoPlan { codec: Codec::Vp8, height: 360, simulcast: false },
        data: DataPlan { rate: 1_000, size: MESSAGE, reliable: true },
        audience: Audience { layout: Layout::Grid3x3, everybody: true, attack: None },
        joins_per_second: 20.0,
        duration: Some(args.time),
        simulate_speakers: false,
        stamped: true,
        identity_prefix: "caller".to_owned(),
    }
}

fn report(plan: Plan) -> Result<String, String> {
    let report = wait_for(load::run(plan, |_| (), std::future::pending()))?.map_err(text)?;
    let total = &report.total;
    let failures: Vec<&str> = report.failures.iter().map(|f| f.reason.as_str()).collect();
    Ok(format!(
        "{{\"joined\":{},\"tracks\":{},\"expected\":{},\"packets\":{},\"lost\":{},\"repaired\":{},\"p50\":{},\
         \"p99\":{},\"failures\":{failures:?}}}",
        report.joined,
        total.received,
        total.expected,
        total.packets,
        total.lost,
        total.recovered,
        total.latency.p50,
        total.latency.p99,
    ))
}

/// A subscriber that attacks.
fn participant(args: &Args, kind: AttackKind) -> Result<String, String> {
    let sent = Arc::new(AtomicU64::new(0));
    let attack = Attack { kind, rate: args.rate, sent: Arc::clone(&sent) };
    let plan = Plan {
        video_publishers: 0,
        audio_publishers: 0,
        subscribers: 1,
        audience: Audience { attack: Some(attack), ..Audience::default() },
        identity_prefix: "attacker".to_owned(),
        ..call(args)
    };
    wait_for(load::run(plan, |_| (), std::future::pending()))?.map_err(text)?;
    Ok(sent_text(sent.load(Ordering::Relaxed), "datagrams"))
}

/// Two send as much reliable data as they can to three that acknowledge none.
fn flood_data(args: &Args) -> Result<String, String> {
    let sent = Arc::new(AtomicU64::new(0));
    let attack = Attack { kind: AttackKind::Deaf, rate: args.rate, sent };
    let plan = Plan {
        video_publishers: 0,
        audio_publishers: 0,
        data_publishers: 2,
        subscribers: 3,
        audience: Audience { attack: Some(attack), ..Audience::default() },
        ..call(args)
    };
    let report = wait_for(load::run(plan, |_| (), std::future::pending()))?.map_err(text)?;
    Ok(sent_text(report.data[0], "messages of 15,000 bytes"))
}

/// What the server counts.
fn state(args: &Args) -> Result<String, String> {
    let grant = VideoGrant { room_list: true, ..VideoGrant::default() };
    let token = token(args, grant)?;
    let mut stream = TcpStream::connect(args.http).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
    let request = format!(
        "GET /debug/state HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.filter(|_| answer.starts_with("HTTP/1.1 200")).ok_or_else(|| format!("refused: {answer}"))
}

/// From many addresses of this machine, as fast as is allowed.
fn flood(args: &Args, make: fn(&mut Rng) -> Vec<u8>) -> Result<String, String> {
    let mut rng = rng()?;
    let mut sources = Vec::new();
    for n in 0..SOURCES {
        let [.., high, low] = n.to_be_bytes();
        let from = Ipv4Addr::new(127, 77, high, low.saturating_add(1));
        let socket = UdpSocket::bind((from, 0)).or_else(|_| UdpSocket::bind(("127.0.0.1", 0)));
        let socket = socket.map_err(text)?;
        socket.set_nonblocking(true).map_err(text)?;
        sources.push(socket);
    }
    let (mut sent, mut beat) = (0_u64, WallClock::now());
    let end = beat + args.time;
    while WallClock::now() < end {
        for _ in 0..args.rate / 1_000 {
            let socket = sources.get(rng.next_u64() as usize % SOURCES);
            let datagram = make(&mut rng);
            sent += u64::from(socket.is_some_and(|s| s.send_to(&datagram, args.media).is_ok()));
        }
        beat += BEAT;
        pause_until(&mut beat);
    }
    Ok(sent_text(sent, "datagrams"))
}

/// Connections of ICE-TCP: some say nothing, some half of a frame, some what is no check of anybody, some end at once.
fn connections(args: &Args) -> Result<String, String> {
    let mut rng = rng()?;
    let mut open = VecDeque::new();
    let (mut sent, mut beat) = (0_u64, WallClock::now());
    let end = beat + args.time;
    while WallClock::now() < end {
        for _ in 0..args.rate.div_ceil(1_000) {
            let Ok(mut stream) = TcpStream::connect_timeout(&args.media, CONNECT) else { continue };
            sent += 1;
            stream.set_nonblocking(true).map_err(text)?;
            let check = stun(&mut rng);
            let frame = [&(check.len() as u16).to_be_bytes(), check.as_slice()].concat();
            let said = match rng.next_u64() % 6 {
                0 | 1 => &[][..],
                2 => &[0xff; 60],
                3 => &frame[..frame.len() / 2],
                4 => &frame,
                _ => continue,
            };
            // The server may have closed it.
            let _ = stream.write_all(said);
            open.push_back(stream);
        }
        while open.len() > CONNECTIONS {
            open.pop_front();
        }
        beat += BEAT;
        pause_until(&mut beat);
    }
    Ok(sent_text(sent, "connections"))
}

/// A check for a peer of some shard or of none, whose password is wrong.
fn stun(rng: &mut Rng) -> Vec<u8> {
    let name = rng.ice_chars(10);
    let username = match rng.next_u64() % 4 {
        shard @ 0..2 => format!("{shard:02x}{name}:abcd"),
        _ => format!("{name}:abcd"),
    };
    let mut attributes = attribute(0x0006, username.as_bytes());
    attributes.extend(attribute(0x0024, &[0x6e, 0, 1, 0xff]));
    attributes.extend(attribute(0x8029, &rng.next_u64().to_be_bytes()));
    let integrity: Vec<u8> = (0..20).map(|_| rng.next_u64() as u8).collect();
    attributes.extend(attribute(0x0008, &integrity));
    let mut message = vec![0, 1];
    // With the fingerprint that follows.
    message.extend((attributes.len() as u16 + 8).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend((0..12).map(|_| rng.next_u64() as u8));
    message.extend(attributes);
    let fingerprint = crc32(&message) ^ 0x5354_554e;
    message.extend(attribute(0x8028, &fingerprint.to_be_bytes()));
    message
}

/// A request for an allocation: as a client begins, with a password that is wrong, or broken.
fn turn(rng: &mut Rng) -> Vec<u8> {
    let mut attributes = attribute(0x0019, &[17, 0, 0, 0]);
    if rng.next_u64().is_multiple_of(2) {
        attributes.extend(attribute(0x0006, rng.ice_chars(40).as_bytes()));
        attributes.extend(attribute(0x0014, b"livekit\0"));
        attributes.extend(attribute(0x0015, rng.ice_chars(20).as_bytes()));
        attributes.extend(attribute(0x0008, &[7; 20]));
    }
    let mut message = vec![0, 3];
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend((0..12).map(|_| rng.next_u64() as u8));
    message.extend(attributes);
    if rng.next_u64().is_multiple_of(4) { damaged(&message, rng) } else { message }
}

/// Connections that say nothing, and some that send one frame after the other, as many a second as is allowed.
fn hold(args: &Args) -> Result<String, String> {
    let mut rng = rng()?;
    let mut held = VecDeque::new();
    let (mut opened, mut beat) = (0_u64, WallClock::now());
    let end = beat + args.time;
    let frames = [[0x40, 0, 0x05, 0xac].as_slice(), &[7; 1_452]].concat().repeat(16);
    while WallClock::now() < end {
        for _ in 0..args.rate.div_ceil(1_000) {
            if let Ok(stream) = TcpStream::connect(args.media) {
                stream.set_nonblocking(true).map_err(text)?;
                held.push_back(stream);
                opened += 1;
            }
            if held.len() > 500 {
                held.pop_front();
            }
        }
        let busy = held.get(rng.next_u64() as usize % held.len().max(1));
        // A full buffer, or a connection that the server has ended, is no error here.
        let _ = busy.map(|mut stream| stream.write(&frames));
        beat += BEAT;
        pause_until(&mut beat);
    }
    Ok(sent_text(opened, "connections"))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = kind.to_be_bytes().to_vec();
    attribute.extend((value.len() as u16).to_be_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// CRC-32 of ISO 3309 (RFC 8489 §14.7).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Something that begins as STUN, DTLS, RTP or RTCP does, or as nothing.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let random = rng.next_u64();
    let mut datagram: Vec<u8> = (0..1 + random % 1_472).map(|_| rng.next_u64() as u8).collect();
    let begin: &[u8] = match random >> 32 & 7 {
        0 => &[0, 1, 0, 80, 0x21, 0x12, 0xa4, 0x42],
        1 => &[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 90, 1],
        2 => &[0x90, 96],
        3 => &[0x81, 205],
        4 => return damaged(&stun(rng), rng),
        _ => &[],
    };
    datagram.iter_mut().zip(begin).for_each(|(to, byte)| *to = *byte);
    datagram
}

/// Requests over HTTP and WebSockets that are nearly right, and some that are not.
async fn signal(args: &Args) -> Result<String, String> {
    let mut rng = rng()?;
    let end = WallClock::now() + args.time;
    let mut sent = 0_u64;
    while WallClock::now() < end {
        let mut grant = VideoGrant::join(&args.room);
        grant.can_subscribe = Some(true);
        let token = token(args, grant)?;
        let url =
            format!("ws://{}/rtc?access_token={token}&protocol=16&auto_subscribe=1", args.http);
        let joined =
            tokio::time::timeout(Duration::from_secs(2), tokio_tungstenite::connect_async(url));
        if let Ok(Ok((mut socket, _))) = joined.await {
            for _ in 0..20 {
                let frame = Bytes::from(request(&mut rng));
                let frame = match rng.next_u64() % 8 {
                    0 => Message::Text(String::from_utf8_lossy(&frame).into_owned().into()),
                    _ => Message::Binary(frame),
                };
                let written = tokio::time::timeout(Duration::from_secs(1), socket.send(frame));
                if !matches!(written.await, Ok(Ok(()))) {
                    break;
                }
                sent += 1;
            }
            // Some are just cut.
            if rng.next_u64().is_multiple_of(2) {
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
            }
        }
        sent += 1;
        if let Ok(mut stream) = TcpStream::connect(args.http) {
            let join = rng.ice_chars(200);
            let request = format!("GET /rtc/v1?join_request={join} HTTP/1.1\r\nhost: x\r\n\r\n");
            let _ = stream.write_all(&damaged(request.as_bytes(), &mut rng));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(sent_text(sent, "requests"))
}

fn request(rng: &mut Rng) -> Vec<u8> {
    let sdp = String::from_utf8_lossy(&damaged(OFFER.as_bytes(), rng)).into_owned();
    let id = rng.next_u32();
    let description = |kind: &str| SessionDescription {
        r#type: kind.to_owned(),
        sdp: sdp.clone(),
        id,
        ..Default::default()
    };
    let message = match rng.next_u64() % 5 {
        0 | 1 => Request::Offer(description("offer")),
        2 => Request::Answer(description("answer")),
        3 => {
            let line = "candidate:1 1 udp 2130706431 10.0.0.1 9 typ host";
            let line = String::from_utf8_lossy(&damaged(line.as_bytes(), rng)).into_owned();
            let init = format!("{{\"candidate\":{line:?},\"sdpMid\":\"0\"}}");
            Request::Trickle(TrickleRequest { candidate_init: init, ..Default::default() })
        }
        _ => return (0..rng.next_u64() % 300).map(|_| rng.next_u64() as u8).collect(),
    };
    let frame = SignalRequest { message: Some(message) }.encode_to_vec();
    if rng.next_u64().is_multiple_of(3) { damaged(&frame, rng) } else { frame }
}

/// Some bytes are others, some are missing.
fn damaged(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.next_u64() % 5 {
        let at = rng.next_u64() as usize % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = rng.next_u64() as u8;
        }
    }
    if rng.next_u64().is_multiple_of(4) {
        bytes.truncate(rng.next_u64() as usize % bytes.len().max(1));
    }
    bytes
}

fn token(args: &Args, grant: VideoGrant) -> Result<String, String> {
    let identity = format!("stranger-{}", rng()?.ice_chars(8));
    TokenBuilder::new()
        .identity(identity)
        .video(grant)
        .sign(&args.key, &args.secret, WallClock::unix_secs(), Duration::from_secs(600))
        .map_err(text)
}

fn rng() -> Result<Rng, String> {
    Ok(hearth_net::seed_from_system().map_err(text)?.rng(Purpose::Client))
}

fn sent_text(sent: u64, what: &str) -> String {
    format!("{{\"sent\":{sent},\"what\":\"{what}\"}}")
}

fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(text)?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done)
}

/// What was missed is not made up for.
fn pause_until(beat: &mut Instant) {
    let now = WallClock::now();
    *beat = (*beat).max(now);
    std::thread::park_timeout(beat.saturating_duration_since(now));
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
