//! Topic Filters that one SUBSCRIBE or UNSUBSCRIBE names more than once. It is as if they came one after the other
//! [MQTT-3.8.4-5], so the last options hold; but a megabyte of the same few is not worth a record for each.

use convoy_wire::{RetainHandling, SubscriptionOptions};
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// By the hashes of their Topic Filters.
#[derive(Debug, Default)]
pub struct Repeats {
    seed: u64,
    found: FxHashMap<u64, Repeat>,
}

#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// Where it is named first, and how often it is.
    pub first: u32,
    count: u32,
    /// What is to hold in the end. Retained Messages are sent if any of them asks for that.
    pub options: SubscriptionOptions,
}

impl Repeats {
    /// Of those that may be asked for, each with its place in the packet. `seed` keeps Clients from choosing Topic Filters
    /// whose hashes are equal.
    pub fn of<'a>(filters: impl Iterator<Item = (usize, &'a str, SubscriptionOptions)>, seed: u64) -> Self {
        let mut found: FxHashMap<u64, Repeat> = FxHashMap::default();
        for (at, filter, options) in filters {
            let at = at as u32;
            found
                .entry(xxh3_64_with_seed(filter.as_bytes(), seed))
                .and_modify(|repeat| {
                    let retain_handling = sooner(repeat.options.retain_handling, options.retain_handling);
                    repeat.count += 1;
                    repeat.options = SubscriptionOptions { retain_handling, ..options };
                })
                .or_insert(Repeat { first: at, count: 1, options });
        }
        found.retain(|_, repeat| repeat.count > 1);
        found.shrink_to_fit();
        Self { seed, found }
    }

    #[inline]
    pub fn get(&self, filter: &str) -> Option<&Repeat> {
        if self.found.is_empty() {
            return None;
        }
        self.found.get(&xxh3_64_with_seed(filter.as_bytes(), self.seed))
    }

    pub fn held_bytes(&self) -> usize {
        self.found.capacity() * (size_of::<(u64, Repeat)>() + 1)
    }
}

fn sooner(one: RetainHandling, other: RetainHandling) -> RetainHandling {
    if (one as u8) < other as u8 { one } else { other }
}

#[cfg(test)]
mod tests {
    use convoy_wire::QoS;

    use super::*;

    #[test]
    fn what_is_named_again_is_known_with_its_first_place_and_its_last_options() {
        let options = |qos, retain_handling| SubscriptionOptions {
            retain_handling,
            ..SubscriptionOptions::new(QoS::from_u8(qos).unwrap())
        };
        let named = [
            (3, "a", options(0, RetainHandling::OnNewSubscription)),
            (4, "b", options(0, RetainHandling::Never)),
            (5, "a", options(1, RetainHandling::OnSubscribe)),
            (7, "a", options(2, RetainHandling::Never)),
        ];
        let repeats = Repeats::of(named.into_iter(), 7);
        let found = repeats.get("a").unwrap();
        assert_eq!((found.first, found.options), (3, options(2, RetainHandling::OnSubscribe)));
        assert!(repeats.get("b").is_none() && repeats.get("c").is_none());
        assert!(Repeats::of(named.into_iter().take(2), 7).held_bytes() == 0);
    }
}
