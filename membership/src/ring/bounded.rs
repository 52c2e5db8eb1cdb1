//! Nodes for slots, none of which gets much more than its share (Mirrokni, Thorup, Zadimoghaddam: *Consistent Hashing
//! with Bounded Loads*, 2016).
//!
//! A slot wants the nodes that come first clockwise from it, and a node wants the slots that it is nearest to. Whoever is
//! nearest to each other is matched first, while the node has room. Since both sides judge by the same distance, no
//! slot and node would rather have each other than what they got, and there is one such matching whatever the
//! order in which it is looked for: who comes or goes changes it near to itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What a node may hold beyond its share, as a fraction.
const SLACK: (u64, u64) = (1, 10);

/// What a node can hold at most: a tenth more than its share of `demand`, by weight, rounded up. No node can take a slot
/// twice; what that keeps from the heavy ones falls to the others.
pub(super) fn capacities(weights: &[u64], demand: u64, slots: u64) -> Vec<u64> {
    let mut full = vec![false; weights.len()];
    loop {
        let taken = full.iter().filter(|full| **full).count() as u64 * slots;
        let left = demand.saturating_sub(taken);
        let of_left: u64 =
            weights.iter().zip(&full).filter(|(_, full)| !**full).map(|(weight, _)| weight).sum();
        let is_heavy = |weight: u64| weight * left >= slots * of_left;
        let heavy: Vec<_> = (0..weights.len())
            .filter(|&node| !full[node] && weights[node] > 0 && is_heavy(weights[node]))
            .collect();
        if heavy.is_empty() || of_left == 0 {
            let (part, whole) = SLACK;
            return weights
                .iter()
                .zip(&full)
                .map(|(weight, full)| match full {
                    true => slots,
                    false if *weight == 0 => 0,
                    false => (weight * left * (whole + part)).div_ceil(of_left * whole).min(slots),
                })
                .collect();
        }
        heavy.iter().for_each(|&node| full[node] = true);
    }
}

/// Matches slots, each of which wants so many nodes, with nodes that have so much room. `nearest(slot, n)` is the `n`th
/// node from a slot, with its distance; each node comes once, at growing distances. What finds no room although it wants it
/// gets the nearest nodes all the same, behind the others.
pub(super) fn match_all(
    wants: &[usize],
    mut room: Vec<u64>,
    mut nearest: impl FnMut(usize, usize) -> Option<(u64, u16)>,
) -> Vec<Vec<u16>> {
    let mut matched = vec![Vec::new(); wants.len()];
    let mut next =
        |slot: usize, n: usize| nearest(slot, n).map(|(distance, node)| Reverse((distance, slot, n, node)));
    let mut queue = BinaryHeap::with_capacity(wants.len());
    queue.extend((0..wants.len()).filter(|&slot| wants[slot] > 0).filter_map(|slot| next(slot, 0)));
    while let Some(Reverse((_, slot, n, node))) = queue.pop() {
        if let Some(left) = room[usize::from(node)].checked_sub(1) {
            room[usize::from(node)] = left;
            matched[slot].push(node);
        }
        if matched[slot].len() < wants[slot] {
            queue.extend(next(slot, n + 1));
        }
    }
    for (slot, nodes) in matched.iter_mut().enumerate() {
        for n in 0.. {
            if nodes.len() >= wants[slot] {
                break;
            }
            let Some((_, node)) = nearest(slot, n) else { break };
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    matched
}

/// Finds room for slots that [`match_all`] gave a node of which others already fill the room: one of those goes to another of
/// its candidates, if need be for which a third goes elsewhere. `matched` is of one node for each slot, the first of
/// `candidates(slot)` that had room.
pub(super) fn make_room(matched: &mut [u16], room: &[u64], candidates: impl Fn(usize) -> Vec<u16>) {
    let mut slots_of = vec![Vec::new(); room.len()];
    for (slot, node) in matched.iter().enumerate() {
        slots_of[usize::from(*node)].push(slot);
    }
    for node in 0..room.len() {
        while slots_of[node].len() as u64 > room[node] {
            let Some(path) = way_to_room(node, &slots_of, room, &candidates) else { break };
            for (slot, from, to) in path {
                slots_of[usize::from(from)].retain(|held| *held != slot);
                slots_of[usize::from(to)].push(slot);
                matched[slot] = to;
            }
        }
    }
}

/// The shortest way in which slots may change their nodes so that `full` has one less and a node with room one more.
fn way_to_room(
    full: usize,
    slots_of: &[Vec<usize>],
    room: &[u64],
    candidates: &impl Fn(usize) -> Vec<u16>,
) -> Option<Vec<(usize, u16, u16)>> {
    let mut came_by: Vec<Option<(usize, u16)>> = vec![None; room.len()];
    let mut queue = VecDeque::from([full as u16]);
    while let Some(node) = queue.pop_front() {
        for &slot in &slots_of[usize::from(node)] {
            for to in candidates(slot) {
                if usize::from(to) == full || came_by[usize::from(to)].is_some() {
                    continue;
                }
                came_by[usize::from(to)] = Some((slot, node));
                if (slots_of[usize::from(to)].len() as u64) < room[usize::from(to)] {
                    let mut path = Vec::new();
                    let mut at = to;
                    while let Some((slot, from)) = came_by[usize::from(at)] {
                        path.push((slot, from, at));
                        at = from;
                    }
                    return Some(path);
                }
                queue.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_tenth_more_than_the_share_by_weight() {
        assert_eq!(capacities(&[1, 1, 1], 64, 64), [24, 24, 24]);
        assert_eq!(capacities(&[1, 3], 100, 100), [28, 83]);
        assert_eq!(capacities(&[0, 1], 10, 10), [0, 10]);
    }

    #[test]
    fn what_a_heavy_node_cannot_take_falls_to_the_others() {
        // Two replicas of each of ten slots: the heavy node takes each slot once.
        assert_eq!(capacities(&[8, 1, 1], 20, 10), [10, 6, 6]);
        assert_eq!(capacities(&[1, 1], 20, 10), [10, 10]);
    }

    #[test]
    fn room_is_made_by_others_that_can_go_elsewhere() {
        // Slot 0 can go to node 0 alone; slot 1 could go on to node 1, whose slot 2 could go on to node 2.
        let candidates = [vec![0], vec![0, 1], vec![1, 2]];
        let mut matched = [0, 0, 1];
        make_room(&mut matched, &[1, 1, 1], |slot| candidates[slot].clone());
        assert_eq!(matched, [0, 1, 2]);
        let mut matched = [0, 0, 1];
        make_room(&mut matched, &[1, 1, 0], |slot| candidates[slot].clone());
        assert_eq!(matched, [0, 0, 1], "there is no way");
    }

    #[test]
    fn the_nearest_come_first_and_a_full_node_sends_on() {
        // Both slots are nearest to node 0, slot 1 more so.
        let distances = [[5, 9], [3, 7]];
        let nearest = |slot: usize, n: usize| (n < 2).then(|| (distances[slot][n], n as u16));
        assert_eq!(match_all(&[1, 1], vec![1, 1], nearest), [[1], [0]]);
        assert_eq!(match_all(&[1, 1], vec![2, 2], nearest), [[0], [0]]);
        assert_eq!(
            match_all(&[2, 1], vec![1, 1], nearest),
            [vec![1, 0], vec![0]],
            "there is no room and no other way"
        );
    }
}
