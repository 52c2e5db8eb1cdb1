//! A disk that is full, damaged, or has grown.

use bytes::Bytes;
use convoy_ids::{Index, Term};

use super::station::{SLOT, Station, first, node};
use crate::engine::{Batch, Engine, Family};
use crate::replica::row::{self, Kind};
use crate::replica::*;

fn with_records(options: Options, count: usize) -> Station {
    let mut station = Station::alone(options);
    for number in 0..count {
        station.propose(&format!("record {number}")).unwrap();
        station.settle();
    }
    station
}

fn reopened(station: &Station) -> Result<Opened, Error> {
    station.crash(usize::MAX).driver.open(SLOT, first(1).id, &[first(1)])
}

/// Makes all entries but the first such as come out again at the next start.
fn forget_what_was_applied(station: &Station) {
    let mut batch = Batch::new();
    Driver::put_applied(SLOT, Index(1), &mut batch);
    station.engine.write(&batch).unwrap();
}

#[test]
fn a_full_disk_loses_nothing_and_doubles_nothing() {
    let mut station = with_records(Options::default(), 2);
    station.propose("offered").unwrap();
    station.engine.set_full(true);
    for _ in 0..3 {
        assert_eq!(station.turn(), Err(RoundError::Full { path: "memory".into() }));
        assert!(station.sync.is_none());
        assert!(station.driver.is_dirty());
        assert_eq!(station.propose("refused"), Err(ProposeError::Stalled));
    }
    station.engine.set_full(false);
    station.turn().unwrap();
    station.propose("after").unwrap();
    station.settle();
    assert_eq!(station.records(), ["record 0", "record 1", "offered", "after"]);
    assert_eq!(station.saved(), station.history());

    let mut after = station.crash(0);
    after.open(&[node(1)]);
    after.settle();
    assert_eq!(after.records(), ["record 0", "record 1", "offered", "after"]);
}

#[test]
fn a_disk_that_is_full_while_a_round_syncs_does_not_harm_that_round() {
    let mut station = with_records(Options::default(), 1);
    station.propose("written").unwrap();
    station.turn().unwrap();
    station.engine.set_full(true);
    station.finish_sync();
    assert_eq!(station.records(), ["record 0", "written"]);
    let state = station.state.clone();
    assert!(matches!(station.turn(), Err(RoundError::Full { .. })));
    assert_eq!(station.state, state, "the caller's state is left as it was");
    station.engine.set_full(false);
    station.settle();
    assert_eq!(station.saved().len(), 3);
}

#[test]
fn a_failed_engine_ends_everything() {
    let mut station = with_records(Options::default(), 1);
    station.engine.fail_next_sync();
    station.engine.sync().unwrap_err();
    station.propose("lost").unwrap();
    assert!(matches!(station.turn(), Err(RoundError::Failed(_))));
    assert!(matches!(station.propose("more"), Err(ProposeError::NotLeader { leader: None, .. })));
    assert!(!station.leads());
}

#[test]
fn the_log_is_truncated_behind_what_is_applied_and_recovers() {
    let options = Options { segment_entries: 8, ..Options::default() };
    let station = with_records(options, 200);
    let entries = station.driver.log_entries(SLOT).unwrap();
    assert!(entries <= 17, "{entries} entries are left");
    let mut rows = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    };
    let (from, to) = (row::key(SLOT, Kind::Entry, 0), row::key(SLOT, Kind::Entry, u64::MAX));
    station.engine.scan(Family::Log, &from, &to, visit).unwrap();
    assert_eq!(rows, entries);

    let mut after = station.crash(0);
    after.open(&[node(1)]);
    after.propose("too early").unwrap_err();
    after.settle();
    assert_eq!(after.records(), station.records());
    after.propose("after").unwrap();
    after.settle();
    assert_eq!(after.records().last(), Some(&"after"));
}

#[test]
fn the_log_is_also_bounded_in_bytes() {
    let options = Options { segment_bytes: 1000, ..Options::default() };
    let mut station = Station::alone(options);
    for _ in 0..50 {
        station.propose(&"x".repeat(300)).unwrap();
        station.settle();
    }
    let entries = station.driver.log_entries(SLOT).unwrap();
    assert!(entries <= 9, "{entries} entries are left");
}

#[test]
fn a_damaged_entry_is_named_and_not_served() {
    let station = with_records(Options::default(), 5);
    forget_what_was_applied(&station);
    assert!(station.engine.damage(Family::Log, &row::key(SLOT, Kind::Entry, 4)));
    match reopened(&station) {
        Err(Error::Damaged { slot: SLOT, index: Index(4), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_changed_bit_that_the_disk_did_not_notice_is_named() {
    let station = with_records(Options::default(), 5);
    forget_what_was_applied(&station);
    let key = row::key(SLOT, Kind::Entry, 3);
    let mut value = Vec::new();
    station.engine.get(Family::Log, &key, &mut value).unwrap();
    *value.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(Family::Log, &key, &value);
    station.engine.write(&batch).unwrap();
    let error = reopened(&station).unwrap_err();
    assert_eq!(error.to_string(), "slot 7: the log is damaged at index 3: the checksum is wrong");
}

#[test]
fn a_missing_entry_is_named() {
    let station = with_records(Options::default(), 5);
    forget_what_was_applied(&station);
    let mut batch = Batch::new();
    batch.delete(Family::Log, &row::key(SLOT, Kind::Entry, 2));
    station.engine.write(&batch).unwrap();
    assert!(matches!(reopened(&station), Err(Error::Damaged { index: Index(2), .. })));
}

#[test]
fn an_entry_in_the_place_of_another_is_refused() {
    let station = with_records(Options::default(), 5);
    forget_what_was_applied(&station);
    let mut value = Vec::new();
    station.engine.get(Family::Log, &row::key(SLOT, Kind::Entry, 2), &mut value).unwrap();
    let mut batch = Batch::new();
    batch.put(Family::Log, &row::key(SLOT, Kind::Entry, 3), &value);
    station.engine.write(&batch).unwrap();
    assert!(matches!(reopened(&station), Err(Error::Damaged { index: Index(3), .. })));
}

#[test]
fn a_replica_whose_log_was_lost_does_not_open() {
    let station = with_records(Options::default(), 5);
    let mut batch = Batch::new();
    batch.delete_range(Family::Log, &row::key(SLOT, Kind::Entry, 5), &row::key(SLOT, Kind::Entry, 99));
    station.engine.write(&batch).unwrap();
    match reopened(&station) {
        Err(Error::LogLost { committed: Index(6), last: Index(4), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn state_that_ends_before_the_log_begins_is_refused() {
    let station = with_records(Options { segment_entries: 2, ..Options::default() }, 9);
    let mut batch = Batch::new();
    Driver::put_applied(SLOT, Index(1), &mut batch);
    station.engine.write(&batch).unwrap();
    assert!(matches!(reopened(&station), Err(Error::StateLost { applied: Index(1), .. })));
}

#[test]
fn rows_without_their_group_are_refused() {
    let station = with_records(Options::default(), 1);
    let mut batch = Batch::new();
    batch.delete(Family::Log, &row::key(SLOT, Kind::Group, 0));
    station.engine.write(&batch).unwrap();
    assert!(matches!(reopened(&station), Err(Error::Damaged { .. })));
}

#[test]
fn a_base_is_taken_over_only_where_the_log_does_not_reach_it() {
    let station = with_records(Options::default(), 5);
    let base = station.driver.base(SLOT).unwrap();
    assert_eq!((base.index, base.term), (Index(6), Term(1)));
    let mut same = station.crash(usize::MAX);
    let mut batch = Batch::new();
    assert!(!same.driver.put_base(SLOT, &base, &mut batch).unwrap());
    assert!(batch.is_empty());

    let mut fresh = Station::new(node(1), Options::default());
    assert!(fresh.driver.put_base(SLOT, &base, &mut batch).unwrap());
    fresh.engine.write(&batch).unwrap();
    assert_eq!(
        fresh.driver.open(SLOT, first(1).id, &[]).unwrap(),
        Opened { replica: first(1).id, applied: Index(6), last: Index(6) }
    );
    fresh.history.insert(SLOT, vec![(Term(1), Bytes::new()); 6]);
    fresh.settle();
    assert!(fresh.leads());
}
