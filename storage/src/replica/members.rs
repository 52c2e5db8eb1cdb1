//! The replicas of a group, where they are and how they change, as bytes: rows on disk and payloads of change entries.
//!
//! ```text
//! group    = five lists: voters, learners, outgoing voters, learners to be, [1] if the joint state ends by itself
//! change   = one list of steps, each a replica with its part (0 voter, 1 gone, 2 learner); none to leave the joint state
//! numbered = 0: u32   2: u8   places: a list of replicas, each with its node   then a group or a change
//! list     = count: u32 le   u64 le*
//! ```
//!
//! Where every replica has the number of its node, as all had once, a group and a change are written without places, and
//! earlier versions read them. A group has a voter and a change that comes from here a step, so neither begins with a zero.

use std::collections::BTreeMap;

use convoy_ids::{Index, NodeId, ReplicaId, Term};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

const NUMBERED: [u8; 5] = [0, 0, 0, 0, 2];

/// Who has a copy of a slot, and where. It never moves to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    pub id: ReplicaId,
    pub node: NodeId,
}

impl Replica {
    /// The first replica on a node of a slot that is made there: it has the node's number.
    pub const fn first(node: NodeId) -> Self {
        Self { id: ReplicaId(node.0), node }
    }

    /// Whether it came to its node after another one. Numbers that are given out ascend, and the first replica had none.
    pub fn is_after(&self, other: ReplicaId) -> bool {
        let first = Self::first(self.node).id;
        self.id != other && self.id != first && (other == first || self.id > other)
    }
}

/// The replicas of a group. In a joint state, `voters` are those it is on its way to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: Vec<Replica>,
    pub learners: Vec<Replica>,
    /// Both the old and the new voters must agree for now; raft ends this by itself.
    pub joint: bool,
}

/// The nodes of replicas, by their numbers.
pub(super) type Places = BTreeMap<u64, NodeId>;

/// A group as raft knows it, and where its replicas are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Roster {
    pub group: ConfState,
    /// Of all that are in the group, and of no others.
    places: Places,
}

impl Roster {
    /// `None` if a replica has no place.
    pub(super) fn new(group: ConfState, known: &Places) -> Option<Self> {
        let place = |id: &u64| Some((*id, *known.get(id)?));
        let places = lists(&group).into_iter().flatten().map(place).collect::<Option<_>>()?;
        Some(Self { group, places })
    }

    pub(super) fn node_of(&self, id: u64) -> Option<NodeId> {
        self.places.get(&id).copied()
    }

    /// The replicas that are on this node: another life of one may not be gone yet.
    pub(super) fn on(&self, node: NodeId) -> impl Iterator<Item = u64> {
        self.places.iter().filter(move |(_, place)| **place == node).map(|(id, _)| *id)
    }

    /// The voter on this node, the newest if there are two.
    pub(super) fn voter_on(&self, node: NodeId) -> Option<u64> {
        self.on(node).filter(|id| self.group.get_voters().contains(id)).last()
    }

    /// Whether these nodes are a quorum, in a joint state of either group.
    pub(super) fn is_quorum(&self, with: impl Fn(NodeId) -> bool) -> bool {
        let is_majority = |voters: &[u64]| {
            let with = voters.iter().filter(|id| self.node_of(**id).is_some_and(&with)).count();
            voters.is_empty() || with * 2 > voters.len()
        };
        is_majority(self.group.get_voters()) && is_majority(self.group.get_voters_outgoing())
    }

    /// Where these are and those that the change brings: a replica that is known stays where it is.
    pub(super) fn places_with(&self, change: &Change) -> Places {
        change.places.iter().chain(&self.places).map(|(id, node)| (*id, *node)).collect()
    }

    pub(super) fn members(&self) -> Members {
        let replicas = |list: &[u64]| {
            let replica = |id: &u64| Some(Replica { id: ReplicaId::new(*id)?, node: self.node_of(*id)? });
            let mut replicas: Vec<_> = list.iter().filter_map(replica).collect();
            replicas.sort_unstable();
            replicas
        };
        let group = &self.group;
        Members {
            voters: replicas(group.get_voters()),
            learners: replicas(group.get_learners()),
            joint: !group.get_voters_outgoing().is_empty(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_places(&mut bytes, &self.places);
        lists(&self.group).into_iter().for_each(|list| put_list(&mut bytes, list));
        put_list(&mut bytes, if self.group.get_auto_leave() { &[1] } else { &[] });
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let places = take_places(&mut bytes)?;
        let mut group = ConfState::default();
        group.set_voters(take_list(&mut bytes)?);
        group.set_learners(take_list(&mut bytes)?);
        group.set_voters_outgoing(take_list(&mut bytes)?);
        group.set_learners_next(take_list(&mut bytes)?);
        group.set_auto_leave(!take_list(&mut bytes)?.is_empty());
        let is_one = bytes.is_empty() && !group.get_voters().is_empty();
        let places = match places {
            Some(places) => places,
            None => own_places(lists(&group).into_iter().flatten())?,
        };
        is_one.then_some(())?;
        Self::new(group, &places)
    }
}

fn lists(group: &ConfState) -> [&[u64]; 4] {
    [group.get_voters(), group.get_learners(), group.get_voters_outgoing(), group.get_learners_next()]
}

/// Of replicas that have the numbers of their nodes. `None` if one is zero.
fn own_places<'a>(ids: impl Iterator<Item = &'a u64>) -> Option<Places> {
    ids.map(|id| Some((*id, NodeId::new(*id)?))).collect()
}

/// Where a copy of a slot's state stands in its log. It travels with the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub index: Index,
    pub term: Term,
    /// The replicas of the group at that point, opaque.
    pub group: Vec<u8>,
}

/// The way from one group to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    pub steps: ConfChangeV2,
    /// Of those that come.
    places: Places,
}

impl Change {
    /// What leads from `from` to `voters` and `learners`; no steps if there is nothing to do.
    pub(super) fn between(from: &ConfState, voters: &[Replica], learners: &[Replica]) -> Self {
        let mut change = Self::default();
        let is_there = |list: &[u64], replica: &Replica| list.contains(&replica.id.get());
        for replica in voters.iter().filter(|replica| !is_there(from.get_voters(), replica)) {
            change.add(*replica, ConfChangeType::AddNode);
        }
        for replica in learners.iter().filter(|replica| !is_there(from.get_learners(), replica)) {
            change.add(*replica, ConfChangeType::AddLearnerNode);
        }
        let stays = |id: &u64| voters.iter().chain(learners).any(|kept| kept.id.get() == *id);
        for id in from.get_voters().iter().chain(from.get_learners()).filter(|id| !stays(id)) {
            change.steps.mut_changes().push(single(*id, ConfChangeType::RemoveNode));
        }
        change
    }

    fn add(&mut self, replica: Replica, part: ConfChangeType) {
        self.steps.mut_changes().push(single(replica.id.get(), part));
        self.places.insert(replica.id.get(), replica.node);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let steps = self.steps.get_changes().iter();
        let flat: Vec<u64> =
            steps.flat_map(|step| [step.node_id, part_number(step.get_change_type())]).collect();
        let mut bytes = Vec::new();
        put_places(&mut bytes, &self.places);
        put_list(&mut bytes, &flat);
        bytes
    }

    /// No bytes at all are raft's own way to leave the joint state.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let places = take_places(&mut bytes)?;
        let flat = take_list(&mut bytes)?;
        if !bytes.is_empty() || flat.len() % 2 != 0 {
            return None;
        }
        let mut steps = ConfChangeV2::default();
        for step in flat.chunks_exact(2) {
            steps.mut_changes().push(single(step[0], part_of(step[1])?));
        }
        let comes = |step: &&ConfChangeSingle| step.get_change_type() != ConfChangeType::RemoveNode;
        let comers = || steps.get_changes().iter().filter(comes).map(|step| &step.node_id);
        let places = match places {
            Some(places) => comers().all(|id| places.contains_key(id)).then_some(places)?,
            None => own_places(comers())?,
        };
        Some(Self { steps, places })
    }
}

fn single(node_id: u64, part: ConfChangeType) -> ConfChangeSingle {
    let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
    single.set_change_type(part);
    single
}

fn part_number(part: ConfChangeType) -> u64 {
    match part {
        ConfChangeType::AddNode => 0,
        ConfChangeType::RemoveNode => 1,
        ConfChangeType::AddLearnerNode => 2,
    }
}

fn part_of(number: u64) -> Option<ConfChangeType> {
    match number {
        0 => Some(ConfChangeType::AddNode),
        1 => Some(ConfChangeType::RemoveNode),
        2 => Some(ConfChangeType::AddLearnerNode),
        _ => None,
    }
}

pub(super) fn put_list(bytes: &mut Vec<u8>, list: &[u64]) {
    let count = u32::try_from(list.len()).expect("a group has fewer than 2^32 replicas");
    bytes.extend_from_slice(&count.to_le_bytes());
    for number in list {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn take_list(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
    let (list, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(
        list.chunks_exact(8)
            .map(|n| u64::from_le_bytes(n.try_into().expect("chunks are of eight bytes")))
            .collect(),
    )
}

/// Puts nothing where the numbers say the nodes.
fn put_places(bytes: &mut Vec<u8>, places: &Places) {
    if places.iter().all(|(id, node)| *id == node.get()) {
        return;
    }
    bytes.extend_from_slice(&NUMBERED);
    put_list(bytes, &places.iter().flat_map(|(id, node)| [*id, node.get()]).collect::<Vec<_>>());
}

/// `None` within, and nothing taken, if there are none.
fn take_places(bytes: &mut &[u8]) -> Option<Option<Places>> {
    let Some(rest) = bytes.strip_prefix(&NUMBERED) else { return Some(None) };
    *bytes = rest;
    let flat = take_list(bytes)?;
    let mut places = Places::new();
    for pair in flat.chunks(2) {
        let &[id, node] = pair else { return None };
        places.insert(ReplicaId::new(id)?.get(), NodeId::new(node)?);
    }
    (places.len() * 2 == flat.len()).then_some(Some(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(id: u64, node: u64) -> Replica {
        Replica { id: ReplicaId::new(id).unwrap(), node: NodeId::new(node).unwrap() }
    }

    fn roster(group: ConfState, replicas: &[(u64, u64)]) -> Roster {
        let places = replicas.iter().map(|(id, node)| (*id, NodeId::new(*node).unwrap())).collect();
        Roster::new(group, &places).unwrap()
    }

    /// Two lives of a node's replica are in the group, one on its way out.
    fn numbered() -> Roster {
        let mut group = ConfState::from((vec![1, 2, 30], vec![4]));
        group.set_voters_outgoing(vec![1, 2, 3]);
        group.set_auto_leave(true);
        roster(group, &[(1, 1), (2, 2), (3, 3), (30, 3), (4, 4)])
    }

    fn numbers(list: &[u64]) -> Vec<u8> {
        let count = (list.len() as u32).to_le_bytes();
        count.into_iter().chain(list.iter().flat_map(|number| number.to_le_bytes())).collect()
    }

    #[test]
    fn a_number_that_was_given_out_is_after_the_first_one_and_those_before_it() {
        let [first, old, new] = [9, 30, 31].map(|id| replica(id, 9));
        assert!(old.is_after(first.id) && new.is_after(old.id) && new.is_after(first.id));
        assert!(!first.is_after(old.id) && !old.is_after(new.id) && !old.is_after(old.id));
        let greatest = replica(99, 99);
        assert!(replica(30, 99).is_after(greatest.id) && !greatest.is_after(replica(30, 99).id));
    }

    #[test]
    fn a_quorum_of_a_joint_state_is_one_of_both_groups() {
        let quorum = |nodes: &[u64]| numbered().is_quorum(|node| nodes.contains(&node.get()));
        assert!(quorum(&[1, 2]) && quorum(&[1, 3]) && !quorum(&[2]) && !quorum(&[1, 4]));
    }

    #[test]
    fn a_group_is_read_as_it_was_written() {
        let first = roster(ConfState::from((vec![1, 2], vec![7])), &[(1, 1), (2, 2), (7, 7)]);
        for roster in [first, numbered()] {
            assert_eq!(Roster::decode(&roster.encode()), Some(roster));
        }
    }

    /// What earlier versions have written must stay readable for ever, and they read what needs no places.
    #[test]
    fn the_form_without_places_is_frozen() {
        let bytes =
            [numbers(&[1, 2, 3]), numbers(&[4]), numbers(&[1, 2, 9]), numbers(&[]), numbers(&[1])].concat();
        let roster = Roster::decode(&bytes).unwrap();
        assert_eq!((roster.node_of(9), roster.node_of(5)), (NodeId::new(9), None));
        assert_eq!(roster.members().voters, [1, 2, 3].map(|number| replica(number, number)));
        assert_eq!(roster.encode(), bytes);

        let bytes = numbers(&[4, 0, 5, 2, 3, 1]);
        let change = Change::decode(&bytes).unwrap();
        assert_eq!(change.places, own_places([4, 5].iter()).unwrap());
        assert_eq!(change.encode(), bytes);
    }

    #[test]
    fn the_form_with_places_is_frozen() {
        let places = numbers(&[1, 1, 2, 2, 3, 3, 4, 4, 30, 3]);
        let lists = [numbers(&[1, 2, 30]), numbers(&[4]), numbers(&[1, 2, 3]), numbers(&[]), numbers(&[1])];
        assert_eq!(numbered().encode(), [&NUMBERED[..], &places, &lists.concat()].concat());

        let change = Change::between(&numbered().group, &[replica(1, 1), replica(2, 2)], &[replica(50, 5)]);
        let steps = numbers(&[50, 2, 30, 1, 4, 1]);
        assert_eq!(change.encode(), [&NUMBERED[..], &numbers(&[50, 5]), &steps].concat());
    }

    #[test]
    fn torn_bytes_and_groups_without_a_voter_are_refused() {
        for bytes in [roster(ConfState::from((vec![1, 2], vec![])), &[(1, 1), (2, 2)]), numbered()] {
            let bytes = bytes.encode();
            assert!((0..bytes.len()).all(|cut| Roster::decode(&bytes[..cut]).is_none()));
        }
        let empty = ConfState::default();
        assert_eq!(Roster::decode(&roster(empty, &[]).encode()), None);
        assert_eq!(Roster::decode(&[0xff; 40]), None);
        let change = Change::between(&ConfState::default(), &[replica(10, 1)], &[]).encode();
        // Its first four bytes are those of a change without a step.
        assert!((5..change.len()).all(|cut| Change::decode(&change[..cut]).is_none()));
    }

    #[test]
    fn a_replica_without_a_place_is_refused() {
        let lists = [numbers(&[1, 20]), numbers(&[]), numbers(&[]), numbers(&[]), numbers(&[])].concat();
        let bytes = |places: &[u64]| [&NUMBERED[..], &numbers(places), &lists].concat();
        assert!(Roster::decode(&bytes(&[1, 1, 20, 2])).is_some());
        for places in [&[1, 1][..], &[1, 1, 20, 0], &[1, 1, 20], &[1, 1, 20, 2, 20, 3], &[0, 1, 1, 1, 20, 2]]
        {
            assert_eq!(Roster::decode(&bytes(places)), None, "{places:?}");
        }
        let change = [&NUMBERED[..], &numbers(&[1, 1]), &numbers(&[20, 0])].concat();
        assert_eq!(Change::decode(&change), None);
        assert_eq!(Change::decode(&numbers(&[0, 0])), None);
    }

    #[test]
    fn the_steps_to_another_group_are_read_as_they_were_written() {
        let from = ConfState::from((vec![1, 2, 3], vec![40]));
        let voters = [replica(1, 1), replica(2, 2), replica(40, 3)];
        let change = Change::between(&from, &voters, &[replica(50, 1)]);
        let found: Vec<_> =
            change.steps.get_changes().iter().map(|s| (s.node_id, s.get_change_type())).collect();
        assert_eq!(
            found,
            [
                (40, ConfChangeType::AddNode),
                (50, ConfChangeType::AddLearnerNode),
                (3, ConfChangeType::RemoveNode)
            ]
        );
        assert_eq!(Change::decode(&change.encode()), Some(change));
        assert_eq!(Change::decode(b""), Some(Change::default()));
        assert_eq!(Change::decode(&[1, 0, 0, 0]), None);
    }

    #[test]
    fn a_replica_that_is_known_stays_where_it_is() {
        let change = Change::between(&ConfState::default(), &[replica(30, 8), replica(60, 6)], &[]);
        let places = numbered().places_with(&change);
        assert_eq!((places[&30], places[&60]), (replica(30, 3).node, replica(60, 6).node));
    }

    #[test]
    fn two_lives_on_one_node_are_told_apart() {
        let (roster, node) = (numbered(), NodeId::new(3).unwrap());
        assert_eq!(roster.on(node).collect::<Vec<_>>(), [3, 30]);
        assert_eq!((roster.voter_on(node), roster.voter_on(NodeId::new(4).unwrap())), (Some(30), None));
    }
}
