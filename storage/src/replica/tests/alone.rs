//! A group of one replica.

use bytes::Bytes;
use convoy_ids::{Index, SlotId, Term};

use super::station::{SLOT, Station, first, node};
use crate::replica::*;

#[test]
fn a_replica_alone_leads_once_its_vote_is_synced() {
    let mut station = Station::new(node(1), Options::default());
    assert_eq!(station.open(&[node(1)]), Opened { replica: first(1).id, applied: Index(0), last: Index(0) });
    station.turn().unwrap();
    assert_eq!(station.driver.role(SLOT), Some(Role::Candidate { term: Term(1) }));
    assert_eq!(station.propose("early"), Err(ProposeError::NotLeader { term: Term(1), leader: None }));

    station.finish_sync();
    assert_eq!(station.roles.last(), Some(&RoleChange { slot: SLOT, role: Role::Leader { term: Term(1) } }));
    assert_eq!(station.history(), [(Term(1), Bytes::new())]);
}

#[test]
fn nothing_is_committed_before_it_is_synced() {
    let mut station = Station::alone(Options::default());
    assert_eq!(station.propose("one"), Ok((Term(1), Index(2))));
    assert!(station.driver.is_dirty());
    for _ in 0..3 {
        station.turn().unwrap();
        assert!(station.records().is_empty());
    }
    station.finish_sync();
    assert_eq!(station.records(), ["one"]);
}

#[test]
fn while_a_sync_runs_the_next_round_accumulates() {
    let mut station = Station::alone(Options::default());
    station.propose("one").unwrap();
    station.turn().unwrap();
    let writes = station.engine.writes();

    for data in ["two", "three"] {
        station.propose(data).unwrap();
        station.turn().unwrap();
        assert!(!station.driver.is_dirty(), "what waits for the sync asks for no further turn");
    }
    assert_eq!(station.engine.writes(), writes);

    station.finish_sync();
    assert_eq!(station.records(), ["one"]);
    station.settle();
    assert_eq!(station.records(), ["one", "two", "three"]);
    assert_eq!(station.engine.writes(), writes + 2, "two records and then their state");
}

#[test]
fn rows_of_all_slots_share_one_write_and_one_sync() {
    let mut station = Station::new(node(1), Options::default());
    let slots = [SlotId(0), SlotId(1), SlotId(500), SlotId::META];
    for slot in slots {
        station.driver.open(slot, first(1).id, &[first(1)]).unwrap();
    }
    station.settle();
    let (writes, syncs) = (station.engine.writes(), station.engine.syncs());
    for slot in slots {
        station.driver.propose(slot, b"record".to_vec()).unwrap();
    }
    station.turn().unwrap();
    station.finish_sync();
    assert_eq!((station.engine.writes(), station.engine.syncs()), (writes + 1, syncs + 1));
    assert!(slots.iter().all(|slot| station.history[slot].last().unwrap().1 == "record"));
}

#[test]
fn too_much_at_once_is_refused_until_the_next_commit() {
    let options = Options { uncommitted_bytes_limit: 10, entry_bytes_limit: 20, ..Options::default() };
    let mut station = Station::alone(options);
    station.propose("a record that is long").unwrap_err();
    station.propose("long, but alone").unwrap();
    assert_eq!(station.propose("more"), Err(ProposeError::Busy));
    assert_eq!(station.propose("a record that is long"), Err(ProposeError::TooLarge { limit: 20 }));
    station.settle();
    station.propose("more").unwrap();
}

#[test]
fn much_that_is_committed_at_once_comes_out_in_pieces() {
    let options = Options { committed_bytes_limit: 10, ..Options::default() };
    let mut station = Station::alone(options);
    for _ in 0..10 {
        station.propose("12345").unwrap();
    }
    station.turn().unwrap();
    station.finish_sync();
    assert_eq!(station.records().len(), 2);
    assert!(station.driver.is_dirty());
    station.settle();
    assert_eq!(station.records().len(), 10);
}

/// Proposes, turns and syncs in a pattern that leaves rounds in every stage, and stops before step `cut`.
fn run_until(cut: usize) -> Station {
    let mut station = Station::new(node(1), Options::default());
    station.open(&[node(1)]);
    let mut number = 0;
    for step in 0..cut {
        match step % 5 {
            0 | 2 => {
                for _ in 0..2 {
                    number += 1;
                    let _ = station.propose(&format!("record {number}"));
                }
            }
            1 | 3 => station.turn().unwrap(),
            _ => station.finish_sync(),
        }
    }
    station
}

#[test]
fn what_was_committed_survives_a_crash_at_any_point() {
    let mut committed = 0;
    for cut in 0..60 {
        for keep in 0.. {
            let before = run_until(cut);
            if keep > before.engine.unsynced() {
                break;
            }
            let mut after = before.crash(keep);
            let opened = after.open(&[node(1)]);
            assert!(opened.applied.0 <= before.history().len() as u64);
            after.settle();
            let kept = &after.history()[..before.history().len()];
            assert_eq!(kept, before.history(), "crash before step {cut}, {keep} batches kept");
            assert!(after.leads());

            let proposed = after.propose("after").unwrap();
            after.settle();
            assert_eq!(after.history()[proposed.1.0 as usize - 1], (proposed.0, Bytes::from("after")));
            committed += before.history().len();
        }
    }
    assert!(committed > 1000, "the pattern commits");
}

#[test]
fn committed_entries_not_yet_applied_come_out_again() {
    let mut station = Station::alone(Options::default());
    station.propose("one").unwrap();
    station.turn().unwrap();
    station.finish_sync();
    assert_eq!(station.records(), ["one"]);

    // Its state was not written: only the log was.
    let mut after = station.crash(0);
    let opened = after.open(&[node(1)]);
    assert_eq!(opened.applied, Index(1));
    after.settle();
    assert_eq!(after.records(), ["one"]);
}

#[test]
fn a_closed_slot_is_recovered_when_it_is_opened_again() {
    let mut station = Station::alone(Options::default());
    station.propose("one").unwrap();
    station.turn().unwrap();
    assert!(station.driver.close(SLOT));
    station.finish_sync();
    assert!(station.records().is_empty());
    assert!(matches!(station.driver.open(SLOT, first(1).id, &[]), Ok(Opened { last: Index(2), .. })));
    assert!(matches!(station.driver.open(SLOT, first(1).id, &[]), Err(Error::Open { .. })));
    station.settle();
    assert_eq!(station.records(), ["one"]);
}

#[test]
fn a_new_slot_needs_voters() {
    let mut station = Station::new(node(1), Options::default());
    assert!(matches!(station.driver.open(SLOT, first(1).id, &[]), Err(Error::Voters { .. })));
    assert!(matches!(station.driver.open(SLOT, first(1).id, &[first(1); 2]), Err(Error::Voters { .. })));
    station.open(&[node(1)]);
}

#[test]
fn whoever_has_written_something_beside_the_groups_can_have_it_synced() {
    let mut station = Station::alone(Options::default());
    let mut effects = Effects::new();
    let first = station.driver.want_sync(&mut effects);
    assert_eq!(effects.sync.take(), Some(first));
    // It may not be in what is being synced: that is for the one behind.
    let next = station.driver.want_sync(&mut effects);
    assert_eq!((effects.sync, next > first), (None, true));
    station.driver.synced(first, &mut effects);
    assert_eq!(effects.sync, Some(next));
}
