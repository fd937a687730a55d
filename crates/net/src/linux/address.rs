//! Socket addresses as the kernel wants them, and control messages.
#![expect(unsafe_code, reason = "reads and writes the C structures of the socket calls")]

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

/// Room for an address of either family.
pub(super) type RawAddr = libc::sockaddr_in6;
/// Room for the control messages of one datagram, aligned as `cmsghdr` must be.
pub(super) type Control = [u64; 12];
/// No control messages yet.
pub(super) const NO_CONTROL: Control = [0; 12];

/// Packet info of either family, the size of segments, and a time.
const _: () = assert!(size_of::<Control>() >= 40 + 24 + 32);

/// An address of no family.
pub(super) const NO_ADDR: RawAddr = libc::sockaddr_in6 {
    sin6_family: 0,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};

/// Writes `addr` for the kernel, and says how long it is.
pub(super) fn to_raw(addr: SocketAddr) -> (RawAddr, libc::socklen_t) {
    let mut raw = NO_ADDR;
    match addr {
        SocketAddr::V4(v4) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `RawAddr` is longer than `sockaddr_in` and aligned at least as strictly; both
            // are plain integers.
            unsafe { std::ptr::from_mut(&mut raw).cast::<libc::sockaddr_in>().write(v4) };
            (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(v6) => {
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_flowinfo = v6.flowinfo();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}

/// Reads what the kernel wrote; `None` for another family.
pub(super) fn from_raw(raw: &RawAddr) -> Option<SocketAddr> {
    match libc::c_int::from(raw.sin6_family) {
        libc::AF_INET => {
            // SAFETY: as in `to_raw`; the family says that it is a `sockaddr_in`.
            let v4 = unsafe { std::ptr::from_ref(raw).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// A `msghdr` with nothing in it.
pub(super) fn no_message() -> libc::msghdr {
    // SAFETY: all its fields are integers and pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Control messages of a received message: local address, segment size, arrival time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    /// The address of ours to answer from: the one it was sent to, and for a broadcast that of the
    /// interface (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub(super) to: Option<IpAddr>,
    /// It holds several datagrams of so many bytes, the last one maybe fewer (`UDP_GRO`).
    pub(super) segment: Option<usize>,
    /// Arrival time, since 1970-01-01 UTC (`SO_TIMESTAMPNS`).
    pub(super) at: Option<Duration>,
}

/// Reads the control messages of a received message.
pub(super) fn arrival(message: &libc::msghdr) -> Arrival {
    let mut arrival = Arrival::default();
    // SAFETY: the kernel has filled the control buffer that `message` points to, and set its
    // length; `CMSG_FIRSTHDR` and `CMSG_NXTHDR` stay inside it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, hence a complete header inside the control buffer, which is aligned.
        let (level, kind, len) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len as usize) };
        // SAFETY: the data follow the header; they are only read if the length says they are there.
        let data = unsafe { libc::CMSG_DATA(header) };
        let holds = |size: usize| len >= offset_of_data() + size;
        if level == libc::IPPROTO_IP
            && kind == libc::IP_PKTINFO
            && holds(size_of::<libc::in_pktinfo>())
        {
            // SAFETY: long enough, as just checked; read without alignment.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            arrival.to = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
        }
        if level == libc::IPPROTO_IPV6
            && kind == libc::IPV6_PKTINFO
            && holds(size_of::<libc::in6_pktinfo>())
        {
            // SAFETY: long enough, as just checked; read without alignment.
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            arrival.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
        }
        if level == libc::SOL_UDP && kind == libc::UDP_GRO && holds(size_of::<libc::c_int>()) {
            // SAFETY: long enough, as just checked; read without alignment.
            let size = unsafe { data.cast::<libc::c_int>().read_unaligned() };
            arrival.segment = usize::try_from(size).ok().filter(|size| *size > 0);
        }
        if level == libc::SOL_SOCKET
            && kind == libc::SCM_TIMESTAMPNS
            && holds(size_of::<libc::timespec>())
        {
            // SAFETY: long enough, as just checked; read without alignment.
            let at = unsafe { data.cast::<libc::timespec>().read_unaligned() };
            let parts = (u64::try_from(at.tv_sec), u32::try_from(at.tv_nsec));
            arrival.at = if let (Ok(secs), Ok(nanos)) = parts {
                Some(Duration::new(secs, nanos))
            } else {
                None
            };
        }
        // SAFETY: `header` came from this `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    arrival
}

/// Control messages of one message to send: local address, segment size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Cut it into datagrams of so many bytes.
    pub(super) segment: Option<u16>,
    /// Send it from this address of ours.
    pub(super) source: Option<IpAddr>,
}

/// Adds `options` to `message`. `control` must be zeroed, and stay where it is until the message
/// is sent.
pub(super) fn set_options(message: &mut libc::msghdr, control: &mut Control, options: Options) {
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the control buffer is as long as `message` says.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    let mut used = 0;
    if let Some(size) = options.segment {
        (header, used) = put(message, header, used, libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }
    match options.source {
        Some(IpAddr::V4(ip)) => {
            let from = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: any };
            (_, used) = put(message, header, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let from = libc::in6_addr { s6_addr: ip.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: from, ipi6_ifindex: 0 };
            (_, used) = put(message, header, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    message.msg_controllen = used as _;
    if used == 0 {
        message.msg_control = std::ptr::null_mut();
    }
}

/// Writes one control message at `header`; returns the place of the next, and the bytes used.
fn put<T: Copy>(
    message: &libc::msghdr,
    header: *mut libc::cmsghdr,
    used: usize,
    level: libc::c_int,
    kind: libc::c_int,
    data: T,
) -> (*mut libc::cmsghdr, usize) {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: computes lengths only.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size)) };
    let after = used + space;
    if header.is_null() || after > size_of::<Control>() {
        debug_assert!(false, "a control message does not fit");
        return (std::ptr::null_mut(), used);
    }
    // SAFETY: `header` is `used` bytes into the control buffer, which is zeroed and aligned, and
    // has room for `space` more bytes, as just checked.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = len as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
        (libc::CMSG_NXTHDR(message, header), after)
    }
}

/// Bytes of a control message before its data.
fn offset_of_data() -> usize {
    // SAFETY: computes a length only.
    let len = unsafe { libc::CMSG_LEN(0) } as usize;
    debug_assert!(len > offset_of!(libc::cmsghdr, cmsg_type));
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for addr in ["127.0.0.1:7882", "255.1.2.3:65535", "[2001:db8::1]:1", "[fe80::1%3]:9"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(from_raw(&to_raw(addr).0), Some(addr));
        }
        assert_eq!(from_raw(&NO_ADDR), None);
    }
}
