//! The `hearth` binary.

mod cli;
mod config;
mod dev;
mod doctor;
mod lan;
mod load_test;
mod logging;
mod media_addresses;
mod ports;
mod serve;
mod stop;
mod tls;
mod token;
mod turn;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use hearth_runtime::WallClock;

use cli::{Cli, Command, RoomCommand, TokenCommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hearth_net::refuse_huge_pages();
    hearth_net::raise_open_files();
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Doctor(args)) => return doctor::run(*args),
        None => serve::run(cli.serve).map_err(|error| error.to_string()),
        Some(Command::Serve(args)) => serve::run(args).map_err(|error| error.to_string()),
        Some(Command::Token { command: TokenCommand::Create(args) }) => {
            token::create(&args, WallClock::unix_secs())
                .map(|token| print_line(&token))
                .map_err(|error| error.to_string())
        }
        Some(Command::LoadTest(args)) => load_test::run(&args),
        Some(Command::Room { command: RoomCommand::Join(args) }) => load_test::join(&args),
        Some(Command::GenerateKeys) => token::generate_keys()
            .map(|(key, secret)| print_line(&token::pair(&key, &secret)))
            .map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error nothing can be reported.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints for the user, not for the log. A closed pipe is no failure.
pub(crate) fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
