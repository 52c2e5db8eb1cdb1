//! Verdicts of a short while ago, so that a fleet that comes back at once is not verified for minutes. A verdict is found
//! by a keyed hash of user name, password and the user's line in the file: without the key, which lasts as long as the
//! process, it tells nothing, and another line finds nothing.

use ring::hmac;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A refusal is remembered this long: a Client that asks again and again with a wrong password costs us one
/// verification in that time.
const REFUSED: Duration = Duration::from_secs(30);

pub type Fingerprint = [u8; 32];

/// The fingerprint of credentials. Lengths go in too, so that no two of them run into one.
pub fn fingerprint(key: &hmac::Key, user: &str, password: &[u8], line: &str) -> Fingerprint {
    let mut context = hmac::Context::with_key(key);
    for part in [user.as_bytes(), password, line.as_bytes()] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.sign().as_ref());
    fingerprint
}

pub struct Cache {
    verdicts: HashMap<Fingerprint, (bool, Instant)>,
    /// The oldest first.
    order: VecDeque<Fingerprint>,
    limit: usize,
    age: Duration,
}

impl Cache {
    /// An age of zero remembers nothing.
    pub fn new(limit: usize, age: Duration) -> Self {
        Self { verdicts: HashMap::new(), order: VecDeque::new(), limit, age }
    }

    pub fn get(&self, fingerprint: &Fingerprint, now: Instant) -> Option<bool> {
        let (granted, at) = self.verdicts.get(fingerprint)?;
        let age = if *granted { self.age } else { REFUSED.min(self.age) };
        (now.saturating_duration_since(*at) < age).then_some(*granted)
    }

    /// When it is full the oldest goes.
    pub fn put(&mut self, fingerprint: Fingerprint, granted: bool, now: Instant) {
        if self.age.is_zero() || self.limit == 0 {
            return;
        }
        if self.verdicts.insert(fingerprint, (granted, now)).is_some() {
            return;
        }
        self.order.push_back(fingerprint);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.verdicts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_known_for_a_while_and_a_refusal_for_less() {
        let (mut cache, now) = (Cache::new(8, Duration::from_secs(600)), Instant::now());
        cache.put([1; 32], true, now);
        cache.put([2; 32], false, now);
        let after = |seconds| now + Duration::from_secs(seconds);
        let known = |seconds| [1, 2, 3].map(|of| cache.get(&[of; 32], after(seconds)));
        assert_eq!(known(29), [Some(true), Some(false), None]);
        assert_eq!(known(31), [Some(true), None, None]);
        assert_eq!(known(601), [None; 3]);
    }

    #[test]
    fn no_more_is_kept_than_fits_and_the_oldest_goes() {
        let (mut cache, now) = (Cache::new(2, Duration::from_secs(600)), Instant::now());
        (1..=3).for_each(|of| cache.put([of; 32], true, now));
        assert_eq!([1, 2, 3].map(|of| cache.get(&[of; 32], now)), [None, Some(true), Some(true)]);
        assert_eq!((cache.verdicts.len(), cache.order.len()), (2, 2));
    }

    #[test]
    fn a_fingerprint_is_of_all_its_parts_and_of_their_borders() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let all =
            [("ann", "x", "l"), ("an", "nx", "l"), ("ann", "y", "l"), ("ann", "x", "m"), ("annx", "", "l")];
        let found: std::collections::BTreeSet<_> = all
            .iter()
            .map(|(user, password, line)| fingerprint(&key, user, password.as_bytes(), line))
            .collect();
        assert_eq!(found.len(), all.len());
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
        assert_ne!(fingerprint(&key, "a", b"b", "c"), fingerprint(&other, "a", b"b", "c"));
    }
}
