use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::Model;
use crate::engine::contract::{self, Disk};

/// A disk whose engine is opened again as after the death of its process. Some slot is replaced, so that every call is
/// looked at.
struct Replaced(Mutex<Arc<Model>>);

impl Disk for Replaced {
    fn open(&self) -> Arc<dyn Engine> {
        let mut model = self.0.lock().unwrap();
        *model = Arc::new(model.restart());
        let engine = Generations::open(model.clone()).unwrap();
        let staged = engine.stage(SLOTS[1]).unwrap();
        engine.switch(&staged, &Batch::new()).unwrap();
        Arc::new(engine)
    }
}

contract::suite!(Replaced(Mutex::new(Arc::new(Model::new()))));

const SLOTS: [SlotId; 3] = [SlotId(0), SlotId(0x01ff), SlotId::META];

fn key(slot: SlotId, rest: &[u8]) -> Vec<u8> {
    [&slot.0.to_be_bytes(), rest].concat()
}

fn all_of(engine: &dyn Engine, family: Family, slot: SlotId) -> Vec<Pair> {
    let mut found = Vec::new();
    let to = slot.0.checked_add(1).map_or(END.to_vec(), |next| next.to_be_bytes().to_vec());
    engine
        .scan(family, &key(slot, b""), &to, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn one(slot: SlotId, rest: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(Family::Session, &key(slot, rest), value);
    batch
}

#[test]
fn what_is_staged_is_not_seen_until_the_switch_and_then_nothing_else() {
    let engine = Generations::open(Arc::new(Model::new())).unwrap();
    for slot in SLOTS {
        engine.write(&one(slot, b"old", b"1")).unwrap();
    }
    let staged = engine.stage(SLOTS[1]).unwrap();
    engine.write_staged(&staged, &one(SLOTS[1], b"new", b"2")).unwrap();
    assert_eq!(all_of(&engine, Family::Session, SLOTS[1]), [(key(SLOTS[1], b"old"), b"1".to_vec())]);

    let mut rest = one(SLOTS[1], b"rest", b"3");
    rest.put(Family::Session, &key(SLOTS[0], b"other"), b"4");
    engine.switch(&staged, &rest).unwrap();
    let expected = [(key(SLOTS[1], b"new"), b"2".to_vec()), (key(SLOTS[1], b"rest"), b"3".to_vec())];
    assert_eq!(all_of(&engine, Family::Session, SLOTS[1]), expected);
    let others = [0, 2].map(|slot| all_of(&engine, Family::Session, SLOTS[slot]).len());
    assert_eq!(others, [2, 1]);
}

#[test]
fn a_crash_keeps_the_old_rows_or_the_new_ones_whole() {
    for keep in 0..6 {
        let model = Arc::new(Model::new());
        let engine = Generations::open(model.clone()).unwrap();
        engine.write(&one(SLOTS[0], b"old", b"1")).unwrap();
        engine.sync().unwrap();
        let staged = engine.stage(SLOTS[0]).unwrap();
        engine.write_staged(&staged, &one(SLOTS[0], b"a", b"2")).unwrap();
        engine.write_staged(&staged, &one(SLOTS[0], b"b", b"2")).unwrap();
        engine.switch(&staged, &one(SLOTS[0], b"c", b"2")).unwrap();
        engine.write(&one(SLOTS[0], b"d", b"2")).unwrap();

        let after = Arc::new(model.crash(keep));
        let engine = Generations::open(after.clone()).unwrap();
        let found = all_of(&engine, Family::Session, SLOTS[0]).into_iter().map(|(key, _)| key[2..].to_vec());
        let expected: &[&[u8]] = match keep {
            0..3 => &[b"old"],
            3 => &[b"a", b"b", b"c"],
            _ => &[b"a", b"b", b"c", b"d"],
        };
        assert_eq!(found.collect::<Vec<_>>(), expected, "{keep} batches kept");
        // What was staged and never came into force is gone.
        let spare = first(&engine, Family::Session, &SPARE.start().to_be_bytes()).unwrap();
        assert_eq!(spare.filter(|number| SPARE.contains(number)).is_some(), keep >= 3);
    }
}

#[test]
fn what_is_abandoned_leaves_nothing() {
    let engine = Generations::open(Arc::new(Model::new())).unwrap();
    let staged = engine.stage(SLOTS[0]).unwrap();
    engine.write_staged(&staged, &one(SLOTS[0], b"a", b"1")).unwrap();
    engine.abandon(staged).unwrap();
    assert_eq!(first(&engine, Family::Session, b"").unwrap(), None);
    assert_eq!(engine.stage(SLOTS[0]).unwrap().prefix, *SPARE.start(), "its number may be used again");
}

#[test]
fn a_switch_that_fails_leaves_what_was_staged() {
    let model = Arc::new(Model::new());
    let engine = Generations::open(model.clone()).unwrap();
    let staged = engine.stage(SLOTS[0]).unwrap();
    engine.write_staged(&staged, &one(SLOTS[0], b"a", b"1")).unwrap();
    model.set_full(true);
    let error = engine.switch(&staged, &Batch::new()).unwrap_err();
    assert!(matches!(error, Error::Full { .. }));
    assert!(all_of(&engine, Family::Session, SLOTS[0]).is_empty());
    model.set_full(false);
    engine.switch(&staged, &Batch::new()).unwrap();
    assert_eq!(all_of(&engine, Family::Session, SLOTS[0]).len(), 1);
}

#[test]
fn a_damaged_row_is_named() {
    let model = Arc::new(Model::new());
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"\xff\xffgeneration\x00\x01", b"anything");
    model.write(&batch).unwrap();
    let error = Generations::open(model).err().unwrap().to_string();
    assert!(error.starts_with(r"damaged record in row \xff\xffgeneration\x00\x01: "), "{error}");
}

/// A list of files that is made anew brings deleted rows back.
#[test]
fn rows_of_before_a_switch_that_are_back_are_deleted_at_the_next_start() {
    let model = Arc::new(Model::new());
    let engine = Generations::open(model.clone()).unwrap();
    let staged = engine.stage(SLOTS[0]).unwrap();
    engine.write_staged(&staged, &one(SLOTS[0], b"new", b"2")).unwrap();
    engine.switch(&staged, &Batch::new()).unwrap();
    for slot in [SLOTS[0], SLOTS[1]] {
        model.write(&one(slot, b"old", b"1")).unwrap();
    }

    let engine = Generations::open(model.clone()).unwrap();
    assert_eq!(all_of(&engine, Family::Session, SLOTS[0]), [(key(SLOTS[0], b"new"), b"2".to_vec())]);
    assert_eq!(all_of(&engine, Family::Session, SLOTS[1]).len(), 1, "of one that was not replaced");
    assert_eq!(all_of(&*model, Family::Session, SLOTS[0]), []);
}

#[test]
fn a_disk_that_is_behind_is_behind_here_too() {
    let model = Arc::new(Model::new());
    let engine = Generations::open(model.clone()).unwrap();
    for behind in [true, false] {
        model.set_behind(behind);
        assert_eq!(engine.is_behind(), behind);
    }
}

/// Rows as the first release writes them.
#[test]
fn the_row_is_frozen() {
    let mut batch = Batch::new();
    put_row(&mut batch, SlotId(0x0102), 0x8003);
    let record = batch.records().next();
    let value = b"\xC0\x47G\x01\x02\0\0\0\x7a\x92\x2a\x09\x80\x03";
    let key = b"\xff\xffgeneration\x01\x02";
    assert_eq!(record, Some(Record::Put { family: Family::Meta, key, value }));
}

#[test]
fn a_view_stays_with_the_generation_of_its_moment() {
    let engine = Arc::new(Generations::open(Arc::new(Model::new())).unwrap());
    for value in [b"1", b"2"] {
        let staged = engine.stage(SLOTS[1]).unwrap();
        engine.write_staged(&staged, &one(SLOTS[1], b"a", value)).unwrap();
        let before = engine.clone().view();
        engine.switch(&staged, &Batch::new()).unwrap();
        let after = engine.clone().view();
        let read = |view: &dyn View| {
            let mut found = Vec::new();
            view.get(Family::Session, &key(SLOTS[1], b"a"), &mut found).unwrap();
            let visit = &mut |shown: &[u8], value: &[u8]| {
                assert_eq!((shown, value), (&key(SLOTS[1], b"a")[..], &found[..]));
                ControlFlow::Continue(())
            };
            view.scan(Family::Session, &key(SLOTS[1], b""), &key(SlotId(0x0200), b""), visit).unwrap();
            found
        };
        assert_eq!(read(&*after), value);
        assert_eq!(read(&*before), if value == b"1" { &b""[..] } else { b"1" });
    }
}

/// What is done to a slot in a random history.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, Family, u8, u8),
    Delete(usize, Family, u8),
    DeleteFrom(usize, Family, u8),
    /// Replaced by rows with these keys.
    Replace(usize, Vec<u8>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0..SLOTS.len();
    let family = prop::sample::select(FAMILIES.to_vec());
    let key = 0..8_u8;
    let step = prop_oneof![
        6 => (slot.clone(), family.clone(), key.clone(), any::<u8>()).prop_map(|(s, f, k, v)| Step::Put(s, f, k, v)),
        2 => (slot.clone(), family.clone(), key.clone()).prop_map(|(s, f, k)| Step::Delete(s, f, k)),
        1 => (slot.clone(), family, key.clone()).prop_map(|(s, f, k)| Step::DeleteFrom(s, f, k)),
        1 => (slot, prop::collection::vec(key, 0..4)).prop_map(|(s, keys)| Step::Replace(s, keys)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Replaced or not, slots are what a plain map says.
    #[test]
    fn slots_are_what_was_written_to_them(steps in steps()) {
        let mut model = Arc::new(Model::new());
        let mut engine = Generations::open(model.clone()).unwrap();
        let mut expected: BTreeMap<(usize, Family, Vec<u8>), Vec<u8>> = BTreeMap::new();
        for step in steps {
            let mut batch = Batch::new();
            match step {
                Step::Put(slot, family, rest, value) => {
                    batch.put(family, &key(SLOTS[slot], &[rest]), &[value]);
                    engine.write(&batch).unwrap();
                    expected.insert((slot, family, key(SLOTS[slot], &[rest])), vec![value]);
                }
                Step::Delete(slot, family, rest) => {
                    batch.delete(family, &key(SLOTS[slot], &[rest]));
                    engine.write(&batch).unwrap();
                    expected.remove(&(slot, family, key(SLOTS[slot], &[rest])));
                }
                Step::DeleteFrom(slot, family, rest) => {
                    let from = key(SLOTS[slot], &[rest]);
                    batch.delete_range(family, &from, &after_all_of(SLOTS[slot].0));
                    engine.write(&batch).unwrap();
                    expected.retain(|(s, f, key), _| *s != slot || *f != family || *key < from);
                }
                Step::Replace(slot, keys) => {
                    let staged = engine.stage(SLOTS[slot]).unwrap();
                    expected.retain(|(s, ..), _| *s != slot);
                    for rest in keys {
                        batch.put(Family::Queue, &key(SLOTS[slot], &[rest]), b"copied");
                        expected.insert((slot, Family::Queue, key(SLOTS[slot], &[rest])), b"copied".to_vec());
                    }
                    engine.write_staged(&staged, &batch).unwrap();
                    engine.switch(&staged, &Batch::new()).unwrap();
                }
                Step::Restart => {
                    model = Arc::new(model.restart());
                    engine = Generations::open(model.clone()).unwrap();
                }
            }
            for (number, slot) in SLOTS.into_iter().enumerate() {
                for family in FAMILIES {
                    let of_slot = expected.iter().filter(|((s, f, _), _)| *s == number && *f == family);
                    let of_slot: Vec<_> = of_slot.map(|((.., key), value)| (key.clone(), value.clone())).collect();
                    prop_assert_eq!(&all_of(&engine, family, slot), &of_slot);
                    let (from, to) = (key(slot, b""), after_all_of(slot.0));
                    prop_assert_eq!(engine.last(family, &from, &to).unwrap(), of_slot.last().cloned());
                    let mut each = Vec::new();
                    let visit = &mut |number: usize, key: &[u8], value: &[u8]| {
                        each.push((number, key.to_vec(), value.to_vec()));
                    };
                    engine.last_of_each(family, &[(&from, &to)], visit).unwrap();
                    let last = of_slot.last().map(|(key, value)| (0, key.clone(), value.clone()));
                    prop_assert_eq!(each, Vec::from_iter(last));
                }
            }
        }
    }
}

#[test]
fn a_node_with_damage_or_a_full_disk_starts_and_stages_nothing_on_what_it_could_not_delete() {
    let left = |spoil: fn(&Model)| {
        let model = Arc::new(Model::new());
        let engine = Generations::open(model.clone()).unwrap();
        engine.write(&one(SLOTS[2], b"meta", b"1")).unwrap();
        let staged = engine.stage(SLOTS[0]).unwrap();
        engine.write_staged(&staged, &one(SLOTS[0], b"a", b"2")).unwrap();
        let model = Arc::new(model.restart());
        spoil(&model);
        (Generations::open(model.clone()).unwrap(), model)
    };
    let (full, disk) = left(|model| model.set_full(true));
    assert_eq!((full.stage(SLOTS[0]), all_of(&full, Family::Session, SLOTS[2]).len()), (None, 1));
    let (damaged, bits) = left(|model| assert!(model.damage(Family::Session, &key(SlotId(0x8000), b"a"))));
    assert_eq!(damaged.stage(SLOTS[0]), None);
    let (well, _) = left(|_| {});
    assert!(well.stage(SLOTS[0]).is_some());
    // As soon as it can be deleted, copies are taken.
    disk.set_full(false);
    bits.mend();
    for (engine, model) in [(full, disk), (damaged, bits)] {
        let staged = engine.stage(SLOTS[0]).unwrap();
        assert_eq!(numbers(&*model, Family::Session).unwrap(), []);
        engine.write_staged(&staged, &one(SLOTS[0], b"b", b"3")).unwrap();
        assert!(engine.stage(SLOTS[1]).is_some_and(|next| next != staged));
        engine.switch(&staged, &Batch::new()).unwrap();
        assert_eq!(all_of(&engine, Family::Session, SLOTS[0]).len(), 1);
        assert_eq!(all_of(&engine, Family::Session, SLOTS[2]).len(), 1);
    }
}
