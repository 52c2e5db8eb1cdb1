//! Single steps, and walks through random fleets in which nodes fall silent, lose their logs and lead in turn.

use std::collections::{BTreeMap, BTreeSet};

use convoy_ids::{RingVersion, SlotId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::{Member, Ring};
use super::*;

fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

fn numbered(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

/// Replicas by their nodes, numbered alike.
fn replicas(nodes: &[u64]) -> Vec<Replica> {
    nodes.iter().map(|number| Replica { node: node(*number), number: numbered(*number) }).collect()
}

/// The next step of a group whose nodes stand in zones by their tens, led by `leader`.
fn step(
    voters: &[u64],
    learners: &[u64],
    target: &[u64],
    leader: u64,
    health: impl Fn(u64) -> Health,
) -> Step {
    let group = Group { voters: replicas(voters), learners: replicas(learners), is_joint: false };
    let zones: Vec<_> = (0..10).map(|zone| Zone(zone.to_string())).collect();
    let target: Vec<_> = target.iter().map(|number| node(*number)).collect();
    next_step(&Sight {
        group: &group,
        leader: replicas(&[leader])[0],
        target: &target,
        zone_of: &|node| zones.get(node.get() as usize / 10),
        health: &|replica| health(replica.number.get()),
        is_up: &|node| health(node.get()) != Health::Silent,
    })
}

fn well(_: u64) -> Health {
    Health::CaughtUp
}

fn replica(number: u64) -> Replica {
    replicas(&[number])[0]
}

#[test]
fn a_replica_learns_first_and_takes_the_place_of_one_of_its_zone_when_it_has_caught_up() {
    let behind = |number| if number == 21 { Health::Behind } else { Health::CaughtUp };
    assert_eq!(step(&[1, 10, 20], &[], &[1, 11, 21], 1, well), Step::AddLearner(node(11)));
    assert_eq!(step(&[1, 10, 20], &[21], &[1, 11, 21], 1, behind), Step::Wait);
    let promote = Step::Promote { learner: replica(21), instead_of: Some(replica(20)) };
    assert_eq!(step(&[1, 10, 20], &[21], &[1, 11, 21], 1, well), promote);
    assert_eq!(step(&[1, 10, 20], &[], &[1, 10, 20], 1, well), Step::Done);
}

#[test]
fn a_leader_that_is_to_go_hands_over_first() {
    assert_eq!(step(&[1, 10, 20], &[2], &[2, 10, 20], 1, well), Step::HandOver(replica(10)));
    let promote = Step::Promote { learner: replica(2), instead_of: Some(replica(1)) };
    assert_eq!(step(&[1, 10, 20], &[2], &[2, 10, 20], 10, well), promote);
    // Alone it is joined first.
    let joined = Step::Promote { learner: replica(2), instead_of: None };
    assert_eq!(step(&[1], &[2], &[2], 1, well), joined);
    assert_eq!(step(&[1, 2], &[], &[2], 1, well), Step::HandOver(replica(2)));
    assert_eq!(step(&[1, 2], &[], &[2], 2, well), Step::Remove(replica(1)));
}

#[test]
fn a_group_grows_before_it_loses_anybody() {
    let promote = Step::Promote { learner: replica(10), instead_of: None };
    assert_eq!(step(&[1], &[10], &[1, 10, 20], 1, well), promote);
    assert_eq!(step(&[1, 2], &[10], &[1, 10, 20], 1, well), promote);
}

#[test]
fn nobody_is_removed_who_is_needed_for_a_quorum() {
    let silent = |number| if number == 10 { Health::Silent } else { Health::CaughtUp };
    assert_eq!(step(&[1, 10, 20], &[], &[1, 10], 1, silent), Step::Wait);
    assert_eq!(step(&[1, 10, 20], &[], &[1, 10], 1, well), Step::Remove(replica(20)));
}

#[test]
fn a_replica_that_lost_its_log_is_replaced_on_its_own_node() {
    let lost = |number| if number == 10 { Health::Lost } else { Health::CaughtUp };
    assert_eq!(step(&[1, 10, 20], &[], &[1, 10, 20], 1, lost), Step::AddLearner(node(10)));
}

#[test]
fn learners_that_are_not_wanted_any_more_go_and_silent_ones_hold_nobody_up() {
    assert_eq!(step(&[1, 10, 20], &[21], &[1, 10, 20], 1, well), Step::Remove(replica(21)));
    let silent = |number| if number == 21 { Health::Silent } else { Health::CaughtUp };
    assert_eq!(step(&[1, 10, 20], &[21], &[1, 11, 21], 1, silent), Step::AddLearner(node(11)));
    assert_eq!(step(&[1, 10, 20], &[], &[1, 10, 21], 1, silent), Step::Wait);
}

#[test]
fn nothing_begins_while_a_change_is_under_way() {
    let group = Group { is_joint: true, ..Group::default() };
    let sight = Sight {
        group: &group,
        leader: replica(1),
        target: &[],
        zone_of: &|_| None,
        health: &|_| Health::CaughtUp,
        is_up: &|_| true,
    };
    assert_eq!(next_step(&sight), Step::Wait);
}

#[test]
fn no_node_sends_or_receives_more_copies_than_it_may() {
    let mut copies = Copies::new(2, [(node(1), node(5))]);
    assert_eq!(copies.admit(node(1), Step::Done), Step::Done);
    assert_eq!(copies.admit(node(1), Step::AddLearner(node(6))), Step::AddLearner(node(6)));
    assert_eq!(copies.admit(node(1), Step::AddLearner(node(7))), Step::Wait);
    assert_eq!(copies.admit(node(2), Step::AddLearner(node(5))), Step::AddLearner(node(5)));
    assert_eq!(copies.admit(node(3), Step::AddLearner(node(5))), Step::Wait);
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = xxh3_64_with_seed(&self.0.to_le_bytes(), 5);
        self.0 % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// One slot on its way. What it does is carried out at once; the rest is chance.
struct Walk {
    chance: Chance,
    group: Group,
    leader: Replica,
    last_number: u64,
    caught_up: BTreeSet<ReplicaId>,
    lost: BTreeSet<ReplicaId>,
    silent: BTreeSet<NodeId>,
    used: BTreeSet<ReplicaId>,
    zones: BTreeMap<NodeId, Zone>,
    steps: u32,
}

impl Walk {
    fn new(seed: u64, nodes: &[NodeId], zones: BTreeMap<NodeId, Zone>) -> Self {
        let voters: Vec<_> = (1..)
            .zip(nodes)
            .map(|(number, node)| Replica { node: *node, number: numbered(number) })
            .collect();
        let numbers: BTreeSet<_> = voters.iter().map(|voter| voter.number).collect();
        Self {
            chance: Chance(seed),
            leader: voters[0],
            last_number: voters.len() as u64,
            group: Group { voters, ..Group::default() },
            caught_up: numbers.clone(),
            lost: BTreeSet::new(),
            silent: BTreeSet::new(),
            used: numbers,
            zones,
            steps: 0,
        }
    }

    fn health(&self, replica: Replica) -> Health {
        match replica {
            _ if self.lost.contains(&replica.number) => Health::Lost,
            _ if self.silent.contains(&replica.node) => Health::Silent,
            _ if self.caught_up.contains(&replica.number) => Health::CaughtUp,
            _ => Health::Behind,
        }
    }

    fn well(&self, voters: &[Replica]) -> usize {
        voters.iter().filter(|voter| self.health(**voter) == Health::CaughtUp).count()
    }

    fn has_quorum(&self, voters: &[Replica]) -> bool {
        self.well(voters) * 2 > voters.len()
    }

    /// In how many zones the voters stand.
    fn spread(&self) -> usize {
        spread(&self.zones, self.group.voters.iter().map(|voter| voter.node))
    }

    /// Chance befalls at most as many voters as leave a quorum.
    fn befall(&mut self, all: &[NodeId]) {
        let at = all[self.chance.below(all.len() as u64) as usize];
        if self.chance.one_in(4) {
            self.silent.insert(at);
        }
        if self.chance.one_in(12)
            && let Some(replica) = self.group.voters.iter().find(|voter| voter.node == at)
        {
            self.lost.insert(replica.number);
            if !self.has_quorum(&self.group.voters.clone()) {
                let number = self.group.voters.iter().find(|voter| voter.node == at).unwrap().number;
                self.lost.remove(&number);
            }
        }
        if !self.has_quorum(&self.group.voters.clone()) || self.chance.one_in(3) {
            self.silent.clear();
        }
        for learner in self.group.learners.clone() {
            if self.chance.one_in(3) {
                self.caught_up.insert(learner.number);
            }
        }
        let led_by = self.leader;
        if self.health(led_by) != Health::CaughtUp
            || !self.group.voters.contains(&led_by)
            || self.chance.one_in(6)
        {
            let voters = self.group.voters.iter().copied();
            let able: Vec<_> = voters.filter(|voter| self.health(*voter) == Health::CaughtUp).collect();
            self.leader = able[self.chance.below(able.len() as u64) as usize];
        }
    }

    fn take(&mut self, target: &[NodeId]) -> Step {
        let zone = |node| self.zones.get(&node);
        let (health, is_up) = (|replica| self.health(replica), |node: NodeId| !self.silent.contains(&node));
        let sight = Sight {
            group: &self.group,
            leader: self.leader,
            target,
            zone_of: &zone,
            health: &health,
            is_up: &is_up,
        };
        let step = next_step(&sight);
        let before = self.group.voters.clone();
        match step {
            Step::AddLearner(node) => {
                self.last_number += 1;
                let replica = Replica { node, number: numbered(self.last_number) };
                assert!(self.used.insert(replica.number), "a number is given again");
                self.group.learners.push(replica);
            }
            Step::Promote { learner, instead_of } => {
                assert!(self.caught_up.contains(&learner.number));
                assert_ne!(instead_of, Some(self.leader), "the leader votes itself out");
                self.group.learners.retain(|other| *other != learner);
                self.group.voters.retain(|voter| Some(*voter) != instead_of);
                self.group.voters.push(learner);
            }
            Step::HandOver(to) => {
                assert!(before.contains(&to) && self.health(to) == Health::CaughtUp);
                self.leader = to;
            }
            Step::Remove(replica) => {
                assert_ne!(replica, self.leader, "the leader removes itself");
                self.group.learners.retain(|other| *other != replica);
                self.group.voters.retain(|other| *other != replica);
            }
            Step::Done | Step::Wait => {}
        }
        assert!(self.group.learners.len() <= target.len());
        assert!(self.group.voters.len() <= before.len().max(target.len()) + 1);
        assert!(self.has_quorum(&self.group.voters), "{step:?} leaves no quorum of {:?}", self.group);
        // Both halves of a joint change were able to agree.
        assert!(self.has_quorum(&before));
        self.steps += 1;
        step
    }
}

fn spread(zones: &BTreeMap<NodeId, Zone>, nodes: impl Iterator<Item = NodeId>) -> usize {
    nodes.map(|node| &zones[&node]).collect::<BTreeSet<_>>().len()
}

fn fleet(chance: &mut Chance) -> Ring {
    let (zones, nodes) = (1 + chance.below(4), 1 + chance.below(8));
    let mut member = |number: u64| Member {
        node: node(number),
        zone: Zone(format!("z{}", chance.below(zones))),
        weight: 16 + chance.below(64) as u16,
    };
    let members = (1..=nodes).map(&mut member).collect();
    Ring::new(RingVersion(1), 16, 3, members).unwrap()
}

fn reshape(ring: &Ring, chance: &mut Chance) -> Ring {
    let members = ring.members();
    let any = members[chance.below(members.len() as u64) as usize].node;
    let new = Member {
        node: node(100 + ring.version().0),
        zone: Zone(format!("z{}", chance.below(4))),
        weight: 64,
    };
    match chance.below(3) {
        0 => ring.without(any).unwrap_or_else(|_| ring.clone()),
        1 => ring.with_weight(any, 0).unwrap_or_else(|_| ring.clone()),
        _ => ring.with(new).unwrap(),
    }
}

#[test]
fn every_walk_keeps_a_quorum_and_its_zones_and_ends_at_the_target() {
    let (mut moved, mut steps) = (0, 0);
    for seed in 0..150 {
        let mut chance = Chance(seed);
        let old = fleet(&mut chance);
        // The target may change once more on the way.
        let middle = reshape(&old, &mut chance);
        let ring = reshape(&middle, &mut chance);
        let members = [&old, &middle, &ring].into_iter().flat_map(Ring::members);
        let zones: BTreeMap<_, _> = members.map(|member| (member.node, member.zone.clone())).collect();
        let all: Vec<_> = zones.keys().copied().collect();
        for slot in (0..old.slots()).map(SlotId) {
            let mut walk = Walk::new(seed << 8 | u64::from(slot.0), old.replicas(slot), zones.clone());
            let turns = walk.chance.below(30);
            for (target, turns, ends_well) in
                [(middle.replicas(slot), turns, false), (ring.replicas(slot), 400, true)]
            {
                let least = walk.spread().min(spread(&zones, target.iter().copied()));
                for turn in 0..turns {
                    let is_well = ends_well && turn >= 60;
                    if is_well {
                        walk.silent.clear();
                        walk.caught_up.extend(walk.group.learners.iter().map(|learner| learner.number));
                    } else {
                        walk.befall(&all);
                    }
                    let step = walk.take(target);
                    let voters = &walk.group.voters;
                    assert!(walk.spread() >= least, "seed {seed}, slot {slot}: {step:?} to {voters:?}");
                    if is_well && step == Step::Done {
                        break;
                    }
                }
            }
            let mut ends: Vec<_> = walk.group.voters.iter().map(|voter| voter.node).collect();
            let mut wanted = ring.replicas(slot).to_vec();
            ends.sort_unstable();
            wanted.sort_unstable();
            assert_eq!((ends, walk.group.learners.len()), (wanted, 0), "seed {seed}, slot {slot}");
            moved += u32::from(old.replicas(slot) != ring.replicas(slot));
            steps += walk.steps;
        }
    }
    assert!(moved > 500, "{moved} slots moved in {steps} steps");
}
