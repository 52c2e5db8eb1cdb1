//! The root routes of a shard: those whose Topic Filters begin with a wildcard. Each slot has all of them, as replicated
//! state of its own, so a shard keeps one tree for its slots: what stands there holds for each of them, unless a mark says
//! that it has to be looked up. That is so between the first slot that has applied an operation and the last one, and for
//! nothing else; a slot that matches meanwhile finds what it has applied itself, and no more.

use convoy_ids::SlotId;
use slab::Slab;

use super::fan_out::FanOut;
use super::routes::{Mark, Pick, Routes};
use crate::message::Message;
use crate::query::Receiver;
use crate::session::SessionNumber;
use crate::topic::RouteRow;

/// The root routes of the slots of one shard.
#[derive(Debug)]
pub struct Roots {
    routes: Routes<Lookup>,
    /// Of the routes that do not hold for all slots as they stand in `routes`: for which of them they do.
    partial: Slab<Partial>,
    /// The slots that share them.
    slots: SlotSet,
    /// Shards of this node: see [`Roots::place`].
    shards: u16,
}

/// Where in [`Roots::partial`] a route is looked up, and one; zero if it holds for all slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lookup(u32);

impl Mark for Lookup {
    #[inline]
    fn is_set(self) -> bool {
        self.0 != 0
    }
}

impl Lookup {
    fn to(key: usize) -> Self {
        Self(u32::try_from(key + 1).expect("there are fewer routes than 2^32"))
    }

    fn key(self) -> usize {
        self.0 as usize - 1
    }
}

/// A route that some slots have as it stands, some perhaps in other versions, and others not at all.
#[derive(Debug)]
struct Partial {
    /// Never none.
    as_it_stands: SlotSet,
    others: Vec<(RouteRow, SlotSet)>,
}

impl Partial {
    fn version<'a>(&'a self, slot: usize, stands: &'a RouteRow) -> Option<&'a RouteRow> {
        if self.as_it_stands.has(slot) {
            return Some(stands);
        }
        self.others.iter().find(|(_, slots)| slots.has(slot)).map(|(route, _)| route)
    }

    /// The slot has no version any more.
    fn leave(&mut self, slot: usize) {
        self.as_it_stands.remove(slot);
        self.others.iter_mut().for_each(|(_, slots)| slots.remove(slot));
        self.others.retain(|(_, slots)| !slots.is_empty());
    }
}

impl Roots {
    /// Of these slots, in one of so many shards. `seed`: see [`Routes::new`].
    pub fn new(seed: u64, slots: impl Iterator<Item = SlotId>, shards: u16) -> Self {
        let mut all = SlotSet::default();
        slots.for_each(|slot| all.insert(place(slot, shards)));
        Self { routes: Routes::new(seed), partial: Slab::new(), slots: all, shards }
    }

    /// A slot is of this shard from now on, and has no route yet: of each that held for all it has to be looked up. That takes
    /// as long as there are routes, as does what the slot is about to be told of them.
    pub fn join(&mut self, slot: SlotId) {
        let Self { routes, partial, slots, shards } = self;
        let had = slots.clone();
        slots.insert(place(slot, *shards));
        routes.mark_all(|mark| {
            if !mark.is_set() {
                *mark = enter(partial, slots, had.clone(), []);
            }
        });
    }

    /// A slot is of this shard no longer: what held for all others holds for all. Its own routes are still to be removed, one
    /// by one.
    pub fn leave(&mut self, slot: SlotId) {
        let Self { routes, partial, slots, shards } = self;
        slots.remove(place(slot, *shards));
        routes.mark_all(|mark| {
            if mark.is_set() && partial[mark.key()].as_it_stands == *slots {
                partial.remove(mark.key());
                *mark = Lookup::default();
            }
        });
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub fn has_shared(&self) -> bool {
        self.routes.has_shared()
    }

    /// A slot has this Subscription from now on, in place of the Session's earlier one to the same Topic Filter.
    pub fn insert(&mut self, slot: SlotId, filter: &str, session: SessionNumber, route: RouteRow) {
        let slot = place(slot, self.shards);
        let Self { partial, slots, .. } = self;
        let changed = self.routes.change(filter, session, |mark, stands| {
            if !mark.is_set() {
                if *stands != route {
                    let before = std::mem::replace(stands, route);
                    *mark = enter(partial, slots, SlotSet::of(slot), [(before, slots.without(slot))]);
                }
                return;
            }
            let held = &mut partial[mark.key()];
            held.leave(slot);
            if *stands == route {
                held.as_it_stands.insert(slot);
            } else if let Some((_, slots)) = held.others.iter_mut().find(|(other, _)| *other == route) {
                slots.insert(slot);
            } else {
                let before = std::mem::replace(stands, route);
                let had = std::mem::replace(&mut held.as_it_stands, SlotSet::of(slot));
                held.others.extend((!had.is_empty()).then_some((before, had)));
            }
            settle(partial, slots, mark, stands);
        });
        if changed.is_none() {
            self.routes.insert(filter, session, route);
            self.routes.change(filter, session, |mark, _| {
                *mark = enter(partial, slots, SlotSet::of(slot), []);
            });
        }
    }

    /// A slot has this Subscription no more.
    pub fn remove(&mut self, slot: SlotId, filter: &str, session: SessionNumber) {
        let slot = place(slot, self.shards);
        let Self { partial, slots, .. } = self;
        let left = self.routes.change(filter, session, |mark, stands| {
            if !mark.is_set() {
                let others = slots.without(slot);
                let is_left = !others.is_empty();
                if is_left {
                    *mark = enter(partial, slots, others, []);
                }
                return is_left;
            }
            partial[mark.key()].leave(slot);
            settle(partial, slots, mark, stands)
        });
        if left == Some(false) {
            self.routes.remove(filter, session);
        }
    }

    /// Adds everybody whose Topic Filter matches a message of a slot: see [`Routes::find_by`].
    #[inline]
    pub fn find(&self, slot: SlotId, message: &Message<'_>, pick: Pick<'_>, into: &mut FanOut) {
        self.routes.find_by(message, pick, &self.versions(slot), into);
    }

    /// For an operator: see [`Routes::receivers_by`].
    pub fn receivers(&self, slot: SlotId, topic: &str, add: &mut impl FnMut(Receiver)) {
        self.routes.receivers_by(topic, &self.versions(slot), add);
    }

    /// For an operator, of all slots: see [`Routes::filters`].
    pub fn filters(
        &self,
        from: u32,
        steps: &mut usize,
        visit: &mut impl FnMut(&str, u64, Vec<(String, u64)>) -> bool,
    ) -> Option<u32> {
        self.routes.filters(from, steps, visit)
    }

    #[inline]
    fn versions<'a>(&'a self, slot: SlotId) -> impl Fn(Lookup, &'a RouteRow) -> Option<&'a RouteRow> {
        let slot = place(slot, self.shards);
        move |mark, stands| match mark.is_set() {
            false => Some(stands),
            true => self.partial[mark.key()].version(slot, stands),
        }
    }
}

/// A slot's place among those of its shard.
#[inline]
fn place(slot: SlotId, shards: u16) -> usize {
    usize::from(slot.0 / shards)
}

/// Notes for which of all slots a route holds, unless it does for all of them.
fn enter<const N: usize>(
    partial: &mut Slab<Partial>,
    all: &SlotSet,
    as_it_stands: SlotSet,
    others: [(RouteRow, SlotSet); N],
) -> Lookup {
    if as_it_stands == *all {
        return Lookup::default();
    }
    let others = others.into_iter().filter(|(_, slots)| !slots.is_empty()).collect();
    Lookup::to(partial.insert(Partial { as_it_stands, others }))
}

/// What was noted of a route has changed. False if no slot has it any more.
fn settle(partial: &mut Slab<Partial>, all: &SlotSet, mark: &mut Lookup, stands: &mut RouteRow) -> bool {
    let held = &mut partial[mark.key()];
    if held.as_it_stands.is_empty()
        && let Some((route, slots)) = held.others.pop()
    {
        (*stands, held.as_it_stands) = (route, slots);
    }
    let is_left = !held.as_it_stands.is_empty();
    if !is_left || held.as_it_stands == *all {
        partial.remove(mark.key());
        *mark = Lookup::default();
        if partial.is_empty() {
            // Where very many were on their way at once, as at a start, their memory goes with the last of them.
            partial.shrink_to_fit();
        }
    }
    is_left
}

/// A set of a shard's slots, by their places. Most shards have no more than fit one word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SlotSet {
    first: u64,
    /// Without zeros at its end.
    more: Vec<u64>,
}

impl SlotSet {
    fn of(slot: usize) -> Self {
        let mut set = Self::default();
        set.insert(slot);
        set
    }

    fn is_empty(&self) -> bool {
        self.first == 0 && self.more.is_empty()
    }

    fn has(&self, slot: usize) -> bool {
        let word = match (slot / 64).checked_sub(1) {
            None => self.first,
            Some(at) => self.more.get(at).copied().unwrap_or(0),
        };
        word & 1 << (slot % 64) != 0
    }

    fn insert(&mut self, slot: usize) {
        let word = match (slot / 64).checked_sub(1) {
            None => &mut self.first,
            Some(at) => {
                self.more.resize(self.more.len().max(at + 1), 0);
                &mut self.more[at]
            }
        };
        *word |= 1 << (slot % 64);
    }

    fn remove(&mut self, slot: usize) {
        match (slot / 64).checked_sub(1) {
            None => self.first &= !(1 << (slot % 64)),
            Some(at) => {
                if let Some(word) = self.more.get_mut(at) {
                    *word &= !(1 << (slot % 64));
                }
                while self.more.last() == Some(&0) {
                    self.more.pop();
                }
            }
        }
    }

    fn without(&self, slot: usize) -> Self {
        let mut set = self.clone();
        set.remove(slot);
        set
    }
}

/// Finds everybody for a message of a slot anew: in the routes of its partition, and in those that are of no partition.
#[inline]
pub fn find_all(
    of_partition: Option<&Routes>,
    (slot, roots): (SlotId, &Roots),
    message: &Message<'_>,
    pick: Pick<'_>,
    into: &mut FanOut,
) {
    into.clear();
    if let Some(routes) = of_partition {
        routes.find(message, pick, into);
    }
    if !roots.is_empty() {
        roots.find(slot, message, pick, into);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::session::Subscription;
    use crate::topic::Choice;

    const SHARDS: u16 = 2;

    fn slots(count: u16) -> impl Iterator<Item = SlotId> {
        // Those of the second shard.
        (0..count).map(|number| SlotId(1 + number * SHARDS))
    }

    fn route(qos: u8) -> RouteRow {
        RouteRow { subscription: Subscription::plain(qos), home: None }
    }

    fn roots(count: u16) -> Roots {
        Roots::new(7, slots(count), SHARDS)
    }

    /// Who gets a message of QoS 2 in a slot, by Session number and QoS, in their order.
    fn found(roots: &Roots, slot: SlotId, number: u64) -> Vec<(u64, u8)> {
        let message = Message { topic: "x/y", qos: convoy_wire::QoS::ExactlyOnce, ..Message::default() };
        let mut fan_out = FanOut::default();
        let pick = Pick::Agreed(Choice { number, chosen: &[], again: None });
        roots.find(slot, &message, pick, &mut fan_out);
        fan_out.merge_in_order();
        fan_out.found().iter().map(|found| (found.session.0, found.delivery.qos as u8)).collect()
    }

    #[test]
    fn a_route_holds_in_the_slots_that_have_applied_it() {
        let mut roots = roots(3);
        let [one, two, three] = [1, 3, 5].map(SlotId);
        let session = SessionNumber(4);
        for slot in [two, one] {
            roots.insert(slot, "+/y", session, route(1));
        }
        assert_eq!([one, two, three].map(|slot| found(&roots, slot, 0).len()), [1, 1, 0]);
        roots.insert(three, "+/y", session, route(1));
        assert!(roots.partial.is_empty(), "nothing is looked up any more");
        // It is changed: until a slot has applied that, it has it as it was.
        roots.insert(three, "+/y", session, route(2));
        assert_eq!([one, two, three].map(|slot| found(&roots, slot, 0)), [[(4, 1)], [(4, 1)], [(4, 2)]]);
        [one, two].iter().for_each(|slot| roots.insert(*slot, "+/y", session, route(2)));
        assert!(roots.partial.is_empty());
        for slot in [one, two, three] {
            assert_eq!(found(&roots, slot, 0), [(4, 2)]);
            roots.remove(slot, "+/y", session);
            assert_eq!(found(&roots, slot, 0), []);
        }
        assert!(roots.is_empty() && roots.partial.is_empty());
    }

    #[test]
    fn a_member_of_a_share_is_none_where_its_route_is_not_there_yet() {
        let mut roots = roots(2);
        let [one, two] = [1, 3].map(SlotId);
        for session in [4, 5] {
            roots.insert(one, "$share/g/+/y", SessionNumber(session), route(1));
        }
        roots.insert(two, "$share/g/+/y", SessionNumber(5), route(1));
        let whom = |roots: &Roots, slot| {
            let mut whom: Vec<_> = (0..20).flat_map(|number| found(roots, slot, number)).collect();
            whom.sort_unstable();
            whom.dedup();
            whom
        };
        assert_eq!(whom(&roots, one), [(4, 1), (5, 1)]);
        assert_eq!(whom(&roots, two), [(5, 1)]);
        roots.remove(two, "$share/g/+/y", SessionNumber(5));
        assert_eq!(whom(&roots, two), []);
        assert!(roots.has_shared());
    }

    #[test]
    fn a_route_of_very_many_slots_takes_no_more_than_one_of_few() {
        let mut roots = roots(500);
        slots(500).for_each(|slot| roots.insert(slot, "#", SessionNumber(4), route(1)));
        assert!(roots.partial.is_empty());
        roots.remove(SlotId(901), "#", SessionNumber(4));
        let have = slots(500).filter(|slot| !found(&roots, *slot, 0).is_empty()).count();
        assert_eq!((have, found(&roots, SlotId(901), 0)), (499, vec![]));
    }

    #[test]
    fn a_slot_that_comes_has_no_route_and_one_that_leaves_takes_its_own_with_it() {
        let mut roots = roots(2);
        let [one, two, three] = [1, 3, 5].map(SlotId);
        let (all, some, share) = (SessionNumber(4), SessionNumber(5), "$share/g/+/y");
        [one, two].iter().for_each(|slot| roots.insert(*slot, "+/y", all, route(1)));
        roots.insert(one, "#", some, route(1));
        [one, two].iter().for_each(|slot| roots.insert(*slot, share, all, route(2)));
        roots.join(three);
        let count = |roots: &Roots, slot| found(roots, slot, 0).len();
        assert_eq!([one, two, three].map(|slot| count(&roots, slot)), [3, 2, 0]);
        roots.insert(three, "+/y", all, route(1));
        assert_eq!((count(&roots, three), roots.partial.len()), (1, 2));

        roots.leave(two);
        for (filter, session) in [("+/y", all), (share, all)] {
            roots.remove(two, filter, session);
        }
        assert_eq!([one, three].map(|slot| count(&roots, slot)), [3, 1]);
        roots.leave(three);
        roots.remove(three, "+/y", all);
        assert!(roots.partial.is_empty(), "all that is left is of one slot");
        assert_eq!(count(&roots, one), 3);
        roots.leave(one);
        for (filter, session) in [("+/y", all), ("#", some), (share, all)] {
            roots.remove(one, filter, session);
        }
        assert!(roots.is_empty() && roots.partial.is_empty());
    }

    #[derive(Clone, Debug)]
    struct Step {
        slot: usize,
        filter: &'static str,
        session: u64,
        qos: Option<u8>,
    }

    fn step() -> impl Strategy<Value = Step> {
        let filters = prop::sample::select(vec!["#", "+/y", "+/+", "+/z", "$share/g/+/y", "$share/h/#"]);
        (0..3_usize, filters, 1..4_u64, prop::option::weighted(0.6, 0..3_u8))
            .prop_map(|(slot, filter, session, qos)| Step { slot, filter, session, qos })
    }

    proptest! {
        #[test]
        fn one_tree_is_as_good_as_one_for_each_slot(steps in prop::collection::vec(step(), 1..80)) {
            let all: Vec<_> = slots(3).collect();
            let mut merged = roots(3);
            let mut each: Vec<_> = all.iter().map(|slot| Roots::new(7, [*slot].into_iter(), SHARDS)).collect();
            let mut held: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
            for Step { slot, filter, session, qos } in steps {
                let id = SessionNumber(session);
                match qos {
                    Some(qos) => {
                        merged.insert(all[slot], filter, id, route(qos));
                        each[slot].insert(all[slot], filter, id, route(qos));
                        held.entry((filter, session)).or_default().insert(slot, qos);
                    }
                    None => {
                        merged.remove(all[slot], filter, id);
                        each[slot].remove(all[slot], filter, id);
                        held.entry((filter, session)).or_default().remove(&slot);
                    }
                }
                for (slot, each) in all.iter().zip(&each) {
                    prop_assert_eq!(found(&merged, *slot, 5), found(each, *slot, 5));
                }
                let is_whole = |of: &BTreeMap<usize, u8>| {
                    of.is_empty() || of.len() == 3 && of.values().all(|qos| *qos == of[&0])
                };
                prop_assert_eq!(merged.partial.len(), held.values().filter(|of| !is_whole(of)).count());
                prop_assert_eq!(merged.is_empty(), held.values().all(BTreeMap::is_empty));
            }
        }
    }
}
