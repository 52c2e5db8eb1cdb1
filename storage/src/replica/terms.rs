//! The terms of a log's entries. They come in long runs, so that few numbers hold all of them.
//!
//! Those of entries before some index need not be known: nobody asks for them but a follower that is far behind. They are
//! learned then, run by run from the newest on, by reading few entries ([`Terms::learn`]).

use std::collections::VecDeque;

/// A run of entries of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    term: u64,
}

#[derive(Debug)]
pub(super) struct Terms {
    /// The terms of entries from here on are known.
    from: u64,
    runs: VecDeque<Run>,
}

impl Terms {
    /// Knows of none up to this one.
    pub(super) fn behind(index: u64) -> Self {
        Self { from: index + 1, runs: VecDeque::new() }
    }

    /// The first index whose term is known.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// The next entry is of this term.
    pub(super) fn note(&mut self, index: u64, term: u64) {
        if self.runs.back().is_none_or(|run| run.term != term) {
            self.runs.push_back(Run { first: index, term });
        }
    }

    /// `None` if it is not known.
    pub(super) fn get(&self, index: u64) -> Option<u64> {
        if index < self.from {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        Some(self.runs[run].term)
    }

    /// Learns the run that ends before what is known, of a log that begins behind entry `base` of term `base_term`.
    /// `read` tells the term of an entry; it is asked about 2 log₂ n times for n entries.
    pub(super) fn learn<E>(
        &mut self,
        base: u64,
        base_term: u64,
        read: impl Fn(u64) -> Result<u64, E>,
    ) -> Result<(), E> {
        let term = read(self.from - 1)?;
        // Terms never fall: `low` is of an earlier one, `high` of this one.
        let (mut low, mut high) = (base, self.from - 1);
        while base_term != term && high - low > 1 {
            let middle = low + (high - low) / 2;
            match read(middle)? == term {
                true => high = middle,
                false => low = middle,
            }
        }
        let first = if base_term == term { base + 1 } else { high };
        match self.runs.front_mut() {
            Some(run) if run.term == term => run.first = first,
            _ => self.runs.push_front(Run { first, term }),
        }
        self.from = first;
        Ok(())
    }

    /// Forgets the entries from `index` on.
    pub(super) fn cut(&mut self, index: u64) {
        while self.runs.back().is_some_and(|run| run.first >= index) {
            self.runs.pop_back();
        }
    }

    /// Forgets the entries up to `through`.
    pub(super) fn forget(&mut self, through: u64) {
        let passed = self.runs.partition_point(|run| run.first <= through + 1).saturating_sub(1);
        self.runs.drain(..passed);
        self.from = self.from.max(through + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// The terms of entries 1 to 4000.
    fn term(index: u64) -> u64 {
        match index {
            0 => 0,
            1..=10 => 1,
            11..=999 => 2,
            1000 => 5,
            _ => 6,
        }
    }

    #[test]
    fn runs_are_learned_from_the_newest_on_by_few_reads() {
        let reads = Cell::new(0);
        let mut terms = Terms::behind(3999);
        terms.note(4000, 6);
        let read = |index| {
            reads.set(reads.get() + 1);
            Ok::<_, Infallible>(term(index))
        };
        let mut learned = Vec::new();
        while terms.from() > 1 {
            terms.learn(0, 0, read).unwrap();
            learned.push(terms.from());
        }
        assert_eq!(learned, [1001, 1000, 11, 1]);
        assert!(reads.get() < 50, "{} reads", reads.get());
        assert!((1..=4000).all(|index| terms.get(index) == Some(term(index))));
    }

    #[test]
    fn a_log_whose_entries_are_all_of_the_term_of_its_base_is_learned_by_one_read() {
        let mut terms = Terms::behind(500);
        terms.learn(100, 3, |index| (index == 500).then_some(3).ok_or(())).unwrap();
        assert_eq!((terms.from(), terms.get(101), terms.get(100)), (101, Some(3), None));
    }

    #[test]
    fn what_is_cut_or_forgotten_is_not_known() {
        let mut terms = Terms::behind(0);
        (1..=2000).for_each(|index| terms.note(index, term(index)));
        terms.cut(1500);
        terms.note(1500, 9);
        terms.forget(999);
        assert_eq!([999, 1000, 1499, 1500].map(|index| terms.get(index)), [None, Some(5), Some(6), Some(9)]);
    }
}
