//! Which transport protocol a client's media takes, where UDP does not work for it.
//!
//! * **Owns:** by identity, the protocol that is preferred and until when; by participant, since when it is connected,
//!   and when its UDP failed last.
//! * **In:** connections and failures of transports, the time that signalling takes, a client's wish (test hooks).
//! * **Out:** [`IcePreferences::preferred`], for joins and resumes.
//! * **Invariant:** a preference is forgotten [`TTL`] after it was made, however often it is used. Nobody is sent to a
//!   protocol that it or the server cannot use.
//! * **livekit-server:** `pkg/rtc/transportmanager.go` (`handleConnectionFailed`), `pkg/service/roommanager.go`.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hearth_datagram::Protocol;
use hearth_plane::{LocalCandidate, ShardId};
use hearth_signal::proto;

use crate::RoomConfig;
use crate::compatibility::Compatibility;
use crate::participant::{Participant, ParticipantKey};

/// How long a preference is remembered.
const TTL: Duration = Duration::from_secs(5 * 60);
/// Two failures within this are the network's fault.
const TWICE: Duration = Duration::from_secs(60);
/// A client that was asked to find another way has so long for that: as long as silence takes to be a failure.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The other transport of a client fails with the first.
const TOGETHER: Duration = Duration::from_secs(5);
/// A connection that lasted no longer was never a good one.
const SHORT: Duration = Duration::from_secs(90);
/// Identities that are remembered: more than a room has participants.
const MAX_REMEMBERED: usize = 10_000;

/// A protocol for media.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum IcePreference {
    /// UDP if it works, else whatever does.
    #[default]
    None,
    /// TCP to this server.
    Tcp,
    /// A relay (TURN) over TLS.
    Tls,
}

impl IcePreference {
    /// Our candidates that a client is told of. A relay uses any.
    pub(crate) fn candidates(self, shard: ShardId, config: &RoomConfig) -> Vec<LocalCandidate> {
        let wanted =
            |candidate: &&LocalCandidate| self != Self::Tcp || candidate.protocol == Protocol::Tcp;
        config.candidates_of(shard).iter().filter(wanted).copied().collect()
    }

    /// Whether a candidate of a client (`candidate:…`) is of use.
    pub(crate) fn takes(self, line: &str) -> bool {
        let protocol = line.split_ascii_whitespace().nth(2);
        self != Self::Tcp || protocol.is_some_and(|it| it.eq_ignore_ascii_case("tcp"))
    }

    /// The next one that is possible.
    fn next(self, can: Possible) -> Option<Self> {
        let tls = Some(Self::Tls).filter(|_| can.tls);
        match self {
            Self::None => Some(Self::Tcp).filter(|_| can.tcp).or(tls),
            Self::Tcp => tls,
            Self::Tls => None,
        }
    }
}

/// Whether a client that resumes says that it does so as a transport failed.
pub(crate) fn says_failed(reason: i32) -> bool {
    let reason = proto::ReconnectReason::try_from(reason);
    use proto::ReconnectReason::{RrPublisherFailed, RrSubscriberFailed};
    matches!(reason, Ok(RrPublisherFailed | RrSubscriberFailed))
}

/// What a client and this server can use together, beside UDP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Possible {
    pub(crate) tcp: bool,
    pub(crate) tls: bool,
}

impl Possible {
    pub(crate) fn of(participant: &Participant, config: &RoomConfig) -> Self {
        let is_tcp = |candidate: &LocalCandidate| candidate.protocol == Protocol::Tcp;
        let is_udp = |candidate: &LocalCandidate| candidate.protocol == Protocol::Udp;
        Self {
            tcp: Compatibility(&participant.local.client).takes_tcp()
                && config.local_candidates.iter().flatten().any(is_tcp),
            // What a relay sends us comes over UDP.
            tls: config.ice_servers.has_tls()
                && config.local_candidates.iter().flatten().any(is_udp),
        }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct IcePreferences {
    preferred: HashMap<String, (IcePreference, Instant)>,
    participants: BTreeMap<ParticipantKey, Connection>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    since: Option<Instant>,
    failed: Option<Instant>,
    signal_rtt: Duration,
    /// When its client was asked to find another way.
    asked: Option<Instant>,
}

impl IcePreferences {
    /// What an identity is to use.
    pub(crate) fn preferred(&self, now: Instant, identity: &str) -> IcePreference {
        let known = self.preferred.get(identity).filter(|(_, until)| now < *until);
        known.map(|(preference, _)| *preference).unwrap_or_default()
    }

    /// An identity is to use this for a while.
    pub(crate) fn set(&mut self, now: Instant, identity: &str, preference: IcePreference) {
        if self.preferred.len() >= MAX_REMEMBERED {
            self.preferred.retain(|_, (_, until)| now < *until);
        }
        if preference == IcePreference::None {
            self.preferred.remove(identity);
        } else if self.preferred.len() < MAX_REMEMBERED {
            self.preferred.insert(identity.to_owned(), (preference, now + TTL));
        }
    }

    /// A transport of a participant connected for the first time.
    pub(crate) fn handle_connected(&mut self, now: Instant, key: ParticipantKey) {
        self.participants.entry(key).or_default().since.get_or_insert(now);
    }

    /// How long a message takes to the client and back, as that says.
    pub(crate) fn handle_signal_rtt(&mut self, key: ParticipantKey, rtt: Duration) {
        self.participants.entry(key).or_default().signal_rtt = rtt;
    }

    /// Whether a participant whose UDP is silent is to be asked to find another way: its transports fall silent one after
    /// the other, and who has been asked must not be disturbed.
    pub(crate) fn ask(&mut self, now: Instant, key: ParticipantKey) -> bool {
        let asked = &mut self.participants.entry(key).or_default().asked;
        let is_due = asked.is_none_or(|at| now - at >= ASK_AGAIN);
        if is_due {
            *asked = Some(now);
        }
        is_due
    }

    /// A transport of a participant failed.
    pub(crate) fn transport_failed(
        &mut self,
        now: Instant,
        participant: &Participant,
        config: &RoomConfig,
    ) {
        if let Some(max_rtt) = config.tcp_fallback {
            let can = Possible::of(participant, config);
            self.handle_failed(now, participant.key, &participant.record.identity, can, max_rtt);
        }
    }

    /// The failures of both of its transports are one.
    fn handle_failed(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        identity: &str,
        can: Possible,
        max_rtt: Duration,
    ) {
        let connection = self.participants.entry(key).or_default();
        if !max_rtt.is_zero() && connection.signal_rtt > max_rtt {
            return;
        }
        let since_last = connection.failed.map(|failed| now - failed);
        if since_last.is_some_and(|time| time < TOGETHER) {
            return;
        }
        let again = since_last.is_some_and(|time| time < TWICE);
        let lasted = connection.since.map_or(Duration::ZERO, |since| now - since);
        connection.failed = Some(now);
        // If its client comes back, it does so soon.
        connection.since = Some(now);
        if lasted >= SHORT && !again {
            return;
        }
        if let Some(next) = self.preferred(now, identity).next(can) {
            tracing::debug!(?key, ?next, "UDP does not work for it");
            self.set(now, identity, next);
        }
    }

    /// The participant is gone; what its identity prefers stays.
    pub(crate) fn forget(&mut self, key: ParticipantKey) {
        self.participants.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use IcePreference::{None as Any, Tcp, Tls};

    use super::*;

    const KEY: ParticipantKey = ParticipantKey(1);
    const ALL: Possible = Possible { tcp: true, tls: true };
    const NO_TLS: Possible = Possible { tcp: true, tls: false };
    const NO_TCP: Possible = Possible { tcp: false, tls: true };

    /// `at` seconds: connected, then failing at each of `failures`.
    fn check(can: Possible, at: u64, failures: &[u64], expected: IcePreference) {
        let t0 = epoch();
        let second = Duration::from_secs;
        let mut preferences = IcePreferences::default();
        preferences.handle_connected(t0 + second(at), KEY);
        let mut last = at;
        for failure in failures {
            let now = t0 + second(*failure);
            preferences.handle_failed(now, KEY, "alice", can, Duration::ZERO);
            last = *failure;
        }
        let now = t0 + second(last);
        assert_eq!(preferences.preferred(now, "alice"), expected, "{can:?} {at} {failures:?}");
        assert_eq!(preferences.preferred(now, "bob"), Any);
        assert_eq!(preferences.preferred(now + TTL, "alice"), Any, "it is forgotten");
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary point in time")]
    fn epoch() -> Instant {
        Instant::now()
    }

    #[test]
    fn udp_that_fails_early_or_twice_is_given_up() {
        check(ALL, 0, &[], Any);
        check(ALL, 0, &[89], Tcp);
        check(ALL, 0, &[90], Any);
        check(ALL, 0, &[100, 159], Tcp);
        check(ALL, 0, &[100, 300], Any);
        check(ALL, 0, &[10, 14], Tcp);
        check(NO_TLS, 0, &[10, 20], Tcp);
        check(ALL, 0, &[10, 20], Tls);
        check(NO_TCP, 0, &[10], Tls);
        check(Possible { tcp: false, tls: false }, 0, &[10, 20], Any);
    }

    #[test]
    fn a_client_that_is_far_away_is_left_with_udp_if_it_is_configured_so() {
        let (now, far) = (epoch(), Duration::from_millis(300));
        for (max, expected) in [(0, Tcp), (200, Any), (400, Tcp)] {
            let mut preferences = IcePreferences::default();
            preferences.handle_signal_rtt(KEY, far);
            preferences.handle_failed(now, KEY, "alice", NO_TLS, Duration::from_millis(max));
            assert_eq!(preferences.preferred(now, "alice"), expected, "{max}");
        }
    }

    #[test]
    fn candidates_of_udp_are_of_no_use_where_tcp_is_preferred() {
        let udp = "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host";
        let tcp = "candidate:1 1 TCP 1518280447 192.0.2.1 9 typ host tcptype active";
        assert!(Any.takes(udp) && Any.takes(tcp) && Tls.takes(udp));
        assert!(!Tcp.takes(udp) && Tcp.takes(tcp) && !Tcp.takes("nonsense"));
        let both = ["192.0.2.1:7882", "192.0.2.1:7881"].map(|addr| addr.parse().unwrap());
        let local_candidates =
            vec![vec![LocalCandidate::udp(both[0]), LocalCandidate::tcp(both[1])]];
        let config = RoomConfig { local_candidates, ..RoomConfig::default() };
        assert_eq!(Any.candidates(ShardId(0), &config).len(), 2);
        assert_eq!(Tcp.candidates(ShardId(0), &config), [LocalCandidate::tcp(both[1])]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut preferences, now) = (IcePreferences::default(), epoch());
        for n in 0..MAX_REMEMBERED + 10 {
            preferences.set(now, &n.to_string(), Tcp);
        }
        assert_eq!(preferences.preferred.len(), MAX_REMEMBERED);
        preferences.set(now + TTL, "late", Tcp);
        assert_eq!(preferences.preferred.len(), 1);
    }
}
