//! Claims of a token: read and signed.
//!
//! * **Owns:** nothing.
//! * **In:** JSON claims; or fields from a caller that has a secret.
//! * **Out:** [`Claims`]; a signed token.
//! * **Invariant:** a claim of the wrong type makes the whole token invalid.
//! * **livekit-server:** `protocol/auth/grants.go`, `protocol/auth/verifier.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::json::{Json, Object, WrongType};
use crate::keys::sign;
use crate::{TokenError, VideoGrant};

/// A verified token's content.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// `iss`: the API key that signed it.
    pub api_key: String,
    /// `sub`, else `jti`: the participant's identity; may be empty for API tokens.
    pub identity: String,
    /// Display name.
    pub name: String,
    /// Initial metadata.
    pub metadata: String,
    /// Initial attributes.
    pub attributes: BTreeMap<String, String>,
    /// `standard`, `agent`, `egress`, `ingress`, `sip`, `connector`, `bridge`, in lower case; may
    /// be empty.
    pub kind: String,
    /// Finer than `kind`: `cloud_agent`, `forwarded`, …; in lower case.
    pub kind_details: Vec<String>,
    /// The grants of the bearer; all denied if the token has no `video` claim.
    pub video: VideoGrant,
    /// The token has a `video` claim.
    pub has_video: bool,
    /// `sha256` of the body that this token is sent with (webhooks), base64.
    pub sha256: String,
    /// `exp`, seconds since 1970.
    pub expires_at: u64,
    /// `nbf`, seconds since 1970; 0 if absent.
    pub not_before: u64,
    /// `roomConfig` as written: protobuf's JSON of `RoomConfiguration`, an object.
    pub room_config: Option<Value>,
    /// `roomPreset`: the name of a room configuration of the server's; may be empty.
    pub room_preset: String,
}

/// The registered claims that golang-jwt reads before it trusts a token.
pub(crate) struct Registered {
    pub(crate) issuer: String,
    pub(crate) expires_at: Option<u64>,
    pub(crate) not_before: Option<u64>,
    identity: String,
}

impl Registered {
    pub(crate) fn read(claims: Object<'_>) -> Result<Self, WrongType> {
        let subject = claims.text("sub")?;
        let id = claims.text("jti")?;
        let _unused = claims.date("iat")?;
        Ok(Self {
            issuer: claims.text("iss")?,
            expires_at: claims.date("exp")?,
            not_before: claims.date("nbf")?,
            identity: if subject.is_empty() { id } else { subject },
        })
    }
}

impl Claims {
    /// Reads a token's claims beside the registered ones. The claim `identity` does not count.
    pub(crate) fn read(registered: Registered, claims: Object<'_>) -> Result<Self, WrongType> {
        let video = claims.inner("video")?;
        let room_config = match claims.any("roomConfig") {
            Some(config @ Json::Object(_)) => Some(config.to_value()),
            Some(_) => return Err(claims.wrong("roomConfig", "an object")),
            None => None,
        };
        let details = claims.texts("kindDetails")?;
        Ok(Self {
            api_key: registered.issuer,
            identity: registered.identity,
            name: claims.text("name")?,
            metadata: claims.text("metadata")?,
            attributes: claims.map("attributes")?,
            kind: claims.text("kind")?.to_ascii_lowercase(),
            kind_details: details.iter().map(|detail| detail.to_ascii_lowercase()).collect(),
            has_video: video.is_some(),
            video: video.map(VideoGrant::read).transpose()?.unwrap_or_default(),
            sha256: claims.text("sha256")?,
            room_config,
            room_preset: claims.text("roomPreset")?,
            expires_at: registered.expires_at.unwrap_or(0),
            not_before: registered.not_before.unwrap_or(0),
        })
    }

    /// A builder for a refreshed token: the bearer's identity and grants in its room, and nothing
    /// that speaks to services beside rooms.
    ///
    /// livekit-server: `pkg/service/roommanager.go` (`refreshToken`).
    pub fn to_builder(&self) -> TokenBuilder {
        let mut claims = self.clone();
        claims.kind_details = Vec::new();
        claims.sha256 = String::new();
        if claims.kind.is_empty() {
            "standard".clone_into(&mut claims.kind);
        }
        TokenBuilder { claims }
    }
}

/// The JSON of the middle part of a token that is made here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireClaims {
    iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sub: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    identity: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    metadata: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kind_details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoGrant>,
    #[serde(skip_serializing_if = "String::is_empty")]
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_config: Option<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    room_preset: String,
}

/// Makes a token.
#[derive(Clone, Debug, Default)]
pub struct TokenBuilder {
    claims: Claims,
}

impl TokenBuilder {
    /// A token that grants nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the identity.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.claims.identity = identity.into();
        self
    }

    /// Sets the display name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.claims.name = name.into();
        self
    }

    /// Sets the initial metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.claims.metadata = metadata.into();
        self
    }

    /// Sets the initial attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: BTreeMap<String, String>) -> Self {
        self.claims.attributes = attributes;
        self
    }

    /// Sets the participant's kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.claims.kind = kind.into();
        self
    }

    /// Sets the `video` grant.
    #[must_use]
    pub fn video(mut self, video: VideoGrant) -> Self {
        self.claims.video = video;
        self.claims.has_video = true;
        self
    }

    /// Sets the digest of the body that the token is sent with.
    #[must_use]
    pub fn sha256(mut self, digest: impl Into<String>) -> Self {
        self.claims.sha256 = digest.into();
        self
    }

    /// Signs with `secret` in the name of `api_key`; valid from `now_unix` for `valid_for`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Signing`] if the secret is empty or the claims have no JSON form.
    pub fn sign(
        self,
        api_key: &str,
        secret: &str,
        now_unix: u64,
        valid_for: Duration,
    ) -> Result<String, TokenError> {
        let claims = self.claims;
        let wire = WireClaims {
            iss: api_key.to_owned(),
            sub: claims.identity.clone(),
            exp: now_unix.saturating_add(valid_for.as_secs()),
            nbf: now_unix,
            iat: now_unix,
            identity: claims.identity,
            name: claims.name,
            metadata: claims.metadata,
            attributes: claims.attributes,
            kind: claims.kind,
            kind_details: claims.kind_details,
            video: claims.has_video.then_some(claims.video),
            sha256: claims.sha256,
            room_config: claims.room_config,
            room_preset: claims.room_preset,
        };
        sign(&wire, secret)
    }
}
