//! The newest payloads of a log, in memory, so that committing and sending what was just written reads no disk.
//!
//! raft keeps index, term and type of an entry and never its payload: it would copy it three times. Payloads go from
//! the proposer or the wire into the tail, from there into the batch, to the followers and, shared, to the caller.

use std::collections::VecDeque;

use bytes::Bytes;

use super::row::EntryKind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TailEntry {
    pub term: u64,
    pub kind: EntryKind,
    pub payload: Bytes,
}

/// Entries of consecutive indexes, up to the last of the log.
#[derive(Debug)]
pub(super) struct Tail {
    first: u64,
    entries: VecDeque<TailEntry>,
    bytes: usize,
}

impl Tail {
    /// An empty tail behind the entry at `last`.
    pub(super) fn behind(last: u64) -> Self {
        Self { first: last + 1, entries: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<&TailEntry> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Removes the oldest entry, if it is the one at `index`.
    pub(super) fn take_first(&mut self, index: u64) -> Option<TailEntry> {
        if index != self.first {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.payload.len();
        self.first += 1;
        Some(entry)
    }

    pub(super) fn push(&mut self, entry: TailEntry) {
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
    }

    /// Forgets the entries from `index` on: another leader has written others in their place.
    pub(super) fn cut(&mut self, index: u64) {
        while self.next() > index {
            match self.entries.pop_back() {
                Some(entry) => self.bytes -= entry.payload.len(),
                None => {
                    self.first = index;
                    return;
                }
            }
        }
    }

    /// Forgets the oldest entry while there are more than `limit` bytes, and none behind `through`.
    pub(super) fn evict(&mut self, limit: usize, through: u64) {
        while self.first <= through && (self.bytes > limit || limit == 0) {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= entry.payload.len();
            self.first += 1;
        }
        // Records of no bytes count too, else a tail of them would have no bound.
        while self.first <= through && self.entries.len() > 4096 {
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: &'static [u8]) -> TailEntry {
        TailEntry { term: 1, kind: EntryKind::Record, payload: Bytes::from_static(payload) }
    }

    fn three() -> Tail {
        let mut tail = Tail::behind(9);
        for payload in [b"aa", b"bb", b"cc"] {
            tail.push(entry(payload));
        }
        tail
    }

    #[test]
    fn entries_are_found_by_index() {
        let tail = three();
        assert_eq!((tail.first(), tail.next(), tail.bytes), (10, 13, 6));
        assert_eq!(tail.get(11), Some(&entry(b"bb")));
        assert_eq!(tail.get(9), None);
        assert_eq!(tail.get(13), None);
    }

    #[test]
    fn a_cut_forgets_the_newest_even_those_that_were_evicted() {
        let mut tail = three();
        tail.cut(12);
        assert_eq!((tail.first(), tail.next(), tail.bytes), (10, 12, 4));
        tail.cut(5);
        assert_eq!((tail.first(), tail.next(), tail.bytes), (5, 5, 0));
    }

    #[test]
    fn the_oldest_is_taken_in_its_turn() {
        let mut tail = three();
        assert_eq!(tail.take_first(11), None);
        assert_eq!(tail.take_first(10), Some(entry(b"aa")));
        assert_eq!((tail.first(), tail.next(), tail.bytes), (11, 13, 4));
    }

    #[test]
    fn eviction_stops_at_the_limit_and_at_what_is_still_needed() {
        let mut tail = three();
        tail.evict(4, 12);
        assert_eq!((tail.first(), tail.bytes), (11, 4));
        tail.evict(0, 11);
        assert_eq!((tail.first(), tail.bytes), (12, 2));
    }
}
