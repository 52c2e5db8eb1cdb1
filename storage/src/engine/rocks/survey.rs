//! Reads all rows of a database, past what is damaged.
//!
//! A scan ends at the first block that is not what was written. Here it goes on behind it: the keys of the damaged block
//! are read without a look at its checksum, only to find where the next whole one begins. Rows of that block are never
//! given out; each of its keys is asked for by itself, for a file that is newer may hold it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::{Database, Rocks};
use crate::engine::{Error, Family, Visit};

/// Rows that cannot be read: those of one or more blocks that lie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub family: Family,
    /// The last key before it that was read; empty if there is none.
    pub after: Vec<u8>,
    /// The first key behind it that can be read; empty if there is none.
    pub before: Vec<u8>,
    /// Keys that seem to be in it. They were read without proof, and may be none that was written.
    pub keys: Vec<Vec<u8>>,
    /// The file, as far as RocksDB names it.
    pub place: String,
    pub reason: String,
}

impl Gap {
    /// Slots that may have lost something, both included. Every key begins with its slot.
    pub fn slots(&self) -> (u16, u16) {
        let slot = |key: &[u8]| key.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        let named: BTreeSet<u16> = self.keys.iter().filter_map(|key| slot(key)).collect();
        let first = named.first().copied().or(slot(&self.after)).unwrap_or(0);
        let last = named.last().copied().or(slot(&self.before)).unwrap_or(first);
        (first, last)
    }
}

impl Rocks {
    /// Visits the rows of `family` whose keys are in `[from, to)`, in ascending order, until `visit` breaks; an empty
    /// `to` is no end. What cannot be read is left out and told.
    pub fn survey(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        visit: Visit<'_>,
    ) -> Result<Vec<Gap>, Error> {
        match self.is_rebuilt {
            true => self.survey_rows(family, from, to, &mut self.newest(family, visit)),
            false => self.survey_rows(family, from, to, visit),
        }
    }

    fn survey_rows(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        visit: Visit<'_>,
    ) -> Result<Vec<Gap>, Error> {
        let mut gaps = Vec::new();
        let (mut next, mut last) = (from.to_vec(), Vec::new());
        loop {
            let mut iterator = self.rows(family, to, true);
            iterator.seek(&next);
            while let Some((key, value)) = iterator.item() {
                last.clear();
                last.extend_from_slice(key);
                if visit(key, value).is_break() {
                    return Ok(gaps);
                }
                iterator.next();
            }
            let error = match iterator.status().map_err(|error| self.unreadable(error)) {
                Ok(()) => return Ok(gaps),
                Err(error) => error,
            };
            let Error::Damaged { place, reason } = error else { return Err(error) };
            let after = if last.is_empty() { next.clone() } else { last.clone() };
            let mut gap = Gap { family, after, before: Vec::new(), keys: Vec::new(), place, reason };
            let found = self.behind(&mut gap, to, visit)?;
            let before = gap.before.clone();
            gaps.push(gap);
            if !found {
                return Ok(gaps);
            }
            next = before;
        }
    }

    /// Finds the first key behind a gap; false if there is none, or `visit` breaks.
    fn behind(&self, gap: &mut Gap, to: &[u8], visit: Visit<'_>) -> Result<bool, Error> {
        let family = gap.family;
        // An iterator that has met damage says nothing true of other places: each look takes a new one.
        let seek = |key: &[u8]| {
            let mut checked = self.rows(family, to, true);
            checked.seek(key);
            checked.status().is_ok().then(|| checked.key().map(<[u8]>::to_vec).unwrap_or_default())
        };
        let mut unchecked = self.rows(family, to, false);
        let mut last = gap.after.clone();
        let mut value = Vec::new();
        unchecked.seek(&last);
        while let Some(key) = unchecked.key().map(<[u8]>::to_vec) {
            if key < last {
                break;
            }
            // Once for each key: the one before the gap was read already.
            if key > last || gap.keys.is_empty() && gap.after.is_empty() {
                match seek(&key) {
                    Some(found) if found == key => {
                        gap.before = found;
                        return Ok(true);
                    }
                    // Nobody wrote this key.
                    Some(_) => break,
                    None => {}
                }
                value.clear();
                match self.database.get_pinned_cf(self.family(gap.family), &key) {
                    Ok(Some(found)) => {
                        value.extend_from_slice(&found);
                        if visit(&key, &value) == ControlFlow::Break(()) {
                            return Ok(false);
                        }
                    }
                    Ok(None) => {}
                    Err(_) => gap.keys.push(key.clone()),
                }
                last = key;
            }
            unchecked.next();
        }
        // Not even that can be read. Keys are numbers: on by ever larger steps, and back to the first that can.
        let mut damaged = last;
        let Some(step) =
            (0..damaged.len() * 8).find(|&step| plus(&damaged, step).is_none_or(|key| seek(&key).is_some()))
        else {
            return Ok(false);
        };
        for step in (0..step).rev() {
            damaged = match plus(&damaged, step) {
                Some(key) if seek(&key).is_none() => key,
                _ => damaged,
            };
        }
        gap.before = plus(&damaged, 0).and_then(|key| seek(&key)).unwrap_or_default();
        Ok(!gap.before.is_empty())
    }

    fn rows(&self, family: Family, to: &[u8], checked: bool) -> DBRawIteratorWithThreadMode<'_, Database> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(checked);
        options.fill_cache(false);
        if !to.is_empty() {
            options.set_iterate_upper_bound(to);
        }
        self.database.raw_iterator_cf_opt(self.family(family), options)
    }
}

/// The key that is greater by a power of two, taken as a number; `None` where there is none of its length.
fn plus(key: &[u8], power: usize) -> Option<Vec<u8>> {
    let mut sum = key.to_vec();
    let mut place = sum.len().checked_sub(1 + power / 8)?;
    let (byte, mut carries) = sum[place].overflowing_add(1 << (power % 8));
    sum[place] = byte;
    while carries {
        place = place.checked_sub(1)?;
        (sum[place], carries) = sum[place].overflowing_add(1);
    }
    Some(sum)
}
