//! Admission: whether a token's grants let its bearer join, with the options it asks for beside the token.
//!
//! * **Owns:** nothing.
//! * **In:** verified [`Claims`], then the client's [`JoinOptions`].
//! * **Out:** an [`AdmittedJoin`], or [`AdmitError`] whose text goes to the client.
//! * **Invariant:** there is no [`AdmittedJoin`] without a grant to join, a room and an identity. Its
//!   holder checks nothing again.
//! * **livekit-server:** `pkg/service/utils.go` (`ValidateConnectRequest`): the order of the checks.

use std::collections::BTreeMap;

use crate::{Claims, Limits, TooLarge};

/// Why a token does not let its bearer join.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdmitError {
    /// No `video` grant, or an option without the grant for it.
    #[error("no permissions to access the room")]
    NoPermissions,
    /// The token does not grant joining.
    #[error("permissions denied")]
    Denied,
    /// The token has no identity.
    #[error("identity cannot be empty")]
    NoIdentity,
    /// Above [`Limits::identity`].
    #[error("participant identity length exceeds limits: max length {}", .0.limit)]
    IdentityTooLong(TooLarge),
    /// The token names no room.
    #[error("no room name")]
    NoRoom,
    /// Above [`Limits::room_name`].
    #[error("room name length exceeds limits: max length {}", .0.limit)]
    RoomNameTooLong(TooLarge),
    /// Above [`Limits::metadata`].
    #[error(
        "connection closed by media: the participant's metadata has {} bytes and may have {}: \
         shorten it, or raise limit.max_metadata_size", .0.size, .0.limit
    )]
    Metadata(TooLarge),
    /// Above [`Limits::attributes`].
    #[error(
        "connection closed by media: the participant's attributes have {} bytes and may have {}: \
         shorten them, or raise limit.max_attributes_size", .0.size, .0.limit
    )]
    Attributes(TooLarge),
}

/// The options a client asks for beside its token.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct JoinOptions {
    /// Metadata in place of the token's; empty: the token's.
    pub metadata: String,
    /// Attributes to add to the token's; those with an empty value are left out.
    pub attributes: BTreeMap<String, String>,
    /// Join a second time, as `identity#suffix` and only to publish.
    pub publish: Option<String>,
}

/// A join that was checked: identity, room, grants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdmittedJoin {
    claims: Claims,
}

impl AdmittedJoin {
    /// Checks the token's own claims.
    ///
    /// # Errors
    ///
    /// [`AdmitError`], with the client's fault in its text.
    pub fn new(claims: Claims, limits: &Limits) -> Result<Self, AdmitError> {
        if !claims.has_video {
            return Err(AdmitError::NoPermissions);
        }
        if !claims.video.room_join {
            return Err(AdmitError::Denied);
        }
        if claims.identity.is_empty() {
            return Err(AdmitError::NoIdentity);
        }
        limits.check_identity(&claims.identity).map_err(AdmitError::IdentityTooLong)?;
        if claims.video.room.is_empty() {
            return Err(AdmitError::NoRoom);
        }
        limits.check_room_name(&claims.video.room).map_err(AdmitError::RoomNameTooLong)?;
        Ok(Self { claims })
    }

    /// Grants the options too.
    ///
    /// # Errors
    ///
    /// [`AdmitError::NoPermissions`] if the token does not grant one of them.
    pub fn with(self, options: JoinOptions) -> Result<Self, AdmitError> {
        let Self { mut claims } = self;
        if let Some(suffix) = options.publish {
            if !claims.video.may_publish() {
                return Err(AdmitError::NoPermissions);
            }
            claims.identity = format!("{}#{suffix}", claims.identity);
            claims.video.can_subscribe = Some(false);
        }
        let asks = !options.metadata.is_empty() || !options.attributes.is_empty();
        if asks && !claims.video.may_update_own_metadata() {
            return Err(AdmitError::NoPermissions);
        }
        if !options.metadata.is_empty() {
            claims.metadata = options.metadata;
        }
        let set = options.attributes.into_iter().filter(|(_, value)| !value.is_empty());
        claims.attributes.extend(set);
        Ok(Self { claims })
    }

    /// Checks the sizes of metadata and attributes, the token's and the requested ones.
    ///
    /// # Errors
    ///
    /// [`AdmitError::Metadata`] or [`AdmitError::Attributes`].
    pub fn fits(self, limits: &Limits) -> Result<Self, AdmitError> {
        limits.check_metadata(&self.claims.metadata).map_err(AdmitError::Metadata)?;
        limits.check_attributes(&self.claims.attributes).map_err(AdmitError::Attributes)?;
        Ok(self)
    }

    /// The room that is joined; never empty.
    pub fn room(&self) -> &str {
        &self.claims.video.room
    }

    /// The identity; never empty.
    pub fn identity(&self) -> &str {
        &self.claims.identity
    }

    /// The token's claims, with the options applied.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VideoGrant;

    #[test]
    fn joins_are_refused_in_the_order_and_with_the_texts_of_livekit_server() {
        let granting = |change: fn(&mut VideoGrant)| {
            let mut claims = alice();
            change(&mut claims.video);
            claims
        };
        let named = |identity: &str| Claims { identity: identity.into(), ..alice() };
        let long = "l".repeat(257);
        // 400 bytes in 200 letters.
        let umlauts = "ä".repeat(200);
        let too_long = "participant identity length exceeds limits: max length 256";
        for (claims, text) in [
            (Claims { has_video: false, ..alice() }, "no permissions to access the room"),
            (granting(|grant| grant.room_join = false), "permissions denied"),
            (named(""), "identity cannot be empty"),
            (named(&long), too_long),
            (named(&umlauts), too_long),
            (granting(|grant| grant.room.clear()), "no room name"),
            (
                granting(|grant| grant.room = "ä".repeat(129)),
                "room name length exceeds limits: max length 256",
            ),
        ] {
            let error = AdmittedJoin::new(claims, &Limits::default()).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
        let unlimited = Limits { identity: 0, ..Limits::default() };
        assert!(AdmittedJoin::new(named(&long), &unlimited).is_ok());
    }

    #[test]
    fn options_need_their_grant() {
        let metadata = JoinOptions { metadata: "m".into(), ..JoinOptions::default() };
        let attributes = JoinOptions { attributes: pairs(&[("a", "")]), ..JoinOptions::default() };
        let publish = JoinOptions { publish: Some("x".into()), ..JoinOptions::default() };
        let mut mute = alice();
        mute.video.can_publish = Some(false);
        let mut own = alice();
        own.video.can_update_own_metadata = Some(true);
        for (claims, options, granted) in [
            (&alice(), &metadata, false),
            (&alice(), &attributes, false),
            (&own, &metadata, true),
            (&own, &attributes, true),
            (&alice(), &publish, true),
            (&mute, &publish, false),
            (&mute, &JoinOptions::default(), true),
        ] {
            let join = admitted(claims.clone()).with(options.clone());
            assert_eq!(join.is_ok(), granted, "{options:?}");
        }
    }

    #[test]
    fn options_are_merged_with_the_claims() {
        let mut claims = alice();
        claims.video.can_update_own_metadata = Some(true);
        claims.metadata = "of the token".into();
        claims.attributes = pairs(&[("a", "1"), ("b", "2")]);
        let options = JoinOptions {
            attributes: pairs(&[("a", ""), ("b", "3"), ("c", "4"), ("d", "")]),
            publish: Some("x".into()),
            ..JoinOptions::default()
        };
        let join = admitted(claims).with(options).unwrap();
        assert_eq!(join.claims().attributes, pairs(&[("a", "1"), ("b", "3"), ("c", "4")]));
        assert_eq!(join.claims().metadata, "of the token");
        assert_eq!((join.identity(), join.claims().video.can_subscribe), ("alice#x", Some(false)));
    }

    #[test]
    fn errors_of_too_large_claims_say_what_to_do() {
        let limits = Limits { metadata: 4, attributes: 4, ..Limits::default() };
        let metadata = Claims { metadata: "ääm".into(), ..alice() };
        let attributes = Claims { attributes: pairs(&[("kk", "vvv")]), ..alice() };
        for (claims, key) in
            [(metadata, "limit.max_metadata_size"), (attributes, "limit.max_attributes_size")]
        {
            assert!(admitted(claims.clone()).fits(&Limits::default()).is_ok());
            let text = admitted(claims).fits(&limits).unwrap_err().to_string();
            assert!(text.contains("5 bytes and may have 4") && text.ends_with(key), "{text}");
        }
    }

    fn admitted(claims: Claims) -> AdmittedJoin {
        AdmittedJoin::new(claims, &Limits::default()).unwrap()
    }

    fn alice() -> Claims {
        Claims {
            identity: "alice".into(),
            video: VideoGrant::join("r"),
            has_video: true,
            ..Claims::default()
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}
