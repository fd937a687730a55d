//! The DTLS association: handshake, the remote certificate, SRTP keys, close.
//!
//! * **Owns:** the DTLS engine; a media server is its server, so that it chooses the SRTP profile.
//! * **In:** DTLS datagrams, application data to send, time.
//! * **Out:** [`poll_output`](DtlsLink::poll_output).
//! * **Invariant:** output of one call is taken out of the engine before the next, so its
//!   queue of ten never overflows.
//! * **Spec:** RFC 6347, RFC 5764 (DTLS-SRTP), RFC 8842.

use std::collections::VecDeque;
use std::time::Instant;

use dimpl::{Dtls, Output, SrtpProfile};
use hearth_plane::{DtlsRole, HandshakeFailure};
use hearth_srtp::{Opener, Profile, Sealer, Session};
use tracing::debug;

use crate::certificate::Context;

/// Above the MTU of any flight of ours; a record from elsewhere may be longer.
const OUTPUT_BUFFER: usize = 2_048;
/// A DTLS record carries at most 2^14 bytes and some overhead.
const MAX_OUTPUT: usize = 17_000;

/// An output of the association.
pub(crate) enum DtlsOutput {
    /// A datagram to send.
    Packet(Vec<u8>),
    /// The other side proved to own this certificate, in DER.
    Certificate(Vec<u8>),
    /// Keys for media.
    Keys(Box<(Sealer, Opener)>),
    /// The handshake is done.
    Connected,
    /// SCTP.
    Data(Vec<u8>),
    /// The other side sent close_notify.
    Closed,
    /// The handshake cannot succeed.
    Failed(HandshakeFailure),
}

pub(crate) struct DtlsLink {
    dtls: Dtls,
    role: DtlsRole,
    connected: bool,
    outputs: VecDeque<DtlsOutput>,
    next: Option<Instant>,
}

impl DtlsLink {
    pub(crate) fn new(now: Instant, context: &Context) -> Self {
        let dtls = Dtls::new_12(context.dtls_config(), context.dtls_certificate(), now);
        let (role, outputs) = (DtlsRole::Server, VecDeque::new());
        let mut link = Self { dtls, role, connected: false, outputs, next: None };
        link.handle_timeout(now);
        link
    }

    /// The role (`a=setup`) of the descriptions; server until they are known.
    pub(crate) fn set_role(&mut self, role: DtlsRole) {
        self.role = role;
    }

    /// Our end of the handshake.
    pub(crate) const fn role(&self) -> DtlsRole {
        self.role
    }

    /// ICE has a path: a DTLS client starts the handshake (ClientHello), once. True if it does so by this call.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let begins = self.role == DtlsRole::Client && !self.dtls.is_active();
        if begins {
            self.dtls.set_active(true);
            self.handle_timeout(now);
        }
        begins
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, buf: &[u8]) {
        self.handle_timeout(now);
        let result = self.dtls.handle_packet(buf);
        self.pump();
        self.check(result);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let result = self.dtls.handle_timeout(now);
        self.pump();
        self.check(result);
    }

    /// Sends one SCTP packet.
    pub(crate) fn send(&mut self, data: &[u8]) {
        if let Err(error) = self.dtls.send_application_data(data) {
            debug!(%error, "DTLS record not sent");
        }
        self.pump();
    }

    pub(crate) fn poll_output(&mut self) -> Option<DtlsOutput> {
        self.outputs.pop_front()
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// An error during the handshake ends it; afterwards it is a stray datagram.
    fn check(&mut self, result: Result<(), dimpl::Error>) {
        let Err(error) = result else {
            return;
        };
        debug!(%error, "DTLS");
        let harmless =
            matches!(error, dimpl::Error::ReceiveQueueFull | dimpl::Error::TransmitQueueFull);
        if !self.connected && !harmless {
            self.outputs.push_back(DtlsOutput::Failed(failure(&error)));
        }
    }

    /// Empties the engine.
    fn pump(&mut self) {
        let mut small = [0; OUTPUT_BUFFER];
        let mut large = Vec::new();
        loop {
            let buf = if large.is_empty() { &mut small[..] } else { &mut large[..] };
            let output = match self.dtls.poll_output(buf) {
                Output::Packet(packet) => DtlsOutput::Packet(packet.to_vec()),
                Output::BufferTooSmall { needed } if needed <= MAX_OUTPUT => {
                    large = vec![0; MAX_OUTPUT];
                    continue;
                }
                Output::BufferTooSmall { .. } => return,
                Output::Timeout(at) => {
                    self.next = Some(at);
                    return;
                }
                Output::Connected => {
                    self.connected = true;
                    DtlsOutput::Connected
                }
                Output::PeerCert(der) => DtlsOutput::Certificate(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    match keys(&material, profile, self.role) {
                        Some(keys) => DtlsOutput::Keys(Box::new(keys)),
                        None => DtlsOutput::Failed(HandshakeFailure::Other),
                    }
                }
                Output::ApplicationData(data) => DtlsOutput::Data(data.to_vec()),
                Output::CloseNotify => DtlsOutput::Closed,
                // The library may add outputs; one that is unknown here cannot matter.
                _ => continue,
            };
            self.outputs.push_back(output);
        }
    }
}

fn failure(error: &dimpl::Error) -> HandshakeFailure {
    use dimpl::{Error, SecurityError};
    if matches!(error, Error::Timeout(_)) {
        return HandshakeFailure::Timeout;
    }
    let Error::SecurityError(error) = error else { return HandshakeFailure::Other };
    if let SecurityError::FatalAlert { description } = error {
        return HandshakeFailure::Alert(*description);
    }
    let by_version = matches!(
        error,
        SecurityError::UnsupportedClientVersion(_) | SecurityError::UnsupportedServerVersion(_)
    );
    if by_version { HandshakeFailure::Version } else { HandshakeFailure::Other }
}

fn keys(material: &[u8], profile: SrtpProfile, role: DtlsRole) -> Option<(Sealer, Opener)> {
    let profile = match profile {
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        SrtpProfile::AES128_CM_SHA1_80 => Profile::AesCm128HmacSha1_80,
        // Not negotiated by us.
        _ => return None,
    };
    Session::from_dtls(profile, material, role == DtlsRole::Server).ok()
}
