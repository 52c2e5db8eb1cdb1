//! All edges of a tree in one table: from the hash of a parent and a level to the numbers of children.
//!
//! A word an edge: half of the hash, and the number. Linear probing from the place that the hash's upper bits name keeps
//! a search within a cache line or two and edges nearly in the order of their hashes, so growing is one pass over
//! memory. The caller knows whether a child is the right one: hashes may be equal.

use super::Id;

/// The root is nobody's child, so number zero means that a place is free.
const FREE: u64 = 0;
const FEWEST: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Edges {
    /// None at all, or a power of two with a quarter or more of them free.
    places: Vec<u64>,
    len: usize,
}

fn edge(hash: u32, child: Id) -> u64 {
    u64::from(hash) << 32 | u64::from(child)
}

impl Edges {
    #[cfg(test)]
    pub(super) fn bytes_used(&self) -> usize {
        self.places.capacity() * size_of::<u64>()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first child under `hash` that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(Id) -> bool) -> Option<Id> {
        let place = self.place_of(hash, is_it)?;
        Some(self.places[place] as Id)
    }

    pub(super) fn insert(&mut self, hash: u32, child: Id) {
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.resize((self.places.len() * 2).max(FEWEST));
        }
        self.put(edge(hash, child));
        self.len += 1;
    }

    /// Removes an edge that is there.
    pub(super) fn remove(&mut self, hash: u32, child: Id) {
        let mut gap = self.place_of(hash, |id| id == child).expect("only edges that are there are removed");
        // Whatever follows without a gap and does not stand before its own place moves up: then no search ends early.
        let mut place = gap;
        loop {
            place = self.after(place);
            let word = self.places[place];
            if word == FREE {
                break;
            }
            let mask = self.places.len() - 1;
            let distance = place.wrapping_sub(self.home((word >> 32) as u32)) & mask;
            if distance >= place.wrapping_sub(gap) & mask {
                self.places[gap] = word;
                gap = place;
            }
        }
        self.places[gap] = FREE;
        self.len -= 1;
        if self.len * 8 < self.places.len() && self.places.len() > FEWEST {
            self.resize(self.places.len() / 2);
        }
    }

    #[inline]
    fn place_of(&self, hash: u32, is_it: impl Fn(Id) -> bool) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        loop {
            let word = self.places[place];
            if word == FREE {
                return None;
            }
            if (word >> 32) as u32 == hash && is_it(word as Id) {
                return Some(place);
            }
            place = self.after(place);
        }
    }

    fn put(&mut self, word: u64) {
        let mut place = self.home((word >> 32) as u32);
        while self.places[place] != FREE {
            place = self.after(place);
        }
        self.places[place] = word;
    }

    fn resize(&mut self, places: usize) {
        let before = std::mem::replace(&mut self.places, vec![FREE; places]);
        for word in before.into_iter().filter(|&word| word != FREE) {
            self.put(word);
        }
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.places.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32),
        Remove(prop::sample::Index),
    }

    /// Few hashes, some of them at the very end of the table, where a search wraps around.
    fn step() -> impl Strategy<Value = Step> {
        let hash = prop_oneof![0..4_u32, (u32::MAX - 4)..=u32::MAX, any::<u32>()];
        prop_oneof![3 => hash.prop_map(Step::Insert), 2 => any::<prop::sample::Index>().prop_map(Step::Remove)]
    }

    proptest! {
        #[test]
        fn edges_are_found_until_they_are_removed(steps in prop::collection::vec(step(), 1..300)) {
            let mut edges = Edges::default();
            let mut model: Vec<(u32, Id)> = Vec::new();
            for (number, step) in (1..).zip(steps) {
                match step {
                    Step::Insert(hash) => {
                        edges.insert(hash, number);
                        model.push((hash, number));
                    }
                    Step::Remove(index) if !model.is_empty() => {
                        let (hash, child) = model.swap_remove(index.index(model.len()));
                        edges.remove(hash, child);
                        prop_assert_eq!(edges.find(hash, |id| id == child), None);
                    }
                    Step::Remove(_) => {}
                }
                prop_assert_eq!(edges.len(), model.len());
                for &(hash, child) in &model {
                    prop_assert_eq!(edges.find(hash, |id| id == child), Some(child));
                }
            }
        }
    }

    #[test]
    fn a_table_shrinks_with_its_edges() {
        let mut edges = Edges::default();
        let hash = |child: Id| child.wrapping_mul(0x9e37_79b9);
        (1..=10_000).for_each(|child| edges.insert(hash(child), child));
        let most = edges.bytes_used();
        assert!((80_000..=160_000).contains(&most), "{most}");
        (11..=10_000).for_each(|child| edges.remove(hash(child), child));
        assert!(edges.bytes_used() < 1000, "{}", edges.bytes_used());
        assert!((1..=10).all(|child| edges.find(hash(child), |id| id == child).is_some()));
    }
}
