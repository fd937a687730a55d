//! Domains and certificates.
//!
//! * **Owns:** nothing.
//! * **In:** what names stand for, what files hold. **Out:** findings.
//! * **Invariant:** nothing of a private key is shown.

use super::super::certificate::{Leaf, date};
use super::super::facts::{CertificateFiles, Facts};
use super::super::finding::Finding;

/// A certificate that ends within so many days should have been renewed: ACME renews at 30.
const SOON_DAYS: u64 = 14;
const DAY: u64 = 86_400;

/// Whether domains lead to the addresses that clients are told.
pub(super) fn domains(facts: &Facts) -> Vec<Finding> {
    const NAME: &str = "dns";
    let advertised = &facts.settings.advertised;
    let told: Vec<String> = advertised.iter().map(ToString::to_string).collect();
    let finding = |(domain, addrs): &(String, Result<Vec<std::net::IpAddr>, String>)| match addrs {
        Err(why) => Finding::problem(
            NAME,
            format!("{domain} stands for no address: {why}"),
            format!("make a record (A or AAAA) of {domain} with {}", told.join(", ")),
        ),
        Ok(addrs) if addrs.iter().any(|ip| advertised.contains(ip)) => {
            Finding::sound(NAME, format!("{domain} leads to an address that clients are told"))
        }
        Ok(addrs) => {
            let points: Vec<String> = addrs.iter().map(ToString::to_string).collect();
            Finding::problem(
                NAME,
                format!(
                    "{domain} leads to {}, clients are told {}",
                    points.join(", "),
                    told.join(", ")
                ),
                format!(
                    "change the record of {domain}, or rtc.node_ip; with a load balancer before this server this may be meant"
                ),
            )
        }
    };
    facts.domains.iter().map(finding).collect()
}

/// Whether certificate files can be used.
pub(super) fn certificates(facts: &Facts) -> Vec<Finding> {
    facts
        .certificates
        .iter()
        .flat_map(|files| certificate(files, facts.clock.ours.as_secs()))
        .collect()
}

fn certificate(files: &CertificateFiles, now: u64) -> Vec<Finding> {
    const NAME: &str = "certificate";
    let CertificateFiles { section, cert_file, key_file, domains, certificate, key_matches } =
        files;
    let leaf = match certificate {
        Ok(leaf) => leaf,
        Err(why) => {
            return vec![Finding::problem(
                NAME,
                format!("{section}.cert_file {cert_file} cannot be used: {why}"),
                "name a PEM file with the certificate first and then its chain, that the server's user may read",
            )];
        }
    };
    let mut findings = Vec::new();
    let mut problem =
        |cause: String, fix: String| findings.push(Finding::problem(NAME, cause, fix));
    match key_matches {
        Ok(true) => {}
        Ok(false) => problem(
            format!("the key in {key_file} is not the one of the certificate in {cert_file}"),
            "name the two files that were made together".to_owned(),
        ),
        Err(why) => problem(
            format!("{section}.key_file {key_file} cannot be used: {why}"),
            "name a PEM file with the private key, that the server's user may read".to_owned(),
        ),
    }
    for domain in domains.iter().filter(|domain| !leaf.covers(domain)) {
        problem(
            format!(
                "the certificate in {cert_file} is for {}, not for {domain}",
                leaf.names.join(", ")
            ),
            format!("get a certificate for {domain}, or correct the domain"),
        );
    }
    let Leaf { not_before, not_after, .. } = leaf;
    if now >= *not_after {
        problem(
            format!("the certificate in {cert_file} expired on {}", date(*not_after)),
            "renew it (certbot renew, or whatever made it)".to_owned(),
        );
    } else if now < *not_before {
        problem(
            format!("the certificate in {cert_file} is not valid before {}", date(*not_before)),
            "set this machine's clock, or wait".to_owned(),
        );
    } else if not_after - now < SOON_DAYS * DAY {
        findings.push(Finding::warning(
            NAME,
            format!("the certificate in {cert_file} expires on {}", date(*not_after)),
            "see why it was not renewed",
        ));
    }
    if findings.is_empty() {
        let until = date(*not_after);
        findings.push(Finding::sound(
            NAME,
            format!("{cert_file}: {}, until {until}", leaf.names.join(", ")),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::finding::Verdict;
    use super::super::tests::{finds, sound};
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn with(change: impl FnOnce(&mut CertificateFiles)) -> Facts {
        let leaf = Leaf {
            names: vec!["a.example".into(), "*.b.example".into()],
            not_before: NOW - 1,
            not_after: NOW + 60 * DAY,
        };
        let mut files = CertificateFiles {
            section: "turn",
            cert_file: "c.pem".into(),
            key_file: "k.pem".into(),
            domains: vec!["A.example".into(), "x.b.example".into()],
            certificate: Ok(leaf),
            key_matches: Ok(true),
        };
        change(&mut files);
        let mut facts = sound();
        facts.clock.ours = Duration::from_secs(NOW);
        facts.certificates.push(files);
        facts
    }

    fn leaf(files: &mut CertificateFiles) -> &mut Leaf {
        files.certificate.as_mut().unwrap()
    }

    #[test]
    fn a_certificate_that_clients_refuse_is_a_problem() {
        finds(&with(|_| {}), Verdict::Sound, "c.pem: a.example", "");
        let expired = with(|files| leaf(files).not_after = NOW - DAY);
        finds(&expired, Verdict::Problem, "expired on 2027-01-14", "renew");
        let early = with(|files| leaf(files).not_before = NOW + DAY);
        finds(&early, Verdict::Problem, "not valid before 2027-01-16", "clock");
        let soon = with(|files| leaf(files).not_after = NOW + 3 * DAY);
        finds(&soon, Verdict::Warning, "expires on 2027-01-18", "renewed");
        let other = with(|files| files.domains = vec!["b.example".into(), "y.x.b.example".into()]);
        finds(&other, Verdict::Problem, "not for b.example", "get a certificate for b.example");
        finds(&other, Verdict::Problem, "not for y.x.b.example", "");
        let key = with(|files| files.key_matches = Ok(false));
        finds(&key, Verdict::Problem, "not the one of the certificate", "made together");
        let unreadable = with(|files| files.certificate = Err("permission denied".into()));
        finds(&unreadable, Verdict::Problem, "permission denied", "PEM");
        let no_key = with(|files| files.key_matches = Err("no such file".into()));
        finds(&no_key, Verdict::Problem, "k.pem cannot be used: no such file", "private key");
    }

    #[test]
    fn a_domain_leads_to_what_clients_are_told() {
        let with = |addrs: Result<&[&str], &str>| {
            let mut facts = sound();
            let addrs = addrs.map(|addrs| addrs.iter().map(|ip| ip.parse().unwrap()).collect());
            facts.domains = vec![("a.example".into(), addrs.map_err(str::to_owned))];
            facts
        };
        finds(&with(Ok(&["203.0.113.7"])), Verdict::Sound, "a.example leads to", "");
        finds(
            &with(Ok(&["198.51.100.1"])),
            Verdict::Problem,
            "a.example leads to 198.51.100.1",
            "change the record",
        );
        finds(&with(Err("not found")), Verdict::Problem, "stands for no address", "A or AAAA");
    }
}
