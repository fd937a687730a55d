//! A token: nobody gets in without the secret, and what speaks of the room survives a refresh.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_access::{Keys, LEEWAY};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_800_000_000;
const HEADER: &str = r#"{"alg":"HS256"}"#;
const SECRET: &str = "only this file knows it";

fuzz_target!(|bytes: &[u8]| {
    let keys: Keys = [("devkey", SECRET)].into_iter().collect();
    if let Ok(token) = std::str::from_utf8(bytes) {
        keys.verify(token, NOW).expect_err("it is signed by nobody");
    }
    let _ = keys.verify(&sealed(bytes, br#"{"iss":"devkey","exp":1800000001}"#), NOW);

    let Ok(claims) = keys.verify(&sealed(HEADER.as_bytes(), bytes), NOW) else { return };
    assert_eq!(claims.api_key, "devkey");
    assert!(claims.expires_at.saturating_add(LEEWAY.as_secs()) > NOW);
    assert!(claims.not_before <= NOW + LEEWAY.as_secs());
    let token = keys.refresh(&claims, NOW).expect("there is a key");
    let mut claims = claims;
    claims.kind_details.clear();
    claims.sha256.clear();
    if claims.kind.is_empty() {
        claims.kind.push_str("standard");
    }
    let mut again = keys.verify(&token, NOW).expect("a token of ours is valid");
    assert!(again.expires_at >= NOW + 600);
    // Times are new, and numbers that nobody reads may be rounded.
    (again.expires_at, again.not_before) = (claims.expires_at, claims.not_before);
    assert_eq!(again.room_config.is_some(), claims.room_config.is_some());
    again.room_config.clone_from(&claims.room_config);
    assert_eq!(again, claims);
});

fn sealed(header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HS256");
    format!("{message}.{signature}")
}
