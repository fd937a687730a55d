//! What `--dev --lan` prints: where others in the network get in, as a QR code too, and how to trust this server.
//!
//! * **Owns:** nothing; a page of text.
//! * **In:** the names and addresses in this machine's certificate, and the authority's.
//! * **Out:** [`Lan::page`].
//! * **Invariant:** what is printed is in the certificate, so that who trusts the authority sees no warning.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::digest::{SHA256, digest};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// See the module documentation.
pub(crate) struct Lan {
    /// As others reach this machine; the first is in the QR code.
    pub(crate) addresses: Vec<IpAddr>,
    /// Names of this machine.
    pub(crate) names: Vec<String>,
    /// Where the authority's files are.
    pub(crate) dir: String,
    /// The authority's certificate in DER.
    pub(crate) authority: Vec<u8>,
}

impl Lan {
    /// The page, for this TCP port.
    pub(crate) fn page(&self, port: u16) -> String {
        let mut hosts = self.addresses.iter().map(|ip| SocketAddr::new(*ip, port).to_string());
        let guide = hosts.next().map(|host| format!("http://{host}/lan")).unwrap_or_default();
        let named = self.names.iter().filter(|name| *name != "localhost");
        let more: String = hosts
            .chain(named.map(|name| format!("{name}:{port}")))
            .map(|host| format!("                  http://{host}/lan\n"))
            .collect();
        format!(
            "For others in this network (scan it with a phone, or type the address):

{code}
  how to get in   {guide}
{more}
That page leads to the call by HTTPS, without which browsers give no camera and no microphone. Browsers warn of the
certificate, as this server made it itself: in Chrome and Firefox choose \"Advanced\" and go on. iPhones and iPads must
trust it first, and others who do so are not warned; the page says how. The authority to trust has the SHA-256 fingerprint

  {fingerprint}

and can vouch for private addresses and .local names only. It stays the same at the next start ({dir}).
",
            code = code(&guide),
            fingerprint = fingerprint(&self.authority),
            dir = self.dir,
        )
    }
}

/// As a terminal shows it, dark on light whatever its colours are: two rows in a line of text.
fn code(text: &str) -> String {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else {
        return String::new();
    };
    // Most terminals are dark, and a code is dark on light.
    code.render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build()
}

fn fingerprint(der: &[u8]) -> String {
    let digest = digest(&SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_each_address_and_name_and_has_a_code() {
        let lan = Lan {
            addresses: ["192.168.1.7", "fd00::7"].map(|ip| ip.parse().unwrap()).to_vec(),
            names: vec!["localhost".to_owned(), "box.local".to_owned()],
            dir: "data".to_owned(),
            authority: b"abc".to_vec(),
        };
        let page = lan.page(7880);
        for said in [
            "http://192.168.1.7:7880/lan",
            "http://[fd00::7]:7880/lan",
            "http://box.local:7880/lan",
            "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23",
        ] {
            assert!(page.contains(said), "{page}");
        }
        assert!(!page.contains("localhost"));
        assert!(page.matches(['\u{2580}', '\u{2584}', '\u{2588}']).count() > 100, "{page}");
    }
}
