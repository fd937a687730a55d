//! What a certificate file says of itself: names, times, and whether a key is its own.
//!
//! * **Owns:** nothing; reads the few fields of X.509 that a person has to know.
//! * **In:** PEM files, DER.
//! * **Out:** [`Leaf`], [`matches()`].
//! * **Invariant:** no input panics; a certificate that is not understood is an error, not a sound one.
//! * **Spec:** RFC 5280 §4.1 (fields), §4.1.2.5 (times), §4.2.1.6 (names); RFC 6125 §6.4.3 (wildcards).

use std::net::IpAddr;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Of a certificate, what clients check.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Leaf {
    /// DNS names and addresses of the extension subjectAltName.
    pub(crate) names: Vec<String>,
    /// Seconds since 1970.
    pub(crate) not_before: u64,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
}

impl Leaf {
    /// Reads a certificate in DER.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, String> {
        read(der).ok_or_else(|| "it is no X.509 certificate".to_owned())
    }

    /// Whether clients accept it for `name`.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let is_it = |pattern: &String| match pattern.strip_prefix("*.") {
            Some(rest) => {
                name.split_once('.').is_some_and(|(_, tail)| tail.eq_ignore_ascii_case(rest))
            }
            None => pattern.eq_ignore_ascii_case(name),
        };
        self.names.iter().any(is_it)
    }
}

/// The certificates of a PEM file, the server's own first.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("it is no PEM file: {error}"))?;
    if all.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(all) }
}

/// Whether the private key of a PEM file is the one of the first certificate.
pub(crate) fn matches(chain: Vec<CertificateDer<'static>>, key_pem: &[u8]) -> Result<bool, String> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| error.to_string())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    match rustls::sign::CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Ok(true),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// A day of the calendar, UTC.
pub(crate) fn date(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

fn read(der: &[u8]) -> Option<Leaf> {
    let (SEQUENCE, certificate, _) = element(der)? else { return None };
    let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
    let mut leaf = Leaf::default();
    // The first sequence of two times is the validity.
    let mut has_validity = false;
    while !rest.is_empty() {
        let (tag, value, after) = element(rest)?;
        rest = after;
        if tag == SEQUENCE && !has_validity {
            if let Some((not_before, not_after)) = validity(value) {
                (leaf.not_before, leaf.not_after) = (not_before, not_after);
                has_validity = true;
            }
        } else if tag == EXTENSIONS {
            let (SEQUENCE, extensions, _) = element(value)? else { return None };
            leaf.names = names(extensions).unwrap_or_default();
        }
    }
    has_validity.then_some(leaf)
}

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[3]`, constructed.
const EXTENSIONS: u8 = 0xa3;
/// `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// `[2]` and `[7]` of GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Tag, value, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count > 4 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        rest = after;
    }
    let (value, after) = rest.split_at_checked(len)?;
    Some((tag, value, after))
}

fn validity(sequence: &[u8]) -> Option<(u64, u64)> {
    let (tag, not_before, rest) = element(sequence)?;
    let not_before = time(tag, not_before)?;
    let (tag, not_after, rest) = element(rest)?;
    rest.is_empty().then_some(())?;
    Some((not_before, time(tag, not_after)?))
}

/// `YYMMDDhhmmssZ`, or the same with four digits of the year.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let of_day = part(4)? * 3_600 + part(6)? * 60 + part(8)?;
    Some(days(year, month, day)?.saturating_mul(86_400) + of_day)
}

fn names(mut extensions: &[u8]) -> Option<Vec<String>> {
    while !extensions.is_empty() {
        let (_, extension, after) = element(extensions)?;
        extensions = after;
        let (OID, id, mut rest) = element(extension)? else { return None };
        if id != SUBJECT_ALT_NAME {
            continue;
        }
        while !rest.is_empty() {
            let (tag, value, after) = element(rest)?;
            rest = after;
            if tag == OCTETS {
                let (SEQUENCE, names, _) = element(value)? else { return None };
                return general_names(names);
            }
        }
    }
    None
}

fn general_names(mut rest: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (tag, value, after) = element(rest)?;
        rest = after;
        match tag {
            DNS_NAME => names.push(String::from_utf8_lossy(value).into_owned()),
            IP_ADDRESS => names.extend(address(value).map(|ip| ip.to_string())),
            _ => {}
        }
    }
    Some(names)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from))
}

/// Days since 1970-01-01 in the Gregorian calendar; years from March, so that the leap day is the last.
pub(super) fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let since_zero = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    since_zero.checked_sub(719_468)
}

fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("testdata/certificate.pem");
    const KEY: &[u8] = include_bytes!("testdata/key.pem");
    const OTHER_KEY: &[u8] = include_bytes!("testdata/other-key.pem");

    #[test]
    fn a_certificate_says_its_names_and_times() {
        let chain = chain(CERTIFICATE).unwrap();
        let leaf = Leaf::from_der(&chain[0]).unwrap();
        assert_eq!(leaf.names, ["a.example", "*.b.example", "203.0.113.7", "2001:db8::7"]);
        assert_eq!(
            (date(leaf.not_before), date(leaf.not_after)),
            ("2026-01-02".into(), "2056-02-29".into())
        );
        assert!(
            leaf.covers("A.example") && leaf.covers("x.b.example") && leaf.covers("203.0.113.7")
        );
        assert!(
            !leaf.covers("b.example") && !leaf.covers("y.x.b.example") && !leaf.covers("example")
        );
    }

    #[test]
    fn a_key_is_told_from_another() {
        let chain = chain(CERTIFICATE).unwrap();
        assert_eq!(matches(chain.clone(), KEY), Ok(true));
        assert_eq!(matches(chain.clone(), OTHER_KEY), Ok(false));
        assert!(matches(chain, CERTIFICATE).is_err());
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_read_and_never_panics() {
        let chain = chain(CERTIFICATE).unwrap();
        let der = &chain[0];
        for len in 0..der.len() {
            assert!(Leaf::from_der(&der[..len]).is_err(), "{len}");
        }
        let mut changed = der.to_vec();
        for at in 0..der.len() {
            for bit in [0x80, 1] {
                changed[at] ^= bit;
                let _ = Leaf::from_der(&changed);
                changed[at] ^= bit;
            }
        }
    }

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for (text, unix) in
            [("1970-01-01", 0), ("2000-02-29", 951_782_400), ("2038-01-19", 2_147_483_647)]
        {
            assert_eq!(date(unix), text);
        }
        for day in 0..100_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), Some(day));
        }
    }
}
