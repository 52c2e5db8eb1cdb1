//! What one address may take of the node: places, places for those who are not connected by MQTT yet, and new connections
//! a second. One that takes more is refused while others are let in. Of IPv6 the first 64 bits count: they are one
//! customer's, who can use a new address for each connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::admit::{Bucket, Refusal};
use crate::config::{AddressLimits, Network};

/// Addresses without a connection that are remembered, so that their rates hold. Beyond it all of them are forgotten: who
/// has this many addresses is bounded by what holds for the node.
const IDLE_LIMIT: usize = 1 << 16;

/// All addresses that have connections, and those that had some a moment ago.
pub struct Addresses {
    limits: AddressLimits,
    exempt: Vec<Network>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    found: HashMap<Origin, Use>,
    /// Length at which those without a connection are forgotten.
    full: usize,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    V4(u32),
    /// The first half.
    V6(u64),
}

struct Use {
    open: u32,
    half_open: u32,
    bucket: Bucket,
}

impl Origin {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// A place of an address, given back when this is dropped.
pub struct Place {
    addresses: Arc<Addresses>,
    key: Origin,
    is_half_open: bool,
}

impl Addresses {
    pub fn new(limits: AddressLimits, exempt: Vec<Network>) -> Self {
        Self { limits, exempt, table: Mutex::new(Table { full: IDLE_LIMIT, ..Table::default() }) }
    }

    /// A place for a new connection. None for an address to which no limit applies.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Option<Place>, Refusal> {
        let AddressLimits { connections, half_open, connects_per_second } = self.limits;
        if self.exempt.iter().any(|network| network.contains(address)) {
            return Ok(None);
        }
        let key = Origin::of(address);
        let mut table = self.table();
        let new = || Use { open: 0, half_open: 0, bucket: Bucket::full(connects_per_second, now) };
        let used = table.found.entry(key).or_insert_with(new);
        if !used.bucket.take(now) {
            return Err(Refusal::AddressTooFast);
        }
        if used.half_open >= half_open {
            return Err(Refusal::AddressHalfOpen);
        }
        if used.open >= connections {
            return Err(Refusal::AddressTooMany);
        }
        used.open += 1;
        used.half_open += 1;
        table.forget_idle();
        Ok(Some(Place { addresses: Arc::clone(self), key, is_half_open: true }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_idle(&mut self) {
        if self.found.len() >= self.full {
            self.found.retain(|_, used| used.open > 0);
            self.full = self.found.len() + IDLE_LIMIT;
        }
    }
}

impl Place {
    /// The Client is connected.
    pub fn open(&mut self) {
        if std::mem::take(&mut self.is_half_open) {
            self.change(|used| used.half_open -= 1);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Use)) {
        let mut table = self.addresses.table();
        change(table.found.get_mut(&self.key).expect("an address with a connection is never forgotten"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let half_open = u32::from(self.is_half_open);
        self.change(|used| {
            used.open -= 1;
            used.half_open -= half_open;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addresses(connections: u32, half_open: u32, connects_per_second: u32) -> Arc<Addresses> {
        let limits = AddressLimits { connections, half_open, connects_per_second };
        Arc::new(Addresses::new(limits, vec!["127.0.0.0/8".parse().expect("a network")]))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_that_is_full_keeps_nobody_else_out() {
        let (addresses, now) = (addresses(2, 9, 100), Instant::now());
        let enter = |address| addresses.enter(ip(address), now).map(Option::unwrap);
        let first = enter("203.0.113.7");
        let _second = enter("::ffff:203.0.113.7");
        assert_eq!(enter("203.0.113.7").err(), Some(Refusal::AddressTooMany));
        let _other = enter("203.0.113.8").expect("another address");
        drop(first);
        assert!(enter("203.0.113.7").is_ok());
    }

    #[test]
    fn half_of_an_ipv6_address_is_one_address() {
        let (addresses, now) = (addresses(1, 1, 100), Instant::now());
        let _first = addresses.enter(ip("2001:db8:0:1::7"), now).expect("a place");
        assert!(addresses.enter(ip("2001:db8:0:1:ffff::1"), now).is_err());
        assert!(addresses.enter(ip("2001:db8:0:2::7"), now).is_ok());
    }

    #[test]
    fn who_is_connected_is_half_open_no_more() {
        let (addresses, now) = (addresses(9, 1, 100), Instant::now());
        let mut first = addresses.enter(ip("203.0.113.7"), now).ok().flatten().expect("a place");
        assert_eq!(addresses.enter(ip("203.0.113.7"), now).err(), Some(Refusal::AddressHalfOpen));
        first.open();
        first.open();
        let second = addresses.enter(ip("203.0.113.7"), now).ok().flatten().expect("a place");
        drop((first, second));
        let table = addresses.table();
        assert!(table.found.values().all(|used| (used.open, used.half_open) == (0, 0)));
    }

    #[test]
    fn an_address_in_a_hurry_waits_and_loopback_does_not() {
        let (addresses, now) = (addresses(99, 99, 2), Instant::now());
        let outcomes: Vec<_> = (0..3).map(|_| addresses.enter(ip("203.0.113.7"), now).err()).collect();
        assert_eq!(outcomes, [None, None, Some(Refusal::AddressTooFast)]);
        assert!(addresses.enter(ip("203.0.113.7"), now + Duration::from_millis(600)).is_ok());
        assert!((0..99).all(|_| matches!(addresses.enter(ip("127.0.0.1"), now), Ok(None))));
    }

    #[test]
    fn the_table_does_not_grow_with_addresses_that_have_gone() {
        let (addresses, now) = (addresses(9, 9, 9), Instant::now());
        let _stays = addresses.enter(ip("203.0.113.7"), now).expect("a place");
        for number in 0..3 * IDLE_LIMIT as u32 {
            drop(addresses.enter(IpAddr::from(number.to_be_bytes()), now));
        }
        let table = addresses.table();
        assert!(table.found.len() <= IDLE_LIMIT + 1, "{}", table.found.len());
        assert!(table.found.contains_key(&Origin::of(ip("203.0.113.7"))));
    }
}
