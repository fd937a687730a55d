//! The tests of the media path under AddressSanitizer.
//!
//! * **In:** a nightly compiler, which alone can do this; where there is none, that is said.
//! * **Out:** an error if a test fails or memory was used wrongly.
//! * **Why:** `net` makes the system calls, and ciphers are C and assembly: what they are given must
//!   be right. Miri cannot run either.

use std::process::{Command, Stdio};

use crate::{say, tree};

/// Everything between a datagram that arrives and one that leaves.
const CRATES: [&str; 5] =
    ["hearth-net", "hearth-srtp", "hearth-peer", "hearth-media", "hearth-shard"];

pub(crate) fn run() -> Result<(), String> {
    let mut rustc = Command::new("rustc");
    let version = rustc.args(["+nightly", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        say(
            "There is no nightly compiler (`rustup toolchain install nightly`): nothing was tested.",
        );
        return Ok(());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "test", "--lib", "--tests", "--target"]);
    cargo.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    for name in CRATES {
        cargo.args(["--package", name]);
    }
    // Apart from other builds, which it would otherwise make stale; cargo passes on its own compiler.
    cargo.env("RUSTFLAGS", "-Zsanitizer=address").env_remove("RUSTUP_TOOLCHAIN");
    cargo.env_remove("CARGO").env("CARGO_TARGET_DIR", tree::root().join("target/asan"));
    let status = cargo.current_dir(tree::root()).status();
    match status.map_err(|error| format!("cargo did not start: {error}"))?.success() {
        true => Ok(()),
        false => Err("see above: a test failed, or AddressSanitizer reported".to_owned()),
    }
}
