//! Several replicas, and a network that loses what it is told to lose.

use std::collections::BTreeSet;

use convoy_ids::{Index, NodeId, Term};

use super::station::{SLOT, Station, first, firsts, node, replica};
use crate::engine::{Family, Model};
use crate::replica::row::{self, Kind};
use crate::replica::*;

pub(crate) struct Fleet {
    /// Node `n` at `n - 1`; none while it is down.
    pub stations: Vec<Option<Station>>,
    /// Pairs that cannot hear each other.
    pub cut: BTreeSet<(u64, u64)>,
    pub voters: Vec<NodeId>,
    /// What peers sent that was not taken.
    pub refused: Vec<StepError>,
}

impl Fleet {
    pub fn new(count: u64, options: &Options) -> Self {
        let voters: Vec<_> = (1..=count).map(node).collect();
        let station = |voter: &NodeId| {
            let mut station = Station::new(*voter, options.clone());
            station.open(&voters);
            Some(station)
        };
        let stations = voters.iter().map(station).collect();
        Self { stations, cut: BTreeSet::new(), voters, refused: Vec::new() }
    }

    /// Three nodes, of which one leads.
    pub fn led(options: &Options) -> Self {
        let mut fleet = Self::new(3, options);
        fleet.elect();
        fleet
    }

    /// The same, while one of them is away and so many records are written: who leads, and who is away.
    pub fn led_without_one(options: &Options, records: u64) -> (Self, u64, u64, Station) {
        let mut fleet = Self::led(options);
        let leader = fleet.leader().unwrap();
        let away = fleet.others(leader)[0];
        let down = fleet.take_down(away);
        for number in 0..records {
            fleet.propose(&format!("record {number}"));
        }
        (fleet, leader, away, down)
    }

    pub fn at(&mut self, number: u64) -> &mut Station {
        self.stations[number as usize - 1].as_mut().expect("the node is up")
    }

    pub fn up(&mut self) -> impl Iterator<Item = &mut Station> {
        self.stations.iter_mut().flatten()
    }

    pub fn take_down(&mut self, number: u64) -> Station {
        self.stations[number as usize - 1].take().expect("the node is up")
    }

    /// Starts all again but one that is away, and lets them elect a leader.
    pub fn restart_all_but(&mut self, away: u64) {
        for number in (1..=3).filter(|number| *number != away) {
            let down = self.take_down(number);
            self.restart(&down, usize::MAX);
        }
        self.elect();
    }

    /// Starts a node again after a loss of power.
    pub fn restart(&mut self, down: &Station, keep: usize) {
        let mut station = down.crash(keep);
        let voters = self.voters.clone();
        station.open(&voters);
        let number = station.node.get() as usize;
        self.stations[number - 1] = Some(station);
    }

    /// A node loses its disk, and has an empty replica of this number from now on.
    pub fn wipe(&mut self, number: u64, id: u64) {
        let place = &mut self.stations[number as usize - 1];
        let options = place.take().expect("the node is up").options;
        let mut station = Station::new(node(number), options);
        station.me = replica(id, number).id;
        station.open(&self.voters);
        *place = Some(station);
    }

    pub fn isolate(&mut self, number: u64) {
        for other in 1..=self.stations.len() as u64 {
            self.cut.insert((number, other));
            self.cut.insert((other, number));
        }
    }

    /// Messages that are under way arrive, until nobody has anything more to say.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let mut under_way = Vec::new();
            for station in self.stations.iter_mut().flatten() {
                if !station.failures.is_empty() {
                    station.driver.close(SLOT);
                }
                station.settle();
                let from = station.node;
                under_way.extend(station.outbox.drain(..).map(|message| (from, message)));
            }
            if under_way.is_empty() {
                return;
            }
            self.carry(under_way);
        }
        panic!("the replicas never fall silent");
    }

    /// What the replicas have said so far arrives.
    pub fn deliver(&mut self) {
        let said = |station: &mut Station| {
            let from = station.node;
            std::mem::take(&mut station.outbox).into_iter().map(move |message| (from, message))
        };
        let under_way = self.up().flat_map(said).collect();
        self.carry(under_way);
    }

    fn carry(&mut self, under_way: Vec<(NodeId, Outgoing)>) {
        for (from, message) in under_way {
            if self.cut.contains(&(from.get(), message.to.get())) {
                continue;
            }
            if let Some(station) = &mut self.stations[message.to.get() as usize - 1]
                && let Err(error) = station.driver.step(message.slot, from, &message.bytes)
            {
                self.refused.push(error);
            }
        }
    }

    pub fn tick(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.up().for_each(|station| station.driver.tick());
            self.settle();
        }
    }

    /// Ticks until there is one leader among those that can hear each other.
    pub fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            self.tick(1);
            if let Some(leader) = self.leader() {
                return leader;
            }
        }
        panic!("no leader is elected");
    }

    /// The leader of the highest term.
    pub fn leader(&mut self) -> Option<u64> {
        let leaders = self.up().filter(|station| station.leads());
        let newest = leaders.max_by_key(|station| station.driver.role(SLOT).unwrap().term());
        newest.map(|station| station.node.get())
    }

    pub fn propose(&mut self, data: &str) -> (Term, Index) {
        let leader = self.leader().expect("somebody leads");
        let proposed = self.at(leader).propose(data).unwrap();
        self.settle();
        proposed
    }

    pub fn records(&mut self, number: u64) -> Vec<String> {
        self.at(number).records().iter().map(|record| record.to_string()).collect()
    }

    pub fn others(&self, number: u64) -> Vec<u64> {
        (1..=self.stations.len() as u64).filter(|other| *other != number).collect()
    }
}

#[test]
fn three_replicas_elect_one_leader_and_commit_by_quorum() {
    let mut fleet = Fleet::led(&Options::default());
    let leaders = fleet.up().filter(|station| station.leads()).count();
    assert_eq!(leaders, 1);
    fleet.propose("one");
    fleet.propose("two");
    let leader = fleet.leader().unwrap();
    assert_eq!(fleet.records(leader), ["one", "two"]);
    // Followers learn the commit with the next heartbeat.
    fleet.tick(3);
    for number in 1..=3 {
        assert_eq!(fleet.records(number), ["one", "two"]);
        let leads = fleet.at(number).leads();
        assert_eq!(leads, number == leader);
    }
    let follower = fleet.others(leader)[0];
    let term = fleet.at(leader).driver.role(SLOT).unwrap().term();
    let refused = fleet.at(follower).propose("elsewhere");
    assert_eq!(refused, Err(ProposeError::NotLeader { term, leader: Some(node(leader)) }));
}

#[test]
fn nothing_is_acknowledged_to_the_leader_before_it_is_synced() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let follower = fleet.others(leader)[0];
    fleet.at(leader).propose("one").unwrap();
    fleet.at(leader).turn().unwrap();
    let append = fleet.at(leader).outbox.iter().find(|message| message.to == node(follower)).cloned();
    assert!(append.is_some(), "a leader does not wait for its own disk");
    fleet.at(follower).driver.step(SLOT, node(leader), &append.unwrap().bytes).unwrap();
    fleet.at(follower).turn().unwrap();
    assert!(fleet.at(follower).outbox.is_empty());
    fleet.at(follower).finish_sync();
    assert_eq!(fleet.at(follower).outbox.len(), 1);
}

#[test]
fn a_leader_commits_while_its_next_round_is_not_synced() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let followers = fleet.others(leader);
    fleet.at(leader).propose("one").unwrap();
    fleet.at(leader).turn().unwrap();
    fleet.at(leader).finish_sync();
    fleet.at(leader).propose("two").unwrap();
    fleet.at(leader).turn().unwrap();
    assert!(fleet.at(leader).driver.is_syncing());
    let messages = std::mem::take(&mut fleet.at(leader).outbox);
    for message in messages {
        let to = message.to.get();
        fleet.at(to).driver.step(SLOT, node(leader), &message.bytes).unwrap();
    }
    for follower in followers {
        fleet.at(follower).settle();
        for message in std::mem::take(&mut fleet.at(follower).outbox) {
            fleet.at(leader).driver.step(SLOT, node(follower), &message.bytes).unwrap();
        }
    }
    fleet.at(leader).turn().unwrap();
    assert_eq!(
        fleet.records(leader),
        ["one"],
        "two is held by the followers, and not yet by the leader's disk"
    );
    fleet.at(leader).finish_sync();
    assert_eq!(fleet.records(leader), ["one", "two"]);
}

#[test]
fn a_new_leader_has_all_that_was_committed() {
    let mut fleet = Fleet::led(&Options::default());
    for number in 0..20 {
        fleet.propose(&format!("record {number}"));
    }
    let old = fleet.leader().unwrap();
    let committed = fleet.records(old);
    assert_eq!(committed.len(), 20);
    let down = fleet.take_down(old);
    let new = fleet.elect();
    assert_ne!(new, old);
    assert_eq!(fleet.records(new), committed);
    fleet.propose("after");

    fleet.restart(&down, 0);
    fleet.tick(5);
    for number in 1..=3 {
        let records = fleet.records(number);
        assert_eq!(records[..20], committed);
        assert_eq!(records[20..], ["after"]);
    }
}

#[test]
fn a_minority_commits_nothing_and_its_leader_steps_down() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("before");
    let old = fleet.leader().unwrap();
    fleet.isolate(old);
    fleet.at(old).propose("in the minority").unwrap();
    fleet.settle();
    assert_eq!(fleet.records(old), ["before"]);
    fleet.tick(30);
    assert!(!fleet.at(old).leads());
    let new = fleet.leader().unwrap();
    assert_ne!(new, old);
    fleet.propose("in the majority");
    assert_eq!(fleet.records(new), ["before", "in the majority"]);
    assert_eq!(fleet.records(old), ["before"]);

    fleet.cut.clear();
    fleet.tick(30);
    assert_eq!(fleet.records(old), ["before", "in the majority"], "what nobody else had is replaced");
    assert!(fleet.at(old).failures.is_empty());
}

#[test]
fn a_follower_that_was_away_reads_old_entries_from_the_leaders_disk() {
    let options = Options { cached_log_bytes: 50, message_bytes_limit: 200, ..Options::default() };
    let (mut fleet, leader, away, down) = Fleet::led_without_one(&options, 100);
    fleet.restart(&down, 0);
    fleet.tick(10);
    let expected = fleet.records(leader);
    assert_eq!(expected.len(), 100);
    assert_eq!(fleet.records(away), expected);
}

#[test]
fn a_leader_that_meets_a_damaged_entry_does_not_serve_it() {
    let options = Options { cached_log_bytes: 0, ..Options::default() };
    let (mut fleet, old, away, down) = Fleet::led_without_one(&options, 10);
    fleet.tick(5);
    assert!(fleet.at(old).engine.damage(Family::Log, &row::key(SLOT, Kind::Entry, 6)));
    fleet.restart(&down, 0);
    fleet.tick(5);
    let failure = fleet.at(old).failures.first().expect("the damage is met");
    assert!(matches!(failure.error, Error::Damaged { index: Index(6), .. }), "{failure:?}");

    let new = fleet.elect();
    assert_ne!(new, old);
    fleet.tick(10);
    let expected = fleet.records(new);
    assert_eq!(expected.len(), 10);
    assert_eq!(fleet.records(away), expected);
}

#[test]
fn a_replica_that_lost_its_log_is_found_out() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let wiped = fleet.others(leader)[0];
    fleet.take_down(wiped);
    let mut station = Station::new(node(wiped), Options::default());
    station.open(&fleet.voters.clone());
    fleet.stations[wiped as usize - 1] = Some(station);
    fleet.tick(3);
    let found = fleet.refused.iter().any(|error| matches!(error, StepError::LogLost { last: Index(0), .. }));
    assert!(found, "{:?}", fleet.refused);
    assert!(fleet.records(wiped).is_empty());
}

#[test]
fn a_full_follower_takes_no_entries_and_catches_up_when_there_is_room() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let full = fleet.others(leader)[0];
    fleet.at(full).engine.set_full(true);
    // One entry gets as far as the write that fails; from then on they are refused.
    for number in 0..5 {
        fleet.at(leader).propose(&format!("record {number}")).unwrap();
        for _ in 0..20 {
            for number in 1..=3 {
                let _ = fleet.at(number).turn();
                fleet.at(number).finish_sync();
                for message in std::mem::take(&mut fleet.at(number).outbox) {
                    let _ = fleet.at(message.to.get()).driver.step(SLOT, node(number), &message.bytes);
                }
            }
        }
    }
    assert_eq!(fleet.records(leader).len(), 5, "the others are a quorum");
    assert!(fleet.at(full).driver.last(SLOT).unwrap() <= Index(2));
    fleet.at(full).engine.set_full(false);
    fleet.tick(10);
    let expected = fleet.records(leader);
    assert_eq!(fleet.records(full), expected);
}

#[test]
fn leadership_is_handed_over() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let old = fleet.leader().unwrap();
    let to = fleet.others(old)[1];
    fleet.at(old).driver.transfer(SLOT, node(to));
    fleet.settle();
    assert_eq!(fleet.leader(), Some(to));
    fleet.propose("two");
    assert_eq!(fleet.records(to), ["one", "two"]);
}

#[test]
fn a_leader_knows_who_could_lead_in_its_place() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let [near, away] = fleet.others(leader)[..] else { panic!("there are three") };
    let could = |fleet: &mut Fleet, of: u64, to: u64| fleet.at(of).driver.could_transfer(SLOT, node(to));
    assert!(could(&mut fleet, leader, near) && could(&mut fleet, leader, away));
    assert!(!could(&mut fleet, near, leader), "it leads nothing");
    assert!(!could(&mut fleet, leader, leader) && !could(&mut fleet, leader, 9), "none of the others");
    assert!(fleet.at(leader).driver.has_others());
    fleet.isolate(away);
    fleet.propose("one");
    assert!(could(&mut fleet, leader, near) && !could(&mut fleet, leader, away), "it has not got all of it");
    fleet.cut.clear();
    fleet.tick(5);
    assert!(could(&mut fleet, leader, away));
}

#[test]
fn a_replica_is_replaced_by_another() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let leaves = fleet.others(leader)[0];
    let stays = fleet.others(leader)[1];
    let first_voters = fleet.voters.clone();
    let mut joins = Station::new(node(4), Options::default());
    joins.open(&first_voters);
    fleet.stations.push(Some(joins));

    let voters = fleet.voters.clone();
    let begun = fleet.at(leader).driver.reconfigure(SLOT, &firsts(&voters), &[first(4)]).unwrap();
    assert!(begun.is_some());
    assert_eq!(fleet.at(leader).driver.reconfigure(SLOT, &firsts(&voters), &[]), Err(ReconfigureError::Busy));
    fleet.tick(3);
    assert_eq!(fleet.records(4), ["one"], "a learner follows");

    let mut next = vec![node(leader), node(stays), node(4)];
    next.sort_unstable();
    fleet.at(leader).driver.reconfigure(SLOT, &firsts(&next), &[]).unwrap();
    fleet.tick(5);
    let members = Members { voters: firsts(&next), learners: vec![], joint: false };
    assert_eq!(fleet.at(leader).driver.members(SLOT), Some(members.clone()));
    fleet.take_down(leaves);
    fleet.propose("two");
    fleet.tick(3);
    assert_eq!(fleet.records(4), ["one", "two"]);

    // The new group is on disk: a restart finds it, whatever it is told.
    let down = fleet.take_down(4);
    fleet.restart(&down, 0);
    assert_eq!(fleet.at(4).driver.members(SLOT), Some(members));
    assert_eq!(fleet.at(leader).driver.reconfigure(SLOT, &firsts(&next), &[]), Ok(None));
}

#[test]
fn a_leader_that_is_removed_steps_down_for_the_others() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let stay: Vec<_> = fleet.others(leader).into_iter().map(node).collect();
    fleet.at(leader).driver.reconfigure(SLOT, &firsts(&stay), &[]).unwrap();
    fleet.settle();
    assert!(!fleet.at(leader).leads());
    fleet.take_down(leader);
    let next = fleet.elect();
    fleet.propose("two");
    assert_eq!(fleet.records(next), ["one", "two"]);
    let members = fleet.at(next).driver.members(SLOT).unwrap();
    assert_eq!((members.voters, members.joint), (firsts(&stay), false));
}

#[test]
fn a_group_shrinks_to_one_and_goes_on_alone() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    fleet.at(leader).driver.reconfigure(SLOT, &[first(leader)], &[]).unwrap();
    fleet.tick(5);
    for other in fleet.others(leader) {
        fleet.take_down(other);
    }
    fleet.propose("two");
    assert_eq!(fleet.records(leader), ["one", "two"]);
    let down = fleet.take_down(leader);
    fleet.restart(&down, 0);
    fleet.settle();
    fleet.propose("three");
    assert_eq!(fleet.records(leader), ["one", "two", "three"]);
}

#[test]
fn a_message_for_a_slot_that_is_not_open_is_refused() {
    let mut station = Station::on(std::sync::Arc::new(Model::new()), node(1), Options::default());
    assert_eq!(station.driver.step(SLOT, node(2), b"anything"), Err(StepError::NotOpen(SLOT)));
    station.open(&[node(1), node(2)]);
    assert!(matches!(station.driver.step(SLOT, node(2), b"anything"), Err(StepError::Malformed(_))));
}
