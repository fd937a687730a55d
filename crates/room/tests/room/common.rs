//! A room in virtual time, and clients that speak to it as browsers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_access::{AdmittedJoin, Claims, Keys, Limits, VideoGrant};
use hearth_plane::{
    Channel, Command, DownTrackSpec, Event, Fingerprint, LocalCandidate, PeerId, RoomId, ShardId,
};
use hearth_random::Seed;
use hearth_room::{Join, JoinError, Output, Room, RoomConfig, RoomEvent, SessionId};
use hearth_signal::JoinParams;
use hearth_signal::proto::{
    self, ClientInfo, SessionDescription, signal_request, signal_response::Message,
};
use signal_request::Message as Request;

pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;
pub(crate) const MIC: &str = "d2e0f656-e9ee-4cf9-8880-4707ce9a2eb7";
pub(crate) const CAMERA: &str = "813b2bd6-a534-4a2f-ad49-3bb11dd0322e";
pub(crate) const DUAL_DATA: &str = include_str!("golden/js-2.21.0-dual-data.sdp");
pub(crate) const DUAL_BOTH: &str = include_str!("golden/js-2.21.0-dual-microphone-camera.sdp");
pub(crate) const DUAL_ENDED: &str = include_str!("golden/js-2.21.0-dual-camera-ended.sdp");
pub(crate) const SINGLE_JOIN: &str = include_str!("golden/js-2.21.0-single-join.sdp");
pub(crate) const SINGLE_BOTH: &str = include_str!("golden/js-2.21.0-single-microphone-camera.sdp");
pub(crate) const SINGLE_MIC: &str = "bb7c63ce-0037-4e7d-a04f-5fcd7d7e5cbc";
pub(crate) const SINGLE_CAMERA: &str = "364908fc-72ca-4708-842b-e05c2a663540";

/// One room and everything that came out of it.
pub(crate) struct World {
    pub(crate) room: Room,
    pub(crate) now: Instant,
    /// Every output since the last `take_*` of its kind.
    pub(crate) signals: BTreeMap<SessionId, Vec<Message>>,
    pub(crate) closed: Vec<SessionId>,
    pub(crate) commands: Vec<(ShardId, Command)>,
    /// Reliable messages that the room could not keep.
    pub(crate) data_dropped: u64,
    pub(crate) events: Vec<RoomEvent>,
    pub(crate) over: bool,
    next_session: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    #[expect(clippy::disallowed_methods, reason = "an origin; all else is added to it")]
    pub(crate) fn with(change: impl FnOnce(&mut RoomConfig)) -> Self {
        let mut config = RoomConfig {
            keys: Arc::new([("devkey", "secret")].into_iter().collect::<Keys>()),
            fingerprint: Fingerprint([7; 32]),
            // The peers of each shard have a port of their own.
            local_candidates: ["192.0.2.1:7882", "192.0.2.1:7883"]
                .map(|addr| vec![LocalCandidate::udp(addr.parse().unwrap())])
                .into(),
            ..RoomConfig::default()
        };
        change(&mut config);
        let now = Instant::now();
        let room = Room::new(
            now,
            UNIX_MS,
            RoomId(1),
            "golden".to_owned(),
            Arc::new(config),
            &Seed::fixed(1),
        );
        Self {
            room,
            now,
            signals: BTreeMap::new(),
            closed: Vec::new(),
            commands: Vec::new(),
            data_dropped: 0,
            events: Vec::new(),
            over: false,
            next_session: 0,
        }
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Signal { session, response } => {
                    assert!(!self.closed.contains(&session), "a message after the close");
                    let message = response.message.expect("an empty response");
                    self.signals.entry(session).or_default().push(message);
                }
                Output::CloseSession { session } => self.closed.push(session),
                Output::Command { shard, command } => self.commands.push((shard, command)),
                Output::DataDropped => self.data_dropped += 1,
                Output::Event(event) => self.events.push(event),
                Output::Closed => self.over = true,
            }
        }
    }

    pub(crate) fn try_join(
        &mut self,
        claims: Claims,
        request: JoinParams,
        shard: u16,
    ) -> Result<SessionId, JoinError> {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let unix_ms = UNIX_MS;
        let admitted = AdmittedJoin::new(claims, &Limits::default()).unwrap();
        let join = Join { session, shard: ShardId(shard), admitted, request, unix_ms };
        let joined = self.room.handle_join(self.now, join);
        self.drain();
        joined.map(|()| session)
    }

    /// Joins with two peer connections.
    pub(crate) fn join_dual(&mut self, identity: &str) -> Client {
        let session = self.try_join(claims(identity), dual(), 0).unwrap();
        Client::new(self, session, false)
    }

    /// Joins with one peer connection, its offer in the request.
    pub(crate) fn join_single(&mut self, identity: &str) -> Client {
        let session = self.try_join(claims(identity), single(), 0).unwrap();
        Client::new(self, session, true)
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.room.handle_event(self.now, event);
        self.drain();
    }

    /// The server stops.
    pub(crate) fn stop(&mut self) {
        self.room.handle_shutdown();
        self.drain();
    }

    /// Lets time pass, with a timeout whenever one is due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.room.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now || !self.over, "a deadline that does not move");
            self.now = at.max(self.now);
            self.room.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn take(&mut self, client: &Client) -> Vec<Message> {
        self.signals.remove(&client.session).unwrap_or_default()
    }

    pub(crate) fn take_commands(&mut self) -> Vec<(ShardId, Command)> {
        std::mem::take(&mut self.commands)
    }

    pub(crate) fn down_tracks(&self) -> Vec<DownTrackSpec> {
        let spec = |(_, command): &(ShardId, Command)| match command {
            Command::SetDownTrack { spec, .. } => Some((**spec).clone()),
            _ => None,
        };
        self.commands.iter().filter_map(spec).collect()
    }
}

/// One client and what it has to remember.
pub(crate) struct Client {
    pub(crate) session: SessionId,
    pub(crate) sid: String,
    pub(crate) single: bool,
    /// The transport that makes it active.
    pub(crate) primary: PeerId,
}

impl Client {
    /// Reads the join response; leaves it in the world's list.
    pub(crate) fn new(world: &World, session: SessionId, single: bool) -> Self {
        let Some(Message::Join(join)) = world.signals[&session].first() else {
            panic!("the first message is not a join")
        };
        let sid = join.participant.as_ref().unwrap().sid.clone();
        let primary = world
            .commands
            .iter()
            .rev()
            .find_map(|(_, command)| match command {
                Command::AddPeer { peer, .. } => Some(*peer),
                _ => None,
            })
            .expect("no transport was made");
        Self { session, sid, single, primary }
    }

    pub(crate) fn send(&self, world: &mut World, message: Request) {
        let request = proto::SignalRequest { message: Some(message) };
        world.room.handle_signal(world.now, self.session, request);
        world.drain();
    }

    /// Answers the newest offer of the server.
    pub(crate) fn answer(&self, world: &mut World) {
        let offer = world.signals[&self.session].iter().rev().find_map(|message| match message {
            Message::Offer(offer) => Some(offer.clone()),
            _ => None,
        });
        let offer = offer.expect("no offer to answer");
        let sdp = answer_to(&offer.sdp);
        let id = offer.id;
        let answer = SessionDescription { r#type: "answer".into(), sdp, id, ..Default::default() };
        self.send(world, Request::Answer(answer));
    }

    pub(crate) fn offer(&self, world: &mut World, sdp: &str, id: u32) {
        self.send(world, Request::Offer(description(sdp, id)));
    }

    /// Connects: answers if it has to, and its primary transport comes up.
    pub(crate) fn connect(&self, world: &mut World) {
        if !self.single {
            self.answer(world);
        }
        world.event(Event::PeerConnected { peer: self.primary });
        world.event(Event::ChannelOpen { peer: self.primary, channel: Channel::Reliable });
    }

    /// Announces and offers microphone and camera.
    pub(crate) fn publish(&self, world: &mut World, id: u32) {
        let (mic, camera, sdp) = if self.single {
            (SINGLE_MIC, SINGLE_CAMERA, SINGLE_BOTH)
        } else {
            (MIC, CAMERA, DUAL_BOTH)
        };
        self.send(world, Request::AddTrack(microphone(mic)));
        self.send(world, Request::AddTrack(simulcast_camera(camera)));
        self.offer(world, sdp, id);
    }
}

pub(crate) fn claims(identity: &str) -> Claims {
    Claims {
        api_key: "devkey".into(),
        identity: identity.into(),
        video: VideoGrant::join("golden"),
        has_video: true,
        expires_at: UNIX_MS / 1_000 + 3_600,
        ..Claims::default()
    }
}

fn client_info() -> ClientInfo {
    ClientInfo { sdk: 1, protocol: 17, client_protocol: 2, ..ClientInfo::default() }
}

pub(crate) fn dual() -> JoinParams {
    JoinParams { auto_subscribe: true, client: client_info(), ..JoinParams::default() }
}

pub(crate) fn single() -> JoinParams {
    JoinParams { single_pc: true, publisher_offer: Some(description(SINGLE_JOIN, 1)), ..dual() }
}

/// What a client asks for that comes back to its session.
pub(crate) fn resume(client: &Client) -> JoinParams {
    let join =
        if client.single { JoinParams { publisher_offer: None, ..single() } } else { dual() };
    JoinParams { reconnect: true, participant_sid: client.sid.clone(), ..join }
}

fn description(sdp: &str, id: u32) -> SessionDescription {
    SessionDescription { r#type: "offer".into(), sdp: sdp.into(), id, ..Default::default() }
}

pub(crate) fn microphone(cid: &str) -> proto::AddTrackRequest {
    proto::AddTrackRequest {
        cid: cid.into(),
        source: proto::TrackSource::Microphone.into(),
        ..proto::AddTrackRequest::default()
    }
}

pub(crate) fn simulcast_camera(cid: &str) -> proto::AddTrackRequest {
    let layer = |quality, height| proto::VideoLayer {
        quality,
        width: height * 16 / 9,
        height,
        ..Default::default()
    };
    proto::AddTrackRequest {
        cid: cid.into(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::Camera.into(),
        width: 1280,
        height: 720,
        layers: vec![layer(0, 180), layer(1, 360), layer(2, 720)],
        ..proto::AddTrackRequest::default()
    }
}

/// What a browser answers that takes everything it is offered.
pub(crate) fn answer_to(offer: &str) -> String {
    let mut answer = String::new();
    for line in offer.lines() {
        let line = match line {
            "a=setup:actpass" => "a=setup:active",
            "a=sendonly" | "a=sendrecv" => "a=recvonly",
            "a=ice-lite" => continue,
            _ if line.starts_with("a=ssrc") || line.starts_with("a=msid") => continue,
            _ if line.starts_with("a=ice-ufrag:") => "a=ice-ufrag:eUbw",
            _ if line.starts_with("a=ice-pwd:") => "a=ice-pwd:c43Of5TjTybk9qkqBXiAJVpn",
            _ => line,
        };
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer
}

/// The kinds of messages, in order, without those that come at any time.
pub(crate) fn kinds(messages: &[Message]) -> Vec<&'static str> {
    messages
        .iter()
        .map(|message| match message {
            Message::Join(_) => "join",
            Message::Answer(_) => "answer",
            Message::Offer(_) => "offer",
            Message::Trickle(_) => "trickle",
            Message::Update(_) => "update",
            Message::TrackPublished(_) => "track_published",
            Message::Leave(_) => "leave",
            Message::Mute(_) => "mute",
            Message::SpeakersChanged(_) => "speakers",
            Message::RoomUpdate(_) => "room_update",
            Message::ConnectionQuality(_) => "quality",
            Message::StreamStateUpdate(_) => "stream_state",
            Message::SubscriptionPermissionUpdate(_) => "permission",
            Message::RefreshToken(_) => "token",
            Message::Reconnect(_) => "reconnect",
            Message::RequestResponse(_) => "response",
            Message::TrackSubscribed(_) => "track_subscribed",
            Message::MediaSectionsRequirement(_) => "sections",
            Message::SubscriptionResponse(_) => "subscription_response",
            Message::TrackUnpublished(_) => "track_unpublished",
            Message::PublishDataTrackResponse(_) => "data_track_published",
            Message::UnpublishDataTrackResponse(_) => "data_track_unpublished",
            Message::DataTrackSubscriberHandles(_) => "data_track_handles",
            Message::SubscribedQualityUpdate(_) => "demand",
            Message::Pong(_) | Message::PongResp(_) => "pong",
            _ => "other",
        })
        .collect()
}

/// All participants that updates spoke of, in order.
pub(crate) fn updates(messages: &[Message]) -> Vec<proto::ParticipantInfo> {
    let infos = |message: &Message| match message {
        Message::Update(update) => update.participants.clone(),
        _ => Vec::new(),
    };
    messages.iter().flat_map(infos).collect()
}
