//! Machines, wishes, and what clients are told.

use super::*;

/// `name=address,address …`.
fn machine(text: &str) -> Vec<Interface> {
    let interface = |part: &str| {
        let (name, addresses) = part.split_once('=').unwrap();
        let addresses = addresses.split(',').map(|ip| ip.parse().unwrap()).collect();
        Interface { name: name.to_owned(), is_up: true, addresses }
    };
    text.split_whitespace().map(interface).collect()
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
}

fn wishes() -> Wishes {
    Wishes { bind: ips("0.0.0.0 ::"), ..Wishes::default() }
}

fn external(local: &str, ip: &str) -> External {
    External {
        local: local.parse().unwrap(),
        ip: ip.parse().unwrap(),
        port: None,
        told_by: vec!["stun.example.org:3478".to_owned()],
        hairpin: None,
    }
}

fn told(plan: &AddressPlan) -> String {
    let all: Vec<_> = plan.advertised.iter().map(|one| one.ip.to_string()).collect();
    all.join(" ")
}

const HOST: &str = "lo=127.0.0.1,::1 eth0=10.0.0.5,2001:db8::5,fe80::1 docker0=172.17.0.1";

#[test]
fn what_clients_are_told_of_a_machine() {
    let filter = |change: fn(&mut AddressFilter)| {
        let mut filter = AddressFilter::default();
        change(&mut filter);
        Wishes { filter, ..wishes() }
    };
    let table = [
        (wishes(), HOST, "10.0.0.5 2001:db8::5"),
        (Wishes { loopback: true, ..wishes() }, HOST, "10.0.0.5 127.0.0.1 2001:db8::5 ::1"),
        (Wishes { bind: ips("0.0.0.0"), ..wishes() }, HOST, "10.0.0.5"),
        (Wishes { bind: ips("::"), ..wishes() }, HOST, "2001:db8::5"),
        (Wishes { bind: ips("10.0.0.5"), ..wishes() }, HOST, "10.0.0.5"),
        (Wishes { node_ips: ips("203.0.113.9"), ..wishes() }, HOST, "203.0.113.9"),
        // IPv6 only.
        (wishes(), "lo=127.0.0.1,::1 eth0=2001:db8::5,fe80::1", "2001:db8::5"),
        // Two uplinks.
        (wishes(), "eth0=10.0.0.5 eth1=192.0.2.5", "10.0.0.5 192.0.2.5"),
        // Bridges of containers: left out, but if they are all there is or are named.
        (wishes(), "lo=127.0.0.1 docker0=172.17.0.1", "172.17.0.1"),
        (filter(|f| f.interfaces = vec!["docker0".into()]), HOST, "172.17.0.1"),
        (filter(|f| f.ips = vec!["172.16.0.0/12".parse().unwrap()]), HOST, "172.17.0.1"),
        (filter(|f| f.not_interfaces = vec!["eth0".into()]), HOST, "172.17.0.1"),
        (filter(|f| f.not_ips = vec!["::/0".parse().unwrap()]), HOST, "10.0.0.5"),
        // The same address twice.
        (wishes(), "eth0=10.0.0.5 eth1=10.0.0.5", "10.0.0.5"),
    ];
    for (wishes, host, expected) in table {
        let plan = select(&wishes, &machine(host)).finish(&wishes, &[]).unwrap();
        assert_eq!(told(&plan), expected, "{wishes:?} {host}");
    }
}

#[test]
fn external_addresses_are_told_beside_the_machines_own() {
    let found = [external("10.0.0.5", "203.0.113.9")];
    let with = |wishes: Wishes| {
        select(&wishes, &machine(HOST)).finish(&wishes, &found).map(|plan| told(&plan))
    };
    let use_it = || Wishes { external: true, ..wishes() };
    assert_eq!(with(use_it()).unwrap(), "10.0.0.5 2001:db8::5 203.0.113.9");
    let only = Wishes { external_only: true, ..use_it() };
    assert_eq!(with(only).unwrap(), "2001:db8::5 203.0.113.9");
    let both = Wishes { node_ips: ips("198.51.100.7"), ..use_it() };
    assert_eq!(with(both).unwrap(), "198.51.100.7 203.0.113.9");
    // Without a NAT there is nothing to add.
    let same = [external("10.0.0.5", "10.0.0.5")];
    let only = Wishes { external_only: true, ..use_it() };
    let plan = select(&only, &machine(HOST)).finish(&only, &same).unwrap();
    assert_eq!(told(&plan), "10.0.0.5 2001:db8::5");
}

#[test]
fn every_address_has_its_reason_and_so_has_every_one_left_out() {
    let wishes = Wishes { external: true, ..wishes() };
    let found = [external("10.0.0.5", "203.0.113.9")];
    let mut plan = select(&wishes, &machine(HOST)).finish(&wishes, &found).unwrap();
    plan.ports = vec![7_882, 7_883];
    assert_eq!(
        plan.lines(),
        [
            "10.0.0.5:7882-7883 (udp): address of eth0",
            "[2001:db8::5]:7882-7883 (udp): address of eth0",
            "203.0.113.9:7882-7883 (udp): external address of 10.0.0.5, told by stun.example.org:3478",
        ]
    );
    assert_eq!(plan.advertised[2].local, Some(ips("10.0.0.5")[0]));
    let left_out: Vec<_> = plan.excluded.iter().map(|e| (e.ip.to_string(), e.why)).collect();
    let left_out: Vec<_> = left_out.iter().map(|(ip, why)| (ip.as_str(), *why)).collect();
    assert_eq!(
        left_out,
        [
            ("127.0.0.1", Why::Loopback),
            ("::1", Why::Loopback),
            ("fe80::1", Why::LinkLocal),
            ("172.17.0.1", Why::ContainerBridge)
        ]
    );
    let [remark] = &plan.remarks[..] else { panic!("{:?}", plan.remarks) };
    assert!(remark.contains("(docker0)") && remark.contains("includes: [docker0]"), "{remark}");
}

#[test]
fn a_node_ip_that_is_not_the_machines_own_is_a_nats() {
    let wishes = Wishes { node_ips: ips("203.0.113.9 10.0.0.5"), ..wishes() };
    let plan = select(&wishes, &machine(HOST)).finish(&wishes, &[]).unwrap();
    let [theirs, own] = &plan.advertised[..] else { panic!("{plan:?}") };
    assert_eq!((&theirs.reason, theirs.local), (&Reason::NodeIp { here: false }, None));
    assert_eq!((&own.reason, own.local), (&Reason::NodeIp { here: true }, Some(own.ip)));
    assert!(plan.excluded.iter().any(|e| e.why == Why::NodeIpInstead));
}

#[test]
fn a_filter_also_decides_what_is_bound() {
    let interfaces = vec!["eth0".to_owned()];
    let filter = AddressFilter { interfaces, ..AddressFilter::default() };
    let filtered = Wishes { filter, ..wishes() };
    let bind = |wishes: &Wishes| select(wishes, &machine(HOST)).finish(wishes, &[]).unwrap().bind;
    assert_eq!(bind(&wishes()), ips("0.0.0.0 ::"));
    assert_eq!(bind(&filtered), ips("10.0.0.5 2001:db8::5"));
    // A NAT leads to what is bound.
    assert_eq!(
        bind(&Wishes { node_ips: ips("203.0.113.9"), ..filtered }),
        ips("10.0.0.5 2001:db8::5")
    );
}

#[test]
fn without_any_address_the_reasons_are_told() {
    let ips = vec!["192.0.2.0/24".parse().unwrap()];
    let filter = AddressFilter { ips, ..AddressFilter::default() };
    let wishes = Wishes { filter, ..wishes() };
    let error = select(&wishes, &machine(HOST)).finish(&wishes, &[]).unwrap_err().to_string();
    assert!(error.contains("10.0.0.5 of eth0 (rtc.ips.includes has other addresses)"), "{error}");
}

#[test]
fn ports_are_written_shortly() {
    for (numbers, text) in [
        (&[][..], ""),
        (&[1], ":1"),
        (&[1, 2, 3], ":1-3"),
        (&[1, 3], ":1,3"),
        (&[65_535, 1], ":65535,1"),
    ] {
        assert_eq!(ports(numbers), text);
    }
}
