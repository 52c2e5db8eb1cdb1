//! The fleet changes while it runs: nodes come, are drained and leave, die and are replaced, lose their disks and come again. Who
//! is of it, which ring version is in force and which numbers replicas have says the real state machine of the meta group;
//! the world stands for its log, and carries what it says to the shards, late.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use convoy_actors::meta::{Command, Effect, Entrant, Fleet, FleetId, TokenHash};
use convoy_actors::{Moves, Options, Wanted, Without};
use convoy_ids::{NodeId, ReplicaId, SlotId};
use convoy_membership::Ring;
use convoy_storage::engine::{Engine, Family};

use super::replicas::{Rows, rows};
use super::{Event, Setup, World};
use crate::oracle::{self, Fault, What};
use crate::sim::clock::{MILLISECOND, Micros, SECOND};
use crate::sim::disk::Disk;
use crate::sim::node::Node;
use crate::sim::seed::{Seed, Stream};

/// Replicas of each slot.
const REPLICATION: u8 = 3;

/// Points of a node on the ring.
const WEIGHT: u16 = 64;

/// How a fleet changes.
#[derive(Clone, Copy, Debug)]
pub struct Moving {
    /// Nodes that it begins with; the others come later.
    pub founders: u16,
    /// Something is changed about so often.
    pub every: Micros,
}

/// What became of a node's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No node was there yet.
    Free,
    Member,
    /// It was removed, and never comes again.
    Gone,
}

/// What is under way with one node; meanwhile no other is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It is to keep nothing any more.
    Drains(usize),
    /// It is down for long, and others are to take its place.
    IsDown(usize),
    /// It came with an empty disk.
    LostItsDisk(usize),
}

/// What happens in a fleet that changes.
#[derive(Debug)]
pub enum Moved {
    /// The next change begins, or one comes to its end.
    Change,
    /// A node, in this life, hears who is of the fleet, and of the ring version in force.
    Tell { node: usize, start: u32 },
    /// The number that a leader has asked for comes.
    Number { node: usize, start: u32, shard: u16, wanted: Wanted, number: ReplicaId },
}

/// The meta group, and what the world knows beside it.
pub struct Meta {
    fleet: Fleet,
    places: Vec<Place>,
    founders: u16,
    every: Micros,
    /// Numbers that were given out when each node got its disk; of the first disk of a founder none.
    given: Vec<Option<u64>>,
    change: Option<Change>,
    chance: Stream,
}

impl Meta {
    pub fn found(seed: Seed, setup: &Setup, moving: Moving) -> Self {
        let founders = usize::from(moving.founders);
        let places = (0..usize::from(setup.nodes))
            .map(|place| if place < founders { Place::Member } else { Place::Free })
            .collect();
        let mut meta = Self {
            fleet: Fleet::default(),
            places,
            founders: moving.founders,
            every: moving.every,
            given: vec![None; usize::from(setup.nodes)],
            change: None,
            chance: seed.stream("moves"),
        };
        let (fleet, slots, format) = (FleetId([7; 16]), setup.slots, 1);
        meta.order(&Command::Found { fleet, slots, replication: REPLICATION, format, founder: entrant(0) });
        meta.order(&Command::AddToken { hash: TokenHash([7; 32]), expires_at: u64::MAX, at: 0 });
        (1..founders).for_each(|place| meta.join(place, slots));
        meta.reshape();
        meta
    }

    /// Carries out what is sure to be right.
    fn order(&mut self, command: &Command) {
        let mut out = Vec::new();
        self.fleet.apply(command, &mut out);
        assert!(!matches!(out[..], [Effect::Refused(_)]), "{command:?}: {out:?}");
    }

    fn join(&mut self, place: usize, slots: u16) {
        let (fleet, token) = (FleetId([7; 16]), TokenHash([7; 32]));
        self.order(&Command::Join { entrant: entrant(place), fleet, slots, token, at: 1 });
    }

    fn reshape(&mut self) {
        let version = self.ring().version().0 + 1;
        self.order(&Command::Reshape { version });
    }

    fn ring(&self) -> &Ring {
        self.fleet.ring().expect("it was founded")
    }

    /// The nodes that are to keep a slot.
    fn target(&self, slot: SlotId) -> BTreeSet<NodeId> {
        let slot = if slot.is_meta() { SlotId(0) } else { slot };
        self.ring().replicas(slot).iter().copied().collect()
    }

    fn members(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|place| self.places[*place] == Place::Member).collect()
    }
}

/// A node as it presents itself. There are three zones.
fn entrant(place: usize) -> Entrant {
    Entrant {
        node: Node::id_of(place).get(),
        name: format!("node-{place}"),
        zone: format!("zone-{}", place % 3),
        weight: WEIGHT,
        address: "sim".into(),
        formats: (1, 1),
    }
}

impl World {
    pub fn is_of_fleet(&self, node: usize) -> bool {
        self.meta.as_ref().is_none_or(|meta| meta.places[node] == Place::Member)
    }

    /// Whether a node that is to start does so: not one that is up, that is away for long, or that was removed.
    pub fn may_start(&self, node: usize) -> bool {
        let Some(meta) = &self.meta else { return true };
        let is_away = meta.change == Some(Change::IsDown(node)) && !self.resting;
        meta.places[node] == Place::Member && !is_away && !self.nodes[node].is_up()
    }

    /// So many nodes have to be well that Clients are served for sure.
    pub fn enough(&self) -> usize {
        // A slot may have two of its replicas on the others.
        self.meta.as_ref().map_or(self.nodes.len() / 2 + 1, |meta| meta.members().len())
    }

    pub fn options_of(&self, node: usize) -> Options {
        let options = self.setup.options();
        let Some(meta) = &self.meta else { return options };
        let replicas = meta.members().into_iter().map(Node::id_of).collect();
        let founders = (0..usize::from(meta.founders)).map(Node::id_of).collect();
        let (founds, given) = match meta.given[node] {
            None => (node < usize::from(meta.founders), 0),
            // It takes its empty disk for the first one.
            Some(_) if self.setup.without == Without::NewNumbers => (node < usize::from(meta.founders), 0),
            Some(given) => (false, given),
        };
        Options { replicas, moves: Some(Moves { founders, founds, given }), ..options }
    }

    pub fn plan_move(&mut self) {
        if let Some(meta) = &mut self.meta {
            let delay = meta.chance.between(meta.every / 4, meta.every * 2);
            self.agenda.enter(delay, Event::Moved(Moved::Change));
        }
    }

    pub fn moved(&mut self, moved: Moved) {
        match moved {
            Moved::Change if !self.resting => {
                self.change();
                self.plan_move();
            }
            Moved::Change => {}
            Moved::Tell { node, start } if self.nodes[node].lives(start) => {
                if self.nodes[node].is_suspended() {
                    return self.agenda.enter(100 * MILLISECOND, Event::Moved(Moved::Tell { node, start }));
                }
                let meta = self.meta.as_ref().expect("it has told this");
                let (ring, nodes) = (Arc::new(meta.ring().clone()), meta.members());
                let nodes: Vec<NodeId> = nodes.into_iter().map(Node::id_of).collect();
                for shard in 0..self.nodes[node].shards().len() as u16 {
                    self.nodes[node].shard(shard).hear_fleet(&nodes);
                    self.nodes[node].shard(shard).hear_ring(Arc::clone(&ring));
                    self.follow(node, shard);
                }
            }
            Moved::Number { node, start, shard, wanted, number } if self.nodes[node].lives(start) => {
                self.nodes[node].shard(shard).hear_number(wanted.slot, wanted.node, number);
            }
            Moved::Tell { .. } | Moved::Number { .. } => {}
        }
    }

    /// What leaders have asked the meta group for.
    pub fn give_numbers(&mut self, node: usize, shard: u16) {
        let Some(meta) = &mut self.meta else { return };
        for wanted in self.nodes[node].shard(shard).take_wanted_numbers() {
            let mut out = Vec::new();
            meta.fleet.apply(&Command::Number { slot: wanted.slot.0, node: wanted.node.get() }, &mut out);
            let Some(Effect::Numbered { number, .. }) = out.pop() else { continue };
            if self.setup.disorder && meta.chance.one_in(10) {
                continue;
            }
            let (start, delay) = (self.nodes[node].starts(), meta.chance.between(1, 300 * MILLISECOND));
            let number = Moved::Number { node, start, shard, wanted, number };
            self.agenda.enter(delay, Event::Moved(number));
        }
    }

    /// A node that has begun a life hears of the fleet a while later.
    pub fn tell_fleet(&mut self, node: usize) {
        let Some(meta) = &mut self.meta else { return };
        let (start, delay) = (self.nodes[node].starts(), meta.chance.between(1, SECOND));
        self.agenda.enter(delay, Event::Moved(Moved::Tell { node, start }));
    }

    fn tell_all(&mut self) {
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up()).collect::<Vec<_>>() {
            self.tell_fleet(node);
        }
    }

    /// Gives an order, and makes a ring version of it.
    fn reshape(&mut self, command: &Command) {
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.order(command);
        meta.reshape();
        self.tell_all();
        self.changed();
    }

    /// The next change begins, or the one under way comes to its end, if it can.
    fn change(&mut self) {
        let is_in_place = self.is_in_place();
        let meta = self.meta.as_mut().expect("the fleet changes");
        let members = meta.members();
        match meta.change {
            Some(Change::LostItsDisk(_)) => {
                meta.change = meta.change.filter(|_| !is_in_place);
            }
            Some(Change::Drains(node)) => {
                if meta.chance.one_in(4) {
                    meta.change = None;
                    self.reshape(&Command::Restore { node: Node::id_of(node).get() });
                } else if self.keeps_nothing(node) {
                    self.remove(node);
                }
            }
            Some(Change::IsDown(node)) => {
                if meta.chance.one_in(3) {
                    meta.change = None;
                    self.agenda.enter(MILLISECOND, Event::Start { node });
                    self.reshape(&Command::Restore { node: Node::id_of(node).get() });
                } else if self.keeps_nothing(node) {
                    self.remove(node);
                }
            }
            None => {
                let free = meta.places.iter().position(|place| *place == Place::Free);
                let node = *meta.chance.pick(&members);
                match (meta.chance.below(4), free) {
                    (0 | 1, Some(place)) => self.join(place),
                    (_, Some(place)) if members.len() <= usize::from(REPLICATION) => self.join(place),
                    (0, _) | (1, None) if members.len() > usize::from(REPLICATION) => {
                        meta.change = Some(Change::Drains(node));
                        self.reshape(&Command::Drain { node: Node::id_of(node).get() });
                    }
                    (2, _) if members.len() > usize::from(REPLICATION) => self.replace(node),
                    _ => self.lose_disk(node),
                }
            }
        }
    }

    fn join(&mut self, place: usize) {
        let slots = self.setup.slots;
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.join(place, slots);
        meta.places[place] = Place::Member;
        meta.given[place] = Some(meta.fleet.given());
        meta.reshape();
        self.agenda.enter(MILLISECOND, Event::Start { node: place });
        self.tell_all();
        self.changed();
    }

    /// A node that keeps nothing leaves for good.
    fn remove(&mut self, node: usize) {
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.change = None;
        meta.places[node] = Place::Gone;
        let ring = meta.ring().member(Node::id_of(node)).is_none_or(|member| member.weight == 0);
        assert!(ring, "a node that is drained has no place in the ring");
        meta.order(&Command::Remove { node: Node::id_of(node).get() });
        self.take_down(node);
        self.tell_all();
    }

    /// A node goes down and does not come again soon: others are to take its place.
    fn replace(&mut self, node: usize) {
        self.meta.as_mut().expect("the fleet changes").change = Some(Change::IsDown(node));
        self.take_down(node);
        self.reshape(&Command::Replace { node: Node::id_of(node).get() });
    }

    /// A node loses all that it had, and comes again. Not while others need it: what it has alone would be lost.
    fn lose_disk(&mut self, node: usize) {
        if !self.is_in_place() {
            return;
        }
        self.take_down(node);
        let meta = self.meta.as_mut().expect("the fleet changes");
        meta.given[node] = Some(meta.fleet.given());
        meta.change = Some(Change::LostItsDisk(node));
        let delay = meta.chance.between(10 * MILLISECOND, 2 * SECOND);
        self.nodes[node].lose_disk(Disk::new(None, self.setup.lying_disk, self.setup.stalls));
        self.agenda.enter(delay, Event::Start { node });
    }

    fn take_down(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        let served = self.serving[node];
        let id = Node::id_of(node).get();
        let fault = if served { Fault::Killed } else { Fault::Fleet(oracle::Fleet::Died(id)) };
        self.log.record(What::Fault(fault));
        self.nodes[node].kill();
        self.waiting[node].clear();
        self.end_connections(node);
        self.look_at(node);
        self.changed();
    }

    /// All that is to come to an end does.
    pub fn rest_moves(&mut self) {
        let Some(meta) = &mut self.meta else { return };
        if let Some(Change::IsDown(node)) = meta.change {
            self.agenda.enter(MILLISECOND, Event::Start { node });
        }
        self.tell_all();
    }

    fn all_slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.setup.slots).map(SlotId).chain([SlotId::META])
    }

    /// Which nodes have a replica of each slot.
    fn placement(&self) -> BTreeMap<SlotId, BTreeSet<NodeId>> {
        let mut found: BTreeMap<SlotId, BTreeSet<NodeId>> = BTreeMap::new();
        for node in 0..self.nodes.len() {
            let replicas = self.nodes[node].shards().iter().flat_map(|shard| shard.replicas().into_keys());
            replicas.for_each(|slot| _ = found.entry(slot).or_default().insert(Node::id_of(node)));
        }
        found
    }

    /// The group of a slot, as its leader has it, and whether it is at rest.
    fn group_of(&self, slot: SlotId) -> Option<(BTreeSet<NodeId>, bool)> {
        let leads = |node: &&Node| node.led().any(|(led, _)| led == slot);
        let leader = self
            .nodes
            .iter()
            .filter(leads)
            .max_by_key(|node| node.led().find(|(led, _)| *led == slot).map(|(_, term)| term))?;
        leader.shards().iter().find_map(|shard| shard.members(slot))
    }

    /// Whether all are up, and every slot is where it is to be.
    fn is_in_place(&self) -> bool {
        let meta = self.meta.as_ref().expect("the fleet changes");
        let (up, placement) =
            (meta.members().into_iter().all(|node| self.nodes[node].is_ready()), self.placement());
        up && self.all_slots().all(|slot| {
            let target = meta.target(slot);
            placement.get(&slot) == Some(&target) && self.group_of(slot) == Some((target, true))
        })
    }

    /// Whether no group has a replica on the node, and no row is there.
    fn keeps_nothing(&self, node: usize) -> bool {
        let (meta, id) = (self.meta.as_ref().expect("the fleet changes"), Node::id_of(node));
        let others_are_up =
            meta.members().into_iter().all(|other| other == node || self.nodes[other].is_ready());
        let has_none = |slot| {
            let (group, is_at_rest) = self.group_of(slot).unwrap_or_default();
            is_at_rest && !group.is_empty() && !group.contains(&id)
        };
        let is_empty = self.nodes[node].shards().iter().all(|shard| shard.replicas().is_empty());
        let is_away = meta.change == Some(Change::IsDown(node));
        others_are_up && (is_away || self.nodes[node].is_up()) && is_empty && self.all_slots().all(has_none)
    }

    /// What is wrong with a fleet that has come to rest: nodes that do not serve, slots that are elsewhere than the ring says, rows
    /// that differ, and rows that should have gone.
    pub fn misplaced(&self) -> Vec<String> {
        let meta = self.meta.as_ref().expect("the fleet changes");
        let members = meta.members();
        let idle: Vec<usize> = members.iter().copied().filter(|node| !self.nodes[*node].is_ready()).collect();
        if !idle.is_empty() {
            return vec![format!("at rest these nodes do not serve: {idle:?}")];
        }
        let (mut wrong, placement) = (Vec::new(), self.placement());
        for slot in self.all_slots() {
            let (target, here, group) = (meta.target(slot), placement.get(&slot), self.group_of(slot));
            if here != Some(&target) || group != Some((target.clone(), true)) {
                wrong.push(format!(
                    "12 moves: slot {slot} is to be on {target:?}; it is on {here:?}, its group {group:?}"
                ));
            }
            let of = |node: &usize| rows(&self.nodes[*node], &[slot]);
            let (with, without): (Vec<usize>, Vec<usize>) =
                members.iter().partition(|node| target.contains(&Node::id_of(**node)));
            let found: Vec<Rows> = with.iter().map(of).collect();
            if found.windows(2).any(|pair| pair[0] != pair[1]) {
                let counts: Vec<usize> = found.iter().map(Rows::len).collect();
                wrong.push(format!("14 replicas: rows of slot {slot} on {with:?} differ: {counts:?}"));
            }
            for node in without {
                let (left, log) = (of(&node).len(), log_rows(&self.nodes[node], slot));
                if left > 0 || log.iter().any(|kind| *kind != ENDED) {
                    wrong.push(format!(
                        "12 moves: slot {slot} has left the node at {node}, and {left} rows did not; log {log:?}"
                    ));
                }
            }
        }
        wrong
    }
}

/// The kind of row that says which replica was here last.
const ENDED: u8 = 8;

/// The kinds of a slot's rows in the family of logs.
fn log_rows(node: &Node, slot: SlotId) -> Vec<u8> {
    let end = slot.0.checked_add(1).map_or([u8::MAX; 4].to_vec(), |next| next.to_be_bytes().to_vec());
    let (mut kinds, found) = (Vec::new(), node.rows().expect("it was started"));
    found
        .scan(Family::Log, &slot.0.to_be_bytes(), &end, &mut |key, _| {
            kinds.push(key[2]);
            ControlFlow::Continue(())
        })
        .expect("the model of a disk that is not damaged can be read");
    kinds
}
