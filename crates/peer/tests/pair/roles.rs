//! Two peers of ours, one in the client's role.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_datagram::Endpoint;
use hearth_peer::{Certificate, Context, Incoming, Peer, PeerEvent};
use hearth_plane::{
    Channel, CloseReason, DtlsRole, Fingerprint, IceCredentials, LocalCandidate, PeerSpec,
    RemoteParams,
};
use hearth_random::Seed;

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
                let incoming = server.handle_datagram(now, up(), &mut packet[..len]);
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

#[test]
fn a_server_whose_offer_is_answered_as_passive_begins_the_handshake() {
    for late in [false, true] {
        let mut now = epoch();
        let (mut server, mut client) = pair_of(now, true, DtlsRole::Server);
        let params = client_remote(DtlsRole::Client);
        if !late {
            server.set_remote(now, &params);
        }
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        for step in 0..200 {
            now += STEP;
            if late && step == 50 {
                server.set_remote(now, &params);
            }
            exchange(now, &mut server, &mut client);
            drain(&mut server, &mut at_server);
            drain(&mut client, &mut at_client);
        }
        assert_eq!(at_server.first(), Some(&PeerEvent::Connected), "late {late}: {at_server:?}");
        let open = PeerEvent::ChannelOpen(Channel::DataTrack);
        assert!(at_server.contains(&open) && at_client.contains(&open), "late {late}");
    }
}

#[test]
fn a_handshake_that_fails_as_it_begins_leaves_nothing_to_wait_for() {
    let now = epoch();
    let (mut server, mut client) = pair_of(now, true, DtlsRole::Server);
    server.set_remote(now, &client_remote(DtlsRole::Client));
    client.handle_timeout(now);
    let mut check = client.poll_transmit().unwrap().payload;
    server.handle_datagram(now, up(), &mut check);
    // A ServerHello before our ClientHello, with a cipher suite that was not offered.
    let mut hello = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 70];
    hello.extend([2, 0, 0, 58, 0, 0, 0, 0, 0, 0, 0, 58, 0xfe, 0xfd]);
    hello.extend([7; 32]);
    hello.extend([0, 0, 0, 0, 0, 18, 0, 14, 0, 5, 0, 2, 0, 8, 0]);
    hello.extend([0, 23, 0, 0, 0xff, 1, 0, 1, 0]);
    server.handle_datagram(now, up(), &mut hello);
    let mut events = Vec::new();
    drain(&mut server, &mut events);
    events.retain(|event| !matches!(event, PeerEvent::Connectivity(_)));
    assert_eq!(events, [PeerEvent::Closed(CloseReason::DtlsFailed)]);
    assert_eq!(server.poll_timeout(), None);
}

/// The client begins the handshake and opens the channels.
fn pair(now: Instant, lite: bool) -> (Peer, Peer) {
    let (mut server, client) = pair_of(now, lite, DtlsRole::Client);
    server.set_remote(now, &client_remote(DtlsRole::Server));
    (server, client)
}

/// The side that begins the handshake opens the channels too. The server has no answer yet.
fn pair_of(now: Instant, lite: bool, client_role: DtlsRole) -> (Peer, Peer) {
    let (server_context, server_fingerprint) = context();
    let client_begins = client_role == DtlsRole::Client;
    let server =
        Peer::new(now, &spec(lite, !client_begins, None), &server_context, &Seed::fixed(1))
            .unwrap();
    let client = client_spec(server_fingerprint, client_role);
    let context = Context::new(certificate()).unwrap();
    let mut client = Peer::new(now, &client, &context, &Seed::fixed(2)).unwrap();
    let (ip, port) = (server_addr().ip(), server_addr().port());
    client.add_remote_candidate(now, &format!("candidate:1 1 udp 2130706431 {ip} {port} typ host"));
    (server, client)
}

/// The endpoint to the server, as the server sees it.
fn up() -> Endpoint {
    Endpoint::udp(server_addr(), client_addr())
}

/// What a client in `role` is told of the server; who begins the handshake opens the channels.
pub(crate) fn client_spec(server: Fingerprint, role: DtlsRole) -> PeerSpec {
    let (ice, fingerprints) = (server_credentials(0), server.into());
    PeerSpec {
        local: client_credentials(),
        ice_lite: false,
        ice_controlling: true,
        local_candidates: vec![LocalCandidate::udp(client_addr())],
        remote: Some(RemoteParams { ice, fingerprints, role }),
        open_channels: role == DtlsRole::Client,
    }
}

fn client_credentials() -> IceCredentials {
    IceCredentials { ufrag: "client".into(), pwd: "a-password-of-the-client".into() }
}

pub(crate) fn certificate() -> Arc<Certificate> {
    static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
    Arc::clone(CERTIFICATE.get_or_init(|| Arc::new(Certificate::generate().unwrap())))
}

/// The client's description, for a server in this role.
pub(crate) fn client_remote(role: DtlsRole) -> RemoteParams {
    let fingerprints = certificate().fingerprint().into();
    RemoteParams { ice: client_credentials(), fingerprints, role }
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
        for (transmit, to) in [(up, &mut *server), (down, &mut *client)] {
            let Some(mut transmit) = transmit else { continue };
            let Endpoint { local, remote, .. } = transmit.path;
            let got = to.handle_datagram(now, Endpoint::udp(remote, local), &mut transmit.payload);
            media += usize::from(matches!(got, Incoming::Rtp { .. }));
        }
    }
}

fn drain(peer: &mut Peer, events: &mut Vec<PeerEvent>) {
    events.extend(std::iter::from_fn(|| peer.poll_event()));
}
