//! The machine's own addresses.
#![cfg_attr(unix, expect(unsafe_code, reason = "getifaddrs"))]

#[cfg(unix)]
use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A network interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// As the system calls it; empty if it does not say.
    pub name: String,
    /// It is up; else it has no addresses here.
    pub is_up: bool,
    /// Its addresses, in the system's order.
    pub addresses: Vec<IpAddr>,
}

/// Addresses of the interfaces that are up, IPv4 first, without duplicates and without IPv6
/// link-local ones, which a browser cannot use. Empty if the system does not say.
pub fn host_addresses(include_loopback: bool) -> Vec<IpAddr> {
    let all = interfaces().into_iter().flat_map(|interface| interface.addresses);
    select(all.collect(), include_loopback)
}

fn select(mut all: Vec<IpAddr>, include_loopback: bool) -> Vec<IpAddr> {
    all.retain(|ip| is_usable(*ip) && (include_loopback || !ip.is_loopback()));
    // Loopback last in its family: it is of use only to clients on this machine.
    all.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback(), *ip));
    all.dedup();
    all
}

/// Neither unspecified nor link-local.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

/// The address that datagrams to `remote` leave from, as the routing table has it; nothing is sent. `None`: there
/// is no way there.
pub fn source_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified())
}

/// The interfaces of this machine, with the addresses of those that are up. Empty if the system does not say.
#[cfg(unix)]
pub fn interfaces() -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
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
        // SAFETY: every entry has a name, which ends with a zero byte and lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        let is_up = entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0;
        let address = if is_up { ip_of(entry) } else { None };
        match found.iter_mut().find(|interface| interface.name == name) {
            Some(known) => known.addresses.extend(address),
            None => {
                let addresses = address.into_iter().collect();
                found.push(Interface { name, is_up, addresses });
            }
        }
    }
    // SAFETY: the list that `getifaddrs` made, freed once.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// The address of an entry, if it is one of IP.
#[cfg(unix)]
fn ip_of(entry: &libc::ifaddrs) -> Option<IpAddr> {
    if entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: not null; every address begins with its family.
    let family = libc::c_int::from(unsafe { (*entry.ifa_addr).sa_family });
    if family == libc::AF_INET {
        // SAFETY: of this family, hence this structure; read without alignment.
        let v4 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
        return Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()));
    }
    if family == libc::AF_INET6 {
        // SAFETY: of this family, hence this structure; read without alignment.
        let v6 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
        return Some(IpAddr::from(v6.sin6_addr.s6_addr));
    }
    None
}

/// The addresses that lead outside, as far as the routing table knows, and loopback.
#[cfg(not(unix))]
pub fn interfaces() -> Vec<Interface> {
    let outside = [(Ipv4Addr::new(192, 0, 2, 1), 9).into()];
    let routed = outside.into_iter().filter_map(source_towards);
    let addresses = std::iter::once(Ipv4Addr::LOCALHOST.into()).chain(routed).collect();
    vec![Interface { name: String::new(), is_up: true, addresses }]
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

    #[test]
    fn every_machine_has_an_interface_of_its_own_and_a_way_to_itself() {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let own = interfaces().into_iter().find(|found| found.addresses.contains(&local)).unwrap();
        assert!(own.is_up && (cfg!(not(unix)) || !own.name.is_empty()), "{own:?}");
        assert_eq!(source_towards((local, 9).into()), Some(local));
    }
}
