//! A configuration file: read and checked without quoting a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// What the module takes from the command line.
mod cli {
    /// How media is spread over threads.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct ThreadArgs;
}

#[expect(dead_code, unused_imports, reason = "the server's module; it needs more of it than this")]
#[path = "../../crates/server/src/config/mod.rs"]
mod config;

const SECRET: &str = "hunter2";

fuzz_target!(|text: &str| {
    // Keys on the command line: no file that the text names is opened.
    let load = |text: &str| {
        let keys = Some(format!("devkey: {SECRET}"));
        let over = config::Overrides { keys, ..config::Overrides::default() };
        config::Config::load(Some(("c.yaml", text)), over)
    };
    // The secret of another TURN server may be in a file, which is read at once.
    if text.contains(SECRET) || text.contains("secret_file") {
        return;
    }
    if let Ok(config) = load(text) {
        assert!(!config.keys().is_empty());
    }
    match load(&format!("keys: {{k: {SECRET}}}\n{text}")) {
        Ok(config) => assert!(config.warnings().iter().all(|warning| !warning.contains(SECRET))),
        Err(error) => assert!(!error.to_string().contains(SECRET), "{error}"),
    }
});
