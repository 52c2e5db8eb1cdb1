//! Points of the circle.

use convoy_ids::{NodeId, SlotId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Member;

const SEED: u64 = 0x636f_6e76_6f79_0020;

/// Where a slot stands: even distances spread better than chance.
pub(super) fn point_of_slot(slot: SlotId, slots: u16) -> u64 {
    ((u128::from(slot.0) << 64) / u128::from(slots)) as u64
}

/// All points of all members in the order of the circle, each with the member's place in `members`. Two members at one
/// point, which no one will live to see, stand in the order of their numbers.
pub(super) fn points_of_members(members: &[Member]) -> Vec<(u64, u16)> {
    let mut points: Vec<_> = (0_u16..)
        .zip(members)
        .flat_map(|(at, member)| (0..member.weight).map(move |copy| (point_of_copy(member.node, copy), at)))
        .collect();
    points.sort_unstable_by_key(|&(point, at)| (point, members[usize::from(at)].node));
    points
}

fn point_of_copy(node: NodeId, copy: u16) -> u64 {
    xxh3_64_with_seed(&copy.to_le_bytes(), xxh3_64_with_seed(&node.get().to_le_bytes(), SEED))
}
