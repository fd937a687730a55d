//! Which peers are relayed to: this server's own media addresses, and networks that the operator names.
//!
//! * **Owns:** the lists. **In:** a peer's address, parsed. **Out:** [`Peer`], or `None` for "never".
//! * **Invariant:** an address is judged by what it reaches, however it is written: IPv4 in IPv6 (mapped) is IPv4; an
//!   address that a gateway translates to IPv4 (NAT64, SIIT, 6to4, Teredo, IPv4-compatible) needs both of its
//!   ends allowed, and one denied is enough. An address of this machine is allowed by its own name only.
//! * **Why:** a relay that reaches anything reaches what only this machine should: its metadata service,
//!   its loopback, its neighbours.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A network: all addresses whose first bits are these.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

/// Not a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct CidrError;

/// Networks that are not the public internet. One of them is allowed only by a network within it:
/// `0.0.0.0/0` does not open this machine's loopback. Of two around an address the later one counts.
const RESTRICTED: &[(IpAddr, u8)] = &[
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(240, 0, 0, 0, 4),
    v6(0, 0, 8),
    v6(0x64, 0xff9b, 32),
    v6(0xfc00, 0, 7),
    v6(0xfe80, 0, 10),
    v6(0xfec0, 0, 10),
    v6(0x2001, 0, 32),
    v6(0x2002, 0, 16),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits)
}

const fn v6(a: u16, b: u16, bits: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), bits)
}

impl Cidr {
    /// Whether `ip` is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = u32::from(self.bits);
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= bits
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// It is `ip` and nothing else.
    fn is_host(&self, ip: IpAddr) -> bool {
        self.ip == ip && self.bits == if ip.is_ipv4() { 32 } else { 128 }
    }

    /// It is `other`, or a part of it.
    fn is_within(&self, other: &Self) -> bool {
        self.bits >= other.bits && other.contains(self.ip)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (ip, bits) = text.trim().split_once('/').ok_or(CidrError)?;
        let ip: IpAddr = ip.parse().map_err(|_| CidrError)?;
        let bits: u8 = bits.parse().map_err(|_| CidrError)?;
        match ip {
            IpAddr::V4(_) if bits <= 32 => Ok(Self { ip, bits }),
            IpAddr::V6(v6) if bits <= 128 => match v6.to_ipv4_mapped() {
                // Judged as what it stands for.
                Some(v4) if bits >= 96 => Ok(Self { ip: v4.into(), bits: bits.saturating_sub(96) }),
                Some(_) | None => Ok(Self { ip, bits }),
            },
            IpAddr::V4(_) | IpAddr::V6(_) => Err(CidrError),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// A peer that may be relayed to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// Our own media, at this address: no socket is needed.
    Media(SocketAddr),
    /// Somebody else, by a socket.
    Outside(SocketAddr),
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct PeerPolicy {
    /// Where our media is received, by every name clients have for it.
    pub media: Vec<SocketAddr>,
    /// This machine, by every address that leads to it. What listens there beside media is reached only if `allowed` has
    /// the very address (`/32`, `/128`). Loopback need not be listed.
    pub own: Vec<IpAddr>,
    /// Networks relayed to beside.
    pub allowed: Vec<Cidr>,
    /// Networks never relayed to, whatever else is said.
    pub denied: Vec<Cidr>,
}

impl PeerPolicy {
    /// What a packet to `peer` reaches; `None` if none is relayed there.
    pub fn judge(&self, peer: SocketAddr) -> Option<Peer> {
        let peer = SocketAddr::new(normal(peer.ip()), peer.port());
        if self.is_denied(peer.ip()) || peer.port() == 0 {
            return None;
        }
        if self.media.contains(&peer) {
            return Some(Peer::Media(peer));
        }
        self.is_allowed(peer.ip()).then_some(Peer::Outside(peer))
    }

    /// Whether a packet to some port of `ip` may be relayed.
    pub fn permits(&self, ip: IpAddr) -> bool {
        let ip = normal(ip);
        let is_media = self.media.iter().any(|media| media.ip() == ip);
        !self.is_denied(ip) && (is_media || self.is_allowed(ip))
    }

    /// Whether a packet to `ip` may need a socket.
    pub(crate) fn is_outside(&self, ip: IpAddr) -> bool {
        let ip = normal(ip);
        !self.is_denied(ip) && self.is_allowed(ip)
    }

    fn is_denied(&self, ip: IpAddr) -> bool {
        let denied = |ip| self.denied.iter().any(|net| net.contains(ip));
        nowhere(ip) || denied(ip) || translated(ip).is_some_and(|v4| nowhere(v4) || denied(v4))
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own.iter().any(|own| normal(*own) == ip)
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        let allowed = |ip: IpAddr| {
            if self.is_own(ip) {
                return self.allowed.iter().any(|net| net.is_host(ip));
            }
            let mut around = RESTRICTED.iter().map(|(ip, bits)| Cidr { ip: *ip, bits: *bits });
            let around = around.rfind(|net| net.contains(ip));
            let fits = |net: &&Cidr| {
                net.contains(ip) && around.is_none_or(|around| net.is_within(&around))
            };
            self.allowed.iter().any(|net| fits(&net))
        };
        allowed(ip) && translated(ip).is_none_or(allowed)
    }
}

/// IPv4 written as IPv6 is IPv4.
pub(crate) fn normal(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Reaches no host, or all of them.
fn nowhere(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The IPv4 address that a gateway would send to: of NAT64, 6to4, Teredo and IPv4-compatible addresses.
pub fn translated(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d).into())
    };
    match ip.segments() {
        // NAT64 (RFC 6052), and its local prefix (RFC 8215) at any length: its last 32 bits are
        // the address with the prefix lengths in use there.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => {
            v4(high, low)
        }
        // IPv4-translated (SIIT, RFC 2765).
        [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // 6to4 (RFC 3056) and Teredo (RFC 4380).
        [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // IPv4-compatible (RFC 4291 §2.5.5.1), but for `::` and `::1`.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &str, denied: &str) -> PeerPolicy {
        let list = |text: &str| text.split_whitespace().map(|net| net.parse().unwrap()).collect();
        let media = ["198.51.100.7:7882", "10.0.0.5:7882", "[2001:db8::7]:7882"];
        let own = ["198.51.100.7", "203.0.113.7", "10.0.0.5", "2001:db8::7", "::ffff:192.0.2.7"];
        PeerPolicy {
            own: own.map(|ip| ip.parse().unwrap()).to_vec(),
            media: media.map(|addr| addr.parse().unwrap()).to_vec(),
            allowed: list(allowed),
            denied: list(denied),
        }
    }

    fn check(policy: &PeerPolicy, peers: &[(&str, char)]) {
        for (peer, expected) in peers {
            let judged = match policy.judge(peer.parse().unwrap()) {
                Some(Peer::Media(_)) => 'm',
                Some(Peer::Outside(_)) => 'o',
                None => '-',
            };
            assert_eq!(judged, *expected, "{peer}");
        }
    }

    /// Addresses that must not be reached, in every notation.
    const FORBIDDEN: &[&str] = &[
        "0.0.0.0:7882",
        "[::]:7882",
        "127.0.0.1:7882",
        "127.8.9.10:80",
        "[::1]:7882",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:0.0.0.0]:80",
        "[::127.0.0.1]:80",
        "[::ffff:0:127.0.0.1]:80",
        "[::ffff:0:169.254.169.254]:80",
        "[::ffff:0:198.51.100.7]:22",
        "[::ffff:0:8.8.8.8]:53",
        "[::1:0:0:1]:80",
        "[64:ff9b::c633:6407]:22",
        "198.51.100.7:22",
        "198.51.100.7:7881",
        "[::ffff:198.51.100.7]:161",
        "203.0.113.7:53",
        "192.0.2.7:3478",
        "[2001:db8::7]:22",
        "[::ffff:7f00:1]:80",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "[64:ff9b:1::a9fe:a9fe]:80",
        "[64:ff9b:1:a9fe:a9:fe00::]:80",
        "[2002:a9fe:a9fe::1]:80",
        "[2001:0:1:2:3:4:5601:5601]:80",
        "[2002:7f00:1::]:80",
        "[64:ff9b::7f00:1]:80",
        "[2001:0:1:2:3:4:80ff:fffe]:80",
        "[64:ff9b::]:80",
        "[2002::]:80",
        "10.0.0.1:80",
        "10.0.0.5:22",
        "172.16.0.1:80",
        "192.168.1.1:80",
        "100.64.0.1:80",
        "198.18.0.1:80",
        "[fe80::1]:80",
        "[fc00::1]:80",
        "[fd00:ec2::254]:80",
        "[fec0::1]:80",
        "[ff02::1]:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "240.0.0.1:80",
        "[::ffff:224.0.0.1]:80",
        "[::2]:80",
    ];

    #[test]
    fn only_our_own_media_is_a_peer_unless_told_otherwise() {
        let policy = policy("", "");
        check(
            &policy,
            &[
                ("198.51.100.7:7882", 'm'),
                ("[::ffff:198.51.100.7]:7882", 'm'),
                ("[2001:db8::7]:7882", 'm'),
                ("10.0.0.5:7882", 'm'),
                ("198.51.100.7:7881", '-'),
                ("198.51.100.7:0", '-'),
                ("[64:ff9b::c633:6407]:7882", '-'),
                ("[2002:c633:6407::]:7882", '-'),
                ("8.8.8.8:53", '-'),
            ],
        );
        check(&policy, &FORBIDDEN.iter().map(|peer| (*peer, '-')).collect::<Vec<_>>());
        assert!(policy.permits("198.51.100.7".parse().unwrap()));
        assert!(!policy.permits("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn the_whole_internet_allowed_opens_no_restricted_network() {
        let policy = policy("0.0.0.0/0 ::/0", "");
        check(&policy, &[("8.8.8.8:53", 'o'), ("[2600::1]:53", 'o'), ("[2002:808:808::]:53", '-')]);
        check(&policy, &FORBIDDEN.iter().map(|peer| (*peer, '-')).collect::<Vec<_>>());
        check(&policy, &[("198.51.100.7:7882", 'm'), ("[2001:db8::7]:7882", 'm')]);
    }

    #[test]
    fn this_machine_is_opened_by_its_very_address() {
        let own = |ip: &str| ip.parse::<IpAddr>().unwrap();
        let nets = "0.0.0.0/0 ::/0 198.51.100.0/24 198.51.100.6/31 127.0.0.0/8 2001:db8::/64 10.0.0.0/8 \
                    2002::/16 64:ff9b::/96 ::/8";
        let closed = policy(nets, "");
        check(
            &closed,
            &[
                ("198.51.100.7:22", '-'),
                ("198.51.100.7:7882", 'm'),
                ("198.51.100.6:22", 'o'),
                ("127.0.0.1:80", '-'),
                ("127.1.2.3:80", '-'),
                ("[::1]:80", '-'),
                ("10.0.0.5:22", '-'),
                ("10.0.0.6:22", 'o'),
                ("[2001:db8::7]:22", '-'),
                ("[2001:db8::8]:22", 'o'),
                ("[2002:c633:6407::]:22", '-'),
                ("[64:ff9b::c633:6407]:22", '-'),
                ("[::ffff:0:198.51.100.7]:22", '-'),
                ("[::ffff:0:198.51.100.6]:22", 'o'),
            ],
        );
        // Its media needs no socket, and none is made that would reach the rest of it.
        assert!(closed.permits(own("198.51.100.7")) && !closed.is_outside(own("198.51.100.7")));
        assert!(!closed.permits(own("203.0.113.7")));
        let open = policy("198.51.100.7/32 ::ffff:127.0.0.1/128 2001:db8::7/128", "");
        check(
            &open,
            &[
                ("198.51.100.7:22", 'o'),
                ("198.51.100.7:7882", 'm'),
                ("127.0.0.1:80", 'o'),
                ("127.0.0.2:80", '-'),
                ("[2001:db8::7]:22", 'o'),
                ("203.0.113.7:22", '-'),
            ],
        );
        assert!(open.is_outside(own("198.51.100.7")));
        check(&policy("198.51.100.7/32", "198.51.100.0/24"), &[("198.51.100.7:22", '-')]);
    }

    #[test]
    fn a_restricted_network_is_opened_by_its_own_name() {
        let policy =
            policy("10.1.0.0/16 127.0.0.1/32 ::1/128 fd00::/8 2002::/16 9.0.0.0/8", "10.1.2.0/24");
        check(
            &policy,
            &[
                ("10.1.0.1:80", 'o'),
                ("[::ffff:10.1.0.1]:80", 'o'),
                ("10.1.2.3:80", '-'),
                ("10.2.0.1:80", '-'),
                ("127.0.0.1:80", 'o'),
                ("127.0.0.2:80", '-'),
                ("[::1]:80", 'o'),
                ("[fd12::1]:80", 'o'),
                ("[fe80::1]:80", '-'),
                // Both ends of a translation have to be allowed.
                ("[2002:900:1::]:80", 'o'),
                ("[2002:808:808::]:80", '-'),
                ("[2002:a01:203::]:80", '-'),
                ("[64:ff9b::a01:1]:80", '-'),
            ],
        );
    }

    #[test]
    fn what_is_denied_is_denied_even_if_it_is_ours() {
        let denied = policy("", "198.51.100.0/24");
        check(&denied, &[("198.51.100.7:7882", '-'), ("10.0.0.5:7882", 'm')]);
        let denied = policy("2002::/16 9.0.0.0/8", "9.9.9.9/32 ::ffff:9.9.9.8/128");
        check(&denied, &[("[2002:909:909::]:1", '-'), ("9.9.9.8:1", '-'), ("9.9.9.7:1", 'o')]);
    }

    #[test]
    fn networks_are_read_or_refused() {
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0/8", "10.0.0.0/-1", "", "/"]
        {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError), "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
    }
}
