//! HTTPS: which certificates, and what follows from `--domain`.
//!
//! * **Owns:** the section `tls`, and all that `--domain` implies for other sections.
//! * **In:** the raw configuration and the command line.
//! * **Out:** [`TlsConfig`], or what to write instead.
//! * **Invariant:** nothing that was written is changed by what is implied.

use std::path::PathBuf;

use hearth_tls::{AcmeConfig, LETS_ENCRYPT, PairFiles};

use super::raw::{Raw, RawTls};
use super::{ConfigError, Overrides};

/// The port of HTTPS, which browsers take and networks let pass.
const HTTPS_PORT: u16 = 443;

/// Certificates of the server; none of them means plain HTTP only.
#[derive(Debug, Default)]
pub(crate) struct TlsConfig {
    /// A certificate in files.
    pub(crate) files: Option<PairFiles>,
    /// Certificates by ACME.
    pub(crate) acme: Option<AcmeConfig>,
    /// The directory of a certificate authority of this machine's own.
    pub(crate) local: Option<PathBuf>,
    /// Plain HTTP is served on the same port.
    pub(crate) plain_http: bool,
}

impl TlsConfig {
    /// TLS is spoken.
    pub(crate) fn enabled(&self) -> bool {
        self.files.is_some() || self.acme.is_some() || self.local.is_some()
    }
}

/// `--domain` means one port for everything, 443, where nothing else is written.
pub(super) fn imply(raw: &mut Raw, over: &Overrides) {
    // One that cannot be is refused later.
    let Some(Ok(domain)) = over.domains.first().map(|name| domain(name)) else { return };
    let port = HTTPS_PORT.into();
    raw.port.get_or_insert(port);
    raw.rtc.tcp.tcp_port.get_or_insert(port);
    if raw.rtc.port_range_start.is_none() && raw.rtc.port_range_end.is_none() {
        raw.rtc.udp_port.get_or_insert_with(|| HTTPS_PORT.to_string());
    }
    raw.turn.imply(&domain, HTTPS_PORT);
}

/// Checks `tls` and what of the command line belongs to it.
pub(super) fn tls(raw: RawTls, dev: bool, over: &Overrides) -> Result<TlsConfig, ConfigError> {
    let files = files(raw.cert_file, raw.key_file)?;
    let listed = raw.domains.unwrap_or_default();
    let domains = if over.domains.is_empty() { listed } else { over.domains.clone() };
    let domains = domains.iter().map(|name| domain(name)).collect::<Result<Vec<_>, _>>()?;
    if over.lan && !domains.is_empty() {
        return Err(contradiction(
            "--lan",
            "with --domain or tls.domains",
            "--lan is for a network without a public name; leave one of both out",
        ));
    }
    if dev && !over.lan && !domains.is_empty() {
        return Err(contradiction(
            "--domain",
            "with --dev",
            "--dev is for this machine only, and its keys are known to everybody; leave --dev out",
        ));
    }
    let acme = match domains.is_empty() {
        true if raw.acme.email.is_some() || raw.acme.directory.is_some() => {
            return Err(contradiction(
                "tls.acme",
                "without domains",
                "a list of names in tls.domains, or --domain NAME",
            ));
        }
        true => None,
        false => Some(AcmeConfig {
            domains,
            email: raw.acme.email.filter(|email| !email.is_empty()),
            directory: directory(raw.acme.directory)?,
            root: raw.acme.root.filter(|path| !path.is_empty()).map(PathBuf::from),
            cache_dir: match raw.acme.cache_dir.filter(|path| !path.is_empty()) {
                Some(path) => path.into(),
                None => data_dir(over, "tls.acme.cache_dir")?.join("acme"),
            },
        }),
    };
    let local = match over.lan {
        true => Some(data_dir(over, "--data-dir")?.join("lan")),
        false => None,
    };
    let mut config = TlsConfig { files, acme, local, plain_http: true };
    // In front of strangers passwords and tokens should not go in plain text by mistake.
    config.plain_http = raw.plain_http.unwrap_or_else(|| !config.enabled() || dev);
    if !config.enabled() && !config.plain_http {
        return Err(contradiction(
            "tls.plain_http",
            "false without a certificate",
            "a certificate in tls.cert_file and tls.key_file, or --domain NAME",
        ));
    }
    Ok(config)
}

fn contradiction(key: &'static str, got: &str, allowed: &'static str) -> ConfigError {
    ConfigError::Value { key, got: got.to_owned(), allowed }
}

fn files(cert: Option<String>, key: Option<String>) -> Result<Option<PairFiles>, ConfigError> {
    let set = |path: Option<String>| path.filter(|path| !path.is_empty()).map(PathBuf::from);
    match (set(cert), set(key)) {
        (Some(cert), Some(key)) => Ok(Some(PairFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(contradiction(
            "tls.key_file",
            "missing",
            "the file with the key of the certificate in tls.cert_file",
        )),
        (None, Some(_)) => Err(contradiction(
            "tls.cert_file",
            "missing",
            "the file with the certificate of the key in tls.key_file",
        )),
    }
}

/// A name that a public authority can issue for.
fn domain(name: &str) -> Result<String, ConfigError> {
    let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let public = name.contains('.')
        && name.len() <= 253
        && name.split('.').all(label)
        && name.rsplit('.').next().is_some_and(|last| last.contains(char::is_alphabetic));
    if public {
        Ok(name)
    } else {
        Err(ConfigError::Value {
            key: "tls.domains",
            got: name,
            allowed: "names in the public DNS such as meet.example.org, without * and without scheme or port; for an address or a private name use tls.cert_file, or --dev --lan",
        })
    }
}

fn directory(url: Option<String>) -> Result<String, ConfigError> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(LETS_ENCRYPT.to_owned()) };
    if url.starts_with("https://") {
        return Ok(url);
    }
    let allowed = "the https:// address of an ACME directory";
    Err(ConfigError::Value { key: "tls.acme.directory", got: url, allowed })
}

/// Where the server keeps what it must not lose: `--data-dir`, or where the system has such things.
fn data_dir(over: &Overrides, key: &'static str) -> Result<PathBuf, ConfigError> {
    let variable = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty());
    if let Some(dir) = &over.data_dir {
        return Ok(dir.clone());
    }
    // systemd's, for a service with `StateDirectory=`.
    if let Some(dir) = variable("STATE_DIRECTORY") {
        return Ok(dir.into());
    }
    if let Some(dir) = variable("XDG_DATA_HOME") {
        return Ok(PathBuf::from(dir).join("hearth"));
    }
    let home = variable("HOME").or_else(|| variable("USERPROFILE"));
    match home {
        Some(home) => Ok(PathBuf::from(home).join(".local").join("share").join("hearth")),
        None => Err(contradiction(
            key,
            "missing",
            "a directory that only the server can read, as the environment names none (HOME, XDG_DATA_HOME, STATE_DIRECTORY); or --data-dir DIR",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn load(yaml: &str, over: Overrides) -> Result<Config, String> {
        let text = format!("keys: {{k: 0123456789abcdef0123456789abcdef}}\n{yaml}");
        Config::load(Some(("c.yaml", &text)), over).map_err(|error| error.to_string())
    }

    fn over(domains: &[&str]) -> Overrides {
        let domains = domains.iter().map(|&name| name.to_owned()).collect();
        Overrides { domains, data_dir: Some("data".into()), ..Overrides::default() }
    }

    #[test]
    fn without_certificates_there_is_plain_http_as_ever() {
        let config = load("", over(&[])).unwrap();
        assert!(!config.tls().enabled() && config.tls().plain_http);
        assert_eq!(config.http_port(), 7880);
    }

    #[test]
    fn a_certificate_in_files_makes_https_and_plain_http_only_where_it_is_asked_for() {
        for (yaml, plain) in [
            ("tls: {cert_file: c.pem, key_file: k.pem}", false),
            ("tls: {cert_file: c.pem, key_file: k.pem, plain_http: true}", true),
        ] {
            let config = load(yaml, over(&[])).unwrap();
            let files = PairFiles { cert: "c.pem".into(), key: "k.pem".into() };
            assert_eq!((config.tls().files.clone(), config.tls().plain_http), (Some(files), plain));
            assert_eq!(config.http_port(), 7880);
        }
    }

    #[test]
    fn a_domain_alone_is_one_port_for_everything() {
        let config = load("", over(&["Example.org.", "www.example.org"])).unwrap();
        assert_eq!((config.http_port(), config.addresses().udp_port), (443, 443));
        let acme = config.tls().acme.clone().unwrap();
        assert_eq!(acme.domains, ["example.org", "www.example.org"]);
        assert_eq!(acme.directory, LETS_ENCRYPT);
        assert_eq!(acme.cache_dir, PathBuf::from("data").join("acme"));
        assert!(!config.tls().plain_http);

        // What is written stays.
        let config = load("port: 8443\nrtc: {udp_port: 7882}", over(&["example.org"])).unwrap();
        assert_eq!((config.http_port(), config.addresses().udp_port), (8443, 7882));
        let range = "rtc: {port_range_start: 50000, port_range_end: 50007}";
        let config = load(range, over(&["example.org"])).unwrap();
        assert_eq!((config.addresses().udp_port, config.addresses().udp_ports), (50_000, 8));
        assert_eq!(config.warnings(), [""; 0]);
        let yaml = "tls: {domains: [a.example], acme: {email: a@b.example, directory: 'https://ca.example/dir', cache_dir: c}}";
        let config = load(yaml, over(&[])).unwrap();
        let acme = config.tls().acme.clone().unwrap();
        assert_eq!(
            (acme.directory.as_str(), acme.email.as_deref()),
            ("https://ca.example/dir", Some("a@b.example"))
        );
        assert_eq!((config.http_port(), acme.cache_dir), (7880, "c".into()));
    }

    #[test]
    fn contradictions_carry_their_fix() {
        let lan = || Overrides { dev: true, lan: true, ..over(&[]) };
        let dev = || Overrides { dev: true, ..over(&["a.example"]) };
        for (yaml, over, said) in [
            (
                "tls: {cert_file: c}",
                over(&[]),
                "`tls.key_file` is missing; allowed: the file with the key",
            ),
            (
                "tls: {key_file: k}",
                over(&[]),
                "`tls.cert_file` is missing; allowed: the file with the certificate",
            ),
            (
                "tls: {plain_http: false}",
                over(&[]),
                "`tls.plain_http` is false without a certificate",
            ),
            ("tls: {acme: {email: a@b.example}}", over(&[]), "`tls.acme` is without domains"),
            (
                "tls: {domains: [a.example], acme: {directory: 'http://x'}}",
                over(&[]),
                "`tls.acme.directory` is http://x",
            ),
            (
                "",
                over(&["192.0.2.1"]),
                "`tls.domains` is 192.0.2.1; allowed: names in the public DNS",
            ),
            ("", over(&["*.example.org"]), "`tls.domains` is *.example.org"),
            ("", over(&["localhost"]), "`tls.domains` is localhost"),
            ("", over(&["https://a.example"]), "`tls.domains` is https://a.example"),
            ("", dev(), "`--domain` is with --dev"),
            ("tls: {domains: [a.example]}", lan(), "`--lan` is with --domain"),
        ] {
            let Err(error) = load(yaml, over) else { panic!("{yaml}: {said}") };
            assert!(error.starts_with(said), "{error:?}, not {said:?}");
        }
    }

    #[test]
    fn the_local_network_is_served_with_and_without_tls() {
        let config = load("", Overrides { dev: true, lan: true, ..over(&[]) }).unwrap();
        assert_eq!(config.tls().local, Some(PathBuf::from("data").join("lan")));
        assert!(config.tls().plain_http);
        assert!(config.bind().is_empty(), "all addresses");
    }
}
