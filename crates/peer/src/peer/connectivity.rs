//! What a transport tells of itself while it is not connected.
//!
//! * **Owns:** [`Witness`]: when the transport was made, when it reports next, how far its handshake came.
//! * **In:** what the parts of [`Peer`] have seen; datagrams that could not be sent.
//! * **Out:** [`PeerEvent::Connectivity`]: each [`INTERVAL`] until the transport is connected, once when it is lost or
//!   given up, and once when it is back.
//! * **Invariant:** a transport that is connected costs one branch of this for a packet.

use std::time::{Duration, Instant};

use hearth_plane::{
    CloseReason, Connectivity, ConnectivityStage, HandshakeFailure, HandshakeProgress, Unsent,
};

use super::{Peer, PeerEvent, REVIVAL_TIMEOUT, SILENCE_TIMEOUT, Stage};

/// Between two reports of a transport that is not connected yet. Shorter has an answer sooner for a client that
/// gives up (after 15 s), longer costs the room fewer events.
const INTERVAL: Duration = Duration::from_secs(3);

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Witness {
    made: Instant,
    next: Instant,
    handshake: HandshakeProgress,
    unsent: Option<Unsent>,
    /// [`ConnectivityStage::Silent`] was the last report.
    silent: bool,
}

impl Witness {
    pub(super) fn new(now: Instant) -> Self {
        let handshake = HandshakeProgress::NotBegun;
        Self { made: now, next: now + INTERVAL, handshake, unsent: None, silent: false }
    }

    /// When the next report is due, if the transport is not connected.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// A DTLS datagram came.
    pub(super) fn handle_dtls(&mut self) {
        if self.handshake == HandshakeProgress::NotBegun {
            self.handshake = HandshakeProgress::Begun;
        }
    }
}

impl Peer {
    /// A datagram to the client could not be sent, for another reason than want of room.
    pub fn handle_unsent(&mut self, why: Unsent) {
        self.witness.unsent = Some(why);
    }

    /// Reports, if that is due.
    pub(super) fn report_progress(&mut self, now: Instant) {
        let connecting = matches!(self.stage, Stage::Checking { .. } | Stage::Handshaking { .. });
        if connecting && now >= self.witness.next {
            self.witness.next = now + INTERVAL;
            let waited = now.saturating_duration_since(self.witness.made);
            self.report(ConnectivityStage::Connecting(waited));
        }
    }

    /// The connection was lost: nothing authenticated came since `last_received`.
    pub(super) fn report_silence(&mut self, now: Instant, last_received: Instant) {
        self.witness.silent = true;
        self.report(ConnectivityStage::Silent(now.saturating_duration_since(last_received)));
    }

    /// Something authenticated arrived: an ICE restart alone does not end a silence.
    pub(super) fn report_sound(&mut self) {
        if self.witness.silent {
            self.witness.silent = false;
            self.report(ConnectivityStage::Restored);
        }
    }

    /// Says what was seen, and closes.
    pub(super) fn fail(&mut self, now: Instant, reason: CloseReason) {
        let waited = now.saturating_duration_since(self.witness.made);
        match self.stage {
            Stage::Checking { .. } | Stage::Handshaking { .. } => {
                self.report(ConnectivityStage::NeverConnected(waited));
            }
            Stage::Failed { deadline } => {
                let silent =
                    (now + SILENCE_TIMEOUT + REVIVAL_TIMEOUT).checked_duration_since(deadline);
                self.report(ConnectivityStage::Silent(silent.unwrap_or(SILENCE_TIMEOUT)));
            }
            Stage::Connected { .. } | Stage::Closed => {}
        }
        self.close(reason);
    }

    /// The handshake cannot succeed.
    pub(super) fn fail_handshake(&mut self, now: Instant, failure: HandshakeFailure) {
        self.witness.handshake = HandshakeProgress::Failed(failure);
        let timeout = failure == HandshakeFailure::Timeout;
        self.fail(now, if timeout { CloseReason::DtlsTimeout } else { CloseReason::DtlsFailed });
    }

    fn report(&mut self, stage: ConnectivityStage) {
        let done = self.handshake.done && self.keys.is_some();
        let seen = Connectivity {
            stage,
            described: self.fingerprints.is_some(),
            ways: self.ice.ways().to_vec(),
            nominated: self.ice.last_path().copied(),
            handshake: if done { HandshakeProgress::Done } else { self.witness.handshake },
            channels: self.channels.as_ref().is_some_and(crate::channels::Channels::has_opened),
            unsent: self.witness.unsent,
        };
        self.events.push_back(PeerEvent::Connectivity(Box::new(seen)));
    }
}
