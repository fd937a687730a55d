//! TURN credentials: names that say themselves whose they are and how long they are good for.
//!
//! * **Owns:** nothing.
//! * **In:** an API key and its secret, a participant's sid, seconds since 1970.
//! * **Out:** user name and password; from a user name, what it says.
//! * **Invariant:** a user name is the word of a stranger until a message is signed by its password. Nothing is stored.
//! * **livekit-server:** `pkg/service/turn.go` (names, passwords), `github.com/jxskiss/base62` (their alphabet);
//!   for other servers the REST convention of draft-uberti-behave-turn-rest-00.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Longest user name that is read: an API key, a sid and a time have a third of it.
const MAX_USERNAME: usize = 256;

/// What a user name says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The key whose secret makes the password.
    pub api_key: String,
    /// The participant's sid.
    pub participant: String,
    /// Seconds since 1970, until which it may allocate.
    pub expiry: u64,
}

impl Identity {
    /// What `username` says; `None` if it is not of our making.
    pub fn parse(username: &str) -> Option<Self> {
        if username.len() > MAX_USERNAME {
            return None;
        }
        let text = String::from_utf8(decode(username)?).ok()?;
        let mut parts = text.split('|');
        let (api_key, participant) = (parts.next()?, parts.next()?);
        let expiry = parts.next()?.parse().ok()?;
        let whole = parts.next().is_none() && !participant.is_empty();
        let (api_key, participant) = (api_key.to_owned(), participant.to_owned());
        whole.then_some(Self { api_key, participant, expiry })
    }

    /// Its user name.
    pub fn username(&self) -> String {
        let Self { api_key, participant, expiry } = self;
        encode(format!("{api_key}|{participant}|{expiry}").as_bytes())
    }

    /// Its password, by the secret of its API key.
    pub fn password(&self, secret: &str) -> String {
        let Self { participant, expiry, .. } = self;
        let text = format!("{secret}|{participant}|{expiry}");
        encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }
}

/// User name and password for a TURN server that shares a secret with us.
pub fn shared_secret_credentials(secret: &str, participant: &str, expiry: u64) -> (String, String) {
    let username = format!("{expiry}:{participant}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, password)
}

/// Six bits a character from the last byte on; five where six would be above the alphabet.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut many) = (0_u32, 0_u32);
    let mut rest = bytes.iter().rev();
    loop {
        while many < 6 {
            let Some(byte) = rest.next() else { break };
            bits |= u32::from(*byte) << many;
            many = many.saturating_add(8);
        }
        if many == 0 {
            return text;
        }
        // The last character takes what is left, be it less.
        let last = rest.len() == 0 && many <= 6;
        let six = bits & 0x3f;
        let compact = six & 0x1e == 0x1e && (!last || six > 0x1f);
        let (value, taken) = if compact { (six & 0x1f, 5) } else { (six, 6) };
        let letter = ALPHABET.get(value as usize).copied().unwrap_or(b'A');
        text.push(char::from(letter));
        bits >>= taken;
        many = many.saturating_sub(taken);
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut many) = (0_u32, 0_u32);
    let mut letters = text.bytes().peekable();
    while let Some(letter) = letters.next() {
        let value = u32::try_from(ALPHABET.iter().position(|known| *known == letter)?).ok()?;
        bits |= value << many;
        many = many.saturating_add(match letters.peek() {
            None => 32_u32.saturating_sub(value.leading_zeros()),
            Some(_) if value & 0x1e == 0x1e => 5,
            Some(_) => 6,
        });
        if many >= 8 {
            bytes.push(bits.to_le_bytes()[0]);
            bits >>= 8;
            many = many.saturating_sub(8);
        }
    }
    if many > 0 {
        bytes.push(bits.to_le_bytes()[0]);
    }
    bytes.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_says_what_it_was_made_of() {
        for n in 0..2_000_u64 {
            let identity = Identity {
                api_key: format!("API{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                participant: format!("PA_{n}~é"),
                expiry: n.pow(3),
            };
            let username = identity.username();
            assert!(username.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{username}");
            assert_eq!(Identity::parse(&username), Some(identity));
        }
    }

    #[test]
    fn the_password_is_of_secret_participant_and_expiry() {
        let of = |participant: &str, expiry, secret| {
            let (api_key, participant) = ("k".to_owned(), participant.to_owned());
            Identity { api_key, participant, expiry }.password(secret)
        };
        let password = of("PA_1", 1, "s");
        assert!(password.len() >= 43, "{password}");
        for other in [of("PA_2", 1, "s"), of("PA_1", 2, "s"), of("PA_1", 1, "t")] {
            assert_ne!(password, other);
        }
    }

    #[test]
    fn foreign_user_names_say_nothing() {
        let text = |text: &str| encode(text.as_bytes());
        for name in [
            "",
            "a:b",
            "ü",
            &"A".repeat(257),
            &text("k|PA_1"),
            &text("k|PA_1|x"),
            &text("k||1"),
            &text("k|PA|1|2"),
        ] {
            assert_eq!(Identity::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_shared_secret_makes_the_credentials_of_the_rest_convention() {
        // echo -n 1700000000:PA_x | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            shared_secret_credentials("north", "PA_x", 1_700_000_000),
            ("1700000000:PA_x".to_owned(), "bJNHYqfyCkl+PF7CTIj5CKSY9i0=".to_owned())
        );
    }
}
