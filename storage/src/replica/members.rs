//! The replicas of a group and how they change, as bytes: rows on disk and payloads of change entries.
//!
//! ```text
//! group  = five lists: voters, learners, outgoing voters, learners to be, [1] if the joint state ends by itself
//! change = one list of steps, each a node with its part (0 voter, 1 gone, 2 learner); none to leave the joint state
//! list   = count: u32 le   u64 le*
//! ```

use convoy_ids::{Index, NodeId, Term};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

/// The replicas of a group. In a joint state, `voters` are those it is on its way to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// Both the old and the new voters must agree for now; raft ends this by itself.
    pub joint: bool,
}

impl Members {
    pub(super) fn of(group: &ConfState) -> Self {
        let nodes = |list: &[u64]| {
            let mut nodes: Vec<_> = list.iter().copied().filter_map(NodeId::new).collect();
            nodes.sort_unstable();
            nodes
        };
        let joint = !group.get_voters_outgoing().is_empty();
        Self { voters: nodes(group.get_voters()), learners: nodes(group.get_learners()), joint }
    }
}

/// Where a copy of a slot's state stands in its log. It travels with the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub index: Index,
    pub term: Term,
    /// The replicas of the group at that point, opaque.
    pub group: Vec<u8>,
}

pub(super) fn encode_group(group: &ConfState) -> Vec<u8> {
    let mut bytes = Vec::new();
    let lists =
        [group.get_voters(), group.get_learners(), group.get_voters_outgoing(), group.get_learners_next()];
    for list in lists {
        put_list(&mut bytes, list);
    }
    put_list(&mut bytes, if group.get_auto_leave() { &[1] } else { &[] });
    bytes
}

pub(super) fn decode_group(mut bytes: &[u8]) -> Option<ConfState> {
    let mut group = ConfState::default();
    group.set_voters(take_list(&mut bytes)?);
    group.set_learners(take_list(&mut bytes)?);
    group.set_voters_outgoing(take_list(&mut bytes)?);
    group.set_learners_next(take_list(&mut bytes)?);
    group.set_auto_leave(!take_list(&mut bytes)?.is_empty());
    let all =
        [group.get_voters(), group.get_learners(), group.get_voters_outgoing(), group.get_learners_next()];
    let named = all.iter().all(|list| !list.contains(&0));
    (bytes.is_empty() && named && !group.get_voters().is_empty()).then_some(group)
}

/// The steps that lead from `from` to `voters` and `learners`; empty if there is nothing to do.
pub(super) fn steps(from: &ConfState, voters: &[NodeId], learners: &[NodeId]) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    let mut step = |node: u64, part: ConfChangeType| change.mut_changes().push(single(node, part));
    for node in voters.iter().map(|node| node.get()).filter(|node| !from.get_voters().contains(node)) {
        step(node, ConfChangeType::AddNode);
    }
    for node in learners.iter().map(|node| node.get()).filter(|node| !from.get_learners().contains(node)) {
        step(node, ConfChangeType::AddLearnerNode);
    }
    let stays = |node: &u64| voters.iter().chain(learners).any(|kept| kept.get() == *node);
    for node in from.get_voters().iter().chain(from.get_learners()).filter(|node| !stays(node)) {
        step(*node, ConfChangeType::RemoveNode);
    }
    change
}

pub(super) fn encode_change(change: &ConfChangeV2) -> Vec<u8> {
    let flat: Vec<u64> = change
        .get_changes()
        .iter()
        .flat_map(|step| [step.node_id, part_number(step.get_change_type())])
        .collect();
    let mut bytes = Vec::new();
    put_list(&mut bytes, &flat);
    bytes
}

/// No bytes at all are raft's own way to leave the joint state.
pub(super) fn decode_change(mut bytes: &[u8]) -> Option<ConfChangeV2> {
    let mut change = ConfChangeV2::default();
    if bytes.is_empty() {
        return Some(change);
    }
    let flat = take_list(&mut bytes)?;
    if !bytes.is_empty() || flat.len() % 2 != 0 {
        return None;
    }
    for step in flat.chunks_exact(2) {
        change.mut_changes().push(single(step[0], part_of(step[1])?));
    }
    Some(change)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().map(|number| NodeId::new(*number).unwrap()).collect()
    }

    #[test]
    fn a_group_is_read_as_it_was_written() {
        let mut group = ConfState::from((vec![1, 2, 3], vec![4]));
        group.set_voters_outgoing(vec![1, 2, 9]);
        group.set_auto_leave(true);
        assert_eq!(decode_group(&encode_group(&group)), Some(group));
    }

    #[test]
    fn torn_bytes_and_groups_without_a_voter_are_refused() {
        let bytes = encode_group(&ConfState::from((vec![1, 2], vec![])));
        for cut in 0..bytes.len() {
            assert_eq!(decode_group(&bytes[..cut]), None);
        }
        assert_eq!(decode_group(&encode_group(&ConfState::default())), None);
        assert_eq!(decode_group(&[0xff; 40]), None);
    }

    #[test]
    fn the_steps_to_another_group_are_read_as_they_were_written() {
        let from = ConfState::from((vec![1, 2, 3], vec![4]));
        let change = steps(&from, &nodes(&[1, 2, 4]), &nodes(&[5]));
        let found: Vec<_> = change.get_changes().iter().map(|s| (s.node_id, s.get_change_type())).collect();
        assert_eq!(
            found,
            [
                (4, ConfChangeType::AddNode),
                (5, ConfChangeType::AddLearnerNode),
                (3, ConfChangeType::RemoveNode)
            ]
        );
        assert_eq!(decode_change(&encode_change(&change)), Some(change));
        assert_eq!(decode_change(b""), Some(ConfChangeV2::default()));
        assert_eq!(decode_change(&[1, 0, 0, 0]), None);
    }
}
