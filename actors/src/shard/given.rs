//! A message that came by the log may be given to connections again, by the next leader of the slot that matched it. What they
//! have is known by its number. A connection that had it is not given it twice; and once everybody of this shard has had it,
//! nobody is any more, so that who subscribes later gets nothing that is older than its Subscription.

use std::collections::{BTreeMap, BTreeSet};

use convoy_ids::SlotId;

use crate::metric;
use crate::session::Home;

/// Numbers of one outbox that are remembered. Nobody has so many under way: it holds less.
const NUMBERS: usize = 65_536;

/// What connections of this shard were given of the outboxes of slots, by the slot that matched it and the one of the outbox.
#[derive(Debug, Default)]
pub struct Given {
    /// An entry stays for each pair of slots that ever had one, mostly with a number or two: of 64 slots there are 4,096 at most.
    numbers: BTreeMap<(SlotId, SlotId), Numbers>,
    /// Of none it is known: a rule that is left out, see [`crate::options::Without::Known`].
    forgets: bool,
}

#[derive(Debug, Default)]
struct Numbers {
    /// Everybody has these.
    whole: BTreeSet<u64>,
    /// These connections, by key and serial, have those.
    parts: BTreeMap<u64, BTreeSet<(u32, u64)>>,
}

impl Given {
    pub fn new(forgets: bool) -> Self {
        Self { forgets, ..Self::default() }
    }

    /// Whether a connection is given this number. Then it has it.
    pub fn takes(&mut self, by: SlotId, from: SlotId, number: u64, home: &Home) -> bool {
        if self.forgets {
            return true;
        }
        let numbers = self.numbers.entry((by, from)).or_default();
        if numbers.whole.contains(&number) {
            return false;
        }
        if numbers.parts.len() >= NUMBERS {
            metrics::counter!(metric::FRAMES_REFUSED).increment(1);
            return false;
        }
        numbers.parts.entry(number).or_default().insert((home.key, home.serial))
    }

    /// Everybody has this number. Nothing up to `given` comes again.
    pub fn complete(&mut self, by: SlotId, from: SlotId, number: u64, given: u64) {
        let numbers = self.numbers.entry((by, from)).or_default();
        numbers.parts.remove(&number);
        numbers.whole.insert(number);
        numbers.whole = numbers.whole.split_off(&(given + 1));
        numbers.parts = numbers.parts.split_off(&(given + 1));
        while numbers.whole.len() > NUMBERS {
            numbers.whole.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: SlotId = SlotId(1);
    const FROM: SlotId = SlotId(2);

    fn home(key: u32) -> Home {
        Home { node: 1, shard: 0, key, serial: 7 }
    }

    #[test]
    fn a_connection_is_given_a_number_once() {
        let mut given = Given::default();
        assert!(given.takes(BY, FROM, 5, &home(1)));
        assert!(!given.takes(BY, FROM, 5, &home(1)));
        // The leader before came no further.
        assert!(given.takes(BY, FROM, 5, &home(2)) && given.takes(BY, FROM, 6, &home(1)));
        assert!(given.takes(BY, SlotId(3), 5, &home(1)) && given.takes(SlotId(4), FROM, 5, &home(1)));
    }

    #[test]
    fn what_everybody_has_is_given_to_nobody() {
        let mut given = Given::default();
        assert!(given.takes(BY, FROM, 5, &home(1)));
        given.complete(BY, FROM, 5, 0);
        assert!(!given.takes(BY, FROM, 5, &home(2)));
        given.complete(BY, FROM, 6, 5);
        assert_eq!(given.numbers[&(BY, FROM)].whole, BTreeSet::from([6]));
    }
}
