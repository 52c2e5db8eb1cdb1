//! Shared Subscriptions (MQTT 5.0, 4.8.2): which member of a group gets a message.
//!
//! Members stand in the order of their keys, and not in the one in which they joined: a replica that has read them from
//! its rows and one that saw them come choose alike.

use std::cell::Cell;

/// How a message finds the member of a Shared Subscription that gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Each in turn. Of the leader alone.
    RoundRobin,
    /// By a number that every replica knows. It is mixed first: numbers that follow each other in even steps, as places
    /// of records do, still reach every member.
    Agreed(u64),
}

/// The members of one Share Name and Topic Filter.
#[derive(Debug)]
pub struct Group<K, V> {
    /// In the order of their keys.
    members: Vec<(K, V)>,
    /// Whose turn it is. Whoever matches a message holds the routes for reading only, hence the cell.
    next: Cell<usize>,
}

impl<K, V> Default for Group<K, V> {
    fn default() -> Self {
        Self { members: Vec::new(), next: Cell::new(0) }
    }
}

impl<K: Ord, V> Group<K, V> {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a member, or replaces what was known of it.
    pub fn insert(&mut self, key: K, value: V) {
        match self.place_of(&key) {
            Ok(at) => self.members[at].1 = value,
            Err(at) => {
                self.members.insert(at, (key, value));
                // Whoever's turn it was keeps it.
                if at < self.next.get() {
                    self.next.set(self.next.get() + 1);
                }
            }
        }
    }

    pub fn remove(&mut self, key: &K) {
        let Ok(at) = self.place_of(key) else { return };
        self.members.remove(at);
        // Nobody's turn is lost or doubled.
        let next = self.next.get() - usize::from(at < self.next.get());
        self.next.set(if next < self.members.len() { next } else { 0 });
    }

    /// The member that gets a message; `None` if there are none.
    pub fn pick(&self, pick: Pick) -> Option<(&K, &V)> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let at = match pick {
            Pick::RoundRobin => self.next.replace((self.next.get() + 1) % count),
            Pick::Agreed(number) => (mixed(number) % count as u64) as usize,
        };
        let (key, value) = &self.members[at];
        Some((key, value))
    }

    fn place_of(&self, key: &K) -> Result<usize, usize> {
        self.members.binary_search_by(|(held, _)| held.cmp(key))
    }
}

/// The finisher of SplitMix64. Replicas of different releases must agree on it: it never changes.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(members: impl IntoIterator<Item = u64>) -> Group<u64, ()> {
        let mut group = Group::default();
        members.into_iter().for_each(|key| group.insert(key, ()));
        group
    }

    fn in_turn(group: &Group<u64, ()>, count: usize) -> Vec<u64> {
        (0..count).map(|_| *group.pick(Pick::RoundRobin).unwrap().0).collect()
    }

    #[test]
    fn an_empty_group_has_nobody_to_pick() {
        assert_eq!(group([]).pick(Pick::RoundRobin), None);
        assert_eq!(group([]).pick(Pick::Agreed(7)), None);
    }

    #[test]
    fn each_gets_its_turn() {
        assert_eq!(in_turn(&group([0, 1, 2]), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_turn_is_neither_lost_nor_doubled_when_members_leave() {
        let mut group = group(0..5);
        assert_eq!(in_turn(&group, 2), [0, 1]);
        group.remove(&0);
        assert_eq!(in_turn(&group, 1), [2]);
        group.remove(&3);
        assert_eq!(in_turn(&group, 1), [4]);
        group.remove(&4);
        assert_eq!(in_turn(&group, 3), [1, 2, 1]);
    }

    #[test]
    fn a_turn_is_neither_lost_nor_doubled_when_members_come() {
        let mut group = group([10, 20, 30]);
        assert_eq!(in_turn(&group, 1), [10]);
        group.insert(5, ());
        group.insert(25, ());
        assert_eq!(in_turn(&group, 5), [20, 25, 30, 5, 10]);
    }

    #[test]
    fn a_member_that_comes_again_is_replaced_where_it_stands() {
        let mut group = Group::default();
        group.insert(1, "old");
        group.insert(2, "other");
        group.insert(1, "new");
        assert_eq!(group.pick(Pick::RoundRobin), Some((&1, &"new")));
        assert_eq!(group.pick(Pick::RoundRobin), Some((&2, &"other")));
        assert_eq!(group.pick(Pick::RoundRobin), Some((&1, &"new")));
    }

    #[test]
    fn replicas_agree_whatever_they_have_seen_before() {
        let (came, read) = (group([3, 9, 1, 7]), group([1, 3, 7, 9]));
        in_turn(&came, 3);
        for number in 0..100 {
            assert_eq!(came.pick(Pick::Agreed(number)), read.pick(Pick::Agreed(number)));
        }
    }

    #[test]
    fn replicas_of_all_releases_agree() {
        let group = group(0..1000);
        let picked = [0, 1, 2, u64::MAX].map(|number| *group.pick(Pick::Agreed(number)).unwrap().0);
        assert_eq!(picked, [535, 465, 110, 936]);
    }

    #[test]
    fn numbers_in_even_steps_reach_every_member_alike() {
        for step in [1, 2, 3, 4, 10, 64] {
            let mut counts = [0; 4];
            let group = group(0..4);
            for number in 0..4000 {
                counts[*group.pick(Pick::Agreed(number * step)).unwrap().0 as usize] += 1;
            }
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "step {step}: {counts:?}");
        }
    }
}
