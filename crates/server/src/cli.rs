//! The command line.
//!
//! * **Owns:** names, environment variables and help texts of commands and flags.
//! * **In:** arguments.
//! * **Out:** [`Cli`].
//! * **Invariant:** flags shared with the reference server have its names and variables.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Hearth: a real-time media server for LiveKit clients.
#[derive(Parser)]
#[command(
    name = "hearth",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command, the server starts. To try it out: hearth --dev"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the server (the default)
    Serve(ServeArgs),
    /// Make access tokens
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Make an API key and its secret
    GenerateKeys,
}

/// Flags of the server.
#[derive(Args, Default)]
pub(crate) struct ServeArgs {
    /// Try things out on this machine: keys devkey/secret, only reachable from here
    #[arg(long)]
    pub(crate) dev: bool,
    /// Read the configuration from a YAML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The configuration itself, as YAML; wins over --config
    #[arg(long, value_name = "YAML", env = "LIVEKIT_CONFIG", hide_env_values = true)]
    pub(crate) config_body: Option<String>,
    /// API keys and secrets, "key: secret", one pair a line
    #[arg(long, value_name = "KEYS", env = "LIVEKIT_KEYS", hide_env_values = true)]
    pub(crate) keys: Option<String>,
    /// Read API keys and secrets from a file that others cannot read
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Listen on this address (repeatable); default: all, with --dev only this machine
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Vec<IpAddr>,
    /// The TCP port of HTTP and signalling [default: 7880]
    #[arg(long, value_name = "PORT", env = "LIVEKIT_PORT")]
    pub(crate) port: Option<u16>,
    /// The address that clients send media to; default: all of this machine's
    #[arg(long, value_name = "ADDR", env = "NODE_IP")]
    pub(crate) node_ip: Option<String>,
    /// The UDP port of all media [default: 7882]
    #[arg(long, value_name = "PORT", env = "UDP_PORT")]
    pub(crate) udp_port: Option<String>,
}

/// What to do with tokens.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it
    Create(TokenArgs),
}

/// A token's content and who signs it.
#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Let the bearer join --room
    #[arg(long, requires = "room", requires = "identity")]
    pub(crate) join: bool,
    /// Let the bearer administrate --room
    #[arg(long, requires = "room")]
    pub(crate) admin: bool,
    /// Let the bearer create and delete rooms
    #[arg(long)]
    pub(crate) create: bool,
    /// Let the bearer list rooms
    #[arg(long)]
    pub(crate) list: bool,
    /// The room
    #[arg(long, value_name = "ROOM")]
    pub(crate) room: Option<String>,
    /// Who the bearer is; nobody else in the room has the same identity
    #[arg(long, value_name = "IDENTITY")]
    pub(crate) identity: Option<String>,
    /// The name that others see
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How long the token is valid, such as 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = duration)]
    pub(crate) valid_for: Duration,
    /// Sign with the keys of `hearth --dev`
    #[arg(long, conflicts_with_all = ["api_key", "api_secret"])]
    pub(crate) dev: bool,
    /// The API key; needs --api-secret
    #[arg(long, value_name = "KEY", env = "LIVEKIT_API_KEY")]
    pub(crate) api_key: Option<String>,
    /// The secret of --api-key
    #[arg(long, value_name = "SECRET", env = "LIVEKIT_API_SECRET", hide_env_values = true)]
    pub(crate) api_secret: Option<String>,
    /// "key: secret"; the first pair is used
    #[arg(long, value_name = "KEYS", env = "LIVEKIT_KEYS", hide_env_values = true)]
    pub(crate) keys: Option<String>,
}

/// Reads `24h` or `1h30m`; the units are d, h, m and s.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || "expected a time such as 90s, 30m, 24h or 7d".to_owned();
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(char::is_alphabetic).ok_or_else(error)?);
        let factor = match unit.chars().next() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(error()),
        };
        let number: u64 = number.parse().map_err(|_| error())?;
        seconds =
            number.checked_mul(factor).and_then(|n| n.checked_add(seconds)).ok_or_else(error)?;
        rest = unit.get(1..).unwrap_or_default();
    }
    if seconds == 0 { Err(error()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("1h30m", 5_400)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "24", "1x", "0s", "-1h", "99999999999999999999d", "1 h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_server_starts_with_and_without_its_command() {
        for arguments in [["hearth", "--dev"].as_slice(), &["hearth", "serve", "--dev"]] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            let serve = match cli.command {
                Some(Command::Serve(args)) => args,
                Some(Command::Token { .. } | Command::GenerateKeys) => panic!("another command"),
                None => cli.serve,
            };
            assert!(serve.dev);
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for arguments in [
            ["hearth", "nope"].as_slice(),
            &["hearth", "--nope"],
            &["hearth", "token"],
            &["hearth", "token", "create", "--join", "--room", "r"],
            &["hearth", "token", "create", "--join", "--identity", "i"],
            &["hearth", "--bind", "localhost"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }
}
