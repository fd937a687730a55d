//! Clients that move or vanish: media follows the one, and nobody is sent what was meant for the other.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hearth_peer::PeerEvent;
use hearth_plane::Channel;

use crate::support::{Pair, client_addr};

const SECOND: Duration = Duration::from_secs(1);
/// After that a client counts as gone.
const SILENCE: Duration = Duration::from_secs(15);
/// RFC 7675 §5.1.
const CONSENT: Duration = Duration::from_secs(30);

#[test]
fn media_follows_a_client_whose_nat_gives_it_another_address() {
    for lite in [true, false] {
        // Where in the client's rhythm of checks it happens.
        for phase in 0..10 {
            let mut pair = connected(lite);
            pair.run_for(10 * SECOND + phase * Duration::from_millis(300));
            pair.client.addr = moved();
            let there = |pair: &Pair| pair.server.path().is_some_and(|path| path.remote == moved());
            assert!(pair.run(60 * SECOND, there), "lite {lite}, phase {phase}");
            let answered = pair.sent_to.iter().find(|(_, to)| *to == moved()).unwrap().0;
            let took = pair.now - pair.t0 - answered;
            assert!(took <= SECOND + SECOND / 10, "lite {lite}, phase {phase}: {took:?}");
            pair.run_for(60 * SECOND);
            assert!(pair.server.is_connected() && there(&pair), "lite {lite}, phase {phase}");
        }
    }
}

#[test]
fn a_client_that_vanished_is_sent_nothing_whatever_waits_for_it() {
    for lite in [true, false] {
        let mut pair = connected(lite);
        pair.run_for(5 * SECOND);
        let vanished = pair.now - pair.t0;
        pair.cut = true;
        for n in 0..60 {
            // Fails once the transport is closed.
            let _ = pair.server.send_data(pair.now, Channel::Reliable, &Bytes::from_static(b"hi"));
            pair.run_for(SECOND);
            assert!(pair.server.path().is_none() || n < 15, "lite {lite}, {n} s");
        }
        let (last, _) = pair.sent_to.last().unwrap();
        // A full agent asks for consent a while longer.
        let limit = if lite { SILENCE } else { CONSENT };
        assert!(*last <= vanished + limit, "lite {lite}: {:?}", *last - vanished);
        assert!(pair.has(&PeerEvent::IceFailed), "lite {lite}");
    }
}

#[test]
fn who_sends_media_from_elsewhere_has_nothing_sent_to_where_it_was() {
    for lite in [true, false] {
        let mut pair = connected(lite);
        pair.run_for(5 * SECOND);
        let left = pair.now - pair.t0;
        pair.cut = true;
        let mut rtcp = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
        rtcp.resize(28, 0);
        for _ in 0..60 {
            let mut report = rtcp.clone();
            let keys = pair.client.keys.as_mut().unwrap();
            let len = keys.0.seal_rtcp(&mut report, 8).unwrap();
            pair.inject(moved(), report[..len].to_vec());
            let _ = pair.server.send_data(pair.now, Channel::Reliable, &Bytes::from_static(b"hi"));
            pair.run_for(SECOND);
            if pair.now - pair.t0 >= left + CONSENT {
                assert_eq!(pair.server.path(), None, "lite {lite}");
            }
        }
        assert!(pair.server.is_connected(), "lite {lite}: it is heard");
        let (last, _) = pair.sent_to.last().unwrap();
        assert!(*last < left + CONSENT, "lite {lite}: {:?}", *last - left);
    }
}

/// A pair with open channels.
fn connected(lite: bool) -> Pair {
    let mut pair = Pair::offered(lite, true, 1);
    let open = PeerEvent::ChannelOpen(Channel::Reliable);
    assert!(pair.run(20 * SECOND, |pair| pair.has(&open) && pair.client.dtls_done), "lite {lite}");
    pair
}

/// The client's address after that.
fn moved() -> SocketAddr {
    SocketAddr::new(client_addr().ip(), 50_000)
}
