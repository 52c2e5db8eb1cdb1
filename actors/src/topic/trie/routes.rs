//! The subscribers of a filter. Nearly every filter has one, and a few have a million.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;

use super::arena::Arena;
use super::{Id, NONE};

/// Up to so many subscribers are found faster by looking at all of them.
const SEARCHED: usize = 16;

/// The lists of all filters of a tree, in one arena.
#[derive(Debug)]
pub(super) struct RouteLists<K, V> {
    lists: Arena<RouteList<K, V>>,
    free: Id,
}

#[derive(Debug)]
enum RouteList<K, V> {
    /// Not used, with the next one that is not.
    Free(Id),
    One(K, V),
    Many(Box<Many<K, V>>),
}

/// Two or more.
#[derive(Debug)]
struct Many<K, V> {
    routes: Vec<(K, V)>,
    /// Where each is, if they are too many to look at. The keys are numbers that we grant, so no seed is needed.
    index: Option<HashMap<K, u32, FxBuildHasher>>,
}

impl<K, V> Default for RouteLists<K, V> {
    fn default() -> Self {
        Self { lists: Arena::default(), free: NONE }
    }
}

impl<K: Eq + Hash + Clone, V> RouteLists<K, V> {
    #[cfg(test)]
    pub(super) fn bytes_used(&self) -> usize {
        let many = self.lists.iter().map(|list| match list {
            RouteList::Many(many) => {
                let index =
                    many.index.as_ref().map_or(0, |index| index.capacity() * (size_of::<(K, u32)>() + 1));
                size_of::<Many<K, V>>() + many.routes.capacity() * size_of::<(K, V)>() + index
            }
            _ => 0,
        });
        self.lists.bytes_used() + many.sum::<usize>()
    }

    #[inline]
    pub(super) fn visit<'a>(&'a self, list: Id, visit: &mut impl FnMut(&'a K, &'a V)) {
        if list == NONE {
            return;
        }
        match &self.lists[list] {
            RouteList::One(key, value) => visit(key, value),
            RouteList::Many(many) => many.routes.iter().for_each(|(key, value)| visit(key, value)),
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self, list: Id) -> impl Iterator<Item = (&K, &V)> {
        let (one, many) = match &self.lists[list] {
            RouteList::One(key, value) => (Some((key, value)), &[][..]),
            RouteList::Many(many) => (None, &many.routes[..]),
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        };
        one.into_iter().chain(many.iter().map(|(key, value)| (key, value)))
    }

    /// Changes all that is known of subscribers, of whichever filter.
    pub(super) fn change_all(&mut self, change: &mut impl FnMut(&mut V)) {
        for list in self.lists.iter_mut() {
            match list {
                RouteList::One(_, value) => change(value),
                RouteList::Many(many) => many.routes.iter_mut().for_each(|(_, value)| change(value)),
                RouteList::Free(_) => {}
            }
        }
    }

    /// Number of subscribers.
    pub(super) fn len_of(&self, list: Id) -> usize {
        if list == NONE {
            return 0;
        }
        match &self.lists[list] {
            RouteList::One(..) => 1,
            RouteList::Many(many) => many.routes.len(),
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        }
    }

    pub(super) fn get(&self, list: Id, key: &K) -> Option<&V> {
        if list == NONE {
            return None;
        }
        match &self.lists[list] {
            RouteList::One(held, value) => (held == key).then_some(value),
            RouteList::Many(many) => many.place_of(key).map(|at| &many.routes[at].1),
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        }
    }

    pub(super) fn get_mut(&mut self, list: Id, key: &K) -> Option<&mut V> {
        if list == NONE {
            return None;
        }
        match &mut self.lists[list] {
            RouteList::One(held, value) => (held == key).then_some(value),
            RouteList::Many(many) => many.place_of(key).map(|at| &mut many.routes[at].1),
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        }
    }

    /// Adds to the list that `list` names, or makes one and names it there. Returns what was replaced.
    pub(super) fn insert(&mut self, list: &mut Id, key: K, value: V) -> Option<V> {
        if *list == NONE {
            *list = self.allocate(RouteList::One(key, value));
            return None;
        }
        let place = &mut self.lists[*list];
        match place {
            RouteList::One(held, before) if *held == key => Some(std::mem::replace(before, value)),
            RouteList::One(..) => {
                let RouteList::One(held, before) = std::mem::replace(place, RouteList::Free(NONE)) else {
                    unreachable!("it was one a line ago");
                };
                let routes = vec![(held, before), (key, value)];
                *place = RouteList::Many(Box::new(Many { routes, index: None }));
                None
            }
            RouteList::Many(many) => many.insert(key, value),
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        }
    }

    /// Removes from the list that `list` names; an empty one is freed and no longer named there.
    pub(super) fn remove(&mut self, list: &mut Id, key: &K) -> Option<V> {
        if *list == NONE {
            return None;
        }
        let place = &mut self.lists[*list];
        match place {
            RouteList::One(held, _) if held != key => None,
            RouteList::One(..) => {
                let RouteList::One(_, value) = std::mem::replace(place, RouteList::Free(self.free)) else {
                    unreachable!("it was one a line ago");
                };
                self.free = *list;
                *list = NONE;
                Some(value)
            }
            RouteList::Many(many) => {
                let removed = many.remove(key)?;
                if many.routes.len() == 1 {
                    let (held, value) = many.routes.pop().expect("one is left");
                    *place = RouteList::One(held, value);
                }
                Some(removed)
            }
            RouteList::Free(_) => unreachable!("no node names a list that is not used"),
        }
    }

    fn allocate(&mut self, list: RouteList<K, V>) -> Id {
        if self.free != NONE {
            let id = self.free;
            let place = &mut self.lists[id];
            let RouteList::Free(next) = std::mem::replace(place, list) else {
                unreachable!("the list of what is free holds nothing else");
            };
            self.free = next;
            return id;
        }
        self.lists.push(list)
    }
}

impl<K: Eq + Hash + Clone, V> Many<K, V> {
    fn place_of(&self, key: &K) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).map(|&at| at as usize),
            None => self.routes.iter().position(|(held, _)| held == key),
        }
    }

    fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(at) = self.place_of(&key) {
            return Some(std::mem::replace(&mut self.routes[at].1, value));
        }
        let at = u32::try_from(self.routes.len()).expect("a filter has fewer than 2^32 subscribers");
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), at);
        }
        if self.routes.len() == self.routes.capacity() {
            self.routes.reserve_exact(self.routes.len() / 2 + 2);
        }
        self.routes.push((key, value));
        if self.index.is_none() && self.routes.len() > SEARCHED {
            self.index = Some((0..).zip(&self.routes).map(|(at, (key, _))| (key.clone(), at)).collect());
        }
        None
    }

    /// The last one takes the place of the one removed: a filter with a million subscribers is left by many at once.
    fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place_of(key)?;
        let (_, value) = self.routes.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(key);
            if let Some((moved, _)) = self.routes.get(at) {
                index.insert(moved.clone(), at as u32);
            }
            if self.routes.len() < SEARCHED / 2 {
                self.index = None;
            }
        }
        if self.routes.len() < self.routes.capacity() / 4 {
            self.routes.shrink_to(self.routes.len() * 2);
            if let Some(index) = &mut self.index {
                index.shrink_to_fit();
            }
        }
        Some(value)
    }
}
