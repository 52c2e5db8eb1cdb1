//! Shared Subscriptions (MQTT 5.0, 4.8.2): which member of a group gets a message.
//!
//! Members stand in the order of their keys, and not in the one in which they joined: a replica that has read them from
//! its rows and one that saw them come choose alike.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::presence::Level;

/// With what Topic Filters of Shared Subscriptions begin.
pub const SHARED: &str = "$share/";

/// How a leader chooses among the members that can take a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    Random,
    /// The same one until it can take no more.
    Sticky,
    /// One publisher's messages go to the same member while the members stay.
    HashClient,
    /// One topic's messages go to the same member while the members stay.
    HashTopic,
    /// The one with the fewest messages under way, as far as is known: counts are told in powers of two.
    LeastInflight,
}

impl Strategy {
    pub const ALL: [(&'static str, Self); 6] = [
        ("round_robin", Self::RoundRobin),
        ("random", Self::Random),
        ("sticky", Self::Sticky),
        ("hash_client", Self::HashClient),
        ("hash_topic", Self::HashTopic),
        ("least_inflight", Self::LeastInflight),
    ];
}

/// The strategies of all groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Who gets a message, among the members that can take it: "round_robin": each in turn. "sticky": the same one until it can
    /// take no more. "hash_client": one publisher's messages go to the same member, and "hash_topic" those of one topic, while
    /// the members stay. "least_inflight": the one with the fewest messages under way.
    pub strategy: Strategy,
    /// Of single groups, by Share Name.
    pub groups: BTreeMap<Box<str>, Strategy>,
}

impl Options {
    pub fn strategy_of(&self, share_name: &str) -> Strategy {
        match self.groups.is_empty() {
            true => self.strategy,
            false => self.groups.get(share_name).copied().unwrap_or(self.strategy),
        }
    }

    /// Whether any group has to know how much its members have under way.
    pub fn weighs_inflight(&self) -> bool {
        self.groups.values().chain([&self.strategy]).any(|strategy| *strategy == Strategy::LeastInflight)
    }
}

/// What one message brings to the choice.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub strategy: Strategy,
    /// Of the publisher's Client Identifier.
    pub client: u64,
    /// Of the Topic Name.
    pub topic: u64,
    /// By chance.
    pub random: u64,
}

/// Members that are asked by their turn before those are looked for who are known to be free.
const FIRST: usize = 8;

/// Members that are asked before one is taken who is not connected, and then any that can take it at all. A choice costs no
/// more, however many there are and however few of them can take anything.
const ENOUGH: usize = 512;
const MOST: usize = 4096;

/// The members of one Share Name and Topic Filter.
#[derive(Debug)]
pub struct Group<K: Copy, V> {
    /// In the order of their keys.
    members: Vec<(K, V)>,
    /// Whose turn it is. Whoever matches a message holds the routes for reading only, hence the cells.
    next: Cell<usize>,
    /// Whom a sticky group keeps to.
    kept: Cell<Option<K>>,
}

impl<K: Copy, V> Default for Group<K, V> {
    fn default() -> Self {
        Self { members: Vec::new(), next: Cell::new(0), kept: Cell::new(None) }
    }
}

impl<K: Ord + Copy, V> Group<K, V> {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// All members, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.members.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place_of(key).ok()?;
        Some(&mut self.members[at].1)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.members.iter_mut().map(|(_, value)| value)
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

    /// The member that a leader gives a message to: of those that can best take it, by `level`, the one that the
    /// strategy names. Nobody can take it better than `best`: where that is met the others are not asked. `known` are those
    /// who may be free, and those who are connected, as far as is known; of all others only so many are asked. `not` gets it
    /// only if nobody else is there. `None` if there are no members, or all have gone or may not have it.
    pub fn choose<'a>(
        &'a self,
        draw: &Draw,
        best: Level,
        known: Option<[&BTreeSet<K>; 2]>,
        not: Option<K>,
        mut level: impl FnMut(&K, &'a V) -> Level,
    ) -> Option<(&'a K, &'a V)> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let from = match draw.strategy {
            Strategy::RoundRobin | Strategy::LeastInflight => self.next.get(),
            Strategy::Random => (mixed(draw.random) % count as u64) as usize,
            Strategy::Sticky => {
                self.kept.get().map_or(0, |kept| self.place_of(&kept).unwrap_or_else(|at| at % count))
            }
            Strategy::HashClient => (mixed(draw.client) % count as u64) as usize,
            Strategy::HashTopic => (mixed(draw.topic) % count as u64) as usize,
        };
        let mut held = (Level::Gone, 0);
        // Whether nobody can do better.
        let mut ask = |at: usize, held: &mut (Level, usize)| {
            let (key, value) = &self.members[at];
            let mut level = level(key, value);
            if not == Some(*key) {
                level = level.max(Level::Not);
            }
            if draw.strategy != Strategy::LeastInflight {
                level = level.without_load();
            }
            if level < held.0 {
                *held = (level, at);
            }
            held.0 <= best
        };
        let by_turn = || (from..count).chain(0..from);
        let mut is_found = by_turn().take(FIRST).any(|at| ask(at, &mut held));
        let turn = self.members[from].0;
        let known = known.filter(|_| count > FIRST);
        for (known, enough) in known.into_iter().flatten().zip([Level::FREE, Level::Busy]) {
            if !is_found && held.0 > enough {
                let by_turn = known.range(turn..).chain(known.range(..turn)).take(ENOUGH);
                is_found = by_turn.filter_map(|key| self.place_of(key).ok()).any(|at| ask(at, &mut held));
            }
        }
        let mut asked = count;
        if !is_found && (held.0 > Level::Busy || known.is_none()) {
            for (step, at) in by_turn().enumerate().skip(FIRST) {
                if step >= MOST && held.0 < Level::Not || step >= ENOUGH && held.0 <= Level::Absent {
                    asked = step;
                    break;
                }
                if ask(at, &mut held) {
                    break;
                }
            }
        }
        let (_, at) = Some(held).filter(|(level, _)| *level < Level::Gone)?;
        let (key, value) = &self.members[at];
        match draw.strategy {
            // Of those that were not asked the next message asks first.
            Strategy::RoundRobin | Strategy::LeastInflight if asked < count => {
                self.next.set((from + asked) % count);
            }
            Strategy::RoundRobin | Strategy::LeastInflight => self.next.set((at + 1) % count),
            Strategy::Sticky => self.kept.set(Some(*key)),
            _ => {}
        }
        Some((key, value))
    }

    /// The member that every replica takes: one of `chosen`, who was chosen when the record was made, or, where that
    /// has left, one by a number that all of them know. The number is mixed first: numbers that follow each other in
    /// even steps, as places of records do, still reach every member. Where not `all` of them are members for who asks,
    /// `is_member` tells who is, and the others are as if they were not there.
    pub fn agree<'a>(
        &'a self,
        number: u64,
        chosen: &[K],
        not: Option<K>,
        all: bool,
        is_member: impl Fn(&'a V) -> bool,
    ) -> Option<(&'a K, &'a V)> {
        let is_member = |at: &usize| all || is_member(&self.members[*at].1);
        let chosen = chosen.iter().filter_map(|key| self.place_of(key).ok()).find(is_member);
        let places = 0..self.members.len();
        let count = if all { places.len() } else { places.clone().filter(is_member).count() };
        let nth =
            |number: usize| if all { Some(number) } else { places.clone().filter(is_member).nth(number) };
        let at = match (chosen, count) {
            (Some(at), _) => at,
            (None, 0) => return None,
            (None, count) => {
                let number = (mixed(number) % count as u64) as usize;
                let at = nth(number)?;
                // It goes back to who left it only where there is nobody else.
                if not == Some(self.members[at].0) { nth((number + 1) % count)? } else { at }
            }
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

    fn draw(strategy: Strategy) -> Draw {
        Draw { strategy, client: 1, topic: 1, random: 1 }
    }

    fn free(_: &u64, _: &()) -> Level {
        Level::FREE
    }

    fn in_turn(group: &Group<u64, ()>, count: usize) -> Vec<u64> {
        chosen(group, draw(Strategy::RoundRobin), count, free)
    }

    fn chosen(
        group: &Group<u64, ()>,
        draw: Draw,
        count: usize,
        level: impl Fn(&u64, &()) -> Level,
    ) -> Vec<u64> {
        (0..count).map(|_| *group.choose(&draw, Level::FREE, None, None, &level).unwrap().0).collect()
    }

    #[test]
    fn an_empty_group_has_nobody_to_choose() {
        for (_, strategy) in Strategy::ALL {
            assert_eq!(group([]).choose(&draw(strategy), Level::FREE, None, None, free), None);
        }
        assert_eq!(group([]).agree(7, &[1], None, true, |()| true), None);
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
        let draw = draw(Strategy::RoundRobin);
        let next = || {
            group.choose(&draw, Level::FREE, None, None, |_, _| Level::FREE).map(|(key, name)| (*key, *name))
        };
        assert_eq!([next(), next(), next()], [Some((1, "new")), Some((2, "other")), Some((1, "new"))]);
    }

    #[test]
    fn whoever_is_connected_and_has_send_quota_goes_first() {
        let group = group(0..4);
        let level = |key: &u64, _: &()| match key {
            0 => Level::Absent,
            1 => Level::Busy,
            _ => Level::FREE,
        };
        assert_eq!(chosen(&group, draw(Strategy::RoundRobin), 4, level), [2, 3, 2, 3]);
        for (_, strategy) in Strategy::ALL {
            assert!(chosen(&group, draw(strategy), 9, level).iter().all(|key| *key >= 2), "{strategy:?}");
        }
        let level = |key: &u64, _: &()| if *key == 1 { Level::Busy } else { Level::Absent };
        for (_, strategy) in Strategy::ALL {
            assert_eq!(chosen(&group, draw(strategy), 2, level), [1, 1], "{strategy:?}");
        }
    }

    #[test]
    fn where_nobody_is_connected_everybody_is_considered() {
        let group = group(0..3);
        assert_eq!(chosen(&group, draw(Strategy::RoundRobin), 4, |_, _| Level::Absent), [0, 1, 2, 0]);
    }

    #[test]
    fn where_nobody_can_do_better_the_others_are_not_asked() {
        use std::cell::Cell;
        let group = group(0..1000);
        let asked = Cell::new(0);
        let level = |key: &u64, _: &()| {
            asked.set(asked.get() + 1);
            if *key == 0 { Level::Full } else { Level::Busy }
        };
        for (_, strategy) in Strategy::ALL {
            for _ in 0..1000 {
                let chosen = [Level::FREE, Level::Busy].map(|best| {
                    // The turn is not moved by who looks.
                    let (next, kept) = (group.next.get(), group.kept.get());
                    let chosen = group.choose(&draw(strategy), best, None, None, level).map(|(key, ())| *key);
                    if best == Level::FREE {
                        group.next.set(next);
                        group.kept.set(kept);
                        asked.set(0);
                    }
                    chosen
                });
                assert_eq!(chosen[0], chosen[1], "{strategy:?}");
                assert!(asked.replace(0) <= 2, "{strategy:?}");
            }
        }
    }

    #[test]
    fn of_very_many_only_so_many_are_asked_and_the_next_message_asks_the_others() {
        let members = 20_000;
        let group = group(0..members);
        let asked = std::cell::Cell::new(0);
        for (_, strategy) in Strategy::ALL {
            for (others, most) in [(Level::Busy, ENOUGH), (Level::Absent, ENOUGH), (Level::Full, MOST)] {
                group.next.set(0);
                let level = |key: &u64, _: &()| {
                    asked.set(asked.get() + 1);
                    if *key == members - 1 { Level::FREE } else { others }
                };
                let mut free = 0;
                let rounds = members as usize / most + 1;
                for _ in 0..rounds {
                    asked.set(0);
                    let (key, ()) = group.choose(&draw(strategy), Level::FREE, None, None, level).unwrap();
                    free += usize::from(*key == members - 1);
                    assert!(asked.get() <= most, "{strategy:?} {others:?}: {} are asked", asked.get());
                }
                // Who takes turns comes to the one that is free.
                if matches!(strategy, Strategy::RoundRobin | Strategy::LeastInflight) {
                    assert!(free > 0, "{strategy:?} {others:?}");
                }
            }
            // Where none of them can take it the search goes on.
            let level = |key: &u64, _: &()| if *key == members - 1 { Level::Unheard } else { Level::Denied };
            let chosen = group.choose(&draw(strategy), Level::FREE, None, None, level).map(|(key, ())| *key);
            assert_eq!(chosen, Some(members - 1), "{strategy:?}");
        }
    }

    #[test]
    fn whoever_is_known_to_be_free_is_found_among_very_many_who_are_not() {
        let members = 20_000;
        let group = group(0..members);
        let (free, connected) = (BTreeSet::from([5_000, 15_000]), BTreeSet::from([4, 5_000, 9_999, 15_000]));
        for (_, strategy) in Strategy::ALL {
            for (is_free, those) in [(true, &free), (false, &connected)] {
                let (asked, none) = (Cell::new(0), BTreeSet::new());
                let level = |key: &u64, _: &()| {
                    asked.set(asked.get() + 1);
                    match those.contains(key) {
                        true if is_free => Level::FREE,
                        true => Level::Busy,
                        false => Level::Absent,
                    }
                };
                let known = [if is_free { &free } else { &none }, &connected];
                let best = if is_free { Level::FREE } else { Level::Busy };
                let chosen = || *group.choose(&draw(strategy), best, Some(known), None, level).unwrap().0;
                let chosen: Vec<_> = (0..4).map(|_| chosen()).collect();
                assert!(chosen.iter().all(|key| those.contains(key)), "{strategy:?}: {chosen:?}");
                assert!(asked.get() <= 4 * (FIRST + 4), "{strategy:?}: {} are asked", asked.get());
                if strategy == Strategy::RoundRobin {
                    assert_ne!(chosen[0], chosen[1], "they take turns");
                }
            }
        }
    }

    #[test]
    fn who_left_a_message_gets_it_again_only_if_there_is_nobody_else() {
        let both = group([1, 2]);
        let level = |key: &u64, _: &()| if *key == 1 { Level::FREE } else { Level::Absent };
        for (_, strategy) in Strategy::ALL {
            let again = |group: &Group<u64, ()>| {
                group.choose(&draw(strategy), Level::FREE, None, Some(1), level).map(|(key, ())| *key)
            };
            assert_eq!(again(&both), Some(2), "{strategy:?}");
            assert_eq!(again(&group([1])), Some(1), "{strategy:?}");
        }
        for number in 0..20 {
            assert_eq!(both.agree(number, &[], Some(1), true, |()| true), Some((&2, &())));
        }
        assert_eq!(group([1]).agree(0, &[], Some(1), true, |()| true), Some((&1, &())));
    }

    #[test]
    fn who_has_gone_gets_nothing() {
        let all = group(0..3);
        for (_, strategy) in Strategy::ALL {
            let choose = |gone: &[u64], not| {
                let level = |key: &u64, _: &()| if gone.contains(key) { Level::Gone } else { Level::Unheard };
                all.choose(&draw(strategy), Level::FREE, None, not, level).map(|(key, ())| *key)
            };
            assert_eq!(choose(&[0, 2], None), Some(1), "{strategy:?}");
            assert_eq!(choose(&[0, 2], Some(1)), Some(1), "{strategy:?}");
            assert_eq!(choose(&[0, 1, 2], None), None, "{strategy:?}");
        }
    }

    #[test]
    fn who_may_not_have_a_message_is_never_chosen() {
        let group = group(0..4);
        let level = |key: &u64, _: &()| if *key == 2 { Level::Absent } else { Level::Denied };
        for (_, strategy) in Strategy::ALL {
            assert_eq!(chosen(&group, draw(strategy), 9, level), [2; 9], "{strategy:?}");
            let chosen =
                |not| group.choose(&draw(strategy), Level::FREE, None, not, level).map(|(key, ())| *key);
            assert_eq!([chosen(Some(0)), chosen(Some(2))], [Some(2), Some(2)], "{strategy:?}");
            assert_eq!(
                group.choose(&draw(strategy), Level::FREE, None, Some(1), |_, _| Level::Denied),
                None,
                "{strategy:?}"
            );
        }
    }

    #[test]
    fn a_sticky_group_keeps_to_a_member_while_it_can() {
        let mut group = group(0..3);
        let sticky = draw(Strategy::Sticky);
        assert_eq!(
            chosen(&group, sticky, 2, |key, _| if *key == 1 { Level::FREE } else { Level::Busy }),
            [1, 1]
        );
        assert_eq!(chosen(&group, sticky, 2, free), [1, 1]);
        group.remove(&1);
        assert_eq!(chosen(&group, sticky, 2, free), [2, 2]);
    }

    #[test]
    fn a_hash_keeps_one_publisher_or_topic_with_one_member() {
        let group = group(0..8);
        let mut members = std::collections::BTreeSet::new();
        for number in 0..100 {
            let by_client = Draw { strategy: Strategy::HashClient, client: number, topic: 5, random: 5 };
            let by_topic = Draw { strategy: Strategy::HashTopic, client: 5, topic: number, random: 5 };
            let first = chosen(&group, by_client, 3, free);
            assert!(first.iter().all(|key| *key == first[0]));
            assert_eq!(first, chosen(&group, by_topic, 3, free));
            members.insert(first[0]);
        }
        assert_eq!(members.len(), 8);
    }

    #[test]
    fn the_member_with_the_fewest_messages_under_way_is_chosen() {
        let group = group(0..3);
        let level = |key: &u64, _: &()| Level::Connected { load: [3, 1, 2][*key as usize] };
        assert_eq!(chosen(&group, draw(Strategy::LeastInflight), 2, level), [1, 1]);
        assert_eq!(chosen(&group, draw(Strategy::LeastInflight), 3, free), [2, 0, 1]);
    }

    #[test]
    fn a_group_may_have_a_strategy_of_its_own() {
        let groups = [("a".into(), Strategy::Sticky)].into();
        let options = Options { strategy: Strategy::Random, groups };
        assert_eq!(["a", "b"].map(|name| options.strategy_of(name)), [Strategy::Sticky, Strategy::Random]);
    }

    #[test]
    fn replicas_agree_whatever_they_have_seen_before() {
        let (came, read) = (group([3, 9, 1, 7]), group([1, 3, 7, 9]));
        in_turn(&came, 3);
        for number in 0..100 {
            assert_eq!(
                came.agree(number, &[], None, true, |()| true),
                read.agree(number, &[], None, true, |()| true)
            );
            assert_eq!(came.agree(number, &[4, 9], None, true, |()| true), Some((&9, &())));
        }
    }

    #[test]
    fn replicas_of_all_releases_agree() {
        let group = group(0..1000);
        let agreed =
            [0, 1, 2, u64::MAX].map(|number| *group.agree(number, &[], None, true, |()| true).unwrap().0);
        assert_eq!(agreed, [535, 465, 110, 936]);
    }

    #[test]
    fn numbers_in_even_steps_reach_every_member_alike() {
        for step in [1, 2, 3, 4, 10, 64] {
            let mut counts = [0; 4];
            let group = group(0..4);
            for number in 0..4000 {
                counts[*group.agree(number * step, &[], None, true, |()| true).unwrap().0 as usize] += 1;
            }
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "step {step}: {counts:?}");
        }
    }
}
