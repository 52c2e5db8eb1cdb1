//! Memory that is named by number and never moves once it is large: adding to a million takes as long as to a thousand.

use std::ops::{Index, IndexMut};

use super::{Id, NONE};

const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 12;

/// Values in the order of their numbers, in chunks of which only the last one grows.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Arena<T> {
    pub(super) fn push(&mut self, value: T) -> Id {
        let id = Id::try_from(self.len()).ok().filter(|&id| id != NONE);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => {
                if last.len() == last.capacity() {
                    last.reserve_exact(last.len().min(CHUNK - last.len()));
                }
                last.push(value);
            }
            // Small partitions are many, so a first chunk begins small.
            Some(_) => self.chunks.push(first_of(CHUNK, value)),
            None => self.chunks.push(first_of(2, value)),
        }
        id.expect("a partition has fewer than 2^32 nodes: they would fill 256 GiB")
    }

    pub(super) fn len(&self) -> usize {
        match self.chunks.last() {
            Some(last) => (self.chunks.len() - 1) * CHUNK + last.len(),
            None => 0,
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// In the order of their numbers.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    #[cfg(test)]
    pub(super) fn bytes_used(&self) -> usize {
        let values: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>()).sum();
        values + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

fn first_of<T>(capacity: usize, value: T) -> Vec<T> {
    let mut chunk = Vec::with_capacity(capacity);
    chunk.push(value);
    chunk
}

impl<T> Index<Id> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: Id) -> &T {
        &self.chunks[id as usize >> CHUNK_BITS][id as usize % CHUNK]
    }
}

impl<T> IndexMut<Id> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, id: Id) -> &mut T {
        &mut self.chunks[id as usize >> CHUNK_BITS][id as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_numbers_in_all_chunks() {
        let mut arena = Arena::default();
        let count = 3 * CHUNK as Id + 5;
        for number in 0..count {
            assert_eq!(arena.push(number), number);
        }
        arena[CHUNK as Id] += 1_000_000;
        assert_eq!(arena.len(), count as usize);
        assert_eq!(arena[CHUNK as Id], 1_000_000 + CHUNK as Id);
        assert!(arena.iter().zip(0..).all(|(&value, number)| value % 1_000_000 == number));
    }

    #[test]
    fn values_never_move_out_of_a_full_chunk_and_few_cost_little() {
        let mut arena = Arena::default();
        arena.push(0_u64);
        assert!(arena.bytes_used() < 128, "{}", arena.bytes_used());
        (1..CHUNK as u64).for_each(|number| _ = arena.push(number));
        let first: *const u64 = &arena[0];
        (0..10 * CHUNK as u64).for_each(|number| _ = arena.push(number));
        assert!(std::ptr::eq(first, &arena[0]));
    }
}
