//! Why an authority gave no certificate, and what to do about it.
//!
//! * **Owns:** the words.
//! * **In:** errors of the ACME client, and what the authority says about a name.
//! * **Out:** [`Failure`], whose text names cause and fix.
//! * **Spec:** the types of problems are RFC 8555 §6.7.

use std::error::Error as _;
use std::fmt;

use instant_acme::{Error, Problem};

const PREFIX: &str = "urn:ietf:params:acme:error:";

/// One attempt that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    /// The authority wants fewer attempts.
    pub(crate) limited: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Failure {
    /// Of ourselves, or of the system.
    pub(crate) fn other(error: &dyn fmt::Display) -> Self {
        Self { text: error.to_string(), limited: false }
    }

    /// It took too long.
    pub(crate) fn slow() -> Self {
        Self::other(&"the authority did not finish in time")
    }

    /// The authority refused a name, or could not check it.
    pub(crate) fn of_name(name: &str, problem: &Problem) -> Self {
        Self::of_problem(Some(name), problem)
    }

    fn of_problem(name: Option<&str>, problem: &Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix(PREFIX).unwrap_or(kind);
        let detail = problem.detail.as_deref().unwrap_or("nothing more");
        let kind = precise(kind, &detail.to_ascii_lowercase());
        let host = name.unwrap_or("the domain");
        let fix = match kind {
            "dns" => format!("the DNS has no usable address of {host}: make an A (or AAAA) record for it with the public address of this machine"),
            "connection" => format!("the authority could not reach port 443 of {host}: let TCP port 443 through firewalls and security groups, have it forwarded to this server if that listens on another port, and check that the DNS record (also AAAA, if there is one) has the address of this machine"),
            "unauthorized" | "incorrectResponse" | "tls" => format!("something else than this server answered on port 443 of {host}: the DNS record has the address of another machine, or a proxy in front of this server ends TLS itself (then give that proxy the certificate, and do not use --domain)"),
            "caa" => format!("a CAA record in the DNS forbids this authority to issue for {host}: add the authority to it, or remove it"),
            "rateLimited" => "there were too many attempts or certificates; wait as long as it says. While trying things out, use the authority's staging directory (tls.acme.directory), and keep tls.acme.cache_dir between starts".to_owned(),
            "rejectedIdentifier" => format!("the authority does not issue for {host}: only public names in the DNS can have such a certificate"),
            "invalidContact" | "unsupportedContact" => "the authority does not take the address in tls.acme.email".to_owned(),
            "externalAccountRequired" => "this authority wants an account that was made on its web page, which is not supported; choose another in tls.acme.directory".to_owned(),
            "userActionRequired" => "the authority has new terms of service".to_owned(),
            _ => "the authority refused".to_owned(),
        };
        Self { text: format!("{fix} (it says: {detail})"), limited: kind == "rateLimited" }
    }
}

/// Some authorities call everything a failed proof; the words behind it know more.
fn precise<'k>(kind: &'k str, detail: &str) -> &'k str {
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    match kind {
        "dns" | "caa" | "rateLimited" | "rejectedIdentifier" => kind,
        _ if says(&["could not resolve", "no such host", "nxdomain", "no valid ip address"]) => {
            "dns"
        }
        "unauthorized" if says(&["failed to connect", "timeout", "refused"]) => "connection",
        _ => kind,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Error::Api(problem) = &error else {
            let mut text = format!("the authority cannot be asked: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            text.push_str("; check that this machine reaches it (DNS, and TCP port 443 outwards) and its address in tls.acme.directory; an authority of your own needs its root certificate in tls.acme.root");
            return Self { text, limited: false };
        };
        let named = problem.subproblems.first().and_then(|sub| {
            let Some(instant_acme::Identifier::Dns(name)) = &sub.identifier else { return None };
            let name = name.clone();
            let (kind, detail) = (sub.r#type.clone(), sub.detail.clone());
            Some((name, Problem { r#type: kind, detail, status: None, subproblems: Vec::new() }))
        });
        match named {
            Some((name, problem)) => Self::of_name(&name, &problem),
            None => Self::of_problem(None, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_fix() {
        for (kind, said, limited) in [
            ("urn:ietf:params:acme:error:dns", "make an A (or AAAA) record", false),
            (
                "urn:ietf:params:acme:error:connection",
                "could not reach port 443 of a.example",
                false,
            ),
            ("urn:ietf:params:acme:error:unauthorized", "the address of another machine", false),
            ("urn:ietf:params:acme:error:rateLimited", "staging directory", true),
            ("urn:ietf:params:acme:error:somethingNew", "the authority refused", false),
        ] {
            let detail = Some("during secondary validation".to_owned());
            let problem = Problem {
                r#type: Some(kind.to_owned()),
                detail,
                status: Some(400),
                subproblems: Vec::new(),
            };
            let failure = Failure::of_name("a.example", &problem);
            assert!(failure.to_string().contains(said), "{failure}");
            assert!(failure.to_string().contains("during secondary validation"));
            assert_eq!(failure.limited, limited, "{kind}");
        }
    }

    #[test]
    fn the_words_of_an_authority_are_believed_before_its_kind() {
        for (kind, detail, expected) in [
            ("unauthorized", "failed to connect to 192.0.2.1:443", "connection"),
            ("unauthorized", "no tls-alpn-01 extension", "unauthorized"),
            ("serverInternal", "could not resolve url", "dns"),
            ("caa", "timeout", "caa"),
        ] {
            assert_eq!(precise(kind, detail), expected, "{kind}, {detail}");
        }
    }
}
