//! The replicas of a group and the state that is applied under them: a crash leaves both or neither.

use convoy_ids::SlotId;

use super::fleet::Fleet;
use super::station::{SLOT, Station, first, node};
use crate::engine::Engine;
use crate::replica::*;

/// How the caller writes what it applied.
#[derive(Clone, Copy, Debug)]
enum Written {
    WithTheRound,
    Apart,
    /// Past the driver, as callers did once.
    PastTheDriver,
}

impl Written {
    fn write(self, station: &mut Station) {
        match self {
            Self::WithTheRound => {}
            Self::Apart => station.driver.write_applied(&mut station.state).unwrap(),
            Self::PastTheDriver => {
                station.engine.write(&station.state).unwrap();
                station.state.clear();
            }
        }
    }
}

const ALL: [Written; 3] = [Written::WithTheRound, Written::Apart, Written::PastTheDriver];

/// A group of three is told to become its leader alone, and the leader loses its power: once the change of the group has
/// come out, after `stop` more turns of all of them, with so many of the batches kept that were not synced. A sync takes
/// `turns`.
fn crash(written: Written, turns: usize, stop: usize, keep: usize) -> Option<(Opened, Members)> {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    // Another slot of the node always has something to sync.
    let busy = SlotId(9);
    fleet.at(leader).driver.open(busy, first(leader).id, &[first(leader)]).unwrap();
    fleet.settle();
    fleet.at(leader).driver.reconfigure(SLOT, &[first(leader)], &[]).unwrap();
    let mut turns_left = None;
    for turn in 0..100 {
        for number in 1..=3 {
            let station = fleet.at(number);
            station.driver.tick();
            if number == leader {
                station.driver.propose(busy, b"busy".to_vec()).unwrap();
            }
            written.write(station);
            station.turn().unwrap();
            if number == leader && station.driver.members(SLOT).unwrap().voters.len() == 1 {
                let left = turns_left.get_or_insert(stop);
                if *left == 0 {
                    return restart(station, keep);
                }
                *left -= 1;
            }
            if turn % turns == 0 {
                station.finish_sync();
            }
        }
        fleet.deliver();
    }
    panic!("the change never comes out");
}

/// What is found after a crash, if there are so many batches to keep.
fn restart(station: &Station, keep: usize) -> Option<(Opened, Members)> {
    if keep > station.engine.unsynced() {
        return None;
    }
    let mut after = station.crash(keep);
    let opened = after.open(&[node(1), node(2), node(3)]);
    Some((opened, after.driver.members(SLOT).unwrap()))
}

/// The group is what its log made it, whatever was lost: the replica goes on alone where it knows of the change, and goes
/// back to be one of three where it does not.
#[test]
fn a_crash_leaves_no_state_under_an_older_group() {
    for written in ALL {
        let mut crashes = 0;
        for (turns, stop) in (1..4).flat_map(|turns| (0..20).map(move |stop| (turns, stop))) {
            for keep in 0.. {
                let Some((opened, members)) = crash(written, turns, stop, keep) else { break };
                crashes += 1;
                // Entry 1 is the leader's first, 2 the record, 3 enters the joint state and 4 leaves it.
                let follows = match opened.applied.0 {
                    ..3 => true,
                    3 => members.voters.len() == 1,
                    _ => members.voters.len() == 1 && !members.joint,
                };
                assert!(
                    follows,
                    "{written:?}, {turns} turns a sync, stop {stop}, keep {keep}: {opened:?} under {members:?}"
                );
            }
        }
        assert!(crashes > 10, "{written:?}: {crashes}");
    }
}

#[test]
fn a_group_that_shrinks_to_one_delivers_what_was_proposed_behind_that_change() {
    let mut fleet = Fleet::new(2, &Options::default());
    let leader = fleet.elect();
    fleet.propose("one");
    fleet.at(leader).driver.reconfigure(SLOT, &[first(leader)], &[]).unwrap();
    // What was delivered is kept for the follower, which goes before these are delivered.
    ["two", "three"].iter().for_each(|record| _ = fleet.at(leader).propose(record).unwrap());
    fleet.tick(5);
    assert_eq!(fleet.records(leader), ["one", "two", "three"]);
}
