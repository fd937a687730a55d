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
use hearth_signal::proto::{self, request_response, request_response::Request};

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

impl Profile {
    /// With these changes: empty texts change nothing, an empty attribute is deleted.
    pub(crate) fn merged(
        &self,
        metadata: &str,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        let mut merged = self.clone();
        if !metadata.is_empty() {
            metadata.clone_into(&mut merged.metadata);
        }
        if !name.is_empty() {
            name.clone_into(&mut merged.name);
        }
        for (attribute, value) in attributes {
            if value.is_empty() {
                merged.attributes.remove(&attribute);
            } else {
                merged.attributes.insert(attribute, value);
            }
        }
        merged
    }

    /// Measures what a request brings, and the attributes that came of it. (A token's name is not
    /// measured, and must not stand in the way of other changes.)
    pub(crate) fn check(&self, limits: &Limits, name: &str, metadata: &str) -> Result<(), Excess> {
        let excess = |what, message| {
            move |too_large: TooLarge| Excess { what, message, limit: too_large.limit }
        };
        limits.check_name(name).map_err(excess("name length", "exceeds name length limit"))?;
        limits
            .check_metadata(metadata)
            .map_err(excess("metadata size", "exceeds metadata size limit"))?;
        limits
            .check_attributes(&self.attributes)
            .map_err(excess("attribute size", "exceeds attributes size limit"))
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
        use request_response::Reason;

        let Some(participant) = self.roster.get_mut(key) else { return };
        let protocol = participant.local.client.protocol;
        let id = request.request_id;
        let (reason, message) = if participant.record.permission.can_update_metadata {
            let attributes = request.attributes.clone().into_iter().collect();
            let merged =
                participant.record.profile.merged(&request.metadata, &request.name, attributes);
            match merged.check(&self.out.config.limits, &request.name, &request.metadata) {
                Err(excess) => (Reason::LimitExceeded, excess.message),
                Ok(()) => {
                    self.set_profile(now, key, merged);
                    (Reason::Ok, "")
                }
            }
        } else {
            (Reason::NotAllowed, "does not have permission to update own metadata")
        };
        if reason != Reason::Ok || protocol > LAST_WITHOUT_OK {
            let response = proto::RequestResponse {
                request_id: id,
                reason: reason.into(),
                message: message.to_owned(),
                request: Some(Request::UpdateMetadata(request)),
            };
            self.roster.respond(self.out, key, response);
        }
    }

    /// Changes name, metadata and attributes, and tells everybody.
    pub(crate) fn set_profile(&mut self, now: Instant, key: ParticipantKey, profile: Profile) {
        let Some(participant) = self.roster.get_mut(key) else { return };
        if participant.record.profile != profile {
            participant.record.profile = profile;
            self.changed(key);
            self.roster.refresh_token(now, key, self.out);
        }
    }
}
