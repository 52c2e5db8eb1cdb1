//! Replicas of slots move between nodes while the fleet runs. Nothing of it is one transaction, and nothing is remembered that
//! a crash could lose:
//!
//! - who leads a slot walks its group towards the newest ring version, one change at a time ([`walking`]);
//! - a node makes a replica when the leader of its group first speaks to it ([`opening`]), and it catches up as any other does;
//! - the meta group says what the ring version is and which number comes next ([`meta`]), and that nodes which are away for long
//!   keep nothing any more ([`absent`]);
//! - a replica that hears no leader asks around, is told that it is no member any more ([`words`]), and ends with all of its
//!   rows ([`closing`]).
//!
//! A number is a voter's identity, and has one life. So a node that is spoken to under a number that it had before (it was
//! ended, or its disk was lost) says that it is gone, and its group has to take another one.

mod absent;
mod closing;
mod meta;
mod opening;
mod walking;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use convoy_ids::{NodeId, ReplicaId, SlotId};
use convoy_membership::Ring;

use super::Shard;
use crate::clock::Now;

pub use meta::CommandError;
pub(super) use opening::open_all;
pub(super) use words::is_word;
#[cfg(test)]
pub(super) use words::removed;

/// Milliseconds between two looks of a leader at its group, and between two questions of a replica that hears nobody.
const LOOK: u64 = 500;
const ASK: u64 = 1_000;

/// What a shard knows of replicas that move. All of it may be forgotten.
#[derive(Default)]
pub(super) struct Moving {
    /// The newest that was heard of.
    ring: Option<Arc<Ring>>,
    /// Replicas here that are no members any more, to be ended.
    ending: BTreeMap<SlotId, ReplicaId>,
    walks: BTreeMap<SlotId, walking::Walk>,
    known: meta::Known,
    absent: absent::Absent,
    /// The nodes of the fleet that could be heard when that was last looked at.
    heard: Vec<NodeId>,
    looks_at: u64,
    asks_at: u64,
    /// Replicas that were made, and ended, in this life of the node.
    pub opened: u64,
    pub closed: u64,
}

#[cfg(test)]
impl Moving {
    /// Whether no replica is to be ended.
    pub fn is_idle(&self) -> bool {
        self.ending.is_empty()
    }
}

impl Shard {
    /// A ring version is in force. Which of them is heard first does not matter.
    fn hear_ring(&mut self, ring: Arc<Ring>) {
        let is_of_fleet = ring.slots() == self.options.slots && self.options.moves.is_some();
        if is_of_fleet && self.moving.ring.as_ref().is_none_or(|known| known.version() < ring.version()) {
            tracing::info!(version = ring.version().0, "ring version in force");
            self.moving.ring = Some(ring);
            self.look_at_links_soon();
        }
    }

    /// The nodes of the fleet are these, this one among them. Replicas of others are not listened to any more.
    fn hear_fleet(&mut self, nodes: Vec<NodeId>) {
        if self.options.moves.is_some()
            && nodes.contains(&self.driver.node())
            && nodes != self.options.replicas
        {
            self.options.replicas = nodes;
            self.begin_reaching();
        }
    }

    /// The nodes of which a majority decides. Where replicas move they are those that keep some: whoever has just joined takes
    /// nobody's majority away before it is heard.
    pub(super) fn deciding_nodes(&self) -> Vec<NodeId> {
        let Some(ring) = &self.moving.ring else { return self.options.replicas.clone() };
        ring.members().iter().filter(|member| member.weight > 0).map(|member| member.node).collect()
    }

    /// What time brings about of replicas that move; at every tick.
    pub(super) fn move_replicas(&mut self, now: Now) {
        if self.options.moves.is_none() {
            return;
        }
        self.note_followers(now);
        if now.monotonic >= self.moving.looks_at {
            self.moving.looks_at = now.monotonic + LOOK;
            self.walk_all(now);
            self.shape(now);
        }
        if now.monotonic >= self.moving.asks_at {
            self.moving.asks_at = now.monotonic + ASK;
            self.ask_around();
            self.ask_for_news();
        }
        self.feel_quorums(now, true);
    }

    /// A leader that does not hear a quorum of its group serves nobody: what it would promise, others may have promised
    /// differently. Whom it hears of the rest of the fleet says nothing of that.
    pub(super) fn feel_quorums(&mut self, now: Now, anew: bool) {
        if self.options.moves.is_none() {
            return;
        }
        let heard: Vec<NodeId> =
            self.options.replicas.clone().into_iter().filter(|node| self.hears(*node)).collect();
        if !anew && heard == self.moving.heard {
            return;
        }
        self.moving.heard = heard;
        for at in 0..self.slots.table.len() {
            let slot = &self.slots.table[at];
            let (id, leads, is_elected) = (slot.id, slot.leading, slot.elected.is_some());
            let could = is_elected && slot.caught_up == slot.elected && self.is_in_touch();
            match self.hears_quorum(id) {
                true if could && !leads => self.lead(now, id),
                false if leads => self.lose(id),
                _ => {}
            }
        }
        self.end_moved();
    }

    /// Whether a node and this shard hear each other.
    fn hears(&mut self, node: NodeId) -> bool {
        if node == self.driver.node() {
            return true;
        }
        let dest = self.outlet.post.know(node, 0);
        self.outlet.post.is_open(dest)
    }

    /// Whether as many nodes as decide over a slot are heard.
    pub(super) fn hears_quorum(&self, slot: SlotId) -> bool {
        self.options.moves.is_none()
            || self
                .driver
                .is_quorum(slot, |node| node == self.driver.node() || self.moving.heard.contains(&node))
    }

    /// The nodes that are to keep a slot, the one that is to lead it first. The meta group is where the first slot is.
    pub(super) fn order_of(&self, slot: SlotId) -> Vec<NodeId> {
        let number = if slot.is_meta() { 0 } else { slot.0 };
        match &self.moving.ring {
            Some(ring) => ring.replicas(SlotId(number)).to_vec(),
            None => {
                let (nodes, first) = (&self.options.replicas, usize::from(number));
                (0..nodes.len()).map(|at| nodes[(first + at) % nodes.len()]).collect()
            }
        }
    }

    /// The newest ring version that was heard of.
    pub fn ring(&self) -> Option<&Ring> {
        self.moving.ring.as_deref()
    }

    fn exists(&self, slot: SlotId) -> bool {
        slot.is_meta() || slot.0 < self.options.slots
    }

    /// The slots that have a replica here, with its number, in their order.
    pub fn replicas(&self) -> BTreeMap<SlotId, ReplicaId> {
        let replica = |slot: &crate::slot::Slot| Some((slot.id, self.driver.replica(slot.id)?));
        self.slots.iter().filter_map(replica).collect()
    }

    /// The members of a slot's group as the leader here has them: their nodes, and whether no change of them is under way.
    pub fn members(&self, slot: SlotId) -> Option<(BTreeSet<NodeId>, bool)> {
        let members = self.driver.members(slot)?;
        let is_at_rest = !members.joint && members.learners.is_empty();
        Some((members.voters.iter().map(|voter| voter.node).collect(), is_at_rest))
    }
}
