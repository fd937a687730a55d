//! A client that publishes VP8 in three encodings by RID, and Opus.
//!
//! * **Owns:** four RTP streams, their retransmission streams, and a history for retransmission.
//! * **In:** [`Publisher::handle`] (a datagram of the server), [`Publisher::run`] (time).
//! * **Out:** datagrams in [`Publisher::client`].
//! * **Invariant:** a keyframe is sent at the start, after a PLI, and never otherwise; each other
//!   frame refers to the one before it in its encoding. A packet is not retransmitted again within the round-trip
//!   time and 5 ms, as in libwebrtc.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hearth_codec::{Codec, Vp8Descriptor};
use hearth_plane::ReceiveCodec;
use hearth_rtp::rtcp::{DlrrReport, Packet, Packets, SenderInfo, Writer, XrBlock};
use hearth_rtp::{ExtensionIds, RtpHeader, pad, write_header};
use hearth_units::ntp_mid32;

use crate::client::{Client, Received};

const FRAME: Duration = Duration::from_nanos(33_333_333);
const AUDIO: Duration = Duration::from_millis(20);
const REPORT: Duration = Duration::from_secs(1);
/// Packets that carry mid and rid; a browser stops at the first receiver report.
const NAMED_PACKETS: u64 = 50;
/// Beyond the round trip (libwebrtc).
const REPEAT_MARGIN: Duration = Duration::from_millis(5);
/// Two seconds of the highest encoding.
const HISTORY: usize = 256;
const RIDS: [&str; 3] = ["q", "h", "f"];
/// Packets of a keyframe, and of another one.
const PARTS: [(u8, u8); 3] = [(3, 1), (6, 2), (12, 4)];
/// Payload bytes of one packet.
const BODY: usize = 1_000;

/// The header extensions that it sends.
pub fn extensions() -> ExtensionIds {
    ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        audio_level: Some(4),
        transport_cc: Some(5),
        ..ExtensionIds::default()
    }
}

/// The spec of its video section.
pub fn video_codecs() -> Vec<ReceiveCodec> {
    vec![ReceiveCodec { codec: Codec::Vp8, pt: 96, rtx_pt: Some(97) }]
}

/// The spec of its audio section.
pub fn audio_codecs() -> Vec<ReceiveCodec> {
    vec![ReceiveCodec { codec: Codec::Opus, pt: 111, rtx_pt: None }]
}

/// See the module documentation.
pub struct Publisher {
    /// Its transport.
    pub client: Client,
    /// Which encodings are sent; the server may ask for fewer.
    pub enabled: [bool; 3],
    /// The first packet of each keyframe is lost, but not its retransmission.
    pub loses_key_starts: bool,
    /// Keyframe requests received, by encoding.
    pub plis: [u64; 3],
    /// Retransmissions sent on request (NACK).
    pub retransmitted: u64,
    /// NACKed numbers that were retransmitted just before, and ignored.
    pub ignored: u64,
    /// The round trip as it knows it.
    pub rtt: Duration,
    /// Each frame of video is followed by a packet of padding in its stream.
    pub pads: bool,
    encodings: [Encoding; 3],
    audio: Stream,
    frame: u32,
    transport_seq: u16,
    clocks: Option<Clocks>,
}

struct Clocks {
    start: Instant,
    next_frame: Instant,
    next_audio: Instant,
    next_report: Instant,
}

struct Stream {
    ssrc: u32,
    /// Of the next packet, without wraps.
    seq: u64,
    first_timestamp: u32,
    packets: u64,
    octets: u32,
}

struct Encoding {
    media: Stream,
    rtx: Stream,
    wants_key: bool,
    picture_id: u16,
    tl0: u8,
    keyidx: u8,
    /// Frames of this encoding so far.
    frame: u32,
    sent: VecDeque<Sent>,
}

struct Sent {
    seq: u16,
    marker: bool,
    timestamp: u32,
    payload: Vec<u8>,
    repeated: Option<Instant>,
}

impl Publisher {
    /// Begins to send as soon as it is connected. `seed` gives SSRCs and the first numbers.
    pub fn new(client: Client, seed: u32) -> Self {
        let stream = |n: u32| Stream {
            ssrc: 0x1000 + seed.wrapping_mul(0x100) + n,
            // Near the wrap, which a test should see.
            seq: 65_000 + u64::from(seed.wrapping_mul(7).wrapping_add(n * 31) % 500),
            first_timestamp: seed
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(n.wrapping_mul(0x5555_5555)),
            packets: 0,
            octets: 0,
        };
        let encoding = |n: u32| Encoding {
            media: stream(n),
            rtx: stream(n + 3),
            wants_key: true,
            picture_id: 0x7ff0_u16.wrapping_sub(n as u16 * 100),
            tl0: 250,
            keyidx: 30,
            frame: 0,
            sent: VecDeque::new(),
        };
        Self {
            client,
            enabled: [true; 3],
            loses_key_starts: false,
            plis: [0; 3],
            retransmitted: 0,
            ignored: 0,
            rtt: Duration::ZERO,
            pads: false,
            encodings: [encoding(0), encoding(1), encoding(2)],
            audio: stream(6),
            frame: 0,
            transport_seq: 0,
            clocks: None,
        }
    }

    /// A datagram of the server.
    pub fn handle(&mut self, now: Instant, buf: &mut [u8]) {
        if let Received::Rtcp(compound) = self.client.handle(now, buf) {
            for packet in Packets::new(&compound) {
                self.handle_rtcp(now, &packet);
            }
        }
    }

    /// Sends packets that are due.
    pub fn run(&mut self, now: Instant) {
        self.client.run(now);
        if !self.client.is_connected() {
            return;
        }
        let mut clocks = self.clocks.take().unwrap_or(Clocks {
            start: now,
            next_frame: now,
            next_audio: now,
            next_report: now + REPORT / 4,
        });
        if clocks.next_frame <= now {
            clocks.next_frame += FRAME;
            for i in 0..3 {
                if self.enabled[i] {
                    self.send_frame(i, now - clocks.start);
                }
            }
            self.frame += 1;
        }
        if clocks.next_audio <= now {
            clocks.next_audio += AUDIO;
            self.send_audio(now - clocks.start);
        }
        if clocks.next_report <= now {
            clocks.next_report += REPORT;
            self.send_reports(now - clocks.start);
        }
        self.clocks = Some(clocks);
    }

    /// When to call [`run`](Self::run) next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let media = self.clocks.as_ref().map(|c| c.next_frame.min(c.next_audio).min(c.next_report));
        self.client.poll_timeout().into_iter().chain(media).min()
    }

    /// Goes on under other SSRCs, with other sequence numbers and timestamps, and no keyframe.
    pub fn change_ssrcs(&mut self) {
        for stream in self
            .encodings
            .iter_mut()
            .flat_map(|enc| [&mut enc.media, &mut enc.rtx])
            .chain([&mut self.audio])
        {
            stream.ssrc += 0x10;
            stream.seq = stream.seq.wrapping_sub(20_000);
            stream.first_timestamp = stream.first_timestamp.wrapping_add(0x1234_5678);
            stream.packets = 0;
        }
        for enc in &mut self.encodings {
            enc.sent.clear();
        }
    }

    /// Its encodings by RID, lowest first.
    pub fn rids() -> [&'static str; 3] {
        RIDS
    }

    fn handle_rtcp(&mut self, now: Instant, packet: &Packet<'_>) {
        match packet {
            Packet::Pli { media, .. } => {
                let found = self.encodings.iter_mut().zip(&mut self.plis);
                let Some((encoding, plis)) =
                    found.into_iter().find(|(e, _)| e.media.ssrc == *media)
                else {
                    panic!("a key frame of {media:#x}, which is nothing that is sent");
                };
                encoding.wants_key = true;
                *plis += 1;
            }
            Packet::Nack { media, seqs, .. } => {
                // None if it is of a stream that is no more.
                let at = self.encodings.iter().position(|e| e.media.ssrc == *media);
                for seq in *seqs {
                    if let Some(at) = at {
                        self.retransmit(now, at, seq);
                    }
                }
            }
            Packet::Xr { sender, blocks } => {
                for block in *blocks {
                    if let XrBlock::ReceiverReferenceTime { ntp } = block {
                        self.answer_reference_time(*sender, ntp);
                    }
                }
            }
            Packet::SenderReport { .. }
            | Packet::ReceiverReport { .. }
            | Packet::Sdes
            | Packet::Bye { .. }
            | Packet::TransportCc(_) => {}
            Packet::Fir { .. } | Packet::Remb { .. } | Packet::Unknown { .. } => {
                panic!("not negotiated: {packet:?}")
            }
        }
    }

    fn answer_reference_time(&mut self, ssrc: u32, ntp: u64) {
        let mut buf = [0; 100];
        let mut writer = Writer::new(&mut buf);
        let report = DlrrReport { ssrc, last_rr: ntp_mid32(ntp), delay: 0 };
        writer.xr_dlrr(self.audio.ssrc, report).unwrap();
        self.client.send_rtcp(writer.as_bytes());
    }

    fn send_frame(&mut self, at: usize, elapsed: Duration) {
        let enc = &mut self.encodings[at];
        let key = std::mem::take(&mut enc.wants_key);
        let (of_key, of_other) = PARTS[at];
        let parts = if key { of_key } else { of_other };
        enc.picture_id = enc.picture_id.wrapping_add(1) & 0x7fff;
        enc.tl0 = enc.tl0.wrapping_add(1);
        enc.keyidx = enc.keyidx.wrapping_add(u8::from(key)) & 0x1f;
        enc.frame += 1;
        let (frame, sequence) = (enc.frame, enc.media.seq);
        let timestamp = enc.media.timestamp(elapsed, 90_000);
        for part in 0..parts {
            let enc = &mut self.encodings[at];
            let descriptor = Vp8Descriptor {
                starts_partition: part == 0,
                picture_id: Some((enc.picture_id, true)),
                tl0: Some(enc.tl0),
                temporal: Some((0, false)),
                keyidx: Some(enc.keyidx),
                ..Vp8Descriptor::default()
            };
            let mut payload = vec![0; BODY];
            let mut end = descriptor.write(&mut payload);
            if part == 0 {
                payload[end..end + 10].copy_from_slice(&[
                    u8::from(!key),
                    0,
                    0,
                    0x9d,
                    1,
                    0x2a,
                    64,
                    1,
                    240,
                    0,
                ]);
            }
            end += 10;
            payload[end] = at as u8;
            payload[end + 1..end + 5].copy_from_slice(&frame.to_be_bytes());
            payload[end + 5..end + 7].copy_from_slice(&[part, parts]);
            let sent = Sent {
                seq: (sequence + u64::from(part)) as u16,
                marker: part + 1 == parts,
                timestamp,
                payload,
                repeated: None,
            };
            if enc.sent.len() == HISTORY {
                enc.sent.pop_front();
            }
            enc.sent.push_back(sent);
            self.send_video(at, self.encodings[at].sent.len() - 1, None);
            if key && part == 0 && self.loses_key_starts {
                self.client.lose_last();
            }
        }
        if self.pads {
            self.send_padding(at, timestamp);
        }
    }

    fn send_padding(&mut self, at: usize, timestamp: u32) {
        let stream = &mut self.encodings[at].media;
        let (seq, ssrc) = (stream.seq as u16, stream.ssrc);
        let header = RtpHeader { marker: false, payload_type: 96, seq, timestamp, ssrc };
        let mut packet = vec![0; 300];
        let header_len = write_header(&mut packet, &header, &[]).unwrap();
        let len = pad(&mut packet, header_len, 224).unwrap();
        let index = stream.count(0);
        self.client.send_rtp(header_len, &packet[..len], index);
    }

    fn retransmit(&mut self, now: Instant, at: usize, seq: u16) {
        let Some(index) = self.encodings[at].sent.iter().rposition(|sent| sent.seq == seq) else {
            return;
        };
        let silent = self.rtt + REPEAT_MARGIN;
        let repeated = &mut self.encodings[at].sent[index].repeated;
        if repeated.is_some_and(|repeated| now < repeated + silent) {
            self.ignored += 1;
            return;
        }
        *repeated = Some(now);
        self.retransmitted += 1;
        self.send_video(at, index, Some(seq));
    }

    /// Sends packet `index` of the history, as a retransmission of `original` if that is given.
    fn send_video(&mut self, at: usize, index: usize, original: Option<u16>) {
        let transport_seq = self.transport_seq.to_be_bytes();
        self.transport_seq = self.transport_seq.wrapping_add(1);
        let enc = &mut self.encodings[at];
        let sent = &enc.sent[index];
        let (stream, payload_type, name) = match original {
            None => (&mut enc.media, 96, (2, RIDS[at].as_bytes())),
            Some(_) => (&mut enc.rtx, 97, (3, RIDS[at].as_bytes())),
        };
        let header = RtpHeader {
            marker: sent.marker,
            payload_type,
            seq: stream.seq as u16,
            timestamp: sent.timestamp,
            ssrc: stream.ssrc,
        };
        let named: [(u8, &[u8]); 3] = [(5, &transport_seq), (1, b"1"), name];
        let count = if stream.packets < NAMED_PACKETS { 3 } else { 1 };
        let mut packet = vec![0; 1_400];
        let header_len = write_header(&mut packet, &header, &named[..count]).unwrap();
        packet.truncate(header_len);
        if let Some(seq) = original {
            packet.extend_from_slice(&seq.to_be_bytes());
        }
        packet.extend_from_slice(&sent.payload);
        let seq = stream.count(sent.payload.len());
        self.client.send_rtp(header_len, &packet, seq);
    }

    fn send_audio(&mut self, elapsed: Duration) {
        let header = RtpHeader {
            marker: false,
            payload_type: 111,
            seq: self.audio.seq as u16,
            timestamp: self.audio.timestamp(elapsed, 48_000),
            ssrc: self.audio.ssrc,
        };
        let mut packet = vec![0; 200];
        let named: [(u8, &[u8]); 2] = [(4, &[20]), (1, b"0")];
        let count = if self.audio.packets < NAMED_PACKETS { 2 } else { 1 };
        let header_len = write_header(&mut packet, &header, &named[..count]).unwrap();
        packet.truncate(header_len);
        packet.extend_from_slice(&[0x78; 80]);
        let seq = self.audio.count(80);
        self.client.send_rtp(header_len, &packet, seq);
    }

    fn send_reports(&mut self, elapsed: Duration) {
        // An arbitrary beginning of NTP time.
        let ntp = (0xe000_0000_u64 << 32) + ((elapsed.as_nanos() << 32) / 1_000_000_000) as u64;
        let video = self.encodings.iter().zip(self.enabled).filter(|(_, enabled)| *enabled);
        let streams = video.map(|(enc, _)| (&enc.media, 90_000)).chain([(&self.audio, 48_000)]);
        let mut compounds = Vec::new();
        for (stream, rate) in streams {
            let mut buf = [0; 100];
            let mut writer = Writer::new(&mut buf);
            let info = SenderInfo {
                ssrc: stream.ssrc,
                ntp,
                rtp_time: stream.timestamp(elapsed, rate),
                packets: stream.packets as u32,
                octets: stream.octets,
            };
            writer.sender_report(&info, &[]).unwrap();
            writer.sdes_cname(stream.ssrc, "publisher").unwrap();
            compounds.push(writer.as_bytes().to_vec());
        }
        for compound in compounds {
            self.client.send_rtcp(&compound);
        }
    }
}

impl Stream {
    fn timestamp(&self, elapsed: Duration, rate: u128) -> u32 {
        self.first_timestamp.wrapping_add((elapsed.as_nanos() * rate / 1_000_000_000) as u32)
    }

    /// Counts a packet and returns its number.
    fn count(&mut self, payload: usize) -> u64 {
        self.packets += 1;
        self.octets = self.octets.wrapping_add(payload as u32);
        self.seq += 1;
        self.seq - 1
    }
}
