//! What the nodes of a fleet have to agree on: who leads, and, once all is quiet, every row of the state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use convoy_actors::Shard;
use convoy_ids::{SlotId, Term};
use convoy_storage::engine::{Engine, Family};

use super::World;
use crate::oracle::{Fault, Fleet, What};
use crate::sim::node::Node;
use crate::sim::places::Places;

/// Families of which each replica holds the same rows. The log of each is cut where it suits its node, and `meta` has the
/// node's own facts.
const REPLICATED: [Family; 4] = [Family::Session, Family::Queue, Family::Retained, Family::Archive];

/// Of rows that differ, how many are told.
const TOLD: usize = 5;

pub type Rows = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// What was seen of a shard.
pub struct Seen {
    is_ready: bool,
    led: Vec<(SlotId, Term)>,
}

impl Seen {
    fn is_of(&self, shard: &Shard) -> bool {
        self.is_ready == shard.is_ready() && Node::led_by(shard).eq(self.led.iter().copied())
    }
}

impl World {
    /// What a shard leads, and whether its node serves Clients, may have changed.
    pub fn look_at_shard(&mut self, node: usize, shard: u16) {
        let (shards, seen, shard) = (self.nodes[node].shards(), &self.seen[node], usize::from(shard));
        if self.unseen.has(node) || seen.len() != shards.len() || !seen[shard].is_of(&shards[shard]) {
            self.look_at(node);
        } else if self.nodes.len() > 1 {
            self.settle();
        }
    }

    /// The same of all shards of a node.
    pub fn look_at(&mut self, node: usize) {
        let see = |shard: &Shard| Seen { is_ready: shard.is_ready(), led: Node::led_by(shard).collect() };
        self.seen[node] = self.nodes[node].shards().iter().map(see).collect();
        self.unseen.set(node, false);
        let led: BTreeSet<_> = self.nodes[node].led().collect();
        for &led in &led {
            let leader = *self.leaders.entry(led).or_insert(node);
            if leader != node && self.rivals.insert(led) {
                let ((slot, term), index) = (led, self.log.events.len());
                self.log.findings.push(format!(
                    "10 one leader (event {index}): slot {slot} is led in term {term} by the nodes at {leader} and {node}"
                ));
            }
        }
        if self.nodes.len() == 1 {
            return;
        }
        self.serving.set(node, self.nodes[node].is_ready());
        let had = std::mem::replace(&mut self.led[node], led);
        let id = Node::id_of(node).get();
        if self.led[node].difference(&had).next().is_some() {
            self.log.record(What::Fault(Fault::Fleet(Fleet::Led(id))));
        }
        if self.nodes[node].is_up() && had.difference(&self.led[node]).next().is_some() {
            self.log.record(What::Fault(Fault::Fleet(Fleet::Deposed(id))));
        }
        self.settle();
    }

    /// Says whether all nodes of a majority serve Clients, and nobody else does.
    pub fn settle(&mut self) {
        if self.nodes.len() == 1 {
            return;
        }
        let serves = self.calm_majority() == Some(self.serving);
        if serves != self.settled.is_some() {
            let told = if serves { Fleet::Settled } else { Fleet::Disturbed };
            self.log.record(What::Fault(Fault::Fleet(told)));
        }
        let leading = || (0..self.nodes.len()).max_by_key(|node| self.led[*node].len());
        self.settled = serves.then(leading).flatten();
    }

    /// What the nodes are, or who hears whom, is different from now on.
    pub fn changed(&mut self) {
        self.changed_at = self.agenda.micros();
        self.settle();
    }

    /// For how long a majority that nothing has happened to has not served.
    pub fn watch(&mut self) {
        let now = self.agenda.micros();
        if self.nodes.iter().any(|node| node.is_slow(now)) {
            self.changed_at = now;
        }
        self.settle();
        if self.settled.is_some() {
            self.served_at = now;
        } else if self.nodes.len() > 1 && self.calm_majority().is_some() {
            self.leaderless = self.leaderless.max(now - self.changed_at.max(self.served_at));
        }
    }

    /// So many nodes that they are a majority, which run, hear each other, and hear nobody else.
    pub fn calm_majority(&self) -> Option<Places> {
        let running = (0..self.nodes.len()).filter(|node| self.runs(*node)).collect();
        self.links.calm_part(running, self.enough())
    }

    /// Whether a node does something, and what it writes is soon on its disk.
    fn runs(&self, node: usize) -> bool {
        let is_slow = self.nodes[node].is_slow(self.agenda.micros());
        let is_hurt = self.hurts[node].excuses() || self.has_met_damage(node);
        self.nodes[node].is_up() && !self.nodes[node].is_suspended() && !is_slow && !is_hurt
    }

    /// What is wrong with a fleet that has come to rest.
    pub fn disagreements(&self) -> Vec<String> {
        if self.meta.is_some() {
            return self.misplaced();
        }
        let mut wrong = Vec::new();
        let idle: Vec<usize> = (0..self.nodes.len()).filter(|node| !self.nodes[*node].is_ready()).collect();
        if !idle.is_empty() {
            wrong.push(format!("at rest these nodes do not serve: {idle:?}"));
        }
        let slots: Vec<SlotId> = (0..self.setup.slots).map(SlotId).chain([SlotId::META]).collect();
        let first = rows(&self.nodes[0], &slots);
        for (place, node) in self.nodes.iter().enumerate().skip(1) {
            let other = rows(node, &slots);
            let differ: BTreeSet<_> =
                first.keys().chain(other.keys()).filter(|key| first.get(*key) != other.get(*key)).collect();
            if differ.is_empty() {
                continue;
            }
            let told: Vec<String> = differ
                .iter()
                .take(TOLD)
                .map(|(family, key)| {
                    let of = |rows: &Rows| rows.get(&(*family, key.clone())).map(|value| value.len());
                    let key = key.escape_ascii();
                    format!("{family} {key}: {:?} and {:?} bytes", of(&first), of(&other))
                })
                .collect();
            wrong.push(format!(
                "14 replicas: {} rows of the nodes 0 and {place} are not the same, among them {told:#?}",
                differ.len()
            ));
        }
        wrong
    }
}

/// All rows of a node that its replicas have in common with others.
pub fn rows(node: &Node, slots: &[SlotId]) -> Rows {
    let (mut rows, found) = (Rows::new(), node.rows().expect("it was started"));
    for family in REPLICATED {
        for slot in slots.iter().map(|slot| slot.0) {
            let end = slot.checked_add(1).map_or([u8::MAX; 4].to_vec(), |next| next.to_be_bytes().to_vec());
            found
                .scan(family, &slot.to_be_bytes(), &end, &mut |key, value| {
                    rows.insert((family.name(), key.to_vec()), value.to_vec());
                    ControlFlow::Continue(())
                })
                .expect("the model of a disk that is not damaged can be read");
        }
    }
    rows
}
