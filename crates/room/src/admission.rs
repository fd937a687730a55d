//! A participant that is let in: what is made for it, and what its client is told first.
//!
//! * **Owns:** nothing beyond [`Roster`].
//! * **In:** a [`Join`] that was admitted.
//! * **Out:** a [`Participant`]; its `JoinResponse`, or the `ReconnectResponse` of a resume.
//! * **Invariant:** nothing is asked of a shard yet.
//! * **livekit-server:** `pkg/service/roommanager.go` (`StartSession`).

use std::time::{Duration, Instant};

use hearth_access::Claims;
use hearth_metrics::bug;
use hearth_signal::participant_sid;
use hearth_signal::proto::{self, participant_info::State, signal_response::Message};

use crate::announcements::Announcer;
use crate::compatibility::Compatibility;
use crate::config::codec_message;
use crate::data::DataState;
use crate::diagnosis::Diagnosis;
use crate::ice_preference::IcePreference;
use crate::outbox::Outbox;
use crate::participant::{
    Deadlines, LocalParticipant, Participant, ParticipantKey, ParticipantRecord, Preferences,
    kind_of, permission_of,
};
use crate::profile::Profile;
use crate::publication::{Abilities, Publishing};
use crate::room_info::RoomInfo;
use crate::roster::Roster;
use crate::session::REFRESH;
use crate::subscription_settings::SubscriptionSettings;
use crate::transport::{TransportOptions, Transports};
use crate::updates::SentVersions;
use crate::{Join, RoomConfig, SessionId};

/// Whoever is not active by then is removed.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

impl Roster {
    /// Whether nobody may join; `former` makes room for its own successor. `max` 0: no limit.
    pub(crate) fn is_full(&self, max: u32, former: Option<ParticipantKey>) -> bool {
        let former = former.and_then(|key| self.get(key));
        let replaced = usize::from(former.is_some_and(|p| !p.is_service()));
        max > 0 && self.independent() >= max as usize + replaced
    }

    /// Makes the participant.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        join: &Join,
        preference: IcePreference,
        out: &mut Outbox,
    ) -> ParticipantKey {
        let key = self.next_key();
        let identity = join.admitted.identity().to_owned();
        let sid = participant_sid(&mut out.random.sids);
        let local = LocalParticipant::new(now, join, preference, out);
        self.insert(Participant {
            key,
            record: ParticipantRecord::new(join.admitted.claims(), sid, identity, join.unix_ms),
            local,
            state: State::Joining,
            is_publisher: false,
            region: out.config.server.region.clone(),
        });
        self.deadlines.watch(key, now + JOIN_TIMEOUT.min(REFRESH));
        key
    }
}

/// Sends the first message of a session that resumes.
pub(crate) fn send_reconnect(
    now: Instant,
    session: SessionId,
    participant: &Participant,
    out: &mut Outbox,
) {
    if !Compatibility(&participant.local.client).takes_reconnect() {
        return;
    }
    let preference = participant.local.transports.preference;
    let response = proto::ReconnectResponse {
        ice_servers: out.ice_servers(now, &participant.record.sid, preference),
        client_configuration: RoomConfig::client_configuration(preference),
        server_info: Some(out.config.server_info()),
        last_message_seq: participant.local.data.last_sequence(),
    };
    out.send(session, Message::Reconnect(response));
}

impl Announcer<'_> {
    /// Sends the first message of a session.
    pub(crate) fn send_join(
        &mut self,
        (now, session): (Instant, SessionId),
        key: ParticipantKey,
        room: &RoomInfo,
    ) {
        let Some((info, others)) = self.first_infos(key) else {
            bug!("{key:?} was let in and is not here");
            return;
        };
        let Self { roster, out, .. } = self;
        let Some(participant) = roster.get(key) else { return };
        let codecs = participant.local.publishing.abilities.codecs.iter();
        let preference = participant.local.transports.preference;
        let enabled_publish_codecs = codecs.map(|codec| codec_message(codec.mime())).collect();
        let response = proto::JoinResponse {
            room: Some(room.message(roster, out)),
            other_participants: others,
            server_version: out.config.server.version.clone(),
            server_region: out.config.server.region.clone(),
            ice_servers: out.ice_servers(now, &participant.record.sid, preference),
            client_configuration: RoomConfig::client_configuration(preference),
            subscriber_primary: participant.local.transports.subscriber_primary,
            ping_timeout: 15,
            ping_interval: 5,
            server_info: Some(out.config.server_info()),
            sif_trailer: room.sif_trailer.clone().into_bytes(),
            enabled_publish_codecs,
            fast_publish: participant.record.permission.can_publish
                && preference == IcePreference::None,
            participant: Some(info),
            ..proto::JoinResponse::default()
        };
        out.send(session, Message::Join(response));
    }
}

impl ParticipantRecord {
    /// What a token says of its bearer. `unix_ms`: when it joined, in milliseconds since 1970.
    fn new(claims: &Claims, sid: String, identity: String, unix_ms: u64) -> Self {
        Self {
            sid,
            identity,
            profile: Profile {
                name: claims.name.clone(),
                metadata: claims.metadata.clone(),
                attributes: claims.attributes.clone(),
            },
            version: 0,
            joined_ms: i64::try_from(unix_ms).unwrap_or(i64::MAX),
            permission: permission_of(&claims.video),
            kind: kind_of(&claims.kind),
            claims: claims.clone(),
        }
    }
}

impl LocalParticipant {
    /// A client that has just joined.
    fn new(now: Instant, join: &Join, preference: IcePreference, out: &mut Outbox) -> Self {
        let Join { session, shard, admitted, request, .. } = join;
        let client = Compatibility(&request.client);
        let quirks = client.quirks(&out.config.enabled_codecs);
        let abilities = Abilities {
            codecs: out.config.publish_codecs(&quirks.disabled_publish),
            incomplete_reports: request.client.browser.contains("OBS"),
        };
        let takes_lite = !request.disable_ice_lite && !quirks.firefox && client.takes_ice_lite();
        let shape = TransportOptions {
            single: request.single_pc,
            can_subscribe: admitted.claims().video.may_subscribe(),
            subscriber_primary: client.subscriber_primary(),
            ice_lite: out.config.ice_lite && takes_lite,
            quirks,
            preference,
            fingerprint: out.config.fingerprint,
            shard: *shard,
        };
        let peers = [out.next_peer(), out.next_peer()];
        Self {
            shard: *shard,
            session: Some(*session),
            client: request.client.clone(),
            preferences: Preferences {
                auto_subscribe: request.auto_subscribe,
                auto_subscribe_data: request.auto_subscribe_data_track,
                adaptive_stream: request.adaptive_stream,
            },
            transports: Transports::new(&shape, peers, &mut out.random),
            publishing: Publishing { abilities, ..Publishing::default() },
            subscription_settings: SubscriptionSettings::default(),
            sent_versions: SentVersions::default(),
            data: DataState::default(),
            deadlines: Deadlines {
                active: Some(now + JOIN_TIMEOUT),
                refresh: now + REFRESH,
                request_reconnect: None,
                remove: None,
                simulated_speaker: None,
            },
            dropped_resume: None,
            diagnosis: Diagnosis::default(),
        }
    }
}
