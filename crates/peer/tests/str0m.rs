//! A peer against an independent WebRTC stack, in virtual time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_datagram::Endpoint;
use hearth_peer::{Certificate, Context, Incoming, Peer, PeerEvent};
use hearth_plane::{
    Channel, DtlsRole, Fingerprint, IceCredentials, LocalCandidate, PeerSpec, RemoteParams,
};
use hearth_random::Seed;
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

const PAYLOAD: [u8; 4] = [1, 2, 3, 4];

#[test]
fn media_and_channels_of_the_client_work_both_ways() {
    for lite in [true, false] {
        let mut call = Call::new(lite, false);
        for (label, reliability) in [
            ("_reliable", Reliability::Reliable),
            ("_lossy", Reliability::MaxRetransmits { retransmits: 0 }),
        ] {
            let ordered = label == "_reliable";
            call.client.direct_api().create_data_channel(ChannelConfig {
                label: label.into(),
                ordered,
                reliability,
                ..ChannelConfig::default()
            });
        }
        call.run(Duration::from_secs(5));
        for event in [
            PeerEvent::Connected,
            PeerEvent::ChannelOpen(Channel::Reliable),
            PeerEvent::ChannelOpen(Channel::Lossy),
        ] {
            assert!(call.events.contains(&event), "{event:?} in {:?}", call.events);
        }
        call.exchange_media();
        call.exchange_data(&[Channel::Reliable, Channel::Lossy]);
    }
}

#[test]
fn channels_that_we_open_work_both_ways() {
    let mut call = Call::new(true, true);
    call.run(Duration::from_secs(5));
    let channels = [Channel::Reliable, Channel::Lossy, Channel::DataTrack];
    for channel in channels {
        assert!(call.events.contains(&PeerEvent::ChannelOpen(channel)), "{:?}", call.events);
    }
    call.exchange_data(&channels);
}

struct Call {
    now: Instant,
    server: Peer,
    client: Rtc,
    client_at: Instant,
    events: Vec<PeerEvent>,
    client_events: Vec<Event>,
    media: Vec<Vec<u8>>,
    wire: VecDeque<(Instant, bool, Vec<u8>)>,
}

impl Call {
    fn new(lite: bool, opens: bool) -> Self {
        let now = epoch();
        let certificate = Arc::new(Certificate::generate().unwrap());
        let fingerprint = certificate.fingerprint();
        let context = Context::new(certificate).unwrap();

        let mut client = Rtc::builder().set_rtp_mode(true).build(now);
        client.add_local_candidate(Candidate::host(client_addr(), "udp").unwrap()).unwrap();
        client.add_remote_candidate(Candidate::host(server_addr(), "udp").unwrap());
        let api = client.direct_api();
        let creds = api.local_ice_credentials();
        let theirs = api.local_dtls_fingerprint().clone();
        assert_eq!(theirs.hash_func, "sha-256");
        let spec = PeerSpec {
            local: IceCredentials {
                ufrag: "00abcdef".into(),
                pwd: "a-password-of-ours-1234".into(),
            },
            ice_lite: lite,
            ice_controlling: false,
            local_candidates: vec![LocalCandidate::udp(server_addr())],
            remote: Some(RemoteParams {
                ice: IceCredentials { ufrag: creds.ufrag, pwd: creds.pass },
                fingerprints: Fingerprint(theirs.bytes.as_slice().try_into().unwrap()).into(),
                role: DtlsRole::Server,
            }),
            open_channels: opens,
        };
        let server = Peer::new(now, &spec, &context, &Seed::fixed(1)).unwrap();
        let mut api = client.direct_api();
        api.set_remote_ice_credentials(IceCreds { ufrag: spec.local.ufrag, pass: spec.local.pwd });
        api.set_remote_fingerprint(str0m::crypto::Fingerprint {
            hash_func: "sha-256".into(),
            bytes: fingerprint.0.to_vec(),
        });
        api.set_ice_controlling(true);
        api.start_dtls(true).unwrap();
        api.start_sctp(!opens);
        api.declare_media("0".into(), MediaKind::Audio);
        api.declare_stream_tx(Ssrc::from(1), None, "0".into(), None);
        api.expect_stream_rx(Ssrc::from(2), None, "0".into(), None);
        Self {
            now,
            server,
            client,
            client_at: now,
            events: Vec::new(),
            client_events: Vec::new(),
            media: Vec::new(),
            wire: VecDeque::new(),
        }
    }

    fn exchange_media(&mut self) {
        let pt = *self.client.codec_config().find(|c| c.spec().codec.is_audio()).unwrap().pt();
        let mut api = self.client.direct_api();
        let stream = api.stream_tx(&Ssrc::from(1)).unwrap();
        stream.write_rtp(RtpWrite::new(pt.into(), 7.into(), 9, self.now, PAYLOAD));
        self.run(Duration::from_secs(1));
        let up = self.media.pop().unwrap();
        assert_eq!(hearth_rtp::RtpView::parse(&up).unwrap().payload, PAYLOAD);

        let mut down = vec![0x80, pt, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 2, 1, 2, 3, 4];
        down.resize(32, 0);
        for index in [65_535_u64, 65_536] {
            let mut packet = down.clone();
            packet[2..4].copy_from_slice(&index.to_be_bytes()[6..]);
            let len = self.server.seal_rtp(&mut packet, 16, 12, index).unwrap();
            self.wire.push_back((self.now, false, packet[..len].to_vec()));
        }
        self.run(Duration::from_secs(1));
        let got = self.client_events.iter().filter(
            |event| matches!(event, Event::RtpPacket(packet) if packet.payload[..] == PAYLOAD),
        );
        assert_eq!(got.count(), 2);
    }

    fn exchange_data(&mut self, channels: &[Channel]) {
        for channel in channels {
            let payload = Bytes::from(format!("for {channel:?}").into_bytes());
            self.server.send_data(self.now, *channel, &payload).unwrap();
            self.run(Duration::from_secs(1));
            let data = self.client_events.iter().find_map(|event| {
                let Event::ChannelData(data) = event else { return None };
                (data.data == payload).then_some(data)
            });
            let id = data.unwrap().id;
            self.client.channel(id).unwrap().write(true, b"answer").unwrap();
            self.run(Duration::from_secs(1));
            let answer =
                PeerEvent::Data { channel: *channel, payload: Bytes::from_static(b"answer") };
            assert!(self.events.contains(&answer), "{answer:?} in {:?}", self.events);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let wire = self.wire.iter().map(|(at, ..)| *at).min();
            let next = [wire, self.server.poll_timeout(), Some(self.client_at)];
            let next = next.into_iter().flatten().min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = next.max(self.now + Duration::from_micros(100));
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.wire.iter().filter(|(at, ..)| *at <= now).cloned().collect();
        self.wire.retain(|(at, ..)| *at > now);
        for (_, to_server, mut datagram) in due {
            if to_server {
                let from = Endpoint::udp(server_addr(), client_addr());
                match self.server.handle_datagram(now, from, &mut datagram) {
                    Incoming::Rtp { packet, .. } => self.media.push(packet.to_vec()),
                    Incoming::Rtcp(_) | Incoming::Consumed => {}
                    Incoming::Dropped(reason) => panic!("{reason:?}"),
                }
                continue;
            }
            let receive =
                Receive::new(Protocol::Udp, server_addr(), client_addr(), &datagram).unwrap();
            self.client.handle_input(Input::Receive(now, receive)).unwrap();
            self.drain_client();
        }
        if self.server.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
        }
        self.client.handle_input(Input::Timeout(now)).unwrap();
        self.drain_client();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.server.poll_transmit() {
            assert_eq!(transmit.path, Endpoint::udp(server_addr(), client_addr()));
            self.wire.push_back((self.now + Duration::from_millis(5), false, transmit.payload));
        }
        self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
        self.drain_client();
    }

    fn drain_client(&mut self) {
        loop {
            match self.client.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.client_at = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    let at = self.now + Duration::from_millis(5);
                    self.wire.push_back((at, true, transmit.contents.to_vec()));
                }
                Output::Event(event) => self.client_events.push(event),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
fn epoch() -> Instant {
    Instant::now()
}

fn server_addr() -> SocketAddr {
    "10.0.0.1:7882".parse().unwrap()
}

fn client_addr() -> SocketAddr {
    "10.0.0.2:40000".parse().unwrap()
}
