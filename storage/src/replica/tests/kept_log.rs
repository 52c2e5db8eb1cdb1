//! What is kept of logs for followers: how much, and what it costs a start.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use convoy_ids::{Index, SlotId, Term};

use super::fleet::Fleet;
use super::station::{SLOT, Station, first, firsts, node};
use crate::engine::{Batch, Engine, Error, Family, Model, Pair, Space, View, Visit};
use crate::replica::row::{self, Kind};
use crate::replica::*;

/// An engine that counts the entries of logs that are read of it.
struct Counting {
    model: Arc<Model>,
    entries: AtomicU64,
}

impl Counting {
    fn count(&self, family: Family, key: &[u8]) {
        let is_entry = family == Family::Log && key.get(2) == Some(&(Kind::Entry as u8));
        self.entries.fetch_add(is_entry.into(), Ordering::Relaxed);
    }
}

impl Engine for Counting {
    fn get(&self, family: Family, key: &[u8], into: &mut Vec<u8>) -> Result<bool, Error> {
        self.count(family, key);
        self.model.get(family, key, into)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Error> {
        self.model.scan(family, from, to, &mut |key, value| {
            self.count(family, key);
            visit(key, value)
        })
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Error> {
        let found = self.model.last(family, from, to)?;
        found.iter().for_each(|(key, _)| self.count(family, key));
        Ok(found)
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        self.model.write(batch)
    }

    fn sync(&self) -> Result<(), Error> {
        self.model.sync()
    }

    fn view(self: Arc<Self>) -> Box<dyn View> {
        self.model.clone().view()
    }

    fn space(&self) -> Result<Space, Error> {
        self.model.space()
    }

    fn is_behind(&self) -> bool {
        self.model.is_behind()
    }
}

/// Entries that a start on this disk would read.
fn read_by_a_start(station: &Station) -> u64 {
    let engine = Arc::new(Counting { model: station.engine.clone(), entries: AtomicU64::new(0) });
    let mut driver = Driver::new(engine.clone(), station.node, station.options.clone());
    driver.open(SLOT, first(1).id, &[]).unwrap();
    engine.entries.load(Ordering::Relaxed)
}

fn kept_on_disk(station: &Station) -> u64 {
    let (from, to) = (row::key(SLOT, Kind::Entry, 0), row::key(SLOT, Kind::Entry, u64::MAX));
    let mut rows = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        rows += 1;
        ControlFlow::Continue(())
    };
    station.rows.scan(Family::Log, &from, &to, visit).unwrap();
    rows
}

#[test]
fn a_start_reads_what_is_not_applied_and_not_what_is_kept() {
    let mut fleet = Fleet::led(&Options::default());
    for number in 0..1000 {
        fleet.propose(&format!("record {number}"));
    }
    fleet.tick(5);
    for number in 1..=3 {
        assert_eq!(kept_on_disk(fleet.at(number)), 1001);
        // The last one, to know that it is there, and the last that is applied, for its term.
        assert_eq!(read_by_a_start(fleet.at(number)), 2);
        let mut batch = Batch::new();
        Driver::put_applied(SLOT, Index(991), &mut batch);
        fleet.at(number).engine.write(&batch).unwrap();
        assert_eq!(read_by_a_start(fleet.at(number)), 12);
    }
}

#[test]
fn a_folder_of_an_earlier_version_is_read_once() {
    let mut station = Station::alone(Options::default());
    for number in 0..100 {
        station.propose(&format!("record {number}")).unwrap();
    }
    station.settle();
    let mut batch = Batch::new();
    batch.delete(Family::Log, &row::key(SLOT, Kind::Kept, 0));
    station.engine.write(&batch).unwrap();
    assert_eq!(read_by_a_start(&station), 101);

    let mut after = station.crash(usize::MAX);
    after.open(&[]);
    after.settle();
    assert!(after.leads());
    assert_eq!(after.records().len(), 100);
    assert_eq!(read_by_a_start(&after), 2);
}

/// The leader was started anew, and knows the terms of none of the entries that its follower lacks.
#[test]
fn a_leader_that_was_started_anew_reads_what_a_follower_lacks() {
    let mut fleet = Fleet::led(&Options { message_bytes_limit: 300, ..Options::default() });
    fleet.propose("before");
    let first = fleet.leader().unwrap();
    let away = fleet.others(first)[0];
    let down = fleet.take_down(away);
    for term in 0..3 {
        for number in 0..50 {
            fleet.propose(&format!("record {term}.{number}"));
        }
        let leader = fleet.leader().unwrap();
        let other = (1..=3).find(|other| ![leader, away].contains(other)).unwrap();
        fleet.tick(5);
        fleet.at(leader).driver.transfer(SLOT, node(other));
        fleet.settle();
    }
    fleet.tick(5);
    fleet.restart_all_but(away);
    fleet.restart(&down, 0);
    fleet.tick(20);
    let leader = fleet.leader().unwrap();
    let expected = fleet.records(leader);
    assert_eq!(expected.len(), 151);
    assert_eq!(fleet.records(away), expected);
    let history = fleet.at(leader).history().to_vec();
    assert_eq!(fleet.at(away).history(), history);
    assert!(fleet.up().all(|station| station.snapshots.is_empty()), "the log is enough");
}

#[test]
fn a_change_of_the_group_among_what_is_kept_is_known_without_reading_it() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let voters = fleet.voters.clone();
    let away = fleet.others(leader)[0];
    let down = fleet.take_down(away);
    fleet.stations.resize_with(9, || None);
    fleet.at(leader).driver.reconfigure(SLOT, &firsts(&voters), &[first(9)]).unwrap();
    fleet.settle();
    for number in 0..20 {
        fleet.propose(&format!("record {number}"));
    }
    fleet.tick(3);
    let members = fleet.at(leader).driver.members(SLOT);
    fleet.restart_all_but(away);
    fleet.restart(&down, 0);
    fleet.tick(20);
    assert_eq!(fleet.at(away).driver.members(SLOT), members);
    assert_eq!(fleet.records(away).len(), 20);
}

/// A node that leads slots with a learner each that never answers, so that all of their logs are kept for it.
fn keeper(slots: &[SlotId], options: Options) -> Station {
    let mut station = Station::new(node(1), options);
    for slot in slots {
        station.driver.open(*slot, first(1).id, &[first(1)]).unwrap();
    }
    station.settle();
    for slot in slots {
        station.driver.reconfigure(*slot, &[first(1)], &[first(2)]).unwrap();
    }
    station.settle();
    station
}

fn write(station: &mut Station, slot: SlotId, records: usize) {
    for _ in 0..records {
        station.driver.propose(slot, vec![b'x'; 86]).unwrap();
        station.settle();
        station.outbox.clear();
    }
}

#[test]
fn what_is_kept_is_bounded_for_all_slots_and_the_largest_is_cut() {
    let slots = [SlotId(1), SlotId(2), SlotId(3), SlotId(4)];
    let options = Options { kept_log_bytes: 20_000, segment_bytes: 1000, ..Options::default() };
    let mut station = keeper(&slots, options);
    for (slot, records) in slots.into_iter().zip([20, 40, 60, 400]) {
        write(&mut station, slot, records);
        assert!(station.driver.kept_log_bytes() <= 20_000, "{}", station.driver.kept_log_bytes());
    }
    let entries = slots.map(|slot| station.driver.log_entries(slot).unwrap());
    // The first entry of the leader and the change are two more.
    assert_eq!(entries[..3], [22, 42, 62]);
    assert!((60..90).contains(&entries[3]), "{entries:?}");
    assert!(station.driver.kept_log_bytes() > 18_000, "no more is cut than need be");

    // Now the third is the largest, and then they are equal.
    write(&mut station, slots[0], 400);
    let entries = slots.map(|slot| station.driver.log_entries(slot).unwrap());
    assert!(entries.iter().all(|entries| (40..70).contains(entries)), "{entries:?}");
}

/// The newest piece is cut where there is no other.
#[test]
fn many_slots_that_keep_little_each_are_bounded_too() {
    let slots: Vec<SlotId> = (0..50).map(SlotId).collect();
    let options = Options { kept_log_bytes: 10_000, ..Options::default() };
    let mut station = keeper(&slots, options);
    for _ in 0..10 {
        for slot in &slots {
            write(&mut station, *slot, 1);
        }
        assert!(station.driver.kept_log_bytes() <= 10_000, "{}", station.driver.kept_log_bytes());
    }
    let after = station.crash(usize::MAX);
    let mut driver = after.driver;
    for slot in &slots {
        let opened = driver.open(*slot, first(1).id, &[]).unwrap();
        assert_eq!(opened.applied, opened.last);
    }
}

#[test]
fn a_slot_whose_state_is_being_copied_is_cut_last() {
    let slots = [SlotId(1), SlotId(2)];
    let options = Options { kept_log_bytes: 10_000, segment_bytes: 1000, ..Options::default() };
    let mut station = keeper(&slots, options);
    write(&mut station, slots[0], 200);
    write(&mut station, slots[1], 20);
    // The learner of the first asks from the beginning, and that is cut.
    let term = station.driver.role(slots[0]).unwrap().term();
    let mut refusal = raft::eraftpb::Message::default();
    refusal.set_msg_type(raft::eraftpb::MessageType::MsgAppendResponse);
    (refusal.from, refusal.to, refusal.term) = (2, 1, term.0);
    refusal.reject = true;
    for index in 1..=station.driver.last(slots[0]).unwrap().0 {
        refusal.index = index;
        let bytes = transport::encode(&refusal, |_, _| None).unwrap();
        station.driver.step(slots[0], node(2), &bytes).unwrap();
        station.settle();
    }
    assert!(station.snapshots.contains(&SnapshotWanted { slot: slots[0], to: node(2) }));
    let copied = station.driver.base(slots[0]).unwrap().index;

    write(&mut station, slots[0], 90);
    let (first, second) =
        (station.driver.log_entries(slots[0]).unwrap(), station.driver.log_entries(slots[1]).unwrap());
    assert!(first >= 90, "{first}: what follows the copy is kept");
    assert!(second < 20, "{second}: the other one has given way");
    // But not beyond the bound.
    write(&mut station, slots[0], 200);
    assert!(station.driver.kept_log_bytes() <= 10_000);
    assert!(station.driver.last(slots[0]).unwrap() > copied);
}

/// A log of which the row says too little is cut by what it is taken for.
#[test]
fn after_a_start_what_is_kept_is_counted_without_reading_it() {
    let options = Options { kept_log_bytes: 1 << 20, segment_bytes: 16_000, ..Options::default() };
    let mut station = keeper(&[SLOT], options);
    write(&mut station, SLOT, 500);
    let kept = station.driver.kept_log_bytes();
    let mut after = station.crash(usize::MAX);
    after.history.insert(SLOT, vec![(Term(1), Bytes::new()); 502]);
    after.driver.open(SLOT, first(1).id, &[]).unwrap();
    for _ in 0..50 {
        after.driver.tick();
        after.settle();
    }
    let counted = after.driver.kept_log_bytes();
    assert!(counted.abs_diff(kept) <= 2000, "{counted} of {kept}");
}
