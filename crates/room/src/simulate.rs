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
use crate::outbox::Outbox;
use crate::participant::{DroppedResume, ParticipantKey};
use crate::roster::Roster;
use crate::speakers::send_level;
use crate::subscription::Subscriptions;

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
                let Self { roster, tracks, out, .. } = self;
                roster.simulate_speaker(now, key, seconds);
                send_simulated_level(key, LEVEL, &tracks.subscriptions, roster, out);
            }
            Some(Scenario::ServerLeave(_)) => {
                self.disconnect(key, DisconnectReason::ServerShutdown);
            }
            Some(Scenario::NodeFailure(_)) => {
                let reason = DisconnectReason::ServerShutdown;
                let gone = self.roster.dismiss(key, Action::Reconnect, reason, &mut self.out);
                self.remove(Some(gone));
            }
            Some(Scenario::Migration(_)) => {
                let reason = DisconnectReason::Migration;
                let gone = self.roster.dismiss(key, Action::Reconnect, reason, &mut self.out);
                self.remove(Some(gone));
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => {
                self.roster.drop_resume(now, key, false);
            }
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => {
                self.roster.drop_resume(now, key, true);
            }
            Some(Scenario::SwitchCandidateProtocol(protocol)) => {
                switch_protocol(now, key, protocol, self);
            }
            Some(Scenario::SubscriberBandwidth(_) | Scenario::LeaveRequestFullReconnect(_))
            | None => {}
        }
    }
}

/// Tells those who hear a participant, and itself, how loud it is.
pub(crate) fn send_simulated_level(
    key: ParticipantKey,
    level: f32,
    subscriptions: &Subscriptions,
    roster: &Roster,
    out: &mut Outbox,
) {
    for recipient in roster.keys() {
        if recipient == key || subscriptions.is_subscribed_to(recipient, key) {
            send_level(recipient, (key, level), roster, out);
        }
    }
}

impl Roster {
    fn simulate_speaker(&mut self, now: Instant, key: ParticipantKey, seconds: i32) {
        let Some(participant) = self.get_mut(key) else { return };
        let end = now + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        participant.local.deadlines.simulated_speaker = Some(end);
        self.deadlines.watch(key, end);
    }

    /// Whether a simulated speaker is to fall silent.
    pub(crate) fn take_simulated_speaker(&mut self, now: Instant, key: ParticipantKey) -> bool {
        let Some(participant) = self.get_mut(key) else { return false };
        let end = &mut participant.local.deadlines.simulated_speaker;
        end.take_if(|end| *end <= now).is_some()
    }

    fn drop_resume(&mut self, now: Instant, key: ParticipantKey, unanswered: bool) {
        if let Some(participant) = self.get_mut(key) {
            let until = now + DROP_TIMEOUT;
            participant.local.dropped_resume = Some(DroppedResume { until, unanswered });
        }
    }
}

/// The client is to use TCP, or a relay over TLS, as if what it used before had failed.
fn switch_protocol(now: Instant, key: ParticipantKey, protocol: i32, room: &mut Room) {
    let Room { roster, ice, tracks, out, .. } = room;
    let Some(participant) = roster.get_mut(key) else { return };
    let can = Possible::of(participant, &out.config);
    let preference = match proto::CandidateProtocol::try_from(protocol) {
        Ok(proto::CandidateProtocol::Tcp) if can.tcp => IcePreference::Tcp,
        Ok(proto::CandidateProtocol::Tls) if can.tls => IcePreference::Tls,
        Ok(_) | Err(_) => IcePreference::None,
    };
    participant.local.transports.preference = preference;
    ice.set(now, &participant.record.identity, preference);
    tracks.negotiator.restart_subscriber(now, key, roster, out);
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
