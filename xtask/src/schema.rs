//! The schema of LiveKit's messages, taken from the `.proto` files that the crate of the messages brings.
//!
//! * **Owns:** the list of files.
//! * **In:** the `livekit-protocol` package that `Cargo.lock` names; `protoc` on `PATH`.
//! * **Out:** `crates/signal/src/json/livekit.binpb`.
//! * **Invariant:** messages and schema are of one version, because both come from one package.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const FILES: [&str; 8] =
    ["rtc", "room", "agent", "agent_dispatch", "egress", "ingress", "sip", "webhook"];
const OUT: &str = "crates/signal/src/json/livekit.binpb";

/// Writes the schema anew; needed when `livekit-protocol` gets another version.
pub(crate) fn run() -> Result<(), String> {
    let protos = package()?.join("protocol/protobufs");
    let files = FILES.iter().map(|name| format!("livekit_{name}.proto"));
    let status = Command::new("protoc")
        .arg("-I")
        .arg(&protos)
        .arg("--include_imports")
        .arg(format!("--descriptor_set_out={OUT}"))
        .args(files)
        .status()
        .map_err(|error| format!("protoc does not start ({error}): install protobuf-compiler"))?;
    if status.success() { Ok(()) } else { Err("protoc failed".to_owned()) }
}

/// The directory of the package.
fn package() -> Result<Box<Path>, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "livekit-protocol")
        .find_map(|package| package["manifest_path"].as_str())
        .ok_or("Cargo.lock has no livekit-protocol")?;
    Path::new(manifest).parent().map(Box::from).ok_or_else(|| "no directory".to_owned())
}
