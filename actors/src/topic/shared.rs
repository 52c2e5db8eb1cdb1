//! Shared Subscriptions (MQTT 5.0, 4.8.2): which member of a group gets a message.
//!
//! Members that can take the message now go before those that would have to wait for it, whatever the strategy; the
//! strategy chooses among equals. Chance and hashes are handed in with each message, so that a choice can be repeated.

use std::cell::Cell;

/// How a group chooses among members that are equally ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Each in turn, in the order in which they joined.
    #[default]
    RoundRobin,
    Random,
    /// The same one until another is readier or it leaves.
    Sticky,
    /// The same one for all messages of a publisher.
    ClientHash,
    /// The same one for all messages of a topic.
    TopicHash,
    /// The one with the fewest messages it has not acknowledged.
    LeastInFlight,
}

/// How ready a member is for a message; the lesser the readier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has a connection and send quota.
    Ready,
    /// It has a connection and has used up its send quota.
    Busy,
    /// It has no connection: the message waits in its Session.
    Away,
}

/// What the choice for one message depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub topic_hash: u64,
    /// Of the publisher's Client Identifier.
    pub client_hash: u64,
    /// Drawn for this message.
    pub random: u64,
}

/// A member as it is when a message is to be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub standing: Standing,
    /// Messages it has got and not acknowledged.
    pub in_flight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<K, V> {
    pub key: K,
    /// Of the member's key: the same wherever the group is, so that the hash strategies survive a change of leader.
    pub hash: u64,
    pub value: V,
}

/// The members of one Share Name and Topic Filter.
#[derive(Clone, Debug)]
pub struct Group<K, V> {
    strategy: Strategy,
    /// In the order in which they joined.
    members: Vec<Member<K, V>>,
    /// Where a search in turn begins; the place of the one chosen last for [`Strategy::Sticky`].
    /// Whoever matches a message holds the routes for reading only, hence the cell.
    next: Cell<usize>,
}

impl<K: Eq, V> Group<K, V> {
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, members: Vec::new(), next: Cell::new(0) }
    }

    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// In the order in which they joined.
    pub fn members(&self) -> &[Member<K, V>] {
        &self.members
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a member behind the others, or replaces what was known of it, where it stands, and returns that.
    pub fn insert(&mut self, member: Member<K, V>) -> Option<V> {
        match self.members.iter_mut().find(|held| held.key == member.key) {
            Some(held) => Some(std::mem::replace(held, member).value),
            None => {
                self.members.push(member);
                None
            }
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.members.iter().position(|member| member.key == *key)?;
        let removed = self.members.remove(at);
        // Nobody's turn is lost or doubled.
        let next = self.next.get() - usize::from(at < self.next.get());
        self.next.set(if next < self.members.len() { next } else { 0 });
        Some(removed.value)
    }

    /// The member that gets a message. `condition` tells how a member is; `None` passes over it (No Local, or it has
    /// refused the message already). No member is chosen if all are passed over.
    pub fn pick(
        &self,
        pick: &Pick,
        condition: impl Fn(&Member<K, V>) -> Option<Condition>,
    ) -> Option<&Member<K, V>> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let standing = |member: &Member<K, V>| condition(member).map(|condition| condition.standing);
        let chosen = match self.strategy {
            Strategy::RoundRobin => {
                let chosen = self.readiest_from(self.next.get(), standing)?;
                self.next.set((chosen + 1) % count);
                chosen
            }
            Strategy::Random => self.readiest_from((pick.random % count as u64) as usize, standing)?,
            Strategy::Sticky => {
                let chosen = self.readiest_from(self.next.get(), standing)?;
                self.next.set(chosen);
                chosen
            }
            Strategy::ClientHash => self.readiest_by_hash(pick.client_hash, standing)?,
            Strategy::TopicHash => self.readiest_by_hash(pick.topic_hash, standing)?,
            Strategy::LeastInFlight => {
                let chosen = self.in_turn(self.next.get()).filter_map(|at| {
                    let Condition { standing, in_flight } = condition(&self.members[at])?;
                    Some((standing, in_flight, at))
                });
                // The first of equals is taken, and the next turn begins behind it.
                let (_, _, chosen) = chosen.min_by_key(|&(standing, in_flight, _)| (standing, in_flight))?;
                self.next.set((chosen + 1) % count);
                chosen
            }
        };
        Some(&self.members[chosen])
    }

    fn in_turn(&self, from: usize) -> impl Iterator<Item = usize> {
        (from..self.members.len()).chain(0..from)
    }

    /// The first of the readiest members from `from` on. Looks no further than a member that is ready.
    fn readiest_from(
        &self,
        from: usize,
        standing: impl Fn(&Member<K, V>) -> Option<Standing>,
    ) -> Option<usize> {
        let mut best = None;
        for at in self.in_turn(from) {
            match standing(&self.members[at]) {
                Some(Standing::Ready) => return Some(at),
                Some(standing) if best.is_none_or(|(readiest, _)| standing < readiest) => {
                    best = Some((standing, at));
                }
                _ => {}
            }
        }
        best.map(|(_, at)| at)
    }

    /// The readiest member that the hash favours most (rendezvous hashing): when a member comes, goes or is not ready,
    /// only messages that it gets or got go to another.
    fn readiest_by_hash(
        &self,
        hash: u64,
        standing: impl Fn(&Member<K, V>) -> Option<Standing>,
    ) -> Option<usize> {
        let candidates = self.members.iter().enumerate().filter_map(|(at, member)| {
            Some((standing(member)?, std::cmp::Reverse(favour(hash, member.hash)), at))
        });
        candidates.min().map(|(_, _, at)| at)
    }
}

/// How much a message of one hash favours a member of another: the finisher of SplitMix64 over both.
fn favour(message: u64, member: u64) -> u64 {
    let mut mixed = message ^ member.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Away, Busy, Ready};

    fn group(strategy: Strategy, members: u64) -> Group<u64, ()> {
        let mut group = Group::new(strategy);
        (0..members).for_each(|key| assert_eq!(group.insert(member(key)), None));
        group
    }

    fn member(key: u64) -> Member<u64, ()> {
        Member { key, hash: key * key + 1, value: () }
    }

    fn pick(number: u64) -> Pick {
        Pick { topic_hash: number, client_hash: number + 1000, random: number }
    }

    const READY: Condition = Condition { standing: Ready, in_flight: 0 };

    fn standing(standing: Standing) -> Option<Condition> {
        Some(Condition { standing, in_flight: 0 })
    }

    /// Who gets messages 0 to `count`, when all are ready.
    fn picks(group: &Group<u64, ()>, count: u64) -> Vec<u64> {
        (0..count).map(|number| group.pick(&pick(number), |_| Some(READY)).unwrap().key).collect()
    }

    const ALL: [Strategy; 6] = [
        Strategy::RoundRobin,
        Strategy::Random,
        Strategy::Sticky,
        Strategy::ClientHash,
        Strategy::TopicHash,
        Strategy::LeastInFlight,
    ];

    #[test]
    fn an_empty_group_has_nobody_to_pick() {
        for strategy in ALL {
            assert_eq!(group(strategy, 0).pick(&pick(7), |_| Some(READY)), None);
        }
    }

    #[test]
    fn whoever_is_ready_goes_first_whatever_the_strategy() {
        for strategy in ALL {
            let group = group(strategy, 5);
            for number in 0..100 {
                let ready =
                    |member: &Member<u64, ()>| standing([Away, Busy, Ready, Busy, Away][member.key as usize]);
                assert_eq!(group.pick(&pick(number), ready).unwrap().key, 2, "{strategy:?}");
                let busy =
                    |member: &Member<u64, ()>| standing([Away, Away, Away, Busy, Away][member.key as usize]);
                assert_eq!(group.pick(&pick(number), busy).unwrap().key, 3, "{strategy:?}");
            }
        }
    }

    #[test]
    fn members_that_refuse_are_passed_over() {
        for strategy in ALL {
            let group = group(strategy, 3);
            for number in 0..20 {
                let only_1 = |member: &Member<u64, ()>| (member.key == 1).then_some(READY);
                assert_eq!(group.pick(&pick(number), only_1).unwrap().key, 1, "{strategy:?}");
                assert_eq!(group.pick(&pick(number), |_| None), None, "{strategy:?}");
            }
        }
    }

    #[test]
    fn round_robin_gives_each_its_turn() {
        let group = group(Strategy::RoundRobin, 3);
        assert_eq!(picks(&group, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_turn_is_neither_lost_nor_doubled_when_members_leave() {
        let mut group = group(Strategy::RoundRobin, 5);
        assert_eq!(picks(&group, 2), [0, 1]);
        group.remove(&0);
        assert_eq!(picks(&group, 1), [2]);
        group.remove(&3);
        assert_eq!(picks(&group, 1), [4]);
        group.remove(&4);
        assert_eq!(picks(&group, 3), [1, 2, 1]);
    }

    #[test]
    fn members_keep_the_order_in_which_they_joined() {
        let mut group = group(Strategy::RoundRobin, 4);
        assert_eq!(group.remove(&1), Some(()));
        assert_eq!(group.remove(&1), None);
        assert_eq!(group.insert(member(2)), Some(()));
        assert_eq!(group.insert(member(1)), None);
        let keys: Vec<_> = group.members().iter().map(|member| member.key).collect();
        assert_eq!(keys, [0, 2, 3, 1]);
    }

    #[test]
    fn random_is_what_chance_says() {
        let group = group(Strategy::Random, 3);
        assert_eq!(picks(&group, 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(group.pick(&pick(7), |_| Some(READY)).unwrap().key, 1);
        assert_eq!(group.pick(&pick(7), |_| Some(READY)).unwrap().key, 1);
    }

    #[test]
    fn sticky_stays_until_another_is_readier_and_then_stays_there() {
        let mut group = group(Strategy::Sticky, 3);
        assert_eq!(picks(&group, 3), [0, 0, 0]);
        let away = |member: &Member<u64, ()>| standing(if member.key == 0 { Away } else { Ready });
        assert_eq!(group.pick(&pick(9), away).unwrap().key, 1);
        assert_eq!(picks(&group, 3), [1, 1, 1]);
        group.remove(&0);
        assert_eq!(picks(&group, 1), [1]);
        group.remove(&1);
        assert_eq!(picks(&group, 2), [2, 2]);
    }

    #[test]
    fn hashes_give_one_publisher_or_topic_to_one_member() {
        for (strategy, same) in [
            (Strategy::ClientHash, Pick { topic_hash: 1, client_hash: 77, random: 2 }),
            (Strategy::TopicHash, Pick { topic_hash: 77, client_hash: 3, random: 4 }),
        ] {
            let group = group(strategy, 10);
            let first = group.pick(&same, |_| Some(READY)).unwrap().key;
            picks(&group, 50);
            assert_eq!(group.pick(&same, |_| Some(READY)).unwrap().key, first);
        }
    }

    #[test]
    fn hashes_spread_evenly() {
        for strategy in [Strategy::ClientHash, Strategy::TopicHash] {
            let mut counts = [0; 10];
            for key in picks(&group(strategy, 10), 10_000) {
                counts[key as usize] += 1;
            }
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn only_what_a_member_had_moves_when_it_leaves() {
        let mut group = group(Strategy::TopicHash, 10);
        let before = picks(&group, 1000);
        group.remove(&4);
        for (before, after) in before.into_iter().zip(picks(&group, 1000)) {
            assert!(before == after || before == 4);
            assert_ne!(after, 4);
        }
    }

    #[test]
    fn the_least_in_flight_is_picked_and_equals_take_turns() {
        let group = group(Strategy::LeastInFlight, 4);
        let loads = [5, 1, 3, 1];
        let condition = |member: &Member<u64, ()>| {
            Some(Condition { standing: Ready, in_flight: loads[member.key as usize] })
        };
        let picked: Vec<_> = (0..4).map(|number| group.pick(&pick(number), condition).unwrap().key).collect();
        assert_eq!(picked, [1, 3, 1, 3]);
    }
}
