//! The plan: which addresses clients are told and why, which are bound, which are left out and why.
//!
//! * **Owns:** [`AddressPlan`], a value that can be printed.
//! * **In:** [`Wishes`], interfaces, then what STUN has found ([`Selected::finish`]).
//! * **Out:** the plan, or [`NoAddress`].
//! * **Invariant:** the list is additive: configured addresses, then the machine's own, then external ones, each
//!   once. Only `node_ip` and `external_ip_only` take the machine's own off it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hearth_net::Interface;

use crate::external::External;
use crate::filter::{AddressFilter, is_container_bridge};

/// What the operator wants.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wishes {
    /// Addresses to bind; an unspecified one stands for all of its family.
    pub bind: Vec<IpAddr>,
    /// `rtc.node_ip`: these are advertised, and the machine's own are not.
    pub node_ips: Vec<IpAddr>,
    /// `rtc.interfaces`, `rtc.ips`.
    pub filter: AddressFilter,
    /// Also advertise loopback addresses.
    pub loopback: bool,
    /// `rtc.use_external_ip`.
    pub external: bool,
    /// `rtc.external_ip_only`: hide the machine's own IPv4 addresses.
    pub external_only: bool,
}

/// Why an address is advertised.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// It is one of this machine's.
    Interface(String),
    /// `rtc.node_ip` names it. `here`: it is one of this machine's; else a NAT has it.
    NodeIp {
        /// See above.
        here: bool,
    },
    /// STUN servers see `of` as this.
    External {
        /// The machine's own address.
        of: IpAddr,
        /// The servers that said so.
        told_by: Vec<String>,
    },
}

/// An address that clients are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advertised {
    /// The address.
    pub ip: IpAddr,
    /// Why.
    pub reason: Reason,
    /// The address of this machine that datagrams for it arrive at, as far as that is known.
    pub local: Option<IpAddr>,
}

/// Why an address is not advertised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Nobody but this machine can use it.
    Loopback,
    /// Browsers do not use link-local addresses.
    LinkLocal,
    /// The interface belongs to containers or virtual machines here.
    ContainerBridge,
    /// `rtc.interfaces.includes` has others.
    InterfaceNotIncluded,
    /// `rtc.interfaces.excludes` has it.
    InterfaceExcluded,
    /// `rtc.ips.includes` has others.
    IpNotIncluded,
    /// `rtc.ips.excludes` has it.
    IpExcluded,
    /// Media is not received there.
    NotBound,
    /// `rtc.node_ip` names others.
    NodeIpInstead,
    /// `rtc.external_ip_only`.
    ExternalOnly,
}

/// An address of this machine that clients are not told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excluded {
    /// The address.
    pub ip: IpAddr,
    /// Its interface.
    pub interface: String,
    /// Why.
    pub why: Why,
}

/// See the module documentation. Its `Display` is one line for each advertised address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressPlan {
    /// Most wanted first.
    pub advertised: Vec<Advertised>,
    /// Left out.
    pub excluded: Vec<Excluded>,
    /// What to bind; an unspecified address stands for all of its family.
    pub bind: Vec<IpAddr>,
    /// UDP ports, each media thread's; filled in when they are bound.
    pub ports: Vec<u16>,
    /// What the operator should know.
    pub remarks: Vec<String>,
}

/// There is nothing to tell clients.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this machine has no address that clients could use{}; name one with --node-ip",
    listed(excluded)
)]
pub struct NoAddress {
    /// All that it has.
    pub excluded: Vec<Excluded>,
}

fn listed(excluded: &[Excluded]) -> String {
    let one = |e: &Excluded| format!("{} of {} ({})", e.ip, e.interface, e.why);
    let all: Vec<_> = excluded.iter().filter(|e| e.why != Why::LinkLocal).map(one).collect();
    if all.is_empty() { String::new() } else { format!(", but {}", all.join(", ")) }
}

/// The machine's own addresses, sorted into those to use and the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selected {
    /// With their interfaces, IPv4 first.
    pub own: Vec<(IpAddr, String)>,
    excluded: Vec<Excluded>,
    bind: Vec<IpAddr>,
    remarks: Vec<String>,
}

/// Decides which of the machine's own addresses are used.
pub fn select(wishes: &Wishes, machine: &[Interface]) -> Selected {
    let mut own: Vec<(IpAddr, String)> = Vec::new();
    let mut bridges = Vec::new();
    let mut excluded = Vec::new();
    for interface in machine {
        for &ip in &interface.addresses {
            let name = interface.name.clone();
            match refusal(wishes, &name, ip) {
                None if own.iter().any(|(known, _)| *known == ip) => {}
                None if is_container_bridge(&name) && !wishes.filter.names(&name, ip) => {
                    bridges.push((ip, name));
                }
                None => own.push((ip, name)),
                Some(why) => excluded.push(Excluded { ip, interface: name, why }),
            }
        }
    }
    let mut remarks = Vec::new();
    if own.iter().all(|(ip, _)| ip.is_loopback()) {
        own.append(&mut bridges);
    } else if let Some((_, example)) = bridges.first() {
        let mut names: Vec<&str> = bridges.iter().map(|(_, name)| name.as_str()).collect();
        names.dedup();
        remarks.push(format!(
            "Clients are not told of addresses of container bridges ({}), which only this machine reaches; \
             `rtc.interfaces.includes: [{example}]` would",
            names.join(", ")
        ));
    }
    let left_out = |(ip, interface)| Excluded { ip, interface, why: Why::ContainerBridge };
    excluded.extend(bridges.into_iter().map(left_out));
    // Loopback last in its family: it is of use only to clients on this machine.
    own.sort_by_key(|(ip, _)| (ip.is_ipv6(), ip.is_loopback()));
    let bind = bind(wishes, &own);
    Selected { own, excluded, bind, remarks }
}

fn refusal(wishes: &Wishes, interface: &str, ip: IpAddr) -> Option<Why> {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let bound = |at: &IpAddr| *at == ip || (at.is_unspecified() && at.is_ipv4() == ip.is_ipv4());
    if link_local || ip.is_unspecified() {
        Some(Why::LinkLocal)
    } else if ip.is_loopback() && !wishes.loopback {
        Some(Why::Loopback)
    } else if !wishes.bind.iter().any(bound) {
        Some(Why::NotBound)
    } else if ip.is_loopback() {
        None
    } else {
        wishes.filter.refusal(interface, ip)
    }
}

/// With a filter, only what it lets through is bound.
fn bind(wishes: &Wishes, own: &[(IpAddr, String)]) -> Vec<IpAddr> {
    if wishes.filter.is_empty() || own.is_empty() {
        return wishes.bind.clone();
    }
    own.iter().map(|(ip, _)| *ip).collect()
}

impl Selected {
    /// Own addresses whose external ones are to be found: of IPv4, and of IPv6 where a prefix is translated.
    pub fn to_ask_for(&self) -> Vec<IpAddr> {
        let asked = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => !v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        self.own.iter().map(|(ip, _)| *ip).filter(asked).collect()
    }

    /// Puts all together.
    ///
    /// # Errors
    ///
    /// Nothing is left to advertise.
    pub fn finish(self, wishes: &Wishes, external: &[External]) -> Result<AddressPlan, NoAddress> {
        let Self { own, mut excluded, bind, remarks } = self;
        let mut plan = AddressPlan { bind, remarks, ..AddressPlan::default() };
        for &ip in &wishes.node_ips {
            // All of 127.0.0.0/8 is this machine's, and the list has one of it.
            let here = ip.is_loopback()
                || own.iter().any(|(own, _)| *own == ip)
                || excluded.iter().any(|left_out| left_out.ip == ip);
            plan.advertise(ip, Reason::NodeIp { here }, here.then_some(ip));
        }
        excluded.retain(|left_out| !wishes.node_ips.contains(&left_out.ip));
        for (ip, interface) in own {
            let why = if !wishes.node_ips.is_empty() {
                Some(Why::NodeIpInstead)
            } else if wishes.external_only && ip.is_ipv4() && !is_external(ip, external) {
                Some(Why::ExternalOnly)
            } else {
                None
            };
            match why {
                Some(_) if wishes.node_ips.contains(&ip) => {}
                Some(why) => excluded.push(Excluded { ip, interface, why }),
                None => plan.advertise(ip, Reason::Interface(interface), Some(ip)),
            }
        }
        for found in external {
            let reason = Reason::External { of: found.local, told_by: found.told_by.clone() };
            plan.advertise(found.ip, reason, Some(found.local));
        }
        plan.excluded = excluded;
        if !wishes.node_ips.is_empty() && wishes.external {
            plan.remarks.push(
                "rtc.node_ip and rtc.use_external_ip are both set: clients are told both"
                    .to_owned(),
            );
        }
        if plan.advertised.is_empty() {
            return Err(NoAddress { excluded: plan.excluded });
        }
        Ok(plan)
    }
}

fn is_external(ip: IpAddr, external: &[External]) -> bool {
    external.iter().any(|found| found.ip == ip)
}

impl AddressPlan {
    fn advertise(&mut self, ip: IpAddr, reason: Reason, local: Option<IpAddr>) {
        if self.advertised.iter().all(|known| known.ip != ip) {
            self.advertised.push(Advertised { ip, reason, local });
        }
    }

    /// One line for each advertised address: where, and why.
    pub fn lines(&self) -> Vec<String> {
        let ports = ports(&self.ports);
        let place = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => format!("{v4}{ports}"),
            IpAddr::V6(v6) => format!("[{v6}]{ports}"),
        };
        let line = |one: &Advertised| format!("{} (udp): {}", place(one.ip), one.reason);
        self.advertised.iter().map(line).collect()
    }

    /// The addresses to advertise, with port 0 for that of a peer's thread.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        self.advertised.iter().map(|one| SocketAddr::new(one.ip, 0)).collect()
    }
}

/// `:7882`, `:7882-7885` or `:7882,7890`.
fn ports(ports: &[u16]) -> String {
    let follows = |pair: &[u16]| matches!(pair, [one, next] if one.checked_add(1) == Some(*next));
    match ports {
        [] => String::new(),
        [only] => format!(":{only}"),
        [first, .., last] if ports.windows(2).all(follows) => format!(":{first}-{last}"),
        many => {
            let each: Vec<_> = many.iter().map(ToString::to_string).collect();
            format!(":{}", each.join(","))
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) if name.is_empty() => write!(f, "address of this machine"),
            Self::Interface(name) => write!(f, "address of {name}"),
            Self::NodeIp { here: true } => write!(f, "named by rtc.node_ip"),
            Self::NodeIp { here: false } => {
                write!(f, "named by rtc.node_ip; not this machine's own, so a NAT has to have it")
            }
            Self::External { of, told_by } => {
                write!(f, "external address of {of}, told by {}", told_by.join(" and "))
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback; `rtc.enable_loopback_candidate: true` advertises it",
            Self::LinkLocal => "link-local, which browsers do not use",
            Self::ContainerBridge => "a container bridge",
            Self::InterfaceNotIncluded => "rtc.interfaces.includes has other interfaces",
            Self::InterfaceExcluded => "rtc.interfaces.excludes",
            Self::IpNotIncluded => "rtc.ips.includes has other addresses",
            Self::IpExcluded => "rtc.ips.excludes",
            Self::NotBound => "media is not received there",
            Self::NodeIpInstead => "rtc.node_ip names others",
            Self::ExternalOnly => "rtc.external_ip_only",
        })
    }
}

#[cfg(test)]
mod tests;
