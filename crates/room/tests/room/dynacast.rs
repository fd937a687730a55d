//! What publishers are told of who watches.

use std::time::Duration;

use crate::common::{Client, DUAL_BOTH, DUAL_ENDED, World, claims, dual, kinds, updates};
use hearth_plane::{Command, Event, PeerReport, TrackId, TrackReport};
use hearth_room::RoomConfig;
use hearth_signal::JoinParams;
use hearth_signal::proto::{
    self, MuteTrackRequest, TrackType, UpdateTrackSettings, signal_request::Message as Request,
    signal_response::Message,
};
use hearth_units::{Bitrate, MediaKind};

const LOW: &str = "low";
const MEDIUM: &str = "low medium";
const HIGH: &str = "low medium high";
const OFF: &str = "";

#[test]
fn the_first_subscriber_has_everything_sent_and_a_smaller_one_less_after_five_seconds() {
    let mut scene = Scene::new(&["bob"]);
    scene.world.pass(Duration::from_secs(5));
    assert_eq!(scene.told(), [HIGH; 0], "nobody has answered yet");
    scene.answer(0);
    assert_eq!(scene.told(), [HIGH]);
    scene.want(0, small());
    scene.world.pass(Duration::from_millis(4_999));
    assert_eq!(scene.told(), [HIGH; 0]);
    scene.world.pass(Duration::from_millis(1));
    assert_eq!(scene.told(), [LOW]);
    scene.want(0, UpdateTrackSettings { quality: 1, ..Default::default() });
    assert_eq!(scene.told(), [MEDIUM], "at once");
    scene.want(0, UpdateTrackSettings { disabled: true, ..Default::default() });
    scene.world.pass(Duration::from_secs(5));
    assert_eq!(scene.told(), [OFF]);
    scene.want(0, UpdateTrackSettings { quality: 2, ..Default::default() });
    assert_eq!(scene.told(), [HIGH], "at once");
    scene.world.pass(Duration::from_secs(60));
    assert_eq!(scene.told(), [HIGH; 0]);
}

#[test]
fn a_client_that_adapts_starts_with_everything_though_it_starts_low() {
    let adaptive = JoinParams { adaptive_stream: true, ..dual() };
    let mut scene = Scene::with(&["bob"], &adaptive, |_| {});
    scene.answer(0);
    assert_eq!(scene.told(), [HIGH]);
    scene.world.pass(Duration::from_secs(5));
    assert_eq!(scene.told(), [LOW]);
}

#[test]
fn the_best_of_all_subscribers_counts() {
    let mut scene = Scene::new(&["bob", "carol"]);
    scene.answer(0);
    scene.answer(1);
    assert_eq!(scene.told(), [HIGH], "once for both");
    scene.want(0, small());
    scene.world.pass(Duration::from_secs(60));
    assert_eq!(scene.told(), [HIGH; 0], "the other has it still");
    scene.leave(1);
    scene.world.pass(Duration::from_secs(5));
    assert_eq!(scene.told(), [LOW]);
    scene.leave(0);
    scene.world.pass(Duration::from_secs(5));
    assert_eq!(scene.told(), [OFF]);
}

#[test]
fn whoever_unsubscribes_does_not_count() {
    let mut scene = Scene::new(&["bob"]);
    scene.answer(0);
    scene.told();
    for (subscribe, told) in [(false, OFF), (true, HIGH)] {
        let track_sids = vec![scene.camera.clone()];
        let request = proto::UpdateSubscription { track_sids, subscribe, ..Default::default() };
        scene.viewers[0].send(&mut scene.world, Request::Subscription(request));
        scene.answer(0);
        scene.world.pass(Duration::from_secs(5));
        assert_eq!(scene.told(), [told]);
    }
}

#[test]
fn a_camera_that_nobody_watches_stops_after_ten_seconds() {
    let mut scene = Scene::new(&[]);
    scene.world.pass(Duration::from_millis(9_999));
    assert_eq!(scene.told(), [OFF; 0]);
    scene.world.pass(Duration::from_millis(1));
    assert_eq!(scene.told(), [OFF]);
    let bob = scene.world.join_dual("bob");
    bob.connect(&mut scene.world);
    assert_eq!(scene.told(), [HIGH], "and goes on at once for a latecomer");
}

#[test]
fn nothing_is_told_of_a_muted_camera_and_what_holds_when_it_is_unmuted() {
    let mut scene = Scene::new(&["bob"]);
    scene.answer(0);
    assert_eq!(scene.told(), [HIGH]);
    scene.mute(true);
    scene.want(0, small());
    scene.world.pass(Duration::from_secs(60));
    assert_eq!(scene.told(), [LOW; 0]);
    scene.mute(false);
    assert_eq!(scene.told(), [LOW]);
    scene.mute(true);
    scene.mute(false);
    assert_eq!(scene.told(), [LOW], "again, whatever it was told before");
}

#[test]
fn a_publisher_that_resumes_is_told_again() {
    let mut scene = Scene::new(&["bob"]);
    scene.answer(0);
    scene.told();
    scene.world.room.handle_session_closed(scene.world.now, scene.alice.session);
    scene.want(0, small());
    scene.world.pass(Duration::from_secs(5));
    let resume = JoinParams { reconnect: true, participant_sid: scene.alice.sid.clone(), ..dual() };
    scene.alice.session = scene.world.try_join(claims("alice"), resume, 0).unwrap();
    assert_eq!(scene.told(), [LOW]);
}

#[test]
fn a_publisher_that_negotiates_is_told_again_after_the_answer() {
    let mut scene = Scene::new(&["bob"]);
    scene.answer(0);
    scene.told();
    scene.alice.offer(&mut scene.world, DUAL_BOTH, 2);
    let kinds = kinds(&scene.world.signals[&scene.alice.session]);
    assert_eq!(kinds, ["answer", "demand"]);
    assert_eq!(scene.told(), [HIGH]);
}

#[test]
fn a_camera_that_ended_is_forgotten() {
    let mut scene = Scene::new(&["bob"]);
    scene.answer(0);
    scene.want(0, small());
    scene.told();
    scene.alice.offer(&mut scene.world, DUAL_ENDED, 2);
    scene.world.pass(Duration::from_secs(60));
    assert_eq!(scene.told(), [LOW; 0]);
}

#[test]
fn the_delay_is_the_configured_one() {
    let mut scene = Scene::with(&["bob"], &dual(), |config| {
        config.dynacast_pause_delay = Duration::ZERO;
    });
    scene.answer(0);
    scene.want(0, small());
    scene.world.pass(Duration::ZERO);
    assert_eq!(scene.told(), [HIGH, LOW]);
}

#[test]
fn who_sends_nothing_because_nobody_watches_is_well_connected() {
    let mut scene = Scene::new(&[]);
    scene.world.pass(Duration::from_secs(10));
    let qualities = |messages: Vec<Message>| {
        let of = |message: &Message| match message {
            Message::ConnectionQuality(update) => Some(update.updates[0].quality()),
            _ => None,
        };
        messages.iter().filter_map(of).collect::<Vec<_>>()
    };
    let before = qualities(scene.world.take(&scene.alice));
    assert_eq!(before, [proto::ConnectionQuality::Excellent]);
    let (id, bitrate, peer) = (scene.up_track(), Bitrate::from_bps(0), scene.alice.primary);
    let mut report = |expected, lost| {
        let up = vec![TrackReport { id, expected, lost, bitrate, idle: false }];
        let report = PeerReport { peer, rtt: None, up, down: Vec::new() };
        scene.world.event(Event::Report(Box::new(report)));
        scene.world.pass(Duration::from_secs(5));
        qualities(scene.world.take(&scene.alice))
    };
    assert_eq!(report(0, 0), [], "as before");
    assert_eq!(report(100, 60), [proto::ConnectionQuality::Good], "it sent, and much was lost");
}

#[test]
fn what_viewers_want_is_aimed_anew_when_the_number_of_encodings_changes() {
    let mut scene = Scene::new(&["bob"]);
    scene.answer(0);
    let is_simulcast = |line: &&str| line.starts_with("a=rid:") || line.starts_with("a=simulcast:");
    let lines = DUAL_BOTH.lines().filter(|line| !is_simulcast(line));
    let one_encoding: String = lines.flat_map(|line| [line, "\r\n"]).collect();
    for (id, offer, best) in [(2, one_encoding.as_str(), 0), (3, DUAL_BOTH, 2)] {
        scene.world.commands.clear();
        scene.alice.offer(&mut scene.world, offer, id);
        let limit = |(_, command): &(_, Command)| match command {
            Command::SetLayerLimit { limit, .. } => Some(limit.spatial),
            _ => None,
        };
        let wishes: Vec<u8> = scene.world.commands.iter().filter_map(limit).collect();
        assert_eq!(wishes, [best], "after offer {id}");
    }
}

/// Alice's simulcast camera and those who may watch it.
struct Scene {
    world: World,
    alice: Client,
    viewers: Vec<Client>,
    camera: String,
}

impl Scene {
    fn new(viewers: &[&str]) -> Self {
        Self::with(viewers, &dual(), |_| {})
    }

    /// The viewers are in the room first, and have not answered the offer of the camera.
    fn with(viewers: &[&str], join: &JoinParams, change: impl FnOnce(&mut RoomConfig)) -> Self {
        let mut world = World::with(change);
        let alice = world.join_dual("alice");
        alice.connect(&mut world);
        let mut join_one = |identity: &&str| {
            let session = world.try_join(claims(identity), join.clone(), 0).unwrap();
            let viewer = Client::new(&world, session, false);
            viewer.connect(&mut world);
            viewer
        };
        let viewers = viewers.iter().map(&mut join_one).collect();
        alice.publish(&mut world, 1);
        let of_alice = updates(&world.signals[&alice.session]);
        let tracks = &of_alice.last().unwrap().tracks;
        let camera = tracks.iter().find(|track| track.r#type() == TrackType::Video).unwrap();
        let camera = camera.sid.clone();
        Self { world, alice, viewers, camera }
    }

    /// What Alice was told since the last call: the qualities to send.
    fn told(&mut self) -> Vec<String> {
        let messages = self.world.take(&self.alice);
        let update = |message: Message| match message {
            Message::SubscribedQualityUpdate(update) => Some(update),
            _ => None,
        };
        let words = |update: proto::SubscribedQualityUpdate| {
            assert_eq!(update.track_sid, self.camera);
            assert_eq!(update.subscribed_codecs[0].codec, "vp8");
            let enabled = update.subscribed_codecs[0].qualities.iter().filter(|q| q.enabled);
            let names: Vec<String> =
                enabled.map(|q| q.quality().as_str_name().to_lowercase()).collect();
            names.join(" ")
        };
        messages.into_iter().filter_map(update).map(words).collect()
    }

    fn answer(&mut self, viewer: usize) {
        self.viewers[viewer].answer(&mut self.world);
    }

    fn want(&mut self, viewer: usize, settings: UpdateTrackSettings) {
        let track_sids = vec![self.camera.clone()];
        let request = UpdateTrackSettings { track_sids, ..settings };
        self.viewers[viewer].send(&mut self.world, Request::TrackSetting(request));
    }

    fn leave(&mut self, viewer: usize) {
        let leave = Request::Leave(proto::LeaveRequest::default());
        self.viewers[viewer].send(&mut self.world, leave);
    }

    fn mute(&mut self, muted: bool) {
        let request = MuteTrackRequest { sid: self.camera.clone(), muted };
        self.alice.send(&mut self.world, Request::Mute(request));
    }

    fn up_track(&self) -> TrackId {
        let video = |(_, command): &(_, Command)| match command {
            Command::SetUpTrack { track, spec } if spec.kind == MediaKind::Video => Some(*track),
            _ => None,
        };
        self.world.commands.iter().find_map(video).unwrap()
    }
}

fn small() -> UpdateTrackSettings {
    UpdateTrackSettings { width: 320, height: 180, ..Default::default() }
}
