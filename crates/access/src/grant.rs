//! The `video` claim.
//!
//! * **Owns:** nothing.
//! * **In:** JSON.
//! * **Out:** [`VideoGrant`], and the defaults of absent fields.
//! * **Invariant:** any permission that a token does not grant explicitly is denied, except publishing and
//!   subscribing, which `roomJoin` brings along.
//! * **livekit-server:** `protocol/auth/grants.go`.

use serde::Serialize;

use crate::json::{Object, WrongType};

/// The video grant: permissions of the bearer. Field names are those of the token, in camelCase.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoGrant {
    /// Create and delete rooms by API.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// List rooms by API.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// Record rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    /// Administrate `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// Join `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// Publish tracks; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// Subscribe to tracks; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// Send data; absent means as `can_publish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// `camera`, `microphone`, `screen_share`, `screen_share_audio`; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// Change its own name, metadata and attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Administrate ingress.
    #[serde(skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    /// Others do not learn of it.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// It records the room.
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    /// It may register as an agent.
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
    /// Receive metrics of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// Manage agent sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    /// Where it may forward or move participants to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_room: String,
}

impl VideoGrant {
    /// A grant to join `room` with the defaults.
    pub fn join(room: impl Into<String>) -> Self {
        Self { room_join: true, room: room.into(), ..Self::default() }
    }

    pub(crate) fn read(claim: Object<'_>) -> Result<Self, WrongType> {
        let mut grant = Self::default();
        for (name, flag) in [
            ("roomCreate", &mut grant.room_create),
            ("roomList", &mut grant.room_list),
            ("roomRecord", &mut grant.room_record),
            ("roomAdmin", &mut grant.room_admin),
            ("roomJoin", &mut grant.room_join),
            ("ingressAdmin", &mut grant.ingress_admin),
            ("hidden", &mut grant.hidden),
            ("recorder", &mut grant.recorder),
            ("agent", &mut grant.agent),
        ] {
            *flag = claim.flag(name)?;
        }
        for (name, choice) in [
            ("canPublish", &mut grant.can_publish),
            ("canSubscribe", &mut grant.can_subscribe),
            ("canPublishData", &mut grant.can_publish_data),
            ("canUpdateOwnMetadata", &mut grant.can_update_own_metadata),
            ("canSubscribeMetrics", &mut grant.can_subscribe_metrics),
            ("canManageAgentSession", &mut grant.can_manage_agent_session),
        ] {
            *choice = claim.choice(name)?;
        }
        grant.room = claim.text("room")?;
        grant.destination_room = claim.text("destinationRoom")?;
        grant.can_publish_sources = claim.texts("canPublishSources")?;
        Ok(grant)
    }

    /// Whether it may publish tracks.
    pub fn may_publish(&self) -> bool {
        self.can_publish.unwrap_or(true)
    }

    /// Whether it may subscribe to tracks.
    pub fn may_subscribe(&self) -> bool {
        self.can_subscribe.unwrap_or(true)
    }

    /// Whether it may send data.
    pub fn may_publish_data(&self) -> bool {
        self.can_publish_data.unwrap_or_else(|| self.may_publish())
    }

    /// Whether it may change its own name, metadata and attributes.
    pub fn may_update_own_metadata(&self) -> bool {
        self.can_update_own_metadata.unwrap_or(false)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
