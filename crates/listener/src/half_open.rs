//! Connections that are opening: what they are for is not known yet, or their TLS handshake is not done.
//!
//! * **Owns:** who they are from, in the order of their coming.
//! * **In:** [`admit`](HalfOpen::admit) and [`add`](HalfOpen::add) for a new one, [`remove`](HalfOpen::remove) when
//!   it has opened or ended.
//! * **Out:** whether a new one is admitted, and which one is closed for it.
//! * **Invariant:** at most [`MOST`] in all and [`OF_ONE`] of an address (of IPv6, of a network of 64 bits), so that
//!   nobody without many addresses can keep others out, and a flood from many costs bounded memory. Where there
//!   are too many in all or of an address, the oldest of them goes: a client that means it opens within a second, also
//!   behind a load balancer whose address all have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

/// Most in all. Each may hold tens of kilobytes of an incomplete handshake: higher withstands larger floods, lower takes
/// less memory.
pub(crate) const MOST: usize = 2_048;
/// Most of one address. Higher lets more people behind one NAT join in the same second, lower leaves less to one attacker.
pub(crate) const OF_ONE: usize = 128;

/// What a new connection may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Admission<K> {
    /// Open.
    Open,
    /// Open, when this one, the oldest, has been closed.
    Instead(K),
    /// Open, when this one, the oldest of its address, has been closed.
    InsteadOfItsOwn(K),
}

/// See the module documentation. `K` names a connection.
#[derive(Debug)]
pub(crate) struct HalfOpen<K> {
    by_age: BTreeMap<u64, (K, IpAddr)>,
    ages: HashMap<K, u64>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    next: u64,
}

impl<K: Clone + Eq + Hash> HalfOpen<K> {
    pub(crate) fn new() -> Self {
        let (by_age, ages, by_address) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { by_age, ages, by_address, next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Whether one from this address may open.
    pub(crate) fn admit(&self, from: IpAddr) -> Admission<K> {
        let own = self.by_address.get(&network(from)).filter(|ages| ages.len() >= OF_ONE);
        if let Some((oldest, _)) =
            own.and_then(BTreeSet::first).and_then(|age| self.by_age.get(age))
        {
            return Admission::InsteadOfItsOwn(oldest.clone());
        }
        match self.by_age.first_key_value() {
            Some((_, (oldest, _))) if self.by_age.len() >= MOST => {
                Admission::Instead(oldest.clone())
            }
            Some(_) | None => Admission::Open,
        }
    }

    /// One is opening.
    pub(crate) fn add(&mut self, key: K, from: IpAddr) {
        let from = network(from);
        self.by_address.entry(from).or_default().insert(self.next);
        self.by_age.insert(self.next, (key.clone(), from));
        self.ages.insert(key, self.next);
        self.next += 1;
    }

    /// It has opened or ended. Once more is harmless.
    pub(crate) fn remove(&mut self, key: &K) {
        let Some(age) = self.ages.remove(key) else { return };
        let Some((_, from)) = self.by_age.remove(&age) else { return };
        if let Some(ages) = self.by_address.get_mut(&from) {
            ages.remove(&age);
            if ages.is_empty() {
                self.by_address.remove(&from);
            }
        }
    }
}

/// What one customer of a provider has: an IPv4 address, or the first half of an IPv6 address.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let mut open = HalfOpen::new();
        for (address, neighbour, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:198.51.100.1", "198.51.100.1", "198.51.100.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            let [address, neighbour, other] =
                [address, neighbour, other].map(|text| text.parse::<IpAddr>().unwrap());
            let keys: Vec<_> = (0..OF_ONE).map(|number| (address, number)).collect();
            for key in &keys {
                assert_eq!(open.admit(address), Admission::Open);
                open.add(*key, address);
            }
            assert_eq!(open.admit(neighbour), Admission::InsteadOfItsOwn(keys[0]));
            assert_eq!(open.admit(other), Admission::Open);
            open.remove(&keys[0]);
            open.remove(&keys[0]);
            assert_eq!(open.admit(neighbour), Admission::Open);
            assert_eq!(open.admit(address), Admission::Open);
        }
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut open = HalfOpen::new();
        let from = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..MOST as u32 {
            assert_eq!(open.admit(from(number)), Admission::Open);
            open.add(number, from(number));
        }
        assert_eq!(open.admit(from(9_999_999)), Admission::Instead(0));
        open.remove(&1);
        assert_eq!(open.admit(from(9_999_999)), Admission::Open);
        open.add(u32::MAX, from(9_999_999));
        open.remove(&0);
        open.add(u32::MAX - 1, from(9_999_998));
        assert_eq!(open.admit(from(7)), Admission::Instead(2));
        assert_eq!(open.len(), MOST);
    }

    #[test]
    fn nothing_is_left_of_those_that_are_gone() {
        let mut open = HalfOpen::new();
        for number in 0..100_u8 {
            open.add(number, IpAddr::from([192, 0, 2, number % 7]));
        }
        (0..100).for_each(|number| open.remove(&number));
        assert_eq!((open.len(), open.ages.len(), open.by_address.len()), (0, 0, 0));
    }
}
