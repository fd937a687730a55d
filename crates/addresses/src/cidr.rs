//! A block of addresses, `10.0.0.0/8`.
//!
//! * **Owns:** nothing; a value.
//! * **In:** text, one address being the block of itself.
//! * **Out:** [`Cidr::contains`].
//! * **Invariant:** a block of one family contains no address of the other.
//! * **Spec:** RFC 4632 §3.1, RFC 4291 §2.3.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// See the module documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Not a block of addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no block of addresses such as 10.0.0.0/8 or 2001:db8::/32, nor one address")]
pub struct NotCidr(String);

impl Cidr {
    /// Whether `ip` is one of the block's.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, bits: u32| {
            let apart = bits.saturating_sub(u32::from(self.prefix));
            (ours ^ theirs).checked_shr(apart).unwrap_or(0) == 0
        };
        match (self.network, ip) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same(ours.to_bits().into(), theirs.to_bits().into(), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.to_bits(), theirs.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = NotCidr;

    fn from_str(text: &str) -> Result<Self, NotCidr> {
        let error = || NotCidr(text.to_owned());
        let (ip, prefix) = match text.trim().split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text.trim(), None),
        };
        let network: IpAddr = ip.parse().map_err(|_| error())?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| error())?,
            None => bits,
        };
        if prefix > bits { Err(error()) } else { Ok(Self { network, prefix }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_contains_what_begins_alike() {
        for (block, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/31", "192.0.2.6", "192.0.2.8"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "0.0.0.0"),
            ("fd00::1", "fd00::1", "fd00::2"),
        ] {
            let cidr: Cidr = block.parse().unwrap();
            assert!(cidr.contains(inside.parse().unwrap()), "{block}");
            assert!(!cidr.contains(outside.parse().unwrap()), "{block}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused_by_its_text() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "/8", "10.0.0.0/-1", "eth0"] {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no block")), "{error}");
        }
    }
}
