use convoy_ids::{Index, NodeId, SlotId};
use convoy_storage::engine::rocks::{Options, Rocks};
use convoy_storage::engine::{Batch, Engine, Family, Generations};
use convoy_storage::record;
use convoy_storage::replica::{self, Driver, Effects, Replica};
use convoy_storage::snapshot::{CopyId, Receiver, Sender};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

use super::{check, salvage};
use crate::boot::Identity;
use crate::config::FleetOptions;

const FLEET: FleetOptions = FleetOptions {
    slots: 4,
    partitions: 8,
    partition_levels: 2,
    replicas: 3,
    replace_after: Duration::from_secs(600),
};
/// The slot that is copied.
const SLOT: SlotId = SlotId(2);

/// A data folder that somebody works in.
struct Folder {
    place: TempDir,
    rocks: Arc<Rocks>,
    rows: Arc<Generations>,
    driver: Driver,
}

impl Folder {
    /// With so many records in each slot, each with a row in two families.
    fn new(records: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let rocks = Arc::new(Rocks::open(place.path(), &Options::default()).unwrap());
        Identity::take_up(&*rocks, &FLEET).unwrap();
        let rows = Arc::new(Generations::open(rocks.clone()).unwrap());
        let node = NodeId::new(1).unwrap();
        let mut driver = Driver::new(rows.clone(), node, replica::Options::default());
        let slots: Vec<SlotId> = (0..FLEET.slots).map(SlotId).chain([SlotId::META]).collect();
        for slot in &slots {
            driver.open(*slot, Replica::first(node).id, &[Replica::first(node)]).unwrap();
        }
        let mut folder = Self { place, rocks, rows, driver };
        folder.settle();
        for slot in slots {
            for _ in 0..records {
                folder.driver.propose(slot, b"record".to_vec()).unwrap();
            }
        }
        folder.settle();
        folder
    }

    fn settle(&mut self) {
        let (mut state, mut effects) = (Batch::new(), Effects::new());
        while self.driver.is_dirty() || !state.is_empty() {
            self.driver.round(&mut state, &mut effects).unwrap();
            if let Some(round) = effects.sync.take() {
                self.rows.sync().unwrap();
                self.driver.synced(round, &mut effects);
            }
            for committed in effects.committed.drain(..) {
                let (slot, Index(index)) = (committed.slot, committed.index);
                let key = [&slot.0.to_be_bytes()[..], &index.to_be_bytes()].concat();
                state.put(Family::Archive, &key, b"applied");
                let mut grants = Vec::new();
                record::encode_into(&index, &mut grants);
                state.put(Family::Session, &[&slot.0.to_be_bytes()[..], b"g"].concat(), &grants);
                Driver::put_applied(slot, committed.index, &mut state);
                self.driver.advance_applied(slot, committed.index);
            }
            effects.clear();
        }
    }

    /// Stages a copy of the slot, of which `pieces` arrive.
    fn stage(&self, from: &Folder, pieces: usize) -> Receiver {
        let base = from.driver.base(SLOT).unwrap();
        let mut sender = Sender::new(from.rows.clone().view(), SLOT, base, CopyId(1)).unwrap();
        let first = sender.next_piece(100).unwrap().unwrap();
        let (mut receiver, _) = Receiver::begin(&self.rows, &first).unwrap();
        for _ in 1..pieces {
            let Some(piece) = sender.next_piece(100).unwrap() else { break };
            receiver.take(&self.rows, &piece).unwrap();
        }
        receiver
    }

    /// Puts a copy of the slot in force.
    fn switch(&mut self, from: &Folder) {
        let receiver = self.stage(from, usize::MAX);
        assert!(receiver.install(&self.rows, &mut self.driver).unwrap());
    }

    fn close(self) -> TempDir {
        self.rows.sync().unwrap();
        self.place
    }
}

/// What the check says of a folder that is whole.
fn checked(folder: &Path) -> String {
    let mut said = Vec::new();
    let whole = check::tell(folder, &mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(whole, "{said}");
    said
}

/// Salvages a folder, and counts the rows of the slot in what comes of it.
fn salvaged(folder: &Path) -> (usize, String) {
    let to = tempfile::tempdir().unwrap();
    salvage::run(folder, to.path()).unwrap();
    let said = checked(to.path());
    assert!(!said.contains("left "), "{said}");
    let list = std::fs::read_to_string(to.path().join("SALVAGE.txt")).unwrap();
    // A node starts on it as on any other.
    let rocks = Arc::new(Rocks::open(to.path(), &Options::default()).unwrap());
    let node = NodeId::new(1).unwrap();
    let mut driver = Driver::new(rocks.clone(), node, replica::Options::default());
    for slot in (0..FLEET.slots).map(SlotId).chain([SlotId::META]) {
        driver.open(slot, Replica::first(node).id, &[]).unwrap();
    }
    (rows_of(&*rocks, SLOT), list)
}

fn rows_of(engine: &dyn Engine, slot: SlotId) -> usize {
    let mut rows = 0;
    let (from, to) = (slot.0.to_be_bytes(), (slot.0 + 1).to_be_bytes());
    engine
        .scan(Family::Archive, &from, &to, &mut |_, _| {
            rows += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

#[test]
fn a_slot_that_was_replaced_is_whole_and_its_new_rows_are_salvaged() {
    let mut folder = Folder::new(10);
    folder.switch(&Folder::new(30));
    let folder = folder.close();
    let said = checked(folder.path());
    assert!(!said.contains("left "), "{said}");
    let (rows, list) = salvaged(folder.path());
    assert_eq!(rows, 31, "{list}");
    assert!(!list.contains("left "), "{list}");
}

#[test]
fn a_copy_that_is_staged_half_is_told_and_left() {
    let folder = Folder::new(10);
    drop(folder.stage(&Folder::new(30), 3));
    let folder = folder.close();
    let said = checked(folder.path());
    let told = "left        under 0x8000: ";
    assert!(said.contains(told) && said.contains("the next start deletes them"), "{said}");
    let (rows, list) = salvaged(folder.path());
    assert_eq!(rows, 11);
    assert!(list.contains(told) && list.contains("not taken over"), "{list}");
}

/// A list of files that is made anew brings some of the deleted rows back.
#[test]
fn rows_that_are_swept_half_are_told_and_left() {
    let mut folder = Folder::new(10);
    let old = folder.rows.clone().view();
    folder.switch(&Folder::new(30));
    let mut batch = Batch::new();
    let (from, to) = (SLOT.0.to_be_bytes(), (SLOT.0 + 1).to_be_bytes());
    for family in [Family::Log, Family::Archive] {
        old.scan(family, &from, &to, &mut |key, value| {
            batch.put(family, key, value);
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    folder.rocks.write(&batch).unwrap();
    drop(old);
    let folder = folder.close();
    let said = checked(folder.path());
    assert!(said.contains("left        under 0x0002: "), "{said}");
    assert!(said.contains("of before slot 2 was replaced; the next start deletes them"), "{said}");
    let (rows, list) = salvaged(folder.path());
    assert_eq!(rows, 31);
    assert!(list.contains("left        under 0x0002: "), "{list}");
}

#[test]
fn a_slot_whose_number_nobody_names_is_found_by_its_log() {
    let mut folder = Folder::new(10);
    folder.switch(&Folder::new(30));
    let mut batch = Batch::new();
    batch.put(Family::Meta, &[&b"\xff\xffgeneration"[..], &SLOT.0.to_be_bytes()].concat(), b"damaged");
    folder.rocks.write(&batch).unwrap();
    let folder = folder.close();
    let mut said = Vec::new();
    assert!(!check::tell(folder.path(), &mut said).unwrap());
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(r"generations row \xff\xffgeneration\x00\x02: "), "{said}");
    assert!(said.contains("by its log they are those under 0x8000"), "{said}");
    let (rows, list) = salvaged(folder.path());
    assert_eq!(rows, 31);
    assert!(list.contains("by its log they are those under 0x8000"), "{list}");
}
