//! Why a client is not connected, in words.
//!
//! * **Owns:** of one participant, what kinds of candidates its client has, and what was last said about it.
//! * **In:** candidates and descriptions of clients; [`Connectivity`] of their transports.
//! * **Out:** [`RoomEvent::ConnectionExplained`].
//! * **Invariant:** nothing is said twice; what was said of a client that connects after all is taken back.
//! * **Not here:** the words ([`explain`](explain::explain)); who may read them (`http`); how long they are kept
//!   (`runtime`).

mod explain;

use hearth_datagram::Protocol;
use hearth_plane::{Connectivity, PeerId};

use crate::RoomEvent;
use crate::outbox::Outbox;
use crate::participant::{LocalParticipant, Participant, ParticipantKey};
use crate::roster::Roster;
use explain::{ClientCandidates, Offered, explain};

/// Why a client is not connected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// One or two sentences for people, without an address of the client.
    pub text: String,
    /// One more with addresses of the client, for itself and the operator.
    pub detail: Option<String>,
    /// The connection was given up; otherwise it is still being tried.
    pub settled: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    candidates: ClientCandidates,
    said: Option<Explanation>,
}

impl Diagnosis {
    /// A candidate of the client (`candidate:…`).
    pub(crate) fn handle_candidate(&mut self, line: &str) {
        self.candidates.add(line);
    }

    /// A description of the client, which may have candidates.
    pub(crate) fn handle_description(&mut self, sdp: &str) {
        let attributes = sdp.lines().filter_map(|line| line.strip_prefix("a="));
        attributes.for_each(|line| self.candidates.add(line));
    }
}

/// A transport is not connected, or is again.
pub(crate) fn report(peer: PeerId, seen: &Connectivity, roster: &mut Roster, out: &mut Outbox) {
    let Some(key) = roster.by_peer(peer) else { return };
    let Some(participant) = roster.get_mut(key) else { return };
    let LocalParticipant { shard, transports, .. } = &participant.local;
    let candidates = transports.preference.candidates(*shard, &out.config);
    let of = |protocol| {
        let those = candidates.iter().filter(|candidate| candidate.protocol == protocol);
        those.map(|candidate| candidate.addr).collect::<Vec<_>>()
    };
    let offered = Offered { udp: &of(Protocol::Udp), tcp: &of(Protocol::Tcp) };
    let diagnosis = &mut participant.local.diagnosis;
    let Some(explanation) = explain(seen, &offered, diagnosis.candidates) else {
        return take_back(key, roster, out);
    };
    if diagnosis.said.as_ref() != Some(&explanation) {
        diagnosis.said = Some(explanation.clone());
        say(participant, Some(explanation), out);
    }
}

/// A transport of the participant is connected, or hears of its client again: what was said is no longer so.
pub(crate) fn take_back(key: ParticipantKey, roster: &mut Roster, out: &mut Outbox) {
    let Some(participant) = roster.get_mut(key) else { return };
    if participant.local.diagnosis.said.take().is_some() {
        say(participant, None, out);
    }
}

/// The participant goes. What was said while its client still tried to connect was the last.
pub(crate) fn settle(participant: &Participant, out: &mut Outbox) {
    let said = participant.local.diagnosis.said.as_ref();
    if let Some(last) = said.filter(|said| !said.settled && !participant.is_active()) {
        say(participant, Some(Explanation { settled: true, ..last.clone() }), out);
    }
}

fn say(participant: &Participant, explanation: Option<Explanation>, out: &mut Outbox) {
    out.event(RoomEvent::ConnectionExplained {
        participant_sid: participant.record.sid.clone(),
        identity: participant.record.identity.clone(),
        explanation: explanation.map(Box::new),
    });
}
