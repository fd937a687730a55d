//! One participant: who it is, what it may do, and everything that hangs on it.
//!
//! * **Owns:** its record ([`ParticipantRecord`]): identity, profile, permission and version; apart from that, what it
//!   has on this node ([`LocalParticipant`]): session, transports, announced tracks, settings, deadlines.
//! * **In:** a [`Claims`] and what the client says about itself.
//! * **Out:** [`ParticipantInfo`](proto::ParticipantInfo) as others see it.
//! * **Invariant:** the version grows with every change that others may see.

#![expect(deprecated, reason = "clients and egress still read `recorder` and `agent`")]

use std::time::Instant;

use hearth_access::{Claims, VideoGrant};
use hearth_plane::ShardId;
use hearth_signal::proto;
use proto::participant_info::{Kind, KindDetail, State};

use crate::SessionId;
use crate::compatibility::Compatibility;
use crate::data::DataState;
use crate::diagnosis::Diagnosis;
use crate::outbox::Outbox;
use crate::profile::Profile;
use crate::publication::{Publication, Publishing};
use crate::publications::Publications;
use crate::subscription_settings::SubscriptionSettings;
use crate::transport::{Link, Transports};
use crate::updates::SentVersions;

/// Names a participant within its room; never reused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ParticipantKey(pub(crate) u32);

/// What the client asked for when it joined.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Preferences {
    pub(crate) auto_subscribe: bool,
    pub(crate) auto_subscribe_data: bool,
    pub(crate) adaptive_stream: bool,
}

/// When something becomes of the participant by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Removed unless active by then.
    pub(crate) active: Option<Instant>,
    /// The next token is sent.
    pub(crate) refresh: Instant,
    /// The client closed a transport of it: unless it leaves before, it starts over.
    pub(crate) request_reconnect: Option<Instant>,
    /// Removed: its transport is gone.
    pub(crate) remove: Option<Removal>,
    /// A simulated speaker falls silent.
    pub(crate) simulated_speaker: Option<Instant>,
}

/// A participant without a transport, for which its client may come back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) at: Instant,
    /// By a resume, which restarts ICE. Otherwise only by a new session, whose participant replaces it.
    pub(crate) resumable: bool,
}

/// What a test hook of client SDKs does to the next resume, if that comes soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DroppedResume {
    pub(crate) until: Instant,
    /// Before the client is told anything; otherwise after it was told everything.
    pub(crate) unanswered: bool,
}

/// Who a participant is and what it may do: all that another node needs to bring it back.
#[derive(Clone, Debug)]
pub(crate) struct ParticipantRecord {
    pub(crate) sid: String,
    pub(crate) identity: String,
    pub(crate) profile: Profile,
    pub(crate) permission: proto::ParticipantPermission,
    pub(crate) kind: Kind,
    /// Of the token it joined with.
    pub(crate) claims: Claims,
    /// Grows with every change that others see.
    pub(crate) version: u32,
    /// Milliseconds since 1970.
    pub(crate) joined_ms: i64,
}

/// What a participant has on this node: its client, session and transports, and what hangs on them.
pub(crate) struct LocalParticipant {
    pub(crate) shard: ShardId,
    pub(crate) session: Option<SessionId>,
    pub(crate) client: proto::ClientInfo,
    pub(crate) preferences: Preferences,
    pub(crate) transports: Transports,
    pub(crate) publishing: Publishing,
    pub(crate) subscription_settings: SubscriptionSettings,
    pub(crate) sent_versions: SentVersions,
    pub(crate) data: DataState,
    pub(crate) deadlines: Deadlines,
    pub(crate) dropped_resume: Option<DroppedResume>,
    pub(crate) diagnosis: Diagnosis,
}

/// One participant.
pub(crate) struct Participant {
    pub(crate) key: ParticipantKey,
    pub(crate) record: ParticipantRecord,
    pub(crate) local: LocalParticipant,
    pub(crate) state: State,
    /// It published something at some time, and may still publish.
    pub(crate) is_publisher: bool,
    /// Of the node it is on.
    pub(crate) region: String,
}

impl Participant {
    /// As others see it.
    pub(crate) fn info(&self, published: &Publications) -> proto::ParticipantInfo {
        let tracks = self.local.publishing.tracks.iter().filter_map(|id| published.get(*id));
        let tracks = tracks.map(|publication| publication.info.clone()).collect();
        let data_tracks = published.data_tracks.of(self.key);
        proto::ParticipantInfo {
            sid: self.record.sid.clone(),
            identity: self.record.identity.clone(),
            state: self.state.into(),
            is_publisher: self.is_publisher,
            tracks,
            metadata: self.record.profile.metadata.clone(),
            joined_at: self.record.joined_ms / 1_000,
            joined_at_ms: self.record.joined_ms,
            name: self.record.profile.name.clone(),
            version: self.record.version,
            permission: Some(self.record.permission.clone()),
            kind: self.record.kind.into(),
            kind_details: kind_details_of(&self.record.claims),
            region: self.region.clone(),
            attributes: self.record.profile.attributes.clone().into_iter().collect(),
            data_tracks,
            client_protocol: self.local.client.client_protocol,
            capabilities: self.local.client.capabilities.clone(),
            ..proto::ParticipantInfo::default()
        }
    }

    /// The claims of its token, with what it may do and says about itself by now.
    pub(crate) fn current_claims(&self) -> Claims {
        let mut claims = self.record.claims.clone();
        if self.record.permission != permission_of(&claims.video) {
            apply_permission(&mut claims.video, &self.record.permission);
        }
        claims.name.clone_from(&self.record.profile.name);
        claims.metadata.clone_from(&self.record.profile.metadata);
        claims.attributes.clone_from(&self.record.profile.attributes);
        claims
    }

    /// It has been told who is here.
    pub(crate) fn has_joined(&self) -> bool {
        matches!(self.state, State::Joined | State::Active)
    }

    /// It gets tracks before it is active.
    pub(crate) fn starts_fast(&self) -> bool {
        self.local.transports.single || Compatibility(&self.local.client).starts_fast()
    }

    /// Whether it wants a track, and can get it. (Whether it may is for the publisher to say.)
    pub(crate) fn wants(&self, track: &Publication) -> bool {
        let said = self.local.subscription_settings.subscribe(&track.info.sid);
        track.publisher != self.key
            && (self.is_active() || self.has_joined() && self.starts_fast())
            && self.record.permission.can_subscribe
            && self.local.transports.downstream().is_some()
            && said.unwrap_or(self.local.preferences.auto_subscribe)
    }

    /// Whether it wants a data track, and can get it.
    pub(crate) fn wants_data_track(&self, sid: &str) -> bool {
        let said = self.local.subscription_settings.subscribe(sid);
        self.has_joined()
            && self.record.permission.can_subscribe
            && said.unwrap_or(self.local.preferences.auto_subscribe_data)
    }

    /// The id under which it sees a stream of a publisher.
    pub(crate) fn stream_id(&self, publisher_sid: &str, track_sid: &str) -> String {
        if Compatibility(&self.local.client).packs_stream_id() {
            format!("{publisher_sid}|{track_sid}")
        } else {
            publisher_sid.to_owned()
        }
    }

    /// It is gone: its shard forgets its transports.
    pub(crate) fn remove_transports(&self, out: &mut Outbox) {
        for command in self.local.transports.links().filter_map(Link::remove) {
            out.command(self.local.shard, command);
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.record.permission.hidden
    }

    /// It may speak for others in text.
    pub(crate) fn is_agent(&self) -> bool {
        self.record.kind == Kind::Agent || self.record.permission.agent
    }

    /// Agents and recorders: not counted, and do not keep a room alive.
    pub(crate) fn is_service(&self) -> bool {
        is_service(self.record.kind, &self.record.permission)
    }

    /// It records the room: no publisher can forbid it to.
    pub(crate) fn is_recorder(&self) -> bool {
        self.record.kind == Kind::Egress || self.record.permission.recorder
    }
}

/// Agents and recorders, by kind or by grant: not counted, and do not keep a room alive.
pub(crate) fn is_service(kind: Kind, permission: &proto::ParticipantPermission) -> bool {
    matches!(kind, Kind::Agent | Kind::Egress) || permission.agent || permission.recorder
}

/// The permission that a grant stands for.
pub(crate) fn permission_of(grant: &VideoGrant) -> proto::ParticipantPermission {
    let source = |name: &String| {
        let upper = name.to_ascii_uppercase();
        proto::TrackSource::from_str_name(&upper).map(i32::from)
    };
    proto::ParticipantPermission {
        can_subscribe: grant.may_subscribe(),
        can_publish: grant.may_publish(),
        can_publish_data: grant.may_publish_data(),
        can_publish_sources: grant.can_publish_sources.iter().filter_map(source).collect(),
        hidden: grant.hidden,
        recorder: grant.recorder,
        can_update_metadata: grant.may_update_own_metadata(),
        agent: grant.agent,
        can_subscribe_metrics: grant.can_subscribe_metrics.unwrap_or(false),
        can_manage_agent_session: grant.can_manage_agent_session.unwrap_or(false),
    }
}

/// The grant that a permission stands for, for refreshed tokens.
fn apply_permission(grant: &mut VideoGrant, permission: &proto::ParticipantPermission) {
    let source = |&source: &i32| {
        let source = proto::TrackSource::try_from(source).ok()?;
        Some(source.as_str_name().to_ascii_lowercase())
    };
    grant.can_subscribe = Some(permission.can_subscribe);
    grant.can_publish = Some(permission.can_publish);
    grant.can_publish_data = Some(permission.can_publish_data);
    grant.can_publish_sources = permission.can_publish_sources.iter().filter_map(source).collect();
    grant.can_update_own_metadata = Some(permission.can_update_metadata);
    grant.can_subscribe_metrics = Some(permission.can_subscribe_metrics);
    grant.can_manage_agent_session = Some(permission.can_manage_agent_session);
    grant.hidden = permission.hidden;
    grant.recorder = permission.recorder;
    grant.agent = permission.agent;
}

/// The kind that a token claims, in any case.
pub(crate) fn kind_of(claim: &str) -> Kind {
    Kind::from_str_name(&claim.to_ascii_uppercase()).unwrap_or(Kind::Standard)
}

/// The details of the kind that a token claims, in any case; unknown ones are left out.
fn kind_details_of(claims: &Claims) -> Vec<i32> {
    let detail = |name: &String| KindDetail::from_str_name(&name.to_ascii_uppercase());
    claims.kind_details.iter().filter_map(detail).map(i32::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_join_grant_allows_publishing_subscribing_and_data() {
        let permission = permission_of(&VideoGrant::join("r"));
        assert!(permission.can_publish && permission.can_subscribe && permission.can_publish_data);
        assert!(!permission.can_update_metadata && !permission.hidden);
    }

    #[test]
    fn kinds_are_read_in_any_case() {
        let cases = [("agent", Kind::Agent), ("AGENT", Kind::Agent), ("Egress", Kind::Egress)];
        for (claim, kind) in cases {
            assert_eq!(kind_of(claim), kind, "{claim}");
        }
        assert_eq!((kind_of(""), kind_of("king")), (Kind::Standard, Kind::Standard));
        let kind_details = ["cloud_agent", "FORWARDED", "none"].map(str::to_owned).to_vec();
        let claims = Claims { kind_details, ..Claims::default() };
        let expect = [KindDetail::CloudAgent, KindDetail::Forwarded].map(i32::from);
        assert_eq!(kind_details_of(&claims), expect);
    }

    #[test]
    fn dependents_are_known_by_kind_or_by_grant() {
        let plain = proto::ParticipantPermission::default();
        let agent = proto::ParticipantPermission { agent: true, ..plain.clone() };
        let recorder = proto::ParticipantPermission { recorder: true, ..plain.clone() };
        for (kind, permission, dependent) in [
            (Kind::Standard, &plain, false),
            (Kind::Ingress, &plain, false),
            (Kind::Sip, &plain, false),
            (Kind::Agent, &plain, true),
            (Kind::Egress, &plain, true),
            (Kind::Standard, &agent, true),
            (Kind::Standard, &recorder, true),
        ] {
            assert_eq!(is_service(kind, permission), dependent, "{kind:?} {permission:?}");
        }
    }

    #[test]
    fn sources_survive_the_way_to_a_permission_and_back() {
        let sources = vec!["camera".to_owned(), "screen_share_audio".to_owned()];
        let mut grant =
            VideoGrant { can_publish_sources: sources.clone(), ..VideoGrant::default() };
        let permission = permission_of(&grant);
        assert_eq!(permission.can_publish_sources, [1, 4]);
        apply_permission(&mut grant, &permission);
        assert_eq!(grant.can_publish_sources, sources);
    }
}
