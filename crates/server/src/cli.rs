//! The command line.
//!
//! * **Owns:** names, environment variables and help texts of commands and flags.
//! * **In:** arguments.
//! * **Out:** [`Cli`].
//! * **Invariant:** flags shared with the reference server have its names and variables.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser as NonEmpty;
use clap::{Args, Parser, Subcommand, ValueEnum};
use hearth_codec::Codec;

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

/// A subcommand.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the server (the default)
    Serve(ServeArgs),
    /// Check whether clients can connect, and say what to change if not
    Doctor(Box<DoctorArgs>),
    /// Make access tokens
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Make an API key and its secret
    GenerateKeys,
    /// Fill a room with participants and report packet loss and latency; works with any LiveKit server
    LoadTest(Box<LoadTestArgs>),
    /// Take part in a room
    Room {
        #[command(subcommand)]
        command: RoomCommand,
    },
}

/// The server that is checked, and who is asked about it. The flags are those of the server.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// A Hearth on another machine, with the same API keys, that tries to reach this one; it is asked in plain HTTP, which
    /// it must serve (`tls.plain_http: true`, or no certificate)
    #[arg(long, value_name = "HOST[:PORT]", value_parser = NonEmpty::new())]
    pub(crate) from: Option<String>,
    /// A time server (NTP) to compare this machine's clock with
    #[arg(long, value_name = "HOST[:PORT]", value_parser = NonEmpty::new())]
    pub(crate) time_server: Option<String>,
}

/// A subcommand of `room`.
#[derive(Subcommand)]
pub(crate) enum RoomCommand {
    /// Join a room and stay until Ctrl-C
    Join(JoinArgs),
}

/// Which server, and with which keys.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", env = "LIVEKIT_URL", default_value = "ws://localhost:7880")]
    pub(crate) url: String,
    /// Its keys are those of `hearth --dev`
    #[arg(long)]
    pub(crate) dev: bool,
    /// The API key; needs --api-secret
    #[arg(long, value_name = "KEY", env = "LIVEKIT_API_KEY", requires = "api_secret")]
    pub(crate) api_key: Option<String>,
    /// The secret of --api-key
    #[arg(long, value_name = "SECRET", env = "LIVEKIT_API_SECRET", hide_env_values = true)]
    pub(crate) api_secret: Option<String>,
}

/// One participant.
#[derive(Args)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Who joins; nobody else in the room has the same identity
    #[arg(long, value_name = "IDENTITY", default_value = "hearth-demo")]
    pub(crate) identity: String,
    /// Publish a test video and a voice
    #[arg(long)]
    pub(crate) publish_demo: bool,
    /// The codec of the video: vp8 or h264
    #[arg(long, value_name = "CODEC", default_value = "vp8", value_parser = codec)]
    pub(crate) video_codec: Codec,
    /// The room
    #[arg(value_name = "ROOM")]
    pub(crate) room: String,
}

/// A load test; flags mean what those of `lk perf load-test` mean.
#[derive(Args)]
pub(crate) struct LoadTestArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The room [default: a new one]
    #[arg(long, value_name = "ROOM")]
    pub(crate) room: Option<String>,
    /// Participants who publish video
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) video_publishers: usize,
    /// Participants who publish audio; the same ones as far as there are video publishers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) audio_publishers: usize,
    /// Participants who publish data messages; again the same ones first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) data_publishers: usize,
    /// Participants who publish nothing and receive everything
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) subscribers: usize,
    /// Joins a second
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub(crate) num_per_second: f64,
    /// How long it goes on after the last join, such as 30s or 5m [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How subscribers show videos, and so which quality they ask for
    #[arg(long, value_name = "LAYOUT", default_value = "speaker")]
    pub(crate) layout: LayoutArg,
    /// vp8 or h264
    #[arg(long, value_name = "CODEC", default_value = "vp8", value_parser = codec)]
    pub(crate) video_codec: Codec,
    /// The highest encoding: high (1280x720), medium (640x360) or low (320x180)
    #[arg(long, value_name = "SIZE", default_value = "high")]
    pub(crate) video_resolution: ResolutionArg,
    /// Publish only the highest encoding
    #[arg(long)]
    pub(crate) no_simulcast: bool,
    /// Publishers take turns in being announced as speakers
    #[arg(long)]
    pub(crate) simulate_speakers: bool,
    /// Messages a second of each data publisher
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) data_rate: u32,
    /// Bytes of each data message
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub(crate) data_packet_bytes: usize,
    /// Send data reliably and in order, not lossily
    #[arg(long)]
    pub(crate) data_reliable: bool,
    /// Write the report here, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report here, as a page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `--layout`.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LayoutArg {
    /// One large, the others small
    Speaker,
    /// Nine of medium size
    #[value(name = "3x3")]
    Grid3x3,
    /// Sixteen small ones
    #[value(name = "4x4")]
    Grid4x4,
    /// Twenty-five small ones
    #[value(name = "5x5")]
    Grid5x5,
}

/// `--video-resolution`.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ResolutionArg {
    /// 1280x720
    High,
    /// 640x360
    Medium,
    /// 320x180
    Low,
}

/// Reads `vp8` or `h264`.
fn codec(text: &str) -> Result<Codec, String> {
    Codec::from_name(text)
        .filter(|codec| matches!(codec, Codec::Vp8 | Codec::H264))
        .ok_or_else(|| "expected vp8 or h264".to_owned())
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
    /// The UDP port of all media, or a range with one for each media thread, such as 7882-7885 [default: 7882]
    #[arg(long, value_name = "PORT", env = "UDP_PORT")]
    pub(crate) udp_port: Option<String>,
    /// Serve HTTPS for this name with a certificate of Let's Encrypt, and everything on port 443 (repeatable)
    #[arg(long = "domain", value_name = "NAME", conflicts_with = "dev")]
    pub(crate) domains: Vec<String>,
    /// With --dev: let phones and computers of the same network in, with HTTPS of a local authority
    #[arg(long, requires = "dev")]
    pub(crate) lan: bool,
    /// Where certificates are kept [default: hearth in the user's data directory]
    #[arg(long, value_name = "DIR", env = "HEARTH_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// How media is spread over threads.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct ThreadArgs {
    /// Threads that carry media, 1 to 64 [default: one for each core]
    #[arg(long, value_name = "N", env = "HEARTH_SHARDS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: Option<u16>,
    /// Connections of a room that one thread carries before another shares the room; fewer if another has
    /// far less to do [default: 64]
    #[arg(long, value_name = "N", env = "HEARTH_ROOM_SHARE", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room_share: Option<u32>,
}

/// A subcommand of `token`.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it
    Create(TokenArgs),
}

/// A token's content and the key that signs it.
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
    #[arg(long, value_name = "ROOM", value_parser = NonEmpty::new())]
    pub(crate) room: Option<String>,
    /// Who the bearer is; nobody else in the room has the same identity
    #[arg(long, value_name = "IDENTITY", value_parser = NonEmpty::new())]
    pub(crate) identity: Option<String>,
    /// The name that others see
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How long the token is valid, such as 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = duration)]
    pub(crate) valid_for: Duration,
    /// Sign with the keys of `hearth --dev`
    #[arg(long)]
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
                Some(_) => panic!("another command"),
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
            &["hearth", "token", "create", "--join", "--room", "", "--identity", "i"],
            &["hearth", "token", "create", "--join", "--room", "r", "--identity", ""],
            &["hearth", "--bind", "localhost"],
            &["hearth", "load-test", "--video-codec", "av1"],
            &["hearth", "load-test", "--layout", "9x9"],
            &["hearth", "load-test", "--api-key", "k"],
            &["hearth", "room", "join"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }
}
