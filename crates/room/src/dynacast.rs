//! Dynacast: publishers are told how much of their video anybody watches, and send no more.
//!
//! * **Owns:** the demand last sent to the publisher of each video track, and when a lower one is due.
//! * **In:** tracks that begin, change ([`Dynacast::note_track`]) and end, layer limits that change
//!   ([`Dynacast::note_limit`]), resumed sessions, answered offers, time.
//! * **Out:** `subscribed_quality_update`.
//! * **Invariant:** nothing is told of a muted track. Else a higher demand is told with the input
//!   that raised it, and a lower one when the publisher was told too much for
//!   `dynacast_pause_delay`: whoever looks away for a moment costs no key frame.
//! * **Not here:** what a subscriber wants of a track (`subscription_settings`).
//! * **livekit-server:** `pkg/rtc/dynacast`.

#![expect(deprecated, reason = "older clients read `subscribed_qualities`")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_plane::{LayerLimit, TrackId};
use hearth_signal::proto::{self, VideoQuality, signal_response::Message};

use crate::deadline_queue::DeadlineQueue;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publication::Publication;
use crate::publications::Publications;
use crate::roster::Roster;
use crate::subscription::Subscriptions;

/// How long a track may stay without a subscriber before its publisher is told to stop. Longer
/// wastes its upload, shorter stops it before those who are here have answered the offer;
/// livekit-server's value.
const FIRST_REPORT: Duration = Duration::from_secs(10);

/// The highest quality that somebody watches.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Demand {
    Off,
    Low,
    Medium,
    High,
}

impl Demand {
    /// What one subscriber wants of a track that comes in `encodings` encodings.
    pub(crate) fn of(limit: Option<LayerLimit>, encodings: usize) -> Self {
        match limit.filter(|limit| limit.enabled).map(|limit| usize::from(limit.spatial)) {
            None => Self::Off,
            Some(max) if max + 1 >= encodings => Self::High,
            Some(0) => Self::Low,
            Some(_) => Self::Medium,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dynacast {
    pause_delay: Duration,
    tracks: BTreeMap<TrackId, State>,
    /// Tracks whose demand is to be looked at: now, and when time has passed.
    changed: BTreeSet<TrackId>,
    deadlines: DeadlineQueue<TrackId>,
}

impl Dynacast {
    pub(crate) fn new(pause_delay: Duration) -> Self {
        let (tracks, changed) = (BTreeMap::new(), BTreeSet::new());
        Self { pause_delay, tracks, changed, deadlines: DeadlineQueue::default() }
    }

    /// A video track is published; its publisher sends everything until it is told otherwise.
    pub(crate) fn begin(&mut self, now: Instant, track: TrackId, muted: bool) {
        let state = if muted {
            State::Muted { told: None }
        } else {
            State::Untold { off_at: now + FIRST_REPORT }
        };
        self.set(track, state);
    }

    /// The track ended.
    pub(crate) fn forget(&mut self, track: TrackId) {
        self.tracks.remove(&track);
        self.changed.remove(&track);
        self.deadlines.forget(track);
    }

    /// What one subscriber wants changed.
    ///
    /// **Cost:** does not depend on the number of subscribers.
    pub(crate) fn note_limit(&mut self, track: TrackId, before: Demand, after: Demand) {
        if self.tracks.get(&track).is_some_and(|state| state.is_moved_by(before, after)) {
            self.changed.insert(track);
        }
    }

    /// The track itself changed: muted, unmuted, or described anew.
    pub(crate) fn note_track(&mut self, track: TrackId) {
        if self.tracks.contains_key(&track) {
            self.changed.insert(track);
        }
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.changed.extend(self.deadlines.take_due(now));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.poll_timeout()
    }

    /// A track whose demand is to be looked at. Call until `None`.
    pub(crate) fn poll_changed(&mut self) -> Option<TrackId> {
        self.changed.pop_first()
    }

    /// Takes the present demand, `None` while the track is muted. Returns what its publisher is to
    /// be told.
    #[must_use]
    pub(crate) fn handle_demand(
        &mut self,
        now: Instant,
        track: TrackId,
        demand: Option<Demand>,
    ) -> Option<Demand> {
        let (next, tell) = self.tracks.get(&track)?.next(now, self.pause_delay, demand);
        self.set(track, next);
        tell
    }

    fn set(&mut self, track: TrackId, state: State) {
        self.deadlines.forget(track);
        if let Some(at) = state.due() {
            self.deadlines.watch(track, at);
        }
        self.tracks.insert(track, state);
    }

    /// What the publisher goes by; `None` if it was told nothing, or the track is muted.
    pub(crate) fn told(&self, track: TrackId) -> Option<Demand> {
        match *self.tracks.get(&track)? {
            State::Met(told) | State::Excess { told, .. } => Some(told),
            State::Untold { .. } | State::Muted { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing was told, and nobody watches.
    Untold { off_at: Instant },
    /// The publisher was told the demand.
    Met(Demand),
    /// The publisher was told more than is in demand by now.
    Excess { told: Demand, lower_at: Instant },
    /// Whatever happens is told with the unmute. `told` before the mute.
    Muted { told: Option<Demand> },
}

impl State {
    fn due(&self) -> Option<Instant> {
        match *self {
            Self::Untold { off_at } => Some(off_at),
            Self::Excess { lower_at, .. } => Some(lower_at),
            Self::Met(_) | Self::Muted { .. } => None,
        }
    }

    /// Whether the demand may be another one after this change of one subscriber's.
    fn is_moved_by(self, before: Demand, after: Demand) -> bool {
        match self {
            Self::Met(told) => after > told || (before >= told && after < told),
            Self::Untold { .. } | Self::Excess { .. } => before != after,
            Self::Muted { .. } => false,
        }
    }

    /// The state that follows, and what to tell.
    fn next(self, now: Instant, delay: Duration, demand: Option<Demand>) -> (Self, Option<Demand>) {
        let Some(demand) = demand else {
            let told = match self {
                Self::Untold { .. } => None,
                Self::Met(told) | Self::Excess { told, .. } => Some(told),
                Self::Muted { told } => told,
            };
            return (Self::Muted { told }, None);
        };
        let lower_at = now + delay;
        match self {
            // Who is here may just not have answered the offer yet.
            Self::Muted { told: None } if demand == Demand::Off => {
                (Self::Untold { off_at: now + FIRST_REPORT }, None)
            }
            Self::Untold { off_at } if demand == Demand::Off && now < off_at => (self, None),
            // A client that adapts to its window starts low and says what it needs a little later.
            Self::Untold { .. } if demand > Demand::Off && demand < Demand::High => {
                (Self::Excess { told: Demand::High, lower_at }, Some(Demand::High))
            }
            Self::Untold { .. } | Self::Muted { .. } => (Self::Met(demand), Some(demand)),
            Self::Met(told) | Self::Excess { told, .. } if demand > told => {
                (Self::Met(demand), Some(demand))
            }
            Self::Met(told) | Self::Excess { told, .. } if demand == told => {
                (Self::Met(told), None)
            }
            Self::Met(told) => (Self::Excess { told, lower_at }, None),
            Self::Excess { lower_at, .. } if now < lower_at => (self, None),
            Self::Excess { .. } => (Self::Met(demand), Some(demand)),
        }
    }
}

impl Publications {
    /// Tells publishers whose tracks are wanted in another quality than before.
    pub(crate) fn send_demands(
        &mut self,
        now: Instant,
        subscriptions: &Subscriptions,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        while let Some(id) = self.dynacast.poll_changed() {
            let Some(track) = self.tracks.get(&id) else { continue };
            let encodings = track.spec.encodings.len();
            let demand = (!track.info.muted).then(|| demand(subscriptions, id, encodings));
            if let Some(demand) = self.dynacast.handle_demand(now, id, demand) {
                tell_demand(track, demand, roster, out);
            }
        }
    }

    /// The client may have missed what it was told, or taken it back.
    pub(crate) fn repeat_demands(
        &self,
        publisher: ParticipantKey,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        let Some(participant) = roster.get(publisher) else { return };
        for track in participant.local.publishing.tracks.iter().filter_map(|id| self.get(*id)) {
            if let Some(told) = self.dynacast.told(track.id) {
                tell_demand(track, told, roster, out);
            }
        }
    }
}

/// The highest over all subscriptions.
fn demand(subscriptions: &Subscriptions, id: TrackId, encodings: usize) -> Demand {
    let mut highest = Demand::Off;
    for subscription in subscriptions.of_track(id) {
        highest = highest.max(Demand::of(subscription.limit, encodings));
        if highest == Demand::High {
            break;
        }
    }
    highest
}

fn tell_demand(track: &Publication, demand: Demand, roster: &Roster, out: &mut Outbox) {
    tracing::debug!(track = ?track.id, ?demand, "Demand changed");
    let message = update(track.info.sid.clone(), track.codec(), demand);
    roster.send(out, track.publisher, Message::SubscribedQualityUpdate(message));
}

/// A `SubscribedQualityUpdate`.
fn update(track_sid: String, codec: Codec, demand: Demand) -> proto::SubscribedQualityUpdate {
    let quality = |(quality, least): (VideoQuality, Demand)| proto::SubscribedQuality {
        quality: quality.into(),
        enabled: demand >= least,
    };
    let qualities: Vec<_> = [
        (VideoQuality::Low, Demand::Low),
        (VideoQuality::Medium, Demand::Medium),
        (VideoQuality::High, Demand::High),
    ]
    .map(quality)
    .into();
    let codec = codec.mime().trim_start_matches("video/").to_ascii_lowercase();
    proto::SubscribedQualityUpdate {
        track_sid,
        subscribed_qualities: qualities.clone(),
        subscribed_codecs: vec![proto::SubscribedCodec { codec, qualities }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_plane::RoomId;

    const TRACK: TrackId = TrackId { room: RoomId(1), n: 1 };

    #[test]
    fn more_is_told_at_once_and_less_after_the_delay() {
        // Seconds and demand; then what is told when. `x` is muted, `.` the end.
        check("0- 60.", "10-");
        check("0- 2H 60.", "2H");
        check("0- 2L 60.", "2H 7L");
        check("0- 2L 3H 60.", "2H");
        check("0- 2M 4L 60.", "2H 7L");
        check("0- 2L 8- 60.", "2H 7L 13-");
        check("0- 2H 20L 24M 60.", "2H 25M");
        check("0- 2H 20L 24H 27L 60.", "2H 32L");
        check("0- 2H 20L 30M 60.", "2H 25L 30M");
        check("0- 2H 20- 30L 60.", "2H 25- 30L");
        check("0- 12L 60.", "10- 12L");
        check("0- 2- 60.", "10-");
    }

    #[test]
    fn nothing_is_told_of_a_muted_track_and_everything_after() {
        check("0x 60.", "");
        check("0- 2x 60.", "");
        check("0x 2L 30- 60.", "2L 35-");
        check("0x 20- 60.", "30-");
        check("0- 2H 3x 60.", "2H");
        check("0- 2H 3x 20H 60.", "2H 20H");
        check("0- 2H 3L 4x 30L 60.", "2H 30L");
        check("0- 2H 3x 20- 60.", "2H 20-");
    }

    #[test]
    fn a_subscriber_counts_with_the_encoding_it_wants() {
        let limit = |spatial| Some(LayerLimit { enabled: true, spatial, temporal: 7 });
        let off = Some(LayerLimit { enabled: false, spatial: 2, temporal: 7 });
        for (limit, encodings, demand) in [
            (None, 3, Demand::Off),
            (off, 3, Demand::Off),
            (limit(0), 3, Demand::Low),
            (limit(1), 3, Demand::Medium),
            (limit(2), 3, Demand::High),
            (limit(0), 2, Demand::Low),
            (limit(1), 2, Demand::High),
            (limit(0), 1, Demand::High),
            (limit(0), 0, Demand::High),
        ] {
            assert_eq!(Demand::of(limit, encodings), demand, "{limit:?} of {encodings}");
        }
    }

    /// Every two subscribers' wishes and every change of one: a change that is passed over leaves
    /// the highest as it was.
    #[test]
    fn only_changes_that_cannot_matter_are_passed_over() {
        let all = [Demand::Off, Demand::Low, Demand::Medium, Demand::High];
        let mut passed_over = 0;
        for (before, after, other) in
            all.iter().flat_map(|b| all.iter().flat_map(move |a| all.map(|o| (*b, *a, o))))
        {
            let (was, is) = (before.max(other), after.max(other));
            if !State::Met(was).is_moved_by(before, after) {
                assert_eq!(was, is, "{before:?} to {after:?} beside {other:?}");
                passed_over += 1;
            }
        }
        assert!(passed_over > 16, "no more than those that change nothing");
    }

    #[test]
    fn off_and_low_have_all_three_qualities_and_the_name_of_the_codec() {
        let enabled = |update: &proto::SubscribedQualityUpdate| {
            let [codec] = &update.subscribed_codecs[..] else { panic!("one codec") };
            assert_eq!(codec.qualities, update.subscribed_qualities);
            codec.qualities.iter().map(|q| (q.quality, q.enabled)).collect::<Vec<_>>()
        };
        let off = update("TR_1".into(), Codec::Vp8, Demand::Off);
        assert_eq!(
            (off.track_sid.as_str(), off.subscribed_codecs[0].codec.as_str()),
            ("TR_1", "vp8")
        );
        assert_eq!(enabled(&off), [(0, false), (1, false), (2, false)]);
        let medium = update("TR_1".into(), Codec::H264, Demand::Medium);
        assert_eq!(enabled(&medium), [(0, true), (1, true), (2, false)]);
        assert_eq!(medium.subscribed_codecs[0].codec, "h264");
    }

    /// Plays a script of demands, with every timeout in between.
    fn check(script: &str, expect: &str) {
        let t0 = epoch();
        let mut dynacast = Dynacast::new(Duration::from_secs(5));
        let mut told = Vec::new();
        let mut demand = None;
        for (index, step) in script.split(' ').enumerate() {
            let (second, letter) = step.split_at(step.len() - 1);
            let now = t0 + Duration::from_secs(second.parse().unwrap());
            if index == 0 {
                dynacast.begin(now, TRACK, letter == "x");
            }
            while let Some(at) = dynacast.poll_timeout().filter(|at| *at < now) {
                dynacast.handle_timeout(at);
                assert_eq!(dynacast.poll_changed(), Some(TRACK));
                let tell = dynacast.handle_demand(at, TRACK, demand);
                told.extend(tell.map(|demand| (at, demand)));
                assert!(dynacast.poll_timeout().is_none_or(|next| next > at), "{script}");
            }
            if letter != "." {
                demand = demand_of(letter);
                let tell = dynacast.handle_demand(now, TRACK, demand);
                told.extend(tell.map(|demand| (now, demand)));
            }
        }
        let word = |(at, demand): &(Instant, Demand)| {
            format!("{}{}", (*at - t0).as_secs(), letter_of(*demand))
        };
        let told: Vec<String> = told.iter().map(word).collect();
        assert_eq!(told.join(" "), expect, "{script}");
    }

    fn demand_of(letter: &str) -> Option<Demand> {
        match letter {
            "-" => Some(Demand::Off),
            "L" => Some(Demand::Low),
            "M" => Some(Demand::Medium),
            "H" => Some(Demand::High),
            "x" => None,
            _ => panic!("no such demand: {letter}"),
        }
    }

    fn letter_of(demand: Demand) -> char {
        match demand {
            Demand::Off => '-',
            Demand::Low => 'L',
            Demand::Medium => 'M',
            Demand::High => 'H',
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an origin; all else is added to it")]
    fn epoch() -> Instant {
        Instant::now()
    }
}
