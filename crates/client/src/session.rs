//! The client's side of signalling, over one peer connection.
//!
//! * **Owns:** our description, the outstanding offer, requests of the server meanwhile.
//! * **In:** the server's messages, time.
//! * **Out:** requests, [`SessionEvent`]s.
//! * **Invariant:** one offer is outstanding at a time; an answer with another id is ignored.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use hearth_codec::Codec;
use hearth_plane::{Fingerprint, IceCredentials};
use hearth_signal::parse_candidate;
use hearth_signal::proto::{
    AddTrackRequest, ClientInfo, ConnectionSettings, DisconnectReason, JoinRequest, LeaveRequest,
    Ping, SessionDescription, SignalRequest, SignalResponse, SimulateScenario, SimulcastCodec,
    SubscribedQualityUpdate, TrackSource, TrackType, UpdateTrackSettings, VideoLayer, VideoQuality,
    client_info::Sdk, leave_request::Action, signal_request, signal_response,
    simulate_scenario::Scenario,
};
use hearth_units::MediaKind;

use crate::description::{Answer, Description, Published, RIDS};
use crate::load::Layout;
use crate::media::VideoClip;

/// livekit-server's, if it does not say.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The protocol version of current clients.
const PROTOCOL: i32 = 16;
/// Sections that a client has in its first offer to receive each kind, as livekit-client does.
const FIRST_SECTIONS: usize = 3;

/// A server that asks for more gets no more: 500 participants with a camera and a microphone.
const MAX_SECTIONS: usize = 1_000;

/// Something that the rest of the client must know.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// The server took us in.
    Joined,
    /// An answer to our last offer.
    Answer(Box<Answer>),
    /// A candidate of the server.
    Candidate(String),
    /// The encodings of our track that are subscribed to (dynacast), bit 0 the lowest.
    Encodings { cid: String, wanted: u8 },
    /// The call is over.
    Ended(String),
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Session {
    description: Description,
    published: Vec<AddTrackRequest>,
    /// Sids of our tracks, by our names.
    sids: Vec<(String, String)>,
    subscribes: bool,
    layout: Layout,
    offer_id: u32,
    awaits_answer: bool,
    needs_offer: bool,
    /// Videos whose quality we have asked for.
    watched: BTreeSet<String>,
    next_ping: Option<Instant>,
    ping_interval: Duration,
    requests: VecDeque<SignalRequest>,
    events: VecDeque<SessionEvent>,
}

impl Session {
    pub(crate) fn new(
        (ice, fingerprint): (IceCredentials, Fingerprint),
        number: u64,
        subscribes: bool,
        layout: Layout,
    ) -> Self {
        Self {
            description: Description::new(ice, fingerprint, number),
            published: Vec::new(),
            sids: Vec::new(),
            subscribes,
            layout,
            offer_id: 1,
            awaits_answer: true,
            needs_offer: false,
            watched: BTreeSet::new(),
            next_ping: None,
            ping_interval: PING_INTERVAL,
            requests: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Publishes a track with the join; `clips` are its encodings, none for audio.
    pub(crate) fn publish(&mut self, track: Published, clips: &[VideoClip]) {
        self.published.push(add_track(&track, clips));
        self.description.publish(track);
    }

    /// The join request that opens the connection.
    pub(crate) fn join_request(&mut self) -> JoinRequest {
        if self.subscribes {
            self.description.receive(MediaKind::Audio, FIRST_SECTIONS);
            self.description.receive(MediaKind::Video, FIRST_SECTIONS);
        }
        JoinRequest {
            client_info: Some(ClientInfo {
                sdk: Sdk::Rust as i32,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: PROTOCOL,
                os: std::env::consts::OS.to_owned(),
                ..ClientInfo::default()
            }),
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: self.subscribes,
                ..ConnectionSettings::default()
            }),
            add_track_requests: self.published.clone(),
            publisher_offer: Some(self.offer()),
            ..JoinRequest::default()
        }
    }

    /// Our end of the transport.
    pub(crate) fn ice(&self) -> &IceCredentials {
        self.description.ice()
    }

    /// A message of the server.
    pub(crate) fn handle_response(&mut self, now: Instant, response: SignalResponse) {
        use signal_response::Message;
        match response.message {
            Some(Message::Join(join)) => {
                if join.ping_interval > 0 {
                    self.ping_interval =
                        Duration::from_secs(join.ping_interval.unsigned_abs().into());
                }
                self.next_ping = Some(now + self.ping_interval);
                self.events.push_back(SessionEvent::Joined);
            }
            Some(Message::Answer(answer)) => self.handle_answer(&answer),
            Some(Message::Trickle(trickle)) => {
                if let Ok(candidate) = parse_candidate(&trickle.candidate_init) {
                    self.events.push_back(SessionEvent::Candidate(candidate.line));
                }
            }
            Some(Message::MediaSectionsRequirement(more)) => {
                for (kind, count) in
                    [(MediaKind::Audio, more.num_audios), (MediaKind::Video, more.num_videos)]
                {
                    let room = MAX_SECTIONS.saturating_sub(self.description.sections());
                    self.description.receive(kind, room.min(count as usize));
                }
                self.needs_offer = true;
                self.offer_again();
            }
            Some(Message::TrackPublished(published)) => {
                let sid = published.track.map(|track| track.sid).unwrap_or_default();
                if self.sids.len() < self.published.len() {
                    self.sids.push((published.cid, sid));
                }
            }
            Some(Message::SubscribedQualityUpdate(update)) => self.handle_qualities(&update),
            Some(Message::Leave(leave)) => {
                self.events.push_back(SessionEvent::Ended(why_left(&leave)));
            }
            // Of no interest to a client that only sends, receives and counts.
            _ => {}
        }
    }

    /// Keeps the connection alive.
    pub(crate) fn handle_timeout(&mut self, now: Instant, unix_ms: u64) {
        if self.next_ping.is_some_and(|at| at <= now) {
            self.next_ping = Some(now + self.ping_interval);
            let timestamp = i64::try_from(unix_ms).unwrap_or(i64::MAX);
            self.request(signal_request::Message::PingReq(Ping { timestamp, rtt: 0 }));
        }
    }

    /// When the next ping is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_ping
    }

    /// Sends a leave.
    pub(crate) fn leave(&mut self) {
        self.request(signal_request::Message::Leave(LeaveRequest {
            reason: DisconnectReason::ClientInitiated as i32,
            action: Action::Disconnect as i32,
            ..LeaveRequest::default()
        }));
    }

    /// Makes the server report us as an active speaker.
    pub(crate) fn simulate_speaker(&mut self, seconds: i32) {
        let scenario = Some(Scenario::SpeakerUpdate(seconds));
        self.request(signal_request::Message::Simulate(SimulateScenario { scenario }));
    }

    /// The next message to send. Call until `None`.
    pub(crate) fn poll_request(&mut self) -> Option<SignalRequest> {
        self.requests.pop_front()
    }

    /// The next event. Call until `None`.
    pub(crate) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    fn request(&mut self, message: signal_request::Message) {
        self.requests.push_back(SignalRequest { message: Some(message) });
    }

    fn offer(&mut self) -> SessionDescription {
        SessionDescription {
            r#type: "offer".to_owned(),
            sdp: self.description.offer(),
            id: self.offer_id,
            ..SessionDescription::default()
        }
    }

    fn offer_again(&mut self) {
        if self.awaits_answer || !self.needs_offer {
            return;
        }
        self.needs_offer = false;
        self.awaits_answer = true;
        self.offer_id += 1;
        let offer = self.offer();
        self.request(signal_request::Message::Offer(offer));
    }

    fn handle_answer(&mut self, answer: &SessionDescription) {
        if answer.id != self.offer_id {
            return;
        }
        self.awaits_answer = false;
        match self.description.read_answer(&answer.sdp) {
            Ok(mut read) => {
                for receive in &mut read.receives {
                    if let Some(sid) = answer.mid_to_track_id.get(&receive.mid) {
                        receive.track_sid.clone_from(sid);
                    }
                    if receive.kind == MediaKind::Video {
                        self.watch(&receive.track_sid);
                    }
                }
                self.events.push_back(SessionEvent::Answer(Box::new(read)));
            }
            Err(error) => self.events.push_back(SessionEvent::Ended(error.to_string())),
        }
        self.offer_again();
    }

    /// Asks for the quality that the layout shows a new video in.
    fn watch(&mut self, sid: &str) {
        let first = self.watched.is_empty();
        if sid.is_empty() || !self.watched.insert(sid.to_owned()) {
            return;
        }
        let quality = match self.layout {
            Layout::Speaker if first => VideoQuality::High,
            Layout::Grid3x3 => VideoQuality::Medium,
            Layout::Speaker | Layout::Grid4x4 | Layout::Grid5x5 => VideoQuality::Low,
        };
        if quality != VideoQuality::High {
            self.request(signal_request::Message::TrackSetting(UpdateTrackSettings {
                track_sids: vec![sid.to_owned()],
                quality: quality as i32,
                ..UpdateTrackSettings::default()
            }));
        }
    }

    fn handle_qualities(&mut self, update: &SubscribedQualityUpdate) {
        if update.subscribed_codecs.is_empty() {
            return;
        }
        let Some((cid, _)) = self.sids.iter().find(|(_, sid)| *sid == update.track_sid) else {
            return;
        };
        let of_codec = update.subscribed_codecs.first();
        let qualities = of_codec.into_iter().flat_map(|codec| &codec.qualities);
        let wanted = qualities.filter(|quality| quality.enabled);
        let wanted = wanted.fold(0, |bits, quality| {
            let bit = u8::try_from(quality.quality).ok().and_then(|n| 1_u8.checked_shl(n.into()));
            bits | bit.unwrap_or(0)
        });
        self.events.push_back(SessionEvent::Encodings { cid: cid.clone(), wanted });
    }
}

/// In words.
pub(crate) fn why_left(leave: &LeaveRequest) -> String {
    let reason =
        DisconnectReason::try_from(leave.reason).unwrap_or(DisconnectReason::UnknownReason);
    format!("the server ended the call: {}", reason.as_str_name())
}

fn add_track(track: &Published, clips: &[VideoClip]) -> AddTrackRequest {
    let video = track.codec.kind() == MediaKind::Video;
    let best = clips.last();
    let layers = clips.iter().zip(RIDS).zip(0..).map(|((clip, rid), n)| VideoLayer {
        quality: if clips.len() == 1 { VideoQuality::High as i32 } else { n },
        width: clip.width,
        height: clip.height,
        bitrate: clip.bitrate(),
        rid: if clips.len() == 1 { String::new() } else { rid.to_owned() },
        ..VideoLayer::default()
    });
    let layers: Vec<VideoLayer> = layers.collect();
    let codecs = SimulcastCodec {
        codec: track.codec.name().to_ascii_lowercase(),
        cid: track.cid.clone(),
        layers: layers.clone(),
        ..SimulcastCodec::default()
    };
    AddTrackRequest {
        cid: track.cid.clone(),
        name: track.cid.clone(),
        r#type: if video { TrackType::Video } else { TrackType::Audio } as i32,
        source: if video { TrackSource::Camera } else { TrackSource::Microphone } as i32,
        width: best.map_or(0, |clip| clip.width),
        height: best.map_or(0, |clip| clip.height),
        layers,
        simulcast_codecs: if video { vec![codecs] } else { Vec::new() },
        disable_red: track.codec == Codec::Opus,
        ..AddTrackRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use hearth_signal::proto::{JoinResponse, MediaSectionsRequirement};

    use super::*;

    fn session() -> Session {
        let ice = IceCredentials { ufrag: "abcd".into(), pwd: "p".repeat(24) };
        Session::new((ice, Fingerprint([0; 32])), 7, true, Layout::Speaker)
    }

    fn response(message: signal_response::Message) -> SignalResponse {
        SignalResponse { message: Some(message) }
    }

    #[test]
    fn more_sections_are_offered_once_the_outstanding_offer_is_answered() {
        let now = hearth_net::WallClock::now();
        let mut session = session();
        let join = session.join_request();
        assert_eq!(join.publisher_offer.unwrap().id, 1);
        session.handle_response(
            now,
            response(signal_response::Message::Join(JoinResponse::default())),
        );
        let more = MediaSectionsRequirement { num_audios: 0, num_videos: 2 };
        session.handle_response(
            now,
            response(signal_response::Message::MediaSectionsRequirement(more)),
        );
        assert!(session.poll_request().is_none(), "the first offer is outstanding");
        let answer = |id| {
            let sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
            response(signal_response::Message::Answer(SessionDescription {
                r#type: "answer".into(),
                sdp,
                id,
                ..SessionDescription::default()
            }))
        };
        session.handle_response(now, answer(9));
        assert!(session.poll_request().is_none(), "an answer to another offer");
        session.handle_response(now, answer(1));
        let Some(signal_request::Message::Offer(offer)) = session.poll_request().unwrap().message
        else {
            panic!("not an offer")
        };
        assert_eq!((offer.id, offer.sdp.matches("m=video").count()), (2, 5));
    }

    #[test]
    fn pings_go_on_as_the_server_asks() {
        let now = hearth_net::WallClock::now();
        let mut session = session();
        let join = JoinResponse { ping_interval: 2, ..JoinResponse::default() };
        session.handle_response(now, response(signal_response::Message::Join(join)));
        session.handle_timeout(now + Duration::from_secs(1), 5);
        assert!(session.poll_request().is_none());
        session.handle_timeout(now + Duration::from_secs(2), 6);
        assert!(matches!(
            session.poll_request().unwrap().message,
            Some(signal_request::Message::PingReq(Ping { timestamp: 6, .. }))
        ));
    }
}
