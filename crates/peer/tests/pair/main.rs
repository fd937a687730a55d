//! A peer against a client built from the same libraries, in virtual time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod addresses;
mod connectivity;
mod moving;
mod roles;
mod support;

use std::time::Duration;

use bytes::Bytes;
use dcsctp::api::{Message, PpId, SendOptions, StreamId};
use hearth_datagram::Endpoint;
use hearth_peer::{DropReason, Incoming, Peer, PeerEvent, SendDataError};
use hearth_plane::{Channel, CloseReason, Fingerprint, LocalCandidate};
use hearth_random::Seed;
use support::{Client, Pair, client_addr, context, epoch, server_addr, server_credentials, spec};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_client_connects_to_a_lite_and_to_a_full_agent() {
    for lite in [true, false] {
        let mut pair = Pair::offered(lite, false, 1);
        assert!(pair.run(LIMIT, |pair| pair.has(&PeerEvent::Connected)), "lite {lite}");
        assert!(pair.server.is_connected());
        assert_eq!(pair.server.path(), Some(Endpoint::udp(server_addr(), client_addr())));
        let after = pair.events[0].0;
        assert!(after < Duration::from_millis(500), "lite {lite}: {after:?}");
        pair.run_for(Duration::from_secs(120));
        assert!(pair.server.is_connected(), "lite {lite}: {:?}", pair.events);
    }
}

#[test]
fn a_peer_connects_through_loss() {
    for seed in 0..20 {
        let mut pair = Pair::offered(seed % 2 == 0, true, seed);
        pair.loss = 20;
        let open = PeerEvent::ChannelOpen(Channel::DataTrack);
        assert!(pair.run(LIMIT, |pair| pair.has(&open)), "seed {seed}: {:?}", pair.events);
        assert!(pair.lost > 0);
    }
}

#[test]
fn a_client_may_answer_late() {
    let t0 = epoch();
    let mut client = Client::new(t0);
    let spec = spec(true, true, None);
    client.set_remote(&spec.local);
    let params = client.params();
    let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(1)).unwrap();
    let mut pair = Pair::new(server, client, t0, 1);
    assert!(!pair.run(Duration::from_secs(2), |pair| pair.has(&PeerEvent::Connected)));
    pair.server.set_remote(pair.now, &params);
    assert!(pair.run(LIMIT, |pair| pair.has(&PeerEvent::Connected)));
}

#[test]
fn a_client_behind_mdns_names_is_found_by_where_its_checks_come_from() {
    for lite in [true, false] {
        let mut pair = Pair::offered(lite, false, 1);
        let name = "candidate:1 1 udp 2122260223 0b1a4bd2-8f5e-4d4c-9f0c-7f1e2a3b4c5d.local 40000 typ host";
        pair.server.add_remote_candidate(pair.now, name);
        assert!(pair.run(LIMIT, |pair| pair.has(&PeerEvent::Connected)), "lite {lite}");
        assert!(pair.sent_to.iter().all(|(_, to)| *to == client_addr()), "lite {lite}");
    }
}

#[test]
fn media_goes_both_ways() {
    let mut pair = Pair::offered(true, false, 1);
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected() && pair.client.dtls_done));
    let mut packet = vec![0x80, 96, 0, 5, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];
    packet.resize(31, 0);
    let plain = packet[..15].to_vec();

    let mut up = packet.clone();
    let len = pair.client.keys.as_mut().unwrap().0.seal_rtp(&mut up, 12, 15, 5).unwrap();
    pair.inject(client_addr(), up[..len].to_vec());
    pair.inject(client_addr(), up[..len].to_vec());

    let len = pair.server.seal_rtp(&mut packet, 15, 12, 5).unwrap();
    pair.inject_to_client(packet[..len].to_vec());

    let mut rtcp = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    rtcp.resize(28, 0);
    let len = pair.client.keys.as_mut().unwrap().0.seal_rtcp(&mut rtcp, 8).unwrap();
    pair.inject(client_addr(), rtcp[..len].to_vec());

    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.media, [(5, plain.clone())]);
    assert_eq!(pair.client.media, [plain]);
    assert_eq!(pair.rtcp, [vec![0x80, 201, 0, 1, 0, 0, 0, 7]]);
}

#[test]
fn keys_that_are_used_up_end_the_transport() {
    let mut pair = Pair::offered(true, false, 1);
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected() && pair.client.dtls_done));
    let mut packet = [0; 40];
    packet[..4].copy_from_slice(&[0x80, 96, 0, 0]);
    assert_eq!(pair.server.seal_rtp(&mut packet.clone(), 15, 12, 0xffff_ffff_0000), Some(31));
    assert_eq!(pair.server.seal_rtp(&mut packet, 15, 12, 1 << 48), None);
    let closed = PeerEvent::Closed(CloseReason::KeysUsedUp);
    assert!(std::iter::from_fn(|| pair.server.poll_event()).any(|event| event == closed));
    assert_eq!(pair.server.seal_rtcp(&mut packet, 8), None);
}

#[test]
fn channels_that_we_open_carry_data_both_ways() {
    let mut pair = Pair::offered(true, true, 1);
    let open = [Channel::Reliable, Channel::Lossy, Channel::DataTrack];
    assert!(pair.run(LIMIT, |pair| {
        open.iter().all(|channel| pair.has(&PeerEvent::ChannelOpen(*channel)))
    }));
    pair.client.messages.clear();
    for (channel, stream) in open.into_iter().zip([1, 3, 5]) {
        for payload in [Bytes::from_static(b"down"), Bytes::new(), vec![7; 60_000].into()] {
            pair.server.send_data(pair.now, channel, &payload).unwrap();
            pair.run_for(Duration::from_secs(1));
            let got = pair.client.messages.pop().unwrap();
            assert_eq!(got.stream_id, StreamId(stream));
            let expect = if payload.is_empty() { (57, 1) } else { (53, payload.len()) };
            assert_eq!((got.ppid.0, got.payload.len()), expect);
        }
        let message = Message::new(StreamId(stream), PpId(53), b"up".to_vec());
        pair.client.sctp.send(message, &SendOptions::default()).unwrap();
        let data = PeerEvent::Data { channel, payload: Bytes::from_static(b"up") };
        pair.run_for(Duration::from_secs(1));
        assert!(pair.has(&data));
    }
    let refused = pair.server.send_data(pair.now, Channel::Reliable, &vec![0; 65_536].into());
    assert_eq!(refused, Err(SendDataError::TooLong));
}

#[test]
fn channels_that_the_client_opens_are_known_by_their_label() {
    let mut pair = Pair::offered(false, false, 1);
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected()));
    let too_early = pair.server.send_data(pair.now, Channel::Lossy, &Bytes::new());
    assert_eq!(too_early, Err(SendDataError::NotOpen));
    for (id, label) in [(0, "_lossy"), (2, "chat")] {
        let mut open = vec![3, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(label.len()).unwrap(), 0, 0];
        open.extend_from_slice(label.as_bytes());
        let open = Message::new(StreamId(id), PpId(50), open);
        pair.client.sctp.send(open, &SendOptions::default()).unwrap();
    }
    let text = Message::new(StreamId(2), PpId(51), b"hi".to_vec());
    pair.client.sctp.send(text, &SendOptions::default()).unwrap();
    pair.run_for(Duration::from_secs(2));
    assert!(pair.has(&PeerEvent::ChannelOpen(Channel::Lossy)));
    let payload = Bytes::from_static(b"hi");
    assert!(pair.has(&PeerEvent::Data { channel: Channel::Other, payload: payload.clone() }));
    assert_eq!(pair.client.messages.iter().filter(|m| m.payload == [2]).count(), 2);

    pair.client.messages.clear();
    pair.server.send_data(pair.now, Channel::Lossy, &payload).unwrap();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.messages[0].stream_id, StreamId(0));
}

#[test]
fn a_reader_that_is_too_slow_loses_messages_but_not_the_channel() {
    let mut pair = Pair::offered(true, true, 1);
    let open = PeerEvent::ChannelOpen(Channel::Reliable);
    assert!(pair.run(LIMIT, |pair| pair.has(&open)));
    pair.cut = true;
    let payload = Bytes::from(vec![7; 50_000]);
    let mut sent = 0;
    while pair.server.send_data(pair.now, Channel::Reliable, &payload).is_ok() {
        sent += 1;
        while pair.server.poll_transmit().is_some() {}
        assert!(sent < 60);
    }
    assert!(sent > 30, "{sent}");
    pair.cut = false;
    pair.run_for(Duration::from_secs(14));
    assert_eq!(pair.server.send_data(pair.now, Channel::Reliable, &payload), Ok(()));
}

/// A client that sends numbered reliable messages of `len` bytes as fast as it is let, and a room that takes
/// nothing at first. Returns what was held for the room, in bytes.
fn flood(pair: &mut Pair, len: usize, count: u32) -> u32 {
    let open = PeerEvent::ChannelOpen(Channel::Reliable);
    assert!(pair.run(LIMIT, |pair| pair.has(&open)));
    let mut sent: u32 = 0;
    let mut numbers = Vec::new();
    let mut offer = |pair: &mut Pair| {
        while sent < count && pair.client.sctp.buffered_amount(StreamId(1)) < 100_000 {
            let mut payload = sent.to_be_bytes().to_vec();
            payload.resize(len, 0);
            let message = Message::new(StreamId(1), PpId(53), payload);
            pair.client.sctp.send(message, &SendOptions::default()).unwrap();
            sent += 1;
        }
        pair.run_for(Duration::from_millis(50));
        let news = received(pair);
        numbers.extend(news.iter().map(|(number, _)| *number));
        (numbers.len(), news.iter().map(|(_, cost)| cost).sum::<u32>())
    };
    let held = (0..100).map(|_| offer(pair).1).sum();
    // Our own messages and the acknowledgements of them still pass.
    pair.client.messages.clear();
    pair.server.send_data(pair.now, Channel::Reliable, &Bytes::from_static(b"down")).unwrap();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.messages.len(), 1);

    let mut taken = held;
    for _ in 0..4_000 {
        pair.server.handle_data_taken(pair.now, taken);
        let (received, cost) = offer(pair);
        taken = cost;
        if received == count as usize {
            break;
        }
    }
    assert!(numbers.iter().copied().eq(0..count), "{} of {count}, in order", numbers.len());
    held
}

/// Takes the messages that came: their numbers, and what each costs.
fn received(pair: &mut Pair) -> Vec<(u32, u32)> {
    let data = pair.events.extract_if(.., |(_, event)| matches!(event, PeerEvent::Data { .. }));
    let data = data.filter_map(|(_, event)| match event {
        PeerEvent::Data { payload, .. } => {
            let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
            Some((number, hearth_plane::data_cost(payload.len())))
        }
        PeerEvent::Connected
        | PeerEvent::PathSilent
        | PeerEvent::IceFailed
        | PeerEvent::Connectivity(_)
        | PeerEvent::Closed(_)
        | PeerEvent::ChannelOpen(_) => None,
    });
    data.collect()
}

#[test]
fn a_sender_waits_for_a_room_that_takes_nothing_and_loses_nothing() {
    for (loss, len, count) in [(0, 1_000, 1_500), (3, 1_000, 500), (0, 65_000, 30), (0, 4, 4_000)] {
        let mut pair = Pair::offered(true, true, 1);
        pair.loss = loss;
        let held = flood(&mut pair, len, count);
        // One message may begin below the limit.
        assert!((200_000..340_000).contains(&held), "{held} bytes of {count} × {len}");
    }
}

#[test]
fn acknowledged_messages_arrive_though_their_sender_leaves_before_the_room_takes_them() {
    let mut pair = Pair::offered(true, true, 1);
    let open = PeerEvent::ChannelOpen(Channel::Reliable);
    assert!(pair.run(LIMIT, |pair| pair.has(&open)));
    pair.events.clear();
    for n in 0..500_u32 {
        let mut payload = n.to_be_bytes().to_vec();
        payload.resize(1_000, 0);
        let message = Message::new(StreamId(1), PpId(53), payload);
        pair.client.sctp.send(message, &SendOptions::default()).unwrap();
    }
    let buffered = |pair: &Pair| pair.client.sctp.buffered_amount(StreamId(1));
    assert!(pair.run(LIMIT, |pair| buffered(pair) == 0), "all is on its way");
    pair.run_for(Duration::from_secs(2));
    let held = received(&mut pair).len() as u32;
    pair.client.dtls.close().unwrap();
    pair.run_for(Duration::from_secs(5));
    assert_eq!(closed(&pair).map(|closed| closed.1), Some(CloseReason::PeerClosed));
    let rest: Vec<_> = received(&mut pair).iter().map(|n| n.0).collect();
    assert!(held < 400 && rest.len() > 50, "{held} were held, {} came", rest.len());
    assert!(rest.iter().copied().eq(held..held + rest.len() as u32), "in order: {rest:?}");
}

#[test]
fn a_client_that_never_connects_is_closed_after_a_minute() {
    let mut pair = Pair::offered(true, false, 1);
    pair.cut = true;
    closes(&mut pair, CloseReason::IceTimeout, Duration::from_secs(60));
}

#[test]
fn a_client_that_needs_most_of_a_minute_connects() {
    let (t0, late) = (epoch(), epoch() + Duration::from_secs(55));
    let mut client = Client::new(late);
    let spec = spec(true, false, Some(client.params()));
    client.set_remote(&spec.local);
    let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(1)).unwrap();
    let mut pair = Pair::new(server, client, late, 1);
    assert!(pair.run(Duration::from_secs(5), |pair| pair.has(&PeerEvent::Connected)));
}

#[test]
fn a_client_that_checks_but_never_begins_dtls_is_forgotten() {
    for lite in [true, false] {
        let mut pair = Pair::offered(lite, false, 1);
        assert!(pair.run(LIMIT, |pair| pair.server.path().is_some()));
        pair.cut = true;
        closes(&mut pair, CloseReason::DtlsTimeout, Duration::from_secs(60));
    }
}

#[test]
fn a_client_that_vanishes_at_any_step_is_forgotten_in_time() {
    // How many datagrams the server sends before the client is gone.
    for lite in [true, false] {
        for step in 0..30 {
            let mut pair = Pair::offered(lite, true, 1);
            pair.run(LIMIT, |pair| pair.sent >= step);
            pair.cut = true;
            let limit = pair.now - pair.t0 + Duration::from_secs(61);
            assert!(pair.run(limit, |pair| closed(pair).is_some()), "step {step}");
            assert_eq!(pair.server.poll_timeout(), None);
            assert!(!pair.server.is_connected());
        }
    }
}

#[test]
fn silence_after_connecting_is_reported_after_15_s_and_ends_the_peer_30_s_later() {
    let mut pair = silent();
    assert_eq!((pair.server.is_connected(), pair.server.path()), (false, None));
    let (told, _) = pair.events.last().cloned().unwrap();
    closes(&mut pair, CloseReason::Silence, told + Duration::from_secs(30));
    let silences = pair.events.iter().filter(|(_, event)| *event == PeerEvent::IceFailed);
    assert_eq!(silences.count(), 1);
}

#[test]
fn a_silent_peer_is_revived_by_the_network_that_comes_back() {
    let mut pair = silent();
    pair.cut = false;
    pair.run_for(Duration::from_secs(60));
    assert!(pair.server.is_connected(), "{:?}", pair.events);
    assert_eq!(pair.server.path().map(|path| path.remote), Some(client_addr()));
}

#[test]
fn a_silent_peer_is_revived_by_an_ice_restart_and_keeps_its_keys() {
    for lite in [true, false] {
        let mut pair = silent_of(lite);
        let local = server_credentials(1);
        pair.client.ice.ice_restart(is::IceCreds::new(), true);
        pair.client.addr = "10.0.0.2:50000".parse().unwrap();
        let params = pair.client.params();
        pair.server.restart_ice(pair.now, &local);
        pair.server.set_remote(pair.now, &params);
        pair.client.set_remote(&local);
        pair.cut = false;
        pair.run_for(Duration::from_secs(60));
        assert!(pair.server.is_connected(), "lite {lite}: {:?}", pair.events);
        assert_eq!(pair.server.path().map(|path| path.remote), Some(pair.client.addr));
        let connects = pair.events.iter().filter(|(_, event)| *event == PeerEvent::Connected);
        assert_eq!(connects.count(), 1, "the first handshake holds");
    }
}

#[test]
fn an_ice_restart_that_is_not_answered_is_another_silence() {
    let mut pair = silent();
    let from = pair.now - pair.t0;
    pair.server.restart_ice(pair.now, &server_credentials(1));
    pair.run(from + Duration::from_secs(16), |_| false);
    let silences = pair.events.iter().filter(|(_, event)| *event == PeerEvent::IceFailed);
    assert_eq!(silences.count(), 2);
    closes(&mut pair, CloseReason::Silence, from + Duration::from_secs(45));
}

fn silent() -> Pair {
    silent_of(true)
}

/// Connected, then cut off until that is noticed.
fn silent_of(lite: bool) -> Pair {
    let mut pair = Pair::offered(lite, false, 1);
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected()));
    pair.run_for(Duration::from_secs(30));
    pair.cut = true;
    let at = pair.now - pair.t0;
    assert!(pair.run(at + LIMIT, |pair| pair.has(&PeerEvent::IceFailed)));
    let (when, _) = pair.events.last().cloned().unwrap();
    assert!(when <= at + Duration::from_secs(15), "{when:?} after {at:?}");
    assert!(when >= at + Duration::from_secs(10), "{when:?} after {at:?}");
    pair
}

#[test]
fn silence_over_udp_is_told_early_where_the_client_was_offered_tcp_and_once() {
    for tcp in [true, false] {
        let t0 = epoch();
        let mut client = Client::new(t0);
        let mut spec = spec(true, false, Some(client.params()));
        spec.local_candidates.extend(tcp.then(|| LocalCandidate::tcp(server_addr())));
        client.set_remote(&spec.local);
        let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(1)).unwrap();
        let mut pair = Pair::new(server, client, t0, 1);
        assert!(pair.run(LIMIT, |pair| pair.server.is_connected()));
        pair.run_for(Duration::from_secs(30));
        assert!(!pair.has(&PeerEvent::PathSilent), "a quiet path is not silent");
        pair.cut = true;
        let at = pair.now - pair.t0;
        pair.run_for(Duration::from_secs(20));
        let told = pair.events.iter().filter(|(_, event)| *event == PeerEvent::PathSilent);
        let told: Vec<_> = told.map(|(when, _)| *when).collect();
        assert_eq!(told.len(), usize::from(tcp));
        assert!(told.iter().all(|when| *when <= at + Duration::from_millis(4_000)), "{told:?}");
        assert!(pair.has(&PeerEvent::IceFailed));
    }
}

#[test]
fn another_certificate_than_the_described_one_is_refused() {
    let t0 = epoch();
    let mut client = Client::new(t0);
    let mut params = client.params();
    params.fingerprints = Fingerprint([7; 32]).into();
    let spec = spec(true, false, Some(params));
    client.set_remote(&spec.local);
    let server = Peer::new(t0, &spec, &context().0, &Seed::fixed(1)).unwrap();
    let mut pair = Pair::new(server, client, t0, 1);
    pair.run(LIMIT, |pair| closed(pair).is_some());
    assert_eq!(closed(&pair).map(|(_, reason)| reason), Some(CloseReason::DtlsFailed));
    assert!(!pair.has(&PeerEvent::Connected));
}

#[test]
fn a_goodbye_closes_the_peer() {
    let mut pair = Pair::offered(true, false, 1);
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected() && pair.client.dtls_done));
    pair.client.dtls.close().unwrap();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(closed(&pair).map(|(_, reason)| reason), Some(CloseReason::PeerClosed));
}

#[test]
fn an_ice_restart_keeps_the_keys_and_follows_the_client() {
    for (lite, server_first) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut pair = Pair::offered(lite, false, 1);
        assert!(pair.run(LIMIT, |pair| pair.server.is_connected() && pair.client.dtls_done));
        pair.run_for(Duration::from_secs(5));
        let old = server_credentials(0).ufrag;
        let local = server_credentials(1);
        pair.client.ice.ice_restart(is::IceCreds::new(), true);
        let params = pair.client.params();
        if server_first {
            pair.server.restart_ice(pair.now, &local);
            pair.server.set_remote(pair.now, &params);
        } else {
            pair.server.set_remote(pair.now, &params);
            pair.server.restart_ice(pair.now, &local);
        }
        assert!(pair.server.local_ufrags().any(|ufrag| ufrag == old), "old checks are answered");
        pair.client.set_remote(&local);
        pair.client.addr = "10.0.0.2:50000".parse().unwrap();
        pair.run_for(Duration::from_secs(60));
        assert!(pair.server.is_connected(), "{lite} {server_first} {:?}", pair.events);
        assert_eq!(pair.server.path(), Some(Endpoint::udp(server_addr(), pair.client.addr)));
        assert_eq!(pair.server.local_ufrags().collect::<Vec<_>>(), [local.ufrag.as_str()]);
    }
}

#[test]
fn garbage_of_each_kind_is_dropped() {
    let mut pair = Pair::offered(true, false, 1);
    let from = Endpoint::udp(server_addr(), client_addr());
    let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let table: [(&[u8], DropReason); 6] = [
        (&[], DropReason::Unknown),
        (&[77; 30], DropReason::Unknown),
        (&[0, 1, 0, 0], DropReason::Stun),
        (&dtls, DropReason::UnprovenAddress),
        (&[0x80; 30], DropReason::NoKeys),
        (&[0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], DropReason::NoKeys),
    ];
    for (bytes, expect) in table {
        assert_eq!(dropped(&mut pair, bytes), Some(expect), "{bytes:?}");
    }
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected()));
    for (bytes, expect) in [
        (&[0x80; 40][..], DropReason::Forged),
        (&[0x80; 12], DropReason::Malformed),
        (&[0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], DropReason::Malformed),
    ] {
        assert_eq!(dropped(&mut pair, bytes), Some(expect), "{bytes:?}");
    }
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = Vec::new();
        let first = [0, 1, 22, 23, 25, 0x80, 0x90];
        for _ in 0..state % 90 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((state >> 40).to_le_bytes()[0]);
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if let Some(byte) = bytes.first_mut() {
            *byte = first[usize::try_from(state >> 50).unwrap() % first.len()];
        }
        let now = pair.now;
        assert!(!matches!(
            pair.server.handle_datagram(now, from, &mut bytes),
            Incoming::Rtp { .. } | Incoming::Rtcp(_)
        ));
    }
    pair.run_for(Duration::from_secs(5));
    assert!(pair.server.is_connected(), "{:?}", pair.events);
}

#[test]
fn a_flood_of_candidates_is_harmless() {
    let mut pair = Pair::offered(false, false, 1);
    for i in 0..500 {
        let now = pair.now;
        pair.server.add_remote_candidate(now, "candidate:1 1 udp 2 abc.local 9 typ host");
        pair.server.add_remote_candidate(
            now,
            &format!("a=candidate:1 1 tcp 2 10.1.0.1 {i} typ host tcptype active"),
        );
        pair.server.add_remote_candidate(
            now,
            &format!("candidate:1 1 udp 2 10.9.0.1 {i} typ host generation 0"),
        );
    }
    assert!(pair.run(LIMIT, |pair| pair.server.is_connected()), "{:?}", pair.events);
}

fn dropped(pair: &mut Pair, bytes: &[u8]) -> Option<DropReason> {
    let mut bytes = bytes.to_vec();
    let now = pair.now;
    match pair.server.handle_datagram(now, Endpoint::udp(server_addr(), client_addr()), &mut bytes)
    {
        Incoming::Dropped(reason) => Some(reason),
        Incoming::Consumed | Incoming::Rtp { .. } | Incoming::Rtcp(_) => None,
    }
}

fn closed(pair: &Pair) -> Option<(Duration, CloseReason)> {
    pair.events.iter().find_map(|(at, event)| match event {
        PeerEvent::Closed(reason) => Some((*at, *reason)),
        PeerEvent::Connected
        | PeerEvent::PathSilent
        | PeerEvent::IceFailed
        | PeerEvent::Connectivity(_)
        | PeerEvent::ChannelOpen(_)
        | PeerEvent::Data { .. } => None,
    })
}

#[track_caller]
fn closes(pair: &mut Pair, reason: CloseReason, at: Duration) {
    pair.run(at + LIMIT, |pair| closed(pair).is_some());
    assert_eq!(closed(pair), Some((at, reason)));
}
