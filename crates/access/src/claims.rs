//! What a token says, and making one.
//!
//! * **Owns:** nothing.
//! * **In:** JSON claims; or fields from a caller who has a secret.
//! * **Out:** [`Claims`]; a signed token.
//! * **Invariant:** claims we do not know survive a refresh.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::sign;
use crate::{TokenError, VideoGrant};

/// A verified token's content.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// `iss`: the API key that signed it.
    pub api_key: String,
    /// `sub`: the participant's identity; may be empty for API tokens.
    pub identity: String,
    /// Display name.
    pub name: String,
    /// Initial metadata.
    pub metadata: String,
    /// Initial attributes.
    pub attributes: BTreeMap<String, String>,
    /// `standard`, `agent`, `egress`, `ingress`, `sip`, `connector`, `bridge`; may be empty.
    pub kind: String,
    /// What the bearer may do; all denied if the token has no `video` claim.
    pub video: VideoGrant,
    /// The token has a `video` claim.
    pub has_video: bool,
    /// `sha256` of a body this token goes with (webhooks), base64.
    pub sha256: String,
    /// `exp`, seconds since 1970.
    pub expires_at: u64,
    /// `nbf`, seconds since 1970; 0 if absent.
    pub not_before: u64,
    /// All other claims (`sip`, `agent`, `roomConfig`, `roomPreset`, …).
    pub others: BTreeMap<String, Value>,
}

impl Claims {
    /// A builder with the same content, to make a refreshed token.
    pub fn to_builder(&self) -> TokenBuilder {
        TokenBuilder { claims: self.clone() }
    }
}

/// The JSON of the middle part.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct WireClaims {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    identity: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    metadata: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    video: Option<VideoGrant>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sha256: String,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl From<WireClaims> for Claims {
    fn from(wire: WireClaims) -> Self {
        Self {
            api_key: wire.iss,
            identity: if wire.sub.is_empty() { wire.identity } else { wire.sub },
            name: wire.name,
            metadata: wire.metadata,
            attributes: wire.attributes,
            kind: wire.kind,
            has_video: wire.video.is_some(),
            video: wire.video.unwrap_or_default(),
            sha256: wire.sha256,
            expires_at: wire.exp.as_ref().map_or(0, seconds),
            not_before: wire.nbf.as_ref().map_or(0, seconds),
            others: wire.others,
        }
    }
}

/// A NumericDate (RFC 7519 §2) in whole seconds; before 1970 counts as 0.
pub(crate) fn seconds(date: &serde_json::Number) -> u64 {
    let whole = date.as_u64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is what is wanted of a date"
    )]
    let rounded = || date.as_f64().map_or(0, |n| n as u64);
    whole.unwrap_or_else(rounded)
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

    /// Sets who the bearer is.
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

    /// Sets the digest of a body that the token goes with.
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
            exp: Some(now_unix.saturating_add(valid_for.as_secs()).into()),
            nbf: Some(now_unix.into()),
            iat: Some(now_unix.into()),
            identity: claims.identity,
            name: claims.name,
            metadata: claims.metadata,
            attributes: claims.attributes,
            kind: claims.kind,
            video: claims.has_video.then_some(claims.video),
            sha256: claims.sha256,
            others: claims.others,
        };
        sign(&wire, secret)
    }
}
