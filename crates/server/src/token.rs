//! Keys and tokens on the command line.
//!
//! * **Owns:** nothing.
//! * **In:** the arguments of `token create`; randomness of the system for `generate-keys`.
//! * **Out:** a token; a new key and secret.
//! * **Invariant:** a secret is printed only by the command that makes it.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use hearth_access::{TokenBuilder, TokenError, VideoGrant};
use hearth_runtime::NoRandomness;

use crate::cli::TokenArgs;
use crate::config::{ConfigError, DEV_KEY, parse_keys};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// Nothing to sign with.
    #[error(
        "nothing to sign with: add --dev for a server started with --dev, else --api-key and \
         --api-secret (or LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or LIVEKIT_KEYS)"
    )]
    NoKey,
    /// A key without what signs for it.
    #[error(
        "--api-key {0} (or LIVEKIT_API_KEY) has no secret: add --api-secret, or LIVEKIT_API_SECRET"
    )]
    NoSecret(String),
    /// A token that grants nothing is a mistake.
    #[error("the token would grant nothing: add --join, --admin, --create or --list")]
    NoGrant,
    /// `--keys` cannot be read.
    #[error(transparent)]
    Keys(#[from] ConfigError),
    /// Signing failed.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Makes a token; `now_unix` in seconds.
pub(crate) fn create(args: &TokenArgs, now_unix: u64) -> Result<String, CreateError> {
    let (key, secret) = signer(args)?;
    if !(args.join || args.admin || args.create || args.list) {
        return Err(CreateError::NoGrant);
    }
    let grant = VideoGrant {
        room_join: args.join,
        room_admin: args.admin,
        room_create: args.create,
        room_list: args.list,
        room: args.room.clone().unwrap_or_default(),
        ..VideoGrant::default()
    };
    let token = TokenBuilder::new()
        .identity(args.identity.clone().unwrap_or_default())
        .name(args.name.clone().unwrap_or_default())
        .video(grant);
    Ok(token.sign(&key, &secret, now_unix, args.valid_for)?)
}

/// `--dev`, then `--api-key` with its secret, then the first of `--keys`.
fn signer(args: &TokenArgs) -> Result<(String, String), CreateError> {
    if args.dev {
        return Ok((DEV_KEY.0.to_owned(), DEV_KEY.1.to_owned()));
    }
    if let (Some(key), Some(secret)) = (&args.api_key, &args.api_secret) {
        return Ok((key.clone(), secret.clone()));
    }
    let listed = match &args.keys {
        Some(text) => parse_keys("--keys (or LIVEKIT_KEYS)", text)?,
        None => Vec::new(),
    };
    match &args.api_key {
        Some(key) => listed
            .into_iter()
            .find(|(name, _)| name == key)
            .ok_or_else(|| CreateError::NoSecret(key.clone())),
        None => listed.into_iter().next().ok_or(CreateError::NoKey),
    }
}

/// Makes an API key and its secret: base62, the secret with more than 256 bits.
pub(crate) fn generate_keys() -> Result<(String, String), NoRandomness> {
    Ok((format!("API{}", base62(12)?), base62(44)?))
}

/// A line for `keys:` in the configuration, `--keys`, `LIVEKIT_KEYS` or a key file.
pub(crate) fn pair(key: &str, secret: &str) -> String {
    format!("{key}: {secret}")
}

/// Random letters and digits, each as likely as any other.
pub(crate) fn base62(len: usize) -> Result<String, NoRandomness> {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        // 248 is the largest multiple of 62 below 256.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let letters = fair.filter_map(|byte| LETTERS.get(usize::from(byte % 62)));
        text.extend(letters.map(|letter| char::from(*letter)).take(len - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use hearth_access::Keys;

    use super::*;
    use crate::cli::{Cli, Command, TokenCommand};

    const NOW: u64 = 1_800_000_000;

    fn create_by(arguments: &str) -> Result<String, String> {
        let arguments = ["hearth", "token", "create"].into_iter().chain(arguments.split(' '));
        let command = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?.command;
        let Some(Command::Token { command: TokenCommand::Create(args) }) = command else {
            panic!("another command")
        };
        create(&args, NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_from_the_command_line_is_believed_by_the_server() {
        let arguments = "--join --room R --identity I --name N --valid-for 24h --dev";
        let token = create_by(arguments).unwrap();
        let claims = Keys::new([("devkey".to_owned(), "secret".to_owned())]).verify(&token, NOW);
        let claims = claims.unwrap();
        assert_eq!((claims.identity.as_str(), claims.name.as_str()), ("I", "N"));
        assert_eq!((claims.video.room_join, claims.video.room.as_str()), (true, "R"));
        assert_eq!(claims.expires_at, NOW + 86_400);
    }

    #[test]
    fn the_signer_is_the_first_that_is_named() {
        let keys =
            Keys::new([("a".to_owned(), "1x".to_owned()), ("b".to_owned(), "2x".to_owned())]);
        for (arguments, key) in [
            ("--create --api-key b --api-secret 2x", "b"),
            ("--create --keys {a:\t1x,b:\t2x}", "a"),
            ("--create --keys {a:\t1x,b:\t2x} --api-key b", "b"),
        ] {
            let token = create_by(arguments).unwrap();
            assert_eq!(keys.verify(&token, NOW).unwrap().api_key, key, "{arguments}");
        }
        assert!(create_by("--create").unwrap_err().contains("--api-key"));
        assert!(create_by("--create --api-key b").unwrap_err().contains("add --api-secret"));
        assert!(create_by("--dev").unwrap_err().contains("--join"));
    }

    #[test]
    fn keys_are_long_and_differ() {
        let (key, secret) = generate_keys().unwrap();
        assert!(key.starts_with("API") && key.len() == 15 && secret.len() == 44);
        assert_ne!(generate_keys().unwrap().1, secret);
        let pasted = parse_keys("LIVEKIT_KEYS", &pair(&key, &secret)).unwrap();
        assert_eq!(pasted, [(key, secret)]);
    }
}
