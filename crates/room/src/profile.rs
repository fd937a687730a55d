//! What participants say about themselves: name, metadata, attributes.
//!
//! * **Owns:** of one participant, its [`Profile`].
//! * **In:** what clients and the server API change of it.
//! * **Out:** updates to everybody; a token that says it.
//! * **Invariant:** what is changed is within the limits, and nothing changes otherwise.
//! * **livekit-server:** `pkg/rtc/participant.go` (`UpdateMetadata`).

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_access::{Limits, TooLarge};
use hearth_signal::proto;
use hearth_signal::proto::request_response::{Reason, Request};

use crate::announcements::Announcer;
use crate::participant::ParticipantKey;

/// Up to this protocol, clients are not told that a request succeeded.
const LAST_WITHOUT_OK: i32 = 14;

/// What a participant says about itself, and may change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) metadata: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What is to be changed of a profile.
#[derive(Debug)]
pub(crate) struct ProfileChange {
    /// Empty: no change.
    pub(crate) name: String,
    /// Empty: no change.
    pub(crate) metadata: String,
    /// Merged; an empty value deletes.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Profile {
    /// With these changes. Measured is what they bring, and the attributes that come of it. (A token's name
    /// is not measured, and must not stand in the way of other changes.)
    fn with(&self, change: ProfileChange, limits: &Limits) -> Result<Self, Excess> {
        let ProfileChange { name, metadata, attributes } = change;
        let excess = |what, message| {
            move |too_large: TooLarge| Excess { what, message, limit: too_large.limit }
        };
        limits.check_name(&name).map_err(excess("name length", "exceeds name length limit"))?;
        limits
            .check_metadata(&metadata)
            .map_err(excess("metadata size", "exceeds metadata size limit"))?;
        let mut changed = self.clone();
        if !name.is_empty() {
            changed.name = name;
        }
        if !metadata.is_empty() {
            changed.metadata = metadata;
        }
        for (attribute, value) in attributes {
            if value.is_empty() {
                changed.attributes.remove(&attribute);
            } else {
                changed.attributes.insert(attribute, value);
            }
        }
        limits
            .check_attributes(&changed.attributes)
            .map_err(excess("attribute size", "exceeds attributes size limit"))?;
        Ok(changed)
    }
}

/// What is too large of a participant's profile.
#[derive(Debug)]
pub(crate) struct Excess {
    /// As the server API names it.
    pub(crate) what: &'static str,
    /// As a signalling client is told it.
    pub(crate) message: &'static str,
    /// In bytes.
    pub(crate) limit: usize,
}

impl Announcer<'_> {
    /// A client changes itself.
    pub(crate) fn update_metadata(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: proto::UpdateParticipantMetadata,
    ) {
        let Some(participant) = self.roster.get(key) else { return };
        let protocol = participant.local.client.protocol;
        let (reason, message) = if participant.record.permission.can_update_metadata {
            let change = ProfileChange {
                name: request.name.clone(),
                metadata: request.metadata.clone(),
                attributes: request.attributes.clone().into_iter().collect(),
            };
            match self.change_profile(now, key, change) {
                Ok(()) => (Reason::Ok, ""),
                Err(excess) => (Reason::LimitExceeded, excess.message),
            }
        } else {
            (Reason::NotAllowed, "does not have permission to update own metadata")
        };
        if reason != Reason::Ok || protocol > LAST_WITHOUT_OK {
            let response = proto::RequestResponse {
                request_id: request.request_id,
                reason: reason.into(),
                message: message.to_owned(),
                request: Some(Request::UpdateMetadata(request)),
            };
            self.roster.respond(self.out, key, response);
        }
    }

    /// Changes name, metadata and attributes, and tells everybody.
    ///
    /// # Errors
    ///
    /// [`Excess`] if one of them is too large; then nothing changed.
    pub(crate) fn change_profile(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        change: ProfileChange,
    ) -> Result<(), Excess> {
        let Some(participant) = self.roster.get_mut(key) else { return Ok(()) };
        let profile = participant.record.profile.with(change, &self.out.config.limits)?;
        if participant.record.profile != profile {
            participant.record.profile = profile;
            self.changed(key);
            self.roster.refresh_token(now, key, self.out);
        }
        Ok(())
    }
}
