//! Two peers of ours, one in the client's role.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_peer::{Certificate, Context, Incoming, Peer, PeerEvent};
use hearth_plane::{Channel, DtlsRole, IceCredentials, PeerSpec, RemoteParams};

use crate::support::{client_addr, context, epoch, server_addr, server_credentials, spec};

const STEP: Duration = Duration::from_millis(10);

#[test]
fn a_client_of_ours_connects_to_lite_and_full_servers_and_opens_the_channels() {
    for lite in [true, false] {
        let mut now = epoch();
        let (mut server, mut client) = pair(now, lite);
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        let mut media = 0;
        for _ in 0..100 {
            now += STEP;
            media += exchange(now, &mut server, &mut client);
            drain(&mut server, &mut at_server);
            drain(&mut client, &mut at_client);
            if client.is_connected() && server.is_connected() && media == 0 {
                let mut packet = vec![0x80, 96, 0, 5, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];
                packet.resize(31, 0);
                let len = client.seal_rtp(&mut packet, 15, 12, 5).unwrap();
                let incoming =
                    server.handle_datagram(now, server_addr(), client_addr(), &mut packet[..len]);
                let Incoming::Rtp { packet, index: 5 } = incoming else { panic!("{incoming:?}") };
                assert_eq!(packet.len(), 15);
                media += 1;
            }
        }
        assert_eq!(at_server.first(), Some(&PeerEvent::Connected), "lite {lite}: {at_server:?}");
        assert_eq!(at_client.first(), Some(&PeerEvent::Connected), "lite {lite}: {at_client:?}");
        for channel in [Channel::Reliable, Channel::Lossy, Channel::DataTrack] {
            let open = PeerEvent::ChannelOpen(channel);
            assert!(at_server.contains(&open) && at_client.contains(&open), "lite {lite}");
        }
        client.send_data(now, Channel::Lossy, &Bytes::from_static(b"up")).unwrap();
        exchange(now + STEP, &mut server, &mut client);
        drain(&mut server, &mut at_server);
        let payload = Bytes::from_static(b"up");
        assert!(at_server.contains(&PeerEvent::Data { channel: Channel::Lossy, payload }));
    }
}

fn pair(now: Instant, lite: bool) -> (Peer, Peer) {
    let (server_context, server_fingerprint) = context();
    let certificate = Arc::new(Certificate::generate().unwrap());
    let client_credentials =
        IceCredentials { ufrag: "client".into(), pwd: "a-password-of-the-client".into() };
    let client_params =
        RemoteParams { ice: client_credentials.clone(), fingerprint: certificate.fingerprint() };
    let server =
        Peer::new(now, &spec(lite, false, Some(client_params)), &server_context, 1).unwrap();
    let client = PeerSpec {
        local: client_credentials,
        ice_lite: false,
        ice_controlling: true,
        local_addrs: vec![client_addr()],
        remote: Some(RemoteParams { ice: server_credentials(0), fingerprint: server_fingerprint }),
        dtls: DtlsRole::Client,
        open_channels: true,
    };
    let mut client = Peer::new(now, &client, &Context::new(certificate).unwrap(), 2).unwrap();
    client.add_remote_candidate(
        now,
        &format!(
            "candidate:1 1 udp 2130706431 {} {} typ host",
            server_addr().ip(),
            server_addr().port()
        ),
    );
    (server, client)
}

/// Carries datagrams until both are silent. Returns how much of it was media.
fn exchange(now: Instant, server: &mut Peer, client: &mut Peer) -> usize {
    let mut media = 0;
    server.handle_timeout(now);
    client.handle_timeout(now);
    loop {
        let (up, down) = (client.poll_transmit(), server.poll_transmit());
        if up.is_none() && down.is_none() {
            return media;
        }
        for (transmit, to, addrs) in [
            (up, &mut *server, (server_addr(), client_addr())),
            (down, &mut *client, (client_addr(), server_addr())),
        ] {
            let Some(mut transmit) = transmit else { continue };
            let got = to.handle_datagram(now, addrs.0, addrs.1, &mut transmit.payload);
            media += usize::from(matches!(got, Incoming::Rtp { .. }));
        }
    }
}

fn drain(peer: &mut Peer, events: &mut Vec<PeerEvent>) {
    events.extend(std::iter::from_fn(|| peer.poll_event()));
}
