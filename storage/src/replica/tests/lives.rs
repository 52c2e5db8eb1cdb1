//! A node that lost its replica of a slot has another one, under another number: nobody takes the one for the other.

use convoy_ids::{Index, Term};

use super::fleet::Fleet;
use super::station::{SLOT, Station, first, firsts, node, replica};
use crate::engine::{Batch, Engine, Family};
use crate::replica::row::{self, Kind};
use crate::replica::*;

/// Three nodes elect the first one by the vote of the second, which then loses its disk and is `comes` from now on. Now the
/// third hears the second alone, and asks to be elected. Who leads in which term.
fn elections(comes: u64) -> [Option<Term>; 3] {
    let mut fleet = Fleet::new(3, &Options::default());
    fleet.isolate(3);
    while !fleet.at(1).leads() {
        fleet.at(1).driver.tick();
        fleet.settle();
    }
    fleet.wipe(2, comes);
    fleet.cut.clear();
    fleet.isolate(1);
    for _ in 0..60 {
        // Its clock alone goes on, so that the first one does not find out that nobody answers.
        fleet.at(3).driver.tick();
        fleet.settle();
    }
    [1, 2, 3].map(|number| match fleet.at(number).driver.role(SLOT) {
        Some(Role::Leader { term }) => Some(term),
        _ => None,
    })
}

#[test]
fn a_replica_that_lost_its_log_votes_twice_in_a_term_under_its_old_number_and_not_under_a_new_one() {
    assert_eq!(elections(2), [Some(Term(1)), None, Some(Term(1))]);
    assert_eq!(elections(20), [Some(Term(1)), None, None]);
}

/// Of three nodes that agree on a record, one that does not lead has lost its disk and has an empty replica now.
fn wiped(id: u64) -> (Fleet, u64, u64) {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let away = fleet.others(leader)[0];
    fleet.wipe(away, id);
    (fleet, leader, away)
}

/// The group is of the replicas that are there.
fn regroup(fleet: &mut Fleet) {
    let voters: Vec<_> = fleet.up().map(|station| Replica { id: station.me, node: station.node }).collect();
    let leader = fleet.leader().unwrap();
    fleet.at(leader).driver.reconfigure(SLOT, &voters, &[]).unwrap();
    fleet.tick(10);
}

#[test]
fn a_node_that_lost_its_replica_has_another_one_that_follows_and_votes() {
    let (mut fleet, leader, away) = wiped(20);
    fleet.tick(10);
    assert!(fleet.records(away).is_empty(), "what is for the first replica the second does not hear");
    let refused =
        |error: &StepError| matches!(error, StepError::OtherReplica { to } if *to == first(away).id);
    assert!(!fleet.refused.is_empty() && fleet.refused.iter().all(refused), "{:?}", fleet.refused);

    regroup(&mut fleet);
    assert_eq!(fleet.records(away), ["one"]);
    let members = fleet.at(leader).driver.members(SLOT).unwrap();
    assert!(members.voters.contains(&replica(20, away)) && !members.voters.contains(&first(away)));
    assert_eq!(fleet.at(away).driver.members(SLOT), Some(members));

    fleet.at(leader).driver.transfer(SLOT, node(away));
    fleet.settle();
    assert_eq!(fleet.leader(), Some(away), "by its node it is found");
    let stays = fleet.others(leader).into_iter().find(|other| *other != away).unwrap();
    fleet.take_down(leader);
    fleet.propose("two");
    fleet.tick(5);
    assert_eq!(fleet.records(stays), ["one", "two"]);
    let role = fleet.at(stays).driver.role(SLOT);
    assert!(matches!(role, Some(Role::Follower { leader: Some(leader), .. }) if leader == node(away)));
}

#[test]
fn what_a_replica_said_before_it_was_lost_counts_for_itself_and_nobody_else() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let [away, silent] = fleet.others(leader)[..] else { panic!("there are three") };
    fleet.at(leader).propose("one").unwrap();
    fleet.at(leader).settle();
    fleet.deliver();
    fleet.at(away).settle();
    let late = std::mem::take(&mut fleet.at(away).outbox);
    fleet.take_down(silent);
    fleet.wipe(away, 20);
    let mut acknowledged = 0;
    for message in late {
        acknowledged += usize::from(message.to == node(leader));
        fleet.at(message.to.get()).driver.step(SLOT, node(away), &message.bytes).unwrap();
    }
    fleet.at(leader).settle();
    assert!(acknowledged > 0);
    // A quorum had it on disk when that was said. The new replica has not, and is not taken for it.
    assert_eq!(fleet.records(leader), ["one"]);
    fleet.at(leader).propose("two").unwrap();
    fleet.tick(3);
    assert_eq!(fleet.records(leader), ["one"]);
}

#[test]
fn a_replica_is_found_as_who_it_was_whatever_it_is_asked_for() {
    let (mut fleet, _, away) = wiped(20);
    regroup(&mut fleet);
    let mut down = fleet.take_down(away);
    down.me = first(away).id;
    let mut after = down.crash(usize::MAX);
    let opened = after.open(&[node(9)]);
    assert_eq!(opened.replica, replica(20, away).id);
    assert_eq!(after.driver.members(SLOT), down.driver.members(SLOT));
}

#[test]
fn a_newcomer_follows_a_leader_that_its_first_group_does_not_have() {
    let (mut fleet, leader, away) = wiped(20);
    regroup(&mut fleet);
    fleet.at(leader).driver.transfer(SLOT, node(away));
    fleet.settle();
    let third = fleet.others(leader).into_iter().find(|other| *other != away).unwrap();
    for (number, id) in [(leader, 30), (third, 40)] {
        fleet.wipe(number, id);
        regroup(&mut fleet);
    }
    // Nobody of the group is of the first one any more.
    let mut joins = Station::new(node(4), Options::default());
    joins.me = replica(50, 4).id;
    joins.open(&fleet.voters);
    fleet.stations.push(Some(joins));
    regroup(&mut fleet);
    fleet.propose("two");
    fleet.tick(3);
    assert_eq!(fleet.records(4), ["one", "two"]);
    let role = fleet.at(4).driver.role(SLOT);
    assert!(matches!(role, Some(Role::Follower { leader: Some(leader), .. }) if leader == node(away)));
}

/// It was away while others came, and does not know the one that asks for its vote.
#[test]
fn a_replica_that_is_behind_votes_for_one_that_came_meanwhile() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let [lost, behind] = fleet.others(leader)[..] else { panic!("there are three") };
    fleet.isolate(behind);
    fleet.wipe(lost, 20);
    // With the lost one nothing is agreed on without the one that is cut off: it hears of the change, and no more.
    let voters = [first(leader), first(behind), replica(20, lost)];
    fleet.at(leader).driver.reconfigure(SLOT, &voters, &[]).unwrap();
    fleet.settle();
    fleet.cut.clear();
    fleet.at(leader).driver.tick();
    fleet.tick(10);
    let down = fleet.take_down(behind);
    fleet.propose("one");
    fleet.tick(3);
    fleet.take_down(leader);
    fleet.restart(&down, 0);
    let next = fleet.elect();
    assert_eq!(next, lost);
    fleet.tick(3);
    assert_eq!(fleet.records(behind), ["one"]);
}

#[test]
fn a_replica_that_was_removed_comes_again_on_the_same_disk_as_another() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let goes = fleet.others(leader)[0];
    let stay: Vec<_> = (1..=3).filter(|number| *number != goes).map(first).collect();
    fleet.at(leader).driver.reconfigure(SLOT, &stay, &[]).unwrap();
    fleet.tick(5);
    let first_group = fleet.voters.clone();
    let station = fleet.at(goes);
    let mut batch = Batch::new();
    station.driver.put_end(SLOT, &mut batch).unwrap();
    batch.delete_range(Family::Session, &SLOT.0.to_be_bytes(), &(SLOT.0 + 1).to_be_bytes());
    station.engine.write(&batch).unwrap();
    assert_eq!(station.driver.ended(SLOT).unwrap(), Some(first(goes).id));
    assert!(!station.driver.is_on_disk(SLOT).unwrap());
    let again = station.driver.open(SLOT, first(goes).id, &firsts(&first_group));
    assert!(matches!(again, Err(Error::Ended { .. })), "{again:?}");
    station.me = replica(20, goes).id;
    let opened = station.open(&first_group);
    assert_eq!(opened, Opened { replica: replica(20, goes).id, applied: Index(0), last: Index(0) });
    regroup(&mut fleet);
    assert_eq!(fleet.records(goes), ["one"]);
}

#[test]
fn a_slot_that_comes_and_goes_takes_no_more_room_each_time() {
    let mut station = Station::alone(Options::default());
    for _ in 0..20 {
        station.driver.close(SLOT);
        station.driver.open(SLOT, first(1).id, &[first(1)]).unwrap();
        station.settle();
        assert!(station.leads());
    }
    assert!(station.driver.places_held() <= 3, "{}", station.driver.places_held());
}

#[test]
fn a_copy_goes_on_for_the_replica_that_is_here() {
    let (mut fleet, leader, away) = wiped(20);
    let base = fleet.at(leader).driver.base(SLOT).unwrap();
    let station = fleet.at(away);
    let mut batch = Batch::new();
    assert!(station.driver.put_base(SLOT, &base, &mut batch).unwrap());
    station.engine.write(&batch).unwrap();
    let opened = station.driver.open(SLOT, first(away).id, &[]).unwrap();
    assert_eq!((opened.replica, opened.applied), (replica(20, away).id, base.index));
}

#[test]
fn a_base_that_has_this_replica_on_another_node_is_refused() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let base = fleet.at(1).driver.base(SLOT);
    let leader = fleet.leader().unwrap();
    let base = base.or_else(|| fleet.at(leader).driver.base(SLOT)).unwrap();
    let mut elsewhere = Station::new(node(4), Options::default());
    elsewhere.me = first(1).id;
    elsewhere.open(&[node(2), node(3)]);
    let refused = elsewhere.driver.put_base(SLOT, &base, &mut Batch::new());
    assert!(matches!(refused, Err(Error::Voters { .. })), "{refused:?}");
}

#[test]
fn a_replica_does_not_move() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let moved = [first(1), first(2), first(3), replica(leader, 9)];
    let elsewhere = ReconfigureError::Elsewhere { replica: first(leader).id, node: node(leader) };
    assert_eq!(fleet.at(leader).driver.reconfigure(SLOT, &moved, &[]), Err(elsewhere));
    let mut station = Station::new(node(4), Options::default());
    let opened = station.driver.open(SLOT, first(1).id, &[first(1)]);
    assert!(matches!(opened, Err(Error::Voters { .. })), "{opened:?}");
}

/// What earlier versions have written of a node's only replica. It must open for ever.
#[test]
fn a_folder_of_before_there_were_numbers_opens_and_nothing_new_is_written_to_it() {
    let mut group = vec![1];
    group.extend_from_slice(&[0; 8]);
    group.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    group.extend_from_slice(&[0; 16]);
    let key = row::key(SLOT, Kind::Group, 0);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&key), &group);
    let frozen = [&crc.to_le_bytes()[..], &group].concat();

    let read = |station: &Station, kind| {
        let mut value = Vec::new();
        let found = station.engine.get(Family::Log, &row::key(SLOT, kind, 0), &mut value).unwrap();
        found.then_some(value)
    };
    let mut station = Station::new(node(1), Options::default());
    let mut batch = Batch::new();
    batch.put(Family::Log, &key, &frozen);
    station.engine.write(&batch).unwrap();
    assert_eq!(station.open(&[]).replica, first(1).id);
    station.settle();
    station.propose("one").unwrap();
    station.settle();
    assert_eq!(station.records(), ["one"]);
    for station in [station, Station::alone(Options::default())] {
        assert_eq!(read(&station, Kind::Group), Some(frozen.clone()));
        assert_eq!(read(&station, Kind::Own), None);
    }
}
