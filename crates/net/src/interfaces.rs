//! The machine's own addresses.
#![cfg_attr(unix, expect(unsafe_code, reason = "getifaddrs"))]

use std::net::{IpAddr, Ipv6Addr};

/// Addresses of the interfaces that are up, IPv4 first, without duplicates and without IPv6
/// link-local ones, which a browser cannot use. Empty if the system does not say.
pub fn host_addresses(include_loopback: bool) -> Vec<IpAddr> {
    select(all().into_iter().map(|(_, ip)| ip).collect(), include_loopback)
}

/// Every address of the interfaces that are up, with the interface's name (empty where the system has none).
pub fn interface_addresses() -> Vec<(String, IpAddr)> {
    all()
}

fn select(mut all: Vec<IpAddr>, include_loopback: bool) -> Vec<IpAddr> {
    all.retain(|ip| {
        let usable = match ip {
            IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unspecified() && !is_link_local(*v6),
        };
        usable && (include_loopback || !ip.is_loopback())
    });
    // Loopback last in its family: it is of use only to clients on this machine.
    all.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback(), *ip));
    all.dedup();
    all
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80)
}

#[cfg(unix)]
fn all() -> Vec<(String, IpAddr)> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: writes a pointer to `list`.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut next = list;
    while !next.is_null() {
        // SAFETY: not null, hence an entry of the list, which is freed below only.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        let up = libc::IFF_UP as libc::c_uint;
        if entry.ifa_addr.is_null() || entry.ifa_flags & up == 0 {
            continue;
        }
        // SAFETY: the name of an entry is a C string that lives as long as the entry.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
        let name = || name.to_string_lossy().into_owned();
        // SAFETY: not null; every address begins with its family.
        let family = libc::c_int::from(unsafe { (*entry.ifa_addr).sa_family });
        if family == libc::AF_INET {
            // SAFETY: of this family, hence this structure; read without alignment.
            let v4 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            found.push((name(), IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes())));
        } else if family == libc::AF_INET6 {
            // SAFETY: of this family, hence this structure; read without alignment.
            let v6 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            found.push((name(), IpAddr::from(v6.sin6_addr.s6_addr)));
        }
    }
    // SAFETY: the list that `getifaddrs` made, freed once.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// The address that leads outside, as far as the routing table knows; nothing is sent.
#[cfg(not(unix))]
fn all() -> Vec<(String, IpAddr)> {
    let mut found = vec![(String::new(), IpAddr::from([127, 0, 0, 1]))];
    let routed = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    if let Ok(addr) = routed {
        found.push((String::new(), addr.ip()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn only_addresses_that_a_client_can_use_are_kept() {
        let all = "::1 fe80::1 2001:db8::1 127.0.0.1 10.0.0.5 169.254.1.1 10.0.0.5 0.0.0.0";
        assert_eq!(select(ips(all), false), ips("10.0.0.5 2001:db8::1"));
        assert_eq!(select(ips(all), true), ips("10.0.0.5 127.0.0.1 2001:db8::1 ::1"));
    }
}
