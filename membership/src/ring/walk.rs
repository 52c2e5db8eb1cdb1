//! How a group gets from the replicas that it has to those that it is to have: one safe change of its members at a time.
//!
//! What comes next follows from where the group stands now and from nothing remembered, so whoever leads it goes on with what
//! another leader has begun. A replica that comes is a learner first: it gets a copy and has no vote until it has caught
//! up, and takes the place of one that goes within one joint change. It is paired with one of its own zone where there is
//! one, so that no step has fewer zones than where the group came from and where it goes to. One that goes is removed only
//! if those that stay are a quorum without it.

use std::collections::BTreeMap;

use convoy_ids::{NodeId, ReplicaId, Zone};

#[cfg(test)]
mod tests;

/// A node's copy of a slot. Its number is its identity as a voter: handed out by the meta group and never again, so that a
/// replica that lost its log, or was removed and comes again, is another one and votes for itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    pub node: NodeId,
    pub number: ReplicaId,
}

/// The members of a slot's group, as its leader has applied them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub voters: Vec<Replica>,
    pub learners: Vec<Replica>,
    /// A change is under way: nothing else may begin.
    pub is_joint: bool,
}

/// How a replica does, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers and has what is committed, but for what is on its way.
    CaughtUp,
    /// It answers and is behind.
    Behind,
    /// It does not answer.
    Silent,
    /// Its log is gone. It must not vote again; its node needs another replica.
    Lost,
}

/// What is known of a group and its surroundings.
pub struct Sight<'a> {
    pub group: &'a Group,
    pub leader: Replica,
    /// The nodes that are to keep the slot, by the newest ring version.
    pub target: &'a [NodeId],
    pub zone_of: &'a dyn Fn(NodeId) -> Option<&'a Zone>,
    pub health: &'a dyn Fn(Replica) -> Health,
    /// Whether a node is worth sending a copy to.
    pub is_up: &'a dyn Fn(NodeId) -> bool,
}

/// The next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The group is where it is to be.
    Done,
    /// Something is under way, or nothing is safe now.
    Wait,
    /// A learner on this node, under a new number.
    AddLearner(NodeId),
    /// The learner votes from now on, and the other goes with the same change.
    Promote { learner: Replica, instead_of: Option<Replica> },
    /// Another replica leads from now on: the one that leads is to go.
    HandOver(Replica),
    /// It is no member any more.
    Remove(Replica),
}

/// What is to be done next with one group.
pub fn next_step(sight: &Sight<'_>) -> Step {
    let Sight { group, target, health, is_up, .. } = sight;
    if group.is_joint {
        return Step::Wait;
    }
    let votes = |node: NodeId| group.voters.iter().any(|voter| voter.node == node && sight.stays(*voter));
    if let Some(learner) =
        group.learners.iter().find(|learner| !sight.stays(**learner) || votes(learner.node))
    {
        return Step::Remove(*learner);
    }
    if let Some(ready) = group.learners.iter().find(|learner| health(**learner) == Health::CaughtUp) {
        return sight.promote(*ready);
    }
    if group.learners.iter().any(|learner| health(*learner) == Health::Behind) {
        return Step::Wait;
    }
    let learns = |node: NodeId| group.learners.iter().any(|learner| learner.node == node);
    let gains = || target.iter().copied().filter(|node| !votes(*node));
    if let Some(node) = gains().find(|node| is_up(*node) && !learns(*node)) {
        return Step::AddLearner(node);
    }
    // What goes without another in its place goes when nobody is missing any more.
    match gains().next() {
        Some(_) => Step::Wait,
        None => sight.shrink(),
    }
}

impl Sight<'_> {
    fn stays(&self, replica: Replica) -> bool {
        self.target.contains(&replica.node) && (self.health)(replica) != Health::Lost
    }

    fn promote(&self, learner: Replica) -> Step {
        let voters = &self.group.voters;
        let leaving = match voters.len() >= self.target.len() {
            true => self.leaving((self.zone_of)(learner.node)),
            false => None,
        };
        match leaving {
            // The learner is to be there first if nobody else could lead.
            Some(leaving) if leaving == self.leader => match self.successor(leaving) {
                Some(successor) => Step::HandOver(successor),
                None => Step::Promote { learner, instead_of: None },
            },
            leaving => Step::Promote { learner, instead_of: leaving },
        }
    }

    fn shrink(&self) -> Step {
        let Some(leaving) = self.leaving(None) else { return Step::Done };
        let remain = || self.group.voters.iter().filter(|voter| **voter != leaving);
        let well = remain().filter(|voter| (self.health)(**voter) == Health::CaughtUp).count();
        if well * 2 <= remain().count() {
            return Step::Wait;
        }
        match leaving == self.leader {
            true => self.successor(leaving).map_or(Step::Wait, Step::HandOver),
            false => Step::Remove(leaving),
        }
    }

    /// The voter that goes first: one of that zone; else one that is of no use; else one of the zone that has the most.
    fn leaving(&self, zone: Option<&Zone>) -> Option<Replica> {
        let zone_of = |voter: &Replica| (self.zone_of)(voter.node);
        let in_zone =
            |zone: Option<&Zone>| self.group.voters.iter().filter(|voter| zone_of(voter) == zone).count();
        let leaving = self.group.voters.iter().copied().filter(|voter| !self.stays(*voter));
        leaving.max_by_key(|voter| {
            let is_of_zone = zone.is_some() && zone_of(voter) == zone;
            let is_of_no_use = matches!((self.health)(*voter), Health::Silent | Health::Lost);
            (is_of_zone, is_of_no_use, in_zone(zone_of(voter)), *voter != self.leader, voter.number)
        })
    }

    fn successor(&self, leaving: Replica) -> Option<Replica> {
        let able = self.group.voters.iter().copied();
        let able = able.filter(|voter| *voter != leaving && (self.health)(*voter) == Health::CaughtUp);
        // By the ring's order: the preferred leader stands first.
        let place = |voter: &Replica| self.target.iter().position(|node| *node == voter.node);
        able.filter(|voter| self.stays(*voter)).min_by_key(place)
    }
}

/// Copies of slots that are under way, so that no node sends or receives more than so many at once.
#[derive(Debug)]
pub struct Copies {
    most: usize,
    under_way: BTreeMap<NodeId, usize>,
}

impl Copies {
    /// `most` for each node, one at least; `under_way` are those that go from one node to another already.
    pub fn new(most: usize, under_way: impl IntoIterator<Item = (NodeId, NodeId)>) -> Self {
        let mut copies = Self { most: most.max(1), under_way: BTreeMap::new() };
        under_way.into_iter().for_each(|(from, to)| copies.count(from, to));
        copies
    }

    /// The step, or [`Step::Wait`] if it would begin a copy that has no room.
    pub fn admit(&mut self, leader: NodeId, step: Step) -> Step {
        let Step::AddLearner(to) = step else { return step };
        let has_room = |node: NodeId| self.under_way.get(&node).is_none_or(|copies| *copies < self.most);
        if !has_room(leader) || !has_room(to) {
            return Step::Wait;
        }
        self.count(leader, to);
        step
    }

    fn count(&mut self, from: NodeId, to: NodeId) {
        *self.under_way.entry(from).or_default() += 1;
        *self.under_way.entry(to).or_default() += 1;
    }
}
