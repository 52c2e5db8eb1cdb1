//! Who leads a slot walks its group towards the newest ring version. What comes next follows from the group as it is
//! ([`walk::next_step`]), and one change is made at a time; so the next leader goes on, wherever this one was.

use std::collections::{BTreeMap, BTreeSet};

use convoy_ids::{NodeId, ReplicaId, SlotId};
use convoy_membership::ring::walk::{self, Copies, Group, Health, Sight, Step};
use convoy_storage::replica::{Members, Replica};

use super::super::Shard;
use crate::clock::Now;
use crate::metric;

/// Milliseconds after which a member that was not heard is silent. What Raft calls active is forgotten at each election timeout.
const SILENT: u64 = 1_500;

/// Milliseconds from one change of a group to the next: those who stay have the end of the last one on disk by then.
const PAUSE: u64 = 1_000;

/// Milliseconds after which a number is asked for again.
const NUMBER_AGAIN: u64 = 3_000;

/// New replicas that catch up at once, of all slots that a shard leads.
const COPIES: usize = 2;

/// What the leader of a slot knows of its group.
#[derive(Default)]
pub(super) struct Walk {
    /// When each member was last heard.
    heard: BTreeMap<ReplicaId, u64>,
    /// Members whose nodes say that they are gone.
    lost: BTreeSet<ReplicaId>,
    number: Option<Number>,
    rests_until: u64,
}

/// The number of the next replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    node: NodeId,
    asked_at: u64,
    given: Option<ReplicaId>,
}

impl Walk {
    fn health(&self, now: u64, replica: ReplicaId, is_current: bool) -> Health {
        let is_heard = self.heard.get(&replica).is_some_and(|at| now.saturating_sub(*at) <= SILENT);
        match (self.lost.contains(&replica), is_heard, is_current) {
            (true, ..) => Health::Lost,
            (false, false, _) => Health::Silent,
            (false, true, false) => Health::Behind,
            (false, true, true) => Health::CaughtUp,
        }
    }
}

impl Shard {
    /// Notes which members are heard.
    pub(super) fn note_followers(&mut self, now: Now) {
        let Self { slots, driver, moving, .. } = self;
        for slot in slots.iter() {
            if !slot.leading {
                moving.walks.remove(&slot.id);
                continue;
            }
            let walk = moving.walks.entry(slot.id).or_default();
            let followers = driver.followers(slot.id);
            for follower in followers.iter().filter(|follower| follower.is_heard) {
                walk.heard.insert(follower.replica.id, now.monotonic);
            }
            let is_there = |id: &ReplicaId| followers.iter().any(|follower| follower.replica.id == *id);
            walk.heard.retain(|id, _| is_there(id));
            walk.lost.retain(is_there);
        }
    }

    /// A node says that it does not have a replica any more.
    pub(super) fn note_gone(&mut self, from: NodeId, slot: SlotId, replica: ReplicaId) {
        let followers = self.driver.followers(slot);
        if let Some(walk) = self.moving.walks.get_mut(&slot)
            && followers.iter().any(|follower| follower.replica == Replica { id: replica, node: from })
            && walk.lost.insert(replica)
        {
            tracing::warn!(%slot, node = %from, %replica, "replica lost: another one is to take its place");
        }
    }

    /// The meta group has given a number.
    pub(super) fn hear_number(&mut self, slot: SlotId, node: NodeId, number: ReplicaId) {
        let walk = self.moving.walks.get_mut(&slot);
        if let Some(asked) = walk.and_then(|walk| walk.number.as_mut()).filter(|asked| asked.node == node) {
            asked.given = Some(number);
        }
    }

    /// Takes the next step of every slot that is led here.
    pub(super) fn walk_all(&mut self, now: Now) {
        if self.failure.is_some() || self.stalled || self.moving.ring.is_none() {
            return;
        }
        let led: Vec<SlotId> =
            self.slots.iter().filter(|slot| slot.is_serving()).map(|slot| slot.id).collect();
        let me = self.driver.node();
        let learners = |slot: &SlotId| self.driver.members(*slot).map(|members| members.learners);
        let under_way: Vec<NodeId> =
            led.iter().filter_map(learners).flatten().map(|learner| learner.node).collect();
        // One on a node that is down takes nothing.
        let under_way: Vec<_> =
            under_way.into_iter().filter(|node| self.hears(*node)).map(|node| (me, node)).collect();
        let mut copies = Copies::new(COPIES, under_way);
        for slot in led {
            if self.moving.walks.get(&slot).is_none_or(|walk| now.monotonic < walk.rests_until)
                || !self.driver.is_regroupable(slot)
            {
                continue;
            }
            let step = self.next_step(now, slot);
            self.take_step(now, slot, copies.admit(me, step));
        }
    }

    /// What keeps a slot that is led here from being where it is to be, in words.
    pub fn explain_walk(&mut self, now: Now, slot: SlotId) -> String {
        let step = self.next_step(now, slot);
        let up: Vec<NodeId> =
            self.options.replicas.clone().into_iter().filter(|node| self.hears(*node)).collect();
        let version = self.moving.ring.as_ref().map(|ring| ring.version().0);
        let number = self.moving.walks.get(&slot).map(|walk| walk.number);
        let (followers, is_free) = (self.driver.followers(slot), self.driver.is_regroupable(slot));
        format!(
            "next {step:?}, ring version {version:?}, target {:?}, nodes heard {up:?}, number {number:?}, may change \
             {is_free}, followers {followers:?}",
            self.order_of(slot)
        )
    }

    fn next_step(&mut self, now: Now, slot: SlotId) -> Step {
        let (target, ring) = (self.order_of(slot), self.moving.ring.clone());
        let up: Vec<NodeId> = target.iter().copied().filter(|node| self.hears(*node)).collect();
        let (Some(members), Some(me)) = (self.driver.members(slot), self.driver.replica(slot)) else {
            return Step::Wait;
        };
        let (Some(walk), Some(ring)) = (self.moving.walks.get(&slot), ring) else { return Step::Wait };
        let followers = self.driver.followers(slot);
        let health = |replica: walk::Replica| match replica.number == me {
            true => Health::CaughtUp,
            false => {
                let is_it =
                    |follower: &&convoy_storage::replica::Follower| follower.replica.id == replica.number;
                let is_current = followers.iter().find(is_it).is_some_and(|follower| follower.is_current);
                walk.health(now.monotonic, replica.number, is_current)
            }
        };
        let group = Group {
            voters: members.voters.iter().map(seen).collect(),
            learners: members.learners.iter().map(seen).collect(),
            is_joint: members.joint,
        };
        walk::next_step(&Sight {
            group: &group,
            leader: walk::Replica { node: self.driver.node(), number: me },
            target: &target,
            zone_of: &|node| ring.member(node).map(|member| &member.zone),
            health: &health,
            is_up: &|node| up.contains(&node),
        })
    }

    fn take_step(&mut self, now: Now, slot: SlotId, step: Step) {
        let Some(members) = self.driver.members(slot) else { return };
        let Members { mut voters, mut learners, .. } = members;
        let drop = |from: &mut Vec<Replica>, gone: walk::Replica| from.retain(|kept| kept.id != gone.number);
        match step {
            Step::Done | Step::Wait => return,
            Step::AddLearner(node) => {
                let Some(id) = self.number_for(now, slot, node) else { return };
                learners.push(Replica { id, node });
            }
            Step::Promote { learner, instead_of } => {
                drop(&mut learners, learner);
                instead_of.into_iter().for_each(|gone| drop(&mut voters, gone));
                voters.push(Replica { id: learner.number, node: learner.node });
            }
            Step::HandOver(heir) => {
                tracing::info!(%slot, to = %heir.node, "slot handed over: its leader is to go");
                self.rest(now, slot);
                return self.driver.transfer(slot, heir.node);
            }
            Step::Remove(gone) => {
                drop(&mut voters, gone);
                drop(&mut learners, gone);
            }
        }
        self.rest(now, slot);
        match self.driver.reconfigure(slot, &voters, &learners) {
            Ok(Some(_)) => {
                metrics::counter!(metric::GROUPS_CHANGED).increment(1);
                tracing::info!(%slot, ?step, "group of the slot changes");
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%slot, ?step, %error, "group of the slot does not change yet"),
        }
    }

    fn rest(&mut self, now: Now, slot: SlotId) {
        if let Some(walk) = self.moving.walks.get_mut(&slot) {
            (walk.rests_until, walk.number) = (now.monotonic + PAUSE, None);
        }
    }

    /// The number of the replica that is to come, if it is there; else it is asked for.
    fn number_for(&mut self, now: Now, slot: SlotId, node: NodeId) -> Option<ReplicaId> {
        let walk = self.moving.walks.get_mut(&slot)?;
        let asked = walk.number.filter(|asked| {
            let is_late = now.monotonic.saturating_sub(asked.asked_at) >= NUMBER_AGAIN;
            asked.node == node && (asked.given.is_some() || !is_late)
        });
        if asked.is_none() {
            walk.number = Some(Number { node, asked_at: now.monotonic, given: None });
            self.want_number(slot, node);
        }
        asked.and_then(|asked| asked.given)
    }
}

fn seen(replica: &Replica) -> walk::Replica {
    walk::Replica { node: replica.node, number: replica.id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_silent_when_it_was_not_heard_for_a_while_and_lost_when_its_node_says_so() {
        let id = |number| ReplicaId::new(number).expect("it is not zero");
        let mut walk = Walk { heard: [(id(1), 1_000)].into(), ..Walk::default() };
        assert_eq!(walk.health(1_000 + SILENT, id(1), true), Health::CaughtUp);
        assert_eq!(walk.health(1_000 + SILENT, id(1), false), Health::Behind);
        assert_eq!(walk.health(1_001 + SILENT, id(1), true), Health::Silent);
        assert_eq!(walk.health(1_000, id(2), true), Health::Silent);
        walk.lost.insert(id(1));
        assert_eq!(walk.health(1_000, id(1), true), Health::Lost);
    }
}
