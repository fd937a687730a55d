//! The client's side of one transport: ICE, DTLS and SRTP, without data channels.
//!
//! * **Owns:** an ICE agent, a DTLS client, the SRTP keys.
//! * **In:** [`Client::handle`] (a datagram of the server), [`Client::run`] (time).
//! * **Out:** [`Received`] media, [`Client::poll_transmit`].
//! * **Invariant:** nothing is sent after [`Client::vanish`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::hmac;
use dimpl::{Dtls, Output};
use hearth_plane::{DtlsRole, Fingerprint, IceCredentials, RemoteParams};
use hearth_rtp::{PacketKind, classify};
use hearth_srtp::{Opener, Profile, Sealer, Session};
use is::stun::{StunMessage, StunPacket, TransId};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};

/// The kind of a datagram of the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// Plaintext RTP.
    Rtp(Vec<u8>),
    /// Plaintext compound RTCP.
    Rtcp(Vec<u8>),
    /// STUN or DTLS of the transport itself, or unusable.
    Nothing,
}

/// See the module documentation.
pub struct Client {
    addr: SocketAddr,
    server: SocketAddr,
    ice: IceAgent,
    dtls: Dtls,
    keys: Option<(Sealer, Opener)>,
    fingerprint: Fingerprint,
    path: bool,
    done: bool,
    vanished: bool,
    dtls_at: Option<Instant>,
    out: VecDeque<Vec<u8>>,
}

impl Client {
    /// At `addr`, going to talk to `server`.
    pub fn new(now: Instant, addr: SocketAddr, server: SocketAddr) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.certificate);
        let fingerprint = Fingerprint(digest.as_ref().try_into().unwrap());
        let config = dimpl::Config::builder().build().unwrap();
        let mut dtls = Dtls::new_12(Arc::new(config), certificate, now);
        dtls.set_active(true);
        let mut ice = IceAgent::new(IceCreds::new());
        ice.set_controlling(true);
        ice.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        Self {
            addr,
            server,
            ice,
            dtls,
            keys: None,
            fingerprint,
            path: false,
            done: false,
            vanished: false,
            dtls_at: None,
            out: VecDeque::new(),
        }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Credentials and fingerprint of its description.
    pub fn params(&self) -> RemoteParams {
        let creds = self.ice.local_credentials();
        let ice = IceCredentials { ufrag: creds.ufrag.clone(), pwd: creds.pass.clone() };
        RemoteParams { ice, fingerprints: self.fingerprint.into(), role: DtlsRole::Server }
    }

    /// Takes the server's description, and begins.
    pub fn set_remote(&mut self, now: Instant, local: &IceCredentials) {
        let creds = IceCreds { ufrag: local.ufrag.clone(), pass: local.pwd.clone() };
        self.ice.set_remote_credentials(creds);
        self.ice.add_remote_candidate(Candidate::host(self.server, "udp").unwrap());
        self.run(now);
    }

    /// ICE has found a path.
    pub fn has_path(&self) -> bool {
        self.path
    }

    /// Media can be sent and received.
    pub fn is_connected(&self) -> bool {
        self.done && self.keys.is_some()
    }

    /// Vanishes: sends and receives nothing any more, without close_notify.
    pub fn vanish(&mut self) {
        self.vanished = true;
        self.out.clear();
    }

    /// A datagram of the server.
    pub fn handle(&mut self, now: Instant, buf: &mut [u8]) -> Received {
        if self.vanished {
            return Received::Nothing;
        }
        let mut received = Received::Nothing;
        match classify(buf) {
            PacketKind::Stun => {
                let message = StunMessage::parse(buf).unwrap();
                let (source, destination) = (self.server, self.addr);
                let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
                self.ice.handle_packet(now, packet);
            }
            PacketKind::Dtls => {
                self.dtls.handle_timeout(now).unwrap();
                self.dtls.handle_packet(buf).unwrap();
            }
            PacketKind::Rtp => {
                // Replayed by the network, or before the keys.
                if let Some(Ok(opened)) = self.keys.as_mut().map(|keys| keys.1.open_rtp(buf)) {
                    return Received::Rtp(buf[..opened.len].to_vec());
                }
            }
            PacketKind::Rtcp => {
                if let Some(Ok(opened)) = self.keys.as_mut().map(|keys| keys.1.open_rtcp(buf)) {
                    received = Received::Rtcp(buf[..opened.len].to_vec());
                }
            }
            PacketKind::Unknown => panic!("the server sent something that is no protocol of ours"),
        }
        self.run(now);
        received
    }

    /// Handles deadlines that have passed.
    pub fn run(&mut self, now: Instant) {
        if self.vanished {
            return;
        }
        self.ice.handle_timeout(now);
        while let Some(event) = self.ice.poll_event() {
            self.path |= matches!(event, IceAgentEvent::NominatedSend { .. });
        }
        while let Some(transmit) = self.ice.poll_transmit() {
            self.out.push_back(transmit.contents.into());
        }
        if self.path {
            // An error means that the handshake has taken too long.
            let _ = self.dtls.handle_timeout(now);
            self.pump();
        }
    }

    /// When to call [`run`](Self::run) next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let parts = [self.ice.poll_timeout(), self.dtls_at.filter(|_| self.path)];
        parts.into_iter().flatten().filter(|_| !self.vanished).min()
    }

    /// A datagram to the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Seals and sends a packet; `index` is its number without wraps.
    pub fn send_rtp(&mut self, header_len: usize, plain: &[u8], index: u64) {
        let Some((sealer, _)) = self.keys.as_mut().filter(|_| !self.vanished) else {
            return;
        };
        let mut packet = plain.to_vec();
        packet.resize(plain.len() + 16, 0);
        let len = sealer.seal_rtp(&mut packet, header_len, plain.len(), index).unwrap();
        packet.truncate(len);
        self.out.push_back(packet);
    }

    /// Seals and sends a compound packet.
    pub fn send_rtcp(&mut self, plain: &[u8]) {
        let Some((sealer, _)) = self.keys.as_mut().filter(|_| !self.vanished) else {
            return;
        };
        let mut packet = plain.to_vec();
        packet.resize(plain.len() + 20, 0);
        let len = sealer.seal_rtcp(&mut packet, plain.len()).unwrap();
        packet.truncate(len);
        self.out.push_back(packet);
    }

    /// The last datagram does not get out of the door.
    pub fn lose_last(&mut self) {
        self.out.pop_back();
    }

    fn pump(&mut self) {
        let mut buf = [0; 4_096];
        loop {
            match self.dtls.poll_output(&mut buf) {
                Output::Packet(packet) => self.out.push_back(packet.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        dimpl::SrtpProfile::AES128_CM_SHA1_80 | _ => panic!("not the best profile"),
                    };
                    self.keys = Some(Session::from_dtls(profile, &material, false).unwrap());
                }
                Output::Connected => self.done = true,
                Output::Timeout(at) => {
                    self.dtls_at = Some(at);
                    return;
                }
                Output::ApplicationData(_) | Output::PeerCert(_) | Output::CloseNotify => {}
                Output::BufferTooSmall { .. } | _ => panic!("an output of another kind"),
            }
        }
    }
}

/// A well-formed binding request to `username`, whose MESSAGE-INTEGRITY is `integrity`.
pub fn forged_check(username: &str, integrity: [u8; 20]) -> Vec<u8> {
    binding_request(username, "password", |_, _| integrity)
}

/// A connectivity check of somebody who knows the password.
pub fn authentic_check(username: &str, password: &str) -> Vec<u8> {
    binding_request(username, password, |key, parts| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        hmac::sign(&key, &parts.concat()).as_ref().try_into().unwrap()
    })
}

fn binding_request(
    username: &str,
    password: &str,
    integrity: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
) -> Vec<u8> {
    let request = StunMessage::binding_request(username, TransId::new(), true, 1, 2, false);
    let mut buf = vec![0; 400];
    let len = request.to_bytes(Some(password.as_bytes()), &mut buf, integrity).unwrap();
    buf.truncate(len);
    buf
}
