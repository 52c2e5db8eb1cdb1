//! Numbers that are missing from a queue, as runs: a Client that never finishes one message makes what passes by behind
//! it one long run, and not a set that grows with every message.

use std::collections::BTreeMap;

use super::Seq;

/// In the row of a queue: the run that the number before began goes up to and with this one. Numbers of messages never
/// come near it.
const LAST: Seq = 1 << 63;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// First number of a run, and the one behind its last. No two runs touch.
    runs: BTreeMap<Seq, Seq>,
    count: u64,
}

impl Holes {
    /// How many numbers are missing.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// How many of them from `seq` on.
    pub fn len_from(&self, seq: Seq) -> u64 {
        let within = self.run_of(seq).map_or(0, |(_, end)| end - seq);
        within + self.runs.range(seq + 1..).map(|(start, end)| end - start).sum::<u64>()
    }

    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    pub fn contains(&self, seq: Seq) -> bool {
        self.run_of(seq).is_some()
    }

    fn run_of(&self, seq: Seq) -> Option<(Seq, Seq)> {
        let (&start, &end) = self.runs.range(..=seq).next_back()?;
        (seq < end).then_some((start, end))
    }

    /// The first number from `seq` on that is not missing.
    pub fn next_held(&self, seq: Seq) -> Seq {
        self.run_of(seq).map_or(seq, |(_, end)| end)
    }

    pub fn insert(&mut self, seq: Seq) {
        if self.contains(seq) {
            return;
        }
        let (mut start, mut end) = (seq, seq + 1);
        if let Some((&before, &until)) = self.runs.range(..seq).next_back()
            && until == seq
        {
            start = before;
        }
        if let Some(until) = self.runs.remove(&end) {
            end = until;
        }
        self.runs.insert(start, end);
        self.count += 1;
    }

    /// Takes out the run that begins with `floor`; returns what is behind it, or `floor` if there is none.
    pub fn pass(&mut self, floor: Seq) -> Seq {
        let Some(end) = self.runs.remove(&floor) else { return floor };
        self.count -= end - floor;
        end
    }

    /// As they stand in the row of a queue: numbers by themselves as they are, longer runs by both ends.
    pub fn to_row(&self) -> Vec<Seq> {
        let mut row = Vec::with_capacity(self.runs.len());
        for (&start, &end) in &self.runs {
            row.push(start);
            if end > start + 1 {
                row.push((end - 1) | LAST);
            }
        }
        row
    }

    pub fn from_row(row: &[Seq]) -> Self {
        let mut holes = Self::default();
        let mut start = 0;
        for &entry in row {
            if entry & LAST == 0 {
                start = entry;
                holes.insert(entry);
                continue;
            }
            let end = (entry & !LAST) + 1;
            if let Some(before) = holes.runs.insert(start, end) {
                holes.count += end - before;
            }
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(seqs: impl IntoIterator<Item = Seq>) -> Holes {
        let mut holes = Holes::default();
        seqs.into_iter().for_each(|seq| holes.insert(seq));
        holes
    }

    #[test]
    fn neighbours_are_one_run() {
        let mut holes = holes([5, 7, 9, 6, 6]);
        assert_eq!((holes.runs(), holes.len()), (2, 4));
        assert!([5, 6, 7, 9].iter().all(|&seq| holes.contains(seq)));
        assert!(![4, 8, 10].iter().any(|&seq| holes.contains(seq)));
        assert_eq!([4, 5, 7, 9].map(|seq| holes.next_held(seq)), [4, 8, 8, 10]);
        assert_eq!([0, 5, 6, 8, 9, 10].map(|seq| holes.len_from(seq)), [4, 4, 3, 1, 1, 0]);
        assert_eq!((holes.pass(4), holes.pass(5)), (4, 8));
        assert_eq!((holes.runs(), holes.len()), (1, 1));
    }

    #[test]
    fn a_row_holds_runs_by_their_ends_and_is_read_as_it_was_written() {
        let holes = holes((10..1_000_000).chain([3, 5, 6]));
        assert_eq!(holes.to_row(), [3, 5, 6 | LAST, 10, 999_999 | LAST]);
        assert_eq!(Holes::from_row(&holes.to_row()), holes);
    }

    #[test]
    fn a_row_of_an_earlier_release_holds_every_number() {
        assert_eq!(Holes::from_row(&[3, 5, 6, 7]), holes([3, 5, 6, 7]));
    }
}
