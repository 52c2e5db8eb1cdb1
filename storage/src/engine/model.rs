//! An engine in memory that loses what a disk may lose, for simulation and for tests.
//!
//! It keeps what reads see, and how to go back from there to what the last sync made safe. [`Model::crash`] turns it into the engine
//! that a machine finds after a loss of power: all batches that were synced, and as many of the later ones, in their
//! order, as the caller (a seeded generator) chooses. Faults are ordered beforehand: a sync that fails, a full disk, a
//! damaged record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Batch, Engine, Error, Family, Pair, Record, Space, View, Visit};

const PATH: &str = "memory";
const TOTAL: u64 = 1 << 40;

type Keys = BTreeMap<Arc<[u8]>, Arc<[u8]>>;
type Damaged = BTreeSet<(Family, Box<[u8]>)>;

/// Keys of all families. A scan holds on to the map it began with; a write copies the map only while one does.
#[derive(Clone, Default)]
struct Families([Arc<Keys>; Family::ALL.len()]);

/// An engine in memory. Its state is behind one lock: reads and writes may come from any thread.
#[derive(Default)]
pub struct Model {
    state: Mutex<State>,
}

/// What the keys of a batch had before it, each time that it wrote one.
type Undo = Vec<(Family, Arc<[u8]>, Option<Arc<[u8]>>)>;

#[derive(Default)]
struct State {
    visible: Families,
    /// Of each batch that is visible and not durable, oldest first, what it has replaced.
    unsynced: VecDeque<Undo>,
    damaged: Damaged,
    writes: u64,
    syncs: u64,
    /// How many more syncs succeed before one fails.
    syncs_until_failure: Option<u64>,
    full: bool,
    behind: bool,
    /// Bytes of the disk that are taken.
    used: u64,
    failed: Option<&'static str>,
    /// Where damage has stopped all writing.
    stopped: Option<&'static str>,
}

impl Model {
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine after a loss of power: what was synced, and the first `keep` batches of what was not, or all of
    /// them if there are fewer. This model fails every call from now on.
    pub fn crash(&self, keep: usize) -> Self {
        let mut state = self.lock();
        let mut durable = mem::take(&mut state.visible);
        while state.unsynced.len() > keep {
            durable.undo(state.unsynced.pop_back().expect("there are more than are kept"));
        }
        let mut damaged = mem::take(&mut state.damaged);
        damaged.retain(|(family, key)| durable.of(*family).contains_key(&**key));
        let (full, used) = (state.full, state.used);
        let next = State { visible: durable, damaged, full, used, ..State::default() };
        *state = State { failed: Some("the power is gone"), ..State::default() };
        Self { state: Mutex::new(next) }
    }

    /// The engine after its process died and was started again: the machine went on, so nothing is lost.
    /// This model fails every call from now on.
    pub fn restart(&self) -> Self {
        self.crash(usize::MAX)
    }

    /// Batches that the next [`Model::crash`] may lose.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// Batches written so far: a mark for [`Model::sync_through`].
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Syncs that were tried so far, the failed ones included.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Makes durable the batches written before [`Model::writes`] stood at `mark`: the end of a sync that began
    /// there, for a simulation in which a sync takes time.
    pub fn sync_through(&self, mark: u64) -> Result<(), Error> {
        self.lock().sync_through(mark)
    }

    /// The next sync fails, and with it every write and sync until the engine is opened again. What it would have
    /// synced stays unsynced.
    pub fn fail_next_sync(&self) {
        self.fail_sync_after(0);
    }

    /// As [`Model::fail_next_sync`], once `syncs` more have succeeded.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.lock().syncs_until_failure = Some(syncs);
    }

    /// All but so many bytes of the disk are taken by others. Writes go on.
    pub fn leave_free(&self, bytes: u64) {
        self.lock().used = TOTAL - bytes.min(TOTAL);
    }

    /// While the disk is full every write that is not empty is refused with [`Error::Full`].
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// What [`Engine::is_behind`] says. Writes go on.
    pub fn set_behind(&self, behind: bool) {
        self.lock().behind = behind;
    }

    /// Damage in `place` is met by the engine itself: from now on nothing is written, and reads go on.
    pub fn stop_writing(&self, place: &'static str) {
        self.lock().stopped = Some(place);
    }

    /// Spoils the record of `key`, if there is one: reads that meet it fail with [`Error::Damaged`] until it is
    /// written or deleted. Returns whether there was one.
    pub fn damage(&self, family: Family, key: &[u8]) -> bool {
        let mut state = self.lock();
        let found = state.visible.of(family).contains_key(key);
        if found {
            state.damaged.insert((family, key.into()));
        }
        found
    }

    /// Whatever was damaged can be read again, as after bits that were read wrongly and are right on the disk.
    pub fn mend(&self) {
        self.lock().damaged.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panics while it holds the state")
    }
}

impl Engine for Model {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        let state = self.lock();
        state.check_alive()?;
        let Some(value) = state.visible.of(family).get(key) else {
            return Ok(false);
        };
        state.check_intact(family, key)?;
        into.extend_from_slice(value);
        Ok(true)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        let (keys, damaged) = {
            let state = self.lock();
            state.check_alive()?;
            (Arc::clone(state.visible.of(family)), first_damaged(&state.damaged, family, from, to))
        };
        scan(&keys, damaged.as_deref(), family, from, to, visit)
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Error> {
        if from >= to {
            return Ok(None);
        }
        let state = self.lock();
        state.check_alive()?;
        let Some((key, value)) = range(state.visible.of(family), from, to).next_back() else {
            return Ok(None);
        };
        state.check_intact(family, key)?;
        Ok(Some((key.to_vec(), value.to_vec())))
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        let mut state = self.lock();
        state.check_alive()?;
        state.check_writing()?;
        if batch.is_empty() {
            return Ok(());
        }
        if state.full {
            return Err(Error::Full { path: PATH.into() });
        }
        state.heal(batch);
        let undo = state.visible.apply(batch);
        state.unsynced.push_back(undo);
        state.writes += 1;
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let mark = state.writes;
        state.sync_through(mark)
    }

    fn is_behind(&self) -> bool {
        self.lock().behind
    }

    fn space(&self) -> Result<Space, Error> {
        let state = self.lock();
        state.check_alive()?;
        Ok(Space { total: TOTAL, free: TOTAL - state.used })
    }

    fn view(self: Arc<Self>) -> Box<dyn View> {
        let state = self.lock();
        Box::new(Moment { families: state.visible.clone(), damaged: state.damaged.clone() })
    }
}

struct Moment {
    families: Families,
    damaged: Damaged,
}

impl View for Moment {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        let Some(value) = self.families.of(family).get(key) else { return Ok(false) };
        if self.damaged.contains(&(family, key.into())) {
            return Err(damage_at(family, key));
        }
        into.extend_from_slice(value);
        Ok(true)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        let damaged = first_damaged(&self.damaged, family, from, to);
        scan(self.families.of(family), damaged.as_deref(), family, from, to, visit)
    }
}

fn scan(
    keys: &Keys,
    damaged: Option<&[u8]>,
    family: Family,
    from: &[u8],
    to: &[u8],
    visit: Visit<'_>,
) -> Result<(), Error> {
    if from >= to {
        return Ok(());
    }
    for (key, value) in range(keys, from, to) {
        if damaged == Some(&**key) {
            return Err(damage_at(family, key));
        }
        if visit(key, value).is_break() {
            break;
        }
    }
    Ok(())
}

fn first_damaged(damaged: &Damaged, family: Family, from: &[u8], to: &[u8]) -> Option<Box<[u8]>> {
    if damaged.is_empty() || from >= to {
        return None;
    }
    damaged.range((family, from.into())..(family, to.into())).next().map(|(_, key)| key.clone())
}

impl State {
    fn sync_through(&mut self, mark: u64) -> Result<(), Error> {
        self.check_alive()?;
        assert!(mark <= self.writes, "the mark {mark} is ahead of the {} batches written", self.writes);
        self.syncs += 1;
        match &mut self.syncs_until_failure {
            Some(0) => {
                self.failed = Some("a sync failed");
                return self.check_alive();
            }
            Some(more) => *more -= 1,
            None => {}
        }
        let durable = self.writes - self.unsynced.len() as u64;
        let count = mark.saturating_sub(durable) as usize;
        self.unsynced.drain(..count);
        Ok(())
    }

    fn check_alive(&self) -> Result<(), Error> {
        match self.failed {
            Some(reason) => Err(Error::Failed(reason.into())),
            None => Ok(()),
        }
    }

    fn check_writing(&self) -> Result<(), Error> {
        match self.stopped {
            Some(place) => Err(Error::Stopped { place: place.into(), reason: "damaged on purpose".into() }),
            None => Ok(()),
        }
    }

    fn check_intact(&self, family: Family, key: &[u8]) -> Result<(), Error> {
        if self.damaged.is_empty() || !self.damaged.contains(&(family, key.into())) {
            return Ok(());
        }
        Err(damage_at(family, key))
    }

    /// Forgets the damage of records that `batch` replaces.
    fn heal(&mut self, batch: &Batch) {
        if self.damaged.is_empty() {
            return;
        }
        for record in batch.records() {
            match record {
                Record::Put { family, key, .. } | Record::Delete { family, key } => {
                    self.damaged.remove(&(family, key.into()));
                }
                Record::DeleteRange { family, from, to } => {
                    self.damaged.retain(|(of, key)| *of != family || **key < *from || **key >= *to);
                }
            }
        }
    }
}

impl Families {
    fn of(&self, family: Family) -> &Arc<Keys> {
        &self.0[family.index()]
    }

    fn of_mut(&mut self, family: Family) -> &mut Keys {
        Arc::make_mut(&mut self.0[family.index()])
    }

    fn apply(&mut self, batch: &Batch) -> Undo {
        let mut undo = Undo::new();
        for record in batch.records() {
            match record {
                Record::Put { family, key, value } => {
                    let key = Arc::from(key);
                    let before = self.of_mut(family).insert(Arc::clone(&key), value.into());
                    undo.push((family, key, before));
                }
                Record::Delete { family, key } => {
                    let before = self.of_mut(family).remove_entry(key);
                    undo.extend(before.map(|(key, value)| (family, key, Some(value))));
                }
                Record::DeleteRange { family, from, to } => {
                    if range(self.of(family), from, to).next().is_none() {
                        continue;
                    }
                    let keys = self.of_mut(family);
                    let doomed: Vec<_> = range(keys, from, to).map(|(key, _)| Arc::clone(key)).collect();
                    for key in doomed {
                        let before = keys.remove(&key);
                        undo.push((family, key, before));
                    }
                }
            }
        }
        undo
    }

    fn undo(&mut self, undo: Undo) {
        for (family, key, before) in undo.into_iter().rev() {
            match before {
                Some(value) => self.of_mut(family).insert(key, value),
                None => self.of_mut(family).remove(&key),
            };
        }
    }
}

fn range<'a>(
    keys: &'a Keys,
    from: &[u8],
    to: &[u8],
) -> impl DoubleEndedIterator<Item = (&'a Arc<[u8]>, &'a Arc<[u8]>)> {
    keys.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
}

fn damage_at(family: Family, key: &[u8]) -> Error {
    let place = format!("{PATH}, family {}, key {}", family.name(), key.escape_ascii());
    Error::Damaged { place, reason: "damaged on purpose".into() }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::engine::contract::{self, Disk};

    /// A disk whose one engine is opened again as after the death of its process.
    struct ModelDisk(Mutex<Arc<Model>>);

    impl Disk for ModelDisk {
        fn open(&self) -> Arc<dyn Engine> {
            let mut current = self.0.lock().unwrap();
            *current = Arc::new(current.restart());
            current.clone()
        }
    }

    contract::suite!(ModelDisk(Mutex::new(Arc::new(Model::new()))));

    fn put(key: &str) -> Batch {
        let mut batch = Batch::new();
        batch.put(Family::Log, key.as_bytes(), b"value");
        batch
    }

    fn keys(model: &Model) -> Vec<String> {
        let mut keys = Vec::new();
        model
            .scan(Family::Log, b"", b"\xff", &mut |key, _| {
                keys.push(String::from_utf8(key.to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        keys
    }

    /// `a` and `b` are synced, `c`, `d` and `e` are not.
    fn two_of_five_synced() -> Model {
        let model = Model::new();
        for key in ["a", "b"] {
            model.write(&put(key)).unwrap();
        }
        model.sync().unwrap();
        for key in ["c", "d", "e"] {
            model.write(&put(key)).unwrap();
        }
        model
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        for (keep, expected) in [(0, "ab"), (1, "abc"), (2, "abcd"), (3, "abcde"), (9, "abcde")] {
            let model = two_of_five_synced();
            assert_eq!(model.unsynced(), 3);
            assert_eq!(keys(&model.crash(keep)).concat(), expected);
        }
    }

    #[test]
    fn what_a_crash_left_is_durable() {
        let after = two_of_five_synced().crash(1);
        assert_eq!(after.unsynced(), 0);
        assert_eq!(keys(&after.crash(0)).concat(), "abc");
    }

    #[test]
    fn a_crashed_model_fails_every_call() {
        let model = two_of_five_synced();
        model.crash(0);
        assert!(matches!(model.get(Family::Log, b"a", &mut Vec::new()), Err(Error::Failed(_))));
        assert!(matches!(model.last(Family::Log, b"", b"z"), Err(Error::Failed(_))));
        assert!(matches!(model.write(&put("f")), Err(Error::Failed(_))));
        assert!(matches!(model.sync(), Err(Error::Failed(_))));
        assert!(matches!(model.space(), Err(Error::Failed(_))));
    }

    #[test]
    fn a_sync_makes_durable_what_was_written_when_it_began() {
        let model = Model::new();
        model.write(&put("a")).unwrap();
        let mark = model.writes();
        model.write(&put("b")).unwrap();
        model.sync_through(mark).unwrap();
        model.sync_through(mark).unwrap();
        assert_eq!(keys(&model.crash(0)).concat(), "a");
    }

    #[test]
    fn after_a_failed_sync_nothing_is_written_until_the_engine_is_opened_again() {
        let model = Model::new();
        model.fail_sync_after(1);
        model.write(&put("a")).unwrap();
        model.sync().unwrap();
        model.write(&put("b")).unwrap();
        assert!(matches!(model.sync(), Err(Error::Failed(_))));
        assert!(matches!(model.write(&put("c")), Err(Error::Failed(_))));
        assert!(matches!(model.sync(), Err(Error::Failed(_))));
        assert_eq!(model.syncs(), 2);

        let after = model.crash(0);
        assert_eq!(keys(&after).concat(), "a");
        after.write(&put("c")).unwrap();
        after.sync().unwrap();
    }

    #[test]
    fn a_full_disk_refuses_writes_and_still_reads() {
        let model = Model::new();
        model.write(&put("a")).unwrap();
        model.set_full(true);
        assert!(matches!(model.write(&put("b")), Err(Error::Full { .. })));
        model.leave_free(7);
        assert_eq!(model.space().unwrap().free, 7);
        assert_eq!(keys(&model).concat(), "a");

        model.set_full(false);
        model.write(&put("b")).unwrap();
        assert_eq!(keys(&model).concat(), "ab");
    }

    #[test]
    fn a_damaged_record_is_never_returned() {
        let model = two_of_five_synced();
        assert!(model.damage(Family::Log, b"b"));
        assert!(!model.damage(Family::Log, b"absent"));
        let model = model.restart();

        let mut value = Vec::new();
        let error = model.get(Family::Log, b"b", &mut value).unwrap_err();
        assert_eq!(error.to_string(), "damaged record in memory, family log, key b: damaged on purpose");
        assert!(value.is_empty());
        assert!(matches!(model.last(Family::Log, b"", b"c"), Err(Error::Damaged { .. })));

        let mut seen = Vec::new();
        let scanned = model.scan(Family::Log, b"", b"z", &mut |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        });
        assert!(matches!(scanned, Err(Error::Damaged { .. })));
        assert_eq!(seen, [b"a"]);
        assert!(model.get(Family::Log, b"c", &mut value).unwrap());
    }

    #[test]
    fn a_record_that_is_replaced_is_whole_again() {
        let model = two_of_five_synced();
        for key in ["a", "b", "c", "d"] {
            model.damage(Family::Log, key.as_bytes());
        }
        let mut batch = put("a");
        batch.delete(Family::Log, b"b");
        batch.delete_range(Family::Log, b"c", b"d");
        model.write(&batch).unwrap();
        assert!(model.get(Family::Log, b"a", &mut Vec::new()).unwrap());
        assert!(!model.get(Family::Log, b"b", &mut Vec::new()).unwrap());
        assert!(!model.get(Family::Log, b"c", &mut Vec::new()).unwrap());
        assert!(model.get(Family::Log, b"d", &mut Vec::new()).is_err());
    }
}
