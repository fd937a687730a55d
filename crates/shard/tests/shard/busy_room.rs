//! A busy room in which packets are lost, late and asked for again, and listeners come and go: nobody
//! gets anything but what was said, and no number stands for two packets. `SEEDS=100..500` tries others
//! than the usual.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::random::Random;
use crate::support::voices::{room, round, subscription, words};
use crate::support::{World, client_addr};
use hearth_datagram::SendSlab;
use hearth_plane::{Command, LayerLimit};
use hearth_rtp::{PacketKind, RtpView, classify};
use hearth_testkit::Received;

const VOICES: u32 = 5;
/// 7,500 packets a second.
const LISTENERS: u32 = 30;
/// The first of them stay.
const STAY: u32 = 10;
const ROUNDS: u64 = 300;
/// A datagram that is late comes at most so many rounds later.
const LATE: u64 = 10;

/// Address, SSRC and sequence number: what a packet is sealed under.
type Sealed = BTreeMap<(SocketAddr, u32, u16), Vec<u8>>;

struct BusyRoom {
    world: World,
    seed: u64,
    random: Random,
    /// Bytes said, by voice and number.
    said: BTreeMap<(u32, u64), usize>,
    /// Datagrams of the publisher that are late, and the round in which they come.
    late: Vec<(u64, Vec<u8>)>,
    /// How often each listener had subscribed to each voice before, and whether it is now.
    subscribed: BTreeMap<(u32, u32), (u32, bool)>,
    sealed: Sealed,
    /// SSRC of a subscription, and the number of the voice.
    heard: BTreeSet<(u32, u64)>,
    padded: u64,
    repeated: u64,
}

#[test]
fn everybody_hears_what_was_said_and_no_number_stands_for_two_packets() {
    let mut seeds = 0..4;
    if let Ok(text) = std::env::var("SEEDS") {
        let (first, end) = text.split_once("..").unwrap();
        seeds = first.parse().unwrap()..end.parse().unwrap();
    }
    for seed in seeds {
        let mut room = BusyRoom::new(seed);
        for at in 1..=ROUNDS {
            room.resume(at);
        }
        for at in ROUNDS + 1..=ROUNDS + LATE {
            room.deliver_late(at);
        }
        room.check();
    }
}

impl BusyRoom {
    fn new(seed: u64) -> Self {
        let pairs = (1..=LISTENERS).flat_map(|n| (0..VOICES).map(move |voice| (n, voice)));
        Self {
            world: room(VOICES, LISTENERS),
            seed,
            random: Random(seed),
            said: BTreeMap::new(),
            late: Vec::new(),
            subscribed: pairs.map(|pair| (pair, (0, true))).collect(),
            sealed: Sealed::new(),
            heard: BTreeSet::new(),
            padded: 0,
            repeated: 0,
        }
    }

    /// Everybody says one more thing; some of it is lost, some late, some asked for again.
    fn resume(&mut self, at: u64) {
        let sizes = [(); VOICES as usize].map(|()| match self.random.below(10) {
            0 => 5 + self.random.below(1_000) as usize,
            _ => 60 + self.random.below(50) as usize,
        });
        for ((voice, size), datagram) in (0..).zip(sizes).zip(round(&mut self.world, at, sizes)) {
            match self.random.below(30) {
                0 => {}
                1 => {
                    self.said.insert((voice, at), size);
                    self.late.push((at + 1 + self.random.below(LATE), datagram));
                }
                _ => {
                    self.said.insert((voice, at), size);
                    self.publish(datagram);
                }
            }
            if self.random.below(4) == 0 {
                self.change();
            }
        }
        self.deliver_late(at);
        for _ in 0..self.random.below(5) {
            self.ask_again();
        }
    }

    /// What is late comes, and everything leaves; 20 ms pass.
    fn deliver_late(&mut self, at: u64) {
        let come: Vec<_> = self.late.extract_if(.., |(due, _)| *due <= at).collect();
        for (_, datagram) in come {
            self.publish(datagram);
        }
        self.send();
        self.world.run_for(Duration::from_millis(20));
    }

    fn publish(&mut self, mut datagram: Vec<u8>) {
        let from = self.world.client(0).addr();
        self.world.inject(0, from, &mut datagram);
    }

    /// Somebody who does not stay stops listening to a voice, or begins to.
    fn change(&mut self) {
        let n = STAY + 1 + self.random.below(u64::from(LISTENERS - STAY)) as u32;
        let voice = self.random.below(VOICES.into()) as u32;
        let (times, now) = self.subscribed.get_mut(&(n, voice)).unwrap();
        let spec = subscription(n, voice, *times);
        if *now {
            *times += 1;
            *now = false;
            self.world.command(0, Command::RemoveDownTrack { down: spec.down });
        } else if *times < 100 {
            *now = true;
            self.world
                .command(0, Command::SetDownTrack { spec: Box::new(spec), limit: LayerLimit::ALL });
        }
    }

    /// Somebody asks for 17 numbers again, some of which it may never have got.
    fn ask_again(&mut self) {
        let chosen = self.random.below(self.sealed.len().max(1) as u64) as usize;
        let Some((to, ssrc, seq)) = self.sealed.keys().nth(chosen).copied() else { return };
        let mut nack = vec![0x81, 205, 0, 3, 0, 0, 0, 1];
        nack.extend(ssrc.to_be_bytes());
        nack.extend(seq.to_be_bytes());
        nack.extend([0xff; 2]);
        let client = self.world.client(listener(to) as usize);
        client.send_rtcp(&nack);
        let datagrams: Vec<_> = std::iter::from_fn(|| client.poll_transmit()).collect();
        for mut datagram in datagrams {
            self.world.inject(0, to, &mut datagram);
        }
    }

    /// Lets the shard send all it has, in batches of any size.
    fn send(&mut self) {
        let now = self.world.now + Duration::from_millis(6);
        let mut slab = SendSlab::new(1 + self.random.below(64) as usize);
        while self.world.shards[0].poll_transmit(now, &mut slab) {
            let sent: Vec<_> =
                slab.iter().map(|(path, bytes)| (path.remote, bytes.to_vec())).collect();
            slab.clear();
            for (to, datagram) in sent {
                self.receive(to, datagram);
            }
        }
    }

    fn receive(&mut self, to: SocketAddr, mut datagram: Vec<u8>) {
        let seed = self.seed;
        let now = self.world.now;
        let client = self.world.client(listener(to) as usize);
        if classify(&datagram) != PacketKind::Rtp {
            client.handle(now, &mut datagram);
            return;
        }
        // Padding cannot be told from outside, and so the whole cannot be parsed.
        let seq = u16::from_be_bytes(*datagram[2..].first_chunk().unwrap());
        let ssrc = u32::from_be_bytes(*datagram[8..].first_chunk().unwrap());
        let number = (to, ssrc, seq);
        if let Some(before) = self.sealed.get(&number) {
            assert_eq!(*before, datagram, "seed {seed}: two packets under {number:?}");
            self.repeated += 1;
            return;
        }
        let Received::Rtp(packet) = client.handle(now, &mut datagram.clone()) else {
            panic!("seed {seed}: {number:?} cannot be read")
        };
        let view = RtpView::parse(&packet).unwrap();
        let (voice, at) = spoken(view.payload);
        let size = self.said.get(&(voice, at)).copied().unwrap_or(0);
        assert_eq!(view.payload, words(voice, at, size.max(5)), "seed {seed}: {number:?}");
        assert!(view.padding <= 24, "seed {seed}: {} bytes of padding", view.padding);
        assert!(self.heard.insert((ssrc, at)), "seed {seed}: {voice} said {at} twice to {to}");
        self.padded += u64::from(view.padding > 0);
        self.sealed.insert(number, datagram);
    }

    fn check(&self) {
        let seed = self.seed;
        for (n, (voice, seq)) in (1..=STAY).flat_map(|n| self.said.keys().map(move |key| (n, key)))
        {
            // What comes before the first that arrived may be refused.
            let ssrc = subscription(n, *voice, 0).ssrc;
            let heard = *seq <= LATE || self.heard.contains(&(ssrc, *seq));
            assert!(heard, "seed {seed}: listener {n} did not hear {seq} of {voice}");
        }
        let shown = (self.padded > 1_000, self.repeated > 1_000);
        assert_eq!(shown, (true, true), "seed {seed}: {} {}", self.padded, self.repeated);
    }
}

/// The listener at an address.
fn listener(at: SocketAddr) -> u32 {
    (1..=LISTENERS).find(|n| client_addr(*n) == at).unwrap()
}

/// Who said it, and in which packet.
fn spoken(payload: &[u8]) -> (u32, u64) {
    let [voice, s0, s1, s2, s3] = *payload.first_chunk::<5>().unwrap();
    (voice.into(), u32::from_be_bytes([s0, s1, s2, s3]).into())
}
