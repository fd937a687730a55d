//! API keys, and verification of tokens by them.
//!
//! * **Owns:** the keys and their secrets.
//! * **In:** a token and the time in seconds since 1970.
//! * **Out:** [`Claims`] or [`TokenError`].
//! * **Invariant:** nothing of a token is believed before its signature is checked, except which
//!   key to check it with.
//! * **livekit-server:** `pkg/service/auth.go`; texts as golang-jwt writes them.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use serde::Deserialize;

use crate::claims::{Registered, WireClaims};
use crate::json::{Json, WrongType};
use crate::{Claims, TokenBuilder};

/// How far clocks may differ when `exp` and `nbf` are judged.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Longest token that is read, in bytes. It travels in a request's head, which is no longer.
const MAX_TOKEN: usize = 1 << 20;

/// Why a token is refused. The text goes to the client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// No JWT, or above 1 MiB.
    #[error("invalid authorization token")]
    Malformed,
    /// A claim is of a type that it cannot have.
    #[error("invalid authorization token: token is malformed: could not JSON decode claim: {0}")]
    Claim(#[from] WrongType),
    /// No `iss`, or none of our keys.
    #[error("invalid API key")]
    UnknownKey,
    /// Signed by a method other than HS256.
    #[error(
        "invalid authorization token: token signature is invalid: signing method {alg} is invalid"
    )]
    Algorithm {
        /// The header's `alg`, shortened.
        alg: String,
    },
    /// The signature does not fit.
    #[error("invalid authorization token: token signature is invalid: signature is invalid")]
    Signature,
    /// There is no `exp`.
    #[error(
        "invalid authorization token: token has invalid claims: token is missing required claim: \
         exp claim is required"
    )]
    NoExpiry,
    /// `exp` is past.
    #[error("invalid authorization token: token has invalid claims: token is expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("invalid authorization token: token has invalid claims: token is not valid yet")]
    NotYetValid,
    /// A new token could not be made.
    #[error("cannot sign token")]
    Signing,
}

/// The API keys of this deployment, in the order of the config.
#[derive(Clone, Default)]
pub struct Keys {
    pairs: Vec<(String, String)>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(key, _)| key)).finish()
    }
}

impl<K: Into<String>, S: Into<String>> FromIterator<(K, S)> for Keys {
    fn from_iter<I: IntoIterator<Item = (K, S)>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().map(|(k, s)| (k.into(), s.into())).collect() }
    }
}

#[derive(Deserialize)]
struct WireHeader {
    #[serde(default)]
    alg: String,
}

impl Keys {
    /// Keys and their secrets; the first signs what the server issues.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        pairs.into_iter().collect()
    }

    /// True if there is no key, so that no token can be valid.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The key that signs what the server issues, and its secret.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.pairs.first().map(|(key, secret)| (key.as_str(), secret.as_str()))
    }

    /// The secret of `api_key`.
    pub fn secret(&self, api_key: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == api_key).map(|(_, secret)| secret.as_str())
    }

    /// Judges a token at `now_unix` (seconds since 1970).
    ///
    /// # Errors
    ///
    /// [`TokenError`], checked in the order of its variants.
    pub fn verify(&self, token: &str, now_unix: u64) -> Result<Claims, TokenError> {
        use TokenError::{Algorithm as OtherAlgorithm, Malformed};

        if token.len() > MAX_TOKEN {
            return Err(Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Malformed)?;
        let header: WireHeader =
            serde_json::from_slice(&decoded(header)?).map_err(|_| Malformed)?;
        let claims = Json::parse(&decoded(claims)?).ok_or(Malformed)?;
        let claims = claims.object().ok_or(Malformed)?;
        let registered = Registered::read(claims)?;
        let secret = self.secret(&registered.issuer).ok_or(TokenError::UnknownKey)?;
        if header.alg != "HS256" {
            return Err(OtherAlgorithm { alg: header.alg.chars().take(16).collect() });
        }
        let key = DecodingKey::from_secret(secret.as_bytes());
        match crypto::verify(signature, message.as_bytes(), &key, Algorithm::HS256) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(TokenError::Signature),
        }
        check_time(&registered, now_unix)?;
        Ok(Claims::read(registered, claims)?)
    }

    /// A builder's token signed by the first key.
    ///
    /// # Errors
    ///
    /// [`TokenError::Signing`] if there is no key.
    pub fn sign(
        &self,
        token: TokenBuilder,
        now_unix: u64,
        valid_for: Duration,
    ) -> Result<String, TokenError> {
        let (key, secret) = self.first().ok_or(TokenError::Signing)?;
        token.sign(key, secret, now_unix, valid_for)
    }

    /// A token for the same participant, signed by the first key: valid as long as before, at least
    /// 10 min. It has what [`Claims::to_builder`] keeps.
    ///
    /// # Errors
    ///
    /// [`TokenError::Signing`] if there is no key.
    pub fn refresh(&self, claims: &Claims, now_unix: u64) -> Result<String, TokenError> {
        const SHORTEST: u64 = 10 * 60;
        let left = claims.expires_at.saturating_sub(now_unix).max(SHORTEST);
        self.sign(claims.to_builder(), now_unix, Duration::from_secs(left))
    }
}

pub(crate) fn sign(claims: &WireClaims, secret: &str) -> Result<String, TokenError> {
    if secret.is_empty() {
        return Err(TokenError::Signing);
    }
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map_err(|_| TokenError::Signing)
}

fn check_time(claims: &Registered, now_unix: u64) -> Result<(), TokenError> {
    let expires = claims.expires_at.ok_or(TokenError::NoExpiry)?;
    if now_unix >= expires.saturating_add(LEEWAY.as_secs()) {
        return Err(TokenError::Expired);
    }
    match claims.not_before {
        Some(begins) if begins > now_unix.saturating_add(LEEWAY.as_secs()) => {
            Err(TokenError::NotYetValid)
        }
        Some(_) | None => Ok(()),
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VideoGrant;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_token_we_sign_is_a_token_we_accept() {
        let token = keys().sign(alice(), NOW, Duration::from_secs(60)).unwrap();
        let claims = keys().verify(&token, NOW).unwrap();
        assert_eq!((claims.api_key.as_str(), claims.identity.as_str()), ("devkey", "alice"));
        assert_eq!(claims.video, VideoGrant::join("golden"));
        assert!(claims.has_video);
        assert_eq!(claims.expires_at, NOW + 60);
    }

    #[test]
    fn tokens_are_refused_with_the_texts_of_livekit_server() {
        let token = |header: &str, claims: &str| sealed(header, claims, "secret");
        let h = r#"{"alg":"HS256"}"#;
        let exp = NOW + 10;
        let good = format!(r#"{{"iss":"devkey","exp":{exp},"sub":"a"}}"#);
        let cases = [
            ("not.a.jwt".to_owned(), "invalid authorization token"),
            ("".to_owned(), "invalid authorization token"),
            ("a".repeat(MAX_TOKEN + 1), "invalid authorization token"),
            (token(h, r#"{"exp":1}"#), "invalid API key"),
            (token(h, r#"{"iss":"other","exp":1}"#), "invalid API key"),
            (sealed(h, &good, "wrong"), "…: token signature is invalid: signature is invalid"),
            (
                token(r#"{"alg":"none"}"#, &good),
                "…: token signature is invalid: signing method none is invalid",
            ),
            (
                token(r#"{"alg":"HS512"}"#, &good),
                "…: token signature is invalid: signing method HS512 is invalid",
            ),
            (
                token(h, r#"{"iss":"devkey"}"#),
                "…: token has invalid claims: token is missing required claim: exp claim is required",
            ),
            (
                token(h, &format!(r#"{{"iss":"devkey","exp":{}}}"#, NOW - 70)),
                "…: token has invalid claims: token is expired",
            ),
            (
                token(h, &format!(r#"{{"iss":"devkey","exp":{exp},"nbf":{}}}"#, NOW + 70)),
                "…: token has invalid claims: token is not valid yet",
            ),
        ];
        for (token, text) in cases {
            let error = keys().verify(&token, NOW).unwrap_err();
            assert_eq!(error.to_string(), text.replace('…', "invalid authorization token"));
        }
    }

    #[test]
    fn clocks_may_differ_by_a_few_seconds() {
        for times in [
            format!(r#""exp":{}"#, NOW - 5),
            format!(r#""exp":{},"nbf":{}"#, NOW + 9, NOW + 5),
            format!(r#""exp":{}.5"#, NOW + 9),
        ] {
            let claims = format!(r#"{{"iss":"devkey",{times}}}"#);
            let token = sealed(r#"{"alg":"HS256"}"#, &claims, "secret");
            assert!(keys().verify(&token, NOW).is_ok(), "{times}");
        }
    }

    #[test]
    fn deep_json_is_refused_not_followed() {
        let claims = format!(r#"{{"iss":"devkey","exp":{NOW},"x":{}"#, "[".repeat(20_000));
        let token = sealed(r#"{"alg":"HS256"}"#, &claims, "secret");
        assert_eq!(keys().verify(&token, NOW), Err(TokenError::Malformed));
    }

    #[test]
    fn a_null_claim_is_an_absent_claim() {
        let plain = format!(r#"{{"iss":"devkey","exp":{NOW},"sub":"a","video":{{"room":"r"}}}}"#);
        let plain = keys().verify(&sealed(r#"{"alg":"HS256"}"#, &plain, "secret"), NOW).unwrap();
        let top = "name metadata attributes kind kindDetails sha256 roomPreset roomConfig sip agent \
                   inference observability iat nbf jti aud identity";
        let video = "roomCreate roomList roomRecord roomAdmin roomJoin ingressAdmin canPublish \
                     canSubscribe canPublishData canPublishSources canUpdateOwnMetadata hidden \
                     recorder agent canSubscribeMetrics canManageAgentSession destinationRoom";
        let nulls = |names: &str| {
            names.split_whitespace().map(|name| format!(r#","{name}":null"#)).collect::<String>()
        };
        let (top, video) = (nulls(top), nulls(video));
        let claims = format!(
            r#"{{"iss":"devkey","exp":{NOW},"sub":"a","video":{{"room":"r"{video}}}{top}}}"#
        );
        let token = sealed(r#"{"alg":"HS256"}"#, &claims, "secret");
        assert_eq!(keys().verify(&token, NOW), Ok(plain));
        for (name, refused) in [("exp", TokenError::NoExpiry), ("iss", TokenError::UnknownKey)] {
            let claims = format!(r#"{{"iss":"devkey","exp":{NOW},"{name}":null}}"#)
                .replacen(&format!(r#""{name}":{NOW},"#), "", 1)
                .replacen(
                    r#""iss":"devkey","#,
                    if name == "iss" { "" } else { r#""iss":"devkey","# },
                    1,
                );
            let token = sealed(r#"{"alg":"HS256"}"#, &claims, "secret");
            assert_eq!(keys().verify(&token, NOW), Err(refused), "{claims}");
        }
        let no_video = format!(r#"{{"iss":"devkey","exp":{NOW},"video":null}}"#);
        let no_video = sealed(r#"{"alg":"HS256"}"#, &no_video, "secret");
        assert!(!keys().verify(&no_video, NOW).unwrap().has_video);
    }

    #[test]
    fn a_claim_of_the_wrong_type_is_named() {
        for (claims, text) in [
            (
                r#""video":{"canPublish":"true"}"#,
                "video.canPublish must be true or false, without quotes",
            ),
            (r#""video":{"room":7}"#, "video.room must be a text"),
            (r#""video":[]"#, "video must be an object"),
            (r#""name":7"#, "name must be a text"),
            (r#""sub":7"#, "sub must be a text"),
            (r#""attributes":{"a":1}"#, "attributes must be an object whose values are texts"),
            (r#""nbf":"soon""#, "nbf must be a number of seconds since 1970"),
            (r#""roomConfig":"x""#, "roomConfig must be an object"),
        ] {
            let claims = format!(r#"{{"iss":"devkey","exp":{NOW},{claims}}}"#);
            let error = keys().verify(&sealed(r#"{"alg":"HS256"}"#, &claims, "secret"), NOW);
            let begin =
                "invalid authorization token: token is malformed: could not JSON decode claim";
            assert_eq!(error.unwrap_err().to_string(), format!("{begin}: {text}"));
        }
    }

    #[test]
    fn the_identity_is_sub_or_else_jti_and_never_identity() {
        for (claims, identity) in [
            (r#""sub":"a","jti":"b","identity":"c""#, "a"),
            (r#""sub":"","jti":"b","identity":"c""#, "b"),
            (r#""sub":null,"jti":"b""#, "b"),
            (r#""identity":"c""#, ""),
        ] {
            let claims = format!(r#"{{"iss":"devkey","exp":"{NOW}",{claims}}}"#);
            let claims = keys().verify(&sealed(r#"{"alg":"HS256"}"#, &claims, "secret"), NOW);
            assert_eq!(claims.unwrap().identity, identity);
        }
    }

    #[test]
    fn metadata_of_half_a_mebibyte_fits_into_a_token() {
        let token = alice().metadata("m".repeat(512 * 1024));
        let token = keys().sign(token, NOW, Duration::from_secs(60)).unwrap();
        assert_eq!(keys().verify(&token, NOW).unwrap().metadata.len(), 512 * 1024);
    }

    #[test]
    fn a_refreshed_token_speaks_of_the_room_only() {
        let claims = format!(
            r#"{{"iss":"devkey","exp":{},"sub":"a","name":"A","metadata":"m","attributes":{{"k":"v"}},
                "video":{{"room":"r","canPublish":false}},"roomConfig":{{"emptyTimeout":7}},
                "roomPreset":"p","kindDetails":["cloud_agent"],"sha256":"s","sip":{{"admin":true}},
                "agent":{{"admin":true}},"inference":{{"perform":true}},
                "observability":{{"write":true}}}}"#,
            NOW + 5
        );
        let first = keys().verify(&sealed(r#"{"alg":"HS256"}"#, &claims, "secret"), NOW).unwrap();
        let second = keys().refresh(&first, NOW).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(second.split('.').nth(1).unwrap()).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let expected = serde_json::json!({
            "iss": "devkey", "exp": NOW + 600, "nbf": NOW, "iat": NOW, "sub": "a", "identity": "a",
            "name": "A", "kind": "standard", "metadata": "m", "attributes": {"k": "v"},
            "video": {"room": "r", "canPublish": false}, "roomConfig": {"emptyTimeout": 7},
            "roomPreset": "p",
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn secrets_do_not_show_in_logs() {
        assert_eq!(format!("{:?}", keys()), r#"["devkey", "second"]"#);
    }

    fn keys() -> Keys {
        [("devkey", "secret"), ("second", "secret2")].into_iter().collect()
    }

    fn alice() -> TokenBuilder {
        TokenBuilder::new().identity("alice").video(VideoGrant::join("golden"))
    }

    fn sealed(header: &str, claims: &str, secret: &str) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(secret.as_bytes());
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }
}
