//! The repository as the checks see it: the workspace's packages and its text files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One package of the workspace and what it depends on.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// The folder's name, which is how ARCHITECTURE.md calls it.
    pub(crate) name: String,
    /// Names of its normal and build dependencies, as in its manifest.
    pub(crate) dependencies: Vec<String>,
    /// Dependencies, also those of tests, that any version would satisfy.
    pub(crate) unversioned: Vec<String>,
}

/// One library of others, as far as we build it.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    /// As in its manifest.
    pub(crate) name: String,
    /// An SPDX expression; empty if its manifest says none.
    pub(crate) licence: String,
}

/// One text file that is, or would be, committed.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Relative to the repository's root, with forward slashes.
    pub(crate) path: String,
    /// Its whole text.
    pub(crate) text: String,
}

/// The files that are built and supported.
const PLATFORMS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"];

/// The repository, read once.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Every member of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Every library that they are built from on [`PLATFORMS`].
    pub(crate) libraries: Vec<Library>,
    /// Every text file that git knows or would add.
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    /// Asks cargo for the packages and git for the files.
    pub(crate) fn read() -> Result<Self, String> {
        let root = root();
        let (libraries, ours): (Vec<Value>, Vec<Value>) =
            metadata(&root)?.into_iter().partition(|package| package["source"].is_string());
        Ok(Self {
            packages: ours.iter().map(package).collect(),
            libraries: libraries.iter().map(library).collect(),
            files: files(&root)?,
        })
    }

    /// The text of one file, if it is there.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// The Rust files of `crates/` and `xtask/`.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| {
            file.path.ends_with(".rs")
                && (file.path.starts_with("crates/") || file.path.starts_with("xtask/"))
        })
    }
}

impl SourceFile {
    /// The part of a Rust file before the tests at its end.
    pub(crate) fn code(&self) -> &str {
        let tests = self.text.find("#[cfg(test)]\nmod ");
        tests.and_then(|at| self.text.get(..at)).unwrap_or(&self.text)
    }

    /// Whether the whole file is compiled for tests or benches only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
    }

    /// Files that are compiled for tests only.
    pub(crate) fn tests(&self) -> &str {
        if self.is_test() {
            &self.text
        } else {
            self.text.get(self.code().len()..).unwrap_or_default()
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// `cargo metadata`: each package of the workspace and each library.
fn metadata(root: &Path) -> Result<Vec<Value>, String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(["metadata", "--locked", "--format-version=1"]).current_dir(root);
    command.args(PLATFORMS.map(|platform| format!("--filter-platform={platform}")));
    let mut metadata: Value = serde_json::from_slice(&output(&mut command)?)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let Value::Array(packages) = metadata["packages"].take() else {
        return Err("cargo metadata names no packages".to_owned());
    };
    Ok(packages)
}

fn package(value: &Value) -> Package {
    let dependencies = value["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shipped = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    let any = dependencies
        .iter()
        .filter(|dependency| dependency["req"] == "*" && dependency["path"].is_null());
    let manifest = Path::new(value["manifest_path"].as_str().unwrap_or_default());
    let folder = manifest.parent().and_then(Path::file_name).unwrap_or_default();
    Package {
        name: folder.to_string_lossy().into_owned(),
        dependencies: shipped.filter_map(|one| one["name"].as_str()).map(short).collect(),
        unversioned: any.filter_map(|one| one["name"].as_str()).map(short).collect(),
    }
}

fn library(value: &Value) -> Library {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Library { name: text("name"), licence: text("license") }
}

/// `room` for `hearth-room`; any other name stays as it is.
fn short(name: &str) -> String {
    name.strip_prefix("hearth-").unwrap_or(name).to_owned()
}

fn files(root: &Path) -> Result<Vec<SourceFile>, String> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = output(Command::new("git").args(args).current_dir(root))?;
    let mut paths: Vec<&str> = Vec::new();
    for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        paths.push(std::str::from_utf8(path).map_err(|_| "a file name is not UTF-8")?);
    }
    paths.sort_unstable();
    paths.dedup();
    // A file that is gone or is not text has nothing to check.
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let file = |path: &str| Some(SourceFile { path: path.to_owned(), text: read(path)? });
    Ok(paths.into_iter().filter_map(file).collect())
}

fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} could not start: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
