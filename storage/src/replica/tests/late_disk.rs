//! A disk that takes too long over a sync. What its node says leaves all the same.

use std::time::Duration;

use convoy_ids::SlotId;

use super::fleet::Fleet;
use super::station::{SLOT, Station, first, node};
use crate::replica::*;

const LIMIT: Duration = Duration::from_secs(1);

fn options() -> Options {
    Options { disk_patience: LIMIT, ..Options::default() }
}

/// A leader whose sync has begun and does not end. The others have its record.
fn stalled() -> (Fleet, u64) {
    let mut fleet = Fleet::led(&options());
    let leader = fleet.leader().unwrap();
    fleet.at(leader).propose("under way").unwrap();
    fleet.at(leader).turn().unwrap();
    assert!(fleet.at(leader).sync.is_some());
    fleet.at(leader).driver.watch_disk(Duration::ZERO);
    turns(&mut fleet, leader, 5);
    (fleet, leader)
}

/// Turns of all, with syncs for all but one.
fn turns(fleet: &mut Fleet, stalled: u64, count: usize) {
    for _ in 0..count {
        for station in fleet.up() {
            station.turn().unwrap();
            if station.node != node(stalled) {
                station.finish_sync();
            }
        }
        fleet.deliver();
    }
}

fn ticks(fleet: &mut Fleet, stalled: u64, count: usize) {
    for _ in 0..count {
        fleet.up().for_each(|station| station.driver.tick());
        turns(fleet, stalled, 3);
    }
}

/// Without the watch its followers follow it for as long as it is silent to its own callers.
#[test]
fn a_leader_whose_disk_is_slow_leads_on_until_its_time_is_up() {
    let (mut fleet, old) = stalled();
    fleet.at(old).driver.watch_disk(LIMIT - Duration::from_millis(1));
    ticks(&mut fleet, old, 100);
    assert!(fleet.at(old).leads());
    assert_eq!(fleet.leader(), Some(old));
    assert!(fleet.records(old).is_empty());
}

#[test]
fn a_leader_whose_disk_stalls_hands_over() {
    let (mut fleet, old) = stalled();
    fleet.at(old).driver.watch_disk(LIMIT);
    turns(&mut fleet, old, 10);
    assert!(!fleet.at(old).leads());
    let new = fleet.leader().unwrap();
    assert_ne!(new, old);
    turns(&mut fleet, old, 5);
    assert_eq!(fleet.records(new), ["under way"], "nothing is lost, and others are served");
    fleet.at(new).propose("after").unwrap();
    turns(&mut fleet, old, 5);
    assert_eq!(fleet.records(new), ["under way", "after"]);
}

#[test]
fn a_leader_that_can_hand_over_to_nobody_falls_silent() {
    let (mut fleet, old) = stalled();
    // It hears nobody, though others hear it.
    for other in fleet.others(old) {
        fleet.cut.insert((other, old));
    }
    fleet.at(old).driver.watch_disk(LIMIT);
    // Whoever was to take over has not heard of it.
    fleet.isolate(old);
    ticks(&mut fleet, old, 25);
    assert!(!fleet.at(old).leads());
    fleet.at(old).outbox.clear();
    fleet.at(old).driver.tick();
    fleet.at(old).turn().unwrap();
    assert!(fleet.at(old).outbox.is_empty());
    let new = fleet.leader().unwrap();
    assert_ne!(new, old);
}

#[test]
fn a_node_whose_disk_stalls_wants_no_leadership_until_it_goes_on() {
    let (mut fleet, old) = stalled();
    fleet.at(old).driver.watch_disk(LIMIT);
    turns(&mut fleet, old, 10);
    let new = fleet.leader().unwrap();
    // Alone, it would campaign for ever.
    fleet.isolate(old);
    ticks(&mut fleet, old, 1);
    let term = fleet.at(old).driver.role(SLOT).unwrap().term();
    ticks(&mut fleet, old, 100);
    assert_eq!(fleet.at(old).driver.role(SLOT).unwrap(), Role::Follower { term, leader: Some(node(new)) });
    // Asked to take over, it does not.
    fleet.cut.clear();
    fleet.at(new).driver.transfer(SLOT, node(old));
    ticks(&mut fleet, old, 15);
    assert_eq!(fleet.leader(), Some(new));

    fleet.at(old).finish_sync();
    fleet.settle();
    fleet.at(old).driver.watch_disk(LIMIT * 2);
    fleet.tick(5);
    fleet.at(new).driver.transfer(SLOT, node(old));
    fleet.settle();
    assert_eq!(fleet.leader(), Some(old));
}

#[test]
fn each_sync_has_its_own_time() {
    let mut fleet = Fleet::led(&options());
    let leader = fleet.leader().unwrap();
    for number in 1..10 {
        fleet.at(leader).propose("one").unwrap();
        fleet.at(leader).turn().unwrap();
        assert!(fleet.at(leader).sync.is_some());
        fleet.at(leader).driver.watch_disk(number * LIMIT);
        fleet.at(leader).driver.watch_disk(number * LIMIT + LIMIT / 2);
        fleet.settle();
    }
    assert!(fleet.at(leader).leads());
    assert_eq!(fleet.records(leader).len(), 9);
}

#[test]
fn groups_of_one_voter_are_left_alone() {
    let mut station = Station::alone(options());
    let followed = SlotId(9);
    station.driver.open(followed, first(1).id, &[first(1)]).unwrap();
    station.settle();
    station.driver.reconfigure(followed, &[first(1)], &[first(2)]).unwrap();
    station.settle();
    station.propose("under way").unwrap();
    station.turn().unwrap();
    for seconds in 0..10 {
        station.driver.watch_disk(seconds * LIMIT);
        station.driver.tick();
        station.turn().unwrap();
    }
    let leads = |slot| station.driver.role(slot).is_some_and(Role::is_leader);
    assert!(leads(SLOT) && leads(followed));
    station.finish_sync();
    station.settle();
    assert_eq!(station.records(), ["under way"]);
}

#[test]
fn who_asked_a_leader_that_gives_up_for_a_proof_is_told() {
    let (mut fleet, old) = stalled();
    fleet.isolate(old);
    let id = fleet.at(old).prove();
    fleet.at(old).driver.watch_disk(LIMIT);
    ticks(&mut fleet, old, 25);
    let answers: Vec<_> = fleet.at(old).proofs.iter().map(|proof| (proof.id, proof.answer)).collect();
    assert!(matches!(answers[..], [(of, Answer::NotLeader { .. })] if of == id), "{answers:?}");
}
