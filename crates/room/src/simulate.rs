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
                self.simulate_speaker(now, key, seconds);
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
            Some(Scenario::DisconnectSignalOnResume(_)) => self.roster.drop_resume(now, key, false),
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => {
                self.roster.drop_resume(now, key, true);
            }
            Some(
                Scenario::SwitchCandidateProtocol(_)
                | Scenario::SubscriberBandwidth(_)
                | Scenario::LeaveRequestFullReconnect(_),
            )
            | None => {}
        }
    }

    fn simulate_loss(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        self.disconnect_with(key, leave(Action::Reconnect, reason), reason);
    }

    fn simulate_speaker(&mut self, now: Instant, key: ParticipantKey, seconds: i32) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        let end = now + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        participant.local.deadlines.simulated_speaker = Some(end);
        self.roster.deadlines.watch(key, end);
        self.tell_simulated_speaker(key, LEVEL);
    }

    pub(crate) fn end_simulated_speaker(&mut self, key: ParticipantKey) {
        if let Some(participant) = self.roster.get_mut(key) {
            participant.local.deadlines.simulated_speaker = None;
            self.tell_simulated_speaker(key, 0.0);
        }
    }

    /// Tells those who hear it, and itself.
    fn tell_simulated_speaker(&mut self, key: ParticipantKey, level: f32) {
        for recipient in self.roster.keys() {
            if recipient == key || self.subscriptions.is_subscribed_to(recipient, key) {
                send_level(recipient, (key, level), &self.roster, &mut self.out);
            }
        }
    }
}

impl Roster {
    fn drop_resume(&mut self, now: Instant, key: ParticipantKey, unanswered: bool) {
        if let Some(participant) = self.get_mut(key) {
            let until = now + DROP_TIMEOUT;
            participant.local.dropped_resume = Some(DroppedResume { until, unanswered });
        }
    }

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
