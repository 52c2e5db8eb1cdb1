//! A leader that cannot serve its slot, though its log is whole.

use super::fleet::Fleet;
use super::station::{SLOT, Station, node};
use crate::replica::*;

#[test]
fn a_leader_that_cannot_serve_its_slot_leaves_it_to_the_others() {
    let mut fleet = Fleet::led(&Options::default());
    let old = fleet.leader().unwrap();
    fleet.propose("before");
    fleet.settle();
    fleet.at(old).driver.leave(SLOT);
    fleet.settle();
    assert!(!fleet.at(old).leads());
    fleet.tick(30);
    let new = fleet.leader().unwrap();
    assert_ne!(new, old);
    fleet.at(new).propose("after").unwrap();
    fleet.settle();
    assert_eq!(fleet.records(new), ["before", "after"]);
    // It is not handed the slot again, and is not asked.
    assert!(!fleet.at(new).driver.could_transfer(SLOT, node(old)));
    fleet.at(new).driver.transfer(SLOT, node(old));
    fleet.tick(30);
    assert!(!fleet.at(old).leads());
    assert!(fleet.leader().is_some());
}

#[test]
fn a_follower_and_a_replica_alone_stay_what_they_are() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let follower = fleet.others(leader)[0];
    fleet.at(follower).driver.leave(SLOT);
    fleet.propose("one");
    fleet.settle();
    fleet.tick(3);
    assert_eq!(fleet.records(follower), ["one"]);

    let mut alone = Station::alone(Options::default());
    alone.driver.leave(SLOT);
    alone.propose("two").unwrap();
    alone.settle();
    assert_eq!(alone.records(), ["two"]);
}

#[test]
fn what_was_left_is_there_again_when_it_is_opened_anew() {
    let mut fleet = Fleet::led(&Options::default());
    let old = fleet.leader().unwrap();
    fleet.at(old).driver.leave(SLOT);
    fleet.tick(30);
    fleet.propose("meanwhile");
    fleet.settle();
    let down = fleet.take_down(old);
    fleet.restart(&down, usize::MAX);
    fleet.tick(10);
    fleet.settle();
    assert_eq!(fleet.records(old), ["meanwhile"]);
}
