//! Slots whose rows can be replaced as a whole.
//!
//! The keys of a slot begin with its number. A copy that comes from another replica takes minutes, and the slot's own
//! rows must stay until all of it is there; so the copy is staged under a number that no slot has, and one row then
//! says that the slot's keys begin with that number. Until a slot is replaced for the first time nothing of this is to
//! be seen: its generation is its own number, as in folders of earlier versions.
//!
//! What is staged, the row and all that is written after it are batches of one engine: a crash keeps a prefix of them. If
//! the row is there, so is all that was staged, and what a crash leaves of an unfinished copy is deleted at the next
//! start.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use convoy_ids::SlotId;

use super::{Batch, Engine, Error, Family, Found, Pair, Record, Space, View, Visit};
use crate::envelope;

/// Numbers that no slot has.
pub(crate) const SPARE: std::ops::RangeInclusive<u16> = 0x8000..=u16::MAX - 1;

/// Families whose keys begin with a slot's number. Those of the node's own facts are as they are.
const FAMILIES: [Family; 5] =
    [Family::Log, Family::Session, Family::Queue, Family::Retained, Family::Archive];

/// Slot -> the number that its keys begin with.
const ROW: &[u8] = b"\xff\xffgeneration";
const KIND: u8 = b'G';
const VERSION: u8 = 1;

/// An engine over another one, in which slots can be replaced. A range of keys lies within one slot.
pub struct Generations {
    engine: Arc<dyn Engine>,
    /// What the keys of each slot begin with.
    prefixes: Box<[AtomicU16]>,
    /// Some slot's keys do not begin with its own number: without one, keys are passed on as they are.
    is_moved: AtomicBool,
    /// Numbers in use beside the slots' own.
    taken: Mutex<BTreeSet<u16>>,
    /// What is left of unfinished copies could not be deleted yet: until it is, nothing is staged on top of it.
    is_unswept: AtomicBool,
}

/// Rows of a slot that are not in force yet. Dropped without [`Generations::switch`] or [`Generations::abandon`], they
/// take room until the next start.
#[derive(Debug, PartialEq, Eq)]
pub struct Staged {
    slot: SlotId,
    prefix: u16,
}

impl Staged {
    pub fn slot(&self) -> SlotId {
        self.slot
    }
}

impl Generations {
    /// Reads what slots were replaced, and deletes what was staged and never came into force, and rows of before that are
    /// there once more.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        let (mut moved, mut broken) = (BTreeMap::new(), None);
        read_all(&*engine, &mut |found| match found {
            Ok((slot, prefix)) => {
                moved.insert(slot, prefix);
                ControlFlow::Continue(())
            }
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        let opened = Self::as_found(engine, &moved);
        match opened.sweep(&moved) {
            Ok(()) => {}
            Err(error @ Error::Failed(_)) => return Err(error),
            Err(error) => {
                // What lies there serves nobody, so a node with damage, or with a full disk, starts.
                tracing::warn!(%error, "rows of unfinished copies stay, and no copy is taken until they can be deleted");
                opened.is_unswept.store(true, Ordering::Release);
            }
        }
        Ok(opened)
    }

    /// With these slots under other numbers; nothing is deleted.
    pub(crate) fn as_found(engine: Arc<dyn Engine>, moved: &BTreeMap<SlotId, u16>) -> Self {
        let prefixes = (0..=u16::MAX).map(AtomicU16::new).collect();
        let taken = Mutex::new(moved.values().copied().collect());
        let (is_moved, is_unswept) = (AtomicBool::new(false), AtomicBool::new(false));
        let found = Self { engine, prefixes, is_moved, taken, is_unswept };
        moved.iter().for_each(|(slot, prefix)| found.set(*slot, *prefix));
        found
    }

    /// Begins to stage rows that are to replace those of `slot`. `None` if no number is left for them, or while what is left of
    /// earlier ones cannot be deleted.
    pub fn stage(&self, slot: SlotId) -> Option<Staged> {
        if self.is_unswept.load(Ordering::Acquire) {
            let prefixes = (0..=u16::MAX).map(|slot| (SlotId(slot), self.prefix(SlotId(slot))));
            let moved = prefixes.filter(|(slot, prefix)| slot.0 != *prefix).collect();
            self.sweep(&moved).ok()?;
            self.is_unswept.store(false, Ordering::Release);
        }
        let mut taken = self.taken.lock().expect(WHOLE);
        let prefix = SPARE.into_iter().find(|number| !taken.contains(number))?;
        taken.insert(prefix);
        Some(Staged { slot, prefix })
    }

    /// Writes a batch of rows of the staged slot.
    pub fn write_staged(&self, staged: &Staged, batch: &Batch) -> Result<(), Error> {
        self.check_staged(staged);
        self.engine.write(&translate(batch, |slot| match slot == staged.slot {
            true => staged.prefix,
            false => panic!("what is staged for {} is of no other slot", staged.slot),
        }))
    }

    /// Puts what was staged in force, with the rows of `rest`, and deletes what it replaces: all of it or nothing. What is
    /// written later for this slot goes to its new rows. Durable only after a later sync. After an error the staged rows
    /// are still staged.
    pub fn switch(&self, staged: &Staged, rest: &Batch) -> Result<(), Error> {
        self.check_staged(staged);
        let Staged { slot, prefix } = *staged;
        let old = self.prefix(slot);
        let mut batch = Batch::new();
        delete_all(&mut batch, old);
        put_row(&mut batch, slot, prefix);
        batch.append(&translate(rest, |of| if of == slot { prefix } else { self.prefix(of) }));
        self.engine.write(&batch)?;
        self.set(slot, prefix);
        self.taken.lock().expect(WHOLE).remove(&old);
        Ok(())
    }

    /// Deletes what was staged.
    pub fn abandon(&self, staged: Staged) -> Result<(), Error> {
        self.check_staged(&staged);
        let mut batch = Batch::new();
        delete_all(&mut batch, staged.prefix);
        self.engine.write(&batch)?;
        self.taken.lock().expect(WHOLE).remove(&staged.prefix);
        Ok(())
    }

    fn check_staged(&self, staged: &Staged) {
        assert_ne!(self.prefix(staged.slot), staged.prefix, "what is in force is not staged any more");
    }

    fn prefix(&self, slot: SlotId) -> u16 {
        self.prefixes[usize::from(slot.0)].load(Ordering::Relaxed)
    }

    fn set(&self, slot: SlotId, prefix: u16) {
        self.prefixes[usize::from(slot.0)].store(prefix, Ordering::Relaxed);
        self.is_moved.store(true, Ordering::Release);
    }

    /// The number that a key begins with, and the one that stands for it. `None` if they are the same.
    fn moved(&self, family: Family, key: &[u8]) -> Option<(u16, u16)> {
        if family == Family::Meta || !self.is_moved.load(Ordering::Acquire) {
            return None;
        }
        let slot = u16::from_be_bytes(*key.first_chunk()?);
        let prefix = self.prefix(SlotId(slot));
        (prefix != slot).then_some((slot, prefix))
    }

    /// Deletes rows that begin with a number which stands for no slot.
    fn sweep(&self, moved: &BTreeMap<SlotId, u16>) -> Result<(), Error> {
        let taken = self.taken.lock().expect(WHOLE);
        let mut left = BTreeSet::new();
        for family in FAMILIES {
            left.extend(numbers(&*self.engine, family)?.into_iter().filter(|number| !taken.contains(number)));
            for slot in moved.keys() {
                let own = first(&*self.engine, family, &slot.0.to_be_bytes())?;
                left.extend(own.filter(|number| *number == slot.0));
            }
        }
        let mut batch = Batch::new();
        left.into_iter().for_each(|number| delete_all(&mut batch, number));
        if batch.is_empty() { Ok(()) } else { self.engine.write(&batch) }
    }
}

/// The numbers that no slot has and that keys of this family begin with.
pub(crate) fn numbers(engine: &dyn Engine, family: Family) -> Result<Vec<u16>, Error> {
    let (mut found, mut from) = (Vec::new(), *SPARE.start());
    while let Some(number) =
        first(engine, family, &from.to_be_bytes())?.filter(|number| SPARE.contains(number))
    {
        found.push(number);
        from = number + 1;
    }
    Ok(found)
}

/// The number that the first key from there on begins with.
fn first(engine: &dyn Engine, family: Family, from: &[u8]) -> Result<Option<u16>, Error> {
    let mut found = None;
    engine.scan(family, from, &END, &mut |key, _| {
        found = key.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

const WHOLE: &str = "no call panics while it holds the numbers";

/// Behind all keys of every slot: no kind of row has this number.
const END: [u8; 4] = [u8::MAX; 4];

impl Engine for Generations {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        match self.moved(family, key) {
            None => self.engine.get(family, key, into),
            Some((_, prefix)) => self.engine.get(family, &placed(key, prefix), into),
        }
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        scan(self.moved(family, from), from, to, visit, |from, to, visit| {
            self.engine.scan(family, from, to, visit)
        })
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Error> {
        let Some((slot, prefix)) = self.moved(family, from) else {
            return self.engine.last(family, from, to);
        };
        let found = self.engine.last(family, &placed(from, prefix), &end(to, slot, prefix))?;
        Ok(found.map(|(key, value)| (placed(&key, slot), value)))
    }

    fn last_of_each(&self, family: Family, ranges: &[(&[u8], &[u8])], visit: Found<'_>) -> Result<(), Error> {
        if !self.is_moved.load(Ordering::Acquire) {
            return self.engine.last_of_each(family, ranges, visit);
        }
        // Those of one slot at a time: of several, the numbers need not ascend.
        let slot_of = |range: &(&[u8], &[u8])| range.0.first_chunk::<2>().copied();
        let (mut number, mut shown) = (0, Vec::new());
        for of_slot in ranges.chunk_by(|one, next| slot_of(one) == slot_of(next)) {
            let first = number;
            number += of_slot.len();
            let Some((slot, prefix)) = self.moved(family, of_slot[0].0) else {
                self.engine
                    .last_of_each(family, of_slot, &mut |n, key, value| visit(first + n, key, value))?;
                continue;
            };
            let ranges: Vec<_> =
                of_slot.iter().map(|(from, to)| (placed(from, prefix), end(to, slot, prefix))).collect();
            let ranges: Vec<_> = ranges.iter().map(|(from, to)| (&from[..], &to[..])).collect();
            self.engine.last_of_each(family, &ranges, &mut |n, key, value| {
                show(&mut shown, key, slot);
                visit(first + n, &shown, value);
            })?;
        }
        Ok(())
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        if !self.is_moved.load(Ordering::Acquire) {
            return self.engine.write(batch);
        }
        self.engine.write(&translate(batch, |slot| self.prefix(slot)))
    }

    fn sync(&self) -> Result<(), Error> {
        self.engine.sync()
    }

    fn view(self: Arc<Self>) -> Box<dyn View> {
        let moved = (0..=u16::MAX).map(|slot| (slot, self.prefix(SlotId(slot))));
        let moved = moved.filter(|(slot, prefix)| slot != prefix).collect();
        Box::new(Moment { view: Arc::clone(&self.engine).view(), moved })
    }

    fn space(&self) -> Result<Space, Error> {
        self.engine.space()
    }

    fn is_behind(&self) -> bool {
        self.engine.is_behind()
    }
}

/// A view, with the generations of its moment.
struct Moment {
    view: Box<dyn View>,
    /// Slots whose keys begin with another number, in order.
    moved: Vec<(u16, u16)>,
}

impl Moment {
    fn moved(&self, family: Family, key: &[u8]) -> Option<(u16, u16)> {
        let slot = u16::from_be_bytes(*key.first_chunk()?);
        let place = self.moved.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        (family != Family::Meta).then(|| self.moved[place])
    }
}

impl View for Moment {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        match self.moved(family, key) {
            None => self.view.get(family, key, into),
            Some((_, prefix)) => self.view.get(family, &placed(key, prefix), into),
        }
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        scan(self.moved(family, from), from, to, visit, |from, to, visit| {
            self.view.scan(family, from, to, visit)
        })
    }
}

/// Scans under the number that stands for a slot, and shows keys under the slot's own.
fn scan(
    moved: Option<(u16, u16)>,
    from: &[u8],
    to: &[u8],
    visit: Visit<'_>,
    scan: impl FnOnce(&[u8], &[u8], Visit<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some((slot, prefix)) = moved else { return scan(from, to, visit) };
    let mut shown = Vec::new();
    scan(&placed(from, prefix), &end(to, slot, prefix), &mut |key, value| {
        show(&mut shown, key, slot);
        visit(&shown, value)
    })
}

/// The key under another number.
pub(crate) fn placed(key: &[u8], prefix: u16) -> Vec<u8> {
    let mut key = key.to_vec();
    key[..2].copy_from_slice(&prefix.to_be_bytes());
    key
}

fn show(shown: &mut Vec<u8>, key: &[u8], slot: u16) {
    shown.clear();
    shown.extend_from_slice(key);
    shown[..2].copy_from_slice(&slot.to_be_bytes());
}

/// The end of a range of a slot's keys under another number.
fn end(to: &[u8], slot: u16, prefix: u16) -> Vec<u8> {
    if to.starts_with(&slot.to_be_bytes()) {
        return placed(to, prefix);
    }
    let next = slot.checked_add(1).map(u16::to_be_bytes);
    assert!(next.is_none_or(|next| *to <= next[..]), "a range of keys lies within one slot");
    after_all_of(prefix)
}

/// Behind all keys that begin with this number.
fn after_all_of(prefix: u16) -> Vec<u8> {
    prefix.checked_add(1).map_or(END.to_vec(), |next| next.to_be_bytes().to_vec())
}

/// Behind all keys that begin so.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &END].concat()
}

fn delete_all(batch: &mut Batch, prefix: u16) {
    for family in FAMILIES {
        batch.delete_range(family, &prefix.to_be_bytes(), &after_all_of(prefix));
    }
}

/// The batch with each key under the number that stands for its slot.
fn translate(batch: &Batch, prefix_of: impl Fn(SlotId) -> u16) -> Batch {
    let translated = |family: Family, key: &[u8]| {
        let slot = key.first_chunk().map(|slot| u16::from_be_bytes(*slot)).filter(|_| family != Family::Meta);
        slot.map(|slot| (slot, prefix_of(SlotId(slot)))).filter(|(slot, prefix)| slot != prefix)
    };
    let place = |family: Family, key| match translated(family, key) {
        None => Cow::Borrowed(key),
        Some((_, prefix)) => Cow::Owned(placed(key, prefix)),
    };
    let mut into = Batch::with_capacity(batch.size_bytes());
    for record in batch.records() {
        match record {
            Record::Put { family, key, value } => into.put(family, &place(family, key), value),
            Record::Delete { family, key } => into.delete(family, &place(family, key)),
            Record::DeleteRange { family, from, to } => match translated(family, from) {
                None => into.delete_range(family, from, to),
                Some((slot, prefix)) => {
                    into.delete_range(family, &placed(from, prefix), &end(to, slot, prefix));
                }
            },
        }
    }
    into
}

fn put_row(batch: &mut Batch, slot: SlotId, prefix: u16) {
    let mut value = Vec::new();
    envelope::seal(KIND, VERSION, &mut value, |into| into.extend_from_slice(&prefix.to_be_bytes()));
    batch.put(Family::Meta, &[ROW, &slot.0.to_be_bytes()].concat(), &value);
}

/// Whether a row of the family `meta` says under which number a slot's keys are.
pub(crate) fn is_row(key: &[u8]) -> bool {
    key.starts_with(ROW)
}

/// Reads the rows that say so, past those that are damaged, until `visit` breaks.
pub(crate) fn read_all(
    engine: &dyn Engine,
    visit: &mut dyn FnMut(Result<(SlotId, u16), Error>) -> ControlFlow<()>,
) -> Result<(), Error> {
    engine.scan(Family::Meta, ROW, &after(ROW), &mut |key, value| {
        visit(read(key, value).map_err(|reason| Error::Damaged {
            place: format!("row {}", key.escape_ascii()),
            reason: reason.to_string(),
        }))
    })
}

fn read(key: &[u8], value: &[u8]) -> Result<(SlotId, u16), Cow<'static, str>> {
    let slot = key.get(ROW.len()..).and_then(|slot| slot.try_into().ok()).ok_or("its key names no slot")?;
    let (version, body) = envelope::open(KIND, value).map_err(|error| error.to_string())?;
    let prefix = body.try_into().ok().filter(|_| version == VERSION).ok_or("it is of an unknown version")?;
    let prefix = u16::from_be_bytes(prefix);
    if !SPARE.contains(&prefix) {
        return Err("its number is that of a slot".into());
    }
    Ok((SlotId(u16::from_be_bytes(slot)), prefix))
}

#[cfg(test)]
mod tests;
