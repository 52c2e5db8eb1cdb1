//! How often an address may fail to prove who it is: whoever guesses is slowed down, before a guess costs us anything.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

const WHILE: Duration = Duration::from_secs(60);

/// Addresses that are kept at once. Beyond it new ones are not counted until old ones are over.
const ADDRESSES: usize = 1 << 16;

pub struct Failures {
    /// In a while; zero for any number.
    limit: u32,
    counts: HashMap<IpAddr, (u32, Instant)>,
}

impl Failures {
    pub fn new(limit: u32) -> Self {
        Self { limit, counts: HashMap::new() }
    }

    /// Whether an address may try.
    pub fn allow(&self, address: IpAddr, now: Instant) -> bool {
        let found = self.counts.get(&household(address));
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= WHILE;
        self.limit == 0 || found.is_none_or(|(count, since)| *count < self.limit || is_over(since))
    }

    pub fn count(&mut self, address: IpAddr, now: Instant) {
        if self.limit == 0 {
            return;
        }
        let address = household(address);
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= WHILE;
        if self.counts.len() >= ADDRESSES && !self.counts.contains_key(&address) {
            self.counts.retain(|_, (_, since)| !is_over(since));
            if self.counts.len() >= ADDRESSES {
                return;
            }
        }
        let (count, since) = self.counts.entry(address).or_insert((0, now));
        if is_over(since) {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
    }
}

/// Of IPv6 a Client has as many addresses as it likes, all of one network.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_too_often_waits() {
        let (mut failures, now) = (Failures::new(2), Instant::now());
        let (mine, other): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert!(failures.allow(mine, now));
        failures.count(mine, now);
        failures.count("2001:db8::2".parse().unwrap(), now);
        assert!(!failures.allow(mine, now) && failures.allow(other, now));
        assert!(failures.allow(mine, now + WHILE));
        failures.count(mine, now + WHILE);
        assert!(failures.allow(mine, now + WHILE));
    }

    #[test]
    fn without_a_limit_nothing_is_kept_and_with_one_no_more_than_fits() {
        let (mut failures, now) = (Failures::new(0), Instant::now());
        failures.count("10.0.0.1".parse().unwrap(), now);
        assert!(failures.counts.is_empty() && failures.allow("10.0.0.1".parse().unwrap(), now));
        let mut failures = Failures::new(1);
        for number in 0..=ADDRESSES as u32 {
            failures.count(IpAddr::V4(number.into()), now);
        }
        assert_eq!(failures.counts.len(), ADDRESSES);
        failures.count("255.0.0.1".parse().unwrap(), now + WHILE);
        assert_eq!(failures.counts.len(), 1);
    }
}
