//! Test hooks of client SDKs.
//!
//! * **Owns:** nothing beyond [`Room`].
//! * **In:** [`SimulateScenario`](proto::SimulateScenario), resumes, time.
//! * **Out:** what a client is to be tested with: speakers, departures, lost connections.
//! * **Invariant:** only the client that asks for a failure has it.
//! * **livekit-server:** `pkg/rtc/room.go` (`onSimulateScenario`). There a simulated node failure or
//!   migration closes the connection without a `leave`, which leaves livekit-client hanging.

use std::time::{Duration, Instant};

use hearth_signal::proto::{self, DisconnectReason, leave_request::Action};
use proto::simulate_scenario::Scenario;

use crate::Room;
use crate::ice_preference::{IcePreference, Possible};
use crate::participant::{DroppedResume, ParticipantKey};
use crate::roster::Roster;
use crate::session::leave;
use crate::speakers::send_level;

/// How long a resume is waited for that is to be dropped.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);
/// How loud a simulated speaker is.
const LEVEL: f32 = 0.9;

impl Room {
    pub(crate) fn simulate(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: &proto::SimulateScenario,
    ) {
        match request.scenario {
            Some(Scenario::SpeakerUpdate(seconds)) => {
                simulate_speaker(now, key, seconds, self);
            }
            Some(Scenario::ServerLeave(_)) => {
                self.disconnect(key, DisconnectReason::ServerShutdown);
            }
            Some(Scenario::NodeFailure(_)) => {
                self.simulate_loss(key, DisconnectReason::ServerShutdown);
            }
            Some(Scenario::Migration(_)) => {
                self.simulate_loss(key, DisconnectReason::Migration);
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => {
                drop_resume(now, key, false, &mut self.roster)
            }
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => {
                drop_resume(now, key, true, &mut self.roster);
            }
            Some(Scenario::SwitchCandidateProtocol(protocol)) => {
                switch_protocol(now, key, protocol, self);
            }
            Some(Scenario::SubscriberBandwidth(_) | Scenario::LeaveRequestFullReconnect(_))
            | None => {}
        }
    }

    fn simulate_loss(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        self.disconnect_with(key, leave(Action::Reconnect, reason), reason);
    }

    pub(crate) fn end_simulated_speaker(&mut self, key: ParticipantKey) {
        if let Some(participant) = self.roster.get_mut(key) {
            participant.local.deadlines.simulated_speaker = None;
            tell_simulated_speaker(key, 0.0, self);
        }
    }
}

fn simulate_speaker(now: Instant, key: ParticipantKey, seconds: i32, room: &mut Room) {
    let Some(participant) = room.roster.get_mut(key) else { return };
    let end = now + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    participant.local.deadlines.simulated_speaker = Some(end);
    room.roster.deadlines.watch(key, end);
    tell_simulated_speaker(key, LEVEL, room);
}

/// Tells those who hear it, and itself.
fn tell_simulated_speaker(key: ParticipantKey, level: f32, room: &mut Room) {
    for recipient in room.roster.keys() {
        if recipient == key || room.subscriptions.is_subscribed_to(recipient, key) {
            send_level(recipient, (key, level), &room.roster, &mut room.out);
        }
    }
}

/// The client is to use TCP, or a relay over TLS, as if what it used before had failed.
fn switch_protocol(now: Instant, key: ParticipantKey, protocol: i32, room: &mut Room) {
    let Room { roster, ice, negotiator, out, .. } = room;
    let Some(participant) = roster.get_mut(key) else { return };
    let can = Possible::of(participant, &out.config);
    let preference = match proto::CandidateProtocol::try_from(protocol) {
        Ok(proto::CandidateProtocol::Tcp) if can.tcp => IcePreference::Tcp,
        Ok(proto::CandidateProtocol::Tls) if can.tls => IcePreference::Tls,
        Ok(_) | Err(_) => IcePreference::None,
    };
    participant.local.transports.preference = preference;
    ice.set(now, &participant.record.identity, preference);
    negotiator.restart_subscriber(now, key, roster, out);
}

fn drop_resume(now: Instant, key: ParticipantKey, unanswered: bool, roster: &mut Roster) {
    if let Some(participant) = roster.get_mut(key) {
        let until = now + DROP_TIMEOUT;
        participant.local.dropped_resume = Some(DroppedResume { until, unanswered });
    }
}

impl Roster {
    /// Whether this resume is to be dropped.
    pub(crate) fn take_dropped_resume(
        &mut self,
        now: Instant,
        key: ParticipantKey,
    ) -> Option<DroppedResume> {
        let dropped = self.get_mut(key)?.local.dropped_resume.take();
        dropped.filter(|dropped| now < dropped.until)
    }
}
