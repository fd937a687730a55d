//! Which interfaces and addresses the operator wants used.
//!
//! * **Owns:** the lists of `rtc.interfaces` and `rtc.ips`.
//! * **In:** an interface's name and an address. **Out:** [`AddressFilter::refusal`].
//! * **Invariant:** where there are includes, nothing else counts; excludes are for the rest.
//! * **livekit-server:** `rtcconfig/webrtc_config.go` (`InterfaceFilterFromConf`, `IPFilterFromConf`).

use std::net::IpAddr;

use hearth_net::Interface;

use crate::Why;
use crate::cidr::Cidr;

/// Names of interfaces that container runtimes and hypervisors make, at their beginning. Addresses there reach only
/// what runs on this machine.
const CONTAINER_BRIDGES: &[&str] = &[
    "docker", "veth", "cni", "cbr", "flannel", "cali", "virbr", "lxcbr", "lxdbr", "podman", "vnet",
];

/// See the module documentation. Empty lists filter nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressFilter {
    /// Only these interfaces.
    pub interfaces: Vec<String>,
    /// Not these interfaces.
    pub not_interfaces: Vec<String>,
    /// Only addresses in these blocks.
    pub ips: Vec<Cidr>,
    /// No address in these blocks.
    pub not_ips: Vec<Cidr>,
}

/// Names of interfaces that this machine does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "rtc.interfaces.includes: this machine has no interface {}; it has {}",
    unknown.join(", "), known.join(", ")
)]
pub struct UnknownInterfaces {
    /// Those that were named.
    pub unknown: Vec<String>,
    /// Those that there are.
    pub known: Vec<String>,
}

impl AddressFilter {
    /// Nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
            && self.not_interfaces.is_empty()
            && self.ips.is_empty()
            && self.not_ips.is_empty()
    }

    /// Why `ip` of `interface` is not to be used; `None` if it is.
    pub fn refusal(&self, interface: &str, ip: IpAddr) -> Option<Why> {
        let named = |list: &[String]| list.iter().any(|name| name == interface);
        let inside = |list: &[Cidr]| list.iter().any(|block| block.contains(ip));
        if !self.interfaces.is_empty() {
            if !named(&self.interfaces) {
                return Some(Why::InterfaceNotIncluded);
            }
        } else if named(&self.not_interfaces) {
            return Some(Why::InterfaceExcluded);
        }
        if !self.ips.is_empty() {
            return (!inside(&self.ips)).then_some(Why::IpNotIncluded);
        }
        inside(&self.not_ips).then_some(Why::IpExcluded)
    }

    /// The operator has named this interface or a block with this address.
    pub(crate) fn names(&self, interface: &str, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|name| name == interface)
            || self.ips.iter().any(|block| block.contains(ip))
    }

    /// Every interface that is to be used has to exist: a typing error would leave all others out.
    ///
    /// # Errors
    ///
    /// Some do not.
    pub fn check(&self, machine: &[Interface]) -> Result<(), UnknownInterfaces> {
        let exists = |name: &String| machine.iter().any(|interface| interface.name == *name);
        let unknown: Vec<_> =
            self.interfaces.iter().filter(|name| !exists(name)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let known = machine.iter().map(|interface| interface.name.clone()).collect();
        Err(UnknownInterfaces { unknown, known })
    }
}

/// An interface that container runtimes or hypervisors make, as its name says.
pub(crate) fn is_container_bridge(interface: &str) -> bool {
    // Docker names the bridges of its networks by twelve hexadecimal digits; br0 and br-lan are other people's.
    let of_docker = |id: &str| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit());
    CONTAINER_BRIDGES.iter().any(|name| interface.starts_with(name))
        || interface.strip_prefix("br-").is_some_and(of_docker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_win_over_excludes() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let blocks = |blocks: &[&str]| blocks.iter().map(|b| b.parse().unwrap()).collect();
        let none = AddressFilter::default();
        let eth = AddressFilter { interfaces: list(&["eth0"]), ..none.clone() };
        let no_eth = AddressFilter { not_interfaces: list(&["eth0"]), ..none.clone() };
        let both = AddressFilter { not_interfaces: list(&["eth0"]), ..eth.clone() };
        let ten = AddressFilter { ips: blocks(&["10.0.0.0/8"]), ..none.clone() };
        let no_ten = AddressFilter { not_ips: blocks(&["10.0.0.0/8"]), ..none.clone() };
        let hole = AddressFilter { not_ips: blocks(&["10.1.0.0/16"]), ..ten.clone() };
        for (filter, interface, ip, refusal) in [
            (&none, "eth0", "10.0.0.5", None),
            (&eth, "eth0", "10.0.0.5", None),
            (&eth, "eth1", "10.0.0.5", Some(Why::InterfaceNotIncluded)),
            (&no_eth, "eth0", "10.0.0.5", Some(Why::InterfaceExcluded)),
            (&no_eth, "eth1", "10.0.0.5", None),
            (&both, "eth0", "10.0.0.5", None),
            (&ten, "eth0", "10.0.0.5", None),
            (&ten, "eth0", "192.0.2.1", Some(Why::IpNotIncluded)),
            (&no_ten, "eth0", "10.0.0.5", Some(Why::IpExcluded)),
            (&no_ten, "eth0", "2001:db8::1", None),
            (&hole, "eth0", "10.1.0.5", None),
        ] {
            let got = filter.refusal(interface, ip.parse().unwrap());
            assert_eq!(got, refusal, "{filter:?} {interface} {ip}");
        }
    }

    #[test]
    fn an_interface_that_does_not_exist_is_an_error_that_lists_those_that_do() {
        let interface =
            |name: &str| Interface { name: name.to_owned(), is_up: true, addresses: Vec::new() };
        let machine = [interface("lo"), interface("eth0")];
        let filter = AddressFilter { interfaces: vec!["eht0".into()], ..AddressFilter::default() };
        let error = filter.check(&machine).unwrap_err().to_string();
        assert_eq!(
            error,
            "rtc.interfaces.includes: this machine has no interface eht0; it has lo, eth0"
        );
        assert_eq!(AddressFilter::default().check(&machine), Ok(()));
    }

    #[test]
    fn bridges_of_containers_are_known_by_name() {
        for name in ["docker0", "docker_gwbridge", "br-0a1b2c3d4e5f", "veth12", "cni0", "virbr0"] {
            assert!(is_container_bridge(name), "{name}");
        }
        for name in ["eth0", "br0", "br-lan", "br-12", "bond0", "wlan0", "wg0", "tailscale0"] {
            assert!(!is_container_bridge(name), "{name}");
        }
    }
}
